"""The automatic policy: between cells, coldest variables leave DRAM until the process is under its limit."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from . import _larder, _migrate, heat, hooks, tier
from .display import Table, bytes_text

_limit: int | None = None
_last: Table | None = None
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_bytes(text: str | int) -> int:
    """``"4G"``, ``"512M"``, ``1 << 30`` -> bytes. Raises `ValueError` for anything else."""
    if isinstance(text, int):
        return text
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

    ``"cgroup"`` takes nine tenths of the control group's limit. New arrays go to the tier file (see `enable`), and heat is
    sampled while cells run. Returns what it does now, in words. Raises `TierError` when there is no limit to take.
    """
    global _limit
    if dram is None:
        _limit = None
        hooks.AFTER[:] = [hook for hook in hooks.AFTER if hook is not _after]
        return "automatic moves are off; variables stay where they are"
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
    if _after not in hooks.AFTER:
        hooks.AFTER.append(_after)
    return f"keeping this process under {bytes_text(limit)} of DRAM: cold variables leave between cells"


def _after(_ip: Any, _result: Any) -> None:
    step()


def step() -> Table:
    """One round of the policy, as after a cell: what it moved, in the order it moved it."""
    global _last
    rows: list[dict[str, Any]] = []
    used = resident()
    if _limit is not None and (used > _limit or any(block[2] == "tier file" for block in _larder.tier_blocks())):
        space = tier.namespace()
        names = tier.visible(space)
        survey = tier.Survey({name: space[name] for name in names})
        temperatures = heat.columns()
        known = []
        for name in names:
            row = survey.row(name)
            inside = _migrate.in_dram(row)
            slow = sum(n for place, n in row["places"].items() if place in ("disk", "swap") or place in _slow())
            can = tier.movable(survey, name)[0]
            warm = temperatures.get(name, {}).get("heat")
            known.append((inside, slow if can else 0, warm, can, name in _migrate.pinned()))
        for verb, at in _larder.tier_plan(known, used, _limit):
            try:
                moved = (_migrate.demote if verb == "demote" else _migrate.promote)(names[at])
            except (tier.TierError, NameError, OSError) as error:
                rows.append({"what": verb, "name": names[at], "moved": 0, "why": str(error)})
                continue
            rows.append({"what": verb, "name": names[at], "moved": moved[0]["moved"], "why": moved[0]["how"]})
    _last = Table(
        rows,
        ["what", "name", "moved", "why"],
        formats={"moved": bytes_text},
        footer=f"resident {bytes_text(resident())}, limit {bytes_text(_limit) if _limit else 'none'}",
        empty="nothing had to move",
    )
    return _last


def _slow() -> set[str]:
    return {f"node{node}" for node in tier.slow_nodes()}
