"""Generators and coroutines resumed in loops, threads, weak references, collections, tracers, signals, deep calls."""

PRELUDE = """
import sys, gc, weakref, threading, signal, types, os
T = 5
def count(n):
    k = 0
    while k < n:
        k += 1
        yield k
def echo():
    got = 0
    while True:
        new = yield got
        got = new if new is not None else got + 1
def each(l):
    for v in l: yield v
def pairs(l):
    for k, v in enumerate(l):
        yield k, v
        if k > 50: return 5
def chain(n):
    got = yield from count(n)
    yield got
def careful(l):
    n = 0
    try:
        for v in l:
            try: yield v
            except ValueError: n += 1
    finally: note(("closed", n))
async def co(n):
    t = 0
    for k in range(n): t += k
    return t
@types.coroutine
def pause(v): return (yield v)
async def co2(n):
    t = 0
    for k in range(n): t += await pause(k)
    return t
async def aecho():
    for k in range(60):
        yield k
def drive(c, v=1):
    try: return c.send(None)
    except StopIteration as e: return e.value
class Obj:
    def __init__(self, k): self.k = k; self.me = None
    def __del__(self, note=note): note(-self.k)
def gone(ref): note("gone")
def cycle(k):
    o = Obj(k)
    o.me = o
    return weakref.ref(o, gone)
def work(l, n):
    t = 0
    for k in range(n):
        l[k & 3] = k
        t += l[(k + 1) & 3]
    l[0] = t
def deep(n):
    t = 0
    for k in range(3): t += k
    return t if n <= 0 else t + deep(n - 1)
def endless(k):
    for v in range(4): k += v
    return endless(k) + 1
events = []
def tracer(frame, event, arg):
    if frame.f_code.co_filename == "kinds" and len(log) < 400: log.append((event, frame.f_lineno))
    return tracer
def profiler(frame, event, arg):
    if frame.f_code.co_filename == "kinds" and len(log) < 400: log.append((event, frame.f_lineno))
def trace_on(): sys.settrace(tracer); sys._getframe(1).f_trace = tracer
def trace_off(): sys.settrace(None); sys._getframe(1).f_trace = None
hits = 0
def handler(number, frame):
    global hits
    hits += 1
    note(("signal", hits, frame.f_code.co_name))
def handler2(number, frame):
    note(("i", frame.f_locals.get("i")))
    frame.f_globals["T"] = 2.5
def handler3(number, frame): raise KeyError("signal")
signal.signal(signal.SIGUSR1, handler)
def at_end(): signal.signal(signal.SIGUSR1, signal.SIG_IGN); stop_tool()
TOOL = 4
def on_line(code, number):
    if code.co_filename == "kinds" and len(log) < 400: log.append(("line", number))
def start_tool(events):
    m = sys.monitoring
    if m.get_tool(TOOL) is None: m.use_tool_id(TOOL, "kinds")
    m.register_callback(TOOL, m.events.LINE, on_line)
    m.register_callback(TOOL, m.events.PY_RETURN, lambda code, k, v: note("ret") if code.co_filename == "kinds" else None)
    m.register_callback(TOOL, m.events.RAISE, lambda code, k, e: note("raise") if code.co_filename == "kinds" else None)
    m.set_events(TOOL, events)
def stop_tool():
    if sys.monitoring.get_tool(TOOL) is not None:
        sys.monitoring.set_events(TOOL, 0)
        sys.monitoring.free_tool_id(TOOL)
M = sys.monitoring.events
def held():
    return sys._getframe(1).f_locals.copy()
"""
SETUP = "q, r, s, p, z, k, ref, cc = count(40), echo(), careful(list(range(30))), pairs(L * 20), None, 0, None, None"
NAMES = "z k"
STATEMENTS = (
    """
a = next(q, None)
t += next(q, 0)
a = next(r)
a = r.send(i)
a = r.send(None)
u = next(p, None)
k, z = next(p, (0, 0))
for k in count(4): t += k
for k in count(i & 7): t += k
for k in each(L): t += 1
for k, z in pairs(L): t += k
for k in each(each(L)): t += 1
for k in chain(3): t += 1
for k in q: t += k; break
for k in count(9):
    if k > i & 7: break
z = [k for k in count(4)]
t += sum(count(5))
t += sum(k for k in L if k.__class__ is int) & 7
z = list(each(L))
z = dict(pairs(L))
z = (lambda v: v)(i)
a = next(s, -1)
a = s.throw(ValueError())
z = drive(co(4))
z = drive(co2(4))
cc = co2(5); cc.send(None); cc.send(3); cc.close(); cc = None
q = count(40)
q = each(L * 5)
z = max(each(L))
q.close()
s.close()
s = careful(L)
z = Obj(i)
z = None
ref = weakref.ref(Obj(i), gone)
z = Obj(i); ref = weakref.ref(z, gone)
z = cycle(i)
if i % 10 == 5: gc.collect()
u = ref is not None and ref() is None
L[i & 3] = Obj(i)
L[i & 3] = 5
D[i & 3] = Obj(i)
D[i & 3] = 5
work(L, 9)
work([1, 2, 3, 4], 40)
t += deep(3)
t += deep(i & 15)
t += T if T.__class__ is int else 1
if i % 17 == 5: signal.raise_signal(signal.SIGUSR1)
if i % 17 == 5: os.kill(os.getpid(), signal.SIGUSR1)
z = sys._getframe().f_lineno
z = len(held())
""".strip()
    .replace("\n    ", "\x00    ")
    .split("\n")
)
STATEMENTS = [s.replace("\x00", "\n") for s in STATEMENTS]
EVENTS = """
trace_on()
trace_off()
sys.settrace(tracer)
sys.settrace(None)
sys.setprofile(profiler)
sys.setprofile(None)
start_tool(M.LINE)
start_tool(M.PY_RETURN)
start_tool(M.RAISE)
start_tool(M.JUMP | M.LINE)
stop_tool()
gc.collect()
signal.raise_signal(signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGUSR1)
signal.signal(signal.SIGUSR1, handler2)
signal.signal(signal.SIGUSR1, handler2); signal.raise_signal(signal.SIGUSR1)
signal.signal(signal.SIGUSR1, handler3)
signal.signal(signal.SIGUSR1, handler3); signal.raise_signal(signal.SIGUSR1)
sys.setrecursionlimit(len(__import__('inspect').stack()) + 60)
th = threading.Thread(target=work, args=(L, 300)); th.start(); th.join(); th = None
th = threading.Thread(target=lambda: note(sum(count(50)))); th.start(); th.join(); th = None
th = threading.Thread(target=globals().update, args=({'T': 9},)); th.start(); th.join(); th = None
z = endless(0)
q.close()
r.close()
q = echo()
p = iter(L)
T = 'x'
globals()['T'] = 3.5
gc.callbacks.append(lambda phase, info: note(phase)); gc.collect(); gc.callbacks.pop()
z = cycle(7); gc.collect()
sys.setswitchinterval(1e-5)
""".strip()
LOOPS = [
    "for i in count({n}):",
    "for i in each(range({n})):",
    "for i, z in pairs(L * 15):",
    "for i in (k for k in range({n})):",
]
CONDITIONS = ["z is None", "k == i", "ref is None"]
