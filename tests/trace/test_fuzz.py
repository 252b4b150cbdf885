"""Random loop programs, plain and optimised: values, exceptions with their lines, globals and reference counts must agree.

``LARDER_FUZZ_PROGRAMS`` sets how many programs, ``LARDER_FUZZ_SEED`` the first seed; a failure prints its seed.
"""

import os
import random
import subprocess
import sys
import traceback
import warnings

import pytest

PROGRAMS = int(os.environ.get("LARDER_FUZZ_PROGRAMS", "400"))
INTS = ["0", "1", "3", "7", "-1", "-5", "256", "257", "2**30", "-2**45", "2**62", "2**63-1", "-2**63", "2**64"]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.lines, self.indent, self.loops, self.vars = [], 0, 0, ["a", "b", "c", "d"]

    def put(self, text):
        self.lines.append("    " * self.indent + text)

    def int(self, d=0):
        r, k = self.r, self.r.randrange(13 if d < 3 else 3)
        if k == 0:
            return r.choice(INTS)
        if k in (1, 2):
            return r.choice(self.vars)
        if k < 6:
            return f"({self.int(d + 1)} {r.choice('+-*&|^')} {self.int(d + 1)})"
        if k == 6:
            return f"({self.int(d + 1)} {r.choice(['//', '%'])} {r.choice(['3', '16', '-3', self.int(d + 1)])})"
        if k == 7:
            return f"({self.int(d + 1)} {r.choice(['>>', '<<'])} {r.choice(['1', '7', f'({self.int(d + 1)} & 15)'])})"
        if k == 8:
            return f"L[{r.choice([self.int(d + 1) + ' % len(L)', 'a & 7', '-1', '3', self.int(d + 1)])}]"
        if k == 9:
            return r.choice([f"(-{self.int(d + 1)})", f"(~{self.int(d + 1)})", f"abs({self.int(d + 1)})"])
        if k == 10:
            return f"{r.choice(['min', 'max'])}({self.int(d + 1)}, {self.int(d + 1)})"
        if k == 11:
            return f"({self.int(d + 1)} if {self.cond(d + 1)} else {self.int(d + 1)})"
        return "len(F)"

    def float(self, d=0):
        r, k = self.r, self.r.randrange(9 if d < 3 else 3)
        if k == 0:
            return r.choice(["0.0", "1.5", "-2.25", "1e300", "-0.0", "1e-9"])
        if k in (1, 2):
            return r.choice(["x", "y", "z"])
        if k < 5:
            return f"({self.float(d + 1)} {r.choice('+-*/')} {self.float(d + 1)})"
        if k == 5:
            return f"({self.float(d + 1)} {r.choice('+-*')} {self.int(d + 1)})"
        if k == 6:
            return f"F[{self.int(d + 1)} & 3]"
        if k == 7:
            return r.choice(
                [f"sqrt(abs({self.float(d + 1)}))", f"sqrt({self.float(d + 1)})", f"float({self.int(d + 1)})"]
            )
        return f"({self.int(d + 1)} / {r.choice(['3', self.int(d + 1)])})"

    def cond(self, d=0):
        op = self.r.choice(["<", "<=", "==", "!=", ">", ">="])
        kind = self.r.randrange(4)
        if kind == 0:
            return f"{self.float(d + 1)} {op} {self.float(d + 1)}"
        if kind == 1:
            return f"{self.int(d + 1)} {op} {self.float(d + 1)}"
        if kind == 2:
            return f"not {self.int(d + 1)}"
        return f"{self.int(d + 1)} {op} {self.int(d + 1)}"

    def statement(self, d):
        r, k = self.r, self.r.randrange(13)
        if k < 4:
            self.put(f"{r.choice('abcd')} = ({self.int()}) % {r.choice(['97', '65536', '2**62', '2**66'])}")
        elif k < 6:
            self.put(f"{r.choice('xyz')} = {self.float()}")
        elif k == 6:
            self.put(
                r.choice(
                    ["a, b = b, a", "x, y = y, x", "L, M = M, L", "c = d = a", "x = F[a & 3]", "y = x", "u = a < b"]
                )
            )
        elif k == 7:
            self.put(f"L[{self.int(2)} & 7] = {self.int(2)} % 2**40")
        elif k == 8 and d < 3:
            self.put(f"if {self.cond()}:")
            self.block(d + 1)
            self.put("else:")
            self.block(d + 1)
        elif k == 9 and d < 3:
            self.loop(d)
        elif k == 10:
            self.put(f"if {self.cond(2)}: {r.choice(['break', 'continue'])}")
        elif k == 11:
            self.put(f"if t % 7 == 3: log.append({r.choice(['a', 'x', 'L'])})")
        else:
            self.put("t += 1")

    def block(self, d):
        self.indent += 1
        for _ in range(self.r.randrange(1, 4)):
            self.statement(d)
        self.indent -= 1

    def loop(self, d):
        r = self.r
        self.loops += 1
        v, n = f"i{self.loops}", r.choice([3, 9, 30]) if d else r.choice([30, 60])
        if r.random() < 0.5:
            ranges = [f"range({n})", f"range(1, {n}, 2)", f"range({n}, 0, -1)", f"range(a & 15, {n})"]
            self.put(f"for {v} in {r.choice([*ranges, 'L', 'M', 'list(L)'])}:")
        else:
            self.put(f"{v} = 0")
            self.put(f"while {v} < {n}:")
            self.indent += 1
            self.put(f"{v} += 1")
            self.indent -= 1
        self.vars.append(v)
        self.block(d + 1)
        self.vars.remove(v)

    def program(self):
        names = "a, b, c, d, x, y, z, u, t, L, M, F, log"
        module = self.r.random() < 0.5
        self.indent = 0 if module else 1
        self.put("a, b, c, d, x, y, z, u, t = 3, 5, 7, 11, 0.5, 1.25, -3.0, False, 0")
        self.put(
            "L = [1, 2, 3, 400, 5, 6, 7, 8]; M = [300, -5, 2**31, 4, 10**12, 0, 1, 2**70]; F = [0.5, -2.0, 3.5, 0.0]; log = []"
        )
        for _ in range(self.r.randrange(1, 4)):
            self.loop(0)
        end = f"OUT = ({names})"
        if module:
            return "from math import sqrt\n" + "\n".join([*self.lines, end]) + "\n"
        self.put(end)
        return "from math import sqrt\ndef run():\n    global OUT\n" + "\n".join(self.lines) + "\nrun()\n"


def execute(code):
    space, failure = {"__name__": "fuzz"}, None
    try:
        exec(code, space)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "fuzz"]
        failure = (type(error).__name__, str(error), lines)
    space.pop("__builtins__")
    state = {k: repr(v) for k, v in space.items() if not callable(v)}
    counts = {k: sys.getrefcount(space[k]) for k in ("L", "M", "F", "log") if k in space}
    return failure, state, counts


def compare(first, count):
    """Runs the programs of these seeds both ways; every difference is printed and counted."""
    import larder

    warnings.simplefilter("ignore")
    sources = {seed: Maker(seed).program() for seed in range(first, first + count)}
    plain = {seed: execute(compile(text, "fuzz", "exec")) for seed, text in sources.items()}
    assert larder.trace.optimise(watch_all=True, hot=3), larder.trace.stats()
    bad = 0
    for seed, text in sources.items():
        code = compile(text, "fuzz", "exec")
        found = [execute(code), execute(code)]
        if found != [plain[seed]] * 2:
            bad += 1
            print(f"seed {seed} differs:\n{text}\nplain     {plain[seed]}\noptimised {found}")
    rows = larder.trace.optimised()
    print(f"{count} programs from seed {first}: {bad} differ; {sum(r['native'] for r in rows)} iterations native")
    assert sum(r["native"] for r in rows) > 0, "nothing was compiled, so nothing was compared"
    return bad


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="the optimiser serves CPython 3.13")
def test_fuzz_optimised_programs_behave_as_plain_ones():
    first = int(os.environ.get("LARDER_FUZZ_SEED", "1"))
    # In a process of its own: an optimiser that crashes must fail this test, not end it.
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, str(first), str(PROGRAMS)], capture_output=True, text=True
    )
    print(done.stdout[-6000:], done.stderr[-3000:])
    assert done.returncode == 0


if __name__ == "__main__":
    sys.exit(1 if compare(int(sys.argv[1]), int(sys.argv[2])) else 0)
