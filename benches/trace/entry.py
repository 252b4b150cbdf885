"""What entering a compiled loop and leaving it again costs, on the interpreter that runs this.

    python benches/trace/entry.py [--rounds 7]

A function with one loop is called with n iterations. Plain, a call takes ``a + b * n``; optimised, ``a' + b' * n``: the
hook's call, the entry and the exit are ``a' - a``, both found by least squares over the best times for several n. The loop
needs one iteration of its own before its back edge is reached, so ``a'`` has one interpreted iteration more; that one is
taken off. Every plain iteration must take the same time for that: sums begin at 1000, because the ints up to 256 (1024 on
3.15) exist once and cost less.
"""

from __future__ import annotations

import argparse
import linecache
import time

import larder

SOURCES = {
    "while, one local": "def run(n):\n    i = 0\n    while i < n:\n        i += 1\n",
    "for over range, nothing else": "def run(n):\n    for i in range(n):\n        pass\n",
    "for over range, one float": "def run(n):\n    x = 0.5\n    for i in range(n):\n        x = x * 0.5 + 1.0\n",
    "for over range, two locals": "def run(n):\n    s = 1000\n    for i in range(n):\n        s += i\n",
    "for over range, one float and five locals": (
        "def run(n):\n    a = b = c = d = 1\n    x = 0.5\n    for i in range(n):\n        x = x * 0.5 + 1.0\n        a = b\n"
    ),
}
SIZES = (32, 64, 96, 128, 192, 256)
CALLS = 400


def line(points: dict[int, float]) -> tuple[float, float]:
    """Intercept and slope."""
    mean_n, mean_t = sum(points) / len(points), sum(points.values()) / len(points)
    slope = sum((n - mean_n) * (t - mean_t) for n, t in points.items()) / sum((n - mean_n) ** 2 for n in points)
    return mean_t - slope * mean_n, slope


def times(run, rounds: int) -> dict[int, float]:
    """Nanoseconds a call, the best of all rounds."""
    best = dict.fromkeys(SIZES, float("inf"))
    for _ in range(rounds):
        for n in SIZES:
            began = time.perf_counter_ns()
            for _ in range(CALLS):
                run(n)
            best[n] = min(best[n], (time.perf_counter_ns() - began) / CALLS)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    print("| loop | entry + exit, ns | an iteration, ns | plain, ns |")
    print("|---|---:|---:|---:|")
    for name, source in SOURCES.items():
        space: dict = {}
        exec(compile(source, "<entry>", "exec"), space)
        plain = line(times(space["run"], options.rounds))
        # As a shell registers a cell: only this loop is watched, not the one that calls it.
        linecache.cache["<entry>"] = (len(source), None, source.splitlines(True), "<entry>")
        if not larder.trace.optimise():
            raise SystemExit(larder.trace.stats()["not_compiling"])
        space = {}
        exec(compile(source, "<entry>", "exec"), space)
        for _ in range(3000):
            space["run"](100)
        native = line(times(space["run"], options.rounds))
        row = next(r for r in larder.trace.traces() if r["file"] == "<entry>" and r["code"] == "run")
        larder.trace.disable()
        larder.trace.clear()
        if row["state"] != "compiled":
            print(f"| {name} | not compiled: {row['why']} | | |")
            continue
        print(f"| {name} | {native[0] - plain[0] - plain[1]:.0f} | {native[1]:.2f} | {plain[1]:.1f} |")


if __name__ == "__main__":
    main()
