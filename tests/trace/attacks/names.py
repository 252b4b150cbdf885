"""Names, frames and what runs where: namespaces that change under a loop, frames that are looked at, control flow."""

from .table import case

case(
    "module attr alias",
    """
import sys
me = sys.modules.setdefault("probe_mod", type(sys)("probe_mod"))
def run():
    ns = me.__dict__
    exec(compile('''
import sys
me = sys.modules["probe_mod"]
g = 0
def go():
    global g
    t = 0
    for i in range(3000):
        g = i
        t += me.g
    return t
''', "x", "exec"), ns)
    return ns["go"]()
""",
)

case(
    "globals dict alias",
    """
g = 0
def run():
    global g
    d = globals()
    t = 0
    for i in range(3000):
        d['g'] = i
        t += g
        if i % 500 == 499: g = 1
        t += d['g']
    return t
""",
)

case(
    "globals dict get alias",
    """
g = 0
def run():
    global g
    d = globals()
    t = 0
    for i in range(3000):
        g = i
        t += d['g'] + d.get('g')
    return t
""",
)

case(
    "builtins alias",
    """
import builtins
def run():
    builtins.zz = 1
    d = builtins.__dict__
    t = 0
    for i in range(3000):
        d['zz'] = i
        t += zz
    del builtins.zz
    return t
""",
)

case(
    "vars instance dict",
    """
class P: pass
def run():
    p = P(); p.n = 0
    d = vars(p)
    t = 0
    for i in range(3000):
        p.n = i
        t += d['n']
        d['n'] = i * 2
        t += p.n
    return t
""",
)

case(
    "class dict mutation",
    """
class P:
    k = 1
    def f(self): return 1
def run():
    p = P(); t = 0
    for i in range(3000):
        t += p.f()
        if i == 2000:
            P.f = lambda self: 5
    return t
""",
)

case(
    "cell shared with frame local",
    """
def run():
    k = 0
    def get(): return k
    t = 0
    for i in range(3000):
        k = i
        t += get()
    return t
""",
)

case(
    "locals in callee frames",
    """
import sys
def peek():
    return sys._getframe(1).f_locals['t']
def run():
    t = 0; out = []
    for i in range(3000):
        t += i
        if i % 100 == 0:
            out.append(peek())
    return out, t
""",
)

case(
    "f_locals write through (3.13)",
    """
import sys
def poke(i):
    sys._getframe(1).f_locals['t'] = i
def run():
    t = 0
    for i in range(3000):
        t += i
        if i % 100 == 0:
            poke(i)
    return t
""",
)

case(
    "frame kept in a callee list",
    """
import sys
def run():
    t = 0; u = 0
    f = sys._getframe()
    loc = f.f_locals
    for i in range(3000):
        t += i
        u += loc['t'] & 1
    return t, u
""",
)

case(
    "shadow builtin mid loop",
    """
def run():
    t = 0
    out = []
    for i in range(3000):
        t += len(out)
        if i == 1500:
            globals()['len'] = lambda x: 100
        if i == 1600:
            del globals()['len']
    return t
""",
)

case(
    "exec in loop",
    """
g = 1
def run():
    global g
    g = 1
    t = 0
    for i in range(3000):
        t += g
        if i % 700 == 699:
            exec("g += 1", globals())
    return t
""",
)

case(
    "except chains",
    """
def run():
    t = 0; out = []
    for i in range(3000):
        try:
            try:
                t += i
                if i % 900 == 899: 1 // 0
            except ZeroDivisionError as e:
                raise KeyError(i) from e
            finally:
                t += 1
        except KeyError as e:
            out.append((repr(e), repr(e.__cause__), repr(e.__context__), e.__traceback__.tb_lineno))
    return t, out
""",
)

case(
    "with in loop",
    """
class C:
    def __init__(self): self.n = 0
    def __enter__(self): self.n += 1; return self
    def __exit__(self, *a): self.n += 10; return True
def run():
    c = C(); t = 0
    for i in range(3000):
        with c as d:
            t += d.n
            if i % 500 == 0: t // 0
            t += 1
    return t, c.n
""",
)

case(
    "async",
    """
import asyncio
async def sub(x):
    t = 0
    for i in range(200): t += i * x
    await asyncio.sleep(0)
    return t
async def main():
    t = 0
    for i in range(50):
        t += await sub(i)
    r = await asyncio.gather(*(sub(k) for k in range(20)))
    return t, r
def run(): return asyncio.run(main())
""",
)

case(
    "class body",
    """
def run():
    class A:
        t = 0
        for i in range(3000):
            t += i
        u = t * 2
    return A.t, A.u, A.i
""",
)

case(
    "exec with separate locals",
    """
def run():
    l, g = {}, {'k': 3}
    exec("t = 0\\nfor i in range(3000):\\n  t += i * k\\n", g, l)
    class D(dict):
        def __getitem__(self, k):
            return 5 if k == 'k' else dict.__getitem__(self, k)
    l2 = D()
    exec("t = 0\\nfor i in range(3000):\\n  t += i * k\\n", {'k': 3}, l2)
    return l['t'], l2['t']
""",
)

case(
    "recursion re-enters trace",
    """
def f(n, d):
    t = 0
    for i in range(n):
        t += i
        if d and i % 20 == 10:
            t += f(n, d - 1)
    return t
def run(): return f(60, 4)
""",
)

case(
    "slots descriptor replaced",
    """
class S:
    __slots__ = ('n',)
def run():
    global S
    class S:
        __slots__ = ('n', 'm')
    s = S(); s.n = 1; s.m = 5; t = 0
    old = S.n
    for i in range(3000):
        t += s.n
        s.n = i & 7
        if i == 1000: S.n = S.m
        if i == 1500: S.n = old
        if i == 2000: S.n = property(lambda self: 50, lambda self, v: None)
    return t
""",
)

case(
    "del local mid",
    """
def run():
    out = []
    for k in range(3):
        try:
            for i in range(1000):
                x = i
                if i == 900:
                    del x
                y = x
        except UnboundLocalError as e:
            out.append((str(e), i, y))
    return out
""",
)

case(
    "class swap",
    """
class A:
    def __init__(s): s.n = 1
    def f(s): return s.n
class B:
    def __init__(s): s.n = 1
    def f(s): return s.n * 100
def run():
    a = A(); t = 0
    for i in range(3000):
        t += a.f()
        if i == 1000: a.__class__ = B
        if i == 2000: a.__class__ = A
    return t
""",
)

case(
    "dict materialised",
    """
class A:
    def __init__(s): s.n = 1; s.m = 2
def run():
    a = A(); t = 0
    for i in range(3000):
        t += a.n
        a.n = i & 15
        if i == 1000: d = a.__dict__
        if i > 1000: t += d['n']
        if i == 2000: a.__dict__ = {'n': 7}
        if i == 2500: a.zzz = 5
    return t, d
""",
)

case(
    "nonlocal cells",
    """
def run():
    n = 0
    def inc():
        nonlocal n
        n += 1
        return n
    t = 0
    for i in range(3000):
        t += inc()
        n = n + 1
        if i % 100 == 0: n = 0
    return t, n
""",
)

case(
    "a module given another class in mid-loop",
    """
import types
class Other(types.ModuleType):
    v = property(lambda self: 55)
class Unlike(Other): pass
def run():
    seen = []
    for late in (100, 200, 250):
        mod = types.ModuleType("given")
        mod.v = 5
        other = Unlike("other")
        globals()["mod"], globals()["other"] = mod, other
        seen.append((reads(late), kinds(late), who(late)))
    return seen
def change(to, k):
    mod.__class__ = to
    if k: globals()["other"] = mod
def reads(late):
    t = 0
    mod.__class__ = types.ModuleType
    for i in range(300):
        if i == late: change(Other, 0)
        t += mod.v
    return t
def kinds(late):
    t = 0
    mod.__class__ = types.ModuleType
    for i in range(300):
        if i == late: change(Other, 0)
        if isinstance(mod, Other): t += 1
    return t
def who(late):
    t = 0
    mod.__class__ = types.ModuleType
    for i in range(300):
        if i == late: change(Unlike, 1)
        if mod is other: t += 1
    return t
""",
)
