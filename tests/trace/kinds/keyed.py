"""Keys that are equal, hash alike or change the table when compared; instances and modules taken as dicts; buffers."""

PRELUDE = """
import array, types, sys
FLIP = [0]
class K:
    def __init__(self, n): self.n = n
    def __hash__(self): return hash(self.n)
    def __eq__(self, o):
        FLIP[0] += 1
        return o == self.n if o.__class__ is not K else o.n == self.n
class Wild(K):
    __hash__ = K.__hash__
    def __eq__(self, o):
        note("wild")
        if FLIP[0] % 7 == 3: X[FLIP[0] * 1000] = FLIP[0]
        FLIP[0] += 1
        return FLIP[0] & 1 == 0
class Name(str):
    def __hash__(self): return str.__hash__(self)
    def __eq__(self, o): FLIP[0] += 1; return str.__eq__(self, o)
class C:
    k = 5
    def __init__(self, n): self.n = n; self.w = n * 0.5
    def get(self): return self.n
    def put(self, v): self.n = v
class Cs:
    __slots__ = ("n", "w")
    def __init__(self, n): self.n = n; self.w = 0.5
    def get(self): return self.n
    def put(self, v): self.n = v
class Dk(dict):
    def __missing__(self, k): return 9
mod = types.ModuleType("kinds_keyed")
mod.n, mod.w = 5, 2.5
def at_end(mod=mod): mod.__dict__.clear()
def get(d, k): return d[k]
def put(d, k, v): d[k] = v
def has(d, k): return k in d
def upd(d, k):
    d[k] = d.get(k, 0) + 1
    return d[k]
def word(k): return "kab"[k % 3] + "xy"[k & 1]
"""
SETUP = """
X = {0: 1, 1: 300, -1: 5, -2: 600, 2**61 - 1: 7, 2**61: 8, 2**62: 9, 2**64: 10}
Y = {'a': 1, 'b': 300, 'kx': 5, 'ky': 6}
Z = {1.0: 'one', True: 2, 2.5: 3, (1, 2): 4, None: 5}
S, R = {-1, -2, 0, 2**61 - 1, 300, 'a'}, {'kx', 'ay'}
o, p, q = C(1), C(2), Cs(3)
bb, bs, mv, ar = bytearray(b'abcdefgh'), b'ab\\x00\\xff', memoryview(bytearray(8)), array.array('q', [1, 2, 300, 4])
k, n, v = 0, 'a', None
""".strip()
NAMES = "X Y Z o p q bb bs ar k n v FLIP"
STATEMENTS = """
a = X[-1]
a = X[-2]
X[-1] = i
X[-2] = a
X[i - 40] = a
a = X.get(i - 3, 7)
a = X.get(i * (2**61 - 1), 5)
X[i * (2**61 - 1)] = i
X[i & 3] = i * 300
X[i & 3] += 1
a = X[i & 1]
a = X[2**61 - 1]
a = X[2**61]
u = -1 in X
u = i in X
u = (2**61 - 1) * (i & 3) in X
k = -1 - (i & 1)
a = X[k]
X[k] = b
a = X[True]
a = X.get(1.0)
a = X.get(x, 5)
a = Z[1]
a = Z.get(i & 3)
Z[i & 1] = b
Z[1.0] = a
Z[True] = a
u = 1 in Z
n = word(i)
a = Y[n] if n in Y else 3
Y[n] = i
a = Y.get(n, 5)
a = Y['kx']
Y['kx'] = i
Y['k' + 'x'] = a
a = Y['k' + 'xy'[i & 1]]
u = n in R
R.add(n)
S.add(-1 - (i & 1))
u = -1 - (i & 1) in S
u = i * (2**61 - 1) in S
S.discard(i & 3)
a = len(S)
a = len(X)
a = upd(X, i & 3)
a = upd(X, k)
a = upd(Y, n) if n in Y and Y[n].__class__ is int else 1
a = get(X, -1 - (i & 1))
put(X, i & 7, a)
u = has(X, k)
u = has(Y, n)
for v in X: t += 1
for v in X.values(): m = v
for k, v in list(X.items()): t += 1
for v in Y: n = v
t += o.n if o.n.__class__ is int else 1
o.n = i
o.w = x
a = o.get()
o.put(i)
o.__dict__['n'] = i
a = o.__dict__['n']
vars(o)['w'] = y
a = vars(o).get('n')
p.n = i
a = p.get()
q.n = i
a = q.get()
q.w = x
a = C.k
a = o.k
o.k = i
a = mod.n
mod.n = i
mod.w = x
mod.__dict__['n'] = a
a = mod.__dict__['n']
a = globals()['FLIP'][0]
a = bb[i & 7]
bb[i & 7] = i & 255
bb[-1] = a & 255 if a.__class__ is int else 1
a = bs[i & 3]
a = bs[-1]
a = bb[1:4]
a = bs[:2]
m = bs[i & 1:]
a = mv[i & 7]
mv[i & 7] = i & 127
a = ar[i & 3]
ar[i & 3] = i
for v in bb: t += v
for v in bs: t += v
for v in ar: t += v
u = 97 in bb
u = bs == b'ab'
a = len(bb)
a = sum(ar)
a = max(bs)
""".strip().split("\n")
EVENTS = """
X[K(1)] = 5
X[K(300)] = 6
X[Wild(1)] = 7
X[Wild(-1)] = 7
X[Wild(2)] = 8
Y[Name('kx')] = 9
Y[Name('new')] = 9
Y[5] = 'int'
Y[K('a')] = 3
S.add(K(300))
S.add(Wild(-2))
R.add(Name('kx'))
R.add(5)
X.clear()
X.update(dict.fromkeys(range(100, 200), 1))
for k in list(X)[2:]: del X[k]
X = dict(X)
X = Dk(X)
X = {}
Y = {k: v for k, v in Y.items()}
Y = Dk(Y)
Y.clear()
Y.update({chr(k): k for k in range(97, 130)})
del X[-1]
X[-1] = 'text'
X[-2] = None
X[k] = 2.5
del Y['kx']
Y['kx'] = 2**70
S.clear()
S |= set(range(50, 150))
S = frozenset(S)
o.__dict__ = {'n': 77, 'w': 1.5}
o.__dict__ = {'w': 1, 'n': 'text'}
o.__dict__ = Dk(n=5, w=2)
o.__dict__.clear()
o.__dict__['n'] = 'text'
o.__dict__[5] = 3
o.__dict__.update({chr(k) * 2: k for k in range(97, 127)})
o.__dict__['n'] = 2**70
del o.__dict__['n']
v = o.__dict__
del o.__dict__
o.__dict__ = p.__dict__
o.__class__ = type('Late', (C,), {'n': property(lambda self: 44)})
C.n = 3
C.n = property(lambda self: 8, lambda self, v: note(v))
C.__getattribute__ = lambda self, name: 4
C.get = lambda self: FLIP[0]
C.k = K(3)
Cs.n = 5
q.n = None
del q.n
mod.n = 'text'
del mod.n
mod.__dict__['n'] = 2**70
mod.__dict__.clear()
mod.__dict__[K('n')] = 9
mod.__class__ = type('Mod', (types.ModuleType,), {'n': property(lambda self: 6)})
globals()[K('FLIP')] = [5]
globals()['get'] = lambda d, k: 5
globals()['word'] = lambda k: Name('kx')
bb.extend(b'xyz')
del bb[3:]
bb = b'bytes'
mv.release()
mv = memoryview(bytearray(3))
mv = memoryview(array.array('d', [0.5] * 8))
ar.append(5)
del ar[1:]
ar = array.array('d', [0.5, 2.5, 1.5, 3.5])
ar = [1, 2, 3, 4]
bs = 'abcd'
bs = bytearray(bs)
bs = memoryview(bs)
n = Name('kx')
n = 'k' + chr(233)
k = 2**61 - 2
k = True
k = 1.0
k = -1.0
k = K(-1)
k = []
FLIP[0] = 2**63
""".strip().split("\n")
LOOPS = [
    "for i in range({n}):",
    "for i in list(range(-3, {n})):",
    "for i in dict.fromkeys(range({n})):",
    "for i in {{v: v for v in range({n})}}:",
    "for i in bytearray(range({n})):",
    "for i in bytes(range({n})):",
    "for i, k in enumerate([-1, -2] * {n}):",
    "for i, n in enumerate(['kx', 'ky', 'a'] * {n}):",
]
CONDITIONS = ["k in X", "n in Y", "-1 in X", "i in S", "bb[0] == 97", "o.n is a", "n == 'kx'", "k == -1"]
