# ruff: noqa: E501 - choices read best in one line
"""Random programs over containers of every size: see `make`.

Dicts, sets, lists, tuples, texts and bytes of none, a few, some hundred and 70,000 items, past each width of a dict's
indices, grown and emptied by the loop itself, full of what was deleted, of keys that collide, of one kind of key and later of another;
instances with more attributes than a class shares, slots far from an object's beginning, namespaces of thousands of names,
closures and calls with hundreds of variables, texts beyond what a trace makes.

    python sized.py FIRST_SEED COUNT [FORCE]        # compares plain and optimised runs
    python sized.py show SEED                       # prints a program
"""

import random

import kinds
from compared import again, command, differing_from

PRELUDE = (
    kinds.PRELUDE
    + """
OUT = []
def sample(v):
    # What a container holds, told shortly.
    c = v.__class__
    if c is dict: return (len(v), hash(tuple(map(key, v))), [*v][-3:], [*v.values()][:3], v.__sizeof__())
    if c in (set, frozenset): return (len(v), sum(map(key, v)), v.__sizeof__())
    if c in (list, tuple): return (len(v), v[:2], v[-2:], hash(tuple(map(key, v))), v.__sizeof__() if c is list else 0)
    if c in (str, bytes): return (len(v), v[:5], v[-5:], v.count(v[:1]))
    return v
def key(v): return v if v.__class__ is int else int(v * 8) if v.__class__ is float and abs(v) < 1e9 else len(v) if v.__class__ is str else 1
def put(d, k, v): d[k] = v
def get(d, k): return d.get(k)
def has(d, k): return k in d
def grow(l, v):
    l.append(v)
    return len(l)
def collide(k): return k << 20
def wide(k): return k * (2**61 - 1)
def text(k): return "k%d" % k
def half(k): return k - 0.5
def same(k): return k
def signed(k): return k if k & 1 else -k - 2
class O:
    def get(self): return self.n
    def put(self, v): self.n = v
class R(O):
    __slots__ = ()
"""
)
SIZES = [0, 1, 4, 5, 6, 7, 9, 10, 11, 20, 21, 30, 31, 42, 43, 85, 86, 120, 126, 127, 128, 129, 169, 170, 171, 250, 255, 256, 257, 300, 341, 342, 700, 1000, 1364, 1365, 1366]  # fmt: skip
LARGE = [5460, 10922, 10923, 21844, 21845, 21846, 32760, 43689, 43690, 43691, 65530, 65540, 70000, 87380, 87382]
KEYS = ["same", "same", "same", "signed", "collide", "wide", "text", "text", "half"]


class Sized:
    def __init__(self, seed):
        self.r = random.Random(f"sized {seed}")
        self.out, self.depth = [], 0
        self.large = 0

    def put(self, text):
        self.out.extend("    " * self.depth + line for line in text.split("\n"))

    def size(self):
        r = self.r
        if r.random() < 0.12 and self.large < 2:
            self.large += 1
            return r.choice(LARGE) + r.randrange(-2, 3)
        return max(0, r.choice(SIZES) + r.randrange(-1, 2))

    def index(self):
        r = self.r
        return r.choice(["i", "i % n", "n - 1 - i", "-i", "i * 7 % n", "n - 1", "-n", "n // 2 + i", "n - i", "i & 3", "-1", "n"])  # fmt: skip

    def int(self):
        return self.r.choice(["i", "i * 301", "t", "t & 255", "a", "-i", "1", "300", "i * 2**40", "2**62 + i"])

    def lines(self):
        """A loop over one container, what goes before it and what is told afterwards."""
        r = self.r
        n = self.size()
        passes = r.choice([30, 60, 60, 140, 300, 700]) if n < 5000 else r.choice([60, 140, 300])
        head = r.choice([f"for i in range({passes}):", f"for i in range({passes}):", f"i = -1\nwhile i < {passes}:\n    i += 1"])  # fmt: skip
        before, body, after = [f"n = {max(n, 1)}"], [], []
        kind = r.choice(["dict", "dict", "dict", "set", "set", "list", "list", "list", "tuple", "str", "bytes", "object", "slots", "names", "texts", "table"])  # fmt: skip
        by = r.choice(KEYS if n < 3000 else [k for k in KEYS if k != "wide"])  # those all collide
        k = lambda e: e if by == "same" else f"{by}({e})"  # noqa: E731
        inner = r.choice(["same", "call"]) if by in ("same", "text") else "same"
        keys = [f"e[{self.index()} % len(e) if e else 0]", k("i"), k(self.index()), k("n + i"), k("n * 2 + i * 3"), "e[i % len(e)] if e else 1"]  # fmt: skip
        if kind in ("dict", "table"):
            value = r.choice(["v", "v", "v * 0.5", "None", "(v, 1)", "str(v)", "[v]"])
            before += [f"c = {{{k('v')}: {value} for v in range({n})}}", f"e = [{k('v')} for v in range({n})]" if r.random() < 0.7 else "e = [*c]"]  # fmt: skip
            if r.random() < 0.3:
                before.append(f"for v in [*c][::{r.choice([2, 3, 10])}]: del c[v]")
            if r.random() < 0.15:
                before.append("c = {v: w for v, w in c.items()}")
            if r.random() < 0.15:
                before.append(r.choice(["c['odd'] = 5", "c[2.5] = 5", "c[None] = 1", "c[-1] = 9", "c[(1, 2)] = 3", "c[True] = 8"]))  # fmt: skip
            forms = ["c[{k}] = {v}", "c[{k}] = {v}", "a = c[{k}]", "a = c.get({k}, 5)", "a = c.get({k})", "u = {k} in c", "t += {k} in c", "c[{k}] += 1", "if {k} in c: c[{k}] = {v}", "if {k} not in c: c[{k}] = {v}", "c.pop({k}, None)"]  # fmt: skip
            forms += ["del c[{k}]", "a = c.setdefault({k}, {v})", "put(c, {k}, {v})", "a = get(c, {k})", "u = has(c, {k})", "c[{k}] = c.get({k}, 0) + 1", "a = len(c)", "if len(c) > 3: c.popitem()", "for w in c:\n    t += 1\n    if t & 7 == 0: break", "for w, q in c.items():\n    a = q\n    if w == {k}: break"]  # fmt: skip
            forms += ["for w in c.values():\n    a = w; break", "c[{k}], c[{k}] = c.get({k}), {v}", "c |= {{{k}: {v}}}", "if i == 20: c.clear()", "if i == 25: c = dict(c)", "if i == 22: c.update(dict.fromkeys(range(5000, 5200), 1))"]  # fmt: skip
            after = ["OUT.append(sample(c))"]
        elif kind == "set":
            before += [f"c = {{{k('v')} for v in range({n})}}", f"e = [{k('v')} for v in range({n})]"]
            if r.random() < 0.3:
                before.append(f"for v in e[::{r.choice([2, 3])}]: c.discard(v)")
            forms = ["c.add({k})", "c.add({k})", "u = {k} in c", "t += {k} in c", "t += {k} not in c", "c.discard({k})", "if {k} not in c: c.add({k})", "u = has(c, {k})", "a = len(c)", "c.remove({k})", "c |= {{{k}}}", "if i == 20: c.clear()", "if i == 25: c = frozenset(c)", "for w in c:\n    t += 1\n    if t & 7 == 0: break", "c.add({v})", "c.add('text' if i == 30 else {k})"]  # fmt: skip
            after = ["OUT.append(sample(c))"]
        elif kind == "list":
            value = r.choice(["v", "v", "v * 0.5", "None", "str(v)", "(v, v)", "v * 300"])
            before += [f"c = [{value} for v in range({n})]", "e = []", "h = c[:9]"]
            forms = ["c.append({v})", "c.append({v})", "grow(c, {v})", "a = c.pop()", "if c: c.pop()", "a = c[{i}]", "c[{i}] = {v}", "c[{i}], c[{i}] = c[{i}], c[{i}]", "a = c[{i}:{i}]", "c[{i}:{i}] = h", "c[{i}:{i}] = (a, t)", "a = c[:{i}]", "h = c[{i}:]", "c += [{v}]", "t += len(c)", "a = max(c)", "a = min(c)", "a = sum(c)", "u = {v} in c"]  # fmt: skip
            forms += ["c[{i}] += 1", "del c[{i}]", "del c[-3:]", "a = c[{i}]; c[{i}] = a", "c.append(c[{i}])", "c.insert(0, {v})", "if len(c) > 2: c[0] = c.pop()", "a = [w for w in c[:{i}]]", "for w in c:\n    if w == {v}: break", "for w in c: a = w", "for w in reversed(c):\n    t += 1\n    if t & 15 == 0: break", "if i == 20: c.clear()", "if i == 21: c *= 3", "if i == 22: c.sort(key=key)", "e.append((i, t))", "a, *b = c", "for w, q in zip(c, h): t += w is q", "for w, q in enumerate(c, {v}):\n    if w & 7 == 0: break"]  # fmt: skip
            after = ["OUT.append((sample(c), sample(e), sample(h)))"]
        elif kind == "tuple":
            before += [f"c = tuple([{r.choice(['v', 'v * 300', 'v * 0.5', 'str(v)', '(v, v)'])} for v in range({n})])"]
            forms = ["a = c[{i}]", "a = c[{i}:{i}]", "u = {v} in c", "t += len(c)", "a = max(c)", "a = sum(c)", "for w in c: a = w", "for w in c:\n    t += 1\n    if w == {v}: break", "c = (*c, {v})", "c = c[1:]", "a = c[-1] is c[{i}]", "a = c + (1,)", "a = c[:{i}]", "if i == 20: c = [*c]", "u = c == c[:]", "if len(c) == 3: a, b, u = c"]  # fmt: skip
            after = ["OUT.append(sample(c))"]
        elif kind == "str":
            before += [f"c = ''.join([{r.choice(['chr(97 + v % 26)', 'chr(97 + v % 26)', 'str(v)', 'chr(150 + v % 90)', 'chr(240 + v % 30)', 'chr(0x4e00 + v % 90)'])} for v in range({n})])"]  # fmt: skip
            forms = ["a = c[{i}]", "a = c[{i}:{i}]", "u = c[{i}] == 'a'", "t += ord(c[{i}])", "t += len(c)", "for w in c: a = w", "for w in c:\n    t += 1\n    if w == 'f': break", "a = f'{{c}}{{i}}'", "a = f'{{c:>{n2}}}'", "a = f'{{c[{i}]}}-{{t}}'", "c += chr(97 + i % 26)", "c = c[1:]", "u = 'ab' in c", "u = c < c[{i}:]", "a = str(c) is c", "a = repr(c)", "a = f'{{t:>{n2}}}'", "a = f'{{t:0{n2}d}}{{c[:3]}}'", "u = c == c[:]", "a = c[:{i}] + c[{i}:]", "if i == 20: c += 'é'", "if i == 22: c = '\\u4e2d' + c", "a = format(x, '.{n3}f')", "a = format(t, '{n2}x')", "a = f'{{x:{n2}.3e}}{{a!r:.9}}'", "a = f'{{a!s:.5}}{{c[{i}]!r}}'"]  # fmt: skip
            after = ["OUT.append(sample(c))"]
        elif kind == "bytes":
            before += [f"c = bytes([v * 7 & 255 for v in range({n})])"]
            forms = ["a = c[{i}]", "a = c[{i}:{i}]", "t += len(c)", "for w in c: a = w", "u = c == c[{i}:]", "u = c < c[1:]", "u = {v} in b'abc'", "if i == 20: c = bytearray(c)", "a = c[{i}]; t ^= a", "c = c[1:] + b'x'", "for w in c:\n    t += w\n    if t & 7 == 0: break"]  # fmt: skip
            after = ["OUT.append(sample(c))"]
        elif kind == "object":
            names = r.choice([3, 28, 29, 30, 31, 32, 60, 200, 1500])
            before += ["c = O()", "c.n = 5", f"for v in range({names}): setattr(c, 'a%d' % v, v * 300)" if r.random() < 0.5 else f"c.__dict__.update({{'a%d' % v: v for v in range({names})}})", "c.last = 7", "h = R()", "h.n = 2.5"]  # fmt: skip
            at = names - 1
            forms = ["c.n = {v}", "a = c.n", "c.last = {v}", "a = c.last", "t += c.last is c.n", f"c.a{at} = {{v}}", f"a = c.a{at}", f"c.a0, c.a{at} = c.a{at}, c.a0", "c.put({v})", "a = c.get()", "h.n = {v}", "h.put({v})", "a = h.get()", "h.late = {v}", "setattr(c, 'b%d' % i, i)", "del c.a1", "c.a1 = {v}", "a = len(c.__dict__)", "c, h = h, c", "a = c.__dict__['n']", "c.__dict__['n'] = {v}", "if i == 20: c = O(); c.n = 3", "c.n += 1", f"c.a{at} += 1", "if i == 21: c.__dict__ = dict(c.__dict__)", "h = R(); h.n = i; h.w = a"]  # fmt: skip
            after = ["OUT.append((sample(c.__dict__), sample(h.__dict__)))"]
        elif kind == "slots":
            count = r.choice([3, 15, 16, 17, 100, 600, 3000, 9000])
            before += [f"class S:\n    __slots__ = tuple(['s%d' % v for v in range({count})])\n    def get(self): return self.s{count - 1}", "class T(S):\n    def put(self, v): self.z = v; self.s0 = v", "c, h = S(), T()", f"c.s{count - 1} = h.s{count - 1} = 300; c.s0 = h.s0 = 1; h.z = 5; h.w = 2.5"]  # fmt: skip
            forms = [f"c.s{count - 1} = {{v}}", f"a = c.s{count - 1}", "c.s0 += 1", "h.z = {v}", "a = h.z", "h.put({v})", "a = h.get()", "a = c.get()", f"h.s{count - 1}, c.s{count - 1} = c.s{count - 1}, h.s{count - 1}", "h.w = h.w * 0.5 + i", "h.s0 = {v}", "t += h.z is h.s0", f"h.s{count - 1} += 1", "del c.s0; c.s0 = i", "h.q = i", "h.__dict__['z'] = {v}", "if i == 20: h.__dict__.clear()"]  # fmt: skip
            after = [f"OUT.append((c.s{count - 1}, c.s0, h.s{count - 1}, h.s0, h.__dict__))"]
        elif kind == "names":
            count = r.choice([10, 250, 300, 700, 3000, 6000])
            before += [f"globals().update({{'g%d' % v: v * 300 for v in range({count})}})", "def rd(): return g0", "def wr(v):\n    global last\n    last = v\n    return last", "wr(5)"]  # fmt: skip
            forms = [f"a = g{count - 1}", "a = g0 + g1", "globals()['g%d' % i] = i", "a = rd()", "a = wr({v})", "t += last", "globals()['g0'] = {v}", "globals()['n%d' % i] = i", "globals().pop('g%d' % (i + 2), None)", "exec('g1 = g0')", "if i == 20: globals().update({{'h%d' % v: v for v in range(9000)}})", "for w in globals():\n    t += 1; break", "del globals()['last']", "globals()['last'] = {v}"]  # fmt: skip
            after = ["OUT.append(last if 'last' in globals() else None)", "for v in [*globals()]:\n    if v[0] in 'gnh' and v[1:].isdigit(): del globals()[v]"]  # fmt: skip
        else:
            before += ["c = ['x'] * n if n < 2000 else ['x'] * 2000", "e = 'q' * (n % 600)"]
            forms = ["a = f'{{i}}{{e}}{{t}}'", "a = f'{{e}}{{e}}'", "a = f'{{e!r}}'", "a = str(i) + e", "a = ''.join(c)", "c.append(f'{{i}},{{t}}')", "a = f'{{x:.{n3}f}}{{i:{n2}}}'", "a = f'{{t:>{n2}}}{{a!s:.5}}'", "u = e == a", "a = e[:{i}]", "e += 'z'", "e = e[:{i}]", "c[{i}] = f'{{i}}'", "a = repr(a)", "a = format(e, '>{n2}')", "a = f'{{u}}{{None}}{{a is e}}'"]  # fmt: skip
            after = ["OUT.append((sample(c), sample(e), sample(a)))"]
        for _ in range(r.choice([1, 1, 2, 3, 5])):
            form = r.choice(forms)
            while "{k}" in form or "{i}" in form or "{v}" in form or "{n2}" in form or "{n3}" in form:
                for hole, fill in (("{k}", r.choice(keys) if inner == "same" else k("i")), ("{i}", self.index()), ("{v}", self.int()), ("{n2}", str(r.choice([5, 60, 255, 256, 257, 400]))), ("{n3}", str(r.choice([2, 30, 240, 260])))):  # fmt: skip
                    form = form.replace(hole, fill, 1)
            form = form.replace("{{", "{").replace("}}", "}")
            if r.random() < 0.3:
                form = f"try:\n    {form.replace(chr(10), chr(10) + '    ')}\nexcept (LookupError, AttributeError, NameError): t += 1"  # fmt: skip
            elif r.random() < 0.2:
                form = f"if {r.choice(['i & 1', 'i % 5 == 0', 'i > 20', 't & 3'])}:\n    " + form.replace(
                    "\n", "\n    "
                )
            body.append(form)
        body.append(r.choice(["t += 1", "t = t + i & 0xffff", "x += 0.5", "OUT[-1:] = [t]", "t ^= i"]))
        return before, head, body, after

    def text(self):
        r = self.r
        style = r.choice(["module", "function", "function", "called"])
        if style != "module":
            self.put("def run(given=None):")
            self.depth = 1
        self.put("t, x, a, b, u, w, q = 0, 0.5, 1, 2, None, None, None")
        for _ in range(r.choice([1, 1, 2])):
            before, head, body, after = self.lines()
            for line in before:
                self.put(line)
            self.put("try:")
            self.depth += 1
            self.put(head)
            self.depth += 1
            for line in body:
                self.put(line)
            self.depth -= 2
            self.put("except Exception as e_: tell(e_)")
            self.put("note((t, x, sample(u), sample(w), sample(a)))")
            for line in after:
                self.put(line)
            self.put("c = e = h = None")
        self.depth = 0
        if style == "function":
            self.put("run()")
        elif style == "called":
            self.put("for given in range(4): run(given)")
        return PRELUDE + "\n".join(self.out) + "\n"


def make(seed):
    return Sized(seed).text()


def compare(first, count, force=0):
    return differing_from(first, count, "sized", make, again(kinds.observe), force, limits=(4, 60), busy=True)


if __name__ == "__main__":
    command(make, compare)
