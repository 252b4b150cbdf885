"""Loops as people write them (``census/``, 283 of them), each plain and with the optimiser on: does any lose?

A form defines ``f(n)``, whose loops go round about ``n`` times; lines before it run once. Every form is compiled twice, once
under a name that the optimiser watches and once under another; the two run in turn, so that a change of the machine's speed
meets both. Three figures each, plain time over optimised time (best of several by processor time):

- ``long``: one call that plain takes some 30 ms for, once compiled;
- ``short``: 1,000 calls that go round about eight times each;
- ``first``: the first calls of a fresh copy until plain would have taken 0.1 s, recording and compiling included.

    python benches/trace/census.py [--only TEXT] [--json FILE] [--rounds N] [--kinds long,short,first]
"""

import argparse
import gc
import json
import math
import sys
import time
import types
from pathlib import Path

import larder
import larder.optimiser

clock = time.thread_time
SHORT, CALLS = 8, 1000


def forms():
    """``(group, name, source)`` of every form."""
    for file in sorted(Path(__file__).with_name("census").glob("*.txt")):
        for part in file.read_text().removeprefix("## ").split("\n## "):
            name, source = part.split("\n", 1)
            yield file.stem.replace("_", " "), name, source + "\n"


def drive(f, times, n):
    """Calls ``f(n)`` so often; this loop is in a file that is not watched."""
    start = clock()
    for _ in range(times):
        f(n)
    return clock() - start


def space_of(source, watched):
    """A fresh module of the form."""
    module = types.ModuleType("census")
    module.__dict__["__name__"] = "census"
    exec(compile(source, "<census watched>" if watched else "<census plain>", "exec"), module.__dict__)
    return module


def long_enough(f, seconds=0.03):
    n = 64
    while True:
        took = drive(f, 1, n)
        if took > seconds / 4:
            return max(16, int(n * seconds / took))
        n *= 3


def best(pair, times, n, rounds):
    """The best of several of each, in turn."""
    found = [math.inf, math.inf]
    for _ in range(rounds):
        for k in (0, 1):
            found[k] = min(found[k], drive(pair[k], times, n))
    return found[0] / found[1]


def measure(source, rounds, kinds):
    plain, watched = space_of(source, False), space_of(source, True)
    n = long_enough(plain.f)
    assert repr(plain.f(1000))[:100] == repr(space_of(source, False).f(1000))[:100] or "random" in source
    out = {}
    if "first" in kinds:
        ratios = []
        for _ in range(3):
            fresh = [space_of(source, False), space_of(source, True)]
            took = [drive(module.f, 4, n) for module in fresh]
            ratios.append(took[0] / took[1])
        out["first"] = sorted(ratios)[1]
    # What long calls taught must not change the short ones: a copy for each.
    if "short" in kinds:
        watched = space_of(source, True)
        drive(watched.f, CALLS * 8, SHORT)
        out["short"] = best((plain.f, watched.f), CALLS, SHORT, rounds)
    watched = space_of(source, True)
    if "long" in kinds:
        for _ in range(4):
            watched.f(n)
        out["long"] = best((plain.f, watched.f), 1, n, rounds)
    return out


def reasons():
    """What became of the loops just run."""
    rows = larder.optimiser.loops()
    return [
        (row["name"], row["line"], row["state"], row["why"], row["native"], row["entries"], row["interpreted"])
        for row in rows
        if row["file"] == "<census watched>"
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", default="long,short,first")
    parser.add_argument("--why", action="store_true")
    asked = parser.parse_args()
    assert larder.trace.enable(watch_all=True), larder.trace.stats()
    wrong = larder.optimiser.start(lambda file: file == "<census watched>", larder.optimiser.HOT)
    assert not wrong, wrong
    kinds, all_found = asked.kinds.split(","), {}
    for group, name, source in forms():
        if asked.only not in f"{group}: {name}":
            continue
        gc.collect()
        try:
            found = measure(source, asked.rounds, kinds)
        except ImportError as error:
            print(f"{group}: {name}: left out ({error})", flush=True)
            continue
        rows = reasons() if asked.why or min(found.values()) < 0.97 else []
        all_found[f"{group}: {name}"] = {**found, "rows": rows}
        text = " ".join(f"{kind} {found[kind]:6.2f}" for kind in found)
        print(f"{text}  {group}: {name}", flush=True)
        for row in rows:
            print("         ", *row, flush=True)
        larder.optimiser.clear()
    for kind in kinds:
        ratios = [found[kind] for found in all_found.values()]
        if not ratios:
            continue
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        losers = sum(ratio < 0.95 for ratio in ratios)
        print(f"{kind}: geomean {mean:.2f} over {len(ratios)} forms, worst {min(ratios):.2f}, below 0.95: {losers}")
    if asked.json:
        with open(asked.json, "w") as file:
            json.dump(all_found, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
