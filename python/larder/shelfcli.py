"""``larder shelf``: look at a shelf file, check it, copy it, rescue it, take its values out.

Exit codes: 0 done, 1 it failed or damage was found, 2 the call was wrong. With ``--json`` standard output is one JSON
value and nothing else; errors, hints and the progress bar (on a terminal) are on standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .cli import fail
from .display import Table, bytes_text
from .errors import ShelfCorrupt, ShelfError


def add_parser(commands: Any) -> None:
    """Add ``shelf`` and its verbs to the sub-parsers ``commands``."""
    shelf = commands.add_parser("shelf", help="list, check, copy, shrink and rescue shelf files", description=__doc__)
    shelf.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = shelf.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, what: str, run: Callable[[Any, argparse.Namespace], int]) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=what, description=what)
        if name == "ls":
            one.add_argument(
                "file", metavar="FILE", nargs="?", help="a shelf's path or bare name (default: list shelves)"
            )
        else:
            one.add_argument("file", metavar="FILE", help="a shelf's path or bare name")
        one.add_argument("--json", action="store_true", help="machine-readable output")
        one.set_defaults(run=lambda args: _guarded(args, run))
        return one

    verb("ls", "the variables of a shelf, or the shelves with bare names", _ls)
    verb("log", "the commits", _log)
    diff = verb("diff", "what changed from commit A to commit B", _diff)
    diff.add_argument("a", metavar="A", type=int, help="number of a commit (see log)")
    diff.add_argument("b", metavar="B", type=int, nargs="?", help="default: the last one")
    verb("verify", "read every page, compare checksums", _verify)
    verb("compact", "give free space back to the disk", _compact)
    verb("backup", "copy a shelf to a new file", _backup).add_argument("to", metavar="TO", help="the new file")
    salvage = verb(
        "salvage", "copy what is whole on a damaged shelf to a new one; the damaged file is only read", _salvage
    )
    salvage.add_argument("to", metavar="TO", help="the new shelf")
    export = verb("export", "write variables as .npy, .npz, .parquet, .txt, .bin and .json files", _export)
    export.add_argument("to", metavar="FOLDER", type=Path, help="where to, created if missing")
    export.add_argument("names", metavar="NAME", nargs="*", help="which variables (default: all)")
    export.add_argument("--trust", action="store_true", help="also read pickled values (runs code from the shelf)")


def _guarded(args: argparse.Namespace, run: Callable[[Any, argparse.Namespace], int]) -> int:
    from . import shelf

    mode = "r+" if args.verb in ("compact", "backup") else "r"
    try:
        if args.verb == "salvage" or args.file is None:
            return run(None, args)
        with shelf.open(args.file, mode=mode, trust=getattr(args, "trust", False)) as one:
            return run(one, args)
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FileNotFoundError as err:
        return fail(str(err), f"give a path, or the bare name of a shelf in {shelf.home()}")
    except LookupError as err:
        return fail(err.args[0], "`larder shelf log` and `ls` show what is there")
    except ShelfCorrupt as err:
        return fail(str(err), f"`larder shelf salvage {args.file} NEW.shelf` copies what is whole")
    except (ShelfError, OSError, TypeError, ValueError) as err:
        return fail(str(err))
    except KeyboardInterrupt:
        return fail("interrupted")


class _Bar:
    """A progress bar on standard error, if that is a terminal; gone at the end."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.shown = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        if self.shown and total:
            full = 40 * done // total
            print(f"\r{self.what} [{'#' * full}{'.' * (40 - full)}] {100 * done // total:3}%", end="", file=sys.stderr)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr)


def _ls(shelf: Any, args: argparse.Namespace) -> int:
    table = _shelf_files() if shelf is None else shelf.inspect()
    print(json.dumps(list(table)) if args.json else table)
    return 0


def _shelf_files() -> Table:
    from . import shelf

    home = shelf.home()
    rows = []
    for path in sorted(home.glob("*.shelf")):
        stat = path.stat()
        changed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stat.st_mtime))
        rows.append({"name": path.stem, "bytes": stat.st_size, "changed": changed, "path": str(path)})
    return Table(rows, formats={"bytes": bytes_text}, title=str(home), empty=f"no shelf in {home}")


def _log(shelf: Any, args: argparse.Namespace) -> int:
    rows = [{**commit._asdict(), "time": commit.time.isoformat()} for commit in shelf.log()]
    if args.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(f"{row['id']:6}  {row['time']}  {', '.join(row['names'])}  {row['message']}".rstrip())
    return 0


def _diff(shelf: Any, args: argparse.Namespace) -> int:
    found = shelf.diff(args.a, args.b)
    if args.json:
        print(json.dumps(found))
    else:
        for what, names in found.items():
            for name in names:
                print(f"{what:8}{name}")
    return 0


def _verify(shelf: Any, args: argparse.Namespace) -> int:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # it only reads: Ctrl-C may end it at once
    with _Bar("verify") as bar:
        report = shelf.verify(bar)
    print(json.dumps(report._asdict()) if args.json else report)
    return 0 if report.ok else 1


def _compact(shelf: Any, args: argparse.Namespace) -> int:
    with _Bar("compact") as bar:
        done = shelf.compact(bar)
    before, after = bytes_text(done["bytes_before"]), bytes_text(done["bytes_after"])
    print(json.dumps(done) if args.json else f"{before} before, {after} now")
    return 0


def _backup(shelf: Any, args: argparse.Namespace) -> int:
    with _Bar("backup") as bar:
        commit = shelf.backup(args.to, bar)
    print(json.dumps({"commit": commit, "path": args.to}) if args.json else f"commit {commit} copied to {args.to}")
    return 0


def _salvage(_: None, args: argparse.Namespace) -> int:
    from ._larder import salvage
    from .shelf import resolve

    damaged, new = resolve(args.file), resolve(args.to)
    found: list = []

    def work() -> None:
        try:
            found.append(salvage(str(damaged), str(new)))
        except BaseException as err:
            found.append(err)

    with _Bar("salvage") as bar:
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        while worker.is_alive():
            worker.join(0.1)
            if new.exists() and damaged.exists():
                size = damaged.stat().st_size
                bar(min(new.stat().st_size, size), size)
    if isinstance(found[0], BaseException):
        raise found[0]
    commit, saved, lost = found[0]
    if args.json:
        rows = [{"name": name, "why": why} for name, why in lost]
        print(json.dumps({"commit": commit, "path": str(new), "saved": saved, "lost": rows}))
    else:
        print(f"commit {commit}: {len(saved)} of {len(saved) + len(lost)} variables saved to {new}")
        for name, why in lost:
            print(f"lost {name}: {why}")
    return 1 if lost else 0


def _export(shelf: Any, args: argparse.Namespace) -> int:
    names = args.names or list(shelf)
    for name in names:
        if name not in shelf:
            raise LookupError(f"no variable `{name}` on shelf {shelf.path}")
    args.to.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    with _Bar("export") as bar:
        for done, name in enumerate(names):
            begun: list[Path] = []
            try:
                rows.append({"name": name, "file": str(_written(shelf[name], args.to, name, begun)), "why": None})
            except (ShelfError, TypeError, ValueError, ImportError, OSError) as err:
                why = str(err)
                for half in begun:  # no file rather than a part of one
                    half.unlink(missing_ok=True)
                    if isinstance(err, OSError):
                        why = f"{half} cannot be written (is the disk full?): {err}"
                rows.append({"name": name, "file": None, "why": why})
            bar(done + 1, len(names))
    if args.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(f"{row['name']} -> {row['file']}" if row["file"] else f"{row['name']}: not exported: {row['why']}")
    return 0 if all(row["file"] for row in rows) else 1


def _written(value: Any, folder: Path, name: str, begun: list[Path]) -> Path:
    """``value`` in a new file of ``folder`` that other programs read; never over a file that is there.

    The file's path is in ``begun`` before anything is written.
    """
    import numpy as np

    def path(suffix: str) -> Path:
        plain = "".join(c if c.isalnum() or c in "-_. " else "_" for c in name).lstrip(".") or "_"
        found, n = folder / f"{plain}{suffix}", 1
        while found.exists():
            n += 1
            found = folder / f"{plain}-{n}{suffix}"
        begun.append(found)
        return found

    if isinstance(value, np.ndarray):
        where = path(".npy")
        np.save(where, np.asarray(value), allow_pickle=False)
    elif isinstance(value, str):
        where = path(".txt")
        where.write_bytes(value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, (bytes, bytearray)):
        where = path(".bin")
        where.write_bytes(value)
    elif type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        data = value.detach().numpy()
        where = path(".npy")
        np.save(where, data, allow_pickle=False)
    elif hasattr(value, "to_parquet"):
        where = path(".parquet")
        value.to_parquet(where)
    elif hasattr(value, "write_parquet"):
        where = path(".parquet")
        value.write_parquet(where)
    elif type(value).__module__.startswith("pyarrow") and hasattr(value, "column_names"):
        from pyarrow import Table as ArrowTable, parquet

        where = path(".parquet")
        whole = value if isinstance(value, ArrowTable) else ArrowTable.from_batches([value])
        parquet.write_table(whole, where)
    elif type(value).__module__.startswith("scipy.sparse"):
        from scipy.sparse import save_npz

        where = path(".npz")
        save_npz(where, value)
    else:
        try:
            text = json.dumps(value)
        except (TypeError, ValueError):
            raise TypeError(f"no plain file format for {type(value).__qualname__}; read it with larder.open") from None
        where = path(".json")
        where.write_text(text + "\n")
    return where
