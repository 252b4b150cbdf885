# ruff: noqa: E501 - choices read best in one line
"""Statements that `maker` adds to its programs: numbers moved from place to place, what one bytecode alone does, and calls."""

PLACES = (
    "a b c d a b c L[1] L[a&7] L[-1] M[0] p.n q.n Q[a&3].n s.n K[b%3].n B[t&3] D[1] E['a'] R[0][b&3] R[1][-1] N[1] J[0] m e count"
).split()
FLOATS = "x y z x y F[0] F[a&3] F[-1] p.w q.w s.w Q[b&3].w K[a%3].w D['k'] R[2][b&3] N[3] m".split()

PRELUDE = """
rnd = random.random
random.seed(5)
def with_default(a, b=3, *, c=2**40):
    return a + b - c
def keep(a, b=None):
    return a if b is None else b
def by_name(first, second):
    return first - second * 2
def both_of(a, b):
    t = a
    a = b
    return t if a is b else a
def fill(l, v):
    l[0] = v
    l[1] = l[0]
    return l[1]
def pass_on(p, v):
    p.n = v
    return p.n
def nested(p, l, v):
    p.w = keep(v)
    return fill(l, v)
"""

# Each for one thing the optimiser knows.
SINGLE = """
x = -x
y = -F[a & 3]
t += math.ceil(x % 100.0)
t += math.ceil(a / 7)
t += math.ceil(t * 0.25)
t += round(t * 0.25)
t += round(t / 3)
x = math.sin(t)
y = math.exp(x % 3.0)
t += math.floor(y % 50.0)
t += round(z % 50.0)
t += int(x % 1000.0)
x = sqrt(x * x % 1e9 + 1.0)
x = rnd()
y = random.random() + x
if rnd() < 0.5: t += 1
x = math.erf(x % 3.0)
y = math.log10(abs(y % 1e6) + 1.0)
z = math.fmod(x % 1e9, 7.5)
z = math.atan2(x, y)
t += math.isqrt(t)
t += math.gcd(a, 12)
t += math.gcd(t, 30)
t += math.isqrt(t & 1023)
u = (a < b) & (x < y)
u = u | (a > 3)
u = u ^ (b > 3)
u = u ^ (a < b)
u = (a < 5) ^ (b < 5)
u = u | (x < y)
u = u & (x != y)
u = bool(u) & (t > 5)
u = G[a & 7]
t += G[b & 7]
t += u
G[t & 7] = u
u = ch < 'c'
if W[a & 7] <= ch: t += 1
if ch in Z: t += 1
if W[b & 7] not in Z: t += 1
if t & 63 in Z: t += 1
Z.add(t & 255)
Z.add(a & 31)
Z.add(t)
Z.add(t + 1000)
Z.add(t * 7 & 4095)
Z.add(b & 1023)
Z.add(ch)
t += len(Z)
t += len(D)
t += len(B)
B[t & 31] = a
B[t] = b
B[t & 63] = t
D[t & 31] = x
E[ch] = x
J = [5, 6, 700]
J = [2.5, 700, 'x']
J = [a, b, 3]
J = [x, y]
A = [p, a]
A = [[a], p]
A = [p, q]; A.pop()
A = [x, a, (a, b)]; A.pop(); A.pop()
if A: A.pop()
if len(J) > 1: J.pop()
if len(A) < 9: A.append((a, x))
t += max(L) & 7
t += min(R[0]) & 7
t += sum(R[1]) & 7
x = max(F)
x = min(F[0], F[1], F[2])
x = sum(F) * 0.5
t += sum(J) if len(J) < 3 else 1
h = f'{a}'
h = f'{a}:{b & 3}'
h = f'{ch}{t}'
h = ch + ch
h = ch * 3
h = str(t)
t += len(h)
if h == 'aaa': t += 1
a = with_default(b) & 1023
a = with_default(b, c=5) & 1023
a = with_default(b, a) & 1023
a = with_default(a=b, b=c & 7)
c = keep(a)
c = keep(a, b)
d = keep(a, b=d)
c = by_name(a, b) & 65535
c = by_name(first=a, second=b) & 65535
c = by_name(second=a, first=b) & 65535
b = both_of(a, b)
c = fill(L, a)
y = fill(F, x)
c = pass_on(p, a)
c = pass_on(Q[a & 3], b)
c = nested(p, L, a)
y = nested(q, F, x)
for k in B: t += k & 3
for k in B.values(): t += 1
for k, v in B.items(): t += k & 1
for k in D: t += 1
for k in {1, 300}: t += k
for k in (1, 2, 3): t += k
for k in range(3): t += k
for k in W: t += 1
for k, v in zip(L, F): x = v
for k, v in enumerate(F): y = v; t += k
for k in L: c = k
for k in reversed(L): d = k
for k in list(L): L[0] = k
for k in [a, b, c]: d = k
L = L[::-1]
L[0:1] = [a]
L[2:4] = [b, a]
t += L[::2][0] & 7
w = (a, b); c = w[0]; L[1] = c
w = a, x; a, x = w
w = (a, (b, c)); d = w[1][0]
w = (ch, t)
A = [w, w]; w = A[0]
if len(A) > 3: A = []
if A: t += 1; A.pop()
Q[0], Q[1] = Q[1], Q[0]
p, q = q, p
L, M = M, L
a, b, c = c, a, b
a = b = c
F[0] = F[1] = x
p.n = q.n = a
p.n, q.n = q.n, p.n
p.w, x = x, p.w
s.n += 1; s.n += a & 3
p.n += 1; p.n = p.n + q.n & 4095
count = (count + a) & 4095
a = cnt(1) & 1023
a = a if a is b else c
u = a is b
u = x is y
u = L[1] is a
u = p.n is a
u = w is None
if m is a: t += 1
if a is c or b is d: t += 1
p.o = p.n
p.o = x
p.o = None
m = p.o
e = q.o
del e; e = a
a = Y[a & 3] + Y[-1]
if Y < b'abd': t += 1
a = ord(ch) + ord(W[b & 7])
ch = chr(97 + (t & 15))
a = a << 3 & 65535
a = a >> 2
a = ~a & 1023
a = (a | 5) ^ b
a = -a
t += -(t & 7)
a = abs(a)
a = a * 3 % 97
a = a // 7
a, b = divmod(a, 7)
a = pow(a & 7, 3)
a = (a & 7) ** 2
x = a / 3
x = x ** 2 % 1e9
x = x // 3.0
x = a * x % 1e6
x = float(a & 255)
""".strip().split("\n")


def moves(r):
    """A few numbers moved between places, unchanged: who is who must be as in plain Python at the end."""
    places = FLOATS if r.random() < 0.3 else PLACES
    out = []
    for _ in range(r.randrange(1, 5)):
        k = r.random()
        if k < 0.6:
            out.append(f"{r.choice(places)} = {r.choice(places)}")
        elif k < 0.75:
            one, two = r.sample(places, 2)
            out.append(f"{one}, {two} = {two}, {one}")
        elif k < 0.85:
            out.append(f"{r.choice(places)} = {r.choice(places)} = {r.choice(places)}")
        elif places is PLACES:
            out.append(
                f"{r.choice('abcd')} = {r.choice(['a + b & 1023', 'b + 1000', 't + 300', 'c * 3 & 4095 | 1024'])}"
            )
        else:
            out.append(f"{r.choice('xyz')} = {r.choice(['x + 1.5', 'y * 0.5', 'z - x', 'rnd()'])}")
    return "; ".join(out)
