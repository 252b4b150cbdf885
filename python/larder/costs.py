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
        return before.seconds * (walk / before.walk if walk is not None and before.walk else 1.0)

    def writing(self, nbytes: int) -> float:
        """How long it will take to write so many bytes."""
        tried = self._trial.bytes_per_second() if self._rate is None and self._trial is not None else None
        return nbytes / (self._rate or tried or BYTES_PER_SECOND)

    def try_disk(self, folder: str) -> None:
        """Have it found out, beside what the kernel does, how fast the disk under this folder is; once."""
        if self._trial is None:
            self._trial = DiskTrial(folder)

    def took(self, kind: str, name: str, seconds: float, walk: float) -> None:
        """A variable was serialised."""
        self._names[name] = self._kinds[kind] = Cost(kind, seconds, walk)

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
