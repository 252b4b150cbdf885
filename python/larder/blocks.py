"""Large arrays on a session shelf: written once, in the background, and by the pages that changed from then on.

========= ==================================================================================================
record    content
========= ==================================================================================================
b:SEQ:N   a copy of an array's memory
p:SEQ:N   what changed in one since: the bytes of some ranges, one after the other
========= ==================================================================================================

An array whose pages are watched (``core/session/src/tracked.rs``) is kept as a copy and patches over it. The copy of a large
one is made by a thread while the next cells run. A page they write meanwhile may be in the copy as it was or as it is; the
states saved from then on carry a patch for it, so they are right whatever the copy has. A state saved before and not patched
is right only if nothing was written until the copy was done, and is given up if something was.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from . import _larder

ARENA_BYTES_MIN = 4 << 20
"""NumPy arrays from this size on are made where pages can be watched."""
TRACKED_BYTES_MIN = 1 << 20
BACKGROUND_BYTES_MIN = 16 << 20
PATCH_BYTES_MAX = 16 << 20
PATCHES_SHARE = 4
"""Patches of more than a quarter of the array make a new copy due."""
BEHIND_SECONDS_MAX = 5.0
"""When the last durable state is older than this, a cell's end waits for the copies."""

Ranges = list[tuple[int, int]]
UNIT = 4096


class Base:
    """One array's memory on the shelf, as of a version of its block."""

    def __init__(self, record: str, key: tuple[int, int, int], version: int) -> None:
        self.record, self.key, self.version = record, key, version
        self.patches: list[tuple[str, Ranges]] = []
        """Oldest first: record, ranges as (offset in the array, bytes)."""
        self.landed = False
        self.failed = ""
        self.origin = self
        """Whose copy it is: that one is marked when it has landed."""

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
        new.origin = self.origin
        return new


class Job:
    """One copy to be made."""

    def __init__(self, base: Base, part: memoryview) -> None:
        self.base, self.part = base, part


class Copier:
    """The thread that makes copies; ``landed(job)`` is called in it after each."""

    def __init__(self, native: Any, path: Any, landed: Callable[[Job], None]) -> None:
        self.native, self.path, self._landed = native, path, landed
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.working: Job | None = None

    def add(self, job: Job) -> None:
        with self._changed:
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="larder saves", daemon=True)
                self._thread.start()

    def waiting(self) -> list[Job]:
        with self._changed:
            return [*([self.working] if self.working else []), *self._jobs]

    def wait(self, seconds: float | None = None) -> bool:
        """Whether everything was copied in that time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs and self.working is None, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._jobs:
                    self._thread = None
                    return
                job = self.working = self._jobs.pop(0)
            try:
                self.native.put(job.base.record, "block", b"", [job.part])
                self._flush()
            except BaseException as err:
                job.base.failed = f"{type(err).__name__}: {err}"
            try:
                self._landed(job)
            finally:
                job.part = None
                with self._changed:
                    self.working = None
                    self._changed.notify_all()

    def _flush(self) -> None:
        """Get the bytes to the disk before the commit does, which others may have to wait for."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)


class Blocks:
    """What is on the shelf of every watched array."""

    def __init__(self) -> None:
        self.bases: dict[tuple[int, int, int], Base] = {}
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

    def written(self, base: Base, now: bool = False) -> Ranges | None:
        """What differs from ``base``, as (offset, bytes)."""
        serial, low, nbytes = base.key
        found = _larder.pages_written(serial, low, low + nbytes, base.version, now)
        return None if found is None else [(start - low, end - start) for start, end in found]

    def prune(self) -> None:
        """Forget arrays that are gone."""
        for key in list(self.bases):
            place = _larder.pages_place(key[1], key[1] + key[2])
            if place is None or place[0] != key[0]:
                del self.bases[key]
