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

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parent))
import loops
import peers
import programs
import versions

VERSIONS = ("3.12", "3.13", "3.14", "3.15")
START = """
import sys, time, larder, larder.optimiser
from larder import _larder
began = time.perf_counter()
sys.monitoring.use_tool_id(sys.monitoring.OPTIMIZER_ID, "bench")
why = larder.optimiser.start(None)
took = time.perf_counter() - began
assert not why, why
began = time.perf_counter()
build = sys.version_info[:2], sys.hexversion, False, False
_larder.trace_check(*build, larder.optimiser._samples(), True)
assert not larder.optimiser._self_test()
print(1000 * took, 1000 * (time.perf_counter() - began))
"""


def asked(command: list[str], env: dict[str, str]) -> str:
    env = {**os.environ, **env}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


def start(engine: peers.Engine) -> tuple[float, float]:
    """Milliseconds to start the optimiser, and of them the self-test: medians of fresh processes."""
    said = [asked([*engine.command, "-c", START], engine.env) for _ in range(7)]
    times = [tuple(map(float, one.split())) for one in said]
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
        exact = asked([str(python), "-c", "import platform; print(platform.python_version())"], {})
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
        heads.append((exact, start(ours)))
        means += [f"**{loops.geomean(ratios[when]):.2f}**" for when in ratios]
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"\nSpeed-up over the same version without larder, {load}\n", file=sys.stderr)
    print("| functions | " + " | ".join(f"{name} cold | warm" for name, _ in heads) + " |")
    print("|---|" + "---:|" * (2 * len(heads)))
    for name, cells in lines.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("| **geomean** | " + " | ".join(means) + " |")
    print("| start, of it self-test, ms | " + " | ".join(f"{a:.1f} | {b:.2f}" for _, (a, b) in heads) + " |")
    sys.exit("\n".join(differ) or None)


if __name__ == "__main__":
    main()
