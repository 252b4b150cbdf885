"""Modules that are pointed at this kernel when, and only when, something imports them.

pdb becomes IPython's interruptible one. ipykernel, imported as a library, knows this kernel, shell, application and these
streams: ``isinstance(get_ipython(), ipykernel.zmqshell.ZMQInteractiveShell)``, ``ipykernel.comm.Comm``,
``ipykernel.kernelbase.Kernel.instance()`` and ``ipykernel.connect`` answer as in ipykernel.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType

from .. import trace
from .late import on_import


def install(app) -> None:
    """Wait for the imports; ``app`` is what ``IPKernelApp.instance()`` will give."""
    on_import("pdb", _pdb)
    on_import("IPython.core.debugger", _debugger)
    on_import("ipykernel.displayhook", _displayhook)
    on_import("ipykernel.iostream", _iostream)
    on_import("ipykernel.comm.comm", _comm)
    on_import("ipykernel.kernelbase", lambda module: _instance(module.Kernel, app.kernel))
    on_import("ipykernel.kernelapp", lambda module: _instance(module.IPKernelApp, app))
    _be_found()


def _pdb(_module) -> None:
    import IPython.core.debugger  # noqa: F401  (its own hook does the rest, now or when its import is over)


def _debugger(debugger) -> None:
    import pdb

    stop = debugger.Pdb.set_trace

    def set_trace(self, frame=None, **options):
        # With a tool of sys.monitoring at work, whatever it watches, CPython 3.13 and later stops an event too late.
        trace.make_way()
        return stop(self, frame or sys._getframe().f_back, **options)

    debugger.Pdb.set_trace = set_trace
    debugger.Pdb = debugger.InterruptiblePdb
    pdb.Pdb = debugger.Pdb
    pdb.set_trace = debugger.set_trace


def _shell(module) -> None:
    from .shell import ZMQDisplayHook, ZMQDisplayPublisher, ZMQInteractiveShell

    module.ZMQInteractiveShell, module.ZMQDisplayPublisher = ZMQInteractiveShell, ZMQDisplayPublisher
    module.ZMQShellDisplayHook = ZMQDisplayHook


def _displayhook(module) -> None:
    from .shell import ZMQDisplayHook

    module.ZMQShellDisplayHook = ZMQDisplayHook


def _iostream(module) -> None:
    from .streams import OutStream

    module.OutStream = OutStream


def _comm(module) -> None:
    """`ipykernel.comm.Comm` stays what it is (a `HasTraits` that libraries derive from) and speaks through this kernel."""
    from .comms import Comm

    module.BaseComm.publish_msg = Comm.publish_msg
    module.Comm.kernel.klass = object


def _instance(cls, one) -> None:
    cls.initialized = classmethod(lambda cls: True)
    cls.instance = classmethod(lambda cls, *args, **kwargs: one)


class _NotYet(ModuleType):
    """An installed module that is imported when something asks for what is in it."""

    def __getattr__(self, name: str):
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)  # what looks through `sys.modules` asks for these
        self.__class__ = ModuleType
        self.__spec__.loader.exec_module(self)
        if self.__name__ == "ipykernel.zmqshell":
            _shell(self)
        return getattr(self, name)


def _later(name: str, spec) -> ModuleType:
    module = module_from_spec(spec)
    module.__class__ = _NotYet
    sys.modules[name] = module
    return module


def _be_found() -> None:
    """``"ipykernel" in sys.modules`` is how many programs ask whether they run in a notebook.

    tqdm asks for ``ipykernel.zmqshell``: that one is there even where ipykernel is not, with this kernel's classes in it.
    """
    if "ipykernel.zmqshell" in sys.modules:
        _shell(sys.modules["ipykernel.zmqshell"])
        return
    spec = find_spec("ipykernel")
    if spec is None or spec.loader is None:
        sys.modules["ipykernel.zmqshell"] = alone = ModuleType("ipykernel.zmqshell", "The classes of larder's shell.")
        _shell(alone)
        return
    package = sys.modules.get("ipykernel") or _later("ipykernel", spec)
    inside = PathFinder.find_spec("ipykernel.zmqshell", spec.submodule_search_locations)
    if inside is not None and inside.loader is not None:
        package.zmqshell = _later("ipykernel.zmqshell", inside)
