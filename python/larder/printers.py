"""How IPython shows objects of types that a program has told it of: ``formatters["text/html"].for_type(Kind, function)``, or
SymPy's ``init_printing()``, which does that for all of its types. Which of these come back, and how.
"""

from __future__ import annotations

import types
from typing import Any

from . import codec

_TABLES = ("type_printers", "deferred_printers")


def tables(ip: Any) -> list[dict]:
    """What says, by its contents, that nothing was changed."""
    return [getattr(one, name) for one in ip.display_formatter.formatters.values() for name in _TABLES]


def read(ip: Any) -> dict[str, dict[str, dict]]:
    """MIME type -> table -> type (or its name) -> function, for functions that a pickle brings back: the notebook's, SymPy's
    (closures), and those that a module has."""
    found: dict[str, dict[str, dict]] = {}
    for mime, one in ip.display_formatter.formatters.items():
        for name in _TABLES:
            mine = {kind: show for kind, show in getattr(one, name).items() if _comes_back(show)}
            if mine:
                found.setdefault(mime, {})[name] = mine
    return found


def _comes_back(show: Any) -> bool:
    home = getattr(show, "__module__", None)
    if type(show) is not types.FunctionType or not isinstance(home, str):
        return False
    if home.partition(".")[0] in ("IPython", "matplotlib_inline", "larder"):
        return False  # these come with what is imported
    return home == "__main__" or home.startswith("sympy.") or codec.by_import(show)


def go_on(ip: Any, saved: dict[str, dict[str, dict]], first: dict[str, dict[str, dict]]) -> None:
    """Have those that were ``saved`` (and those there were ``first``), and no others of their kind."""
    now = read(ip)
    for mime, one in ip.display_formatter.formatters.items():
        for name in _TABLES:
            table, wanted = getattr(one, name), saved.get(mime, {}).get(name, {})
            began = first.get(mime, {}).get(name, {})
            for kind in now.get(mime, {}).get(name, {}).keys() - wanted.keys() - began.keys():
                del table[kind]
            table.update(wanted)
