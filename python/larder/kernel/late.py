"""Do something when a module is first imported, so that the start path need not import it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable

_waiting: dict[str, list[Callable]] = {}
_asked: set[tuple[str, int]] = set()
"""Modules that others look for meanwhile, by thread."""


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        asked = (name, threading.get_ident())
        if name not in _waiting or asked in _asked:
            return None
        _asked.add(asked)
        try:
            spec = (
                importlib.util.find_spec(name) if path is None else importlib.machinery.PathFinder.find_spec(name, path)
            )
        finally:
            _asked.discard(asked)
        if spec is None or spec.loader is None:
            return spec
        exec_module = spec.loader.exec_module

        def exec_then(module):
            exec_module(module)
            # Whether there is such a module can be asked (`find_spec`) and nothing be imported: only now they have waited.
            for one in _waiting.pop(name, ()):
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
