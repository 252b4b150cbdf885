"""A kernel that compiles from its start (``LARDER_TRACE=on``) beside one that never does: every cell shows the same."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

import larder.optimiser

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
import kernelfixtures

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython"),
]

CELLS = {
    "an error in a loop, with its lines": """
import traceback
def risky(n):
    t = 0
    for i in range(n):
        t += 100 // (500 - i)
    return t
try:
    risky(1000)
except ZeroDivisionError as error:
    print([(f.name, f.lineno) for f in traceback.extract_tb(error.__traceback__)][-1], error)
    print({k: v for k, v in error.__traceback__.tb_next.tb_frame.f_locals.items()})
""",
    "a cell's own loop ends in an error": """
n = 0
for i in range(2000):
    n += i
    if i == 1500:
        try:
            undefined_name
        except NameError as error:
            print(error, error.__traceback__.tb_lineno, i, n)
""",
    "names deleted": """
g = 1
t = 0
try:
    for i in range(1000):
        t += g
        if i == 700:
            del g
except NameError as error:
    print(error, t, i)
""",
    "recursion to its limit, in loops": """
import sys
def down(n):
    t = 0
    for i in range(50):
        t += i
    return down(n + 1) + t
try:
    down(0)
except RecursionError as error:
    print(type(error).__name__)
def depth(n):
    t = 0
    for i in range(50):
        t += i & n
    return t + depth(n - 1) if n else 0
print(depth(200))
""",
    "threads": """
import threading
sums = {}
def work(k):
    t = 0
    for i in range(30_000):
        t += i % (k + 3)
    sums[k] = t
threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(sums.items()))
""",
    "asyncio": """
import asyncio
async def walker(n):
    t = 0
    for i in range(n):
        t += i * i % 7
        if i % 500 == 0:
            await asyncio.sleep(0)
    return t
print(await asyncio.gather(*(walker(n) for n in (3000, 2000, 4000))))
async def ticks(n):
    for i in range(n):
        yield i
t = 0
async for i in ticks(2000):
    t += i
print(t)
""",
    "a tracer in the middle": """
import sys
events = []
def tracer(frame, event, arg):
    if frame.f_code.co_name == "traced":
        events.append((event, frame.f_lineno - frame.f_code.co_firstlineno))
    return tracer
def traced(n):
    t = 0
    for i in range(n):
        t += i
        if i == n - 5:
            sys._getframe().f_trace = tracer
            sys.settrace(tracer)
    sys.settrace(None)
    return t
print(traced(900), events)
""",
    "sys.monitoring in the middle": """
import sys
m = sys.monitoring
m.use_tool_id(m.PROFILER_ID, "watcher")
lines = []
def watched(n):
    t = 0
    for i in range(n):
        t += i
        if i == n - 4:
            m.set_local_events(m.PROFILER_ID, watched.__code__, m.events.LINE)
    return t
m.register_callback(m.PROFILER_ID, m.events.LINE, lambda code, line: lines.append(line - code.co_firstlineno))
print(watched(800), lines)
m.set_local_events(m.PROFILER_ID, watched.__code__, 0)
m.free_tool_id(m.PROFILER_ID)
""",
    "a debugger stops where it is told": """
import io, pdb
def stopped():
    t = 0
    for i in range(900):
        t += i
    pdb.Pdb(stdin=io.StringIO("p t, i\\nc\\n"), stdout=out).set_trace()
    t = 5
    return t
def last():
    pdb.Pdb(stdin=io.StringIO("w\\nc\\n"), stdout=out).set_trace()
out = io.StringIO()
stopped(), last()
print([line.rpartition("/")[2] for line in out.getvalue().splitlines()])
""",
    "cProfile": """
import cProfile, pstats, io
def leaf(i):
    return i & 3
def loops():
    t = 0
    for i in range(3000):
        t += leaf(i)
    return t
print(loops())
profile = cProfile.Profile()
print(profile.runcall(loops))
print(sorted((k[2], v[0]) for k, v in pstats.Stats(profile, stream=io.StringIO()).stats.items() if k[2] in ("leaf", "loops")))
print(loops())
""",
    "%timeit and %prun": """
x = 0
t = %timeit -n 3 -r 2 -q -o sum([i for i in range(500)])
print(len(t.timings))
def busy():
    t = 0
    for i in range(2000):
        t += i
    return t
p = %prun -q -r busy()
print(any(k[2] == "busy" for k in p.stats))
""",
    "exec of the same text in many namespaces": """
total = 0
for k in range(30):
    space = {"k": k}
    exec("t = 0\\nfor i in range(200):\\n    t += i * k", space)
    total += space["t"]
print(total)
""",
    "a module that is reloaded": """
import importlib, pathlib, sys, tempfile
folder = tempfile.TemporaryDirectory()
sys.path.insert(0, folder.name)
sys.dont_write_bytecode = True
path = pathlib.Path(folder.name, "changing_module.py")
path.write_text("def f(x):\\n    return x + 1\\n")
import changing_module
def use(n):
    t = 0
    for i in range(n):
        t += changing_module.f(i)
    return t
print(use(1000))
path.write_text("def f(x):\\n    return x * 2 - 7   # longer\\n")
importlib.reload(changing_module)
print(use(1000))
folder.cleanup()
""",
    "functions redefined by a later cell": """
def f(x): return x + 1
def use(n):
    t = 0
    for i in range(n):
        t += f(i)
    return t
print(use(1000))
def f(x): return x * 3
print(use(1000))
""",
    "processes forked in a cell": """
import multiprocessing, os
def work(k):
    t = 0
    for i in range(20_000):
        t += i % (k + 2)
    return t
print(work(1))
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(work, range(5)))
read, write = os.pipe()
child = os.fork()
if child == 0:
    try:
        os.write(write, str(work(3)).encode())
    finally:
        os._exit(0)
os.waitpid(child, 0)
print(os.read(read, 100), work(3))
os.close(read), os.close(write)
""",
    "processes spawned in a cell": """
import multiprocessing, pathlib, sys, tempfile
folder = tempfile.TemporaryDirectory()
pathlib.Path(folder.name, "spawned_work.py").write_text(
    "def work(k):\\n    t = 0\\n    for i in range(5000):\\n        t += i % (k + 2)\\n    return t\\n")
sys.path.insert(0, folder.name)
import spawned_work
with multiprocessing.get_context("spawn").Pool(1) as pool:
    print(pool.map(spawned_work.work, range(3)))
folder.cleanup()
""",
    "pytest in a cell": """
import pathlib, subprocess, sys, tempfile, pytest
folder = tempfile.TemporaryDirectory()
test = pathlib.Path(folder.name, "test_inside.py")
test.write_text("def test_sum():\\n    t = 0\\n    for i in range(3000):\\n        t += i\\n    assert t == 4498500\\n"
                "def test_fails():\\n    t = 0\\n    for i in range(3000):\\n        t += i\\n    assert t == 1\\n")
print(int(pytest.main(["-q", "-p", "no:cacheprovider", "--no-header", "-p", "no:terminal", str(test)])))
folder.cleanup()
""",
    "finalizers and weak references": """
import weakref
log = []
class Loud:
    def __init__(self, k): self.k = k
    def __del__(self): log.append(self.k)
o, refs = None, []
for i in range(300):
    if i % 50 == 0:
        o = Loud(i)
        refs.append(weakref.ref(o))
    log.append(-i if i % 37 == 0 else 0)
o = None
print(log, [r() for r in refs])
""",
}

# Their loops are in files, in text without one, or under a profiler: no business of ours.
NOT_WATCHED = (
    "pytest in a cell",
    "processes spawned in a cell",
    "%timeit and %prun",
    "exec of the same text in many namespaces",
)


@pytest.fixture(scope="module")
def kernels():
    started = []
    with pytest.MonkeyPatch.context() as patch:
        for wish in ("off", "on"):
            patch.setenv("LARDER_TRACE", wish)
            km = kernelfixtures.manager()
            km.start_kernel()
            kc = km.client()
            kc.start_channels()
            kc.wait_for_ready(timeout=60)
            started.append(kernelfixtures.Running(km, kc))
    try:
        yield started
    finally:
        for one in started:
            one.kc.stop_channels()
            one.km.shutdown_kernel(now=True)


def native(kernel) -> int:
    return int(kernel.value("__import__('larder').trace.stats()['iterations_native']"))


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_shows_the_same(kernels, name):
    plain, compiling = kernels
    before = native(compiling)
    assert compiling.text(CELLS[name]) == plain.text(CELLS[name]) != ""
    # Once more, with what was compiled.
    assert compiling.text(CELLS[name]) == plain.text(CELLS[name])
    assert native(plain) == 0
    if name not in NOT_WATCHED:
        assert native(compiling) > before


def test_an_interrupt_ends_a_native_loop_where_it_is(kernels):
    _, kernel = kernels
    kernel.ok("n = m = 0")
    request = kernel.send("print('going')\nwhile True:\n    n += 1\n    m = n * 2")
    kernel.wait_for(lambda message: message["msg_type"] == "stream")
    time.sleep(0.5)
    kernel.km.interrupt_kernel()
    content = kernel.reply(request)["content"]
    assert content["ename"] == "KeyboardInterrupt"
    assert kernel.value("n > 1000 and m in (2 * n, 2 * n - 2)") == "True"


def test_memory_of_loops_made_and_thrown_away_is_given_back(kernels):
    _, kernel = kernels
    kernel.ok("""
import gc, linecache, sys
def many(rounds):
    for k in range(rounds):
        text = f"t = 0\\nfor i in range(120):\\n    t += i + {k}"
        # As a cell's: that is what is watched.
        linecache.cache["<cell of many>"] = (len(text), None, [line + "\\n" for line in text.splitlines()], "<cell of many>")
        exec(compile(text, "<cell of many>", "exec"), {})
""")
    before = native(kernel)
    kernel.ok("many(300)")
    assert native(kernel) - before > 300 * 60
    counts = [int(kernel.value("(many(300), gc.collect(), sys.getallocatedblocks())[-1]")) for _ in range(5)]
    assert max(counts[2:]) - min(counts[2:]) < 2000, counts
    assert int(kernel.value("__import__('larder').trace.stats()['used']")) < 1 << 20
