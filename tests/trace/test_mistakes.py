"""A mistake of ours in what the interpreter calls costs loops their machine code, and never the process."""

import subprocess
import sys
import textwrap

import pytest

import larder
import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

START = """
import gc
import larder.optimiser, larder.trace
from larder import _larder
assert larder.trace.enable(watch_all=True, hot=3), larder.trace.stats()
def row(name):
    return next(row for row in larder.optimiser.loops() if row["name"].split(".")[-1] == name)
def other(n):
    s = 0
    for i in range(n): s += i
    return s
for _ in range(4): assert other(100) == 4950
"""


def runs(program):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", START + textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "panicked" in done.stderr, "nothing was wrong"


def test_before_a_frame_is_entered():
    runs("""
        def run(n, out):
            x = 0.5
            for i in range(n):
                x = x * 0.5 + i
                if i % 7 == 6: out.append((i, x))
            return x
        want = []
        plain = run(7, []), run(100, want)
        for _ in range(8): run(100, [])
        assert row("run")["state"] == "compiled"
        native = row("run")["native"]
        assert _larder.trace_break(run.__code__, False) > 0
        for _ in range(8):
            got = []
            assert (run(7, []), run(100, got)) == plain and got == want
        of = row("run")
        assert (of["state"], of["why"], of["native"], of["live"]) == ("shunned", "an internal error", native, False), of
        # The others go on, and new ones are compiled.
        before = row("other")["native"]
        assert other(100) == 4950 and row("other")["native"] > before
        def new(n):
            s = 0
            while s < n: s += 2
            return s
        for _ in range(4): assert new(101) == 102
        assert row("new")["native"] > 50
        larder.trace.clear()
        for _ in range(4): assert run(7, []) == plain[0] and other(100) == 4950
    """)


def test_after_a_frame_was_put_right():
    runs("""
        def run(n):
            out = []
            for i in range(n):
                if i % 5 == 4: out.append(str(i) + "!" if i > wanted else i)
            return out
        wanted = 1 << 40
        for _ in range(3): run(100)
        assert _larder.trace_break(run.__code__, True) > 0
        wanted = -1
        for _ in range(40): assert run(100) == [f"{i}!" for i in range(4, 100, 5)]
        of = row("run")
        assert (of["state"], of["why"]) == ("shunned", "an internal error"), of
        assert larder.trace.stats()["why"] == ""
    """)


def test_when_something_dies_that_a_loop_names():
    runs("""
        def made(k):
            class P:
                def __init__(self): self.a = k
                def get(self): return self.a + 1
            def run(n, p):
                s = 0
                for i in range(n): s += p.get()
                return s
            return P, run
        P, run = made(4)
        for _ in range(8): assert run(100, P()) == 500
        assert _larder.trace_break(run.__code__, False) > 0
        del P
        gc.collect()
        # What else names it is not known: nothing is compiled any more.
        P = made(7)[0]
        assert run(100, P()) == 800 and other(100) == 4950
        assert {r["state"] for r in larder.optimiser.loops() if r["native"]} == {"shunned"}
        before = row("other")["native"]
        assert other(100) == 4950 and row("other")["native"] == before
        larder.trace.disable()
        assert larder.trace.enable(watch_all=True)
        assert "internal error" in larder.trace.stats()["not_compiling"]
        for _ in range(50): assert other(100) == 4950
    """)


def test_when_the_code_of_a_loop_dies():
    runs("""
        def made():
            def run(n):
                s = 0
                for i in range(n): s += i * 3
                return s
            return run
        run = made()
        for _ in range(4): assert run(100) == 14850
        code = run.__code__.replace(co_name="mine")
        mine = type(run)(code, globals())
        for _ in range(4): assert mine(100) == 14850
        assert _larder.trace_break(code, False) > 0
        del code, mine
        gc.collect()
        assert run(100) == 14850 and other(100) == 4950
        assert row("run")["state"] == row("other")["state"] == "compiled"
    """)
