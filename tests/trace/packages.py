"""Well-known packages' own tests, plain and with every loop compiled at once: each test must end the same.

    python tests/trace/packages.py [--only networkx ...] [--time] [--jobs 2] [--python PYTHON] [--json FILE]

Sources come from PyPI (``pip download``, pinned below) and lie beside the benches' peers. Four test files run in a process
of their own, plain and traced, so that a crash is a difference of those; what differs is run plain again, and tests that do
not end the same even so are told as unsteady. ``--time`` instead compares processor time and memory: plain, with
loops of cells compiled (nothing, in a package) and with all code compiled by the default thresholds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
SECONDS = 900


@dataclass(frozen=True)
class Package:
    pin: str
    tests: tuple[str, ...]
    """Patterns of test files within the source distribution."""
    needs: tuple[str, ...] = ()
    out: tuple[str, ...] = ()
    """Files that are left out, and tests as ``-k`` has them."""
    k: str = ""
    source: str = ""
    """Where its modules lie, if not in ``src`` or the top."""
    options: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """Variables set to 1."""


IGNORE = ("-W", "ignore::pytest.PytestRemovedIn10Warning")
MARKS = ("-W", "ignore::pytest.PytestUnknownMarkWarning")
SYMPY = ("core", "polys", "ntheory", "printing", "combinatorics", "logic")
PACKAGES = {
    p.pin.partition("==")[0]: p
    for p in (
        Package("attrs==26.1.0", ("tests/test_*.py",), ("cloudpickle",), out=("test_mypy", "test_pyright")),
        Package("bitstring==5.0.0", ("tests/test_*.py",), ("gfloat",)),
        Package("black==26.10.1", ("tests/test_*.py",), ("aiohttp", "parameterized"), options=IGNORE),
        Package("bleach==6.4.0", ("tests/test_*.py",), ("html5lib",)),
        Package("boltons==26.2.0", ("tests/test_*.py",)),
        Package("cattrs==26.2.1", ("tests/**/test_*.py",), ("immutables", "pyyaml", "tomlkit")),
        Package("chardet==7.7.0", ("tests/test_*.py",)),
        Package("charset-normalizer==3.5.2", ("tests/test_*.py",)),
        Package("chess==1.11.2", ("test.py",)),
        Package("click==8.5.1", ("tests/test_*.py",)),
        Package("deap==1.4.4", ("tests/**/test_*.py",), ("numpy",)),
        Package("docutils==0.23", ("test/**/test_*.py",), ("pillow",)),
        Package("ecdsa==0.19.2", ("src/ecdsa/test_*.py",)),
        Package("fonttools==4.68.0", ("Tests/**/*_test.py", "Tests/**/test_*.py"), source="Lib"),
        Package("idna==3.20", ("tests/test_*.py",)),
        Package("intervaltree==3.2.1", ("test/**/*_test.py", "test/**/test_*.py")),
        Package("jedi==0.20.1", ("test/test_*.py", "test/test_*/test_*.py")),
        Package("jinja2==3.1.6", ("tests/test_*.py",), ("trio",)),
        Package("jsonschema==4.26.0", ("jsonschema/tests/test_*.py",)),
        Package("lark==1.3.1", ("tests/test_*.py",), ("regex", "interegular", "js2py")),
        Package("mako==1.4.3", ("test/**/test_*.py",)),
        Package("markdown==3.11.3", ("tests/test_*.py", "tests/**/test_*.py")),
        Package("mistune==3.4.0", ("tests/test_*.py",)),
        Package("more-itertools==11.2.1", ("tests/test_*.py",)),
        Package("mpmath==1.4.1", ("mpmath/tests/test_*.py",)),
        Package("networkx==3.7", ("networkx/**/test_*.py",)),
        Package("packaging==26.3", ("tests/**/test_*.py",), ("pretend", "tomli_w")),
        Package("parso==0.8.7", ("test/test_*.py",)),
        Package("pathspec==1.1.1", ("tests/test_*.py",)),
        Package("pint==0.26.2", ("pint/testsuite/test_*.py",), ("pytest-subtests", "uncertainties")),
        Package("prettytable==3.18.0", ("tests/test_*.py",), ("pytest-lazy-fixtures",)),
        Package("pyasn1==0.6.5", ("tests/**/test_*.py",)),
        Package("pycparser==3.12", ("tests/test_*.py",)),
        Package("pyflakes==4.1.0", ("pyflakes/test/test_*.py",)),
        Package("pygments==2.21.0", ("tests/test_*.py", "tests/*/test_*.py"), ("lxml", "wcag-contrast-ratio")),
        Package("pyparsing==3.3.3", ("tests/test_*.py",), ("railroad-diagrams", "jinja2", "matplotlib")),
        Package("pyrsistent==0.20.0", ("tests/*_test.py",)),
        Package("python-dateutil==4.0.0", ("tests/**/test_*.py",), ("freezegun", "six"), options=MARKS),
        Package("simpy==4.1.2", ("tests/test_*.py",)),
        Package("sqlglot==30.30.0", ("tests/test_*.py", "tests/dialects/test_*.py"), ("pytz", "duckdb", "pandas")),
        Package("sqlparse==0.6.1", ("tests/test_*.py",)),
        Package("sympy==1.14.0", tuple(f"sympy/{part}/tests/test_*.py" for part in SYMPY)),
        Package("tabulate==0.10.0", ("test/test_*.py",), ("wcwidth",)),
        Package("textdistance==4.6.3", ("tests/**/test_*.py",), ("numpy",)),
        Package("tinycss2==1.5.1", ("tests/test_*.py",)),
        Package("tomlkit==0.15.2", ("tests/test_*.py",), ("pyyaml",)),
        Package("toolz==1.2.0", ("toolz/**/tests/test_*.py",)),
        Package("uncertainties==3.2.3", ("tests/**/test_*.py",), ("numpy",)),
        Package("wcwidth==0.9.4", ("tests/test_*.py",), out=("test_check_release", "test_setup"), env=("WCWIDTH_PYTHON",)),
        # The test left out waits for a change that its server's watcher may have missed, for ever: on a loaded machine it does.
        Package("werkzeug==3.1.9", ("tests/**/test_*.py",), ("pytest-timeout", "ephemeral-port-reserve", "cffi", "watchdog"),
                k="not test_reloader_sys_path"),
    )
}  # fmt: skip


def home() -> Path:
    sys.path.insert(0, str(REPOSITORY / "benches/trace"))
    import peers

    return peers.cache() / "packages"


def fetch(package: Package) -> Path:
    """The unpacked source distribution."""
    name, _, version = package.pin.partition("==")
    folder = home() / "sources" / f"{name}-{version}"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as fresh:
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
            subprocess.run([*pip, "-d", fresh, package.pin], check=True, stdin=subprocess.DEVNULL)
            (archive,) = Path(fresh).iterdir()
            with tarfile.open(archive) as tar:
                tar.extractall(fresh, filter="data")
            archive.unlink()
            (unpacked,) = Path(fresh).iterdir()
            folder.parent.mkdir(parents=True, exist_ok=True)
            half = folder.with_name(f"{folder.name}.{os.getpid()}")
            shutil.copytree(unpacked, half)
            half.rename(folder)
    return folder


def environment(base: str, chosen: list[Package]) -> Path:
    """A virtual environment of this Python, with the packages and what their tests need."""
    uv = Path(sys.executable).with_name("uv")
    version = subprocess.run(
        [base, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    ).stdout.strip()
    folder = home() / version
    python = folder / "bin/python"
    if not python.exists():
        subprocess.run([uv, "venv", "-q", "--python", base, folder], check=True)
    install = [uv, "pip", "install", "-q", "--only-binary", ":all:", "--python", python]
    done = folder / "installed"
    have = done.read_text().split() if done.exists() else []
    for wanted in ["pytest", "hypothesis", *(w for p in chosen for w in (p.pin, *p.needs))]:
        if wanted not in have:
            # What has no wheel for this version is missed by both runs alike.
            subprocess.run([*install, wanted], stdin=subprocess.DEVNULL, capture_output=True)
            have.append(wanted)
    done.write_text("\n".join(have))
    return python


def run(python: Path, package: Package, folder: Path, files: list[Path], mode: str) -> dict:
    """Runs test files in one process; what became of each test, or how the process ended."""
    source = next(folder / part for part in (package.source, "src", ".") if part and (folder / part).is_dir())
    with tempfile.TemporaryDirectory() as fresh:
        out = Path(fresh, "out.json")
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "LARDER", "VIRTUAL_ENV"))
        }
        env |= {
            "PYTHONPATH": os.pathsep.join(map(str, (source, REPOSITORY / "python", HERE))),
            "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LARDER_HOME": fresh, "TMPDIR": fresh,
            **dict.fromkeys(package.env, "1"), "LARDER_PACKAGES_MODE": mode, "LARDER_PACKAGES_OUT": str(out),
        }  # fmt: skip
        command = [python, "-X", "faulthandler", "-m", "pytest", "-q", "-p", "packages_plugin", "-p", "no:cacheprovider",
                   "--continue-on-collection-errors",
                   "-o", "addopts=", *package.options, *files]  # fmt: skip
        if package.k:
            command += ["-k", package.k]
        try:
            done = subprocess.run(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"outcomes": {"": [f"did not end within {SECONDS} s"]}}
        if not out.exists():
            return {"outcomes": {"": [f"ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}"]}}
        answer = json.loads(out.read_text())
        if done.returncode not in (0, 1, 5):  # neither all passed, nor some failed, nor nothing to run
            answer["outcomes"][""] = [f"pytest ended with {done.returncode}"]
            print(f"{mode}: {files}\n{done.stdout[-1000:]}", file=sys.stderr, flush=True)
        return answer


def differences(one: dict, other: dict) -> dict[str, tuple]:
    names = one["outcomes"].keys() | other["outcomes"].keys()
    if "" in names:  # a process that did not come to its end: its tests tell nothing
        names = {""}
    pairs = {name: (one["outcomes"].get(name), other["outcomes"].get(name)) for name in sorted(names)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def compare(python: Path, package: Package, folder: Path, files: list[Path]) -> dict:
    plain, traced = (run(python, package, folder, files, mode) for mode in ("plain", "traced"))
    differ = differences(plain, traced)
    unsteady: dict[str, tuple] = {}
    if differ:
        unsteady = differences(plain, run(python, package, folder, files, "plain"))
    ended = list(itertools.chain.from_iterable(plain["outcomes"].values()))
    return {
        "files": [str(file.relative_to(folder)) for file in files], "tests": sum(told.startswith("call") for told in ended),
        "passed": sum(told.startswith("call passed") for told in ended), "traces": traced.get("traces", 0),
        "native": traced.get("iterations_native", 0), "broken": traced.get("broken", []),
        "differ": {name: pair for name, pair in differ.items() if name not in unsteady}, "unsteady": sorted(unsteady),
    }  # fmt: skip


def test_files(package: Package, folder: Path) -> list[Path]:
    found = {path for pattern in package.tests for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in found if path.stem not in package.out)


def groups(files: list[Path], together: int) -> list[list[Path]]:
    """Files for one process; of one name only one, for pytest imports some by their name alone."""
    found: list[list[Path]] = []
    for file in files:
        group = next((g for g in found if len(g) < together and all(f.name != file.name for f in g)), None)
        if group is None:
            found.append([file])
        else:
            group.append(file)
    return found


def check(python: Path, chosen: list[Package], jobs: int, together: int) -> list[dict]:
    rows = []
    print(
        "| package | files | tests | passed plain | traces | native iterations | differ |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    with ThreadPoolExecutor(jobs) as pool:
        waiting = []
        for package in chosen:
            folder = fetch(package)
            files = test_files(package, folder)
            parts = [pool.submit(compare, python, package, folder, group) for group in groups(files, together)]
            waiting.append((package, files, parts))
        for package, files, futures in waiting:
            parts = [future.result() for future in futures]
            row = {key: sum(part[key] for part in parts) for key in ("tests", "passed", "traces", "native")}
            row |= {
                "package": package.pin,
                "parts": parts,
                "differ": sum(len(part["differ"]) + len(part["broken"]) for part in parts),
            }
            rows.append(row)
            print(
                f"| {package.pin.replace('==', ' ')} | {len(files)} | {row['tests']:,} | {row['passed']:,} | {row['traces']:,} "
                f"| {row['native']:,} | {row['differ']} |", flush=True,
            )  # fmt: skip
            for part in parts:
                for name, (plain, traced) in part["differ"].items():
                    print(
                        f"  {part['files']} {name}\n    plain  {plain}\n    traced {traced}",
                        file=sys.stderr,
                        flush=True,
                    )
                if part["broken"] or part["unsteady"]:
                    print(
                        f"  {part['files']}: internal errors {part['broken']}, unsteady {part['unsteady']}",
                        file=sys.stderr,
                    )
    return rows


def measure(python: Path, chosen: list[Package], rounds: int) -> list[dict]:
    """Processor seconds and peak memory of whole suites, the modes by turns; the best of each."""
    rows = []
    print(
        "| package | plain, s | cells | all code | memory plain, MB | cells | all code |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    for package in chosen:
        folder = fetch(package)
        files = test_files(package, folder)
        modes = ("plain", "cells", "all")
        best = {mode: (math.inf, math.inf) for mode in modes}
        for _ in range(rounds):
            for mode in modes:
                got = [run(python, package, folder, group, mode) for group in groups(files, len(files))]
                seconds = sum(one.get("seconds", math.inf) for one in got)
                memory = max(one.get("rss", math.inf) for one in got)
                best[mode] = (min(best[mode][0], seconds), min(best[mode][1], memory))
        rows.append({"package": package.pin, "best": best})
        base = best["plain"]
        ratios = [[f"{best[mode][k] / base[k]:.3f}" for mode in modes[1:]] for k in (0, 1)]
        cells = [f"{base[0]:.2f}", *ratios[0], f"{base[1] / 1e6:.0f}", *ratios[1]]
        print(f"| {package.pin.replace('==', ' ')} | {' | '.join(cells)} |", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], choices=PACKAGES, metavar="NAME")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--together", type=int, default=4, help="test files to a process")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen = [PACKAGES[name] for name in options.only] or list(PACKAGES.values())
    python = environment(options.python, chosen)
    rows = (
        measure(python, chosen, options.rounds)
        if options.time
        else check(python, chosen, options.jobs, options.together)
    )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0 if options.time else int(any(row["differ"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
