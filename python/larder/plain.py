"""Pickles of plain values: what holds nothing but numbers, strings, bytes and Python's own containers of these.

They are written in Rust (``core/cpython/src/plain.rs``), in a quarter of the time and in the opcodes that `pickle.loads` reads.
"""

from __future__ import annotations

import pickle
from typing import Any

from ._larder import PlainPickler

_dumps: Any = None


def dumps(value: Any, sharing: bool = False) -> tuple[bytes, list[int] | None] | None:
    """The pickle of a plain value, and with ``sharing`` the addresses of what others may hold and change; ``None`` for any
    other value, and where the interpreter's objects are not known."""
    global _dumps
    if _dumps is None:
        made = PlainPickler()
        same: list = [-1, 1 << 70, 0.5, "larder \u00e9", b"\0"]
        sample = {"a": [same, (None, True, same), {"b"}], 2: frozenset((1, "b"))}
        found = made.dumps(sample)
        _dumps = made.dumps if found is not None and pickle.loads(found[0]) == sample else _never
    return _dumps(value, sharing)


def _never(value: Any, sharing: bool = False) -> None:
    return None
