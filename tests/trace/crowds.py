"""Programs in several threads at once: each must end as it does alone.

A crowd is four programs of `calls`, `operands`, `maker`'s and `deaths`' kinds, two threads to each, which run the very same
code object: compiled once, entered by both. Threads are switched as often as CPython can.

    python crowds.py FIRST_SEED COUNT [FORCE]       # compares crowds with plain runs, one by one
"""

import random
import sys
import threading

import calls
import deaths
import kinds
import operands
from compared import differing_from
from maker import Maker, constants


def moves(seed):
    """A program of `maker`'s that does not share the random numbers of the process."""
    return Maker(seed).program().replace("random.seed(5)", "").replace("random.random", "rng.random")


SOURCES = [calls.make, calls.make, deaths.make, operands.make, moves]


def make(seed):
    r = random.Random(f"crowd {seed}")
    # No tool of the process' own: what one thread switches on, all would see.
    return [r.choice(SOURCES)(r.randrange(10**9)) for _ in range(4)]


def observe(code, known):
    """What a program logged, the exception it ended with, and a picture of what it left behind."""
    space, failure = {"__name__": "kinds"}, None
    try:
        exec(code, space)
    except Exception as error:
        failure = type(error).__name__, str(error)
        error.__traceback__ = None
    log, left = [*map(str, space.get("log", []))], space.get("OUT")
    numbers = {k: v for k, v in space.items() if isinstance(v, (int, float, str, list, dict, tuple)) and k[0] != "_"}
    for name in ("OUT", "log", "k_"):
        numbers.pop(name, None)
    space.clear()
    seen = kinds.picture([left, numbers], known)[0]
    return failure, [line.split(" at 0x")[0] for line in log], seen


def crowd(programs, times):
    """The outcome of each of these programs in each of ``times`` runs of all, in pairs of threads."""
    found = []
    for _ in range(times):
        codes = [compile(text, "kinds", "exec") for text in programs]
        told = [[None, None] for _ in programs]
        ready = threading.Barrier(2 * len(programs))

        def one(k, pair, told=told, codes=codes, ready=ready):
            known = constants(codes[k], {})
            ready.wait()
            told[k][pair] = observe(codes[k], known)

        threads = [threading.Thread(target=one, args=(k, pair)) for k in range(len(programs)) for pair in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found.append(told)
    return found


def difference(programs, plain, found):
    shown = [f"{text}\nplain     {before}\noptimised {one}" for text, pair, both in zip(programs, plain, found, strict=True)
             for before, one in zip(pair, both, strict=True) if before != one]  # fmt: skip
    return shown[0]


def compare(first, count, force=0):
    sys.setswitchinterval(1e-6)
    return differing_from(first, count, "crowds", make, crowd, force, limits=(60, 300), tell=difference)


if __name__ == "__main__":
    sys.exit(1 if compare(*map(int, sys.argv[1:])) else 0)
