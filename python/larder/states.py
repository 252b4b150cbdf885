"""A notebook's state on its way to the session shelf: what was seen, what is about to be written, and what was."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from . import blocks, groups, saver
from .ledger import Plan
from .reader import sums_of


class New:
    """What one commit adds."""

    def __init__(self, there: set[str], child: saver.Saver | None) -> None:
        self.child = child
        self.there = there
        """Names on the shelf, with those added."""
        self.sizes: dict[str, int] = {}
        self.uses: dict[str, frozenset[str]] = {}
        self.bases: dict[tuple[int, int, int], blocks.Base] = {}

    def tell(self, nbytes: int) -> None:
        """So much is written next."""
        if self.child is not None:
            self.child.progress("", nbytes)


class Part:
    """A stream or a buffer of a group: watched memory, or bytes with the digests of their chunks if they are many."""

    def __init__(self, view: memoryview, place: tuple[tuple[int, int, int], int] | None) -> None:
        self.view, self.place = view, place
        self.sums = sums_of(view) if place is None else None

    @property
    def digested(self) -> Any:
        """What stands for it in the digest of its group."""
        if self.place is not None:
            return repr(self.place).encode()
        return self.view if self.sums is None else self.sums


@dataclasses.dataclass(eq=False)
class Look:
    """The notebook after a cell, and what a walk found there."""

    seq: int
    code: str
    count: int
    values: dict[str, Any]
    imports: dict[str, str]
    known: dict[str, groups.Known]
    walked: dict[str, Any]
    walks: dict[str, float]
    """Seconds of each walk."""
    of: int | None
    patience: float
    reply_at: float = math.inf
    """When the cell will have been answered."""

    @property
    def changed(self) -> list[str]:
        return [name for name in self.values if name not in self.known]

    def kind(self, name: str) -> str:
        """The name of a variable's type."""
        kind = type(self.values[name])
        return f"{kind.__module__}.{kind.__qualname__}"


@dataclasses.dataclass
class Saved:
    """What one commit did."""

    version: dict
    saved: dict[str, tuple[bytes, str]]
    unsaved: dict[str, dict]
    groups: list[tuple[str, ...]]
    """Those that were serialised."""
    meta: dict
    sizes: dict[str, int]
    uses: dict[str, frozenset[str]]
    plan: Plan
    bases: dict[tuple[int, int, int], blocks.Base]
    costs: list[tuple]
    seconds: float
