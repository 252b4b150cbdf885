"""The migration plane: moving a variable's pages out of DRAM and back, at the same addresses.

In order: ``move_pages`` to a memory-only node; the tier file (written back, then dropped); ``MADV_PAGEOUT`` to swap;
for shelves, dropping clean page cache. Contents never change and nothing is remapped, so readers, writers and system
calls into the memory go on during a move. What a call reports as moved was asked of the kernel afterwards.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _larder, hooks, tier
from .display import Table, bytes_text

MIN_BYTES = 1 << 20
STEP_BYTES = 16 << 20  # between two looks at the clock and at Ctrl-C
CONTAINERS_MAX = 20_000_000
WISHES = {
    "slow": "a memory-only NUMA node",
    "file": "arrays made after `%tier on`",
    "swap": "swap with room in it",
    "cache": "data on a shelf or in a mapped file",
}
_pinned: set[str] = set()
_shielded: dict[str, _Shielded] = {}
_visited: dict[str, str] = {}  # what stays with the collector, in words
_directory: Path | None = None


@dataclass
class _Shielded:
    """A variable whose containers are off the collector's lists."""

    value: Any
    within: list[tuple[int, int]]  # the pages they are in
    count: int = 0


def enable(directory: str | os.PathLike[str] | None = None, min_bytes: int = MIN_BYTES) -> str:
    """Give NumPy arrays of ``min_bytes`` and more, made from now on, a place in a tier file; returns its directory.

    The file has no name and goes with the process. Its space is allocated with each array, so a full disk means an
    ordinary array and never a fault later. The default directory is ``$LARDER_TIER_DIR``, else ``$LARDER_HOME``, else
    the user's cache directory. Raises `TierError` where that cannot work (no NumPy, a memory file system, no access).
    """
    global _directory
    chosen = directory or os.environ.get("LARDER_TIER_DIR") or os.environ.get("LARDER_HOME")
    if chosen is None:
        chosen = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "larder"
    path = Path(chosen)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _larder.tier_own(min_bytes, path)
    except (OSError, RuntimeError, ImportError) as error:
        raise tier.TierError(f"no tier file in {path}: {error}; name another directory") from error
    _directory = path
    return str(path)


def disable() -> None:
    """New arrays come from NumPy's own allocator again; those in the tier file stay there and stay movable."""
    _larder.tier_disown()
    global _directory
    _directory = None


def enabled() -> str | None:
    """The tier file's directory while new arrays go there, else None."""
    return str(_directory) if _directory else None


def _look(name: str) -> tier.Survey:
    space = tier.namespace()
    if name not in space:
        raise NameError(f"name {name!r} is not defined")
    names = list(dict.fromkeys([*tier.visible(space), name]))
    return tier.Survey({key: space[key] for key in names}, exact=True)


def in_dram(places: dict[str, int]) -> int:
    nodes = {f"node{node}" for node, cpu, _ in tier.machine()["nodes"] if cpu}
    return sum(count for place, count in places.items() if place in nodes or place in ("cache", "node?"))


@tier.unseen
def demote(name: str, tier: str | None = None, *, progress: Callable[[int, int], None] | None = None) -> Table:
    """Move ``name`` out of DRAM; its address stays. Returns one row: bytes moved, left, how, seconds.

    ``tier`` asks for one mechanism (``slow``, ``file``, ``swap``, ``cache``); by default the fastest there is.
    ``progress(done, total)`` is called in bytes, every 16 MiB. Raises `TierError` with the reason when it cannot move, and
    `KeyboardInterrupt` with what has moved when it is interrupted: between two pieces, so every page is in one place.
    """
    return _move(name, False, tier, progress)


@tier.unseen
def promote(name: str, *, progress: Callable[[int, int], None] | None = None) -> Table:
    """Bring ``name`` back into DRAM now instead of page by page as it is used; can be interrupted as `demote` can."""
    return _move(name, True, None, progress)


def _move(
    name: str,
    up: bool,
    wish: str | None,
    progress: Callable[[int, int], None] | None,
    survey: tier.Survey | None = None,
    written: bool = False,
    step_bytes: int = STEP_BYTES,
) -> Table:
    came = 0
    if survey is None:
        swapped = _swapped() if up else 0
        survey = _look(name)
        came = max(swapped - _swapped(), 0) if up else 0  # looking at objects that are in swap brings them in
    row = survey.row(name)
    if not up:
        _refuse(name, survey, wish)
        _shield(name, survey)  # before the pages go: taking containers off the collector's lists touches them
    before = in_dram(row["places"])
    began = time.monotonic()
    ranges = survey.moving(name)
    total, done, how = sum(end - start for start, end in ranges), 0, dict[str, None]()
    interrupted = False
    try:
        for start, end in ranges:
            for at in range(start, end, step_bytes):
                stop = min(at + step_bytes, end)
                how[_up(at, stop, written) if up else _down(at, stop, wish)] = None
                done += stop - at
                if progress is not None:
                    progress(done, total)
            if not up and "tier file" in how:
                _larder.tier_drop(start, end)  # what was read ahead is in the page cache although nothing maps it
    except KeyboardInterrupt:
        interrupted = True
    except OSError as error:
        verb = "promote" if up else "demote"
        if not done:
            _unshield(name)
        raise tier.TierError(
            f"{verb} of {name} ended at {bytes_text(done)} of {bytes_text(total)}: the kernel refused ({error}); "
            "every page is whole and in one place"
        ) from error
    seconds = time.monotonic() - began
    left = in_dram(survey.record(name).places())
    moved = max(left - before + min(came, row["bytes"]) if up else before - left, 0)
    if interrupted:
        raise KeyboardInterrupt(_stopped(name, up, moved, left, row["bytes"]))
    if up:
        _unshield(name)
    out = {"name": name, "moved": moved, "in DRAM": left, "how": ", ".join(how), "seconds": round(seconds, 3)}
    return Table([out], formats={"moved": bytes_text, "in DRAM": bytes_text}, footer=_left(name, row, up, left))


def _refuse(name: str, survey: tier.Survey, wish: str | None) -> None:
    """Raises `TierError` where `name` cannot leave DRAM, or not in the way wished for."""
    if name in _pinned:
        raise tier.TierError(f"{name} is pinned in DRAM; `%tier unpin {name}` first")
    can, why = tier.movable(survey, name)
    if not can:
        raise tier.TierError(f"{name} stays in DRAM: {why}")
    if wish is None:
        return
    if wish not in WISHES:
        raise tier.TierError(f"no tier is called {wish!r}; those there can be: {', '.join(WISHES)}")
    filed = survey.row(name)["places"]
    there = {
        "slow": bool(tier.slow_nodes()),
        "file": tier._in_tier_file(survey, name),
        "swap": bool(tier.machine()["swap_free"]),
        "cache": bool(filed.get("cache", 0) + filed.get("disk", 0)),
    }
    if not there[wish]:
        ways = ", ".join(way for way, has in there.items() if has)
        raise tier.TierError(
            f"{name} cannot go to {wish} here: that takes {WISHES[wish]}; it can go to {ways or 'nowhere'}"
        )


def _stopped(name: str, up: bool, moved: int, left: int, size: int) -> str:
    verb = "promote" if up else "demote"
    return (
        f"{verb} of {name} was interrupted: {bytes_text(moved)} of {bytes_text(size)} moved, {bytes_text(left)} in DRAM now; "
        f"every page is whole and in one place, and `%tier {verb} {name}` goes on"
    )


def _swapped() -> int:
    """Bytes of this process in swap."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmSwap:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


@dataclass
class _Out:
    """A variable of objects that was sent away: as it was then, so that nobody need look at it to know."""

    value: Any
    record: _larder.TierRecord


_out: dict[str, _Out] = {}


def away(name: str, value: Any) -> _larder.TierRecord | None:
    """What `value` reached when it left DRAM, while more than half of that is still out: walking it would end that."""
    out = _out.get(name)
    if out is None or out.value is not value:
        return None
    places = out.record.places()
    size = sum(places.values())
    return out.record if in_dram(places) * 2 < size and not places.get("unmapped") else None


def _shield(name: str, survey: tier.Survey) -> None:
    """Cold containers leave the collector's lists, or every collection would bring their pages back."""
    value, row = tier.namespace()[name], survey.row(name)
    if check_shields not in hooks.AFTER:
        hooks.AFTER.append(check_shields)
    if row["bytes"] > 2 * row["buffer_bytes"]:
        _out[name] = _Out(value, survey.record(name))
    if name not in _shielded:
        # Noted first: an interrupt in between leaves a name too much, never containers that nobody remembers.
        noted = _shielded[name] = _Shielded(value, pages(survey.ranges(name)))
        noted.count, others = shield(value, True, noted.within)
        if not noted.count:
            del _shielded[name]
        if others:
            _visited[name] = (
                f"{others} of its containers are of types that stay with the collector: a full collection reads them"
            )


def shield(value: Any, on: bool, within: list[tuple[int, int]]) -> tuple[int, int]:
    """Take the containers under ``value`` that lie ``within`` off the collector's lists, or put them back; returns how many,
    and how many of other types were met there.
    """
    return _larder.tier_shield(value, on, CONTAINERS_MAX, within, (tier.holding_types(), tier.skip_types(), _held))


def _held(leaf: Any) -> list[Any]:
    return [item for item in tier.buffers_of(leaf)[1] if item is not None]


def pages(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The whole pages that hold any of these sorted ranges, joined."""
    out: list[tuple[int, int]] = []
    for start, end in ranges:
        low, high = start & ~4095, (end + 4095) & ~4095
        if out and low <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], high)
        else:
            out.append((low, high))
    return out


def _unshield(name: str) -> None:
    _out.pop(name, None)
    _visited.pop(name, None)
    if name in _shielded:
        noted = _shielded[name]
        if shield(noted.value, False, noted.within)[0] < noted.count:
            # Some were taken out of the variable meanwhile: whoever has them now does not know that they are off the lists.
            _larder.tier_strays(CONTAINERS_MAX, noted.within, (tier.holding_types(), [], _held))
        del _shielded[name]


def check_shields(_ip: Any = None, _result: Any = None) -> None:
    """Give back to the collector what was shielded under a name that now means something else."""
    space = tier.namespace()
    for name, noted in list(_shielded.items()):
        if space.get(name) is not noted.value:
            _unshield(name)
    for name in [name for name, out in _out.items() if space.get(name) is not out.value]:
        del _out[name]
        _visited.pop(name, None)


def shielded() -> list[str]:
    """Variables whose containers the cyclic collector does not visit while they are out of DRAM."""
    return sorted(_shielded)


def unshielded(name: str) -> str:
    """In words, whether collections go on visiting objects of `name` while it is out; empty when they do not."""
    return _visited.get(name, "")


def _left(name: str, row: dict[str, Any], up: bool, left: int) -> str:
    told = [] if up else [unshielded(name)]
    if not up and left > row["bytes"] // 20:
        told.append(
            f"{bytes_text(left)} stayed: pages shared with a neighbour, locked, in use by a system call, or changed on a "
            "shelf and not committed yet (a private copy exists only here: commit, then demote again)"
        )
    return "; ".join(filter(None, told))


def _down(start: int, end: int, wish: str | None) -> str:
    nodes = tier.slow_nodes()
    if nodes and wish in (None, "slow"):
        _larder.tier_move(start, end, nodes[0], True)
        return f"move_pages to node {nodes[0]}"
    block = _larder.tier_block(start)
    if block is not None and block[2] == "tier file" and wish in (None, "file"):
        _larder.tier_sync(start, end)
        _larder.tier_advise(start, end, "pageout")
        return "tier file"
    _larder.tier_advise(start, end, "pageout")
    _larder.tier_drop(start, end)
    return "MADV_PAGEOUT"


def _up(start: int, end: int, written: bool = False) -> str:
    block = _larder.tier_block(start)
    if written and block is not None and block[2] == "tier file":
        # One fault for all pages instead of one each at their first write; only where a changed page costs no copy.
        _larder.tier_advise(start, end, "populate-write")
        return "MADV_POPULATE_WRITE"
    _larder.tier_advise(start, end, "populate")
    if tier.slow_nodes():
        home = next(node for node, cpu, _ in tier.machine()["nodes"] if cpu)
        _larder.tier_move(start, end, home, False)
        return f"move_pages to node {home}"
    return "MADV_POPULATE_READ"


def pin(name: str) -> None:
    """Keep ``name`` in DRAM: bring it in now and refuse to demote it until `unpin` (also by `auto`)."""
    space = tier.namespace()
    if name not in space:
        raise NameError(f"name {name!r} is not defined")
    promote(name)
    _pinned.add(name)


def unpin(name: str) -> None:
    """Allow ``name`` to be demoted again. Raises `TierError` when it was not pinned."""
    if name not in _pinned:
        raise tier.TierError(f"{name} is not pinned" + (f"; pinned: {', '.join(pinned())}" if _pinned else ""))
    _pinned.remove(name)


def pinned() -> list[str]:
    return sorted(_pinned)
