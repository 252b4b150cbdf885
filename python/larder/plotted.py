"""What figures hold of matplotlib's own, for which all figures there are would otherwise be saved together.

The paths of marks, and the arrays in these, come back as matplotlib's own where that has the same contents then, else as
copies. Two lists of ``rcParams`` come back as a copy for each figure. Whoever holds such a list without a figure shares it as
everything else is shared; who reaches the ``__dict__`` of such a path past the path is refused (`groups`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from ._larder import type_version

_HOLDERS = (
    ("matplotlib.path", "Path"),
    ("matplotlib.markers", "MarkerStyle"),
    ("matplotlib.transforms", "IdentityTransform"),
)
_LISTS = ("axes.formatter.limits", "path.effects")
_ARRAYS = ("_vertices", "_codes")


class Where(NamedTuple):
    one: Any
    module: str
    name: str
    """Of a class; empty: the module itself."""
    key: str


class Own(NamedTuple):
    """What there is now. All of it is held, so that no address becomes another object's."""

    names: dict[int, Where]
    """By address: paths and arrays."""
    dicts: dict[int, tuple[int, dict, Any, Any]]
    """By the address of its path: the address of a ``__dict__``, that, and the arrays that are in it."""
    lists: dict[int, list]
    """Lists of ``rcParams`` by address."""
    seen: tuple
    """By which it is told to be as it was."""


_none = Own({}, {}, {}, ())
_last = _none


def own() -> Own:
    """The same object as long as nothing of it has changed."""
    global _last
    markers = sys.modules.get("matplotlib.markers")
    if markers is None:
        return _none
    try:
        now = _seen(markers)
        same = now == _last.seen and not any(
            held["_vertices"] is not vertices or held["_codes"] is not codes
            for _, held, vertices, codes in _last.dicts.values()
        )
        if not same:
            _last = _found(markers, now)
    except (AttributeError, KeyError):  # a matplotlib that has other things, or is being imported
        return _none
    return _last


def _seen(markers: Any) -> tuple:
    holders = [getattr(sys.modules[module], name) for module, name in _HOLDERS]
    settings = sys.modules["matplotlib"].rcParams
    lists = [id(dict.__getitem__(settings, name)) for name in _LISTS]
    return id(markers._empty_path), *map(type_version, holders), *lists


def _found(markers: Any, seen: tuple) -> Own:
    paths, array = sys.modules["matplotlib.path"].Path, sys.modules["numpy"].ndarray
    names: dict[int, Where] = {}
    dicts: dict[int, tuple[int, dict, Any, Any]] = {}

    def add(one: Any, *where: str) -> None:
        if type(one) is array and not one.dtype.hasobject:
            names[id(one)] = Where(one, *where)

    def look(one: Any, module: str, name: str, key: str) -> None:
        add(one, module, name, key)
        if type(one) is paths and not set(_ARRAYS) - vars(one).keys():
            names[id(one)] = Where(one, module, name, key)
            parts = [vars(one)[part] for part in _ARRAYS]
            dicts[id(one)] = id(vars(one)), vars(one), *parts
            for part, found in zip(_ARRAYS, parts, strict=True):
                add(found, module, name, f"{key}.{part}")

    look(markers._empty_path, markers.__name__, "", "_empty_path")
    for module, name in _HOLDERS:
        for key, one in vars(getattr(sys.modules[module], name)).items():
            look(one, module, name, key)
    settings = sys.modules["matplotlib"].rcParams
    lists = {id(one): one for name in _LISTS if type(one := dict.__getitem__(settings, name)) is list}
    return Own(names, dicts, lists, seen)


def reduced(place: Where, fresh: Callable[[Any], None]) -> tuple:
    """How what is at this place is pickled; ``fresh`` is told of arrays that are made for it."""

    array = sys.modules["numpy"].ndarray

    def copy(one: Any) -> Any:
        if type(one) is not array:
            return one
        made = one.copy(order="K")
        made.flags.writeable = one.flags.writeable
        fresh(made)
        return made

    one, *where = place
    if type(one) is array:
        return again, (*where, copy(one))
    return again, (*where, {name: copy(part) for name, part in vars(one).items()})


def again(module: str, name: str, key: str, state: Any) -> Any:
    """matplotlib's own, if its contents are these; else what has these."""
    try:
        found: Any = importlib.import_module(module)
        for part in (*([name] if name else []), *key.split(".")):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        found = None
    if type(state) is not dict:
        return found if _same(found, state) else state
    paths = importlib.import_module("matplotlib.path").Path
    if type(found) is paths and vars(found).keys() == state.keys():
        if all(_same(vars(found)[name], part) for name, part in state.items()):
            return found
    made = paths.__new__(paths)
    vars(made).update(state)
    return made


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if not hasattr(one, "tobytes"):
        return one == other
    alike = one.dtype == other.dtype and one.shape == other.shape and one.flags.writeable == other.flags.writeable
    return alike and one.tobytes() == other.tobytes()
