"""Experiment 8: what placement by variable is worth when memory is short.

    sudo python benches/heat/benefit.py [--churn drift|half] [--rounds 3] [--limit 900M] [--directory DIR]

24 arrays of 64 MiB in a notebook whose process may have 900 MiB. Every cell works on six of them, in place. `--churn drift`:
four times over, and none to two of the six are others than in the cell before; `half`: twice over, and three are others.
Between cells are pauses of half a second, as when somebody reads a result; they are not counted. Four ways, interleaved,
each a process of its own in a memory control group:

    free     no limit
    swap     the kernel's reclaim and a swap file
    file     arrays in larder's tier file, the kernel's own reclaim
    larder   arrays in the tier file, `larder.tier.auto()`

Seconds are those of the cells and of larder's hooks around them, less those in which the machine's other work had the
core. All three media are files in one directory. Prints seconds of each (median), and how much of the time lost to the kernel
larder wins back: `(kernel - larder) / (kernel - free)`. Needs root: a control group and `swapon`. Swap is on only while
this runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from waits import core_wait

ARRAYS, MIB, CELL = 24, 64, 6
PASSES = {"drift": 4, "half": 2}
PAUSE_S = 0.5


def cells(seed: int, count: int, churn: str) -> list[list[int]]:
    """Six arrays a cell, of which some are others than in the cell before."""
    rng = random.Random(seed)
    now = rng.sample(range(ARRAYS), CELL)
    out = []
    for _ in range(count):
        changed = rng.sample(range(CELL), rng.choice([0, 1, 2]) if churn == "drift" else CELL // 2)
        for place in changed:
            now[place] = rng.choice([at for at in range(ARRAYS) if at not in now])
        out.append(list(now))
    return out


def child(mode: str, seed: int, count: int, churn: str, directory: str, limit: str = "cgroup") -> None:
    from IPython.core.interactiveshell import InteractiveShell

    import larder
    from larder import tier

    ip = InteractiveShell.instance()
    ip.history_manager.enabled = False
    larder.load_ipython_extension(ip)
    if mode in ("file", "larder"):
        tier.enable(directory)
    if mode == "larder":
        tier.auto(limit)

    def run(source: str) -> None:
        ip.run_cell(source).raise_error()

    run("import numpy as np")
    for at in range(ARRAYS):
        run(f"a{at} = np.full({MIB << 17}, {at}.0)")
    seconds = 0.0
    for names in cells(seed, count, churn):
        time.sleep(PAUSE_S)
        body = "".join(f"\n    a{at} += 1; a{at}.sum()" for at in names)
        began, waited = time.perf_counter(), core_wait()
        run(f"for _ in range({PASSES[churn]}):{body}")
        seconds += time.perf_counter() - began - (core_wait() - waited)
    used = [0] * ARRAYS
    for names in cells(seed, count, churn):
        for at in names:
            used[at] += PASSES[churn]
    right = all(ip.user_ns[f"a{at}"][:: 1 << 12].tolist().count(at + used[at]) == MIB << 5 for at in range(ARRAYS))
    print(json.dumps({"seconds": seconds, "right": right}))


class Group:
    """A memory control group, version 1 or 2."""

    def __init__(self, limit: int | None) -> None:
        one = Path("/sys/fs/cgroup/memory")
        two = Path("/sys/fs/cgroup")
        if (one / "memory.limit_in_bytes").exists():
            self.path, name = one / f"larder-bench-{os.getpid()}", "memory.limit_in_bytes"
        elif (two / "cgroup.controllers").exists() and "memory" in (two / "cgroup.controllers").read_text():
            self.path, name = two / f"larder-bench-{os.getpid()}", "memory.max"
        else:
            sys.exit("no memory control group here (cgroup v1 or v2 with the memory controller)")
        self.path.mkdir()
        if limit is not None:
            (self.path / name).write_text(str(limit))

    def run(self, command: list[str]) -> dict:
        procs = self.path / "cgroup.procs"
        done = subprocess.run(
            command, preexec_fn=lambda: procs.write_text("0"), capture_output=True, text=True, check=False
        )
        if done.returncode:
            return {"seconds": None, "why": (done.stderr or str(done.returncode))[-300:]}
        return json.loads(done.stdout.splitlines()[-1])

    def close(self) -> None:
        for _ in range(50):
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--churn", choices=list(PASSES), default="drift")
    parser.add_argument("--cells", type=int, default=16)
    parser.add_argument("--limit", default="900M")
    parser.add_argument("--directory", default=tempfile.gettempdir())
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child[0], int(options.child[1]), options.cells, options.churn, options.directory)
    if os.geteuid():
        sys.exit("this needs root: it makes a memory control group and a swap file")
    from larder import tier  # noqa: F401  (before its parts)
    from larder._auto import parse_bytes

    limit = parse_bytes(options.limit)
    modes = ["free", "swap", "file", "larder"]
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    swap = Path(options.directory, f"larder-bench-{os.getpid()}.swap")
    try:
        subprocess.run(["fallocate", "-l", "3G", swap], check=True)
        swap.chmod(0o600)
        subprocess.run(["mkswap", "-q", swap], check=True, stdout=subprocess.DEVNULL)
        for _ in range(options.rounds):
            seed = random.SystemRandom().randrange(1 << 30)
            for mode in random.sample(modes, len(modes)):
                if mode == "swap":
                    subprocess.run(["swapon", swap], check=True)
                group = Group(None if mode == "free" else limit)
                try:
                    command = [sys.executable, __file__, "--child", mode, str(seed), "--cells", str(options.cells)]
                    found = group.run([*command, "--directory", options.directory, "--churn", options.churn])
                finally:
                    group.close()
                    if mode == "swap":
                        subprocess.run(["swapoff", swap], check=True)
                print(json.dumps({"mode": mode, "seed": seed} | found), file=sys.stderr, flush=True)
                assert found.get("right", False), found
                seconds[mode].append(found["seconds"])
    finally:
        subprocess.run(["swapoff", swap], check=False, stderr=subprocess.DEVNULL)
        swap.unlink(missing_ok=True)
    middle = {mode: statistics.median(values) for mode, values in seconds.items()}
    recovered = {
        f"recovered_of_{mode}": round((middle[mode] - middle["larder"]) / (middle[mode] - middle["free"]), 3)
        for mode in ("swap", "file")
    }
    print(json.dumps({mode: round(value, 2) for mode, value in middle.items()} | recovered))


if __name__ == "__main__":
    main()
