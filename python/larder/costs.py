"""How long it will take to save what a cell changed: what decides whether it is saved before its reply or beside the kernel.

A guess that is too low lets one cell wait; one that is too high costs a fork. So what is not known counts as endless, once.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from ._larder import DiskTrial

COMMIT_SECONDS = 2e-3
WALKS = 5
"""Serialising takes about so many times as long as the walk below the same objects."""
CHILDS = 4
"""A child takes up to so many times as long: each page in which it counts a reference is copied."""
BYTES_PER_SECOND = 600 << 20
"""Until it was measured or tried."""
MEASURED_BYTES_MIN = 4 << 20


class Cost(NamedTuple):
    """What one variable took when it was serialised last."""

    kind: str
    """The name of its type."""
    seconds: float
    walk: float
    """Seconds of the walk below it then; 0 if there was none."""
    beside: bool = False
    """It was serialised by a child."""


class Costs:
    """What saving took so far."""

    def __init__(self) -> None:
        self._names: dict[str, Cost] = {}
        self._kinds: dict[str, Cost] = {}
        self._rate: float | None = None
        """Bytes per second of what was written so far."""
        self._trial: DiskTrial | None = None

    def seconds(self, kind: str, name: str, walk: float | None) -> float:
        """How long it will take to serialise a variable whose walk took ``walk`` seconds (``None``: it cannot be walked)."""
        before = self._names.get(name)
        if before is None or before.kind != kind:
            before = self._kinds.get(kind) if walk is None else None
        if before is None:
            return math.inf if walk is None else walk * WALKS
        took = before.seconds / CHILDS if before.beside else before.seconds
        if walk is None or not before.walk:
            return took
        # What came to it costs no more than what is new.
        more = max(walk - before.walk, 0.0) * min(took / before.walk, WALKS)
        return took * min(walk / before.walk, 1.0) + more

    def writing(self, nbytes: int) -> float:
        """How long it will take to write so many bytes."""
        tried = self._trial.bytes_per_second() if self._rate is None and self._trial is not None else None
        return nbytes / (self._rate or tried or BYTES_PER_SECOND)

    def try_disk(self, folder: str) -> None:
        """Have it found out, beside what the kernel does, how fast the disk under this folder is; once."""
        if self._trial is None:
            self._trial = DiskTrial(folder)

    def took(self, kind: str, name: str, seconds: float, walk: float, beside: bool = False) -> None:
        """A variable was serialised; what a child took says less than what the kernel did."""
        now = Cost(kind, seconds, walk, beside)
        for key, known in ((name, self._names), (kind, self._kinds)):
            before = known.get(key)
            if not beside or before is None or before.kind != kind or before.beside or seconds < before.seconds:
                known[key] = now

    def wrote(self, nbytes: int, seconds: float) -> None:
        """So many bytes were written and committed."""
        if nbytes >= MEASURED_BYTES_MIN and seconds > 0:
            now = nbytes / seconds
            self._rate = now if self._rate is None else (self._rate + now) / 2

    def keep(self, names: Collection[str]) -> None:
        """Forget all other names, if more are known than there are."""
        if len(self._names) <= len(names):
            return
        self._names = {name: self._names[name] for name in names if name in self._names}
