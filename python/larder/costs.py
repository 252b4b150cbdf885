"""How long it will take to save what a cell changed: what decides whether it is saved before its reply or beside the kernel.

A guess that is too low lets one cell wait; one that is too high costs a fork. So what is not known counts as endless, once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

COMMIT_SECONDS = 2e-3
WALKS = 5
"""Serialising takes about so many times as long as the walk below the same objects."""
BYTES_PER_SECOND = 600 << 20
"""Until it was measured."""
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
        self._rate = float(BYTES_PER_SECOND)

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
        return nbytes / self._rate

    def took(self, kind: str, name: str, seconds: float, walk: float) -> None:
        """A variable was serialised."""
        self._names[name] = self._kinds[kind] = Cost(kind, seconds, walk)

    def wrote(self, nbytes: int, seconds: float) -> None:
        """So many bytes were written and committed."""
        if nbytes >= MEASURED_BYTES_MIN and seconds > 0:
            self._rate = (self._rate + nbytes / seconds) / 2

    def keep(self, names: Iterable[str]) -> None:
        """Forget all other names."""
        self._names = {name: self._names[name] for name in names if name in self._names}
