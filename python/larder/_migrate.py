"""The migration plane: moving a variable's pages out of DRAM and back, at the same addresses.

In order: ``move_pages`` to a memory-only node; the tier file (written back, then dropped); ``MADV_PAGEOUT`` to swap;
for shelves, dropping clean page cache. Contents never change and nothing is remapped, so readers, writers and system
calls into the memory go on during a move. What a call reports as moved was asked of the kernel afterwards.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import _larder, hooks, tier
from .display import Table, bytes_text

MIN_BYTES = 1 << 20
STEP_BYTES = 64 << 20
CONTAINERS_MAX = 20_000_000
_pinned: set[str] = set()
_shielded: dict[str, Any] = {}
_directory: Path | None = None


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


def mechanism(start: int, end: int) -> str | None:
    """How the pages of one range could leave DRAM here: ``node``, ``file``, ``swap``, or None."""
    if tier.slow_nodes():
        return "node"
    block = _larder.tier_block(start)
    if block is not None and block[2] == "tier file":
        return "file"
    return "swap" if tier.machine()["swap_free"] else None


def _whole(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pages that hold the ranges, neighbours joined; a range in the arena ends with its block, which is its own.

    Objects rarely fill a page to the last byte (allocators keep headers between them), so pages count that hold any of
    them: `movable` has made sure that nine tenths of what they hold is the variable's.
    """
    runs: list[list[int]] = []
    for start, end in sorted(ranges):
        block = _larder.tier_block(start) if end - start >= 4096 else None
        low, high = start & ~4095, (end + 4095) & ~4095
        if block is not None:
            high = min(high, block[0] + block[1])
        if runs and low <= runs[-1][1]:
            runs[-1] = [runs[-1][0], max(high, runs[-1][1]), runs[-1][2] + end - start]
        else:
            runs.append([low, high, end - start])
    # A header alone in its page (an array's own object) stays where its neighbours are.
    return [(low, high) for low, high, own in runs if own * 2 >= high - low]


def _look(name: str) -> tuple[tier.Survey, dict[str, Any]]:
    space = tier.namespace()
    if name not in space:
        raise NameError(f"name {name!r} is not defined")
    names = list(dict.fromkeys([*tier.visible(space), name]))
    survey = tier.Survey({key: space[key] for key in names}, exact=True)
    return survey, survey.row(name)


def in_dram(row: dict[str, Any]) -> int:
    nodes = {f"node{node}" for node, cpu, _ in tier.machine()["nodes"] if cpu}
    return sum(count for place, count in row["places"].items() if place in nodes or place in ("cache", "node?"))


def demote(name: str, tier: str | None = None, *, progress: Callable[[int, int], None] | None = None) -> Table:
    """Move ``name`` out of DRAM; its address stays. Returns one row: bytes moved, left, how, seconds.

    ``tier`` asks for one mechanism (``slow``, ``file``, ``swap``, ``cache``); by default the fastest there is.
    ``progress(done, total)`` is called in bytes, every 64 MiB. Raises `TierError` with the reason when it cannot move.
    """
    return _move(name, False, tier, progress)


def promote(name: str, *, progress: Callable[[int, int], None] | None = None) -> Table:
    """Bring ``name`` back into DRAM now instead of page by page as it is used."""
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
    row = survey.row(name) if survey is not None else None
    if survey is None or row is None:
        survey, row = _look(name)
    if not up:
        if name in _pinned:
            raise tier.TierError(f"{name} is pinned in DRAM; `%tier unpin {name}` first")
        can, why = tier.movable(survey, name)
        if not can:
            raise tier.TierError(f"{name} stays in DRAM: {why}")
        _shield(name, True)  # before the pages go: taking containers off the collector's lists touches them
    before = in_dram(row)
    began = time.monotonic()
    ranges = _whole(survey.ranges(name))
    total, done, how = sum(end - start for start, end in ranges), 0, dict[str, None]()
    for start, end in ranges:
        for at in range(start, end, step_bytes):
            stop = min(at + step_bytes, end)
            told = _up(at, stop, written) if up else _down(at, stop, wish)
            how[told] = None
            done += stop - at
            if progress is not None:
                progress(done, total)
        if not up and "tier file" in how:
            _larder.tier_drop(start, end)  # what was read ahead is in the page cache although nothing maps it
    seconds = time.monotonic() - began
    left = in_dram(_asked(survey.ranges(name)))
    moved = left - before if up else before - left
    if up:
        _shield(name, False)
    out = {"name": name, "moved": max(moved, 0), "in DRAM": left, "how": ", ".join(how), "seconds": round(seconds, 3)}
    return Table([out], formats={"moved": bytes_text, "in DRAM": bytes_text}, footer=_left(name, row, up, left))


def _asked(ranges: list[tuple[int, int]]) -> dict[str, Any]:
    """Where these bytes are now, asked of the kernel, every page."""
    native = _larder.TierSurvey([], [], [], [], 0)
    native.variable()
    for start, end in ranges:
        native.buffer(0, start, end - start)
    native.locate(True)
    return native.row(0)


def _shield(name: str, on: bool) -> None:
    """Cold containers leave the collector's lists, or every collection would bring their pages back."""
    value = tier.namespace()[name]
    if on and isinstance(value, list | dict | tuple | set | frozenset):
        if _larder.tier_shield(value, True, CONTAINERS_MAX):
            _shielded[name] = value
            if check_shields not in hooks.AFTER:
                hooks.AFTER.append(check_shields)
    elif not on:
        held = _shielded.pop(name, None)
        if held is not None:
            _larder.tier_shield(held, False, CONTAINERS_MAX)


def check_shields(_ip: Any = None, _result: Any = None) -> None:
    """Give back to the collector what was shielded under a name that now means something else."""
    space = tier.namespace()
    for name, value in list(_shielded.items()):
        if space.get(name) is not value:
            _larder.tier_shield(_shielded.pop(name), False, CONTAINERS_MAX)


def shielded() -> list[str]:
    """Variables whose containers the cyclic collector does not visit while they are out of DRAM."""
    return sorted(_shielded)


def _left(name: str, row: dict[str, Any], up: bool, left: int) -> str:
    if up or left <= row["bytes"] // 20:
        return ""
    return (
        f"{bytes_text(left)} stayed: pages shared with a neighbour, locked, in use by a system call, or changed on a "
        "shelf and not committed yet (a private copy exists only here: commit, then demote again)"
    )


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
