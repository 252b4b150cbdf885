"""What a person does besides running cells: move a slider, stop at a breakpoint, answer a prompt, click in a widget."""

from __future__ import annotations

import re

import pytest
from test_jupyterlab import Notebook

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("default")]


def test_a_slider_moved_in_the_page_moves_in_python_and_back(lab, page):
    nb = Notebook(
        page,
        lab,
        [
            "import ipywidgets\nslider = ipywidgets.IntSlider(value=20)\nseen = []\n"
            "slider.observe(lambda change: seen.append(change['new']), 'value')\nslider",
            "print('value', slider.value, 'last seen', seen[-1])",
            "slider.value = 7\nprint('set')",
        ],
    )
    nb.start(0)
    handle = nb.cell(0).locator(".noUi-handle")
    handle.wait_for()
    assert float(handle.get_attribute("aria-valuenow")) == 20
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    moved = int(float(handle.get_attribute("aria-valuenow")))
    assert moved > 20
    assert f"value {moved} last seen {moved}" in nb.run(1, "last seen")
    nb.run(2, "set")
    nb.cell(0).locator(".noUi-handle[aria-valuenow='7.0']").wait_for()


def test_an_anywidget_draws_itself_and_its_clicks_arrive(lab, page):
    nb = Notebook(
        page,
        lab,
        [
            "import anywidget, traitlets\nclass Clicks(anywidget.AnyWidget):\n    _esm = '''\n"
            "    export default { render({ model, el }) {\n"
            "      const button = document.createElement('button'); button.className = 'clicks';\n"
            "      const draw = () => { button.textContent = `clicked ${model.get('n')}`; };\n"
            "      button.onclick = () => { model.set('n', model.get('n') + 1); model.save_changes(); };\n"
            "      model.on('change:n', draw); draw(); el.append(button);\n    } };\n    '''\n"
            "    n = traitlets.Int(3).tag(sync=True)\nclicks = Clicks()\nclicks",
            "print('in python', clicks.n)",
        ],
    )
    nb.start(0)
    button = nb.cell(0).locator("button.clicks", has_text="clicked 3")
    button.click()
    nb.cell(0).locator("button.clicks", has_text="clicked 4").wait_for()
    assert "in python 4" in nb.run(1, "in python")


def test_a_prompt_is_answered_in_the_page(lab, page):
    nb = Notebook(page, lab, ["name = input('who? ')\nprint('hello', name)"])
    nb.start(0)
    prompt = nb.cell(0).locator(".jp-Stdin-input")
    prompt.fill("ada")
    prompt.press("Enter")
    nb.cell(0).locator(".jp-OutputArea-output", has_text="hello ada").first.wait_for()


def test_a_breakpoint_stops_in_the_debugger_panel_and_lets_the_cell_go_on(lab, page):
    nb = Notebook(
        page, lab, ["def f(a):\n    b = a + 1\n    return b\n\nprint('gives', f(41))", "print('after', f(1))"]
    )
    page.locator(".jp-DebuggerBugButton[title='Enable Debugger']").first.click()
    page.locator(".jp-DebuggerBugButton[title='Disable Debugger']").first.wait_for()
    third = nb.cell(0).locator(".cm-breakpoint-gutter .cm-gutterElement").nth(3)  # the first one is a spacer
    third.wait_for()
    third.click()
    page.locator(".jp-DebuggerBreakpoint").first.wait_for()
    nb.start(0)
    page.locator(".jp-DebuggerCallstackFrame").first.wait_for()
    frames = page.locator(".jp-DebuggerCallstackFrame-name").all_inner_texts()
    assert frames == ["f", "<module>"]
    page.locator(".jp-DebuggerVariables-name", has_text=re.compile("^b$")).wait_for()
    assert page.locator(".jp-DebuggerVariables-detail").all_inner_texts() == ["41", "42"]
    page.locator("[title^='Continue']").first.click()
    nb.cell(0).locator(".jp-OutputArea-output", has_text="gives 42").first.wait_for()
    page.locator(".jp-DebuggerBugButton[title='Disable Debugger']").first.click()
    page.locator(".jp-DebuggerBugButton[title='Enable Debugger']").first.wait_for()
    assert "after 2" in nb.run(1, "after")
