# ruff: noqa: E501
"""What saving a notebook after every cell costs, and how fast it is back: ``python benches/recovery.py``.

One notebook of 22 cells (arrays, a frame, lists, a closure, objects, a 256 MB array and the cell ``big[5] = 1.0``) runs in a
fresh process each time: plain; with larder's recorder; with everything dilled after each cell (if dill is installed). The
restores happen in fresh processes too. Best of ``ROUNDS`` interleaved rounds; bytes are blocks on the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
ELEMENT_CELL = 15
CELLS = [
    "import numpy as np, pandas as pd, collections, math",
    "rng = np.random.default_rng(0)",
    "a = rng.random(1_000_000); b = a[::2]",
    "df = pd.DataFrame({'x': rng.random(200_000), 'y': rng.integers(0, 9, 200_000), 's': ['name'] * 200_000})",
    "big = rng.random(32_000_000)",
    "words = [f'w{i}' for i in range(100_000)]",
    "index = {w: i for i, w in enumerate(words)}",
    "class Model:\n    def __init__(self): self.w = rng.random((500, 500)); self.log = []\n    def step(self): self.w = self.w * .9; self.log.append(self.w.sum())",
    "m = Model()",
    "for _ in range(5): m.step()",
    "g = df.groupby('y').x.mean()",
    "df['z'] = df.x * 2",
    "top = df[df.x > .9]",
    "def make():\n    n = 0\n    def up():\n        nonlocal n; n += 1; return n\n    return up\nup = make()",
    "up(), up()",
    "big[5] = 1.5",
    "s = a.sum() + big.sum()",
    "words.append('last')",
    "e = np.linalg.svd(m.w)[1]",
    "counts = collections.Counter(len(w) for w in words)",
    "t = df.describe()",
    "result = (s, e.sum(), len(counts))",
]


def child(mode: str, folder: str) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    os.environ["LARDER_HOME"] = folder
    ip = InteractiveShell.instance()
    ip.history_manager.enabled = False
    ip.ast_node_interactivity = "none"
    state = Path(folder) / "state.dill"
    if mode == "larder":
        from larder import hooks, recovery

        hooks.install(ip)
        recovery.start(ip, "bench.ipynb")
    if mode == "dill":
        import dill

        hidden = set(ip.user_ns)
        dill.settings["recurse"] = True

        def save(result):
            with open(state, "wb") as file:
                dill.dump({k: v for k, v in ip.user_ns.items() if k not in hidden and not k.startswith("_")}, file)
                file.flush()
                os.fdatasync(file.fileno())

        ip.events.register("post_run_cell", save)
    times = []
    for cell in CELLS:
        began = time.perf_counter()
        result = ip.run_cell(cell, store_history=True)
        times.append(time.perf_counter() - began)
        assert result.success, cell
    used = sum(f.stat().st_blocks * 512 for f in Path(folder).rglob("*") if f.is_file())
    print(
        "\n" + json.dumps({"total": sum(times), "element": times[ELEMENT_CELL], "bytes": used, "times": times}),
        flush=True,
    )
    os._exit(0)


def back(mode: str, folder: str) -> None:
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    from IPython.core.interactiveshell import InteractiveShell

    os.environ["LARDER_HOME"] = folder
    ip = InteractiveShell.instance()
    ip.history_manager.enabled = False
    if mode == "larder":
        from larder import hooks, recovery

        hooks.install(ip)
        began = time.perf_counter()
        recovery.start(ip, "bench.ipynb")
    else:
        import dill

        began = time.perf_counter()
        with open(Path(folder) / "state.dill", "rb") as file:
            ip.user_ns.update(dill.load(file))
    took = time.perf_counter() - began
    ns = ip.user_ns
    import numpy as np

    right = {
        "element": ns["big"][5] == 1.5,
        "view": np.shares_memory(ns["a"], ns["b"]),
        "closure": ns["up"]() == 3,
        "class": type(ns["m"]) is ns["Model"],
    }
    print("\n" + json.dumps({"restore": took, "wrong": [k for k, v in right.items() if not v]}), flush=True)
    os._exit(0)


def run(*args: str) -> dict:
    out = subprocess.run([sys.executable, __file__, *args], stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", action="store_true", help="what each cell of larder's best round cost more")
    options = parser.parse_args()
    modes = ["plain", "larder"]
    try:
        import dill  # noqa: F401

        modes.append("dill")
    except ImportError:
        print("dill is not installed: left out")
    best: dict[str, dict] = {}
    for _ in range(ROUNDS):
        for mode in modes:
            with tempfile.TemporaryDirectory(dir=os.environ.get("LARDER_BENCH_DIR")) as folder:
                row = run("child", mode, folder)
                if mode != "plain":
                    row |= run("back", mode, folder)
            if mode not in best or row["total"] < best[mode]["total"]:
                best[mode] = row
    plain = best["plain"]
    print("| 22 cells | notebook | more than plain | `big[5] = 1.5` | on disk | restore | wrong after restore |")
    print("|---|---|---|---|---|---|---|")
    for mode, row in best.items():
        print(
            f"| {mode} | {row['total']:.2f} s | {row['total'] - plain['total']:.2f} s | {row['element'] * 1e3:.1f} ms "
            f"| {row['bytes'] / 1e6:.0f} MB | {row.get('restore', 0) * 1e3:.0f} ms | {', '.join(row.get('wrong', [])) or '-'} |"
        )
    if options.cells:
        for cell, mine, theirs in zip(CELLS, best["larder"]["times"], plain["times"], strict=True):
            print(f"{(mine - theirs) * 1e3:8.1f} ms  {cell.splitlines()[0][:70]}")


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ("child", "back"):
        {"child": child, "back": back}[sys.argv[1]](sys.argv[2], sys.argv[3])
    else:
        main()
