# ruff: noqa: E501 - choices read best in one line
"""Random loop programs for the optimiser, and what can be told of a run of one: see `observe`."""

import random
import re
import sys
import traceback
import types

import forms
import wholes

INTS = ["0", "1", "3", "7", "-1", "-5", "256", "257", "2**30", "-2**45", "2**62", "2**63-1", "-2**63", "2**64"]

PRELUDE = """
from math import sqrt, floor, sin
import math
import random
rng = random.Random(7)
class P:
    limit, rate = 700, 0.25
    def __init__(self, i):
        self.n, self.w, self.o = i, i * 0.5, None
    def add(self, k):
        self.n += k
    def peek(self, k):
        return self.n + k
    def swap(self, other):
        self.w, other.w = other.w, self.w
    def step(self, k):
        self.n = (self.n + k) % 1000
        self.w = self.w * 0.5 + self.n
        if self.n & 3:
            self.w += 1.0
            self.n = self.n + 1
        return self.n
    def trade(self, other):
        self.n, other.n = other.n, self.n
        if self.n > other.n:
            other.n = other.n - 1
        return self.n * 2 + other.n
    def scale(self, k=2, *, by=1):
        self.n = (self.n * k + by) % 10000
        return self.n
    def both(self, other, k):
        self.w = other.w
        other.w = self.w + k
        return self.w
class S:
    __slots__ = ("n", "w")
    def __init__(self, i):
        self.n, self.w = i, i * 0.25
class V(P):
    limit = 70000
    def peek(self, k):
        return self.n - k
def f1(a, b):
    return a * 3 - b
def f2(a, x):
    if a > 5:
        return x + a
    return x
def f3(l, i):
    l[i & 3] = l[(i + 1) & 3]
def f4(l, i, j):
    l[i & 3], l[j & 3] = l[j & 3], l[i & 3]
    l[i & 3] = l[j & 3]
    return l[i & 3]
def f5(l, m, i):
    l[i & 3] = m[(i + 1) & 3]
    m[i & 3] = l[i & 3]
    return len(l) + len(m)
def f6(l, v):
    if len(l) < 40:
        l.append(v)
        l.append(v)
    return len(l)
def f7(d, k, v):
    d[k] = v
    d[k] = d[k] + 1
    return d[k]
def f8(p, l, i):
    p.n = l[i & 3]
    l[i & 3] = p.n + 1
    if l[i & 3] > 500:
        l[i & 3] = 0
    p.n += l[(i + 1) & 3]
    return p.n
def f9(p, q):
    k = p.n
    p.n = 70000
    q.n = k
    q.o = (q.o or 0) + 1
    return p.n
count = 0
def tick(k):
    global count
    count = (count + k) & 1023
    if count > 900:
        count = count - 900
    return count
def deep(p, l, i):
    p.step(i)
    l[i & 3] = tick(p.n)
    return p.step(l[i & 3])
def counter(k):
    def add(v):
        nonlocal k
        k = k + v
        return k
    return add
def times(k):
    def mul(v):
        return v * k
    return mul
def pair(a, b):
    return b, a
def none(a):
    if a & 1:
        return a
"""
PRELUDE += forms.PRELUDE + wholes.PRELUDE

SETUP = [
    "a, b, c, d, x, y, z, u, t, ch = 3, 5, 7, 11, 0.5, 1.25, -3.0, False, 0, 'a'",
    "L = [1, 2, 3, 400, 5, 6, 7, 8]; M = [300, -5, 2**31, 4, 10**12, 0, 1, 2**70]; F = [0.5, -2.0, 3.5, 0.0]; log = []",
    "p, q, s = P(300), V(4), S(1000); Q = [P(1), V(2), P(3), p]; K = [S(9), s, S(400)]; T = ((1, 2.5), (300, -1.0), (7, 0.5))",
    "D = {0: 10, 1: 300, 2: 5, 'a': 1, 'b': 700, 'k': 2.5}; E = {'a': 0, 'b': 1, 'c': 2000, 'd': 3}; A = []; W = 'hello abcabd zz'; Y = b'\\x00abc\\xff'",
    "cnt, mul, fmul = counter(5), times(3), times(0.5); B = {i: i * 300 for i in range(5)}",
    "J, w, h = [1, 2, 700], (0, 0.5), 'abc'",
    "KD, O = g2.__kwdefaults__, 1.5",
    "m, e, Z = None, 500, {1, 300, 5, 'a', 2**40}",
    "G = [True] * 9; N = [None, 5, None, 2.5]; R = [[1, 2, 3, 4], [500, 600, 700, 800], [2.5, 1.5, 0.5, 7.25]]",
]
NAMES = "KD, O, a, b, c, d, x, y, z, u, t, ch, L, M, F, log, p, q, s, Q, K, T, D, E, A, W, G, N, R, B, J, w, h, m, e, len(Z), sorted(Z, key=str), count, cnt(0) * 1"


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.lines, self.indent, self.loops, self.vars, self.floats = [], 0, 0, ["a", "b", "c", "d"], ["x", "y", "z"]

    def put(self, text):
        self.lines.append("    " * self.indent + text)

    def int(self, d=0):
        r, k = self.r, self.r.randrange(36 if d < 3 else 3)
        if k == 0:
            return r.choice(INTS)
        if k in (1, 2):
            return r.choice(self.vars)
        if k < 6:
            return f"({self.int(d + 1)} {r.choice('+-*&|^')} {self.int(d + 1)})"
        if k == 6:
            return f"({self.int(d + 1)} {r.choice(['//', '%'])} {r.choice(['3', '16', '-3', self.int(d + 1)])})"
        if k == 7:
            return f"({self.int(d + 1)} {r.choice(['>>', '<<'])} {r.choice(['1', '7', f'({self.int(d + 1)} & 15)'])})"
        if k == 8:
            return f"L[{r.choice([self.int(d + 1) + ' % len(L)', 'a & 7', '-1', '3', self.int(d + 1)])}]"
        if k == 9:
            return r.choice([f"(-{self.int(d + 1)})", f"(~{self.int(d + 1)})", f"abs({self.int(d + 1)})"])
        if k == 10:
            return f"{r.choice(['min', 'max'])}({self.int(d + 1)}, {self.int(d + 1)})"
        if k == 11:
            return f"({self.int(d + 1)} if {self.cond(d + 1)} else {self.int(d + 1)})"
        if k == 12:
            return r.choice(
                [
                    "len(F)",
                    "len(A)",
                    "len(W)",
                    "len(D)",
                    "len(T)",
                    "int(u)",
                    "int(x * 0.5)",
                    "a ** 2",
                    "round(x)",
                    "round(a)",
                    "divmod(a, 7)[1]",
                    "pow(b, 3)",
                    "math.gcd(a, b)",
                    "math.isqrt(abs(a))",
                    "math.isqrt(c)",
                    "math.trunc(x)",
                    "divmod(a, 2**40)[1]",
                ]
            )
        if k == 13:
            return r.choice(["p.n", "q.n", "s.n", f"Q[{self.int(d + 1)} & 3].n", f"K[{self.int(d + 1)} % 3].n"])
        if k == 14:
            return f"f1({self.int(d + 1)}, {self.int(d + 1)})"
        if k == 15:
            return f"{r.choice(['p', 'q', 'Q[a & 3]'])}.peek({self.int(d + 1)})"
        if k == 16:
            return r.choice(
                ["D[a & 1]", f"D[{self.int(d + 1)} % 3]", "E['c']", "E[ch]", f"E[W[{self.int(d + 1)} & 7]]"]
            )
        if k == 17:
            return f"D.get({r.choice(['a & 3', self.int(d + 1), 'ch'])}, {r.choice(['0', 'b', '1000'])})"
        if k == 18:
            return f"ord({r.choice(['ch', 'W[a % 14]', f'W[{self.int(d + 1)}]'])})"
        if k == 19:
            return r.choice(["Y[a & 3]", f"Y[{self.int(d + 1)}]", "T[1][0]", f"T[{self.int(d + 1)} % 3][0]"])
        if k == 20:
            return f"R[{r.choice(['0', '1', 'a & 1'])}][{r.choice(['b & 3', '2', '-1'])}]"
        if k == 26:
            i, j = (
                r.choice(["a & 3", "-2", "", "1", self.int(d + 1)]),
                r.choice(["", "b & 7", "-1", "5", self.int(d + 1)]),
            )
            whole = r.choice(["L", "L", "M", "J", "W", "T", "F"])
            forms = [f"len({whole}[{i}:{j}])", f"L[{i}:{j}][{r.choice(['0', '-1', 'a & 1'])}]", f"ord(W[{i}:{j}][0])"]
            return r.choice(forms)
        if k == 27:
            return r.choice(["p.limit", "Q[a & 3].limit", "P.limit", "V.limit", "int(q.rate * 4)", "J[-1]", "len(J)"])
        if k == 28:
            return r.choice(
                [
                    f"[{self.int(d + 1)}, b, 5][{r.choice(['0', 'a % 3', '-1'])}]",
                    "[1, 300, 70000][a % 3]",
                    "(J or L).pop()",
                    "J.pop()",
                    f"(a, {self.int(d + 1)})[b & 1]",
                    "len((a, b))",
                ]
            )
        if k == 29:
            o, m = r.choice(["p", "q", "Q[a & 3]"]), r.choice(["p", "q", "Q[b & 3]"])
            return r.choice(
                [
                    f"{o}.step({self.int(d + 1)})",
                    f"{o}.trade({m})",
                    f"f4(L, {self.int(d + 1)}, b)",
                    f"f5({r.choice(['L', 'M', 'J'])}, {r.choice(['L', 'M'])}, {self.int(d + 1)})",
                    f"f6({r.choice(['J', 'A'])}, {self.int(d + 1)})",
                    f"f7({r.choice(['D', 'B'])}, a & 1, {self.int(d + 1)})",
                    f"f8({r.choice([o, 's', 'K[a % 3]'])}, {r.choice(['L', 'R[a & 1]'])}, {self.int(d + 1)})",
                    f"f9({o}, {m})",
                    f"tick({self.int(d + 1)})",
                    f"deep({o}, L, {self.int(d + 1)})",
                    f"int({o}.both({m}, {self.float(d + 1)}) > 1)",
                ]
            )
        if k >= 30:
            return wholes.int(self, k, d)
        if k == 23:
            return f"mul({self.int(d + 1)})"
        if k == 24:
            return f"cnt({r.choice(['1', 'a & 3', self.int(d + 1)])})"
        if k == 25:
            return f"B.get({self.int(d + 1)} & 15, {r.choice(['7', 'a'])})"
        if k == 21:
            return f"pair({self.int(d + 1)}, {self.int(d + 1)})[{r.choice('01')}]"
        return f"({self.int(d + 1)}, {self.int(d + 1)}, 5)[{r.choice(['0', '1', '-1'])}]"

    def float(self, d=0):
        r, k = self.r, self.r.randrange(18 if d < 3 else 3)
        if k == 0:
            return r.choice(["0.0", "1.5", "-2.25", "1e300", "-0.0", "1e-9"])
        if k in (1, 2):
            return r.choice(self.floats)
        if k < 5:
            return f"({self.float(d + 1)} {r.choice('+-*/')} {self.float(d + 1)})"
        if k == 5:
            return f"({self.float(d + 1)} {r.choice(['+', '-', '*', '%', '//'])} {self.int(d + 1)})"
        if k == 6:
            return f"F[{self.int(d + 1)} & 3]"
        if k == 7:
            if r.random() < 0.5:
                name = r.choice(
                    "asin acos sinh cosh tanh asinh acosh atanh log2 log10 log1p expm1 exp2 cbrt erf erfc gamma lgamma degrees radians fabs tan atan exp log".split()
                )
                pair = f"math.{r.choice(['pow', 'hypot', 'fmod', 'copysign', 'atan2'])}({self.float(d + 1)}, {self.float(d + 1)})"
                return r.choice(
                    [pair, f"math.{name}({r.choice([self.float(d + 1), self.int(d + 1), 'x % 1.0', 'abs(y)'])})"]
                )
            roots = [f"sqrt(abs({self.float(d + 1)}))", f"sqrt({self.float(d + 1)})", f"float({self.int(d + 1)})"]
            return r.choice([*roots, f"sin({self.float(d + 1)})", f"float(floor({self.float(d + 1)}))"])
        if k == 8:
            return f"({self.int(d + 1)} / {r.choice(['3', self.int(d + 1)])})"
        if k == 9:
            return r.choice(["p.w", "q.w", "s.w", "Q[a & 3].w", "K[b % 3].w", "T[a % 3][1]", "R[2][b & 3]"])
        if k == 10:
            return f"f2({self.int(d + 1)}, {self.float(d + 1)})"
        if k == 11:
            return f"{r.choice(['min', 'max'])}({self.float(d + 1)}, {r.choice([self.float(d + 1), self.int(d + 1)])})"
        if k == 14:
            return f"fmul({r.choice([self.int(d + 1), self.float(d + 1)])})"
        if k >= 15:
            return wholes.float(self, k, d)
        if k == 12:
            return "rng.random()"
        return f"(abs({self.float(d + 1)}) ** {r.choice(['0.5', '2.0', '1.5'])})"

    def cond(self, d=0):
        op = self.r.choice(["<", "<=", "==", "!=", ">", ">="])
        kind = self.r.randrange(10)
        if kind == 0:
            return f"{self.float(d + 1)} {op} {self.float(d + 1)}"
        if kind == 1:
            return f"{self.int(d + 1)} {op} {self.float(d + 1)}"
        if kind == 2:
            return f"not {self.int(d + 1)}"
        if kind == 3:
            return self.r.choice([f"ch {op} 'b'", "ch == W[a % 14]", "W[b & 7] != ch", f"ch {op} W[2]"])
        if kind == 4:
            return self.r.choice(
                [
                    "ch in E",
                    "(a & 3) in D",
                    "W[a & 7] not in E",
                    "'zz' in D",
                    "a & 7 in (1, 300, 5)",
                    "b not in (3, 5)",
                    "a & 15 in B",
                    "a & 15 in Z",
                    "ch not in Z",
                    "a & 7 in {1, 5, 300, 'x'}",
                    "ch in {'a', 'b', 'z'}",
                    "m is None",
                    "isinstance(m, int)",
                    "isinstance(m, (float, str, P))",
                    "isinstance(Q[a & 3], V)",
                    "Y < b'abd'",
                    "math.isfinite(x)",
                    "math.isnan(y) or math.isinf(y)",
                ]
            )
        if kind == 5:
            return self.r.choice(
                ["N[a & 3] is None", "N[b & 3] is not None", "none(a) is None", "u", "not u", "p is Q[a & 3]"]
            )
        if kind == 6:
            return self.r.choice(["G[a & 7]", "not G[b & 7]", "L", "A", "ch", "Q[a & 3] is p"])
        return f"{self.int(d + 1)} {op} {self.int(d + 1)}"

    def statement(self, d):
        r, k = self.r, self.r.randrange(34)
        if k < 4:
            self.put(f"{r.choice('abcd')} = ({self.int()}) % {r.choice(['97', '65536', '2**62', '2**66'])}")
        elif k < 6:
            self.put(f"{r.choice('xyz')} = {self.float()}")
        elif k == 6:
            swaps = ["a, b = b, a", "x, y = y, x", "L, M = M, L", "c = d = a", "x = F[a & 3]", "y = x", "u = a < b"]
            swaps += [
                "a, b = pair(a, b)",
                "x, y, z = z, x, y",
                "c = b",
                "b = c",
                "d = c = b",
                "z = y = x",
                "w = (a, b); a, c = w",
            ]
            self.put(r.choice(swaps))
        elif k == 7:
            self.put(f"L[{self.int(2)} & 7] = {self.int(2)} % 2**40")
        elif k == 8 and d < 3:
            self.put(f"if {self.cond()}:")
            self.block(d + 1)
            self.put("else:")
            self.block(d + 1)
        elif k == 9 and d < 3:
            self.loop(d)
        elif k == 10:
            self.put(f"if {self.cond(2)}: {r.choice(['break', 'continue'])}")
        elif k == 11:
            self.put(f"if t % 7 == 3: log.append({r.choice(['a', 'x', 'L', 'p', 'ch', '(a, x)', 'b', 'y'])})")
        elif k == 12:
            self.put(
                f"L[{r.choice(['a & 7', 'b & 7', '-2', '3'])}] {r.choice(['+=', '-=', '^='])} {r.choice(['1', 'b', self.int(2)])}"
            )
        elif k == 13:
            self.put(f"F[{r.choice(['a & 3', 'b & 3', '0', '-1'])}] {r.choice(['+=', '-=', '='])} {self.float(2)}")
        elif k == 14:
            i, j = r.choice(["a & 3", "b & 3", "1"]), r.choice(["c & 3", "(a & 3) + 1", "2"])
            name = r.choice("LFM")
            self.put(f"{name}[{i}], {name}[{j} & 3] = {name}[{j} & 3], {name}[{i}]")
        elif k == 15:
            o = r.choice(["p", "q", "s", "Q[a & 3]", "K[b % 3]"])
            self.put(
                r.choice(
                    [
                        f"{o}.n {r.choice(['+=', '='])} {self.int(2)}",
                        f"{o}.w {r.choice(['*=', '=', '+='])} {self.float(2)}",
                    ]
                )
            )
        elif k == 16:
            self.put(
                r.choice(
                    [
                        "p.add(a)",
                        "p.step(a); q.step(b)",
                        "x = p.both(Q[a & 3], y)",
                        "a = p.trade(Q[b & 3])",
                        "f4(F, a, b); f4(L, b, a)",
                        "f5(L, L, a)",
                        "f6(A, x); f6(J, a)",
                        "b = deep(Q[a & 3], L, a)",
                        "f9(p, p); f9(p, Q[a & 3])",
                        "Q[b & 3].add(1)",
                        "p.swap(q)",
                        "Q[a & 3].swap(p)",
                        "f3(L, a)",
                        "f3(F, b)",
                        "p.add(a); p.add(b)",
                    ]
                )
            )
        elif k == 17:
            self.put(
                r.choice(
                    [
                        "D[a & 1] = b",
                        "D[1] += a",
                        "E[ch] = a",
                        "E['a'] += 1",
                        "D['k'] = x",
                        "E[W[a & 7]] = t",
                        "D[a & 7] = a",
                        "B[a & 15] = b",
                        "if B: B[next(iter(B))] = a",
                        "if len(B) > 3: del B[next(iter(B))]",
                    ]
                )
            )
        elif k == 18:
            self.put(
                r.choice(
                    [
                        "ch = W[a % 14]",
                        "ch = 'c'",
                        "ch = chr(97 + (a & 3))",
                        "ch = W[b & 7]",
                        f"ch = chr({self.int(2)} & 127)",
                    ]
                )
            )
        elif k == 19:
            self.put(
                f"if len(A) < 40: A.append({r.choice(['a', 'x', self.int(2), self.float(2), 'ch', 'L', 'None', 'u'])})"
            )
        elif k == 20:
            self.put(
                r.choice(["A = [v * 2 for v in L]", "A = [v + 0.5 for v in F]", "b = len([1 for v in L if v > a])"])
            )
        elif k == 21:
            self.put(
                r.choice(
                    [
                        "N[a & 3] = None",
                        "N[b & 3] = a",
                        "N[a & 3] = x",
                        "G[a & 7] = a > b",
                        "G[b & 7] = True",
                        "R[a & 1][b & 3] = c",
                    ]
                )
            )
        elif k == 22:
            self.put(
                r.choice(
                    [
                        "a, b = b, (a + b) % 1000",
                        "x, y = y, x + 1.0",
                        "c, d = T[a % 3][0], d",
                        "a = L[0]; b = a",
                        "x = F[1]; F[1] = y; F[2] = x",
                    ]
                )
            )
        elif k == 28:
            i, j = r.choice(["a & 3", "-3", "", "1", self.int(2)]), r.choice(["", "b & 7", "-1", "5", self.int(2)])
            self.put(
                r.choice(
                    [
                        f"J = L[{i}:{j}]",
                        f"J = {r.choice(['J', 'M', 'L'])}[{i}:{j}]",
                        f"h = W[{i}:{j}]",
                        f"h = {r.choice(['h', 'W'])}[{i}:{j}]",
                        f"A = {r.choice(['F', 'N', 'K', 'Q', 'T'])}[{i}:{j}]",
                        f"for ch in W[{i}:{j}]: t += 1",
                        f"for w in T[{i}:{j}]: t += 1",
                        f"for b in L[{i}:{j}]: a ^= b",
                    ]
                )
            )
        elif k == 29:
            self.put(
                r.choice(
                    [
                        f"J = [{self.int(2)}, a, b]",
                        "J = [a, a, 300]; J[0] += 1",
                        "m = None",
                        "m = a",
                        "m = x",
                        "m = Q[a & 3]",
                        "m = N[b & 3]",
                        "m = (a, b)",
                        "m = ch",
                        "m = a if a & 1 else None",
                        "if isinstance(m, int): a ^= m",
                        "if len(A) < 40: A.append(m)",
                        "for m in [1, 2.5, None, 'x', 7]: t += 1",
                        "for o in Q: t += o.peek(a) & 3",
                        "Z.add(a & 63)",
                        "Z.add(ch)",
                        "Z.add(b)",
                        "J = [5, 6, 700]",
                        "J = []",
                        f"if len(J) < 30: J.append({self.int(2)})",
                        "w = (a, x)",
                        "w = (b, w[1] + 1.0); a = w[0]",
                        "w = c, y; A.append(w)",
                        "w = (a, a); A = [w, w]",
                        f"if len(A) < 40: A.append({r.choice(['(a, x)', '[a, b]', '(p, a)', 'w', 'J', '[x]', '(ch, h)'])})",
                        "if A: A.pop()",
                        "if len(A) > 2: A.append(A.pop())",
                        "R.append(R.pop())",
                        "Q.append(Q.pop())",
                        "R[a & 1] = [a, b, c, d]",
                        "R[a & 1] = L[:4]",
                        "J = [v & 7 for v in J]",
                    ]
                )
            )
        elif k >= 30:
            self.put(wholes.statement(self, k))
        elif k == 26:
            o, f = r.choice(["q", "s", "K[0]", "Q[0]"]), r.choice("nw")
            self.put(r.choice([f"if t % 13 == 5: del {o}.{f}", f"if t % 7 == 2: {o}.{f} = None", f"{o}.n = {o}.n + 1"]))
        elif k == 23 and r.random() < 0.3:
            self.put("try:")
            self.block(d + 2)
            self.put(f"except {r.choice(['ZeroDivisionError', 'Exception', 'IndexError'])}: t += 2")
        elif k in (24, 25):
            self.put(forms.moves(r))
        elif k == 27:
            self.put(r.choice(forms.SINGLE))
        else:
            self.put("t += 1")

    def block(self, d):
        self.indent += 1
        for _ in range(self.r.randrange(1, 4)):
            self.statement(d)
        self.indent -= 1

    def loop(self, d):
        r = self.r
        self.loops += 1
        v, n = f"i{self.loops}", r.choice([3, 9, 30]) if d else r.choice([30, 60])
        name, kind = v, "int"
        k = r.random()
        if k < 0.35:
            ranges = [
                f"range({n})",
                f"range(1, {n}, 2)",
                f"range({n}, 0, -1)",
                f"range(a & 15, {n})",
                f"range(0, {n}, 1 + (b & 3))",
            ]
            self.put(f"for {v} in {r.choice([*ranges, 'L', 'M', 'list(L)', 'tuple(L)'])}:")
        elif k < 0.55:
            forms = [
                (f"for {v}, e{v} in enumerate({r.choice(['L', 'list(M)', 'R[1]'])}):", "int"),
                (f"for {v}, e{v} in zip(L, M):", "int"),
                (f"for {v}, e{v} in zip(L, {r.choice(['F', 'R[2]'])}):", "float"),
                (f"for {v}, e{v} in T:", "float"),
                (f"for {v}, e{v} in enumerate(F):", "float"),
                (f"for {v}, e{v} in B.items():", "int"),
                (f"for {v}, e{v} in list(zip(B, B.values())):", "int"),
                (f"for ch, e{v} in E.items():", None),
                (f"for e{v} in {r.choice(['E', 'B', 'dict(B)'])}.values():", None),
                (
                    f"for {v} in {r.choice(['B', 'B.keys()', 'reversed(L)', 'set(L)', 'reversed(range(30))', '{1, 2, 300}'])}:",
                    "only",
                ),
                (
                    f"for {v}, e{v} in enumerate({r.choice(['B', 'B.values()', 'range(a & 7, 40)', 'tuple(L)', 'set(M)'])}, a):",
                    "int",
                ),
                (
                    f"for {v}, e{v} in zip(range(a & 7, {n}), {r.choice(['L', 'tuple(M)', 'range(0, 200, 7)', 'B', 'L * 5'])}):",
                    "int",
                ),
                (f"for {v}, (e{v}, ch) in enumerate(zip({r.choice(['L', 'range(20)'])}, W)):", "int"),
                (f"for {v}, e{v}, ch in zip(L * 4, M * 4, W * 2):", "int"),
            ]
            text, kind = r.choice(forms)
            name = f"e{v}"
            if kind is None:
                v = None
            elif kind == "only":
                name = v
            self.put(text)
        elif k < 0.65:
            self.put(f"for {r.choice(['ch', 'ch'])} in {r.choice(['W', 'list(W)'])}:")
            v = name = None
        elif k < 0.75:
            self.put(f"for o{v} in {r.choice(['Q', 'K', 'list(Q)'])}:")
            v, name = None, f"o{v}.n"
            self.vars.append(name)
            self.block(d + 1)
            self.vars.remove(name)
            return
        else:
            self.put(f"{v} = 0")
            self.put(f"while {v} < {n}:")
            self.indent += 1
            self.put(f"{v} += 1")
            self.indent -= 1
        if v:
            self.vars.append(v)
        extra = self.floats if kind == "float" else self.vars
        if name and name != v:
            extra.append(name)
        self.block(d + 1)
        if v:
            self.vars.remove(v)
        if name and name != v:
            extra.remove(name)

    def plain_loop(self):
        """A loop whose statements each do one thing."""
        self.loops += 1
        self.put(f"for i{self.loops} in range({self.r.choice([30, 60, 90])}):")
        self.indent += 1
        for _ in range(self.r.randrange(2, 6)):
            text = forms.moves(self.r) if self.r.random() < 0.35 else self.r.choice(forms.SINGLE)
            if self.r.random() < 0.2:
                self.put(f"if {self.cond(2)}:")
                text = "    " + text
            self.put(text)
        self.put("t += 1")
        self.indent -= 1

    def program(self):
        module = self.r.random() < 0.5
        self.indent = 0 if module else 1
        for line in SETUP:
            self.put(line)
        for _ in range(self.r.randrange(1, 4)):
            if self.r.random() < 0.4:
                self.plain_loop()
            else:
                self.loop(0)
        end = f"OUT = ({NAMES})"
        if module:
            return PRELUDE + "\n".join([*self.lines, end]) + "\n"
        self.put(end)
        return PRELUDE + "def run():\n    global OUT\n" + "\n".join(self.lines) + "\nrun()\n"


def constants(code, found):
    """Adds the constants of a code object and of those inside it to ``found``, by their address."""
    for value in code.co_consts:
        if hasattr(value, "co_consts"):
            constants(value, found)
        else:
            found[id(value)] = value
            if isinstance(value, tuple):
                found.update((id(v), v) for v in value)
    return found


def picture(root, known):
    """Everything reachable from ``root`` as text: values, who is who (numbers too), and reference counts.

    ``known`` are constants of the program, which an optimiser may hold on to: their counts say nothing.
    """
    names, out, todo = {}, [], [root]
    seen = []
    while todo:
        value = todo.pop()
        if id(value) in names:
            out.append(f"#{names[id(value)]}")
            continue
        small = isinstance(value, int) and -5 <= value <= 256
        if value is None or isinstance(value, (bool, str, bytes, type)) or small:
            # A text that an object was made into may name its address.
            out.append(re.sub(r" at 0x[0-9a-f]+", " at", repr(value)))
            continue
        names[id(value)] = len(names)
        seen.append(value)
        if isinstance(value, (list, tuple)):
            out.append(f"{type(value).__name__}{len(value)}")
            todo.extend(reversed(value))
        elif isinstance(value, dict):
            out.append(f"dict{len(value)}")
            for k, v in reversed(list(value.items())):
                todo += [v, k]
        elif isinstance(value, (int, float)):
            # CPython refuses to write an integer of thousands of digits in tens.
            long = isinstance(value, int) and value.bit_length() > 10_000
            out.append(hex(value) if long else repr(value))
        else:
            fields = ("n", "w", "o") if hasattr(value, "__dict__") else ("n", "w")
            out.append(type(value).__name__)
            todo.extend(getattr(value, f, None) for f in reversed(fields))
        del value
    counts = []
    while seen:
        value = seen.pop()
        if id(value) not in known:
            counts.append(sys.getrefcount(value))
    return " ".join(out), counts


def observe(text, times=1):
    """Runs a program; for each run: the exception with its lines, and a picture of all it left behind."""
    code = compile(text, "fuzz", "exec")
    known = constants(code, {})
    found = []
    for _ in range(times):
        space, failure = {"__name__": "fuzz"}, None
        try:
            exec(code, space)
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "fuzz"]
            failure = (type(error).__name__, str(error), lines)
            error.__traceback__ = None
        for name in ("__builtins__", "__name__", "rng", "random", "math", "P", "S", "V"):
            space.pop(name, None)
        for value in space.values():
            if isinstance(value, types.FunctionType):
                # An optimiser may hold on to a function, but what it has by default is not to be counted for that.
                value.__defaults__ = value.__kwdefaults__ = None
        value = None
        left = {k: v for k, v in space.items() if not callable(v)}
        space.clear()
        order = sorted(left)
        found.append((failure, order, picture([left[k] for k in order], known)))
        left.clear()
    return found
