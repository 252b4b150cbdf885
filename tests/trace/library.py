# ruff: noqa: E501 - choices read best in one line
"""Functions of CPython's own library that are written in Python, on random data: see `make`.

A program compiles the source of one module anew, often changed at random as `mutants` are, with no accelerators
in C, and calls its functions in a loop with data that is random, now and then of another kind, and at the end broken.

    python library.py FIRST_SEED COUNT [FORCE]      # compares plain and optimised runs
    python library.py show SEED                     # prints a program (without the module's source)
"""

import ast
import functools
import importlib
import random
import re
import sys

import mutants
from compared import command
from mutants.change import Mutator

PRELUDE = (
    mutants.PRELUDE
    + """
import sys, types, io, re, datetime, importlib.util
def load(name, source, without):
    before = {n: sys.modules.get(n) for n in without}
    for n in without: sys.modules[n] = None
    M = types.ModuleType(name)
    spec = importlib.util.find_spec(name)
    M.__spec__, M.__package__, M.__file__ = spec, spec.parent, "kinds"
    M.__dict__.update((n, v) for n, v in globals().items() if n[0] != "_" and n != "M")  # what changes name
    M.print = lambda *a, **k: None  # what a changed module says to nobody
    had = sys.modules.get(name)
    sys.modules[name] = M
    try: exec(compile(source, "kinds", "exec", dont_inherit=True), M.__dict__)
    finally:
        for n, m in before.items():
            if m is None: del sys.modules[n]
            else: sys.modules[n] = m
        if had is None: del sys.modules[name]
        else: sys.modules[name] = had
    return M
def show(v, depth=0):
    c = v.__class__
    if c in (int, float, bool, str, bytes, bytearray, type(None)): return repr(v)[:300]
    if c in (list, tuple) and depth < 4: return c.__name__ + str(len(v)) + " ".join(show(w, depth + 1) for w in v[:40])
    if c is dict and depth < 4: return "dict" + str(len(v)) + " ".join(show(w, depth + 1) for w in [*v.items()][:40])
    if c in (types.GeneratorType, map, filter, zip): return show(list(itertools.islice(v, 60)), depth)
    return re.sub(" at 0x[0-9a-f]+", "", c.__name__ + repr(v)[:300] if c.__repr__ is not object.__repr__ else c.__name__)
"""
)
# Module; what it must not import; calls. In them W, T, I, F, L, B are random words, texts, ints, floats, lists of ints, bytes.
MODULES = [
    ("textwrap", "", ["M.wrap(T, I % 60 + 5)", "M.fill(T, width=20, initial_indent='* ', break_long_words=I & 1)", "M.dedent(T)", "M.indent(T, '  ')", "M.shorten(T, 30)"]),
    ("difflib", "", ["[*M.ndiff([W, W, W, W], [W, W, W])]", "M.SequenceMatcher(None, T, T).get_opcodes()", "M.get_close_matches(W, [W, W, W, W, W])", "[*M.unified_diff(T.split(), T.split())]", "M.SequenceMatcher(None, L, L).ratio()"]),
    ("heapq", "_heapq", ["M.nsmallest(I % 9, L)", "M.nlargest(5, L, key=lambda v: -v)", "(lambda h: (M.heapify(h), [M.heappop(h) for _ in range(len(h))])[1])(L)", "[*M.merge(sorted(L), sorted(L), sorted(L))]", "(lambda h: [M.heappushpop(h, v) for v in L])(sorted(L))", "[*M.merge([3, 2, 1], [9, 5], reverse=True)]"]),
    ("bisect", "_bisect", ["[M.bisect_left(sorted(L), v) for v in L]", "[M.bisect(sorted(L), v, key=abs) for v in L]", "(lambda l: [M.insort(l, v) for v in L] and l)([])"]),
    ("json.decoder", "_json", ["M.JSONDecoder().decode(__import__('json').dumps({W: L, W: [F, None, True, {W: T}]}))", "M.py_scanstring('abc' + chr(92) + 'n' + W + chr(34) + 'xyz', 0)", "M.JSONDecoder().decode('[' + W + ', 1.5e3]')"]),
    ("json.encoder", "_json", ["M.JSONEncoder(indent=I % 4, sort_keys=True).encode({W: L, W: [F, None, True, {W: T}], W: (I, F)})", "''.join(M.JSONEncoder(ensure_ascii=I & 1).iterencode([W, {W: I, 5: F, None: L}, T]))", "M.py_encode_basestring_ascii(T + chr(233) + chr(0x1F600))"]),
    ("fractions", "", ["M.Fraction(I % 999 + 1, I % 99 + 1) + M.Fraction(F)", "[M.Fraction(k + 1, I % 9 + 1) ** 2 // 3 for k in range(5)]", "M.Fraction('3/7').limit_denominator(5)", "hash(M.Fraction(I, 7))", "format(M.Fraction(I, 13), '.5f')", "M.Fraction(I, 3) < F", "round(M.Fraction(I, 77), 2)"]),
    ("statistics", "_statistics", ["M.mean(L)", "M.median(L)", "M.stdev([*L, 1.5, F])", "M.mode(T)", "M.quantiles([1, *L, 5], n=4)", "M.fmean([F, F, 3])", "M.linear_regression([1, 2, 3], [F, 5.0, I])", "M.NormalDist(I % 9, 2).inv_cdf(0.3)", "M.correlation([1.5, F, 3.0], [2.0, 5.0, 1.0])"]),
    ("_pydecimal", "", ["M.Decimal(I) / M.Decimal(7)", "M.Decimal(str(F)).sqrt() if F > 0 else M.Decimal(5).ln()", "M.Decimal(I % 50).exp()", "+M.Decimal(W) if I % 9 == 0 else M.Decimal('1.5') ** 3", "M.Decimal(F).quantize(M.Decimal('0.01'))", "sum((M.Decimal(v) * v for v in L), M.Decimal(0))", "M.Decimal(I).compare(M.Decimal(F))", "format(M.Decimal(I) / 3, ',.4f')"]),
    ("colorsys", "", ["[M.rgb_to_hsv(k / 30, 0.5, F % 1) for k in range(30)]", "[M.hls_to_rgb(k / 30, 0.5, 0.25) for k in range(30)]", "M.rgb_to_yiq(F, I, 0.5)"]),
    ("string", "", ["M.capwords(T)", "M.Formatter().format('{0} {a:>5} {1!r:<9}', W, I, a=F)", "M.Template('$a ${b} $$ $c').safe_substitute(a=W, b=I)"]),
    ("shlex", "", ["M.split(T)", "M.join([W, T, W])", "[*M.shlex(T + ' # x', punctuation_chars=True)]", "M.split(W + ' ' + chr(39) + W)"]),
    ("base64", "", ["M.b32encode(B)", "M.b85encode(B)", "M.b85decode(M.b85encode(B))", "M.a85encode(B, wrapcol=9)", "M.a85decode(M.a85encode(B))", "M.b32decode(M.b32encode(B))", "M.b16decode(W)"]),
    ("quopri", "binascii", ["M.encodestring(B)", "M.decodestring(T.encode() + b'=41=')", "(lambda o: (M.encode(io.BytesIO(B * 9), o, False), o.getvalue())[1])(io.BytesIO())"]),
    ("calendar", "", ["M.month(1900 + I % 300, 1 + I % 12)", "M.TextCalendar().formatyear(2000 + I % 99)", "M.monthcalendar(I % 5000, I % 14)", "M.HTMLCalendar().formatmonth(2024, 2)", "M.leapdays(1, I % 3000)"]),
    ("_pydatetime", "", ["M.date.fromordinal(I % 700000 + 1).isocalendar()", "M.datetime(2000, 1, 1) + M.timedelta(days=I % 9999, seconds=F % 1e6)", "M.timedelta(days=F % 1e6) // 7", "M.datetime.fromisoformat('2024-02-2' + str(I % 11)).strftime('%Y %j')", "[str(M.date(2024, 1, 1) + M.timedelta(k)) for k in range(40)]", "M.timedelta(seconds=I % 10**9) * F"]),
    ("ipaddress", "", ["M.ip_address(I % 2**32)", "[*M.ip_network((I % 2**32 // 16 * 16, 28)).subnets(1)]", "M.ip_address(I % 2**128 + 2**33).compressed", "[*M.collapse_addresses([M.ip_network((k << 8, 24)) for k in range(I % 9)])]", "M.ip_address(W)", "[*M.summarize_address_range(M.IPv4Address(I % 2**16), M.IPv4Address(2**17 + I % 99))]"]),
    ("urllib.parse", "", ["M.quote(T)", "M.unquote(T + '%41%zz%C3%A9')", "M.urlsplit('http://' + W + ':' + str(I % 70000) + '/' + T + '?a=' + W)", "M.parse_qsl('a=1&b=' + W + '&' + T)", "M.urljoin('http://a/b/c/d', '../' * (I % 5) + W)", "M.urlencode({W: T, W: I})"]),
    ("html.parser", "", ["(lambda p: (p.feed('<a href=\"' + W + '\">' + T + '</a><br/><!-- ' + W + ' -->&amp;&#' + str(I % 300) + ';'), p.close(), p.rawdata)[2])(M.HTMLParser())", "(lambda p: ([p.feed(c) for c in '<p class=x>' + T + '<' + W], p.getpos())[1])(M.HTMLParser())"]),
    ("configparser", "", ["(lambda c: (c.read_string('[' + W + ']' + chr(10) + 'a = ' + T + chr(10) + 'b: %(a)s' + chr(10)), {s: dict(c[s]) for s in c})[1])(M.ConfigParser())", "(lambda c: (c.read_dict({W: {'x': I, 'y': F}}), [*c])[1])(M.RawConfigParser())"]),
    ("csv", "", ["M.Sniffer().sniff(chr(10).join('|'.join([W, str(I), W]) for _ in range(9))).delimiter", "M.Sniffer().has_header(chr(10).join(','.join(['a', str(I), 'x']) for _ in range(9)))"]),
    ("pprint", "", ["M.pformat({W: L, W: [F, T, (W, I)], W: {W: L}}, width=30)", "M.pformat([L, T, B], compact=True)", "M.saferepr({I: {F: [W]}})"]),
    ("copy", "", ["M.deepcopy([L, {W: [F]}, (I, [W])])", "(lambda l: (l.append(l), M.deepcopy(l)[0])[1])(L)", "M.copy({W: I})", "M.deepcopy({k: [k] * 3 for k in L})"]),
    ("ast", "", ["M.unparse(M.parse('def f(a, *b, c=%d):\\n    return [x for x in %r if x] + (%d if c else -a)' % (I, L, I)))", "M.dump(M.parse('x = %d; y: int = 3\\nfor k in %r: pass' % (I, T)))", "M.literal_eval(repr([L, F, {W: I}]))", "len([*M.walk(M.parse('f(%d)(a.b[c:%d])' % (I, I)))])"]),
    ("tokenize", "", ["[t[:2] for t in M.generate_tokens(io.StringIO('def f(a):\\n    return a + %d * %r\\n' % (I, W)).readline)]", "M.untokenize([(1, 'x'), (54, '='), (2, str(I))])", "M.detect_encoding(io.BytesIO(b'# -*- coding: utf-8 -*-\\n' + B).readline)[0]"]),
    ("random", "_random_none", ["M.Random(I).sample(range(99), 9)", "(lambda l: (M.Random(I).shuffle(l), l)[1])(L)", "M.Random(I).choices([1, 2, 3], [F % 9, 5, 1], k=20)", "[M.Random(5).gauss(0, 1) for _ in range(3)] + [M.Random(I).vonmisesvariate(1, 2)]", "M.Random(3).gammavariate(2.5, 1.0)", "M.Random(I).getrandbits(70)", "M.Random(9).binomialvariate(30, 0.3)", "[M.Random(I).randrange(1, 10**k) for k in range(1, 25)]"]),
    ("collections", "_collections", ["M.Counter(T).most_common(3)", "[*M.OrderedDict((v & 7, v) for v in L)]", "(M.Counter(T) - M.Counter(T[:9])).total()", "M.ChainMap({W: 1}, {W: 2}, {W: 3}).maps", "(lambda d: ([d.move_to_end(k & 3) for k in L if k & 3 in d], [*d.items()])[1])(M.OrderedDict.fromkeys(range(4)))", "M.UserString(T).title()", "M.namedtuple('N', 'a b c')(I, F, W)._asdict()"]),
    ("functools", "_functools", ["M.reduce(lambda a, b: a + b, L, 0)", "sorted(L, key=M.cmp_to_key(lambda a, b: (a > b) - (a < b)))", "(lambda f: [f(v & 7) for v in L] + [f.cache_info()])(M.lru_cache(4)(lambda k: k * 300))", "M.partial(max, I)(I, 5)", "(lambda f: [f(v & 3, k=v) for v in L])(M.lru_cache(None)(lambda a, k=0: (a, k)))"]),
    ("operator", "_operator", ["M.countOf(L, I)", "M.indexOf([*L, 5], 5)", "[M.itemgetter(0, -1)([v, *L]) for v in L]", "M.attrgetter('real', 'imag')(I)", "M.length_hint(L)", "M.methodcaller('count', 'a')(T)"]),
    ("_pyio", "", ["(lambda b: (b.write(B), b.seek(I % 9), b.read(5), b.getvalue())[2:])(M.BytesIO())", "[*M.TextIOWrapper(M.BytesIO(T.encode() * 3 + b'\\r\\nx'), encoding='utf-8')]", "[*M.StringIO(T)]", "M.IncrementalNewlineDecoder(None, True).decode(T)"]),
    ("_pylong", "", ["M.int_to_decimal_string(I ** 40)", "M.int_divmod(I ** 30, I ** 9 + 1)", "M.int_from_string(str(abs(I) ** 60))", "M._str_to_int_inner(str(abs(I) ** 50))"]),
    ("graphlib", "", ["[*M.TopologicalSorter({k: [j for j in range(k) if (k * j + I) % 3 == 0] for k in range(12)}).static_order()]", "[*M.TopologicalSorter({v & 7: [w & 7 for w in L] for v in L}).static_order()]"]),
    ("posixpath", "posix", ["M.normpath('/a/../' + '/'.join(T.split()) + '/..//./x')", "M.relpath('/' + W + '/' + W, '/' + W)", "M.commonpath(['/a/' + W, '/a/' + W])", "M.splitext(T + '.' + W)", "M.expandvars('$HOME_' + W)", "M.join(W, '/' + W, T)"]),
    ("ntpath", "nt", ["M.normpath('c:' + chr(92) + '../' + '/'.join(T.split()))", "M.splitdrive('//a/' + W + '/' + T)", "M.commonpath(['c:/a/' + W, 'C:' + chr(92) + 'a'])", "M.isreserved(W)" if sys.version_info >= (3, 13) else "M.splitroot('c:/' + W)"]),
    ("fnmatch", "", ["M.filter([W, W, W, 'abc'], '[a-c]*')", "M.translate(T + '*[!x-z]?[')"]),
    ("reprlib", "", ["M.repr([L, T, {W: I}, I ** 30])", "M.Repr(maxlist=2).repr(L)" if sys.version_info >= (3, 12) else "M.repr(L)"]),
    ("re._parser", "", ["M.parse('(?P<a>' + W + ')|[a-z%d]{2,%d}?(?=x)(?!y)' % (I % 10, I % 9 + 2)).dump is None", "str(M.parse('(?:' + W + '+?|[^' + W + ']*)' * (I % 5 + 1)))", "str(M.parse('(' * (I % 3) + W + ')' * 2))"]),
    ("re._compiler", "", ["M._code(__import__('re')._parser.parse('(a|b|%s)+[%s0-9]{3}' % (W, W)), I & 2)", "M.compile('[a-z' + chr(233) + ']+' + W).findall(T)", "M._generate_overlap_table(W * 3)", "M._optimize_charset([(M.LITERAL, ord(c)) for c in W + W])"]),
    ("email.header", "", ["M.Header(T + chr(233), 'utf-8', maxlinelen=40).encode()", "M.decode_header('=?utf-8?q?' + W + '=41?= ' + W)", "M.Header(T, header_name='Subject').encode()"]),
    ("email.quoprimime", "", ["M.body_encode(T + chr(233) + chr(10) + W, 30)", "M.header_encode(B)", "M.decode(T + '=41=' + chr(10))"]),
    ("email._parseaddr", "", ["M.AddressList('%s <%s@%s>, %s: a@b;' % (W, W, W, W)).addresslist", "M.parsedate_tz('Mon, %d Jan 20%02d 10:20:30 +0100' % (I % 31, I % 99))", "M.quote(T)"]),
    ("email._header_value_parser", "", ["str(M.get_address_list('%s <%s@%s.com>, %s@x' % (W, W, W, W))[0])", "str(M.get_unstructured(T))", "str(M.parse_content_type_header('text/%s; charset=%s' % (W, W)))", "M.get_unstructured(T + chr(233)).fold(policy=__import__('email.policy').policy.default)"]),
    ("pickle", "_pickle", ["M._loads(M._dumps([L, {W: [F, None, True]}, (I, W), B], I % 6))", "M._dumps({W: L, I: (F, F)}, 2)", "M.encode_long(I), M.decode_long(B)"]),
    ("pickletools", "", ["(lambda o: (M.dis(__import__('pickle').dumps([L, W, F]), o), o.getvalue())[1])(io.StringIO())", "M.optimize(__import__('pickle').dumps([W, W, {W: L}], 4))"]),
    ("xml.etree.ElementTree", "_elementtree", ["M.tostring(M.XML('<a x=\"%s\"><b>%s</b>%d<c/></a>' % (W, T.replace('<', ''), I)))", "[e.tag for e in M.XML('<a><b><c/></b><%s/></a>' % W).iter()]", "(lambda e: (M.indent(e), M.tostring(e))[1])(M.XML('<a><b><c/></b></a>'))", "M.XML('<a><b i=\"1\"/><b/></a>').findall('.//b[@i]').__len__()"]),
    ("enum", "", ["[*M.Enum('E', [chr(97 + k) + W for k in range(5)])]", "str(M.Flag('G', 'A B C D')(I & 15))", "[f.value for f in M.IntFlag('H', 'A B C')(I & 7)]", "M.bin(I % 4096)"]),
    ("dataclasses", "", ["M.asdict(M.make_dataclass('D', ['a', 'b', 'c'])(I, [W], {W: F}))", "M.make_dataclass('O', ['a', 'b'], order=True)(I, 1) < M.make_dataclass('P', ['a'])(3) if I & 1 else 0", "M.astuple(M.make_dataclass('D', ['a'], frozen=True)(L))"]),
    ("_py_abc", "", ["[isinstance(v, M.ABCMeta('A', (), {})) for v in [I, F, W]]", "(lambda A: (A.register(int), [issubclass(t, A) for t in (bool, float, str)])[1])(M.ABCMeta('A', (), {}))"]),
    ("inspect", "", ["str(M.signature(lambda a, b=I, *c, d, **e: 0))", "M.signature(lambda a, b=2, *, k=3: 0).bind(I, k=F).arguments", "M.cleandoc(T)", "M.getattr_static(I, 'real') is None"]),
    ("dis", "", ["[(i.opname, i.argrepr) for i in M.get_instructions('for k in %r: a = k + %d' % (W, I % 99))].__len__()", "M.stack_effect(100, 3) if hasattr(M, 'stack_effect') else 0", "[*M.findlinestarts(compile('a = 1' + chr(10) * (I % 9 + 1) + 'b', 'x', 'exec'))]"]),
    ("_strptime", "", ["M._strptime('2024-%02d-%02d' % (I % 12 + 1, I % 28 + 1), '%Y-%m-%d')[0][:6]", "M._strptime('%d Jan 2020' % (I % 40), '%d %b %Y')[0][:6]", "M._calc_julian_from_U_or_W(2024, I % 53, I % 7, True) if hasattr(M, '_calc_julian_from_U_or_W') else 0"]),
    ("gettext", "", ["[M.c2py('n%%10==1 && n%%100!=11 ? 0 : n%%10>=%d ? 1 : 2' % (I % 9))(k) for k in range(40)]", "[M.c2py('n != 1')(v) for v in L]"]),
    ("plistlib", "", ["M.loads(M.dumps({W: L[:5], W: [F, True, W], 'b': B}))" , "M.loads(M.dumps([W, I % 2**60, {W: 5}], fmt=M.FMT_BINARY))", "M.loads(B)"]),
    ("tarfile", "", ["M.itn(abs(I) % 2**20), M.nti(M.itn(abs(I) % 2**30, 12, M.GNU_FORMAT))", "M.calc_chksums(bytes(512))", "M.TarInfo(W).tobuf(M.PAX_FORMAT)[:60]", "M.stn(W, 30, 'ascii', 'strict')"]),
    ("html", "", ["M.unescape(T + '&amp;&#%d;&notit;&lt' % (I % 3000))", "M.escape(T)"]),
    ("zipfile._path.glob" if sys.version_info >= (3, 13) else "glob", "", ["M.Translator('/').translate(W + '/**/*.[ab]')" if sys.version_info >= (3, 13) else "M.escape(T)"]),
    ("_weakrefset", "", ["len(M.WeakSet([Loud(k) for k in range(5)]))", "(lambda k: (k, len(M.WeakSet(k) | M.WeakSet(k[:2])))[1])([It(L) for _ in range(5)])"]),
    ("weakref", "", ["(lambda k: [M.WeakValueDictionary(enumerate(k)).get(1) is k[1], len(M.WeakKeyDictionary((o, 1) for o in k))])([It(L) for _ in range(5)])"]),
]  # fmt: skip
LETTERS = ["abc", "aeiouxyz", "ab ", "abc.,;", "(a)[b]", "a-b_c", "aé", "=&%", "\"'\\\\ab", "0123456789", "xyzXYZ"]


class Changes(Mutator):
    """Those that need no function ``f``."""

    def generator(self, tree):
        return False

    wrapped = generator

    def renamed(self, tree):
        try:
            return super().renamed(tree)
        except (AttributeError, IndexError):  # no function, or one of no variables
            return False


@functools.cache
def source(name):
    with open(importlib.import_module(name).__file__, encoding="utf-8") as file:
        # What 3.15 imports lazily it imports at once if anything else has imported it before.
        return re.sub(r"^lazy (?=from |import )", "", file.read(), flags=re.MULTILINE)


def make(seed, shown=False):
    """A program, and the name of its module."""
    r = random.Random(f"library {seed}")
    while True:
        name, without, calls = r.choice(MODULES)
        try:
            text = source(name)
        except (AttributeError, ImportError, TypeError):
            continue  # of another version
        changes = r.choice([0, 0, 1, 3, 9, 20])
        if changes:
            tree = Changes(r).change(ast.parse(text), changes)
            text = ast.unparse(ast.fix_missing_locations(tree))
        try:
            compile(text, "kinds", "exec", dont_inherit=True)
        except SyntaxError:
            continue
        break

    def word():
        return "".join(r.choice(r.choice(LETTERS)) for _ in range(r.randrange(1, 9)))

    def long():
        return r.choice([" ", " ", "\n", " \n  ", ", "]).join(word() for _ in range(r.randrange(1, 30)))

    bounds = r.choice([9, 300, 10**6, 2**63, 2**70])
    data = {
        "W": [word() for _ in range(12)],
        "T": [long() for _ in range(6)],
        "I": [r.choice([r.randrange(bounds), r.randrange(bounds), -r.randrange(bounds), r.randrange(30)]) for _ in range(12)],
        "F": [r.choice([r.random(), r.uniform(-100, 100), 10.0 ** r.randrange(-20, 20), float(r.randrange(9))]) for _ in range(8)],
        "L": [[r.randrange(-bounds, bounds) for _ in range(r.choice([3, 12, 40]))] for _ in range(5)],
        "B": [bytes(r.randrange(256) for _ in range(r.choice([5, 40, 90]))) for _ in range(5)],
    }  # fmt: skip
    if r.random() < 0.5:
        for _ in range(r.randrange(1, 3)):
            key = r.choice([*data])
            data[key][r.randrange(len(data[key]))] = r.choice([None, 2.5, 3, "ab", b"x", (1, 2), True, 2**65, [1.5, 2]])
    lines = [PRELUDE]
    for key, values in data.items():
        lines.append(f"{key}s = {values!r}")
    without = [w for w in without.split() if not w.endswith("none")]
    shown_text = f"<source of {name}, {changes} changes>" if shown else text
    lines += [f"try: M = load({name!r}, {shown_text!r}, {without!r})", "except Exception as e: M = None; tell(e)"]
    chosen = r.sample(calls, min(len(calls), r.choice([1, 2, 4])))
    times = r.choice([6, 12, 30])
    lines += ["def run():", f"    for turn in range({times}):"]
    for call in chosen:
        uses = iter(range(99))
        tree = ast.parse(call, mode="eval")

        class Data(ast.NodeTransformer):
            def visit_Name(self, node, uses=uses):
                if node.id in data:
                    return ast.parse(f"{node.id}s[(turn + {next(uses)}) % {len(data[node.id])}]", mode="eval").body
                return node

        text = ast.unparse(Data().visit(tree))
        lines += [f"        try: note(show({text}))" if r.random() < 0.7 else f"        try: OUT.append(show({text}))", "        except Exception as e: tell(e)"]  # fmt: skip
    lines += ["if M is not None: run()", "M = None"]
    return "\n".join(lines) + "\n", name


def compare(first, count, force=0):
    return mutants.compare(first, count, force, make, "library", 1.5)


if __name__ == "__main__":
    command(lambda seed: make(seed, True)[0], compare)
