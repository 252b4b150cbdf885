"""Tools of `sys.monitoring` that listen to one function only, from the midst of a loop that was compiled with it; and what
compiling leaves in the interpreter's own tables."""

import gc
import sys

import pytest
from compared import native_iterations

import larder.optimiser
import larder.trace

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

CALLED = {
    "function": "def called(v):\n    return v + 1\ndef call(k, t): return called(t)",
    "method": "class C:\n    def called(self, v):\n        return v + 1\no = C()\n"
    "called = C.called\ndef call(k, t): return o.called(t)",
    "closures": "def make(n):\n    def called(v):\n        return v + n\n    return called\nfs = [make(1), make(2)]\n"
    "called = fs[0]\ndef call(k, t): return fs[k & 1](t)",
}  # fmt: skip


@pytest.mark.parametrize("event", ["PY_START", "PY_RETURN", "LINE"])
@pytest.mark.parametrize("how", CALLED)
def test_a_tool_that_listens_to_a_called_function_alone_hears_every_call(how, event):
    monitoring = sys.monitoring
    tool, wanted = monitoring.DEBUGGER_ID, getattr(monitoring.events, event)
    space = {"monitoring": monitoring, "tool": tool, "wanted": wanted}
    exec(CALLED[how], space)
    text = """
def work(n, at):
    t = 0
    for k in range(n):
        if k == at: monitoring.set_local_events(tool, called.__code__, wanted)
        t = CALL
    return t
"""
    exec(text.replace("CALL", CALLED[how].split("return ")[-1].replace("k, t", "")), space)
    work, code = space["work"], space["called"].__code__

    def expected(n):
        return n // 2 * 3 if how == "closures" else n

    heard = []
    larder.trace.enable(watch_all=True, hot=5)
    monitoring.use_tool_id(tool, "one")
    try:
        monitoring.register_callback(tool, wanted, lambda *_: heard.append(0))
        before = native_iterations()
        assert (work(200, 999), len(heard)) == (expected(200), 0)
        assert native_iterations() - before > 100, [(r["line"], r["why"]) for r in larder.optimiser.loops()]
        assert (work(60, 40), len(heard)) == (expected(60), 20)
        assert (work(60, 999), len(heard)) == (expected(60), 80)
        monitoring.set_local_events(tool, code, 0)
        assert (work(60, 999), len(heard)) == (expected(60), 80)
    finally:
        monitoring.set_local_events(tool, code, 0)
        monitoring.register_callback(tool, wanted, None)
        monitoring.free_tool_id(tool)
        larder.trace.clear()
        larder.trace.disable()


def test_loops_that_are_thrown_away_leave_no_names_in_the_cache_of_types():
    larder.trace.enable(watch_all=True, hot=5)
    try:
        blocks = []
        for k in range(120):
            space = {}
            exec(f"def work(n):\n    t = {k}\n    for i in range(n): t += i\n    return t\nwork(90)", space)
            space.clear()
            larder.trace.clear()
            larder.optimiser.tick()
            if k % 20 == 19:
                gc.collect()
                blocks.append(sys.getallocatedblocks())
        # Each loop used to leave three texts there.
        assert blocks[-1] - blocks[1] < 30, blocks
    finally:
        larder.trace.clear()
        larder.trace.disable()
