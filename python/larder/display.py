"""Tables that are data: what a magic returns is a list of rows that also knows how to be shown.

>>> table = Table([{"name": "x", "bytes": 8}], columns=["name", "bytes"])
>>> table[0]["bytes"]
8
"""

from __future__ import annotations

import html
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
    ) -> None:
        super().__init__(dict(row) for row in rows)
        self.columns = columns if columns is not None else (list(self[0]) if self else [])
        self.titles = dict(titles or {})
        self.formats = dict(formats or {})
        self.title = title
        self.footer = footer
        self.empty = empty

    def _text(self, row: Mapping[str, Any], key: str) -> str:
        value = row.get(key)
        if key in self.formats and value is not None:
            return self.formats[key](value)
        return "-" if value is None else str(value)

    def _right(self, key: str) -> bool:
        return any(isinstance(row.get(key), (int, float)) and not isinstance(row.get(key), bool) for row in self)

    def __repr__(self) -> str:
        head = [self.title] if self.title else []
        tail = [self.footer] if self.footer else []
        if not self:
            return "\n".join([*head, self.empty, *tail])
        cells = [[self.titles.get(key, key) for key in self.columns]]
        cells += [[self._text(row, key).replace("\n", " ") for key in self.columns] for row in self]
        widths = [max(len(line[i]) for line in cells) for i in range(len(self.columns))]
        right = [self._right(key) for key in self.columns]
        lines = [
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
            for line in cells
        ]
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
            for row in self:
                out.append("<tr>")
                for key, align in zip(self.columns, aligns, strict=True):
                    out.append(f'<td style="{_STYLE[1].format(align=align)}">{esc(self._text(row, key))}</td>')
                out.append("</tr>")
            out.append("</tbody></table>")
        else:
            out.append(f"<div>{esc(self.empty)}</div>")
        if self.footer:
            out.append(f'<div style="opacity:0.7">{esc(self.footer)}</div>')
        return "".join(out)

    def _repr_pretty_(self, printer, cycle: bool) -> None:
        printer.text(repr(self))


def bytes_text(count: int | float) -> str:
    """``1536`` -> ``'1.5K'``: binary units, one decimal below ten, none above."""
    size = float(count)
    for unit in ("B", "K", "M", "G", "T"):
        if size < 1024 or unit == "T":
            return f"{size:.0f}{unit}" if unit == "B" or size >= 10 else f"{size:.1f}{unit}"
        size /= 1024
    raise AssertionError("unreachable")
