"""What entering a compiled loop and leaving it again costs, on the interpreter that runs this.

    python benches/trace/entry.py [--rounds 500]

A function with one loop is called with n iterations. Plain, a call takes ``a + b * n``; optimised, ``a' + b' * n``: the
hook's call, the entry and the exit are ``a' - a``, both found by least squares over the best times for several n. The loop
needs one iteration of its own before its back edge is reached, so ``a'`` has one interpreted iteration more; that one is
taken off. Every plain iteration must take the same time for that: sums begin at 1000, because the ints up to 256 (1024 on
3.15) exist once and cost less.

The function is there twice, in a cell, which is watched, and not in one, which is not. Both are called by turns, some 50 us
at a time, so what the machine does meanwhile befalls both, and each third of the rounds has a figure of its own: they tell how
much to believe. What n may be: on an EPYC of family 26 the end of a plain loop is foreseen up to some 10 iterations and that
of a compiled one up to some 130, and an end that was not costs 10 to 50 ns. Between the two, where n is taken from, the plain
loop has that in ``a`` and the compiled one does not. So the last column is what a compiled call with no iteration but the
first takes beyond a plain call with one iteration, which is measured, and whose end is foreseen too: it varies less, and is
more.

What a compiled iteration waits for lies on top of entering and leaving, not behind: where each float waits for the one before
(1.5 ns), the processor enters and leaves meanwhile, and the intercept is up to 50 ns less than where none does. That, and what
the plain line has of the loop's end, is why two locals seem to cost more than one float and five locals: in the last column
they do not. Two of the loops are there to tell.

Where the library lies counts too: a build with the same instructions for entering and leaving, 1,856 bytes further on, took up
to 28 ns more in single loops, in every run. Less than that says nothing about two builds; instructions counted do.
"""

from __future__ import annotations

import argparse
import linecache
import time
from statistics import median

import larder

SOURCES = {
    "while, one local": "def run(n):\n    i = 0\n    while i < n:\n        i += 1\n",
    "for over range, nothing else": "def run(n):\n    for i in range(n):\n        pass\n",
    "for over range, one float": "def run(n):\n    x = 0.5\n    for i in range(n):\n        x = x * 0.5 + 1.0\n",
    "for over range, two locals": "def run(n):\n    s = 1000\n    for i in range(n):\n        s += i\n",
    "for over range, two locals and a float": (
        "def run(n):\n    s = 1000\n    x = 0.5\n    for i in range(n):\n        s += i\n        x = x * 0.5 + 1.0\n"
    ),
    "for over range, one float of another": (
        "def run(n):\n    x = y = 0.5\n    for i in range(n):\n        x = y * 0.5 + 1.0\n"
    ),
    "for over range, one float and five locals": (
        "def run(n):\n    a = b = c = d = 1\n    x = 0.5\n    for i in range(n):\n        x = x * 0.5 + 1.0\n        a = b\n"
    ),
}
SIZES = (32, 48, 64, 96, 128)
CALLS = 100
PARTS = 3


def line(points: dict[int, float]) -> tuple[float, float]:
    """Intercept and slope."""
    mean_n, mean_t = sum(points) / len(points), sum(points.values()) / len(points)
    slope = sum((n - mean_n) * (t - mean_t) for n, t in points.items()) / sum((n - mean_n) ** 2 for n in points)
    return mean_t - slope * mean_n, slope


def times(plain, native, rounds: int) -> tuple[dict[int, float], dict[int, float]]:
    """Nanoseconds a call, the best of all rounds: plain, also with one iteration, and compiled."""
    best: tuple[dict, dict] = dict.fromkeys((1, *SIZES), float("inf")), dict.fromkeys(SIZES, float("inf"))
    for _ in range(rounds):
        native(20_000)  # a loop that seems to lose on a busy machine would be given up
        for run, found in zip((plain, native), best, strict=True):
            for n in found:
                began = time.perf_counter_ns()
                for _ in range(CALLS):
                    run(n)
                found[n] = min(found[n], (time.perf_counter_ns() - began) / CALLS)
    return best


def measure(source: str, rounds: int) -> tuple[list[tuple[float, float, float, float]], str]:
    """Of each part of the rounds: entry and exit, an iteration, a plain one, entry and exit beyond one plain iteration. None of
    them if the loop was given up, and why."""
    # As a shell registers a cell: only this loop is watched, not its twin and not the one that calls them.
    linecache.cache["<entry>"] = (len(source), None, source.splitlines(True), "<entry>")
    if not larder.trace.optimise():
        raise SystemExit(larder.trace.stats()["not_compiling"])
    spaces: list[dict] = [{}, {}]
    for space, file in zip(spaces, ("<plain>", "<entry>"), strict=True):
        exec(compile(source, file, "exec"), space)
        for _ in range(3000):
            space["run"](100)
    plain, native = (space["run"] for space in spaces)
    found = []
    for _ in range(PARTS):
        at, entered = times(plain, native, rounds)
        (a, b), (c, d) = line({n: at[n] for n in SIZES}), line(entered)
        found.append((c - a - b, d, b, c + d - at[1]))
    row = next(r for r in larder.trace.traces() if r["file"] == "<entry>" and r["code"] == "run")
    larder.trace.disable()
    larder.trace.clear()
    return (found, "") if row["state"] == "compiled" else ([], row["why"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    options = parser.parse_args()
    print("| loop | entry + exit, ns | an iteration, ns | plain, ns | beyond one plain iteration, ns |")
    print("|---|---:|---:|---:|---:|")
    for name, source in SOURCES.items():
        # On a busy machine a loop may be found not to pay while it is measured.
        for _ in range(5):
            found, why = measure(source, options.rounds)
            if found:
                break
        if not found:
            print(f"| {name} | not compiled: {why} | | | |")
            continue
        entries, native, plain, beyond = zip(*found, strict=True)
        told = [", ".join(f"{ns:.0f}" for ns in column) for column in (entries, beyond)]
        print(f"| {name} | {told[0]} | {median(native):.2f} | {median(plain):.1f} | {told[1]} |", flush=True)


if __name__ == "__main__":
    main()
