"""Random loop programs in which every object tells when it dies: see `make` and `observe`."""

import gc
import random
import sys

from compared import again, differing

PRELUDE = """
log=[]; made=0
class Loud:
    def __init__(self):
        global made
        made += 1
        self.k = made; self.n = made * 300; self.o = None
    def __del__(self, log=log): log.append(-self.k)
    def step(self, v):
        self.n = v
        return self.n
    def give(self, o):
        old = self.o
        self.o = o
        return old
    def take(self):
        o = self.o
        self.o = None
        return o
class H:
    def __init__(self): self.o = None; self.n = 0
class S:
    __slots__=("o","n")
    def __init__(self): self.o = None; self.n = 0
def passes(o): return o
def swaps(a, b): return b, a
def stores(l, i, o):
    l[i] = o
    return l[i]
def drops(l, i):
    l[i] = None
    return len(l)
"""

STATEMENTS = [
    "o = Loud()",
    "q = o",
    "o = q",
    "o = None",
    "q = None",
    "o, q = q, o",
    "L[t & 3] = o",
    "L[t & 3] = q",
    "L[t & 3] = None",
    "L[t & 3] = t",
    "L[t & 3] = Loud()",
    "o = L[t & 3]",
    "q = L[(t + 1) & 3]",
    "L[t & 3], L[(t + 1) & 3] = L[(t + 1) & 3], L[t & 3]",
    "L[0] = L[1]",
    "M = L[1:3]",
    "M = L[:]",
    "M = list(L)",
    "M = [o, q]",
    "M = [t, o]",
    "M = []",
    "M = [1, 2]",
    "w = (o, t)",
    "w = (q, o)",
    "o = w[0]",
    "w = (t, 1)",
    "w = None",
    "A.append(o)",
    "A.append(t)",
    "A.append(Loud())",
    "A.append((o, t))",
    "A.append([o])",
    "if A: A.pop()",
    "if A: o = A.pop()",
    "if A: q = A.pop()",
    "if len(A) > 5: A = []",
    "if len(A) > 8: A.clear()",
    "D[t & 3] = o",
    "D[t & 7] = t",
    "D[t & 3] = None",
    "if t & 3 in D: o = D[t & 3]",
    "D = {}",
    "h.o = o",
    "h.o = q",
    "h.o = None",
    "h.o = t",
    "o = h.o",
    "q = h.o",
    "s.o = o",
    "s.o = None",
    "o = s.o",
    "h.o, s.o = s.o, h.o",
    "h.n = t",
    "x = passes(o)",
    "o, q = swaps(o, q)",
    "x = stores(L, t & 3, o)",
    "t += drops(L, t & 3) & 1",
    "x = None",
    "x = stores(L, t & 3, Loud())",
    "if o is not None and o.__class__ is Loud: x = o.give(q)",
    "if o.__class__ is Loud: o.step(t)",
    "if o.__class__ is Loud: o.o = None",
    "if q.__class__ is Loud: q.o = o",
    "if q.__class__ is Loud: x = q.take()",
    "for x in L: t += 1",
    "for x in M: t += 1",
    "for x in [o, q]: t += 1",
    "for x in (o, 1): t += 1",
    "for x in A: q = x",
    "for x in list(A): t += 1",
    "for k, x in enumerate(L): t += k",
    "for x, y in zip(L, A): t += 1",
    "for k, x in enumerate(L): L[k] = None",
    "for k, x in enumerate(L): x = None; L[k] = t",
    "for x, y in zip(L, A): x = y = None; L[0] = t",
    "for k, x in D.items(): x = None; D[k] = t",
    "for x in [Loud(), Loud()]: t += 1",
    "for x in reversed(L): t += 1",
    "for x in D.values(): t += 1",
    "for k, x in D.items(): q = x",
    "for x in L[1:]: t += 1",
    "for x in A:\n    if t & 1: break",
    "R[t & 1] = [o]",
    "R[t & 1] = [t]",
    "R[0], R[1] = R[1], R[0]",
    "for r in R:\n    for x in r: t += 1",
    "R = [[o], [q]]",
    "R[0].append(o)",
    "if R[0]: R[0].pop()",
    "log.append(t)",
    "t += 1",
    "t += 2",
    "y = o is q",
    "if o is L[0]: t += 1",
    "L[0:1] = [o]",
    "L[1:2] = [None]",
    "x = max(t, 3)",
    "M = [v for v in L]",
    "M = [t for v in L]",
    "L = [o, q, None, t]",
    "del x; x = 0",
    "del o; o = None",
    "g = o",
    "g = None",
    "o = g",
]
CONDITIONS = ["t & 1", "t % 3 == 0", "t % 7 == 2", "o is None", "o is q", "L[t & 3] is None", "h.o is o", "i > 20"]
SETUP = [
    "o, q, x, y, w, t = Loud(), None, None, False, None, 0",
    "L = [None, Loud(), 5, None]; M = []; A = []; D = {}",
    "R = [[1], [Loud()]]; h, s, g, k = H(), S(), None, 0",
]


def make(seed):
    r = random.Random(seed)
    lines, base = [], 0 if r.random() < 0.4 else 1

    def put(text, depth):
        lines.extend("    " * (base + depth) + line for line in text.split("\n"))

    for line in SETUP:
        put(line, 0)
    for _ in range(r.randrange(1, 3)):
        put(f"for i in range({r.choice([20, 40, 70])}):", 0)
        for _ in range(r.randrange(2, 7)):
            kind, depth = r.random(), 1
            if kind < 0.2:
                put(f"if {r.choice(CONDITIONS)}:", 1)
                depth = 2
            elif kind < 0.3:
                put(f"for j in range({r.choice([3, 8])}):", 1)
                depth = 2
                put(r.choice(STATEMENTS), 2)
            put(r.choice(STATEMENTS), depth)
        put("t += 1", 1)
        if r.random() < 0.5:
            put("log.append(t)", 1)
    put('log.append("end")', 0)
    put("OUT = t", 0)
    if base:
        lines = ["def run():", "    global OUT, g, log", *lines, "run()"]
    return PRELUDE + "\n".join([*lines, 'log.append("out")']) + "\n"


def observe(text):
    """The exception, the result, what died in which order among what was logged, and what died at the end."""
    code, space, failure = compile(text, "deaths", "exec"), {"__name__": "deaths"}, None
    try:
        exec(code, space)
    except Exception as error:
        failure = (type(error).__name__, str(error))
        error.__traceback__ = None
    log, result = space["log"], space.get("OUT")
    first = list(log)
    space.clear()
    gc.collect()
    return failure, result, first, sorted(log[len(first) :], key=str)


def compare(first, count, force):
    programs = {seed: make(seed) for seed in range(first, first + count)}
    return differing(f"deaths from seed {first}", programs, again(observe), force)


if __name__ == "__main__":
    sys.exit(1 if compare(*map(int, sys.argv[1:])) else 0)
