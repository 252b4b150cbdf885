"""The ``%tier`` and ``%%tier`` magics."""

from __future__ import annotations

from IPython.core.magic import Magics, magics_class


@magics_class
class TierMagics(Magics):
    """``%tier`` and ``%%tier``."""
