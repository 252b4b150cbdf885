"""What a library's ``__getstate__`` is known to do: told by the names and strings in its code, so that another version of the
library, which may do something else, is asked instead.

A state is the ``__dict__`` (or what the next class gives) but for the values of some names; of each it is said what the state
has there: ``nothing`` that depends on the object, or the ``referents`` of a dictionary of weak references.
"""

from __future__ import annotations

import ctypes
import struct
import sys
import types
from typing import Any, NamedTuple

from ._larder import array_data, body


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


def tree(kind: type) -> bool:
    """Whether scikit-learn's trees have in their memory what their pickles hold, and where the walk reads it
    (``core/cpython/src/walk/tree.rs``): tried on one that is made for it."""
    np = sys.modules["numpy"]
    try:
        counts = np.array([2, 4, 3], np.intp)
        made = kind(5, counts, 3)
        nodes = np.zeros(2, made.__getstate__()["nodes"].dtype)
        nodes["threshold"] = 0.5, 1.5
        values = np.arange(24.0).reshape(2, 3, 4)
        made.__setstate__({"max_depth": 7, "node_count": 1, "nodes": nodes, "values": values})  # type: ignore[attr-defined]
        again, arguments, state = made.__reduce__()
        memory = body(made) if kind.__basicsize__ == _TREE.size + _HEAD else None
        if memory is None or again is not kind or list(state) != ["max_depth", "node_count", "nodes", "values"]:
            return False
        _, *numbers, at_nodes, at_values, stride = _TREE.unpack(memory)
        at_counts = numbers.pop(1)
        same = [*numbers, stride] == [5, 3, 4, 7, 1, 2, 12] and nodes.dtype.itemsize == 64
        if not same or (array_data(state["nodes"]), array_data(state["values"])) != (at_nodes, at_values):
            return False
        pickled = arguments[0] == 5 and (arguments[1] == counts).all() and arguments[2] == 3 and len(arguments) == 3
        held = ctypes.string_at(at_counts, counts.nbytes) == counts.tobytes()
        return bool(pickled and held and (state["nodes"] == nodes[:1]).all() and (state["values"] == values[:1]).all())
    except Exception:
        return False


_HEAD = object.__basicsize__
_TREE = struct.Struct("11q")
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
