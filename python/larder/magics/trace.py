"""The ``%trace`` and ``%%trace`` magics."""

from __future__ import annotations

from IPython.core.magic import Magics, magics_class


@magics_class
class TraceMagics(Magics):
    """``%trace`` and ``%%trace``."""
