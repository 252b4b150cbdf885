"""Hot loops of a notebook as machine code, and what became of each loop.

``%trace on`` or `enable` watches the loops of notebook cells through ``sys.monitoring``. On a CPython it knows, a loop that
goes round often is recorded and compiled, and runs natively from then on; elsewhere loops are counted only, and `stats` says
why. Nothing is ever changed in the interpreter, and results are those of plain Python (``docs/trace.md``).

>>> larder.trace.enable()
True
>>> larder.trace.traces()       # each loop: iterations native and interpreted, guards, exits, bytes
>>> larder.trace.overheads()    # what the interpreter would have done besides the program's work
>>> larder.trace.graph()        # the traces of the busiest loop, and where they leave
>>> larder.trace.listing(f)     # the operations of the traces of a function's loops
"""

from __future__ import annotations

import linecache
import math
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import loopcount, optimiser
from .display import Table, bytes_text
from .tracegraph import Graph

_on = False
_paused: dict[str, Any] | None = None
_asked: dict[str, Any] = {}
_why = "it was not switched on; `%trace on` does"
_not_compiling = "it was not switched on; `%trace on` does"


def _obstacle() -> str:
    """Why loops cannot be watched now; empty when they can."""
    if sys.version_info < (3, 12):
        return f"CPython {sys.version_info[0]}.{sys.version_info[1]} has no sys.monitoring; 3.12 is the first that has"
    if "t" in sys.abiflags:
        return "free-threaded builds are not supported"
    if sys.gettrace() is not None:
        return "a tracer is active (sys.settrace: a debugger or a coverage tool)"
    if sys.getprofile() is not None:
        return "a profiler is active (sys.setprofile)"
    for number in (sys.monitoring.DEBUGGER_ID, sys.monitoring.COVERAGE_ID, sys.monitoring.PROFILER_ID):
        if sys.monitoring.get_tool(number) is not None:
            return f"the tool {sys.monitoring.get_tool(number)!r} is active"
    other = sys.monitoring.get_tool(sys.monitoring.OPTIMIZER_ID)
    if other not in (None, "larder"):
        return f"another optimiser is active: {other!r}"
    return ""


def enable(compile: bool = True, *, watch_all: bool = False, hot: int | None = None) -> bool:
    """Watch loops from now on; compile the hot ones where this interpreter allows it.

    | argument    | meaning                                                                |
    |-------------|------------------------------------------------------------------------|
    | `compile`   | False: count only                                                      |
    | `watch_all` | all code, and not only what was typed into cells                       |
    | `hot`       | back edges after which a loop is recorded (default 40)                 |

    False when something stands in the way: ``stats()["why"]`` says what. True, but loops are only counted:
    ``stats()["not_compiling"]`` says why.
    """
    global _on, _why, _not_compiling, _asked
    _asked = {"compile": compile, "watch_all": watch_all, "hot": hot}
    _why = _obstacle()
    if _why:
        disable(_why)
        _not_compiling = _why
        return False
    monitoring = sys.monitoring
    if monitoring.get_tool(monitoring.OPTIMIZER_ID) is None:
        monitoring.use_tool_id(monitoring.OPTIMIZER_ID, "larder")
    monitoring.set_events(monitoring.OPTIMIZER_ID, monitoring.events.JUMP)
    _on = True
    _not_compiling = "only counting was asked for; `%trace on` compiles"
    if compile:
        _not_compiling = optimiser.start(None if watch_all else loopcount.from_cell, hot or optimiser.HOT)
    if _not_compiling:
        monitoring.register_callback(monitoring.OPTIMIZER_ID, monitoring.events.JUMP, loopcount.jump)
    return True


def disable(why: str = "it was switched off; `%trace on` switches it on") -> None:
    """Leave all loops to the interpreter; what was counted stays to be looked at."""
    global _on, _why, _not_compiling
    _why = _not_compiling = why
    if _on:
        monitoring = sys.monitoring
        monitoring.set_events(monitoring.OPTIMIZER_ID, 0)
        monitoring.register_callback(monitoring.OPTIMIZER_ID, monitoring.events.JUMP, None)
        monitoring.free_tool_id(monitoring.OPTIMIZER_ID)
        _on = False


def at_start() -> None:
    """What a kernel does when it starts: as ``LARDER_TRACE`` says (``on``, ``count`` or ``off``), else count."""
    wish = os.environ.get("LARDER_TRACE", "count")
    if wish == "off":
        disable("LARDER_TRACE=off")
    else:
        enable(compile=wish == "on")


def stand_aside(ip: Any = None, about: Any = None) -> None:
    """Before each cell: stop while a debugger, profiler or coverage tool is at work, and go on after it."""
    global _paused
    if _on and _obstacle():
        _paused = dict(_asked)
        disable(_obstacle())
    elif _paused is not None and not _on and not _obstacle():
        enable(**_paused)
        _paused = None


def make_way() -> None:
    """At once, in the middle of a cell: a debugger is about to stop it. Loops are watched again from the next cell on."""
    global _paused
    if _on:
        _paused = dict(_asked)
        disable("a debugger stopped this cell")


def after_cell(ip: Any = None, about: Any = None) -> None:
    """After each cell: time passes for compiled loops; those that nobody enters any more are discarded at length."""
    optimiser.tick()


def clear() -> None:
    """Forget all counts and discard all machine code; loops start again from cold."""
    loopcount.loops.clear()
    optimiser.clear()
    if _on:
        sys.monitoring.restart_events()


def limit(bytes: int | None = None) -> int:
    """The limit for machine code in bytes, after setting it when ``bytes`` is given; what is over it is discarded.

    # Errors
    ValueError for less than one page (4096); RuntimeError where nothing is compiled, with the reason.
    """
    if not optimiser.started():
        raise RuntimeError(f"there is no machine code to limit: {_not_compiling}")
    if bytes is not None:
        if not isinstance(bytes, int) or bytes < 4096:
            raise ValueError(f"the limit for machine code is at least one page, 4096 bytes, not {bytes!r}")
        from . import _larder

        _larder.trace_limit(bytes)
    return optimiser.usage()["limit"]


# --- what became of loops ---


def _key(row: dict) -> tuple:
    return row.get("key") or (row["file"], row["name"], row["line"])


def _raw() -> dict[tuple, dict]:
    """Every loop met, by file, name and line; of loops both counted and compiled, what the optimiser says."""
    found = {_key(row): row for row in loopcount.rows()}
    # Not the loop by which the optimiser found out what the interpreter takes.
    found.update({_key(row): row for row in optimiser.loops() if row["file"] != optimiser.__file__})
    return found


def _since(row: dict, before: dict | None) -> dict:
    """The row with only what happened since it looked like ``before``."""
    if before is None:
        return row
    row = dict(row)
    for key in ("interpreted", "native", "entries", "linked", "refused", "compile_ns", "compiles"):
        if key in row:
            row[key] -= before.get(key, 0)
    for part, count in (("traces", "runs"), ("exits", "taken")):
        if part in row:
            old = before.get(part, [])
            row[part] = [
                {**one, count: one[count] - (old[i][count] if i < len(old) else 0)} for i, one in enumerate(row[part])
            ]
    for key in ("without", "natively", "interpreter"):
        if key in row:
            row[key] = [a - b for a, b in zip(row[key], before.get(key, [0] * len(row[key])), strict=True)]
    return row


def rows(since: dict[tuple, dict] | None = None) -> list[dict]:
    """One dict per loop, busiest first; with ``since`` only what happened since, and only loops that went round."""
    found = []
    for key, row in _raw().items():
        row = _since(row, since.get(key) if since is not None else None)
        entries = row.get("entries", 0)
        # The interpreter took the back edge that an entry began with, unless another trace led there.
        native, interpreted = row.get("native", 0), row["interpreted"] + entries - row.get("linked", 0)
        if native + interpreted <= 0:
            continue
        traces, exits = row.get("traces", []), row.get("exits", [])
        out = [e for e in exits if e["side"] is None and e["taken"] > 0]
        most = max(out, key=lambda e: e["taken"], default=None)
        size = row.get("code_bytes", 0) + row.get("metadata_bytes", 0)
        found.append(
            {
                "code": row["name"],
                "line": row["line"],
                "source": linecache.getline(row["file"], row["line"]).strip()[:60],
                "iterations": native + interpreted,
                "native": native,
                "interpreted": interpreted,
                "state": row["state"],
                "traces": len(traces),
                "guards": sum(t["guards"] for t in traces),
                "exits": sum(e["taken"] for e in out),
                "leaves by": f"{most['reason']} ({most['taken']})" if most else "",
                "bytes": size,
                "compile ms": round(row.get("compile_ns", 0) / 1e6, 2),
                "why": row.get("why", ""),
                "counted": "to the end" if since is not None or not row["stopped"] else f"to {interpreted}",
                "file": row["file"],
                "detail": row,
            }
        )
    return sorted(found, key=lambda row: -row["iterations"])


def traces() -> Table:
    """The loops met so far, busiest first. The table is a list of dicts; ``detail`` has every trace and exit."""
    return table(rows())


def table(found: list[dict]) -> Table:
    """``found`` as a table, with what the optimiser is doing below it."""
    now = stats()
    if not now["on"]:
        state = f"standing aside: {now['why']}"
    elif now["not_compiling"]:
        state = f"counting only: {now['not_compiling']}"
    else:
        state = "compiling hot loops"
    columns = ["code", "line", "source", "iterations"]
    if any(row["traces"] for row in found):
        columns += ["native", "interpreted", "state", "traces", "guards", "exits", "leaves by", "bytes", "compile ms"]
    else:
        columns += ["counted", "state"]
    if any(row["why"] for row in found):
        columns.append("why")
    counts = ", ".join(
        f"{now[state]} {state}" for state in ("compiled", "hot", "warm", "cold", "shunned") if now[state]
    )
    return Table(
        found,
        columns,
        titles={"why": "why not compiled"},
        formats={"bytes": bytes_text},
        footer=f"{state}; loops: {counts or 'none'}",
        empty="no loop met",
    )


def stats() -> dict:
    """Whether loops are watched and compiled (and why not), and totals over all loops.

    ``bytes_per_trace`` is machine code, exits and all that is kept beside them, over the number of traces, of every loop
    compiled so far (a loop of a cell that ended counts as it was last); ``two_pages_per_trace`` is what a page of code and
    a page of data for each trace would come to. ``growing_bytes`` is kept only while a loop still grows.
    """
    found = list(_raw().values())
    made = [row for row in found if row.get("traces")]
    count = sum(len(row["traces"]) for row in made)
    code, beside = sum(row["code_bytes"] for row in made), sum(row["metadata_bytes"] for row in made)
    states = [row["state"] for row in found]
    now = optimiser.usage()
    return {
        "on": _on,
        "why": "" if _on else _why,
        "compiling": _on and not _not_compiling,
        "not_compiling": _not_compiling,
        "loops": len(found),
        **{state: states.count(state) for state in ("cold", "warm", "hot", "compiled", "shunned")},
        "iterations_native": sum(row.get("native", 0) for row in found),
        "iterations_interpreted": sum(row["interpreted"] + row.get("entries", 0) for row in found),
        "traces": count,
        "guards": sum(t["guards"] for row in made for t in row["traces"]),
        "compile_ms": round(sum(row["compile_ns"] for row in made) / 1e6, 2),
        "code_bytes": code,
        "metadata_bytes": beside,
        "growing_bytes": sum(row["growing_bytes"] for row in made),
        "bytes_per_trace": round((code + beside) / count) if count else None,
        "two_pages_per_trace": optimiser.PAGES_PER_TRACE,
        "limit": now.get("limit"),
        "used": now.get("used"),
        "compactions": now.get("compactions"),
        "evictions": now.get("evictions"),
    }


def overheads(since: dict[tuple, dict] | None = None) -> Table:
    """What the interpreter does besides the program's work, by category: counts of operations.

    | column        | meaning                                                                          |
    |---------------|----------------------------------------------------------------------------------|
    | `interpreter` | done by the interpreter in iterations of compiled loops that it ran itself       |
    | `without`     | what it would have done in the iterations that ran natively                      |
    | `native`      | what the traces did instead, entries and exits included                          |
    | `removed`     | the difference: below zero where the traces did more (they make objects at exits) |
    | `share`       | its share of ``without``, shown as "more than before" below zero                 |

    Each bytecode and each trace operation has fixed counts per category (``core/trace/src/overhead.rs``); each is
    multiplied by the times it was executed: a run that left a trace early counts up to where it left.
    """
    from . import _larder

    names = _larder.trace_categories()
    kinds = ("interpreter", "without", "natively")
    sums = {kind: [0] * len(names) for kind in kinds}
    for key, row in _raw().items():
        row = _since(row, since.get(key) if since is not None else None)
        for kind in kinds:
            sums[kind] = [a + b for a, b in zip(sums[kind], row.get(kind) or [0] * len(names), strict=True)]
    interpreter, without, native = sums.values()
    found = [
        {
            "category": name,
            "interpreter": interpreter[k],
            "without": without[k],
            "native": native[k],
            "removed": without[k] - native[k],
            "share": (without[k] - native[k]) / without[k] if without[k] else -math.inf if native[k] else None,
            "meaning": meaning,
        }
        for k, (name, meaning) in enumerate(names)
    ]
    total = sum(without)
    kept = sum(native)
    footer = f"{total - kept:,} of {total:,} operations removed ({(total - kept) / total:.1%})" if total else ""
    if kept > total:
        footer = f"{kept - total:,} operations more than the {total:,} before: few iterations to each entry"
    return Table(
        found if total or any(interpreter) else [],
        ["category", "interpreter", "without", "native", "removed", "share", "meaning"],
        titles={
            "interpreter": "interpreted",
            "without": "would have been",
            "native": "done natively",
            "share": "removed %",
        },
        formats={
            **dict.fromkeys(("interpreter", "without", "native", "removed"), "{:,}".format),
            "share": lambda share: "more than before" if share < 0 else f"{share:.1%}",
        },
        footer=footer,
        empty="no loop was compiled" + (f": {_not_compiling}" if _not_compiling else ""),
    )


def graph(format: str = "svg", loop: int | None = None) -> Graph | str:
    """The traces of a loop as a picture: the root, side traces at the exits they continue, and where the loop is left.

    ``loop`` numbers the rows of `traces` from 0; None takes the first that has traces. ``format`` is ``"svg"`` for
    something a notebook shows, or ``"dot"`` for text that Graphviz reads.

    # Errors
    ValueError for another format; LookupError when that loop has no traces, with the reason.
    """
    if format not in ("svg", "dot"):
        raise ValueError(f'format is "svg" or "dot", not {format!r}')
    found = rows()
    if loop is None:
        chosen = next((row for row in found if row["traces"]), None)
        if chosen is None:
            raise LookupError("no loop was compiled" + (f": {_not_compiling}" if _not_compiling else " yet"))
    else:
        if not 0 <= loop < len(found):
            raise LookupError(f"there is no loop {loop}; `%trace` lists {len(found)}, numbered from 0")
        chosen = found[loop]
        if not chosen["traces"]:
            raise LookupError(f"loop {loop} (line {chosen['line']}) has no traces: {chosen['why'] or chosen['state']}")
    picture = Graph(chosen)
    return picture if format == "svg" else picture.dot()


def listing(of: Any) -> str:
    """The traces of a function's loops in words: how often each loop was entered and went round, and its operations.

    ``of`` is a function, a method or a code object; functions and comprehensions within it are listed too. A loop that has
    not grown for a while keeps its machine code only, and says so.

    # Errors
    TypeError for anything else; LookupError when none of its loops was compiled, with the reason.

    >>> print(larder.trace.listing(simulate))
    simulate, loop at line 4: 2 entries, 19960 passes
    ...
    """
    from . import _larder

    code = getattr(getattr(of, "__func__", of), "__code__", of)
    if not isinstance(code, types.CodeType):
        raise TypeError(f"a listing is of a function, a method or a code object, not of {type(of).__name__!r}")
    parts, waiting = [], [code]
    while waiting and optimiser.started():
        one = waiting.pop(0)
        waiting += [c for c in one.co_consts if isinstance(c, types.CodeType)]
        text = _larder.trace_listing(one)
        if text:
            parts.append(text)
    if not parts:
        why = _not_compiling if _not_compiling or not optimiser.started() else "`%trace` says what became of them"
        raise LookupError(f"no loop of {code.co_name} was compiled: {why}")
    return "".join(parts)


@contextmanager
def exactly() -> Iterator[dict[tuple, dict]]:
    """Count every iteration within the block; yields the loops as they were at its start, for the difference."""
    was_on, asked = _on, dict(_asked)
    if enable(watch_all=asked.get("watch_all", False), hot=asked.get("hot")):
        optimiser.exactly(True)
        loopcount.exact = True
        sys.monitoring.restart_events()
    try:
        yield _raw()
    finally:
        loopcount.exact = False
        optimiser.exactly(False)
        if not was_on:
            disable()
        elif _on and not asked.get("compile", True):
            enable(**asked)


def optimise(watch_all: bool = False, hot: int | None = None) -> bool:
    """`enable`, but false when loops are only counted."""
    return enable(watch_all=watch_all, hot=hot) and not _not_compiling
