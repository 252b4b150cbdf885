"""Shelf types: what a shelved array is, and the shadow types that allocate on a shelf in place.

>>> shelf.y = larder.ndarray((9, 9), dtype=np.int32)   # zeros on the shelf, no copy through DRAM
>>> isinstance(shelf.y, np.ndarray)
True
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from . import codec


class ShelfArray(np.ndarray):
    """An array whose elements are a shelf's memory: stores into it are part of the shelf's next commit.

    It is an ``np.ndarray`` in every way. What is computed from it (``x + 1``, ``x.copy()``, a pickle) is a plain array;
    a few results, above all selections (``x[x > 0]``), are of this class too, with memory of their own: to catch them
    would slow down every ``x[i]``.
    """

    _larder_owner = None
    _larder_name = ""

    @classmethod
    def over(
        cls, shape: tuple[int, ...], dtype: np.dtype, buffer: Any, order: str, shelf: Any, name: str
    ) -> ShelfArray:
        """The shelved variable ``name`` of ``shelf``, whose elements are ``buffer``."""
        self = cls(shape, dtype, buffer, 0, None, order)
        if shelf is not None:
            self._larder_owner = weakref.ref(shelf)
            self._larder_name = name
        return self

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        plain = tuple(_plain(value) for value in inputs)
        if out is not None:
            kwargs["out"] = tuple(_plain(value) for value in out)
        if "where" in kwargs:
            kwargs["where"] = _plain(kwargs["where"])
        result = getattr(ufunc, method)(*plain, **kwargs)
        if out is None or result is NotImplemented:
            return result
        return out[0] if len(out) == 1 else out

    def __array_function__(self, func, types, args, kwargs):
        result = super().__array_function__(func, types, args, kwargs)
        if type(result) in (tuple, list):
            return type(result)(_computed(part) for part in result)
        return _computed(result)

    def astype(self, *args, **kwargs):
        return _computed(super().astype(*args, **kwargs))

    def dot(self, *args, **kwargs):
        return _computed(super().dot(*args, **kwargs))

    def flatten(self, order="C"):
        return _plain(self).flatten(order)

    def take(self, *args, **kwargs):
        return _computed(super().take(*args, **kwargs))

    def copy(self, order="C"):
        return _plain(self).copy(order)

    def __copy__(self):
        return _plain(self).copy()

    def __deepcopy__(self, memo):
        return _plain(self).copy()

    def __reduce_ex__(self, protocol):
        return _plain(self).__reduce_ex__(protocol)

    def __reduce__(self):
        return _plain(self).__reduce__()


def _computed(value):
    """A plain array in place of a ``ShelfArray`` that is no view of a shelf."""
    return value.view(np.ndarray) if type(value) is ShelfArray and value.base is None else value


def _plain(value):
    return value.view(np.ndarray) if isinstance(value, ShelfArray) else value


def _shape(shape: int | Iterable[int]) -> tuple[int, ...]:
    dims = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if any(n < 0 for n in dims) or math.prod(dims) > _ELEMENTS_MAX:
        raise ValueError(f"a shape needs numbers from 0 on, and no more than {_ELEMENTS_MAX} elements: {dims}")
    return dims


_ELEMENTS_MAX = 1 << 43


class ndarray:
    """A shadow of ``np.ndarray``: assigned to a shelf it becomes an array of zeros there, allocated in place."""

    def __init__(self, shape, dtype=np.float64, order: str = "C") -> None:
        self.shape = _shape(shape)
        self.dtype = np.dtype(dtype)
        if order not in ("C", "F"):
            raise ValueError(f"order must be 'C' or 'F', not {order!r}")
        if not codec.array_dtype_fits(self.dtype):
            raise TypeError(f"elements of dtype {self.dtype} cannot live on a shelf; use a dtype without objects")
        self.order = order

    def __repr__(self) -> str:
        return f"larder.ndarray({self.shape}, dtype={self.dtype}): assign it to a shelf to allocate it"

    def _larder_allocate(self, native: Any, name: str) -> None:
        nbytes = math.prod(self.shape) * self.dtype.itemsize
        native.alloc(name, "ndarray", codec.array_meta(self.dtype, self.shape, self.order), [nbytes] if nbytes else [])


class tensor:
    """A shadow of a torch tensor: assigned to a shelf it becomes zeros there, allocated in place.

    ``dtype``: a torch dtype, default ``torch.get_default_dtype()``.
    """

    def __init__(self, shape, dtype=None, requires_grad: bool = False) -> None:
        import torch

        from . import codec_torch

        self.shape = _shape(shape)
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        self._meta = codec_torch.tensor_meta(self.dtype, self.shape, requires_grad)

    def __repr__(self) -> str:
        return f"larder.tensor({self.shape}, dtype={self.dtype}): assign it to a shelf to allocate it"

    def _larder_allocate(self, native: Any, name: str) -> None:
        import torch

        nbytes = math.prod(self.shape) * torch.empty((), dtype=self.dtype).element_size()
        native.alloc(name, "tensor", self._meta, [nbytes] if nbytes else [])


_transient = threading.Lock()
_transient_depth = 0


@contextlib.contextmanager
def transient(min_bytes: int = 64 << 20, directory: str | os.PathLike[str] | None = None) -> Iterator[None]:
    """Within it, NumPy arrays of ``min_bytes`` and more are made in a file instead of in DRAM.

    For right-hand sides larger than memory: the kernel can write their pages out while they are computed, and their room
    is given back when they go, that is after the copy onto the shelf.

    >>> with larder.transient():
    ...     shelf.product = a @ b

    ``directory``: where the nameless file is; default as ``%tier on``. A process has one such file, the first. It counts
    for all threads; inner ones change nothing. Raises ``TierError`` where it cannot work (a memory file system, no access).
    """
    global _transient_depth
    from . import tier

    with _transient:
        if _transient_depth == 0 and tier.enabled() is None:
            tier.enable(directory, min_bytes)
            counted = True
        else:
            counted = _transient_depth > 0
        _transient_depth += counted
    try:
        yield
    finally:
        with _transient:
            _transient_depth -= counted
            if counted and not _transient_depth:
                tier.disable()
