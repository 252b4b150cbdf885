"""Which part of a value cannot be saved, and what it is called: ``x.model.lock``.

Parts are taken out of containers by Python's own methods, not by those of classes that change them; where looking fails, or
takes too long, what was found so far is named.
"""

from __future__ import annotations

import collections
import functools
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

SECONDS_MAX = 0.5
"""How long is looked for a smaller part than the one that is known."""
_STEPS_MAX = 1000
_PATH_MAX = 300
"""Characters."""
_KEY_MAX = 60
"""Characters of a key in a path."""


def find(
    value: Any, path: str, error: BaseException, dump: Callable[[Any], Any], with_globals: bool = True
) -> tuple[str, Any, str]:
    """The smallest part of ``value`` that ``dump`` raises for: its path, the part, and the reason.

    ``with_globals``: functions are dumped with the globals they use.
    """
    seen: dict[int, Any] = {}
    until = time.monotonic() + SECONDS_MAX
    while id(value) not in seen and len(seen) < _STEPS_MAX and len(path) < _PATH_MAX:
        seen[id(value)] = value  # held, so that its id stays its own
        found = _first(value, seen, dump, until, with_globals)
        if found is None:
            break
        step, value, error = found
        path += step
        if isinstance(error, RecursionError):
            break
    return path, value, _words(error)


def _first(
    value: Any, seen: dict[int, Any], dump: Callable[[Any], Any], until: float, with_globals: bool
) -> tuple[str, Any, Exception] | None:
    try:
        for step, part in _parts(value, with_globals):
            if time.monotonic() > until:
                return None
            if id(part) in seen:  # a way back up
                continue
            try:
                dump(part)
            except Exception as err:
                return step, part, err
    except Exception:  # the value's own code, while it was looked into
        pass
    return None


def _words(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    try:
        lines = str(error).splitlines()
    except Exception:
        lines = []
    return lines[0] if lines else type(error).__name__


def _shown(key: Any) -> str:
    try:
        text = repr(key)
    except Exception:
        text = f"a {type(key).__name__}"
    return text if len(text) <= _KEY_MAX else text[: _KEY_MAX - 3] + "..."


def _parts(value: Any, with_globals: bool) -> Iterator[tuple[str, Any]]:
    """Steps to the parts of a value, and these; what a pickle has of it and nothing else shows comes last."""
    if isinstance(value, dict):
        for key, part in list(dict.items(value)):
            yield f"[{_shown(key)}]", part
            yield f".keys()[{_shown(key)}]", key
    elif isinstance(value, types.MappingProxyType):
        for key, part in list(value.items()):
            yield f"[{_shown(key)}]", part
    else:
        for base in (list, tuple, collections.deque):
            if isinstance(value, base):
                for i, part in enumerate(list(base.__iter__(value))):
                    yield f"[{i}]", part
        for base in (set, frozenset):
            if isinstance(value, base):
                for part in list(base.__iter__(value)):
                    yield f"{{{_shown(part)}}}", part
    if isinstance(value, types.FunctionType):
        yield from _of_function(value, with_globals)
        return
    if isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, functools.partial):
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
    elif isinstance(value, types.ModuleType):
        return
    elif isinstance(value, type):
        if value.__module__ == "__main__":
            own = (item for item in list(vars(value).items()) if item[0] not in ("__dict__", "__weakref__"))
            yield from ((f".{name}", part) for name, part in own)
        return
    yield from _of_libraries(value)
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        for name, part in list(dict.items(attributes)):
            yield f".{name}", part
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield f".{name}", getattr(value, name)
    if type(value).__module__ == "__main__":
        yield ".__class__", type(value)
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return
    made = value.__reduce_ex__(5)
    for part in made[1:3] if isinstance(made, tuple) else ():
        yield ".__reduce__()", part


def _of_function(f: types.FunctionType, with_globals: bool) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        try:
            yield f".<closure>.{name}", cell.cell_contents
        except ValueError:
            continue
    yield ".__defaults__", f.__defaults__
    yield ".__kwdefaults__", f.__kwdefaults__
    for name, part in list(f.__dict__.items()):
        yield f".{name}", part
    for name in f.__code__.co_names if with_globals else ():
        if name in f.__globals__:
            yield f".<globals>.{name}", f.__globals__[name]


def _of_libraries(value: Any) -> Iterator[tuple[str, Any]]:
    np, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if np is not None and isinstance(value, np.ndarray) and value.dtype == object:
        for at in np.ndindex(value.shape):
            yield f"[{', '.join(map(str, at))}]", np.ndarray.__getitem__(value, at)
    elif pandas is not None and isinstance(value, getattr(pandas, "DataFrame", ())):
        for i, label in enumerate(value.columns):
            yield f"[{_shown(label)}]", value.iloc[:, i]
        yield ".index", value.index
    elif pandas is not None and isinstance(value, getattr(pandas, "Series", ())):
        if value.dtype == object:
            for i, part in enumerate(value.to_numpy()):
                yield f".iloc[{i}]", part
        yield ".index", value.index
