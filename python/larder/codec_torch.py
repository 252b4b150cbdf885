"""Torch tensors on a shelf: their storages are the shelf's memory.

A dense tensor in CPU memory is a record of its own, kind ``tensor``: ``meta`` is JSON (dtype, shape, whether it takes part
in autograd), the one buffer its elements in row order. Inside other objects each storage is one out-of-band buffer of
the pickle, so that tensors which share one (tied weights, views) share it again. Everything else (sparse, quantised, on
a device, subclasses with a reduction of their own) is pickled as torch does it.

A shelf that is open to read has read-only memory, which torch cannot express: there a tensor is a copy.

Imported only where torch is.
"""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from ._larder import NativeBuffer

_DTYPES = {
    name: dtype
    for name in (
        "float64 float32 float16 bfloat16 complex128 complex64 complex32 int64 int32 int16 int8 bool "
        "uint64 uint32 uint16 uint8 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu"
    ).split()
    if isinstance(dtype := getattr(torch, name, None), torch.dtype)
}

_OWN_BYTES_MAX = 1 << 20
"""Up to so many bytes of a storage are copied when they are read, larger ones mapped."""

# Which shelved variable a tensor is. Tensors compare by element, so the key is the identity.
_owners: dict[int, tuple[weakref.ref, weakref.ref, str]] = {}


def name_of(dtype: Any) -> str:
    """``float32`` for ``torch.float32``. Raises ``TypeError`` for dtypes a shelf does not know."""
    name = str(dtype).removeprefix("torch.")
    if _DTYPES.get(name) is not dtype:
        raise TypeError(f"elements of dtype {dtype} cannot live on a shelf")
    return name


def tensor_meta(dtype: Any, shape: Sequence[int], requires_grad: bool = False) -> bytes:
    """The ``meta`` of a tensor record."""
    return json.dumps({"dtype": name_of(dtype), "shape": list(shape), "requires_grad": requires_grad}).encode()


def is_plain(value: Any) -> bool:
    """Whether ``value`` is a dense CPU tensor with nothing attached that a record would lose."""
    return type(value) is torch.Tensor and _is_dense(value) and not value.__dict__


def _is_dense(value: Any) -> bool:
    return (
        value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value._backward_hooks
        and str(value.dtype).removeprefix("torch.") in _DTYPES
    )


def encode(value: Any) -> tuple[str, bytes, list]:
    """``(kind, meta, buffers)`` of a tensor that :func:`is_plain`."""
    meta = tensor_meta(value.dtype, value.shape, value.requires_grad)
    flat = _resolved(value).detach().contiguous().reshape(-1)
    return "tensor", meta, [_view_bytes(flat)] if flat.numel() else []


def _resolved(value: Any) -> Any:
    """``value`` with its elements as they are in memory: torch's own pickle forgets a pending conjugation."""
    return value.resolve_conj().resolve_neg()


def _view_bytes(flat: Any) -> memoryview:
    return flat.view(torch.uint8).numpy().data


def decode(meta: bytes, buffers: Sequence, shelf: Any, name: str) -> Any:
    """The tensor over ``buffers``: shared where they are writable, else a copy."""
    head = json.loads(meta)
    dtype, shape = _DTYPES.get(head["dtype"]), head["shape"]
    if dtype is None:
        from .errors import ShelfError

        raise ShelfError(f"`{name}` has elements of {head['dtype']}, which this version of torch does not know")
    if math.prod(shape):
        value = torch.frombuffer(_writable(buffers[0]), dtype=dtype).reshape(shape)
    else:
        value = torch.empty(shape, dtype=dtype)
    if head["requires_grad"]:
        value.requires_grad_()
    if shelf is not None and not shelf.readonly:
        key = id(value)
        _owners[key] = weakref.ref(value, lambda _: _owners.pop(key, None)), weakref.ref(shelf), name
    return value


def _writable(buffer: Any) -> Any:
    view = memoryview(buffer)
    return bytearray(view) if view.readonly else view


def owned_by(value: Any) -> tuple[Any, str] | None:
    """The shelf and the name under which the tensor ``value`` is there at this moment, or ``None``."""
    found = _owners.get(id(value))
    if found is None or found[0]() is not value:
        return None
    shelf, name = found[1](), found[2]
    if shelf is None or shelf.closed or name not in shelf:
        return None
    now = shelf[name]
    same = (
        isinstance(now, torch.Tensor)
        and now.data_ptr() == value.data_ptr()
        and (now.dtype, now.shape, now.stride(), now.requires_grad)
        == (value.dtype, value.shape, value.stride(), value.requires_grad)
    )
    return (shelf, name) if same else None


class Storages:
    """The storages that one pickle has met, so that each is written once."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}

    def reduce(self, value: Any) -> Any:
        """How the pickle writes a tensor or a storage of its own; ``NotImplemented`` leaves it to torch."""
        import pickle

        if type(value) is torch.Tensor and _is_dense(value) and not value.__dict__:
            value = _resolved(value)
            untyped = _untyped(value)
            storage = self._seen.setdefault(untyped.data_ptr(), _Storage(untyped))
            shape, stride = tuple(value.shape), value.stride()
            return _tensor, (storage, name_of(value.dtype), value.storage_offset(), shape, stride, value.requires_grad)
        if type(value) is _Storage:
            return _storage, (pickle.PickleBuffer(value.data()),)
        return NotImplemented

    def whole(self, value: Any) -> Any:
        """As `reduce`, with what else belongs to a tensor or parameter of a notebook: its gradient and attributes."""
        if not shares(value):
            return NotImplemented
        if value.is_conj():
            return torch.conj, (value.conj(),)
        untyped = _untyped(value)
        storage = self._seen.setdefault(untyped.data_ptr() or id(untyped), _Storage(untyped))
        shape, stride = tuple(value.shape), value.stride()
        kind = "parameter" if type(value) is torch.nn.Parameter else "tensor"
        args = (kind, storage, name_of(value.dtype), value.storage_offset(), shape, stride, value.requires_grad)
        if value.grad is None and not value.__dict__:
            return _whole, args
        return _whole, args, (value.grad, value.__dict__), None, None, _state


class _Storage:
    """A storage by one identity: torch makes a new Python object each time it is asked."""

    def __init__(self, untyped: Any) -> None:
        self.untyped = untyped

    def data(self) -> memoryview:
        return torch.tensor([], dtype=torch.uint8).set_(self.untyped).numpy().data


def shares(value: Any) -> bool:
    """Whether :meth:`Storages.whole` writes it, as a view of its storage that others may view as well."""
    kinds = (torch.Tensor, torch.nn.Parameter)
    if type(value) not in kinds or not _is_dense(value) or value.is_neg():
        return False
    return not value.is_conj() or (value.grad is None and not value.requires_grad and not value.__dict__)


def why_not_again(value: Any) -> str:
    """What of a tensor would be lost without a word; empty if nothing is."""
    if value.grad_fn is not None:
        how = type(value.grad_fn).__name__
        return f"the result of a computation that autograd has recorded ({how}); its `detach()` can be saved"
    if value._backward_hooks:
        return "has hooks of autograd, which could not come back"
    if value.requires_grad and value.layout is not torch.strided:
        return "a sparse tensor that asks for gradients, which torch's own pickle forgets"
    if value.grad is not None and not shares(value):
        return "has a gradient, which could not come back with it"
    return ""


def span(value: Any) -> tuple[int, int, int]:
    """Where the memory below a tensor begins and ends, and whose it is (0: it is copied)."""
    if value.layout is not torch.strided or value.device.type != "cpu":
        return 0, 0, 0
    untyped = _untyped(value)
    low = untyped.data_ptr()
    return low, low + untyped.nbytes(), low if shares(value) else 0


def _untyped(value: Any) -> Any:
    return value.untyped_storage() if hasattr(value, "untyped_storage") else value.storage().untyped()


def _storage(buffer: Any) -> Any:
    """Called while unpickling: a storage over ``buffer``."""
    if not memoryview(buffer).nbytes:
        return _untyped(torch.tensor([], dtype=torch.uint8))
    value = torch.frombuffer(_writable(buffer), dtype=torch.uint8)
    # Memory of its own can be resized; what lies on a shelf is the shelf's.
    own = value.numel() <= _OWN_BYTES_MAX and type(memoryview(buffer).obj) is not NativeBuffer
    return _untyped(value.clone() if own else value)


def _whole(kind: str, storage: Any, dtype: str, offset: int, shape: tuple, stride: tuple, requires_grad: bool) -> Any:
    """Called while unpickling: a tensor or parameter of a notebook."""
    value = torch.tensor([], dtype=_DTYPES[dtype]).set_(storage, offset, shape, stride)
    if kind == "parameter":
        return torch.nn.Parameter(value, requires_grad)
    return value.requires_grad_() if requires_grad else value


def _state(value: Any, state: tuple) -> None:
    """Called while unpickling: what belongs to a tensor beside its elements."""
    grad, attributes = state
    value.grad = grad
    value.__dict__.update(attributes)


def _tensor(storage: Any, dtype: str, offset: int, shape: tuple, stride: tuple, requires_grad: bool) -> Any:
    """Called while unpickling: a tensor that views ``storage``."""
    value = torch.tensor([], dtype=_DTYPES[dtype]).set_(storage, offset, shape, stride)
    return value.requires_grad_() if requires_grad else value
