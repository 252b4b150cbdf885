"""``%gui``: a toolkit's event loop runs in the pauses of the main loop.

The kernel's own loop stays in charge. Every few milliseconds, and only while no cell runs, the toolkit gets to handle
its pending events; so windows live, and cells, tasks and comms go on as before.

A toolkit that cannot run here is refused with what to do about it. Qt is the hard one: without a display it ends the
process it is in, so a child process tries first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from importlib.util import find_spec

_INTERVAL_S = 0.01
_QT_BINDINGS = {"qt6": ("PyQt6", "PySide6"), "qt5": ("PyQt5", "PySide2")}
_active: _Pump | None = None


class _Pump:
    def __init__(self, main_loop, step) -> None:
        self._main, self._step, self._on = main_loop, step, True
        self._turn()

    def _turn(self) -> None:
        if not self._on:
            return
        try:
            with self._main.user_code():
                self._step()
        except KeyboardInterrupt:
            traceback.print_exc()
        except Exception:
            traceback.print_exc()
            print("the GUI's event loop stopped; `%gui` with its name starts it again", file=sys.stderr)
            self._on = False
            return
        self._main.loop.call_later(_INTERVAL_S, self._turn)

    def stop(self) -> None:
        self._on = False


def _qt_binding(gui: str) -> str:
    """The package to use: the one that is loaded, else what QT_API names, else the first that is installed."""
    wanted = [name for kind, names in _QT_BINDINGS.items() if gui in ("qt", kind) for name in names]
    known = [name for names in _QT_BINDINGS.values() for name in names]
    loaded = next((name for name in known if f"{name}.QtCore" in sys.modules), None)
    if loaded is not None:
        if loaded not in wanted:
            kind = next(kind for kind, names in _QT_BINDINGS.items() if loaded in names)
            raise ValueError(f"Cannot switch Qt versions for this session; you must use {kind} ({loaded} is loaded).")
        return loaded
    asked = os.environ.get("QT_API", "").lower()
    chosen = [name for name in wanted if name.lower() == asked] or wanted
    for name in chosen:
        try:
            if find_spec(f"{name}.QtWidgets") is not None:
                return name
        except ImportError:
            continue
    raise ValueError(f"no Qt for Python is installed: `pip install {wanted[-1]}` (or {', '.join(wanted[:-1])})")


def _qt(gui: str):
    from importlib import import_module

    binding = _qt_binding(gui)
    try:
        widgets = import_module(f"{binding}.QtWidgets")
    except ImportError as error:
        raise ValueError(f"{binding} does not load: {error}") from error
    app = widgets.QApplication.instance()
    if app is None:
        _try_qt(binding)
        app = widgets.QApplication(["larder"])
    app.setQuitOnLastWindowClosed(False)
    _qt.app = app  # Python must keep it
    return app.processEvents


def _try_qt(binding: str) -> None:
    """Let a child process start Qt, which ends a process that it cannot show windows for."""
    code = f"from {binding}.QtWidgets import QApplication; QApplication(['larder'])"
    tried = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if tried.returncode != 0:
        said = [line for line in tried.stderr.splitlines() if line.strip()][:1]
        raise ValueError(f"Qt cannot open windows here (DISPLAY={os.environ.get('DISPLAY', '')!r}): {''.join(said)}")


def _tk(_gui: str):
    try:
        import tkinter
    except ImportError as error:
        raise ValueError(
            f"this Python has no Tk ({error}); Debian: `apt-get install python3-tk`, or build Python with Tk"
        ) from error
    try:
        window = tkinter.Tk()
    except tkinter.TclError as error:
        raise ValueError(f"Tk cannot open windows here: {error}") from error
    window.destroy()
    # Events belong to the thread, not to a window: any Tcl interpreter handles those of all windows.
    interpreter = tkinter.Tcl()
    return lambda: interpreter.eval("update")


def _wx(_gui: str):
    try:
        import wx
    except ImportError as error:
        raise ValueError(f"wxPython is not installed ({error}); `pip install wxPython`") from error
    if not wx.App.IsDisplayAvailable():
        raise ValueError(f"wx cannot open windows here (DISPLAY={os.environ.get('DISPLAY', '')!r})")
    app = wx.GetApp() or wx.App(False)
    app.SetExitOnFrameDelete(False)
    _wx.app = app

    def step():
        loop = wx.GUIEventLoop()
        with wx.EventLoopActivator(loop):
            while loop.Pending():
                loop.Dispatch()
            app.ProcessPendingEvents()
            loop.ProcessIdle()

    return step


def _gtk(version: str):
    def begin(_gui: str):
        try:
            import gi
        except ImportError as error:
            raise ValueError(
                f"PyGObject is not installed ({error}); `pip install PyGObject`, or Debian's python3-gi"
            ) from error
        try:
            gi.require_version("Gtk", version)
            gi.require_version("Gdk", version)
            from gi.repository import Gdk, GLib, Gtk
        except (ValueError, ImportError) as error:
            raise ValueError(f"GTK {version} cannot be used: {error}") from error
        Gtk.init_check()
        if Gdk.Display.get_default() is None:
            raise ValueError(f"GTK cannot open windows here (DISPLAY={os.environ.get('DISPLAY', '')!r})")
        context = GLib.MainContext.default()

        def step():
            while context.pending():
                context.iteration(False)

        return step

    return begin


def _osx(_gui: str):
    raise ValueError("the `osx` event loop belongs to macOS; here use qt, tk, gtk3, gtk4 or wx")


_TOOLKITS = {
    "qt": _qt,
    "qt5": _qt,
    "qt6": _qt,
    "tk": _tk,
    "wx": _wx,
    "gtk": _gtk("3.0"),
    "gtk3": _gtk("3.0"),
    "gtk4": _gtk("4.0"),
    "osx": _osx,
}


WITHOUT = (None, "asyncio", "inline", "nbagg", "webagg", "notebook", "ipympl", "widget")
"""No toolkit: matplotlib's back ends that draw in the notebook are asked for by these names too."""


def enable_gui(gui: str | None, kernel) -> None:
    """Start ``gui``'s event loop beside ours; a name in `WITHOUT` stops it.

    Raises ``ValueError`` for a name that is not known and a toolkit that cannot run here; what ran before goes on.
    """
    global _active
    step = None
    if gui not in WITHOUT:
        if gui not in _TOOLKITS:
            known = ", ".join(sorted([*_TOOLKITS, "asyncio"]))
            raise ValueError(f"Invalid GUI request {gui!r}, valid ones are: {known}")
        step = _TOOLKITS[gui](gui)
    if _active is not None:
        _active.stop()
    _active = None
    kernel.eventloop = step
    if step is not None:
        _active = _Pump(kernel.main_loop, step)
