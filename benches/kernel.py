"""The kernel beside ipykernel and xeus-python: one run, interleaved rounds, medians.

    python benches/kernel.py [--rounds 7]

Every kernel is started by jupyter_client and spoken to through pyzmq on loopback, so the client's share is in every
column. ``lost`` counts characters of the print flood that did not arrive.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

LINE = "x" * 20
PRINTS = 100_000


def spec(name: str) -> KernelSpec | None:
    if name == "larder":
        return KernelSpec(argv=[sys.executable, "-m", "larder", "-f", "{connection_file}"], language="python")
    if name == "ipykernel":
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
        )
    try:
        return KernelSpecManager().get_kernel_spec("xpython")
    except Exception:
        return None


class Kernel:
    """One kernel process and a client that polls without sleeping."""

    def __init__(self, name: str) -> None:
        self.manager = KernelManager()
        self.manager._kernel_spec = spec(name)
        self.began = time.perf_counter()
        self.manager.start_kernel(env=dict(os.environ))
        self.client = self.manager.client()
        self.client.start_channels(hb=False)

    def info(self) -> float:
        """Seconds from spawn to kernel_info_reply."""
        msg = self.client.kernel_info()
        while self.client.get_shell_msg(timeout=60)["parent_header"].get("msg_id") != msg:
            pass
        return time.perf_counter() - self.began

    def idle(self, msg: str, seen=None) -> float:
        last = time.perf_counter()
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=10)
            except queue.Empty:
                # The idle status itself was lost; what came last tells when.
                return last
            last = time.perf_counter()
            # xeus-python sends null as the parent of its first messages.
            if (message["parent_header"] or {}).get("msg_id") != msg:
                continue
            if seen is not None and message["msg_type"] == "stream":
                seen(message["content"]["text"])
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return time.perf_counter()

    def reply(self, msg: str) -> None:
        while self.client.get_shell_msg(timeout=120)["parent_header"].get("msg_id") != msg:
            pass

    def run(self, code: str, seen=None, **options) -> float:
        """Seconds from request to idle (and the reply is in)."""
        began = time.perf_counter()
        msg = self.client.execute(code, **options)
        end = self.idle(msg, seen)
        self.reply(msg)
        return end - began

    def pss_mib(self) -> float:
        text = Path(f"/proc/{self.manager.provisioner.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) / 1024

    def end(self) -> float:
        """Seconds from shutdown_request to the process's end."""
        pid = self.manager.provisioner.pid
        began = time.perf_counter()
        self.manager.request_shutdown()
        process = self.manager.provisioner.process
        while process.poll() is None and time.perf_counter() - began < 20:
            time.sleep(0.001)
        took = time.perf_counter() - began
        self.client.stop_channels()
        if process.poll() is None:
            os.kill(pid, signal.SIGKILL)
        self.manager.cleanup_resources()
        return took


def measure(name: str) -> dict[str, float]:
    kernel = Kernel(name)
    try:
        return rounds_of(kernel, name)
    except queue.Empty:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)
        raise


def rounds_of(kernel: Kernel, name: str) -> dict[str, float]:
    row: dict[str, float] = {}
    row["spawn to kernel_info_reply, ms"] = kernel.info() * 1e3
    kernel.reply(kernel.client.execute("pass"))
    row["spawn to first execute_reply, ms"] = (time.perf_counter() - kernel.began) * 1e3
    kernel.client.wait_for_ready(timeout=60)
    row["PSS after the first cell, MiB"] = kernel.pss_mib()
    row["`pass` round trip, ms"] = statistics.median(kernel.run("pass") for _ in range(100)) * 1e3
    began = time.perf_counter()
    sent = [kernel.client.execute("pass", store_history=False) for _ in range(1000)]
    last = kernel.idle(sent[-1])
    for msg in sent:
        kernel.reply(msg)
    row["1,000 queued executes, 1/s"] = 1000 / (last - began)

    stamps: list[float] = []

    def stamp(text: str) -> None:
        if text.strip():
            stamps.append(time.time() - float(text))

    kernel.run("import time\ntime.sleep(.3)\nprint(time.time())\ntime.sleep(.3)", stamp)
    row["print seen while the cell runs, ms"] = stamps[0] * 1e3

    got = [0, 0]

    def count(text: str) -> None:
        got[0] += len(text)
        got[1] += 1

    row["100k prints, ms"] = kernel.run(f"for _ in range({PRINTS}): print('{LINE}')", count) * 1e3
    row["100k prints, messages"] = got[1]
    row["100k prints, characters lost"] = PRINTS * (len(LINE) + 1) - got[0]

    if name != "xeus-python":
        # SIGINT ends xeus-python: no figure.
        msg = kernel.client.execute("while True: pass")
        time.sleep(0.3)
        began = time.perf_counter()
        kernel.manager.interrupt_kernel()
        row["interrupt of a busy loop, ms"] = (kernel.idle(msg) - began) * 1e3
        kernel.reply(msg)
    row["shutdown to exit, ms"] = kernel.end() * 1e3
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    names = [name for name in ("ipykernel", "xeus-python", "larder") if spec(name) is not None]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as home:
        os.environ["LARDER_HOME"] = home
        for turn in range(rounds + 1):
            for name in names:
                try:
                    row = measure(name)
                except queue.Empty:
                    print(f"{name} stopped answering in round {turn}", file=sys.stderr)
                    continue
                if turn:  # the first round warms the page cache
                    found[name].append(row)
            print(f"round {turn} of {rounds}", file=sys.stderr)
    print(
        f"`python benches/kernel.py --rounds {rounds}`: medians, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}\n"
    )
    print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for key in found["larder"][0]:
        cells = []
        for name in names:
            values = [row[key] for row in found[name] if key in row]
            value = statistics.median(values) if values else None
            cells.append("-" if value is None else f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.2g}")
        print(f"| {key} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
