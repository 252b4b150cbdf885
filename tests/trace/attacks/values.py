"""Values and containers: numbers at their limits, subclasses, iterators, finalizers, owners."""

from .table import case

case(
    "int subclass",
    """
class I(int):
    def __add__(self, o): return 7
    def __eq__(self, o): return True
    __hash__ = int.__hash__
def run():
    a = [1, 2, I(3), 4] * 500; t = 0
    d = {1: 5, I(2): 9}
    for x in a:
        t += x + 1
        t += d.get(2, 0)
    return t
""",
)

case(
    "list subclass",
    """
class L(list):
    def __getitem__(self, i): return 99
    def __len__(self): return 1
def run():
    a, b = [1, 2, 3], L([4, 5, 6]); t = 0
    for i in range(3000):
        x = b if i > 2000 else a
        t += x[i % 3] + len(x)
    return t
""",
)

case(
    "small ints",
    """
def run():
    t = 0
    for i in range(-10, 3000):
        a = i % 300
        b = (a + 1) - 1
        if a is b: t += 1
        if (a * 1000) is (a * 1000 + 0): t += 1
    return t
""",
)

case(
    "nan identity",
    """
def run():
    nan = float('nan'); a = [nan, 1.0, -0.0, 0.0]; t = 0; out = []
    for i in range(3000):
        x = a[i & 3]
        if x is nan: t += 1
        if x == x: t += 10
        if x in (1.0, 5.0): t += 3
        out.append(x)
    return t, [o is nan for o in out[:8]], repr(out[:8])
""",
)

case(
    "tuple contains identity",
    """
def run():
    t = 0
    for i in range(3000):
        if i in (1, 5, 7.0, 300): t += 1
        if (i & 3) in (True, 2): t += 1
    return t
""",
)

case(
    "weakref callback",
    """
import weakref
class P: pass
def run():
    log = []; held = [None] * 4; refs = []
    for i in range(2000):
        held[i & 3] = 5
        if i % 50 == 0:
            p = P()
            refs.append(weakref.ref(p, lambda r, i=i: log.append(i)))
            held[i & 3] = p
            p = None
        log.append(-i)
    return log
""",
)

case(
    "gc finalizers",
    """
import gc
class N:
    def __init__(self): self.me = self
    def __del__(self): log.append(len(out))
log = []; out = []
def run():
    log.clear(); out.clear()
    for i in range(3000):
        out.append(i)
        if i % 500 == 0:
            N()
            gc.collect()
    return log
""",
)

case(
    "dict keys reorder",
    """
def run():
    d = {'a': 1, 'b': 2, 'c': 3}; t = 0
    for i in range(3000):
        t += d['a'] * 3 + d['c']
        if i % 400 == 0:
            v = d.pop('a'); d['a'] = v + 1
        if i == 2000: d.clear(); d.update(c=5, a=9)
    return t, list(d)
""",
)

case(
    "dict with odd keys",
    """
class K:
    def __init__(self, h): self.h = h
    def __hash__(self): return self.h
    def __eq__(self, o): log.append(1); return False
log = []
def run():
    log.clear()
    d = {1: 10, K(1): 5, K(2): 6, 2: 8}; t = 0
    for i in range(3000):
        t += d.get(i % 4, 0)
    return t, len(log)
""",
)

case(
    "thread mutates list",
    """
import threading
def run():
    a = [1] * 100; stop = [False]
    def other():
        while not stop[0]:
            a.append(2)
            if len(a) > 200: del a[100:]
            a.clear(); a.extend([1]*100)
    th = threading.Thread(target=other); th.start()
    n = 0
    try:
        for i in range(200000):
            try: n += a[i % 100] & 0
            except IndexError: pass
    finally:
        stop[0] = True; th.join()
    return n
""",
)

case(
    "negative zero",
    """
def run():
    x = 0.0; out = []
    for i in range(3000):
        x = -x
        y = x * 1
        z = 0 * -1.0
        w = min(0.0, -0.0); v = max(-0.0, 0.0); r = round(-0.3); f = -0.0 + 0
        if i % 500 < 2: out.append(repr((x, y, z, w, v, r, f, abs(-0.0), -0.0 // 1, 5 % -0.5, -0.0 % 3)))
    return out
""",
)

case(
    "int float eq big",
    """
def run():
    t = 0
    for i in range(3000):
        n = 2**53 + (i & 3)
        f = float(2**53)
        if n == f: t += 1
        if n < f + 2: t += 10
        if n > f: t += 100
    return t
""",
)

case(
    "shift and pow",
    """
def run():
    out = []
    for i in range(200):
        a = (1 << (i % 70)); b = (-1 >> (i % 80)); c = (-7) ** (i % 5); d = 2 ** -(i % 3)
        out.append((a, b, c, d))
    return out
""",
)

case(
    "string ops latin",
    """
def run():
    s = ["abc", "\\xe9\\xe8", "\\u4e2d\\u6587", "\\U0001f600x", ""]; t = 0
    for i in range(3000):
        w = s[i % 5]
        for c in w: t += ord(c)
        if w < "b": t += 1
        t += len(w)
    return t
""",
)

case(
    "mutating eq",
    """
class E:
    def __eq__(self, o): a.append(1); return True
    __hash__ = None
a = []
def run():
    a.clear(); a.extend([1, 2, 3])
    e = E(); t = 0
    for i in range(3000):
        if i % 100 == 0:
            if e == 3: t += len(a)
        t += a[-1] + len(a)
    return t
""",
)

case(
    "same iter zip",
    """
def run():
    out = []
    it = iter(list(range(1000)))
    for x, y in zip(it, it): out.append(x * y)
    a = list(range(500))
    for x, y in zip(a, a):
        out.append(x + y)
        if x == 300: del a[400:]
    e = enumerate(a)
    for i, x in e:
        out.append(x)
        if x % 50 == 0: next(e, None)
    return out
""",
)

case(
    "iter kept",
    """
def run():
    it = iter(list(range(3000))); t = 0; out = []
    for x in it:
        t += x
        if x % 100 == 50: out.append(next(it, None))
    r = iter(range(3000))
    for x in r:
        t += x
        if x % 100 == 50: out.append(next(r, None)); out.append(r.__length_hint__())
    return t, out
""",
)

case(
    "owners overwritten by the trace do not count",
    """
class Loud:
    def __init__(self, name): self.name = name
    def __del__(self): log.append(self.name)
log = []
def run():
    log.clear()
    keep = Loud("keep")
    pool = [Loud(i) for i in range(400)]
    slots = [keep] * 4
    last = keep
    for i in range(400):
        last = slots[(i + 1) & 3]
        slots[i & 3] = pool[i]
        pool[i - 1] = keep
        if i % 16 == 0: log.append(-i)
    out = list(log)
    return out
""",
)

case(
    "lists that die with their loop",
    """
class Loud:
    def __init__(self, name): self.name = name
    def __del__(self): log.append(self.name)
log = []
def run():
    log.clear()
    rows = [[Loud((i, k)) for k in range(3)] for i in range(300)]
    other = list(rows)
    spare = [1]
    n = 0
    for i in range(300):
        for x in rows[i]:
            n += 1
        other[i] = spare
        rows[i] = spare
        log.append(i)
    return list(log), n
""",
)

case(
    "a method that is given its own object",
    """
class P:
    def __init__(self): self.n, self.w = 1, 0.5
    def mix(self, other, k):
        self.n = other.n + k
        other.n = self.n + 1
        if self.n > other.n: self.n = 0
        self.w, other.w = other.w + 1.0, self.w
        return self.n + other.n
def run():
    p, q, out = P(), P(), []
    for i in range(2000):
        a, b = (p, q) if i % 300 < 200 else (p, p)
        out.append(a.mix(b, i & 7))
    return out, p.n, q.n, p.w, q.w
""",
)

case(
    "one list under two names in a function",
    """
def f(a, b, i, j):
    a[i] = b[j] + 1
    b[j] = a[i] * 2 & 1023
    a.append(a[i])
    if len(b) > 40: b[0] = len(a)
    return a[i] - b[j]
def run():
    x, y, out = [1, 2, 3], [4, 5, 6], []
    for i in range(2000):
        v = y if i % 700 < 500 else x
        out.append(f(x, v, i % 3, (i + i // 700) % 3))
        if len(x) > 50:
            del x[10:]
    return out, x, y
""",
)

case(
    "dicts that change size while they are walked",
    """
def run():
    out = []
    for k in range(3):
        d = {i: i for i in range(500)}
        try:
            for key, v in d.items():
                if key == 400 and k == 0: d[1000] = 1
                if key == 400 and k == 1: del d[3]
                if key == 400 and k == 2: del d[3]; d[3] = 5
                d[key] = v + 1
                out.append(v)
        except RuntimeError as e:
            out.append((str(e), e.__traceback__.tb_lineno, key))
        s = {i * 7 for i in range(400)}
        try:
            for x in s:
                out.append(x)
                if x == 700: s.add(-5)
        except RuntimeError as e:
            out.append((str(e), x))
    return out
""",
)

case(
    "an iterator within its own zip",
    """
def run():
    out = []
    it = iter(range(1000))
    for a, b in zip(it, it): out.append(a * b)
    d = {i: i for i in range(300)}
    k = iter(d)
    for a, b in zip(k, k): out.append(a - b)
    e = enumerate(range(400))
    for (i, a), (j, b) in zip(e, e): out.append((i, j, a + b))
    for i, (a, b) in enumerate(zip(range(400), [1, 2] * 150)): out.append(i + a + b)
    return out
""",
)

case(
    "objects in slices die in time",
    """
class Loud:
    def __init__(self, name): self.name = name
    def __del__(self): log.append(self.name)
log = []
def run():
    log.clear()
    a = [Loud(i) for i in range(8)]
    for i in range(600):
        s = a[i & 3:(i & 3) + 2]
        if i % 50 == 0: a[i // 50 % 8] = Loud(-i)
        t = [s[0], i]
        log.append(i)
    s = t = a = None
    return list(log)
""",
)

case(
    "what a loop makes is known to the collector",
    """
import gc
def run():
    rows, out = [], []
    for i in range(1000):
        r = [i, i + 1]
        rows.append(r)
        if i % 300 == 299:
            out.append((gc.is_tracked(r), gc.is_tracked(rows[-2]), len(gc.get_referrers(r)) > 0))
    rows[0].append(rows)
    return out, len(rows), gc.is_tracked(rows[5])
""",
)

case(
    "tuples keep who they are",
    """
def run():
    same = [None] * 8
    out = 0
    for i in range(2000):
        t = (i, i * 0.5)
        same[i & 7] = t
        u = t
        if u is same[i & 7] and same[i - 1 & 7] is not t: out += 1
        if i % 100 == 0: same[0] = same[i & 7]
    return out, [x is y for x in same for y in same], same
""",
)

case(
    "popped to the last",
    """
def run():
    out = []
    a = list(range(3000)) + ["x", None, 2.5]
    import sys
    while a:
        x = a.pop()
        if len(a) % 500 == 0: out.append((x, sys.getsizeof(a)))
        if x == 1: a.append(-1) if len(out) < 20 and -1 not in out else None
    try:
        for i in range(100): a.append(i)
        while True: out.append(a.pop())
    except IndexError as e:
        out.append((str(e), e.__traceback__.tb_lineno))
    return out
""",
)

case(
    "a class attribute that an instance hides",
    """
class P:
    k = 5
    def f(self): return 1
def run():
    p, t = P(), 0
    for i in range(3000):
        t += p.k + p.f()
        if i == 1000: p.k = 100
        if i == 1500: del p.k
        if i == 2000: P.k = 7
        if i == 2500: p.f = lambda: 50
    return t
""",
)

case(
    "globals set by functions",
    """
g = 0
def tick(k):
    global g
    g += k
    if g > 50: g = 0
    return g
def run():
    global g
    g = t = 0
    for i in range(3000):
        t += tick(i & 3)
        if i % 500 == 0: g = -5
        t += g
        if i == 2900: globals()['g'] = 1000
    return t, g
""",
)

case(
    "functions of math at their edges",
    """
import math
def run():
    out = []
    xs = [0.0, -0.0, 1.0, -1.0, 1e308, 1e-320, float('inf'), float('nan'), 0.5, 700.0, 710.0]
    for k in range(40):
        for x in xs:
            for f in (math.log2, math.tanh, math.gamma, math.acosh):
                try: v = f(x)
                except (ValueError, OverflowError) as e: v = str(e)
                out.append(repr(v))
    for i in range(300):
        x = xs[i % 11]
        try: out.append(repr((math.pow(2.0, x), math.hypot(x, 1.0), math.fmod(x, 3.0), math.copysign(1.0, x))))
        except (ValueError, OverflowError) as e: out.append(str(e))
        out.append((math.gcd(i * 12, -18), math.isqrt(i << 40), math.isnan(x), math.isfinite(x), math.trunc(i / 7)))
    return out
""",
)

case(
    "numbers that are key and value",
    """
def run():
    d, e, f = {}, {}, {}
    for i in range(300, 900):
        d[i] = i
        x = i * 3
        e[x] = x
        f[i] = x
    odd = [k for k, v in d.items() if k is not v]
    return odd, [k for k, v in e.items() if k is not v], [k for k, v in f.items() if v not in e or e[v] is not v]
""",
)

case(
    "a dict that its iterator held to its end",
    """
def run():
    log, kept = [], []
    class Loud:
        def __init__(self, k): self.k = k
        def __del__(self): log.append(-self.k)
    def walk(d, other):
        t = 0
        for _ in (1, 2):
            for key in d:
                for i in range(12):
                    t += 1
                    if i & 1: d = other
            log.append(t)
            t += 1
            log.append(t)
        return t
    for k in range(60):
        log.append(("call", k))
        held = [{1: Loud(10 * k + 1), 2: Loud(10 * k + 2)}]
        if k < 40: kept.append(held[0])
        walk(held.pop(), {1: 5})
    kept.clear()
    return log
""",
)

case(
    "a shift by nothing",
    """
def run():
    out = []
    for x in (-2**62, -2**40, -2**30, 1 - 2**30, 2**40, -5000, 5000):
        made = []
        for i in range(200): made.append(x >> (i & 3))
        out.append([v is x for v in made])
        for i in range(200):
            n = x >> (i & 3)
            if n is x: out.append(i)
    return out
""",
)

case(
    "the room that containers have",
    """
import sys
def constants(n):
    for i in range(n): made = [1, 2, 5, 7, 9]
    return made
def display(n):
    for i in range(n): made = [i, i, 3]
    return made
def part(n):
    all = list(range(50))
    for i in range(n): made = all[i & 7 : 40]
    return made
def grown(n):
    made = []
    for i in range(n): made.append(i)
    return made
def shrunk(n):
    made = list(range(2 * n))
    for i in range(n): made.pop()
    return made
def comprehended(n): return [i for i in range(n)]
def replaced(n):
    made = list(range(50))
    for i in range(n): made[3:5] = [i, i + 1, i + 2] if len(made) < 60 else [i]
    return made
def filled(n):
    made = {}
    for i in range(n): made[i % 91] = i
    return made
def added(n):
    made = set()
    for i in range(n): made.add(i % 37)
    return made
def run():
    every = constants, display, part, grown, shrunk, comprehended, replaced, filled, added
    return [sys.getsizeof(make(n)) for make in every for n in (7, 30, 100, 333) for _ in range(3)]
""",
)
