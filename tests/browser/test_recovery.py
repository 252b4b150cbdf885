"""A kernel killed in the middle of a cell, seen from JupyterLab: the page shows what came back and what could not."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.sync_api import expect
from test_jupyterlab import Notebook

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("default")]


def test_killed_in_the_middle_of_a_cell_the_page_shows_what_came_back(lab, page):
    nb = Notebook(
        page,
        lab,
        [
            "import os, numpy as np\ndata = np.arange(5.0)\nview = data[1:]\nlog_file = open(os.devnull)\n"
            "print('pid', os.getpid())",
            "data[3] = 42\nprint('stored')",
            "data[:] = -1\nlost = True\nprint('in the middle')\nwhile True:\n    pass",
            "print('now', data.tolist(), np.shares_memory(data, view), 'lost' in globals())",
            "data.fill(7)",
            "%shelf undo\nprint('undone', data.tolist())",
        ],
    )
    pid = int(re.search(r"pid (\d+)", nb.run(0, r"pid \d+"))[1])
    nb.run(1, "stored")
    nb.run(2, "in the middle")
    os.kill(pid, signal.SIGKILL)
    nb.page.get_by_text(re.compile("The kernel for .* appears to have died")).first.wait_for()
    nb.page.locator(".jp-Dialog button", has_text="Ok").click()
    shown = nb.run(3, r"now \[")
    assert "larder: back from cell [2]" in shown
    assert re.search(r"larder: not back: log_file \(.*open file.*cell \[1\]\)", shown), shown
    assert "now [0.0, 1.0, 2.0, 42.0, 4.0] True False" in shown
    # The count goes on where it was.
    nb.cell(3).locator(".jp-InputPrompt", has_text="[3]:").wait_for()
    nb.start(4)
    assert "undone [0.0, 1.0, 2.0, 42.0, 4.0]" in nb.run(5, r"undone \[")


def dragged(page, handle, by: int) -> int:
    """Move a slider with the mouse; returns the value it then has on the page."""
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by, y, steps=5)
    page.mouse.up()
    return int(float(handle.get_attribute("aria-valuenow")))


def killed(page, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    page.get_by_text(re.compile("The kernel for .* appears to have died")).first.wait_for()
    page.locator(".jp-Dialog button", has_text="Ok").click()


def test_a_slider_drives_the_observer_that_came_back(lab, page):
    """What was shown before the crash JupyterLab cuts off, of any kernel; shown again, or after a reload, it is live."""
    nb = Notebook(
        page,
        lab,
        [
            "import os, ipywidgets\nslider = ipywidgets.IntSlider(value=20)\nseen = []\n"
            "slider.observe(lambda change: seen.append(change['new']), 'value')\nprint('pid', os.getpid())\nslider",
            "slider",
            "print('pid', os.getpid(), 'value', slider.value, 'seen', seen)",
        ],
    )
    pid = int(re.search(r"pid (\d+)", nb.run(0, r"pid \d+"))[1])
    handle = nb.cell(0).locator(".noUi-handle")
    handle.wait_for()
    first = dragged(page, handle, 40)
    assert f"value {first} seen [" in nb.run(2, rf"value {first} ")
    killed(page, pid)
    nb.cell(0).locator(".jupyter-widgets-disconnected").wait_for()

    nb.start(1)  # the first cell
    again = nb.cell(1).locator(".noUi-handle")
    nb.cell(1).locator(f".noUi-handle[aria-valuenow='{first}.0']").wait_for()
    second = dragged(page, again, -30)
    assert second < first
    said = nb.run(2, rf"value {second} ")
    assert re.search(rf"seen \[.*\b{first}, .*\b{second}\]", said), said

    page.keyboard.press("Control+s")
    page.locator(".jp-DirtyIndicator, .jp-mod-dirty").wait_for(state="detached")
    killed(page, int(re.search(r"pid (\d+)", said)[1]))
    page.reload()
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    # No cell was run in this kernel: the page alone asked for what it shows.
    nb.cell(0).locator(f".noUi-handle[aria-valuenow='{second}.0']").wait_for()
    assert nb.cell(0).locator(".jupyter-widgets-disconnected").count() == 0
    third = dragged(page, nb.cell(0).locator(".noUi-handle"), 50)
    assert third > second
    nb.cell(1).locator(f".noUi-handle[aria-valuenow='{third}.0']").wait_for()
    said = nb.run(2, rf"value {third} ")
    assert re.search(rf"seen \[.*\b{second}, .*\b{third}\]", said), said


def test_a_slider_on_the_page_goes_back_with_undo(lab, page):
    nb = Notebook(
        page,
        lab,
        [
            "import ipywidgets\nslider = ipywidgets.IntSlider(value=20)\nslider",
            "slider.value = 70\nprint('seventy')",
            "%shelf undo\nprint('undone', slider.value)",
            "print('value', slider.value)",
        ],
    )
    nb.start(0)
    handle = nb.cell(0).locator(".noUi-handle")
    handle.wait_for()
    nb.run(1, "seventy")
    expect(handle).to_have_attribute("aria-valuenow", "70.0")
    nb.run(2, "undone 20")
    expect(handle).to_have_attribute("aria-valuenow", "20.0")
    value = dragged(page, handle, 40)
    assert value > 20 and f"value {value}" in nb.run(3, rf"value {value}")
