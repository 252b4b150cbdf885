"""The debugger panel as a person uses it: a breakpoint, a step into another cell's function, variables plain and rich."""

from __future__ import annotations

import re

import pytest
from test_jupyterlab import Notebook

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("default")]

CELLS = [
    "import pandas as pd\ndef double(a):\n    b = a * 2\n    return b",
    "frame = pd.DataFrame({'column': [1, 2]})\nx = [1, {'key': 'inside'}]\ny = double(21)\nprint('y is', y)",
]


def test_a_breakpoint_stops_steps_go_into_a_cells_function_and_variables_are_shown(lab, page):
    nb = Notebook(page, lab, CELLS)
    nb.start(0)
    nb.wait_status("Idle")
    page.locator(".jp-DebuggerBugButton").first.click()
    panel = page.locator(".jp-DebuggerSidebar")
    panel.wait_for()
    nb.cell(1).locator(".cm-breakpoint-gutter .cm-gutterElement").nth(3).click(force=True)
    panel.locator(".jp-DebuggerBreakpoint").first.wait_for()

    def stands(where: str) -> None:
        page.locator(".jp-DebuggerCallstackFrame.selected", has_text=re.compile(where)).wait_for()

    def variable(name: str, value: str):
        """The row of a variable, once it is shown with this value."""
        name_of = page.locator(".jp-DebuggerVariables-name", has_text=re.compile(rf"^{name}$"))
        value_of = page.locator(".jp-DebuggerVariables-detail", has_text=re.compile(rf"^{value}$"))
        row = panel.locator("jp-tree-item").filter(has=name_of).filter(has=value_of).first
        row.wait_for()
        return row

    nb.start(1)
    stands(r"<module>.*:3")
    variable("x", "list")
    variable("frame", "DataFrame")
    panel.locator("[title^='Step In']").first.click()
    stands(r"double.*:[23]")
    variable("a", "21")
    panel.locator("[title^='Next']").first.click()
    variable("b", "42")
    panel.locator("[title^='Continue']").first.click()
    nb.cell(1).locator(".jp-OutputArea-output", has_text="y is 42").first.wait_for()
    nb.wait_status("Idle")
    variable("x", "list").locator(".jp-DebuggerVariables-name").first.click()
    variable("0", "1")
    variable("1", "dict")
    variable("frame", "DataFrame").locator(".jp-DebuggerVariables-name").first.click()
    variable("frame", "DataFrame").locator(".jp-DebuggerVariables-name").first.click(button="right")
    page.locator(".lm-Menu-itemLabel", has_text="Render Variable").click()
    rich = page.locator(".jp-VariableRendererPanel table.dataframe")
    rich.wait_for()
    assert rich.locator("td").all_inner_texts() == ["1", "2"]
