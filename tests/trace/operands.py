"""Random expressions over many operands: the last bit, the sign of zero, what overflows, who is whom, warnings.

A program is a few loops over pairs of operands, most near some edge (words, digits of 30 bits, doubles' 53, zeros,
infinities, halves), each with one expression of numbers, texts or both; now and then an operand of another type.

    python operands.py FIRST_SEED COUNT [FORCE]     # compares plain and optimised runs
    python operands.py show SEED                    # prints a program
"""

import math
import random
import struct

import kinds
from compared import again, command, differing

# What 3.15 says of a sequence times a large int depends on whether it has specialised the instruction.
PRELUDE = (
    kinds.PRELUDE
    + """import math, warnings
OUT = []
def said(e):
    return str(e).replace("cannot fit 'int' into an index-sized integer", "Python int too large to convert to C ssize_t")
"""
)
EDGES = [
    0,
    1,
    2,
    3,
    5,
    7,
    10,
    255,
    256,
    257,
    2**15,
    2**29,
    2**30,
    2**31,
    2**32,
    2**52,
    2**53,
    2**54,
    2**59,
    2**60,
    2**61,
    2**62,
    2**63,
    2**64,
    10**9,
    10**15,
    10**18,
]
OTHERS = [
    "True",
    "False",
    "None",
    "2**70",
    "'7'",
    "1.5",
    "3",
    "-2**63",
    "2.5",
    "float('nan')",
    "-0.0",
    "b'a'",
    "1j",
    "(1,)",
]


def an_int(r):
    k = r.random()
    if k < 0.35:
        return r.choice(EDGES) * r.choice([1, -1]) + r.randrange(-2, 3)
    if k < 0.6:
        return r.randrange(-20, 300)
    return r.choice([1, -1]) * (r.getrandbits(r.randrange(1, 64)))


def a_float(r):
    k = r.random()
    if k < 0.2:
        return r.choice(
            [
                "0.0",
                "-0.0",
                "float('inf')",
                "float('-inf')",
                "float('nan')",
                "5e-324",
                "1.7976931348623157e308",
                "2.2250738585072014e-308",
                "0.1",
                "-1.0",
                "1.0",
            ]
        )
    if k < 0.35:
        return repr(float(an_int(r)))
    if k < 0.5:
        return repr(an_int(r) % 1000 + r.choice([0.5, -0.5, 0.25, 0.125, 1e-9]))
    if k < 0.8:
        return repr(r.uniform(-10, 10))
    while not math.isfinite(found := struct.unpack("<d", r.randbytes(8))[0]):
        pass
    return repr(found)


UNARY_INT = [
    "-{0}",
    "~{0}",
    "+{0}",
    "abs({0})",
    "not {0}",
    "float({0})",
    "int({0})",
    "bool({0})",
    "str({0})",
    "round({0})",
    "math.isqrt({0})",
    "math.sqrt({0})",
    "{0} ** 2",
    "{0} ** 3",
    "2 ** ({0} & 70)",
    "chr({0})",
    "f'{{{0}}}'",
    "f'{{{0}:5}}'",
    "repr({0})",
    "math.log2({0})",
    "math.log({0})",
    "len(str({0}))",
    "format({0}, ',')",
    "math.floor({0})",
    "math.log1p({0})",
    "range({0})[-1]",
    "math.gcd({0}, 12)",
    "len(range({0}))",
    "{0}.real",
    "{0}.bit_length()",
]
BINARY_INT = [
    "{0} + {1}",
    "{0} - {1}",
    "{0} * {1}",
    "{0} // {1}",
    "{0} % {1}",
    "{0} / {1}",
    "{0} & {1}",
    "{0} | {1}",
    "{0} ^ {1}",
    "{0} << ({1} & 63)",
    "{0} >> ({1} & 127)",
    "{0} >> {1}",
    "{0} < {1}",
    "{0} == {1}",
    "{0} >= {1}",
    "{0} is {1}",
    "divmod({0}, {1})",
    "min({0}, {1})",
    "max({0}, {1})",
    "math.gcd({0}, {1})",
    "pow({0}, {1} & 7)",
    "{0} ** ({1} & 3)",
    "({0}, {1})[{0} > {1}]",
    "{0} and {1}",
    "{0} or {1}",
    "round({0}, -({1} & 3))",
    "divmod({0}, {1})[1]",
    "divmod({0}, {1})[0]",
    "math.hypot({0}, {1})",
    "math.atan2({0}, {1})",
    "{0} ** -({1} & 3)",
]
CONSTANT_INT = [
    "{0} + 1",
    "{0} * 3",
    "{0} // 7",
    "{0} % 7",
    "{0} // -7",
    "{0} % -7",
    "{0} // 8",
    "{0} % 8",
    "{0} % 1",
    "{0} // 1",
    "{0} // -1",
    "{0} % -1",
    "{0} >> 3",
    "{0} << 3",
    "{0} << 60",
    "{0} & 255",
    "{0} & -2",
    "{0} | 0",
    "{0} ^ -1",
    "{0} * 0",
    "{0} * 1",
    "{0} - 0",
    "{0} % 2**62",
    "{0} // 2**62",
    "{0} * 2**32",
    "{0} + 2**62",
    "{0} % 1000003",
    "{0} % 4294967296",
    "{0} / 3",
    "{0} / 2**40",
    "-1 << ({0} & 63)",
    "1 << ({0} & 63)",
    "{0} % 2**31 * 2**31",
    "{0} < 2**63",
    "{0} == 2**62",
    "2**62 - {0}",
    "0 - {0}",
]
UNARY_FLOAT = [
    "-{0}",
    "abs({0})",
    "not {0}",
    "int({0})",
    "bool({0})",
    "str({0})",
    "round({0})",
    "round({0}, 2)",
    "round({0}, -1)",
    "round({0}, 1)",
    "math.sqrt({0})",
    "math.floor({0})",
    "math.ceil({0})",
    "math.trunc({0})",
    "math.exp({0})",
    "math.log({0})",
    "math.log10({0})",
    "math.sin({0})",
    "math.cos({0})",
    "math.tan({0})",
    "math.atan({0})",
    "math.asin({0})",
    "math.tanh({0})",
    "math.gamma({0})",
    "math.lgamma({0})",
    "math.erf({0})",
    "math.cbrt({0})",
    "math.isnan({0})",
    "math.isfinite({0})",
    "{0} ** 2",
    "{0} ** 0.5",
    "{0} ** -1",
    "{0} ** 3",
    "2 ** {0}",
    "{0} != {0}",
    "f'{{{0}:.3f}}'",
    "f'{{{0}:e}}'",
    "repr({0})",
    "format({0}, '.2%')",
    "math.degrees({0})",
    "math.fabs({0})",
    "math.expm1({0})",
    "math.log2({0})",
    "float({0}) is {0}",
    "{0}.is_integer()",
]
BINARY_FLOAT = [
    "{0} + {1}",
    "{0} - {1}",
    "{0} * {1}",
    "{0} / {1}",
    "{0} // {1}",
    "{0} % {1}",
    "{0} ** {1}",
    "{0} < {1}",
    "{0} <= {1}",
    "{0} == {1}",
    "{0} != {1}",
    "{0} > {1}",
    "{0} is {1}",
    "min({0}, {1})",
    "max({0}, {1})",
    "divmod({0}, {1})",
    "math.fmod({0}, {1})",
    "math.pow({0}, {1})",
    "math.atan2({0}, {1})",
    "math.hypot({0}, {1})",
    "math.copysign({0}, {1})",
    "({0} < {1}) + ({0} > {1})",
    "sum([{0}, {1}, 1.0])",
    "math.log({0}, {1})",
    "({0}, {1}) < ({1}, {0})",
    "[{0}, {1}] == [{1}, {0}]",
    "{0} and {1}",
]


def make(seed):
    r = random.Random(f"operands {seed}")
    lines = []
    for _ in range(4):
        sides = r.choice([("i", "i"), ("i", "i"), ("f", "f"), ("f", "f"), ("i", "f"), ("f", "i")])
        names = ["a", "b"]
        if sides == ("i", "i"):
            forms = BINARY_INT + UNARY_INT + CONSTANT_INT + BINARY_INT
        elif sides == ("f", "f"):
            forms = BINARY_FLOAT + UNARY_FLOAT
        else:
            forms = BINARY_FLOAT + BINARY_INT[:6]
        text = r.choice(forms).format(*names)
        count = r.choice([50, 150])
        columns = []
        for side in sides:
            values = [str(an_int(r)) if side == "i" else a_float(r) for _ in range(count)]
            # No power of a large number ends.
            others = OTHERS if r.random() < 0.3 and "**" not in text else []
            for _ in range(r.choice([1, 3, 40]) if others else 0):
                values[r.randrange(20, count)] = r.choice(others)
            columns.append(f"[{', '.join(values)}]")
        if r.random() < 0.4 and "'" not in text and "**" not in text:  # one more on top
            other = r.choice(
                BINARY_INT[:8]
                + BINARY_FLOAT[:5]
                + CONSTANT_INT[:12]
                + ["-{0}", "abs({0})", "min({0}, {1})", "int({0})", "{0} < {1}"]
            )
            text = other.format(f"({text})", r.choice(names))
        warn = r.random() < 0.1
        body = r.choice(
            [
                "t = {0}; OUT.append(t)",
                "t = {0}; OUT.append((t, t is a, t is b))",
                "OUT.append({0})",
                "t = {0}; OUT[-1:] = [(t, u)]; u = t; OUT.append(t)",
                "if {0}: OUT.append(k)",
            ]
        )
        lines += [f"A = {columns[0]}", f"B = {columns[1]}", "u = None"]
        lines += ["warnings.simplefilter('error')" if warn else "warnings.simplefilter('ignore')"]
        lines += [
            r.choice(
                [
                    "for k, (a, b) in enumerate(zip(A, B)):",
                    "for k, a in enumerate(A):\n    b = B[k]",
                    "for k in range(len(A)):\n    a, b = A[k], B[k]",
                ]
            )
        ]
        lines += [
            "    try:",
            "        " + body.format(text),
            f"    except Exception as e: OUT.append((k, type(e).__name__, said(e))); {r.choice(['pass', 'break', 'pass'])}",
        ]
    if r.random() < 0.5:
        lines = ["def run():", *("    " + line.replace("\n", "\n    ") for line in lines), "run()"]
    return PRELUDE + "\n".join(lines) + "\nwarnings.simplefilter('ignore')\n"


def compare(first, count, force=0):
    programs = {seed: make(seed) for seed in range(first, first + count)}
    return differing(f"operands from seed {first}", programs, again(kinds.observe), force)


if __name__ == "__main__":
    command(make, compare)
