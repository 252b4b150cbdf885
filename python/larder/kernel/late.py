"""Do something when a module is first imported, so that the start path need not import it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable

_waiting: dict[str, list[Callable]] = {}


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _waiting:
            return None
        then = _waiting.pop(name)
        spec = importlib.util.find_spec(name) if path is None else importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return spec
        exec_module = spec.loader.exec_module

        def exec_then(module):
            exec_module(module)
            for one in then:
                one(module)

        spec.loader.exec_module = exec_then  # type: ignore[method-assign]
        return spec


def on_import(name: str, then: Callable) -> None:
    """Call ``then(module)`` right after ``name`` has been imported; at once when it already is."""
    if name in sys.modules:
        then(sys.modules[name])
        return
    if not _waiting and _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
    _waiting.setdefault(name, []).append(then)
