"""Objects that pickle writes as their name, which only the notebook has: ``P = ParamSpec("P")``, ``NewType``, ``type X = ...``.

Read back in a new kernel such a name means nothing yet. Here they are written as what they are made of; so are instances
of a notebook's own classes whose ``__reduce__`` gives a name, as singletons have it.
"""

from __future__ import annotations

import builtins
import copyreg
import enum
import sys
import typing
from collections.abc import Callable
from typing import Any

_PARAMETERS = (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple)
_ALIAS = getattr(typing, "TypeAliasType", None)
_SENTINEL = getattr(builtins, "sentinel", None)
SPECIAL = frozenset({*_PARAMETERS, typing.NewType, _ALIAS, _SENTINEL} - {None})
"""Types of the standard library whose objects are."""


def concerns(kind: type) -> bool:
    """Whether objects of this type are written as a name."""
    return kind in SPECIAL or (kind.__module__ == "__main__" and says_itself(kind))


def says_itself(kind: type) -> bool:
    """Whether a class of the notebook has a ``__reduce__`` of the notebook, which may give a name."""
    if isinstance(kind, enum.EnumType):
        return False
    return any(
        one.__module__ == "__main__" and ("__reduce__" in vars(one) or "__reduce_ex__" in vars(one))
        for one in kind.__mro__
    )


def members(kind: type) -> bool:
    """Whether objects of this type are members of an enumeration that a module has, pickled as that and their values: in each
    process they are those that are there."""
    if not isinstance(kind, enum.EnumType) or kind.__module__ == "__main__" or kind in copyreg.dispatch_table:
        return False
    home = sys.modules.get(kind.__module__)
    if getattr(home, kind.__qualname__, None) is not kind or kind.__name__ != kind.__qualname__:
        return False
    if kind.__reduce_ex__ is not enum.Enum.__reduce_ex__ or hasattr(kind, "__setstate__"):
        return False
    from cloudpickle import cloudpickle

    all_ = type.__getattribute__(kind, "_member_map_").values()
    return not cloudpickle._PICKLE_BY_VALUE_MODULES and all(type(one._value_) in (str, int) for one in all_)


def reduced(obj: Any) -> Any:
    """How ``obj``, of a type that `concerns`, is pickled; ``NotImplemented`` if as everything else."""
    kind = type(obj)
    if kind not in SPECIAL:
        if not isinstance(obj.__reduce_ex__(5), str):
            return NotImplemented
        return bare, (kind,), object.__getstate__(obj)
    if obj.__module__ != "__main__" and getattr(sys.modules.get(obj.__module__), obj.__name__, None) is obj:
        return NotImplemented
    if kind is typing.NewType:
        return bare, (kind,), vars(obj)
    if kind is _SENTINEL:
        shown = repr(obj)
        more = {} if shown == obj.__name__ else {"repr": shown}
        return _made, (obj.__module__, kind, (obj.__name__,), more)
    try:
        return _alias(obj) if kind is _ALIAS else _parameter(obj)
    except NameError as error:
        raise TypeError(f"cannot pickle {kind.__name__} `{obj.__name__}`: {error}") from None


def or_as(usual: Callable[[Any], Any], obj: Any) -> Any:
    """`reduced`, and else what ``usual`` says."""
    said = reduced(obj)
    return usual(obj) if said is NotImplemented else said


def bare(kind: type) -> Any:
    """An instance that no ``__new__`` of a notebook or library has made."""
    try:
        return object.__new__(kind)
    except TypeError:  # a class derived from a built-in one
        return copyreg.__newobj__(kind)


_bare = bare  # what session shelves name that were written before it was called so


def _made(module: str, make: Any, given: tuple, named: dict[str, Any]) -> Any:
    """``make(*given, **named)``, called from ``module``: that is where what it makes says that it is from."""
    return eval("make(*given, **named)", {"__name__": module, "make": make, "given": given, "named": named})


def _parameter(obj: Any) -> Any:
    if type(obj) is typing.TypeVar and not getattr(obj, "__infer_variance__", False) and not _has_default(obj):
        return NotImplemented  # cloudpickle's way loses these two, and nothing else
    given, named = (obj.__name__, *getattr(obj, "__constraints__", ())), {}
    for name in ("bound", "covariant", "contravariant", "infer_variance"):
        value = getattr(obj, f"__{name}__", None)
        if value and type(obj) is not typing.TypeVarTuple:
            named[name] = value
    if _has_default(obj):
        named["default"] = obj.__default__
    from cloudpickle import cloudpickle

    return _tracked, (cloudpickle._get_or_create_tracker_id(obj), obj.__module__, type(obj), given, named)


def _has_default(obj: Any) -> bool:
    return hasattr(obj, "has_default") and obj.has_default()


def _tracked(known_as: str, *made: Any) -> Any:
    """As cloudpickle does: what this process has already is that, and no second one."""
    from cloudpickle import cloudpickle

    return cloudpickle._lookup_class_or_track(known_as, _made(*made))


def _alias(obj: Any) -> Any:
    if not obj.__type_params__ and obj.__name__.isidentifier():
        return _late_alias, (obj.__module__, obj.__name__), obj.__value__, None, None, _alias_value
    if _names(obj.__value__, obj):
        raise TypeError(f"type alias `{obj.__name__}` has parameters and names itself")
    more = {"type_params": obj.__type_params__}
    return _made, (obj.__module__, _ALIAS, (obj.__name__, obj.__value__), more)


def _names(value: Any, alias: Any) -> bool:
    if value is alias or getattr(value, "__origin__", None) is alias:
        return True
    return any(_names(part, alias) for part in getattr(value, "__args__", ()))


_late: dict[int, dict[str, Any]] = {}
"""Aliases on their way back, by id: where they look their value up, which may name them."""


def _late_alias(module: str, name: str) -> Any:
    space: dict[str, Any] = {"__name__": module}
    exec(f"type {name} = _value_of_the_alias", space)
    _late[id(space[name])] = space
    return space[name]


def _alias_value(alias: Any, value: Any) -> None:
    _late.pop(id(alias))["_value_of_the_alias"] = value
    assert alias.__value__ is value  # looked up once, and kept
