"""What the variables of a library's examples are, as text that two processes can compare."""

from __future__ import annotations

import copyreg
import pickle
import re
import sys
import types

import kindsfuzz
import widefuzz
from recoveryfuzz import Fingerprint

ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}|(?<=[ _-])\d{13,}(?=[>\]\s_])")
# What recoveryfuzz tells by itself, or is told by pickle's own answer as well.
KNOWN = {
    "builtins",
    "numpy",
    "pandas",
    "torch",
    "polars",
    "pyarrow",
    "collections",
    "__main__",
    "ipywidgets",
    "decimal",
    "fractions",
    "random",
    "functools",
}


class Seen(Fingerprint):
    """Of objects whose class `Fingerprint` does not know it tells what pickle would ask of them."""

    def of(self, x, depth=0) -> object:
        import pandas as pd

        kind = type(x)
        home = kind.__module__ if isinstance(kind.__module__, str) else ""
        root = home.partition(".")[0]
        if kind.__qualname__ == "Bunch" and isinstance(x, dict):  # whose `__setstate__` takes nothing
            return self.bunch(x)
        if kind.__qualname__ == "CallbackRegistry":  # whose `__getstate__` counts how often it was asked
            return ["CallbackRegistry", sorted(map(str, x.callbacks))]
        if isinstance(x, pd.Index):  # which of two equal ones a frame holds, no frame tells
            self.seen.pop(id(x), None)
            return super().of(x)
        if isinstance(x, pd.api.extensions.ExtensionDtype):
            return [kind.__qualname__, repr(x)]
        if root == "sympy" and hasattr(x, "is_Atom"):  # cannot change; which of two equal ones it is depends on a cache
            return [kind.__qualname__, sys.modules["sympy"].srepr(x)]
        if root == "shapely" and hasattr(x, "wkb_hex"):
            return [kind.__qualname__, x.wkb_hex]
        if (
            isinstance(x, types.FunctionType)
            and x.__module__ != "__main__"
            and "<locals>" not in x.__qualname__
            and x.__name__ != "<lambda>"
        ):
            return f"function {x.__module__}.{x.__qualname__}"
        if root == "matplotlib" and not hasattr(x, "figure"):
            return self.asked(x, kind)
        if (
            root in KNOWN
            or isinstance(x, type | types.ModuleType | types.FunctionType | types.MethodType | BaseException)
            or root in ("matplotlib", "types")
        ):
            return super().of(x)
        if isinstance(
            x, sys.modules["numpy"].ndarray | list | tuple | dict | set | frozenset | str | bytes | int | float
        ):
            return super().of(x)
        told = widefuzz.unchanging(self, x) or kindsfuzz.unchanging(self, x)
        return told if told is not None else self.asked(x, kind)

    def bunch(self, x) -> object:
        if id(x) in self.seen:
            return f"#{self.seen[id(x)]}"
        self.seen[id(x)] = len(self.seen)
        self.keep.append(x)
        return ["Bunch", [[key, self.of(one)] for key, one in x.items()]]

    def asked(self, x, kind) -> object:
        if id(x) in self.seen:
            return f"#{self.seen[id(x)]}"
        try:
            reduced = copyreg.dispatch_table[kind](x) if kind in copyreg.dispatch_table else x.__reduce_ex__(4)
        except Exception:  # what cannot be pickled: what its dictionary holds, or how it shows itself
            return super().of(x)
        self.seen[id(x)] = len(self.seen)
        self.keep += [x, reduced]
        if isinstance(reduced, str):
            return [kind.__qualname__, reduced]
        function, args, state, items, pairs = (*reduced, None, None, None, None)[:5]
        told = [f"{kind.__module__}.{kind.__qualname__}", getattr(function, "__qualname__", repr(function))]
        told += [self.of(args), self.of(state)]
        if items is not None:
            told.append([self.of(one) for one in items])
        if pairs is not None:
            told.append([[self.of(key), self.of(one)] for key, one in pairs])
        return told


def alone(space: dict, names: list[str], copied: bool) -> dict[str, object]:
    """Each variable by itself, or what pickle by itself makes of it."""
    told = {}
    for name in names:
        value = space.get(name)
        if copied:
            try:
                value = pickle.loads(pickle.dumps(value, 5))
            except Exception:
                continue
        told[name] = Seen.namespace({name: value}, [name])[name]
    return told
