"""Numbers at their edges: signed zeros, nan, 63 and 64 bits, the ints that exist once, bool beside int; asked with `is`."""

PRELUDE = """
INTS = [-6, -5, -1, 0, 1, 255, 256, 257, 1023, 1024, 1025, 2**30 - 1, 2**30, -2**30, 2**60, 2**62, 2**63 - 1]
INTS += [-2**63, 2**63, 2**64]
FLOATS = [0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1.5, 1e308, 5e-324, 2.0**53, 2.0**63, -1.0, 256.0]
ONES = [1, 1.0, True, "1", b"1", 257, 257.0, None]
def same(p, q): return p is q
def give(p): return p
def half(p): return p / 2
"""
SETUP = "n, z, w, s = 257, -0.0, float('nan'), 'ab'"
NAMES = "n z w s"
STATEMENTS = """
a = INTS[i % 20]
b = INTS[(i * 7) % 20]
n = INTS[t % 20]
x = FLOATS[i % 12]
y = FLOATS[(i * 5) % 12]
z = FLOATS[t % 12]
m = ONES[i & 7]
u = ONES[t & 7]
a = i - 7
a = 250 + i % 14
b = a + 1 - 1
n = a + 0
a = a + 1
a = a - 1
n = -a
n = abs(a)
n = ~a
n = a >> 1
n = a << 1
n = a * 2
n = a * b % 2**70
n = a * b & 0xffff
n = a ^ b
n = a | b
n = a & b
n = a // b
n = a % b
n = divmod(a, b)[1]
n = a // 7
n = a % 256
n = a % -5
x = a / b
x = a * y
x = a + y
x = x + y
x = x - y
x = -x
x = x * y
x = x / y
x = x % y
x = x // y
x = x * 0.0
x = y - y
x = x ** 2
x = y ** 0.5
x = abs(y)
x = float(a)
n = int(x)
n = round(y)
n = math.floor(x)
x = math.sqrt(y)
x = math.copysign(x, z)
x = min(x, y)
x = max(y, x)
x = min(z, x, y)
n = min(a, b)
n = max(a, b, n)
n = min(n, x)
m = max(a, x)
m = max(u, a)
x = sum(F)
n = sum(L)
x = sum([x, y, z])
x = sum((a, x))
n = max(L)
x = max(F)
u = a is b
u = n is a
u = (a + 0) is a
u = a + 1 is b
u = x is y
u = x is x
u = same(a, n)
u = same(x, z)
u = give(a) is a
u = give(x) is x
u = m is a
u = m is True
u = m is u
u = a is not b
u = x is F[i & 3]
u = L[i & 3] is a
u = D[i & 3] is a
u = x == x
u = x != x
u = x < y
u = a == x
u = a < x
u = x >= b
u = x in F
u = a in L
u = x in (1.5, -0.0, 2)
u = a in (1, 257, True)
u = n in D
u = x in D
u = D.get(a)
u = D.get(x, 5)
u = D.get(True)
u = D.get(1.0)
D[x] = i
D[True] = a
D[a] = i & 7
if a in D: n = D[a]
u = a + True
u = True + True
u = u + u
u = not a
u = not x
u = u & True
u = (a < b) + (x < y)
u = (a < b) & 1
u = (a < b) | (x < y)
n = (a < b) * a
t += 1 if x else 0
t += 1 if a else 0
t += 1 if m else 0
t += m is None
t += u is True
if x: t += 1
if m == 1: t += 1
if m == u: t += 1
if x == 0.0: t += 1
n = hash(a) & 255
n = hash(x) & 255
s = str(x)
s = str(a)
s = repr(z)
s = f'{x}'
s = f'{a}{u}'
s = f'{x:.3g}'
s = chr(97 + (i & 15))
s = s + 'b' if len(s) < 5 else 'a'
u = s is W
u = s == 'ab'
u = s in E
n = len(s)
n = ord(s[0])
n = int(s)
x = float(s)
L[i & 3] = n
L[i & 3] = x
F[i & 3] = a
F[i & 3] = z
x = L[i & 3]
m = F[i & 3]
L.append(a); L.pop()
L.append(n)
if len(L) > 9: L = L[:4]
n = a.bit_length()
n = pow(a, 2) & 1023
n = pow(a, b, 97)
n = 1 << (i & 63)
n = -1 << (i & 63)
n = 1 << (i & 127)
n = a >> (i & 63)
n = a << (i & 7)
a, n = n, a
x, z = z, x
c = half(a)
c = half(i)
y = half(x)
w = FLOATS[2]
u = w is FLOATS[2]
u = w == w
u = w in FLOATS
u = [w] == [w]
u = (w, 1) == (w, True)
u = isinstance(m, int)
u = isinstance(u, bool)
u = type(m) is int
u = type(a) is type(m)
u = a.__class__ is int
""".strip()
EVENTS = """
a = 2**63 - 1
a = -2**63
a = 2**64
b = 0
b = -1
b = True
x = float('nan')
x = -0.0
y = 0.0
y = float('inf')
x = 5
a = 2.5
F[1] = 3
L[1] = 2.5
L[2] = True
F[2] = float('nan')
D[1] = 2.5
D[2] = 2**65
n = 256
n = 257
"""
LOOPS = [
    "for i in range(2**63 - 30, 2**63 - 30 + {n}):",
    "for i in range(-20, {n} - 20):",
    "for i in range({n}, -20, -1):",
    "for i in range(230, 230 + {n}):",
    "for i in INTS * 3:",
    "for i, n in enumerate(INTS * 3):",
    "for i in [k * 2**29 for k in range({n})]:",
]
CONDITIONS = ["a is n", "x == x", "a == b", "x is z", "a < 0", "u is True", "m is a", "type(m) is int"]
PRELUDE = "import math\n" + PRELUDE
