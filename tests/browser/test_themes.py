"""What `%tier`, `%tier heat` and `%trace` show is legible in JupyterLab's light theme and in its dark one."""

from __future__ import annotations

import pytest
from test_jupyterlab import Notebook

pytestmark = [pytest.mark.timeout(240), pytest.mark.filterwarnings("default")]

CELLS = [
    "import larder, numpy as np, time\n"
    "x = np.ones(1 << 20); rows = [{'n': n} for n in range(20_000)]\n"
    "larder.heat.start()\nlarder.trace.enable()\nprint('ready')",
    "end = time.monotonic() + 1\nwhile time.monotonic() < end:\n    x += 1\n"
    "    for row in rows[:2000]:\n        row['n'] += 1\n"
    "def f(n):\n    t = 0\n    for i in range(n):\n        if i % 3:\n            t += i\n        else:\n            t -= 1\n"
    "    return t\nprint('ran', f(300_000))",
    "%tier",
    "%tier heat rows",
    "%trace graph",
    "from larder.display import Bar\nbar = Bar('demote x')\nbar.done, bar.total = 3, 10\nbar",
]

# Of every text of an output: its colour against what is painted below its middle; of every field of a picture, its own
# colour against that of the page.
CONTRASTS = """cell => {
    const parts = text => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
        return { rgb: [r, g, b], a };
    };
    const paint = element => {
        const style = getComputedStyle(element);
        if (element instanceof SVGElement && !(element instanceof SVGSVGElement)) {
            return style.fill === 'none' ? { rgb: [0, 0, 0], a: 0 } : parts(style.fill);
        }
        return parts(style.backgroundColor);
    };
    const over = (top, below) => ({ rgb: top.rgb.map((c, i) => c * top.a + below.rgb[i] * (1 - top.a)), a: 1 });
    const behind = element => {
        const box = element.getBoundingClientRect();
        const layers = [];
        for (let at of document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2)) {
            if (at === element || at instanceof SVGTextElement) continue;
            const layer = paint(at);
            layers.push(layer);
            if (layer.a === 1) break;
        }
        return layers.reverse().reduce((below, top) => over(top, below), { rgb: [255, 255, 255], a: 1 });
    };
    const light = ({ rgb }) => {
        const [r, g, b] = rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (a, b) => {
        const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    const opacity = element => element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
    const texts = [...cell.querySelectorAll('.jp-OutputArea-output text, .jp-OutputArea-output td, .jp-OutputArea-output th, '
        + '.jp-OutputArea-output div')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
    const fields = [...cell.querySelectorAll('.jp-OutputArea-output td[title]')];
    const page = paint(document.querySelector('.jp-Notebook'));
    return {
        page: page.rgb,
        texts: texts.map(e => {
            e.scrollIntoView({ block: 'center' });
            const below = behind(e);
            const ink = e instanceof SVGElement ? paint(e) : parts(getComputedStyle(e).color);
            return [e.textContent.trim().slice(0, 40), contrast(over({ ...ink, a: ink.a * opacity(e) }, below), below)];
        }),
        fields: fields.map(e => [paint(e).rgb.join(), contrast(paint(e), page)]),
        papers: [...cell.querySelectorAll('.jp-OutputArea-output svg > rect:first-of-type')].map(e => over(paint(e), page).rgb),
    };
}"""


@pytest.mark.parametrize(
    ("lab", "light"), [("JupyterLab Light", "true"), ("JupyterLab Dark", "false")], indirect=["lab"]
)
def test_texts_and_pictures_are_told_from_what_is_behind_them(lab, page, light):
    nb = Notebook(page, lab, CELLS)
    page.locator(f"body[data-jp-theme-light='{light}']").wait_for(state="attached")
    nb.run(0, "ready")
    nb.run(1, r"ran \d")
    for index, expected in ((2, "resident"), (3, "temperatures"), (4, "iterations native"), (5, "demote x")):
        nb.run(index, expected)
    found = {index: nb.cell(index).evaluate(CONTRASTS) for index in range(2, 6)}
    for index, got in found.items():
        assert len(got["texts"]) >= {2: 20, 3: 2, 4: 5, 5: 1}[index], got["texts"]
        faint = [text for text in got["texts"] if text[1] < 4.5]
        assert not faint, (CELLS[index], faint)
    assert len(found[3]["fields"]) >= 200
    assert not [field for field in found[3]["fields"] if field[1] < 3]
    assert found[4]["papers"] == [found[4]["page"]], "the picture of traces stands on the page's own colour"
