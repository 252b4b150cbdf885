"""A second kernel of one notebook: it runs unsaved while the first one lives, and is saved from its end on.

Rules

- Whose state: its own, as soon as it has one. What the first kernel had stays a state in `%shelf log`, and `%shelf recover`
  brings it back. A kernel without a cell and a variable begins as if it had been started just then: after a crash of the
  first one, that one's variables come back.
- When: at once after a shutdown; otherwise `GRACE_SECONDS` after the end, because a front end soon starts a kernel anew
  that died or is restarted, and it is that one whose variables these are.
- The same for a kernel whose session shelf could not be opened (a full disk): it tries again after each cell.
- It looks when the first kernel ends (while idle), before a request and at the end of each cell. Nothing waits for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
from pathlib import Path
from typing import Any

from . import hooks, processes, recovery
from ._larder import NativeShelf, shelf_holders
from .errors import ShelfBusy, ShelfError
from .reader import joined
from .recorder import Recorder
from .settings import positive

GRACE_SECONDS = positive("LARDER_TAKEOVER_SECONDS", 10)
"""How long after its end the state of a kernel that was not shut down is left to the kernel started in its place."""
AGAIN_SECONDS = 1.0
"""When it is looked again who has the shelf, if that cannot be waited for."""


class Waiting:
    """Waits for the session shelf at ``path``, and takes it over."""

    def __init__(self, ip: Any, path: Path) -> None:
        self._ip, self._path = ip, path
        self._cwd = recovery._cwd()
        self._lock = threading.RLock()
        self._watched: int | None = None
        self._free_since: float | None = None
        self._holder: int | None = None
        with contextlib.suppress(OSError):
            self._holder = shelf_holders(str(path))[0]
        # One that had ended before this kernel began is not started anew: this is the kernel in its place.
        self._grace = GRACE_SECONDS if self._holder is not None and not processes.ended(self._holder) else 0.0
        hooks.AHEAD.append(self._ahead)
        hooks.AFTER.append(self._after)
        hooks.STARTED.append(self._at_rest)
        recovery._look_again = self._left

    def _left(self) -> float:
        """Seconds until the shelf may be had; endless while somebody has it."""
        try:
            kernel, child = shelf_holders(str(self._path))
        except OSError:  # not there, or not to be had
            kernel = child = None
        if kernel is None:
            now = time.monotonic()
            if self._free_since is None:
                self._free_since = now
                if self._grace and self._was_shut_down():
                    self._grace = 0.0
                if self._grace:
                    recovery._why_none = (
                        f"the other kernel of this notebook (process {self._holder}) has ended; if none is started in its "
                        f"place, this one is saved from {self._grace:g} s after that on"
                    )
            return max(self._free_since + self._grace - now, 0.0)
        self._free_since = None
        if not processes.ended(kernel):
            if kernel != self._holder:
                self._holder, self._grace = kernel, GRACE_SECONDS
            recovery._why_none = recovery.held_by(kernel)
            self._watch(kernel)
        elif child is not None:
            self._watch(child)
        else:
            self._again(AGAIN_SECONDS)
        return math.inf

    def _watch(self, pid: int) -> None:
        """Look again when this process has ended."""
        if pid == self._watched:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # just ended, or of another machine's: the next cell looks
            return
        self._watched = pid
        hooks.when_idle(pidfd, self._at_rest)
        os.close(pidfd)

    def _again(self, seconds: float) -> None:
        ready = os.eventfd(1, os.EFD_CLOEXEC)
        hooks.when_idle(ready, self._at_rest, seconds)
        os.close(ready)

    def _was_shut_down(self) -> bool:
        """Whether the last kernel was shut down, and not to be started again."""
        with contextlib.suppress(Exception):  # whatever is wrong with it, the grace is waited for
            native = NativeShelf(str(self._path), "r", None)
            try:
                entry = native.get("meta")
                meta = json.loads(joined(entry)) if entry is not None else {}
                return bool(meta.get("clean")) and not meta.get("restarting", True)
            finally:
                native.close()
        return False

    def _at_rest(self) -> None:
        """Somebody has ended, or the grace is over, and no cell runs."""
        with self._lock:
            if self._over():
                return
            left = self._left()
            if left == 0:
                rec = self._take()
                if rec is not None and rec.namespace():
                    rec.save_between_cells()
            elif left < math.inf:
                self._again(left)

    def _ahead(self, code: str | None) -> None:
        """Before the first cell: what comes back has to be there."""
        if self._ip.execution_count > 1:
            return
        with self._lock:
            if not self._over() and self._left() == 0:
                before = list(hooks.AHEAD)
                if self._take() is not None:
                    for hook in hooks.AHEAD:
                        if hook not in before:
                            hook(code)

    def _after(self, ip: Any, result: Any) -> None:
        with self._lock:
            if not self._over() and self._left() == 0:
                rec = self._take()
                if rec is not None:
                    rec.after_cell(ip, result)

    def _over(self) -> bool:
        """Whether the shelf is ours."""
        return self._after not in hooks.AFTER

    def _take(self) -> Recorder | None:
        """Take the shelf over, if nobody was faster and nothing else is in the way."""
        try:
            rec = recovery._open(self._ip, self._path)
        except ShelfBusy:
            self._left()
            return None
        except (ShelfError, OSError) as err:
            recovery._why_none = str(err)
            return None
        recovery._look_again = None
        hooks.AHEAD.remove(self._ahead)
        hooks.AFTER.remove(self._after)
        if self._ip.execution_count <= 1 and not rec.namespace():
            recovery._begin(self._ip, rec)
            return rec
        recovery._attach(rec)
        rec.go_on(self._cwd)
        ended = f"the other kernel of this notebook (process {self._holder}) has ended: " if self._holder else ""
        print(f"larder: {ended}this notebook is saved from now on, with the variables this kernel has{_offered(rec)}")
        missing = rec.promised.told()
        if missing:
            print(missing)
        return rec


def _offered(rec: Recorder) -> str:
    """What the first kernel had, and how it is had back."""
    last = rec.meta["recoverable"]
    if last is None:
        return ""
    return (
        f"; what the one before it had after its cell [{rec.version(last)['count']}] is state {last} of `%shelf log`, and "
        "`%shelf recover` brings it back"
    )
