"""The kernel beside ipykernel and xeus-python: one run, interleaved rounds, medians.

    python benches/kernel.py [--rounds 7] [--only larder,ipykernel]

Every kernel is a process started from its kernel spec's command with a connection file made here, and spoken to through
pyzmq on loopback (signing and JSON by jupyter_client's `Session`), with no client library waiting in between; so what is
the client's is the same in every column. A kernel that is not installed is absent, and the output says why. A round
starts two processes of each kernel: one for the figures, one that is interrupted in a busy loop.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.session import Session

LINE = "x" * 20
PRINTS = 100_000
EXECUTES = 1000
KERNELS = {"ipykernel": "ipykernel 7", "xeus-python": "xeus-python", "larder": "larder"}
TARGETS = {
    "spawn to kernel_info_reply, ms": "<= 60",
    "spawn to first cell idle, ms": "<= 130",
    "`pass` round trip, ms": "<= 0.6",
    "1,000 queued executes, 1/s": ">= 4,000",
    "print seen while the cell runs, ms": "<= 5",
    "100k prints, ms": "<= 300",
    "100k prints, messages": "<= 100",
    "100k prints, characters lost": "0",
    "interrupt of a busy loop, ms": "<= 10",
    "a Python call, in the worst place of a stack, ns": "-",
    "shutdown to exit, ms": "<= 50",
    "PSS after the first cell, MiB": "<= 25",
}


# The slowest of 300 depths, by the least of three times: a piece of CPython's stack ends somewhere there.
CALLS = """
import time
def _leaf(a, b=0, c=0, d=0, e=0, f=0, g=0, h=0, i=0, j=0, l=0, m=0, n=0, o=0, p=0, q=0, r=0, s=0, t=0): return a
def _calls(depth):
    if depth: return _calls(depth - 1)
    began = time.perf_counter()
    for k in range(400): _leaf(k)
    return (time.perf_counter() - began) / 400
print(max(min(_calls(depth) for _ in range(3)) for depth in range(300)))
"""


class Absent(Exception):
    """A kernel cannot be measured here, and why."""


class Lost(Exception):
    """A kernel did not answer in time."""


def argv(name: str) -> list[str]:
    if name == "larder":
        return [sys.executable, "-m", "larder", "-f", "{connection_file}"]
    if name == "ipykernel":
        return [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    try:
        return KernelSpecManager().get_kernel_spec("xpython").argv
    except NoSuchKernel as error:
        raise Absent("no kernel spec `xpython`; `pip install xeus-python` brings it") from error


def version(name: str) -> str:
    from importlib.metadata import version as of

    return f"{name} {of(name)}"


class Kernel:
    """One kernel process and its client's sockets."""

    def __init__(self, name: str, folder: Path) -> None:
        file = folder / f"{name}-{time.monotonic_ns()}.json"
        _, info = write_connection_file(str(file), key=os.urandom(16).hex().encode())
        self.session = Session(key=info["key"].encode() if isinstance(info["key"], str) else info["key"])
        command = [part.replace("{connection_file}", str(file)) for part in argv(name)]
        command[0] = sys.executable if command[0].startswith("python") else command[0]
        self.context = zmq.Context()
        self.began = time.perf_counter()
        self.log = folder.joinpath(f"{name}.log").open("wb")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True
        )
        self.shell, self.control = (
            self._socket(zmq.DEALER, info["shell_port"]),
            self._socket(zmq.DEALER, info["control_port"]),
        )
        self.iopub = self._socket(zmq.SUB, info["iopub_port"])
        self.iopub.subscribe(b"")

    def _socket(self, kind: int, port: int):
        socket = self.context.socket(kind)
        socket.linger = 0
        socket.reconnect_ivl = 1  # libzmq waits 100 ms by default before it tries again
        socket.rcvhwm = 0
        socket.connect(f"tcp://127.0.0.1:{port}")
        return socket

    def send(self, socket, kind: str, **content) -> str:
        return self.session.send(socket, kind, content)["header"]["msg_id"]

    def execute(self, code: str, silent: bool = False) -> str:
        return self.send(self.shell, "execute_request", code=code, silent=silent, store_history=True,
                         user_expressions={}, allow_stdin=False, stop_on_error=True)  # fmt: skip

    def next(self, socket, timeout_s: float = 60) -> dict:
        """The next message, its content and parent still as JSON where that is all the caller reads."""
        if not socket.poll(int(timeout_s * 1000)):
            raise Lost
        _, frames = self.session.feed_identities(socket.recv_multipart())
        return {
            "type": json.loads(frames[1])["msg_type"],
            # xeus-python sends null as the parent of its first messages.
            "parent": (json.loads(frames[2]) or {}).get("msg_id"),
            "content": frames[4],
        }

    def reply(self, msg_id: str, socket=None) -> None:
        while self.next(socket or self.shell)["parent"] != msg_id:
            pass

    def idle(self, msg_id: str, seen=None, timeout_s: float = 60) -> float:
        """The time at which the request's idle status came; of a kernel that loses it, that of the last message."""
        last = time.perf_counter()
        while True:
            try:
                message = self.next(self.iopub, timeout_s)
            except Lost:
                return last
            last = time.perf_counter()
            if message["parent"] != msg_id:
                continue
            if seen is not None and message["type"] == "stream":
                seen(json.loads(message["content"])["text"], last)
            if message["type"] == "status" and b'"idle"' in message["content"]:
                return last

    def run(self, code: str, seen=None) -> float:
        """Seconds from request to idle; then the reply is awaited too."""
        began = time.perf_counter()
        msg_id = self.execute(code)
        end = self.idle(msg_id, seen, timeout_s=10)
        self.reply(msg_id)
        return end - began

    def start(self) -> tuple[float, float]:
        """Seconds from spawn to kernel_info_reply, and to the end of the first cell."""
        self.reply(self.send(self.shell, "kernel_info_request"))
        info = time.perf_counter() - self.began
        while not self.iopub.poll(5):  # until the subscription has arrived
            self.send(self.control, "kernel_info_request")
        msg_id = self.execute("pass")
        end = self.idle(msg_id)
        self.reply(msg_id)
        return info, end - self.began

    def pss_mib(self) -> float:
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) / 1024

    def shut_down(self) -> float:
        """Seconds from shutdown_request to the end of the process."""
        began = time.perf_counter()
        self.send(self.control, "shutdown_request", restart=False)
        while self.process.poll() is None and time.perf_counter() - began < 20:
            time.sleep(0.001)
        return time.perf_counter() - began

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.context.destroy(linger=0)
        self.log.close()


def measure(name: str, folder: Path) -> dict[str, float | str]:
    kernel = Kernel(name, folder)
    try:
        row = figures(kernel)
    finally:
        kernel.close()
    kernel = Kernel(name, folder)
    try:
        kernel.start()
        row["interrupt of a busy loop, ms"] = interrupted(kernel)
    finally:
        kernel.close()
    return row


def figures(kernel: Kernel) -> dict[str, float | str]:
    row: dict[str, float | str] = {}
    info, first = kernel.start()
    row["spawn to kernel_info_reply, ms"], row["spawn to first cell idle, ms"] = info * 1e3, first * 1e3
    row["PSS after the first cell, MiB"] = kernel.pss_mib()
    for _ in range(10):
        kernel.run("pass")
    row["`pass` round trip, ms"] = statistics.median(kernel.run("pass") for _ in range(200)) * 1e3

    began = time.perf_counter()
    sent = [kernel.execute("pass") for _ in range(EXECUTES)]
    last = kernel.idle(sent[-1])
    for msg_id in sent:
        kernel.reply(msg_id)
    row["1,000 queued executes, 1/s"] = EXECUTES / (last - began)

    seen: list[float] = []

    def stamp(text: str, at: float) -> None:
        if text.strip():
            seen.append(at - float(text))

    # perf_counter is the system's monotonic clock, the same in both processes.
    kernel.run("import time\ntime.sleep(.3)\nprint(time.perf_counter())\ntime.sleep(.3)", stamp)
    row["print seen while the cell runs, ms"] = seen[0] * 1e3

    got = [0, 0]

    def count(text: str, _at: float) -> None:
        got[0] += len(text)
        got[1] += 1

    row["100k prints, ms"] = kernel.run(f"for _ in range({PRINTS}): print('{LINE}')", count) * 1e3
    row["100k prints, messages"] = got[1]
    row["100k prints, characters lost"] = PRINTS * (len(LINE) + 1) - got[0]
    kernel.run(CALLS, lambda text, _at: seen.append(float(text)) if text.strip() else None)
    row["a Python call, in the worst place of a stack, ns"] = seen[-1] * 1e9
    row["shutdown to exit, ms"] = kernel.shut_down() * 1e3
    return row


def interrupted(kernel: Kernel) -> float | str:
    kernel.run("1 / 0")  # the first traceback imports what shows tracebacks
    msg_id = kernel.execute("while True: pass")
    time.sleep(0.3)
    began = time.perf_counter()
    os.kill(kernel.process.pid, signal.SIGINT)
    end = kernel.idle(msg_id, timeout_s=2)
    return "dies" if kernel.process.poll() is not None else (end - began) * 1e3


def show(values: list[float | str]) -> str:
    numbers = [value for value in values if not isinstance(value, str)]
    if not numbers:
        return str(values[0]) if values else "-"
    value = statistics.median(numbers)
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default=",".join(KERNELS), help="kernels to measure, with commas")
    options = parser.parse_args()
    names, absent = [], {}
    for name in options.only.split(","):
        try:
            argv(name)
            names.append(name)
        except Absent as error:
            absent[name] = str(error)
    found: dict[str, list[dict[str, float | str]]] = {name: [] for name in names}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as home:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every start compiles all it imports
        os.environ.update(LARDER_HOME=home, IPYTHONDIR=str(Path(home) / "ipython"))
        for turn in range(options.rounds + 1):
            for name in names:
                try:
                    row = measure(name, Path(home))
                except Lost:
                    print(f"{name} stopped answering in round {turn}", file=sys.stderr)
                    continue
                if turn:  # the first round warms the page cache
                    found[name].append(row)
            print(f"round {turn} of {options.rounds}", file=sys.stderr)
    print(
        f"`python benches/kernel.py --rounds {options.rounds}`: medians, {os.cpu_count()} CPUs, "
        f"Python {sys.version.split()[0]}, load {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end\n"
    )
    print("| | " + " | ".join(version(name) for name in names) + " | target |\n|---|" + "--:|" * (len(names) + 1))
    for key, target in TARGETS.items():
        cells = [show([row[key] for row in found[name] if key in row]) for name in names]
        print(f"| {key} | " + " | ".join(cells) + f" | {target} |")
    for name, why in absent.items():
        print(f"\n{name} is absent: {why}")


if __name__ == "__main__":
    main()
