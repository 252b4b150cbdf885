"""Answers to the requests that do not run cells: complete, inspect, is_complete, history."""

from __future__ import annotations

import keyword
import re
from typing import Any

#: What follows is no Python, though it looks like a remainder: ``%shelf in``.
_OUR_MAGIC = re.compile(r"\s*%{1,2}(shelf|tier|trace)\s")


def complete(shell, code: str, cursor_pos: int | None) -> dict[str, Any]:
    from IPython.core.completer import provisionalcompleter, rectify_completions

    if cursor_pos is None:
        cursor_pos = len(code)
    with provisionalcompleter():
        found = list(rectify_completions(code, shell.Completer.completions(code, cursor_pos)))
    line = code[:cursor_pos].rpartition("\n")[2]
    if _OUR_MAGIC.match(line):
        found = [c for c in found if not keyword.iskeyword(c.text)]  # their type is not always told
    typed = [{"start": c.start, "end": c.end, "text": c.text, "type": c.type, "signature": c.signature} for c in found]
    return {
        "status": "ok",
        "matches": [c.text for c in found],
        "cursor_start": found[0].start if found else cursor_pos,
        "cursor_end": found[0].end if found else cursor_pos,
        "metadata": {"_jupyter_types_experimental": typed},
    }


def inspect(shell, code: str, cursor_pos: int, detail_level: int = 0, omit_sections=()) -> dict[str, Any]:
    from IPython.utils.tokenutil import token_at_cursor

    name = token_at_cursor(code, cursor_pos)
    try:
        data = shell.object_inspect_mime(name, detail_level=detail_level, omit_sections=omit_sections)
    except KeyError:
        return {"status": "ok", "found": False, "data": {}, "metadata": {}}
    if not shell.enable_html_pager:
        data.pop("text/html", None)
    return {"status": "ok", "found": True, "data": data, "metadata": {}}


def is_complete(shell, code: str) -> dict[str, Any]:
    status, indent = shell.input_transformer_manager.check_complete(code)
    return {"status": status, "indent": " " * indent} if status == "incomplete" else {"status": status}


def history(shell, request: dict[str, Any]) -> dict[str, Any]:
    manager = shell.history_manager
    raw, output = bool(request.get("raw", True)), bool(request.get("output", False))
    kind = request.get("hist_access_type", "tail")
    if kind == "tail":
        found = manager.get_tail(request.get("n") or 10, raw=raw, output=output, include_latest=True)
    elif kind == "range":
        found = manager.get_range(
            request.get("session") or 0, request.get("start") or 0, request.get("stop"), raw=raw, output=output
        )
    elif kind == "search":
        found = manager.search(
            request.get("pattern") or "*",
            raw=raw,
            output=output,
            n=request.get("n"),
            unique=bool(request.get("unique", False)),
        )
    else:
        found = []
    # IPython calls the current session 0 even when it was asked for by its number.
    asked = request.get("session") or 0
    rows = [
        [asked if session == 0 and asked > 0 else session, line, list(x) if isinstance(x, tuple) else x]
        for session, line, x in found
    ]
    return {"status": "ok", "history": rows}
