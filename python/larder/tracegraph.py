"""A loop's traces as a picture: SVG that a notebook shows, or text for Graphviz.

One box a trace: how often it ran, bytecodes it stands for, operations and guards it has. An arrow leads from the exit of
one trace to the side trace that continues there; below each box are the exits that were taken, with the reason.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

WIDTH, LINE, GAP = 300, 16, 26
EXITS_MAX = 6
"""Exits listed below a box; the rest is summed up."""
LIGHT = {"paper": "#fff", "ink": "#111", "soft": "#555", "root": "#e3f1e3", "side": "#e6eef8", "leaves": "#a33"}
DARK = {"paper": "none", "ink": "#eee", "soft": "#b0b0b0", "root": "#1f3d22", "side": "#1f3350", "leaves": "#ff8a80"}
DARK_PAGES = ('body[data-jp-theme-light="false"]', "body.vscode-dark", "body.vscode-high-contrast")


class Graph:
    """The picture of one row of `larder.trace.traces`."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.title = f"{row['code']}, line {row['line']}: {row['source']}"
        self.note = f"{row['native']:,} iterations native, {row['interpreted']:,} interpreted, {row['bytes']:,} bytes"
        self.traces: list[dict] = row["detail"]["traces"]
        self.exits: list[dict] = row["detail"]["exits"]

    def _label(self, number: int) -> list[str]:
        trace = self.traces[number]
        kind = "root" if trace["from_exit"] is None else f"side trace {number}"
        end = "back to the head" if trace["closes"] else "then out"
        return [
            f"{kind}: {trace['runs']:,} runs, {end}",
            f"{trace['bytecodes']} bytecodes, {trace['ops']} operations, {trace['guards']} guards",
        ]

    def _leaves(self, number: int) -> list[str]:
        out = [e for e in self.exits if e["trace"] == number and e["side"] is None and e["taken"]]
        out.sort(key=lambda e: -e["taken"])
        lines = [f"{e['taken']:,} x {e['reason']}" for e in out[:EXITS_MAX]]
        if len(out) > EXITS_MAX:
            lines.append(f"{sum(e['taken'] for e in out[EXITS_MAX:]):,} x {len(out) - EXITS_MAX} other exits")
        return lines

    def _children(self, number: int) -> list[tuple[int, str]]:
        """Side traces that continue exits of this one, each with the exit's reason."""
        found = [(e["side"], e["reason"]) for e in self.exits if e["trace"] == number and e["side"] is not None]
        return [(side, reason) for side, reason in found if side != number and side < len(self.traces)]

    def dot(self) -> str:
        """The graph for ``dot -Tsvg``."""

        def quoted(text: str) -> str:
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

        lines = ["digraph traces {", "  node [shape=box, fontname=monospace];", f"  label={quoted(self.title)};"]
        for number, trace in enumerate(self.traces):
            lines.append(f"  t{number} [label={quoted(chr(10).join(self._label(number)))}];")
            if trace["closes"]:
                lines.append(f"  t{number} -> t0 [style=dashed];")
            lines += [f"  t{number} -> t{side} [label={quoted(reason)}];" for side, reason in self._children(number)]
            leaves = self._leaves(number)
            if leaves:
                lines.append(f"  x{number} [shape=plaintext, label={quoted(chr(10).join(leaves))}];")
                lines.append(f"  t{number} -> x{number} [style=dotted];")
        return "\n".join([*lines, "}"])

    def svg(self) -> str:
        """The picture, as text, on white."""
        return self._svg(LIGHT)

    def _svg(self, colours: Mapping[str, str]) -> str:
        out: list[str] = []
        bottom = self._place(0, 10, 58, out, set(), colours)
        depth = self._depth(0, set())
        width = max(20 + WIDTH + (depth - 1) * 60 + 20, 560)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom + 10}" '
            f'viewBox="0 0 {width} {bottom + 10}" font-family="monospace" font-size="11" role="img" '
            f'aria-label="{html.escape(self.title)}">'
            '<defs><marker id="larder-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0L8 4L0 8z" fill="{colours["soft"]}"/></marker></defs>'
            f'<rect width="{width}" height="{bottom + 10}" fill="{colours["paper"]}"/>'
        )
        out[:0] = [
            self._text(10, 20, self.title[:90], colours["ink"], bold=True),
            self._text(10, 38, self.note, colours["soft"]),
        ]
        return "\n".join([head, *out, "</svg>"])

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        """The picture in the colours of the page around it; a picture by itself cannot know them.

        Preformatted, as of notebooks that came from somebody else only the texts are left: each is in a line of its own.
        """

        def told(colours: Mapping[str, str]) -> str:
            return ";".join(f"--larder-{name}:{colour}" for name, colour in colours.items())

        dark = ",".join(f"{page} .larder-graph" for page in DARK_PAGES)
        style = f"<style>.larder-graph{{{told(LIGHT)}}}{dark}{{{told(DARK)}}}</style>"
        picture = self._svg({name: f"var(--larder-{name},{colour})" for name, colour in LIGHT.items()})
        return f'{style}<pre class="larder-graph" style="margin:0;padding:0">{picture}</pre>'

    def __repr__(self) -> str:
        lines = [self.title, self.note]

        def walk(number: int, depth: int, seen: set[int]) -> None:
            if number in seen:
                return
            seen.add(number)
            pad = "  " * depth
            first, second = self._label(number)
            lines.append(f"{pad}{first}; {second}")
            lines.extend(f"{pad}  leaves: {leaf}" for leaf in self._leaves(number))
            for side, reason in self._children(number):
                lines.append(f"{pad}  continues when: {reason}")
                walk(side, depth + 2, seen)

        walk(0, 0, set())
        return "\n".join(lines)

    @staticmethod
    def _text(x: int, y: int, text: str, colour: str, bold: bool = False) -> str:
        weight = ' font-weight="bold"' if bold else ""
        return f'<text x="{x}" y="{y}" fill="{colour}"{weight}>{html.escape(text)}</text>'

    def _depth(self, number: int, seen: set[int]) -> int:
        if number in seen:
            return 0
        seen.add(number)
        return 1 + max((self._depth(side, seen) for side, _ in self._children(number)), default=0)

    def _place(self, number: int, x: int, y: int, out: list[str], seen: set[int], ink: Mapping[str, str]) -> int:
        """Draws a trace with all that continues it, and gives where the next may begin."""
        seen.add(number)
        trace, leaves = self.traces[number], self._leaves(number)
        fill = ink["root" if trace["from_exit"] is None else "side"]
        out.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{2 * LINE + 12}" rx="4" fill="{fill}" stroke="{ink["soft"]}"/>'
        )
        for line, text in enumerate(self._label(number)):
            out.append(self._text(x + 8, y + 18 + line * LINE, text, ink["ink"]))
        if trace["closes"] and number == 0:
            right, top = x + WIDTH, y + 8
            out.append(
                f'<path d="M{right} {top + 22}c28 0 28 -22 0 -22" fill="none" stroke="{ink["soft"]}" '
                'marker-end="url(#larder-arrow)"/>'
            )
        below = y + 2 * LINE + 12
        for line, text in enumerate(leaves):
            out.append(self._text(x + 24, below + 14 + line * LINE, "leaves: " + text, ink["leaves"]))
        below += LINE * len(leaves) + (6 if leaves else 0)
        for side, reason in self._children(number):
            if side in seen:
                continue
            at = below + GAP
            out.append(
                f'<path d="M{x + 12} {y + 2 * LINE + 12}V{at + 18}H{x + 56}" fill="none" stroke="{ink["soft"]}" '
                'marker-end="url(#larder-arrow)"/>'
            )
            out.append(self._text(x + 64, at - 6, f"when: {reason}", ink["soft"]))
            below = self._place(side, x + 60, at, out, seen, ink)
        return below
