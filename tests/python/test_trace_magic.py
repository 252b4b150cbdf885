"""``%trace`` in a real kernel: what it shows, what it answers to wrong calls, and that `LARDER_TRACE` is heeded."""

from __future__ import annotations

import json
import subprocess
import sys

import kernelfixtures
import pytest

import larder.optimiser

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython"),
]

LOOP = """
total = odd = 0
for i in range(20_000):
    if i % 3:
        odd += 1
    else:
        total += i
(total, odd)
"""
RESULT = f"({sum(range(0, 20_000, 3))}, {20_000 - len(range(0, 20_000, 3))})"


@pytest.fixture
def kernel():
    km = kernelfixtures.manager()
    km.start_kernel()
    kc = km.client()
    kc.start_channels()
    kc.wait_for_ready(timeout=60)
    try:
        yield kernelfixtures.Running(km, kc)
    finally:
        kc.stop_channels()
        km.shutdown_kernel(now=True)


def shown(messages, kind: str) -> list[str]:
    found = [m["content"]["data"].get(kind) for m in messages if m["msg_type"] in ("execute_result", "display_data")]
    return [text for text in found if text]


def test_a_cell_compiled_gives_the_same_result_and_tells_its_story(kernel):
    assert kernel.value(LOOP) == RESULT
    kernel.ok("%trace on")
    assert kernel.value(LOOP) == RESULT
    assert kernel.value("import larder\n(row := larder.trace.traces()[0])['iterations'], row['traces'] >= 2") == (
        "(20000, True)"
    )
    page = "".join(shown(kernel.ok("%trace"), "text/html"))
    assert "for i in range(20_000):" in page and "compiling hot loops" in page
    stats = shown(kernel.ok("%trace stats"), "text/plain")[0]
    assert "bytes per trace" in stats and "8192" in stats
    assert shown(kernel.ok("%trace graph"), "image/svg+xml")[0].startswith("<svg")
    assert kernel.text("%trace graph dot").startswith("digraph")
    overheads = shown(kernel.ok("%trace overheads"), "text/plain")[0]
    for category in ("error check", "GC", "rich control flow", "dispatch", "object allocation", "C call"):
        assert category in overheads
    kernel.ok("%trace clear")
    assert "no loop met" in shown(kernel.ok("%trace"), "text/plain")[0]


def test_a_traced_cell_shows_loops_and_overheads_and_leaves_the_setting_alone(kernel):
    tables = shown(kernel.ok("%%trace overheads\n" + LOOP), "text/plain")
    assert RESULT in tables
    assert any("for i in range(20_000):" in t and "20000" in t for t in tables)
    assert any("removed %" in t for t in tables)
    assert kernel.value("import larder; larder.trace.stats()['compiling']") == "False", "a kernel counts unless asked"


def test_the_limit_is_shown_set_and_checked(kernel):
    content, _ = kernel.run("%trace limit 64K")
    assert content["status"] == "error" and "no machine code" in content["evalue"]
    kernel.ok("%trace on")
    assert "at most 1.0M" in kernel.text("%trace limit")
    assert "at most 64K" in kernel.text("%trace limit 64K")
    for wrong, hint in (("%trace limit 12", "4096"), ("%trace limit much", "K or M"), ("%trace limit 1 2", "one size")):
        content, _ = kernel.run(wrong)
        assert content["status"] == "error" and hint in content["evalue"], content


def test_the_operations_of_a_function_are_listed(kernel):
    kernel.ok("%trace on\nimport larder, functools")
    kernel.ok(
        "def f(n):\n    t = 0\n    for i in range(n):\n        t += i * 3\n    return t\nclass C:\n    run = f\ng = 5"
    )
    kernel.ok("f(5000)")
    text = kernel.text("%trace listing f")
    assert text.startswith("f, loop at line 3: ") and "exits taken" in text
    assert " mul " in text and " add " in text and "newi" not in text
    # By now it may have settled.
    first = text.splitlines()[0]
    assert kernel.text("%trace listing C.run").startswith(first)
    kernel.ok("of = larder.trace.listing")
    assert kernel.value("of(f) == of(f.__code__) == of(C().run)") == "True"
    for wrong, hint in (
        ("%trace listing", "name of a function"),
        ("%trace listing g", "not of 'int'"),
        ("%trace listing nothing", "no 'nothing' here"),
        ("%trace listing f.nothing", "no 'f.nothing' here"),
        ("larder.trace.listing('f')", "not of 'str'"),
        ("larder.trace.listing(functools.partial(f))", "not of 'partial'"),
        ("def h():\n    return 1\nlarder.trace.listing(h)", "no loop of h was compiled"),
    ):
        content, _ = kernel.run(wrong)
        assert content["status"] == "error" and hint in content["evalue"], (wrong, content)
    line = "%trace listing "
    assert "f" in kernel.ask("complete", line, len(line))["matches"]


def test_wrong_calls_say_what_there_is(kernel):
    for wrong, hint in (
        ("%trace graph", "no loop was compiled"),
        ("%trace graph x", "number of a loop"),
        ("%trace stats now", "no arguments"),
        ("%%trace slowly\npass", "overheads"),
        ("%trace fast", "overheads"),
    ):
        content, _ = kernel.run(wrong)
        assert content["status"] == "error" and hint in content["evalue"], (wrong, content)
    for line, wanted in (("%trace o", "overheads"), ("%trace lim", "limit"), ("%trace graph d", "dot")):
        assert wanted in str(kernel.ask("complete", line, len(line))["matches"])


@pytest.mark.parametrize(("wish", "state"), [("on", [True, True]), ("count", [True, False]), ("off", [False, False])])
def test_the_environment_decides_what_a_kernel_starts_with(wish, state, monkeypatch):
    code = "import json, larder; s = larder.trace.stats(); print(json.dumps([s['on'], s['compiling']]))"
    monkeypatch.setenv("LARDER_TRACE", wish)
    told = subprocess.run(
        [sys.executable, "-m", "larder", "exec", code],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.strip().splitlines()[-1]) == state
