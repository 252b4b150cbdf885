"""Other Pythons to measure beside ours: Debian's CPython 3.13, 3.14 and 3.15 (both with their JIT) and PyPy, and Numba.

Debian's packages are downloaded once and unpacked under ``~/.cache/larder/peers`` without being installed; they run through
their own dynamic loader, so the system's C library does not matter. Numba gets a virtual environment of its own.

    python benches/trace/peers.py        # fetch, and say what is there
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("python3.13", "python3.14", "python3.15", "pypy3")
TESTS = ("libpython3.14-testsuite", "libpython3.15-testsuite")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@dataclass
class Engine:
    """One way to run a program: a command, its environment, and what the worker does before it runs."""

    name: str
    command: list[str]
    mode: str = "plain"
    env: dict[str, str] = field(default_factory=dict)
    styles: tuple[str, ...] = ("function",)


def cache() -> Path:
    return Path(os.environ.get("LARDER_PEERS") or Path.home() / ".cache/larder/peers")


def _apt(*words: str, cwd: Path | None = None) -> None:
    base = cache() / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "state/status").touch()
    signed = f"[signed-by={KEYRING}] " if Path(KEYRING).exists() else ""
    (base / "etc/sources.list").write_text(f"deb {signed}http://deb.debian.org/debian sid main\n")
    options = {
        "Dir::State": base / "state",
        "Dir::State::status": base / "state/status",
        "Dir::Cache": base / "cache",
        "Dir::Etc::sourcelist": base / "etc/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Architecture": "amd64",
        "Debug::NoLocking": "1",
    }
    told = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    subprocess.run(["apt-get", "-qq", *told, *words], check=True, capture_output=True, text=True, timeout=900, cwd=cwd)


def debian() -> Path | None:
    """The folder with Debian's Pythons, fetched if need be; None, with the reason printed, when that fails."""
    root = cache() / "root"
    if not (cache() / "complete").exists():
        try:
            _apt("update")
            _apt("-y", "--no-install-recommends", "--download-only", "install", *PACKAGES)
            root.mkdir(exist_ok=True)
            for package in sorted((cache() / "apt/cache/archives").glob("*.deb")):
                subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"no peers from Debian: {error} {getattr(error, 'stderr', '')}", file=sys.stderr)
            return None
        (cache() / "complete").touch()
    return root


def testsuites() -> bool:
    """Adds CPython's own tests to Debian's Pythons; false, with the reason printed, when that fails."""
    root, folder = debian(), cache() / "testsuites"
    if root is None or (folder / "complete").exists():
        return root is not None
    folder.mkdir(exist_ok=True)
    try:
        _apt("update")
        _apt("download", *TESTS, cwd=folder)
        for package in sorted(folder.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no tests of CPython from Debian: {error} {getattr(error, 'stderr', '')}", file=sys.stderr)
        return False
    (folder / "complete").touch()
    return True


def numba() -> Path | None:
    """A Python with Numba; None, with the reason printed, when it cannot be installed."""
    home = cache() / "numba"
    python = home / "bin/python"
    if not (home / "complete").exists():
        try:
            subprocess.run(
                [sys.executable, "-m", "venv", "--clear", home], check=True, capture_output=True, timeout=300
            )
            subprocess.run(
                [python, "-m", "pip", "install", "-q", "numba"], check=True, capture_output=True, timeout=900
            )
        except (OSError, subprocess.SubprocessError) as error:
            print(f"no Numba: {error}", file=sys.stderr)
            return None
        (home / "complete").touch()
    return python


def loaded(root: Path, program: str) -> list[str]:
    """The command that runs a program of ``root`` with the libraries of ``root``."""
    library = root / "usr/lib/x86_64-linux-gnu"
    return [str(library / "ld-linux-x86-64.so.2"), "--library-path", str(library), str(root / "usr/bin" / program)]


def engines() -> list[Engine]:
    """The baseline first. Debian's 3.13 is optimised by profile (PGO, LTO), so it is the harder one to beat."""
    root, both = debian(), ("function", "cell")
    packages = f"{ROOT / 'python'}:{next((ROOT / '.venv/lib').glob('python3*'), '')}/site-packages"
    found = []
    if root:
        home = {"PYTHONHOME": str(root / "usr")}
        new = loaded(root, "python3.13")
        found += [
            Engine("CPython 3.13", new, env=home, styles=both),
            Engine("larder", new, "larder", {**home, "PYTHONPATH": packages}, styles=both),
            Engine("3.14 JIT", loaded(root, "python3.14"), env={**home, "PYTHON_JIT": "1"}),
            Engine("3.15 JIT", loaded(root, "python3.15"), env={**home, "PYTHON_JIT": "1"}),
            Engine("PyPy", loaded(root, "pypy3")),
        ]
    if sys.version_info[:2] == (3, 13):
        found += [Engine("own 3.13", [sys.executable]), Engine("larder on own", [sys.executable], "larder")]
    if python := numba():
        found.append(Engine("Numba", [str(python)], "numba"))
    return found


class Worker:
    """A process of an engine with one program loaded."""

    def __init__(self, engine: Engine, style: str, source: str, n: int) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self.engine = engine
        self.process = subprocess.Popen(
            [*engine.command, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**env, **engine.env, "PYTHONHASHSEED": "0"},
        )
        self.error = self.ask(json.dumps({"mode": engine.mode, "style": style, "source": source, "n": n})).get("error")

    def ask(self, line: str):
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            return {"error": f"ended with {self.process.wait()}"}
        return json.loads(answer)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


if __name__ == "__main__":
    ask = (
        "import sys; j = getattr(sys, '_jit', None); "
        "print(sys.version.split(chr(10))[0], '; JIT', bool(j and j.is_enabled()) if j else 'none')"
    )
    for engine in engines():
        told = subprocess.run(
            [*engine.command, "-c", ask], env={**os.environ, **engine.env}, capture_output=True, text=True, check=False
        )
        print(f"{engine.name:14}", (told.stdout or told.stderr).strip()[-120:])
