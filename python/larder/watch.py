"""How objects are walked to see whether they changed since they were saved (``core/cpython/src/walk.rs`` does the walking).

`classify` names a walk for a type whose instances are fully known, or gives a function that describes one: ``(bytes, parts,
weak)`` says everything its pickle depends on. ``bytes`` are compared by content, ``parts`` are walked (tuples among them are
made for the occasion), ``weak`` are objects that never change and are the same as long as they live. A fourth item names
objects inside whose content is said already, and which others may reach some other way. A rule has to be complete:
whatever can change in the object and shows in its pickle must be in what is said. So there are few.

For all other objects the walk asks what pickle asks, ``__reduce_ex__`` or what is registered in its place, and walks the
answer: what pickle would see is what is said. What that fails for, and what our pickler treats in a way of its own, is
*opaque*: the variable that reaches it is serialised again after every cell, and compared then.
"""

from __future__ import annotations

import array
import collections
import copyreg
import functools
import importlib
import io
import pickle
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from . import beyond, libraries, named, pickled, stated, subclasses, traits
from ._larder import Contents, PrivateBuffer, digest
from .codec import CACHED, IO, importable, main_namespace

Said = tuple[bytes, tuple, tuple] | tuple[bytes, tuple, tuple, tuple]

_HEAP_TYPE = 1 << 9
_PLAIN: dict[type, Any] = {
    list: "list",
    tuple: "tuple",
    dict: "dict",
    set: "set",
    frozenset: "frozenset",
    bytes: "bytes",
    bytearray: "bytearray",
    types.MethodType: "method",
}


How = str | Callable[[Any], Said | None] | tuple[str, Callable]


def classify(kind: type) -> How | tuple[dict[str, str], How]:
    """How instances of ``kind`` are walked."""
    if kind in pickled.LEAVES or named.members(kind):
        return "leaf"
    found = _PLAIN.get(kind) or _DESCRIBED.get(kind)
    if found is not None:
        return found
    home = kind.__module__ if isinstance(kind.__module__, str) else ""
    root = home.partition(".")[0]
    np = sys.modules.get("numpy")
    if np is not None:
        if kind is np.ndarray:
            return "array"
        if root == "numpy":
            return _of_numpy(np, kind)
    if root == "pandas" and "pandas" in sys.modules:
        return _of_pandas(sys.modules["pandas"], kind)
    if issubclass(kind, type):
        return "named", _other_class
    if kind.__bases__ == (tuple,) and hasattr(kind, "_fields") and _plain(kind, tuple):
        return _named_tuple
    if issubclass(kind, dict) and _container(kind, dict, ("items", "__iter__", "keys")):
        return _dict_like
    if issubclass(kind, list) and _container(kind, list, ("__iter__",)):
        return _list_like
    if kind.__name__ == "CallbackRegistry" and kind.__module__ == "matplotlib.cbook":
        return {"callbacks": "empty", "_func_cid_map": "nothing", "_cid_gen": "nothing"}, _callbacks
    if subclasses.base_of(kind) is not None:
        return subclasses.said
    if root == "sklearn" and kind.__name__ == "Tree" and stated.tree(kind):
        return "tree"
    return "instance" if _instance(kind) else _reduced(kind, root)


class Registries:
    """Whether what `classify` goes by, beside the types themselves, has changed since it was asked last."""

    def __init__(self) -> None:
        self._seen: tuple = ()
        self._tables = Contents()

    def __call__(self) -> bool:
        pickler = getattr(sys.modules.get("cloudpickle"), "Pickler", None)
        table = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
        now = len(sys.modules), pickled.copies_on_write()
        before, self._seen = self._seen, now
        tables = (*getattr(table, "maps", (table,)), copyreg.dispatch_table)
        tables = tuple(one if isinstance(one, dict) else dict(one) for one in tables)
        return bool(self._tables.differ([tables])) or now != before


def _reduced(kind: type, root: str) -> How | tuple[dict[str, str], How]:
    """What pickle asks an object of a type without a rule for."""
    if kind in pickled.VIEWS or root in ("torch", "polars"):
        return "opaque"
    if libraries.unchanging(kind):
        return libraries.by_itself
    if libraries.is_jitted(kind):
        return "reduce", libraries.jitted
    if issubclass(kind, IO) and not issubclass(kind, (io.BytesIO, io.StringIO)):
        return "opaque"
    if traits.observable(kind):
        return "reduce", traits.reduced
    from cloudpickle import Pickler

    registered = Pickler.dispatch_table.get(kind)
    if registered is not None:
        return "reduce", registered
    np = sys.modules.get("numpy")
    if beyond.left_out(kind):
        return "reduce", beyond.reducer
    if np is not None and issubclass(kind, np.generic):
        return "opaque"
    if np is not None and issubclass(kind, np.ndarray):
        if beyond.only_memory(kind):
            return _subarray
        return _masked if beyond.only_masked(kind) else "subarray"
    own = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__ and _getattr(kind)
    if own and kind.__getstate__ is not object.__getstate__ and not issubclass(kind, (list, dict)):
        asked = ("__getnewargs__", "__getnewargs_ex__", "__getattr__")
        if not any(hasattr(kind, name) for name in asked):
            own = stated.of_matplotlib(kind) if root == "matplotlib" else None
            return (own, "state") if own is not None else "state"
    return "reduce"


def _plain(kind: type, base: type) -> bool:
    """Whether nothing of how ``base`` is pickled was changed."""
    return kind.__reduce_ex__ is base.__reduce_ex__ and kind.__reduce__ is base.__reduce__ and _getattr(kind, base)


def _getattr(kind: type, base: type = object) -> bool:
    return kind.__getattribute__ is base.__getattribute__ and kind not in copyreg.dispatch_table


def _instance(kind: type) -> bool:
    """Whether an instance is its ``__dict__`` and its class, and is pickled as that."""
    if not kind.__flags__ & _HEAP_TYPE or kind.__dictoffset__ == 0 or not _getattr(kind):
        return False
    if hasattr(kind, "__getnewargs__") or hasattr(kind, "__getnewargs_ex__"):
        return False
    for one in kind.__mro__[:-1]:
        if not one.__flags__ & _HEAP_TYPE or set(_slots(one)) - {"__dict__", "__weakref__"}:
            return False
    return pickled.plain_instance(kind) or _estimator(kind)


def _slots(kind: type) -> tuple:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _estimator(kind: type) -> bool:
    """scikit-learn's own: its state is its ``__dict__`` and the version."""
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    return (
        base is not None
        and issubclass(kind, base)
        and kind.__getstate__ is base.__getstate__
        and kind.__setstate__ is base.__setstate__
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
    )


def _container(kind: type, base: type, methods: tuple[str, ...]) -> bool:
    """A subclass made in Python that is pickled as its class, its items and its ``__dict__``."""
    if kind.__bases__ != (base,) or not _plain(kind, base) or set(_slots(kind)):
        return False
    same = all(getattr(kind, name) is getattr(base, name) for name in methods)
    return same and kind.__getstate__ is object.__getstate__ and not hasattr(kind, "__setstate__")


def by_reference(obj: Any) -> bool:
    """Whether a class or function is pickled as the name it is imported by."""
    if getattr(obj, "__module__", None) == "__main__":
        return False
    cloudpickle = sys.modules.get("cloudpickle.cloudpickle") or importlib.import_module("cloudpickle.cloudpickle")
    if isinstance(obj, type) and not getattr(cloudpickle, "_PICKLE_BY_VALUE_MODULES", True):
        module, name = sys.modules.get(obj.__module__), obj.__name__
        if type(module) is types.ModuleType and name == obj.__qualname__:
            return module.__dict__.get(name) is obj or cloudpickle._should_pickle_by_reference(obj)
    return cloudpickle._should_pickle_by_reference(obj)


# --- Python's own ---


def _class(kind: type) -> Said | None:
    if by_reference(kind):
        return b"", (), (kind,)
    items: list = []
    for item in vars(kind).items():
        if item[0] not in ("__dict__", "__weakref__"):
            items += item
    return f"{kind.__module__}\0{kind.__qualname__}\0{kind.__name__}".encode(), (kind.__bases__, tuple(items)), ()


def _other_class(kind: type) -> Said | None:
    """Metaclasses keep what they like; a class that is imported by name does not matter."""
    return (b"", (), (kind,)) if by_reference(kind) else None


def _function(f: types.FunctionType) -> Said | None:
    if by_reference(f):
        return b"", (), (f,)
    home, named = b"", ()
    if f.__globals__ is not main_namespace():
        name = f.__globals__.get("__name__")
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None and module.__dict__ is f.__globals__:
            home = name.encode()
        elif f.__closure__:
            return None  # not saved
        else:
            home, named = b"\0", _globals_used(f)
    annotations = getattr(f, "__annotate__", None) or (f.__annotations__ if sys.version_info < (3, 14) else None)
    parts = (
        f.__code__, f.__defaults__, f.__kwdefaults__, f.__dict__, f.__closure__ or (), f.__name__, f.__qualname__,
        f.__module__, f.__doc__, annotations, getattr(f, "__type_params__", ()), named,
    )  # fmt: skip
    return home, parts, ()


def _globals_used(f: types.FunctionType) -> tuple:
    """What cloudpickle saves of a namespace that no module has, such as those that namedtuples and attrs make functions in."""
    from cloudpickle.cloudpickle import _extract_code_globals

    names = dict.fromkeys(("__package__", "__name__", "__path__", "__file__")) | _extract_code_globals(f.__code__)
    return tuple(part for name in names if name in f.__globals__ for part in (name, f.__globals__[name]))


def _cell(cell: types.CellType) -> Said:
    try:
        return b"full", (cell.cell_contents,), ()
    except ValueError:
        return b"empty", (), ()


def _module(module: types.ModuleType) -> Said | None:
    return (b"", (), (module,)) if sys.modules.get(module.__name__) is module else None


def _builtin(f: types.BuiltinFunctionType) -> Said:
    return f.__name__.encode(), (f.__self__,), (f,)


def _wrapper(one: Any) -> Said:
    return b"", (one.__func__, dict_items(one)), ()


def dict_items(one: Any) -> tuple:
    return tuple(part for item in vars(one).items() for part in item)


def _property(one: property) -> Said:
    return b"", (one.fget, one.fset, one.fdel, one.__doc__), ()


def _partial(one: functools.partial) -> Said:
    return b"", (one.func, one.args, one.keywords, one.__dict__), ()


def _cached(one: Any) -> Said:
    if importable(one):
        return b"", (), (one,)
    return repr(one.cache_parameters()).encode(), (one.__wrapped__, one.__dict__), ()


def _counter(one: collections.Counter) -> Said:
    return b"", (one.__dict__, tuple(part for item in dict.items(one) for part in item)), ()


def _defaultdict(one: collections.defaultdict) -> Said:
    return b"", (one.default_factory, tuple(part for item in dict.items(one) for part in item)), ()


def _ordered(one: collections.OrderedDict) -> Said:
    return b"", (one.__dict__, tuple(part for item in one.items() for part in item)), ()


def _deque(one: collections.deque) -> Said:
    return repr(one.maxlen).encode(), tuple(one), ()


def _array(one: array.array) -> Said:
    return one.typecode.encode() + one.tobytes(), (), ()


def _slice(one: slice) -> Said:
    return b"", (one.start, one.stop, one.step), ()


def _match(one: re.Match) -> Said:
    return repr(one.regs).encode(), (one.re, one.string), ()


def _proxy(one: types.MappingProxyType) -> Said:
    return b"", (pickled.below_proxy(one),), ()


def _pickle_buffer(buffer: pickle.PickleBuffer) -> Said:
    """Bytes a library hands to pickle; those of arrays are seen as arrays before."""
    raw = buffer.raw()
    return digest([raw]) + bytes([raw.readonly]), (), ()


def _memoryview(view: memoryview) -> Said:
    """Met below arrays only: what it looks at; the bytes are the array's."""
    return b"", (view.obj,), ()


def _own_memory(one: Any) -> Said:
    """Memory that only arrays look at, each of which is digested itself."""
    return b"", (), ()


def _named_tuple(one: tuple) -> Said:
    return b"", (type(one), tuple(one)), ()


def _dict_like(one: dict) -> Said:
    return b"", (type(one), one.__dict__, tuple(part for item in dict.items(one) for part in item)), ()


def _list_like(one: list) -> Said:
    return b"", (type(one), one.__dict__, tuple(list.__iter__(one))), ()


_DESCRIBED: dict[type, How] = {
    type: ("named", _class),
    types.FunctionType: ("named", _function),
    types.CellType: _cell,
    types.ModuleType: _module,
    types.BuiltinFunctionType: _builtin,
    staticmethod: _wrapper,
    classmethod: _wrapper,
    property: _property,
    functools.partial: _partial,
    CACHED: _cached,
    collections.Counter: _counter,
    collections.defaultdict: _defaultdict,
    collections.OrderedDict: _ordered,
    collections.deque: _deque,
    array.array: _array,
    slice: _slice,
    memoryview: _memoryview,
    re.Match: _match,
    types.MappingProxyType: _proxy,
    pickle.PickleBuffer: _pickle_buffer,
    pickled.Restored: _own_memory,
    PrivateBuffer: _own_memory,
}


# --- NumPy ---


def _of_numpy(np: Any, kind: type) -> Any:
    if issubclass(kind, np.generic):
        return "opaque" if kind in (np.void, np.object_) else "leaf"
    if issubclass(kind, np.dtype):
        return _records if kind is type(np.dtype("V8")) else "leaf"
    if kind is np.ufunc:
        return lambda one: (one.__name__.encode(), tuple(libraries.of_function(one) or ()), ())
    if kind is np.random.Generator:
        return lambda one: (b"", (one.bit_generator,), ())
    if kind in (np.random.PCG64, np.random.PCG64DXSM):
        return lambda one: (repr(one.state).encode(), (one.seed_seq,), ())  # numbers only
    if issubclass(kind, np.random.BitGenerator):
        return lambda one: (pickle.dumps(one, 5), (one.seed_seq,), ())
    if kind is np.random.SeedSequence:
        return lambda one: (pickle.dumps(one.state, 5), (), ())
    if kind is np.random.RandomState:
        return lambda one: (pickle.dumps(one, 5), (one._bit_generator,), ())
    if kind is np.ma.MaskedArray:
        return _masked
    if issubclass(kind, type):
        return _other_class
    return _reduced(kind, "numpy")


def _records(dtype: Any) -> Said:
    """The names of fields can be set."""
    fields = () if dtype.names is None else tuple(part for name in dtype.names for part in (name, *dtype.fields[name]))
    below = () if dtype.subdtype is None else dtype.subdtype
    layout = (
        f"{dtype.str} {dtype.itemsize} {dtype.alignment} {dtype.flags} {dtype.isalignedstruct} {dtype.type.__name__}"
    )
    return f"{layout} {dtype.shape} {dtype.names}".encode(), (fields, below), ()


# --- matplotlib ---


_NO_CALLBACKS = frozenset(("callbacks", "_func_cid_map", "_cid_gen"))


def _callbacks(one: Any) -> Said:
    """A registry of callbacks; to pickle one takes a number from its counter, which is no change."""
    state = one.__dict__
    kept: list = []
    for item in state.items():
        if item[0] not in _NO_CALLBACKS:
            kept += item
    calls: list = []
    for signal, found in state["callbacks"].items():
        calls.append(signal)
        for cid, ref in found.items():
            calls += cid, ref() if cid in one._pickled_cids else None
    return b"", (type(one), tuple(kept), tuple(calls)), ()


def _subarray(one: Any) -> Said:
    return b"", (one.view(sys.modules["numpy"].ndarray), type(one), *beyond.attributes(one)), ()


def _masked(one: Any) -> Said:
    rest = tuple(part for name, value in one.__dict__.items() if name != "_mask" for part in (name, value))
    return b"", (one.view(sys.modules["numpy"].ndarray), type(one), one._mask, rest), ()


# --- pandas ---


def _of_pandas(pd: Any, kind: type) -> Any:
    arrays = pd.core.arrays
    # Memory that frames share with each other is shared again where a program can see it.
    frame = (lambda says: ("frame", says)) if pickled.copies_on_write() else (lambda says: says)
    if kind in (pd.DataFrame, pd.Series):
        return frame(_frame)
    if issubclass(kind, pd.Index):
        known = kind.__module__ in ("pandas", "pandas.core.indexes.base") or _known_index(pd, kind)
        return frame(_index) if known else _reduced(kind, "pandas")
    if kind in (arrays.DatetimeArray, arrays.TimedeltaArray, arrays.PeriodArray):
        return "extension", lambda one: (
            b"",
            (one._ndarray, one._dtype, getattr(one, "_freq", None), dict_items_of(one)),
            (),
        )
    if kind is arrays.IntervalArray:
        return "extension", lambda one: (b"", (one._left, one._right, one._dtype), ())
    if kind is pd.Categorical:
        return "extension", lambda one: (b"", (one._ndarray, one._dtype, dict_items_of(one)), ())
    if kind in (arrays.IntegerArray, arrays.FloatingArray, arrays.BooleanArray):
        return "extension", lambda one: (b"", (one._data, one._mask, dict_items_of(one)), ())
    if kind is arrays.ArrowStringArray:
        return lambda one: (b"", (one._dtype, dict_items_of(one)), (one._pa_array,))
    if kind is pd.CategoricalDtype:
        return lambda one: (repr(one.ordered).encode(), (one.categories,), ())
    if issubclass(kind, pd.api.extensions.ExtensionDtype):
        return "leaf" if kind.__module__.startswith("pandas") else _reduced(kind, "pandas")
    if kind in (pd.Timestamp, pd.Timedelta, type(pd.NaT), type(pd.NA)) or issubclass(kind, pd.offsets.BaseOffset):
        return "leaf"
    if kind.__name__ == "FrozenList":
        return lambda one: (b"", tuple(one), ())
    return _other_class if issubclass(kind, type) else _reduced(kind, "pandas")


def _known_index(pd: Any, kind: type) -> bool:
    times = (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex)
    return kind in (pd.RangeIndex, *times, pd.IntervalIndex, pd.CategoricalIndex, pd.MultiIndex)


_CACHES = ("_cache", "_id", "_references", "_pa_array", "_data", "_mask")


def dict_items_of(one: Any) -> tuple:
    """The rest of an object of pandas: its ``__dict__`` without what is said already or only remembered."""
    found: list = []
    for item in getattr(one, "__dict__", {}).items():
        if item[0] not in _CACHES:
            found += item
    return tuple(found)


def _index(one: Any) -> Said:
    names, parts = [], []
    for name, value in vars(one).items():
        if name not in ("_cache", "_id", "_references"):
            names.append(name)
            parts.append(value)
    return ",".join(names).encode(), tuple(parts), ()


def _frame(one: Any) -> Said | None:
    manager = one._mgr
    places, values = [], []
    for block in manager.blocks:
        at = block.mgr_locs.indexer
        places.append(repr(at) if isinstance(at, slice) else at.tobytes().hex())
        values.append(block.values)
    said = f"{one._flags.allows_duplicate_labels}|{'|'.join(places)}".encode()
    beside = tuple(beyond.set_by_hand(one).items())
    return (
        said,
        (tuple(manager.axes), tuple(values), one._attrs, vars(one).get("_name"), beside),
        (),
        pickled.inner(one),
    )
