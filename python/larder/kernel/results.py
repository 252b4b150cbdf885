"""What ``Out`` and ``_`` keep of a result that lies on a shelf: never the shelf's own memory.

A result in hand keeps its pages on the shelf, also after the name is removed or replaced, and ``Out`` would keep it in
hand for the life of the kernel. So a small result is kept as a copy, and of a large one a note.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

COPY_BYTES_MAX = 1 << 20
"""Results on a shelf up to this size are kept as copies."""
_PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None)})
_CONTAINERS = (list, tuple, set, frozenset)
_TABLES = frozenset({"pandas", "polars", "pyarrow", "scipy", "xarray", "geopandas"})
_OBJECTS_MAX = 2000


class NotKept:
    """Stands in ``Out`` for a large result that lies on a shelf; displaying it says so."""

    def __init__(self, about: str) -> None:
        self._about = about

    def __repr__(self) -> str:
        return f"<{self._about}, on a shelf: not kept in Out; a name keeps it>"


def kept(result: Any) -> Any:
    """What to keep of ``result``: itself, unless it holds memory of a shelf."""
    if type(result) in _PLAIN:
        return result
    try:
        nbytes = shelved_bytes(result)
        if not nbytes:
            return result
        if nbytes <= COPY_BYTES_MAX:
            return copy.deepcopy(result)
    except Exception:
        return NotKept(type(result).__name__)
    shape = getattr(result, "shape", None)
    return NotKept(type(result).__name__ + (f" {tuple(shape)}" if shape is not None else f", {nbytes} bytes"))


def shelved_bytes(value: Any) -> int:
    """Bytes of arrays and tensors in ``value`` that lie on a shelf: in it, in containers, in the columns of tables."""
    from larder._larder import NativeBuffer

    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    found, seen, todo = 0, set(), [value]
    while todo and len(seen) < _OBJECTS_MAX:
        one = todo.pop()
        if type(one) in _PLAIN or id(one) in seen:
            continue
        seen.add(id(one))
        if numpy is not None and isinstance(one, numpy.ndarray):
            base: Any = one
            while isinstance(base, (numpy.ndarray, memoryview)):
                base = base.base if isinstance(base, numpy.ndarray) else base.obj
            if isinstance(base, NativeBuffer):
                found += one.nbytes
            elif base is not None:
                todo.append(base)
            elif one.dtype.hasobject:
                todo.extend(one.ravel()[:_OBJECTS_MAX])
        elif torch is not None and isinstance(one, torch.Tensor):
            from larder.codec import owned_by

            if owned_by(one) is not None:
                found += one.nbytes
        elif isinstance(one, dict):
            todo.extend(one.values())
        elif isinstance(one, _CONTAINERS):
            todo.extend(one)
        elif type(one).__module__.partition(".")[0] in _TABLES:
            import gc

            todo.extend(part for part in gc.get_referents(one) if not isinstance(part, type))
    return found
