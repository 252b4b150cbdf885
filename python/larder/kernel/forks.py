"""Processes forked in a cell take signals as any other Python process does, from their first moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

_KERNELS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_held = threading.local()
"""The masks of forks under way in a thread, the innermost last."""


def leave_signals(ours: Callable[[int], Callable]) -> None:
    """From now on a forked process has Python's own handler for each signal whose handler is ``ours`` of it.

    Ours end the cell and then the kernel; in a child `terminate()` of a `multiprocessing.Pool` would wait for ever for a
    worker that had not begun. A signal that comes before the child has its handlers waits until it has.
    """

    def before() -> None:
        masks = _held.__dict__.setdefault("masks", [])
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, _KERNELS))

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _held.masks.pop())

    def in_child() -> None:
        for number in _KERNELS:
            if signal.getsignal(number) == ours(number):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        in_parent()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
