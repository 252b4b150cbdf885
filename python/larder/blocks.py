"""Large arrays on a session shelf: written once, and by the pages that changed from then on.

========= ==================================================================================================
record    content
========= ==================================================================================================
b:SEQ:N   a copy of an array's memory
p:SEQ:N   what changed in one since: the bytes of some ranges, one after the other
========= ==================================================================================================

An array whose pages are watched (``core/session/src/tracked.rs``) is kept as a copy and patches over it.
"""

from __future__ import annotations

import sys
from typing import Any

from . import _larder

ARENA_BYTES_MIN = 2 << 20
"""NumPy arrays from this size on are made where pages can be watched."""
TRACKED_BYTES_MIN = 1 << 20
PATCH_BYTES_MAX = 16 << 20
PATCHES_SHARE = 4
"""Patches of more than a quarter of the array make a new copy due."""

Ranges = list[tuple[int, int]]
UNIT = 4096


class Base:
    """One array's memory on the shelf, as of a version of its block."""

    def __init__(self, record: str, key: tuple[int, int, int], version: int) -> None:
        self.record, self.key, self.version = record, key, version
        self.patches: list[tuple[str, Ranges]] = []
        """Oldest first: record, ranges as (offset in the array, bytes)."""

    @property
    def head(self) -> list:
        return [self.record, [[record, ranges] for record, ranges in self.patches]]

    @property
    def records(self) -> list[str]:
        return [self.record, *(record for record, _ in self.patches)]

    def patched(self, record: str, ranges: Ranges, version: int) -> Base:
        """This memory with one more patch; older ones that it covers are left out."""
        new = Base(self.record, self.key, version)
        covered = {unit for at, size in ranges for unit in range(at // UNIT, -(-(at + size) // UNIT))}
        for old, where in self.patches:
            if any(unit not in covered for at, size in where for unit in range(at // UNIT, -(-(at + size) // UNIT))):
                new.patches.append((old, where))
        if ranges:
            new.patches.append((record, ranges))
        return new


class Blocks:
    """What is on the shelf of every watched array."""

    def __init__(self) -> None:
        self.bases: dict[tuple[int, int, int], Base] = {}
        self.coming: dict[tuple[int, int, int], int] = {}
        """Versions that will be on the shelf once the children that save have ended."""
        self.seen: Any = None
        """The walker that looked at the notebook, as long as what it read is what there is."""
        self.why_not = "no array was made yet"
        self._on = False

    def turn_on(self) -> None:
        """Have NumPy make large arrays where pages are watched: now, or as soon as it is imported."""
        if self._on:
            return
        if "numpy" not in sys.modules:
            from .kernel.late import on_import

            on_import("numpy", lambda _: self.turn_on())
            return
        self._on = True
        try:
            _larder.pages_on(ARENA_BYTES_MIN)
            self.why_not = ""
        except (RuntimeError, ImportError, OSError) as err:
            self.why_not = str(err)

    def place(self, part: memoryview) -> tuple[tuple[int, int, int], int] | None:
        """``((serial, address, bytes), version)`` of memory that is watched."""
        if part.nbytes < TRACKED_BYTES_MIN:
            return None
        where = _larder.tier_buffer(part)
        if where is None:
            return None
        found = _larder.pages_place(where[0], where[0] + part.nbytes)
        return None if found is None else ((found[0], where[0], part.nbytes), found[1])

    def sums(self, part: memoryview, chunk_bytes: int) -> bytes | None:
        """The digests of the chunks of memory, if the walk below it read it as one array's."""
        where = _larder.tier_buffer(part) if self.seen is not None and part.nbytes > chunk_bytes else None
        return self.seen.chunks(where[0], where[0] + part.nbytes, chunk_bytes) if where is not None else None

    def written(self, base: Base) -> Ranges | None:
        """What differs from ``base``, as (offset, bytes), as of the last cell's end."""
        serial, low, nbytes = base.key
        found = _larder.pages_written(serial, low, low + nbytes, base.version, False)
        return None if found is None else [(start - low, end - start) for start, end in found]

    def missing(self, low: int, high: int) -> int:
        """How many bytes of memory are to be written: all of it, unless it is watched and on the shelf."""
        place = _larder.pages_place(low, high)
        if place is None:
            return high - low
        key = (place[0], low, high - low)
        base = Base("", key, self.coming[key]) if key in self.coming else self.bases.get(key)
        if base is None:
            return high - low
        ranges = [] if base.version == place[1] else self.written(base)
        return high - low if ranges is None else sum(size for _, size in ranges)

    def prune(self) -> None:
        """Forget arrays that are gone."""
        for key in list(self.bases):
            place = _larder.pages_place(key[1], key[1] + key[2])
            if place is None or place[0] != key[0]:
                del self.bases[key]
