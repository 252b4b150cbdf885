"""Tables that are data: what a magic returns is a list of rows that also knows how to be shown.

>>> table = Table([{"name": "x", "bytes": 8}], columns=["name", "bytes"])
>>> table[0]["bytes"]
8
"""

from __future__ import annotations

import html
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_STYLE = (
    "border-collapse:collapse;font-variant-numeric:tabular-nums",
    "text-align:{align};padding:2px 12px 2px 0;vertical-align:top",
)


class Table(list):
    """A list of dict rows with an HTML and a plain-text face.

    ``columns`` is the order shown (all keys of the first row when omitted); ``titles`` maps a key to its heading;
    ``formats`` maps a key to a function from value to text; ``title`` stands above the table and ``footer`` below.
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        columns: list[str] | None = None,
        *,
        titles: Mapping[str, str] | None = None,
        formats: Mapping[str, Callable[[Any], str]] | None = None,
        title: str = "",
        footer: str = "",
        empty: str = "nothing to show",
        shown_max: int | None = None,
    ) -> None:
        super().__init__(dict(row) for row in rows)
        self.columns = columns if columns is not None else (list(self[0]) if self else [])
        self.titles = dict(titles or {})
        self.formats = dict(formats or {})
        self.title = title
        self.footer = footer
        self.empty = empty
        self.shown_max = shown_max

    def _shown(self) -> tuple[list[dict[str, Any]], str]:
        """The rows to show, and what to say of the others."""
        most = self.shown_max
        if most is None or len(self) <= most:
            return self, ""
        more = f"and {len(self) - most} more rows"
        if "bytes" in self.formats:
            more += f", {self.formats['bytes'](sum(row.get('bytes') or 0 for row in self[most:]))} together"
        return self[:most], f"{more} (all of them are in the value: for row in _: ...)"

    def _text(self, row: Mapping[str, Any], key: str) -> str:
        value = row.get(key)
        if key in self.formats and value is not None:
            return self.formats[key](value)
        return "-" if value is None else str(value)

    def _right(self, key: str) -> bool:
        values = [row[key] for row in self if row.get(key) is not None]
        # A column without any value stands where its numbers would.
        return any(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values) or (
            not values and key in self.formats
        )

    def __repr__(self) -> str:
        head = [self.title] if self.title else []
        tail = [self.footer] if self.footer else []
        if not self:
            return "\n".join([*head, self.empty, *tail])
        rows, more = self._shown()
        cells = [[self.titles.get(key, key) for key in self.columns]]
        cells += [[self._text(row, key).replace("\n", " ") for key in self.columns] for row in rows]
        widths = [max(_width(line[i]) for line in cells) for i in range(len(self.columns))]
        right = [self._right(key) for key in self.columns]
        lines = [
            "  ".join(_padded(c, w, r) for c, w, r in zip(line, widths, right, strict=True)).rstrip() for line in cells
        ]
        lines += [more] if more else []
        return "\n".join([*head, *lines, *tail])

    def _repr_html_(self) -> str:
        esc = html.escape
        out = [f"<div><b>{esc(self.title)}</b></div>" if self.title else ""]
        if self:
            out.append(f'<table style="{_STYLE[0]}"><thead><tr>')
            aligns = ["right" if self._right(key) else "left" for key in self.columns]
            for key, align in zip(self.columns, aligns, strict=True):
                out.append(f'<th style="{_STYLE[1].format(align=align)}">{esc(self.titles.get(key, key))}</th>')
            out.append("</tr></thead><tbody>")
            rows, more = self._shown()
            for row in rows:
                out.append("<tr>")
                for key, align in zip(self.columns, aligns, strict=True):
                    out.append(f'<td style="{_STYLE[1].format(align=align)}">{esc(self._text(row, key))}</td>')
                out.append("</tr>")
            out.append("</tbody></table>")
            out.append(f"<div>{esc(more)}</div>" if more else "")
        else:
            out.append(f"<div>{esc(self.empty)}</div>")
        if self.footer:
            out.append(f'<div style="opacity:0.7">{esc(self.footer)}</div>')
        return "".join(out)

    def _repr_pretty_(self, printer, cycle: bool) -> None:
        printer.text(repr(self))


def _width(text: str) -> int:
    """Columns a text takes: letters of East Asian scripts take two, marks on others none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def rate_text(per_second: float) -> str:
    """Three digits: ``0.121``, ``30.2``, ``6,030``."""
    return f"{float(f'{per_second:.3g}'):,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def bytes_text(count: int | float) -> str:
    """``1536`` -> ``'1.5K'``: binary units, one decimal below ten, none above."""
    size = float(count)
    for unit in ("B", "K", "M", "G", "T"):
        if size < 1024 or unit == "T":
            return f"{size:.0f}{unit}" if unit == "B" or size >= 10 else f"{size:.1f}{unit}"
        size /= 1024
    raise AssertionError("unreachable")


class Bar:
    """How far a long piece of work is: a bar in notebooks, a line on a terminal; nothing for work that is soon done.

    >>> with Bar("demote x") as bar:
    ...     work(progress=bar)  # called with (done, total) in bytes

    It appears when the work has taken `AFTER_S`, changes at most every `EVERY_S`, and its last state stays.
    """

    AFTER_S = 0.5
    EVERY_S = 0.1

    def __init__(self, what: str) -> None:
        self.what = what
        self.done = self.total = 0
        self._began = self._next = time.monotonic()
        self._next += self.AFTER_S
        self._handle: Any = None
        self._shown = False
        ip = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        # IPython's plain publisher is a terminal's: it can print, and not change what it has printed.
        self._rich = ip is not None and type(ip.display_pub).__name__ != "DisplayPublisher"

    def __call__(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        now = time.monotonic()
        if total and now >= self._next and (self._rich or sys.stderr.isatty()):
            self._next = now + self.EVERY_S
            self._show()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_raised: object) -> None:
        if self._shown:
            self._show()
            if self._handle is None:
                print(file=sys.stderr)

    def _show(self) -> None:
        self._shown = True
        if not self._rich:
            print(f"\r{self!r}", end="", file=sys.stderr, flush=True)
        elif self._handle is None:
            from IPython.display import display

            self._handle = display(self, display_id=True)
        else:
            self._handle.update(self)

    def __repr__(self) -> str:
        full = 30 * self.done // max(self.total, 1)
        bar = "█" * full + "░" * (30 - full)
        return f"{self.what} {bar} {100 * self.done // max(self.total, 1):3}%  {self._said()}"

    def _said(self) -> str:
        passed = time.monotonic() - self._began
        return f"{bytes_text(self.done)} of {bytes_text(self.total)}, {passed:.1f}s"

    def _repr_html_(self) -> str:
        what, said = html.escape(self.what), html.escape(self._said())
        return f'<div>{what} <progress value="{self.done}" max="{max(self.total, 1)}"></progress> {said}</div>'
