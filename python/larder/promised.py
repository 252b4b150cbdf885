"""Which cells' states were left to children: noted before they are forked, so that the next kernel can say what is missing.

The note is a line per cell in a file beside the session shelf, which is the children's meanwhile. It is written, not
synchronised: it is there whatever happens to processes; after a power cut it may not be.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path


class Promised:
    """The note of one session shelf. What cannot be written is left out: it never keeps a cell from being saved."""

    def __init__(self, path: Path, committed: int) -> None:
        self.path = path.with_suffix(".promised")
        self._fd: int | None = None
        self._noted = 0
        self.missing: list[int] = []
        """Execution counts of cells of the last kernel whose states, later than ``committed``, never came to the shelf."""
        try:
            rows = self.path.read_text(errors="replace").splitlines()
        except OSError:
            return
        for row in rows:
            with contextlib.suppress(ValueError, TypeError):  # cut short
                seq, count = json.loads(row)
                if seq > committed and count not in self.missing:
                    self.missing.append(count)
        if not self.missing:
            self._remove()

    def note(self, seq: int, count: int) -> None:
        """The state after this cell is about to be left to a child."""
        if self.missing:
            self.clear(seq)  # that was told before the first cell
        self._noted = seq
        with contextlib.suppress(OSError):
            if self._fd is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(self.path, flags, 0o600)
            os.write(self._fd, f"[{seq}, {count}]\n".encode())

    def clear(self, seq: int) -> None:
        """The state ``seq`` is on the shelf: if it is as late as what was noted, nothing is missing."""
        if seq >= self._noted and (self._fd is not None or self.missing):
            self.missing = []
            self._remove()
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def leave(self) -> None:
        """In a child: the note is the kernel's, or for the next kernel to read."""
        self._noted = sys.maxsize

    def told(self) -> str:
        """A line for the next kernel's page; empty if nothing is missing."""
        if not self.missing:
            return ""
        *most, last = [f"[{count}]" for count in self.missing]
        cells = f"cells {', '.join(most)} and {last}" if most else f"cell {last}"
        return f"larder: not back: what {cells} changed, which was still being saved when everything of the kernel was ended"

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
