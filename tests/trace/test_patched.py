"""What a program put in the place of builtins before loops are compiled, and functions that are too large for a tree."""

import subprocess
import sys

import pytest

import larder
import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

PATCHED = """
import builtins, math
import larder.optimiser, larder.trace
builtins.min, math.floor, math.sin, builtins.abs = max, math.ceil, math.cos, hash
assert larder.trace.enable(watch_all=True, hot=3), larder.trace.stats()
def run():
    k = a = b = c = d = 0
    while k < 60:
        k += 1
        a = max(k, 5)
        b = math.ceil(k * 0.3)
        c = math.cos(k)
    for k in range(60):
        d = hash(-k)
    return a, b, c, d
for _ in range(3):
    assert run() == (60, 18, math.cos(60), hash(-59)), run()
assert sum(row["native"] for row in larder.optimiser.loops()) > 50
"""


def test_what_took_the_place_of_a_builtin_before_loops_are_compiled_is_not_taken_for_it():
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", PATCHED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


MANY = """
import larder.optimiser, larder.trace
def made(count):
    lines = [f"v{k} = {k % 7}" for k in range(count)]
    lines += ["for i in range(n):", "    t += i", "    last = t", "    v3 = last + 1"]
    text = "def f(n):\\n t = last = 0\\n " + "\\n ".join(lines) + "\\n return t, last, v3, v0, v1, v2, i\\n"
    space = {}
    exec(compile(text, "many", "exec"), space)
    return space["f"]
assert larder.trace.enable(watch_all=True, hot=3), larder.trace.stats()
for count in (300, 65_400, 65_500, 65_532, 65_600):
    f = made(count)
    for _ in range(3):
        assert f(100) == (4950, 4950, 4951, 0, 1, 2, 99), count
    rows = [row for row in larder.optimiser.loops() if row["file"] == "many"]
    assert (sum(row["native"] for row in rows) > 100) == (count < 65_450), rows
    larder.trace.clear()
"""


def test_a_function_of_more_variables_than_a_tree_can_name_is_left_to_the_interpreter():
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", MANY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
