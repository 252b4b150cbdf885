"""The main job as a person does it: JupyterLab in a browser, a kernel killed by pid, the data back on the page."""

from __future__ import annotations

import os
import re
import signal

import nbformat
import pytest

pytestmark = [
    pytest.mark.timeout(240),
    # Of the browser driver and the server's own libraries; ours are tested elsewhere.
    pytest.mark.filterwarnings("default"),
]


def notebook(lab, cells: list[str]) -> str:
    made = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "larder", "display_name": "Python 3 (larder)", "language": "python"}}
    )
    made.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(made, lab.root / "nb.ipynb")
    return "nb.ipynb"


class Notebook:
    """The open notebook: run a cell, read what is under it."""

    def __init__(self, page, lab, cells: list[str]) -> None:
        self.page = page
        page.goto(lab.url(notebook(lab, cells)))
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        self.wait_status("Idle")

    def cell(self, index: int):
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(index)

    def wait_status(self, status: str) -> None:
        self.page.locator(f".jp-NotebookPanel-toolbar [data-status='{status.lower()}']").first.wait_for()

    def start(self, index: int) -> None:
        prompt = self.cell(index).locator(".jp-InputPrompt")
        before = prompt.inner_text()
        choice = self.page.locator(".jp-Dialog", has_text="Select Kernel")
        for _ in range(5):
            if choice.is_visible():
                # A key that came before the page knew its kernel brought this up; it knows it now.
                self.page.keyboard.press("Escape")
                choice.wait_for(state="detached")
            # While the page still loads, a key may go nowhere.
            prompt.click()
            self.page.keyboard.press("Control+Enter")
            for _ in range(30):
                if re.search(r"\[(\*|\d+)\]", now := prompt.inner_text()) and now != before:
                    return
                self.page.wait_for_timeout(100)
        raise AssertionError(f"the cell did not start: {before}")

    def run(self, index: int, expect: str) -> str:
        self.start(index)
        output = self.cell(index).locator(".jp-OutputArea-output")
        output.filter(has_text=re.compile(expect)).first.wait_for()
        return "\n".join(output.all_inner_texts())


def test_a_kernel_killed_by_pid_comes_back_with_the_shelf_and_the_session(lab, page):
    nb = Notebook(
        page,
        lab,
        [
            "import os, numpy as np, larder\nshelf = larder.open('page')\nshelf.x = np.arange(5) * 11\n"
            "kept = ['not', 'shelved']\n"
            "print('pid', os.getpid())",
            "print('again', larder.open('page').x.tolist(), kept, os.getpid())",
            "%shelf ls page",
            "%tier",
        ],
    )
    first = nb.run(0, r"pid \d+")
    pid = int(re.search(r"pid (\d+)", first)[1])
    os.kill(pid, signal.SIGKILL)
    nb.page.get_by_text(re.compile("The kernel for .* appears to have died")).first.wait_for()
    nb.page.locator(".jp-Dialog button", has_text="Ok").click()
    second = nb.run(1, r"again \[")
    assert "[0, 11, 22, 33, 44] ['not', 'shelved']" in second
    assert "larder: back from cell [1]" in second
    assert str(pid) not in second
    assert "ndarray int64 (5,)" in nb.run(2, "ndarray")
    assert nb.cell(2).locator("table td", has_text="ndarray int64 (5,)").count() == 1
    assert "kept" in nb.run(3, "kept")


def test_interrupt_then_a_restart_is_fresh_and_recover_brings_it_back(lab, page):
    nb = Notebook(
        page,
        lab,
        [
            "value = 42\nprint('set')",
            "while True:\n    pass",
            "print('value' in globals())",
            "%shelf recover\nprint('now', value)",
        ],
    )
    nb.run(0, "set")
    nb.start(1)
    nb.wait_status("Busy")
    nb.page.keyboard.press("i")
    nb.page.keyboard.press("i")
    nb.cell(1).locator(".jp-OutputArea-output", has_text="KeyboardInterrupt").first.wait_for()
    nb.page.keyboard.press("0")
    nb.page.keyboard.press("0")
    nb.page.locator(".jp-Dialog button", has_text="Restart").click()
    nb.page.locator(".jp-Dialog").wait_for(state="detached")
    nb.wait_status("Idle")
    assert "False" in nb.run(2, "True|False")
    assert "larder: back from cell" in nb.run(3, "now 42")
