"""What ``larder.trace`` tells of loops is what happened: iterations, runs, exits, operations, bytes."""

import math
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import larder
import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

BRANCHY = """
def run(n):
    total = 0
    odd = 0
    for i in range(n):
        if i % 3 == 0:
            total += i
        else:
            odd += 1
    return total, odd
"""


@pytest.fixture
def trace():
    """`larder.trace`, watching all code; what counts all of it clears first, as pytest loops between a fixture and its test."""
    larder.trace.enable(watch_all=True)
    larder.trace.clear()
    yield larder.trace
    larder.trace.clear()
    larder.trace.disable()


def function(source, name="run"):
    space = {}
    exec(compile(source, f"<{name}>", "exec"), space)
    return space[name]


def only(trace, file="<run>"):
    (row,) = [r for r in trace.traces() if r["file"] == file]
    return row


def test_every_iteration_is_counted_once_native_or_interpreted(trace):
    run = function(BRANCHY)
    with trace.exactly() as before:
        for _ in range(7):
            run(5_000)
        (row,) = [r for r in trace.rows(before) if r["file"] == "<run>"]
    assert row["iterations"] == 7 * 5_000
    assert row["native"] > 34_000 and row["state"] == "compiled"
    assert row["native"] + row["interpreted"] == row["iterations"]


NESTED = """
def helper(x):
    s = 0
    for q in range(3):
        s += q * x
    return s
def run(n):
    total = 0
    for i in range(n):
        for j in range(i % 5):
            total += j
        k = 0
        while k < 3:
            k += 1
            if k == 2 and i % 3 == 0:
                break
        for a in range(4):
            for b in range(3):
                total += a * b
        total += helper(i)
    while total > n:
        total -= n
        for z in (1, 2, 3):
            total -= z
    return total
"""
PROGRAMS = Path(__file__).parents[2] / "benches" / "trace" / "programs.py"


def iterations(trace, source, n, hot):
    """Line -> back edges of each loop, counted while ``run(n)`` runs three times."""
    trace.disable()
    assert trace.optimise(watch_all=True, hot=hot)
    trace.clear()
    run = function(source)
    with trace.exactly() as before:
        for _ in range(3):
            run(n)
        rows = [r for r in trace.rows(before) if r["file"] == "<run>"]
    return {(r["code"], r["line"]): r["iterations"] for r in rows}, sum(r["native"] for r in rows)


@pytest.mark.parametrize(
    "name", ["nested", "mandelbrot", "sieve", "collatz", "matmul", "nbody", "fib", "bubble", "float"]
)
def test_loops_nested_in_anothers_trace_are_counted_as_the_interpreter_would(trace, name):
    programs = runpy.run_path(str(PROGRAMS))
    full = next((p for p in programs["SIZES"] if p.startswith(name)), None)
    source, n = (programs["function"](full), 60) if full else (NESTED, 900)
    plain, none = iterations(trace, source, n, 10**9)
    # The first rows of the Mandelbrot set leave their loop at once: compiled earlier, it would be given up.
    native, some = iterations(trace, source, n, 20 if name == "mandelbrot" else 5)
    assert (none, native) == (0, plain)
    assert some > sum(plain.values()) / 2


def test_runs_of_traces_and_exits_add_up(trace):
    run = function(BRANCHY)
    for _ in range(40):
        run(3_000)
    row = only(trace)
    traces, exits = row["detail"]["traces"], row["detail"]["exits"]
    assert len(traces) >= 2, "both ways of the branch are traces"
    passes = row["native"] + row["detail"]["entries"]
    assert traces[0]["runs"] == passes
    side = [t for t in traces if t["from_exit"] is not None and exits[t["from_exit"]]["trace"] == 0]
    assert sum(t["runs"] for t in side) >= 0.3 * passes
    # Whatever begins ends in a pass of the head, in an exit or in a side trace.
    taken = sum(e["taken"] for e in exits)
    assert taken == row["detail"]["entries"]


def test_overheads_are_bytecodes_executed_times_their_operations(trace):
    trace.clear()
    source = "def run(n):\n    i = 0\n    while i < n:\n        i += 1\n    return i\n"
    run = function(source)
    run(10_000)
    run(50_000)
    row = only(trace)
    found = {r["category"]: r for r in trace.overheads()}
    per_pass = row["detail"]["traces"][0]["bytecodes"]
    passes = row["native"]
    dispatched = found["dispatch"]["without"]
    assert passes * per_pass <= dispatched <= (passes + row["detail"]["entries"]) * per_pass
    assert found["dispatch"]["native"] == 0 and found["stack"]["native"] == 0
    allocated = found["object allocation"]
    assert allocated["without"] >= passes, "one int object an iteration"
    assert allocated["native"] <= 2 * row["detail"]["entries"], "and now only what leaves the loop"
    assert found["name resolution"]["without"] == 0, "locals only"
    for r in found.values():
        assert r["removed"] == r["without"] - r["native"]


def test_more_operations_than_before_are_told_in_words(trace, monkeypatch):
    trace.clear()
    source = "def run(xs, o):\n    for x in xs:\n        o.a = x * 1.5\n        o.b = x + 1\n    return o.b\n"
    run = function(source)
    for _ in range(2_000):
        run([1, 2, 3.5, 4, 5, 6, 7], type("O", (), {})())
    found = trace.overheads()
    more = [row for row in found if row["native"] > row["without"]]
    assert more, "a change of type in every other iteration costs checks"
    lines = {line.split("  ")[0]: line for line in repr(found).splitlines()}
    for row in found:
        told = lines[row["category"]].removesuffix(row["meaning"]).split("  ")[-2].strip()
        if row in more:
            assert row["share"] < 0 and row["removed"] < 0 and told == "more than before"
        else:
            assert told == (f"{row['share']:.1%}" if row["without"] else "-")
    # Where next to nothing was to do, no percentage says what happened.
    nothing = {"interpreter": [0] * 14, "without": [1, *[0] * 13], "natively": [127, 1, *[0] * 12]}
    monkeypatch.setattr(trace, "_raw", lambda: {("few",): nothing})
    found = trace.overheads()
    assert [row["share"] for row in found[:3]] == [-126, -math.inf, None]
    assert found.footer.startswith("127 operations more than the 1 before") and "%" not in found.footer
    assert repr(found).count("more than before") == 2 and "-12600" not in found._repr_html_()


def test_the_interpreters_share_is_what_it_ran_itself(trace):
    trace.clear()
    run = function(BRANCHY)
    run(30)
    assert not trace.overheads(), "nothing is compiled yet"
    run(3_000)
    (row,) = [r for r in larder.optimiser.loops() if r["file"] == "<run>"]
    interpreted = {r["category"]: r["interpreter"] for r in trace.overheads()}
    own = (row["interpreted"] + row["entries"]) * row["traces"][0]["bytecodes"]
    # With all code watched, loops of the tables that are shown here may be among them.
    assert 0 < own <= interpreted["dispatch"]
    dispatch = list(interpreted).index("dispatch")
    assert row["interpreter"][dispatch] == own


def test_code_settles_and_is_counted_in_bytes(trace):
    run = function(BRANCHY)
    for _ in range(40):
        run(3_000)
    growing = trace.stats()
    assert growing["growing_bytes"] > 0
    for _ in range(3):
        trace.after_cell()
    stats = trace.stats()
    assert stats["growing_bytes"] == 0
    assert stats["bytes_per_trace"] == round((stats["code_bytes"] + stats["metadata_bytes"]) / stats["traces"])
    assert 0 < stats["used"] == stats["code_bytes"] <= stats["limit"] == 1 << 20
    assert run(3_000) == (sum(range(0, 3_000, 3)), 2_000)
    assert only(trace)["state"] == "compiled"


def test_code_that_nobody_enters_is_discarded_and_made_again(trace):
    run = function(BRANCHY)
    run(3_000)
    assert trace.stats()["used"] > 0
    for _ in range(70):
        trace.after_cell()
    assert trace.stats()["used"] == 0
    assert only(trace)["state"] == "cold"
    before = only(trace)["native"]
    assert run(3_000) == (sum(range(0, 3_000, 3)), 2_000)
    assert only(trace)["native"] > before and trace.stats()["used"] > 0


def test_the_limit_evicts_and_results_stay_right(trace):
    larder.trace.limit(8192)
    try:
        runs = [function(BRANCHY.replace("% 3", f"% {k}"), "run") for k in range(2, 70)]
        for k, run in enumerate(runs, 2):
            assert run(600) == (sum(range(0, 600, k)), 600 - len(range(0, 600, k)))
        stats = trace.stats()
        assert stats["used"] <= 8192 and stats["evictions"] > 10, stats
        for k, run in enumerate(runs, 2):
            assert run(600) == (sum(range(0, 600, k)), 600 - len(range(0, 600, k)))
        assert trace.limit(4096) == 4096 and trace.stats()["used"] <= 4096
    finally:
        larder.trace.limit(1 << 20)
    with pytest.raises(ValueError, match="4096"):
        larder.trace.limit(100)


def test_the_graph_is_svg_and_dot(trace):
    trace.clear()
    with pytest.raises(LookupError, match="compiled"):
        trace.graph()
    run = function(BRANCHY)
    for _ in range(40):
        run(3_000)
    picture = trace.graph()
    root = ElementTree.fromstring(picture.svg())
    # What is left of it in a notebook that came from somebody else: its texts, each in a line.
    bare = re.sub("<[^>]*>", "", re.sub("<style>.*</style>", "", picture._repr_html_())).splitlines()
    assert picture._label(0)[0] in bare and picture._label(0)[1] in bare
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any(t.startswith("root: ") for t in texts) and any(t.startswith("side trace 1") for t in texts)
    dot = trace.graph("dot")
    assert dot.startswith("digraph") and "t0 -> t1" in dot and dot.count("{") == dot.count("}") == 1
    with pytest.raises(ValueError, match="svg"):
        trace.graph("png")
    with pytest.raises(LookupError, match="no loop 99"):
        trace.graph(loop=99)


def test_it_says_why_it_stands_aside():
    ask = """
import sys, larder
sys.settrace(lambda *a: None)
assert not larder.trace.enable(), "a tracer is on"
print(larder.trace.stats()["why"])
sys.settrace(None)
sys.monitoring.use_tool_id(sys.monitoring.COVERAGE_ID, "cover")
assert not larder.trace.enable()
print(larder.trace.stats()["why"])
sys.monitoring.free_tool_id(sys.monitoring.COVERAGE_ID)
assert larder.trace.enable()
print(repr(larder.trace.stats()["why"]), larder.trace.stats()["compiling"])
"""
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert "tracer" in first and "'cover'" in second and third == "'' True"


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14), (3, 15), (3, 16)])
def test_the_layout_of_another_version_is_refused(version):
    def check(version, free_threaded=False, debug=False):
        samples = larder.optimiser._samples()
        larder._larder.trace_check(version, sys.hexversion, free_threaded, debug, samples, True)

    if version == sys.version_info[:2]:
        check(version)
        for build in ((True, False), (False, True)):
            with pytest.raises(RuntimeError, match=r"this is a (free-threaded|debug) build"):
                check(version, *build)
    else:
        with pytest.raises(RuntimeError, match=r"keeps .* otherwise|not known|no sys.monitoring"):
            check(version)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="3.12 does not describe itself")
def test_another_patch_release_than_the_running_one_is_refused():
    with pytest.raises(RuntimeError, match="its description of itself"):
        larder._larder.trace_check(
            sys.version_info[:2], sys.hexversion + 256, False, False, larder.optimiser._samples(), True
        )


def test_objects_that_are_not_as_expected_are_named():
    for name, other, what in [
        ("float", 1.5, "a float"),
        ("list", [], "a list's size"),
        ("instance", object(), "attributes"),
    ]:
        samples = {**larder.optimiser._samples(), name: other}
        with pytest.raises(RuntimeError, match=what):
            larder._larder.trace_check(sys.version_info[:2], sys.hexversion, False, False, samples, True)


def test_operands_taken_from_the_stack_are_not_looked_at_when_a_float_is_replaced(trace):
    """``d * v[k]`` leaves the object ``v[k]`` above the top of the stack, where nobody has it any more."""

    def size(product):
        body = "".join(f"        x[{k}] += {product.replace('k', str(k))}\n" for k in range(8))
        run = function(f"def run(x, v, d, n):\n    for i in range(n):\n{body}")
        trace.clear()
        for _ in range(5):
            run([float(k) for k in range(8)], [k + 0.5 for k in range(8)], 0.25, 2_000)
        row = only(trace)
        assert row["state"] == "compiled"
        return row["detail"]["code_bytes"]

    # A compare and its jump for each of the eight would be 56 bytes; code is counted in pieces of 16.
    assert abs(size("d * v[k]") - size("v[k] * d")) <= 16
