"""How soon a running loop is interrupted, and how soon other threads get their turn, compiled and plain.

    python benches/trace/latency.py [--tries 200]

Two kernels, one with ``LARDER_TRACE=on``, one that never compiles, by turns. A cell runs an endless loop; some 35 ms later the
kernel is sent SIGINT, or an `interrupt_request`, and the loop's ``except KeyboardInterrupt`` notes the time (one clock for all
processes). For threads, one that sleeps a millisecond at a time notes how late it wakes while the main thread's loop runs: with
a free core, CPython's switch interval of 5 ms is what it waits for. Medians and 99th percentiles.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time

from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec

LOOPS = {
    "one loop": "while True:\n            n += 1\n            m = n * 3 & 1023",
    "a nest, lists and a call": (
        "while True:\n            for i in range(40):\n                xs[i] = half(xs[i] + n)\n            n = n + 1 & 1023"
    ),
}
CELL = """
import time
def half(x):
    return x // 2
def endless():
    n = m = 0
    xs = list(range(1000, 1040))
    print("on the way", flush=True)
    try:
        {loop}
    except KeyboardInterrupt:
        return time.monotonic_ns()
"""
THREAD = """
import threading
late, done = [], []
def sleeper():
    for _ in range({tries}):
        due = time.monotonic_ns() + 1_000_000
        time.sleep(0.001)
        late.append(time.monotonic_ns() - due)
    done.append(1)
def until_done():
    n = m = 0
    while not done:
        n += 1
        m = n * 3 & 1023
t = threading.Thread(target=sleeper)
t.start()
until_done()
t.join()
"""
NATIVE = "__import__('larder').trace.stats()['iterations_native']"


class Kernel:
    def __init__(self, wish: str) -> None:
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "larder", "-f", "{connection_file}"], display_name="", language="python"
        )
        self.manager.start_kernel(env={**os.environ, "LARDER_TRACE": wish})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def reply(self, msg_id: str, **wanted: str) -> dict[str, str]:
        while True:
            message = self.client.get_shell_msg(timeout=60)
            if message["parent_header"].get("msg_id") == msg_id:
                break
        content = message["content"]
        assert content["status"] == "ok", content
        return {name: one["data"]["text/plain"] for name, one in content["user_expressions"].items()}

    def run(self, code: str, **wanted: str) -> dict[str, str]:
        return self.reply(self.client.execute(code, user_expressions=wanted, store_history=False))

    def interrupted(self, by: str) -> float:
        """Milliseconds from the wish to the exception."""
        msg_id = self.client.execute("_at = endless()", user_expressions={"at": "_at"}, store_history=False)
        while self.client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
            pass
        time.sleep(0.03 + random.random() * 0.01)
        began = time.monotonic_ns()
        if by == "SIGINT":
            os.kill(self.manager.provisioner.pid, signal.SIGINT)
        else:
            self.client.control_channel.send(self.client.session.msg("interrupt_request", {}))
        at = int(self.reply(msg_id)["at"])
        if by != "SIGINT":
            self.client.get_control_msg(timeout=60)
        return (at - began) / 1e6

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def told(values: list[float]) -> str:
    values = sorted(values)
    return f"{values[len(values) // 2]:.2f} | {values[min(len(values) - 1, round(len(values) * 0.99))]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=200)
    tries = parser.parse_args().tries
    kernels = {"compiled": Kernel("on"), "plain": Kernel("off")}
    print("| milliseconds | compiled, p50 | p99 | plain, p50 | p99 |\n|---|---:|---:|---:|---:|")
    try:
        for name, loop in LOOPS.items():
            for kernel in kernels.values():
                kernel.run(CELL.format(loop=loop))
            for by in ("SIGINT", "interrupt_request"):
                took: dict[str, list[float]] = {mode: [] for mode in kernels}
                before = int(kernels["compiled"].run("", n=NATIVE)["n"])
                for _ in range(tries):
                    for mode, kernel in kernels.items():
                        took[mode].append(kernel.interrupted(by))
                went = int(kernels["compiled"].run("", n=NATIVE)["n"]) - before
                assert went > tries * 1000, f"only {went} iterations ran natively"
                print(
                    f"| {name}: {by} to KeyboardInterrupt | {told(took['compiled'])} | {told(took['plain'])} |",
                    flush=True,
                )
        late: dict[str, list[float]] = {mode: [] for mode in kernels}
        for _ in range(max(1, tries // 50)):
            for mode, kernel in kernels.items():
                found = kernel.run(THREAD.format(tries=50), late="late")["late"]
                late[mode] += [int(part) / 1e6 for part in found.strip("[]").split(",")]
        print(f"| another thread's turn | {told(late['compiled'])} | {told(late['plain'])} |")
    finally:
        for kernel in kernels.values():
            kernel.close()
    print(f"\n{tries} tries each; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
