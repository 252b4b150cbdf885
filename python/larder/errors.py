"""What can go wrong with a shelf. Every message says what happened, where, and what to do about it."""

from __future__ import annotations


class ShelfError(Exception):
    """Base of all shelf errors."""


class ShelfBusy(ShelfError):
    """Another process is writing this shelf; the message names its pid."""


class ShelfCorrupt(ShelfError):
    """The file's bytes contradict its checksums; the message names the offset and the variable hit."""


class ShelfFull(ShelfError):
    """The medium has no room for this commit; the shelf stays at its last commit."""


class ShelfFormat(ShelfError):
    """Not a shelf, or one written by a newer larder; nothing was written to it."""


class ShelfReadOnly(ShelfError):
    """The shelf was opened with ``mode="r"``, or is a snapshot."""


class ShelfClosed(ShelfError):
    """The shelf was closed; open it again with ``larder.open``."""
