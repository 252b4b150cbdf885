"""Which cell does this output belong to?

A `Cell` is one request as its outputs see it: where they go, and the message that asked. `current()` answers for the
calling code, whichever way it runs: the cell itself, a task it created (tasks copy the context), a thread it started
(threads remember the cell they were started from), work it gave to a pool of threads, and code without any of these,
which gets the last cell.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any

from .late import on_import

_current: ContextVar[Cell] = ContextVar("larder_cell")
_last: Cell | None = None


class Cell:
    """One request: its outputs, its ticket (None for output between cells) and the message that asked for it."""

    __slots__ = ("__weakref__", "_parent", "allow_stdin", "outputs", "silent", "ticket")

    def __init__(self, outputs, ticket=None, *, parent: dict[str, Any] | None = None) -> None:
        self.outputs = outputs
        self.ticket = ticket
        self.allow_stdin = False
        self.silent = False
        self._parent = parent

    @property
    def parent(self) -> dict[str, Any]:
        """The whole request (header, metadata, content, ...); built on first use."""
        if self._parent is None:
            self._parent = _complete(self.ticket.parent() if self.ticket is not None else {})
        return self._parent


def _complete(message: dict[str, Any]) -> dict[str, Any]:
    header = message.setdefault("header", {})
    message.setdefault("parent_header", {})
    message.setdefault("metadata", {})
    message.setdefault("content", {})
    message.setdefault("buffers", [])
    if header:
        message.setdefault("msg_id", header.get("msg_id"))
        message.setdefault("msg_type", header.get("msg_type"))
    return message


def current() -> Cell:
    """The cell that the calling code belongs to."""
    try:
        return _current.get()
    except LookupError:
        pass
    cell = getattr(threading.current_thread(), "_larder_cell", None)
    if cell is not None:
        _current.set(cell)
        return cell
    assert _last is not None, "no output before the kernel has started"
    return _last


def enter(cell: Cell) -> None:
    """Make ``cell`` the current one: in this context, and for code that has none."""
    global _last
    _current.set(cell)
    _last = cell


def set_here(cell: Cell):
    """Make ``cell`` current in this context only; returns the token that `reset_here` takes."""
    return _current.set(cell)


def reset_here(token) -> None:
    _current.reset(token)


def follow_threads() -> None:
    """From now on a started thread remembers the cell that started it."""
    start = threading.Thread.start
    if getattr(start, "_larder", False):
        return

    def remembering_start(self):
        if _last is not None:
            self._larder_cell = current()
        return start(self)

    remembering_start.__name__ = "start"
    remembering_start.__qualname__ = "Thread.start"
    remembering_start.__doc__ = start.__doc__
    remembering_start._larder = True
    threading.Thread.start = remembering_start
    on_import("concurrent.futures.thread", _follow_work)


def _follow_work(futures) -> None:
    """What a `ThreadPoolExecutor` is given belongs to the cell that gave it, whichever cell the pool's threads are of."""
    begin, run = futures._WorkItem.__init__, futures._WorkItem.run

    def remembering_begin(self, *args) -> None:
        begin(self, *args)
        self._larder_cell = current() if _last is not None else None

    def run_for_its_cell(self, *args) -> None:
        if self._larder_cell is None:
            return run(self, *args)
        before = _current.set(self._larder_cell)
        try:
            return run(self, *args)
        finally:
            _current.reset(before)
            self = None  # as `run` does: an exception holds this frame, and `self` the exception

    futures._WorkItem.__init__, futures._WorkItem.run = remembering_begin, run_for_its_cell
