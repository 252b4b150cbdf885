# ruff: noqa: E501 - programs and choices read best in one line
"""Who else watches a loop: tools of `sys.monitoring` with every event there is, for all code or some, that come, go, ask to hear no more
and ask again, act on what they hear; tracers, profilers, also of all threads; audit hooks that run loops; frames that are kept and
read later, what faulthandler writes, limits of recursion that a loop changes. Everything anybody is told is part of the result."""

import sys

PRELUDE = """
import sys, gc, os, threading, tracemalloc, faulthandler, warnings, weakref
MON, M = sys.monitoring, sys.monitoring.events
TOLD, HASH, MODE, ACT, HEARD, KEEP, LIMIT = {}, [0], [0], {}, [0], [], sys.getrecursionlimit()
def told(*event):
    # All of it by a sum, the beginning as text.
    TOLD[event[0]] = TOLD.get(event[0], 0) + 1
    HASH[0] = (HASH[0] * 31 + sum(map(ord, str(event)))) % 1000000007
    if len(log) < 300: log.append(event)
def act():
    HEARD[0] += 1
    if HEARD[0] in ACT: exec(ACT.pop(HEARD[0]), globals())
def answer():
    act()
    return MON.DISABLE if MODE[0] else None
def mine(code): return code.co_filename == "kinds" and code.co_name in NAMES
NAMES = ("run", "<module>", "work", "inner", "count", "thrower", "deep", "paired", "get", "swap")
BRANCHES = M.BRANCH_LEFT | M.BRANCH_RIGHT if sys.version_info >= (3, 14) else M.BRANCH
def short(v): return v if v.__class__ in (int, float, str, bool, type(None)) else v.__class__.__name__
LOCAL, COUNT = set(), max(v for v in vars(M).values() if v.__class__ is int).bit_length()
LIVE = [True]
def hear(tool, live=LIVE):
    def line(code, n):
        if live[0] and mine(code): told("line", tool, code.co_name, n); return answer()
    def where(name):
        def f(code, at, *rest):
            if live[0] and mine(code): told(name, tool, code.co_name, at, *[r if r.__class__ is int else short(r) for r in rest[:1]]); return answer()
        return f
    def plainly(name):
        def f(code, at, *rest):
            if live[0] and mine(code): told(name, tool, code.co_name, at, *map(short, rest)); act()
        return f
    for name in ("INSTRUCTION", "JUMP", "BRANCH", "BRANCH_LEFT", "BRANCH_RIGHT", "CALL", "PY_START", "PY_RESUME", "PY_RETURN", "PY_YIELD", "STOP_ITERATION"):
        if hasattr(M, name): MON.register_callback(tool, getattr(M, name), where(name.lower()))
    for name in ("C_RETURN", "C_RAISE", "PY_UNWIND", "PY_THROW", "RAISE", "RERAISE", "EXCEPTION_HANDLED"):
        MON.register_callback(tool, getattr(M, name), plainly(name.lower()))
    MON.register_callback(tool, M.LINE, line)
def start(tool, events):
    if MON.get_tool(tool) is None:
        MON.use_tool_id(tool, "kinds%d" % tool)
        hear(tool)
    MON.set_events(tool, events)
def local(tool, code, events):
    if MON.get_tool(tool) is None: start(tool, 0)
    LOCAL.add((tool, code))
    MON.set_local_events(tool, code, events)
def stop(tool):
    if MON.get_tool(tool) is not None:
        MON.set_events(tool, 0)
        for t, code in LOCAL:
            if t == tool: MON.set_local_events(tool, code, 0)
        for n in range(20): MON.register_callback(tool, 1 << n, None) if n < COUNT else None
        MON.free_tool_id(tool)
def unwatch():
    LIVE[0] = False
    HOOK[0] = None
    for tool in TOOLS: stop(tool)
    threading.settrace_all_threads(None); threading.setprofile_all_threads(None)
    threading.settrace(None); threading.setprofile(None)
    if tracemalloc.is_tracing(): tracemalloc.stop()
    KEEP.clear(); LOCAL.clear()
TOOLS = (0, 1, 2, 3, 4)  # the optimiser has 5
def tracer(frame, event, arg):
    if mine(frame.f_code):
        told("trace " + event, frame.f_code.co_name, frame.f_lineno); act()
        return tracer
def every(frame, event, arg):
    if mine(frame.f_code):
        if event == "call": frame.f_trace_opcodes = True
        told("each " + event, frame.f_code.co_name, frame.f_lineno, frame.f_lasti); act()
        return every
def once(frame, event, arg):
    if mine(frame.f_code):
        told("once", frame.f_code.co_name, frame.f_lineno)
        sys.settrace(None)
def profiler(frame, event, arg):
    if mine(frame.f_code): told("profile " + event, frame.f_code.co_name, frame.f_lineno); act()
HOOK = sys.__dict__.setdefault("_larder_hook", [None, 0])
def audit(name, args):
    if name in ("sys._getframe", "object.__getattr__", "builtins.id", "object.__setattr__", "gc.get_objects", "code.__new__", "sys.settrace"):
        told("audit", name); n = 0
        for k in range(30): n += k & 3
def hooked(name, args):
    import sys
    hook = sys._larder_hook
    if hook[0] is not None: hook[0](name, args)
if not HOOK[1]: HOOK[1] = 1; sys.addaudithook(hooked)
def keep():
    if len(KEEP) < 3: KEEP.append(sys._getframe(1))
def kept():
    for f in KEEP: told("kept", f.f_code.co_name, f.f_lineno, f.f_lasti, sorted((k, short(v)) for k, v in f.f_locals.items() if k in "tabcxyumijkn"))
def stack():
    f, out = sys._getframe(1), []
    while f is not None:
        if mine(f.f_code): out.append((f.f_code.co_name, f.f_lineno, f.f_lasti))
        f = f.f_back
    told("stack", *out)
def dumped():
    r, w = os.pipe()
    faulthandler.dump_traceback(w, all_threads=False)
    os.close(w)
    with os.fdopen(r) as f: told("dump", *[s.strip() for s in f if '"kinds"' in s])
def depth():
    f, n = sys._getframe(1), 0
    while f is not None: f, n = f.f_back, n + 1
    return n
def inner(v): return v + 1
class C:
    def __init__(self, n): self.n = n
    def get(self): return self.n
    def swap(self, v):
        self.n, v = v, self.n
        return v
def paired(p, q=3): return inner(p) + q
def deep(k): return deep(k - 1) + 1 if k > 0 else 0
def work(l, n):
    t = 0
    for k in range(n):
        t += l[k & 3] if l[k & 3].__class__ is int else 1
        if t & 1: t = inner(t)
    return t
def count(n):
    for k in range(n): yield k
def thrower(k):
    for j in range(k & 7):
        if j == 4: raise ValueError(k)
    return k
"""
SETUP = """
o, g, G = C(3), count(10**6), 300
t += work([1, 2, 3, 4], 60)
"""
NAMES = "G"
STATEMENTS = [
    s.replace("\x00", "\n")
    for s in """
t += inner(i)
a = paired(i)
b = paired(i, q=2)
t += work(L, 9)
t += work([1, 2, 3, 4], 30) & 7
o.n = i
a = o.get()
b = o.swap(i)
for j in range(i & 7): t += j
for j in [*range(5)]: a = j
for k, v in enumerate(L): b = k
k = 0\x00while k < 5: k += 1
a = [v for v in range(4)]
a = sum([inner(v) for v in range(3)])
a = max(i, 3)
a = len(L)
u = isinstance(i, int)
m = str(i)
m = f'{i}'
a = next(g)
for v in count(3): t += v
try: a = thrower(i)\x00except ValueError: b = 3
try: a = 1 // (i % 5)\x00except ZeroDivisionError: a = 4
try: t += deep(i & 15)\x00except RecursionError: t += 2
try: t += deep(40)\x00except RecursionError: t += 1
try: t += paired(i) + inner(inner(i))\x00except RecursionError: t += 7
if i % 11 == 3: keep()
if i % 13 == 5: kept()
if i % 17 == 6: stack()
if i % 19 == 6: dumped()
if i % 9 == 2: act()
if i & 1 and t & 1: a = 1
if i & 1 or t & 1: a = 1
a = i if i & 2 else b
a = i < t < 500
m = None if i & 1 else i
a = sys._getframe().f_lineno
a = sys._getframe().f_lasti
G = i
G += 1
""".strip()
    .replace("\n    ", "\n")
    .split("\n")
]
ACTS = """
stop(1)
stop(4)
MODE[0] = 1
MODE[0] = 0
MON.restart_events()
start(3, M.LINE)
start(4, M.JUMP | BRANCHES)
start(1, 0)
G = 2.5
L_ = sys._getframe(3).f_locals.get('L'); L_.__class__ is list and L_.__setitem__(0, 2.5); L_ = None
raise ValueError('heard')
sys.settrace(tracer)
sys.settrace(None)
sys.setprofile(profiler)
sys.setprofile(None)
log.append(work([1, 2, 3, 4], 90))
inner = lambda v: v + 2
C.get = lambda self: 7
gc.collect()
local(3, work.__code__, M.LINE | M.JUMP)
local(1, inner.__code__, M.PY_START | M.PY_RETURN)
local(1, work.__code__, 0)
sys.setrecursionlimit(depth() + 30)
""".strip().split("\n")
EVENTS = """
start(1, M.LINE)
start(3, M.JUMP)
start(0, BRANCHES)
start(2, BRANCHES | M.JUMP | M.LINE)
start(4, M.CALL | M.LINE)
start(4, M.CALL)
start(4, M.INSTRUCTION)
start(3, M.PY_START | M.PY_RETURN)
start(3, M.PY_YIELD | M.PY_RESUME | M.PY_UNWIND | M.PY_THROW)
start(1, M.RAISE | M.RERAISE | M.EXCEPTION_HANDLED | M.STOP_ITERATION)
start(1, M.CALL | M.C_RETURN | M.C_RAISE)
start(0, M.LINE | M.PY_RETURN)
local(3, work.__code__, M.LINE)
local(4, work.__code__, M.JUMP)
local(4, inner.__code__, M.PY_START)
local(2, sys._getframe().f_code, M.LINE)
local(2, sys._getframe().f_code, M.JUMP)
local(2, sys._getframe().f_code, BRANCHES | M.CALL)
local(2, sys._getframe().f_code, 0)
stop(1)
stop(3)
stop(4)
stop(2)
stop(0)
MODE[0] = 1
MODE[0] = 0
MON.restart_events()
sys.settrace(tracer)
sys.settrace(every)
sys.settrace(once)
sys.settrace(tracer); sys._getframe().f_trace = tracer
sys._getframe().f_trace = None
sys.settrace(None)
sys.setprofile(profiler)
sys.setprofile(None)
threading.settrace_all_threads(tracer)
threading.setprofile_all_threads(profiler)
threading.settrace(tracer); th = threading.Thread(target=work, args=(L, 30)); th.start(); th.join(); th = None; threading.settrace(None)
HOOK[0] = audit
HOOK[0] = None
tracemalloc.start()
tracemalloc.stop()
sys.setrecursionlimit(depth() + 20)
sys.setrecursionlimit(depth() + 3)
sys.setrecursionlimit(depth() + 2)
sys.setrecursionlimit(depth() + 6)
sys.setrecursionlimit(LIMIT)
keep()
kept()
stack()
dumped()
""".strip().split("\n")
for late in (1, 3, 8, 20, 60, 150):
    EVENTS += [f"ACT[HEARD[0] + {late}] = {one!r}" for one in ACTS]
if sys.version_info < (3, 13):  # what a tracer of single instructions is told there differs from run to run
    EVENTS.remove("sys.settrace(every)")
LOOPS = ["for i in count({n}):", "for i in map(inner, range({n})):", "for i in range({n}):\n    if i & 1: t += 3"]
CONDITIONS = ["inner(i) & 1", "i & 1 and t & 2", "not i & 3"]
STATEMENTS += [f"if i == {late}: {one}" for one in EVENTS for late in (19, 37)]
