"""How classes that cells define are pickled for recovery, where cloudpickle's own way loses something."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import sys
import types
import typing
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from . import enums


def reduced(kind: type, said: Any) -> Any:
    """What cloudpickle says of a class, made whole.

    It leaves slots to be set later (which makes none), forgets where a class was defined and annotations that nobody has
    asked for yet, asks for a ``NamedTuple`` of no fields, and has ``__init_subclass__`` and what a metaclass does run once
    more.
    """
    if not isinstance(said, tuple) or getattr(said[-1], "__name__", "") != "_class_setstate":
        return said
    if said[0].__name__ != "_make_skeleton_class":
        return enums.reduced(kind, said) or (*said[:-1], _set_state)
    make, (constructor, name, bases, keywords, *rest) = said[:2]
    keywords = {**keywords, "__qualname__": kind.__qualname__}
    if "__slots__" in kind.__dict__:
        keywords["__slots__"] = kind.__dict__["__slots__"]
    if issubclass(kind, tuple):
        bases = kind.__bases__
    if typing.is_typeddict(kind):
        bases = kind.__dict__.get("__orig_bases__", (typing.TypedDict,))
    if _told_of_subclasses(kind.__mro__[1:]) or _makers(type(kind)):
        make = _make_class
    state, slots = said[2]
    said = (*said[:2], ({**annotations(kind), **state}, slots), *said[3:])
    state = (*said[2], kind.__bases__)
    return make, (constructor, name, bases, keywords, *rest), state, None, None, _set_state


@dataclasses.dataclass
class Loading:
    """What is done, while pickles are loaded, with classes of the notebook that there are: they stay the ones they are, so that
    what is not loaded stays an instance of them."""

    there: Collection[type] = ()
    comes_back: Callable[[type], bool] = lambda kind: False
    """Whether a class is to be what the pickle says; it stays as it is if not."""


_loading = Loading()


@contextlib.contextmanager
def loading(comes_back: Callable[[type], bool]) -> Iterator[None]:
    global _loading
    cloudpickle = sys.modules.get("cloudpickle.cloudpickle")
    if cloudpickle is None or not cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS:
        yield
        return
    before, _loading = _loading, Loading(weakref.WeakSet(cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS), comes_back)
    try:
        yield
    finally:
        _loading = before


_MADE_WITH = {"__module__", "__doc__", "__qualname__", "__slots__", "__firstlineno__", "__static_attributes__"}


def comes_back(kind: type) -> bool:
    """Whether a class that was made, or found, is to be what the pickle says."""
    return kind not in _loading.there or _loading.comes_back(kind)


def _set_state(kind: type, said: tuple) -> type:
    """As cloudpickle does for a class that is new: ``said`` are its attributes, those of its slots, and its bases. One that is
    there already has none but these then, or stays as it is."""
    from cloudpickle import cloudpickle

    state, slots, *bases = said
    if not comes_back(kind):
        return kind
    if kind in _loading.there:
        now = cloudpickle._enum_getstate(kind) if isinstance(kind, enum.EnumType) else cloudpickle._class_getstate(kind)
        for name in now[0].keys() - state.keys() - _MADE_WITH - getattr(kind, "_member_map_", {}).keys():
            with contextlib.suppress(AttributeError, TypeError):
                type.__delattr__(kind, name)
        if bases and bases[0] != kind.__bases__:
            with contextlib.suppress(TypeError):
                type.__setattr__(kind, "__bases__", bases[0])
    return cloudpickle._class_setstate(kind, (state, slots))


def evaluated(kind: type, said: Any) -> Any:
    """What cloudpickle says of a class for a shelf, with its annotations, which it leaves out from CPython 3.14 on."""
    if getattr(said[-1], "__name__", "") == "_class_setstate":
        said = enums.reduced(kind, said) or (*said[:-1], _set_state)
    if getattr(kind, "__annotate__", None) is None or said[0].__name__ != "_make_skeleton_class":
        return said
    import annotationlib

    try:
        found = annotationlib.get_annotations(kind)
    except Exception:  # they name what is not there
        found = annotationlib.get_annotations(kind, format=annotationlib.Format.STRING)
    state, slots = said[2]
    return (*said[:2], ({"__annotations__": found, **state}, slots), *said[3:])


def annotations(kind: type) -> dict[str, Any]:
    """What they are evaluated with, from CPython 3.14 on; where that is typing's own (``TypedDict``), what they are."""
    annotate = getattr(kind, "__annotate__", None)
    if annotate is None:
        return {}
    if getattr(annotate, "__globals__", {}).get("__name__") == "__main__":
        return {"__annotate__": annotate}
    import annotationlib

    return {"__annotations__": annotationlib.get_annotations(kind, format=annotationlib.Format.FORWARDREF)}


def _told_of_subclasses(kinds: Iterable[type]) -> list[type]:
    return [kind for kind in kinds if kind.__module__ == "__main__" and "__init_subclass__" in kind.__dict__]


def _makers(meta: type) -> list[tuple[type, str]]:
    """What the notebook's metaclasses do when a class is made."""
    own = [kind for kind in meta.__mro__ if kind.__module__ == "__main__"]
    return [(kind, name) for kind in own for name in ("__prepare__", "__new__", "__init__") if name in kind.__dict__]


def _make_class(constructor: type, name: str, bases: tuple, *rest: Any) -> type:
    """A class without a call of what the notebook has done when one is made (``__init_subclass__`` of its bases, a
    metaclass): what that did is saved."""
    from cloudpickle import cloudpickle

    with quiet(constructor, bases):
        return cloudpickle._make_skeleton_class(constructor, name, bases, *rest)


@contextlib.contextmanager
def quiet(constructor: type, bases: tuple) -> Iterator[None]:
    """Nothing of the notebook runs when a class is made."""
    told = _told_of_subclasses({kind for base in types.resolve_bases(bases) for kind in base.__mro__})
    silent = [(kind, "__init_subclass__", classmethod(_of_others(kind))) for kind in told]
    silent += [(kind, name, _QUIET[name](kind)) for kind, name in _makers(constructor)]
    own = [(kind, name, kind.__dict__[name]) for kind, name, _ in silent]
    for kind, name, method in silent:
        type.__setattr__(kind, name, method)
    try:
        yield
    finally:
        for kind, name, method in own:
            type.__setattr__(kind, name, method)


def _of_others(kind: type) -> Any:
    def of_others(cls: type, **more: Any) -> None:
        super(kind, cls).__init_subclass__(**more)

    return of_others


def _prepare(kind: type) -> Any:
    def prepare(meta: type, name: str, bases: tuple, **more: Any) -> Any:
        return super(kind, meta).__prepare__(name, bases, **more)  # type: ignore[misc]

    return classmethod(prepare)


def _new(kind: type) -> Any:
    def new(meta: type, name: str, bases: tuple, names: dict, **more: Any) -> type:
        return super(kind, meta).__new__(meta, name, bases, names, **more)  # type: ignore[misc]

    return staticmethod(new)


def _init(kind: type) -> Any:
    def init(cls: type, name: str, bases: tuple, names: dict, **more: Any) -> None:
        super(kind, cls).__init__(name, bases, names, **more)  # type: ignore[misc]

    return init


_QUIET = {"__prepare__": _prepare, "__new__": _new, "__init__": _init}
