# ruff: noqa: E501 - choices read best in one line
"""Small programs as people write them for exercises and puzzles, on random data: see `make` and `inputs`.

The programs are beside this file (``*.txt``: ``## name`` and a source that defines ``f``): text, numbers of every type,
containers, classes with properties and operators, control flow across calls, puzzles. The names of the parameters of ``f``
say what it is given. It is called again and again within a loop, with data of a kind that changes on the way; half of the
programs are changed at random as well, as those of `mutants` are, with which all else is shared.

    python tasks FIRST_SEED COUNT [FORCE]           # compares plain and optimised runs
    python tasks show SEED                          # prints a program
"""

import ast
import contextlib
import functools
import random
from pathlib import Path

import mutants
from mutants import PRELUDE, main_of
from mutants.change import VALUES, Mutator

HERE = Path(__file__).parent
INTS = {
    "digits": lambda r: r.randrange(10),
    "small": lambda r: r.randrange(-50, 300),
    "even": lambda r: r.randrange(100) * 2,
    "rising": lambda r: r.randrange(5),
    "large": lambda r: r.choice([1, -1]) * r.randrange(2**40),
    "edge": lambda r: r.choice([2**62, 2**63, -(2**63), 2**31, 2**30, 2**60]) + r.randrange(-3, 4),
    "long": lambda r: r.randrange(2**70),
    "mostly small": lambda r: r.randrange(50) if r.random() < 0.95 else r.randrange(2**66),
    "with floats": lambda r: r.randrange(50) if r.random() < 0.8 else r.randrange(50) / 4,
    "with others": lambda r: r.randrange(50) if r.random() < 0.9 else Code(r.choice(VALUES)),
    "with bools": lambda r: r.randrange(50) if r.random() < 0.8 else r.random() < 0.5,
}
FLOATS = {
    "plain": lambda r: round(r.uniform(-10, 10), 2),
    "unit": lambda r: r.random(),
    "wide": lambda r: r.choice([1, -1]) * 10.0 ** r.randrange(-300, 300),
    "odd": lambda r: r.choice([0.0, -0.0, 1.5, Code("float('nan')"), Code("float('inf')"), Code("float('-inf')"), 1e308, 5e-324]),
    "with ints": lambda r: r.uniform(-5, 5) if r.random() < 0.8 else r.randrange(9),
}  # fmt: skip
LETTERS = ["abc", "aeiouxyz", "abcXYZ", "ab", "abc_09", "aé", "abcdefghij"]
MIXED = [
    "1",
    "2.5",
    "'ab'",
    "None",
    "True",
    "(1, 2)",
    "[3, 4, 5]",
    "Loud(7)",
    "300",
    "2**64",
    "'text'",
    "-5",
    "{'k': 1}",
    "0",
    "b'x'",
    "J(4)",
    "1j",
]


class Code(str):
    """Stands for itself in a program."""

    __repr__ = str.__str__


def inputs(r, name, bounds):
    """The source of what a parameter of this name gets; ``bounds`` are the kinds of ints and floats."""
    n = r.choice([8, 20, 45])
    ints, floats = INTS[bounds[0]], FLOATS[bounds[1]]

    def word():
        return "".join(r.choice(r.choice(LETTERS)) for _ in range(r.randrange(1, 8)))

    if name == "n":
        return r.choice(["12", "30", "45", "45", "60"])
    if name == "ints":
        return repr([ints(r) for _ in range(n)])
    if name == "floats":
        return repr([floats(r) for _ in range(n)])
    if name == "words":
        return repr([word() for _ in range(n)])
    if name == "text":
        return repr(" ".join(word() for _ in range(n // 2)))
    if name == "lines":
        kinds = [
            lambda: f"{word()} = {ints(r)}",
            lambda: f"{word()}={floats(r)}",
            lambda: word(),
            lambda: "[x]",
            lambda: "# " + word(),
            lambda: f" {word()}:{r.randrange(99)} ",
        ]
        return repr([r.choice([*kinds, kinds[0], kinds[0]])() for _ in range(n)])
    if name == "pairs":
        return repr([(r.randrange(30), r.randrange(30)) for _ in range(n)])
    if name == "table":
        return repr({word(): ints(r) for _ in range(n)})
    if name == "grid":
        rows = r.randrange(2, 7)
        return repr([[r.randrange(9) if r.random() < 0.9 else ints(r) for _ in range(rows + 1)] for _ in range(rows)])
    assert name == "mixed", name
    some = r.sample(MIXED, r.choice([2, 4, 9]))
    return "[" + ", ".join(r.choice(some) for _ in range(n)) + "]"


@functools.cache
def corpus():
    """Name and source of every program."""
    parts = [
        part for file in sorted(HERE.glob("*.txt")) for part in file.read_text().removeprefix("## ").split("\n## ")
    ]
    found = {name: source + "\n" for name, source in (part.split("\n", 1) for part in parts)}
    assert len(found) == len(parts), "two programs of one name"
    return found


def make(seed):
    """A program, and the name of what it was made of."""
    r = random.Random(f"task {seed}")
    name = r.choice([*corpus()])
    while True:
        tree = ast.parse(corpus()[name])
        Mutator(r).change(tree, r.choice([0, 0, 0, 1, 2, 4]))
        text = PRELUDE + ast.unparse(ast.fix_missing_locations(tree)) + "\n" + drive(r, tree)
        with contextlib.suppress(SyntaxError):
            compile(text, "kinds", "exec")
            return text, name


def drive(r, tree):
    """Calls of ``f`` in a loop, with data that changes its kind once."""
    names = [a.arg for a in main_of(tree).args.args]
    kinds = r.choice([*INTS]), r.choice([*FLOATS])
    others = r.choice([kinds, (r.choice([*INTS]), r.choice([*FLOATS]))])
    given = [[f"({inputs(r, name, k)})" for name in names] for k in (kinds, kinds, others)]
    turns = r.choice(["0, 0, 0, 1, 1, 2, 0", "0, 1, 2", "0, 0, 1, 0, 1, 2", "0, 0, 0, 0, 0, 0, 0, 0"])
    calls = [f"lambda: ({', '.join(one)},)" for one in given]
    body = r.choice([
        "OUT.append(f(*given))", "OUT.append(f(*given))", "got = f(*given)\n        note(got)\n        OUT = [got]",
        "OUT.append(f(*given)); OUT.append(given)",
    ])  # fmt: skip
    lines = ["DATA = [" + ", ".join(calls) + "]"]
    if not any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(main_of(tree))):
        call = f"f({', '.join(f'given[{k}]' for k in range(len(names)))})"
        body = body.replace("f(*given)", call)
    else:
        body = body.replace("f(*given)", "list(itertools.islice(f(*given), 300))")
    lines += [
        "def run():",
        "    global OUT",
        f"    for turn in ({turns},):",
        "        given = DATA[turn]()",
        f"        try: {body}",
    ]
    if "\n" in body:
        lines[-1] = "        try:\n" + "\n".join("            " + line.strip() for line in body.split("\n"))
    lines += [
        "        except Exception as e: tell(e)",
        "        given = got = None",
        "        if len(log) < 390: log.append('turn')",
        "run()",
    ]
    return "\n".join(lines) + "\n"


def compare(first, count, force=0):
    return mutants.compare(first, count, force, make, "tasks")
