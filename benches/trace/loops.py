"""The ten loop programs on every Python there is, interleaved in one run, results compared.

    python benches/trace/loops.py [--rounds 5] [--only NAME ...] [--engines NAME ...] [--stats] [--json FILE]

Times are processor seconds, so other work on the machine disturbs them little. ``cold`` is the first run in a fresh process,
with all recording and compiling; ``warm`` the best of the later ones. Figures are speed-ups over CPython 3.13: more is
better, and below 1 is a loss.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import peers
import programs


def measure(name: str, style: str, engines: list[peers.Engine], rounds: int) -> dict[str, dict]:
    """engine -> cold and warm seconds, or the error."""
    source = programs.function(name) if style == "function" else programs.cell(name)
    workers = [peers.Worker(engine, style, source, programs.SIZES[name]) for engine in engines]
    found: dict[str, dict] = {w.engine.name: {"times": [], **({"error": w.error} if w.error else {})} for w in workers}
    for _ in range(rounds + 1):
        for worker in workers:
            row = found[worker.engine.name]
            if "error" in row:
                continue
            answer = worker.ask("run")
            if "error" in answer:
                row["error"] = answer["error"]
                continue
            row["times"].append(answer["seconds"])
            row["digest"], row["rounded"] = answer["digest"], answer["rounded"]
    for worker in workers:
        row = found[worker.engine.name]
        if "error" not in row:
            row["cold"], row["warm"] = row["times"][0], min(row["times"][1:])
            if worker.engine.mode == "larder":
                row["stats"] = worker.ask("stats")
        worker.close()
    base = found[engines[0].name]
    for engine in engines[1:]:
        row, key = found[engine.name], "rounded" if engine.mode == "numba" else "digest"
        if "error" not in row and row[key] != base[key]:
            row["error"] = "another result"
    return found


def geomean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def table(title: str, columns: list[tuple[str, str, str, str]], rows: dict[str, dict[str, dict]]) -> str:
    """Columns: heading, engine, cold or warm, baseline engine."""
    lines = [f"| {title} | " + " | ".join(c[0] for c in columns) + " |", "|---|" + "---:|" * len(columns)]
    ratios: dict[str, list[float]] = {c[0]: [] for c in columns}
    for name, row in rows.items():
        cells = []
        for heading, engine, when, base in columns:
            if engine not in row or "error" in row[engine]:
                cells.append("-")
                continue
            ratio = row[base][when] / row[engine][when]
            ratios[heading].append(ratio)
            cells.append(f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    means = [f"{geomean(ratios[c[0]]):.2f}" if ratios[c[0]] else "-" for c in columns]
    counts = [f" ({len(ratios[c[0]])})" if len(ratios[c[0]]) != len(rows) else "" for c in columns]
    lines.append("| **geomean** | " + " | ".join(f"**{m}**{n}" for m, n in zip(means, counts, strict=True)) + " |")
    return "\n".join(lines)


def sizes(rows: dict[str, dict[str, dict]]) -> str:
    """Bytes a trace of larder's takes, over all programs, as a table of one line each."""
    lines = [
        "| functions | traces | machine code with exits, B | kept beside it, B | B per trace | compile ms |",
        "|---|" + "---:|" * 5,
    ]
    whole = [0, 0, 0, 0.0]
    for name, row in rows.items():
        loops = row.get("larder", {}).get("stats", [])
        one = [sum(loop[key] for loop in loops) for key in ("traces", "code_bytes", "metadata_bytes", "compile ms")]
        whole = [a + b for a, b in zip(whole, one, strict=True)]
        if one[0]:
            lines.append(
                f"| {name} | {one[0]} | {one[1]:,} | {one[2]:,} | {(one[1] + one[2]) / one[0]:.0f} | {one[3]:.1f} |"
            )
    if whole[0]:
        mean = (whole[1] + whole[2]) / whole[0]
        lines.append(
            f"| **all** | **{whole[0]}** | **{whole[1]:,}** | **{whole[2]:,}** | **{mean:.0f}** | {whole[3]:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--engines", nargs="*", default=[])
    parser.add_argument("--stats", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = peers.engines()
    engines = [e for i, e in enumerate(found) if i == 0 or not options.engines or e.name in options.engines]
    base, names = engines[0].name, {e.name for e in engines}
    results: dict[str, dict[str, dict[str, dict]]] = {}
    for style in ("function", "cell"):
        rows = results[style] = {}
        for name in programs.SIZES:
            if options.only and not any(name.startswith(o) for o in options.only):
                continue
            rows[name] = measure(name, style, [e for e in engines if style in e.styles], options.rounds)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(
        f"Speed-up over {base}, {options.rounds} interleaved rounds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n"
    )
    columns = [("larder cold", "larder", "cold", base), ("larder warm", "larder", "warm", base)]
    columns += [(e, e, "warm", base) for e in ("3.14 JIT", "3.15 JIT", "PyPy", "Numba") if e in names]
    columns += [("PyPy cold", "PyPy", "cold", base)] if "PyPy" in names else []
    if "own 3.13" in names:
        columns += [("larder warm over the plain build in .venv", "larder on own", "warm", "own 3.13")]
    print(table("functions", columns, results["function"]), "\n")
    print(table("module-level cells", columns[:2], results["cell"]))
    print("\n" + sizes(results["function"]) + "\n")
    for style, rows in results.items():
        for name, row in rows.items():
            for engine, cell in row.items():
                if "error" in cell:
                    print(f"{style} {name}: {engine}: {cell['error']}")
                for loop in cell.get("stats", []) if options.stats else []:
                    print(f"{style} {name}: {engine}: {loop}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    if any(
        cell.get("error") == "another result"
        for rows in results.values()
        for row in rows.values()
        for cell in row.values()
    ):
        sys.exit("a result differs")


if __name__ == "__main__":
    main()
