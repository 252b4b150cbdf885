"""A notebook's state on its way to the session shelf: what was seen, what is about to be written, and what was."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

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

    def __init__(self, part: Any, known: blocks.Blocks | None) -> None:
        self.patch = part if isinstance(part, Patch) else None
        if self.patch is not None:
            self.view, self.place = memoryview(b""), (self.patch.key, self.patch.version)
            self.nbytes = self.patch.nbytes
        else:
            self.view = memoryview(part)
            self.place = None if known is None else known.place(self.view)
            self.nbytes = self.view.nbytes
        self.sums = sums_of(self.view) if self.place is None else None

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
    held: set[str]
    """Names whose walks hold what they met."""
    of: int | None
    patience: float
    reply_at: float = math.inf
    """When the cell will have been answered."""

    @property
    def changed(self) -> list[str]:
        return [name for name in self.values if name not in self.known]

    def refresh(self, known: dict[str, groups.Known]) -> None:
        """What was found to be as it was is where it is said to be now; what is no longer known counts as changed."""
        self.known = {name: known[name] for name in self.known if name in known}

    def kind(self, name: str) -> str:
        """The name of a variable's type."""
        kind = type(self.values[name])
        return f"{kind.__module__}.{kind.__qualname__}"


@dataclasses.dataclass
class Task:
    """What is to be committed, with nothing in it that is still an object of the notebook."""

    seq: int
    code: str
    count: int
    names: frozenset[str]
    """All variables there are."""
    imports: dict[str, str]
    known: dict[str, str]
    """Names that did not change -> their groups, as in ``Recorder.saved``."""
    groups: list[groups.Found]
    """Those to be written; buffers are memory, or a `Patch`."""
    refused: dict[str, str]
    costs: list[tuple]
    of: int | None
    cwd: str
    deferred: dict[str, str]
    reply_at: float

    @property
    def keys(self) -> frozenset[str]:
        """The groups of this state."""
        return frozenset((*self.known.values(), *("\0".join(one.names) for one in self.groups)))


class Patch(NamedTuple):
    """Watched memory in a `Task` for another process: what was written to it since a version that is on the shelf by then."""

    key: tuple[int, int, int]
    version: int
    since: int
    ranges: blocks.Ranges
    data: Any

    @property
    def nbytes(self) -> int:
        return self.key[2]


class Coming(NamedTuple):
    """What will be on the shelf once a child has ended: said as soon as it is known, before it is written."""

    keys: frozenset[str]
    """The groups of its last state."""
    bases: dict[tuple[int, int, int], int]
    """Watched memory -> version."""
    fresh: list[tuple[str, ...]]
    """The groups it serialised."""
    refused: frozenset[str]


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
