"""Objects of traitlets (widgets among them) with those who observe them, whom traitlets leaves out of a pickle.

What a class itself observes is set up anew by ``__setstate__``; what was added with ``observe``, ``link`` or ``interactive``
is not.
"""

from __future__ import annotations

import sys
from typing import Any

_ALL = "*"


def observable(kind: type) -> bool:
    """Whether instances of ``kind`` have observers."""
    base = getattr(sys.modules.get("traitlets"), "HasTraits", None)
    return base is not None and issubclass(kind, base)


def reduced(one: Any) -> Any:
    """How a pickle has it, and what a walk compares."""
    made = one.__reduce_ex__(5)
    if not isinstance(made, tuple) or len(made) < 3:
        return made
    traitlets = sys.modules["traitlets"]

    def word(given: Any) -> Any:
        return _ALL if given is traitlets.All else given

    added = [
        (word(name), word(sort), handler)
        for name, sorts in one._trait_notifiers.items()
        for sort, handlers in sorts.items()
        for handler in handlers
        if not isinstance(handler, traitlets.EventHandler)
    ]
    if not added:
        return made
    return (*made[:2], (made[2], added), *(*made[3:5], None, None)[:2], _observed)


def _observed(one: Any, state: tuple) -> None:
    """Called while unpickling: the state, and who observes it."""
    import traitlets

    own, added = state
    one.__setstate__(own)
    for name, sort, handler in added:
        names = traitlets.All if name == _ALL else name
        one.observe(handler, names, traitlets.All if sort == _ALL else sort)
