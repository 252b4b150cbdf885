"""Random programs of many kinds, each a table of statements: see `make`, `observe` and `compare`.

A kind is a file beside this one with ``PRELUDE`` (what its programs define), ``SETUP`` (their variables), ``STATEMENTS`` (what
loops do), ``EVENTS`` (what happens once or seldom while a loop runs) and ``LOOPS`` (headers of loops). A program mixes the
statements of its kind with the `plain` ones, and one in four with those of a second kind.

    python kinds KIND FIRST_SEED COUNT [FORCE]      # compares plain and optimised runs
    python kinds show KIND SEED                     # prints a program
"""

import builtins
import contextlib
import gc
import importlib
import math
import random
import re
import sys
import threading
import traceback
import types

from compared import again, compile_loops, differing
from maker import constants

# The number of a monitoring tool that programs use.
TOOL = 4
# Modules whose classes have no fields, but a text that says all.
SHOWN = ("fractions", "decimal", "numpy", "collections", "array")
# Programs of these are mixed with those of another of the same; programs of the later ones with any of these.
FIRST = "aliases drifting dying edges keyed raising rebound resumed rounds scoped strange typed".split()
KINDS = [*FIRST, "watched", "letters"]

# Every program has these; tables may rely on them.
PRELUDE = """
log = []
def note(v, log=log, len=len, repr=repr):
    if len(log) < 400: log.append(repr(v))
def tell(e, log=log, len=len, str=str, type=type):
    lines = []
    tb = e.__traceback__
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == "kinds": lines.append(tb.tb_lineno)
        tb = tb.tb_next
    if len(log) < 400: log.append((type(e).__name__, str(e), lines))
"""
SETUP = """
t, a, b, c, x, y, u, m = 0, 3, 700, -5, 1.5, -0.25, None, None
L, F, D, E, W = [5, 300, 7, 1000], [0.5, 2.5, -1.0, 4.0], {0: 5, 1: 600, 2: 7, 3: 8}, {"a": 1, "b": 700}, "abcab"
""".strip().split("\n")
STATEMENTS = """
t += 1
t += i
t += a & 7
a = b
b = t + 300
a, b = b, a
c = (a * 3 - b) & 1023
x = y
x = x * 0.5 + i
y = x - 0.25
L[i & 3] = a
a = L[i & 3]
F[i & 3] = x
x = F[(i + 1) & 3]
D[i & 3] = t
b = D[i & 3]
E['a'] += 1
u = a is b
m = a
m = x
m = None
if i & 1: m = i
if W[i % 5] == 'a': t += 1
L[0], L[1] = L[1], L[0]
u = L[0] is a
""".strip().split("\n")
CONDITIONS = ["i & 1", "i % 3 == 0", "i % 7 == 2", "t & 1", "a is b", "m is None", "x > y", "i > 20", "u"]
LOOPS = [
    "for i in range({n}):",
    "for i in range({n}):",
    "for i in list(range({n})):",
    "i = 0\nwhile i < {n}:\n    i += 1",
]
LATE = [19, 23, 30, 37]


def make(kind, seed):
    r = random.Random(f"{kind} {seed}")
    kinds = [kind] if r.random() < 0.75 else [kind, r.choice([k for k in FIRST if k != kind])]
    tables = [importlib.import_module(f"kinds.{k}") for k in kinds]
    own = [s for table in tables for s in lines_of(table.STATEMENTS)]
    events = [s for table in tables for s in lines_of(table.EVENTS)]
    loops = [*LOOPS, *(s for table in tables for s in table.LOOPS)]
    # A few statements, often: a program about everything does nothing often enough.
    own = r.sample(own, min(len(own), r.choice([6, 12, 24, 300])))
    pool = own * 3 + r.sample(STATEMENTS, 12) * max(1, len(own) // 12)
    conditions = [*CONDITIONS, *(s for table in tables for s in getattr(table, "CONDITIONS", []))]
    style = r.choice(["module", "function", "function", "called", "called", "generator"])
    out, base = [], 0 if style == "module" else 1

    # Ints of which there is one object each hide who is who: some programs count in larger ones.
    large = r.random() < 0.5

    def put(text, depth):
        out.extend("    " * (base + depth) + line for line in text.split("\n"))

    def one():
        text = r.choice(pool)
        return re.sub(r"\bi\b", "big", text) if large and r.random() < 0.7 else text

    def statement(depth):
        if events and r.random() < 0.12:
            put(f"if i == {r.choice(LATE)}:", depth)
            put(r.choice(events), depth + 1)
            return
        k = r.random()
        if k < 0.15:
            put(f"if {r.choice(conditions)}:", depth)
            put(one(), depth + 1)
            if r.random() < 0.4:
                put("else:", depth)
                put(one(), depth + 1)
        elif k < 0.25:
            put("try:", depth)
            put(one(), depth + 1)
            put(r.choice(["except Exception as e: tell(e)", "finally: t += 1", "except TypeError: t += 2"]), depth)
        elif k < 0.31 and depth < 4:
            put(r.choice(["for j in range(5):", "for j in L:", "for j in range(i & 7):", "for j in W:"]), depth)
            for _ in range(r.randrange(1, 3)):
                statement(depth + 1)
            if r.random() < 0.3:
                put(f"    if {r.choice(conditions)}: {r.choice(['break', 'continue', 'break'])}", depth)
            if r.random() < 0.2:
                put("else: t += 5", depth)
        elif k < 0.34:
            put(f"if {r.choice(conditions)}: {r.choice(['continue', 'continue', 'break'])}", depth)
        else:
            put(one(), depth)

    for line in [*SETUP, *(s for table in tables for s in lines_of(table.SETUP))]:
        put(line, 0)
    if style == "called":
        put(r.choice(["a = given", "m = given", "x = given", "t += 1", "L = [given, 5, 6, 7]"]), 0)
    for _ in range(r.randrange(1, 4)):
        header = r.choice(loops).format(n=r.choice([20, 45, 60, 90]))
        put("try:", 0)
        put(header, 1)
        if large:
            put("big = i * 301 + 257", 2)
        for _ in range(r.randrange(2, 7)):
            statement(2)
        if style == "generator" and r.random() < 0.7:
            put(r.choice(["yield t", "got = yield a", "if i & 3 == 1: yield i"]), 2)
        put("except Exception as e: tell(e)", 0)
        put("note((t, a, b, c, x, y, u, m))", 0)
    names = "t a b c x y u m L F D E W".split() + [n for table in tables for n in getattr(table, "NAMES", "").split()]
    end = "OUT.append((" + ", ".join(names) + "))"
    text = PRELUDE + "".join(table.PRELUDE for table in tables) + "OUT = []\n"
    put(f"try: {end}", 0)
    put("except NameError as e: tell(e)", 0)
    body = "\n".join(out) + "\n"
    if style == "module":
        return text + body
    if style == "function":
        return text + "def run():\n" + body + "run()\n"
    if style == "called":
        values = r.sample(["1", "2.5", "None", "True", "'a'", "2**70", "300", "(1, 2)"], 3)
        calls = f"for given in [{', '.join(values)}] + [{values[0]}] * 4: run(given)\n"
        return text + "def run(given):\n" + body + calls
    return text + "def run():\n    if 0: yield\n" + body + "for _ in run(): pass\n"


def lines_of(table):
    return table.strip().split("\n") if isinstance(table, str) else table


def picture(root, known):
    """What can be reached as text, who is who, and reference counts; attributes are read without running any code."""
    names, out, todo, seen = {}, [], [root], []
    while todo:
        value = todo.pop()
        if id(value) in names:
            out.append(f"#{names[id(value)]}")
            continue
        cls = type(value)
        if cls is type and value.__module__ == "kinds":
            seen.append(value)
        if value is None or cls in (bool, bytes, type) or (cls is int and -5 <= value <= 256) or cls is str:
            out.append(repr(value))
            continue
        names[id(value)] = len(names)
        seen.append(value)
        out.append(cls.__name__)
        if issubclass(cls, (list, tuple)):
            base = list if issubclass(cls, list) else tuple
            items = [*base.__iter__(value)]
            # The room it has, too, and whether a collection would see a list.
            out.append(f"{len(items)}/{base.__sizeof__(value)}" + "'" * (base is list and not gc.is_tracked(value)))
            todo.extend(reversed(items))
            del items
        elif issubclass(cls, dict):
            out.append(str(dict.__sizeof__(value)))
            for k, v in reversed([*dict.items(value)]):
                todo += [v, k]
            k = v = None
        elif issubclass(cls, int):
            out.append(int.__repr__(value) if int.bit_length(value) < 10_000 else "long")
        elif issubclass(cls, float):
            out.append(float.__repr__(value))
        elif issubclass(cls, str):
            out.append(str.__repr__(value))
        elif cls.__module__ in SHOWN:
            out.append(repr(value))
        elif issubclass(cls, (set, frozenset)):
            out.append(str(sorted(map(repr, set.__iter__(value) if issubclass(cls, set) else value))))
            out.append(str(set.__sizeof__(value) if issubclass(cls, set) else 0))
        else:
            with contextlib.suppress(AttributeError):
                todo.append(object.__getattribute__(value, "__dict__"))
            for name in cls.__dict__.get("__slots__", ()):
                member = cls.__dict__.get(name)
                if isinstance(member, types.MemberDescriptorType):
                    todo.append(member.__get__(value) if hasattr(value, name) else None)
            member = None
        del value
    counts = []
    while seen:
        value = seen.pop()
        # A function of C's that a module has is everybody's.
        shared = isinstance(value, types.BuiltinFunctionType) and isinstance(value.__self__, types.ModuleType)
        if id(value) not in known and not shared:
            counts.append((type(value).__name__, sys.getrefcount(value)))
    # A text that an object was made into may name its address.
    return re.sub(" at 0x[0-9a-f]+", "", " ".join(out)), counts


def observe(text, look=picture):
    """What a program logged, the exception it ended with and its lines, and what ``look`` sees of what it left behind."""
    code = compile(text, "kinds", "exec")
    known = constants(code, {})
    space, failure, ended = {"__name__": "kinds"}, None, None
    limit, shared = sys.getrecursionlimit(), [(module, dict(module.__dict__)) for module in (builtins, math)]
    try:
        exec(code, space)
    except Exception as error:
        ended = error
    finally:
        sys.settrace(None)
        sys.setprofile(None)
        gc.callbacks.clear()
        if sys.monitoring.get_tool(TOOL) is not None:
            sys.monitoring.set_events(TOOL, 0)
            sys.monitoring.free_tool_id(TOOL)
        for module, names in shared:
            for name in [*module.__dict__]:
                if name not in names:
                    del module.__dict__[name]
            module.__dict__.update(names)
            if type(module) is not types.ModuleType:
                module.__class__ = types.ModuleType
        sys.modules["math"] = math
        sys.setrecursionlimit(limit)
        for end in ("unwatch", "at_end"):
            if end in space:
                space[end]()
    if ended is not None:
        lines = [frame.lineno for frame in traceback.extract_tb(ended.__traceback__) if frame.filename == "kinds"]
        failure = (type(ended).__name__, str(ended), lines)
        ended.__traceback__ = None
        ended = None
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):  # at the limit of recursion one may never have begun
                thread.join(5)
    log, left = [re.sub(" at 0x[0-9a-f]+", "", str(entry)) for entry in space.get("log", [])], space.get("OUT")
    others = {k: v for k, v in space.items() if isinstance(v, (int, float, str, list, dict, tuple)) and k[0] != "_"}
    others.pop("log", None)
    space.clear()
    seen = look([left, others], known)
    left = others = None
    late = len(log)
    gc.collect()
    return failure, log, seen, late


def compare(kind, first, count, force=0):
    """Runs the programs of these seeds plain and, several times, optimised; how many differ."""
    gc.disable()
    programs = {
        (k, seed): make(k, seed) for seed in range(first, first + count) for k in (KINDS if kind == "all" else [kind])
    }
    name = f"{kind} from seed {first}"
    if kind != "watched":
        return differing(name, programs, again(observe), force)
    # What tools hear changes when another hears of jumps and does nothing: so there is one in the plain runs too.
    tools, number = sys.monitoring, sys.monitoring.OPTIMIZER_ID
    tools.use_tool_id(number, "other")
    tools.register_callback(number, tools.events.JUMP, lambda *_: None)
    tools.set_events(number, tools.events.JUMP)

    def start(force):
        tools.set_events(number, 0)
        tools.register_callback(number, tools.events.JUMP, None)
        tools.free_tool_id(number)
        compile_loops(force)

    return differing(name, programs, again(observe), force, start=start)
