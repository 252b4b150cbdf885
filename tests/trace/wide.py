"""Random loops of many numbers, which do not fit the registers, and of many exits: see `make`.

Up to 80 ints, 40 floats and 4 bools in one loop of up to 160 statements, so that what an exit writes comes from
registers, spill slots and constants, and a trace has hundreds of exits; late a variable, an item or an attribute holds
another type. What a loop ends with goes into one tuple.

    python wide.py FIRST_SEED COUNT [FORCE]         # compares plain and optimised runs
    python wide.py show SEED                        # prints a program
"""

import random

import kinds
from compared import again, command, differing_from

PRELUDE = (
    kinds.PRELUDE
    + """
OUT = []
class C:
    def __init__(self, n): self.n = n; self.w = 0.5
"""
)
BOOLS = ["u0", "u1", "u2", "u3"]
MASKS = ["1023", "0xffff", "2**40 - 1", "2**61 - 1"]


class Wide:
    def __init__(self, r):
        self.r = r
        self.ints = [f"a{k}" for k in range(r.choice([5, 20, 45, 80]))]
        self.floats = [f"x{k}" for k in range(r.choice([3, 15, 40]))]

    def int(self):
        return self.r.choice([*self.ints, "i", "l[i & 3]", "p.n"] if self.r.random() < 0.3 else self.ints)

    def float(self):
        return self.r.choice([*self.floats, "f[i & 3]", "p.w"] if self.r.random() < 0.3 else self.floats)

    def bool(self):
        return self.r.choice(BOOLS)

    def condition(self):
        r = self.r
        return r.choice([self.bool(), f"{self.int()} & 1", f"{self.float()} > 0.3", f"i % {r.choice([2, 5, 13])} == 1"])

    def statement(self):
        r = self.r
        k, a, x = r.randrange(12), r.choice(self.ints), r.choice(self.floats)
        if k < 4:
            return f"{a} = ({self.int()} {r.choice('+-*&|^')} {self.int()}) & {r.choice(MASKS)}"
        if k == 4:
            return f"{a} = {self.int()} {r.choice(['+ 1', '- 1', '+ i', '// 3', '% 7', '>> 1'])}"
        if k < 7:
            value = f"{self.float()} {r.choice('+-*')} {r.choice(['0.5', '0.25', self.float()])}"
            return f"{x} = {value} if abs({self.float()}) < 1e100 else 0.5"
        if k == 7:
            return f"{x} = float({self.int()})"
        if k == 8:
            values = [
                f"{self.int()} < {self.int()}",
                f"{self.float()} > {self.float()}",
                f"not {self.bool()}",
                self.bool(),
            ]
            return f"{self.bool()} = {r.choice(values)}"
        if k == 9:
            return r.choice([f"l[i & 3] = {self.int()}", f"f[i & 3] = {self.float()}", f"p.n = {a}", f"p.w = {x}"])
        if k == 10:
            one, two = r.sample(self.ints if r.random() < 0.5 else self.floats, 2)
            return f"{one}, {two} = {two}, {one}"
        return f"{a} = {self.int()} if {self.bool()} else {self.int()}"

    def late(self):
        a, x = self.r.choice(self.ints), self.r.choice(self.floats)
        return self.r.choice(
            [f"{a} = 2.5", f"{x} = 3", f"{a} = 2**70", f"{a} = True", "l[1] = None", "p.n = 2.5", "u0 = 1", "f[0] = 7"]
        )


def make(seed):
    r = random.Random(f"wide {seed}")
    wide = Wide(r)
    lines = ["def run():"]
    lines += [f"    {a} = {r.choice([0, 3, 300, 70000, -5, 2**40, 2**62])}" for a in wide.ints]
    lines += [f"    {x} = {r.choice([0.5, -1.25, 1e10, 3.0, -0.0])}" for x in wide.floats]
    lines += [
        "    u0, u1, u2, u3 = True, False, True, False",
        "    l, f, p = [1, 2, 300, 4], [0.5, 1.5, 2.5, 3.5], C(3)",
    ]
    lines.append(f"    for i in range({r.choice([40, 90, 200])}):")
    for _ in range(r.choice([10, 40, 100, 160])):
        k = r.random()
        if k < 0.25:
            lines.append(f"        if {wide.condition()}: {wide.statement()}")
        elif k < 0.29:
            lines.append(f"        if i == {r.choice([19, 33, 37])}: {wide.late()}")
        elif k < 0.31:
            lines.append(f"        for j in range({r.choice([3, 8])}):")
            lines += ["            " + wide.statement() for _ in range(2)]
        else:
            lines.append("        " + wide.statement())
    names = [*wide.ints, *wide.floats, *BOOLS, "l", "f", "p.n", "p.w"]
    lines += [f"    OUT.append(({', '.join(names)}))", "for turn in range(3):"]
    lines += ["    try: run()", "    except Exception as e: tell(e)"]
    return PRELUDE + "\n".join(lines) + "\n"


def compare(first, count, force=0):
    return differing_from(first, count, "wide", make, again(kinds.observe), force, busy=True, limits=(2, 120))


if __name__ == "__main__":
    command(make, compare)
