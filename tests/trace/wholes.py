# ruff: noqa: E501 - choices read best in one line
"""What `maker` adds to its programs about lists as a whole, text, stores into slices, and arguments by name and by default.

``m`` is the maker, ``k`` what it has drawn.
"""

PRELUDE = """
def g1(a, b=3, c=7000):
    return a * b - c
def g2(a, *, k=5, w=2.5):
    return a + k + int(w)
def g3(x, y=0.5):
    return x * y + 1
def g4(l, v=None, *, at=0):
    if v is None:
        return l[at & 3]
    l[at & 3] = v
    return len(l)
def g5(a, /, b=1000, c=None):
    if a & 1:
        return b
    return a if c is None else c
def g6(a, b=(1, 700), c='xyz'):
    return b[a & 1] + ord(c[a % 3])
"""


def int(m, k, d):
    """An int, for 30 to 35."""
    r = m.r
    if k in (30, 31):
        whole = r.choice(["L", "L", "M", "J", "A", "N", "R[a & 1]", "R[b & 1]", "T[a % 3]", "L[a & 3:]", "F", "W", "G"])
        return r.choice(
            [
                f"min({whole})",
                f"max({whole})",
                f"sum({whole})",
                f"max(({m.int(d + 1)}, b, c))",
                f"min([{m.int(d + 1)}, b, 300])",
                f"sum([{m.int(d + 1)}, b, 300])",
                f"sum((a, {m.int(d + 1)}))",
                "sum(range(a & 31))",
                f"sum(range({r.choice(['b & 7', 'a & 511', '-3'])}, {r.choice(['a & 63', 'b'])} & 255, {r.choice(['1', '3', '-2'])}))",
                "len(max(W, 'x' + W[1:]))",
                "ord(max(['a', ch, 'b']))",
                "ord(min(W))",
            ]
        )
    if k in (32, 33):
        o = r.choice(["p", "q", "Q[a & 3]"])
        return r.choice(
            [
                f"g1({m.int(d + 1)})",
                f"g1({m.int(d + 1)}, {m.int(d + 1)})",
                f"g1({m.int(d + 1)}, c={m.int(d + 1)})",
                f"g1(b={m.int(d + 1)}, a=b)",
                "g1(c=a, b=b, a=c)",
                f"g2({m.int(d + 1)})",
                f"g2({m.int(d + 1)}, k=a)",
                f"g2(k=3, w={m.float(d + 1)}, a={m.int(d + 1)})",
                f"g4({r.choice(['L', 'M', 'R[a & 1]'])}, at={r.choice(['a', 'b & 1', '1'])})",
                f"g4({r.choice(['L', 'J'])}, {m.int(d + 1)}, at=b)",
                "g4(L, v=a)",
                f"g5({m.int(d + 1)})",
                f"g5({m.int(d + 1)}, c=b)",
                "g5(a, b)",
                f"g6({m.int(d + 1)})",
                "g6(a, c='hello')",
                f"{o}.scale()",
                f"{o}.scale({m.int(d + 1)})",
                f"{o}.scale(by=a, k=3)",
                f"{o}.scale(k={m.int(d + 1)})",
                r.choice(["g1()", "g1(a, z=1)", "g1(a, a=1)", "g2(a, 5)", "g5(a=1)"]) if r.random() < 0.2 else "g5(b)",
            ]
        )
    if k in (34, 35):
        return r.choice(
            [
                "len(h)",
                f"len({text(m, d + 1)})",
                f"ord({text(m, d + 1)}[0])",
                f"ord(str({m.int(d + 1)})[-1])",
            ]
        )
    raise ValueError(k)


def text(m, d=0):
    """A str."""
    r = m.r
    one = m.int if r.random() < 0.6 else m.float
    number = one(d + 1)
    spec = r.choice([":>6", ":6", ":<3", ":+", ":e", ":.2f", ":08.3f", ":,", ":", ":%", ":5d", ":x", ":{w}", ":s"])
    if spec == ":{w}":
        spec = ":{4 + (a & 3)}"
    elif spec in (":5d", ":x", ":s") and r.random() < 0.7:
        number, spec = m.int(d + 1), ":5d" if spec == ":s" else spec
    return r.choice(
        [
            f"f'{{{number}}}'",
            f"f'{{{number}{spec}}}'",
            f"f'{{{number}{spec}}}'",
            f"f'{{{number}}}:{{{m.int(d + 1)}}}'",
            f"f'<{{{number}{spec}}} {{ch}} {{u}}>'",
            "f'{h[:5]}{ch}'",
            "f'{m}|{m!r}'",
            f"f'{{a!s}}{{ch!r}}{{{number}!r}}{{ch!a}}'",
            "f'{ch:>3}{h[:9]:<10}{ch!r:5}'",
            f"str({number})",
            f"repr({number})",
            "repr(ch)",
            "str(h)",
            "str(u) + ''",
            f"format({number}, {r.choice(['0', repr(spec[1:])])})" if "{" not in spec else f"format({number}, '8')",
        ]
    )


def float(m, k, d):
    """A float, for 15 to 17."""
    r = m.r
    if k == 15:
        whole = r.choice(["F", "F", "R[2]", "F[1:]", "F[a & 3:]", "N", "A", "T[a % 3]", "L"])
        return f"{r.choice(['min', 'max', 'sum', 'sum'])}({whole})"
    if k == 16:
        return r.choice(
            [
                f"sum([{m.float(d + 1)}, {r.choice([m.float(d + 1), m.int(d + 1)])}, x])",
                f"max([{m.float(d + 1)}, {r.choice([m.float(d + 1), m.int(d + 1)])}])",
                f"min(({m.float(d + 1)}, {m.float(d + 1)}, y))",
                f"sum(({m.int(d + 1)}, {m.float(d + 1)}))",
            ]
        )
    if k == 17:
        return r.choice(
            [
                f"g3({r.choice([m.float(d + 1), m.int(d + 1)])})",
                f"g3({m.float(d + 1)}, {m.float(d + 1)})",
                f"g3(x, y={m.float(d + 1)})",
                f"g5({m.int(d + 1)}, x)",
                f"g5(2, c={m.float(d + 1)})",
            ]
        )
    raise ValueError(k)


def statement(m, k):
    """For 30 to 33."""
    r = m.r
    if k == 33:
        i, j = r.choice(["a & 3", "-3", "", "1", m.int(2)]), r.choice(["", "b & 7", "-1", "5", m.int(2)])
        return r.choice(
            [
                "L[a & 3:(a & 3) + 2] = [b, 300]",
                "L[a & 3:(a & 3) + 1] = (b,)",
                f"L[2:4] = [{m.int(2)}, a]",
                f"L[2:4] = {m.int(2)}, L[1]",
                f"J[{i}:{j}] = [{m.int(2)}, a]; J = J[-20:]",
                f"J[{i}:{j}] = J; J = J[-20:]",
                f"{r.choice(['J', 'M', 'A'])}[{i}:{j}] = {r.choice(['L[:2]', 'J', 'T[a % 3]', '[]', '(x, y)', 'W', 'F', 'N', 'G[:2]', 'J[:3]'])}; A = A[-9:]; M = M[:9]",
                "F[1:3] = [x, y]",
                "F[:2] = F[1], F[0]",
                "F[a & 1:(a & 1) + 1] = [F[3]]",
                "x = F[1]; F[1:3] = [x + 1.0, x]; x = F[1]",
                "a = L[3]; L[3:5] = [a, a]; L[3] += 1",
                "N[1:3] = [a, None]",
                "Q[0:1] = [Q[0]]" if r.random() < 0.3 else "Q[:1] = Q[:1]",
                "A[0:1] = [p]" if r.random() < 0.3 else "A[0:1] = [h]",
                "R[a & 1][1:3] = [a, b]",
                "J[:0] = [a]; t += J[0] & 3; J = J[:9]",
                "J[len(J):] = [a, b]; t += len(J); J = J[-9:]",
                "for ch in W[:3]: L[5:7] = [t, b]",
                "for v in L: L[1:2] = [v]",
                "L[5:] = [a, b, L[7]]",
                "T[0:1] = [1]" if r.random() < 0.1 else "t += 2",
            ]
        )
    if k in (30, 31):
        return r.choice(
            [
                f"h = {text(m, 2)}",
                f"h = {text(m, 2)}",
                f"ch = f'{{{m.int(2)}}}'[0]",
                "h = f'{h}{a & 1}'[-20:]",
                "h = f'{h}{h}'[:300]",
                f"if len(A) < 40: A.append({text(m, 2)})",
                f"E[f'{{ch}}'] = {m.int(2)}",
                f"D[f'{{a & 1}}'] = {m.int(2)}",
                "u = f'{a & 7}' is f'{a & 7}'",
                "u = str(a & 7) is str(a & 7)",
                "u = str(h) is h; m = str(h)",
                f"m = {text(m, 2)}",
                "O = f'{a}{x:.1f}'",
                "J = [f'{a}', f'{b}{ch}', h]",
                "w = (f'{a}:{b}', x)",
                "if f'{a & 3}' in E: t += 1",
                "if h == f'{a}': t += 1",
                "W = f'{W[1:]}{W[0]}'",
                "O = p.name = f'{a & 15}'" if r.random() < 0.2 else "t += len(h)",
                f"t += sum(map(len, [{text(m, 2)}]))",
            ]
        )
    if k == 32:
        return r.choice(
            [
                "a = max(L); L[a & 7] = a",
                "F[a & 3] = max(F)",
                "x = min(F); F[0] = x; F[1] = x + 1.0",
                "u = max(L) is L[b & 7]",
                "u = min(F) is x",
                "O = max(F); x = O",
                "O = max(M)",
                "c = O = g5(1)",
                "L[b & 7] = max(L) % 1000; t += sum(L)",
                "F[b & 3] = sum(F) * 0.25",
                "sum(L); max(F); min(N)" if r.random() < 0.3 else "sum(L); max(F)",
                "KD['k'] = a",
                "KD['w'] = x",
                "if t % 11 == 3: g1.__defaults__ = (a, b)",
                "if t % 17 == 5: g5.__defaults__ = (b, None)",
                "if t % 17 == 3: g2.__kwdefaults__ = {'k': b, 'w': x}",
                "if t % 23 == 9: g1.__defaults__ = (5,)",
                "if t % 29 == 9: g3.__defaults__ = (a,)",
                "J.append(max(J or L)); J = J[-9:]",
                "g4(L, a, at=b); g4(F, x)",
                "g4(J or L, v=max(L), at=1)",
                "R[a & 1][b & 3] = sum(R[b & 1]) % 1000",
                "K[a % 3].n = max(L)",
                "E['a'] = min(R[a & 1])",
            ]
        )
    raise ValueError(k)
