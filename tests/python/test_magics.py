"""``%shelf`` and ``%trace``: in larder's kernel, and in a real ipykernel by ``%load_ext larder``."""

from __future__ import annotations

import keyword
import sys

import kernelfixtures
import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec

pytestmark = pytest.mark.filterwarnings("default")


def running(argv):
    km = KernelManager()
    km._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", *argv, "-f", "{connection_file}"], display_name="t", language="python"
    )
    km.start_kernel()
    kc = km.client()
    kc.start_channels()
    kc.wait_for_ready(timeout=60)
    return kernelfixtures.Running(km, kc)


@pytest.fixture(params=["larder", "ipykernel"])
def kernel(request):
    """A kernel that has the magics: ours, and ipykernel with the extension loaded."""
    k = running(["larder"] if request.param == "larder" else ["ipykernel_launcher"])
    try:
        if request.param == "ipykernel":
            k.ok("%load_ext larder")
        yield k
    finally:
        k.kc.stop_channels()
        k.km.shutdown_kernel(now=True)


def html(messages) -> str:
    return "".join(
        m["content"]["data"].get("text/html", "")
        for m in messages
        if m["msg_type"] in ("execute_result", "display_data")
    )


def test_shelf_opens_puts_gets_and_lists(kernel):
    kernel.ok("%shelf open jar\nx = [1, 2]")
    kernel.ok("%shelf put x jar")
    shown = kernel.ok("%shelf ls jar")
    assert "<td" in html(shown) and "list" in html(shown)
    assert kernel.value("_[0]['name']") == "'x'", "what is shown is data"
    kernel.ok("del x")
    kernel.ok("%shelf get x")
    assert kernel.value("x") == "[1, 2]"
    kernel.ok("%shelf rm x")
    assert kernel.value("'x' in jar") == "False"


def test_a_cell_is_one_commit(kernel):
    kernel.ok("import larder\ns = larder.open('w')\ns.a = 1\ns.b = 2")
    assert kernel.value("[c.names for c in s.log()]") == "[['a', 'b']]"


def test_a_shelf_cell_that_raises_is_rolled_back(kernel):
    kernel.ok("import larder, numpy as np\ns = larder.open('w')\ns.x = np.zeros(3)")
    content, messages = kernel.run("%%shelf w\ns.x[0] = 1\ns.y = 2\n1/0")
    assert content["status"] == "error" and content["ename"] == "ZeroDivisionError"
    assert [m["msg_type"] for m in messages].count("error") == 1
    assert kernel.value("s.x[0] == 0, 'y' in s") == "(np.True_, False)"
    kernel.ok("%%shelf w\ns.y = 3")
    assert kernel.value("s.y") == "3"


def test_bad_calls_say_what_to_do(kernel):
    for line, hint in (
        ("%shelf nonsense", "--help"),
        ("%shelf put nothing w", "no variable"),
        ("%trace nonsense", "--help"),
    ):
        content, _ = kernel.run(line)
        assert content["status"] == "error" and hint in content["evalue"]
    assert "transaction" in kernel.text("%shelf --help") and "two pages per trace" in kernel.text("%trace --help")


def test_wrong_words_for_tier_are_refused_and_do_nothing(kernel):
    kernel.ok("import os")
    for line in (
        "%tier on a b",
        "%tier off x",
        "%tier heat a b",
        "%tier auto on --dram",
        "%%tier x\nmade = 1",
        "%tier nix",
    ):
        content, _ = kernel.run(line)
        assert content["status"] == "error" and content["ename"] == "UsageError", line
    assert kernel.value("(os.path.exists('a'), 'made' in globals())") == "(False, False)"
    # A variable named as a verb does not take its place where the verb has its words.
    kernel.ok("pin = heat = 3\nimport numpy as np\nx = np.ones(1 << 18)")
    assert "stays in DRAM until" in kernel.text("%tier pin x")
    assert "smaller than 1M" in html(kernel.ok("%tier pin")) and "no temperatures yet" in html(kernel.ok("%tier heat"))


def test_magics_complete(kernel):
    kernel.ok("import larder\ns = larder.open('w')\ns.peach = 1")
    for line, wanted in (("%shelf ver", "verify"), ("%shelf get pe", "peach"), ("%trace st", "stats")):
        matches = kernel.ask("complete", line, len(line))["matches"]
        assert any(wanted in match for match in matches), (line, matches)
    # Nothing but what can stand there: no verb after a verb; ipykernel adds keywords of Python.
    for line, all_of_it in (("%shelf rm w ", ["peach"]), ("%tier auto ", ["on", "off"]), ("%tier pin ", ["s"])):
        matches = kernel.ask("complete", line, len(line))["matches"]
        assert [match for match in matches if not keyword.iskeyword(match)] == all_of_it, line


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with CPython 3.12")
def test_a_traced_cell_shows_its_loops_counted_exactly(kernel):
    shown = kernel.ok("%%trace\nfor i in range(5001):\n    k = i\nj = 0\nwhile j < 777:\n    j += 1")
    rows = {r: c for r, c in _rows(html(shown))}
    assert rows["for i in range(5001):"] == 5001
    # The test of `while` stood at the loop's end until 3.13: a back edge a round, but none for the last.
    assert rows["while j < 777:"] == (776 if sys.version_info < (3, 14) else 777)
    # One inside the other: the machine code of one runs iterations of both.
    shown = kernel.ok("%%trace\nfor i in range(4003):\n    j = 0\n    while j < 3:\n        j += 1")
    rows = {r: c for r, c in _rows(html(shown))}
    assert rows["for i in range(4003):"] == 4003
    assert rows["while j < 3:"] == (2 if sys.version_info < (3, 14) else 3) * 4003


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with CPython 3.12")
def test_a_hot_loop_is_counted_to_the_bound_and_foreign_code_not_at_all(kernel):
    kernel.ok("%trace count")
    kernel.ok(
        "import json\nfor i in range(100000):\n    pass\nfor i in range(20):\n    json.dumps([{}] * 50, indent=1)"
    )
    kernel.ok("import larder\nrows = [(r['source'], r['iterations'], r['state']) for r in larder.trace.traces()]")
    assert kernel.value("('for i in range(100000):', 1000, 'hot') in rows") == "True"
    assert kernel.value("('for i in range(20):', 20, 'warm') in rows") == "True"
    assert kernel.value("len(rows)") == "2", "loops inside json are not the notebook's"
    kernel.ok("import sys\nsys.settrace(lambda *a: None)")
    assert "tracer is active" in kernel.value("larder.trace.stats()['why']")
    kernel.ok("sys.settrace(None)")
    kernel.ok("pass")
    assert kernel.value("larder.trace.stats()['on']") == "True"


def _rows(page: str):
    import re

    for row in re.findall(r"<tr>(<td.*?)</tr>", page):
        cells = [re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]
        yield cells[2].replace("&lt;", "<"), int(cells[3])
