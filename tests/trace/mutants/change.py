# ruff: noqa: E501 - choices read best in one line
"""What is changed in a program: see `Mutator`."""

import ast
import copy

# What K0, K1, ... stand for: numbers of every type, and what is none.
VALUES = [
    "3", "True", "2.5", "300", "-7", "2**40", "2**63", "-2**63", "0", "-0.0", "float('nan')", "float('inf')", "10**30",
    "I(3)", "J(4)", "Fl(1.5)", "Pf(2.0)", "fractions.Fraction(7, 2)", "decimal.Decimal('1.5')", "np and np.int64(5)",
    "np and np.float64(1.5)", "np and np.bool_(True)", "np and np.int8(100)", "np and np.float32(0.5)", "Up(2)", "None", "'ab'",
    "(1, 2)", "[1, 2]", "2j", "'é'", "b'ab'", "St('a')",
]  # fmt: skip
BINARY = [ast.Add, ast.Sub, ast.Mult, ast.Mod, ast.FloorDiv, ast.Div, ast.BitAnd, ast.BitOr, ast.BitXor, ast.RShift]
COMPARE = [ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.Is, ast.IsNot]
SEQUENCES = ["Pl({})", "Li({})", "tuple({})", "Pt({})", "collections.deque({})", "list({})", "dict(enumerate({}))",
             "array.array('q', {})", "array.array('d', {})", "bytearray({})", "np.array({})"]  # fmt: skip
ITERABLES = ["list({})", "tuple({})", "iter({})", "gen({})", "It({})", "Pl({})", "reversed({})", "(v for v in {})",
             "set({})", "dict.fromkeys({})", "collections.deque({})", "itertools.chain({})", "map(int, {})", "[*{}]"]  # fmt: skip
DICTS = ["Di({})", "Dg({})", "collections.OrderedDict({})", "collections.defaultdict(int, {})", "dict({})"]


def expression(text):
    return ast.parse(text, mode="eval").body


def around(template, inner):
    """The template with the expression in place of its braces."""
    tree = expression(template.format("_hole_"))

    class Fill(ast.NodeTransformer):
        def visit_Name(self, node):
            return inner if node.id == "_hole_" else node

    return Fill().visit(tree)


def names_of(body):
    """Names that these statements bind by assignment, in order."""
    found = []
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in found:
                found.append(node.id)
    return found


class Mutator:
    """Changes a module in place, a number of times."""

    def __init__(self, r):
        self.r = r

    def change(self, tree, times):
        for _ in range(times):
            for _ in range(20):  # many a change finds nothing to change
                way = self.r.choice([
                    self.constant, self.constant, self.typed, self.typed, self.operator, self.operator, self.container,
                    self.iterated, self.iterated, self.statement, self.statement, self.shape, self.shape, self.renamed,
                    self.late, self.late, self.late, self.generator, self.counted, self.wrapped,
                ])  # fmt: skip
                if way(tree):
                    break
        return tree

    def some(self, tree, *kinds, where=lambda node: True):
        found = [node for node in ast.walk(tree) if isinstance(node, kinds) and where(node)]
        return self.r.choice(found) if found else None

    def replace(self, tree, old, new):
        class Swap(ast.NodeTransformer):
            def visit(self, node):
                return new if node is old else self.generic_visit(node)

        Swap().visit(tree)
        return True

    def bodies(self, tree, where=lambda node: True):
        """Every list of statements within a function."""
        found = []
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    for field in ("body", "orelse"):
                        body = getattr(node, field, None)
                        if isinstance(body, list) and body and isinstance(body[0], ast.stmt) and where(node):
                            found.append((function, body))
        return found

    def number(self, tree):
        return self.some(tree, ast.Constant, where=lambda node: type(node.value) in (int, float))

    def constant(self, tree):
        node = self.number(tree)
        if node is None:
            return False
        near = [node.value + 1, node.value - 1, 0, 1, -1, -node.value, node.value * 2, 3, 7]
        far = [float(node.value), 256, 257, 2**30, 2**31, 2**62, 2**63 - 1, 2**64, 0.5, -0.0, True, None]
        node.value = self.r.choice(near if self.r.random() < 0.6 else far)
        return True

    def typed(self, tree):
        node = self.number(tree)
        if node is None:
            return False
        return self.replace(tree, node, ast.Name(f"K{self.r.randrange(len(VALUES))}", ast.Load()))

    def operator(self, tree):
        node = self.some(tree, ast.BinOp, ast.AugAssign, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.If, ast.While)
        if node is None:
            return False
        if isinstance(node, (ast.BinOp, ast.AugAssign)):
            node.op = self.r.choice(BINARY)()
            if isinstance(node, ast.BinOp) and self.r.random() < 0.3:
                node.left, node.right = node.right, node.left
        elif isinstance(node, ast.Compare):
            node.ops[0] = self.r.choice(COMPARE)()
        elif isinstance(node, ast.BoolOp):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        elif isinstance(node, ast.UnaryOp):
            node.op = self.r.choice([ast.Not, ast.USub, ast.Invert, ast.UAdd])()
        else:
            node.test = ast.UnaryOp(ast.Not(), node.test)
        return True

    def container(self, tree):
        node = self.some(tree, ast.List, ast.ListComp, ast.Dict, ast.DictComp, ast.Tuple,
                         where=lambda n: isinstance(getattr(n, "ctx", None), ast.Load) or not hasattr(n, "ctx"))  # fmt: skip
        if node is None:
            return False
        kinds = DICTS if isinstance(node, (ast.Dict, ast.DictComp)) else SEQUENCES
        return self.replace(tree, node, around(self.r.choice(kinds), copy.copy(node)))

    def iterated(self, tree):
        node = self.some(tree, ast.For, ast.comprehension)
        if node is None:
            return False
        node.iter = around(self.r.choice(ITERABLES), node.iter)
        return True

    def statement(self, tree):
        bodies = self.bodies(tree)
        if not bodies:
            return False
        _, body = self.r.choice(bodies)
        k = self.r.randrange(len(body))
        way = self.r.randrange(4)
        if way == 0:
            if len(body) == 1:
                body[0] = ast.Pass()
            else:
                del body[k]
        elif way == 1:
            body.insert(k, copy.deepcopy(body[k]))
        elif way == 2 and len(body) > 1:
            other = self.r.randrange(len(body))
            body[k], body[other] = body[other], body[k]
        else:
            return False
        return True

    def shape(self, tree):
        """The statement within a loop, a condition, a try or a with."""
        bodies = self.bodies(tree)
        if not bodies:
            return False
        function, body = self.r.choice(bodies)
        k = self.r.randrange(len(body))
        names = names_of(function.body) or ["n"]
        text = self.r.choice([
            "for _ in range(2):\n    pass", "for _ in (1,):\n    pass", "for w_ in [3, 2.5, None]:\n    pass",
            "while True:\n    pass\n    break", "try:\n    pass\nfinally:\n    TICK[0] += 1",
            "try:\n    pass\nexcept Exception as e:\n    tell(e)", "try:\n    pass\nexcept TypeError:\n    TICK[0] += 1\nelse:\n    TICK[0] += 2",
            "TICK[0] += 1\nif TICK[0] % 3:\n    pass", "TICK[0] += 1\nif TICK[0] > 30:\n    pass", "TICK[0] += 1\nif TICK[0] < 40:\n    pass",
            f"if {self.r.choice(names)}:\n    pass", f"if {self.r.choice(names)} is not None:\n    pass",
            "for _ in range(TICK[0] & 3):\n    pass", "TICK[0] += 1\nfor u_ in range(9):\n    if u_ == TICK[0] % 9:\n        pass\n        continue",
        ])  # fmt: skip
        made = ast.parse(text).body
        inside = made[-1]
        while isinstance(inside.body[0], ast.If):
            inside = inside.body[0]
        inside.body[0] = body[k]
        body[k : k + 1] = made
        return True

    def renamed(self, tree):
        function = self.some(tree, ast.FunctionDef)
        names = [*names_of(function.body), *(a.arg for a in function.args.args)]
        node = self.some(function, ast.Name, where=lambda n: n.id in names)
        if node is None:
            return False
        node.id = self.r.choice(names)
        return True

    def late(self, tree):
        """Something happens once, or from some time on, in the middle of a body."""
        bodies = self.bodies(tree, lambda node: isinstance(node, (ast.For, ast.While, ast.If, ast.FunctionDef)))
        if not bodies:
            return False
        function, body = self.r.choice(bodies)
        names = [*names_of(function.body), *(a.arg for a in function.args.args)] or ["n"]
        data = names_of(tree.body)
        v, w, value = self.r.choice(names), self.r.choice(names), f"K{self.r.randrange(len(VALUES))}"
        happens = self.r.choice([
            f"{v} = {value}", f"{v} = {value}", f"{v} = {w}", f"{v} = None", f"{v}, {w} = {w}, {v}", f"{v}[0] = {value}",
            f"{v}[-1] = {value}", f"{v} = [*{v}]", f"{v} = Pl({v})", f"{v} = float({v})", f"{v} = J({v})", f"{v} = fractions.Fraction({v})",
            f"del {v}", f"keep.append({v})", f"{v}.append({value})", f"note({v})", f"globals()['K3'] = {value}", f"{v} = Loud(TICK[0])",
            f"{v} = {v} == {w}", f"{v} = str({v})", f"{v}.clear()", f"raise ValueError({v})", f"{v}.pop()", "gen_ = gen([1]); next(gen_)",
            f"{v} = -{v}", f"{v} += {value}", f"def inner(): return {v}", f"{v} = lambda: {w}", f"{v} = np and np.asarray({v})",
            *([f"globals()['{self.r.choice(data)}'] = {value}", f"{self.r.choice(data)}[0] = {value}"] if data else []),
        ])  # fmt: skip
        when = self.r.choice(["== 21", "== 37", "> 50", "% 16 == 15", "% 5 == 4", "& 1"])
        k = self.r.randrange(len(body) + 1)
        if self.r.random() < 0.15:
            made = ast.parse(happens).body
        else:
            made = ast.parse(f"TICK[0] += 1\nif TICK[0] {when}:\n    {happens}").body
        body[k:k] = made
        return True

    def generator(self, tree):
        """``f`` gives something out in the middle."""
        if self.r.random() < 0.6:
            return False
        bodies = [(function, body) for function, body in self.bodies(tree) if function.name == "f"]
        function, body = self.r.choice(bodies)
        v = self.r.choice([*names_of(function.body), "n"])
        body.insert(
            self.r.randrange(len(body) + 1),
            ast.parse(self.r.choice([f"yield {v}", f"{v} = (yield {v}) or {v}"])).body[0],
        )
        return True

    def counted(self, tree):
        """A loop over a range becomes one that counts."""
        node = self.some(tree, ast.For, where=lambda n: isinstance(n.iter, ast.Call) and isinstance(n.iter.func, ast.Name)
                         and n.iter.func.id == "range" and len(n.iter.args) == 1 and isinstance(n.target, ast.Name))  # fmt: skip
        if node is None or any(isinstance(inner, ast.Continue) for inner in ast.walk(node)):
            return False
        v = node.target.id
        step = ast.parse(f"{v} += 1").body[0]
        loop = ast.While(
            ast.Compare(ast.Name(v, ast.Load()), [ast.Lt()], [node.iter.args[0]]), [*node.body, step], node.orelse
        )
        start = ast.parse(f"{v} = 0").body[0]
        return self.replace(tree, node, ast.If(ast.Constant(True), [start, loop], []))

    def wrapped(self, tree):
        """The loops of ``f`` are in a function within it, whose names it shares."""
        f = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "f")
        names = names_of(f.body)
        if not names or any(isinstance(n, (ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal)) for n in ast.walk(f)):
            return False
        first = next((k for k, s in enumerate(f.body) if isinstance(s, (ast.For, ast.While))), None)
        if first is None:
            return False
        starts = ast.parse("".join(f"{name} = None\n" for name in names if name != "n")).body
        inner = ast.parse("def inner_(): pass").body[0]
        inner.body = [ast.Nonlocal(names), *f.body[first:]]
        f.body = [*starts, *f.body[:first], inner, ast.parse("return inner_()").body[0]]
        return True
