"""``%gui``: a toolkit's event loop runs in the pauses of the main loop.

The kernel's own loop stays in charge. Every few milliseconds, and only while no cell runs, the toolkit gets to handle
its pending events; so windows live, and cells, tasks and comms go on as before.
"""

from __future__ import annotations

import sys

_INTERVAL_S = 0.01
_active: _Pump | None = None


class _Pump:
    def __init__(self, loop, step) -> None:
        self._loop, self._step, self._on = loop, step, True
        self._turn()

    def _turn(self) -> None:
        if not self._on:
            return
        try:
            self._step()
        except KeyboardInterrupt:
            print("KeyboardInterrupt in the GUI's event loop", file=sys.stderr)
        except Exception as error:
            print(f"the GUI's event loop stopped: {error!r}", file=sys.stderr)
            self._on = False
        else:
            self._loop.call_later(_INTERVAL_S, self._turn)

    def stop(self) -> None:
        self._on = False


def _qt():
    from IPython.external.qt_for_kernel import QtGui

    try:
        from IPython.external.qt_for_kernel import QtWidgets
    except ImportError:
        QtWidgets = QtGui
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["larder"])
    app.setQuitOnLastWindowClosed(False)
    _qt.app = app
    return app.processEvents


def _tk():
    import tkinter

    root = tkinter._default_root or tkinter.Tk()
    if not root.winfo_viewable() and tkinter._default_root is root:
        root.withdraw()
    return root.update


def _wx():
    import wx

    app = wx.GetApp() or wx.App(False)

    def step():
        loop = wx.GUIEventLoop()
        with wx.EventLoopActivator(loop):
            while loop.Pending():
                loop.Dispatch()
            app.ProcessPendingEvents()
            loop.ProcessIdle()

    return step


def _gtk(version: str):
    def begin():
        import gi

        gi.require_version("Gtk", version)
        from gi.repository import GLib

        context = GLib.MainContext.default()

        def step():
            while context.pending():
                context.iteration(False)

        return step

    return begin


_TOOLKITS = {
    "qt": _qt,
    "qt5": _qt,
    "qt6": _qt,
    "tk": _tk,
    "wx": _wx,
    "gtk3": _gtk("3.0"),
    "gtk4": _gtk("4.0"),
    "gtk": _gtk("3.0"),
    "osx": lambda: lambda: None,
}


def enable_gui(gui: str | None, kernel) -> None:
    """Start ``gui``'s event loop beside ours; None or ``"asyncio"``/``"inline"`` stops it."""
    global _active
    if gui not in (None, "asyncio", "inline") and gui not in _TOOLKITS:
        known = ", ".join(sorted([*_TOOLKITS, "asyncio"]))
        raise ValueError(f"Invalid GUI request {gui!r}, valid ones are: {known}")
    if _active is not None:
        _active.stop()
        _active = None
    kernel.eventloop = None
    if gui in (None, "asyncio", "inline"):
        return
    step = _TOOLKITS[gui]()
    kernel.eventloop = step
    _active = _Pump(kernel.main_loop.loop, step)
