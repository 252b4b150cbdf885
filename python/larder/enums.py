"""How enumerations that cells define are pickled: by name, value and attributes of each member, whatever made them.

cloudpickle makes the members anew of their values alone: without aliases, without what ``__init__`` or ``__new__`` of the
enumeration made of what stands behind the name, and not at all where ``__new__`` takes something else.
"""

from __future__ import annotations

import copyreg
import enum
import types
from typing import Any

from . import classes

_MADE = ("__new__", "__init__", "__new_member__")
"""What we give a class while its members are made."""


def reduced(kind: type, said: tuple) -> tuple | None:
    """``said`` (cloudpickle's) made whole; ``None`` for other classes, and where members are made of we know not what."""
    if not isinstance(kind, enum.EnumType):
        return None
    members: dict[str, Any] = kind._member_map_  # type: ignore[attr-defined]
    data = _data(kind)
    try:
        made = [(name, one._value_, _arguments(one, data)) for name, one in members.items()]
    except (AttributeError, TypeError):
        return None
    own, slots = said[2]
    own = classes.annotations(kind) | {name: value for name, value in own.items() if name not in members}
    generate = vars(kind).get("_generate_next_value_")
    if getattr(getattr(generate, "__func__", generate), "__module__", "") == "__main__":
        own["_generate_next_value_"] = generate
    whole = [(name, dict(vars(one)), _slots(one)) for name, one in members.items() if one._name_ == name]
    known = {id(one) for one in members.values()}
    found = kind._value2member_map_.items()  # type: ignore[attr-defined]
    more = [(value, one._name_) for value, one in found if id(one) in known and one._value_ is not value]
    bases, name, qualname, _, module, tracker, _ = said[1]
    about = {"boundary": kind._boundary_} if issubclass(kind, enum.Flag) else {}  # type: ignore[attr-defined]
    arguments = (type(kind), bases, name, qualname, module, tracker, data, made, about)
    return _make, arguments, (own, slots, whole, more), None, None, _set_state


def _data(kind: type) -> type:
    """The class in C that makes its members."""
    return next(one for one in kind.__mro__ if one.__module__ != "enum" and type(vars(one).get("__new__")) is _IN_C)


_IN_C = types.BuiltinFunctionType


def _arguments(one: Any, data: type) -> tuple:
    if data is object:
        return ()
    asked = getattr(data, "__getnewargs__", None)
    if asked is not None:
        return asked(one)
    made, arguments = data.__reduce__(one)[:2]  # type: ignore[misc]
    if made is not type(one):
        raise TypeError
    return arguments


def _slots(one: Any) -> dict[str, Any]:
    names = copyreg._slotnames(type(one))  # type: ignore[attr-defined]
    return {name: getattr(one, name) for name in names if hasattr(one, name)}


def _make(
    meta: Any, bases: tuple, name: str, qualname: str, module: str, tracker: str, data: Any, made: list, about: dict
) -> type:
    """The enumeration with its members, and nothing else."""
    from cloudpickle import cloudpickle

    left = iter(made)

    def new(cls: type, *_: Any) -> Any:
        _, value, arguments = next(left)
        one = data.__new__(cls, *arguments)
        one._value_ = value
        return one

    with classes.quiet(meta, bases):
        space = meta.__prepare__(name, bases)
        for member, *_ in made:
            space[member] = member
        space["__new__"], space["__init__"] = new, lambda self, *_: None
        kind = meta.__new__(meta, name, bases, space, **about)
    kind.__module__, kind.__qualname__ = module, qualname
    return cloudpickle._lookup_class_or_track(tracker, kind)


def _set_state(kind: Any, state: tuple) -> None:
    own, slots, whole, more = state
    if not classes.comes_back(kind):
        return
    for name in _MADE:
        if name in vars(kind) and name not in own:
            type.__delattr__(kind, name)
    classes._set_state(kind, (own, slots))
    for name, attributes, rest in whole:
        one = kind._member_map_[name]
        vars(one).clear()
        vars(one).update(attributes)
        for slot, value in rest.items():
            object.__setattr__(one, slot, value)
    for value, name in more:
        kind._value2member_map_[value] = kind._member_map_[name]


def member(one: Any) -> Any:
    """How a member of an enumeration of the notebook is pickled: by its name, which finds it whatever its value is like."""
    kind = type(one)
    if kind.__reduce_ex__ is not enum.Enum.__reduce_ex__ or kind._member_map_.get(one._name_) is not one:
        return NotImplemented
    return _member, (kind, one._name_)


def _member(kind: Any, name: str) -> Any:
    return kind._member_map_[name]
