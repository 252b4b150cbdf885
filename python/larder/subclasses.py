"""Instances of classes derived from Python's own containers and values, made again by what they are derived from.

Pickle makes them again by calling the class, or its ``append``, ``extend``, ``__setitem__``: methods that a program may have
overridden with other ones. ``class Pair(tuple)`` whose ``__new__`` takes two arguments comes back as a pair of a pair and
nothing, a dictionary that counts its stores counts them twice, and the attributes of a ``defaultdict`` are not there. So
`reducer` says what is in them, and ``_again`` and ``_fill`` put it back with the methods of the base.

A class that says how it is pickled (``__reduce__``, ``__getstate__``, ``__getnewargs__`` and their kind) is left alone.
"""

from __future__ import annotations

import collections
import copyreg
import enum
import random
from collections.abc import Callable
from typing import Any

from .codec import _made_in_python

_VALUES: dict[type, Callable[[Any], Any]] = {
    tuple: lambda one: tuple(tuple.__iter__(one)),
    frozenset: lambda one: tuple(frozenset.__iter__(one)),
    str: lambda one: str.__getitem__(one, slice(None)),
    bytes: lambda one: bytes.__getitem__(one, slice(None)),
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
}
_ITEMS: dict[type, Callable[[Any], tuple]] = {
    list: lambda one: tuple(list.__iter__(one)),
    set: lambda one: tuple(set.__iter__(one)),
    dict: lambda one: tuple(dict.items(one)),
    collections.deque: lambda one: tuple(collections.deque.__iter__(one)),
    collections.defaultdict: lambda one: tuple(dict.items(one)),
    collections.OrderedDict: lambda one: tuple(collections.OrderedDict.items(one)),
    random.Random: lambda one: one.getstate(),
}
_PICKLING = (
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__", "__getattribute__",
)  # fmt: skip
_MADE = ("__new__", "__init__")
# What pickle calls, and a class may have its own of.
_CALLED: dict[type, tuple[str, ...]] = {
    list: ("__new__", "append", "extend"),
    dict: ("__new__", "__setitem__"),
    collections.deque: (*_MADE, "append", "extend"),
    collections.OrderedDict: (*_MADE, "__setitem__"),
}


def base_of(kind: type) -> type | None:
    """What instances of ``kind`` are made again by; ``None`` if pickle's way is as good or the class has its own."""
    base = next((one for one in kind.__mro__ if one in _VALUES or one in _ITEMS), None) or _exception(kind)
    if base is None or kind in copyreg.dispatch_table or isinstance(kind, enum.EnumType):
        return None
    own = [one for one in kind.__mro__[: kind.__mro__.index(base)] if one is not collections.Counter]
    if not all(map(_made_in_python, own)) or any(name in vars(one) for one in own for name in _PICKLING):
        return None
    if base is random.Random or issubclass(kind, collections.Counter):
        return base  # whose pickle has no attributes
    if not own:
        return None
    if base is collections.defaultdict:
        return base
    return base if any(name in vars(one) for one in own for name in _CALLED.get(base, _MADE)) else None


def _exception(kind: type) -> type | None:
    """The exception of Python's that ``kind`` is derived from, if that has no fields of its own (as `OSError` has)."""
    if not issubclass(kind, BaseException):
        return None
    base = next(one for one in kind.__mro__ if not _made_in_python(one))
    return base if base.__basicsize__ == BaseException.__basicsize__ else None


def said(one: Any) -> tuple[bytes, tuple, tuple]:
    """What `watch` compares of an instance of a class that has a `base_of`."""
    made, fill = parts(one)
    return b"", (*made, *fill), ()


def parts(one: Any) -> tuple[tuple, tuple]:
    """What it is made with, and what it is filled with then."""
    kind = type(one)
    base = base_of(kind)
    assert base is not None
    slots = tuple((name, getattr(one, name)) for name in copyreg._slotnames(kind) if hasattr(one, name))  # type: ignore[attr-defined]
    own = getattr(one, "__dict__", None)
    if issubclass(base, BaseException):
        return (base, kind, one.args), (base, own, slots, ())
    if base in _VALUES:
        return (base, kind, _VALUES[base](one)), (base, own, slots, ())
    with_ = one.maxlen if base is collections.deque else getattr(one, "default_factory", None)
    return (base, kind, with_), (base, own, slots, _ITEMS[base](one))


def reducer(one: Any) -> tuple:
    """How a pickle has it."""
    made, fill = parts(one)
    return _again, made, fill, None, None, _fill


def _again(base: type, kind: type, value: Any) -> Any:
    """Called while unpickling: an instance of ``kind``, with its value if that never changes."""
    if issubclass(base, BaseException):
        return base.__new__(kind, *value)
    if base in _VALUES:
        return base.__new__(kind, value)  # type: ignore
    made = base.__new__(kind)
    if base is collections.deque:
        collections.deque.__init__(made, (), value)
    elif base is collections.defaultdict:
        made.default_factory = value
    elif base is collections.OrderedDict:
        collections.OrderedDict.__init__(made)
    return made


def _fill(one: Any, state: tuple) -> None:
    """Called while unpickling: what else is in it."""
    base, own, slots, items = state
    if own is not None:
        object.__setattr__(one, "__dict__", own)
    for name, value in slots:
        object.__setattr__(one, name, value)
    if base is random.Random:
        random.Random.setstate(one, items)
    elif base is set:
        set.update(one, items)
    elif base in (list, collections.deque):
        base.extend(one, items)
    else:
        for key, value in items:
            base.__setitem__(one, key, value)
