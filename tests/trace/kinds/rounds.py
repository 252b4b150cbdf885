"""Short loops over ranges behind a longer one: what rounds change, what they keep, and who is who after them."""

PRELUDE = """
class Point:
    def __init__(self): self.x = 0.5; self.n = 700
def step(v): return v + 1
def keep(l, k, v): l[k & 3] = v
H = [0.25, 1.25, 2.25, 3.25]
"""
SETUP = """
P, Q, R, one, two = Point(), [1.5, 2.5, 3.5, 4.5], [[1, 2], [300, 400], [5, 6], [700, 8]], 1000, 1000.5
S = [L, F, Q, L]
p, q, r, s, z, w = 300, 0.75, 0.75, None, False, 0
""".strip()
NAMES = "P Q R S p q r s z w one two"
STATEMENTS = [
    "for j in range(4): Q[j] += x * F[j]",
    "for j in range(4): F[j] = Q[j]; q = F[j]",
    "for j in range(5): Q[j & 3] = q; q = q + 0.5",
    "for j in range(5): q = q * 0.5 + j; r = q",
    "for j in range(3): q = r; r = q + 1.5",
    "for j in range(5): a, b = b, a + j",
    "for j in range(4): a = b; b = t + 300 + j",
    "for j in range(4): L[j] = a",
    "for j in range(4): L[j] = a; a = a + 257",
    "for j in range(4): a = L[j]",
    "for j in range(4): m = L[j]; u = m is a",
    "for j in range(4): u = q is r",
    "for j in range(4): z = not z",
    "for j in range(5): t += j * p; p = (p * 7 + j) & 4095",
    "for j in range(1, 6): w = w * 2 - j; w &= 0xFFFF",
    "for j in range(6, 0, -1): t += j; s = j",
    "for j in range(0, 10, 3): t += j ^ w",
    "for j in range(i & 7): t += 1; q += 0.25",
    "for j in range(i % 3): Q[j] = two",
    "for j in range(5): q = two; F[j & 3] = q",
    "for j in range(5): q = F[j & 3]; F[j & 3] = r; r = q",
    "for j in range(4): P.x += F[j]; P.n = P.n + j",
    "for j in range(4): q = P.x; P.x = q + 1.0",
    "for j in range(4): R[j][0] += 1; R[j][1] = a",
    "for j in range(3): S[j][j] = x; x = S[j][j] if j != 0 else x",
    "for j in range(4): D[j] = t; t = D[j] + 1",
    "for j in range(4): t = step(t); keep(L, j, t)",
    "for j in range(4): keep(F, j, q); q = q + 0.5",
    "for j in range(3): L.append(t); t = L.pop() + 1",
    "for j in range(4): m = (a, j); t += m[1]",
    "for j in range(4): m = (q, r); q = m[1] + 0.5",
    "for j in range(4): H[j] = H[j - 1] + 0.5",
    "for j in range(5): t += 2**40 if t < 2**60 else -(2**40)",
    "for j in range(5): t = (t * 3 + j) % 1000003",
    "for j in range(4): t += L[j + (i == 37)]",
    "for j in range(4): t += 100 // (j + (i != 30))",
    "for j in range(4):\n    if j == i & 3: q += 1.0\n    else: r += q",
    "for j in range(4):\n    if j == i & 3: continue\n    t += j",
    "for j in range(5):\n    if j == i & 7: break\n    q = q + j",
    "for j in range(5):\n    q = q + j\n    if q > 50.0: q = 0.5",
    "for j in range(4):\n    m = q\n    q = F[j]\n    if i % 9 == j: F[j] = m",
    "for j in range(3):\n    for k in range(2): t += j * k; q = q + 0.5",
    "for j in range(3):\n    for k in range(i & 3): Q[k] = q; q = Q[j] + 1.0",
    "for j in range(4): Q[j] = r\nfor j in range(4): F[j] = Q[j] + q",
    "for j in range(3): q = r; r = q + 1.5\nu = q is r; Q[1] = q; m = q",
    "for j in range(3): a = t + 1000; t += 1\nb = a; L[2] = b; u = a is b; m = (a, b)",
    "q = t * 0.5; r = q\nfor j in range(4): q = q + F[j]\nu = q is r; m = r",
    "q = t * 0.5\nfor j in range(4): Q[j] = q; q = q + 0.5\nr = q; m = q",
    "a = t + 1000; b = a\nfor j in range(3): L[j] = a\nu = a is b is L[1]",
    "a = t + 1000; b = a\nfor j in range(3): a = a + j\nu = a is b",
    "a = t + 1000\nfor j in range(3): b = a\nu = a is b; L[3] = b",
    "a = t + 1000\nfor j in range(4): L[j] = a; a = L[j] + 1",
    "b = a\nfor j in range(4): a = a + 300 if j & 1 else a\nu = b is a",
    "for j in range(5): s = j\nm = s; u = s is j",
    "for j in range(4): pass\nt += j",
]
EVENTS = [
    "F[1] = 7",
    "F[2] = 'f'",
    "Q = [1, 2, 3, 4]",
    "Q = F",
    "a = 2**70",
    "q = 3",
    "r = None",
    "L = L[:2] + [9.5, 1]",
    "q = two",
    "z = 1",
    "P.x = 5",
    "P.y = 1",
    "x = float('nan')",
    "t = 2**62",
    "for j in range(4): F[j] = two",
    "R[2] = (1, 2)",
    "H[0] = None",
]
LOOPS = [
    "for i in range({n}):\n    for k in range(8): t += k & a",
    "for i in range({n}):\n    for k in range(7): x = x * 0.5 + k",
    "for i in range({n}):\n    for k in range(8): F[k & 3] += 0.5",
    "for i in range({n}):\n    for k in L: t += 1",
    "for i in range({n}):\n    for k in range(i & 15): t += k",
    "i = 0\nwhile i < {n}:\n    i += 1\n    for k in range(9): c = c + k & 255",
    "for i in range({n}):\n    k = 0\n    while k < 9: k += 1; q = q + 0.5",
    "for i in range({n}):\n    for k in range(9):\n        q = q * 0.5 + k; r = q",
] * 3
