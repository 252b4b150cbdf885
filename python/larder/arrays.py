"""How a pickle of a group has arrays, and what puts them back.

Pickles on disk name what is here as ``larder.groups.NAME`` (`pickled.LOADED`).
"""

from __future__ import annotations

import sys

from . import beyond


def _own(obj):
    """NumPy's way, which loses the flag of read-only arrays whose elements it writes one by one, and that of hard masks, and
    the attributes of instances of derived classes."""
    hard = bool(getattr(obj, "_hardmask", False))
    if (said := _objects(obj)) is not None:
        return said
    attributes = beyond.attributes(obj) if beyond.only_memory(type(obj)) else ({}, {})
    if obj.flags.writeable and not hard and not any(attributes):
        return None
    if type(obj).__reduce_ex__ is not _ndarray_type().__reduce_ex__:
        return None
    if not obj.dtype.hasobject and obj.dtype.kind not in "mM" and obj.flags.forc and type(obj) is _ndarray_type():
        return None  # NumPy hands the memory out, and whether it may be written
    made, arguments, *state = obj.__reduce__()[:3]
    if not state:
        return None
    return made, arguments, (state[0], obj.flags.writeable, hard, attributes), None, None, _array_state


def _objects(obj):
    """NumPy's way for an array of objects; what is no number in it comes back as the one that NumPy and pandas mean by `is`."""
    if obj.dtype.kind != "O" or type(obj) is not _ndarray_type():
        return None
    made, arguments, state = obj.__reduce__()[:3]
    return made, arguments, (state, obj.flags.writeable), None, None, _objects_state


def _objects_state(obj, state):
    own, writeable = state
    obj.__setstate__(own)
    for at in [at for at, one in enumerate(own[-1]) if type(one) is float and one != one]:
        obj.flat[at] = sys.modules["numpy"].nan
    if not writeable:
        obj.flags.writeable = False


def _axes(one):
    """Its axes from the widest step to the narrowest; ``None`` if items do not lie without gaps in that order."""
    axes = sorted(range(one.ndim), key=lambda axis: -one.strides[axis])
    return axes if one.transpose(axes).flags.c_contiguous else None


def _as_permuted(straight, axes):
    return straight.transpose(axes)


def _as_dates(numbers, dtype):
    return numbers.view(dtype)


def _as_masked(data, mask, kind=None):
    import numpy as np

    made = data.view(kind or np.ma.MaskedArray)
    made._mask = np.ma.nomask if mask is None else mask
    return made


def _ndarray_type():
    return sys.modules["numpy"].ndarray


def _array_state(obj, state):
    own, writeable, hard, *attributes = state
    obj.__setstate__(own)
    if attributes:
        beyond.set_attributes(obj, *attributes)
    if hard:
        obj.harden_mask()
    if not writeable:
        obj.flags.writeable = False


def _masked_state(obj, state):  # of session shelves written before there was `beyond.set_attributes`
    obj.__dict__.update(state)


def _read_only_state(obj, state):  # of session shelves written before there was `_array_state`
    obj.__setstate__(state)
    obj.flags.writeable = False


def _finish(view, writeable):
    if not writeable:
        view.flags.writeable = False
    return view


def _view(root, offset, shape, strides, dtype, writeable):
    import numpy as np

    root = root.view(np.ndarray)
    if not root.flags.forc:
        root = root.transpose(_axes(root))
    flat = root.reshape(-1, order="A").view(np.uint8) if root.nbytes else root.reshape(-1)
    return _finish(np.ndarray(shape, dtype, flat, offset, strides), writeable)


def _view_objects(root, offset, shape, strides, dtype, writeable):
    import numpy as np

    flat = root.view(np.ndarray).reshape(-1, order="A")[offset // root.itemsize :]
    return _finish(np.lib.stride_tricks.as_strided(flat, shape, strides), writeable)


def _view_memory(memory, offset, shape, strides, dtype, writeable):
    import numpy as np

    # A bytearray that is looked into must not move.
    memory = np.frombuffer(memory, np.uint8) if len(memory) else memory
    return _finish(np.ndarray(shape, dtype, memory, offset, strides), writeable)
