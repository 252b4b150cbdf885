"""The ``%shelf`` and ``%%shelf`` magics."""

from __future__ import annotations

from IPython.core.magic import Magics, magics_class


@magics_class
class ShelfMagics(Magics):
    """``%shelf`` and ``%%shelf``."""
