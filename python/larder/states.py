"""A notebook's state on its way to the session shelf: what was seen, what is about to be written, and what was."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from . import blocks, groups, saver
from ._larder import digest_joined
from .ledger import Plan
from .reader import CHUNK_BYTES, sums_of


class New:
    """What one commit adds."""

    def __init__(self, there: Collection[str], child: saver.Saver | None) -> None:
        self.child = child
        self._there = there
        """Names on the shelf."""
        self.sizes: dict[str, int] = {}
        """Those added, and how large they are."""
        self.uses: dict[str, frozenset[str]] = {}
        self.bases: dict[tuple[int, int, int], blocks.Base] = {}

    def has(self, name: str) -> bool:
        """Whether a name is on the shelf, or was added."""
        return name in self._there or name in self.sizes

    def tell(self, nbytes: int) -> None:
        """So much is written next."""
        if self.child is not None:
            self.child.progress((), nbytes)


class Part:
    """A stream or a buffer of a group: watched memory, or bytes with the digests of their chunks if they are many."""

    def __init__(self, part: Any, known: blocks.Blocks | None) -> None:
        self.patch = part if isinstance(part, Patch) else None
        self._given: dict[int, Any] | None = None
        self.view, self.place, self.sums = memoryview(b""), None, None
        if self.patch is not None:
            self.place, self.nbytes = (self.patch.key, self.patch.version), self.patch.nbytes
        elif isinstance(part, Chunks):
            self.sums, self.nbytes, self._given = part.sums, part.nbytes, part.given
        else:
            self.view = memoryview(part)
            self.nbytes = self.view.nbytes
            self.place = None if known is None else known.place(self.view)
            if self.place is None:
                read = None if known is None else known.sums(self.view, CHUNK_BYTES)
                self.sums = sums_of(self.view) if read is None else read

    @property
    def names(self) -> list[str]:
        """Its chunks."""
        return [f"c:{self.sums[at : at + 16].hex()}" for at in range(0, len(self.sums), 16)] if self.sums else []

    def chunk(self, at: int, room: bytearray) -> memoryview:
        """A copy of one of its chunks, made in ``room``. Raises ``LookupError`` if it was not given."""
        here = at * CHUNK_BYTES
        part = self.view[here : here + CHUNK_BYTES] if self._given is None else memoryview(self._given[at])
        copy = memoryview(room)[: part.nbytes]
        copy[:] = part
        return copy

    def lacking(self, there: Collection[str]) -> set[str]:
        """Chunks that neither came with it nor are ``there``."""
        if self._given is None:
            return set()
        return {name for at, name in enumerate(self.names) if at not in self._given and name not in there}

    def missing(self, there: Collection[str], known: blocks.Blocks) -> int:
        """How many bytes of it are to be written if these chunks are ``there``."""
        if self.place is not None:
            (_, low, nbytes), _ = self.place
            return known.missing(low, low + nbytes)
        if self.sums is None:
            return self.nbytes
        return sum(self._size(at) for at, name in enumerate(self.names) if name not in there)

    def given(self, there: Collection[str]) -> Any:
        """It for another process: memory, or `Chunks` with those that are not ``there``."""
        if self.sums is None:
            return pickle.PickleBuffer(self.view)
        new = {
            at: pickle.PickleBuffer(self.view[at * CHUNK_BYTES : (at + 1) * CHUNK_BYTES])
            for at, name in enumerate(self.names)
            if name not in there
        }
        return Chunks(self.nbytes, self.sums, new)

    def _size(self, at: int) -> int:
        return min(CHUNK_BYTES, self.nbytes - at * CHUNK_BYTES)


def told(parts: list[Part]) -> bytes:
    """What tells apart what is written of these one after the other, and says what is written elsewhere."""
    return repr([(part.nbytes, part.sums is None, part.place) for part in parts]).encode()


class Parts:
    """The stream and the buffers of a group."""

    def __init__(self, group: groups.Found, known: blocks.Blocks) -> None:
        self.all = [Part(group.stream, None), *(Part(part, known) for part in group.buffers)]
        written = [part.view if part.sums is None else part.sums for part in self.all if part.place is None]
        self.digest = digest_joined(written, told(self.all))


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
    here: dict[str, Any]
    """What `Surroundings.here` says."""
    deferred: dict[str, str]
    reply_at: float
    made: list[Parts] | None = None
    """What `parts` gave."""
    instead: dict | None = None
    """The state whose place and number it takes."""

    def rests_on(self, known: Mapping[str, groups.Known]) -> bool:
        """Whether what it says did not change is known to be so, and in the groups that it says."""
        return all(name in known and "\0".join(known[name].names) == key for name, key in self.known.items())

    def parts(self, known: blocks.Blocks) -> list[Parts]:
        """Of each of its groups."""
        if self.made is None:
            self.made = [Parts(group, known) for group in self.groups]
        return self.made

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


class Chunks(NamedTuple):
    """A large part of a group in a `Task` for another process: digests of its chunks, and those that are not on the shelf."""

    nbytes: int
    sums: bytes
    given: dict[int, Any]


class Coming(NamedTuple):
    """What will be on the shelf once a child has ended: said as soon as it is known, before it is written."""

    keys: frozenset[str]
    """The groups of its last state."""
    bases: dict[tuple[int, int, int], int]
    """Watched memory -> version."""
    fresh: list[tuple[str, ...]]
    """The groups it serialised."""
    refused: frozenset[str]
    chunks: frozenset[str] = frozenset()
    """Chunks of its own states, as far as they are known."""


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
