"""Scopes and names: comprehensions, lambdas and walruses that share cells, `exec`, `eval` and `locals()` in loops, stars,
variables that callbacks of weak references, the collector, profilers and traced functions change; ranges, counts and
numbers at the ends of machine words; texts beyond ASCII.
"""

PRELUDE = """
import gc, itertools, math, sys, weakref
FLIP, KEEP = [0], []
class O:
    def __init__(self, n): self.n = n
class G:
    # Its attributes are computed only where they are missing, and setting is a method's business.
    def __init__(self, n): object.__setattr__(self, "n", n)
    def __getattr__(self, name): FLIP[0] += 1; return FLIP[0] & 3
    def __setattr__(self, name, v): object.__setattr__(self, name, v)
def get_n(o): return o.n
def set_n(o, v): o.n = v
def away(r): globals().__setitem__("gone", FLIP[0]); FLIP[0] += 1
def local_away(name, v):
    f = sys._getframe(1)
    def away(r):
        try: f.f_locals[name] = v
        except Exception as e: note(type(e).__name__)
    o = O(0)
    KEEP[:] = [weakref.ref(o, away)]
def collected(phase, info): FLIP[0] += 1; globals().__setitem__("gone", FLIP[0])
def profile(frame, event, arg): FLIP[0] += 1
def opcode(frame, event, arg): return None
def fin(k):
    for z in range(6):
        try:
            if z == k: return 10 // (k - 3)
        except ZeroDivisionError as e: return e.__class__.__name__
        finally:
            if k & 1: return z
    return None
def chained(k):
    try: return [1, 2][k]
    except IndexError:
        try: return {}[k]
        except KeyError as e: return len(str(e.__context__))
def gen(n, box):
    k = 0
    while k < n:
        got = yield k + box[0]
        k += 1 if got is None else got
def nested(n):
    total = k = 0
    def up():
        nonlocal total, k
        total += k
        return total
    for k in range(n): up()
    return total, k
def star(*args, **kw): return len(args) + len(kw)
gone = 0
"""
SETUP = """
o, q, v, w, k, z, box = O(1), G(2), 0, None, 0, [], [0]
S, N, B, U8 = 'aé\\u4e2d\\ud800z', 'xÿz', b'\\x00\\xff', 'ab'
ga, gb = gen(1000, box), gen(2000, box)
big = 2**62 - 30
it = iter([1, 2, 3] * 10)
""".strip()
NAMES = "v w k z box S gone FLIP"
STATEMENTS = """
z = [k * i for k in range(4)]
z = [k for k in L if k > i]
z = [[k for k in range(j)] for j in range(3)]
z = [(w := k) for k in range(3)]
t += sum(k for k in range(i & 7))
t += sum([k for k in range(i & 7)])
m = {k: i for k in range(3)}
z = sorted({k & 3 for k in range(i & 7)})
z = [k + i for k in range(3) if (v := k)]
if (v := i & 3) > 1: t += v
while (v := v + 1) & 7: t += 1
z = [lambda: k for k in range(3)]; t += z[i % 3]()
f = lambda n=i: n + t; t = f() & 1023
a, *z = L
*z, a = L
a, *_, b = L
a, (b, *z) = i, L
z = [*L, i]
z = [*range(i & 3), *z[:2]]
z = (*L, t)
t += star(*L)
t += star(i, *z[:3], k=3)
t += star(*range(i & 3), **{'a': 1})
t += len(locals()) & 1
v = locals().get('t', 5)
v = eval('i + 1')
v = eval('a', {'a': i})
exec('gone = 5', globals())
exec('v = 7')
v = gone
globals()['gone'] = i
v = dir() and 1
t += vars(o)['n'] & 7
v = next(ga)
v = next(gb) if i & 1 else next(ga)
v = ga.send(1 + (i & 1))
for k in ga: break
for k in gb: t += k & 1; break
for k, j in zip(ga, range(3)): t += k & 1
box[0] = i
v = nested(i & 7)
v = nested(9)
v = fin(i & 7)
v = fin(i % 5)
v = chained(i & 3)
v = get_n(o)
v = get_n(q)
set_n(o, i)
set_n(q, i)
v = q.n
v = q.w
q.w = i
q.__dict__.pop('w', None)
v = getattr(o, 'n', 3)
setattr(o, 'n', i)
v = hasattr(q, 'z')
KEEP.clear()
gc.collect(0)
r_ = weakref.ref(O(i), away)
local_away('t', 5)
local_away('a', 2.5)
w = O(i)
w = None
big = (big + i) & (2**62 - 1)
v = big + big
v = big * 2 + i
v = -big - big - i
v = 1 << (i & 63)
v = (1 << 62) - 1 + i
v = -1 << (i & 63)
v = -(2**63) + i
v = (-(2**63) + i) // -1
v = (2**63 - 1 - i) >> (i & 63)
v = i >> 64
v = 2**30 - i
v = (2**30 - 20 + i) * (2**30 + i)
v = (2**60 + i) & ~(2**30)
v = ~i ^ -1
v = i ** 2 ** 3
v = (i - 20) ** 3
v = 2 ** (i & 63)
v = pow(3, i, 2**31)
v = (-i) % 7 + (i % -7)
v = (-i) // 7 + (i // -7)
v = abs(-(2**62) - i)
v = True + i
v = (i > 3) + (i > 5)
v = (i > 3) * 2.5
v = -(i > 3)
v = ~(i > 3)
v = (i > 3) & (i < 30)
v = (i > 3) ^ i
v = True << (i & 7)
t += (i > 3) is True
u = i is 5 if 0 else (i & 1) is (i & 1)
u = (i + 256) is (i + 256)
u = S[i % 5] is S[i % 5]
u = U8[i & 1] is 'ab'[i & 1]
x = float('nan') if i & 1 else x
u = x == x
u = x < float('inf')
x = -0.0 * i
x = 5e-324 * i
x = x / 3.0 * 1e-300
x = 1e308 * (i & 3)
x = (x - x) if i & 1 else x
x = math.copysign(1.0, -0.0 * i)
v = math.floor(x) if abs(x) < 1e9 else 3
x = min(x, -0.0) + max(0.0, x)
v = min(x, float('nan'))
v = round(i * 0.5)
v = round(i * 2.675, 2)
v = int(i * 1e17)
v = int(-i * 0.1)
v = i / 3
v = (2**53 + i) / 1
v = float(2**53 + i)
v = (2**53 + i) < float(2**53 + i + 1)
v = i == i * 1.0
x = math.sqrt(30 - i)
x = math.log(40 - i)
x = math.acos(1 - i * 0.05)
x = math.fmod(i, 3 - i * 0.1)
x = math.gamma(40 - i)
x = math.exp(i * 15)
x = math.pow(40 - i, 0.5)
x = math.atan2(-0.0, -i)
x = math.hypot(i, x) if abs(x) < 1e9 else 0.5
v = math.isqrt(40 - i)
v = math.gcd(big, i * 2**31)
v = math.ceil(i * 1e18)
v = S[i % 5]
v = S[-(i % 6)]
v = ord(S[i % 5])
v = N[i % 3]
v = N[:i & 3]
v = B[i & 1]
v = B[i % 2 - 2]
v = chr(i + 240)
v = chr(0xd7f0 + i)
v = chr(i * 3000)
v = S < N
u = S == 'aé'
u = N[1] == 'ÿ'
u = 'é' in S
for v in S: t += 1
for v in N: t += ord(v)
for v in B: t += v
v = S + N[:1]
v = f'{S[0]}{i}{N[1]}'
v = N.upper()
v = str(i) + 'é'
v = len(S) + len(N)
for k in range(2**62, 2**62 + 3): t += 1
for k in range(0, 2**63 - 1, 2**62): t += 1
for k in range(i, -i, -(2**40)): t += 1
for k in range(2**63 - 3, 2**63 + 2): t += 1
for k in range(-(2**63), 2**63 - 1, 2**62): v = k
for k in range(5, 5 + (i & 3), i | 1): t += k
for k, j in enumerate(L, 2**63 - 3): v = k
for k, j in enumerate(L, -2): v = k
for k, j in enumerate(W, i): t += k
v = range(i, i + 2**62, 3)[i]
v = len(range(i, 2**62))
for k in L: del k
for k in range(3):\\n    if k == 1: del k; break
for k in L:\\n    if len(L) < 9: L.append(k)\\nL[:] = [5, 300, 7, 1000]
for k in L:\\n    if len(L) > 2: L.pop()\\nL[:] = [5, 300, 7, 1000]
for k in D:\\n    if k == 2 and i > 25: D[k + i % 3 * 100] = 1
for k in list(D):\\n    if k > 50: del D[k]
for k in D.values():\\n    if k == 7 and i == 30: D.pop(3, None)
for k in reversed(L):\\n    if k == 7: L.pop(); break\\nL[:] = [5, 300, 7, 1000]
for k in it: break
try:\\n    v = fin(3) // (i % 5 - 4)\\nexcept ZeroDivisionError as e:\\n    try: v = L[i]\\n    except IndexError as f: tell(f)
try:\\n    t += 1\\n    if i % 9 == 8: raise KeyError(i)\\nexcept KeyError as e: v = e.args[0]\\nfinally: k = i
""".strip().replace("\\n", "\x00").split("\n")  # fmt: skip
STATEMENTS = [s.replace("\x00", "\n") for s in STATEMENTS]
EVENTS = """
O.n = property(lambda self: 5, lambda self, v: None)
O.__getattr__ = lambda self, name: 7
O.__setattr__ = lambda self, name, v: object.__setattr__(self, name, 9)
O.__getattribute__ = lambda self, name: 11
O.__delattr__ = lambda self, name: None
G.__getattr__ = lambda self, name: 7
del G.__getattr__
del G.__setattr__
G.__setattr__ = lambda self, name, v: None
G.n = 5
G.w = property(lambda self: 8)
o.__class__ = G
q.__class__ = O
o = q
q = o
o.__dict__ = {'n': 300}
o.__dict__.clear()
del o.n
get_n.__code__ = (lambda o: 5).__code__
set_n.__defaults__ = (3,)
set_n = get_n
nested.__code__ = (lambda n: (n, n)).__code__
fin = chained
sys.setrecursionlimit(sys.getrecursionlimit() + 50)
sys.setprofile(profile)
sys.setprofile(None)
sys.settrace(opcode)
sys.settrace(None)
gc.callbacks.append(collected)
gc.callbacks.clear()
gc.collect()
KEEP.clear()
local_away('t', 300); KEEP.clear()
local_away('L', [1, 2, 3, 4]); KEEP.append(0)
sys._getframe().f_locals['t'] = 5
sys._getframe().f_locals['i'] = i
locals()['t'] = 9
exec('t = 9')
globals()['gone'] = None
del globals()['gone']
globals()['star'] = len
globals()['range'] = lambda *n: [1, 2]
globals().pop('range', None)
globals()['len'] = lambda v: 3
globals().pop('len', None)
math.sqrt = math.floor
math.gcd = lambda a, b: 5
ga.close()
ga = gb
gb = gen(50, box)
ga = iter(L)
box = (2.5,)
box[0] = 2.5
box[0] = 2**62
S = 'abcab'
S = 'x' * 5
N = 'abc'
N = '\\U0001f600bc'
B = bytearray(B)
B = [1, 2.5]
W = 'añcab'
W = 'a\\u4e2dcab'
big = 2**62 - 1
big = 2.5
big = True
x = float('nan')
x = float('-inf')
x = -0.0
L = L * 300
L = [2**63 - 1, -2**63, 2**62, 2**30]
L = [True, False, True, 5]
L = [1.0, 2, 3, 4]
D[1000] = 5
D.clear()
del t
del v
del k
i = 2**62
i = True
i = 2.5
t = 2**63 - 2
t = -(2**63) + 2
import threading, time; T_ = threading.Thread(target=time.sleep, args=(0,)); T_.start(); T_.join()
sys.setswitchinterval(1e-6)
""".strip()
LOOPS = [
    "for i in range(2**62, 2**62 + {n}):",
    "for i in range({n}, 0, -1):",
    "for i, z in enumerate([5, 300, 7] * 20, 2**62):",
    "for i, z in enumerate('aé' * 30):",
    "for i in map(int, '0123456789' * 6):",
    "for i in (k for k in range({n})):",
    "for i in itertools.count():\n    if i > {n}: break",
    "for i in ga:\n    if i > {n}: break",
    "for i in [k for k in range({n})]:",
    "while (i := i + 1 if 'i' in dir() else 0) < {n}:",
]
CONDITIONS = ["i is t", "v is i", "x != x", "S[0] == 'a'", "gone", "-0.0 == x"]
