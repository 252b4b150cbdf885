"""The ``%trace`` and ``%%trace`` magics."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from .. import hooks, trace
from ..display import Table

_HELP = """%trace           the loops counted so far
%trace on|off    count loops, or stop
%trace stats     how many loops are cold, warm and hot, and why counting is off if it is
%trace clear     forget all counts
%trace optimise  compile hot loops from now on (experimental; %trace off ends it)
%trace optimised the loops compiled, and why others were not
%%trace          run the cell, counting every iteration, and show its loops"""

VERBS = ("on", "off", "stats", "clear", "optimise", "optimised")


@magics_class
class TraceMagics(Magics):
    """``%trace`` and ``%%trace``."""

    def __init__(self, shell: Any = None, **kwargs: Any) -> None:
        super().__init__(shell=shell, **kwargs)
        shell.set_hook("complete_command", complete, re_key=r"%{1,2}trace\b.*")
        hooks.BEFORE.append(trace.stand_aside)

    @line_cell_magic
    def trace(self, line: str = "", cell: str | None = None) -> Any:
        """Loops: where they are, how often they went round, which are hot. ``%trace --help`` lists what it can do."""
        verb = line.strip()
        if cell is not None:
            return self._cell(verb, cell)
        if verb in ("--help", "-h", "help"):
            print(_HELP)
            return None
        if verb == "":
            return trace.traces()
        if verb == "on":
            if not trace.enable():
                raise UsageError(f"loops cannot be counted: {trace.stats()['why']}")
            return None
        if verb == "optimise":
            if not trace.optimise():
                raise UsageError(f"loops cannot be compiled: {trace.stats()['not_optimising']}")
            return None
        if verb == "optimised":
            return trace.optimised()
        if verb == "off":
            return trace.disable()
        if verb == "clear":
            return trace.clear()
        if verb == "stats":
            return Table([trace.stats()])
        raise UsageError(f"%trace has no `{verb}`; it has {', '.join(VERBS)} (see %trace --help)")

    def _cell(self, words: str, cell: str) -> None:
        from IPython.display import display

        if words:
            raise UsageError(f"%%trace takes no arguments, not {words!r}")
        with trace.exactly() as before:
            result = self.shell.run_cell(cell, store_history=False)
            found = trace.rows(before)
        display(trace.table(found))
        if not result.success:
            raise UsageError("the traced cell failed, see above")


def complete(shell: Any, event: Any) -> list[str]:
    """Tab completion of ``%trace``."""
    return [*VERBS, "--help"]
