"""Experiment 7: how much of a cold variable a full collection touches, with and without the GC shield.

    python benches/heat/shield.py [--objects 1000000] [--cells]

`--cells` keeps the same objects in an object array instead of a list.

Touched means accessed bits of the variable's mappings after `gc.collect()`: what would have to come back from a slower
tier. Needs neither swap nor a slow node. Prints bytes of the variable, and bytes touched unshielded and shielded.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from typing import Any

import numpy as np

from larder import heat, tier
from larder._migrate import pages, shield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--cells", action="store_true", help="in an object array instead of a list")
    options = parser.parse_args()
    count = options.objects
    rows: Any = [{"id": [i], "text": str(i)} for i in range(count)]
    if options.cells:
        cells = np.empty(count, dtype=object)
        cells[:] = rows
        rows = cells
        del cells
    survey = tier.Survey({"rows": rows})
    within, size = pages(survey.ranges("rows")), survey.row("rows")["bytes"]
    low, high = within[0][0], within[-1][1]
    del survey

    def touched() -> tuple[int, float]:
        heat.clear_accessed()
        began = time.perf_counter()
        gc.collect()
        seconds = time.perf_counter() - began
        return sum(n for start, end, n in heat.accessed() if start < high and end > low), round(seconds, 3)

    before, slow = touched()
    began = time.perf_counter()
    containers, _ = shield(rows, True, within)
    shielding = round(time.perf_counter() - began, 3)
    during, fast = touched()
    shield(rows, False, within)
    print(
        json.dumps(
            {"bytes": size, "containers": containers, "touched_unshielded": before, "touched_shielded": during}
            | {"share": round(during / before, 4), "collect_s": [slow, fast], "shield_s": shielding}
        )
    )


if __name__ == "__main__":
    main()
