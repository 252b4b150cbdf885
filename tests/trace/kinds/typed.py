"""Variables, items and attributes that hold several types in turn."""

PRELUDE = """
class N:
    def __init__(self, n): self.n = n; self.next = None
    def get(self): return self.n
class O(N):
    def get(self): return self.n * 2 if self.n.__class__ is int else 0
class P:
    __slots__ = ("n", "next")
    def __init__(self, n): self.n = n; self.next = None
    def get(self): return 5
def kind(v):
    if v is None: return 0
    if isinstance(v, bool): return 1
    if isinstance(v, int): return v & 7
    if isinstance(v, float): return 2
    return len(v)
def or_none(k): return k if k & 1 else None
def either(k): return k if k & 1 else k * 0.5
def any_of(k, l): return l[k % len(l)]
def find(l, k):
    for v in l:
        if v is k: return v
    return None
"""
SETUP = """
MIX, v, w, best, prev, p, q = [1, None, 2.5, "a", True, 300, "bcd", None], None, 0, None, None, N(1), P(2)
OBJ, T, Q = [N(1), O(2), P(3), N(4)], [(1, "a"), (2, None), (None, 2.5), (4, 4)], [1, 2.5]
""".strip()
NAMES = "MIX v w best prev OBJ T Q"
STATEMENTS = """
v = MIX[i & 7]
w = MIX[i * 3 & 7]
v = None
v = i
v = i * 0.5
v = 'x'
v = or_none(i)
v = either(i)
v = any_of(i, MIX)
v, w = w, v
w = v
m = v
MIX[i & 7] = v
MIX[i & 7] = i
MIX[i & 7], MIX[t & 7] = MIX[t & 7], MIX[i & 7]
MIX[0] = MIX[1]
if v is None: v = i
if v is not None: t += 1
if v: t += 1
if not v: t += 2
v = None if v else i
v = v or i
v = v and 2.5
v = i if i % 5 else None
v = i if i % 3 else 2.5
if best is None or i > best: best = i
if best is None or t % 7 < best: best = t % 7
if prev is not None: t += prev & 7
prev = i
prev = None if i % 11 == 0 else i
if isinstance(v, int): t += v & 7
if isinstance(v, float): x += v
if isinstance(v, str): t += len(v)
if isinstance(v, (int, float)): x = v + 1
if type(v) is int: t += v & 3
if v == 1: t += 1
if v == 'a': t += 1
if v is w: t += 1
t += kind(v)
t += kind(w)
t += v + 1 if v.__class__ is int else 0
try: t += v + 1
except TypeError: t += 1
o = OBJ[i & 3]; t += 1
o = OBJ[i & 3]; t += o.get() & 7
o = OBJ[i & 3]; o.n = i
t += OBJ[i & 3].get() & 7
OBJ[i & 3].n = v
OBJ[i & 3].next = OBJ[t & 3]
OBJ[i & 3].next = None
o = OBJ[0]; v = o.next
OBJ[0], OBJ[1] = OBJ[1], OBJ[0]
p.n = v
v = p.n
p.n = i
p.n = i * 0.5
q.n = v
v = q.n
p.next = v
t += p.get() if p.n.__class__ is int else 0
p, q = q, p
for v in MIX: t += 1
for v in MIX: t += kind(v)
for v in MIX: w = v
for k, v in enumerate(MIX): t += k if v is None else 1
for k, v in T: t += 1
for k, v in T: w = k
for v in MIX:
    if v is None: continue
    t += 1
k, v = T[i & 3]
T[i & 3] = (i, v)
T[i & 3] = (v, w)
z = (v, i); w = z[0]
z = [v, w]; v = z[i & 1]
Q[i & 1] = v
v = Q[i & 1]
Q.append(v); w = Q.pop()
D[i & 3] = v
v = D.get(i & 7)
w = D.get(i & 3, 'none')
D[i & 7] = None if i & 1 else i
v = find(MIX, i)
s = str(v)
s = f'{v}-{w}'
s = repr(w)
u = v == w
u = v in MIX
u = v in (1, None, 2.5)
u = v is w or w is None
u = v is None
x = v
y = w
a = v if v.__class__ is int else a
L[i & 3] = v
F[i & 3] = w
L[i & 3] = 5
F[i & 3] = 2.5
c = L[i & 3]
b = a if v is None else b
(v, w), c = (w, v), i
def inner(): return v
t += len([k for k in MIX if k is None])
t += sum([k for k in MIX if k.__class__ is int]) & 15
z = [k if k else 0 for k in MIX]
z = {k: 1 for k in MIX}
""".strip()
STATEMENTS = [
    s.replace("\x00", "\n")
    for s in STATEMENTS.replace("\n    ", "\x00    ").replace("\nexcept", "\x00except").split("\n")
]
EVENTS = """
v = 2**70
v = [1]
v = (1, 2)
v = N(3)
MIX[3] = 2**65
MIX[1] = [5]
MIX.append(2.5)
OBJ[1] = N('a')
OBJ[2] = None
p = None
best = None
best = 2.5
prev = 'a'
T[1] = (5, 6)
T[1] = [5, 6]
"""
LOOPS = [
    "for i, v in enumerate(MIX * 8):",
    "for i, (w, v) in enumerate(T * 15):",
    "for i, v in zip(range({n}), MIX * 8):",
]
CONDITIONS = ["v is None", "w is v", "isinstance(v, int)", "v", "v == w", "best is None"]
