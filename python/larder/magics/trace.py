"""The ``%trace`` and ``%%trace`` magics."""

from __future__ import annotations

import re
import types
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from .. import hooks, trace
from ..display import Table, bytes_text

_HELP = """%trace                  the loops met: iterations native and interpreted, guards, exits, bytes
%trace on|off           compile hot loops from now on, or leave all to the interpreter
%trace count            count loops, compile none
%trace stats            totals; bytes per trace beside two pages per trace; why it stands aside if it does
%trace overheads        operations of the interpreter by category, and how many the traces removed
%trace graph [N] [dot]  the traces of loop N of the list (default: the first compiled) as a picture, or as text for Graphviz
%trace listing NAME     the operations of the traces of a function's loops
%trace limit [SIZE]     the limit for machine code, or set it: 65536, 256K, 4M
%trace clear            forget all counts, discard all machine code
%%trace [overheads]     run the cell, counting every iteration, and show its loops (and the overheads removed)"""

VERBS = ("on", "off", "count", "stats", "overheads", "graph", "listing", "limit", "clear")


@magics_class
class TraceMagics(Magics):
    """``%trace`` and ``%%trace``."""

    def __init__(self, shell: Any = None, **kwargs: Any) -> None:
        super().__init__(shell=shell, **kwargs)
        shell.set_hook("complete_command", complete, re_key=r"%{1,2}trace\b.*")
        hooks.BEFORE.append(trace.stand_aside)
        hooks.AFTER.append(trace.after_cell)

    @line_cell_magic
    def trace(self, line: str = "", cell: str | None = None) -> Any:
        """Hot loops as machine code: what became of each, how large, what was saved. ``%trace --help`` lists what it can do."""
        words = line.split()
        if cell is not None:
            return self._cell(words, cell)
        verb, rest = (words[0], words[1:]) if words else ("", [])
        if verb in ("--help", "-h", "help"):
            print(_HELP)
            return None
        if verb == "graph":
            return self._graph(rest)
        if verb == "listing":
            return self._listing(rest)
        if verb == "limit":
            return self._limit(rest)
        if rest and verb in VERBS:
            raise UsageError(f"`%trace {verb}` takes no arguments, not {' '.join(rest)!r}")
        if verb == "":
            return trace.traces()
        if verb in ("on", "count"):
            if not trace.enable(compile=verb == "on"):
                raise UsageError(f"loops cannot be watched: {trace.stats()['why']}")
            if verb == "on" and trace.stats()["not_compiling"]:
                print(f"loops are counted, not compiled: {trace.stats()['not_compiling']}")
            return None
        if verb == "off":
            return trace.disable()
        if verb == "clear":
            return trace.clear()
        if verb == "stats":
            return _totals(trace.stats())
        if verb == "overheads":
            return trace.overheads()
        raise UsageError(f"%trace has no `{verb}`; it has {', '.join(VERBS)} (see %trace --help)")

    def _graph(self, words: list[str]) -> Any:
        kind = "dot" if "dot" in words else "svg"
        numbers = [word for word in words if word not in ("dot", "svg")]
        if len(numbers) > 1 or not all(word.isdigit() for word in numbers):
            raise UsageError(f"`%trace graph` takes the number of a loop, and `dot`, not {' '.join(words)!r}")
        try:
            found = trace.graph(kind, int(numbers[0]) if numbers else None)
        except LookupError as error:
            raise UsageError(error.args[0]) from None
        if isinstance(found, str):
            print(found)
            return None
        return found

    def _listing(self, words: list[str]) -> None:
        if len(words) != 1:
            raise UsageError(f"`%trace listing` takes the name of a function, not {' '.join(words)!r}")
        first, *rest = words[0].split(".")
        found = self.shell.user_ns.get(first, self)
        for name in rest:
            found = getattr(found, name, self)
        if found is self:
            raise UsageError(f"there is no {words[0]!r} here")
        try:
            print(trace.listing(found), end="")
        except (TypeError, LookupError) as error:
            raise UsageError(error.args[0]) from None

    def _limit(self, words: list[str]) -> Any:
        if len(words) > 1:
            raise UsageError(f"`%trace limit` takes one size, not {' '.join(words)!r}")
        try:
            now = trace.limit(size(words[0]) if words else None)
        except (ValueError, RuntimeError) as error:
            raise UsageError(error.args[0]) from None
        used = trace.stats()["used"]
        print(f"machine code: {bytes_text(used)} of at most {bytes_text(now)}")
        return None

    def _cell(self, words: list[str], cell: str) -> None:
        from IPython.display import display

        if words not in ([], ["overheads"]):
            raise UsageError(f"%%trace takes `overheads` or nothing, not {' '.join(words)!r}")
        with trace.exactly() as before:
            result = self.shell.run_cell(cell, store_history=False)
            found, saved = trace.rows(before), trace.overheads(before)
        display(trace.table(found))
        if words:
            display(saved)
        elif saved:
            print(f"overheads: {saved.footer}; `%%trace overheads` shows them by category")
        if not result.success:
            raise UsageError("the traced cell failed, see above")


def size(text: str) -> int:
    """``"256K"`` -> 262144."""
    match = re.fullmatch(r"(\d+)([KkMm]?)[Bb]?", text)
    if match is None:
        raise ValueError(f"a size is a number of bytes, with K or M after it if you like, not {text!r}")
    return int(match[1]) << {"": 0, "k": 10, "m": 20}[match[2].lower()]


def _totals(stats: dict) -> Table:
    """The numbers of `larder.trace.stats`, one a line, bytes as people read them."""
    shown = {"limit": bytes_text, "used": bytes_text, "growing_bytes": bytes_text}
    rows = [
        {"what": key.replace("_", " "), "value": shown[key](value) if key in shown and value is not None else value}
        for key, value in stats.items()
        if value not in ("", None)
    ]
    return Table(rows, ["what", "value"])


def complete(shell: Any, event: Any) -> list[str]:
    """Tab completion of ``%trace``."""
    words = event.line.split()
    if words and words[0] == "%%trace":
        return ["overheads"]
    if len(words) > 1 and words[1] == "graph":
        return ["dot"]
    if len(words) > 1 and words[1] == "listing":
        return [name for name, value in shell.user_ns.items() if isinstance(value, types.FunctionType)]
    if len(words) > 1 and words[1] == "limit":
        return ["256K", "1M", "4M"]
    return [*VERBS, "--help"]
