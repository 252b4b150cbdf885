"""Names bound anew or deleted under a running loop: globals, builtins, cells, locals, modules, defaults, code of functions."""

PRELUDE = """
import sys, math, builtins
mod = type(sys)("kinds_mod")
mod.n, mod.f = 5, lambda k: k + 1
def at_end(mod=mod): mod.__dict__.clear()
g, h, lim = 5, 700, 1000
def f(k): return k + 1
def f2(k): return k * 2 & 1023
def f3(k): note(k); return 3
def with_default(k, d=4): return k + d
def reads(): return g
def writes(v):
    global g
    g = v
    return g
def both(v):
    global g, h
    g, h = h, v
    return g
def new_name(v):
    global fresh
    fresh = v
    return fresh
def kills():
    global fresh
    fresh = 1
    del fresh
def counter():
    n = 0
    def inc(k=1):
        nonlocal n
        n += k
        return n
    def reset(v):
        nonlocal n
        n = v
    return inc, reset, lambda: n
inc, reset, value = counter()
def peek(name): return sys._getframe(1).f_locals.get(name)
def poke(name, v): sys._getframe(1).f_locals[name] = v
def gl(name, v): globals()[name] = v
def line(): return sys._getframe(1).f_lineno
"""
SETUP = """
o, z, k, d = 1, None, 0, globals()
def loc(): return t
def seta(v):
    nonlocal_a[0] = v
nonlocal_a = [0]
""".strip()
SETUP = ["o, z, k, d = 1, None, 0, globals()", "def loc(): return o"]
NAMES = "z k"
STATEMENTS = """
t += g
t += h & 7
t += reads()
a = writes(i)
a = writes(x)
a = both(i)
d['g'] = i
t += d['g']
t += d.get('h', 0) & 7
globals()['h'] = i
t += globals()['g']
exec('g = 3')
exec('g += 1', globals())
exec('h = g', d)
a = eval('g')
a = eval('a')
a = new_name(i)
t += fresh
kills()
a = f(i)
a = f(f(i))
a = f2(i)
a = with_default(i)
a = with_default(i, d=2)
a = with_default(k=i)
a = mod.n
mod.n = i
a = mod.f(i)
a = mod.missing
mod.__dict__['n'] = i
x = math.sqrt(i)
x = math.pi
x = math.floor(x)
a = len(L)
a = abs(c)
a = max(a, i)
a = min(i, 5)
x = float(i)
a = int(x)
a = ord(W[i % 5])
for k in range(i & 3): t += k
u = isinstance(a, int)
a = sum(L) & 1023
a = inc()
a = inc(i)
reset(i)
a = value()
o = i
a = loc()
a = peek('a')
a = peek('i')
a = peek('t')
poke('a', i)
poke('t', 5)
z = sys._getframe().f_locals['b']
z = locals().get('a')
z = locals()['i']
z = len(locals()) and None
locals()['a'] = i
gl('g', i)
gl('lim', i)
t += lim & 7
t += line()
z = sys._getframe().f_lineno
del z; z = None
z = a; del a; a = z
del a
a = 5
if 'a' in locals(): t += 1
def f4(): return o + 1
a = f4()
z = [o for _ in L]
z = (lambda: o)()
z = (lambda k=i: k)()
import math
from math import sqrt
u = g is h
u = g is reads()
t += __name__ == 'kinds'
""".strip()
EVENTS = """
globals()['g'] = 7
globals()['g'] = 2.5
globals()['g'] = None
globals()['f'] = f2
globals()['f'] = f3
globals()['len'] = lambda l: 55
globals()['range'] = lambda n: [1, 2, n]
globals()['abs'] = f
globals()['float'] = int
globals()['isinstance'] = lambda a, b: 3
globals()['math'] = mod
globals()['mod'] = math
globals().pop('g')
globals().pop('f')
globals().pop('h'); globals()['h'] = 9
globals().pop('len', None)
globals().update(g=4, h=5)
d.update(dict.fromkeys(map(str, range(50)), 1))
exec('def f(k): return k - 1', globals())
exec('del g', globals())
exec('len = max', globals())
builtins.len = lambda l: 66
builtins.abs = f3
builtins.max = min
builtins.range = lambda *args: (4, 5)
builtins.int = float
builtins.g = 77
del builtins.len
del builtins.ord
builtins.lim = 5; globals().pop('lim')
f.__code__ = f2.__code__
f2.__code__ = f3.__code__
f.__defaults__ = (5,)
with_default.__defaults__ = (50,)
with_default.__defaults__ = None
with_default.__kwdefaults__ = {'d': 6}
f.__globals__['g'] = 8
mod.n = 2.5
mod.f = f2
del mod.n
del mod.f
mod.__dict__.clear()
mod.__class__ = type('M', (type(sys),), {'n': property(lambda self: 12)})
math.sqrt = lambda k: 2
math.new = 5
del math.new
reset('s')
reset(2.5)
inc.__closure__[0].cell_contents = 40
del inc.__closure__[0].cell_contents
loc.__closure__ and setattr(loc.__closure__[0], 'cell_contents', 8)
o = 'x'
del o
del z
del t
del d['g']
poke('o', 2.5)
poke('x', None)
poke('i', 5)
sys._getframe().f_locals.update(a=3)
sys.modules['math'] = mod; sys.modules['math'] = math
""".strip()
LOOPS = ["for i in (k for k in range({n})):", "for g in range({n}):\n    i = g"]
CONDITIONS = ["g is h", "g == i", "'fresh' in globals()", "o is i"]
