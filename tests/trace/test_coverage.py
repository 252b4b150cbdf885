"""What docs/trace.md says is compiled: for every item a small program that ends as plain, and ran natively meanwhile.

Each program defines ``run(n)``; the share is of the iterations its loops made, all loops of the program together.
"""

import math
import sys
import textwrap

import pytest

import larder
import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

N = 4000

CLASSES = """
class P:
    limit = 7
    def __init__(self, i):
        self.n, self.w = i, i * 0.5
        self.items = []
    def peek(self, k):
        return self.n + k
    def step(self, k):
        self.n += k
        self.w *= 0.5
        if self.n > 1000:
            self.n = 0
            self.w = self.w + 1.0
        return self.n
    def push(self, k):
        self.items.append(k)
        if len(self.items) > 50:
            self.items = []
        self.n += 1
class S:
    __slots__ = ("n", "w")
    def __init__(self, i):
        self.n, self.w = i, i * 0.5
class V(P):
    def peek(self, k):
        return self.n - k
"""

PROGRAMS = {
    "locals": """
        def run(n):
            a, b = 1, 2
            for i in range(n):
                a, b = b, a + b & 1023
            return a, b
        """,
    "globals": """
        g = 3
        def run(n):
            global g
            for i in range(n):
                g = (g * 5 + i) % 1000
            return g
        """,
    "builtins": """
        def run(n):
            t = 0
            for i in range(n):
                t += len("abc") + abs(-i)
            return t
        """,
    "cell-level names": """
        t, u = 0, 0.5
        for i in range(4000):
            t = (t + i) & 4095
            u = u * 0.5 + t
        def run(n):
            return t, u
        """,
    "cells of closures": """
        def run(n):
            k = 0
            def add(v):
                nonlocal k
                k = k + v
                return k
            t = 0
            for i in range(n):
                t ^= add(i)
            return t, k
        """,
    "int": """
        def run(n):
            t = 1
            for i in range(n):
                t = (t * 31 + i ^ t >> 3) & 0xffffff
                t -= i // 7 + i % 5
            return t
        """,
    "int to big": """
        def run(n):
            t, big = 1, 0
            for i in range(n):
                t = t + i
                if i % 500 == 499:
                    big = big + (t << 70)
            return t, big
        """,
    "float": """
        def run(n):
            x = 0.5
            for i in range(n):
                x = x * 0.999 + i / 3 - x % 2.0
            return x
        """,
    "bool": """
        def run(n):
            t, u = 0, False
            for i in range(n):
                u = (i & 1 == 0) != u
                t += u
            return t, u
        """,
    "None": """
        def run(n):
            t, last = 0, None
            for i in range(n):
                if last is None:
                    t += 1
                last = i if i & 3 else None
            return t, last
        """,
    "str index": """
        def run(n):
            s, t = "hello world", 0
            for i in range(n):
                t += s[i % 11] == "o"
                t += s[i % 7] < "m"
            return t
        """,
    "bytes index": """
        def run(n):
            s, t = bytes(range(256)), 0
            for i in range(n):
                t += s[i & 255] + s[-1]
            return t
        """,
    "bytes compare": """
        def run(n):
            words, t = [b"abc", b"abd", b"ab", b""], 0
            for i in range(n):
                t += words[i & 3] == b"abc"
                t += words[i & 3] < words[i + 1 & 3]
            return t
        """,
    "str compare": """
        def run(n):
            words, t = ["abc", "abd", "ab", "zz"], 0
            for i in range(n):
                t += words[i & 3] == "abc"
                t += words[i & 3] >= words[i + 1 & 3]
            return t
        """,
    "tuple": """
        def run(n):
            p, t = (1, 2.5, 300), 0
            for i in range(n):
                t += p[0] + p[1] + p[i % 3]
            return t
        """,
    "tuple kept": """
        def run(n):
            p, out = (0, 0.5), []
            for i in range(n):
                q = (i, p[1] * 0.5)
                if i % 100 == 0:
                    out.append(q)
                p = q
            return p, out
        """,
    "tuples appended": """
        def run(n):
            out = []
            for i in range(n):
                out.append((i, i * 0.5))
            return out
        """,
    "list": """
        def run(n):
            a = list(range(64))
            for i in range(n):
                a[i & 63] = a[i * 7 & 63] + 1
            return a
        """,
    "list append": """
        def run(n):
            a = []
            for i in range(n):
                a.append(i * 3)
            return a
        """,
    "list pop": """
        def run(n):
            a, t = list(range(n)), 0
            while a:
                t = (t * 3 + a.pop()) & 0xffff
            return t
        """,
    "stack of tuples": """
        def run(n):
            stack, t = [(0, 0)], 0
            for i in range(n):
                x, y = stack.pop()
                t += x * y
                stack.append((x + 1, y + 2))
                if i & 7 == 0:
                    stack.append((i, 1))
            return t, stack[:5], len(stack)
        """,
    "list display": """
        def run(n):
            t = 0
            for i in range(n):
                p = [i, i + 1, 0.5]
                p[0] += 5
                t += p[0] * p[2] + len(p)
            return t, p
        """,
    "list of lists made": """
        def run(n):
            rows = []
            for i in range(n):
                rows.append([i, i * 0.5])
                rows[i // 2][0] += 1
            return rows
        """,
    "dict": """
        def run(n):
            d, e = {0: 1, 1: 300, 2: 5}, {"a": 1, "b": 2.5}
            for i in range(n):
                d[i % 3] = d[(i + 1) % 3] + 1
                e["a"] = e["a"] + i
                if i % 5 in d:
                    d[0] += 1
            return d, e
        """,
    "dict new keys": """
        def run(n):
            d = {}
            for i in range(n):
                d[i * 7 % 1000] = d.get(i * 7 % 1000, 0) + 1
            return d
        """,
    "dict keys iterated": """
        def run(n):
            d, t = {i: i * 3 for i in range(n)}, 0
            for k in d:
                t ^= k * 5
            for k in d.keys():
                t += k
            return t
        """,
    "dict values iterated": """
        def run(n):
            d, t = {str(i): i * 300 for i in range(n)}, 0
            for v in d.values():
                t += v
            return t
        """,
    "dict items iterated": """
        def run(n):
            d, t = {str(i): i * 0.5 for i in range(n)}, 0
            for k, v in d.items():
                t += v
                if k > "5":
                    t -= 1.0
            for k, v in d.items():
                d[k] = v + 1.0
            return t, d
        """,
    "range": """
        def run(n):
            t = 0
            for i in range(2 * n, n, -1):
                t += i
            for i in range(5, n, 3):
                t ^= i
            return t
        """,
    "enumerate a list": """
        def run(n):
            t = 0
            for i, x in enumerate(list(range(n)), 5):
                t += i * x
            return t
        """,
    "enumerate others": """
        def run(n):
            t = 0
            for i, x in enumerate(range(0, 3 * n, 3)):
                t += i * x
            for i, x in enumerate(tuple(range(n))):
                t ^= i * x
            for i, x in enumerate("abcd" * (n // 4)):
                t += i if x == "c" else 1
            for i, x in enumerate({k: 1 for k in range(n)}):
                t += i - x
            return t
        """,
    "zip lists": """
        def run(n):
            a, b, t = list(range(n)), [0.5] * n, 0
            for x, y in zip(a, b):
                t += x * y
            return t
        """,
    "zip mixed": """
        def run(n):
            a, t = list(range(n)), 0
            for x, y in zip(range(n), a):
                t += x * y
            for x, y, z in zip(a, tuple(a), "ab" * n):
                t += x ^ y if z == "a" else 1
            for x, y in zip(tuple(a), range(7, 7 + 2 * n, 2)):
                t += x & y
            return t
        """,
    "enumerate of zip": """
        def run(n):
            a, t = list(range(n)), 0
            for i, (x, y) in enumerate(zip(a, range(n))):
                t += i * x - y
            return t
        """,
    "list iterated": """
        def run(n):
            t = 0
            for x in [1, 2.5, 300] * (n // 3):
                t += x
            return t
        """,
    "tuple iterated": """
        def run(n):
            t = 0
            for x in (1, 2, 300) * (n // 3):
                t += x
            return t
        """,
    "str iterated": """
        def run(n):
            t = 0
            for c in "hello" * (n // 5):
                if c == "l":
                    t += 1
            return t
        """,
    "reversed": """
        def run(n):
            t = 0
            for x in reversed(list(range(n))):
                t = (t * 3 + x) & 0xffff
            for x in reversed(range(n)):
                t = (t * 3 + x) & 0xffff
            return t
        """,
    "while": """
        def run(n):
            i = t = 0
            while i < n:
                i += 1
                if i % 3 == 0:
                    continue
                t += i
            return t
        """,
    "unpacking": """
        def run(n):
            rows, t = [(1, 2.5, 300), (4, 5.5, 600)], 0
            for i in range(n):
                a, b, c = rows[i & 1]
                x, y = [i, c]
                t += a * b + c + x - y
            return t
        """,
    "slices of lists": """
        def run(n):
            a, t = list(range(100)), 0
            for i in range(n):
                s = a[i % 90:i % 90 + 5]
                t += s[0] + s[-1] + len(s)
            return t, s
        """,
    "slices open and negative": """
        def run(n):
            a, t = list(range(20)), 0
            for i in range(n):
                t += len(a[i % 30:]) + len(a[:-3]) + a[-5:-1][i & 3] + len(a[:]) + len(a[5:2])
                for x in a[17:]:
                    t += x
            return t
        """,
    "slices of str and tuple": """
        def run(n):
            s, p, t = "hello world", (1, 2, 3, 4, 5), 0
            for i in range(n):
                t += s[i % 7:i % 7 + 2] == "lo"
                t += len(p[i & 3:])
            return t
        """,
    "slices with constant bounds": """
        def run(n):
            a, s, p, t = list(range(20)), "hello world", (1, 2, 3, 4, 5), 0
            for i in range(n):
                a[2:4] = [i, i + 1]
                t += a[1:5][1] + a[-1:][0] + len(s[2:]) + p[:3][2]
            return t, a
        """,
    "slice stores": """
        def run(n):
            a, t = [0] * 16, 0
            for i in range(n):
                a[i & 7:(i & 7) + 2] = [i, i + 1]
                t += a[3]
            return t, a
        """,
    "len abs min max": """
        def run(n):
            a, t = [3, 1, 2], 0
            for i in range(n):
                t += len(a) + abs(5 - i) + min(i, 7, 2.5) + max(i, 0.5)
            return t
        """,
    "min max sum of lists": """
        def run(n):
            a, f, t = [3, 1, 2], [0.5, 2.5], 0
            for i in range(n):
                a[i % 3] = i
                t += min(a) + max(a) + max(f) + sum(a) + sum(f)
            return t
        """,
    "min max sum of others": """
        def run(n):
            p, w, x, t = (3, 1, 2), ["b", "a", "c"], 0.5, 0
            for i in range(n):
                x = max((x, i % 7, 0.25)) * 0.5
                t += min(p) + max(p) + sum(p) + len(max(w)) + sum((i, 0.5)) + sum(range(i & 15)) + sum([1.5, i, x])
            return t, x
        """,
    "int float ord chr": """
        def run(n):
            t = 0
            for i in range(n):
                t += int(i * 0.7) + float(i) + ord(chr(60 + i % 60)) + round(i * 0.3)
            return t
        """,
    "divmod pow": """
        def run(n):
            t = 0
            for i in range(n):
                q, r = divmod(i, 7)
                t += q * r + pow(r, 2) + i ** 2
            return t
        """,
    "isinstance": """
        def run(n):
            t, a = 0, [1, 2.5, "x", None]
            for i in range(n):
                x = a[i & 3]
                if isinstance(x, int):
                    t += x
                elif isinstance(x, (float, str)):
                    t += 2
            return t
        """,
    "dict get": """
        def run(n):
            d, t = {"a": 1, "b": 2}, 0
            for i in range(n):
                t += d.get("abcd"[i & 3], 7)
            return t
        """,
    "attributes": CLASSES
    + """
        def run(n):
            p, q, t = P(1), V(2), 0
            for i in range(n):
                p.n = p.n + i & 1023
                q.w += p.n * 0.5
                t += q.n
            return p.n, q.w, t
        """,
    "slots": CLASSES
    + """
        def run(n):
            p, t = S(1), 0
            for i in range(n):
                p.n = p.n + i & 1023
                p.w += p.n * 0.5
            return p.n, p.w
        """,
    "class attributes": CLASSES
    + """
        def run(n):
            p, t = P(1), 0
            for i in range(n):
                t += p.limit + P.limit
            return t
        """,
    "functions inlined": """
        def f(a, b):
            if a > b:
                return a - b
            return b * 2
        def run(n):
            t = 0
            for i in range(n):
                t += f(i, 100)
            return t
        """,
    "default and keyword arguments": """
        def f(a, b=3, *, c=5):
            return a * b + c
        def run(n):
            t = 0
            for i in range(n):
                t += f(i) + f(i, 2) + f(i, b=i) + f(b=1, a=i, c=2)
            return t
        """,
    "defaults of methods and closures": """
        class C:
            def __init__(self):
                self.n = 1
            def scale(self, k=2, *, by=1, label="c"):
                self.n = (self.n * k + by) % 1000
                return self.n + len(label)
        def make(k):
            def add(v, w=300, *, x=0.5):
                return v + w * x + k
            return add
        def pick(a, /, other=None):
            return a if other is None else other
        def run(n):
            c, add, t = C(), make(3), 0
            for i in range(n):
                t += c.scale() + c.scale(3) + c.scale(by=i) + c.scale(5, label="label")
                t += add(i) + add(i, x=2.0) + pick(i) + pick(i, 5)
            return t
        """,
    "methods inlined": CLASSES
    + """
        def run(n):
            p, t = [P(1), V(2)], 0
            for i in range(n):
                t += p[i & 1].peek(i)
            return t
        """,
    "functions that write, then go on": CLASSES
    + """
        def run(n):
            p, t = P(1), 0
            for i in range(n):
                t += p.step(i & 7)
            return t, p.n, p.w
        """,
    "functions that append, then go on": CLASSES
    + """
        def run(n):
            p = P(1)
            for i in range(n):
                p.push(i)
            return p.n, p.items
        """,
    "functions that swap": """
        def swap(a, i, j):
            a[i], a[j] = a[j], a[i]
            if a[i] > a[j]:
                a[i] -= 1
            return a[i]
        def run(n):
            a, t = list(range(16)), 0
            for i in range(n):
                t += swap(a, i & 15, i * 7 & 15)
            return a, t
        """,
    "functions that set globals": """
        count = 0
        def tick(k):
            global count
            count += k
            if count > 100:
                count = 0
            return count
        def run(n):
            global count
            count = t = 0
            for i in range(n):
                t += tick(i & 3)
            return t, count
        """,
    "nested loops": """
        def run(n):
            t = 0
            for i in range(n // 20):
                for j in range(20):
                    t += i * j
                t ^= 3
            return t
        """,
    "nested loops over lists": """
        def run(n):
            rows, t = [[1, 2, 3], [4, 5, 6], [7, 8, 9]], 0
            for i in range(n // 9):
                for row in rows:
                    for x in row:
                        t += x * i
            return t
        """,
    "nested loops over dicts": """
        def run(n):
            rows, t = [{"a": 1, "b": 2}, {"c": 3, "d": 4}], 0
            for i in range(n // 4):
                for row in rows:
                    for k, v in row.items():
                        t += v * i
            return t
        """,
    "comprehensions": """
        def run(n):
            a = [i * 2 for i in range(n)]
            b = [x + 0.5 for x in a if x & 4]
            return a, b
        """,
    "comprehensions in a loop": """
        def run(n):
            t = 0
            for i in range(n // 10):
                a = [x * i for x in range(10)]
                t += a[3]
            return t
        """,
    "sets": """
        def run(n):
            s, names, t = set(), {"a", "b"}, 0
            for i in range(n):
                if i * 7 % 50 in s:
                    t += 1
                s.add(i % 40)
                if "abcd"[i & 3] in names:
                    t += 2
                if i & 7 in {1, 3, 5}:
                    t += 4
            return t, sorted(s)
        """,
    "loops with try": """
        def run(n):
            a, t = [1, 2, 3], 0
            for i in range(n):
                try:
                    t += a[i % 3]
                    if i % 1000 == 999:
                        t += a[7]
                except IndexError:
                    t += 100
            return t
        """,
    "random": """
        import random
        def run(n):
            rng, t = random.Random(5), 0.0
            f = rng.random
            for i in range(n):
                t += f()
            return t
        """,
    "f-strings": """
        def run(n):
            t = 0
            for i in range(n):
                s = f"{i}:{i & 3}"
                t += len(s)
            return t, s
        """,
    "formats": """
        def run(n):
            x, name, t, rows = 0.5, "spam", 0, []
            for i in range(n):
                x = x * 0.999 + i
                s = f"{i:>6}|{x:.2f}|{name}|{name!r:>8}|{i & 1 == 0}|{None}"
                t += len(s) + len(str(i)) + len(repr(x)) + len(format(i, "x")) + len(str(name))
                if i % 100 == 0:
                    rows.append(s)
            return t, s, rows
        """,
}

MATH = {
    "sqrt": "i", "sin": "i", "cos": "i", "tan": "i", "atan": "i", "atan2": "i, 3.0", "exp": "i / n", "log": "i + 1",
    "floor": "i / 3", "ceil": "i / 3", "fabs": "-x", "asin": "x", "acos": "x", "sinh": "x", "cosh": "x", "tanh": "x",
    "asinh": "x", "acosh": "1 + x", "atanh": "x * 0.5", "log2": "i + 1", "log10": "i + 1", "log1p": "x", "expm1": "x",
    "exp2": "x", "cbrt": "x", "pow": "x, 1.5", "hypot": "x, 2.0", "fmod": "i, 7.5", "degrees": "x", "radians": "i",
    "copysign": "x, -1.0", "isnan": "x", "isinf": "x", "isfinite": "x", "trunc": "i / 3", "gcd": "i, 12", "isqrt": "i",
    "erf": "x", "erfc": "x", "gamma": "x + 1", "lgamma": "x + 1",
}  # fmt: skip
for _name, _args in MATH.items():
    if _args:
        PROGRAMS[f"math.{_name}"] = f"""
        import math
        def run(n):
            t = 0
            for i in range(n):
                x = (i % 1000) / 1001
                t += math.{_name}({_args})
            return t
        """


def program(name):
    classes, text = CLASSES, PROGRAMS[name]
    if text.startswith(classes):
        return classes + textwrap.dedent(text[len(classes) :])
    return textwrap.dedent(text)


def measure(source):
    """The result plain and optimised, and what share of the iterations of its loops was native."""
    code = compile(source, "<covered>", "exec")

    def run():
        space = {"__name__": "covered"}
        exec(code, space)
        return repr(space["run"](N))

    plain = run()
    larder.trace.enable(watch_all=True, hot=5)
    larder.trace.clear()
    try:
        found = [run(), run(), run()]
        rows = [r for r in larder.optimiser.loops() if r["file"] == "<covered>"]
    finally:
        larder.trace.clear()
        larder.trace.disable()
    native, rest = sum(r["native"] for r in rows), sum(r["interpreted"] for r in rows)
    return plain, found, native / max(1, native + rest), [(r["line"], r["why"]) for r in rows]


NOT_YET = [
    "None",
    "list iterated",
    "slices open and negative",
    "functions that swap",
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled(name):
    plain, found, share, why = measure(program(name))
    assert found == [plain] * 3
    if name not in NOT_YET:
        assert share > 0.9, (share, why)


if __name__ == "__main__":
    assert math
    for name in sys.argv[1:] or PROGRAMS:
        plain, found, share, why = measure(program(name))
        right = found == [plain] * 3
        print(f"{name:40} {share:6.3f} {'' if right else 'WRONG'} {why if share < 0.9 else ''}", flush=True)
