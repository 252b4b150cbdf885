"""What keeping the live trace costs at a cell's end: beside a large variable, and for changes inside it.

    python benches/heat/live.py [--objects 1000000]

The large variable is a list of dicts, each with a list and a text. Prints milliseconds of processor time, medians of
`--tries`: of the walk that a new variable takes; of cells that change nothing, a small variable, one object inside the large
one, its length, or an array in it; and of what a cell waits for at its start.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy

from larder import heat, tier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--tries", type=int, default=9)
    options = parser.parse_args()
    space: dict = {"rows": [{"a": [at], "b": str(at)} for at in range(options.objects // 4)], "small": [1000]}
    rows, small = space["rows"], space["small"]
    tier.namespace = lambda: space
    began = time.thread_time()
    heat.start()
    out = {"objects": options.objects, "first_walk_ms": round((time.thread_time() - began) * 1e3, 1)}
    starts = []

    def cell(act: Callable[[], object]) -> float:
        live = heat.live()
        assert live is not None
        act()
        live._credit_s = 10.0  # what is measured is the work, not how it is spread
        began = time.thread_time()
        heat._after(None, None)
        middle = time.thread_time()
        heat._before(None, None)
        starts.append((time.thread_time() - middle) * 1e3)
        assert live.stale == []
        return (middle - began) * 1e3

    places = iter(range(1000, len(rows), 97))
    changes: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "a small variable": lambda: small.append(object()),
        "one object inside": lambda: rows[next(places)]["a"].append(object()),
        "one object replaced": lambda: rows[next(places)].__setitem__("b", str(next(places))),
        "a row more": lambda: rows.append({"a": [next(places)], "b": "new"}),
        "a row less": lambda: rows.pop(next(places)),
        "an array inside": lambda: rows[500].__setitem__("x", numpy.ones(1000)),
        "that array replaced": lambda: rows[500].__setitem__("x", rows[500]["x"] - 1),
        "that array grown": lambda: rows[500]["x"].resize(len(rows[500]["x"]) + 999, refcheck=False),
    }
    for what, act in changes.items():
        out[what] = round(statistics.median(cell(act) for _ in range(options.tries)), 1)
    live = heat.live()
    assert live is not None
    out |= {"cell_start_ms": round(statistics.median(starts), 2), "walks": live.walked}
    out["trace_MB"] = round(live.native.memory_bytes() / 1e6)
    heat.stop()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
