"""Hot loops of a notebook, counted where they jump back.

The count comes from ``sys.monitoring`` (CPython 3.12 and newer): the interpreter reports each back edge of a loop, and
stops reporting one for good when the answer is ``DISABLE``. So a loop costs something for its first `HOT` iterations and
nothing after; code that does not come from a notebook cell costs one report per back edge. An exact count, asked for with
``%%trace``, reports every iteration for the length of that cell.

>>> larder.trace.enable()
>>> larder.trace.traces()
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType

from .display import Table

WARM = 16
"""Iterations from which a loop is warm."""
HOT = 1000
"""Iterations from which a loop is hot, and no longer counted."""
LOOPS_MAX = 4096
"""Loops remembered; the oldest are forgotten first."""


class _Loop:
    __slots__ = ("code", "first", "iterations", "last")

    def __init__(self, code: CodeType, first: int, last: int) -> None:
        self.code, self.first, self.last = code, first, last
        self.iterations = 0

    @property
    def line(self) -> int:
        """The loop's first line: a ``while`` repeats its test at the end, so the smallest line between the jump's ends."""
        lines = [n for start, end, n in self.code.co_lines() if n and start <= self.last and self.first < end]
        return min(lines, default=self.code.co_firstlineno)


_loops: dict[tuple[CodeType, int], _Loop] = {}
_ours: dict[str, bool] = {}
_on = False
_paused = False
_exact = False
_why = "it was not switched on; `%trace on` does"
_not_optimising = "it is experimental; `%trace optimise` switches it on"


def _from_cell(filename: str) -> bool:
    known = _ours.get(filename)
    if known is None:
        # Source that a shell compiled is in linecache without a file time; files on disk have one.
        entry = linecache.cache.get(filename)
        known = _ours[filename] = entry is not None and len(entry) > 1 and entry[1] is None
    return known


def _jump(code: CodeType, source: int, target: int):
    if target > source or not _from_cell(code.co_filename):
        return sys.monitoring.DISABLE
    loop = _loops.get((code, target))
    if loop is None:
        if len(_loops) >= LOOPS_MAX:
            del _loops[next(iter(_loops))]
        loop = _loops[code, target] = _Loop(code, target, source)
    loop.iterations += 1
    loop.last = max(loop.last, source)
    if loop.iterations >= HOT and not _exact:
        return sys.monitoring.DISABLE
    return None


def _obstacle() -> str:
    """Why loops cannot be counted now; empty when they can."""
    if sys.version_info < (3, 12):
        return f"CPython {sys.version_info[0]}.{sys.version_info[1]} has no sys.monitoring; 3.12 is the first that has"
    if "t" in sys.abiflags:
        return "free-threaded builds are not supported"
    if sys.gettrace() is not None:
        return "a tracer is active (sys.settrace: a debugger or a coverage tool)"
    if sys.getprofile() is not None:
        return "a profiler is active (sys.setprofile)"
    for number in (sys.monitoring.DEBUGGER_ID, sys.monitoring.COVERAGE_ID, sys.monitoring.PROFILER_ID):
        if sys.monitoring.get_tool(number) is not None:
            return f"the tool {sys.monitoring.get_tool(number)!r} is active"
    other = sys.monitoring.get_tool(sys.monitoring.OPTIMIZER_ID)
    if other not in (None, "larder"):
        return f"another optimiser is active: {other!r}"
    return ""


def enable() -> bool:
    """Count loops from now on. False when something stands in the way; ``stats()["why"]`` then says what."""
    global _on, _why
    _why = _obstacle()
    if _why:
        disable(_why)
        return False
    if not _on:
        monitoring = sys.monitoring
        if monitoring.get_tool(monitoring.OPTIMIZER_ID) is None:
            monitoring.use_tool_id(monitoring.OPTIMIZER_ID, "larder")
        monitoring.register_callback(monitoring.OPTIMIZER_ID, monitoring.events.JUMP, _jump)
        monitoring.set_events(monitoring.OPTIMIZER_ID, monitoring.events.JUMP)
        _on = True
    return True


def disable(why: str = "it was switched off; `%trace on` switches it on") -> None:
    """Stop counting; what was counted stays."""
    global _on, _why
    _why = why
    if _on:
        monitoring = sys.monitoring
        monitoring.set_events(monitoring.OPTIMIZER_ID, 0)
        monitoring.register_callback(monitoring.OPTIMIZER_ID, monitoring.events.JUMP, None)
        monitoring.free_tool_id(monitoring.OPTIMIZER_ID)
        _on = False


def optimise(watch_all: bool = False, hot: int | None = None) -> bool:
    """Compile hot loops from now on, on CPython 3.13; experimental, and so off unless asked for.

    Watched are notebook cells, or with ``watch_all`` all code. False when something stands in the way;
    ``stats()["not_optimising"]`` then says what. `disable` ends it.
    """
    global _not_optimising
    from . import optimiser

    if not enable():
        _not_optimising = _why
        return False
    _not_optimising = optimiser.start(None if watch_all else _from_cell, hot or optimiser.HOT)
    if _not_optimising:
        disable()
        enable()
    return not _not_optimising


def optimised() -> Table:
    """The loops the optimiser has met, with what became of each."""
    from . import optimiser

    return optimiser.table()


def stand_aside(ip=None, about=None) -> None:
    """Before each cell: stop while a debugger, profiler or coverage tool is at work, and go on after it."""
    global _paused
    if _on and _obstacle():
        disable(_obstacle())
        _paused = True
    elif _paused and not _on and not _obstacle():
        _paused = False
        enable()


def clear() -> None:
    """Forget all counts; loops that were hot are counted again."""
    _loops.clear()
    if _on:
        sys.monitoring.restart_events()


@contextmanager
def exactly() -> Iterator[dict[tuple[CodeType, int], int]]:
    """Count every iteration within the block; yields the counts at its start, for the difference."""
    global _exact
    was_on = _on
    before = {key: loop.iterations for key, loop in _loops.items()}
    if enable():
        sys.monitoring.restart_events()
    _exact = True
    try:
        yield before
    finally:
        _exact = False
        if not was_on and _on:
            disable()


def stats() -> dict:
    """``on``, ``why`` it is not, and how many loops are cold, warm and hot."""
    states = [_state(loop.iterations) for loop in _loops.values()]
    counts = {state: states.count(state) for state in ("cold", "warm", "hot")}
    return {"on": _on, "why": "" if _on else _why, "loops": len(_loops), **counts, "not_optimising": _not_optimising}


def _state(iterations: int) -> str:
    return "hot" if iterations >= HOT else "warm" if iterations >= WARM else "cold"


def rows(since: dict[tuple[CodeType, int], int] | None = None) -> list[dict]:
    """One dict per loop, busiest first; with ``since`` only iterations made since, and only loops that made any."""
    found = []
    for key, loop in _loops.items():
        count = loop.iterations - (since.get(key, 0) if since is not None else 0)
        if count == 0:
            continue
        source = linecache.getline(loop.code.co_filename, loop.line).strip()
        found.append(
            {
                "code": loop.code.co_qualname,
                "line": loop.line,
                "source": source[:60],
                "iterations": count,
                "counted": "to the end" if since is not None or count < HOT else f"to {HOT}",
                "state": _state(loop.iterations),
                "file": loop.code.co_filename,
            }
        )
    return sorted(found, key=lambda row: -row["iterations"])


def traces() -> Table:
    """The loops counted so far. ``iterations`` of a hot loop is where counting stopped, not where the loop did."""
    return table(rows())


def table(found: list[dict]) -> Table:
    """``found`` as a table, with the state of counting below it."""
    now = stats()
    state = "counting" if now["on"] else f"not counting: {now['why']}"
    columns = ["code", "line", "source", "iterations", "counted", "state"]
    return Table(
        found,
        columns,
        footer=f"{state}; {now['hot']} hot, {now['warm']} warm, {now['cold']} cold loops",
        empty="no loop counted",
    )
