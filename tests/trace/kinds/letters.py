# ruff: noqa: E501 - programs and choices read best in one line
r"""Texts of every width and what is made of them: Latin characters beyond ASCII, of two and of four bytes, surrogates, controls; texts that
grow wider or narrower while a loop runs, their characters, slices, comparisons, keys, formats; bytes, bytearrays, memoryviews, arrays
and deques in a text's or list's place, all of which change; texts of numbers near every edge of `repr`, `format` and `int`."""

PRELUDE = r"""
import array, collections, struct, sys
A7, L1, W2, W4 = "abcab", "caf\xe9\xff\x80", "\u20ac\u4e2da\ud800\u0100", "\U0001f600\U00010000z\xe9"
ODD = "\x00\n\t\x7f'\"\\"
class St(str):
    def __len__(self): return 2
    def __getitem__(self, k): return "?"
    def __format__(self, spec): return "<" + spec + ">"
    def __str__(self): return "St"
class Fm:
    def __init__(self, n): self.n = n
    def __format__(self, spec): return "%s:%s" % (self.n, spec)
    def __repr__(self): return "Fm\xe9"
    def __str__(self): return "fm\u20ac"
def first(s): return s[0]
def last(s): return s[-1]
def at(s, k): return s[k % len(s)] if len(s) else None
def both(s, z): return s + z if len(s) + len(z) < 60 else z[:1]
def size(s): return len(s)
def joined(l): return "".join([str(v) for v in l])[:40]
def walk(s):
    n = 0
    for c in s: n += 1 if c.__class__ is int else ord(c[:1] or "0")
    return n
def find(s, z):
    for k in range(len(s)):
        if s[k] == z: return k
    return -1
def caesar(s, n):
    out = []
    for c in s: out.append(chr((ord(c) + n) % 0x110000) if not 0xd700 < ord(c) < 0xe100 else c)
    return "".join(out)
def shown(v):
    # A lone surrogate is no text that can be written.
    return repr(v).encode("ascii", "backslashreplace").decode()
def count(s):
    d = {}
    for c in s: d[c] = d.get(c, 0) + 1
    return d
S = [A7, L1, W2, W4, ODD, "", "\xe9", "\u20ac", "\U0001f600", "x" * 255, "x" * 256, "x" * 257, "\xe9" * 300, "a" * 40 + "\u4e2d"]
B = [b"abcab", b"", b"\xff\x00\x80a", bytes(range(256)), bytearray(b"abc\xff"), memoryview(b"abc\xe9"), array.array("B", b"abcd"), array.array("u" if sys.version_info < (3, 13) else "w", "ab\u20ac"), array.array("d", [0.5, -0.0, 2.5]), array.array("q", [1, 2**63 - 1, -2**63]), collections.deque([1, 2, 3, 300]), [1, "a", 2.5], ("a", "\xe9"), range(3, 9)]
N = [0, -0.0, 1e16, 1e15 + 0.3, 1e-5, 0.0001, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), 2**53 + 1.0, 0.1 + 0.2, 1e22, 1e23, 123456789012345680.0, -1.5, 9007199254740993, 2**63 - 1, -2**63, 2**63, 2**64, -1, 1, 999999999, 1000000000, -1000000000, 10**18, 10**19, 2**30, 2**30 - 1, -2**30, True, False, 255, 256, 257, -5, -6, 1023, 1024, 1025]
"""
SETUP = (
    r"""
s, z, w, d, e, r, f, by = A7, L1, "", {"a": 1, "\xe9": 2, "\u20ac": 3, "\U0001f600": 4}, {}, [], Fm(3), B[0]
Q, bz, n, v, p = [*S[:9]], bytearray(b"abcd"), 5, 0.5, None
""".strip()
    .replace("{", "{")
    .split("\n")
)
NAMES = "s z w d e r n v p bz Q by"
STATEMENTS = r"""
s = S[i % 14]
s = S[i & 3]
s = S[0] if i < 30 else S[i & 3]
z = S[(i * 7) % 14]
by = B[i % 14]
by = B[i & 1]
by = B[0] if i < 30 else B[i % 14]
n = N[i % 41]
n = N[i % 41]
v = N[i % 41]
n = 2**63 - 45 + i
n = -2**63 + 45 - i
n = 10**9 - 30 + i
n = 2**30 - 30 + i
v = v * 0.1
v = 1e16 - i * 1.0
v = i * 1e-6
p = at(s, i)
p = first(s)
p = last(z)
p = s[i & 3]
p = s[-1]
p = s[1:]
p = s[:i & 3]
p = s[::2]
p = s[::-1]
p = by[i & 1]
p = by[0]
p = by[-1]
p = by[:2]
for c in s: p = c
for c in s: t += ord(c)
for c in z: t += c == 'a'
for c in by: t += 1
for c in by: p = c
for k, c in enumerate(z): t += k; p = c
for c, k in zip(s, z): p = c; u = k
for c in reversed(s): p = c
t += walk(s)
t += walk(by)
t += len(s)
t += len(by)
t += size(z)
t += size(by)
w = both(w, s)
w = both(w, at(z, i) or '')
w += 'a'; w = w[-50:]
w += '\xe9'; w = w[-50:]
w += chr(i + 200); w = w[-50:]
w += p if p.__class__ is str else '-'; w = w[-50:]
if len(w) > 50: w = w[1:]
if i == 31: w += '\u20ac'
if i == 33: s = s + '\U0001f600'
if i == 35: s = s[:2]
p = chr(i)
p = chr(i + 100)
p = chr(i * 300)
p = chr(n)
p = ord(s[0])
p = ord(s)
p = ord(by[:1])
u = s == z
u = s < z
u = s[0] == z[0]
u = s[0] < 'b'
u = s[:2] == 'ab'
u = s is z
u = p is s
u = s[0] is s[0]
u = s[:] is s
u = str(s) is s
u = 'a' in s
u = '\xe9' in s
u = p in s
u = s[i & 1] in d
u = i & 127 in by
t += d.get(s[0], 9)
t += d[s[0]]
d[p] = i
d[s[0]] = t
e[s] = i
e[z] = e.get(z, 0) + 1
e[i & 3] = s
e[str(i & 7)] = i
e[f'{i & 7}\xe9'] = i
e[n] = s
e[v] = i
p = e.get(n)
p = count(s)
p = find(s, z[:1])
p = caesar(s, i)
p = joined(r)
r.append(p); r = r[-8:]
r.append(s[0]); r = r[-8:]
r = [c for c in s][:9]
r = [ord(c) for c in s][:9]
Q[i % 9] = s
Q[0] = p
Q[i & 3] = s[0]
u = Q[0] is p
p = max(s)
p = min(Q[:4])
p = max(Q)
p = min(s, z)
p = max(n, v)
p = sum([n, 1, v])
p = sorted(s)
bz[i & 3] = i
bz[i & 3] = n
bz.append(i & 255)
if len(bz) > 20: bz.clear(); bz += b'abcd'
t += bz[i & 3]
p = str(n)
p = str(v)
p = repr(n)
p = repr(s)
p = str(s)
p = str(f)
p = repr(f)
p = str(by)
p = str(u)
p = f'{n}'
p = f'{v}'
p = f'{n!r}{s}'
p = f'{s}{z}'
p = f'{s!r:>9}'
p = f'{s!a}'
p = f'{s:>12}|{z:^9}|{n:<5}'
p = f'{n:d}' if n.__class__ is int else ''
p = f'{n:+,}'
p = f'{n:x}'
p = f'{n:08b}'
p = f'{n:c}'
p = f'{n:e}'
p = f'{n:.3}'
p = f'{v:.3f}'
p = f'{v:.0f}'
p = f'{v:g}'
p = f'{v:+.2e}'
p = f'{v:08.2f}'
p = f'{v:%}'
p = f'{v:_}'
p = f'{v:n}'
p = f'{v:>{i & 15}.{i & 7}}'
p = f'{n:{z[:1]}>9}'
p = f'{f}{f!r}{f:abc}'
p = f'{u}{m}{x}{by!r}'
p = f'{n == v}{n is v}'
p = f'{n=}'
p = format(n)
p = format(v, '.2f')
p = format(s, '9')
p = format(u)
p = '%s %r %d' % (s, z, i)
p = int(s) if s.isdigit() else -1
p = int(str(n))
p = float(str(v))
p = int(v)
p = round(v)
p = round(v, 2)
p = round(n, -1)
p = bool(s)
p = hash(n) == hash(v)
p = n == v
p = n < v
p = v < i
p = n // 7 if n else 0
p = v % 1
p = divmod(n, 7)
p = abs(n)
p = -n
p = n * 1.0
p = n + v
p = n & 255 if n.__class__ is int else n
p = s.encode('utf-8', 'surrogatepass')
p = s.upper()
p = s.join(['a', 'b'])
p = s * 2 if len(s) < 20 else s
p = isinstance(s, str)
p = sys.intern(s[:3])
p = shown(s)
p = shown(by)
note(shown(p)[:60])
p = struct.pack('>d', v) if v.__class__ is float else v
m = s
m = n
m = v
a = p
x = v if v.__class__ is float else 0.5
""".strip().split("\n")
EVENTS = r"""
s = St("abcab")
z = St("\xe9\xe8")
s = W2
s = L1
s = W4
s = ""
s = None
s = b"abcab"
s = [65, 66, "c"]
s = ("a", "\xe9", "\u20ac")
w = "\U0001f600" + w
d = {"\xe9": 1, 2: "a", 2.0: "b"}
d = collections.defaultdict(int)
by = "text"
by = bz
by = S
S[0] = L1
S[0] = "abc\u20ac"
S[1] = St("xy")
S.reverse()
N.reverse()
B.reverse()
N[3] = 5; N[4] = 2.5
n = St("12")
f = 3
f = "\xe9"
v = True
n = -0.0
first = last
size = walk
ord = len
chr = str
str = repr
del s
del n
Fm.__format__ = lambda self, spec: "new"
bz = b"abcd"
bz = array.array("B", b"abcd")
bz = [1, 2, 3, 4]
""".strip().split("\n")
LOOPS = ["for i in range({n}):", "for i, ch in enumerate('ab\\xe9\\u20ac' * 12):", "for ch in W4 * 9:\n    i = ord(ch) & 63", "i = -1\nwhile i < {n}:\n    i += 1"]  # fmt: skip
CONDITIONS = ["s < z", "p is s", "len(w) > 9", "'a' in s", "s[:1] == 'a'", "n == v"]
