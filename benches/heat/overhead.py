"""Experiment 4: what sampling costs the code it watches: off, a spinning control thread's share, on; interleaved.

    python benches/heat/overhead.py [--rounds 20]

The control is a thread that burns the same share of a core as the sampler without looking at anything. Prints medians
and a 95 % bootstrap interval of on/control; when the interval is wider than 3 %, the machine is too noisy to say.
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

from larder import heat, tier

CONTROL = (
    "import time\nwhile True:\n e=time.perf_counter()+{busy}\n while time.perf_counter()<e: pass\n time.sleep({idle})"
)


def work(space: dict) -> float:
    began = time.perf_counter()
    for _ in range(40):
        for name in list(space):
            space[name].sum()
        total = 0
        for i in range(20_000):
            total += i
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
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
                state = heat._sampling
                heat._after(None, None)
                cpu.append(state.cpu_seconds / state.seconds)
                heat.stop()
            if control is not None:
                control.kill()
                control.wait()
    ratio = [
        statistics.median(random.choices(times["on"], k=rounds))
        / statistics.median(random.choices(times["control"], k=rounds))
        for _ in range(2000)
    ]
    ratio.sort()
    print(
        json.dumps(
            {name: round(statistics.median(values), 4) for name, values in times.items()}
            | {"on/control": [round(ratio[50], 3), round(ratio[1000], 3), round(ratio[1949], 3)]}
            | {"sampler_cpu": round(statistics.median(cpu), 4)}
        )
    )


if __name__ == "__main__":
    main()
