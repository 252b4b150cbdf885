"""What is touched, and how often: temperatures of variables from accessed bits and reference counts.

>>> larder.heat.start()
>>> # run cells
>>> larder.heat.table()
name  heat  ops/s  last  conf  seen by
x     0.81   1200    2s  high  bits, counts
>>> larder.heat.stop()

Heat is the share of sampled running time in which a variable was in use, decayed: 1 is "always"; ``ops/s`` is how often
something began to use it. A thread of its own samples while a cell runs and is gone between cells. It reads reference
counts and the frames of running code through the kernel, never through a pointer, and which pages were accessed; what
it could not see is `?`.
"""

from __future__ import annotations

import contextlib
import html
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import _larder, _live, hooks, tier
from .display import Table, bytes_text, rate_text

WATCH_MIN_BYTES = 1 << 16
CHUNK_BYTES = 16 << 20
RANGES_MAX = 4096
TRACKED_MAX = 4_000_000
BURST_S = 40e-6
EPOCH_WORTH_S = 1e-3
STALE_SHOWN = 10


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
    """Buffers whose accessed bits are counted apart from their neighbours', large ones in chunks.

    A range becomes a mapping of its own by a flag that only core dumps look at (``MADV_DONTDUMP``), set on every other
    chunk; the memory itself is not touched and the flag is taken away afterwards.
    """

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self.ranges: list[tuple[int, int]] = []
        self._flagged: list[tuple[int, int]] = []
        for start, end in _inner(ranges)[:RANGES_MAX]:
            count = max(1, (end - start) // CHUNK_BYTES)
            count -= 1 - count % 2  # odd: the first and the last chunk carry the flag, so no neighbour joins
            cuts = [start + i * CHUNK_BYTES for i in range(count)] + [end]
            chunks = list(itertools.pairwise(cuts))
            try:
                for chunk in chunks[::2]:
                    _larder.tier_advise(*chunk, "split")
                    self._flagged.append(chunk)
            except OSError:
                continue  # unmapped since it was listed
            self.ranges.extend(chunks)

    def close(self) -> None:
        for start, end in self._flagged:
            try:
                _larder.tier_advise(start, end, "unsplit")
            except OSError:
                continue
        self._flagged = []


class Touched:
    """``with Touched() as t: ...; t.table()``: the variables a piece of code made, rebound, read or wrote."""

    @tier.unseen
    def __enter__(self) -> Touched:
        space = tier.namespace()
        self.before = {name: space[name] for name in tier.visible(space)}
        survey = tier.Survey(self.before)
        self.buffers = {name: survey.buffers(name) for name in self.before}
        del survey
        self.ids = {name: id(value) for name, value in self.before.items()}
        self.before.clear()  # the cell may free what it likes
        if _sampling is not None:
            _sampling.without_bits()
        self.watch = Watch([pair for ranges in self.buffers.values() for pair in ranges])
        clear_accessed()
        return self

    def __exit__(self, *_: Any) -> None:
        self.seen = accessed()
        self.watch.close()

    @tier.unseen
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
            shown_max=rows.shown_max,
            footer=told + (f" · deleted: {', '.join(gone)}" if gone else ""),
            empty="the cell touched no variable's buffer and bound no name",
        )

    def _touched(self, start: int, end: int) -> int:
        return sum(size for low, high, size in self.seen if start <= low and high <= end)


State = tuple[float, float, int]
_NOTHING: State = (0.0, 0.0, 0)


@dataclass
class _Variable:
    """Everything kept about one name; freed at `stop`."""

    state: State = _NOTHING
    heat: float = 0.0
    conf: str = "?"
    began: State = _NOTHING
    rate: float = 0.0
    last: float | None = None
    run: int = 0
    by: set[str] = field(default_factory=set)
    ident: int = 0
    chunks: dict[tuple[int, int], tuple[State, float]] = field(default_factory=dict)


@dataclass
class Said:
    """What the sampling thread says of itself, since `start`."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    looks: int = 0
    frame_looks: int = 0
    frame_hits: int = 0
    epochs: int = 0
    refused: str | None = None

    @property
    def cpu(self) -> float:
        """Its share of a core while it ran."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0


class _Sampling:
    """One `start`..`stop`: settings, what is known so far, and the run in progress, if any."""

    def __init__(self, interval_ms: float, epoch_ms: float, cpu_max: float, half_life_s: float, objects: bool) -> None:
        self.interval_s, self.epoch_s = interval_ms / 1000, epoch_ms / 1000
        self.cpu_max, self.half_life_s = cpu_max, half_life_s
        self.variables: dict[str, _Variable] = {}
        self.said = Said()
        self.runs = 0
        self.live = _live.LiveTrace()
        self.live.update()
        self.frames_refused = _larder.tier_frames() if objects else "not asked for"
        self._native: _larder.TierSampler | None = None
        self._bits: tuple[int, float] | None = None
        self._pauses = 0

    def without_bits(self) -> None:
        """Samples on, and leaves accessed bits to somebody else until `end`."""
        if self._native is not None:
            self.end()
            self.begin(bits=False)

    def begin(self, bits: bool = True) -> None:
        if self._native is not None:
            return
        space = tier.namespace()
        self._ids = {name: id(space[name]) for name in tier.visible(space) if not isinstance(space[name], _live._ATOMS)}
        self._names = list(self._ids)
        self._owned: list[tuple[str, tuple[int, int]]] = []
        taken: set[tuple[int, int]] = set()
        watched: list[tuple[int, int]] = []
        for name, buffers in self._buffers():
            for pair in _inner(buffers):
                if pair not in taken:
                    taken.add(pair)
                    watched.append(pair)
                self._owned.append((name, pair))
        self._watch = Watch(watched if bits else [])
        self._kinds = self._numbered()
        tracked = self.live.native.tracked(TRACKED_MAX) if self.frames_refused is None else None
        self._native = _larder.TierSampler(
            list(self._ids.values()),
            self._watch.ranges,
            self.interval_s,
            self.epoch_s,
            self.cpu_max,
            BURST_S,
            tracked,
            self._bits,
        )
        if self._pauses:
            self._native.pause(True)

    def _numbered(self) -> list[int]:
        """Variables of one type and about one size get one number."""
        space, numbers, kinds = tier.namespace(), dict[tuple[str, int], int](), []
        size = dict.fromkeys(self._names, 0)
        for name, (start, end) in self._owned:
            size[name] += end - start
        known = set(self.live.names())
        for name in self._names:
            extent = size[name] or (self.live.native.about(name)["objects"] if name in known else 0)
            kind = (type(space.get(name)).__name__, extent.bit_length())
            kinds.append(numbers.setdefault(kind, len(numbers)))
        return kinds

    def _buffers(self) -> list[tuple[str, list[tuple[int, int]]]]:
        if self.live.native.refused is None:
            return [(name, self.live.native.ranges(name, True)) for name in self.live.names() if name in self._ids]
        space = tier.namespace()
        survey = tier.Survey({name: space[name] for name in self._names}, settle=False)
        return [(name, survey.buffers(name)) for name in self._names]

    def pause(self, on: bool) -> None:
        self._pauses += 1 if on else -1
        if self._native is not None:
            self._native.pause(self._pauses > 0)

    def halt(self) -> None:
        """The cell is over: what is done with its variables from now on is none of its use."""
        if self._native is not None:
            self._native.halt()

    def end(self) -> None:
        if self._native is None:
            return
        seen = self._native.stop(self._kinds)
        self._native = None
        self._watch.close()
        said = self.said
        self._bits = seen["bits"] if self._watch.ranges else self._bits
        self.runs += 1
        said.seconds += seen["seconds"]
        said.cpu_seconds += seen["cpu_seconds"]
        said.looks += max(seen["looks"], default=0)
        said.frame_looks += seen["frame_looks"]
        said.frame_hits += seen["frame_hits"]
        said.epochs += seen["epochs"]
        said.refused = seen["refused"]
        looked = seen["seconds"] if seen["frame_looks"] else 0.0
        in_frames = self.live.native.fold(seen["frame_touches"], looked, self.half_life_s)
        space, now = tier.namespace(), time.monotonic()
        chunks = list(zip(self._watch.ranges, seen["accessed"], strict=True))
        for at, name in enumerate(self._names):
            if name not in space:
                self.variables.pop(name, None)
                continue
            mine = [pair for owner, pair in self._owned if owner == name]
            parts = [c for c in chunks if any(start <= c[0][0] and c[0][1] <= end for start, end in mine)]
            rebound = id(space[name]) != self._ids[name]
            self._fold(name, at, seen, in_frames.get(name, 0), parts, rebound, now)
        self.live.update()

    def _fold(
        self, name: str, at: int, seen: dict[str, Any], in_frames: int, parts: list, rebound: bool, now: float
    ) -> None:
        about = self.variables.setdefault(name, _Variable())
        seconds, epochs, looks = seen["seconds"], seen["epochs"], seen["looks"][at]
        size = sum(end - start for (start, end), _ in parts)
        touched = sum(part[1] for part in parts) / size if size else 0.0
        counted = seen["touches"][at]
        share = counted / looks if looks else 0.0
        share = max(share, in_frames / seen["frame_looks"] if seen["frame_looks"] else 0.0)
        # Where nothing else saw it, accessed bits are all there is; else an epoch with an access says "a millisecond".
        share = max(share, touched * EPOCH_WORTH_S / seconds) if share else touched / max(epochs, 1)
        if rebound and looks:
            share = max(share, 1 / looks)
        share = min(share, 1.0)
        fold = _larder.tier_fold
        half = self.half_life_s
        about.state, about.heat, about.conf = fold(about.state, share * seconds, seconds, half, looks + epochs)
        about.began, about.rate, _ = fold(about.began, seen["operations"][at] * seconds, seconds, half, looks)
        if share:
            about.last, about.run = now, self.runs
        about.by |= {"counts"} if counted else set()
        about.by |= {"frames"} if in_frames else set()
        about.by |= {"bits"} if touched else set()
        if rebound or about.ident not in (0, self._ids[name]):
            about.chunks.clear()
        about.ident = self._ids[name]
        for (start, end), accessed_bytes in parts:
            part = accessed_bytes / (end - start) / epochs if epochs else 0.0
            old = about.chunks.get((start, end), (_NOTHING, 0.0))[0]
            state, rate, _ = fold(old, part * seconds, seconds, half, epochs)
            about.chunks[start, end] = (state, rate)


_sampling: _Sampling | None = None


def _before(_ip: Any, _info: Any) -> None:
    if _sampling is not None:
        _sampling.begin()


deferred = False  # set by `_auto`, whose thread ends the run after the cell's reply instead of before it


def _after(_ip: Any, _result: Any) -> None:
    if _sampling is None:
        return
    if deferred:
        _sampling.halt()
    else:
        _sampling.end()


def finish() -> None:
    """Ends the run in progress, if any, and folds in what it saw."""
    if _sampling is not None:
        _sampling.end()


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """What is done with variables in here is not using them: looking where they are, moving them."""
    sampling = _sampling
    if sampling is not None:
        sampling.pause(True)
    try:
        yield
    finally:
        if sampling is not None:
            sampling.pause(False)


def start(
    interval_ms: float = 1.0,
    epoch_ms: float = 100.0,
    cpu_max: float = 0.05,
    half_life_s: float = 60.0,
    objects: bool = True,
) -> None:
    """Start sampling: in cells while IPython has larder's hooks, else until `stop`.

    | argument      | unit            | meaning                                                               |
    |---------------|-----------------|-----------------------------------------------------------------------|
    | `interval_ms` | ms              | between bursts of looks at counts and frames; longer when they cost too much |
    | `epoch_ms`    | ms              | between readings of accessed bits; longer likewise                    |
    | `cpu_max`     | share of a core | what the sampling thread may use                                      |
    | `half_life_s` | s of run time   | after which the past counts half                                      |
    | `objects`     |                 | look at frames too, and so know which objects inside a variable are hot |
    """
    global _sampling
    if _sampling is not None:
        stop()
    _sampling = _Sampling(interval_ms, epoch_ms, cpu_max, half_life_s, objects)
    if _before not in hooks.BEFORE:
        hooks.BEFORE.append(_before)
        hooks.AFTER.insert(0, _after)  # before what else comes after a cell: saving a variable is not using it
    _sampling.begin()


def stop() -> Table:
    """Stop sampling, free everything known, and return the last table."""
    global _sampling
    if _sampling is None:
        return Table([], empty="heat was not being sampled")
    _sampling.end()
    last = table()
    _sampling = None
    hooks.BEFORE[:] = [hook for hook in hooks.BEFORE if hook is not _before]
    hooks.AFTER[:] = [hook for hook in hooks.AFTER if hook is not _after]
    return last


def active() -> bool:
    """Whether heat is being sampled (during cells)."""
    return _sampling is not None


def said() -> Said:
    """What the sampling thread did and used since `start`; all zero when heat is off."""
    return _sampling.said if _sampling is not None else Said()


def live() -> _live.LiveTrace | None:
    """The live trace while heat is sampled."""
    return _sampling.live if _sampling is not None else None


def cost() -> str:
    """The sampling thread's share of a core while it ran, and what it could not do."""
    about = said()
    if _sampling is None or not about.seconds:
        return "sampler: nothing sampled yet"
    # Of less than a second a share says little: what the first look costs is most of it.
    share = f"{about.cpu:.1%} of a core over {about.seconds:.1f}s"
    brief = f"{about.cpu * about.seconds * 1e3:.0f} ms in the first {about.seconds * 1e3:.0f} ms"
    told = [f"sampler {share if about.seconds >= 1 else brief}, by {_larder.tier_reader()}"]
    told += [f"no accessed bits: {about.refused}"] if about.refused else []
    told += [f"no frames: {_sampling.frames_refused}"] if _sampling.frames_refused else []
    stale = list(_sampling.live.stale)
    more = f" and {len(stale) - STALE_SHOWN} more" if len(stale) > STALE_SHOWN else ""
    told += [f"not traced again yet: {', '.join(stale[:STALE_SHOWN])}{more}"] if stale else []
    return "; ".join(told)


def columns() -> dict[str, dict[str, Any]]:
    """Per variable: ``heat``, ``ops/s``, ``last`` (seconds ago), ``conf``; for `tier.table`."""
    if _sampling is None:
        return {}
    now = time.monotonic()
    return {
        name: {
            "heat": about.heat if about.conf != "?" else None,
            "ops/s": about.rate if about.conf != "?" else None,
            "last": None if about.last is None else now - about.last,
            "conf": about.conf,
        }
        for name, about in _sampling.variables.items()
    }


def urgency() -> dict[str, float]:
    """For the policy: heat, less the longer (in cells) a variable has gone unused."""
    if _sampling is None:
        return {}
    known = _sampling.variables.items()
    return {name: about.heat / (1 + _sampling.runs - about.run) for name, about in known if about.conf != "?"}


def table() -> Table:
    """Temperatures of the variables, hottest first. Empty before the first sampled cell has ended."""
    rows = []
    if _sampling is not None:
        by = {name: ", ".join(sorted(about.by)) for name, about in _sampling.variables.items()}
        rows = [{"name": name, **row, "seen by": by[name]} for name, row in columns().items()]
    rows.sort(key=lambda row: (-(row["heat"] or 0.0), -(row["ops/s"] or 0.0)))
    return Table(
        rows,
        ["name", "heat", "ops/s", "last", "conf", "seen by"],
        formats={"heat": "{:.2f}".format, "ops/s": rate_text, "last": "{:.0f}s".format},
        footer=cost() if active() else "",
        empty="no temperatures yet: larder.heat.start(), then run a cell",
        shown_max=tier.ROWS_SHOWN,
    )


def objects(name: str) -> dict[int, float]:
    """Temperature of every object inside ``name``, by `id`: how often a look met it new on a stack, per second.

    Each is shrunk toward the mean of its container's objects, as far as those are alike: one look says little about one
    object and much about a thousand. Raises `NameError` for a name that is not traced.
    """
    if _sampling is None or name not in _sampling.live.names():
        raise NameError(f"no objects of {name!r} are known: larder.heat.start(), then run a cell")
    return dict(_sampling.live.native.temperatures(name))


class HeatMap(Table):
    """Page temperatures of one variable, also as a picture: one field per chunk, hotter is redder."""

    WIDTH, SIZE = 32, 18  # fields in a line, pixels of one

    def _fields(self) -> list[tuple[str, str]]:
        """Of each field its colour, told from a white page as well as from a dark one, and what it says."""
        high = max((row["heat"] for row in self), default=0.0) or 1.0
        out = []
        for row in self:
            warm = row["heat"] / high
            red, green, blue = 60 + 195 * warm, 100 + 30 * (1 - abs(2 * warm - 1)) - 30 * warm, 240 - 210 * warm
            where = bytes_text(row["offset"]) if "offset" in row else row["address"]
            out.append((f"rgb({int(red)},{int(green)},{int(blue)})", html.escape(f"{where}: {row['heat']:.3g}")))
        return out

    def _repr_svg_(self) -> str:
        width, size = self.WIDTH, self.SIZE
        lines = (len(self) + width - 1) // width
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * size}" height="{max(lines, 1) * size}">']
        for at, (colour, told) in enumerate(self._fields()):
            out.append(
                f'<rect x="{at % width * size}" y="{at // width * size}" width="{size - 1}" height="{size - 1}" '
                f'fill="{colour}"><title>{told}</title></rect>'
            )
        return "".join(out) + "</svg>"

    def _repr_html_(self) -> str:
        # A table, as a picture inside HTML is taken out of notebooks that came from somebody else.
        size = f"width:{self.SIZE}px;min-width:{self.SIZE}px;height:{self.SIZE}px;padding:0;border:0"
        fields = [
            f'<td style="{size};background-color:{colour}" title="{told}"></td>' for colour, told in self._fields()
        ]
        lines = ["".join(fields[at : at + self.WIDTH]) for at in range(0, len(fields), self.WIDTH)]
        picture = "".join(f"<tr>{line}</tr>" for line in lines)
        high = max((row["heat"] for row in self), default=0.0)
        scale = f"blue: 0, red: {high:.3g}" if self else self.empty
        told = f"<div>{html.escape(scale)}</div><div>{html.escape(self.footer)}</div>"
        table = f'<table style="border-collapse:separate;border-spacing:1px"><tbody>{picture}</tbody></table>'
        return f"<div><b>{html.escape(self.title)}</b></div>{table if fields else ''}{told}"


def map(name: str) -> HeatMap:
    """Temperatures inside one variable: of its buffers per 16 MiB chunk, or of its objects in the order of their addresses.

    For a buffer, the share of the chunk accessed per epoch, decayed; for objects, how often a look met one on a stack, per
    second, mean over a 256th of them. Raises `NameError` for a name that has not been sampled.
    """
    about = _sampling.variables.get(name) if _sampling is not None else None
    if about is None or _sampling is None:
        raise NameError(f"no heat of {name!r}: larder.heat.start(), then run a cell that exists with it")
    if not about.chunks and name in _sampling.live.names():
        return _object_map(name)
    rows, offset = [], 0
    for (low, high), (_, rate) in sorted(about.chunks.items()):
        rows.append({"offset": offset, "address": hex(low), "bytes": high - low, "heat": rate})
        offset += high - low
    return HeatMap(
        rows,
        ["offset", "bytes", "heat"],
        formats={"offset": bytes_text, "bytes": bytes_text, "heat": "{:.2f}".format},
        title=f"{name}: page temperatures",
        footer=f"{bytes_text(CHUNK_BYTES)} chunks; {cost()}",
        empty="no buffer of 64K or more",
    )


def _object_map(name: str) -> HeatMap:
    found = sorted(objects(name).items())
    step = max(1, -(-len(found) // 256))
    parts = [found[at : at + step] for at in range(0, len(found), step)]
    rows = [
        {
            "address": hex(part[0][0]),
            "bytes": part[-1][0] - part[0][0],
            "objects": len(part),
            "heat": sum(rate for _, rate in part) / len(part),
        }
        for part in parts
    ]
    return HeatMap(
        rows,
        ["address", "bytes", "objects", "heat"],
        formats={"bytes": bytes_text, "heat": "{:.3g}".format},
        title=f"{name}: temperatures of {len(found)} objects",
        footer=f"by address; {cost()}",
        empty="no objects of its own",
    )
