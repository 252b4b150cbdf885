"""What objects have beyond what their own pickles keep: attributes that programs gave them.

The pickles of NumPy's arrays are their memory, those of pandas and polars what these know of, those of dates their numbers:
what a class of a notebook that is derived from one of them has beside, or what was set by hand (``df.name = "train"``), is
left out, without a word. Classes that say themselves how they are pickled, or whose base says what their state is, are taken
at their word.
"""

from __future__ import annotations

import copyreg
import enum
import sys
from typing import Any

from . import subclasses, traits

_REDUCE = ("__reduce__", "__reduce_ex__")


# --- arrays ---


def only_memory(kind: type) -> bool:
    """Whether NumPy's own pickles have arrays of this type, a derived one or not."""
    return _as_base(kind, sys.modules["numpy"].ndarray)


def only_masked(kind: type) -> bool:
    """The same for masked arrays."""
    return _as_base(kind, sys.modules["numpy"].ma.MaskedArray)


def _as_base(kind: type, base: type) -> bool:
    if not issubclass(kind, base) or kind in copyreg.dispatch_table:
        return False
    return all(getattr(kind, name) is getattr(base, name) for name in (*_REDUCE, "__getstate__", "__setstate__"))


def attributes(one: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those in its ``__dict__``, and those in slots of the classes before the one that says how it is pickled."""
    kind = type(one)
    before = kind.__mro__[: kind.__mro__.index(_says(kind))]
    slots: dict[str, Any] = {}
    for name in copyreg._slotnames(kind) if any("__slots__" in vars(part) for part in before) else ():  # type: ignore[attr-defined]
        if any(name in vars(part) for part in before) and hasattr(one, name):
            slots[name] = getattr(one, name)
    return dict(getattr(one, "__dict__", ())), slots


def _says(kind: type) -> type:
    """The class that says how instances are pickled."""
    return next(one for one in kind.__mro__ if any(name in vars(one) for name in _REDUCE))


def set_attributes(one: Any, state: tuple[dict, dict]) -> None:
    own, slots = state
    if own:
        one.__dict__.update(own)
    for name, value in slots.items():
        object.__setattr__(one, name, value)


def of_subarray(one: Any, inside: Any) -> tuple:
    """How an array of a derived class is reduced that looks into ``inside``, an array of none."""
    return as_subarray, (inside, type(one)), attributes(one), None, None, set_attributes


def as_subarray(inside: Any, kind: type) -> Any:
    return inside.view(kind)


# --- pandas ---


def set_by_hand(one: Any) -> dict[str, Any]:
    """Attributes of an object of pandas that pandas does not know of; without those that say that they cannot be pickled,
    as what patsy hangs on its frames, and of which pandas' way makes nothing either."""
    kind = type(one)
    return {
        name: value
        for name, value in one.__dict__.items()
        if name[:1] != "_"
        and name not in kind._accessors
        and name not in getattr(kind, "_metadata", ())
        and _says_how(value)
    }


def _says_how(value: Any) -> bool:
    if type(value).__module__.partition(".")[0] in ("numpy", "pandas", "polars", "__main__"):
        return True
    try:
        value.__reduce_ex__(5)
    except Exception:
        return False
    return True


def of_pandas(one: Any) -> tuple | None:
    """How an index, a frame or a series is reduced that has such; ``None`` for others."""
    pd = sys.modules["pandas"]
    if isinstance(one, getattr(pd, "Index", ())):
        more = set_by_hand(one)
        if type(one) is pd.MultiIndex and one._name is not None:  # as xarray gives it one, beside those of its levels
            more["_name"] = one._name
        return (*one.__reduce__()[:2], (more, {}), None, None, set_attributes) if more else None
    if _is_frame(type(one)) and (more := set_by_hand(one)):
        made, arguments, state, *rest = one.__reduce_ex__(5)
        return made, arguments, {**state, **more}, *rest
    return None


def _multi_index_state(one: Any, state: dict[str, Any]) -> None:  # of shelves written before it was `set_attributes`
    one.__dict__.update(state)


# --- polars ---


def of_polars(one: Any, reduced: Any) -> Any:
    """How a frame or a series of polars is reduced, with attributes set by hand if it has any."""
    more = {name: value for name, value in getattr(one, "__dict__", {}).items() if name[:1] != "_"}
    if not more or type(one).__name__ not in ("DataFrame", "Series"):
        return reduced
    if reduced is NotImplemented or len(reduced) > 2:
        raise TypeError(f"has attributes that polars leaves out of its pickles: {', '.join(more)}")
    return *reduced, (more, {}), None, None, set_attributes


# --- classes of the notebook ---


def left_out(kind: type) -> bool:
    """Whether ``kind`` is a class of the notebook, but what it is derived from says how its instances are pickled."""
    if kind.__module__ != "__main__" or isinstance(kind, enum.EnumType) or issubclass(kind, type):
        return False
    np = sys.modules.get("numpy")
    if (
        (np is not None and issubclass(kind, np.ndarray))
        or subclasses.base_of(kind) is not None
        or traits.observable(kind)
    ):
        return False
    says = _says(kind)
    return (says is not object and says.__module__ != "__main__") or _is_frame(kind)


def _is_frame(kind: type) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and issubclass(kind, (getattr(pandas, "DataFrame", ()), getattr(pandas, "Series", ())))


def reducer(one: Any) -> Any:
    """How a pickle has an instance of such a class, and what a walk compares."""
    kind = type(one)
    said = one.__reduce_ex__(5)
    if not isinstance(said, tuple):
        return NotImplemented
    made, arguments, *rest = said
    if made is not kind and not any(part is kind for part in arguments):
        raise TypeError(f"its pickle, that of {_says(kind).__name__}, would not make a {kind.__name__} again")
    if rest and rest[0] is not None:
        return (of_pandas(one) if _is_frame(kind) else None) or said
    own = attributes(one)
    if not any(own):
        return said
    return made, arguments, own, *(*rest, None, None, None)[1:3], set_attributes


LOADED = (set_attributes, as_subarray, _multi_index_state)
"""What pickles name."""
