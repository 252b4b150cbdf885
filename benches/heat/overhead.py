"""Experiment 4: what sampling costs the code it watches: off, a spinning control of the same share, on; interleaved.

    python benches/heat/overhead.py [--rounds 60]

The control is a process that burns the same share of a core as the sampler and looks at nothing. The watched thread has a
core to itself, as far as the machine allows, and control and sampler share another. Each round is off, control, on, on,
control, off (a drift of the machine falls on all three alike), each a cell of about 0.2 s.

What is counted are the processor's cycles and instructions of the watched thread alone, its time in the kernel included
(interrupts for accessed bits, page table walks): neither runs while another has the core. Where the processor's counters
cannot be read, processor time stands in for cycles, and the answer says so. Printed are the mean of the rounds' ratios with
its 95 % bootstrap interval: `on/control`, what sampling costs; `control/off`, which differs from 1 by what a busy neighbour
does; and `off/off`, the first against the second of a round, which differs from 1 by noise alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import time

import numpy as np

from larder import heat, tier

CONTROL = (
    "import time\nwhile True:\n e=time.perf_counter()+{busy}\n while time.perf_counter()<e: pass\n time.sleep({idle})"
)
ORDER = ("off", "control", "on", "on", "control", "off")
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}


class Counters:
    """Cycles and instructions of the calling thread; processor time where the processor's counters cannot be read."""

    def __init__(self) -> None:
        call, libc = PERF_EVENT_OPEN.get(os.uname().machine), ctypes.CDLL(None, use_errno=True)
        self.files = []
        for event in (0, 1) if call else ():  # cycles, instructions
            about = struct.pack("<IIQ", 0, 112, event).ljust(112, b"\0")
            self.files.append(libc.syscall(call, about, 0, -1, -1, 0))
        if not self.files or min(self.files) < 0:
            self.files = []

    def read(self) -> list[float]:
        if not self.files:
            return [time.thread_time()]
        return [float(struct.unpack("<Q", os.read(file, 8))[0]) for file in self.files]


def interval(ratios: list[float]) -> list[float]:
    """Lower end, mean and upper end of its 95 % bootstrap interval."""
    means = sorted(statistics.fmean(random.choices(ratios, k=len(ratios))) for _ in range(4000))
    return [round(value, 4) for value in (means[100], statistics.fmean(ratios), means[3899])]


def work(space: dict) -> None:
    items, table = space["items"], space["table"]
    for _ in range(24):
        for at in range(16):
            space[f"v{at}"].sum()
        total = 0
        for i in range(20_000):
            total += i
        for item in items:
            item[0] += 1
        for key in range(0, 20_000, 3):
            table[key] = total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    space: dict = {f"v{i}": np.ones(1 << 18) for i in range(16)}
    space |= {"items": [[at] for at in range(20_000)], "table": {at: at for at in range(20_000)}}
    tier.namespace = lambda: space
    cores = sorted(os.sched_getaffinity(0))
    mine, theirs = {cores[-1]}, {cores[-2 if len(cores) > 1 else -1]}
    counters = Counters()

    def cell(mode: str) -> list[float]:
        os.sched_setaffinity(0, theirs)  # which the sampler inherits
        if mode == "on":
            heat._before(None, None)
        os.sched_setaffinity(0, mine)
        before = counters.read()
        work(space)
        after = counters.read()
        if mode == "on":
            heat._after(None, None)
        return [b - a for a, b in zip(before, after, strict=True)]

    os.sched_setaffinity(0, theirs)
    heat.start()
    heat._after(None, None)
    for _ in range(3):
        cell("on")
    share = heat.said().cpu
    busy = 0.0005
    control = subprocess.Popen([sys.executable, "-c", CONTROL.format(busy=busy, idle=busy / share - busy)])
    counted: dict[str, list[list[list[float]]]] = {"off": [], "control": [], "on": []}
    try:
        os.kill(control.pid, 19)
        for _ in range(rounds):
            found: dict[str, list[list[float]]] = {"off": [], "control": [], "on": []}
            for mode in ORDER:
                if mode == "control":
                    os.kill(control.pid, 18)
                found[mode].append(cell(mode))
                if mode == "control":
                    os.kill(control.pid, 19)
            for mode, pair in found.items():
                counted[mode].append(pair)
    finally:
        control.kill()
        control.wait()
    what = ["cycles", "instructions"] if counters.files else ["processor time (no counters here)"]
    out: dict = {"rounds": rounds, "sampler_cpu": round(heat.said().cpu, 4), "epochs": heat.said().epochs}
    heat.stop()
    for at, name in enumerate(what):
        sums = {mode: [pair[0][at] + pair[1][at] for pair in pairs] for mode, pairs in counted.items()}
        out[name] = {
            "on/control": interval([a / b for a, b in zip(sums["on"], sums["control"], strict=True)]),
            "control/off": interval([a / b for a, b in zip(sums["control"], sums["off"], strict=True)]),
            "off/off": interval([pair[1][at] / pair[0][at] for pair in counted["off"]]),
        }
    print(json.dumps(out))


if __name__ == "__main__":
    main()
