# ruff: noqa: E501 - choices read best in one line
"""Random programs whose loops stand in the midst of expressions: see `make`.

Comprehensions and generators as operands, arguments, items, keys, indices, pieces of text, bounds of slices, defaults, what is compared,
awaited, matched or raised; loops in handlers, in `finally` and under `with`. Below such a loop the stack holds
numbers, objects that tell when they die, methods, half of a display, other loops' iterators, exceptions; the loop changes
the variables these came from, raises, or is left. Some displays are deeper than a trace follows.

    python stacks.py FIRST_SEED COUNT [FORCE]       # compares plain and optimised runs
    python stacks.py show SEED                      # prints a program
"""

import random

import kinds
from compared import again, command, differing_from

PRELUDE = (
    kinds.PRELUDE
    + """
import sys
OUT, TICK, AT = [], [0], {}
class Loud:
    def __init__(self, k): self.k = k
    def __del__(self, log=log, len=len):
        if len(log) < 400: log.append(("gone", self.k))
    def __repr__(self): return "Loud%s" % (self.k,)
    def __add__(self, o): return self.k
    __radd__ = __add__
    def get(self, *a, **k): return self.k
    def __index__(self): return 1
class P:
    def __init__(self, n): self.n, self.w = n, n
    def __repr__(self): return "P"
    def get(self, *a, **k): return self.n if not a else a[-1]
    def put(self, v, *a): self.n = v; return self
    def __enter__(self): return self.n
    def __exit__(self, *e): return self.n.__class__ is int and self.n & 1 == 1
def f(*a, **k): return a[0] if a else len(k)
def h(p, q=5, *r, k=3): return q if p.__class__ is bool else p
def two(p, q): return (q, p)
def first(p, q): return p
def at(v, n):
    # An index, of whatever.
    return (v if v.__class__ is int else len(v) if v.__class__ in (list, tuple, str, dict) else 1) % n
def num(v, *_): return v if v.__class__ in (int, float) and -9e9 < v < 9e9 else 7
def gen(n, v=3):
    for k in range(n): yield k * v
def short(v, depth=0):
    c = v.__class__
    if c in (list, tuple) and depth < 3: return c.__name__[0] + str(len(v)) + "".join([short(w, depth + 1) for w in [*v][:4]])
    if c in (int, float, str, bool, type(None)): return repr(v)[:30]
    return c.__name__
def see(*v):
    if len(log) < 400: log.append("".join([short(w) for w in v]))
    return v[-1]
def tick(v=0):
    TICK[0] += 1
    if TICK[0] in AT: exec(AT[TICK[0]], globals())
    return v
g = 300
"""
)
START = """
a, b, c, x, y, s, m = 3, 700, -5, 1.5, -0.25, "abcab", None
l, d, o, z = [5, 300, 2.5, "k"], {0: 5, 1: 600, "a": 7}, P(3), Loud(0)
""".strip().split("\n")
ATOMS = """a b a b c x y s l o z m i g 1 300 2.5 'k' None True a+1 b*3 x*0.5 -a l[0] l[-1] l[i&1] o.n o.w s[0] s[1:] d[0] Loud(i) P(i) (a,b) [a,x]
f(a) o.get() h(x) two(a,b) i*301 l[:2] P(a).n Loud(a).k f'{a}' not(a) a<b (a)is(b) len(l) o.put(b).n a&b tick(a) o.get d.get f [*l] {**d} (*l,) abs(c) min(a,b)""".split()
ITERABLES = ["range(5)", "range(i & 7)", "range({e})", "l", "l[:3]", "s", "d", "d.items()", "enumerate(l)", "zip(l, s)", "reversed(l)", "gen(5)", "gen(4, a)", "(a, b, 3)", "[1, 2, 3, a]", "(x, a, None)", "map(num, l)", "[P(1), P(2)]", "range(12)", "range(3, 40, 7)", "filter(None, l)", "[Loud(1), Loud(2)]", "iter([a, b])", "range(-3, 3)", "(v for v in range(6) if v & 1)"]  # fmt: skip
EVENTS = """
raise ValueError("tick")
raise KeyError(g)
g = 2.5
g = "text"
g = 300
del g
f = lambda *a, **k: 9
h = f
len = lambda v: 2
del len
P.get = lambda self, *a: 5
P.n = property(lambda self: 8, lambda self, v: None)
P.__exit__ = lambda self, *e: True
sys._getframe(2).f_locals["a"] = 2.5
sys._getframe(2).f_locals["b"] = "written"
sys._getframe(2).f_locals["l"] = (1, 2, 3, 4)
sys._getframe(3).f_locals["a"] = 2**63
sys._getframe(2).f_locals["z"] = None
l_ = sys._getframe(2).f_locals.get("l"); l_.__class__ is list and l_.clear(); l_ = None
l_ = sys._getframe(2).f_locals.get("l"); l_.__class__ is list and len(l_) < 9 and l_.append(2**64); l_ = None
l_ = sys._getframe(2).f_locals.get("l"); l_.__class__ is list and l_.__setitem__(slice(0, 2), [Loud(5), None, 3]); l_ = None
d_ = sys._getframe(2).f_locals.get("d"); d_.__class__ is dict and d_.update(new=1); d_ = None
sys.settrace(lambda *a: None)
sys.settrace(None)
import gc; gc.collect()
range = lambda *k: [1, 2, 2**70]
""".strip().split("\n")


class Stack:
    def __init__(self, seed):
        self.r = random.Random(f"stacks {seed}")
        self.out, self.depth, self.loops, self.names = [], 0, 0, 0
        self.generator = False

    def put(self, text):
        self.out.extend("    " * self.depth + line for line in text.split("\n"))

    def atom(self):
        return self.r.choice(ATOMS)

    def number(self, d):
        r = self.r
        k = r.randrange(8)
        if k < 3 or d > 3:
            return r.choice("a b c x y i g 1 300 2.5 a b i".split())
        if k < 6:
            return f"num({self.any(d + 1)})"
        return f"({self.number(d + 1)} {r.choice(['+', '-', '+', '*', '<', '>'])} {self.number(d + 1)})"

    def condition(self, d):
        r = self.r
        return r.choice([f"{self.number(d + 1)} < {self.number(d + 1)}", f"{self.any(d + 1)} is None", "i & 1", "i % 3 == 0", "a < b", f"{self.any(d + 1)}", f"tick({self.atom()})"])  # fmt: skip

    def walk(self, d):
        r = self.r
        text = r.choice(ITERABLES)
        return text.format(e=f"at({self.any(d + 2)}, 9)")

    def loop(self, d):
        """A comprehension, of some shape."""
        r = self.r
        self.names += 1
        v = f"v{self.names}"
        k = r.random()
        item = v if k < 0.25 else self.any(d + 1) if k < 0.45 else r.choice([f"({v}, {self.atom()})", f"num({v}) + {self.number(d + 2)}", f"f({v}, {self.atom()})", f"(a := num({v}))", f"(m := {v})", "(b := b + 1)", f"tick({v})", f"o.put({v}).n", f"num({v}) * x", f"[{v}, a]", f"Loud({v})", f"(x := x * 0.5 + num({v}))", f"see({v})"])  # fmt: skip
        tail = f" for {v} in {self.walk(d)}"
        if r.random() < 0.25:
            tail += f" if {self.condition(d + 1)}"
        elif r.random() < 0.15:
            tail += f" if num({v}) > a"
        if r.random() < 0.25:
            self.names += 1
            tail += f" for v{self.names} in {self.walk(d + 1)}"
            if r.random() < 0.5:
                item = f"({item}, v{self.names})"
        k = r.random()
        if k < 0.62:
            return f"[{item}{tail}]"
        if k < 0.7:
            return f"{{at({v}, 8): {item}{tail}}}"
        if k < 0.76:
            return f"sorted({{at({v}, 9){tail}}})"
        return r.choice(["list({})", "tuple({})", "sum(1 for v0 in ({}))", "any({})", "all({})", "[*({})]", "next(({}), 7)", "f(*({}))", "len([*({})])"]).format(f"{item}{tail}")  # fmt: skip

    def any(self, d=0):
        r = self.r
        if d > 3 or r.random() < 0.2:
            return self.atom()
        k = r.randrange(30)
        e2, c = (lambda: self.any(d + 2)), (lambda: self.loop(d + 1) if r.random() < 0.7 else self.any(d + 1))
        if k < 3:
            return f"({self.number(d)} {r.choice('+-*')} num({c()}))"
        if k == 3:
            return f"({self.number(d)} < len({self.loop(d + 1)}) <= {self.number(d)})"
        if k == 4:
            return f"f({e2()}, {c()}, {e2()})"
        if k == 5:
            return f"o.get({e2()}, {c()})"
        if k == 6:
            return f"h({e2()}, k={c()})"
        if k == 7:
            return f"h({c()}, {e2()}, {c()}, {self.atom()})"
        if k == 8:
            return f"[{e2()}, {c()}, {e2()}]"
        if k == 9:
            return f"({self.atom()}, {c()}, {self.atom()}, {c()})"
        if k == 10:
            return f"{{{self.atom_key()}: {e2()}, 'k': {c()}}}"
        if k == 11:
            return f"f'{{{self.number(3)}}}-{{num({c()})}}-{{short({self.atom()})!r:>9}}'" if d < 2 else "f'{a}{b}'"
        if k == 12:
            return f"({e2()} if {self.condition(d + 1)} else {c()})"
        if k == 13:
            return f"({e2()} {r.choice(['and', 'or'])} {c()})"
        if k == 14:
            return f"l[at({c()}, 4)]"
        if k == 15:
            return f"l[at({e2()}, 3):at({c()}, 5)]"
        if k == 16:
            return f"[*{self.loop(d + 1)}, {e2()}, *{self.loop(d + 1)}]"
        if k == 17:
            return f"two({e2()}, {c()})[{r.choice('01')}]"
        if k == 18:
            return f"(lambda p, q={c()}: (p, q, a))({e2()})"
        if k == 19:
            return f"first({self.atom()}, {c()})"
        if k == 20:
            return f"({self.atom()} is {c()})"
        if k == 21:
            return f"({r.choice(['a', 'b', 'm', 'x'])} := {r.choice(['num', 'f', 'f'])}({c()}))" if r.random() < 0.5 else f"(m := {c()})"  # fmt: skip
        if k == 22:
            return f"first(Loud({self.number(4)}), {c()})"
        if k == 23:
            return f"(Loud(a) + num({c()}))"
        if k == 24:
            return f"Loud(i).get({c()})"
        if k == 25 and r.random() < 0.3:  # deeper than a trace follows
            return "(" + ", ".join(self.atom() for _ in range(r.choice([20, 44, 50, 70]))) + f", {self.loop(d + 1)})"
        return self.loop(d)

    def atom_key(self):
        return self.r.choice(["a", "s", "1", "'q'", "i", "x", "None", "(a, b)"])

    def block(self, d, most=3):
        self.depth += 1
        for _ in range(self.r.randrange(1, most + 1)):
            self.statement(d)
        self.depth -= 1

    def statement(self, d):
        r = self.r
        k = r.randrange(34 if d < 3 else 18)
        name = r.choice(["m", "m", "m", "z", "y"])
        if k < 5:
            return self.put(f"{name} = {self.any()}")
        if k == 5:
            return self.put(f"see({self.any()}, {self.atom()})")
        if k == 6:
            return self.put(f"l[at({self.loop(1)}, 4)] = {self.any(1)}")
        if k == 7:
            return self.put(f"o.{r.choice('nw')} = {self.any(1)}")
        if k == 8:
            return self.put(f"m, {r.choice(['z', 'y', 'o.n', 'l[0]', 'd[0]'])} = {self.any(1)}, {self.any(1)}")
        if k == 9:
            return self.put(f"d[{self.atom_key()}] = {self.any(1)}")
        if k == 10:
            return self.put(f"l[at({self.loop(1)}, 4)] {r.choice(['+= num', '*= at'])}({self.any(1)}, 3)" if r.random() < 0.5 else f"o.n += num({self.loop(1)})")  # fmt: skip
        if k == 11:
            return self.put(r.choice(["a = a + 1 & 1023", "a, b = b, a", "b = i * 301", "x = x * 0.5 + i", "y = x", "x = 0.5", "l = [5, a, x, 'k']", "d = {0: 5, 1: a, 'a': b}", "o = P(a)", "z = Loud(b)", "z = None", "m = None", "a = 3", "b = num(b)", "a = num(a)", "x = num(x)", "c = -c", "l = l[:4] + [1, 2, 3, 4][len(l[:4]):]", "s = s[1:] + s[0]"]))  # fmt: skip
        if k == 12:
            return self.put(f"a, b = num({self.any(1)}), num({self.loop(1)})")
        if k == 13:
            return self.put(f"a {r.choice(['+=', '-=', '^='])} at({self.any(1)}, 99)")
        if k == 14:
            return self.put(f"g = num({self.any(1)})")
        if k == 15:
            return self.put(f"see([{r.choice('abxm')} for {r.choice('abxm')} in {self.walk(1)}], {r.choice('abxm')})")
        if k == 16:
            return self.put("tick()")
        if k == 17:
            return self.put(f"if {self.condition(1)}: {r.choice(['continue', 'break', 'tick()', 'm = a', 'raise ValueError(a)'])}") if self.loops else self.put("tick()")  # fmt: skip
        if k < 20:
            self.put(f"if {self.condition(1)}:")
            return self.block(d + 1)
        if k < 23:
            self.put("try:")
            self.block(d + 1)
            if r.random() < 0.7:
                self.put(r.choice(["except (TypeError, ValueError) as e:", "except Exception as e:", "except (NameError, KeyError):"]))  # fmt: skip
                self.depth += 1
                self.put(f"for j{d} in range({r.choice([3, 6, 12])}):")
                self.block(d + 1)
                if r.random() < 0.6:
                    self.put("see(type(sys.exception()).__name__)")
                self.depth -= 1
            else:
                self.put("finally:")
                self.depth += 1
                self.put(f"for j{d} in l[:4]:")
                saved, self.loops = self.loops, 0
                self.block(d + 1)
                self.loops = saved
                self.depth -= 1
            return None
        if k < 25:
            self.put(f"with {r.choice(['P(2)', 'P(a)', 'P(i)', 'P(1)'])} as {r.choice(['m', 'a', 'y'])}, {r.choice(['P(4)', 'P(b)'])}:")  # fmt: skip
            self.depth += 1
            self.put(f"for j{d} in {self.walk(1)}:")
            self.block(d + 1)
            self.depth -= 1
            return None
        if k == 25:
            self.put(f"match {self.any(1)}:")
            for case in r.sample(["case [q, *_]: see(q)", "case (q, w): m = [w for w in range(5)]", "case int(q): a = q & 1023", "case str(): s = 'xyzab'", "case {'k': q}: m = q", "case [[q, _], *w] if len([p for p in w]) > 1: see(q)"], 3):  # fmt: skip
                self.put("    " + case)
            return self.put("    case _: tick()")
        if k < 29:
            self.put(f"for {r.choice([f'j{d}', f'j{d}', 'm', 'a', 'y'])} in {self.walk(1) if r.random() < 0.6 else self.loop(1)}:")  # fmt: skip
            saved, self.loops = self.loops, self.loops + 1
            self.block(d + 1)
            self.loops = saved
            return None
        if k == 29:
            self.put(f"def late(p, q={self.any(1)}, *, k={self.loop(1)}): return [p, q, k, a][at(p, 4)]")
            return self.put(f"m = late({self.atom()}, k={self.loop(1)})")
        if k == 30:
            self.put("class Q:")
            return self.put(
                f"    n = {r.choice(['[v for v in range(4)]', '3', 'sum([k for k in range(5)])'])}\n    k = n"
            )
        if k == 31 and self.generator:
            return self.put(f"{r.choice(['m = ', '', 'y = '])}(yield {self.any(1)})" if r.random() < 0.7 else f"m = f(a, (yield {self.atom()}), {self.loop(1)})")  # fmt: skip
        self.put("while at(m, 7) < 3 and tick(True):")
        self.put(f"    m = [m, {self.atom()}] if m.__class__ is not list or len(m) > 8 else m + [{self.number(2)}]")
        return None

    def text(self):
        r = self.r
        style = r.choice(["module", "function", "function", "cells", "generator", "argument"])
        self.generator = style == "generator"
        if style != "module":
            self.put("def run(q0=1, q1=2.5):")
            self.depth = 1
            self.put("global g")
        for line in START:
            self.put(line)
        if style == "argument":
            self.put(r.choice(["a = q0", "x = q1", "m = q0", "b = q0", "l[0] = q0"]))
        for _ in range(r.choice([1, 2, 2, 3])):
            self.put("try:")
            self.depth += 1
            self.put(r.choice([f"for i in range({r.choice([25, 45, 60])}):", "for i in [*range(40)]:", "i = 0\nwhile i < 40:\n    i += 1"]))  # fmt: skip
            self.loops = 1
            self.depth += 1
            for _ in range(r.randrange(1, 5)):
                self.statement(0)
            if r.random() < 0.8:
                self.put("a, b, c, x, y = num(a), num(b), num(c), num(x), num(y)")
            if r.random() < 0.6:
                self.put("if len(log) > 380 or TICK[0] > 4000: break")
            self.depth -= 2
            self.loops = 0
            self.put("except Exception as e: tell(e)")
            self.put("try: see(a, b, c, x, y, m, l)\nexcept NameError as e: tell(e)")
        if style == "cells":
            self.put("def inner(): return a, m, l\nsee(inner())")
        self.put("try: OUT.append((a, b, c, x, y, s, m, l, d, o))\nexcept NameError as e: tell(e)")
        self.depth = 0
        if style == "generator":
            self.put("for _ in run(): see(_)")
        elif style != "module":
            self.put("run()" if style != "argument" else "for q in [1, 300, 2.5, 300, 'k', None, 2**70, True]:\n    try: run(q, q)\n    except Exception as e: tell(e)")  # fmt: skip
        at = {
            r.choice([r.randrange(4, 90), r.randrange(40, 900)]): r.choice(EVENTS)
            for _ in range(r.choice([0, 1, 1, 2, 3]))
        }
        return f"{PRELUDE}AT.update({at!r})\n" + "\n".join(self.out) + "\n"


def make(seed):
    """A program; what is no Python (a name bound both by a comprehension and in it) is made anew."""
    for k in range(100):
        text = Stack(f"{seed} {k}" if k else seed).text()
        try:
            compile(text, "kinds", "exec")
        except SyntaxError:
            continue
        return text
    raise AssertionError("no program")


def compare(first, count, force=0):
    return differing_from(first, count, "stacks", make, again(kinds.observe), force, limits=(3, 60), busy=True)


if __name__ == "__main__":
    command(make, compare)
