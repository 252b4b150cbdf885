"""The automatic policy: between cells, coldest variables leave DRAM until the process is under its limit.

After a cell the coldest leave; before a cell, what its code names comes in, read in large pieces instead of page by page.
"""

from __future__ import annotations

import ast
import atexit
import os
import re
import threading
import types
from collections import deque
from pathlib import Path
from typing import Any

from . import _larder, _migrate, heat, hooks, tier
from .display import Table, bytes_text

PIECE_BYTES = 8 << 20  # the next cell waits for the end of one piece at most
FULL = 0.95  # of the limit: what the next cell names may fill; as in the native policy
_limit: int | None = None
_last: Table | None = None
_mover: threading.Thread | None = None
_stop = threading.Event()
_used: set[str] = set()  # named by the last cell
_coming: deque[int] = deque(maxlen=4)  # bytes that came in for each of the last cells, or that it made
_ready: tuple[int, int] | None = None  # bytes that came in before this cell, and what was resident then
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_bytes(text: str | int) -> int:
    """``"4G"``, ``"512M"``, ``1 << 30`` -> bytes. Raises `ValueError` for anything else."""
    if isinstance(text, int):
        text = str(text)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is not an amount of memory; write it as 512M or 4G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def cgroup_limit() -> int | None:
    """The memory limit of this process's control group (v2 ``memory.max``, v1 ``limit_in_bytes``), if there is one."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            files = [f"/sys/fs/cgroup{path}/memory.max", f"/sys/fs/cgroup/unified{path}/memory.max"]
        elif "memory" in controllers.split(","):
            files = [f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"]
        else:
            continue
        for file in files:
            try:
                text = Path(file).read_text().strip()
            except OSError:
                continue
            if text.isdigit() and int(text) < 1 << 60:
                found.append(int(text))
    return min(found, default=None)


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def auto(dram: str | int | None = "cgroup") -> str:
    """Keep this process under ``dram`` bytes by moving cold variables out between cells; ``None`` stops that.

    ``"cgroup"`` takes nine tenths of the control group's limit. The coldest leave until there is room for what lately came in
    before a cell or was made by one (at first: above nine tenths of ``dram``, until three quarters are in use). New arrays
    go to the tier file (see `enable`), and heat is sampled while cells run. Returns what it does now, in words. Raises
    `TierError` when there is no limit to take.
    """
    global _limit
    _coming.clear()
    if dram is None:
        _halt()
        heat.finish()
        heat.deferred = False
        _limit = None
        hooks.AFTER[:] = [hook for hook in hooks.AFTER if hook is not _after]
        hooks.BEFORE[:] = [hook for hook in hooks.BEFORE if hook is not _before]
        left = ["arrays made from now on still go to the tier file (`%tier off`)"] if _migrate.enabled() else []
        left += ["heat is still sampled (`%tier heat off`)"] if heat.active() else []
        return "; ".join(["automatic moves are off, and variables stay where they are", *left])
    if dram == "cgroup":
        found = cgroup_limit()
        if found is None:
            raise tier.TierError("this process has no memory limit; name one: %tier auto on --dram 4G")
        limit = found * 9 // 10
    else:
        limit = parse_bytes(dram)
    if _migrate.enabled() is None:
        _migrate.enable()
    if not heat.active():
        heat.start()
    _limit = limit
    heat.deferred = True
    if _after not in hooks.AFTER:
        hooks.AFTER.append(_after)
        hooks.BEFORE.insert(0, _before)  # before the sampler starts: moving is not using
    stays = resident() - sum(dram for dram, _, _, can, is_pinned in _known(_survey(False)) if can and not is_pinned)
    return f"keeping this process under {bytes_text(limit)} of DRAM: cold variables leave between cells" + (
        f". That will not do it: {bytes_text(stays)} of the {bytes_text(resident())} here cannot leave (the interpreter, "
        "libraries, and variables of which `%tier` says why)"
        if stays > limit
        else ""
    )


def _after(_ip: Any, _result: Any) -> None:
    """Moves out while nobody computes; the prompt does not wait for it, and the next cell ends it."""
    global _mover, _ready
    _halt()
    if _ready is not None:
        came, then = _ready
        _coming.append(came + max(resident() - then, 0))
        _ready = None
    if _limit is not None:
        _stop.clear()
        _mover = threading.Thread(target=_between, name="larder-tier", daemon=True)
        _mover.start()


def _between() -> None:
    heat.finish()
    step(traced=True)


def _halt() -> None:
    """Ends the moves in progress, if any, within one piece."""
    global _mover
    if _mover is not None and _mover is not threading.current_thread():
        _stop.set()
        _mover.join()
        _mover = None


def settle() -> Table | None:
    """Waits for the moves after the last cell and says what they were."""
    if _mover is not None:
        _mover.join()
    return _last


def _before(ip: Any, info: Any) -> None:
    global _ready
    _halt()
    source = getattr(info, "raw_cell", None)
    if source and not info.silent:
        names, written = named(source, ip)
        _used.clear()
        _used.update(names)
        moved = prepare(names, written, traced=True)
        came = sum(row["moved"] for row in moved if row["what"] == "promote")
        _ready = came, resident()


def named(source: str, ip: Any = None) -> tuple[list[str], list[str]]:
    """Variables that a cell's code names, itself or through the functions it names, and those among them that it changes
    in place where that can be seen (``x += 1``, ``x[...] = y``, ``out=x``). None when it is no Python."""
    try:
        tree = ast.parse(ip.transform_cell(source) if ip is not None else source)
    except (SyntaxError, ValueError):
        return [], []
    space = tier.namespace()
    found: dict[str, None] = {}
    written: dict[str, None] = {}
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.append(node.id)
        part: Any = (
            node.target if isinstance(node, ast.AugAssign) else node.value if isinstance(node, ast.keyword) else None
        )
        if isinstance(node, ast.keyword) and node.arg != "out":
            part = None
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            part = node
        while isinstance(part, ast.Subscript | ast.Attribute):
            part = part.value
        if isinstance(part, ast.Name):
            written[part.id] = None
    while names:
        name = names.pop()
        if name not in found and name in space:
            found[name] = None
            if isinstance(space[name], types.FunctionType):
                names.extend(space[name].__code__.co_names)
    return list(found), [name for name in written if name in found]


def _known(survey: tier.Survey) -> list[tuple[int, int, float | None, bool, bool]]:
    """Per variable of the survey what the policy decides from."""
    temperatures = heat.urgency()
    out = []
    for name in survey.names:
        row = survey.row(name)
        slow = sum(n for place, n in row["places"].items() if place in ("disk", "swap") or place in _slow())
        can = tier.movable(survey, name)[0]
        warm = temperatures.get(name)
        if name in _used:
            warm = 1 + (warm or 0.0)  # what the last cell used, the next one is likeliest to use
        out.append((_migrate.in_dram(row["places"]), slow if can else 0, warm, can, name in _migrate.pinned()))
    return out


def _survey(traced: bool) -> tier.Survey:
    """What is where now: from the live trace, brought up to date unless that has just been done; else from a walk."""
    live = heat.live()
    if live is not None and live.native.refused is None:
        if not traced:
            live.update()
        if not live.stale:
            return live.survey()
    space = tier.namespace()
    return tier.Survey({name: space[name] for name in tier.visible(space)})


def _in_file() -> bool:
    return any(block[2] == "tier file" for block in _larder.tier_blocks())


def prepare(names: list[str], written: list[str] | None = None, *, traced: bool = False) -> Table:
    """Brings in what the next cell names, as far as it fits; the coldest others make room. What it moved, in order."""
    if _limit is None or not (_in_file() or tier.slow_nodes() or tier.swap_used()):
        return _told([])
    live = heat.live()
    known = [name for name in names if live is not None and name in live.names()]
    if traced and live is not None and not live.stale and live.native.refused is None:
        # What is asked for alone, first: mostly it is all there, and then nothing else need be looked at.
        some = tier.Survey.of(live.native.survey(known), known)
        coming = sum(slow for _, slow, *_ in _known(some))
        if resident() + coming <= _limit * FULL or not coming:
            return _carry_out(some, names, written or [])
    return _carry_out(_survey(traced), names, written or [])


def step(*, traced: bool = False) -> Table:
    """One round of the policy, as after a cell: what it moved, in the order it moved it."""
    global _last
    needed = _limit is not None and (resident() > _limit or _in_file() or tier.swap_used())
    _last = _carry_out(_survey(traced), None, []) if needed else _told([])
    return _last


class _Halted(Exception):
    """The next cell begins."""


def _piece(_done: int, _total: int) -> None:
    if _stop.is_set() and threading.current_thread() is _mover:
        raise _Halted


def _carry_out(survey: tier.Survey, names: list[str] | None, written: list[str]) -> Table:
    wanted = None if names is None else [at for at, name in enumerate(survey.names) if name in names]
    rows: list[dict[str, Any]] = []
    for verb, at in _larder.tier_plan(_known(survey), resident(), _limit or 0, wanted, max(_coming, default=None)):
        name = survey.names[at]
        try:
            _piece(0, 0)
            moved = _migrate._move(name, verb == "promote", None, _piece, survey, name in written, PIECE_BYTES)
        except _Halted:
            break
        except (tier.TierError, NameError, OSError, KeyError) as error:
            rows.append({"what": verb, "name": name, "moved": 0, "why": str(error)})
            continue
        rows.append({"what": verb, "name": name, "moved": moved[0]["moved"], "why": moved[0]["how"]})
    return _told(rows)


def _told(rows: list[dict[str, Any]]) -> Table:
    return Table(
        rows,
        ["what", "name", "moved", "why"],
        formats={"moved": bytes_text},
        footer=f"resident {bytes_text(resident())}, limit {bytes_text(_limit) if _limit else 'none'}",
        empty="nothing had to move",
    )


def _slow() -> set[str]:
    return {f"node{node}" for node in tier.slow_nodes()}


atexit.register(_halt)
