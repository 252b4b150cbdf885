"""How classes that cells define are pickled for recovery, where cloudpickle's own way loses something."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any


def reduced(kind: type, said: Any) -> Any:
    """What cloudpickle says of a class, made whole.

    It leaves slots to be set later (which makes none), forgets where a class was defined, asks for a ``NamedTuple`` of no
    fields, and has ``__init_subclass__`` run once more.
    """
    if not isinstance(said, tuple) or said[0].__name__ != "_make_skeleton_class":
        return said
    make, (constructor, name, bases, keywords, *rest) = said[:2]
    keywords = {**keywords, "__qualname__": kind.__qualname__}
    if "__slots__" in kind.__dict__:
        keywords["__slots__"] = kind.__dict__["__slots__"]
    if issubclass(kind, tuple):
        bases = kind.__bases__
    if _told_of_subclasses(kind.__mro__[1:]):
        make = _make_class
    return (make, (constructor, name, bases, keywords, *rest), *said[2:])


def _told_of_subclasses(kinds: Iterable[type]) -> list[type]:
    return [kind for kind in kinds if kind.__module__ == "__main__" and "__init_subclass__" in kind.__dict__]


def _make_class(constructor: type, name: str, bases: tuple, *rest: Any) -> type:
    """A class without a call of its bases' ``__init_subclass__`` in the notebook: what that did is saved."""
    from cloudpickle import cloudpickle

    told = _told_of_subclasses({kind for base in types.resolve_bases(bases) for kind in base.__mro__})
    own = {kind: kind.__dict__["__init_subclass__"] for kind in told}
    for kind in told:

        def of_others(cls, _kind=kind, **more):
            super(_kind, cls).__init_subclass__(**more)

        type.__setattr__(kind, "__init_subclass__", classmethod(of_others))
    try:
        return cloudpickle._make_skeleton_class(constructor, name, bases, *rest)
    finally:
        for kind, method in own.items():
            type.__setattr__(kind, "__init_subclass__", method)
