"""The ``%shelf`` and ``%%shelf`` magics."""

from __future__ import annotations

import os
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from ..display import Table, bytes_text
from ..errors import ShelfError

_HELP = """%shelf                    the open shelves and what is on them
%shelf open NAME|PATH     open a shelf and bind it to its name (an identifier) in the notebook
%shelf close [NAME]       commit and close
%shelf put NAME [SHELF]   put the notebook's variable NAME on a shelf
%shelf get NAME [SHELF]   bring a shelved variable into the notebook
%shelf rm NAME [SHELF]    remove a variable from a shelf
%shelf ls [SHELF]         the variables of a shelf
%shelf log [SHELF]        its commits; without a name: the states of this notebook, one per cell
%shelf diff A [B] [SHELF] what changed from A to B (default: the last one): commits, or states of this notebook
%shelf verify [SHELF]     read every page and compare checksums
%shelf compact [SHELF]    give free space back to the disk
%shelf backup PATH [SHELF] copy the shelf to a new file while it stays in use
%shelf status             what of this notebook is saved, and what is not and why
%shelf recover [NAME ...] bring this notebook's saved variables back
%shelf undo [N]           go back N cells
%shelf checkout ID        go back to the state after an earlier cell
%shelf autosave on|off    save the notebook's variables after each cell
%shelf exclude NAME       never save this variable (or os.environ, sys.path), and take it out of the states saved so far
%shelf retain N           keep the states of the last N cells
%%shelf [SHELF]           the cell is a transaction on the shelf (on all open ones): rolled back if it raises"""

_SESSION = ("status", "recover", "undo", "checkout", "autosave", "exclude", "retain")
VERBS = ("open", "close", "put", "get", "rm", "ls", "log", "diff", "verify", "compact", "backup", *_SESSION)


@magics_class
class ShelfMagics(Magics):
    """``%shelf`` and ``%%shelf``."""

    def __init__(self, shell: Any = None, **kwargs: Any) -> None:
        super().__init__(shell=shell, **kwargs)
        shell.set_hook("complete_command", complete, re_key=r"%{1,2}shelf\b.*")

    @line_cell_magic
    def shelf(self, line: str = "", cell: str | None = None) -> Any:
        """Shelves: variables that survive the kernel. ``%shelf --help`` lists what it can do.

        As a cell magic, ``%%shelf [SHELF]``, the cell is a transaction: if it raises, what it changed on the shelf is
        rolled back.
        """
        words = line.split()
        if cell is not None:
            return self._cell(words, cell)
        if not words:
            return self._overview()
        verb, *args = words
        if verb in ("--help", "-h", "help"):
            print(_HELP)
            return None
        if verb not in VERBS:
            raise UsageError(f"%shelf has no `{verb}`; it has {', '.join(VERBS)} (see %shelf --help)")
        if verb in _SESSION:
            return _or_usage(self._session, verb, args)
        return getattr(self, f"_{verb}")(*args)

    def _cell(self, words: list[str], cell: str) -> None:
        import contextlib

        from .. import shelf as shelves

        chosen = [self._find(words[0], make=True)] if words else [s for s in shelves.shelves() if not s.readonly]
        if not chosen:
            raise UsageError("no shelf is open; name one: %%shelf NAME")
        first = cell.strip().splitlines()
        shell = self.shell
        shown = shell.showtraceback, shell.showsyntaxerror
        with contextlib.ExitStack() as stack:
            for one in chosen:
                stack.enter_context(one.transaction(first[0][:80] if first else None))
            # The inner run must not show the error: it is raised again below, where it rolls back and fails the cell.
            shell.showtraceback = shell.showsyntaxerror = lambda *args, **kwargs: None
            try:
                result = shell.run_cell(cell, store_history=False)
            finally:
                shell.showtraceback, shell.showsyntaxerror = shown
            result.raise_error()

    def _find(self, name: str | None, make: bool = False) -> Any:
        from .. import shelf as shelves

        opened = shelves.shelves()
        if name is None:
            if len(opened) == 1:
                return opened[0]
            from .. import recovery

            none = (
                f"none is open, and this notebook is not saved: {recovery.why_none()}"
                if recovery.why_none()
                else "none is open"
            )
            raise UsageError("say which shelf: " + (", ".join(s.path.stem for s in opened) or none))
        bound = self.shell.user_ns.get(name)
        if isinstance(bound, shelves.Shelf):
            return bound
        for one in opened:
            if name in (one.path.stem, str(one.path)):
                return one
        try:
            return shelves.open(name, "a" if make else "r+")
        except FileNotFoundError:
            raise UsageError(f"there is no shelf `{name}`; `%shelf open {name}` makes one") from None

    def _overview(self) -> Table:
        from .. import shelf as shelves

        rows = [
            {
                "shelf": s.path.stem,
                "variables": len(s),
                "bytes": sum(r["bytes"] for r in s.inspect()),
                "path": str(s.path),
            }
            for s in shelves.shelves()
        ]
        return Table(rows, formats={"bytes": bytes_text}, empty="no shelf is open; open one with `%shelf open NAME`")

    def _open(self, path: str | None = None) -> Any:
        if path is None:
            raise UsageError("%shelf open needs a name or a path")
        from .. import shelf as shelves

        opened = shelves.open(path)
        name = opened.path.stem
        if name.isidentifier():
            self.shell.user_ns[name] = opened
            print(f"{name} = larder.open({path!r})")
        return opened

    def _close(self, name: str | None = None) -> None:
        self._find(name).close()

    def _put(self, name: str | None = None, shelf: str | None = None) -> None:
        if name is None:
            raise UsageError("%shelf put needs the name of a variable")
        if name not in self.shell.user_ns:
            raise UsageError(f"the notebook has no variable `{name}`")
        self._find(shelf, make=True)[name] = self.shell.user_ns[name]

    def _get(self, name: str | None = None, shelf: str | None = None) -> Any:
        if name is None:
            raise UsageError("%shelf get needs the name of a variable")
        try:
            value = self._find(shelf)[name]
        except KeyError as err:
            raise UsageError(err.args[0]) from None
        self.shell.user_ns[name] = value
        return value

    def _rm(self, name: str | None = None, shelf: str | None = None) -> None:
        if name is None:
            raise UsageError("%shelf rm needs the name of a variable")
        try:
            del self._find(shelf)[name]
        except KeyError as err:
            raise UsageError(err.args[0]) from None

    def _ls(self, shelf: str | None = None) -> Table:
        return self._find(shelf).inspect()

    def _log(self, shelf: str | None = None) -> Table:
        if shelf is None and _saved():
            from .. import session

            return session.log()
        rows = [
            {
                "commit": c.id,
                "time": c.time.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                "changed": ", ".join(c.names),
                "bytes": c.bytes_written,
                "message": c.message,
            }
            for c in self._find(shelf).log()
        ]
        return Table(rows, formats={"bytes": bytes_text}, empty="no commit yet")

    def _verify(self, shelf: str | None = None) -> Any:
        report = self._find(shelf).verify()
        print(report)
        return report

    def _diff(self, *args: str) -> Table:
        numbers = [int(word) for word in args if word.isdigit()]
        named = [word for word in args if not word.isdigit()]
        if not 1 <= len(numbers) <= 2 or len(named) > 1:
            raise UsageError("%shelf diff needs the number of a state or commit, or two (see %shelf log)")
        if not named and _saved():
            from .. import session

            return _or_usage(session.diff, *numbers)
        try:
            found = self._find(named[0] if named else None).diff(*numbers)
        except LookupError as err:
            raise UsageError(str(err)) from None
        rows = [{"name": name, "what": what} for what, names in found.items() for name in names]
        return Table(rows, empty="nothing differs")

    def _compact(self, shelf: str | None = None) -> Any:
        done = self._find(shelf).compact()
        print(f"{bytes_text(done['bytes_before'])} before, {bytes_text(done['bytes_after'])} now")
        return done

    def _backup(self, path: str | None = None, shelf: str | None = None) -> None:
        if path is None:
            raise UsageError("%shelf backup needs a path")
        try:
            commit = self._find(shelf).backup(path)
        except FileExistsError as err:
            raise UsageError(str(err)) from None
        print(f"commit {commit} copied to {path}")

    def _session(self, verb: str, args: list[str]) -> Any:
        from .. import session

        if verb == "recover":
            return session.recover(args or None)
        if verb == "undo":
            return session.undo(_number(verb, args) if args else 1)
        if verb == "checkout":
            return session.checkout(_number(verb, args))
        if verb == "retain":
            return session.retain(_number(verb, args))
        if verb == "exclude":
            if not args:
                raise UsageError("%shelf exclude needs the name of a variable")
            return session.exclude(args)
        if verb == "autosave":
            if args not in (["on"], ["off"]):
                raise UsageError("%shelf autosave on|off")
            return session.autosave(args == ["on"])
        return session.status()


def _saved() -> bool:
    """Whether this notebook has a saved state to talk about."""
    from .. import recovery

    return not recovery.why_none()


def _number(verb: str, args: list[str]) -> int:
    if len(args) != 1 or not args[0].isdigit():
        raise UsageError(f"%shelf {verb} needs one whole number" + (" (see %shelf log)" if verb == "checkout" else ""))
    return int(args[0])


def _or_usage(act: Any, *args: Any) -> Any:
    try:
        return act(*args)
    except (KeyError, ValueError, TypeError, FileNotFoundError, ShelfError) as err:
        raise UsageError(str(err.args[0])) from None


def complete(shell: Any, event: Any) -> list[str]:
    """Tab completion of ``%shelf``: verbs, then names that fit the verb."""
    words = event.line.split()
    typed = len(words) - (0 if event.line.endswith(" ") else 1)
    if typed <= 1:
        return [*VERBS, "--help"]
    verb = words[1]
    from .. import shelf as shelves

    if verb == "put":
        return [n for n in shell.user_ns if not n.startswith("_")]
    if verb in ("get", "rm"):
        return sorted({n for s in shelves.shelves() for n in s})
    if verb == "open":
        folder = shelves.home()
        return [os.path.splitext(n)[0] for n in (os.listdir(folder) if folder.is_dir() else []) if n.endswith(".shelf")]
    if verb == "autosave":
        return ["on", "off"]
    return [s.path.stem for s in shelves.shelves()]
