# ruff: noqa: E501 - choices read best in one line
"""Random programs in which one code runs in several worlds: see `make`.

A world is a namespace: its names, its builtins (Python's own, a copy of them, one with other functions or without some) and what
its functions close over. The same code runs in two to four of them by turns, as functions and by `exec`, with locals that are a
dict, another world's namespace or any mapping. The names stand for numbers of every type there is (NumPy's at the ends of
machine words, decimals, fractions, dates, enumerations, subclasses), containers, functions of this world or of another, in each world
for something else; while a loop runs they change, as do code, defaults, builtins and cells.

    python worlds.py FIRST_SEED COUNT [FORCE]       # compares plain and optimised runs
    python worlds.py show SEED                      # prints a program
"""

import random

import kinds
from compared import again, command, differing_from

PRELUDE = (
    kinds.PRELUDE
    + """
import builtins, collections, datetime, decimal, enum, fractions, types
try: import numpy as np
except ImportError: np = None
D, F = decimal.Decimal, fractions.Fraction
class Int(int):
    def __add__(self, o): return int(self) + 1
class Float(float): pass
class Level(enum.IntEnum):
    low = 1
    high = 700
class Flags(enum.Flag):
    a = 1
    b = 2
class O:
    def __init__(self, n): self.n = n
    def get(self): return self.n
    def put(self, v): self.n = v; return v
    def __repr__(self): return "O(%s)" % (short(self.n),)
class Space(dict):
    def __missing__(self, k):
        if k == "missing": return 9
        raise KeyError(k)
class Loc(collections.UserDict):
    def __setitem__(self, k, v):
        self.data[k] = v
        STORES[0] += 1
STORES, W, AT = [0], [], {}
def short(v, depth=0):
    c = v.__class__
    if c in (list, tuple) and depth < 3: return [c.__name__, len(v), *[short(w, depth + 1) for w in [*v][:4]]]
    if c is dict: return ["dict", len(v), *[short(w, depth + 1) for w in [*v.items()][:4]]]
    if c in (int, str, bytes): return repr(v)[:40]
    return (c.__name__, repr(v)[:60]) if c is not types.FunctionType else "function"
def near(v):
    # Numbers stay small enough to be counted with.
    c = v.__class__
    if c is int: return v if -2**70 < v < 2**70 else v & 1023
    if c is float: return v if -1e200 < v < 1e200 else 0.5
    if c in (str, list, tuple): return v[:20]
    if c in (D, F) and len(str(v)) > 60: return c(3)
    return v
def num(v): return not hasattr(v, '__len__')
def pack(v): return O(v)
def twice(v): return near(v + v)
def counted(n=[0]):
    n[0] += 1
    return n[0]
def tick(i):
    if i in AT: exec(AT[i], globals())
"""
)
# What names stand for, as text that is evaluated anew for each world.
INTS = "3 300 -5 2**62 2**63-1 -2**63 2**63 True Int(7) Level.high Level.low 0".split()
FLOATS = "2.5 -0.25 0.0 -0.0 float('inf') float('nan') 1e300 Float(1.5) 1e16".split()
NUMPY = "np.int64(5) np.int64(2**63-1) np.int64(-2**63) np.int32(2**31-1) np.uint64(2**64-1) np.uint8(250) np.int8(-128) np.float64(2.5) np.float32(0.1) np.float64('nan') np.bool_(True) np.array(5) np.array([3,4]) np.float16(2) np.complex128(1j) np.datetime64('2026-11-22') np.timedelta64(5,'D') np.str_('ab')".split()  # fmt: skip
OTHERS = "D('1.10') D('NaN') D(10)**20 F(1,3) F(7) 1j datetime.date(2026,11,22) datetime.timedelta(days=3,seconds=5) datetime.datetime(2026,11,22,10,30) Flags.a 'text' None b'ab' (3,4)".split()  # fmt: skip
LISTS = ["[5, 300, 7, 1000]", "[0.5, 2.5, -1.0, 4.0]", "[1, 2.5, 'k', None]", "(5, 6, 7, 8)", "'abcd'", "b'abcd'", "{0: 5, 1: 600, 2: 7, 3: 2.5}", "range(4, 90)", "[True, 300, 2**64, 1]", "{1, 2, 3}", "[O(1), O(2), O(3), O(4)]", "bytearray(b'abcd')", "collections.defaultdict(int)", "memoryview(b'abcd')"]  # fmt: skip
NUMPY_LISTS = [
    "np.arange(4)",
    "np.arange(4) * 0.5",
    "[np.int64(5), 5, np.float64(1), 2]",
    "[*np.arange(4)]",
    "[np.float64(2.5)] * 4",
]
FUNCTIONS = ["abs", "len", "twice", "near", "pack", "int", "float", "str", "O", "lambda v: v", "lambda v: 300", "lambda v: v * 0.5", "D", "F", "bool", "repr", "hash", "type", "tuple", "O(5).put", "[].append", "peer", "max", "round", "isinstance", "collections.Counter"]  # fmt: skip
OBJECTS = ["O(5)", "O(2.5)", "O('x')", "O(None)", "types.SimpleNamespace(n=5, get=lambda: 7, put=lambda v: v)", "Level.low", "datetime.date(2026, 1, 5)", "types.ModuleType('m')", "O", "O(O(1))"]  # fmt: skip
BUILTINS = [
    "builtins", "builtins", "builtins.__dict__", "dict(builtins.__dict__)", "dict(builtins.__dict__, len=lambda v: 3)",
    "dict(builtins.__dict__, range=lambda *k: [1, 2, 3, 300, 5])", "dict(builtins.__dict__, min=max, int=float)",
    "dict(builtins.__dict__, abs=hash, enumerate=reversed)", "{'len': len, 'range': range}", "{}",
    "dict(builtins.__dict__, isinstance=lambda a, b: True, sum=len)", "dict(builtins.__dict__, missing=4, g=5)", "types.ModuleType('empty')",
]  # fmt: skip
STATEMENTS = """
t = near(t + g)
t = near(t + h)
t = near(g + t)
t = near(t - g)
if num(t) and num(g): t = near(t * g)
t = near(g * 2)
t = near(t + i)
t = t + 1
a = g
a = h
a, b = b, a
a = near(a + g)
a = near(g + 1)
a = near(g - a)
if num(a) and num(g): a = near(g * a)
a = near(g // 3)
a = near(g % 7)
a = near(g / 2)
a = near(g ** 2)
a = near(-g)
a = near(abs(g))
a = near(g & 255)
a = near(g << 1)
a = near(~g)
a = near(i + g)
if num(g): a = near(i * g)
a = near(x + g)
a = near(x * g)
x = x * 0.5 + g
x = x + h
x = float(g)
x = x * 0.5 + i
a = int(g)
a = bool(g)
a = round(g)
a = round(g, 1)
a = divmod(g, 3)
a = g < i
a = g == i
a = i < g
a = g is a
a = g > h
t += g < h
t += g == a
a = a == g
if g: t += 1
if g == 5: t += 1
if not h: t += 3
if g > i: t += 1
a = l[i & 3]
a = l[g]
a = l[h & 3]
l[i & 3] = a
l[i & 3] = g
l[i & 3] = near(l[i & 3] + 1)
l[i & 3] += 1
l.append(i)
for v in l: t += 1
for v in l: a = v
for v in l[:3]: a = v
for j, v in enumerate(l): a = v
for v, j in zip(l, range(5)): a = v; t += j
for j in range(g & 7): t += j
for j in range(3): t += j & 1; a = g
for j in range(i & 7): b = g
t += len(l)
a = max(g, i)
a = min(g, h)
a = max(l)
a = min(a, b)
a = sum(l)
a = f(i)
a = f(g)
a = f(l)
a = f(x)
b = near(f(b))
a = work2(i, g)
a = work2(a, b)
b = near(peer(i))
a = near(peer(g))
a = o.n
o.n = i
o.n = g
o.n = near(o.n + 1)
a = o.get()
a = o.put(g)
a = O(i).n
b = O(g).get()
a = free
free = i
free = near(free + 1)
a = near(free + g)
g = i
g = near(g + 1)
g = near(g + i)
h = x
g, h = h, g
own = i
a = own
a = missing
a = isinstance(g, int)
a = isinstance(a, (float, str))
b = str(g)
b = f'{g}'
b = f'{a}{i}'
b = f'{x:.3f}'
a = chr(g & 127)
a = ord(b[0])
a = [g, i]
a = (a, i)[1]
b = [near(v + g) for v in l]
b = [v for v in range(5) if v is not g]
globals()['g'] = i
a = globals()['h']
exec('g = h', globals())
a = eval('g')
del own
m = a
m = m is None
u = a is b
a = counted()
""".strip().split("\n")
EVENTS = """
W[{k}]['g'] = {v}
W[{k}]['h'] = {v}
W[{k}]['g'] = W[{j}]['g']
W[{k}]['l'] = {l}
W[{k}]['l'] = W[{j}]['l']
W[{k}]['f'] = {f}
W[{k}]['o'] = {o}
W[{k}]['o'] = W[{j}]['o']
W[{k}]['peer'] = W[{j}]['work2']
W[{k}]['peer'] = W[{k}]['work2']
W[{k}]['work2'] = W[{j}]['work2']
W[{k}].pop('g', None)
W[{k}].pop('f', None)
W[{k}].pop('l', None)
W[{k}]['len'] = lambda v: 4
W[{k}]['range'] = lambda *n: (1, 2, 3)
W[{k}].pop('range', None); W[{k}].pop('len', None)
W[{k}]['int'] = float
W[{k}]['missing'] = {v}
BUILT[{k}].__class__ is dict and BUILT[{k}] is not builtins.__dict__ and BUILT[{k}].update(len=lambda v: 6, abs=lambda v: 1)
BUILT[{k}].__class__ is dict and BUILT[{k}] is not builtins.__dict__ and BUILT[{k}].pop('len', None)
BUILT[{k}].__class__ is dict and BUILT[{k}] is not builtins.__dict__ and BUILT[{k}].update(missing={v}, g=7)
builtins.missing = {v}
builtins.__dict__.pop('missing', None)
W[{k}]['__builtins__'] = {b}
W[{k}]['work2'].__code__ = CODES[0]
W[{k}]['work2'].__code__ = CODES[1]
W[{k}]['work2'].__defaults__ = ({v},)
W[{k}]['work2'].__kwdefaults__ = {{'q': {v}}}
W[{k}]['work'].__defaults__ = ({v},)
CELLS[{k}].cell_contents = {v}
del CELLS[{k}].cell_contents
W[{k}].update(W[{j}])
W[{k}].update({{'n%d' % n: n for n in range(300)}})
W[{k}] = dict(W[{k}])
[W[{k}].pop(n) for n in [*W[{k}]] if n[0] == 'n']
O.n = property(lambda self: 8, lambda self, v: None)
del O.n
O.get = lambda self: 3
O.put = lambda self, v: None
import gc; gc.collect()
raise ValueError("tick")
W[{k}]['twice'] = W[{k}]['near'] = lambda v: 3
""".strip().split("\n")
WORK2 = ["return near(p + q)", "return p", "return near(q + g)", "return near(p + p) if p is not q else g", "global g\n    g = p\n    return q", "t = 0\n    for k in range(4): t = near(t + g)\n    return t", "return len(l)", "return f(p)", "return peer(p) if p.__class__ is int and p > 0 and p % 5 == 0 and peer is not work2 else p", "return o.n", "o.n = p\n    return q", "return [p, q, g]", "try: return near(l[p])\n    except Exception: return h", "for v in l: return v", "while p.__class__ is int and p > 3: p = p // 2\n    return p"]  # fmt: skip
LATE = [8, 19, 23, 30, 37]


class Worlds:
    def __init__(self, seed):
        self.r = random.Random(f"worlds {seed}")
        self.out, self.depth = [], 0
        self.count = self.r.choice([2, 2, 3, 4])
        self.numpy = self.r.random() < 0.6

    def put(self, text, depth=None):
        self.out.extend("    " * (self.depth if depth is None else depth) + line for line in text.split("\n"))

    def value(self):
        r = self.r
        table = r.choice([INTS, INTS, FLOATS, NUMPY if self.numpy else INTS, NUMPY if self.numpy else OTHERS, OTHERS])
        return r.choice(table)

    def list(self):
        return self.r.choice(LISTS + NUMPY_LISTS if self.numpy else LISTS)

    def filled(self, text):
        r = self.r
        fills = {
            "k": str(r.randrange(self.count)),
            "j": str(r.randrange(self.count)),
            "v": self.value(),
            "l": self.list(),
        }
        fills |= {"f": r.choice([f for f in FUNCTIONS if f != "peer"]), "o": r.choice(OBJECTS), "b": r.choice(BUILTINS)}
        return text.format(**fills)

    def loop(self, pool, depth):
        """A loop over some statements; ``depth`` is where it stands."""
        r = self.r
        n = r.choice([20, 45, 45, 60, 90])
        self.put("try:", depth)
        self.put(r.choice([f"for i in range({n}):", f"for i in range({n}):", f"i = -1\nwhile i < {n}:\n    i += 1", f"for i in [*range({n})]:"]), depth + 1)  # fmt: skip
        for _ in range(r.choice([1, 2, 2, 3, 4, 6])):
            text, d = r.choice(pool), depth + 2
            if r.random() < 0.2:
                self.put(f"if {r.choice(['i & 1', 'i % 3 == 0', 'i > 20', 'i != 30'])}:", d)
                d += 1
            if r.random() < 0.25:
                self.put("try:", d)
                self.put(text, d + 1)
                self.put("except Exception as e: tell(e)", d)
            else:
                self.put(text, d)
        if r.random() < 0.8:
            self.put("tick(i)", depth + 2)
        self.put("except Exception as e: tell(e)", depth)
        self.put("note(short((t, a, b, x, m, u)))", depth)

    def text(self):
        r = self.r
        pool = r.sample(STATEMENTS, r.choice([3, 6, 10, 30]))
        start = ["t, a, b, x, m, u, j = 0, 3, 700, 1.5, None, None, 0"]
        names = [n for n in ("g", "h", "own") if r.random() < 0.5]
        free = r.random() < 0.5
        # The code of a module, run by `exec`, and that of a function.
        self.put("MODULE = '''")
        self.put(start[0])
        if not r.randrange(4):
            self.put("free = 300")
        self.loop(pool, 0)
        self.put("'''")
        self.put("TEXT = '''")
        self.put("def make(free):")
        self.put(f"    def work(given={r.choice(['5', 'None', '2.5'])}):")
        if names:
            self.put("        global " + ", ".join(names))
        if free:
            self.put("        nonlocal free")
        self.put("        " + start[0])
        if r.random() < 0.5:
            self.put(r.choice(["        a = given", "        t = 300", "        b = given"]))
        for _ in range(r.choice([1, 1, 2])):
            self.loop(pool, 2)
        self.put("        return short(locals().get('free')), short((a, b))")
        self.put("    return work")
        for name in ("work2", "spare"):
            self.put(f"def {name}(p, q={self.value()}):\n    " + r.choice(WORK2))
        self.put("'''")
        self.put("MODULE, TEXT = compile(MODULE, 'kinds', 'exec'), compile(TEXT, 'kinds', 'exec')")
        self.put("W, BUILT, CELLS, FIRST = [], [], [], {}\nexec(TEXT, globals(), FIRST)")
        self.put("CODES = [FIRST['work2'].__code__, FIRST['spare'].__code__]")
        self.put("def cell(v): return (lambda: v).__closure__[0]")
        self.put("def world(space, built, free):\n    BUILT.append(built.__dict__ if built.__class__ is types.ModuleType else built)\n    W.append(space)\n    space['__builtins__'] = built\n    for n in 'log note tell near num short twice pack counted tick O np D F datetime collections types Float Int Level Flags'.split(): space[n] = globals()[n]\n    CELLS.append(free)\n    space['work'] = types.FunctionType(FIRST['make'].__code__.co_consts[WORK], space, 'work', (5,), (free,) if FREES else ())\n    space['work2'] = types.FunctionType(CODES[len(W) % 2], space, 'work2', (7,))")  # fmt: skip
        self.put(
            "WORK = [n for n, c in enumerate(FIRST['make'].__code__.co_consts) if c.__class__ is types.CodeType][0]"
        )
        self.put("FREES = FIRST['make'].__code__.co_consts[WORK].co_freevars")
        share = r.random() < 0.4
        built = r.choice(BUILTINS[:4])
        for k in range(self.count):
            one = built if r.random() < 0.5 else r.choice(BUILTINS)
            cell = "CELLS[0]" if k and r.random() < 0.3 else f"cell({self.value()})"
            self.put(f"world({r.choice(['{}', '{}', '{}', 'Space()'])}, {one}, {cell})")
        shared = self.value()
        for k in range(self.count):
            for name, text in (("g", shared if share else self.value()), ("h", self.value()), ("l", self.list()), ("f", r.choice(FUNCTIONS)), ("o", r.choice(OBJECTS))):  # fmt: skip
                if r.random() < 0.95:
                    self.put(f"try: W[{k}]['{name}'] = {text.replace('peer', 'twice')}\nexcept Exception as e: tell(e)")
            self.put(f"W[{k}]['peer'] = W[{r.randrange(self.count)}]['{r.choice(['work2', 'twice', 'near'])}']")
            if r.random() < 0.5:
                self.put(f"W[{k}]['own'] = {self.value()}")
        for late in r.sample(LATE, r.choice([0, 0, 1, 1, 2])):
            events = "\n".join(self.filled(r.choice(EVENTS)) for _ in range(r.choice([1, 1, 2])))
            self.put(f"AT[{late}] = {events!r}")
        for _ in range(r.choice([4, 8, 12])):
            k = r.randrange(self.count)
            j = r.randrange(self.count)
            what = [f"note(W[{k}]['work']())", f"note(W[{k}]['work']())", f"note(W[{k}]['work']({self.value()}))", f"exec(MODULE, W[{k}])", f"exec(MODULE, W[{k}], {{}})", f"exec(MODULE, W[{k}], W[{j}])", f"exec(MODULE, W[{k}], Loc())", f"exec(MODULE, W[{k}], Space())", self.filled(r.choice(EVENTS))]  # fmt: skip
            self.put(f"try: {r.choice(what)}\nexcept Exception as e: tell(e)")
        self.put("for one in W: note([short(one.get(n)) for n in ('g', 'h', 'l', 'f', 'o', 'own', 'free')])")
        self.put("note(STORES)")
        # What the worlds hold stays to be looked at, but not their builtins and functions.
        self.put("OUT = [[one.get(n) for n in ('g', 'h', 'l', 'own', 'free')] for one in W]")
        self.put("W = BUILT = CELLS = FIRST = CODES = STORES = AT = one = None")
        self.put("builtins.__dict__.pop('missing', None)")
        return PRELUDE + "\n".join(self.out) + "\n"


def make(seed):
    return Worlds(seed).text()


def compare(first, count, force=0):
    return differing_from(first, count, "worlds", make, again(kinds.observe), force, limits=(4, 60), busy=True)


if __name__ == "__main__":
    command(make, compare)
