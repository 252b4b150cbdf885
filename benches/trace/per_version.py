"""The ten loop programs on every CPython larder serves: optimised against plain, on that same version, in one run.

    python benches/trace/per_version.py [--rounds 3] [3.12 3.13 ...]

Interpreters are those of `scripts/versions.py`: pyenv's or the machine's own first, else Debian's. Times are processor
seconds; ``cold`` is the first run in a fresh process, ``warm`` the best of the later ones. The last columns are what
`%trace on` costs once in a process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "scripts")]
import loops
import peers
import programs
import versions

VERSIONS = ("3.12", "3.13", "3.14", "3.15")
START = """
import sys, time, larder, larder.optimiser
began = time.perf_counter()
sys.monitoring.use_tool_id(sys.monitoring.OPTIMIZER_ID, "bench")
why = larder.optimiser.start(None)
took = time.perf_counter() - began
assert not why, why
began = time.perf_counter()
assert not larder.optimiser._self_test()
print(1000 * took, 1000 * (time.perf_counter() - began))
"""


def start(engine: peers.Engine) -> tuple[float, float]:
    """Milliseconds to start the optimiser, and of them the self-test: medians of fresh processes."""
    env = {**os.environ, **engine.env}
    said = [subprocess.run([*engine.command, "-c", START], env=env, capture_output=True, text=True, check=True) for _ in range(7)]
    times = [tuple(map(float, one.stdout.split())) for one in said]
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    options = parser.parse_args()
    packages = f"{peers.ROOT / 'python'}:{next((peers.ROOT / '.venv/lib').glob('python3*'))}/site-packages"
    lines: dict[str, list[str]] = {name: [] for name in programs.SIZES}
    means, heads, differ = [], [], []
    for version in options.versions:
        python = versions.find(version)
        if python is None:
            print(f"CPython {version}: not here", file=sys.stderr)
            continue
        exact = subprocess.run([python, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True)
        plain = peers.Engine("plain", [str(python)])
        ours = peers.Engine("larder", [str(python)], "larder", {"PYTHONPATH": packages})
        ratios: dict[str, list[float]] = {"cold": [], "warm": []}
        for name in programs.SIZES:
            row = loops.measure(name, "function", [plain, ours], options.rounds)
            if "error" in row["larder"]:
                differ.append(f"{version} {name}: {row['larder']['error']}")
                lines[name] += ["-", "-"]
                continue
            for when, found in ratios.items():
                found.append(row["plain"][when] / row["larder"][when])
                lines[name].append(f"{found[-1]:.2f}" if found[-1] < 10 else f"{found[-1]:.1f}")
            print(".", end="", file=sys.stderr, flush=True)
        heads.append((exact.stdout.strip(), start(ours)))
        means += [f"**{loops.geomean(ratios[when]):.2f}**" for when in ratios]
    print(f"\nSpeed-up over the same version without larder, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n", file=sys.stderr)
    print("| functions | " + " | ".join(f"{name} cold | warm" for name, _ in heads) + " |")
    print("|---|" + "---:|" * (2 * len(heads)))
    for name, cells in lines.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("| **geomean** | " + " | ".join(means) + " |")
    print("| start, of it self-test, ms | " + " | ".join(f"{a:.1f} | {b:.2f}" for _, (a, b) in heads) + " |")
    sys.exit("\n".join(differ) or None)


if __name__ == "__main__":
    main()
