"""A plain shell that has notebooks saved, one after the other, as a kernel has its own: for programs that run notebooks, or
have them back, and write what they saw."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Iterator


def shell():
    """IPython's, quiet."""
    import warnings

    warnings.simplefilter("ignore")
    from IPython.core.interactiveshell import InteractiveShell

    from larder import hooks
    from larder.kernel import comms

    ip = InteractiveShell.instance()
    ip.history_manager.enabled = False
    hooks.install(ip)
    comms.install(None)  # widgets that come back are open, as in a kernel
    ip.showtraceback = lambda *args, **kwargs: None
    return ip


def small() -> None:
    """What is done for large arrays is done for those of 64 KiB, and each walk leaves a trace."""
    from larder import blocks, reader, recorder, states

    blocks.ARENA_BYTES_MIN = blocks.TRACKED_BYTES_MIN = 1 << 16
    reader.CHUNK_BYTES = recorder.CHUNK_BYTES = states.CHUNK_BYTES = 1 << 12
    recorder.Walker = functools.partial(recorder.Walker, replayed_min=1)


def notebooks(ip, prefix: str, names: list) -> Iterator:
    """Each of ``names`` with an empty namespace and a session shelf (``PREFIX-NAME``), which is closed without a shutdown."""
    from larder import recovery

    kept = set(ip.user_ns)
    for name in names:
        for old in set(ip.user_ns) - kept:
            del ip.user_ns[old]
        os.environ["LARDER_RECOVER"] = "auto"
        recovery.start(ip, f"{prefix}-{name}")
        yield name
        recovery.recorder().native.close()
        recovery._recorder = None


def last_version(rec) -> dict:
    """The newest state, once it is saved; nothing is saved from here on."""
    from larder import hooks

    rec.drain()
    hooks.AFTER.remove(rec.after_cell)
    hooks.BEFORE.remove(rec.before_cell)
    return rec.version(rec.meta["versions"][-1])


def end(out: str, found: dict) -> None:
    """Writes what was found, and ends without what Python does at its end."""
    with open(out, "w") as file:
        json.dump(found, file)
    sys.stdout.flush()
    os._exit(0)
