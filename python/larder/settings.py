"""Numbers that are set in the environment."""

from __future__ import annotations

import logging
import math
import os


def positive(name: str, default: float) -> float:
    """What the variable ``name`` says, if it is a number above zero; else ``default``, and a warning when it says something."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value > 0:
        return value
    logging.getLogger("larder").warning("%s is %r, which is no number above zero; taken as %g", name, text, default)
    return default
