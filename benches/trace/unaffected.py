"""Code that is not a notebook's: pyperformance's pure-Python programs with larder watching and without.

    python benches/trace/unaffected.py [--rounds 9] [--only NAME ...]

Each program runs in two processes of the same CPython, by turns: one plain, one with ``larder.trace.enable()`` as a kernel
calls it, which watches loops typed into cells and leaves libraries alone. Figures are processor seconds with larder over
without, each the best of all rounds: 1.00 is no difference. ``all`` is the same with every loop compiled, which nobody gets
unasked. The programs come from the `pyperformance` package, under a stand-in for `pyperf` that only hands out the function.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import peers

PROGRAMS = (
    "chaos", "comprehensions", "coroutines", "deepcopy", "deltablue", "fannkuch", "float", "generators", "go", "hexiom",
    "json_dumps", "logging", "mdp", "nbody", "nqueens", "pidigits", "pyflate", "raytrace", "regex_compile", "richards",
    "scimark", "spectral_norm", "unpack_sequence",
)  # fmt: skip
SECONDS_MIN = 0.1

WORKER = r"""
import importlib.util, json, os, sys, time, types
path, mode = sys.argv[1], sys.argv[2]
found = []

class Runner:
    def __init__(self, *args, **kwargs):
        self.metadata = {}
        import argparse
        self.argparser = argparse.ArgumentParser()
    def parse_args(self, args=None):
        self.args, _ = self.argparser.parse_known_args([])
        return self.args
    def bench_func(self, name, func, *args, inner_loops=None, **kwargs):
        found.append(lambda: func(*args))
    def bench_time_func(self, name, func, *args, inner_loops=None, **kwargs):
        found.append(lambda: func(1, *args))
    def bench_async_func(self, name, func, *args, **kwargs):
        import asyncio
        found.append(lambda: asyncio.run(func(*args)))

pyperf = types.ModuleType("pyperf")
pyperf.Runner, pyperf.perf_counter, pyperf.python_implementation = Runner, time.perf_counter, lambda: "cpython"
sys.modules["pyperf"] = pyperf
if mode != "plain":
    import larder
    if not larder.trace.enable(watch_all=mode == "all"):
        raise SystemExit(larder.trace.stats()["why"])
sys.argv = [path]
os.chdir(os.path.dirname(path))
sys.path.insert(0, os.path.dirname(path))
out, sys.stdout = sys.stdout, sys.stderr
source = open(path).read()
exec(compile(source, path, "exec"), {"__name__": "__main__", "__file__": path})
print(len(found), file=out, flush=True)
for line in sys.stdin:
    times = range(int(line))
    began = time.process_time()
    for _ in times:
        for run in found:
            run()
    print(time.process_time() - began, file=out, flush=True)
"""


def programs() -> Path:
    """The folder of the programs, fetched if need be."""
    home = peers.cache() / "pyperformance"
    if not (home / "complete").exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", home, "pyperformance"], check=True
        )
        (home / "complete").touch()
    return home / "pyperformance/data-files/benchmarks"


class Worker:
    def __init__(self, engine: peers.Engine, path: Path, mode: str) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self.process = subprocess.Popen(
            [*engine.command, "-c", WORKER, str(path), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**env, **engine.env, "PYTHONHASHSEED": "0"},
        )

    def read(self) -> str | None:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip() or None

    def run(self, times: int) -> float | None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{times}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = self.read()
        return float(answer) if answer else None

    def close(self) -> str:
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        assert self.process.stderr is not None
        told = self.process.stderr.read()
        self.process.wait()
        return told.strip().rpartition("\n")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    engine = next(e for e in peers.engines() if e.mode == "larder" and "cell" in e.styles)
    modes = ("plain", "cells", "all")
    results: dict[str, dict[str, float]] = {}
    for name in PROGRAMS:
        path = programs() / f"bm_{name}" / "run_benchmark.py"
        if (options.only and name not in options.only) or not path.exists():
            continue
        workers = {mode: Worker(engine, path, mode) for mode in modes}
        best = {mode: math.inf for mode in modes}
        for worker in workers.values():
            worker.read()
        # Short programs are repeated until a round takes a tenth of a second.
        once = [worker.run(1) for worker in workers.values()] and workers["plain"].run(1)
        times = max(1, round(SECONDS_MIN / once)) if once else 1
        for turn in range(options.rounds + 1):
            for mode, worker in workers.items():
                took = worker.run(times)
                if took is not None and turn:
                    best[mode] = min(best[mode], took / times)
        told = {mode: worker.close() for mode, worker in workers.items()}
        if math.isinf(max(best.values())):
            print(f"{name}: {[f'{m}: {told[m]}' for m in modes if math.isinf(best[m])]}", file=sys.stderr)
            continue
        results[name] = best
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; processor seconds with larder over without\n")
    print("| program | plain, ms | larder | all code compiled |\n|---|---:|---:|---:|")
    for name, best in results.items():
        base = best["plain"]
        print(f"| {name} | {base * 1e3:.3g} | {best['cells'] / base:.3f} | {best['all'] / base:.3f} |")
    for mode in modes[1:]:
        ratios = [best[mode] / best["plain"] for best in results.values()]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"\n{mode}: geometric mean {mean:.3f}, worst {max(ratios):.3f}, of {len(ratios)}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
