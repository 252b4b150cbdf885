"""The tracing optimiser: hot loops of notebook cells as machine code, where this interpreter allows it.

It is off unless asked for: ``larder.trace.optimise()``. Loops over ints, floats and bools in variables, with ``range``
and list reads, are compiled; any other loop is left to the interpreter with the reason in `table`.
"""

from __future__ import annotations

import builtins
import math
import sys
import sysconfig
import types
from collections.abc import Callable
from typing import Any

from . import _larder
from .display import Table, bytes_text

HOT = 40
"""Iterations from which a loop is recorded."""

_started = False


def _opcodes() -> tuple[list[tuple[str, int]], list[int]]:
    import opcode

    entries = opcode._inline_cache_entries  # type: ignore[attr-defined]
    caches = [0] * 256
    by_name = entries if isinstance(entries, dict) else {opcode.opname[i]: n for i, n in enumerate(entries[:256])}
    for name, count in by_name.items():
        number = opcode.opmap.get(name, 256)
        if number < 256:
            caches[number] = count
    return [(name, number) for name, number in opcode.opmap.items() if number < 256], caches


def _probe_loop(first):
    while first < 1000:
        first += 1
    return first


def _self_test() -> bool:
    """Jump one known frame: the loop starts at 7, the hook turns its 8 into 5000, one more pass ends it."""
    monitoring = sys.monitoring
    code = _probe_loop.__code__.replace(co_name="self_test")
    probe = types.FunctionType(code, {})
    monitoring.set_local_events(monitoring.OPTIMIZER_ID, code, monitoring.events.JUMP)
    _larder.trace_probe(code, 8, 5000)
    try:
        result = probe(7)
    finally:
        passed = _larder.trace_probe_end()
        monitoring.set_local_events(monitoring.OPTIMIZER_ID, code, 0)
    return passed and result == 5001


def start(wanted: Callable[[str], bool] | None, hot: int = HOT) -> str:
    """Take over the JUMP events of our tool id; empty, or why that cannot be. The tool id must be ours already."""
    global _started
    if sys.version_info[:2] != (3, 13):
        return "only CPython 3.13 has passed the differential fuzz so far"
    monitoring = sys.monitoring
    if not _started:
        names, caches = _opcodes()
        functions = [(name, getattr(builtins, name)) for name in ("range", "abs", "len", "float", "min", "max")]
        functions.append(("sqrt", math.sqrt))
        free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
        try:
            _larder.trace_start(
                tuple(sys.version_info[:2]), free_threaded, hasattr(sys, "gettotalrefcount"), names, caches,
                monitoring.OPTIMIZER_ID, monitoring.DISABLE, functions,
            )  # fmt: skip
        except RuntimeError as error:
            return str(error)
    monitoring.register_callback(monitoring.OPTIMIZER_ID, monitoring.events.JUMP, _larder.trace_callback())
    if not _started and not _self_test():
        return f"the self-test failed: the frames of CPython {sys.version.split()[0]} are not as expected"
    _started = True
    _larder.trace_configure(True, hot, wanted)
    monitoring.restart_events()
    return ""


def loops() -> list[dict[str, Any]]:
    """One dict per loop the optimiser has met."""
    return _larder.trace_loops() if _started else []


def table() -> Table:
    """The loops met: iterations run by the interpreter and as machine code, traces, exits, bytes, and why not."""
    found = sorted(loops(), key=lambda row: -(row["interpreted"] + row["native"]))
    columns = ["name", "line", "state", "interpreted", "native", "entries", "traces", "exits", "code_bytes", "why"]
    for row in found:
        row["traces"], row["exits"] = len(row["traces"]), len(row["exits"])
    made = sum(row["traces"] for row in found)
    code = sum(row["code_bytes"] for row in found)
    metadata = sum(row["metadata_bytes"] for row in found)
    footer = f"{made} traces, {bytes_text(code)} of code, {bytes_text(metadata)} of metadata" if made else ""
    return Table(found, columns, title="optimised loops", footer=footer, empty="no loop met yet")
