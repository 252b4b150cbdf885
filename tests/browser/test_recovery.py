"""A kernel killed in the middle of a cell, seen from JupyterLab: the page shows what came back and what could not."""

from __future__ import annotations

import os
import re
import signal

import pytest
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
