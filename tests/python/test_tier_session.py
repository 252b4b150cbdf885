"""Recovery and tiers together: saving a notebook after each cell does not pull back what was moved out of DRAM."""

from __future__ import annotations

import json
import os
import random
import signal

import pytest
from kernelfixtures import kernel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def in_dram(k, name: str) -> int:
    return int(k.value(f"sum(r['DRAM'] for r in larder.tier.table(exact=True) if r['name'] == {name!r})"))


def test_saving_after_each_cell_leaves_a_moved_array_where_it_is(tmp_path):
    env = {"JPY_SESSION_NAME": "tiers.ipynb", "LARDER_TIER_DIR": str(tmp_path)}
    with kernel(tmp_path, **env) as k:
        k.ok("import larder, numpy as np\n%tier on")
        k.ok("cold = np.ones(4 << 20); kept = np.zeros(1 << 17)")
        k.ok("%shelf log")  # waits for the copy of what is new
        k.ok("larder.tier.demote('cold')")
        assert in_dram(k, "cold") < 1 << 20
        for cell in ("kept[0] += 1", "more = [1]", "kept[1] += 1"):
            k.ok(cell)
        assert in_dram(k, "cold") < 1 << 20
        assert k.value("float(cold.sum())") == "4194304.0"
        k.ok("cold[7] = 5; larder.tier.demote('cold')")
        os.kill(k.pid, signal.SIGKILL)
        k.km.shutdown_kernel(now=True)
    with kernel(tmp_path, **env) as k:
        assert k.value("float(cold.sum()), float(cold[7]), float(kept[1])") == "(4194308.0, 5.0, 1.0)"


def test_stores_before_and_after_a_move_are_all_saved(tmp_path):
    """A page that is written and leaves memory in the same cell leaves no trace in the page table."""
    env = {"JPY_SESSION_NAME": "moves.ipynb", "LARDER_TIER_DIR": str(tmp_path)}
    size, rng = 3 << 20, random.Random(5)
    expected: dict[int, int] = {}
    with kernel(tmp_path, **env) as k:
        k.ok(f"import larder, numpy as np\n%tier on\nx = np.zeros({size})")
        k.ok("%shelf log")
        for step in range(1, 25):
            places = [rng.randrange(size) for _ in range(rng.choice([0, 1, 1, 3, 40]))]
            expected |= dict.fromkeys(places, step)
            lines = [f"x[{places}] = {step}", "larder.tier.demote('x')", "x[::5000].sum()"]
            k.ok("\n".join(lines[: rng.randint(1, 3)]))
        k.ok("%shelf log")  # so many changes make a new copy due, behind the reply
        os.kill(k.pid, signal.SIGKILL)
        k.km.shutdown_kernel(now=True)
    with kernel(tmp_path, **env) as k:
        found = json.loads(
            k.text("import json; i = np.flatnonzero(x); print(json.dumps([i.tolist(), x[i].tolist()]))").splitlines()[
                -1
            ]
        )
        assert dict(zip(*found, strict=True)) == expected
