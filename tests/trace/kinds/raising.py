"""Exceptions at every kind of operation, with handlers inside and around loops, `else`, `break`, `continue`, `return`."""

PRELUDE = """
class Odd(Exception): pass
class Guard:
    def __init__(self, eats): self.eats = eats
    def __enter__(self): return 3
    def __exit__(self, kind, e, tb):
        note(kind and kind.__name__)
        return self.eats
class O:
    def __init__(self): self.n = 5
    def step(self, k):
        self.n = k
        return 10 // (k - 23)
    def deep(self, k): return self.step(k) + 1
def divide(p, q): return p // q
def item(l, k): return l[k]
def key(d, k): return d[k]
def attr(o): return o.nothing
def raises(k):
    if k % 13 == 7: raise Odd(k)
    return k
def caught(k):
    try: return raises(k)
    except Odd: return -1
    finally: note("f")
def looped(l, k):
    for v in l:
        if v == k: return v
        if v.__class__ is str: raise Odd(v)
    else:
        return -1
def nested(k):
    for p in range(6):
        for q in range(6):
            if p * q == k: return p
            if p + q == k % 17: break
        else:
            continue
    return -1
def recurse(k): return 0 if k <= 0 else 1 + recurse(k - 1)
def endless(k): return endless(k + 1)
def store_then_fail(o, l, k):
    o.n = k
    l[0] = k
    return l[k]
def global_then_fail(k):
    global counted
    counted += 1
    return 5 // (k % 7)
counted = 0
def trap(f, *args):
    try: return f(*args)
    except Exception as e: return type(e).__name__
"""
SETUP = "o, z, k, g = O(), None, 0, Guard(True)"
NAMES = "o z k"
STATEMENTS = """
t += 100 // (i - 23)
t += 7 % (i % 9 - 8)
x = 1.0 / (i - 19)
x = x / (i % 7)
x = 5.0 % (i & 7)
a = L[i % 6]
L[i % 6] = i
a = L[-i]
L[-(i & 7)] = t
a = E['ab'[i & 1]]
a = E[W[i % 5]]
a = D[i % 6]
del D[i & 7]
D[i & 7] = i
a = W[i % 7]
a = o.n + o.m
o.m = i
del o.m
a = o.nothing
t += None
t += m
a = a + W[0]
a = int(W[i % 5])
a = int('1' if i & 3 else 'z')
x = float('1.5' if i % 5 else 'q')
a = (i, 2, 3)[i & 3]
a, b = (1, 2, 3)[:i & 3]
a, b, c = L[:3]
a, b = L
a = ord(W[:i & 3])
a = chr(i - 21)
a = 1 << (20 - i & 63 if i < 30 else -1)
x = math.sqrt(20 - i)
x = math.log(i)
x = math.exp(i * 30)
x = x ** i
x = 1e200 * x * x
x = (-1.5) ** (i * 0.5)
a = [1][i]
a = i.missing
a = len(i)
a = max([])
a = max(L[:i & 1])
a = sum([1, 'a'])
a = min(i, 'a')
a = i < W
u = W in L[0]
a = abs(W)
a = -W
a = divide(10, i - 23)
a = divide(i, i & 3)
a = item(L, i & 7)
a = key(D, i & 7)
a = attr(o)
a = raises(i)
a = caught(i)
a = looped(L, i)
a = looped(MIXED, i)
a = nested(i)
t += nested(i & 15)
a = o.step(i)
a = o.deep(i)
a = trap(divide, i, i & 3)
a = trap(o.deep, i)
a = trap(store_then_fail, o, L, i)
a = store_then_fail(o, L, i & 7)
a = global_then_fail(i)
t += recurse(i & 15)
assert i != 29
assert i % 10 != 7, i
if i % 14 == 13: raise Odd(i)
if i % 14 == 13: raise Odd(i) from ValueError(1)
if i == 27: raise KeyError('k')
with g: t += raises(i)
with g: a = L[i & 7]
with Guard(False) as z: t += z
with Guard(i & 1): t += 1
for k in L:
    if k == a: break
else: t += 3
for k in range(8):
    if k == i & 15: continue
    if k > 5: break
    t += 1
else: t += 3
for k in range(6):
    try: t += 10 // (k - 3)
    except ZeroDivisionError: continue
    finally: t += 1
for k in range(6):
    try:
        if k == 4: break
        t += 1
    finally: c += 1
try: a = L[i & 7]
except IndexError: a = -1
try: a = L[i & 7]
except IndexError as e: tell(e)
try: a = D[i & 7]
except KeyError: D[i & 7] = i
try: t += m
except TypeError: m = i
try: a = 1 // (i & 3)
except ZeroDivisionError as e: z = str(e)
else: t += a
finally: c += 1
try:
    try: a = raises(i)
    finally: note('x')
except Odd: t += 1
try: a = raises(i)
except (KeyError, Odd) as e: t += e.args[0]
while True:
    t += 1
    if t % 5 == 0: break
k = 0
while k < 6:
    k += 1
    if k == 3: continue
    t += k
else: c += 1
while k > 0: k -= 1; t += 1
for k in L: t += 10 // (k - 7)
for k in range(5): a = L[k]
for k in MIXED: t += k
z = [10 // (k - i % 7) for k in range(5)]
z = [v for v in MIXED if v]
if i == 33: z = trap(endless, 0)
""".strip()
PRELUDE = "import math\nMIXED = [1, 2, 3, 'a', None]\n" + PRELUDE
for word in ("    ", "else:", "finally:", "except"):
    STATEMENTS = STATEMENTS.replace("\n" + word, "\x00" + word)
for head in ("t += 1\x00    if t % 5",):
    assert head in STATEMENTS
STATEMENTS = [s.replace("\x00", "\n") for s in STATEMENTS.replace("k = 0\nwhile", "k = 0\x00while").split("\n")]
EVENTS = """
L.append('s')
L[1] = 0
L[2] = None
D.clear()
o = None
o.n = 'z'
E['b'] = None
m = 2.5
x = 'no'
L = ()
L = []
g = Guard(False)
raise Odd('event')
break
continue
t = 'text'
del o.n
W = ''
"""
LOOPS = ["for i in range({n}, -3, -1):", "i = -1\nwhile True:\n    i += 1\n    if i > {n}: break"]
