"""What larder does around every cell, through IPython's own events.

The same two events serve larder's kernel and ``%load_ext larder`` elsewhere. Before the cell: `BEFORE`, in order. After
it, and before the reply goes out: `AFTER`, in order, so that "done" means durable. A hook takes the shell and the cell's
info (before) or result (after); one that raises is reported and does not stop the others.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

Hook = Callable[[Any, Any], None]

AHEAD: list[Callable[[str | None], None]] = []
"""Called by larder's kernel before a request's code runs (silent or not), or with ``None`` before it is answered otherwise."""
REPLIED: list[Callable[[], None]] = []
"""Called by larder's kernel when a cell's reply is out, before it takes the next request."""
SILENT: list[Callable[[], None]] = []
"""Called by larder's kernel when a request that is no cell was answered."""
BACK: list[Callable[[], None]] = []
"""Called when saved values were put back into the namespace."""
STARTED: list[Callable[[], None]] = []
"""Called once by larder's kernel when its main loop begins: from then on there is `when_idle`."""
BEFORE: list[Hook] = []
AFTER: list[Hook] = []

_idle: Callable[[int, Callable[[], None], float], None] | None = None
"""Of larder's kernel, as long as its main loop runs: see `when_idle`."""

_installed: dict[int, tuple[Callable, Callable]] = {}


def install(ip) -> None:
    """Attach to ``ip``'s ``pre_run_cell`` and ``post_run_cell``; a second call changes nothing."""
    if id(ip) in _installed:
        return

    def before(info) -> None:
        _run(BEFORE, ip, info)

    def after(result) -> None:
        _run(AFTER, ip, result)

    ip.events.register("pre_run_cell", before)
    ip.events.register("post_run_cell", after)
    _installed[id(ip)] = (before, after)


def uninstall(ip) -> None:
    """Detach from ``ip``; harmless when not attached."""
    pair = _installed.pop(id(ip), None)
    if pair is not None:
        ip.events.unregister("pre_run_cell", pair[0])
        ip.events.unregister("post_run_cell", pair[1])


def installed() -> bool:
    """Whether cells are transactions here: true once some IPython shell has the hooks."""
    return bool(_installed)


def ahead(code: str | None) -> None:
    """Run `AHEAD`: a request has come."""
    for hook in list(AHEAD):
        _try(hook, "before this request", code)


def replied() -> None:
    """Run `REPLIED`: a cell was answered."""
    for hook in list(REPLIED):
        _try(hook, "after the last cell")


def silent() -> None:
    """Run `SILENT`: a request that is no cell was answered."""
    for hook in list(SILENT):
        _try(hook, "after this request")


def back() -> None:
    """Run `BACK`: values have come back."""
    for hook in list(BACK):
        _try(hook, "when values came back")


def started(idle: Callable[[int, Callable[[], None], float], None]) -> None:
    """The main loop begins, and serves `when_idle` with ``idle``."""
    global _idle
    _idle = idle
    while STARTED:
        _try(STARTED.pop(0), "when it started")


def when_idle(fd: int, call: Callable[[], None], seconds: float = 0.0) -> None:
    """Have larder's kernel make this call once, when ``fd`` can be read, ``seconds`` have passed since, and no cell runs or
    waits; no other kernel does.

    The descriptor may be closed meanwhile.
    """
    if _idle is not None:
        _idle(os.dup(fd), lambda: _try(call, "between cells"), seconds)


def _run(hooks: list[Hook], ip, about) -> None:
    for hook in list(hooks):
        _try(hook, "after this cell", ip, about)


def _try(hook: Callable, when: str, *args: Any) -> None:
    try:
        hook(*args)
    except Exception:
        print(f"larder: {hook.__module__}.{hook.__qualname__} failed {when}:", file=sys.stderr)
        traceback.print_exc()


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """No garbage is collected on our account: what a walk or a pickle makes is gone when it is done, but counts till then, and
    would bring the next full collection into some cell (80 ms with scikit-learn imported)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
