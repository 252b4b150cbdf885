"""``%gui`` with real toolkits: windows live between cells, on a display made for the tests; and what is said without one."""

import os
import signal
import sys
from importlib.util import find_spec

import pytest
from kernelfixtures import kernel, text, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

needs_qt = pytest.mark.skipif(find_spec("PySide6") is None, reason="there is no PySide6 for this Python")
needs_tk = pytest.mark.skipif(find_spec("_tkinter") is None, reason="this Python was built without Tk")


@pytest.fixture(scope="module")
def k(tmp_path_factory, display):
    with kernel(tmp_path_factory.mktemp("kernel"), DISPLAY=display) as running:
        yield running


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        patch.delenv(name, raising=False)
    with kernel(tmp_path_factory.mktemp("kernel")) as running:
        yield running
    patch.undo()


@needs_tk
def test_tk_windows_live_between_cells_beside_tasks(k):
    assert text(k.ok("%gui tk"), "stderr") == ""
    k.ok(
        "import asyncio, tkinter\nroot = tkinter.Tk(); label = tkinter.Label(root, text='larder'); label.pack()\n"
        "ticks = []\ndef tick():\n    ticks.append(root.winfo_ismapped()); root.after(10, tick)\nroot.after(10, tick)\n"
        "slept = asyncio.create_task(asyncio.sleep(0.05, 'slept'))"
    )
    wait_until(lambda: k.value("len(ticks) > 3 and ticks[-1]") == "1")
    wait_until(lambda: k.value("slept.done()") == "True")
    k.ok("root.destroy()\n%gui")
    assert k.value("get_ipython().kernel.eventloop is None") == "True"


@needs_qt
def test_qt_windows_live_between_cells_until_gui_is_switched_off(k):
    assert text(k.ok("%gui qt"), "stderr") == ""
    k.ok(
        "from PySide6 import QtCore, QtWidgets\nwindow = QtWidgets.QPushButton('larder'); window.show()\n"
        "beats = []\ntimer = QtCore.QTimer(); timer.timeout.connect(lambda: beats.append(window.isVisible()))\n"
        "timer.start(5)"
    )
    wait_until(lambda: k.value("len(beats) > 3 and beats[-1]") == "True")
    assert "Cannot switch Qt versions" in text(k.ok("%gui qt5"), "stderr")
    k.ok("%gui")
    k.ok("import asyncio; counted = len(beats); await asyncio.sleep(0.1)")
    assert k.value("len(beats) == counted") == "True"


# No wheels on PyPI: they run where the system's packages are seen (Debian: python3-gi, python3-wxgtk4.0).
@pytest.mark.parametrize(
    ("gui", "module", "code"),
    [
        (
            f"gtk{version}",
            "gi",
            f"import gi; gi.require_version('Gtk', '{version}.0')\nfrom gi.repository import Gtk, GLib\n"
            f"window = Gtk.Window(); window.{'show_all' if version == 3 else 'present'}()\n"
            "GLib.timeout_add(10, lambda: (beats.append(window.get_mapped()), True)[1]);",
        )
        for version in (3, 4)
    ]
    + [
        (
            "wx",
            "wx",
            "import wx\nwindow = wx.Frame(None, title='larder'); window.Show()\ntimer = wx.Timer(window)\n"
            "window.Bind(wx.EVT_TIMER, lambda event: beats.append(window.IsShown())); timer.Start(10);",
        )
    ],
)
def test_gtk_and_wx_windows_live_between_cells(tmp_path, display, gui, module, code):
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed for {sys.executable}")
    with kernel(tmp_path, DISPLAY=display) as k:
        assert text(k.ok(f"%gui {gui}"), "stderr") == ""
        k.ok(f"beats = []\n{code}")
        wait_until(lambda: k.value("len(beats) > 3 and beats[-1]") == "True")


@needs_qt
def test_an_interrupt_ends_a_callback_of_the_toolkit_and_the_toolkit_goes_on(k):
    k.ok(
        "%gui qt\nfrom PySide6 import QtCore\nstate = []\n"
        "def stuck():\n    state.append('stuck')\n    print('stuck', flush=True)\n    while True: pass"
    )
    msg_id = k.send("QtCore.QTimer.singleShot(1, stuck)")
    k.shown("stuck\n")
    os.kill(k.pid, signal.SIGINT)
    assert k.reply(msg_id)["content"]["status"] == "ok"
    k.ok("QtCore.QTimer.singleShot(1, lambda: state.append('again'))")
    wait_until(lambda: k.value("state") == "['stuck', 'again']")
    k.ok("%gui")


@pytest.mark.parametrize(
    "gui", [pytest.param("tk", marks=needs_tk), *(pytest.param(qt, marks=needs_qt) for qt in ("qt", "qt6"))]
)
def test_without_a_display_the_toolkit_is_refused_and_the_kernel_lives(headless, gui):
    assert "cannot open windows here" in text(headless.ok(f"%gui {gui}"), "stderr")
    assert headless.text("print('alive')") == "alive\n"


@pytest.mark.parametrize(
    ("gui", "module", "says"),
    [
        ("gtk3", "gi", "PyGObject is not installed"),
        ("gtk4", "gi", "PyGObject is not installed"),
        ("wx", "wx", "wxPython is not installed"),
        ("osx", None, "belongs to macOS"),
        ("nothing", None, "Invalid GUI request 'nothing', valid ones are: asyncio, gtk"),
    ],
)
def test_what_is_not_there_is_said(headless, gui, module, says):
    if module is not None and find_spec(module) is not None:
        pytest.skip(f"{module} is installed in {sys.prefix}: nothing to refuse")
    assert says in text(headless.ok(f"%gui {gui}"), "stderr")


def test_gui_asyncio_and_inline_are_accepted(headless):
    assert text(headless.ok("%gui asyncio\n%gui inline\n%gui"), "stderr") == ""
