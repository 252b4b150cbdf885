"""Experiment 4: what sampling costs the code it watches: off, a spinning control of the same share, on; interleaved.

    python benches/heat/overhead.py [--rounds 60]

The control is a process that burns the same share of a core as the sampler without looking at anything. Times are those
of the watched thread, less the time in which other work of the machine had its core. Each round runs all three in a random
order; what is printed are medians, and the median of the rounds' ratios with its 95 % bootstrap interval: `on/control`,
and `control/off` as a measure of the noise. When an interval is wider than 3 %, the machine is too noisy to say.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time

import numpy as np
from waits import core_wait

from larder import heat, tier

CONTROL = (
    "import time\nwhile True:\n e=time.perf_counter()+{busy}\n while time.perf_counter()<e: pass\n time.sleep({idle})"
)


def interval(ratios: list[float]) -> list[float]:
    """Median and its 95 % bootstrap interval."""
    middles = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(4000))
    return [round(middles[at], 3) for at in (100, 2000, 3899)]


def work(space: dict) -> float:
    began, waited = time.perf_counter(), core_wait()
    for _ in range(80):
        for name in list(space):
            space[name].sum()
        total = 0
        for i in range(20_000):
            total += i
    return time.perf_counter() - began - (core_wait() - waited)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    space = {f"v{i}": np.ones(1 << 18) for i in range(16)}
    tier.namespace = lambda: space
    times: dict[str, list[float]] = {"off": [], "control": [], "on": []}
    work(space)
    cpu = []
    for _ in range(rounds):
        for mode in random.sample(list(times), 3):
            control = None
            if mode == "on":
                heat.start()
            elif mode == "control":
                control = subprocess.Popen([sys.executable, "-c", CONTROL.format(busy=0.0005, idle=0.0195)])
                time.sleep(0.1)
            times[mode].append(work(space))
            if mode == "on":
                heat._after(None, None)
                cpu.append(heat.said().cpu)
                heat.stop()
            if control is not None:
                control.kill()
                control.wait()
    ratios = {
        f"{one}/{other}": interval([a / b for a, b in zip(times[one], times[other], strict=True)])
        for one, other in (("on", "control"), ("control", "off"))
    }
    out = {name: round(statistics.median(values), 4) for name, values in times.items()}
    print(json.dumps(out | ratios | {"sampler_cpu": round(statistics.median(cpu), 4), "rounds": rounds}))


if __name__ == "__main__":
    main()
