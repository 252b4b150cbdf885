"""Python objects in swap: how much leaves DRAM, what brings it back, and what `promote` says it moved.

    sudo python benches/heat/swap.py [--kind rows|instances|cells|frame] [--objects 600000]
                                     [--medium file|loop|zram] [--directory DIR]

Half a million dicts and lists (or instances of a class, with a list each) under one name go to swap with `%tier demote`: in a
list, with `cells` in an object array, with `frame` in a column of a DataFrame.
Then come, one after the other, what could pull them back although nobody uses them: a full collection, `%tier` itself, and
the live trace at a cell's end while heat is sampled. After each the bytes in DRAM are asked of the kernel, page by page. At
the end `promote`, whose answer stands beside how much less of the process is in swap. Swap is on only while this runs;
without `--medium` the first that works here.
Needs root. Where no medium works it says why and ends with status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIZE = "3G"
MIB = 1 << 20


def _did(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{command[0]}: {(done.stderr or done.stdout).strip() or done.returncode}")
    return done.stdout.strip()


@contextlib.contextmanager
def swap_on(directory: Path, medium: str) -> Iterator[None]:
    """Swap of 3G on `medium` for a while. Raises `OSError` where that cannot be."""
    with contextlib.ExitStack() as after:
        if medium == "zram":
            device = Path(_did("zramctl", "--find", "--size", SIZE))
            after.callback(_did, "zramctl", "--reset", device)
        else:
            device = directory / f"larder-bench-{os.getpid()}.swap"
            after.callback(device.unlink, missing_ok=True)
            _did("fallocate", "-l", SIZE, device)
            device.chmod(0o600)
        if medium == "loop":
            device = Path(_did("losetup", "--find", "--show", device))
            after.callback(_did, "losetup", "--detach", device)
        _did("mkswap", "-q", device)
        _did("swapon", device)
        after.callback(_did, "swapoff", device)
        yield


def in_swap() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSwap"))
    return int(line.split()[1]) * 1024


class Thing:
    """Without `__slots__`, as most classes are."""

    def __init__(self, at: int) -> None:
        self.a, self.b = [at, str(at)], float(at)


def measure(count: int, kind: str) -> dict:
    from larder import heat, tier

    space: dict = {}
    tier.namespace = lambda: space
    made = Thing if kind == "instances" else lambda at: {"a": [at, str(at)], "b": float(at)}
    rows: Any = [made(at) for at in range(count // 2)]
    if kind in ("cells", "frame"):
        rows = np.fromiter(rows, dtype=object, count=len(rows))
    if kind == "frame":
        import pandas as pd

        rows = pd.DataFrame({"n": np.arange(len(rows)), "row": rows})
    space["rows"] = rows
    del rows
    gc.collect()
    survey = tier.Survey(space)
    row = survey.row("rows")
    out: dict = {"python": sys.version.split()[0], "kind": kind, "containers": 2 * (count // 2)}
    out |= {"MB": round(row["bytes"] / MIB), "purity": round(row["block_bytes"] / row["page_bytes"], 3)}
    del survey
    out["demoted_MB"] = round(tier.demote("rows")[0]["moved"] / MIB)

    def left(after: str) -> None:
        out[f"swap_MB_after_{after}"] = round(in_swap() / MIB)

    left("demote")
    gc.collect()
    left("collect")
    shown = tier.table(variables=space)[0]
    left("table")
    out["table_says_swap_MB"] = round(shown["swap"] / MIB)
    heat.start()
    for _ in range(3):
        heat._after(None, None)
        heat._before(None, None)
    heat._after(None, None)
    left("three_sampled_cells")
    heat.stop()
    before, began = in_swap(), time.perf_counter()
    row = tier.promote("rows")[0]
    out["promote_s"] = round(time.perf_counter() - began, 2)
    out["promoted_MB"], out["came_from_swap_MB"] = round(row["moved"] / MIB), round((before - in_swap()) / MIB)
    one = space["rows"].row.iloc[7] if kind == "frame" else space["rows"][7]
    assert (len(space["rows"]), (one.a if kind == "instances" else one["a"])[1]) == (count // 2, "7")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=600_000)
    parser.add_argument("--kind", choices=["rows", "instances", "cells", "frame"], default="rows")
    parser.add_argument("--medium", choices=["file", "loop", "zram"])
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    if os.geteuid():
        sys.exit("this needs root: it turns swap on")
    why = {}
    for medium in [options.medium] if options.medium else ["file", "loop", "zram"]:
        try:
            with swap_on(options.directory, medium):
                print(json.dumps({"medium": medium} | measure(options.objects, options.kind)))
            return
        except OSError as error:
            why[medium] = str(error)
    print("; ".join(f"no swap on {medium}: {text}" for medium, text in why.items()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
