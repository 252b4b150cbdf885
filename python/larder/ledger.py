"""What is on a session shelf and which states need it, counted so that a cell costs what it changed.

Invariant: `Ledger` describes the last successful commit. A `Plan` says what the next one removes and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple


class Plan(NamedTuple):
    versions: list[int]
    """States that go, oldest first."""
    records: list[str]
    chunks: list[str]
    bytes: int
    """What will be on the shelf."""


class Ledger:
    """Records of values and their chunks: sizes, and how many states need each record and records each chunk."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.uses: dict[str, frozenset[str]] = {}
        self._states: dict[int, frozenset[str]] = {}
        self._records: Counter[str] = Counter()
        self._chunks: Counter[str] = Counter()
        self.bytes = 0

    def add_record(self, name: str, size: int, chunks: frozenset[str]) -> None:
        self._size(name, size)
        self.uses[name] = chunks
        self._chunks.update(chunks)

    def add_chunk(self, name: str, size: int) -> None:
        self._size(name, size)

    def _size(self, name: str, size: int) -> None:
        self.bytes += size - self.sizes.get(name, 0)
        self.sizes[name] = size

    def add_state(self, seq: int, records: Collection[str]) -> None:
        self._states[seq] = frozenset(records)
        self._records.update(self._states[seq])

    def change_state(self, seq: int, records: Collection[str]) -> None:
        """The state ``seq`` needs other records than before."""
        self._records.subtract(self._states.pop(seq))
        self.add_state(seq, records)

    def loose(self) -> tuple[list[str], list[str]]:
        """Records and chunks that nothing needs (left by a kernel that ended between two commits)."""
        records = [name for name in self.uses if self._records[name] <= 0]
        needed: set[str] = set()
        for name, chunks in self.uses.items():
            if self._records[name] > 0:
                needed |= chunks
        return records, [name for name in self.sizes if name not in self.uses and name not in needed]

    def fits(self, added: Mapping[str, int], keep: int, most: int) -> Plan | None:
        """The plan of a new state for which none has to go; none if that is not so."""
        total = self.bytes + sum(added.values())
        return Plan([], [], [], total) if len(self._states) <= keep and total <= most else None

    def plan(
        self,
        added: Mapping[str, int],
        records: Collection[str],
        chunks: Collection[str],
        keep: int,
        most: int,
        held: int | None,
        instead: int | None = None,
    ) -> Plan:
        """Which states have to go so that no more than ``keep`` stay beside the new one, in no more than ``most`` bytes.

        The new state adds ``added`` (name -> bytes) and needs ``records`` and ``chunks``; ``held`` stays whatever happens, and
        the new state stands ``instead`` of one there is, which goes.
        """
        total = self.bytes + sum(added.values())
        states = [seq for seq in sorted(self._states) if seq not in (held, instead)]
        if instead is not None:
            states.insert(0, instead)
            keep = min(keep, len(self._states) - 1)
        gone: list[int] = []
        lost: Counter[str] = Counter()
        loose: Counter[str] = Counter()
        dead: list[str] = []
        dead_chunks: list[str] = []
        while states and (len(self._states) - len(gone) > keep or total > most):
            oldest = states.pop(0)
            gone.append(oldest)
            for name in self._states[oldest]:
                lost[name] += 1
                if lost[name] < self._records[name] or name in records:
                    continue
                dead.append(name)
                total -= self.sizes.get(name, 0)
                for chunk in self.uses.get(name, ()):
                    loose[chunk] += 1
                    if loose[chunk] == self._chunks[chunk] and chunk not in chunks:
                        dead_chunks.append(chunk)
                        total -= self.sizes.get(chunk, 0)
        return Plan(gone, dead, dead_chunks, total)

    def apply(self, plan: Plan) -> None:
        """``plan`` was committed."""
        for seq in plan.versions:
            self._records.subtract(self._states.pop(seq))
        for name in plan.records:
            self._chunks.subtract(self.uses.pop(name, ()))
            del self._records[name]
        for name in (*plan.records, *plan.chunks):
            self.bytes -= self.sizes.pop(name, 0)
        for name in plan.chunks:
            del self._chunks[name]
