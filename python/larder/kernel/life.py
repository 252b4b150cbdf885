"""How the kernel ends: children are first told, then killed.

Every cell was committed before its reply. A shutdown or restart that a front end asked for, and ``exit()``, are marked
in the session; after any other end (SIGTERM, the parent's death, a crash) the next kernel of the notebook recovers it.
"""

from __future__ import annotations

import os
import signal
import time

_done = False


def clean_shutdown(restart: bool) -> None:
    """A front end asked for the end: tell the session, once, that nothing is to be recovered after it."""
    global _done
    if _done:
        return
    _done = True
    from larder import recovery

    recovery.clean_shutdown(restart)


def children() -> list[int]:
    """Living descendants in the kernel's own process group, nearest first, from ``/proc``."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []  # the usual case: no child, so no grandchild either, and no need to look at every process
    parents: dict[int, int] = {}
    group = os.getpgrp()
    in_group: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] == b"Z":
            continue
        parents[int(entry)] = int(fields[1])
        if int(fields[2]) == group:
            in_group.add(int(entry))
    found, frontier = [], {os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found += sorted(frontier)
    return [pid for pid in found if pid in in_group]


def end_children(patience_s: float = 1.0) -> None:
    """TERM to every child in the group, KILL to those that are still there after ``patience_s``."""
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, patience_s)):
        pids = children()
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + wait_s
        pause = 0.001
        while time.monotonic() < deadline and children():
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def leave_modules() -> None:
    """Spare the interpreter's finalisation the search for garbage among what start-up and imports made (14 ms of CPU).

    To be called when the user's namespace has been cleared: what the user made and cycles hold is collected here, as the
    finalisation would. A file that a module still has open for writing is a reason to let it all take its way.
    """
    import gc
    import io

    gc.collect()
    open_files = [one for one in gc.get_objects() if type(one) is io.FileIO and not one.closed]
    if not any(one.writable() and one.fileno() > 2 for one in open_files):
        gc.freeze()
