"""Every way to use an object, while what it relies on is changed in mid-loop, in every way: see `make`.

A program's number says which use, which change and which style (a cell, a function, a function with arguments); the numbers
go through all of them, in an order that is mixed.

    python changes.py FIRST_SEED COUNT [FORCE]      # compares plain and optimised runs
    python changes.py show SEED                     # prints a program
"""

import kinds
from compared import again, command, differing_from

PRELUDE = (
    kinds.PRELUDE
    + """
import builtins, gc, math, sys, types
class Base:
    bk = 1
    def basem(self): return 2
class Base2:
    bk = 100
    def basem(self): return 200
class M(type):
    mk = 4
class C(Base, metaclass=M):
    k = 5
    def __init__(self, n): self.n = n; self.w = n * 0.5
    def get(self): return self.n
    def put(self, v): self.n = v
    def two(self, v): self.n = v; self.w = v * 0.5; return self.n + 1
    @property
    def p(self): return self.n + 1
    @classmethod
    def cm(cls): return cls.k
    @staticmethod
    def sm(v): return v + 1
    def __len__(self): return 3
    def __getitem__(self, k): return k * 2
    def __contains__(self, k): return k == 3
    def __eq__(self, o): return True
    def __hash__(self): return 7
    def __bool__(self): return True
    def __add__(self, o): return o + 1
    def __lt__(self, o): return False
    def __iter__(self): return iter((1, 2, 3))
    def __call__(self, v): return v + 3
    def __index__(self): return 2
    def __float__(self): return 2.5
    def __int__(self): return 9
    def __str__(self): return 'C'
    def __format__(self, s): return 'F'
    def __abs__(self): return 4
class S:
    __slots__ = ("n", "w")
    def __init__(self, n): self.n = n; self.w = 0.5
    def get(self): return self.n
class Sub(C):
    def get(self): return 50
class Other:
    n, w, k = 70, 7.5, 71
    def get(self): return 72
    def put(self, v): pass
    def two(self, v): return 1
    p = 73
def f(o): return o.n
def g(v, k=3): return v + k
def h(v): return g(v) + 1
def mk():
    c = 5
    def rd(): return c
    def wr(v):
        nonlocal c
        c = v
        return c
    return rd, wr
rd, wr = mk()
mod = types.ModuleType("mm"); mod.v = 5; mod.fn = lambda v: v + 8
o, o2, s = C(3), C(4), S(5)
L, T, D, E, Z = [1, 2, 300, 4], (1, 2, 300, 4), {0: 1, 1: 2, 2: 300}, {"a": 5, "b": 600}, {1, 2, 300}
t, x, OUT = 0, 0.5, []
gv = 11
"""
)
# A second line of a use begins with `for`.
USES = """
v = o.n
o.n = i; v = o.n
v = o.get()
o.put(i); v = o.n
v = o.two(i)
v = o.p
v = o.cm()
v = C.cm()
v = o.sm(i)
v = C.k
v = o.k
v = C.mk
v = o.bk + o.basem()
v = s.n
s.n = i; v = s.get()
v = f(o)
v = f(o) + f(s)
v = isinstance(o, C)
v = isinstance(o, Base)
v = len(o)
v = o[i & 3]
v = 3 in o
v = o == o2
v = 1 if o else 2
v = o + i
v = o < o2
v = [*o]
v = o(i)
v = L[o]
v = float(o)
v = int(o)
v = str(o)
v = f'{o}'
v = abs(o)
v = g(i)
v = g(i, k=4)
v = h(i)
v = rd()
v = wr(i)
v = gv
v = len(L)
v = mod.v
v = mod.fn(i)
v = math.sqrt(i)
v = max(L)
v = sum(T)
v = min(i, 7)
v = abs(-i)
v = L[i & 3]; L[i & 3] = i
v = T[i & 3]
v = D[i % 3]; D[i % 3] = i
v = E['a']; E['a'] = i
v = 300 in Z
v = D.get(1)
v = [k for k in range(3)]
v = [k for k in L]
v = 0¶for k in L: v += k.__class__ is int
v = 0¶for k in range(4): v += k
v = 0¶for k, w in zip(L, T): v += 1
v = 0¶for k, w in D.items(): v += 1
L.append(i); v = L.pop()
v = C(i).n
v = o.n; o.n = v; v = o.w
v = (o.n, o.w)
v = o is o2
v = type(o) is C
v = getattr(o, 'n')
v = range(i)[-1] if i else 0
v = str(i)
v = round(i * 0.3, 1)
""".strip().split("\n")
CHANGES = """
C.n = property(lambda self: 77, lambda self, v: None)
C.n = 88
C.get = lambda self: 99
C.put = lambda self, v: None
C.p = 12
C.k = 2.5
del C.k
C.cm = lambda *a: 13
C.sm = lambda *a: 14
M.mk = 2.5
M.k = property(lambda cls: 44)
C.__getattr__ = lambda self, name: 15
C.__getattribute__ = lambda self, name: 16
C.__setattr__ = lambda self, name, v: object.__setattr__(self, name, 17)
C.__len__ = lambda self: 18
C.__getitem__ = lambda self, k: 19
C.__contains__ = lambda self, k: False
C.__eq__ = lambda self, o: False
C.__bool__ = lambda self: False
C.__add__ = lambda self, o: 21
C.__lt__ = lambda self, o: 22
C.__iter__ = lambda self: iter("ab")
C.__call__ = lambda self, v: 23
C.__index__ = lambda self: 1
C.__float__ = lambda self: 24.5
C.__int__ = lambda self: 25
C.__str__ = lambda self: "D"
C.__format__ = lambda self, s: "G"
C.__abs__ = lambda self: 26
C.__init__ = lambda self, n: setattr(self, "n", 27)
C.__new__ = lambda cls, n: s
C.__bases__ = (Base2,)
Base.bk = 28
Base.basem = lambda self: 29
o.__class__ = Sub
o.__class__ = Other
globals()["o"] = s
globals()["o"] = Sub(31)
globals()["o"] = Other()
o.get = lambda: 32
o.put = lambda v: 33
o.k = 34
o.__dict__ = {"n": 35, "w": 1.5}
o.__dict__["n"] = 36
del o.n
del o.w; o.w = 1
o.extra = 1
o.n = 37.5
o.n = 2**70
o.n = True
o.n = None
o.w = 3
S.n = 38
del S.get
S.n = property(lambda self: 39, lambda self, v: None)
s.n = 2.5
globals()["s"] = o2
globals()["f"] = lambda o: 41
f.__code__ = (lambda o: 42).__code__
g.__defaults__ = (43,)
g.__kwdefaults__ = None; g.__defaults__ = (2.5,)
g.__code__ = (lambda v, k=3: 45).__code__
globals()["g"] = max
globals()["h"] = g
rd.__closure__[0].cell_contents = 46
rd.__closure__[0].cell_contents = 2.5
del rd.__closure__[0].cell_contents
globals()["rd"] = lambda: 47
globals()["gv"] = 2.5
globals()["gv"] = 2**70
del globals()["gv"]
globals()["len"] = lambda v: 48
builtins.len = lambda v: 49
builtins.max = min
builtins.isinstance = lambda a, b: 51
builtins.range = lambda *n: [5, 6]
builtins.sum = lambda v: 52
builtins.abs = lambda v: 53
builtins.float = int
builtins.str = repr
builtins.round = lambda *v: 54
builtins.getattr = lambda *v: 54
mod.v = 2.5
del mod.v
mod.fn = len
mod.__class__ = type("MM", (types.ModuleType,), {"v": property(lambda self: 55)})
math.sqrt = math.floor
globals()["mod"] = o
globals()["math"] = mod
globals()["L"] = T
globals()["L"] = [1.5, 2, None, 4]
globals()["T"] = L
L[1] = 2.5
L[1] = True
L[1] = 2**70
L.clear()
L[:] = "abcd"
L.append(5)
L.sort(reverse=True)
globals()["L"] = type("Li", (list,), {"__getitem__": lambda self, k: 56, "__len__": lambda self: 2})(L)
globals()["L"] = type("Lj", (list,), {})(L)
globals()["L"] = range(4)
D[1] = 2.5
D.clear()
D[2.5] = 1; D["a"] = 3
globals()["D"] = type("Di", (dict,), {"__missing__": lambda self, k: 57})()
globals()["D"] = type("Dj", (dict,), {"__getitem__": lambda self, k: 58, "get": lambda self, k: 59})(D)
del E["a"]
E["a"] = None
globals()["E"] = {"a": 1}
Z.clear()
globals()["Z"] = [300]
globals()["C"] = Sub
globals()["C"] = Other
globals()["C"] = (C, int)
globals()["t"] = 2.5
del globals()["t"]
sys.setprofile(lambda *a: None)
sys.settrace(lambda *a: None)
gc.collect()
x = None; globals()["x"] = None
""".strip().split("\n")
STYLES = 3
ALL = len(USES) * len(CHANGES) * STYLES


def make(seed):
    """A loop of 45 passes that uses something in one way; in the 26th what that relies on is changed."""
    k = seed * 7919 % ALL
    use, change, style = USES[k % len(USES)], CHANGES[k // len(USES) % len(CHANGES)], k // len(USES) // len(CHANGES)
    lines = ["def mutate():", "    " + change, ""]
    loop = [
        "for i in range(45):",
        "    if i == 25:",
        "        try: mutate()",
        "        except Exception as e: tell(e)",
        "    try:",
    ]
    loop += ["        " + line for line in use.split("¶")]
    loop += ["        OUT.append(v)", "        if i & 1: t += 1", "    except Exception as e: tell(e)"]
    if style == 0:
        lines += loop
    elif style == 1:
        lines += ["def run():", "    global t", "    v = None", *("    " + line for line in loop), "run()"]
    else:
        lines += ["def run(o, s, L, T, D, E, t):", "    v = None", *("    " + line for line in loop)]
        lines += ["run(o, s, L, T, D, E, 0)"]
    lines += ["OUT.append((L, T, D, E, o, s, gv))" if "gv" not in change else "OUT.append((L, T, D, E, o, s))"]
    return PRELUDE + "\n".join(lines) + "\n"


def compare(first, count, force=0):
    return differing_from(first, count, "changes", make, again(kinds.observe), force, times=2)


if __name__ == "__main__":
    command(make, compare)
