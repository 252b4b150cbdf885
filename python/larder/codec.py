"""How values become records of a shelf, and back.

A record is ``(kind, meta, buffers)``: ``meta`` is small and lives in the catalog, ``buffers`` are extents of the heap that
are mapped, not copied, when the value is read.

========== ======================================================== =======================
kind       meta                                                     buffers
========== ======================================================== =======================
none       empty                                                    none
bool       one byte                                                 none
int        little-endian two's complement, any size                 none, or the bytes
float      IEEE 754 binary64                                        none
complex    two of them                                              none
str        UTF-8 with surrogates passed, or empty                   none, or the text
bytes      the bytes, or empty (also bytearray)                     none, or the bytes
ndarray    JSON: dtype description, shape, order                    the elements
tensor     JSON: dtype, shape, requires_grad                        the elements
pickle     JSON header, NUL, the stream unless it is long           [stream,] PEP 574 buffers
========== ======================================================== =======================

Everything but ``pickle`` can be read from a shelf one does not trust.
"""

from __future__ import annotations

import ast
import copyreg
import enum
import functools
import io
import json
import pickle
import struct
import sys
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import classes, enums, hashed, named, offenders, plain
from ._larder import array_data

INLINE_BYTES_MAX = 32 << 10
"""What is no longer than this lives in the catalog; longer values get an extent."""

# Out-of-band buffers below this stay in the pickle stream: an extent is at least a page.
_OUT_OF_BAND_BYTES_MIN = 16 << 10


Record = tuple[str, bytes, list]
"""Kind, meta, buffers: one value, ready for the heap."""


def encode(value: Any, name: str, shelf: Any = None) -> Record:
    """``value`` as a record; arrays of ``shelf`` inside containers become references by name.

    Raises ``TypeError`` naming the part that cannot be shelved, e.g. ``x.model.lock: _thread.lock``.
    """
    kind = type(value)
    make = ATOMS.get(kind)
    if make is not None:
        return make(value)
    if kind.__module__ in ("numpy", "larder.types") and _is_plain_array(value):
        return _encode_array(value)
    if kind.__module__ == "torch" and "torch" in sys.modules:
        from . import codec_torch

        if codec_torch.is_plain(value):
            return codec_torch.encode(value)
    return encode_pickle(value, name, shelf)


def decode(kind: str, meta: bytes, buffers: Sequence, *, shelf: Any = None, name: str = "", trust: bool = True) -> Any:
    """The value of a record; arrays view ``buffers``. Raises ``ShelfError`` for kinds this larder does not know."""
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(buffers[0].read() if buffers else meta)
    if kind == "ndarray":
        return _decode_array(meta, buffers, shelf, name)
    from .errors import ShelfError

    if kind == "tensor":
        return _torch(name).decode(meta, buffers, shelf, name)
    if kind == "pickle":
        if not trust:
            raise ShelfError(
                f"`{name}` is a pickled object, and reading it runs code from the shelf; open the shelf with "
                "trust=True if you trust where it comes from"
            )
        return decode_pickle(meta, buffers, shelf)
    raise ShelfError(f"`{name}` is of kind `{kind}`, which this version of larder does not know; update larder")


# --- atoms ---


def _sized(kind: str) -> Callable[[bytes], Record]:
    def make(data: bytes) -> Record:
        return (kind, data, []) if len(data) <= INLINE_BYTES_MAX else (kind, b"", [data])

    return make


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


ATOMS: dict[type, Callable[[Any], Record]] = {
    type(None): lambda value: ("none", b"", []),
    bool: lambda value: ("bool", b"\1" if value else b"\0", []),
    int: lambda value: _sized("int")(_int_bytes(value)),
    float: lambda value: ("float", struct.pack("<d", value), []),
    complex: lambda value: ("complex", struct.pack("<dd", value.real, value.imag), []),
    str: lambda value: _sized("str")(value.encode("utf-8", "surrogatepass")),
    bytes: lambda value: _sized("bytes")(value),
    bytearray: lambda value: _sized("bytearray")(bytes(value)),
}

_READERS: dict[str, Callable[[bytes], Any]] = {
    "none": lambda data: None,
    "bool": lambda data: data == b"\1",
    "int": lambda data: int.from_bytes(data, "little", signed=True),
    "float": lambda data: struct.unpack("<d", data)[0],
    "complex": lambda data: complex(*struct.unpack("<dd", data)),
    "str": lambda data: data.decode("utf-8", "surrogatepass"),
    "bytes": lambda data: data,
    "bytearray": bytearray,
}


# --- arrays ---


def _is_plain_array(value: Any) -> bool:
    import numpy as np

    return type(value) in (np.ndarray, _shelf_array()) and array_dtype_fits(value.dtype)


@functools.cache
def _shelf_array() -> type:
    from .types import ShelfArray

    return ShelfArray


@functools.lru_cache(1024)
def array_dtype_fits(dtype: Any) -> bool:
    """Whether elements of ``dtype`` are plain bytes that a description can name (no objects, no pointers)."""
    import numpy as np

    if dtype.hasobject or dtype.kind not in "biufcmMSUV":
        return False
    try:
        return np.lib.format.descr_to_dtype(_plain(np.lib.format.dtype_to_descr(dtype))) == dtype
    except (ValueError, TypeError, SyntaxError):
        return False


def _plain(descr: Any) -> Any:
    return ast.literal_eval(repr(descr))


@functools.lru_cache(1024)
def _descr(dtype: Any) -> str:
    import numpy as np

    return json.dumps(repr(np.lib.format.dtype_to_descr(dtype)))


def array_meta(dtype: Any, shape: Sequence[int], order: str) -> bytes:
    """The ``meta`` of an ndarray record, JSON."""
    return f'{{"descr": {_descr(dtype)}, "shape": {list(shape)}, "order": "{order}"}}'.encode()


@functools.lru_cache(1024)
def _layout(meta: bytes) -> tuple[tuple[int, ...], Any, str]:
    """Shape, dtype and order from the ``meta`` of an ndarray record."""
    import numpy as np

    head = json.loads(meta)
    return tuple(head["shape"]), np.lib.format.descr_to_dtype(ast.literal_eval(head["descr"])), head["order"]


def byte_bounds(array: Any) -> tuple[int, int]:
    """Where the memory an array covers begins and ends."""
    if array.flags.forc:
        low = array_data(array)
        return low, low + array.nbytes
    import numpy as np

    return (np.lib.array_utils if hasattr(np.lib, "array_utils") else np).byte_bounds(array)  # NumPy 2, NumPy 1


def _encode_array(value: Any) -> Record:
    import numpy as np

    flags = value.flags
    fortran = flags.f_contiguous and not flags.c_contiguous
    meta = array_meta(value.dtype, value.shape, "F" if fortran else "C")
    if not value.nbytes:
        return ("ndarray", meta, [])
    flat = np.asarray(value).T if fortran else np.ascontiguousarray(np.asarray(value))
    return ("ndarray", meta, [flat.reshape(-1).view(np.uint8).data])


def _decode_array(meta: bytes, buffers: Sequence, shelf: Any, name: str) -> Any:
    shape, dtype, order = _layout(meta)
    if not buffers:
        import numpy as np

        return np.empty(shape, dtype)
    return _shelf_array().over(shape, dtype, buffers[0], order, shelf, name)


def _torch(name: str) -> Any:
    try:
        from . import codec_torch
    except ImportError as err:
        from .errors import ShelfError

        raise ShelfError(f"`{name}` is a torch tensor, and torch cannot be imported here: {err}") from err
    return codec_torch


# --- pickles ---

_loading = threading.local()


def _shelved(name: str) -> Any:
    """Called while unpickling: the shelved object that a container refers to."""
    shelf = getattr(_loading, "shelf", None)
    if shelf is None:
        raise pickle.UnpicklingError(f"a reference to the shelved variable `{name}` can only be read from its shelf")
    try:
        return shelf[name]
    except KeyError:
        from .errors import ShelfError

        raise ShelfError(
            f"this value refers to the shelved variable `{name}`, which is no longer on the shelf; put it back, or "
            f"`shelf.checkout` a commit that has it"
        ) from None


def main_namespace() -> dict[str, Any]:
    """The namespace cells run in: what functions defined in cells have as globals."""
    return sys.modules["__main__"].__dict__


class _MainNamespace:
    """Stands for :func:`main_namespace` inside a pickle."""

    def __reduce__(self):
        return main_namespace, ()


def _pickler_class():
    import cloudpickle

    class ShelfPickler(cloudpickle.Pickler):
        """Pickle 5 with three rules of larder's: see ``reducer_override``."""

        def __init__(self, file, shelf, bind_main, buffer_callback, ranges=None):
            super().__init__(file, protocol=5, buffer_callback=buffer_callback)
            self._shelf = shelf
            self._bind_main = bind_main
            self._ranges = ranges
            self._replaces = ""
            self._storages = None
            self.types: set[type] = set()
            """Of what it was asked about."""

        def reducer_override(self, obj):
            self.types.add(type(obj))
            if isinstance(obj, IO) and not isinstance(obj, (io.BytesIO, io.StringIO)):
                raise TypeError(f"cannot pickle {type(obj).__module__}.{type(obj).__qualname__} (an open file)")
            if isinstance(obj, type) and not _made_in_python(obj) and not _has_name(obj):
                raise TypeError(
                    f"cannot pickle the type {obj.__qualname__!r}: it is C code, and no module has it by name"
                )
            if isinstance(obj, CACHED) and not importable(obj):
                # By itself it is pickled as the name of itself, which nobody has until it is back.
                parameters = obj.cache_parameters()
                return _cached, (obj.__wrapped__, parameters["maxsize"], parameters["typed"]), obj.__dict__
            if named.concerns(type(obj)):
                said = named.reduced(obj)
                if said is not NotImplemented:
                    return said
            if isinstance(type(obj), enum.EnumType) and not by_import(type(obj)):
                return enums.member(obj)
            if LOCKED and isinstance(obj, functools.cached_property):
                state = {name: value for name, value in obj.__dict__.items() if name != "lock"}
                return copyreg.__newobj__, (type(obj),), state, None, None, _property_back
            owner, name = owned_by(obj) or (None, "")
            if owner is not None and owner is self._shelf and name != self._replaces:
                return _shelved, (name,)
            if self._ranges is not None:
                if owner is not None:
                    return _from_shelf, (owner, name)
                view = self._array(obj)
                if view is not None:
                    return view
            reduced = self._library(obj)
            if reduced is not NotImplemented:
                return reduced
            reduced = super().reducer_override(obj)
            if isinstance(obj, type) and isinstance(reduced, tuple) and not self._bind_main:
                return classes.evaluated(obj, reduced)
            if (
                self._bind_main
                and reduced is not NotImplemented
                and isinstance(obj, types.FunctionType)
                and obj.__globals__ is main_namespace()
                and reduced[0] is types.FunctionType
            ):
                # The function's globals are the notebook's own, now and after recovery, not a copy taken today.
                code, _, *rest = reduced[1]
                state, slots = reduced[2]
                slots = {**slots, "__globals__": {}}
                return (reduced[0], (code, _MainNamespace(), *rest), (state, slots), *reduced[3:])
            return reduced

        def _library(self, obj):
            """What libraries keep in memory of their own, as buffers out of band; ``NotImplemented`` for the rest."""
            home = str(type(obj).__module__).partition(".")[0]
            if home == "polars":
                from . import codec_polars

                return codec_polars.reduce(obj)
            if home == "torch" or type(obj).__module__ == "larder.codec_torch":
                from . import codec_torch

                if self._storages is None:
                    self._storages = codec_torch.Storages()
                return self._storages.reduce(obj)
            return NotImplemented

        def _array(self, obj):
            """How a view is written: as its base array and where in it; ``None`` for everything else."""
            np = sys.modules.get("numpy")
            if np is None or not isinstance(obj, np.ndarray) or obj.dtype.hasobject:
                return None
            low, high = byte_bounds(obj)
            self._ranges.append((low, high - low))
            base = obj
            while isinstance(base.base, np.ndarray):
                base = base.base
            if base is obj or type(obj) is not np.ndarray or base.dtype.hasobject or not base.flags.forc:
                return None
            if obj.dtype.names is not None or not array_dtype_fits(obj.dtype):
                return None
            offset = array_data(obj) - array_data(base)
            if base.flags.writeable != obj.flags.writeable or offset < 0:
                return None
            return _view, (base, offset, obj.shape, obj.strides, obj.dtype)

    return ShelfPickler


def nobodys(kind: type) -> bool:
    """Whether pandas and Cython have objects of this type for everyone: what never changes, or is pickled as a name."""
    if kind.__name__ == "cython_function_or_method":
        return True
    extensions = getattr(getattr(sys.modules.get("pandas"), "api", None), "extensions", None)
    return (
        extensions is not None and issubclass(kind, extensions.ExtensionDtype) and kind.__module__.startswith("pandas")
    )


IO: type = io.IOBase.__base__
"""What all files derive from: unlike `io.IOBase` it is asked for at once, without a search of all classes of files."""
CACHED: type = type(functools.lru_cache(lambda: None))
"""What ``functools.lru_cache`` and ``functools.cache`` make of a function."""


LOCKED = "lock" in vars(functools.cached_property(len))
"""Whether a ``functools.cached_property`` has a lock, as on CPython 3.11: it cannot be pickled, and nobody misses it."""


def _property_back(one: Any, state: dict[str, Any]) -> None:
    vars(one).update(vars(functools.cached_property(len)) | state)


def importable(function: Any) -> bool:
    """Whether a function can be pickled as the name a module has it by."""
    from cloudpickle import cloudpickle

    return cloudpickle._lookup_module_and_qualname(function) is not None


def _cached(function: Any, maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def ordinary(kind: type) -> bool:
    """Whether the picklers here have nothing to say of objects of this type (a class, an open file, an array, ...)."""
    return unruled(kind) and kind.__module__.partition(".")[0] not in ("larder", "pandas", "polars", "torch")


def unruled(kind: type) -> bool:
    """The same, but for what they say of the objects of some libraries."""
    if not isinstance(kind.__module__, str) or issubclass(kind, (type, IO, types.FunctionType, CACHED)):
        return False
    if (LOCKED and issubclass(kind, functools.cached_property)) or kind in named.SPECIAL:
        return False
    np = sys.modules.get("numpy")
    if np is not None and issubclass(kind, (np.ndarray, np.generic)):
        return False
    return not hasattr(kind, "_larder_owner")


def by_import(one: Any) -> bool:
    """Whether a class or function is what a module has by its name, and is pickled as that; false: that has to be asked."""
    home, name = one.__module__, one.__qualname__
    module = sys.modules.get(home) if isinstance(home, str) else None
    if type(module) is not types.ModuleType or home == "__main__" or module.__dict__.get(name) is not one:
        return False
    from cloudpickle import cloudpickle

    if getattr(cloudpickle, "_PICKLE_BY_VALUE_MODULES", True) or home.partition(".")[0] == "larder":
        return False
    return one.__name__ == name and one not in cloudpickle._BUILTIN_TYPE_NAMES


def _made_in_python(kind: type) -> bool:
    """Whether a class was made by a ``class`` statement or ``type()``, and can be again."""
    heap_type, immutable_type = 1 << 9, 1 << 8
    return bool(kind.__flags__ & heap_type) and not kind.__flags__ & immutable_type


def _has_name(kind: type) -> bool:
    """Whether ``kind`` is pickled as a name to import it by."""
    from cloudpickle import cloudpickle

    special = (type(None), type(NotImplemented), type(...))
    return kind in special or kind in cloudpickle._BUILTIN_TYPE_NAMES or cloudpickle._should_pickle_by_reference(kind)


def _view(base, offset, shape, strides, dtype):
    import numpy as np

    flat = base.reshape(-1, order="A").view(np.uint8) if base.nbytes else base.view(np.uint8)
    return np.ndarray(shape, dtype, flat, offset, strides)


def _from_shelf(shelf, name):
    return shelf[name]


def owned_by(obj: Any) -> tuple[Any, str] | None:
    """The open shelf, and the name there, of the variable that the array or tensor ``obj`` is at this moment."""
    if type(obj).__module__ == "torch" and "larder.codec_torch" in sys.modules:
        return sys.modules["larder.codec_torch"].owned_by(obj)
    if not hasattr(type(obj), "_larder_owner"):
        return None  # asked of the type: what a frame has not, it looks for among its columns
    owner = obj._larder_owner
    shelf = owner() if owner is not None else None
    if shelf is None or shelf.closed or shelf._snapshot is not None or obj._larder_name not in shelf:
        return None
    now = shelf[obj._larder_name]
    mine, there = obj.__array_interface__, getattr(now, "__array_interface__", None)
    same = there is not None and all(mine[k] == there[k] for k in ("data", "shape", "strides", "typestr"))
    return (shelf, obj._larder_name) if same else None


_pickler = None


class Dumped(NamedTuple):
    stream: bytes
    buffers: list[memoryview]
    hashed: bool
    """Objects in it hash themselves (see `hashed`)."""


def dump(value: Any, shelf: Any = None, name: str = "") -> Dumped:
    """Pickle protocol 5 with large buffers out of band.

    Variables of ``shelf`` become references, but not ``name``, which the value is about to replace.
    """
    global _pickler
    found = plain.dumps(value)
    if found is not None:
        return Dumped(found[0], [], False)
    if _pickler is None:
        _pickler = _pickler_class()
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _OUT_OF_BAND_BYTES_MIN:
            return True
        buffers.append(raw)
        return False

    out = io.BytesIO()
    pickler = _pickler(out, shelf, False, take)
    pickler._replaces = name
    pickler.dump(value)
    return Dumped(out.getvalue(), buffers, hashed.hash_themselves(pickler.types))


def encode_pickle(value: Any, name: str, shelf: Any = None) -> Record:
    """``value`` as a pickle record whatever its type."""
    try:
        dumped = dump(value, shelf, name)
    except RecursionError:
        raise TypeError(f"cannot put `{name}` on a shelf: it is nested too deeply") from None
    except Exception as err:
        path, part, why = offenders.find(value, name, err, dump)
        raise TypeError(f"cannot put `{name}` on a shelf: {path}: {_type_name(part)} ({why})") from err
    return pack(dumped, value)


def pack(dumped: Dumped, value: Any) -> Record:
    """A pickle record from what :func:`dump` gave."""
    inline = len(dumped.stream) <= INLINE_BYTES_MAX
    about = {"type": _type_name(value), "inline": inline} | ({"hashed": True} if dumped.hashed else {})
    head = json.dumps(about).encode() + b"\0"
    if inline:
        return ("pickle", head + dumped.stream, dumped.buffers)
    return ("pickle", head, [dumped.stream, *dumped.buffers])


def decode_pickle(meta: bytes, buffers: Sequence, shelf: Any = None) -> Any:
    """The value of a pickle record; its buffers are viewed, not copied."""
    head, _, stream = meta.partition(b"\0")
    loads = hashed.loads if b'"hashed"' in head and json.loads(head).get("hashed") else pickle.loads
    if buffers:
        buffers = [memoryview(buffer) for buffer in buffers]
        if not json.loads(head)["inline"]:
            stream, buffers = buffers[0], buffers[1:]
    before = getattr(_loading, "shelf", None)
    _loading.shelf = shelf
    try:
        if type(stream) is bytes and b"skeleton" not in stream:  # no class of a notebook
            return loads(stream, buffers=buffers)
        with classes.loading(lambda kind: False):
            return loads(stream, buffers=buffers)
    finally:
        _loading.shelf = before


def kind_text(kind: str, meta: bytes) -> str:
    """What ``%shelf ls`` shows: ``ndarray float64 (3, 4)``, ``DataFrame``, ``int``."""
    if kind == "ndarray":
        head = json.loads(meta)
        descr = ast.literal_eval(head["descr"])
        if isinstance(descr, str):
            import numpy as np

            descr = np.dtype(descr).name
        else:
            descr = "structured"
        return f"ndarray {descr} {tuple(head['shape'])}"
    if kind == "tensor":
        head = json.loads(meta)
        return f"tensor {head['dtype']} {tuple(head['shape'])}"
    if kind == "pickle":
        return json.loads(meta.partition(b"\0")[0])["type"]
    return kind


def _type_name(value: Any) -> str:
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
