"""Whether a process still runs."""

from __future__ import annotations

import os
import re

_EXITING, _SIGNALED = 0x4, 0x400
"""Of a process's flags in ``/proc/PID/stat``: it is ending, which takes a large one a while; a signal ends it, and its memory
may be on the way to a file."""
_PENDING = re.compile(rb"^S(?:ig|hd)Pnd:\t([0-9a-f]+)$", re.M)
_SIGKILL = 1 << 8


def ended(pid: int) -> bool:
    """Whether a process has ended, or will not run any code of its own any more.

    It is ending, a signal ends it, or SIGKILL was sent to it.
    Who was killed is still there until what the system does for it (a write, memory that is given back) is done.
    """
    try:
        # In this order: where SIGKILL is forgotten before the process is gone, the flag is set next.
        pending = _PENDING.findall(_read(f"/proc/{pid}/status"))
        state, *fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return True
    return (
        state in (b"Z", b"X")
        or any(int(one, 16) & _SIGKILL for one in pending)
        or bool(int(fields[5]) & (_EXITING | _SIGNALED))
    )


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)
