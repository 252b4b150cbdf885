"""What a library's ``__getstate__`` is known to do: told by the names and strings in its code, so that another version of the
library, which may do something else, is asked instead.

A state is the ``__dict__`` (or what the next class gives) but for the values of some names; of each it is said what the state
has there: ``nothing`` that depends on the object, or the ``referents`` of a dictionary of weak references.
"""

from __future__ import annotations

import sys
import types
from typing import Any, NamedTuple


class Rule(NamedTuple):
    module: str
    name: str
    names: frozenset[str]
    strings: frozenset[str]
    instead: dict[str, str]


_MATPLOTLIB = (
    Rule(
        "matplotlib.artist", "Artist", frozenset(("__dict__", "copy")), frozenset(("stale_callback",)),
        {"stale_callback": "nothing"},
    ),
    Rule(
        "matplotlib.text", "Text", frozenset(("super", "__getstate__")), frozenset(("_renderer",)),
        {"_renderer": "nothing"},
    ),
    Rule(
        "matplotlib.transforms", "TransformNode", frozenset(("__dict__", "_parents", "items")),
        frozenset(("_parents",)), {"_parents": "referents"},
    ),
)  # fmt: skip
_ARROW = (frozenset(("__dict__", "copy", "_pa_array", "combine_chunks")), frozenset(("_pa_array", "_cache")))


def of_matplotlib(kind: type) -> dict[str, str] | None:
    """What the state of objects of this type has instead of some values of their ``__dict__``; ``None`` if not known."""
    plain = (type(None), types.GetSetDescriptorType)
    if not kind.__dictoffset__ or any(type(vars(one).get("__dict__")) not in plain for one in kind.__mro__):
        return None
    instead: dict[str, str] = {}
    for one in kind.__mro__:
        if "__getstate__" not in vars(one):
            continue
        said = vars(one)["__getstate__"]
        for rule in _MATPLOTLIB:
            home = getattr(sys.modules.get(rule.module), rule.name, None)
            if one is home and _of_code(said) == (rule.names, rule.strings):
                instead.update(rule.instead)
                break
        else:
            return None
        if "super" not in said.__code__.co_names:
            return instead
    return None


def one_chunk(array: Any) -> dict[str, Any] | None:
    """The state of an Arrow array of pandas that is in one piece, without the copy its own ``__getstate__`` makes of that;
    ``None`` if it has to be asked."""
    kind = type(array)
    said = getattr(kind, "__getstate__", None)
    if said not in _KNOWN:
        if len(_KNOWN) > 100:
            _KNOWN.clear()
        _KNOWN[said] = _of_code(said) == _ARROW and kind.__reduce_ex__ is object.__reduce_ex__
    own = array.__dict__
    chunks = own.get("_pa_array")
    if not _KNOWN[said] or getattr(chunks, "num_chunks", 0) != 1:
        return None
    chunk = chunks.chunk(0)
    if chunk.offset or chunk.get_total_buffer_size() > chunk.nbytes * 5 // 4 + 4096:
        return None  # a piece of something larger, all of which would be written
    return {**own, "_pa_array": chunk, "_cache": {}}


_KNOWN: dict[Any, bool] = {}


def _of_code(function: Any) -> tuple[frozenset[str], frozenset[str]] | None:
    """The names and strings in a function's code, and in that of what is inside it; ``None`` if there is more."""
    if type(function) is not types.FunctionType:
        return None
    names: set[str] = set()
    strings: set[str] = set()
    todo = [function.__code__]
    while todo:
        code = todo.pop()
        names.update(code.co_names)
        for const in code.co_consts:
            if isinstance(const, types.CodeType):
                todo.append(const)
            elif isinstance(const, str) and const != function.__doc__ and "<locals>" not in const:
                strings.add(const)
            elif const is not None:
                return None
    return frozenset(names), frozenset(strings)
