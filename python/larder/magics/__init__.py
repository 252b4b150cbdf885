"""``%shelf``, ``%tier`` and ``%trace``, for larder's own kernel and, by ``%load_ext larder``, for any IPython."""

from __future__ import annotations


def load_ipython_extension(ip) -> None:
    """Register the three magics and the end-of-cell hooks with ``ip``; a second call changes nothing."""
    if getattr(ip, "_larder_loaded", False):
        return
    from .. import hooks
    from .shelf import ShelfMagics
    from .tier import TierMagics
    from .trace import TraceMagics

    ip.register_magics(ShelfMagics, TierMagics, TraceMagics)
    hooks.install(ip)
    ip._larder_loaded = True


def unload_ipython_extension(ip) -> None:
    """Take the end-of-cell hooks away again; the magics stay known to IPython, which cannot forget them."""
    from .. import hooks

    hooks.uninstall(ip)
    ip._larder_loaded = False
