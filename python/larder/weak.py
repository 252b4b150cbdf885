"""Weak references to objects of the notebook's own classes, and what Python keeps by them.

The object is part of the pickle, and is alive afterwards if something that was saved holds it, as it did before: whatever does
comes back together with the reference, for both have the object. References to objects of libraries are refused as ever: what
they look at may be one that the library has already.
"""

from __future__ import annotations

import copyreg
import functools
import types
import weakref
from collections.abc import Callable
from typing import Any


def reducer(kind: type) -> Callable[[Any], Any] | None:
    """How objects of this type are reduced; ``None`` if there is nothing weak about them."""
    return _REDUCERS.get(kind)


def _of_notebook(one: Any) -> bool:
    kind = one if isinstance(one, (type, types.FunctionType)) else type(one)
    return kind.__module__ == "__main__"


def _reference(one: weakref.ref) -> Any:
    target = one()
    if target is None:
        return _gone, ()
    if not _of_notebook(target):
        return NotImplemented
    return weakref.ref, (target,) if one.__callback__ is None else (target, one.__callback__)


class _Nobody:
    pass


def _gone() -> weakref.ref:
    """A reference to what is not there any more."""
    return weakref.ref(_Nobody())


def _set(one: weakref.WeakSet) -> Any:
    items = list(one)
    return (weakref.WeakSet, (), items, None, None, _fill_set) if all(map(_of_notebook, items)) else NotImplemented


def _fill_set(one: weakref.WeakSet, items: list) -> None:
    one.update(items)


def _by_values(one: weakref.WeakValueDictionary) -> Any:
    items = list(one.items())
    if not all(_of_notebook(value) for _, value in items):
        return NotImplemented
    return weakref.WeakValueDictionary, (), items, None, None, _fill_dict


def _by_keys(one: weakref.WeakKeyDictionary) -> Any:
    """Classes have other holders: ``functools.singledispatch`` keeps something for each."""
    items = list(one.items())
    if not all(_of_notebook(key) or isinstance(key, type) for key, _ in items):
        return NotImplemented
    return weakref.WeakKeyDictionary, (), items, None, None, _fill_dict


def _fill_dict(one: Any, items: list[tuple]) -> None:
    for key, value in items:
        one[key] = value


def _dispatching(one: Any) -> Any:
    """A method that ``functools.singledispatchmethod`` made, without what it remembers of instances."""
    state = dict(vars(one))
    if "_method_cache" in state:
        state["_method_cache"] = weakref.WeakKeyDictionary()
    return copyreg.__newobj__, (type(one),), state  # type: ignore[attr-defined]


_REDUCERS: dict[type, Callable[[Any], Any]] = {
    weakref.ReferenceType: _reference,
    weakref.WeakSet: _set,
    weakref.WeakValueDictionary: _by_values,
    weakref.WeakKeyDictionary: _by_keys,
    functools.singledispatchmethod: _dispatching,
}
