"""Loading pickles of objects that hash themselves, by attributes that they do not have yet.

A pickle fills sets and dictionaries while their items are being made: a node whose ``nbrs`` is a set of nodes, one of which has
it among its own, is put into that set before it has its name. Its ``__hash__`` then fails (``pickle`` cannot load such a graph:
python/cpython#45603), or, where the class has defaults, gives a hash that is not the object's. So where objects in a pickle
have a ``__hash__`` of their own, and it fails or may have been asked too early, the pickle is loaded twice more: once to know
what attributes each of these has in the end (`_First`), and once with objects that have them from the beginning (`_Second`).
"""

from __future__ import annotations

import contextlib
import copyreg
import enum
import gc
import io
import pickle
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from . import hooks, named


def hash_themselves(kinds: Iterable[type]) -> bool:
    """Whether one of these classes has a ``__hash__`` in Python, which may use attributes."""
    return any(map(_hashes_itself, kinds))


def _hashes_itself(kind: type) -> bool:
    if issubclass(kind, type) or isinstance(kind, enum.EnumType):
        return False
    return type(getattr(kind, "__hash__", None)) is types.FunctionType


def loads(stream: Any, buffers: Sequence[Any]) -> Any:
    """As ``pickle.loads``, for pickles of such objects. Raises what that raises, and ``pickle.UnpicklingError``."""
    error: Exception | None = None
    with hooks.no_collection():
        try:
            found = pickle.loads(stream, buffers=buffers)
            if not _may_have_asked(_young()):
                return found
            del found
        except Exception as err:
            error = err
        try:
            first = _First(io.BytesIO(stream), buffers=buffers)
            first.load()
            found = _Second(io.BytesIO(stream), buffers=buffers, first=first.made).load()
        except Exception as err:
            raise error or err from None
        del first
        _check(_young())
    return found


def _young() -> list:
    """Containers with keys that hash themselves, of those made just now, while the collector stands still."""
    made = [one for one in gc.get_objects(0) if isinstance(one, (dict, set, frozenset))]
    return [one for one in made if next(_asking(_keys(one)), None) is not None]


def _keys(one: Any) -> list:
    """As the tables have them: what goes by hashes, as an ``OrderedDict`` does, may not find them."""
    return list(dict.keys(one) if isinstance(one, dict) else set.__iter__(one) if isinstance(one, set) else one)


def _asking(keys: Iterable[Any]) -> Iterator[Any]:
    """Those of ``keys``, and of what these are made of, that hash themselves."""
    for key in keys:
        kind = type(key)
        if kind is tuple or kind is frozenset:
            yield from _asking(key)
        elif issubclass(kind, weakref.ReferenceType):  # keeps the hash of what it refers to
            yield from _asking((key(),))
        elif kind is not str and kind is not int and _hashes_itself(kind):
            yield key


def _may_have_asked(containers: list) -> bool:
    """Whether an object that has no attributes yet can be hashed: then nobody was told that it was asked too early."""
    for kind in {type(key) for one in containers for key in _asking(_keys(one))}:
        with contextlib.suppress(Exception):
            hash(named.bare(kind))
            return True
    return False


def _check(containers: list) -> None:
    """Containers have the hashes that their keys have now, unless these go by who somebody is: those are asked once more."""
    for one in containers:
        keys = _keys(one)
        # A copy of a table has the hashes that are in it.
        if type(one) in (dict, set, frozenset) and hash(frozenset(one)) == hash(frozenset(keys)):
            continue
        if isinstance(one, frozenset):
            raise pickle.UnpicklingError("a frozenset of objects that have it and hash themselves by who they are")
        items = list(dict.items(one)) if isinstance(one, dict) else keys
        kind: Any = next(kind for kind in (OrderedDict, dict, set) if isinstance(one, kind))
        kind.clear(one)
        kind.update(one, items)


class _First(pickle._Unpickler):  # type: ignore[name-defined]
    """Makes all objects, with their attributes; what cannot be done yet is left out."""

    def __init__(self, file: Any, *, buffers: Sequence[Any]) -> None:
        super().__init__(file, buffers=buffers)
        self.made: list = []
        """In order."""

    def _call(self, load: Callable) -> None:
        make = self.stack[-2]
        try:
            load(self)
        except Exception:
            self.stack[-1] = named.bare(make) if isinstance(make, type) else None
        self.made.append(self.stack[-1])

    def _make(self, load: Callable) -> None:
        load(self)
        self.made.append(self.stack[-1])

    def _fill(self, load: Callable) -> None:
        with contextlib.suppress(Exception):
            load(self)

    def _freeze(self, load: Callable) -> None:
        items = self.pop_mark()
        try:
            self.append(frozenset(items))
        except Exception:
            self.append(frozenset())


class _Second(pickle._Unpickler):  # type: ignore[name-defined]
    """Objects that hash themselves have their attributes as soon as they are made: those of the first ones."""

    def __init__(self, file: Any, *, buffers: Sequence[Any], first: list) -> None:
        super().__init__(file, buffers=buffers)
        self._first = iter(first)
        self._lent: dict[int, Any] = {}
        """Those that have the attributes of others, until they get their own."""

    def _make(self, load: Callable) -> None:
        load(self)
        one, first = self.stack[-1], next(self._first)
        if type(one) is type(first) and one is not first and _hashes_itself(type(one)) and not any(_attributes(one)):
            _give(one, _attributes(first))
            self._lent[id(one)] = one

    def _build(self, load: Callable) -> None:
        one = self.stack[-2]
        if self._lent.pop(id(one), None) is not None:
            for names in map(tuple, _attributes(one)):
                for name in names:
                    object.__delattr__(one, name)
        load(self)


def _attributes(one: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those in its ``__dict__``, and those in slots."""
    slots = {}
    for name in copyreg._slotnames(type(one)):  # type: ignore[attr-defined]
        with contextlib.suppress(AttributeError):
            slots[name] = object.__getattribute__(one, name)
    return (object.__getattribute__(one, "__dict__") if type(one).__dictoffset__ else {}), slots


def _give(one: Any, attributes: tuple[dict[str, Any], dict[str, Any]]) -> None:
    own, slots = attributes
    if own:
        object.__getattribute__(one, "__dict__").update(own)
    for name, value in slots.items():
        object.__setattr__(one, name, value)


def _table(ways: dict[Callable, tuple[str, ...]]) -> dict:
    """What an unpickler does for each opcode: for these in a way of its own, which is told pickle's."""
    table = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]
    for way, names in ways.items():
        for name in names:
            code = getattr(pickle, name)[0]
            table[code] = lambda self, way=way, load=table[code]: way(self, load)
    return table


_First.dispatch = _table(
    {
        _First._call: ("REDUCE",),
        _First._make: ("NEWOBJ", "NEWOBJ_EX"),
        _First._fill: ("ADDITEMS", "SETITEM", "SETITEMS", "BUILD"),
        _First._freeze: ("FROZENSET",),
    }
)
_Second.dispatch = _table({_Second._make: ("REDUCE", "NEWOBJ", "NEWOBJ_EX"), _Second._build: ("BUILD",)})
