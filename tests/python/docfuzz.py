"""The examples of libraries' docstrings as notebooks, and changes of what they made: what comes back must be what was there.

``python docfuzz.py show NAME [SEED]`` prints a program (`docprograms`), and with a seed what became of it.
``python docfuzz.py wide LIBRARY... [--seed N] [--at-most N] [--only PATTERN] [--jobs N]`` runs all programs of these libraries
(or folders of texts) and says what differs, and per library what was compared, what was not saved and why.
``run|back FILE SEED PROGRAMS`` are the two processes: the first runs the programs of the file PROGRAMS with a session shelf
and ends without a shutdown, the second has them back. Both then run the examples and some more changes, and compare what is
printed, too.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import docprograms
import plainshell

CHANGES, AGAIN = 5, 12
"""How many cells change something behind the examples, and how many run in both processes after the comparison."""
BATCH = 40
NOT_AGAIN = re.compile(
    r"resize\(|flags|\bbase\b|ctypes|__array_interface__"  # who owns memory
    r"|\bid\(|\bis\b|hash\(|getrefcount|\.pop\(\)"  # which of two equal ones, where it lies, a set's order
)
"""Cells that ask for what docs/recovery.md says is not seen are not run again after recovery."""
SLOW_SECONDS = 0.2


class Watch:
    """Interrupts cells that take too long, and notes what the hook behind a cell takes and says."""

    def __init__(self, ip) -> None:
        from larder import hooks

        self.slow: list[list] = []
        self.said: list[str] = []
        self.cell, self.began = "", 0.0
        hooks.AFTER.insert(0, self.ended)
        hooks.AFTER.append(self.saved)
        signal.signal(signal.SIGALRM, self.late)

    def late(self, *_) -> None:
        raise TimeoutError

    def run(self, ip, cell: str) -> str:
        """What the cell printed."""
        self.cell, printed, errors = cell, io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            signal.setitimer(signal.ITIMER_REAL, docprograms.SECONDS)
            self.errors = errors
            try:
                ip.run_cell(cell)
            except TimeoutError:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        return printed.getvalue()

    def ended(self, ip, result) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.before = self.errors.tell(), sys.stdout.tell() if isinstance(sys.stdout, io.StringIO) else 0
        self.began = time.perf_counter()

    def saved(self, ip, result) -> None:
        took = time.perf_counter() - self.began
        if took > SLOW_SECONDS:
            self.slow.append([round(took, 3), self.cell[:200]])
        said = self.errors.getvalue()[self.before[0] :]
        if isinstance(sys.stdout, io.StringIO):
            said += sys.stdout.getvalue()[self.before[1] :]
        if said:
            self.said.append(f"{self.cell[:200]!r}: {said[:600]}")


def words(cell: str) -> set[str]:
    return set(re.findall(r"[^\W\d]\w*", cell))


def shown(cell: str) -> bool:
    """Whether a cell is one expression, which shows a value."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:
        return False
    return len(body) == 1 and isinstance(body[0], ast.Expr)


def of_notebook(ip, kept: set[str]) -> dict[str, object]:
    return {n: v for n, v in ip.user_ns.items() if n not in kept and not n.startswith("_")}


def main(what: str, out: str, seed: int, programs: dict[str, list[str]]) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, resource.RLIM_INFINITY))
    sys.setrecursionlimit(3000)
    os.environ["MPLBACKEND"] = "agg"
    import docseen
    from recoveryfuzz import leave_to_children

    from larder import hooks, recovery

    plainshell.small()
    ip = plainshell.shell()
    ip.showsyntaxerror = lambda *args, **kwargs: print("SyntaxError")
    ip.showtraceback = lambda *args, **kwargs: print(getattr(sys.exc_info()[0], "__name__", "?"))
    kept, home = set(ip.user_ns), os.getcwd()
    live = {}
    if what == "back":
        live = {
            row["name"]: row
            for row in map(json.loads, Path(out).with_name("run.json").read_text().splitlines())
            if "unsaved" in row
        }
    rows = open(out, "a")
    for name in plainshell.notebooks(ip, f"doc{seed}", [n for n in programs if what == "run" or n in live]):
        print(json.dumps({"name": name}), file=rows, flush=True)
        os.chdir(home)
        key = zlib.crc32(f"{name} {seed}".encode())
        rec, rng, watch = recovery.recorder(), random.Random(key), None
        row: dict = {"name": name, "failed": []}
        if what == "run":
            watch, plainly = Watch(ip), None
            if key % 4 == 3:
                plainly = rec.save
                leave_to_children(rec, key, [], lose=False)
            program = programs[name]
            for cell in program:
                watch.run(ip, cell)
            changes = []
            for _ in range(CHANGES):
                changes.append(docprograms.change(rng, of_notebook(ip, kept)))
                watch.run(ip, changes[-1])
            if plainly is not None:
                rec.save, watch.slow = plainly, []
                rec.drain()
                watch.run(ip, "pass")
            row |= {"cells": len(program) + CHANGES, "changes": changes, "slow": watch.slow, "said": watch.said}
            row["off"] = "" if rec.on else rec.why_off
        else:
            later = next(
                one.__self__ for one in hooks.BEFORE if type(getattr(one, "__self__", None)).__name__ == "Later"
            )
            hooks.ahead(None)
            Plain(ip).run("pass")  # which says what came back
            row["not back"] = dict(later.failed)
        version = plainshell.last_version(rec)
        if watch is not None:
            hooks.AFTER.remove(watch.ended)
            hooks.AFTER.remove(watch.saved)
            row["live"] = sorted(of_notebook(ip, kept))
            saved = {*version["names"], *version["imports"]}
            row["unsaved"] = {n: u["why"] for n, u in version["unsaved"].items() if n in row["live"]}
            row["lost"] = sorted(set(row["live"]) - saved - set(row["unsaved"]))
            row["names"] = [n for n in row["live"] if n in saved]
            away = {*row["unsaved"], *(n for n in ip.user_ns if n.startswith("_"))}  # which are left alone
            # What was set on a class of a library is not of the notebook.
            away |= {word for cell in program if re.search("register_|_accessor", cell) for word in row["live"]}
            again = [cell for cell in program if shown(cell) and not words(cell) & away and not NOT_AGAIN.search(cell)]
            rng.shuffle(again)
            row["again"] = again[:AGAIN]
        else:
            row["names"], row["again"] = live[name]["names"], live[name]["again"] + live[name]["probes"]
        gone = {*live[name]["unsaved"], *row["not back"]} if what == "back" else {*row["unsaved"]}
        row["before"] = docseen.Seen.namespace(ip.user_ns, row["names"])
        row["alone"] = docseen.alone(ip.user_ns, row["names"], copied=False)
        if len(programs) == 1:
            row["copied"] = docseen.alone(ip.user_ns, row["names"], copied=True)
        for one in gone:
            ip.user_ns.pop(one, None)
        plain = Plain(ip)
        row["printed"] = [plain.run(cell) for cell in row["again"]]
        if what == "run":
            probes = []
            for _ in range(CHANGES):
                left = {n: v for n, v in of_notebook(ip, kept).items() if n in row["names"]}
                probe = docprograms.change(rng, left)
                probes.append("pass" if NOT_AGAIN.search(probe) else probe)
                row["printed"].append(plain.run(probes[-1]))
            row["probes"] = probes
        row["after"] = docseen.Seen.namespace(ip.user_ns, row["names"])
        print(json.dumps(row, default=repr), file=rows, flush=True)
    rows.close()
    plainshell.end(out + ".end", {})


class Plain:
    """Cells after the comparison, that are not saved any more."""

    def __init__(self, ip) -> None:
        self.ip = ip

    def run(self, cell: str) -> str:
        import docseen

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            signal.signal(signal.SIGALRM, _late)
            signal.setitimer(signal.ITIMER_REAL, docprograms.SECONDS)
            try:
                self.ip.run_cell(cell)
            except TimeoutError:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        return docseen.ADDRESS.sub("~", re.sub(r"(?m)^Out\[\d+\]", "Out", printed.getvalue()))[:3000]


def _late(*_) -> None:
    raise TimeoutError


# What follows runs the two processes.


def _process(
    what: str,
    home: Path,
    programs: dict[str, list[str]],
    seed: int,
    hashed: str,
    notes: dict[str, str],
    seconds: float = 400,
) -> dict[str, dict]:
    """The rows of programs; those that end the process, or hang, are noted, and the others run without them."""
    out, left = home / f"{what}.json", list(programs)
    environment = dict(
        os.environ, LARDER_HOME=str(home), IPYTHONDIR=str(home / "ipython"), PYTHONHASHSEED=hashed, TMPDIR=str(home / "tmp"),
        PYTHONFAULTHANDLER="1", MPLBACKEND="agg", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TQDM_DISABLE="",
    )  # fmt: skip
    work = home / "work"
    for folder in (work, home / "tmp"):
        folder.mkdir(exist_ok=True, parents=True)
    while left:
        listed = home / f"{what}.names"
        listed.write_text(json.dumps({name: programs[name] for name in left}))
        why = "the process ended"
        with open(home / f"{what}.log", "ab") as log:
            running = subprocess.Popen(
                [sys.executable, Path(__file__), what, out, str(seed), listed], env=environment, cwd=work,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            done, size, began = False, -1, time.monotonic()
            while running.poll() is None:
                time.sleep(0.05)
                now = out.stat().st_size if out.exists() else 0
                if now != size:
                    size, began = now, time.monotonic()
                elif time.monotonic() - began > seconds:
                    os.killpg(running.pid, signal.SIGKILL)
                    why = "it hung"
            done = running.returncode == 0
        rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        if done:
            return {row["name"]: row for row in rows if len(row) > 1}
        if not rows or rows[-1]["name"] not in left:
            raise RuntimeError(f"{what}: {(home / f'{what}.log').read_text()[-3000:]}")
        died = rows[-1]["name"]
        log = (home / f"{what}.log").read_text(errors="replace")
        where = log[log.rfind("Fatal Python error") :][:1500] if "Fatal Python error" in log else log[-500:]
        notes[died] = f"{what}: {why} ({running.returncode})\n{where}"
        left = left[left.index(died) + 1 :]
    return {row["name"]: row for row in map(json.loads, out.read_text().splitlines()) if len(row) > 1}


def _differences(live: dict, back: dict) -> list[tuple[str, str, object, object]]:
    """Where, which, what was there, what came back."""
    found: list = [("lost", name, "", "") for name in live["lost"]]
    failed = set(back["not back"])
    found += [("not back", name, "", why) for name, why in back["not back"].items() if not name.startswith("(")]
    for when in ("before", "after"):
        one, other = live[when], back[when]
        found += [
            (when, name, one.get(name), other.get(name))
            for name in sorted({*one, *other} - failed)
            if one.get(name) != other.get(name)
        ]
    cells = [*live["again"], *live["probes"]]
    for at, (cell, one, other) in enumerate(zip(cells, live["printed"], back["printed"], strict=True)):
        if one != other and not words(cell) & failed:
            found.append(("printed", f"{at}: {cell}", one, other))
    return found


def _singly(name: str, cells: list[str], seed: int, hashed: str) -> tuple[dict, list]:
    """A program by itself, and once more live: what two live runs tell apart is of chance."""
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="pytest-doc-") as folder:
        rows = []
        for where, what in (("one", "run"), ("two", "run"), ("one", "back")):
            home = Path(folder, where)
            home.mkdir(exist_ok=True)
            rows.append(_process(what, home, {name: cells}, seed, hashed, notes).get(name))
    live, other, back = rows
    if notes or live is None or back is None or other is None:
        return {}, [("ends", str(notes), "", "")]
    by_chance = set() if live["changes"] == other["changes"] and live["probes"] == other["probes"] else {"after"}
    for when in ("before", "after"):
        by_chance |= {(when, one) for one in live[when] if live[when][one] != other[when].get(one)}
    for at, cell in enumerate([*live["again"], *live["probes"]]):
        if other["printed"][at : at + 1] != live["printed"][at : at + 1]:
            by_chance.add(("printed", f"{at}: {cell}"))
    # What pickle by itself makes another thing of: the class leaves that out of its pickles.
    own = {n for n in live["names"] if live["alone"][n] != back["alone"].get(n) == live["copied"].get(n, ...)}
    by_chance |= {(when, n) for n in own for when in ("before", "after")}
    found = _differences(live, back)
    for where, which, *_ in found:
        if where == "printed" and words(which) & own:
            by_chance.add((where, which))
    return live, [(*one, one[:2] in by_chance or one[0] in by_chance) for one in found]


def judged(name: str, cells: list[str], seed: int) -> tuple[str, list]:
    """What a program that differed is by itself: ``same``, ``chance`` (two live runs differ there, or pickle alone loses
    it), ``not back`` (which was said), or ``differs`` and where."""
    for hashed in ("random", "0"):
        live, found = _singly(name, cells, seed, hashed)
        if not live:
            return "ends", found
        # In what order a set shows its items depends on how it came to be as well.
        real = [one[:4] for one in found if not one[4] and not (hashed == "0" and one[0] == "printed")]
        if real:
            return "not back" if all(one[0] == "not back" for one in real) else "differs", real
        if not found:
            return "same", []
    return "chance", [one[:4] for one in found]


def batch(
    programs: dict[str, list[str]], seed: int, home: Path
) -> tuple[dict[str, dict], dict[str, tuple[str, list]], dict[str, str]]:
    """The live rows, what became of those that differ, and those that ended the process."""
    notes: dict[str, str] = {}
    home.mkdir(parents=True, exist_ok=True)
    live = _process("run", home, programs, seed, "random", notes)
    back = _process("back", home, {name: programs[name] for name in live}, seed, "random", notes)
    wrong = {}
    for name in back:
        if _differences(live[name], back[name]):
            wrong[name] = judged(name, programs[name], seed)
    return live, wrong, notes


class Told:
    """Sums over programs."""

    def __init__(self) -> None:
        self.sums: collections.Counter = collections.Counter()
        self.why: collections.Counter = collections.Counter()

    def add(self, live: dict[str, dict], wrong: dict, notes: dict) -> None:
        for row in live.values():
            self.sums.update(programs=1, cells=row["cells"], variables=len(row["names"]), unsaved=len(row["unsaved"]))
            self.why.update(re.sub(r"\S*`\S+|^\S+(?=:)", "~", why)[:70] for why in row["unsaved"].values())
        self.sums.update(verdict for verdict, _ in wrong.values())
        self.sums["ended"] += len(notes)

    def line(self) -> str:
        return (
            ", ".join(f"{n} {k}" for k, n in self.sums.items())
            + "; "
            + "; ".join(f"{n} {why}" for why, n in self.why.most_common(5))
        )


def report(name: str, seed: int, verdict: str, found: Iterable) -> str:
    lines = [f"{verdict}: python docfuzz.py show {name!r} {seed}"]
    for where, which, one, other in [*found][:4]:
        a, b = (x if isinstance(x, str) else json.dumps(x, default=repr) for x in (one, other))
        at = next((i for i, (p, q) in enumerate(zip(a, b, strict=False)) if p != q), min(len(a), len(b)))
        start = max(0, at - 120)
        lines.append(f"  {where} {which}\n    live {a[start : at + 200]}\n    back {b[start : at + 200]}")
    return "\n".join(lines)


def wide(arguments: list[str]) -> Iterator[str]:
    import argparse
    from concurrent.futures import ThreadPoolExecutor

    parser = argparse.ArgumentParser("docfuzz.py wide")
    parser.add_argument("libraries", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-most", type=int, default=1 << 30)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pytest-docs-") as folder, ThreadPoolExecutor(given.jobs) as pool:
        for library in given.libraries:
            names = [name for name in docprograms.programs(library) if re.search(given.only, name)]
            random.Random(given.seed).shuffle(names)
            names, told = names[: given.at_most], Told()

            def one(first: int, names: list[str] = names, library: str = library):
                import shutil

                home = Path(folder, f"{Path(library).name}-{first}")
                these = {name: docprograms.programs(library)[name] for name in names[first : first + BATCH]}
                done = batch(these, given.seed, home)
                shutil.rmtree(home, ignore_errors=True)
                return done

            for live, wrong, notes in pool.map(one, range(0, len(names), BATCH)):
                told.add(live, wrong, notes)
                for name, (verdict, found) in wrong.items():
                    if verdict != "same":
                        yield report(name, given.seed, verdict, found)
                yield from (f"ended: {name} {given.seed} {why}" for name, why in notes.items())
                for name, row in live.items():
                    yield from (f"slow: {name}: {one}" for one in row["slow"])
                    yield from (f"said: {name}: {one}" for one in row["said"])
                    yield from (f"unsaved: {name}: {n}: {why}" for n, why in row["unsaved"].items())
                    yield from [f"off: {name}: {row['off']}"] if row["off"] else []
            yield f"== {library}: {told.line()}"


if __name__ == "__main__":
    match sys.argv[1]:
        case "show":
            shown_cells = docprograms.named(sys.argv[2])
            print("\n# ---\n".join(shown_cells))
            if len(sys.argv) > 3:
                verdict, found = judged(sys.argv[2], shown_cells, int(sys.argv[3]))
                print(report(sys.argv[2], int(sys.argv[3]), verdict, found))
        case "wide":
            for line in wide(sys.argv[2:]):
                print(line, flush=True)
        case _:
            main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(Path(sys.argv[4]).read_text()))
