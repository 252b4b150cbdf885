"""What a program put in the place of builtins before loops are compiled, and functions that are too large for a tree."""

import builtins
import dis
import subprocess
import sys
import types

import pytest

import larder
import larder.loopcount
import larder.optimiser
import larder.trace

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


REPLACED = """
import builtins
if LATE: import larder.optimiser, larder.trace
real = {name: getattr(builtins, name) for name in NAMES}
class Other:
    pass
def wrapped(name):
    return lambda *a, **k: real[name](*a, **k)
def run(n, range=range, abs=abs):
    s = 0
    for i in range(n):
        s += i
    k = 0
    while k < n:
        k += 1
        s += abs(-k)
    return s
for name in NAMES:
    setattr(builtins, name, {"class": Other, "object": Other(), "function": wrapped(name)}[HOW])
try:
    if not LATE: import larder.optimiser, larder.trace
    on = larder.trace.enable(watch_all=True, hot=3)
    found = [run(100) for _ in (1, 2, 3, 4)]
finally:
    for name in NAMES:
        setattr(builtins, name, real[name])
assert on and not larder.trace.stats()["not_compiling"], larder.trace.stats()
assert found == [10000] * 4, found
assert sum(row["native"] for row in larder.optimiser.loops() if row["name"] == "run") > 50
"""


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("how", ["class", "object", "function"])
def test_whatever_took_the_place_of_builtins_loops_are_compiled(how, late):
    names = (
        "range abs float int bool str bytes round divmod min max sum ord repr format enumerate zip list dict set tuple len "
        "iter next isinstance getattr hasattr type any sorted super"
    ).split()
    if not late:
        # Importing larder imports modules of Python, which use most names.
        names = ["range", "enumerate", "zip", "len", "min"] if how == "function" else ["divmod", "round", "format"]
    program = REPLACED.replace("NAMES", repr(names)).replace("LATE", repr(late)).replace("HOW", repr(how))
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_starts_the_optimiser_asks_for_no_name_that_a_program_may_have_replaced():
    def names(code):
        asked = {ins.argval for ins in dis.get_instructions(code) if ins.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
        return asked.union(*map(names, inner))

    start = [
        larder.trace.enable,
        larder.trace.disable,
        larder.trace._obstacle,
        larder.loopcount.from_cell,
        larder.loopcount.jump,
    ]
    found = [f for f in vars(larder.optimiser).values() if isinstance(f, types.FunctionType)]
    start += [f for f in found if f.__module__ == larder.optimiser.__name__]
    assert len(start) > 12
    # Asked for only where something was raised.
    asked = set().union(*(names(f.__code__) for f in start)) - {"RuntimeError"}
    assert {name for name in asked if hasattr(builtins, name) and name not in vars(larder.optimiser)} <= {
        "__build_class__"
    }


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
