"""Shelves: variables that live in a file, crash-consistent, with arrays mapped in place.

>>> shelf = larder.open("work")
>>> shelf.x = np.identity(9)      # copied onto the shelf, durable on return (in a notebook: when the cell ends)
>>> shelf.x[5] = 1                # a plain NumPy store, part of the next commit
>>> with shelf.transaction():     # all or nothing
...     shelf.a = 1
...     shelf.b = 2
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from . import codec, hooks
from .display import Table, bytes_text
from .errors import ShelfClosed, ShelfError, ShelfReadOnly

# Held until closed: `larder.open("w").x = 1` must still be there to commit when the cell ends.
_open: dict[str, Shelf] = {}
Progress = Callable[[int, int], object]
_lock = threading.RLock()


class Commit(NamedTuple):
    """One durable state of a shelf."""

    id: int
    time: datetime
    message: str
    names: list[str]
    """What it changed."""
    bytes_written: int


class Report(NamedTuple):
    """What ``verify`` found."""

    ok: bool
    pages_checked: int
    damage: list[dict]
    """One dict per damaged place: ``offset`` in the file, ``name`` of the variable hit (or ``None``), ``what``."""

    def __str__(self) -> str:
        if self.ok:
            return f"sound: {self.pages_checked} pages checked"
        places = "\n".join(f"  offset {d['offset']:#x}: {d['name'] or 'no variable'}: {d['what']}" for d in self.damage)
        return f"{len(self.damage)} damaged places in {self.pages_checked} pages:\n{places}"


def home() -> Path:
    """The folder of shelves with bare names: ``$LARDER_HOME``, else ``larder`` in the XDG data folder."""
    given = os.environ.get("LARDER_HOME")
    if given:
        folder = Path(given)
        if not folder.is_absolute():  # where it is now, also when the notebook goes to another folder
            folder = folder.absolute()
            os.environ["LARDER_HOME"] = str(folder)
        return folder
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():  # the XDG specification: a relative one is to be ignored
        data = Path.home() / ".local" / "share"
    return data / "larder"


def resolve(path: str | os.PathLike) -> Path:
    """Where ``path`` is: a bare name without suffix is ``NAME.shelf`` in :func:`home`, anything else is a path."""
    text = os.fspath(path)
    if not text:
        raise ValueError("a shelf needs a name")
    if os.sep in text or text.endswith(".shelf") or text.startswith("~"):
        return Path(text).expanduser().absolute()
    return home() / f"{text}.shelf"


def open(
    path: str | os.PathLike,
    mode: str = "a",
    medium: str | None = None,
    durability: str = "commit",
    trust: bool = True,
    history: int | None = None,
) -> Shelf:
    """Open a shelf.

    ``path``: a bare name (kept in ``$LARDER_HOME`` or the XDG data folder) or a path.
    ``mode``: as h5py: ``r`` read only, ``r+`` read and write an existing one, ``a`` the same or create (default),
    ``w`` create and throw away what was there, ``x`` create and fail if it exists.
    ``medium``: ``None`` picks by trying, ``"file"``, ``"dax"``, ``"dram"`` (volatile, for tests and scratch).
    ``durability``: ``"commit"`` is the only one: what a commit acknowledged survives power loss.
    ``history``: how many older commits stay showable (``None``: as it was, 0 in a new shelf); they keep their room.
    ``trust=False`` refuses pickled objects, because reading them runs code from the shelf.

    A shelf already open to write in this process is returned as it is; it stays open until :meth:`Shelf.close` or the
    process ends. With ``"r"`` every call gives a reader of its own, at the last commit.
    Raises ``ShelfBusy`` (with the writer's pid), ``ShelfFormat``, ``ShelfCorrupt``, ``FileNotFoundError``, ``FileExistsError``.
    """
    if mode not in ("r", "r+", "a", "w", "x"):
        raise ValueError(f"mode must be one of r, r+, a, w, x, not {mode!r}")
    if durability != "commit":
        raise ValueError(f"durability must be 'commit', not {durability!r}")
    if medium not in (None, "file", "dax", "dram"):
        raise ValueError(f"medium must be None, 'file', 'dax' or 'dram', not {medium!r}")
    where = resolve(path)
    with _lock:
        shelf = _open.get(str(where))
        if shelf is not None and mode in ("a", "r+"):
            if shelf._trust and not trust:
                raise ShelfError(f"shelf {where} is open in this process with trust=True; close it first")
            if history is not None:
                shelf._native.history = history
            return shelf
        if mode in ("a", "w", "x") and medium != "dram":
            try:
                where.parent.mkdir(parents=True, exist_ok=True)
            except OSError as err:
                hint = "name a path elsewhere, or set LARDER_HOME"
                raise ShelfError(f"cannot make the folder of shelf {where}: {err.strerror}; {hint}") from err
        native = _native(where, mode, medium)
        if history is not None and mode != "r":
            native.history = history
        shelf = Shelf(native, where, mode, trust)
        if mode != "r":
            _open[str(where)] = shelf
        return shelf


def _native(where: Path, mode: str, medium: str | None):
    from ._larder import NativeShelf

    return NativeShelf(str(where), mode, medium)


def shelves() -> list[Shelf]:
    """The shelves open in this process."""
    with _lock:
        return list(_open.values())


class Shelf:
    """Variables in a file. Attributes and items are variables; names starting with ``_`` only as items.

    Outside a notebook each assignment is durable on return, in-place array stores at :meth:`commit`, :meth:`close` or the
    end of a ``with``. In a notebook cell all changes become durable together when the cell ends.
    """

    def __init__(self, native: Any, path: Path, mode: str, trust: bool) -> None:
        d = self.__dict__
        d["_native"], d["_path"], d["_trust"] = native, path, trust
        d["_readonly"] = mode == "r"
        d["_depth"] = 0
        d["_closed"] = False
        d["_snapshot"] = None
        d["_mutex"] = threading.RLock()

    # --- variables ---

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(self._missing(name), name=name, obj=self) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or hasattr(type(self), name):
            raise AttributeError(
                f"`{name}` is a name of Shelf itself; use shelf[{name!r}] = ... for a variable of that name"
            )
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(self._missing(name), name=name, obj=self) from None

    # Here the attributes are taken from the dict: a class with `__getattr__` pays for each access.

    def __getitem__(self, name: str) -> Any:
        own = self.__dict__
        entry = (self._alive() if own["_closed"] else own["_native"]).get(_text(name))
        if entry is None:
            raise KeyError(self._missing(name))
        kind, meta, buffers = entry
        return codec.decode(kind, meta, buffers, shelf=self, name=name, trust=own["_trust"])

    def __setitem__(self, name: str, value: Any) -> None:
        own = self.__dict__
        native = self._writable() if own["_closed"] or own["_readonly"] else own["_native"]
        if type(name) is not str or not name:
            _text(name)
        with own["_mutex"]:
            atom = codec.ATOMS.get(type(value))
            if atom is not None:
                native.put(name, *atom(value))
            else:
                self._put(native, name, value)
            if own["_depth"] == 0:
                self._settle(f"put {name}")

    def _put(self, native: Any, name: str, value: Any) -> None:
        allocate = getattr(value, "_larder_allocate", None)
        if allocate is not None:
            allocate(native, name)
        elif codec.owned_by(value) != (self, name):
            native.put(name, *codec.encode(value, name, self))
        # Else `shelf.x += 1` ends with `shelf.x = shelf.x`: it is there, and its stores count.

    def __delitem__(self, name: str) -> None:
        native = self._writable()
        with self._mutex:
            if not native.remove(_text(name)):
                raise KeyError(self._missing(name))
            self._settle(f"rm {name}")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._alive().contains(name)

    def __len__(self) -> int:
        return len(self._alive().names())

    def __iter__(self) -> Iterator[str]:
        return iter(self._alive().names())

    def __dir__(self) -> list[str]:
        names = [] if self._closed else [name for name in self if name.isidentifier()]
        return [*super().__dir__(), *names]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def keys(self) -> list[str]:
        """The names, sorted."""
        return list(self)

    def values(self) -> list[Any]:
        """The values, in the order of :meth:`keys`."""
        return [value for _, value in self.items()]

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of name and value, in the order of :meth:`keys`."""
        native, decode, trust = self._alive(), codec.decode, self._trust
        found = ((name, native.get(name)) for name in native.names())
        return [
            (name, decode(kind, meta, buffers, shelf=self, name=name, trust=trust))
            for name, entry in found
            if entry is not None  # another thread removed it
            for kind, meta, buffers in (entry,)
        ]

    def get(self, name: str, default: Any = None) -> Any:
        """The variable, or ``default`` when there is none of that name."""
        try:
            return self[name]
        except KeyError:
            if name in self:
                raise
            return default

    def update(self, values: Mapping[str, Any]) -> None:
        """Put all of ``values`` in one transaction."""
        with self.transaction():
            for name, value in values.items():
                self[name] = value

    # --- transactions ---

    @contextlib.contextmanager
    def transaction(self, message: str | None = None) -> Iterator[Shelf]:
        """All or nothing: commits at the end, rolls back if the block raises. Nested ones are part of the outermost.

        Changes made before the block and not committed yet (in-place stores, earlier in the same cell) are committed
        when it begins, so that a rollback takes back the block and nothing else. Other threads' transactions, assignments
        and ends of cells wait for this one; what they store in place meanwhile is part of it.
        """
        native = self._writable()
        with self._mutex:
            if self._depth == 0:
                native.commit(None)
            self.__dict__["_depth"] += 1
            try:
                yield self
            except BaseException:
                if self._depth == 1:
                    native.rollback()
                raise
            finally:
                self.__dict__["_depth"] -= 1
            if self._depth == 0:
                native.commit(message)

    def commit(self, message: str | None = None) -> Commit | None:
        """Make everything so far durable. Returns the new commit, or ``None`` when nothing had changed.

        Raises ``ShelfFull`` when the disk is (the shelf then stays at its last commit; free space and commit again).
        """
        if self._depth:
            raise ShelfError("commit inside a transaction would tear it; the end of the `with` block commits")
        done = self._writable().commit(message)
        return None if done is None else _commit(done)

    def rollback(self) -> None:
        """Go back to the last commit: names and array contents; arrays already in hand show it too."""
        self._writable().rollback()

    def _settle(self, message: str) -> None:
        if self._depth == 0 and not hooks.installed():
            self._native.commit(message)

    # --- looking ---

    @property
    def path(self) -> Path:
        """The shelf's file."""
        return self._path

    @property
    def readonly(self) -> bool:
        """Whether it was opened with ``mode="r"``."""
        return self._readonly

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def log(self) -> list[Commit]:
        """The commits, oldest first."""
        return [_commit(row) for row in self._alive().log()]

    def diff(self, a: int, b: int | None = None) -> dict[str, list[str]]:
        """Names ``added``, ``removed`` and ``changed`` from commit ``a`` to ``b`` (the last one if ``None``).

        Raises ``LookupError`` for a commit that is not kept any more; see ``history`` of :func:`open`.
        """
        return dict(zip(("added", "removed", "changed"), self._alive().diff(a, b), strict=True))

    def snapshot(self, id: int | None = None) -> Shelf:
        """A read-only shelf that shows commit ``id`` (the last one if ``None``), whatever is committed later."""
        native = self._alive().snapshot(id)
        shelf = Shelf(native, self._path, "r", self._trust)
        shelf.__dict__["_snapshot"] = native.stats()["commit"]
        return shelf

    def checkout(self, id: int) -> list[str]:
        """Go back to commit ``id``, as a new commit; nothing is copied. Returns the names that differ.

        What was not committed yet is committed first, so that it stays in the history. Values already in hand keep what
        they show; read them from the shelf again. In a notebook the change becomes durable when the cell ends.
        Raises ``LookupError`` for a commit that is not kept; see ``history`` of :func:`open`.
        """
        with self._mutex:
            changed = self._between("checkout").checkout(id)
            self._settle(f"checkout {id}")
            return changed

    def compact(self, progress: Progress | None = None) -> dict[str, int]:
        """Give free space back to the file system. Arrays in hand keep their place until they are gone.

        ``progress(done, total)``, here and elsewhere, is called up to ten times a second.
        """
        done = self._between("compact").compact(progress)
        return dict(zip(("bytes_before", "bytes_after", "buffers_moved"), done, strict=True))

    def backup(self, path: str | os.PathLike, progress: Progress | None = None) -> int:
        """Commit, and copy the shelf to a new file. Returns the commit's number; ``FileExistsError`` if the file exists."""
        return self._between("backup").backup(os.fspath(path), progress)

    def _between(self, what: str) -> Any:
        """The engine with nothing pending; refused inside a transaction, which a commit would tear."""
        native = self._writable()
        if self._depth:
            raise ShelfError(f"{what} inside a transaction would tear it; call it after the `with` block")
        native.commit(None)
        return native

    def inspect(self) -> Table:
        """One row per variable: name, kind, bytes, the commit that last changed it."""
        rows = []
        for row in self._alive().inspect():
            kind = codec.kind_text(row["kind"], row["meta"])
            rows.append({"name": row["name"], "kind": kind, "bytes": row["nbytes"], "commit": row["commit"]})
        total = sum(row["bytes"] for row in rows)
        return Table(
            rows,
            ["name", "kind", "bytes", "commit"],
            formats={"bytes": bytes_text},
            title=f"{self._path}",
            footer=f"{len(rows)} variable{'' if len(rows) == 1 else 's'}, {bytes_text(total)}",
            empty="an empty shelf",
        )

    def stats(self) -> dict:
        """Sizes in bytes, the medium, the dirty tracker in use, the last commit."""
        return self._alive().stats()

    def verify(self, progress: Progress | None = None) -> Report:
        """Read every page and compare checksums; damaged places come with the variable they hit."""
        return _report(self._alive().verify(progress))

    def close(self) -> None:
        """Commit and let the file go. Arrays already in hand stay readable."""
        if self._closed:
            return
        try:
            if not self._readonly:
                self._native.commit(None)
        finally:
            self.__dict__["_closed"] = True
            with _lock:
                if _open.get(str(self._path)) is self:
                    del _open[str(self._path)]
            self._native.close()
            # Arrays in hand keep what they need of the file; this object shall not.
            self.__dict__["_native"] = None

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, kind, value, traceback) -> None:
        if kind is not None and not self._closed and not self._readonly:
            self._native.rollback()
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<closed shelf {self._path}>"
        at = "" if self._snapshot is None else f" at commit {self._snapshot}"
        return f"<shelf {self._path}{at}: {len(self)} variables>"

    def _repr_html_(self) -> str:
        return repr(self).replace("<", "&lt;") if self._closed else self.inspect()._repr_html_()

    def __reduce__(self):
        if self._snapshot is not None:
            raise TypeError("a snapshot of a shelf cannot be pickled; keep its commit's number")
        return open, (str(self._path), "r" if self._readonly else "a", None, "commit", self._trust)

    # --- inside ---

    def _alive(self):
        if self._closed:
            raise ShelfClosed(f"shelf {self._path} is closed; open it again with larder.open({str(self._path)!r})")
        return self._native

    def _writable(self):
        if self._closed or self._readonly:
            self._alive()
            if self._snapshot is not None:
                raise ShelfReadOnly(f"this is commit {self._snapshot} of shelf {self._path}; write to the shelf itself")
            raise ShelfReadOnly(f"shelf {self._path} was opened with mode='r'; open it with mode='a' to write")
        return self._native

    def _missing(self, name: Any) -> str:
        near = difflib.get_close_matches(str(name), list(self), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"no variable `{name}` on shelf {self._path}{hint}"


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"names on a shelf are str, not {type(name).__name__}")
    if not name:
        raise ValueError("a name on a shelf cannot be empty")
    return name


def _commit(row: tuple) -> Commit:
    number, time_ns, message, names, written = row
    return Commit(number, datetime.fromtimestamp(time_ns / 1e9, UTC), message, names, written)


def _report(found: tuple) -> Report:
    pages, damage = found
    return Report(not damage, pages, [{"offset": o, "name": n, "what": w} for o, n, w in damage])


def verify_file(path: str | os.PathLike) -> Report:
    """As :meth:`Shelf.verify`, for a file nobody has open to write; nothing is written to it."""
    with open(path, mode="r") as shelf:
        return shelf.verify()


def _commit_cell(ip: Any, result: Any) -> None:
    for shelf in shelves():
        if shelf.readonly:
            continue
        lines = (getattr(getattr(result, "info", None), "raw_cell", None) or "").strip().splitlines()
        with shelf._mutex:  # of another thread's transaction the end is awaited: "done" means durable
            if not shelf._depth:
                shelf.commit(lines[0][:80] if lines else None)


hooks.AFTER.append(_commit_cell)


@atexit.register
def _close_all() -> None:
    for shelf in shelves():
        with contextlib.suppress(ShelfError):
            shelf.close()
