"""The tracing optimiser's engine: taking over the JUMP events of this interpreter, where that is possible.

Public functions are in `larder.trace`; here is what stands between them and the machine code: the opcode tables of the
running interpreter, the self-test that jumps a known frame, and the rows the engine keeps.

Programs put what they like in the place of builtins, before loops are compiled too. So what runs here to start uses no name of
theirs (`tests/trace/test_patched.py` looks), and what it imports is imported with this module.
"""

from __future__ import annotations

import _random
import builtins
import math
import opcode
import sys
import threading
import types
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from . import _larder

SERVED = ((3, 12), (3, 13), (3, 14), (3, 15))
"""The versions that passed the differential fuzz."""
HOT = 40
"""Iterations from which a loop is recorded."""
PAGES_PER_TRACE = 8192
"""What a trace costs where each has a page of code and a page of data of its own."""

_started = False


_type: Any = (0).__class__.__class__
_list, _dict, _function = [].__class__, {}.__class__, [].append.__class__


def _opcodes() -> tuple[list[tuple[str, int]], list[int]]:
    entries = opcode._inline_cache_entries  # type: ignore[attr-defined]
    caches = [0] * 256
    # By number in 3.12, by name later.
    by_number = entries.__class__ is _list
    for name, number in opcode.opmap.items():
        if number < 256:
            caches[number] = entries[number] if by_number else entries.get(name, 0)
    special = opcode.__dict__.get("_specialized_opmap")
    if special is None:
        # Python 3.12 numbers them for disassembly only: in order, by what nothing else has.
        special, free = {}, [name[1:-1] for name in opcode.opname if name.startswith("<")]
        for name in opcode._specialized_instructions:  # type: ignore[attr-defined]
            number = 0
            for digit in free.pop(0):
                number = number * 10 + "0123456789".index(digit)
            special[name] = number
    return [(name, number) for name, number in {**special, **opcode.opmap}.items() if number < 256], caches


_HEAP_TYPE = 1 << 9
_BUILTINS = (
    "range abs len float int bool round divmod pow min max sum ord chr str repr format enumerate zip isinstance".split()
)
_MATH = (
    "sqrt sin cos tan atan atan2 exp log floor ceil fabs asin acos sinh cosh tanh asinh acosh atanh log2 log10 log1p expm1 "
    "exp2 cbrt erf erfc gamma lgamma pow hypot fmod copysign degrees radians isnan isinf isfinite trunc gcd isqrt"
).split()


def _functions() -> list[tuple[str, Any]]:
    """The callables that have a meaning of their own in a trace: not what a program has put in their places."""
    found: list[tuple[str, Any]] = [(name, _original(builtins, name)) for name in _BUILTINS]
    integer = math.__dict__.get("integer", math)  # where CPython 3.15 has `gcd` and `isqrt`
    found += [(f"math.{name}", _original(math, name) or _original(integer, name)) for name in _MATH]
    found += [(f"list.{name}", _list.__dict__[name]) for name in ("append", "pop")]
    found += [(f"dict.{name}", _dict.__dict__[name]) for name in ("get", "keys", "values", "items")]
    found += [("set.add", {0}.__class__.add), ("random.random", _random.Random().random)]
    return [(name, function) for name, function in found if function is not None]


def _original(module: types.ModuleType, name: str) -> Any:
    """What C calls by this name in this module; None if something else has taken its place."""
    found = module.__dict__.get(name)
    if _type(found) is _function:
        return found if found.__self__ is module and found.__name__ == name else None
    # A class of C's is no heap type; metaclasses could tell anything of the others.
    if _type(found) is _type and not found.__flags__ & _HEAP_TYPE:
        return found if (found.__module__, found.__qualname__) == (module.__name__, name) else None
    return None


def _common_constants() -> list[Any]:
    """What the argument of LOAD_COMMON_CONSTANT means; older versions have no such instruction."""
    return [*opcode.__dict__.get("_common_constants", ())]


def _samples() -> dict[str, Any]:
    """Objects of known content, at which `_larder.trace_check` looks."""
    range, enumerate, zip = _larder.trace_types()

    class Plain:
        def __init__(self) -> None:
            self.first = number

    class Slotted:
        __slots__ = ("first",)

    number, text, wide = (1.0).__add__(0.25), "lar" + "der"[:], 1 << 40
    slotted, plain, shown = Slotted(), Plain(), Plain()
    slotted.first = number
    shared = number

    def function(one, /, two=0, *, three=0):
        return shared, sys, 3.5

    listed, pair, span = [number, 5], (5, number), range(3, 20, 4)
    walks: dict[str, Any] = {
        "range iterator": span.__iter__(), "list iterator": listed.__iter__(), "tuple iterator": pair.__iter__(),
        "enumerate": enumerate(listed, 5), "zip": zip(listed, listed, strict=False),
        "dict iterator": {5: number, text: number}.__iter__(), "set iterator": {number}.__iter__(),
    }  # fmt: skip
    for name, walk in walks.items():
        if name != "set iterator":
            walk.__next__()
    generator = _random.Random(5)
    generator.random()
    state, code = generator.getstate(), function.__code__
    assert plain.first is shown.first is function.__closure__[0].cell_contents  # type: ignore[index]
    return {
        **walks,
        "name": "first", "small": 5, "negative": -70_000, "digits": wide, "wide": -(1 << 63), "huge": 1 << 70, "float": number,
        "text": text, "latin": "caf\xe9", "wide text": "\u0416", "bytes": b"abc", "list": listed, "tuple": pair, "range": span,
        "by text": {text: number}, "by number": {wide: number}, "by both": {text: number, wide: number},
        "generator": generator, "generator index": state[624], "generator first": state[0], "generator last": state[623],
        "function": function, "code": code, "globals": function.__globals__, "builtins": function.__builtins__,
        "defaults": function.__defaults__, "keyword defaults": function.__kwdefaults__,
        "closure": function.__closure__, "cell": function.__closure__[0],  # type: ignore[index]
        "constants": code.co_consts, "names": code.co_names, "flags": code.co_flags, "argument count": code.co_argcount,
        "positional count": code.co_posonlyargcount, "keyword count": code.co_kwonlyargcount,
        "first variable": code.co_varnames[0], "stack size": code.co_stacksize,
        "slots": code.co_varnames.__len__() + code.co_cellvars.__len__() + code.co_freevars.__len__(),
        "units": code._co_code_adaptive,  # type: ignore[attr-defined]
        "append": listed.append, "append too": listed.append, "pop": listed.pop,
        "class": Plain, "class size": Plain.__basicsize__, "slotted": slotted, "instance": plain,
        "instance with dict": shown, "its dict": shown.__dict__,
    }  # fmt: skip


def _probe_loop(first):
    while first < 1000:
        first += 1
    return first


def _self_test() -> str:
    """Jump one known frame: the loop starts at 7, the hook turns its 8 into 5000, which ends it.

    Empty, or what is not as this build expects it.
    """
    monitoring = sys.monitoring
    code = _probe_loop.__code__.replace(co_name="self_test")
    probe = types.FunctionType(code, {})
    monitoring.set_local_events(monitoring.OPTIMIZER_ID, code, monitoring.events.JUMP)
    _larder.trace_probe(code, 8, 5000)
    try:
        result = probe(7)
    finally:
        wrong = _larder.trace_probe_end()
        monitoring.set_local_events(monitoring.OPTIMIZER_ID, code, 0)
    return wrong or ("" if result in (5000, 5001) else "a changed local")


def _gauge() -> None:
    """Measure what the interpreter takes to call the hook: the time of a pass with it, less the time without."""
    monitoring = sys.monitoring
    probe = types.FunctionType(_probe_loop.__code__.replace(co_name="gauge"), {})
    least, asked = 1 << 40, monitoring.get_events(monitoring.OPTIMIZER_ID)
    monitoring.set_events(monitoring.OPTIMIZER_ID, 0)
    for _ in (1, 2, 3, 4):
        start = perf_counter_ns()
        probe(0)
        took = perf_counter_ns() - start
        least = took if took < least else least
    _larder.trace_gauging()
    monitoring.set_local_events(monitoring.OPTIMIZER_ID, probe.__code__, monitoring.events.JUMP)
    try:
        probe(900)
    finally:
        _larder.trace_gauge(probe.__code__, least // 1000)
        monitoring.set_local_events(monitoring.OPTIMIZER_ID, probe.__code__, 0)
        monitoring.set_events(monitoring.OPTIMIZER_ID, asked)


def serves() -> bool:
    """Whether this version of CPython is one of those the optimiser takes on."""
    return sys.version_info[:2] in SERVED


def start(wanted: Callable[[str], bool] | None, hot: int = HOT) -> str:
    """Take over the JUMP events of our tool id; empty, or why that cannot be. The tool id must be ours already."""
    global _started
    if not serves():
        return f"CPython {sys.version_info[0]}.{sys.version_info[1]} has not passed the differential fuzz"
    monitoring = sys.monitoring
    if not _started:
        names, caches = _opcodes()
        build = (
            (sys.version_info[0], sys.version_info[1]), "t" in sys.abiflags,
            "gettotalrefcount" in sys.__dict__,
        )  # fmt: skip
        try:
            main = threading.current_thread() is threading.main_thread()
            _larder.trace_check(build[0], sys.hexversion, *build[1:], _samples(), main)
            _larder.trace_start(
                *build, names, caches,
                monitoring.OPTIMIZER_ID, monitoring.DISABLE, _functions(),
                _common_constants(),
            )  # fmt: skip
        except RuntimeError as error:
            return f"CPython {sys.version.split()[0]}: {error}"
    monitoring.register_callback(monitoring.OPTIMIZER_ID, monitoring.events.JUMP, _larder.trace_callback())
    wrong = "" if _started else _self_test()
    if wrong:
        return f"CPython {sys.version.split()[0]} keeps {wrong} otherwise than this build of larder expects"
    if not _started:
        _gauge()
    _started = True
    try:
        _larder.trace_configure(True, hot, wanted)
    except RuntimeError as error:
        return f"{error}"
    monitoring.restart_events()
    return ""


def started() -> bool:
    """Whether the engine ran in this process, now or earlier."""
    return _started


def loops() -> list[dict[str, Any]]:
    """One dict per loop the optimiser has met."""
    return _larder.trace_loops() if _started else []


def usage() -> dict[str, Any]:
    """How full the code arena is, and what it has done."""
    return _larder.trace_usage() if _started else {}


def clear() -> None:
    """Forget what was counted."""
    if _started:
        _larder.trace_clear()


def tick() -> None:
    """Time passes: what no longer grows settles, what nobody enters is discarded."""
    if _started:
        _larder.trace_tick()


def exactly(on: bool) -> None:
    """Report every back edge of watched code, or stop doing so."""
    if _started:
        _larder.trace_exact(on)
