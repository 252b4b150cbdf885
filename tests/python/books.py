"""Published notebooks in ipykernel and in larder: what they print must be the same, and what they made must come back.

``python books.py [--cell-seconds N] [--seconds N] NOTEBOOK|FOLDER...`` runs each notebook four times, in kernels of their own:
in ipykernel twice (outputs that differ there are not compared), in larder, and in larder with loops compiled. Both larders are
killed with SIGKILL behind the last cell, and have the notebook back: each variable is described (`DESCRIBED`) before and after.
A line of JSON on each notebook says what was compared and what differs; cells that took longer than in ipykernel are named, to
be looked at on a quiet machine. What a notebook imports has to be installed; data it reads is looked for beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
from kernelfixtures import Running, kill

COPIED_BYTES_MAX = 60 << 20
"""A notebook runs in a copy of its folder, if that is not larger."""
SLOWER_SECONDS = 0.3
KINDS = ("ipykernel", "again", "larder", "compiling")

DESCRIBED = """
import hashlib as _h, json as _j, re as _re, sys as _s, types as _t
def _described(v, depth=0):
    np, pd, m = _s.modules.get("numpy"), _s.modules.get("pandas"), depth < 4
    sha = lambda b: _h.sha1(b).hexdigest()
    if np and isinstance(v, np.ndarray) and v.dtype != object:
        return f"{type(v).__name__} {v.dtype} {v.shape} {sha(np.ascontiguousarray(v))} {_named(v)}"
    if pd and isinstance(v, (pd.DataFrame, pd.Series)):
        try: rows = sha(pd.util.hash_pandas_object(v, index=True).to_numpy())
        except TypeError: rows = sha(repr(v.to_dict()).encode())
        return f"{type(v).__name__} {list(v.columns) if v.ndim == 2 else v.name} {v.shape} {rows} {_named(v)}"
    if isinstance(v, dict) and m: return type(v).__name__ + str([(repr(k), _described(w, depth + 1)) for k, w in v.items()])
    if isinstance(v, (set, frozenset)): return type(v).__name__ + str(sorted(map(repr, v)))
    if isinstance(v, (list, tuple)) and m:
        if len(v) > 100: return f"{type(v).__name__} of {len(v)} {sha(repr(v).encode())}"
        return type(v).__name__ + str([_described(w, depth + 1) for w in v])
    if isinstance(v, _t.FunctionType): return f"function {v.__name__} {v.__defaults__} {_named(v)}"
    if isinstance(v, type): return f"class {v.__name__} {sorted(k for k in vars(v) if k[:1] != '_')}"
    if isinstance(v, _t.ModuleType): return f"module {v.__name__}"
    if type(v).__module__ == "__main__" and m: return f"{type(v).__name__} {_named(v, depth + 1)}"
    return f"{type(v).__name__} {v!r} {getattr(v, 'dtype', '')} {getattr(v, 'shape', '')}"
def _named(v, depth=3):
    if not hasattr(v, "__dict__"): return ""
    return _described({k: w for k, w in v.__dict__.items() if k[:1] != "_"}, depth)
def _all(names):
    found = {}
    for k, v in list(names.items()):
        if k[:1] != "_" and k not in ("In", "Out", "get_ipython", "exit", "quit", "open"):
            try: found[k] = _re.sub(" at 0x[0-9a-fA-F]+", "", _described(v))
            except Exception as e: found[k] = "error " + type(e).__name__
    return found
print("\\n" + _j.dumps(_all(get_ipython().user_ns)))
"""
"""Runs silently in the kernel: its last line of output has the variables."""


class Book:
    """One notebook in one kernel."""

    def __init__(self, kind: str, source: Path) -> None:
        self.kind, self.folder = kind, Path(tempfile.mkdtemp(prefix="larder-book-"))
        self.cwd = self.folder / "cwd"
        size = sum(one.stat().st_size for one in source.parent.rglob("*") if one.is_file())
        if size <= COPIED_BYTES_MAX:
            shutil.copytree(source.parent, self.cwd, ignore=shutil.ignore_patterns("*.ipynb"))
        else:
            self.cwd.mkdir()
        self.start()

    def start(self) -> None:
        module = "larder" if self.kind in KINDS[2:] else "ipykernel"
        self.km = KernelManager(connection_file=str(self.folder / "kernel.json"))
        argv = [sys.executable, "-m", module, "-f", "{connection_file}"]
        self.km._kernel_spec = KernelSpec(argv=argv, display_name=module, language="python", interrupt_mode="signal")
        own = {
            "LARDER_HOME": str(self.folder / "home"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JPY_SESSION_NAME": "book.ipynb",
        }
        same = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        drawn = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        trace = {"LARDER_TRACE": "on"} if self.kind == KINDS[3] else {}
        self.km.start_kernel(env={**os.environ, **own, **same, **drawn, **trace}, cwd=str(self.cwd))
        self.kc = self.km.client()
        self.kc.start_channels()
        self.kc.wait_for_ready(timeout=60)

    def run(self, code: str, seconds: float, **options) -> tuple[list[tuple[str, str]], float]:
        """What a cell shows, without addresses and the like, and how long it took."""
        shown: list[tuple[str, str]] = []

        def show(message: dict) -> None:
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                before = shown.pop()[1] if shown and shown[-1][0] == content["name"] else ""
                shown.append((content["name"], before + content["text"]))
            elif kind in ("display_data", "execute_result"):
                data = content["data"]
                shown.append((kind, data.get("text/plain", "") + " " + " ".join(sorted(data))))
            elif kind == "error":
                shown.append((kind, f"{content['ename']}: {content['evalue']}"))

        began = time.perf_counter()
        self.kc.execute_interactive(code, output_hook=show, timeout=seconds, allow_stdin=False, **options)
        return [(kind, self._masked(text)) for kind, text in shown], time.perf_counter() - began

    def _masked(self, text: str) -> str:
        text = re.sub(r"0x[0-9a-f]{6,}", "0x", re.sub(r"\x1b\[[0-9;]*m", "", text))
        return re.sub(rf"{re.escape(str(self.folder))}\S*|ipykernel_\d+", "PLACE", text)

    def variables(self) -> dict[str, str]:
        shown, _ = self.run(DESCRIBED, 120, silent=True)
        return json.loads(shown[-1][1].strip().splitlines()[-1])

    def end(self) -> None:
        self.kc.stop_channels()
        if self.km.has_kernel:
            self.km.shutdown_kernel(now=True)
        self.km.cleanup_resources()

    def crash(self) -> None:
        kill(Running(self.km, self.kc))
        self.kc.stop_channels()
        self.km.cleanup_resources()
        self.start()

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def run_in(kind: str, source: Path, cells: list[tuple[int, str]], cell_seconds: float, seconds: float) -> dict:
    """What the cells of a notebook show in a kernel, how long they take, and for larder what its variables are before and
    behind a crash; cells are left out once ``seconds`` are over, or from the first that takes ``cell_seconds`` on."""
    with Book(kind, source) as book:
        shown: dict[int, list] = {}
        took: dict[int, float] = {}
        until = time.monotonic() + seconds
        for at, code in cells:
            if time.monotonic() > until:
                break
            try:
                shown[at], took[at] = book.run(code, cell_seconds)
            except TimeoutError:
                break
        found = {"shown": shown, "took": took}
        if kind in KINDS[2:]:
            before = book.variables()
            book.crash()
            said, restored = book.run("pass", 120)
            found |= {"before": before, "said": said, "restored": restored, "after": book.variables()}
        return found


def compared(source: Path, cell_seconds: float, seconds: float) -> dict:
    """What differs of a notebook; see the module."""
    book = nbformat.read(source, 4)
    cells = [(at, one.source) for at, one in enumerate(book.cells) if one.cell_type == "code" and one.source.strip()]
    plain, again = (run_in(kind, source, cells, cell_seconds, seconds) for kind in KINDS[:2])
    stable = {at: shown for at, shown in plain["shown"].items() if again["shown"].get(at) == shown}
    line: dict = {"notebook": str(source), "cells": len(plain["shown"]), "compared": len(stable)}
    line["seconds"] = {"ipykernel": round(sum(plain["took"].values()), 2)}
    for kind in KINDS[2:]:
        found = run_in(kind, source, [one for one in cells if one[0] in plain["shown"]], 4 * cell_seconds, 4 * seconds)
        line["seconds"][kind] = round(sum(found["took"].values()), 2)
        about = line[kind] = {"variables": len(found["before"]), "restored": round(found["restored"], 3)}
        about["missing"] = [at for at in stable if at not in found["shown"]]
        about["differs"] = [
            (at, stable[at], one) for at, one in found["shown"].items() if at in stable and one != stable[at]
        ]
        told = "".join(text for _, text in found["said"])
        changed = {name for name, was in found["before"].items() if found["after"].get(name) != was}
        unsaved = {name for name in changed if re.search(rf"not back[^\n]*[ :;]{re.escape(name)} \(", told)}
        about["not saved"] = sorted(unsaved)
        about["wrong"] = {
            name: (found["before"][name][:300], found["after"].get(name, "")[:300]) for name in changed - unsaved
        }
        about["slower"] = [
            (at, round(one - plain["took"][at], 2))
            for at, one in found["took"].items()
            if one - plain["took"][at] > SLOWER_SECONDS
        ]
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, metavar="NOTEBOOK|FOLDER")
    parser.add_argument("--cell-seconds", type=float, default=25)
    parser.add_argument("--seconds", type=float, default=75)
    asked = parser.parse_args()
    for source in asked.sources:
        for one in sorted(source.rglob("*.ipynb")) if source.is_dir() else [source]:
            try:
                line = compared(one.absolute(), asked.cell_seconds, asked.seconds)
            except Exception as err:
                line = {"notebook": str(one), "failed": f"{type(err).__name__}: {err}"}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
