# ruff: noqa: E501 - choices read best in one line
"""Every place that a value can be read from, used in every way, and given a value of another type once loops are compiled."""

PRELUDE = """
import sys, builtins, collections, fractions, decimal
try: import numpy as np
except ImportError: np = None
class I(int):
    def __add__(self, o): return 7
    def __radd__(self, o): return 8
    def __lt__(self, o): return True
    def __bool__(self): return False
    def __index__(self): return 1
class J(int): pass
class X(float):
    def __mul__(self, o): return 2.5
    def __radd__(self, o): note("radd"); return 3.5
    def __eq__(self, o): return True
    __hash__ = float.__hash__
class Y(float): pass
class Pl(list): pass
class Li(list):
    def __getitem__(self, k): return 5
    def __len__(self): return 2
class St(str): pass
class Up:
    def __index__(self): note("index"); return 2
    def __add__(self, o): note("add"); return 3
    __radd__ = __rmul__ = __sub__ = __and__ = __rand__ = __add__
    def __lt__(self, o): note("lt"); return False
    __gt__ = __lt__
    def __bool__(self): note("bool"); return True
    def __float__(self): return 4.5
    def __int__(self): return 6
    def __call__(self, *a): return 9
    def __len__(self): return 3
    def __iter__(self): return iter((1, 2))
    def __getitem__(self, k): return k
class O:
    k = 11
    def __init__(self, n): self.n, self.l = n, [n, n]
    def get(self): return self.n
class V:
    __slots__ = ("n", "l")
    def __init__(self, n): self.n, self.l = n, [n, n]
    def get(self): return self.n
NT = collections.namedtuple("NT", "n l")
mod = type(sys)("drifting_mod")
mod.n = 13
builtins.bn = 17
gn = 19
def at_end(mod=mod): mod.__dict__.clear()
def of_default(k=21): return k
def by_key(*, k=22): return k
def of_global(): return gn
def given(v): return v
def plus(v): return v + 1
def first(l): return l[0]
def attribute(o): return o.n
def with_cell(n):
    def read(): return n
    def write(v):
        nonlocal n
        n = v
    return read, write
cell, set_cell = with_cell(23)
def endless():
    while True: yield gn
"""
SETUP = """
ln, fx, tx = 25, 1.25, "abcd"
AL, AF, AD, AE, AT, AR = [27, 28, 29, 30], [0.5, 1.5, 2.5, 3.5], {0: 31, 1: 32}, {"k": 33}, (34, 35), [[36, 37], [38, 39]]
o, s, nt, z, w, e_ = O(40), V(41), NT(42, [43]), None, None, endless()
""".strip()
NAMES = "ln fx tx AL AF AD AE AT AR o s nt z w"

# How a place is read, and how it is given another value.
PLACES = {
    "ln": "ln = {}",
    "fx": "fx = {}",
    "AL[i & 3]": "AL[2] = {}",
    "AL[-1]": "AL[-1] = {}",
    "AF[i & 3]": "AF[1] = {}",
    "AD[0]": "AD[0] = {}",
    "AD.get(1)": "AD[1] = {}",
    "AE['k']": "AE['k'] = {}",
    "AT[0]": "AT = ({}, 35)",
    "AT[1]": "AT = (34, {})",
    "AR[i & 1][0]": "AR[1][0] = {}",
    "o.n": "o.n = {}",
    "o.k": "O.k = {}",
    "o.l[0]": "o.l[0] = {}",
    "o.get()": "o.n = {}",
    "s.n": "s.n = {}",
    "s.l[1]": "s.l[1] = {}",
    "s.get()": "s.n = {}",
    "nt.n": "nt = NT({}, [43])",
    "mod.n": "mod.n = {}",
    "bn": "builtins.bn = {}",
    "gn": "globals()['gn'] = {}",
    "of_default()": "of_default.__defaults__ = ({},)",
    "by_key()": "by_key.__kwdefaults__ = {{'k': {}}}",
    "of_global()": "globals()['gn'] = {}",
    "given(ln)": "ln = {}",
    "first(AL)": "AL[0] = {}",
    "attribute(o)": "o.n = {}",
    "attribute(s)": "s.n = {}",
    "cell()": "set_cell({})",
    "next(e_)": "globals()['gn'] = {}",
    "max(AL)": "AL[3] = {}",
    "(ln if i & 1 else fx)": "ln = {}",
}
# How it is used.
USES = r"""
t += {} & 7
t += ({} > 3) + 0
a = {} + i
a = i - {}
a = {} * 3 & 1023
a = {} // 2
a = {} % 5
a = -{}
a = {}
x = {} * 0.5
x = 2.5 + {}
x = {} / 4
c = {} >> 1
u = {} < a
u = a == {}
u = {} is a
u = {} in AL
if {}: t += 1
if not {}: t += 2
m = {} or 5
m = {} and i
z = ({}, i)
z = [{}, i]
w = (z := {})
a = L[{} & 3]
L[i & 3] = {}
F[i & 3] = {}
D[{} & 7] = i
D[i & 7] = {}
m = D.get({}, 0)
E['a'] = {}
o.n = {}
s.n = {}
ln = {}
AL[i & 3] = {}
AF[0] = {}
gn_ = plus({})
a = given({})
s2 = f'{{{}}}'
s2 = str({})
a = abs({})
a = int({})
x = float({})
a = max({}, 3)
a = min(i, {})
x = round({})
u = isinstance({}, int)
for k in range({} & 7): t += 1
for k in range(i, {}): t += 1; break
while a < {}: a += 9; t += 1
a = divmod({}, 7)
c = {} ** 2
t += len([k for k in range(3) if k < {}])
u = 1 < {} < 90
match {}:\n    case 25 | 27: t += 1\n    case int(): t += 2\n    case None | str(): t += 3
""".strip().replace("\\n", "\x00").split("\n")  # fmt: skip
VALUES = """True|2**31|2**62|2**63|-2**63|10**30|0|-1|2.5|-0.0|float('nan')|float('inf')|None|'ab'|b'ab'|(1, 2)|[1, 2]|2j|{1: 2}
I(3)|J(4)|X(1.5)|Y(2.5)|Pl([1])|Li([1])|St('ab')|Up()|len|int|O(1)|V(1)|fractions.Fraction(7, 2)|decimal.Decimal('1.5')
np and np.int64(5)|np and np.float64(1.5)|np and np.bool_(True)|np and np.int8(100)|np and np.arange(3)|'é'|range(3)|...|i|x"""
VALUES = VALUES.replace("\n", "|").split("|")
STATEMENTS = [use.replace("\x00", "\n").format(place) for use in USES for place in PLACES]
EVENTS = [write.format(value) for write in sorted(set(PLACES.values())) for value in VALUES]
EVENTS += [
    "AL = Pl(AL)", "AL = tuple(AL)", "AL = Li([1, 2, 3, 4])", "AL = collections.deque(AL)", "AL = np.array([1, 2, 3, 4]) if np else AL",
    "AL = [v * 0.5 for v in AL]", "AL = [None] * 4", "AL[:] = 'abcd'", "AL.clear()", "AF = AL", "AF = [1, 2, 3, 4]", "AD = collections.OrderedDict(AD)",
    "AD = collections.defaultdict(int)", "AD = {'0': 1}", "AD = {0.0: 5, 1.0: 6}", "AD.clear()", "AE = {1: 2}", "AE = dict(k=2.5)", "AR = [(1, 2), (3, 4)]",
    "AR[1] = Pl([5, 6])", "AR[0] = {0: 5}", "o = s", "s = o", "o = O(2.5)", "o = nt", "o.__class__ = type('O2', (O,), {'k': 2.5})", "o = None",
    "O.get = lambda self: 'text'", "O.n = property(lambda self: 2.5)", "V.get = lambda self: None", "o.get = lambda: 2.5", "del o.n", "del s.n", "del O.k",
    "del builtins.bn", "del mod.n", "del globals()['gn']", "globals()['given'] = float", "globals()['given'] = lambda v: [v]", "globals()['plus'] = given",
    "given.__code__ = (lambda v: 2.5).__code__", "globals()['first'] = max", "e_ = iter([1, 2.5, None])", "i = 2.5", "i = True", "i = J(i)", "del i", "t = 2.5",
    "t = 2**62", "t = J(5)", "t = True", "x = 3", "x = None", "a = 2.5", "a = 'ab'", "L = AL", "L = (1, 2, 3, 4)", "L = Pl(L)", "F = L", "D = AD", "E = {}",
]  # fmt: skip
LOOPS = [
    "for i, ln in enumerate(AL * 15):",
    "for i, fx in zip(range({n}), AF * 20):",
    "for i, (ln, w) in enumerate(AR * 30):",
    "for i in AL * 15:",
]
CONDITIONS = ["ln > fx", "ln == a", "o.n", "AL[0] is ln", "i == ln"]
