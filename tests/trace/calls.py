# ruff: noqa: E501 - choices read best in one line
"""Random programs of functions that call one another in loops: see `make`.

Functions, methods and closures are made at random, of moves between places (variables, items, attributes, globals, cells), which
may be one and the same under two names; with early returns, short loops, defaults and exceptions in the middle. Hot
loops call them, so they are inlined; late in a loop a place gets a value of another type, an index runs out, or a function
is another.

    python calls.py FIRST_SEED COUNT [FORCE]        # compares plain and optimised runs
    python calls.py show SEED                       # prints a program
"""

import ast
import random
import textwrap

import kinds
from compared import again, command, differing_from

PRELUDE = (
    kinds.PRELUDE
    + """
class P:
    k, r = 300, 2.5
    def __init__(self, n): self.n = n; self.w = n * 0.5; self.o = None; self.l = [n, n + 300, 5, 7000]
class Q(P):
    k = 7
class S:
    __slots__ = ("n", "w", "o", "l")
    k, r = 500, 0.5
    def __init__(self, n): self.n = n; self.w = n * 0.25; self.o = None; self.l = [n, 400, 5]
class Loud:
    def __init__(self, n): self.n = n; self.w = 1.5; self.o = None; self.l = [n]
    k, r = 9, 1.0
    def __del__(self, note=note): note(-self.n)
class Names(dict):
    def __getitem__(self, k): return dict.__getitem__(self, k)
    def __setitem__(self, k, v): dict.__setitem__(self, k, v)
import collections
g, h, z = 300, 7, 1.5
GL, GD, GP = [1000, 2, 3000, 4], {0: 500, 1: 6, 2: 700, 3: 8}, P(77)
OUT = []
"""
)
OBJECTS, LISTS, INTS, FLOATS, DICTS = "p q", "L M", "a b c", "x y", "D"
KIND = {
    name: kind
    for kind, names in {"o": "p q s GP", "l": "L M GL", "i": "a b c g h i", "f": "x y z", "d": "D GD"}.items()
    for name in names.split()
}
BIG = ["1000", "70000", "2**40", "300", "5", "1", "0", "-1", "2**62", "2**63 - 1", "True", "-5", "256", "257"]


class Body:
    """A function's statements; ``names`` are its variables by kind, ``calls`` what it may call: name and kinds of parameters."""

    def __init__(self, r, names, calls, cells=(), returns=True):
        self.r, self.names, self.calls, self.cells, self.lines, self.depth = r, names, calls, cells, [], 1
        self.loops, self.returns = 0, returns

    def put(self, text):
        self.lines += ["    " * self.depth + line for line in text.split("\n")]

    def one(self, kind):
        """A variable of this kind, or a global one."""
        mine = [n for n in self.names if KIND[n] == kind]
        others = {"o": ["GP"], "l": ["GL"], "i": ["g", "h"], "f": ["z"], "d": ["GD"]}[kind]
        return self.r.choice(mine if mine and self.r.random() < 0.85 else others)

    def list(self):
        r = self.r.random()
        return self.one("l") if r < 0.8 else f"{self.one('o')}.l"

    def index(self):
        r = self.r
        return r.choice(["0", "1", "-1", "2", f"{self.one('i')} & 1", f"{self.one('i')} & 3", self.one("i") + " % 3"])

    def place(self, kind="i"):
        """Where a number can be."""
        r, k = self.r, self.r.random()
        if kind == "f":
            return self.one("f") if k < 0.6 else f"{self.one('o')}.w"
        if k < 0.4:
            return self.one("i")
        if k < 0.62:
            return f"{self.one('o')}.n"
        if k < 0.85:
            return f"{self.list()}[{self.index()}]"
        if k < 0.93:
            return f"{self.one('d')}[{self.one('i')} & 3]"
        return r.choice([*self.cells, self.one("i")])

    def target(self, kind="i"):
        """Where a number can be put; not the counter of a loop."""
        while (found := self.place(kind)) == "i":
            pass
        return found

    def value(self, kind="i", deep=0):
        r, k = self.r, self.r.random()
        if kind == "f":
            if k < 0.5 or deep > 1:
                return self.place("f")
            if k < 0.8:
                return f"{self.value('f', deep + 1)} {r.choice('+-*')} {r.choice(['0.5', '1.0', self.place('f'), self.place()])}"
            return r.choice(["0.5", "-0.0", "1e300", "2.5", f"{self.one('o')}.r", f"float({self.place()})"])
        if k < 0.42 or deep > 1:
            return self.place()
        if k < 0.7:
            a, b = self.value("i", deep + 1), r.choice([self.place(), "1", "3", "300", self.place()])
            return r.choice(
                [
                    f"({a} + {b}) & 65535",
                    f"{a} - {b}",
                    f"({a} ^ {b})",
                    f"({a} * 3 + {b}) % 5000",
                    f"{a} // 3",
                    f"{a} + 1",
                    f"abs({a})",
                    f"{a} % 1000",
                ]
            )
        if k < 0.78:
            return r.choice(BIG)
        if k < 0.83:
            return r.choice(
                [
                    f"len({self.list()})",
                    f"{self.one('o')}.k",
                    f"min({self.place()}, {self.place()})",
                    f"max({self.place()}, 9)",
                    f"{self.one('d')}.get({self.one('i')} & 7, {self.place()})",
                    f"int({self.place('f')} > 1.0)",
                    f"({self.place()}, {self.place()})[{self.one('i')} & 1]",
                ]
            )
        if k < 0.88:
            return f"{self.place()} if {self.condition()} else {self.place()}"
        return self.call() or self.place()

    def call(self):
        if not self.calls:
            return None
        name, kinds_, needed, keyword = self.r.choice(self.calls)
        some = kinds_ if self.r.random() < 0.7 else kinds_[:needed]
        given = [self.argument(kind) for kind in some]
        if keyword and self.r.random() < 0.4:
            given.append(f"{keyword}={self.place()}")
        return f"{name.replace('{o}', self.one('o'))}({', '.join(given)})"

    def argument(self, kind):
        if kind in "old":
            return f"{self.one('o')}.l" if kind == "l" and self.r.random() < 0.2 else self.one(kind)
        return self.value(kind, 1)

    def condition(self):
        r = self.r
        a, b = self.place(), self.place()
        return r.choice([
            f"{a} < {b}", f"{a} > 50", f"{a} & 1", f"{a} is {b}", f"{a} == {b}", f"{self.place('f')} < {self.place('f')}", f"{self.one('o')} is {self.one('o')}",
            f"{self.one('o')}.o is None", f"{self.one('l')} is {self.one('l')}", f"not {a}", f"{a} % 3 == 1", f"isinstance({a}, int)", f"{self.one('i')} & 3 in {self.one('d')}",
            f"{self.place('f')} is {self.place('f')}",
        ])  # fmt: skip

    def statement(self):
        r, k = self.r, self.r.random()
        if k < 0.3:
            self.put(f"{self.target()} = {self.value()}")
        elif k < 0.38:
            self.put(f"{self.target('f')} = {self.value('f')}")
        elif k < 0.46:
            a, b = (self.target(), self.target()) if r.random() < 0.7 else (self.target("f"), self.target("f"))
            self.put(f"{a}, {b} = {b}, {a}")
        elif k < 0.53:
            self.put(f"{self.target()} {r.choice(['+=', '-=', '^=', '+='])} {r.choice(['1', self.place(), '300'])}")
        elif k < 0.57:
            a, b = self.target(), self.target()
            self.put(f"{a} = {b} = {self.value()}")
        elif k < 0.63:
            o, q = self.one("o"), self.one("o")
            self.put(r.choice([
                f"{o}.o = {q}", f"{o}.o = None", f"{o}.o = {self.place()}", f"{o}.l = {self.one('l')}", f"if {o}.o is not None and {o}.o.__class__ is P: {o}.o.n = {self.place()}",
                f"{o}.o = ({self.place()}, {self.place('f')})", f"if {o}.o.__class__ is tuple: {self.target()} = {o}.o[0]", f"{o}.w = {self.place()}", f"{o}.n, {q}.n = {q}.n, {o}.n",
            ]))  # fmt: skip
        elif k < 0.68:
            some = self.list()
            self.put(
                r.choice(
                    [
                        f"if len({some}) < 9: {some}.append({self.place()})",
                        f"if len({some}) > 4: {some}.pop()",
                        f"{some}[0], {some}[-1] = {some}[-1], {some}[0]",
                        f"if len({some}) > 5: {self.target()} = {some}.pop()",
                    ]
                )
            )
        elif k < 0.76:
            text = self.call() or self.value()
            if text:
                self.put(r.choice([text, f"{self.target()} = {text}", f"{self.target()} = {text}"]))
        elif k < 0.84 and self.depth < 4:
            self.put(f"if {self.condition()}:")
            self.block()
            if r.random() < 0.4:
                self.put("else:")
                self.block()
        elif k < 0.88 and self.depth < 4 and self.loops < 2:
            self.loops += 1
            v = f"v{self.loops}"
            self.put(
                f"for {v} in {r.choice([self.list() + '[:3]', 'range(3)', 'range(' + self.one('i') + ' & 3)', self.list(), '(1, 300, 5)'])}:"
            )
            KIND[v] = "i"
            self.names = [*self.names, v]
            self.block()
            self.names = [n for n in self.names if n != v]
        elif k < 0.92 and self.returns:
            self.put(f"if {self.condition()}: return {self.value()}")
        elif k < 0.95 and self.depth < 3:
            self.put("try:")
            self.block()
            self.put(
                r.choice(
                    [
                        "except Exception as e: tell(e)",
                        f"finally: {self.target()} = {self.place()}",
                        f"except TypeError: {self.target()} = 1",
                    ]
                )
            )
        else:
            self.put(f"{self.target()} = {self.place()}")

    def block(self):
        self.depth += 1
        for _ in range(self.r.randrange(1, 4)):
            self.statement()
        self.depth -= 1


def make(seed):
    r = random.Random(f"calls {seed}")
    calls, rebound = [], []
    functions = [function(r, k, calls, rebound) for k in range(r.randrange(2, 7))]
    style = r.choice(["module", "class", "names", "function", "function", "function", "called"])
    main = Body(r, "a b c i x y p q s L M D".split(), calls * 2, returns=False)
    main.depth = 0 if style in ("module", "names") else 1
    if r.random() < 0.15:  # so many names and constants that instructions need arguments of two bytes
        main.put("if log is None:\n    " + "; ".join(f"u{k} = {k + 9000}" for k in range(300)))
    main.put("a, b, c, i, x, y = 3, 700, 70000, 0, 1.5, -0.25")
    objects = ["P(3), Q(400), S(500)", "P(3), P(400), S(5)", "S(3), S(400), P(5)", "P(3), Loud(4), S(5)"]
    lists = ["[1, 2, 3, 4]", "GL", "[1000, 2**40, 5]", "p.l", "[2**62, 7, 2**63]"]
    dicts = ["{0: 5, 1: 600, 2: 7, 3: 8}", "GD"]
    main.put(f"p, q, s = {r.choice(objects)}")
    main.put(f"L, M, D = [5, 300, 7, 1000], {r.choice(lists)}, {r.choice(dicts)}")
    if r.random() < 0.3:
        main.put(r.choice(["q = p", "M = L", "p.o = q; q.o = p", "p.l = L", "GP.l = L", "p = GP"]))
    if style in ("function", "called") and r.random() < 0.25:  # variables shared with a function within
        own = r.sample(["a", "b", "x", "p", "L", "i"], 2)
        inner = f"nonlocal {own[0]}\n    {own[0]} = {own[0]} if v_ is None else v_\n    " if own[0] in "abx" else ""
        main.put(f"def peek_(v_=None):\n    {inner}return {own[1]} if {own[1]}.__class__ is int else {own[0]}")
        main.calls = [*main.calls, ("peek_", ["i"], 0, None)]
    for _ in range(r.randrange(1, 4)):
        loop(r, main, rebound)
    main.put("OUT.append((a, b, c, i, x, y, p, q, s, L, M, D, g, h, z, GL, GD, GP))")
    text = "\n".join(main.lines)
    if main.depth:
        bound = [n for n in ("g", "h", "z") if binds(text, n)]
        text = f"    global {', '.join(bound)}\n{text}" if bound else text
    if style == "class":
        text = "class Space_:\n" + text
    elif style == "names":  # its variables are in a dict, or what behaves as one
        text = f"exec(compile({text!r}, 'kinds', 'exec'), globals(), {r.choice(['{}', 'Names()', 'collections.ChainMap({})'])})"
    elif style != "module":
        text = "def run():\n" + text + ("\nrun()" if style == "function" else "\nfor k_ in range(5): run()")
    return PRELUDE + "\n".join(functions) + "\n" + text + "\n"


def function(r, k, calls, rebound):
    """The source of a function; what may call it is told in ``calls``, and in ``rebound`` if it is a plain one."""
    params = r.sample("a b c x y p q L M D".split(), r.randrange(1, 5))
    style, name = r.random(), f"f{k}"
    body = Body(r, list(params), calls[:], ["n_", "m_"] if style < 0.2 else [])
    if r.random() < 0.05:
        body.put("if log is None:\n    " + "; ".join(f"u{k} = {k + 9000}" for k in range(300)))
    for n in r.sample("a b c x".split(), 2):
        if n not in params:
            body.put(f"{n} = {body.value(KIND[n])}")
            body.names.append(n)
    for _ in range(r.randrange(1, 6)):
        body.statement()
    body.put("return " + r.choice([body.value(), body.place(), body.place(), "len(log)", "5"]))
    text = "\n".join(body.lines)
    bound = [n for n in ("g", "h", "z") if binds(text, n)]
    if bound:
        text = f"    global {', '.join(bound)}\n{text}"
    needed, signature, keyword = len(params), list(params), None
    while needed > 1 and KIND[params[needed - 1]] in "if" and r.random() < 0.5:
        needed -= 1
        signature[needed] += "=" + r.choice(["300", "5", "70000"] if KIND[params[needed]] == "i" else ["0.5", "2.5"])
    if r.random() < 0.15:
        keyword = "i"
        signature += ["*", "i=3"]
    head, called = f"{', '.join(signature)}):\n", name
    if style < 0.2:
        inside = textwrap.indent(f"def {name}({head}    nonlocal n_, m_\n{text}", "    ")
        text = f"def made{k}(n_, m_):\n{inside}\n    return {name}\n{name} = made{k}(300, 5)"
    elif style < 0.45:
        called = f"{{o}}.{name}"
        text = f"def {name}(self, {head}{text}".replace("GP", "self")
        text += f"\nP.{name} = S.{name} = Loud.{name} = {name}"
    else:
        text = f"def {name}({head}{text}"
        rebound.append(name)
    calls.append((called, [KIND[n] for n in params], needed, keyword))
    return text


def loop(r, main, rebound):
    heads = [
        "for i in range({0}):",
        "for i in range({0}):",
        "i = 0\nwhile i < {0}:\n    i += 1",
        "for i in list(range({0})):",
        "for i in L * 9:",
    ]
    main.put("try:")
    main.depth += 1
    main.put(r.choice(heads).format(r.choice([20, 45, 60, 90])))
    main.depth += 1
    for _ in range(r.randrange(1, 5)):
        if r.random() < 0.5:
            text = main.call()
            main.put(r.choice([f"{main.target()} = {text}", text, f"{main.target()} = {text}"]))
        else:
            main.statement()
    if r.random() < 0.5:
        main.put(f"if i == {r.choice([19, 23, 30, 37])}:")
        main.put("    " + event(r, main, rebound))
    main.depth -= 2
    main.put("except Exception as e: tell(e)")
    main.put("note((a, b, c, x, y, L, M, p.n, q.n, s.n, g, h, z))")


def binds(text, name):
    """Whether these statements bind a name."""
    tree = ast.parse("def f():\n" + text + "\n    pass")
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in ast.walk(tree))


def event(r, main, rebound):
    """What happens once."""
    some = [
        f"{main.target()} = 2.5", f"{main.target()} = None", f"{main.target()} = 'text'", f"{main.target()} = 2**63", f"{main.target('f')} = 3", f"{main.target('f')} = None", "L = L[:2]", "L = []", "M = tuple(M)", "del p.n",
        "del D[1]", "D = {}", "p = q", "q = Q(9)", "p.l = [1]", "p.l = None", "p.__class__ = Q", "P.k = 2.5", "P.n = 5", "M = L", "GL[1] = None", "GL.clear()", "p.l = L", "q.l = p.l",
        "globals()['g'] = 2.5", "globals()['GP'] = S(8)", "globals()['GL'] = [1, 2]", "globals()['z'] = None", "p = Loud(3)", "L[0] = Loud(4)", "p.o = Loud(6)", "D[2] = Loud(7)", "p.o = Loud(5); q.o = p.o", "s = p",
        "L.extend([500] * 4)", "L[1] = True", "p.n = True", "break", "raise KeyError(i)", "GD[1] = 'x'",
    ]  # fmt: skip
    if rebound:
        f = r.choice(rebound)
        some += [
            f"globals()['{f}'] = lambda *a, **k: 77",
            f"{f}.__code__ = {r.choice(rebound)}.__code__",
            f"{f}.__defaults__ = (7, 8, 9)",
        ] * 3
    return r.choice(some)


def compare(first, count, force=0):
    return differing_from(first, count, "calls", make, again(kinds.observe), force, busy=True, limits=(1, 60))


if __name__ == "__main__":
    command(make, compare)
