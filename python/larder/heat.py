"""What is touched, and how often: temperatures of variables from accessed bits and reference counts."""

from __future__ import annotations

from typing import Any

from . import _larder, tier
from .display import Table, bytes_text

WATCH_MIN_BYTES = 1 << 16


def _inner(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    pages = [((start + 4095) & ~4095, end & ~4095) for start, end in ranges]
    return [(start, end) for start, end in pages if end - start >= WATCH_MIN_BYTES]


def clear_accessed() -> None:
    """Forget which pages of this process were accessed (``clear_refs`` = 1); contents and residency stay."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("1")


def accessed() -> list[tuple[int, int, int]]:
    """``(start, end, accessed bytes)`` per mapping since `clear_accessed`, from smaps."""
    found: list[tuple[int, int, int]] = []
    start = end = 0
    with open("/proc/self/smaps", "rb") as file:
        for line in file:
            if line.startswith(b"Referenced:"):
                found.append((start, end, int(line.split()[1]) * 1024))
            else:
                head = line.split(None, 1)[0]
                if b"-" in head and not head.endswith(b":"):
                    low, _, high = head.partition(b"-")
                    start, end = int(low, 16), int(high, 16)
    return found


class Watch:
    """Buffers whose accessed bits are counted apart from their neighbours'."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self.ranges: list[tuple[int, int]] = []
        for start, end in _inner(ranges):
            try:
                _larder.tier_advise(start, end, "split")
            except OSError:
                continue  # unmapped since it was listed
            self.ranges.append((start, end))

    def close(self) -> None:
        for start, end in self.ranges:
            try:
                _larder.tier_advise(start, end, "unsplit")
            except OSError:
                continue
        self.ranges = []


class Touched:
    """``with Touched() as t: ...; t.table()``: the variables a piece of code made, rebound, read or wrote."""

    def __enter__(self) -> Touched:
        space = tier.namespace()
        self.before = {name: space[name] for name in tier.visible(space)}
        survey = tier.Survey(self.before)
        self.buffers = {name: survey.buffers(name) for name in self.before}
        del survey
        self.ids = {name: id(value) for name, value in self.before.items()}
        self.before.clear()  # the cell may free what it likes
        self.watch = Watch([pair for ranges in self.buffers.values() for pair in ranges])
        clear_accessed()
        return self

    def __exit__(self, *_: Any) -> None:
        self.seen = accessed()
        self.watch.close()

    def table(self) -> Table:
        """The touched variables as `tier.table` shows them, with what happened to each in front."""
        space = tier.namespace()
        names = tier.visible(space)
        happened: dict[str, str] = {}
        count: dict[str, int] = {}
        for name in names:
            if name not in self.ids:
                happened[name] = "made"
            elif id(space[name]) != self.ids[name]:
                happened[name] = "rebound"
            else:
                size = sum(self._touched(start, end) for start, end in _inner(self.buffers[name]))
                if size:
                    happened[name], count[name] = "accessed", size
        rows = tier.table()
        gone = [name for name in self.ids if name not in space]
        kept = [
            {"happened": happened[row["name"]], "accessed": count.get(row["name"])} | row
            for row in rows
            if row["name"] in happened
        ]
        told = rows.footer + " · accessed bits of buffers of 64K and more"
        return Table(
            kept,
            ["name", "happened", "accessed", *rows.columns[1:]],
            formats=rows.formats | {"accessed": bytes_text},
            footer=told + (f" · deleted: {', '.join(gone)}" if gone else ""),
            empty="the cell touched no variable's buffer and bound no name",
        )

    def _touched(self, start: int, end: int) -> int:
        return sum(size for low, high, size in self.seen if start <= low and high <= end)
