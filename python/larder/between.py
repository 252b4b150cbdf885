"""What changes between cells: a request that is no cell (a front end's list of variables) may change what it only looks at.

The last state is then brought up to the namespace while the kernel is idle, so that the next cell need not do it: under the
number it has, for its cell has ended before that. Only what is quick to save is; the rest is left for the end of the next cell.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from typing import Any

from . import hooks
from .beside import Beside
from .states import Look, Task

REPLY_SECONDS = 20e-3
"""What takes no longer is saved by the kernel."""
IDLE_SECONDS = 0.05
"""So long after a silent request the kernel looks what it changed."""


class Between(Beside):
    """The part of a `Recorder` that works between cells."""

    ip: Any
    run: str
    _last: dict | None
    _guard: Callable[[int], contextlib.AbstractContextManager]
    _look: Callable[[str, int, float], Look]
    _seconds: Callable[[Look], float]
    _writing: Callable[[Task], float]
    _commit_here: Callable[[Look, Task], None]

    def __init__(self) -> None:
        super().__init__()
        self._looking = False
        """It is about to be looked what a silent request changed."""
        self._due = False
        """The same, once no child saves any more."""
        self._ended = -1
        """The number of the last cell that ended."""

    def after_silent(self) -> None:
        """A request that is no cell was answered."""
        if not self.on or self._looking:
            return
        self._looking = True
        ready = os.eventfd(1, os.EFD_CLOEXEC)
        try:
            hooks.when_idle(ready, self.look_again, IDLE_SECONDS)
        finally:
            os.close(ready)

    def make_up(self) -> None:
        """Between cells, when a child has ended."""
        super().make_up()
        if self._due:
            self.after_silent()

    def look_again(self) -> bool:
        """The kernel is idle: bring the last state up to the namespace, if it is that of the last cell; whether it is now."""
        self._looking = self._due = False
        with self._lock:
            self._collect()
            self._due = bool(self.savers)
            if self._due or not self.on or self.deferred or self.restored_from is not None or self._again is not None:
                return False
            last = self._last
            if last is None or (last["run"], last["seq"], last["count"]) != (self.run, self.meta["seq"], self._ended):
                return False
            with self._guard(last["count"]), hooks.no_collection():
                return self._bring_up(last)
        return False

    def _bring_up(self, last: dict) -> bool:
        """Save what there is in place of the last state, if that is quick."""
        try:
            look = self._look("", last["count"], REPLY_SECONDS)
            look.seq = last["seq"]
            look.known = {name: one for name, one in look.known.items() if one.names}
            there = {*look.values, *look.imports} == {*last["names"], *last["imports"], *last["unsaved"]}
            if there and not look.changed:
                return True
            if self._seconds(look) > REPLY_SECONDS or self._only_here(look):
                return False
            task = dataclasses.replace(self._task(look, None), code=last["line"], instead=last)
            if there and self._is_saved(task):
                return True
            if self._writing(task) > REPLY_SECONDS:
                return False
            self._commit_here(look, task)
            return True
        finally:
            self.seen(None)

    def _is_saved(self, task: Task) -> bool:
        """Whether what was serialised is what is on the shelf."""
        keys = ("\0".join(group.names) for group in task.groups)
        same = zip(keys, task.parts(self.blocks), strict=True)
        return task.refused.keys() == self.unsaved.keys() and all(
            key in self.saved and self.saved[key][0] == parts.digest for key, parts in same
        )


def brought_up(last: dict, version: dict) -> dict:
    """What a state that stands in place of the last one has of that one."""
    kept = ("count", "time", "line", "of", "how")
    return {
        **{key: last[key] for key in kept},
        "changed": sorted({*last["changed"], *version["changed"]}),
        "gone": sorted({*last["gone"], *version["gone"]} - set(version["names"])),
        "bytes": last["bytes"] + version["bytes"],
    }
