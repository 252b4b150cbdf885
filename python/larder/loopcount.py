"""Counting the loops of notebook cells where they jump back, on interpreters whose frames the optimiser does not know.

The count comes from ``sys.monitoring`` (CPython 3.12 and newer): the interpreter reports each back edge of a loop, and
stops reporting one for good when the answer is ``DISABLE``. So a loop costs something for its first `HOT` iterations and
nothing after; code that does not come from a notebook cell costs one report per back edge.
"""

from __future__ import annotations

import linecache
import sys
from types import CodeType

WARM = 16
"""Iterations from which a loop is warm."""
HOT = 1000
"""Iterations from which a loop is hot, and no longer counted."""
LOOPS_MAX = 4096
"""Loops remembered; the oldest are forgotten first."""


class Loop:
    """One loop head of one code object."""

    __slots__ = ("code", "first", "iterations", "last")

    def __init__(self, code: CodeType, first: int, last: int) -> None:
        self.code, self.first, self.last = code, first, last
        self.iterations = 0

    @property
    def line(self) -> int:
        """The loop's first line: a ``while`` repeats its test at the end, so the smallest line between the jump's ends."""
        lines = [n for start, end, n in self.code.co_lines() if n and start <= self.last and self.first < end]
        return min(lines, default=self.code.co_firstlineno)


loops: dict[tuple[CodeType, int], Loop] = {}
exact = False
"""Count to the end, however hot."""
_ours: dict[str, bool] = {}


def from_cell(filename: str) -> bool:
    """Whether code of this file comes from a notebook cell."""
    known = _ours.get(filename)
    if known is None:
        # Source that a shell compiled is in linecache without a file time; files on disk have one.
        entry = linecache.cache.get(filename)
        known = _ours[filename] = entry is not None and [*entry[1:2]] == [None]
    return known


def jump(code: CodeType, source: int, target: int):
    """The callback for JUMP events."""
    if target > source or not from_cell(code.co_filename):
        return sys.monitoring.DISABLE
    loop = loops.get((code, target))
    if loop is None:
        if loops.__len__() >= LOOPS_MAX:
            del loops[loops.__iter__().__next__()]
        loop = loops[code, target] = Loop(code, target, source)
    loop.iterations += 1
    if source > loop.last:
        loop.last = source
    if loop.iterations >= HOT and not exact:
        return sys.monitoring.DISABLE
    return None


def state(iterations: int) -> str:
    return "hot" if iterations >= HOT else "warm" if iterations >= WARM else "cold"


def rows() -> list[dict]:
    """One dict per loop, in the shape of the optimiser's."""
    found = []
    for loop in loops.values():
        found.append(
            {
                "name": loop.code.co_qualname,
                "file": loop.code.co_filename,
                "line": loop.line,
                "state": state(loop.iterations),
                "interpreted": loop.iterations,
                "stopped": loop.iterations >= HOT,
                "key": (id(loop.code), loop.first),
            }
        )
    return found
