# ruff: noqa: E501 - choices read best in one line
"""Random notebooks: cells that share one namespace, as a kernel runs them, plain and optimised.

Functions and classes are defined anew between cells and in the middle of loops, names deleted, modules and builtins patched,
generators stay suspended within loops and go on in later cells, finalizers, weak references, collections and signal handlers change the
variables of the loop they interrupt, errors keep their frames alive, cells are run again, and await. After every cell the
log, the error with its lines and the frames' variables, and all data must be the same; at the end also who is who and the
reference counts.

    python sessions.py FIRST_SEED COUNT [FORCE]     # compares plain and optimised runs
    python sessions.py show SEED                    # prints a notebook
"""

import ast
import builtins
import gc
import inspect
import math
import random
import sys

import kinds
from compared import again, command, differing_from

FIRST = """
import sys, gc, math, weakref, signal, threading, types, builtins, copy, pickle, collections, itertools, functools, contextlib
errors, Out, G, refs, hold = [], [], [], [], []
def tracer(frame, event, arg):
    if frame.f_code.co_filename[:5] == "<cell": note(event, frame.f_lineno, frame.f_code.co_name)
    return tracer
def profiler(frame, event, arg):
    if frame.f_code.co_filename[:5] == "<cell": note(event, frame.f_lineno)
def handler(number, frame):
    global t, x
    note("signal", frame.f_lineno if frame.f_code.co_filename[:5] == "<cell" else 0)
    t = 5000
signal.signal(signal.SIGUSR1, handler)
@types.coroutine
def pause(v): return (yield v)
t, n, x, y, s, m, i, a, b = 0, 40, 0.5, 1.5, "abcab", None, 0, 3, 700
L, F, D, E, T = [5, 300, 7, 1000], [0.5, 2.5, -1.0, 4.0], {0: 5, 1: 600, 2: 7, 3: 8}, {"a": 1, "b": 2}, (4, 5, 6, 7)
""".strip()

DEFINITIONS = [
    "def f(k): return k + 1", "def f(k): return k * 2 & 1023", "def f(k, d=3): return k + d + t", "def f(k):\n    global t\n    t += 1\n    return t",
    "def f(k):\n    s = 0\n    for v in range(k & 7): s += v\n    return s", "f = lambda k: k - 1", "def f(k): return k * 0.5",
    "def f(k):\n    if k == 33: raise KeyError(k)\n    return k", "def f(k, l=[1, 2, 3]):\n    l[k % 3] += 1\n    return l[0]", "f = functools.partial(max, 5)",
    "def f(k): return g(k) + 1", "def g(k): return k ^ 5", "def g(k): return k if k & 1 else None", "def g(k): return k % 7 + L[0]",
    "def g(k):\n    for v in L:\n        if v == k: return v\n    return -1", "g = abs", "def g(k): return [k, k]", "def g(k): note(k); return 1",
    "class A:\n    k = 3\n    def __init__(self, v): self.v = v\n    def get(self): return self.v\n    def put(self, v): self.v = v",
    "class A:\n    k = 2.5\n    def __init__(self, v): self.v = v; self.w = v\n    def get(self): return self.w\n    def put(self, v): self.w = self.v = v",
    "class A:\n    __slots__ = ('v', '__weakref__')\n    k = 5\n    def __init__(self, v): self.v = v\n    def get(self): return self.v * 2\n    def put(self, v): self.v = v",
    "class A:\n    k = 1\n    def __init__(self, v): self._v = v\n    @property\n    def v(self): return self._v\n    @v.setter\n    def v(self, new): self._v = new\n    def get(self): return self._v\n    def put(self, v): self.v = v",
    "class B(A):\n    def get(self): return A.get(self)", "class B(A):\n    def __getattr__(self, name): return 9",
    "class Loud:\n    def __init__(self, v): self.v = v\n    def __del__(self):\n        global t\n        t += 1000\n        note('dead', self.v, t)",
    "class Loud:\n    def __init__(self, v): self.v = v\n    def __del__(self):\n        global a, L\n        a = -a\n        L = [1, 2, 3, a]",
    "class Loud:\n    def __init__(self, v): self.v = v\n    def __del__(self): D[0] = 0; F[0] = 9.5; note(i)",
    "class Loud:\n    def __init__(self, v): self.v = v\n    def __del__(self): globals().pop('m', None)",
    "def walk(l):\n    global a\n    for v in l:\n        a = v if v.__class__ is int else a\n        yield v", "def walk(l):\n    q = 0\n    for v in l:\n        q += 1\n        got = yield q\n        if got: q = got",
    "def walk(l):\n    for k in range(30):\n        for v in l:\n            yield k\n", "def walk(l):\n    try:\n        for v in l: yield v\n    finally: note('closed')",
    "o, p, z = A(1), A(2), None", "objs = [A(1), A(2), A(3), A(4)]", "objs = [A(1), B(2), A(3), B(4)]",
    "def made():\n    n = 0\n    def inc(k):\n        nonlocal n\n        n += k\n        return n\n    return inc", "h = made()",
    "def deco(fn):\n    def inner(*args): return fn(*args)\n    return inner", "f = deco(f)", "async def co(k):\n    q = 0\n    for v in range(k):\n        q += v\n        if v == 5: q += await pause(v) or 1\n    return q",
]  # fmt: skip
START = [DEFINITIONS[0], DEFINITIONS[11], DEFINITIONS[18], DEFINITIONS[22], DEFINITIONS[24], DEFINITIONS[28], DEFINITIONS[32], DEFINITIONS[34],
         DEFINITIONS[35], DEFINITIONS[36], DEFINITIONS[39]]  # fmt: skip
STATEMENTS = """
t += i
t += 1
a = t & 1023
a, b = b, a
b = (a * 3 + i) & 4095
x = x * 0.5 + i
x, y = y, x
y = y + 1.0
m = a
m = i if i & 1 else None
m = x
L[i & 3] = a
a = L[i & 3]
L[0], L[1] = L[1], L[0]
F[i & 3] = x
x = F[i & 3]
D[i & 3] = i
t += D[i & 3] & 7
E['a'] += 1
E[s[i % 5]] = i
if s[i % 5] == 'a': t += 1
a = f(i)
a = f(a)
t += f(i) & 3
a = g(i)
m = g(i)
t += g(i) & 7
a = o.get()
o.put(i)
o.v = i
t += o.v & 7
o.v += 1
a = p.v
p.v, o.v = o.v, p.v
z = A(i)
z = o
z = None
t += A.k
t += objs[i & 3].get() & 7
objs[i & 3].put(i)
objs[i & 3] = o
objs[i & 3] = A(i)
for q in objs: t += q.v & 3
a = h(1)
t += h(i) & 7
a = next(G[0], 0)
a = next(G[-1], None)
G[0].send(None)
z = Loud(i)
z = [Loud(i), i]
L[i & 3] = Loud(i)
L[i & 3] = 5
D[i & 3] = Loud(i)
D[i & 3] = 7
objs[0].v = Loud(i)
objs[0].v = 3
refs.append(weakref.ref(A(i), lambda r: note('gone')))
for k in range(5): t += k
for k in range(i & 7): a += 1
for v in L: t += 1
for k, v in enumerate(T): t += k * v
for v in walk(T): t += v & 7
for k in range(4): b ^= f(k)
a = [v for v in L]
a = sum([k for k in range(5)])
s = s[1:] + s[0]
s = f'{i}abcd'
u = a is b
t = t & 65535
a = abs(b)
x = math.sqrt(i)
t += len(L)
Out.append(i)
if len(hold) < 9: hold.append(m)
if i & 1: continue
if t > 9000: t = 0
try: a = 100 // (i & 7)
except ZeroDivisionError: a = 1
""".strip().replace("\nexcept", "\x00except").split("\n")  # fmt: skip
STATEMENTS = [s.replace("\x00", "\n") for s in STATEMENTS]
EVENTS = """
exec('def f(k): return k + 100')
exec('def g(k): return 2.5')
f.__code__ = (lambda k: k + 7).__code__
f.__defaults__ = (50,)
f = g
f, g = g, f
A.get = lambda self: 77
A.put = lambda self, v: note(v)
del A.get
A.k = 50
A.k = None
A.v = 5
A.__getattribute__ = lambda self, name: 4
A.__del__ = lambda self: note('late')
A.__setattr__ = lambda self, name, v: note(name)
o.__class__ = B
o = B(5)
o.get = lambda: 9
o = None
objs = tuple(objs)
objs[2] = B(3)
exec(cells[1])
del t
del a; a = 2
del L
del f
globals().pop('g')
globals()['t'] = 2.5
globals().update(a='text', b=None)
t = 2**62
t = True
t = 2.5
a = 2**63
x = 3
x = 'text'
L = L[:2]
L = tuple(L)
L.clear()
L = [1.5, 2.5, 3.5, 4.5]
L = [None] * 4
D = {}
D = collections.OrderedDict(D)
D = collections.defaultdict(int, D)
F[1] = 3
F = L
E = D
s = 'é' * 5
s = b'abcab'
T = [1, 2, 3, 4]
T = range(4)
math.sqrt = lambda k: k
math.sqrt = abs
builtins.len = lambda l: 2
builtins.abs = lambda k: 5
builtins.range = lambda *k: [1, 2, 3]
len = lambda l: 7
abs = 5
range = list
import math as len
gc.callbacks.append(lambda phase, info: globals().update(t=1)); gc.collect(); gc.callbacks.clear()
z = Loud(1); z.me = z; z = None; gc.collect(); None
refs.append(weakref.ref(o, lambda r: globals().update(t=3, x=None))); o = p
weakref.finalize(p, exec, 'global t; t = 12', globals()); p = o
sys.settrace(tracer)
sys.settrace(tracer); sys._getframe().f_trace = tracer
sys.settrace(None); sys._getframe().f_trace = None
sys.setprofile(profiler)
sys.setprofile(None)
signal.raise_signal(signal.SIGUSR1)
signal.raise_signal(signal.SIGINT)
th = threading.Thread(target=exec, args=('for k in range(300): D[k & 3] = k\\nt = 44', globals())); th.start(); th.join(); th = None
th = threading.Thread(target=exec, args=('def f(k): return 1\\nfor k in range(99): f(k)', globals())); th.start(); th.join(); th = None
G.append(walk(L)); next(G[-1])
G.append(walk(range(60))); next(G[-1])
G[-1].close()
G.insert(0, walk([1, 2, 3]))
G.append(k for k in L)
o = copy.deepcopy(o)
L = copy.copy(L)
L = pickle.loads(pickle.dumps([1, 2, 3, 4]))
errors.clear()
raise ValueError(t)
assert not t, 'told'
1 // 0
undefined
[][i]
note(t, a, b, x, m, locals() is globals())
note(sys._getframe().f_lineno, sorted(vars())[-3:])
hold.append(sys._getframe())
break
i = 5
h = made()
""".strip().split("\n")
CELLS = [
    "del t\nt = 0", "L, F, D = [5, 300, 7, 1000], [0.5, 2.5, -1.0, 4.0], {0: 5, 1: 600, 2: 7, 3: 8}", "t, a, b, x, y, m, s = 0, 3, 700, 0.5, 1.5, None, 'abcab'", "G.append(walk(L)); next(G[-1])",
    "G.append(walk(range(90))); next(G[-1]); t", "for q in G[:]: note(next(q, 'end'))", "[next(G[-1], 0) for k in range(9)]", "G.clear()", "errors.clear(); gc.collect(); None",
    "E = {'a': 1, 'b': 2}; T = (4, 5, 6, 7)", "Out.clear(); hold.clear()", "for name in 'len abs range'.split(): globals().pop(name, None)", "sys.settrace(None); sys.setprofile(None)",
    "await co(40)", "t += await co(30)\na = await co(9)", "for i in range(40):\n    t += i\n    if i == 30: x = await co(12)", "t = [await co(k) for k in (3, 9)]", "o, p = A(1), A(2); objs = [A(1), A(2), A(3), A(4)]",
    "with contextlib.suppress(ValueError):\n    for i in range(60):\n        t += 1\n        if i == 50: raise ValueError", "L.append(5); len(L)", "o", "t, a, b, x, m", "refs.clear()", "h = made()",
]  # fmt: skip
LOOPS = ["for i in range(60):", "for i in range(n):", "for i in list(range(45)):", "i = 0\nwhile i < 50:\n    i += 1", "for i in L * 12:", "for i, v in enumerate(L * 12):",
         "for i in walk(range(45)):", "for i, v in zip(range(50), F * 20):", "for i, v in D.items():", "while (t := t + 1) % 50:"]  # fmt: skip
DATA = "t n x y s m i a b L F D E T o p z objs".split()


def make(seed):
    """The cells of a notebook."""
    r = random.Random(f"session {seed}")
    cells = [FIRST, "\n".join(START)]
    own = r.sample(STATEMENTS, r.choice([5, 10, 25]))

    def put(lines, text, depth):
        lines.extend("    " * depth + line for line in text.split("\n"))

    def loop():
        lines, depth = [], 0
        inside = r.random() < 0.25  # the loop of a function that is called at once
        if inside:
            put(lines, "def run(t=0, a=3, b=700, x=0.5, y=1.5, m=None, z=None, s='abcab', L=L, D=D):", 0)
            depth = 1
        put(lines, r.choice(LOOPS), depth)
        for _ in range(r.randrange(1, 6)):
            k = r.random()
            if k < 0.2:
                put(lines, f"if i == {r.choice([20, 37, 41])}:", depth + 1)
                put(lines, r.choice(EVENTS), depth + 2)
            elif k < 0.35:
                put(
                    lines,
                    f"if {r.choice(['i & 1', 't & 1', 'a is b', 'm is None', 'i % 7 == 3', 'i > 30'])}:",
                    depth + 1,
                )
                put(lines, r.choice(own), depth + 2)
            elif k < 0.43:
                put(lines, "for j in range(5):", depth + 1)
                put(lines, r.choice(own), depth + 2)
            else:
                put(lines, r.choice(own), depth + 1)
        if inside:
            lines += ["    return t, a, b, x, y, m", "run()"]
        elif r.random() < 0.5:
            lines.append(r.choice(["t", "a, b", "L", "x", "m"]))
        return "\n".join(lines)

    for _ in range(r.randrange(5, 12)):
        k = r.random()
        if k < 0.5:
            cells.append(loop())
        elif k < 0.65:
            cells.append(r.choice(DEFINITIONS))
        elif k < 0.75:
            cells.append(r.choice(CELLS))
        elif k < 0.8:
            cells.append(r.choice(EVENTS).replace("break", "pass"))
        elif len(cells) > 2:
            cells.append(cells[r.randrange(1, len(cells))])
    return [cell for cell in cells if compiles(cell)]


def compiles(cell):
    try:
        code_of(cell, 0)
    except SyntaxError:
        return False
    return True


def code_of(cell, number):
    """The cell's statements, and its last expression apart, whose value is shown."""
    tree = ast.parse(cell)
    last = None
    if isinstance(tree.body[-1], ast.Expr):
        last = ast.Interactive([tree.body.pop()])
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    name = f"<cell {number}>"
    return [
        compile(part, name, mode, flags=flags) for part, mode in ((tree, "exec"), (last, "single")) if part is not None
    ]


def run(code, space):
    if not code.co_flags & inspect.CO_COROUTINE:
        exec(code, space)
        return
    found = eval(code, space)
    try:
        while True:
            found.send(None)
    except StopIteration:
        pass


def told(error, space):
    """The error, its lines and what the frames hold; it stays alive, as the last error of a kernel does."""
    lines, tb = [], error.__traceback__
    while tb is not None:
        frame = tb.tb_frame
        if frame.f_code.co_filename.startswith("<cell"):
            there = "" if frame.f_locals is space else sorted((k, short(v)) for k, v in frame.f_locals.items())
            lines.append((frame.f_code.co_name, tb.tb_lineno, there))
        tb = tb.tb_next
    return type(error).__name__, str(error)[:200], lines[:10]


def short(v, depth=0, len=len, repr=repr, type=type):
    """Programs patch the builtins, so it has its own."""
    c = type(v)
    if c in (int, float, bool, str, type(None)):
        return repr(v)[:50]
    if c in (list, tuple, dict, set) and depth < 2:
        return c.__name__ + repr(len(v)) + ",".join([short(w, depth + 1) for w in [*v][:6]])
    return c.__name__


def noter(log, len=len, short=short):
    def note(*v):
        if len(log) < 900:
            log.append(" ".join([short(one) for one in v]))

    return note


def executor(known):
    """``exec`` whose programs' constants are known, as those of cells are: a tree may hold them."""

    def execute(text, compile=compile, exec=exec, frame=sys._getframe):
        code, caller = compile(text, "<string>", "exec"), frame(1)
        kinds.constants(code, known)
        exec(code, caller.f_globals, caller.f_locals)

    return execute


def observe(cells):
    """For every cell the log, the error and the data; at the end a picture of all data."""
    known, seen, log = {}, [], []
    space = {
        "__name__": "__main__",
        "cells": cells,
        "__builtins__": builtins,
        "log": log,
        "note": noter(log),
        "exec": executor(known),
    }
    sys.displayhook = lambda value: space["Out"].append(value) if value is not None and "Out" in space else None
    for number, cell in enumerate(cells):
        failure = None
        for code in code_of(cell, number):
            kinds.constants(code, known)
            try:
                run(code, space)
            except (Exception, KeyboardInterrupt) as error:
                failure = told(error, space)
                if "errors" in space:
                    space["errors"].append(error)
                del error
                break
        seen.append((failure, log[:], [(name, short(space[name])) for name in DATA if name in space]))
        log.clear()
    put_back()
    for name in ("errors", "hold", "G", "refs", "th"):
        if isinstance(space.get(name), list):
            space[name].clear()
    gc.collect()
    left = [space.get(name) for name in DATA] + [space.get("Out")]
    known[id(space)] = space
    space.clear()
    # What dies now finds no names; only the order is looked at.
    picture = kinds.picture(left, known)
    left = None
    gc.collect()
    return seen, picture, len(log)


SHARED = [(module, dict(module.__dict__)) for module in (builtins, math)]


def put_back():
    """What a notebook changed beyond its own names."""
    sys.settrace(None)
    sys.setprofile(None)
    gc.callbacks.clear()
    for module, names in SHARED:
        for name in module.__dict__.keys() - names.keys() - {"_"}:
            del module.__dict__[name]
        module.__dict__.update(names)


def put_back_after(cells):
    try:
        return observe(cells)
    finally:
        put_back()


def difference(cells, plain, found):
    """The cells, and what differs first."""
    shown = [f"# {k}\n{cell}" for k, cell in enumerate(cells[1:], 1)]
    if isinstance(found, str):  # it does not end
        return "\n".join([*shown, found])
    for k, (before, now) in enumerate(zip(plain[0], found[0], strict=True)):
        if before != now:
            return "\n".join([*shown, f"after cell {k}:\nplain     {before}\noptimised {now}"])
    return "\n".join([*shown, f"at the end:\nplain     {plain[1:]}\noptimised {found[1:]}"])


def compare(first, count, force=0):
    sys.unraisablehook = lambda *_: None
    return differing_from(
        first,
        count,
        "sessions",
        make,
        again(put_back_after),
        force,
        limits=(1, 90),
        busy=True,
        tell=difference,
    )


if __name__ == "__main__":
    command(lambda seed: "\n# ---\n".join(make(seed)[1:]), compare)
