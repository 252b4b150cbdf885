"""``sys.stdout`` and ``sys.stderr`` of the kernel.

Text goes straight into the Rust batches of the cell it belongs to. In a forked child, whose Rust threads are gone, it
goes to the inherited file descriptor instead, which the parent captures for the cell that forked.
"""

from __future__ import annotations

import codecs
import io
import os
from typing import ClassVar

from . import cell as cells

STDOUT, STDERR = 1, 2
_PID = os.getpid()


class OutStream(io.TextIOBase):
    """A text stream into the current cell; ``fileno()`` is the captured descriptor, so children can inherit it."""

    __module__ = "ipykernel.iostream"  # click, colorama and others show colours where they find this name
    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    _all: ClassVar[list[OutStream]] = []

    def __init__(self, which: int) -> None:
        self._which = which
        self.name = f"<{'stdout' if which == STDOUT else 'stderr'}>"
        self.mode = "w"
        self._buffer: _Bytes | None = None
        self._record = None
        OutStream._all.append(self)

    def write(self, text: str) -> int:
        try:
            outputs = cells._current.get().outputs
        except LookupError:
            outputs = cells.current().outputs
        try:
            outputs.stream(self._which, text)
        except UnicodeEncodeError:
            outputs.stream(self._which, text.encode("utf-8", "backslashreplace").decode())
        if self._record is not None:
            self._record(text)
        return len(text)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Send what is waiting; the server also does so by itself within milliseconds."""
        cells.current().outputs.flush()

    def fileno(self) -> int:
        return self._which

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Stays open: libraries that close ``sys.stdout`` would silence every later cell."""

    def set_parent(self, parent) -> None:
        """Kept for libraries that call it; the shell's ``set_parent`` does the work."""

    @property
    def buffer(self) -> _Bytes:
        if self._buffer is None:
            self._buffer = _Bytes(self)
        return self._buffer

    def reconfigure(self, **_options) -> None:
        """Accepted and without effect: the stream is always UTF-8 and always sent promptly."""

    def _is_master_process(self) -> bool:
        """Whether this is the process that the kernel started in, not a forked child."""
        return os.getpid() == _PID

    def _write_in_child(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        data = text.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._which, data) :]
        return len(text)

    def _flush_in_child(self) -> None:
        pass


class _Bytes(io.BufferedIOBase):
    """``sys.stdout.buffer``: bytes, decoded piece by piece."""

    def __init__(self, stream: OutStream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.raw = self

    def write(self, data) -> int:
        data = bytes(data)
        text = self._decoder.decode(data)
        if text:
            self._stream.write(text)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        pass


def after_fork_in_child() -> None:
    """The server's threads did not survive the fork: write to the descriptors, which the parent reads."""
    OutStream.write = OutStream._write_in_child  # type: ignore[method-assign]
    OutStream.flush = OutStream._flush_in_child  # type: ignore[method-assign]
