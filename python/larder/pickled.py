"""The pickle of a group (see `groups`): how what arrays and frames share is written, and what puts it back.

Pickles on disk name what they call as ``larder.groups.NAME``: `LOADED` stays importable there.
"""

from __future__ import annotations

import array
import contextlib
import copyreg
import datetime
import decimal
import enum
import functools
import gc
import importlib
import mmap
import re
import sys
import types
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import PosixPath, PurePosixPath
from typing import Any, NamedTuple

from . import beyond, classes, codec, enums, libraries, named, plotted, stated, subclasses, traits
from ._larder import PrivateBuffer, Reducer, array_data, array_own, type_version
from .arrays import (
    _array_state,
    _as_dates,
    _as_masked,
    _as_permuted,
    _axes,
    _finish,
    _masked_state,
    _ndarray_type,
    _objects,
    _objects_state,
    _own,
    _read_only_state,
    _view,
    _view_memory,
    _view_objects,
)

ATOMS = (type(None), bool, int, float, complex, str, bytes)
# Whether two of these are one object or two equal ones cannot change what a program computes.
LEAVES = frozenset(
    (
        *ATOMS[:-1], range, type(...), type(NotImplemented),
        datetime.date, datetime.time, datetime.datetime, datetime.timedelta, datetime.timezone,
        decimal.Decimal, uuid.UUID, PosixPath, PurePosixPath, re.Pattern, types.CodeType,
        types.GetSetDescriptorType, types.MemberDescriptorType, types.WrapperDescriptorType,
        types.MethodDescriptorType, types.ClassMethodDescriptorType,
    )
)  # fmt: skip
"""Types whose objects never change and have no parts that do."""
UNSHARED = frozenset((*LEAVES, bytes, tuple, frozenset, types.BuiltinFunctionType, types.ModuleType))
# Pickle (or cloudpickle) would turn these into copies that no longer follow what they look into.
VIEWS = frozenset(
    (
        memoryview,
        *(type(make({})) for make in (dict.keys, dict.values, dict.items)),
        *(type(iter(make({}))) for make in (dict.keys, dict.values, dict.items)),
        *(type(reversed(make({}))) for make in (dict.keys, dict.values, dict.items)),
        *(type(make(OrderedDict())) for make in (OrderedDict.keys, OrderedDict.values, OrderedDict.items)),
        type(iter(OrderedDict())),
        type(iter(set())),
        weakref.ProxyType,
        weakref.CallableProxyType,
    )
)
OUT_OF_BAND_BYTES_MIN = 16 << 10
"""Smaller buffers are part of the stream."""


READ_ONLY_BYTES_MAX = 1 << 20
"""Read-only arrays up to this size can be made writeable again after recovery."""


class Restored(bytearray):
    """Memory of restored arrays: nobody else's, unlike a plain bytearray below an array."""


class Span(NamedTuple):
    low: int
    high: int
    root: int
    """Whose memory it is; spans of one root come back sharing it. 0: copied."""
    frame: bool
    obj: int
    name: str


_new = tuple.__new__
"""Makes one faster than its own ``__new__``, of which there are thousands in a model."""
_span = functools.partial(_new, Span)


def copies_on_write() -> bool:
    """Whether pandas hides that frames share memory: before its version 3 only if asked to."""
    pandas = sys.modules.get("pandas")
    version = getattr(pandas, "__version__", "3").partition(".")[0]
    if not version.isdigit() or int(version) >= 3:
        return True
    with contextlib.suppress(Exception):  # one that knows no such option
        return pandas.options.mode.copy_on_write is True  # type: ignore[union-attr]
    return False


def inner(frame: Any) -> tuple:
    """The objects of pandas inside a frame or series, which a program has no business with."""
    manager = frame._mgr
    return (manager, *manager.blocks)


_TYPES_MAX = 512


class OfTypes:
    """What was found out about types, kept as long as they are not changed, and nothing else that it goes by is.

    Types of the notebook are not kept: they go when nobody else has them.
    """

    def __init__(self) -> None:
        self._found: dict[type, tuple[int, Any]] = {}
        self._goes_by: Any = None

    def goes_by(self, state: Any) -> None:
        """Beside the types themselves: what is equal to what it was."""
        if state != self._goes_by:
            self._found.clear()
            self._goes_by = state

    def get(self, kind: type) -> Any:
        """``None`` if it is not known."""
        found = self._found.get(kind)
        return found[1] if found is not None and found[0] == type_version(kind) else None

    def keep(self, kind: type, found: Any) -> None:
        version = type_version(kind)
        if version and kind.__module__ != "__main__":
            if len(self._found) >= _TYPES_MAX:
                self._found.clear()
            self._found[kind] = version, found


_reduced = OfTypes()
"""How their objects are reduced."""
_plain = OfTypes()
"""`plain_instance`."""


def plain_instance(kind: type) -> bool:
    """Whether pickling an instance of ``kind`` is up to ``object``: its state is its ``__dict__``."""
    found = _plain.get(kind)
    if found is None:
        found = _plain_instance(kind)
        _plain.keep(kind, found)
    return found


def _plain_instance(kind: type) -> bool:
    return (
        kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and kind.__getstate__ is object.__getstate__
        and not hasattr(kind, "__setstate__")
    )


_pickler = None


def pickler() -> Any:
    """The class of picklers of groups."""
    global _pickler
    if _pickler is None:
        _pickler = _pickler_class()
    return _pickler


def prepare(values: Iterable[Any]) -> None:
    """Have here what forked children would else make each for itself: the pickler, and what classes are known by."""
    pickler()
    from cloudpickle import cloudpickle

    for value in values:
        kind = value if isinstance(value, type) else type(value)
        if kind.__module__ == "__main__":
            cloudpickle._get_or_create_tracker_id(kind)


def _pickler_class():
    base = codec._pickler_class()

    class GroupPickler(base):
        """Knows where arrays lie; see the module's table."""

        def __init__(self, file, buffer_callback, name, shared):
            # One plain dictionary: the pickler asks it for every type it meets, most of which are in neither of these.
            self.dispatch_table = _registered(base.dispatch_table)
            super().__init__(file, None, True, buffer_callback, [])
            _reduced.goes_by((len(sys.modules), self.dispatch_table))
            self.spans: list[Span] = []
            self.keep: list = []
            self.needs: set[str] = set()
            self.inside: dict[int, str] = {}
            self._name = name
            self._frames: set[int] = set()
            self._fresh: set[int] = set()
            self._shared_frames = shared
            self.kinds: dict[type, Any] = {}
            self._classes: dict[int, type] = {}
            self._unruled: dict[type, bool] = {}
            self._own = plotted.own().names
            self._hides = copies_on_write()
            """Pandas hides what frames share."""

        def dump_many(self, value):
            """The same as `dump`, for what holds many objects: most of them are asked about for their types alone, which
            `Reducer` answers in Rust."""
            ways, others = (_as_it_says, _dict_instance, _array), (self._frames, self._fresh)
            noted = self.spans, self.keep
            self.reducer_override = Reducer(
                self.reducer_override, self.kinds, ways, self._own, _instance_state, others, _span, noted, self._name
            )
            try:
                return self.dump(value)
            finally:
                del self.reducer_override

        def reducer_override(self, obj):
            kind = type(obj)
            place = self._own.get(id(obj))
            if place is not None:
                return plotted.reduced(place, self._made)
            plainly = self.kinds.get(kind)
            if plainly is None:
                plainly = _reduced.get(kind)
                if plainly is None:
                    plainly = self._plainly(kind)
                    if plainly and kind.__module__ == "__main__" and named.says_itself(kind):
                        plainly = functools.partial(named.or_as, plainly)
                    _reduced.keep(kind, plainly)
                self.kinds[kind] = plainly
            if plainly is _array:
                key = id(obj)
                own = array_own(obj) if key not in self._frames and key not in self._fresh else None
                if own is not None:  # its own memory, which NumPy hands out
                    self.spans.append(_new(Span, (*own, key, False, key, self._name)))
                    self.keep.append(obj)
                    return NotImplemented
                view = self._array(obj)
                return NotImplemented if view is None else view
            if plainly:
                return plainly(obj)
            if (kind is type or kind is types.FunctionType) and codec.by_import(obj):
                return NotImplemented
            if (kind is types.FunctionType or isinstance(obj, type)) and isinstance(obj.__module__, str):
                _import_home(obj.__module__)
            if kind is types.FunctionType:
                return self._function(obj)
            if kind is types.CellType:
                try:
                    contents = obj.cell_contents
                except ValueError:
                    return types.CellType, ()
                if type(contents) is dict and "__module__" in contents:
                    owner = self._classes.get(id(contents)) or _class_of_dict(contents)
                    if owner is not None:
                        contents = _ClassNamespace(owner)
                return types.CellType, (), (None, {"cell_contents": contents})
            if kind is types.MappingProxyType:
                mapping = below_proxy(obj)
                owner = _class_of_dict(mapping)
                if owner is not None:
                    raise TypeError(
                        f"cannot pickle the __dict__ of the class {owner.__name__}: it looks into the class"
                    )
                return types.MappingProxyType, (mapping,)
            if kind in VIEWS:
                raise TypeError(
                    f"cannot pickle '{kind.__name__}' object: it looks into another object and cannot come back so"
                )
            np = sys.modules.get("numpy")
            if np is not None and isinstance(obj, np.void) and obj.base is not None:
                raise TypeError("a row of a structured array, which looks into the array; a copy of it can be saved")
            home = str(kind.__module__)  # SymPy's functions say none
            if home == "pandas" or home.startswith("pandas."):
                apart = self._apart(obj)
                if apart is not None:
                    return apart
                self._note_frame(obj)
                beside = beyond.of_pandas(obj)
                if beside is not None:
                    return beside
                block = self._shared_block(obj)
                if block is not None:
                    return block
                state = stated.one_chunk(obj) if "_pa_array" in getattr(obj, "__dict__", ()) else None
                if state is not None:
                    return copyreg.__newobj__, (kind,), state
                unruled = self._unruled.get(kind)
                if unruled is None:
                    unruled = self._unruled[kind] = codec.unruled(kind)
                if unruled:
                    return self._instance(obj, kind) if kind.__reduce_ex__ is object.__reduce_ex__ else NotImplemented
            elif home.startswith("torch") and hasattr(obj, "data_ptr"):
                whole = self._tensor(obj)
                if whole is not NotImplemented:
                    return whole
            reduced = super().reducer_override(obj)
            if isinstance(obj, type):
                self._classes[id(_namespace_of(obj))] = obj
                return classes.reduced(obj, reduced)
            if home.startswith("polars."):
                return beyond.of_polars(obj, reduced)
            if reduced is NotImplemented and kind.__reduce_ex__ is object.__reduce_ex__:
                return self._instance(obj, kind)
            return reduced

        def _plainly(self, kind):
            """How an object of a type that no rule is about, or of NumPy's arrays, is reduced; false for the others."""
            if kind is getattr(sys.modules.get("numpy"), "ndarray", None):
                return _array  # not a method: what held the pickler would hold what it made of frames
            np = sys.modules.get("numpy")
            if np is not None and kind.__module__ == "numpy" and issubclass(kind, np.generic):
                return False if issubclass(kind, np.void) else _of_number(np, kind)
            if kind not in self.dispatch_table and beyond.left_out(kind):
                return beyond.reducer
            special = kind in (types.FunctionType, types.CellType, types.MappingProxyType)
            if special or kind in VIEWS or not codec.ordinary(kind):
                return False
            return libraries.reducer(kind, self._ordinarily(kind))

        def _ordinarily(self, kind):
            if isinstance(kind, enum.EnumType) and not codec.by_import(kind):
                return enums.member
            if kind not in self.dispatch_table and subclasses.base_of(kind) is not None:
                return subclasses.reducer
            if traits.observable(kind):
                return traits.reduced
            if kind not in self.dispatch_table and _made_of_arguments(kind):
                return _bare_instance
            if kind is types.GetSetDescriptorType:
                return _descriptor
            return _dict_instance if self._own_dict(kind) else _as_it_says

        def _own_dict(self, kind):
            return plain_instance(kind) and kind not in self.dispatch_table and kind.__dictoffset__ != 0

        def _instance(self, obj, kind):
            return _dict_instance(obj) if self._own_dict(kind) else NotImplemented

        def _function(self, obj):
            """A function that cannot be imported: its globals are the notebook's, its cells may be others' cells too."""
            from cloudpickle import cloudpickle

            if cloudpickle._should_pickle_by_reference(obj):
                return NotImplemented
            namespace = codec._MainNamespace()
            self.needs |= _names_used(obj.__code__)
            if obj.__globals__ is not codec.main_namespace():
                module = sys.modules.get(obj.__globals__.get("__name__"))
                if module is not None and module.__dict__ is obj.__globals__:
                    namespace = _ModuleNamespace(module.__name__)
                elif obj.__closure__:
                    raise TypeError(f"function `{obj.__qualname__}` has a closure and a namespace that no module has")
                else:
                    return super().reducer_override(obj)
            annotate = getattr(obj, "__annotate__", None)
            state = {
                "__defaults__": obj.__defaults__,
                "__kwdefaults__": obj.__kwdefaults__,
                "__doc__": obj.__doc__,
                "__module__": obj.__module__,
                "__qualname__": obj.__qualname__,
                **({"__annotate__": annotate} if annotate is not None else {"__annotations__": obj.__annotations__}),
            }
            if getattr(obj, "__type_params__", ()):
                state["__type_params__"] = obj.__type_params__
            made = (obj.__code__, namespace, obj.__name__, None, obj.__closure__)
            return types.FunctionType, made, (obj.__dict__, state), None, None, _function_state

        def _apart(self, obj):
            """A frame or series as pandas shows it: nobody else's. What it shares inside is copy on write, and a pickle of
            the arrays themselves would tie together for good what the first store takes apart."""
            pandas = sys.modules.get("pandas")
            if pandas is None or type(obj) not in (pandas.DataFrame, pandas.Series) or not self._hides:
                return None
            np = sys.modules["numpy"]
            arrays = [block.values for block in obj._mgr.blocks]
            if not all(type(part) is np.ndarray for part in arrays):
                return None
            if any(id(part) in self._shared_frames for part in arrays):
                return None
            for part in arrays:
                low, high = codec.byte_bounds(part)
                self._span(part, low, high, id(part), True)
            fresh = obj.copy(deep=False)
            # Each block is written as an array of its own, whatever it is a view of.
            self._fresh.update(id(block.values) for block in fresh._mgr.blocks)
            hidden = inner(obj)
            self.inside.update((id(part), type(obj).__name__) for part in hidden)
            self.keep += fresh, hidden
            made, arguments, state, *rest = fresh.__reduce_ex__(5)
            return made, arguments, {**state, **beyond.set_by_hand(obj)}, *rest

        def _shared_block(self, obj):
            """A block whose array has to be shared: that array, of which pandas would write a contiguous copy."""
            if not self._shared_frames or not type(obj).__module__.startswith("pandas.core.internals"):
                return None
            part = getattr(obj, "values", None)
            if id(part) not in self._shared_frames:
                return None
            made, (first, *others), *rest = obj.__reduce_ex__(5)
            return (made, (part, *others), *rest) if type(first) is type(part) else None

        def _note_frame(self, obj):
            """Arrays directly in frames, series and indexes follow copy on write; an extension array by itself does not."""
            pandas = sys.modules["pandas"]
            if type(obj) in (getattr(pandas, "DataFrame", None), getattr(pandas, "Series", None)):
                return  # their blocks have them
            if not self._hides:
                return
            if type(obj) is getattr(pandas, "RangeIndex", None) and "_data" not in getattr(obj, "_cache", ()):
                return  # asking for its array would make one
            extension = pandas.api.extensions.ExtensionArray
            if isinstance(obj, extension) and id(obj) not in self._frames:
                return
            for attribute in ("values", "_ndarray", "_data", "_mask", "_codes", "_left", "_right"):
                if attribute == "values" and not type(obj).__module__.startswith("pandas.core.internals"):
                    continue
                part = getattr(obj, attribute, None)
                if (
                    part is not None
                    and "numpy" in sys.modules
                    and isinstance(part, (sys.modules["numpy"].ndarray, extension))
                ):
                    self._frames.add(id(part))
                    self.keep.append(part)

        def _made(self, array):
            """An array that was made to be pickled is nobody's."""
            self._fresh.add(id(array))
            self.keep.append(array)

        def _span(self, obj, low, high, root, frame=False):
            self.spans.append(_new(Span, (low, high, root, frame, id(obj), self._name)))
            self.keep.append(obj)

        def _tensor(self, obj):
            """A tensor with its gradient; `NotImplemented` for what torch pickles."""
            from . import codec_torch

            if not isinstance(obj, sys.modules["torch"].Tensor):  # a storage
                low, nbytes = obj.data_ptr(), obj.nbytes
                self._span(obj, low, low + (nbytes() if callable(nbytes) else nbytes), 0)
                return NotImplemented
            why = codec_torch.why_not_again(obj)
            if why:
                raise TypeError(why)
            low, high, root = codec_torch.span(obj)
            self._span(obj, low, high, root)
            if self._storages is None:
                self._storages = codec_torch.Storages()
            return self._storages.whole(obj)

        def _masked(self, obj):
            """A masked array by the arrays it is made of, each of which others may have as well."""
            data = obj.view(_ndarray_type())
            self.keep.append(data)
            if obj.base is None:
                low, high = codec.byte_bounds(obj)
                self._span(obj, low, high, id(obj))
                self._made(data)
            state = {name: value for name, value in obj.__dict__.items() if name not in ("_mask", "_basedict")}
            mask = None if obj._mask is sys.modules["numpy"].ma.nomask else obj._mask
            kind = () if type(obj) is sys.modules["numpy"].ma.MaskedArray else (type(obj),)
            return _as_masked, (data, mask, *kind), (state, {}), None, None, beyond.set_attributes

        def _dates(self, obj):
            """Many dates as the integers they are, whose memory NumPy hands out."""
            if obj.dtype.kind not in "mM" or obj.nbytes < OUT_OF_BAND_BYTES_MIN or type(obj) is not _ndarray_type():
                return None
            if not obj.flags.writeable or not obj.flags.forc:
                return None
            numbers = obj.view("i8")
            self._made(numbers)
            return _as_dates, (numbers, obj.dtype)

        def _permuted(self, obj):
            """An array whose items lie without gaps in an order of their own, which NumPy's pickles lose and views go by."""
            if obj.flags.forc or obj.dtype.hasobject or type(obj) is not _ndarray_type():
                return None
            axes = _axes(obj)
            if axes is None:
                return None
            straight = obj.transpose(axes)
            self._made(straight)
            return _as_permuted, (straight, tuple(sorted(range(obj.ndim), key=axes.__getitem__)))

        def _locked(self, obj):
            """A read-only array that its owner may make writeable again: from one that is."""
            if obj.flags.writeable or not obj.flags.owndata or obj.dtype.hasobject or obj.nbytes > READ_ONLY_BYTES_MAX:
                return None
            if type(obj) is not _ndarray_type():
                return None
            free = obj.copy(order="K")
            self._made(free)
            return _finish, (free, False)

        def _array(self, obj):
            np = sys.modules.get("numpy")
            if np is None or not isinstance(obj, np.ndarray):
                return None
            if id(obj) in self._fresh:
                return _objects(obj)
            if obj.base is None and not obj.flags.forc:
                low, high = codec.byte_bounds(obj)
                if high - low < obj.nbytes:
                    raise TypeError(
                        "an array whose items lie over one another, for its strides were set; a copy of it can be saved"
                    )
            if beyond.only_masked(type(obj)):
                return self._masked(obj)
            low, high = codec.byte_bounds(obj)
            if id(obj) in self._frames and id(obj) not in self._shared_frames:
                self._span(obj, low, high, id(obj), True)
                return self._dates(obj) or _objects(obj)
            frame = id(obj) in self._frames
            root, memory = obj, None
            while True:
                if isinstance(root.base, np.ndarray):
                    root = root.base
                    continue
                below = root.base.obj if isinstance(root.base, memoryview) else root.base
                if type(below).__name__ == "DummyArray":
                    below = below.base  # what `as_strided` puts between
                if isinstance(below, np.ndarray):
                    root = below
                    continue
                if isinstance(below, mmap.mmap):
                    raise TypeError("an array over a mapped file; open the file again after recovery")
                if type(below) in (bytearray, array.array):
                    memory = below
                break
            if root is not obj and type(obj) is not np.ndarray and beyond.only_memory(type(obj)):
                inside = obj.view(np.ndarray)
                self.keep.append(inside)
                return beyond.of_subarray(obj, inside)
            if memory is not None:
                offset = array_data(obj) - array_data(np.frombuffer(memory, np.uint8))
                if type(obj) is not np.ndarray:  # and looks into no array
                    what = f"a {type(obj).__name__} over the memory of a {type(memory).__name__}"
                    raise TypeError(f"{what}, which could not be shared again; a copy of it can be saved")
                self._span(obj, low, high, id(memory), frame)
                return _view_memory, (memory, offset, obj.shape, obj.strides, obj.dtype, obj.flags.writeable)
            if root is obj:
                foreign = obj.base is not None and not isinstance(below, (Restored, bytes, PrivateBuffer))
                self._span(obj, low, high, 0 if foreign else id(obj), frame)
                return self._dates(obj) or self._locked(obj) or self._permuted(obj) or _own(obj)
            if root.dtype.hasobject and not obj.dtype.hasobject:
                raise TypeError(
                    "an array over the pointers of an array of objects; they mean nothing in another process"
                )
            offset = array_data(obj) - array_data(root)
            fits = type(obj) is np.ndarray and 0 <= offset <= max(root.nbytes - obj.itemsize, 0)
            fits = fits and (root.flags.forc or (not root.dtype.hasobject and _axes(root) is not None))
            if obj.dtype.hasobject or root.dtype.hasobject:
                fits = fits and obj.dtype == root.dtype and root.itemsize and offset % root.itemsize == 0
            if not fits or (obj.flags.writeable and not root.flags.writeable):
                self._span(obj, low, high, 0)
                return _own(obj)
            self._span(obj, low, high, id(root), frame)
            make = _view_objects if obj.dtype.hasobject else _view
            return make, (root, offset, obj.shape, obj.strides, obj.dtype, obj.flags.writeable)

    return GroupPickler


def _registered(table):
    """What cloudpickle looks up in a chain of dictionaries, the first of which has the last word."""
    found: dict = {}
    for one in reversed(getattr(table, "maps", (table,))):
        found.update(one)
    return found


def below_proxy(proxy):
    """What a mapping proxy shows."""
    return gc.get_referents(proxy)[0]


def _class_of_dict(mapping):
    """The class whose namespace this is; ``None`` if it is no class's."""
    for one in gc.get_referrers(mapping) if type(mapping) is dict else ():
        if isinstance(one, type) and _namespace_of(one) is mapping:
            return one
    return None


def _namespace_of(kind):
    """The very dictionary that a class has its attributes in."""
    return below_proxy(type.__dict__["__dict__"].__get__(kind))


_array = object()
"""Stands for the pickler's own way to reduce arrays."""


def _as_it_says(obj):
    return NotImplemented


def _of_number(np, kind):
    """How a scalar of NumPy is reduced: as its type and the number, in a fifth of the time that its own way takes."""
    number = next(
        (number for of, number in zip((np.bool_, np.integer), (bool, int), strict=True) if issubclass(kind, of)), None
    )
    if kind in (np.float16, np.float32, np.float64):
        number = float
    if number is None or issubclass(kind, np.timedelta64) or getattr(np, kind.__name__, None) is not kind:
        return _as_it_says
    return lambda obj: (kind, (number(obj),))


def _descriptor(obj):
    """One that is not what its class gives by its name: ``C.__dict__["__dict__"]`` would come back as ``C.__dict__``."""
    owner, name = obj.__objclass__, obj.__name__
    return NotImplemented if getattr(owner, name, None) is obj else (_named_in, (owner, name))


def _named_in(owner, name):
    return owner.__dict__[name]


def _dict_instance(obj):
    """An instance whose state is its ``__dict__``: it comes back with that very dict, which may have other names."""
    reduced = obj.__reduce_ex__(5)
    if len(reduced) > 2 and reduced[2] is obj.__dict__:
        return (*reduced[:3], *(*reduced[3:], None, None)[:2], _instance_state)
    return reduced


def _made_of_arguments(kind):
    """Whether the ``__new__`` of a class asks for arguments that its pickles do not have: they could not be read."""
    new = kind.__new__
    if type(new) is not types.FunctionType or hasattr(kind, "__getnewargs_ex__") or hasattr(kind, "__getnewargs__"):
        return False
    if kind.__reduce_ex__ is not object.__reduce_ex__ or kind.__reduce__ is not object.__reduce__:
        return False
    needed = new.__code__.co_argcount - len(new.__defaults__ or ())
    return needed > 1 or new.__code__.co_kwonlyargcount > len(new.__kwdefaults__ or ())


def _bare_instance(obj):
    made, arguments, *rest = reduced = obj.__reduce_ex__(5)
    if made is not copyreg.__newobj__ or len(arguments) != 1:
        return reduced
    if rest and rest[0] is getattr(obj, "__dict__", rest) and type(obj).__getstate__ is object.__getstate__:
        if not hasattr(type(obj), "__setstate__"):
            return named.bare, arguments, rest[0], None, None, _instance_state
    return named.bare, arguments, *rest


def _import_home(module):
    """Import where a class says it is from (``numpy.rec``): unless that is loaded, cloudpickle makes another class of it."""
    if module not in sys.modules and module.partition(".")[0] in sys.modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


class _ModuleNamespace:
    """Stands for the namespace of an imported module inside a pickle."""

    def __init__(self, name):
        self._name = name

    def __reduce__(self):
        return _module_namespace, (self._name,)


class _ClassNamespace:
    """Stands for the namespace of a class inside a pickle: annotations and aliases that are evaluated late look into it."""

    def __init__(self, kind):
        self._kind = kind

    def __reduce__(self):
        return _namespace_of, (self._kind,)


def _module_namespace(name):
    return importlib.import_module(name).__dict__


def _names_used(code):
    """Globals a function may look up, those of functions inside it too."""
    found = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= _names_used(const)
    return found


def _instance_state(obj, state):
    object.__setattr__(obj, "__dict__", state)


def _function_state(function, state):
    own, attributes = state
    function.__dict__ = own
    for name, value in attributes.items():
        setattr(function, name, value)


LOADED = (
    Restored, _module_namespace, _instance_state, _function_state, _as_dates, _as_permuted, _as_masked, _masked_state,
    _array_state, _objects_state, _finish, _read_only_state, _view, _view_objects, _view_memory, *beyond.LOADED,
)  # fmt: skip
"""What pickles name."""
for _one in LOADED:
    _one.__module__ = "larder.groups"
