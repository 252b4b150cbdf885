# ruff: noqa: E501 - choices read best in one line
"""Random programs of control flow: see `make`.

Functions, closures that share cells, generators (sent to, thrown into, closed, delegated to), coroutines under a scheduler, context
managers that swallow, `try` with `else` and `finally`, exception groups, `match`, jumps out of all of them, recursion. Every
exception tells its frames with their lines and variables, and what it came out of. At some moment, counted through the
whole program, something happens to the frame it meets: a variable is deleted or written through ``f_locals``, a
tracer comes or goes or makes the frame jump to another line, a function or method is another, a container is emptied
while it is walked.

    python flows.py FIRST_SEED COUNT [FORCE]        # compares plain and optimised runs
    python flows.py show SEED                       # prints a program
"""

import random
import sys

import kinds
from compared import again, command, differing_from

PRELUDE = (
    kinds.PRELUDE
    + """
import sys, contextlib, types
OUT, TICK, EVENTS = [], [0], {}
def short(v):
    c = v.__class__
    if c in (int, float, str, bool, type(None)): return repr(v)[:40]
    if c in (list, tuple, dict, set): return c.__name__ + str(len(v))
    return c.__name__
def chain(e, depth=0):
    told = []
    while e is not None and len(told) < 6:
        tb, frames = e.__traceback__, []
        while tb is not None:
            f = tb.tb_frame
            if f.f_code.co_filename == "kinds" and f.f_code.co_name != "<module>":
                seen = sorted((k, short(v)) for k, v in f.f_locals.items() if k != "e")
                frames.append((f.f_code.co_name, tb.tb_lineno, f.f_lineno, tb.tb_lasti, seen))
            f = None
            tb = tb.tb_next
        told.append((type(e).__name__, str(e), frames))
        if isinstance(e, BaseExceptionGroup) and depth < 2: told.append([chain(k, depth + 1) for k in e.exceptions])
        e = e.__context__ if e.__cause__ is None else e.__cause__
    return told
def told(e):
    if len(log) < 300: log.append(str(chain(e)))
def look():
    f = sys._getframe(1)
    if len(log) < 300: log.append(str((f.f_code.co_name, f.f_lineno, f.f_lasti, sorted((k, short(v)) for k, v in f.f_locals.items()))))
def set_local(name, v):
    sys._getframe(1).f_locals[name] = v
def tracer(frame, event, arg):
    if frame.f_code.co_filename == "kinds" and len(log) < 300: log.append(str((event, frame.f_lineno, frame.f_code.co_name)))
    return tracer
JUMP = [0, 0]
def jumper(frame, event, arg):
    if frame.f_code.co_filename == "kinds" and event == "line" and frame.f_code.co_name[0] in "fh":
        JUMP[0] -= 1
        if JUMP[0] == 0:
            frame.f_lineno += JUMP[1]
            frame.f_trace = None
            sys.settrace(None)
            return None
    return jumper
def jump(lines, by):
    JUMP[:] = lines, by
    sys._getframe(3).f_trace = jumper
    sys.settrace(jumper)
def tick():
    TICK[0] += 1
    if TICK[0] in EVENTS: exec(EVENTS[TICK[0]], globals())
class Cm:
    def __init__(self, n): self.n = n
    def __enter__(self): self.n += 1; return self.n
    def __exit__(self, *e): self.n -= 1; return self.n & 1 == 0
class Cx(Cm):
    def __exit__(self, t, e, tb):
        if e is not None: raise LookupError(self.n)
@contextlib.contextmanager
def cg(n):
    try: yield n
    except ValueError: note("swallowed")
    finally: note("left")
class Pt:
    __match_args__ = ("n", "w")
    def __init__(self, n, w=0.5): self.n, self.w = n, w
    def get(self): return self.n
    def put(self, n): self.n = n
    @property
    def p(self): return self.n + 1
class Pu(Pt):
    def get(self): return self.n + 1000
    def __del__(self, note=note): note(-1)
@types.coroutine
def pause(v): return (yield v)
def drive(co):
    sent, got = None, []
    try:
        for _ in range(60):
            v = co.send(sent)
            sent = v if v.__class__ is int else 1
            got.append(v)
            if len(got) == 41: co.throw(ValueError("driven"))
        co.close()
    except StopIteration as e: got.append(e.value)
    except Exception as e: told(e)
    return len(got)
def pump(g):
    n = 0
    try:
        v = next(g)
        for k in range(50):
            v = g.send(k) if k % 3 else next(g)
            n += 1
            if k == 33: g.throw(KeyError(k))
    except StopIteration as e: n += 100
    except Exception as e: told(e)
    finally: g.close()
    return n
"""
)
NAMES = {"int": ["a", "b", "c"], "float": ["x", "y"], "list": ["l"], "dict": ["d"], "str": ["s"], "any": ["m", "o"]}
VALUES = {
    "int": ["0", "3", "300", "-7", "2**40", "2**62 - 5", "-(2**63) + 9"],
    "float": ["0.5", "-0.0", "1e300", "float('inf')", "2.5"],
    "list": ["[1, 2, 3, 400]", "[5, 600, 7]", "[0.5, 1.5, 2.5]", "[Pt(1), Pt(2), Pu(3)]", "[1, 'a', None, 2.5]"],
    "dict": ["{0: 1, 1: 300, 2: 5}", "{'a': 1, 'b': 700}"],
    "str": ["'abcab'", "'xyz'"],
    "any": ["None", "Pt(5)", "Pu(700)", "(1, 2)", "7", "[1, 2]", "{'n': 3}", "'ab'"],
}
ALL = [(name, kind) for kind, names in NAMES.items() for name in names]
# Not f_trace_opcodes: CPython 3.13 and later tell other events of it while any tool of sys.monitoring is there.
GLOBAL_EVENTS = [
    "f{k} = lambda *a, **w: 77", "f{k} = f{j}", "f{k}.__code__ = f{j}.__code__", "f{k}.__defaults__ = (1, 2, 3, 4)", "Pt.get = lambda self: 3", "Pt.p = property(lambda self: 9)", "Pt.n = 5", "Pu.__class__ = type", "Cm.__exit__ = lambda *a: True",
    "Cm.__exit__ = lambda *a: None", "sys.settrace(tracer)", "sys.settrace(None)", "sys.setprofile(tracer)", "sys.setprofile(None)", "GL.clear()", "GL.append(2**70)", "GD.clear()", "GD['z'] = 1", "g = 2.5", "g = 'text'", "g = None", "del g",
    "g = 2**63", "raise ValueError('event')", "raise KeyError(g)", "sys._getframe(2).f_locals['a'] = 'written'", "sys._getframe(2).f_locals['b'] = 2**64", "sys._getframe(2).f_locals['l'] = [9, 9, 9]", "sys._getframe(2).f_locals['x'] = None",
    "sys._getframe(3).f_locals['a'] = 2.5", "sys._getframe(2).f_locals['c'] = 11", "sys._getframe(2).f_trace = tracer",
    "OUT.append(sys._getframe(2).f_locals.copy().keys().__len__())", "l = sys._getframe(2).f_locals.get('l'); l.__class__ is list and l.clear(); l = None", "l = sys._getframe(2).f_locals.get('l'); l.__class__ is list and l.append('new'); l = None",
    "d = sys._getframe(2).f_locals.get('d'); d.__class__ is dict and d.update(new=1); d = None", "len = lambda v: 3", "abs = 7", "tick = lambda: None", "range = lambda *k: [1, 2, 3]", "look()", "import builtins", "sys.setrecursionlimit(900)",
    *(f"jump({lines}, {by})" for lines in (1, 2, 3, 5, 9, 20) for by in (-3, -1, 1, 2, 3, 6, -6)),
    "GL[:] = [Pt(1), 2.5, None]", "Pt.__match_args__ = ('w', 'n')", "Pt.__init__ = lambda self, n, w=1: self.__dict__.update(n=n, w=9)", "Pt.__setattr__ = lambda self, k, v: self.__dict__.update({{k: 1}})", "Pt.__getattr__ = lambda self, k: 4",
]  # fmt: skip


class Flow:
    def __init__(self, seed):
        self.r = random.Random(f"flow {seed}")
        self.out, self.depth, self.loops, self.inner = [], 0, 0, 0
        self.kinds = {}  # of the functions made so far
        self.generator = self.coroutine = False
        self.in_loop = self.in_group = 0

    def put(self, text):
        self.out.extend("    " * self.depth + line for line in text.split("\n"))

    def name(self, kind):
        return self.r.choice(NAMES[kind])

    def int(self, d=0):
        r = self.r
        k = r.randrange(24 if d < 2 else 5)
        if k < 3:
            return r.choice(NAMES["int"] + ["a", "b", "g"] + [f"i{self.loops}"] * (2 if self.in_loop else 0))
        if k == 3:
            return r.choice(["1", "2", "7", "300", "-3", "2**31", "2**62"])
        if k == 4:
            return r.choice(["GL[a & 1]", "l[b & 1]", "l[-1]", "GD.get(a & 3, 5)", "d[a % 3]", "len(l)", "len(s)", "TICK[0]"])  # fmt: skip
        if k == 11:  # squares of squares would take all memory
            return f"(({self.int(d + 1)}) * {self.int(d + 1)} % {r.choice(['2**63', '2**70', '1000'])})"
        if k < 12:
            return f"({self.int(d + 1)} {r.choice('+-+-&|^')} {self.int(d + 1)})"
        if k < 14:
            return f"({self.int(d + 1)} {r.choice(['% 7', '// 3', '& 1023', '>> 1', '% 1000', '// (b & 3)'])})"
        if k == 14:
            return f"({self.int(d + 1)} if {self.cond(d + 1)} else {self.int(d + 1)})"
        if k == 15:
            return r.choice(["o.n", "o.get()", "o.p", "GP.get()", "GP.n", "GP.p", "GL[0]", "int(x)", "ord(s[a % 3])", "abs(a)", "min(a, b)", "max(a, 5)"])  # fmt: skip
        if k == 16 and self.kinds:
            return self.call(d)
        if k == 17:
            return f"({r.choice(NAMES['int'])} := {self.int(d + 1)})"
        if k == 18:
            return r.choice(["sum(l)", "sum(v for v in range(a & 7))", "sum([v & 3 for v in GL])", "next((v for v in range(9) if v > a & 3), 0)", "len([a, *l])", "(lambda v, k=b: v + k)(a)", "len(f'{a}{b:>5}')", "len({**d})"])  # fmt: skip
        return r.choice(NAMES["int"])

    def call(self, d=0):
        """A call of a function made before, of any kind."""
        r = self.r
        f = r.choice([*self.kinds])
        args = ", ".join(self.int(d + 1) if r.random() < 0.7 else r.choice(["x", "l", "o", "s", "m"]) for _ in range(r.randrange(1, 3)))  # fmt: skip
        if r.random() < 0.2:
            args += f", {r.choice('bc')}={self.int(d + 1)}" if args.count(",") == 0 else ""
        if self.kinds[f] == "function":
            return f"{f}({args})"
        if self.kinds[f] == "coroutine":
            return f"(await {f}({args}))" if self.coroutine and r.random() < 0.6 else f"drive({f}({args}))"
        return r.choice([f"pump({f}({args}))", f"next({f}({args}), 0)", f"len([*zip(range(20), {f}({args}))])", f"sum(1 for v in {f}({args}))"])  # fmt: skip

    def cond(self, d=0):
        r = self.r
        return r.choice([f"{self.int(d + 1)} {r.choice(['<', '>', '==', '!=', '<='])} {self.int(d + 1)}", "a & 1", "b % 3 == 1", "m is None", "a is b", "x < y", "s[a % 3] == 'a'", "a in d", "b in l", "not l",
                         "isinstance(o, Pt)", "0 < a < b", "m", "x == y and a", "a or b", "type(a) is int", "TICK[0] & 1"])  # fmt: skip

    def block(self, d, most=3):
        self.depth += 1
        for _ in range(self.r.randrange(1, most + 1)):
            self.statement(d)
        self.depth -= 1

    def simple(self):
        r = self.r
        k = r.randrange(15)
        if k < 5:
            return f"{r.choice(NAMES['int'])} = {self.int()}"
        if k == 5:
            return r.choice([f"{self.name('int')} {r.choice(['+=', '-=', '^=', '+='])} {self.int(1)}", f"{self.name('int')} *= {r.choice('23')}"])  # fmt: skip
        if k == 6:
            return r.choice(["x = x * 0.5 + a % 9", "y = x", "x, y = y, x", "x += 1", "y = x - y", "x = float(a & 255)", "x = a / 7", "y = -x", "x = y if y < 1e9 else 0.5"])  # fmt: skip
        if k == 7:
            return r.choice(["l[a & 1] = b", "l[-1] = x", "l.append(a)", "l.pop()", "l = [a, b, 3]", "l = l[:5]", "GL[a & 1] = b", "GL[0], GL[1] = GL[1], GL[0]", "l[0], l[1] = l[1], l[0]", "a, *l = [b, a, 5, 6]", "l = GL", "l = [*GL]", "l += [a]", "del l[5:]"])  # fmt: skip
        if k == 8:
            return r.choice(["d[a & 3] = b", "d['k'] = a", "GD[b & 3] = a", "d = {**d, 9: a}", "d.pop(a & 3, None)", "d = dict(GD)", "del d[a & 1]", "d.setdefault(a & 7, b)"])  # fmt: skip
        if k == 9:
            return r.choice(["o = Pt(a)", "o = Pu(a)", "o.n = b", "o.put(a)", "GP.put(a & 1023)", "o = GP", "GP.n += 1", "o.w = x", "m = o", "o = None", "o = m", "del o.n"])  # fmt: skip
        if k == 10:
            return r.choice(["m = None", "m = a", "m = x", "m = (a, b)", "m = l", "m = s", "m = {'n': a}", "m = [a, b]", "a, b = b, a", "a = b", "c = a", "m = Pt(a, x)", "s = s[1:] + s[:1]", "s = 'abc'[a % 3] + 'xy'", "s = f'{a & 7}ab'"])  # fmt: skip
        if k == 11:
            return r.choice(["g = (g + a) & 4095", "g += 1", "g = a", "GD['a'] = GD['a'] + 1", "OUT.append(a)" if r.random() < 0.3 else "g ^= b"])  # fmt: skip
        if k == 12:
            return r.choice(["note(a)", "note((a, b, x))", "look()", "note(locals().get('a'))", "note(sorted(locals()))", "note(eval('a'))", "exec('a = 5')", "look()"])  # fmt: skip
        if k == 13:
            return r.choice(["tick()"] * 6 + [f"del {r.choice('abcxm')}", "set_local('a', 12)", "set_local('b', x)", "set_local('m', None)"])  # fmt: skip
        return self.call() if self.kinds else "tick()"

    def statement(self, d):
        r = self.r
        k = r.random()
        if d > 4 or k < 0.42:
            if self.generator and r.random() < 0.2:
                return self.put(r.choice(["yield a", "a = yield b", "m = yield", "yield (a, b)", "yield from l", "yield from range(a & 3)", "c = (yield x) or c"]))  # fmt: skip
            if self.coroutine and r.random() < 0.2:
                return self.put(r.choice(["a = await pause(a)", "await pause(b)", "m = await pause(x)"]))
            self.put(self.simple())
        elif k < 0.52:
            self.put(f"if {self.cond()}:")
            self.block(d + 1, 2)
            if r.random() < 0.3:
                self.put(f"elif {self.cond()}:")
                self.block(d + 1, 2)
            if r.random() < 0.4:
                self.put("else:")
                self.block(d + 1, 2)
        elif k < 0.66:
            self.loop(d)
        elif k < 0.78:
            self.guarded(d)
        elif k < 0.83:
            self.put(r.choice(["with Cm(a) as b:", "with Cm(b):", "with Cm(2), Cm(1) as c:", "with cg(a) as c:", "with Cx(a):", "with contextlib.suppress(TypeError, KeyError, UnboundLocalError):"]))  # fmt: skip
            self.block(d + 1)
        elif k < 0.88:
            self.match(d)
        elif k < 0.91 and self.in_loop and not self.in_group:
            self.put(f"if {self.cond()}: {r.choice(['break', 'continue', 'continue'])}")
        elif k < 0.93 and not self.in_group:
            self.put(f"if TICK[0] > {r.choice([30, 90, 200])}: return {'' if self.generator else self.int()}")
        elif k < 0.95:
            self.put(f"if {self.cond()}: raise {r.choice(['ValueError(a)', 'KeyError(a) from None', 'IndexError', 'ExceptionGroup(s, [ValueError(a), TypeError(b)])', 'LookupError(x)', 'StopIteration(a)'])}")  # fmt: skip
        elif d < 3:
            self.closure(d)
        else:
            self.put("tick()")

    def loop(self, d):
        r = self.r
        self.loops += 1
        i, n = f"i{self.loops}", r.choice([30, 50]) if d == 0 else r.choice([3, 6, 9])
        forms = [f"for {i} in range({n}):"] * 4 + [
            f"for {i} in list(range({n})):", f"for {i} in l * 9:", f"for {i}, c in enumerate(l * {max(n // 3, 1)}):", f"for {i}, b in zip(range({n}), GL * 20):", f"for {i} in d:", f"for {i}, c in d.items():", f"for {i} in s * 5:",
            f"for {i} in (v * 3 for v in range({n})):", f"for {i} in map(abs, range(-{n}, 0)):", f"for {i} in reversed(range({n})):", f"for {i} in l:", f"for {i} in GL[:]:", f"for {i} in iter(lambda k=iter(range({n})): next(k, None), None):",
            f"for a in range({n}):\n    {i} = a", f"{i} = 0\nwhile {i} < {n}:\n    {i} += 1", f"{i} = {n}\nwhile ({i} := {i} - 1):\n    pass", f"{i} = 0\nwhile True:\n    {i} += 1\n    if {i} > {n}: break",
        ]  # fmt: skip
        gens = [f for f, kind in self.kinds.items() if kind == "generator"]
        forms += [f"for {i}, c in zip(range({n}), {f}({self.int(1)})):" for f in gens] * 2
        self.put(r.choice(forms))
        before, self.in_loop = self.in_loop, 1
        group, self.in_group = self.in_group, 0
        if d == 0:
            self.depth += 1
            self.put("tick()")
            self.depth -= 1
        self.block(d + 1, 5 if d == 0 else 3)
        self.in_loop, self.in_group = before, group
        if r.random() < 0.15:
            self.put("else:")
            self.block(d + 1, 1)

    def guarded(self, d):
        r = self.r
        group = r.random() < 0.12
        self.put("try:")
        self.block(d + 1)
        k = r.random()
        if k < 0.85:
            star = "*" if group else ""
            kinds = ["Exception", "ValueError", "(TypeError, KeyError)", "IndexError", "ArithmeticError", "LookupError", "UnboundLocalError", "(NameError, AttributeError)"]  # fmt: skip
            self.in_group += group
            for what in r.sample(kinds, r.choice([1, 1, 2])):
                self.put(f"except{star} {what} as e:")
                self.depth += 1
                self.put(r.choice(["told(e)", "told(e)", "pass", "m = e; m = None", "a = 1"]))
                if r.random() < 0.35:
                    self.statement(d + 1)
                if r.random() < 0.15:
                    self.put(r.choice(["raise", "raise RuntimeError(b)", "raise OSError(a) from e"]))
                self.depth -= 1
            self.in_group -= group
            if r.random() < 0.25:
                self.put("else:")
                self.block(d + 1, 2)
        if k >= 0.85 or r.random() < 0.25:
            self.put("finally:")
            self.in_group += 1  # no jumps out of it: later versions warn
            self.block(d + 1, 2)
            self.in_group -= 1

    def match(self, d):
        r = self.r
        self.put(f"match {r.choice(['m', 'o', '(a & 3, b)', 'a & 3', 'l', 'd', 's', '[a & 1, x]', 'GL', 'GP'])}:")
        cases = ["None", "0 | 1", "int(k) if k > 5", "[p, *q]", "(0, k)", "(p, q)", "Pt(n, w)", "Pu(n=k)", "{'n': k}", "{'a': k, **q}", "str()", "'abc'", "[1 | 2 as k, _]", "float(k)"]  # fmt: skip
        self.depth += 1
        for case in r.sample(cases, r.randrange(1, 5)):
            self.put(f"case {case}:")
            self.block(d + 1, 2)
        if r.random() < 0.5:
            self.put("case _:")
            self.block(d + 1, 1)
        self.depth -= 1

    def closure(self, d):
        r = self.r
        self.inner += 1
        f = f"h{self.inner}"
        shared = r.sample(["a", "b", "c", "x", "m", "l"], r.randrange(1, 4))
        saved = self.generator, self.coroutine, self.in_loop, self.in_group
        self.generator, self.coroutine, self.in_loop, self.in_group = r.random() < 0.3, False, 0, 0
        generator = self.generator
        self.put(f"def {f}(k={r.choice(['a', 'b', '5', 'l'])}):")
        self.depth += 1
        self.put("nonlocal " + ", ".join(shared))
        others = [n for n, _ in ALL if n not in shared]
        for name in others:
            if r.random() < 0.8:
                kind = next(kind for n, kind in ALL if n == name)
                self.put(f"{name} = {r.choice(VALUES[kind])}")
        self.put("global g")
        for _ in range(r.randrange(1, 4)):
            self.statement(d + 2)
        if generator:
            self.put("yield a")
        else:
            self.put(f"return {self.int(1)}")
        self.depth -= 1
        self.generator, self.coroutine, self.in_loop, self.in_group = saved
        call = f"pump({f}())" if generator else f"{f}({r.choice(['', 'a', 'b'])})"
        self.put(r.choice([f"for k in range({r.choice([3, 12, 40])}): a = {call}", f"a = {call}", f"for k in range(9):\n    b = {call}\n    a = b", f"m = {f}"]))  # fmt: skip

    def function(self, k):
        r = self.r
        f, kind = f"f{k}", r.choice(["function"] * 4 + ["generator"] * 2 + ["coroutine"])
        self.generator, self.coroutine, self.in_loop, self.in_group = kind == "generator", kind == "coroutine", 0, 0
        params = r.choice(["a, b=3, c=7", "a, b=700, c=5, x=0.5", "a, *rest, b=2, c=2**40", "a, b=1, /, c=4, **more", "a, b=9, *, c=300"])  # fmt: skip
        self.depth = 0
        self.put(f"{'async ' if kind == 'coroutine' else ''}def {f}({params}):")
        self.depth = 1
        self.put("global g")
        for name, of in ALL:
            if name not in ("a", "b", "c") and (name, params) != ("x", "a, b=700, c=5, x=0.5") and r.random() < 0.93:
                self.put(f"{name} = {r.choice(VALUES[of])}")
        if kind == "function" and r.random() < 0.2:
            self.put(f"if TICK[0] < 400 and a.__class__ is int and a > 0: b = {f}(a // 2 if a < 99 else 5)")
        if r.random() < 0.6:
            self.loop(0)
        for _ in range(r.randrange(1, 5)):
            self.statement(1)
        if kind == "generator":
            self.put(r.choice(["yield a", "for v in range(9):\n    got = yield v\n    if got == 3: a += 1", "yield from l", "while TICK[0] < 600:\n    tick()\n    a = (yield b) or 4"]))  # fmt: skip
        elif r.random() < 0.8:
            self.put(f"return {r.choice(['a', 'b', 'a, b', 'x', self.int()])}")
        self.kinds[f] = kind

    def program(self):
        r = self.r
        self.put("g, GL, GD, GP = 5, [3, 400, 5], {'a': 1, 0: 5, 1: 600}, Pt(7)")
        count = r.randrange(2, 6)
        for k in range(count):
            self.function(k)
        self.depth = 0
        times = r.sample([40, 55, 75, 90, 130, 170, 230, 300], r.randrange(0, 4))
        for time in sorted(times):
            self.put(f"EVENTS[{time}] = {r.choice(GLOBAL_EVENTS).format(k=r.randrange(count), j=r.randrange(count))!r}")
        top = f"f{count - 1}"
        self.generator = self.coroutine = False
        calls = []
        for _ in range(r.choice([1, 2, 3])):
            f = r.choice([top, top, *self.kinds])
            v = r.choice(["turn", "3", "turn * 300", "2.5 if turn == 30 else turn", "'s' if turn == 35 else 5", "2**63 - 40 + turn"])  # fmt: skip
            kind = self.kinds[f]
            calls.append(f"{f}({v})" if kind == "function" else f"drive({f}({v}))" if kind == "coroutine" else f"pump({f}({v}))")  # fmt: skip
        self.put(f"def main():\n    for turn in range({r.choice([6, 20, 45])}):")
        self.depth = 2
        for call in calls:
            self.put(f"try: OUT.append(short({call}))\nexcept Exception as e: told(e)")
        self.depth = 0
        self.put("main()\nsys.settrace(None); sys.setprofile(None)\nEVENTS.clear()")
        return PRELUDE + "\n".join(self.out) + "\n"


def make(seed):
    flow = Flow(seed)
    while True:
        text = flow.program()
        try:
            compile(text, "kinds", "exec")
            return text
        except SyntaxError:  # a name used before it is declared, say
            r = flow.r
            flow = Flow(seed)
            flow.r = r


def compare(first, count, force=0):
    sys.unraisablehook = lambda *_: None  # what generators that are closed raise
    return differing_from(first, count, "flows", make, again(kinds.observe), force, busy=True, limits=(1, 90))


if __name__ == "__main__":
    command(make, compare)
