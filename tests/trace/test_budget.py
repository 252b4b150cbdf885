"""What compiling may cost: a tree that has taken what is free of it grows no further, and the loop is told so.

How the share of a loop's time is kept is tested in `core/trace/src/budget.rs`, without a clock."""

import subprocess
import sys
import textwrap

import pytest

import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

START = """
import random
import larder, larder.optimiser
from larder import _larder
def loop(ways, width, names=60):
    # Each pass takes one of so many ways, and each of them so many statements: a tree grows a large trace for each.
    r = random.Random(5)
    lines = ["def run(n):", *(f"    v{k} = {k}" for k in range(names))]
    lines += ["    for i in range(n):", f"        k = i * 7 % {ways}"]
    for way in range(ways):
        lines.append(f"        {'if' if way == 0 else 'elif'} k == {way}:")
        for _ in range(width):
            a, b, c = (r.randrange(names) for _ in range(3))
            then = f"(v{b} + v{c}) & 1023 if v{c} > {r.randrange(1023)} else v{b} ^ {r.randrange(1023)}"
            lines.append(f"            v{a} = {then}")
    lines.append("    return " + ", ".join(f"v{k}" for k in range(names)))
    space = {}
    exec(compile("\\n".join(lines), "budget", "exec"), space)
    return space["run"]
def row():
    return next((r for r in larder.optimiser.loops() if r["name"] == "run"), None)
DEAR = "compiling more of it would take longer than it earns"
"""


def run(program):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", START + textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]


def test_a_tree_that_is_large_and_grows_often_stops_growing():
    run("""
        run = loop(20, 60)
        plain = run(100)
        assert larder.trace.optimise(watch_all=True, hot=3)
        found = []
        while row() is None or row()["state"] != "shunned":
            assert run(100) == plain
            found.append((row()["compiles"], len(row()["traces"]), row()["why"]))
        # Operations compiled in all are what is free, whatever the program takes. What leaves too often then goes as ever.
        told = [f for f in found if f[2] == DEAR]
        assert len(told) > 3 and told[0][:2] == told[-1][:2] and told[0][1] < 21, found
    """)


def test_a_tree_that_is_small_grows_as_before():
    run("""
        run = loop(12, 2, names=8)
        plain = run(4000)
        assert larder.trace.optimise(watch_all=True, hot=3)
        for _ in range(6):
            assert run(4000) == plain
        assert len(row()["traces"]) > 12 and row()["why"] != DEAR, (len(row()["traces"]), row()["why"])
    """)


def test_a_loop_that_is_compiled_again_and_again_is_left_to_the_interpreter():
    run("""
        run = loop(1, 120)
        plain = run(100)
        assert larder.trace.optimise(watch_all=True, hot=3)
        for turn in range(400):
            assert run(100) == plain
            if row()["state"] == "shunned":
                break
            # There is no room for it: it goes, and is recorded anew.
            _larder.trace_limit(4096)
            _larder.trace_limit(1 << 20)
        assert row()["why"] == DEAR and 1 < row()["compiles"] < 100, (turn, row()["why"], row()["state"], row()["compiles"])
    """)
