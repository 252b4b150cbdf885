"""Experiment 3: 64 variables used with Zipf frequencies; does heat rank them as their operation counts do?

    python benches/heat/variables.py [--seconds 8] [--seed N]

Seconds are those in which the workload ran: on a busy machine it takes longer.

Arrays, frames and lists, used directly, through views and in Python loops. The truth is counted by the workload itself.
Prints rank correlation and recall of the hottest quarter: of `ops/s` against the number of operations on each variable, and
of `heat` against the time spent in them; and the sampler's share of a core.
"""

from __future__ import annotations

import argparse
import json
import random
import time

import numpy as np
import pandas as pd

from larder import heat, tier


def workload(space: dict, seconds: float, rng: random.Random) -> tuple[dict[str, int], dict[str, float]]:
    names = list(space)
    rng.shuffle(names)
    weights = [1 / (rank + 1) for rank in range(len(names))]
    truth = dict.fromkeys(names, 0)
    busy = dict.fromkeys(names, 0.0)
    draws: list[str] = []
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        if not draws:
            draws = rng.choices(names, weights, k=1000)
        name = draws.pop()
        value = space[name]
        truth[name] += 1
        began = time.thread_time()
        if isinstance(value, np.ndarray):
            value.sum() if rng.random() < 0.5 else value[1:].max()
        elif isinstance(value, pd.DataFrame):
            value["a"].sum()
        else:
            total = 0
            for item in value:
                total += item
        del value
        busy[name] += time.thread_time() - began
    return truth, busy


def ranks(values: list[float]) -> np.ndarray:
    return pd.Series(values).rank().to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 30)
    rng = random.Random(seed)
    space: dict = {}
    for at in range(64):
        if at % 3 == 0:
            space[f"v{at}"] = np.random.default_rng(at).random(200_000)
        elif at % 3 == 1:
            space[f"v{at}"] = pd.DataFrame({"a": np.arange(100_000.0), "b": np.arange(100_000)})
        else:
            space[f"v{at}"] = list(range(8000))
    tier.namespace = lambda: space
    heat.start()
    truth, busy = workload(space, options.seconds, rng)
    heat._after(None, None)
    said = heat.said()
    rows = {row["name"]: row for row in heat.table()}
    heat.stop()
    names = list(space)
    top = len(names) // 4
    out: dict = {"seed": seed, "operations": sum(truth.values())}
    for what, column, true in (("operations", "ops/s", truth), ("time", "heat", busy)):
        found = [rows[name][column] for name in names]
        out[f"rho_{what}"] = round(float(np.corrcoef(ranks([true[n] for n in names]), ranks(found))[0, 1]), 3)
        hottest = set(sorted(names, key=lambda name: -rows[name][column])[:top])
        out[f"recall_{what}"] = len(hottest & set(sorted(names, key=lambda n: -true[n])[:top])) / top
    print(json.dumps(out | {"cpu": round(said.cpu, 4), "looks": said.looks}))


if __name__ == "__main__":
    main()
