"""Programs as people write them, changed at random: see `make`, `observe` and `compare`.

The programs are the algorithms beside this file (``*.txt``: ``## name`` and a source that defines ``f(n)``), the loops of the
census (``benches/trace/census``) and those of `test_coverage`. A mutant has a few of them changed: constants, operators, the
types of numbers and containers, the shape of loops, what names stand for; some become generators, some a module's own code,
and some are called with numbers of other types once they are compiled (`change`).

    python mutants FIRST_SEED COUNT [FORCE]         # compares plain and optimised runs
    python mutants show SEED                        # prints a program
"""

import ast
import contextlib
import functools
import gc
import os
import random
import resource
import signal
import sys
import textwrap
import time
from importlib import import_module
from pathlib import Path

import kinds
from compared import again, at_most, differing

from .change import VALUES, Mutator, names_of

HERE = Path(__file__).parent
CENSUS = HERE.parents[2] / "benches/trace/census"
# Their results are of this moment, or of the machine; or C code could go through their endless iterators, which no signal ends.
OUT = (
    "time",
    "file lines",
    "datetime",
    "pathlib",
    "print to a list",
    "random",
    "fib",
    "hanoi",
    "ackermann",
    "hash and id",
)

PRELUDE = """
import math, collections, array, itertools, random, fractions, decimal
try: import numpy as np
except ImportError: np = None
log, keep, TICK, GENS = [], [], [0], []
class Loud:
    def __init__(self, k): self.k = k
    def __del__(self, log=log, len=len): len(log) < 400 and log.append(-self.k)
class I(int):
    def __add__(self, o): return int.__add__(self, o) + 1 if o.__class__ is int else 7
    def __lt__(self, o): return int.__ge__(self, o)
class J(int): pass
class Fl(float):
    def __mul__(self, o): return 2.5
class Pf(float): pass
class Pl(list): pass
class Li(list):
    def __getitem__(self, k): return list.__getitem__(self, 0)
    def __len__(self): return 3
class Pt(tuple): pass
class Di(dict):
    def __missing__(self, k): return 5
class Dg(dict):
    def __getitem__(self, k): return dict.get(self, k, 6)
    def get(self, k, d=None): return 4
class St(str): pass
class Up:
    def __init__(self, n): self.n = n
    def __index__(self): return self.n
    def __lt__(self, o): return self.n < o
    def __add__(self, o): return o
    __radd__ = __add__
class It:
    def __init__(self, it): self.it = iter(it)
    def __iter__(self): return self
    def __next__(self): return next(self.it)
def gen(it):
    for v in it: yield v
def short(v, depth=0):
    c = v.__class__
    if c in (int, float, bool, str, bytes, type(None)): return repr(v)[:60]
    if c in (list, tuple, dict, set) and depth < 2:
        return c.__name__ + str(len(v)) + "".join(short(w, depth + 1) for w in [*v][:5])
    return c.__name__
def note(v):
    if len(log) < 400: log.append(short(v))
def tell(e):
    lines, tb = [], e.__traceback__
    while tb is not None:
        frame = tb.tb_frame
        if frame.f_code.co_filename == "kinds":
            there = sorted((k, short(v)) for k, v in frame.f_locals.items() if k[0] != "_") if len(lines) else None
            lines.append((tb.tb_lineno, there))
        tb = tb.tb_next
    if len(log) < 400: log.append((type(e).__name__, str(e)[:200], lines[:12]))
    e.__traceback__ = None
OUT = []
""" + "".join(f"K{k} = {value}\n" for k, value in enumerate(VALUES))


@functools.cache
def corpus():
    """Name and source of every program that is changed; each defines ``f(n)``."""
    found = {}
    for file in [*sorted(HERE.glob("*.txt")), *sorted(CENSUS.glob("*.txt"))]:
        for part in file.read_text().removeprefix("## ").split("\n## "):
            name, source = part.split("\n", 1)
            if name not in OUT:
                found[f"{file.parent.name} {file.stem} {name}"] = source + "\n"
    from test_coverage import CLASSES, PROGRAMS

    for name, text in PROGRAMS.items():
        found[f"coverage {name}"] = CLASSES + textwrap.dedent(text).replace("def run(n", "def f(n")
    return {name: text for name, text in found.items() if main_of(ast.parse(text)) is not None}


def main_of(tree):
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "f"), None)


def make(seed):
    """A program, and the name of what it was made of."""
    r = random.Random(f"mutant {seed}")
    name = r.choice([*corpus()])
    while True:
        tree = Mutator(r).change(ast.parse(corpus()[name]), r.choice([0, 1, 1, 2, 3, 4, 6]))
        text = PRELUDE + ast.unparse(ast.fix_missing_locations(tree)) + "\n" + drive(r, tree)
        with contextlib.suppress(SyntaxError):
            compile(text, "kinds", "exec")
            return text, name


def drive(r, tree):
    """Calls of ``f``, among them some with numbers of other types, and names bound anew between them."""
    f = main_of(tree)
    yields = any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(f))
    data = [name for name in names_of(tree.body) if name != "f"]
    lines = []
    n = r.choice([8, 30, 60])
    for k in range(r.choice([4, 6])):
        given = str(n if r.random() < 0.7 else r.choice([5, 17, 90]))
        if k > 1 and r.random() < 0.3:
            given = r.choice([f"I({n})", f"J({n})", f"{n}.0", "True", f"fractions.Fraction({n})", f"decimal.Decimal({n})",
                              f"np and np.int64({n})", "None", f"Up({n})", "2**63", f"Pf({n})", "-1", "0"])  # fmt: skip
        if k > 1 and r.random() < 0.3:
            name = r.choice([f"K{r.randrange(len(VALUES))}", *data])
            lines.append(
                r.choice([f"{name} = K{r.randrange(len(VALUES))}", f"{name} = {name}", f"{name} = Pl({name})"])
            )
        if k > 1 and data and r.random() < 0.2:
            lines.append(f"{r.choice(data)}[{r.choice([0, 1, -1])}] = K{r.randrange(len(VALUES))}")
        if not yields:
            lines.append(f"OUT.append(f({given}))")
        elif r.random() < 0.4:
            lines.append(f"GENS.append(f({given})); note(next(GENS[-1], None)); note(next(GENS[0], None))")
        else:
            lines.append(f"OUT.append(list(itertools.islice(f({given}), 300)))")
    return "".join(f"try: {line}\nexcept Exception as e: tell(e)\n" for line in lines)


def limited(text, seconds):
    with at_most(seconds, busy=True):
        return kinds.observe(text)


def ends(text, seconds=6, busy=0.4):
    """Whether the program ends: tried in a process of its own, for no signal ends what C code does with an endless iterator."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            limited(text, busy)
            os._exit(0)
        os._exit(1)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def compare(first, count, force=0, make=make, name="mutants", busy=0.4):
    """Runs the programs of these seeds plain and, several times, optimised; how many differ."""
    gc.disable()
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
    sys.set_int_max_str_digits(0)
    with contextlib.suppress(ImportError):
        # Its threads are busy for a moment when it starts, which a program that imports it must not pay for.
        import_module("numpy")
    made = {seed: make(seed)[0] for seed in range(first, first + count)}
    programs = {seed: text for seed, text in made.items() if ends(text, busy=busy)}
    name = f"{name} from seed {first}, {len(made) - len(programs)} that do not end left out"
    return differing(name, programs, again(kinds.observe), force, limits=(2 * busy, 200 * busy), busy=True)
