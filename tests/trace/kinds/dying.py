"""Functions, classes, modules and namespaces that are made anew and die, some in cycles, while loops are compiled for them."""

PRELUDE = """
import gc, random, sys, types, weakref
def gone(name): return lambda ref: note("gone " + name)
class Loud:
    def __init__(self, k): self.k = k
    def __del__(self, note=note): note(-self.k)
class Busy:
    def __init__(self, k): self.k = k
    def __del__(self, note=note):
        s = 0
        for v in range(9): s += v * self.k
        note(("busy", s))
def closure(k):
    def f(v): return v + k
    return f
def closure2(k):
    n = k * 300
    def f(v):
        nonlocal n
        n = (n + v) & 65535
        return n
    return f
def plain(k):
    if k & 1:
        def f(v): return v * 2 & 1023
    else:
        def f(v, d=700): return v + d
    return f
def apart(k):
    space = {"K": k, "L": [1, 2, 300]}
    exec("def f(v):\\n    global K\\n    K = (K + v) & 4095\\n    return K + L[v % 3]", space)
    return space["f"]
LINES = "def f(v):", "    return v + K", "def s(l):", "    t = 0", "    for v in l: t += v + K", "    return t"
SOURCE = compile("\\n".join(LINES), "kinds", "exec")
def again(k):
    space = {"K": k}
    exec(SOURCE, space)
    return space["f"], space["s"]
def cls(k):
    class C:
        w = k * 300
        def __init__(self, n): self.n = n
        def get(self): return self.n + self.w
        def put(self, n): self.n = n
        @property
        def twice(self): return self.n * 2
    if k == 1: C.me = C(5)
    if k == 2: C.get = lambda self: self.n - 1
    return C
def slotted(k):
    class S:
        __slots__ = ("n", "l")
        def __init__(self, n): self.n = n; self.l = [n, k]
        def get(self): return self.l[0] + self.n
        def put(self, n): self.n = n
    return S
def module(k, name="kinds_made"):
    m = types.ModuleType(name)
    exec("n = %d\\ndef f(v):\\n    global n\\n    n = (n + v) & 511\\n    return n" % k, m.__dict__)
    return m
def walk(l):
    t = 0
    for v in l: t += v if v.__class__ is int else 1
    return t
def use(g, n=8):
    t = 0
    for v in range(n): t += g(v) & 255
    return t
def read(o, n=8):
    t = 0
    for v in range(n):
        t += o.get() & 255
        o.put(v)
    return t
def gen(g):
    for v in range(50): yield g(v)
def at_end(sys=sys):
    for name in ("kinds_made", "kinds_kept"): sys.modules.pop(name, None)
"""
SETUP = [
    "f, g, h = closure(3), plain(1), closure2(1)",
    "C, S, M, r = cls(0), slotted(1), module(5), random.Random(5)",
    "o, s, z, ref, it = C(3), S(4), None, None, gen(abs)",
    "fs, cs = [closure(1), plain(0), closure(2), apart(1)], [cls(0), cls(1), cls(2), slotted(1)]",
]
NAMES = "z"
STATEMENTS = """
t += f(i) & 7
t += g(i) & 7
a = h(i)
f = closure(i & 3)
f = closure2(i & 3)
f = plain(i)
g = plain(i & 1)
g = f
h = closure2(i)
f = lambda v: v + 1
f = lambda v, k=i: v + k
f = apart(i)
a = apart(i)(i)
a = use(f)
a = use(lambda v: v * 3)
a = use(lambda v: v * i)
a = use(closure(i))
a = use(apart(i))
a = use(plain(i & 1))
g, z = again(i)
t += again(i)[1](L[:2]) & 7
z = again(2)[1]
def f(v): return v ^ 5
def f(v): return v ^ i
f = fs[i & 3]
t += fs[i & 3](i) & 7
fs[i & 3] = closure(i)
fs[i & 3] = f
fs[0], fs[1] = fs[1], fs[0]
C = cls(i % 3)
C = slotted(i)
o = C(i)
o = cls(i % 3)(i)
t += o.get() & 7
o.put(i)
a = o.n
a = read(o)
a = read(C(i))
a = read(cls(0)(i))
a = read(slotted(i)(i))
o = cs[i & 3](i)
t += cs[i & 3](i).get() & 7
cs[i & 3] = cls(i % 3)
cs[i & 3] = C
S = slotted(i); s = S(i)
t += s.get() & 7
a = C.w if hasattr(C, 'w') else 0
C.w = i
C.extra = Loud(i)
o.__class__ = cls(0)
z = o.get
a = z() if callable(z) else 0
z = o.put
z = f
z = C
z = None
o = C(5); C = cls(0)
M = module(i)
t += M.f(i) & 7
M.n = i
a = M.n
a = use(M.f)
f = M.f
sys.modules['kinds_made'] = M
sys.modules.pop('kinds_made', None)
M = sys.modules.get('kinds_made', M)
M.f = f
M = module(i, 'kinds_kept'); sys.modules['kinds_kept'] = M
x = r.random()
r = random.Random(i)
rr = r.random; x = rr()
x = random.Random(i).random()
z = Loud(i)
z = Busy(i)
f.z = Loud(i)
f.me = f
C.me = o
M.me = M
M.loud = Loud(i)
ref = weakref.ref(f, gone('f'))
ref = weakref.ref(C, gone('C'))
ref = weakref.ref(M, gone('M'))
ref = weakref.ref(closure(i), gone('closure'))
ref = weakref.ref(cls(1), gone('cls'))
u = ref is None or ref() is None
if i % 10 == 7: gc.collect()
if i % 16 == 9: f = g = h = closure(1); C = cls(0); gc.collect()
a = next(it, 0)
it = gen(closure(i))
it = gen(f)
f.__code__ = closure(1).__code__ if f.__closure__ else plain(i).__code__
f.__defaults__ = (i,)
f = types.FunctionType(plain(1).__code__, {'__builtins__': __builtins__})
f = types.FunctionType(again(1)[0].__code__, {'K': i})
a = walk(L)
a = walk([i, Loud(i)])
for k in range(4): t += f(k) & 3
for k in range(4): t += o.get() & 3
for q in (f, g): t += q(i) & 3
for q in cs: t += q(i).get() & 3
for q in [cls(0), cls(0)]: t += q(i).get() & 3
for k in range(5): z = lambda v: v
""".strip()
EVENTS = """
fs.clear(); fs.extend([closure(7)] * 4); gc.collect()
cs.clear(); cs.extend([cls(0)] * 4); gc.collect()
f = None; f = closure(9); gc.collect()
del o, C; C = cls(0); o = C(1); gc.collect()
del M; M = module(1); gc.collect()
sys.modules.pop('kinds_made', None); M = module(3); gc.collect()
globals().pop('closure2', None); gc.collect()
globals()['closure'] = plain
globals()['use'] = lambda g, n=8: g(n)
globals()['cls'] = slotted
f.__globals__.setdefault('K', 5)
f.__code__ = plain(0).__code__
C.get = lambda self: 7
C.__del__ = lambda self: note('late')
gc.callbacks.append(lambda phase, info: note(use(abs))); gc.collect(); gc.callbacks.clear()
refs = [weakref.ref(q, gone('many')) for q in fs]; fs[:] = [abs] * 4
weakref.finalize(f, use, abs); f = closure(2)
M.__dict__.clear()
""".strip()
CONDITIONS = ["f is g", "z is f", "ref is None", "o.__class__ is C"]
LOOPS = ["for i in gen(closure({n})):", "for i, f in enumerate(fs * 12):"]
