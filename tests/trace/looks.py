"""The random programs of other sources, looked at more closely.

``bytes``: of every object a program leaves behind, what no text of it says. Its memory (digits and sign of an int, all bits
of a float, width, state and last bytes of a text or bytes), the flags of its head, whether the collector knows it, in which
generation, and has ended it, its owners (of texts too), who is who among texts and bytes, and whether small ints, short texts
and what is empty are the one object that CPython has of them.

``blocks``: each program runs several times, all machine code is thrown away after each, and pieces of memory are counted: what
no garbage collection can see (numbers, texts) would be missed by every other comparison if it were never freed.

    python looks.py bytes|blocks SOURCE FIRST_SEED COUNT [FORCE]     # compares plain and optimised runs
    python looks.py show SOURCE SEED                                 # prints a program
    python looks.py FIRST_SEED COUNT [FORCE]                         # some programs of every source, both ways
"""

import contextlib
import ctypes
import gc
import importlib
import random
import subprocess
import sys
import types

import kinds
from compared import again, command, differing_from

# Not those with threads, nor `watched`, whose tools hear of more beside any other tool.
SOURCES = "worlds stacks sized flows calls operands wide".split()
SOURCES += "aliases drifting dying edges keyed raising rebound rounds strange typed letters".split()
# What CPython has one object of: small ints, texts of one Latin character, what is empty.
SMALL = {n: n for n in range(-5, 1025 if sys.version_info >= (3, 15) else 257)}
SHORT = {chr(n): chr(n) for n in range(256)} | {"": ""}
BYTES = {bytes([n]): bytes([n]) for n in range(256)} | {b"": b""}
NOTHING = (), frozenset()
# Where a text has its state (interned, kind, compact, ASCII), and which bits of that mean something.
STATE = 32
WIDE = ctypes.c_uint32.from_address(id("\u20ac\u20ac" * 40) + STATE).value
STATES = 0xFF if WIDE >> 2 & 7 == 2 else 0x3FFF if WIDE >> 8 & 7 == 2 else 0x3F0003


def make(source, seed):
    if source in kinds.KINDS:
        return kinds.make(source, seed)
    return importlib.import_module(source).make(seed)


def single(value, cls):
    """Whether this is the one object there is of its value; None where there may be several."""
    if cls is int:
        return value is SMALL[value] if value in SMALL else None
    if cls is str:
        return value is SHORT[value] if value in SHORT else None
    if cls is bytes:
        return value is BYTES[value] if value in BYTES else None
    if cls is tuple and not value:
        return value is NOTHING[0]
    return None


def memory(value, cls):
    """What the object's memory holds, but for addresses, counts and what is only remembered (hashes)."""
    where, size = id(value), cls.__sizeof__(value)
    if issubclass(cls, int):
        return ctypes.string_at(where + 16, int.__sizeof__(value) - 16).hex()
    if issubclass(cls, float):
        return ctypes.string_at(where + 16, 8).hex()
    if cls is str:
        state = ctypes.c_uint32.from_address(where + STATE).value
        return f"{state & STATES:x} {size} " + ctypes.string_at(where + max(size - 4, 40), min(size - 40, 4)).hex()
    if cls is bytes:
        return ctypes.string_at(where + size - 1, 1).hex()
    return ""


def head(value, cls):
    """What stands in front of the object, and in its head beside the count."""
    flags = ctypes.string_at(id(value) + 4, 4).hex() if sys.version_info >= (3, 14) else ""
    if cls is tuple and sys.version_info >= (3, 14):
        # There a tuple of numbers is unknown to the collector from the beginning, and one that a trace made until a collection.
        return flags
    if not gc.is_tracked(value):
        return f"{flags} untracked" + " ended" * gc.is_finalized(value)
    # The word before an object that the collector knows: its two lowest bits say what the collector does with it.
    before = ctypes.c_size_t.from_address(id(value) - 8).value
    return f"{flags} {before & 3}" + " ended" * gc.is_finalized(value)


def inspect(root, known):
    """Every object that can be reached, in order, by what is said at the top of this file."""
    names, out, counted, todo = {}, [], [], [root]
    young = {id(one) for one in gc.get_objects(0)}
    while todo:
        value = todo.pop()
        cls = type(value)
        if id(value) in names:
            out.append(f"#{names[id(value)]}")
            continue
        if value is None or cls is bool or issubclass(cls, type) or cls is types.ModuleType:
            out.append(str(value)[:40])
            continue
        one = single(value, cls)
        if one is not None:
            out.append(f"{value!r} {one}")
            continue
        names[id(value)] = len(names)
        if id(value) in known:
            out.append("constant")
            continue
        out.append(f"{cls.__name__} {memory(value, cls)} {head(value, cls)} {id(value) in young and cls is not tuple}")
        shared = cls is types.BuiltinFunctionType and isinstance(value.__self__, types.ModuleType)
        if not shared and cls in (int, float, str, bytes, list, tuple, dict, set):
            counted.append(value)
        if issubclass(cls, (list, tuple)):
            base = list if issubclass(cls, list) else tuple
            todo.extend(reversed([*base.__iter__(value)]))
        elif issubclass(cls, dict):
            for pair in reversed([*dict.items(value)]):
                todo += reversed(pair)
            pair = None
        elif cls.__module__ == "kinds":
            with contextlib.suppress(AttributeError):
                todo.append(object.__getattribute__(value, "__dict__"))
        del value
    one = None
    owners = []
    while counted:
        owners.append((type(counted[-1]).__name__, sys.getrefcount(counted.pop())))
    return out, owners


def growing(program, runs=8):
    """Whether every run of the program but the first three leaves more pieces of memory, all machine code thrown away."""
    import larder
    from larder import optimiser

    before, more = 0, []
    for turn in range(runs):
        random.seed(0)
        kinds.observe(program, lambda root, known: None)
        if turn < runs - 1 and optimiser.started():
            larder.trace.clear()
            optimiser.tick()
        gc.collect()
        now = sys.getallocatedblocks()
        more.append(now - before)
        before = now
    return min(more[3:-1]) > 0


def compare_one(look, source, first, count, force=0):
    """Programs of one source: how many differ."""

    def of_source(seed):
        return make(source, seed)

    how = {"limits": (8, 90)} if look == "bytes" else {"limits": (24, 180), "times": 1}
    runs = again((lambda text: kinds.observe(text, inspect)) if look == "bytes" else growing)
    return differing_from(first, count, f"looks {look} {source}", of_source, runs, force, **how)


def compare(*arguments):
    """Programs of one source, or (given numbers only) of every source in processes of their own."""
    if arguments[0] in ("bytes", "blocks"):
        return compare_one(*arguments)
    first, count, force = (*arguments, 0)[:3]
    bad = 0
    for look, share in (("bytes", 2), ("blocks", 4)):
        for source in SOURCES[look == "blocks" :]:  # `worlds` use NumPy, which keeps some memory for itself
            run = [
                sys.executable,
                *sys.orig_argv[1 : -len(arguments)],
                look,
                source,
                first,
                max(2, count // share // 4),
                force,
            ]
            bad += subprocess.run([*map(str, run)]).returncode != 0
    return bad


if __name__ == "__main__":
    command(make, compare)
