"""One list, dict or iterator under several names, changed by callees while it is iterated."""

PRELUDE = """
class Box:
    def __init__(self, items): self.items = items; self.n = 0
    def add(self, v):
        self.items.append(v)
        self.n += 1
    def put(self, k, v): self.items[k] = v
    def first(self): return self.items[0]
def grow(l):
    if len(l) < 60: l.append(len(l))
def shrink(l):
    if len(l) > 4: l.pop()
def put(l, k, v): l[k] = v
def both(l, m, k):
    l[k] = 5
    m[k] = 6
    return l[k]
def clear(l): l.clear()
def swap(l, i, j): l[i], l[j] = l[j], l[i]
def fill(d, k, v): d[k] = v
def drop(d, k):
    if k in d: del d[k]
def pull(it): return next(it, None)
G = [1, 2, 3, 400]
H = G
def through():
    G[0] = H[1] + 1
    return G[0]
"""
SETUP = """
M, R, S, box, it, p, q = L, [[1, 500, 3, 4], [5, 6, 7, 8]], {1, 300, 7}, Box(L), iter(L), None, None
K, V, z, w, g, h = [L, L, F, [1, 2, 3, 4]], D, None, None, enumerate(L), zip(L, F)
""".strip()
NAMES = "M R S box K V"
STATEMENTS = """
M[i & 3] = t
L[i & 3] = M[0]; u = M[i & 3]
u = L is M
L = M
M = L
M = list(L)
M = L[:]
M = L[1:] + [i]
L = [a, b, i, t]
K[i & 3][0] = i
K[i & 3] = L
a = K[i & 3][1]
K[0], K[1] = K[1], K[0]
R[0] = R[1]
R[i & 1][0] = i
R[i & 1] = [i, a, b, 4]
t += R[0][0] + R[1][0]
R[0][1], R[1][1] = R[1][1], R[0][1]
box.add(i)
box.put(0, i)
box.items = M
box.items = L
a = box.first()
box.items[1] = t
L.append(i)
M.append(t)
grow(L)
grow(M)
shrink(L)
shrink(M)
if len(L) > 30: del L[4:]
if len(M) > 4: M.pop()
if len(L) > 4: L.pop(0)
L.insert(0, i); L.pop()
L.reverse()
L.sort()
L.extend(M[:2]); del L[-2:]
L[1:2] = [i]
L[0:2] = [1, 2]
L[:] = L[:4]
del L[4:]
L += [i]
L = L + [i] if len(L) < 20 else [1, 2, 3, 4]
L *= 1
put(L, i & 3, a)
put(M, 0, x)
a = both(L, M, i & 3)
a = both(L, R[0], 0)
swap(L, 0, i & 3)
swap(M, 0, 1)
fill(D, i & 7, t)
fill(V, 0, a)
drop(D, 3)
drop(D, i & 7)
V[i & 3] = D[0]
D[i] = i
V = dict(D)
V = D
t += len(D)
t += D.get(i & 7, 0)
u = D.pop(i & 7, None)
u = D.setdefault(i & 3, i)
D.update({1: i})
if len(D) > 20: D.clear(); D[0] = D[1] = D[2] = D[3] = 5
S.add(i & 31)
S.discard(i & 7)
t += len(S)
u = 7 in S
z = pull(it)
z = next(it, None)
it = iter(L)
it = iter(M)
it = p or it
p = it
w = next(g, None)
g = enumerate(M)
w = next(h, None)
h = zip(L, M)
for k in it: t += 1
for k in g: t += 1; z = k
for k in h: z = k; break
for k in L: grow(M) if t & 1 else shrink(M)
for k in L: put(M, 0, k)
for k in L: t += k if k.__class__ is int else 1
for k in M:
    L[0] = k
    if len(L) < 12: L.append(k)
for k in D: t += 1
for k in D: D[k] = i
for k, v in D.items(): V[k] = t
for k, v in D.items(): fill(D, k, v)
for k in D: fill(D, k + 1 & 31, t)
for k in list(D): drop(D, k)
for k in S: t += k
for k in S: S.add(k + 1 & 31)
for k, v in enumerate(L): L[0] = k
for k, v in zip(L, M): M[0] = v
for k in reversed(L): L[-1] = k
for r in R: r[0] = i
for r in R:
    for k in r: r[1] = k
for k in L[1:]: L[0] = k
for k in L: L = M
for k in L: del L[4:]
for k in range(len(L)): L[k] = i
z = [k for k in L]
z = [k for k in it]
z = {k: k for k in L}
z = [M[0] for M in R]
z = L[i & 3:]
z = tuple(L)
t += sum(L) & 7 if all(k.__class__ is int for k in L) else 0
G[0] = i
t += H[0]
a = through()
q = iter(range(i & 15, 40)); z = next(q)
for k in q or (): t += k; break
q = iter([i, a, b])
q = reversed(L)
for p.n in (): pass
for box.n in L: t += 1
for L[0] in (i, a): t += 1
for D[0] in M: t += 1
for a in L: b = a
(a, b), c = (L[0], M[1]), i
a, *z = L
*z, b = M
""".strip()
# Continuation lines belong to the statement before them.
STATEMENTS = [s.replace("\x00", "\n") for s in STATEMENTS.replace("\n    ", "\x00    ").split("\n")]
EVENTS = """
M = L
L = M = [1, 2, 3, 4]
clear(L); L += [1, 2, 3, 4]
clear(L)
del L[1:]
L.extend([1.5, None, 'a', 7])
D.clear()
D[1] = None
L[0] = 'x'
M[1] = None
R[0] = R[1]
R.append(R[0])
K[1] = K
L[2] = L
it = iter(L)
box.items = R
box = Box(M)
G.append(5)
H = []
V = {}
S.clear()
p = it
"""
LOOPS = [
    "for i in L * 12:",
    "for i, z in enumerate(L * 12):",
    "for i, z in zip(range({n}), L * 12):",
    "for i in it:",
    "for i in iter(range({n})):",
]
CONDITIONS = ["L is M", "len(L) > 6", "K[0] is L", "box.items is L", "i in D", "z is None"]
