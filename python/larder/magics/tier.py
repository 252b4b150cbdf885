"""The ``%tier`` and ``%%tier`` magics."""

from __future__ import annotations

import ast
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class

from ..display import Bar

HELP = """%tier                 where every variable's bytes are
%tier NAME...         only these
%tier --exact         ask the node of every page (up to 1,000 are sampled otherwise)
%tier why NAME        in words: where it is, what it shares, whether it can move
%tier on [DIR]        arrays made from now on live in a tier file and can leave DRAM; `off` stops that for new ones
%tier demote NAME     move it out of DRAM, at the same address; `promote` brings it back
%tier auto on [--dram 4G]  keep the process under that (or the control group's limit) between cells; `off` stops it
%tier heat [on|off|NAME]  temperatures: sample cells, stop, or the picture of one variable
%tier pin NAME        keep it in DRAM; `unpin` lets it go again
%%tier                run the cell, then show what it touched and where that is
"""
NAMED = ("demote", "promote", "pin", "unpin", "why")
VERBS = ("auto", "heat", "on", "off", *NAMED)


@magics_class
class TierMagics(Magics):
    """``%tier`` and ``%%tier``."""

    def __init__(self, shell: Any = None, **kwargs: Any) -> None:
        super().__init__(shell=shell, **kwargs)
        shell.set_hook("complete_command", self._complete, re_key=r"%{1,2}tier\b.*")

    @line_cell_magic
    def tier(self, line: str, cell: str | None = None) -> Any:
        """Show where variables are: DRAM, slow nodes, page cache, disk, swap. ``%tier --help`` lists what it does."""
        from .. import tier

        words = line.split()
        if "--help" in words or "-h" in words:
            print(HELP, end="")
            return None
        if cell is not None:
            if words:
                raise UsageError("%%tier takes nothing beside the cell; %tier --help lists what there is")
            return self._cell(cell)
        # A verb by itself that needs a name may be one.
        if (
            words
            and words[0] in VERBS
            and not (words[0] in NAMED and words[1:] == [] and words[0] in self.shell.user_ns)
        ):
            return self._verb(words[0], words[1:])
        names = [word for word in words if not word.startswith("-")]
        strange = [word for word in words if word.startswith("-") and word != "--exact"]
        if strange:
            raise UsageError(f"%tier has no option {strange[0]}; try %tier --help")
        self._known(names)
        return tier.table(names or None, exact="--exact" in words)

    def _verb(self, verb: str, rest: list[str]) -> Any:
        from .. import tier

        try:
            if verb == "on":
                if len(rest) > 1:
                    raise UsageError("%tier on [DIR]")
                print(f"arrays of 1M and more made from now on live in a tier file in {tier.enable(*rest[:1])}")
                return None
            if verb == "auto":
                print(tier.auto(self._dram(rest)))
                return None
            if verb == "heat":
                return self._heat(rest)
            if verb == "off":
                if rest:
                    raise UsageError("%tier off takes no name: arrays that are in the tier file stay in it")
                tier.disable()
                print("new arrays come from NumPy's own allocator; those in the tier file stay movable")
                return None
            if len(rest) != 1 and not (verb == "demote" and len(rest) == 2):
                raise UsageError(f"%tier {verb} NAME" + (" [slow|file|swap|cache]" if verb == "demote" else ""))
            self._known(rest[:1])
            if verb == "why":
                print(tier.why(rest[0]))
                return None
            if verb in ("demote", "promote"):
                with Bar(f"{verb} {rest[0]}") as bar:
                    return getattr(tier, verb)(*rest, progress=bar)
            if verb == "pin":
                tier.pin(rest[0])
                print(f"{rest[0]} stays in DRAM until `%tier unpin {rest[0]}`")
            else:
                tier.unpin(rest[0])
                print(f"{rest[0]} may leave DRAM again")
            return None
        except (tier.TierError, ValueError) as error:
            raise UsageError(str(error)) from None

    def _dram(self, rest: list[str]) -> str | None:
        match rest:
            case ["off"]:
                return None
            case ["on"]:
                return "cgroup"
            case ["on", "--dram", amount]:
                return amount
        raise UsageError("%tier auto on [--dram 4G], or %tier auto off")

    def _heat(self, rest: list[str]) -> Any:
        from .. import heat

        if rest == ["on"]:
            heat.start()
            print("sampling heat while cells run; %tier heat off stops it and forgets")
            return None
        if rest == ["off"]:
            return heat.stop()
        if not rest:
            return heat.table()
        if len(rest) > 1:
            raise UsageError("%tier heat [on|off|NAME]")
        self._known(rest)
        try:
            return heat.map(rest[0])
        except NameError as error:
            raise UsageError(str(error)) from None

    def _known(self, names: list[str]) -> None:
        for name in names:
            if name not in self.shell.user_ns:
                raise UsageError(f"no variable `{name}`; %tier lists those there are, %tier --help what it can do")

    def _cell(self, cell: str) -> Any:
        from .. import heat

        with heat.Touched() as touched:
            self._run(cell)
        return touched.table()

    def _run(self, cell: str) -> None:
        """Runs the cell's statements in the user's namespace; the last expression is displayed, errors propagate."""
        shell = self.shell
        source = shell.transform_cell(cell)
        name = shell.compile.cache(source, shell.execution_count)
        body = shell.compile.ast_parse(source, filename=name).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";") else None
        exec(compile(ast.Module(body, []), name, "exec"), shell.user_ns)
        if last is not None:
            exec(compile(ast.Interactive([last]), name, "single"), shell.user_ns)

    def _complete(self, _shell: Any, event: Any) -> list[str]:
        from .. import tier

        names = list(tier.visible(self.shell.user_ns))
        words = event.line.split()[1:]
        if words and not event.line[-1].isspace():
            words.pop()  # the one being typed
        match words:
            case []:
                return ["--exact", "--help", *VERBS, *names]
            case ["auto"]:
                return ["on", "off"]
            case ["auto", "on"]:
                return ["--dram"]
            case ["heat"]:
                return ["on", "off", *names]
            case ["demote", name] if name in names:
                return ["slow", "file", "swap", "cache"]
            case ["on" | "off" | "auto", *_]:
                return []
        return names


TierMagics.tier.__doc__ = f"{TierMagics.tier.__doc__}\n\n{HELP}"  # what `%tier?` shows
