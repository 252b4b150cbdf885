"""What can be seen of a loop from outside while it runs: only states that plain CPython goes through.

A program runs once plain with a tracer that writes down, at every instruction, where it is and what its variables hold. Then it
runs again and again, and at random times its frames are looked at: by a signal handler, by a handler that ends it with
KeyboardInterrupt, or by another thread. Each sight (position and variables of every frame of the program) must be one
of those written down. The results must be those of the plain run too.

    python moments.py FIRST_SEED COUNT              # compares plain and optimised runs
    python moments.py show SEED                     # prints a program
"""

import random
import signal
import sys
import threading
import time

from compared import command, compile_loops, native_iterations
from maker import constants

PRELUDE = """
class P:
    def __init__(self, n): self.n, self.w = n, 0.5
    def add(self, k):
        self.n = (self.n + k) & 1023
        return self.n
class S:
    __slots__ = ("n", "w")
    def __init__(self, n): self.n, self.w = n, 0.5
g, h = 0, 1
def inc(k): return k + 1
def put(l, k, v):
    l[k] = v
    return v
def glob(k):
    global g
    g = (g + k) & 4095
    return g
def swap(l):
    l[0], l[1] = l[1], l[0]
def walk(l):
    s = 0
    for v in l: s += v
    return s
def some(n):
    for v in range(n): yield v * 3
"""
SETUP = """
a, b, c, x, y, m, t = 0, 700, -5, 0.5, 1.5, None, 0
L, F, D, E, p, s, q = [5, 300, 7, 1000], [0.5, 2.5, -1.0], {0: 5, 1: 600, 2: 7, 3: 8}, {"a": 1}, P(3), S(4), []
""".strip().split("\n")
# Constants of all programs, by address.
CONSTANTS = {}
NAMES = "a b c x y m t i j k v L F D E q g h".split()
# No call of C code changes a variable: where such a call stands afterwards is another place for a tracer.
STATEMENTS = r"""
a += 1; b -= 1
a, b = b, a
a = (a * 5 + i) & 65535
b = (b ^ a) & 1023
c = a - b
x = x * 0.5 + i
x, y = y, x
y = x + 1.0
t += i
t += a & 7
L[i & 3] = i
L[i & 3] = L[(i + 1) & 3] + 1
L[0], L[1] = L[1], L[0]
L[2] += 1; L[3] -= 1
F[i % 3] = x
F[0], F[1] = F[1], F[0]
D[i & 3] = a
D[0] += 1; D[1] -= 1
E['a'] += i & 3
p.n += 1; p.n = p.n & 255
p.n = i; p.w = x
a = p.n
p.add(i)
a = p.add(a)
s.n, s.w = s.n + 1, x
a = s.n & 255
g = i; h = -i
glob(i)
a = glob(1)
a = inc(a) & 1023
put(L, i & 3, i)
swap(L)
a = walk(L) & 1023
q = [*q, i]
if len(q) > 5: q = []
if q: a, q = q[-1], q[1:]
q = [a, b]
q = [v & 7 for v in L]
m = a
m = x
m = None
m = i if i & 1 else None
for j in range(3): a += j
for j in range(i & 7): a += 1; b -= 1
for v in L: t += v & 3
for k, v in enumerate(L): a += k
for v in some(3): t += v
k = 0\nwhile k < 4: k += 1; a ^= k
if a & 1: b += 2\nelse: b -= 1
if a > b: a, b = b, a
if i % 50 == 7: continue
try: a = 1000 // (i % 29)\nexcept ZeroDivisionError: a = 5
try: a += 1\nfinally: b -= 1
with_ = (a, b); a = with_[1]
a = max(a, b) & 1023
u = a < b < 500
""".strip().replace("\\n", "\x00").split("\n")  # fmt: skip


def make(seed):
    r = random.Random(f"moment {seed}")
    base, lines = r.choice([0, 1]), []

    def put(text, depth):
        lines.extend("    " * (base + depth) + line for line in text.replace("\x00", "\n").split("\n"))

    for line in SETUP:
        put(line, 0)
    # A tracer of 3.12 that looks at the variables binds those of a comprehension.
    table = [s for s in STATEMENTS if sys.version_info >= (3, 13) or " for v in L]" not in s]
    pool = r.sample(table, r.choice([3, 5, 9, 30]))
    for _ in range(r.choice([1, 1, 2])):
        n = r.choice([400, 900])
        put(r.choice([f"for i in range({n}):", f"for i in list(range({n})):", f"i = 0\nwhile i < {n}:\n    i += 1"]), 0)
        for _ in range(r.randrange(1, 5)):
            if r.random() < 0.2:
                put(f"for j in range({r.choice([5, 20])}):", 1)
                put(r.choice(pool).replace("continue", "pass"), 2)
            put(r.choice(pool), 1)
    text = PRELUDE
    if base:
        text += "def run():\n    global g, h\n"
        lines.append("    return a, b, c, x, y, m, t, L, F, D, E, p.n, p.w, s.n, s.w, q")
    end = "OUT = run()\n" if base else "OUT = a, b, c, x, y, m, t, L, F, D, E, p.n, p.w, s.n, s.w, q\n"
    return text + "\n".join(lines) + "\n" + end


def owners(roots, out):
    """Of variables, of what their containers hold and of attributes: which are one object, and how many owners it has."""
    values, names = [], {}
    for v in roots:
        values.append(v)
        if type(v) in (list, tuple):
            values.extend(v)
        elif type(v) is dict:
            values.extend(v.values())
        elif type(v).__name__ in "PS":
            values += [getattr(v, "n", None), getattr(v, "w", None)]
    v = None
    for k in range(len(values)):
        name = names.setdefault(id(values[k]), len(names))
        # Of a constant, or an int that exists once, the code and the interpreter have some.
        counted = type(values[k]) in (float, list, dict, tuple) or (type(values[k]) is int and abs(values[k]) > 1024)
        out.append((name, sys.getrefcount(values[k]) if counted and id(values[k]) not in CONSTANTS else 0))


def sight(frame):
    """Position and variables of each of the program's frames, from this one outwards."""
    found, held = [], []
    while frame is not None:
        if frame.f_code.co_filename == "moments" and frame.f_code.co_name in ("run", "<module>"):
            known = frame.f_locals
            # A frame of 3.12 that is interrupted, or calls, is somewhere within its instruction; a tracer sees its beginning.
            at = frame.f_lasti if sys.version_info >= (3, 13) else None
            found.append((frame.f_code.co_name, at, repr([known.get(name) for name in NAMES])))
            found.append(repr([getattr(known.get(o), f, None) for o in "ps" for f in "nw"]))
            # Without the place: a call that has ended is still at its instruction, but no more has the operands.
            held.append((found[-2][2], found[-1]))
            owners([known.get(name) for name in NAMES if name not in "gh"], held)
            if frame.f_code.co_name == "run":
                found.append(repr([frame.f_globals.get(name) for name in "gh"]))
                break
        frame = frame.f_back
    return hash(tuple(found)), hash(str(held)), found, held


def legal(code):
    """Every sight of a plain run, and its result."""
    seen = set()

    def tracer(frame, event, arg):
        if frame.f_code.co_filename == "moments":
            frame.f_trace_opcodes = True
            seen.update(sight(frame)[:2])
            return tracer
        return None

    space = {"__name__": "moments"}
    sys.settrace(tracer)
    try:
        exec(code, space)
    finally:
        sys.settrace(None)
    seen -= {hash(()), hash("[]")}
    return seen, repr(space["OUT"])


class Watch:
    """Looks at the program at random times, and keeps what is not legal."""

    def __init__(self, r, seen):
        self.r, self.seen, self.looks, self.strange = r, seen, 0, []
        self.ends = False

    def look(self, frame):
        return self.judge(*sight(frame))

    def judge(self, key, owned, found, held):
        if found:
            self.looks += 1
            if key not in self.seen or owned not in self.seen:
                self.strange.append((key in self.seen, found, held))
        return bool(found)

    def again(self):
        signal.setitimer(signal.ITIMER_REAL, self.r.choice([2e-6, 1e-5, 3e-5, 1e-4, 3e-4]))

    def handler(self, number, frame):
        if self.look(frame) and self.ends:
            raise KeyboardInterrupt
        self.again()

    def thread(self, ident, stop):
        while not stop.is_set():
            frame = sys._current_frames().get(ident)
            while frame is not None and frame.f_code.co_filename != "moments":
                # Only a frame that is itself interrupted stands still; what it called is a frame of this file.
                if frame.f_code.co_filename == __file__:
                    frame = None
                    break
                frame = frame.f_back
            # It may run on while it is looked at; so a sight counts if the next one is the same.
            if frame is not None:
                first, then = sight(frame), sight(frame)
                if first == then:
                    self.judge(*first)
            frame = None
            time.sleep(self.r.choice([0, 1e-5, 1e-4]))


def once(code, watch, way):
    """One run under watch; its result, or None if it was interrupted."""
    space, stop, thread = {"__name__": "moments"}, threading.Event(), None
    watch.ends = way == "interrupt"
    if way == "thread":
        thread = threading.Thread(target=watch.thread, args=(threading.get_ident(), stop))
        thread.start()
    else:
        watch.again()
    try:
        exec(code, space)
        return repr(space["OUT"])
    except KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if thread is not None:
            stop.set()
            thread.join()


def compare(first, count, force=0, plain_too=False):
    signal.signal(signal.SIGALRM, lambda *_: None)
    sys.setswitchinterval(2e-5)
    known = {}
    for seed in range(first, first + count):
        code = compile(make(seed), "moments", "exec")
        constants(code, CONSTANTS)
        known[seed] = code, *legal(code)
    if not plain_too:
        compile_loops(force)
    bad, looks = 0, 0
    for seed, (code, seen, result) in known.items():
        r = random.Random(seed)
        for turn in range(24):
            watch, way = Watch(r, seen), ("handler", "interrupt", "thread")[turn % 3]
            signal.signal(signal.SIGALRM, watch.handler)
            found = once(code, watch, way)
            looks += watch.looks
            if watch.strange or found not in (None, result):
                bad += 1
                print(
                    f"{seed} differs ({way}):\n{make(seed)}\nplain     {result}\noptimised {found}\n{watch.strange[:3]}"
                )
                break
    native = native_iterations()
    print(
        f"moments: {count} programs from seed {first}: {bad} differ; {looks} looks; {native} iterations native",
        flush=True,
    )
    assert plain_too or native > 0
    return bad


if __name__ == "__main__":
    command(make, compare)
