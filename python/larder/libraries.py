"""Objects of libraries whose own pickle would lose what a notebook has of them."""

from __future__ import annotations

import copyreg
import gc
import importlib
import itertools
import re
import sys
import weakref
from collections.abc import Callable
from typing import Any

from . import weak

_CONSTANTS = (
    "pi", "degree", "e", "ln2", "ln10", "phi", "euler", "catalan", "khinchin", "glaisher", "apery", "twinprime", "mertens",
    "eps",
)  # fmt: skip
"""Of mpmath."""
# Objects that a module has one of, by their types: an alias of theirs stays one.
_HELD = {
    "os._Environ": ("os", ("environ", "environb")),
    "matplotlib.RcParams": ("matplotlib", ("rcParams",)),
    # Their states are saved apart (`chance`). `from random import randint` holds one, as much as what draws from it.
    "random.Random": ("random", ("_inst",)),
    "numpy.random.mtrand.RandomState": ("numpy.random.mtrand", ("_rand",)),
    # Pickle writes these and cannot read them; nothing in them is a notebook's.
    "sympy.polys.domains.realfield.RealField": ("sympy", ("RR",)),
    "sympy.polys.domains.complexfield.ComplexField": ("sympy", ("CC",)),
    "sympy.core.cache.lazy_function.<locals>.LazyFunction": ("sympy", ("test", "doctest")),
    # What was set of these is saved apart (`surroundings`).
    "mpmath.ctx_mp.MPContext": ("mpmath", ("mp",)),
    "mpmath.ctx_iv.MPIntervalContext": ("mpmath", ("iv",)),
    "mpmath.ctx_fp.FPContext": ("mpmath", ("fp",)),
    "mpmath.ctx_mp_python.constant": ("mpmath", _CONSTANTS),
}


def reducer(kind: type, otherwise: Any) -> Any:
    """How objects of this type are reduced; ``otherwise`` if nothing special is known of them."""
    found = weak.reducer(kind)
    if found is not None:
        return found
    if kind is re.Match:
        return _match
    if kind is getattr(sys.modules.get("numpy"), "ufunc", None):
        return _ufunc
    if unchanging(kind):
        return _jax_array
    if is_jitted(kind):
        return jitted
    base = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    if base is not None and issubclass(kind, base):
        own = all(getattr(kind, name) is getattr(base, name) for name in ("__getstate__", "__setstate__"))
        plain = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
        return _model if own and plain else otherwise
    held = _HELD.get(f"{kind.__module__}.{kind.__qualname__}")
    return _alias(*held, otherwise) if held is not None else otherwise


_numbers: dict[int, tuple[weakref.ref, bytes]] = {}
_next = itertools.count()


def unchanging(kind: type) -> bool:
    """Whether objects of this type never change, and are large: JAX's arrays."""
    return kind is getattr(sys.modules.get("jax._src.array"), "ArrayImpl", None)


def by_itself(one: Any) -> tuple[bytes, tuple, tuple]:
    """What `watch` compares of such an object: a number that no other one has, whatever lies at its address later; and whether
    it was given away (``donate_argnums``) or deleted."""
    key = id(one)
    found = _numbers.get(key)
    if found is None or found[0]() is not one:
        found = weakref.ref(one, lambda _: _numbers.pop(key, None)), b"%d" % next(_next)
        _numbers[key] = found
    return found[1] + b" deleted" * one.is_deleted(), (), ()


def _jax_array(one: Any) -> Any:
    """JAX makes 32 bits of 64, unless it is told not to."""
    made, arguments = one.__reduce__()
    return (_in_64_bits, (made, arguments)) if one.dtype.itemsize >= 8 else (made, arguments)


def _in_64_bits(made: Callable, arguments: tuple) -> Any:
    import jax

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        return made(*arguments)


def is_jitted(kind: type) -> bool:
    """Whether it is that of the functions that `jax.jit` makes."""
    return kind is getattr(sys.modules.get("jaxlib._jax"), "PjitFunction", None)


def jitted(one: Any) -> Any:
    """Their pickles leave their attributes out: name, text, and what `lower` and `trace` go by."""
    made, arguments, state = one.__reduce_ex__(5)[:3]
    return made, arguments, (state, vars(one)), None, None, _jitted_state


def _jitted_state(one: Any, state: tuple[dict, dict]) -> None:
    own, attributes = state
    one.__setstate__(own)
    vars(one).update(attributes)


def _match(one: re.Match) -> Any:
    """A match is found again, by whichever way of looking for it finds the same; none but its own can take long."""
    where = one.string, one.pos, one.endpos
    ways = ["match", "fullmatch"][: (one.start() == one.pos) + (one.span() == (one.pos, one.endpos))]
    for way in (*ways, "finditer"):
        found = getattr(one.re, way)(*where)
        for nth, other in enumerate(found if way == "finditer" else [found]):
            if other is not None and (other.regs, other.lastindex) == (one.regs, one.lastindex):
                return _match_again, (one.re, way, nth, *where)
            if other is not None and other.start() > one.start():
                break
    return NotImplemented


def _match_again(pattern: re.Pattern, way: str, nth: int, *where: Any) -> re.Match:
    found = getattr(pattern, way)(*where)
    return next(itertools.islice(found, nth, None)) if way == "finditer" else found


def of_function(one: Any) -> list | None:
    """What a ufunc of ``numpy.frompyfunc`` (as ``numpy.vectorize`` keeps one) holds: its function, first; ``None`` of a
    library's, which have the names of what they are there."""
    return gc.get_referents(one) if one.__name__.endswith(" (vectorized)") else None


def _ufunc(one: Any) -> Any:
    held = of_function(one)
    if not held:
        return NotImplemented
    state = getattr(one, "__dict__", None)
    identity = [value for value in held[1:] if value is not state]
    return _from_function, (held[0], one.nin, one.nout, *identity), state or None


def _from_function(function: Any, nin: int, nout: int, *identity: Any) -> Any:
    """An identity that is ``None`` is not the same as none."""
    given = {"identity": identity[0]} if identity else {}
    return importlib.import_module("numpy").frompyfunc(function, nin, nout, **given)


def _model(one: Any) -> Any:
    """A model of pydantic, which gets the very ``__dict__`` back that its state has: held by it alone, as the object's is."""
    return copyreg.__newobj__, (type(one),), tuple(one.__getstate__().items()), None, None, _model_state  # type: ignore[attr-defined]


def _model_state(one: Any, state: tuple) -> None:
    one.__setstate__(dict(state))


def _alias(module: str, names: tuple[str, ...], otherwise: Any) -> Callable[[Any], Any]:
    def reduced(one: Any) -> Any:
        home = sys.modules.get(module)
        for name in names:
            if getattr(home, name, None) is one:
                return _of_module, (module, name)
        return otherwise(one) if callable(otherwise) else NotImplemented

    return reduced


def _of_module(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
