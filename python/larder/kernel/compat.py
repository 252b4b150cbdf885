"""Modules that are pointed at this kernel when, and only when, something imports them.

pdb becomes IPython's interruptible one. ipykernel, imported as a library, knows this shell and this application:
``isinstance(get_ipython(), ipykernel.zmqshell.ZMQInteractiveShell)`` and ``ipykernel.connect`` answer as in ipykernel.
"""

from __future__ import annotations

from .late import on_import


def install(app) -> None:
    """Wait for the imports; ``app`` is what ``IPKernelApp.instance()`` will give."""
    on_import("pdb", _pdb)
    on_import("IPython.core.debugger", _debugger)
    on_import("ipykernel.zmqshell", _shell)
    on_import("ipykernel.kernelapp", lambda module: _application(module, app))


def _pdb(_module) -> None:
    import IPython.core.debugger  # noqa: F401  (its own hook does the rest, now or when its import is over)


def _debugger(debugger) -> None:
    import pdb

    debugger.Pdb = debugger.InterruptiblePdb
    pdb.Pdb = debugger.Pdb
    pdb.set_trace = debugger.set_trace


def _shell(module) -> None:
    from .shell import ZMQInteractiveShell

    module.ZMQInteractiveShell = ZMQInteractiveShell


def _application(module, app) -> None:
    module.IPKernelApp.initialized = classmethod(lambda cls: True)
    module.IPKernelApp.instance = classmethod(lambda cls, *args, **kwargs: app)
