"""Notebooks that come back, side by side:
``python benches/recovery/compare.py [--rounds N] [--pairs N] [--notebook mixed|eda|learn]``.

Real kernels run the cells of ``cells/*.py`` over the Jupyter protocol, one after the other; a cell's time is what the front
end waits, from the request to its reply and idle status. Contenders take turns in every round:

``ipykernel``        nothing is saved: what the others' cost is measured against
``larder, not saved``  this kernel with ``%shelf autosave off``: what larder's own cost is measured against
``larder``           this kernel
``Kishu``            ipykernel with Kishu 0.3.4, a checkpoint after every cell
``dill``             ipykernel, the namespace dilled and synced after every cell
``%store``           ipykernel, ``%store`` of every variable after every cell

Then the kernel is killed with SIGKILL one second after its last reply, and another of the same kind brings the variables
back, imports included (the two that save nothing show what the imports alone take); what they are is compared with what they
were. ``restore`` is until the first cell (``pass``, or the restoring one) is answered; ``all touched`` adds what reading
every byte of every variable takes longer the first time than the second, so that what comes back lazily is not free.
``checkout`` goes back to the state before the one-element cell.

``more than not saved`` is the middle of the rounds' differences, each between two runs of one round, with the quartiles behind
it. What larder costs is small beside what one run differs from the next, so its two contenders run ``--pairs`` more rounds by
themselves, each time the other one first. ``at their least`` compares the least time each cell took in any round, added up:
what other work on the machine adds is in neither; ``--cells`` shows it cell by cell. Before each run memory is touched and
given back: in a virtual machine whose host takes free memory back, its first touch takes up to ten times as long, and who has
to touch it is a matter of chance.
"""

from __future__ import annotations

import argparse
import functools
import json
import mmap
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec

HERE = Path(__file__).parent
TIMEOUT_S = 600
LARDER = ("larder, not saved", "larder")
CONTENDERS = ("ipykernel", "larder, not saved", "larder", "Kishu", "dill", "%store")

# Run silently before the first cell.
PREPARE = {
    "larder, not saved": "%shelf autosave off",
    "Kishu": """
import os; os.environ["ENV_KISHU_TEST_MODE"] = "1"    # no front end to save the notebook's page through
from pathlib import Path
from kishu.jupyterint import KishuForJupyter
from kishu.notebook_id import NotebookId
KishuForJupyter(NotebookId("bench", Path("nb.ipynb").resolve(), "bench"), get_ipython()).install_kishu_hooks()
""",
    "dill": """
import os as _os, dill as _dill
_dill.settings["recurse"] = True
_hidden = set(get_ipython().user_ns)
def _save(result):
    with open("state.dill.new", "wb") as file:
        _dill.dump({k: v for k, v in get_ipython().user_ns.items() if k not in _hidden and not k.startswith("_")}, file)
        file.flush()
        _os.fdatasync(file.fileno())
    _os.replace("state.dill.new", "state.dill")
get_ipython().events.register("post_run_cell", _save)
""",
    "%store": """
import contextlib as _contextlib, io as _io
_hidden = set(get_ipython().user_ns)
def _save(result):
    ip = get_ipython()
    for k in list(ip.user_ns):
        if k not in _hidden and not k.startswith("_"):
            with _contextlib.redirect_stdout(_io.StringIO()):
                try:
                    ip.run_line_magic("store", k)
                except Exception as e:
                    pass
get_ipython().events.register("post_run_cell", _save)
""",
}
# What brings the variables back in a new kernel ({last}: how many cells ran).
RESTORE = {
    "larder": "",  # it does so by itself, before the first cell
    "Kishu": "_ = get_ipython().user_ns['_kishu'].checkout('0:0:{last}', skip_notebook=True)",
    "dill": "get_ipython().user_ns.update(_dill.load(open('state.dill', 'rb')))",
    "%store": "%store -r",
}
# Back to the state after cell {cell}.
CHECKOUT = {
    "larder": "import larder; larder.session.checkout([r['id'] for r in larder.session.log() if r['cell'] == {cell}][-1])",
    "Kishu": "_ = get_ipython().user_ns['_kishu'].checkout('0:0:{cell}', skip_notebook=True)",
}


WARM_BYTES_MAX = 2 << 30


def warm() -> None:
    """Touch memory that is free, so that it is there for whoever asks next."""
    free = os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE
    with mmap.mmap(
        -1, max(mmap.PAGESIZE, min(WARM_BYTES_MAX, free // 4)), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    ) as room:
        room.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, len(room), mmap.PAGESIZE):
            room[at] = 1


class Kernel:
    """One real kernel in a folder of its own."""

    def __init__(self, contender: str, folder: Path) -> None:
        module = "larder" if contender in LARDER else "ipykernel"
        self.manager = KernelManager(connection_file=str(folder / "kernel.json"))
        self.manager._kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", module, "-f", "{connection_file}"], display_name=module, language="python"
        )
        env = dict(os.environ, LARDER_HOME=str(folder / "larder"), IPYTHONDIR=str(folder / "ipython"))
        env |= {"JPY_SESSION_NAME": "bench.ipynb", "KISHU_PATH_ROOT": str(folder)}
        # One thread: threads that spin for each other measure how busy the machine is.
        env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with open(folder / "kernel.log", "ab") as log:
            self.manager.start_kernel(env=env, cwd=str(folder), stdout=log, stderr=log)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, **options) -> tuple[float, str]:
        """Seconds a front end waits, and what the cell printed."""
        printed: list[str] = []

        def hook(message) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        began = time.perf_counter()
        reply = self.client.execute_interactive(code, output_hook=hook, timeout=TIMEOUT_S, **options)
        took = time.perf_counter() - began
        if reply["content"]["status"] != "ok":
            raise RuntimeError(code + "\n" + "\n".join(reply["content"].get("traceback", [])))
        return took, "".join(printed)

    def state(self) -> dict[str, str]:
        code = "import fingerprint as _f, json as _j; print('\\n' + _j.dumps(_f.of(get_ipython().user_ns)))"
        code = (
            f"import sys as _sys; _sys.path.insert(0, {str(HERE)!r}) if {str(HERE)!r} not in _sys.path else 0; " + code
        )
        return json.loads(self.run(code, silent=True)[1].strip().splitlines()[-1])

    def kill(self) -> None:
        os.kill(self.manager.provisioner.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


def cells(name: str) -> tuple[list[str], int]:
    """The cells, and the number (from 1) of the one that changes one element."""
    text = (HERE / "cells" / f"{name}.py").read_text()
    parts = ("\n" + text).split("\n# %%")[1:]
    element = next(i for i, part in enumerate(parts, 1) if part.startswith(" element"))
    return [part.split("\n", 1)[1].strip() for part in parts], element


def used(folder: Path) -> int:
    """Bytes of blocks on the disk under ``folder`` that saving made."""
    ignore = {"ipython/profile_default/history.sqlite", "kernel.log", "kernel.json", "nb.ipynb"}
    files = (f for f in folder.rglob("*") if f.is_file() and str(f.relative_to(folder)) not in ignore)
    return sum(f.stat().st_blocks * 512 for f in files)


def one(contender: str, name: str, folder: Path, brief: bool = False) -> dict:
    """One run of a notebook; ``brief``: only what its cells take."""
    sources, element = cells(name)
    warm()
    (folder / "nb.ipynb").write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    kernel = Kernel(contender, folder)
    kernel.run(PREPARE.get(contender, "pass"), silent=True)  # what the first request alone takes is nobody's cell
    before = used(folder)
    times = [kernel.run(source)[0] for source in sources]
    row: dict = {"total": sum(times), "element": times[element - 1], "times": times}
    if brief:
        kernel.close()
        return row
    if contender in ("ipykernel", "larder, not saved"):
        kernel.close()
        kernel = Kernel(contender, folder)
        row["restore"] = kernel.run(sources[0], silent=True)[0]  # nothing comes back: what the imports alone take
        kernel.close()
        return row
    was = kernel.state()
    time.sleep(1)
    row["bytes"] = used(folder) - before
    row["data"] = int(kernel.run(SIZE, silent=True)[1].strip().splitlines()[-1])
    kernel.kill()

    kernel = Kernel(contender, folder)
    if contender in PREPARE:
        kernel.run(PREPARE[contender], silent=True)
    if contender == "larder":
        took, _ = kernel.run("pass")
    else:
        took, _ = kernel.run(RESTORE[contender].format(last=len(sources)), silent=True)
    row["restore"] = took
    began = time.perf_counter()
    now = kernel.state()
    first = time.perf_counter() - began
    kernel.state()
    again = time.perf_counter() - began - first
    row["touched"] = took + max(0.0, first - again)
    row["wrong"] = differences(was, now)
    if contender in CHECKOUT:
        row["checkout"], _ = kernel.run(CHECKOUT[contender].format(cell=element - 1), silent=True)
        row["wrong checkout"] = differences(state_before(base_of(contender), name), kernel.state())
    kernel.close()
    return row


def base_of(contender: str) -> str:
    return "larder, not saved" if contender in LARDER else "ipykernel"


@functools.cache
def state_before(contender: str, name: str) -> dict[str, str]:
    """The variables before the one-element cell, in a kernel of its own: who looks at all of them in a kernel that saves
    makes the next cell look at them all, too."""
    sources, element = cells(name)
    with tempfile.TemporaryDirectory(prefix="larder-recovery-") as folder:
        kernel = Kernel(contender, Path(folder))
        for source in sources[: element - 1]:
            kernel.run(source)
        state = kernel.state()
        kernel.close()
    return state


# Bytes of the distinct objects of the namespace, as a copy of each would take.
SIZE = """
import pickle as _pickle
_total = 0
for _k, _v in list(get_ipython().user_ns.items()):
    if not _k.startswith('_') and _k not in ('In', 'Out'):
        try:
            _total += len(_pickle.dumps(_v, 5))
        except Exception:
            pass
print(_total)
"""


def differences(was: dict, now: dict) -> list[str]:
    return [name for name in was if now.get(name) != was[name]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=10, help="rounds of larder alone, saved and not")
    parser.add_argument("--notebook", action="append", choices=["mixed", "eda", "learn"])
    parser.add_argument("--only", action="append", choices=CONTENDERS)
    parser.add_argument("--cells", action="store_true", help="show what larder adds to each cell, at its least")
    parser.add_argument("--dir", help="where the kernels' folders are made (a real disk)")
    options = parser.parse_args()
    asked = options.only or CONTENDERS
    for name in options.notebook or ["mixed", "eda", "learn"]:
        rows: dict[str, list[dict | None]] = {contender: [] for contender in asked}
        for round in range(options.rounds + options.pairs):
            brief = round >= options.rounds
            turn = asked if not brief else [one for one in asked if one in LARDER][:: 1 if round % 2 else -1]
            for contender in turn:
                print(f"{name}: round {round + 1}: {contender}   ", end="\r", file=sys.stderr)
                folder = Path(tempfile.mkdtemp(prefix="larder-recovery-", dir=options.dir))
                row = None
                try:
                    row = one(contender, name, folder, brief)
                except Exception as error:
                    print(f"\n{name}: {contender}: {error}", file=sys.stderr)
                finally:
                    rows[contender].append(row)
                    shutil.rmtree(folder, ignore_errors=True)
        report(name, len(cells(name)[0]), rows)
        if options.cells and rows.get("larder") and rows.get("larder, not saved"):
            show_cells(name, rows)


def least(rows: list[dict | None]) -> list[float]:
    """The least time of each cell in any round."""
    return [min(times) for times in zip(*(r["times"] for r in rows if r), strict=True)]


def show_cells(name: str, rows: dict[str, list[dict | None]]) -> None:
    print("\n| cell | not saved | saved | more | |\n|--:|--:|--:|--:|---|")
    pairs = zip(cells(name)[0], least(rows["larder, not saved"]), least(rows["larder"]), strict=True)
    for number, (source, plain, saved) in enumerate(pairs, 1):
        line = source.splitlines()[0][:60]
        print(f"| {number} | {plain * 1e3:.2f} | {saved * 1e3:.2f} | {(saved - plain) * 1e3:+.2f} ms | `{line}` |")


def report(name: str, count: int, rows: dict[str, list[dict | None]]) -> None:
    def best(contender: str, key: str) -> float | None:
        found = [r[key] for r in rows.get(contender, ()) if r is not None and key in r]
        return statistics.median(found) if found else None

    def more(contender: str, base: str) -> str:
        """Than ``base`` in the same round."""
        pairs = [(a["total"], b["total"]) for a, b in zip(rows[contender], rows.get(base, ()), strict=False) if a and b]
        if contender == base or not pairs:
            return "-"
        ms = [(a - b) * 1e3 for a, b in pairs]
        middle, low, high = statistics.median(ms), *(statistics.quantiles(ms) if len(ms) > 1 else ms * 3)[::2]
        share = middle / 1e3 / statistics.median(b for _, b in pairs)
        return f"{middle:+.0f} ms ({share:+.0%}), {low:+.0f} to {high:+.0f}"

    def more_at_least(contender: str, base: str) -> str:
        if contender == base or not any(rows.get(base, ())):
            return "-"
        return f"{(sum(least(rows[contender])) - sum(least(rows[base]))) * 1e3:+.0f} ms"

    print(f"\n**{name}** ({count} cells)\n")
    print(
        "| | notebook | more than not saved | at their least | one-element cell | on disk | of the data | "
        "restore | all touched | checkout | wrong |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|")
    for contender in rows:
        base = base_of(contender)
        total, element = best(contender, "total"), best(contender, "element")
        if total is None:
            continue
        line = f"| {contender} | {total:.2f} s | {more(contender, base)} | {more_at_least(contender, base)} | "
        line += f"{element * 1e3:.1f} ms | "
        size, data = best(contender, "bytes"), best(contender, "data")
        line += "- | - | " if size is None else f"{size / 1e6:.0f} MB | {size / data:.2f}x | "
        for key in ("restore", "touched", "checkout"):
            value = best(contender, key)
            line += "- | " if value is None else f"{value * 1e3:.0f} ms | "
        wrong = sorted({w for r in rows[contender] if r for w in r.get("wrong", ())})
        wrong += sorted({f"checkout: {w}" for r in rows[contender] if r for w in r.get("wrong checkout", ())})
        print(line + (", ".join(wrong) or "-") + " |", flush=True)


if __name__ == "__main__":
    main()
