# ruff: noqa: E501
"""Notebooks as courses and competitions have them: their cells, what is looked at, and what cannot be saved.

``python taughtnotebooks.py run|back FILE NAME...``: ``run`` executes the cells of each notebook on a shell with a session shelf
and ends without a shutdown; ``back`` recovers it. Both look, go on in the same way, and look again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys

import plainshell


@dataclasses.dataclass
class Taught:
    """One notebook. Where no state can come back, the variable is in ``unsaved`` with what its reason says."""

    cells: list[str]
    looks: list[str]
    then: str = ""
    """What is done after the first look, live and back."""
    unsaved: dict[str, str] = dataclasses.field(default_factory=dict)
    """With ``?`` before it: where it can be saved, it is."""


NOTEBOOKS = {
    "titanic": Taught(
        [
            "import numpy as np\nimport pandas as pd\nimport matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\nrng = np.random.default_rng(0)",
            """df = pd.DataFrame({
    'Survived': rng.integers(0, 2, 300), 'Pclass': rng.integers(1, 4, 300), 'Sex': rng.choice(['male', 'female'], 300),
    'Age': np.where(rng.random(300) < 0.2, np.nan, rng.normal(30, 10, 300).round()), 'Fare': rng.gamma(2, 20, 300).round(2),
    'Embarked': rng.choice(['S', 'C', 'Q', None], 300), 'Name': [f'Person, Mr. {i}' for i in range(300)]})
df.head()""",
            "df.info(buf=open('/dev/null', 'w')); missing = df.isnull().sum().sort_values(ascending=False)",
            "fig, axes = plt.subplots(2, 2, figsize=(8, 6))\ndf['Age'].hist(ax=axes[0, 0], bins=20)\ndf.groupby('Pclass')['Fare'].mean().plot.bar(ax=axes[0, 1])\naxes[1, 0].scatter(df['Age'], df['Fare'], c=df['Survived'])\naxes[1, 1].set_title('empty')\nfig.tight_layout()",
            "df['Title'] = df['Name'].str.extract(r', (\\w+)\\.', expand=False)\ndf['Age'] = df.groupby('Pclass')['Age'].transform(lambda s: s.fillna(s.median()))\ndf['Embarked'] = df['Embarked'].astype('category')\nbins = pd.cut(df['Age'], [0, 18, 40, 100], labels=['child', 'adult', 'old'])",
            "table = pd.crosstab(bins, df['Survived'], normalize='index')\npivot = df.pivot_table(index='Sex', columns='Pclass', values='Fare', aggfunc=['mean', 'count'], observed=True)\ngroups = {name: part for name, part in df.groupby('Embarked', observed=True)}\nby = df.groupby(['Sex', 'Pclass'])",
            "corr = df.select_dtypes('number').corr()\nstyled = corr.style.background_gradient()\nsubset = df[df['Fare'] > 50]\nview = df.loc[:, ['Age', 'Fare']]",
        ],
        [
            "df.describe().to_dict()",
            "table.to_dict()",
            "str(pivot)",
            "sorted(groups), {k: len(v) for k, v in groups.items()}",
            "[a.get_title() for a in fig.axes], len(axes[1, 0].collections), axes[0, 1].figure is fig",
            "corr.round(6).values.tolist()",
            "str(bins.dtype), df['Embarked'].cat.categories.tolist()",
            "rng.integers(1000)",
            "subset.index.tolist()[:9], view.shape",
            "missing.to_dict()",
        ],
        "df.loc[0, 'Fare'] = 999.0; axes[1, 1].set_title('full'); subset = subset[subset['Age'] > 20]",
        {"styled": "shares memory with", "by": "shares memory with `df`"},
    ),
    "pipelines": Taught(
        [
            "import numpy as np, pandas as pd\nfrom sklearn.pipeline import Pipeline, make_pipeline, FeatureUnion\nfrom sklearn.compose import ColumnTransformer\nfrom sklearn.preprocessing import StandardScaler, OneHotEncoder, FunctionTransformer\nfrom sklearn.impute import SimpleImputer\nfrom sklearn.base import BaseEstimator, TransformerMixin\nfrom sklearn.linear_model import LogisticRegression, Ridge\nfrom sklearn.ensemble import RandomForestClassifier, GradientBoostingRegressor\nfrom sklearn.model_selection import train_test_split, GridSearchCV, cross_val_score, KFold\nfrom sklearn.metrics import make_scorer, accuracy_score, confusion_matrix",
            "rng = np.random.RandomState(42)\nX = pd.DataFrame({'a': rng.rand(120), 'b': rng.rand(120), 'c': rng.choice(list('xyz'), 120)})\ny = (X['a'] + rng.rand(120) * 0.3 > 0.6).astype(int)\nX_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)",
            "class Ratio(BaseEstimator, TransformerMixin):\n    def __init__(self, eps=1e-3): self.eps = eps\n    def fit(self, X, y=None):\n        self.seen_ = len(X)\n        return self\n    def transform(self, X): return np.c_[X, X[:, 0] / (X[:, 1] + self.eps)]",
            "numeric = Pipeline([('impute', SimpleImputer()), ('ratio', Ratio()), ('scale', StandardScaler())])\npre = ColumnTransformer([('num', numeric, ['a', 'b']), ('cat', OneHotEncoder(handle_unknown='ignore'), ['c'])])\nclf = Pipeline([('pre', pre), ('model', LogisticRegression(max_iter=200))]).fit(X_train, y_train)",
            "search = GridSearchCV(clf, {'model__C': [0.1, 1.0], 'pre__num__ratio__eps': [1e-3, 1e-2]}, cv=3, scoring=make_scorer(accuracy_score)).fit(X_train, y_train)\nbest = search.best_estimator_\nforest = RandomForestClassifier(n_estimators=5, random_state=0).fit(X_train[['a', 'b']], y_train)\nboost = GradientBoostingRegressor(n_estimators=5, random_state=0).fit(X_train[['a', 'b']], y_train)",
            "folds = list(KFold(3).split(X))\nscores = cross_val_score(clf, X, y, cv=3)\nmodels = {'clf': clf, 'best': best, 'forest': forest}\nlogs = FunctionTransformer(np.log1p)\nshout = FunctionTransformer(lambda x: x * 2)\nmatrix = confusion_matrix(y_test, clf.predict(X_test))",
        ],
        [
            "clf.predict_proba(X_test).round(9).tolist()",
            "best.predict(X_test).tolist(), search.best_params_",
            "forest.predict(X_test[['a', 'b']]).tolist()",
            "boost.predict(X_test[['a', 'b']]).round(9).tolist()",
            "clf['pre'].named_transformers_['num']['ratio'].seen_, models['clf'] is clf, models['best'] is search.best_estimator_",
            "shout.transform(np.arange(3)).tolist(), logs.transform(np.arange(3)).tolist()",
            "scores.tolist(), matrix.tolist(), [len(a) for a, b in folds]",
            "rng.rand()",
        ],
        "clf.set_params(model__C=5.0); clf.fit(X_train, y_train); forest.n_estimators += 1",
    ),
    "graphs": Taught(
        [
            "import networkx as nx, random, itertools",
            "G = nx.Graph()\nG.add_weighted_edges_from([('a', 'b', 1.5), ('b', 'c', 2), ('a', 'c', 9), ('c', 'd', 1)])\nG.nodes['a']['color'] = 'red'\nD = nx.DiGraph(G)\nM = nx.MultiGraph([(1, 2, 'x'), (1, 2, 'y')])",
            "path = nx.shortest_path(G, 'a', 'd', weight='weight')\nrank = nx.pagerank(D)\nsub = G.subgraph(['a', 'b', 'c'])\nadj = G.adj\nnodes = G.nodes\nedges = G.edges(data=True)\npos = nx.spring_layout(G, seed=1)\nT = nx.balanced_tree(2, 3)\ncomponents = list(nx.connected_components(G))",
            "walker = nx.dfs_edges(T, 0)\nfirst = next(walker)\nbig = nx.gnp_random_graph(200, 0.05, seed=3)\ncopied = G.copy()\nfrozen = nx.freeze(nx.path_graph(3))",
        ],
        [
            "path, sorted(rank.items())",
            "sorted(G.edges(data=True)), G.nodes['a']",
            "sorted(M.edges(keys=True))",
            "{k: v.round(9).tolist() for k, v in pos.items()}",
            "big.number_of_edges(), T.number_of_nodes(), sorted(map(sorted, components))",
            "sorted(sub.nodes), sub.number_of_edges()",
            "sorted(nodes), sorted(adj['c'])",
            "sorted(edges)",
            "nx.is_frozen(frozen), sorted(copied.edges)",
        ],
        "G.add_edge('d', 'e', weight=4); G.nodes['b']['size'] = 3; copied.remove_node('a')",
        {"walker": "generator"},
    ),
    "symbols": Taught(
        [
            "import sympy as sp\nfrom sympy import symbols, Function, Eq, Matrix, Rational, pi, oo, lambdify",
            "x, y, z = symbols('x y z')\nn = symbols('n', integer=True, positive=True)\nf = Function('f')\nk = sp.Dummy('k')",
            "expr = sp.sin(x)**2 + sp.cos(x)**2 + y*x\nsimple = sp.simplify(expr)\nintegral = sp.integrate(x**2 * sp.exp(-x), (x, 0, oo))\nunevaluated = sp.Integral(sp.sqrt(1 / x), x)\nroots = sp.solve(x**3 - 2*x + 1, x)\node = sp.dsolve(Eq(f(x).diff(x, 2) + f(x), 0))",
            "A = Matrix([[1, x], [y, Rational(1, 3)]])\nfast = lambdify((x, y), expr, 'numpy')\nseries = sp.series(sp.cos(x), x, 0, 6)\nsubs = {x: 2, y: pi}\npoly = sp.Poly(x**2 - 1, x)\nsystem = [Eq(x + y, 3), Eq(x - y, 1)]\nwith_dummy = k + x\npiece = sp.Piecewise((x, x > 0), (0, True))\nR = sp.FiniteField(7)",
        ],
        [
            "str(expr), str(simple), str(integral), str(ode)",
            "[str(r) for r in roots]",
            "A.det(), expr.subs(subs)",
            "expr.free_symbols == {x, y}, n.is_positive, symbols('x') == x",
            "fast(1.0, 2.0)",
            "str(series), str(poly), str(unevaluated.doit())",
            "sp.solve(system, [x, y])",
            "with_dummy.subs(k, 5), k in with_dummy.free_symbols",
            "str(piece.subs(x, 3)), R(9) == R(2)",
        ],
        "A[0, 0] = 7; expr = expr + z; subs[z] = 3",
    ),
    "statistics": Taught(
        [
            "import numpy as np, pandas as pd, scipy.stats as st, scipy.optimize as opt\nimport statsmodels.api as sm, statsmodels.formula.api as smf",
            "rng = np.random.default_rng(1)\ndata = pd.DataFrame({'x': rng.normal(size=80), 'g': rng.choice(['u', 'v'], 80)})\ndata['y'] = 2 * data['x'] + rng.normal(size=80) + (data['g'] == 'u')",
            "ols = sm.OLS(data['y'], sm.add_constant(data['x'])).fit()\nformula = smf.ols('y ~ x + C(g)', data=data).fit()\nlogit = smf.logit('z ~ x', data=data.assign(z=(data['y'] > 0).astype(float))).fit(disp=0)\nsummary = ols.summary().as_text()",
            "normal = st.norm(1, 2)\ntest = st.ttest_ind(data['x'], data['y'])\nkde = st.gaussian_kde(data['x'])\nfit = opt.minimize(lambda p: ((p - 3) ** 2).sum(), np.zeros(2))\nspline = __import__('scipy.interpolate').interpolate.CubicSpline(np.arange(5), np.arange(5) ** 2)\nroot = opt.root_scalar(lambda v: v ** 2 - 2, bracket=[0, 2])\ntable = sm.stats.anova_lm(formula)",
        ],
        [
            "ols.params.round(9).to_dict(), ols.rsquared",
            "formula.params.round(9).to_dict()",
            "logit.params.round(6).to_dict()",
            "normal.cdf(0.5), normal.mean()",
            "float(test.pvalue), test._fields if hasattr(test, '_fields') else float(test.statistic)",
            "kde(0.3).tolist(), spline(2.5).item(), root.root",
            "fit.x.round(4).tolist(), fit.success",
            "ols.predict(sm.add_constant(data['x']))[:3].round(9).tolist()",
            "str(table.round(6))",
            "summary[:300]",
        ],
        "data.loc[0, 'y'] = 100.0",
        {n: "?shares memory with" for n in ("kde", "ols", "formula", "logit")},
    ),
    "images": Taught(
        [
            "import numpy as np, io, base64\nfrom PIL import Image, ImageDraw, ImageFilter, ImageFont",
            "img = Image.new('RGB', (64, 48), 'navy')\ndraw = ImageDraw.Draw(img)\ndraw.rectangle([4, 4, 30, 30], fill='orange')\narr = np.asarray(img)\ngray = img.convert('L').filter(ImageFilter.GaussianBlur(2))",
            "buf = io.BytesIO()\nimg.save(buf, 'PNG')\nraw = buf.getvalue()\nloaded = Image.open(io.BytesIO(raw))\nthumbs = [img.resize((8, 8)), img.rotate(90)]\npalette = img.quantize(4)\nencoded = base64.b64encode(raw).decode()\nwritable = np.array(img)\nchannels = writable[..., 0]\nfont = ImageFont.load_default()",
            "lazy = Image.open(io.BytesIO(raw)); _ = lazy.size\nmask = Image.fromarray((arr[..., 0] > 100).astype('uint8') * 255)",
        ],
        [
            "img.tobytes()[:300].hex(), img.size, img.mode",
            "gray.tobytes().hex()[:200]",
            "loaded.size, loaded.convert('RGB').tobytes() == img.tobytes()",
            "[t.size for t in thumbs], palette.getpalette()[:6]",
            "arr.shape, int(arr.sum()), arr.flags.writeable",
            "np.shares_memory(channels, writable), int(channels.sum())",
            "len(encoded), buf.tell(), mask.getbbox(), lazy.format",
        ],
        "img.putpixel((0, 0), (1, 2, 3)); channels[0, 0] = 200",
        {"draw": "draw.im: ImagingCore"},
    ),
    "web": Taught(
        [
            "import requests, urllib.parse, json, html, http.cookies, email.message, uuid, hashlib, hmac",
            "session = requests.Session()\nsession.headers.update({'User-Agent': 'course', 'X': '1'})\nsession.cookies.set('a', 'b', domain='example.org')\nsession.auth = ('me', 'secret')\nreq = requests.Request('GET', 'http://example.org/q', params={'a': 1}).prepare()",
            "url = urllib.parse.urlsplit('http://example.org:80/p?q=1#f')\ndocs = json.loads('[{\"a\": {\"b\": [1, 2.5, null, true]}}]')\ncookie = http.cookies.SimpleCookie('a=1; b=2')\nmsg = email.message.EmailMessage()\nmsg['Subject'] = 'Hi'\nmsg.set_content('text')\nid_ = uuid.uuid5(uuid.NAMESPACE_DNS, 'x')\ndigest = hashlib.sha256(b'abc')\nresponse = requests.Response()\nresponse.status_code, response._content = 200, b'{\"k\": 1}'",
            "def fetch(path, session=session):\n    return session.prepare_request(requests.Request('GET', 'http://example.org/' + path)).headers['X']\nretry = requests.adapters.HTTPAdapter(max_retries=3)\nsession.mount('http://', retry)",
        ],
        [
            "dict(session.headers), session.cookies.get_dict(), session.auth",
            "req.url, req.method, dict(req.headers)",
            "url.port, url.geturl(), docs",
            "cookie.output(), msg.as_string(), str(id_)",
            "response.json(), response.ok",
            "fetch('p'), retry.max_retries.total, session.get_adapter('http://x') is retry",
        ],
        "session.headers['X'] = '2'; docs[0]['a']['b'].append('new')",
        {"digest": "_hashlib.HASH"},
    ),
    "database": Taught(
        [
            "import sqlite3, pandas as pd, contextlib, pathlib, tempfile, os",
            "folder = tempfile.mkdtemp()\npath = pathlib.Path(folder) / 'course.db'\nconn = sqlite3.connect(path)\ncur = conn.cursor()\ncur.execute('create table t (id integer, name text)')\ncur.executemany('insert into t values (?, ?)', [(1, 'a'), (2, 'b')])\nconn.commit()",
            "rows = cur.execute('select * from t').fetchall()\ndf = pd.read_sql('select * from t', conn)\nmemory = sqlite3.connect(':memory:')\nmemory.row_factory = sqlite3.Row\nrow = memory.execute('select 1 as one').fetchone()\n@contextlib.contextmanager\ndef opened():\n    c = sqlite3.connect(path)\n    try: yield c\n    finally: c.close()\nquery = 'select count(*) from t'",
            "repo = {'conn': conn, 'path': path}\nconn.close()",
        ],
        [
            "rows, df.to_dict(), path.name",
            "[c.execute(query).fetchone() for c in [sqlite3.connect(path)]]",
            "[c.execute(query).fetchone() for c in [__import__('contextlib').ExitStack().enter_context(opened())]] if False else query",
        ],
        "rows.append((3, 'c'))",
        {
            "conn": "sqlite3.Connection",
            "cur": "sqlite3.Cursor",
            "memory": "sqlite3.Connection",
            "row": "sqlite3.Row",
            "repo": r"repo\['conn'\]: sqlite3.Connection",
        },
    ),
    "texts": Taught(
        [
            "import re, string, collections, textwrap, unicodedata, difflib, csv, io, locale",
            "text = 'It was the best of times, it was the worst of times — déjà vu\\n' * 20\npattern = re.compile(r'(?P<word>\\b\\w+\\b)', re.I)\nwords = [m['word'].lower() for m in pattern.finditer(text)]\ncounts = collections.Counter(words)\nm = pattern.match(text)\nscanner = pattern.finditer(text)",
            "bigrams = collections.Counter(zip(words, words[1:]))\nvocab = {w: i for i, w in enumerate(sorted(set(words)))}\nindex = collections.defaultdict(lambda: collections.defaultdict(list))\nfor i, w in enumerate(words): index[w[0]][w].append(i)\ntree = lambda: collections.defaultdict(tree)\ndeep = tree(); deep['a']['b']['c'] = 1",
            "reader = csv.DictReader(io.StringIO('a,b\\n1,2\\n3,4'))\nrows = list(reader)\nTable = str.maketrans('abc', 'xyz')\nPoint = collections.namedtuple('Point', 'x y', defaults=[0])\npoints = [Point(i) for i in range(3)]\ntemplate = string.Template('$who likes $what')\nsub = functools.partial(re.sub, r'\\s+', ' ') if 'functools' in globals() else None",
        ],
        [
            "counts.most_common(5), bigrams.most_common(3)",
            "vocab",
            "index['b'], index['new']",
            "dict(deep['a']['b']), len(deep['z']['y']), type(deep['q']['r']).__name__, deep.default_factory is tree",
            "pattern.sub('w', 'a b'), pattern.groupindex['word'], rows",
            "[p._asdict() for p in points], Point(5), 'cab'.translate(Table)",
            "template.substitute(who='x', what='y')",
            "m['word'], m.span(), m.lastgroup, m.re == pattern, m.string == text",
        ],
        "counts.update(['best'] * 5); index['b']['best'].append(-1); deep['a']['b']['d'] = 2",
        {"scanner": "_sre.SRE_Scanner", "reader": "reader.reader: _csv.reader"},
    ),
    "dates": Taught(
        [
            "import datetime as dt, zoneinfo, calendar, time, pandas as pd, numpy as np",
            "berlin = zoneinfo.ZoneInfo('Europe/Berlin')\nutc = dt.timezone.utc\nwhen = dt.datetime(2024, 3, 31, 2, 30, tzinfo=berlin, fold=1)\nspans = [dt.timedelta(days=i, seconds=5) for i in range(3)]\nclock = dt.time(12, 30, tzinfo=utc)\nday = dt.date(2024, 2, 29)\nfixed = dt.timezone(dt.timedelta(hours=5, minutes=30), 'IST')",
            "class Office(dt.tzinfo):\n    def utcoffset(self, d): return dt.timedelta(hours=2)\n    def dst(self, d): return dt.timedelta(0)\n    def tzname(self, d): return 'office'\nmeeting = dt.datetime(2024, 1, 1, tzinfo=Office())\nclass Stamp(dt.datetime):\n    def label(self): return f'{self:%Y}'\nstamp = Stamp(2020, 1, 2)",
            "idx = pd.date_range('2024-03-30', periods=5, freq='12h', tz='Europe/Berlin')\nts = pd.Series(np.arange(5), index=idx)\nresampled = ts.resample('D').sum()\nperiods = pd.period_range('2024-01', periods=3, freq='Q')\noffset = pd.offsets.BMonthEnd()\nnp_days = np.array(['2024-01-01', 'NaT'], dtype='M8[D]')\nstruct = time.gmtime(0)\ncal = calendar.TextCalendar()\nbusiness = np.busdaycalendar(weekmask='1111100')",
        ],
        [
            "when.isoformat(), when.utcoffset(), when.tzinfo is berlin, when.fold",
            "meeting.isoformat(), meeting.tzname(), stamp.label(), type(stamp).__name__",
            "resampled.to_dict(), str(idx.freq), str(idx.tz)",
            "[str(p) for p in periods], dt.datetime(2024, 5, 3) + offset",
            "np_days.tolist(), struct.tm_year, cal.formatmonth(2024, 2)[:20], spans",
            "clock.isoformat(), day.isoformat(), fixed.tzname(None)",
            "str(np.busday_offset('2024-01-05', 1))",
        ],
        "ts.iloc[0] = 50; spans.append(dt.timedelta(9))",
        {"business": "numpy.busdaycalendar"},
    ),
    "models": Taught(
        [
            "import dataclasses, typing, enum, abc\nfrom pydantic import BaseModel, Field, field_validator, ConfigDict",
            "class Color(enum.StrEnum):\n    RED = 'red'\n    BLUE = enum.auto()\nclass Address(BaseModel):\n    city: str\n    zip: str = '0'\nclass User(BaseModel):\n    model_config = ConfigDict(validate_assignment=True)\n    name: str\n    tags: list[str] = Field(default_factory=list)\n    home: Address | None = None\n    favourite: Color = Color.RED\n    @field_validator('name')\n    @classmethod\n    def title(cls, v): return v.title()",
            "u = User(name='ada lovelace', home={'city': 'London'})\nusers = [u, u.model_copy(deep=True)]\nschema = User.model_json_schema()",
            "@dataclasses.dataclass(order=True)\nclass Item:\n    price: float\n    name: str = dataclasses.field(compare=False, default='')\n    parts: list['Item'] = dataclasses.field(default_factory=list, repr=False)\n    total: typing.ClassVar[int] = 0\n    def __post_init__(self): Item.total += 1\n@dataclasses.dataclass(frozen=True, slots=True)\nclass Key:\n    a: int\n    b: tuple = ()\nitems = [Item(2, 'b'), Item(1, 'a')]\nitems[0].parts.append(items[1])\nlookup = {Key(1, (2,)): 'x'}\nclass Row(typing.TypedDict):\n    a: int\nrow: Row = {'a': 1}\nclass NT(typing.NamedTuple):\n    a: int\n    b: str = 'd'\n    def both(self): return f'{self.a}{self.b}'\nnt = NT(1)\nT = typing.TypeVar('T')\nclass Stack(typing.Generic[T]):\n    def __init__(self): self.items: list[T] = []\nstack = Stack[int](); stack.items.append(3)",
        ],
        [
            "u.model_dump(), users[0] is u, users[1] == u, u.favourite is Color.RED",
            "User.model_validate_json('{\"name\": \"x y\"}').name, schema['title']",
            "sorted(items)[0].name, items[0].parts[0] is items[1], Item.total, dataclasses.asdict(items[0])",
            "lookup[Key(1, (2,))], nt.both(), nt._replace(a=2), row",
            "stack.items, type(stack).__name__, Color('blue') is Color.BLUE",
        ],
        "u.name = 'grace hopper'; u.tags.append('n'); Item(9); stack.items.append(4)",
    ),
    "generators": Taught(
        [
            "import itertools, functools, operator, contextlib, types",
            "def fib():\n    a, b = 0, 1\n    while True:\n        yield a\n        a, b = b, a + b\ng = fib(); first = [next(g) for _ in range(5)]\nsquares = (i * i for i in range(10))\nmade = fib\nparts = [1, squares]",
            "count = itertools.count(5, 2); next(count)\ncycle = itertools.cycle('abc'); next(cycle)\nchain = itertools.chain([1, 2], [3]); next(chain)\npairs = itertools.pairwise([1, 2, 3])\nproduct = itertools.product([1, 2], repeat=2)\nacc = itertools.accumulate([1, 2, 3], operator.mul)\nzipped = zip([1, 2], 'ab')\nmapped = map(str, [1, 2]); next(mapped)\nfiltered = filter(None, [0, 1, 2])\nrev = reversed([1, 2, 3])\nen = enumerate(['x', 'y'], 5); next(en)\nit = iter([1, 2, 3]); next(it)\nrit = iter(range(5)); next(rit)\nsit = iter('abc'); next(sit)\nislice = itertools.islice(itertools.count(), 2, 8, 2)\ngrouped = itertools.groupby([1, 1, 2])\na, b = itertools.tee([1, 2, 3]); next(a)",
            "compose = lambda *fs: functools.reduce(lambda f, h: lambda x: h(f(x)), fs)\ninc_then_double = compose(lambda x: x + 1, lambda x: x * 2)\nmethod = 'abc'.upper\nkey = operator.itemgetter(1, 2)\nget = operator.attrgetter('a.b')\ncall = operator.methodcaller('split', ',')",
        ],
        [
            "first, next(made()), inc_then_double(3), method(), key('abc'), call('a,b')",
            "[list(i) if n not in ('count', 'cycle') else [next(i) for _ in range(4)] for n, i in [(n, globals()[n]) for n in ('count', 'cycle', 'chain', 'zipped', 'mapped', 'filtered', 'rev', 'en', 'it', 'rit', 'sit') if n in globals()]]",
        ],
        "first.append(8)",
        {
            "g": "generator",
            "squares": "generator",
            "parts": r"parts\[1\]: generator",
            **{
                n: "?itertools"
                for n in ("count", "cycle", "chain", "pairs", "product", "acc", "islice", "grouped", "a", "b")
            },
        },
    ),
    "decorators": Taught(
        [
            "import functools, time, inspect",
            "def timed(f):\n    @functools.wraps(f)\n    def inner(*args, **kw):\n        inner.calls += 1\n        return f(*args, **kw)\n    inner.calls = 0\n    return inner\ndef repeat(n):\n    def deco(f):\n        @functools.wraps(f)\n        def inner(*a): return [f(*a) for _ in range(n)]\n        return inner\n    return deco",
            "@timed\n@repeat(2)\ndef greet(name: str, *, loud: bool = False) -> str:\n    'Says hello.'\n    return name\n@functools.cache\ndef fact(n): return n * fact(n - 1) if n else 1\nfact(5); greet('x')\nclass Memo:\n    def __init__(self, f): self.f, self.seen = f, {}; functools.update_wrapper(self, f)\n    def __call__(self, x):\n        if x not in self.seen: self.seen[x] = self.f(x)\n        return self.seen[x]\n@Memo\ndef slow(x): return x * 10\nslow(2)",
            "registry = {}\ndef register(name):\n    def deco(cls): registry[name] = cls; cls.key = name; return cls\n    return deco\n@register('dog')\nclass Dog:\n    sound = 'woof'\n    @staticmethod\n    def kinds(): return ['a']\n    @classmethod\n    def make(cls): return cls()\n    @functools.cached_property\n    def age(self): return [3]\n    @property\n    def loud(self): return self.sound.upper()\nd = Dog.make(); d.age.append(4)\n@functools.singledispatch\ndef show(x): return 'obj'\n@show.register\ndef _(x: int): return 'int'\n@functools.total_ordering\nclass V:\n    def __init__(self, v): self.v = v\n    def __eq__(self, o): return self.v == o.v\n    def __lt__(self, o): return self.v < o.v\nvs = [V(2), V(1)]",
        ],
        [
            "greet('a'), greet.calls, greet.__doc__, str(inspect.signature(greet))",
            "fact(6), slow.seen, slow(3), slow.__wrapped__(1)",
            "registry['dog'] is Dog, d.age, d.loud, Dog.kinds(), type(d) is registry['dog'], Dog.key",
            "sorted(vs)[0].v, vs[0] >= vs[1]",
            "show(3), show('x')",
        ],
        "Dog.sound = 'arf'; slow(7); greet('z')",
    ),
    "redefined": Taught(
        [
            "class Shape:\n    sides = 0\n    def area(self): return 0\n    def __repr__(self): return f'{type(self).__name__}({self.sides})'\nclass Square(Shape):\n    sides = 4\n    def __init__(self, a): self.a = a\n    def area(self): return self.a ** 2\nold = Square(2)",
            "class Shape:\n    sides = -1\n    def area(self): return super().__repr__()[:3]\n    def name(self): return 'shape'\nclass Square(Shape):\n    sides = 44\n    def __init__(self, a): super().__init__(); self.a = a\n    def area(self): return self.a ** 2 + 0.5\nnew = Square(3)\nboth = [old, new]",
            "class Meta(type):\n    made = []\n    def __new__(m, name, bases, ns):\n        cls = super().__new__(m, name, bases, ns); m.made.append(cls); return cls\n    def __call__(cls, *a):\n        one = super().__call__(*a); one.stamp = len(cls.made); return one\nclass Base(metaclass=Meta): pass\nclass Child(Base): x = 1\nchild = Child()\nclass Positive:\n    def __set_name__(self, owner, name): self.name = '_' + name\n    def __get__(self, o, t=None): return self if o is None else getattr(o, self.name, None)\n    def __set__(self, o, v):\n        if v < 0: raise ValueError(self.name)\n        setattr(o, self.name, v)\nclass Account:\n    balance = Positive()\n    def __init__(self, b): self.balance = b\nacc = Account(5)",
            "class Plugin:\n    found = {}\n    def __init_subclass__(cls, tag=None, **kw): super().__init_subclass__(**kw); Plugin.found[tag] = cls\nclass A(Plugin, tag='a'): pass\nclass Node:\n    __slots__ = ('value', 'next', '__weakref__')\n    def __init__(self, value, next=None): self.value, self.next = value, next\n    def __iter__(self):\n        while self is not None:\n            yield self.value\n            self = self.next\nlinked = Node(1, Node(2)); linked.next.next = None\nclass Single:\n    one = None\n    def __new__(cls):\n        if cls.one is None: cls.one = super().__new__(cls); cls.one.data = []\n        return cls.one\ns1 = Single(); s1.data.append(1)\nShape.name = lambda self: 'patched'",
        ],
        [
            "repr(old), old.area(), isinstance(old, Square), isinstance(new, Square), new.area(), new.name(), both[0] is old",
            "child.stamp, [c.__name__ for c in Meta.made], type(Child) is Meta, Child.x",
            "acc.balance, acc.__dict__, Account.balance.name",
            "sorted(Plugin.found), Plugin.found['a'] is A, list(linked), Single() is s1, s1.data",
        ],
        "acc.balance = 9; Single().data.append(2); linked.value = 10; Child.x = 5\nclass B(Plugin, tag='b'): pass",
    ),
    "scripts": Taught(
        [
            "import argparse, logging, pathlib, os, sys, configparser, tempfile, shutil",
            "parser = argparse.ArgumentParser('train')\nparser.add_argument('--lr', type=float, default=0.1)\nparser.add_argument('files', nargs='*')\nargs = parser.parse_args(['--lr', '0.5', 'a.csv'])\nlog = logging.getLogger('course')\nlog.setLevel('DEBUG')\nhandler = logging.NullHandler()\nformatter = logging.Formatter('%(message)s')\nrecord = logging.LogRecord('n', 10, 'p', 1, 'hello %s', ('x',), None)",
            "root = pathlib.Path(tempfile.mkdtemp())\n(root / 'a.txt').write_text('one\\ntwo')\nfiles = sorted(root.glob('*.txt'))\nfound = root.glob('*.txt')\nhere = os.getcwd()\nconfig = configparser.ConfigParser()\nconfig['train'] = {'epochs': '3'}\nenv = os.environ\nstat = (root / 'a.txt').stat()\npure = pathlib.PureWindowsPath('c:/x')\ntemp = tempfile.TemporaryDirectory()\nopened = open(root / 'a.txt')\nstream = sys.stdout\nhandlers = {'file': opened}",
        ],
        [
            "vars(args), parser.parse_args([]).lr, args.files",
            "log.name, log is logging.getLogger('course'), record.getMessage()",
            "files[0].read_text(), root.is_dir(), here == os.getcwd()",
            "config['train'].getint('epochs'), str(pure), stat.st_size",
            "env is os.environ",
        ],
        "args.lr = 1.0; config['train']['epochs'] = '9'",
        {
            "opened": "an open file",
            "handlers": r"handlers\['file'\]: _io.TextIOWrapper",
            "found": "generator",
            "stream": "an open file",
        },
    ),
    "progress": Taught(
        [
            "from tqdm import tqdm, trange\nimport io",
            "bar = tqdm(range(5), file=io.StringIO())\nseen = [i for i in bar]\nlosses = {}\nfor epoch in trange(3, file=io.StringIO()):\n    losses[epoch] = 1 / (epoch + 1)\nhistory = [{'epoch': e, 'loss': l} for e, l in losses.items()]",
            "pending = iter(tqdm([1, 2, 3], file=io.StringIO()))\nnext(pending)",
        ],
        ["seen, losses, history, epoch"],
        "losses[9] = 0.5",
        {"pending": "generator", "bar": r"bar\."},
    ),
    "memory": Taught(
        [
            "import array, ctypes, struct, mmap, sys, numpy as np, gc",
            "raw = bytearray(b'0123456789')\nview = memoryview(raw)\npart = view[2:5]\nnums = array.array('i', range(10))\nnp_over = np.frombuffer(raw, dtype='u1')\nbytes_ = bytes(raw)\nro = memoryview(b'fixed')",
            "class Pt(ctypes.Structure):\n    _fields_ = [('x', ctypes.c_int), ('y', ctypes.c_double)]\np = Pt(1, 2.5)\nArr = ctypes.c_int * 4\narr = Arr(1, 2, 3, 4)\nptr = ctypes.pointer(p)\nlibc = ctypes.CDLL(None)\nstrlen = libc.strlen\nnumber = ctypes.c_long(7)\nbuf = ctypes.create_string_buffer(b'text')\nover = np.ctypeslib.as_array(arr)\nmm = mmap.mmap(-1, 4096)\npacker = struct.Struct('<id')\npacked = packer.pack(1, 2.0)\nsizes = {n: sys.getsizeof(v) > 0 for n, v in {'a': raw}.items()}",
        ],
        [
            "bytes(raw), nums.tolist(), np_over.tolist(), bytes_",
            "struct.unpack('<id', packed), sizes",
            "number.value",
        ],
        "np_over[0] = 65; nums.append(5)",
        {
            "view": "memoryview",
            "part": "memoryview",
            "ro": "memoryview",
            "ptr": "_ctypes.CField",
            "Pt": "Pt.x: _ctypes.CField",
            "p": "_ctypes.CField",
            "Arr": "it is C code",
            "arr": "arr.__class__: _ctypes.PyCArrayType",
            "buf": "it is C code",
            "libc": "it is C code",
            "strlen": "",
            "mm": "mmap",
            "packer": "_struct.Struct",
        },
    ),
    "exact": Taught(
        [
            "import decimal, fractions, math, cmath, statistics, random, secrets",
            "ctx = decimal.Context(prec=5, rounding=decimal.ROUND_HALF_UP)\nprices = [decimal.Decimal('1.10'), ctx.divide(1, 3)]\nhere = decimal.getcontext()\nhere.prec = 40\nthird = decimal.Decimal(1) / 3\nfrac = fractions.Fraction(1, 3)\nbigint = 7 ** 400\nz = cmath.sqrt(-1)\nnan, inf = math.nan, -math.inf\nnans = [nan, nan]",
            "r = random.Random(5); r.random()\nsysr = random.SystemRandom()\ndist = statistics.NormalDist(1, 2)\nrandom.seed(3); drawn = random.random()\nmatrix = [[fractions.Fraction(i, j + 1) for j in range(3)] for i in range(3)]\nshuffled = random.sample(range(100), 5)\nstate = random.getstate()",
        ],
        [
            "ctx.prec, str(prices[1]), str(third), frac + 1, bigint % 97",
            "z, math.isnan(nan), inf, len(nans)",
            "r.random(), dist.cdf(1), random.random()",
            "matrix, shuffled, drawn",
        ],
        "random.random(); matrix[0][0] += 1; ctx.prec = 9",
        {"sysr": "SystemRandom"},
    ),
    "parallel": Taught(
        [
            "import threading, queue, concurrent.futures as cf, multiprocessing as mp, time, os, subprocess",
            "lock = threading.Lock()\nevent = threading.Event(); event.set()\nq = queue.Queue(); q.put(1)\nsq = queue.SimpleQueue()\nlocal = threading.local(); local.x = 1\nresults = []\ndef work(n):\n    with lock: results.append(n * n)\n    return n * n\nthreads = [threading.Thread(target=work, args=(i,)) for i in range(3)]\nfor t in threads: t.start()\nfor t in threads: t.join()",
            "pool = cf.ThreadPoolExecutor(2)\nfutures = [pool.submit(pow, 2, i) for i in range(3)]\nvalues = [f.result() for f in futures]\nby_name = {'pool': pool, 'values': values}\nclass Safe:\n    def __init__(self): self.lock = threading.RLock(); self.n = 0\n    def __getstate__(self): return {'n': self.n}\n    def __setstate__(self, s): self.__init__(); self.n = s['n']\nsafe = Safe(); safe.n = 3\nclass Unsafe:\n    def __init__(self): self.lock = threading.RLock(); self.n = 0\nunsafe = Unsafe()\nkept = sorted(results)\nproc = subprocess.Popen(['true']); code = proc.wait()\ndone = subprocess.run(['echo', 'hi'], capture_output=True, text=True)\ncpu = os.cpu_count()",
        ],
        ["kept, values, safe.n, type(safe.lock).__name__, code, done.stdout, done.args"],
        "kept.append(100); safe.n += 1",
        {
            "lock": "_thread.lock",
            "event": "event._cond",
            "q": "q.mutex: _thread.lock",
            "sq": "SimpleQueue",
            "local": "_thread._local",
            "threads": r"threads\[0\]",
            "t": "t._handle|t._tstate_lock|t._started",
            "pool": "pool._work_queue",
            "futures": r"futures\[0\]",
            "by_name": r"by_name\['pool'\]",
            "unsafe": "unsafe.lock: _thread.RLock",
            "proc": "proc._waitpid_lock: _thread.lock",
        },
    ),
    "awaited": Taught(
        [
            "import asyncio, contextvars, contextlib",
            "async def double(x):\n    await asyncio.sleep(0)\n    return x * 2\nanswers = await asyncio.gather(*(double(i) for i in range(4)))\ncoro = double(3)\nasync def agen():\n    for i in range(3): yield i\ncollected = [i async for i in agen()]\nag = agen()\nlock, sem = asyncio.Lock(), asyncio.Semaphore(2)\nq = asyncio.Queue(); q.put_nowait(1)\nvar = contextvars.ContextVar('var', default=1)\nloop = asyncio.get_running_loop()",
            "task = asyncio.ensure_future(double(5))\nvalue = await task\nclass Client:\n    def __init__(self): self.calls = 0\n    async def __aenter__(self): return self\n    async def __aexit__(self, *a): self.calls += 1\n    async def get(self, x): self.calls += 1; return await double(x)\nasync with Client() as client:\n    got = await client.get(4)\ncache = {'a': answers, 'client': client}\nresult = await asyncio.wait_for(double(1), 5)",
        ],
        [
            "answers, collected, value, got, client.calls, cache['client'] is client, result",
            "asyncio.run(double(21)) if False else double.__name__",
        ],
        "client.calls += 10; answers.append(1)",
        {
            "coro": "coroutine",
            "ag": "async_generator",
            "task": "_asyncio.Task",
            "var": "ContextVar",
            "loop": r"loop\.",
        },
    ),
    "weak": Taught(
        [
            "import weakref, gc, collections, copy, types",
            "class Obj:\n    def __init__(self, n): self.n = n\na, b = Obj(1), Obj(2)\nref = weakref.ref(a)\nproxy = weakref.proxy(a)\nvalues = weakref.WeakValueDictionary(x=a, y=b)\nkeys = weakref.WeakKeyDictionary({a: [1]})\nweak = weakref.WeakSet([a])\nfinal = weakref.finalize(b, print, 'gone')\nmeth = weakref.WeakMethod(a.__init__)",
            "cyc = []; cyc.append(cyc)\ncyc2 = {'self': None}; cyc2['self'] = cyc2\nob = Obj(3); ob.me = ob; ob.links = [a, b, a]\nshared = [a] * 3\ndeep = copy.deepcopy(ob)\nns = types.SimpleNamespace(a=a, inner=types.SimpleNamespace(b=b))\nproxy_map = types.MappingProxyType({'k': a})",
        ],
        [
            "cyc[0] is cyc, cyc2['self'] is cyc2, ob.me is ob, ob.links[0] is a, ob.links[2] is a",
            "shared[0] is shared[2] is a, deep.me is deep, deep.links[0] is not a, ns.a is a, ns.inner.b.n, proxy_map['k'] is a",
            "len(weak), a in weak, ref() is a, sorted(values), values['y'] is b, keys[a]",
        ],
        "a.n = 50; ns.inner.b.n = 7",
        {
            "proxy": "weakref.ProxyType|'ProxyType'",
            "meth": "weakref.ReferenceType",
        },
    ),
    "many frames": Taught(
        [
            "import pandas as pd, numpy as np, pathlib",
            "frames = {f'2024-{m:02d}': pd.DataFrame({'sales': np.arange(200.0) * m, 'shop': list('abcd') * 50, 'day': pd.date_range(f'2024-{m:02d}-01', periods=200, freq='h')}) for m in range(1, 13)}\nnested = {'eu': {'de': frames['2024-01'], 'fr': frames['2024-02']}, 'us': {}}",
            "combined = pd.concat(frames, names=['month', 'row'])\nby_shop = {shop: part.reset_index(drop=True) for shop, part in combined.groupby('shop')}\nsummary = combined.groupby(['month', 'shop'])['sales'].agg(['sum', 'mean'])\nwide = summary['sum'].unstack()\nrolling = combined['sales'].rolling(5).mean()\nframes['2024-03'] = frames['2024-03'].assign(extra=1)\nmelted = wide.reset_index().melt('month')",
            "stats = {k: v['sales'].describe() for k, v in frames.items()}\narrays = {k: v['sales'].to_numpy() for k, v in frames.items()}\nlast = frames['2024-12']\nlast['flag'] = last['sales'] > 100\nsparse = pd.DataFrame(pd.arrays.SparseArray([0, 0, 1]))\nmulti = wide.T\nidx = combined.index",
        ],
        [
            "{k: (v.shape, v['sales'].sum()) for k, v in frames.items()}",
            "nested['eu']['de'] is frames['2024-01'], list(frames['2024-03'].columns)",
            "summary.round(3).to_dict()",
            "wide.sum().to_dict(), multi.shape, idx.names, idx.nlevels",
            "last is frames['2024-12'], last['flag'].sum()",
            "np.shares_memory(arrays['2024-05'], frames['2024-05']['sales'].to_numpy()), arrays['2024-05'].sum()",
            "melted.shape, float(rolling.iloc[10]), str(sparse.dtypes[0])",
        ],
        "frames['2024-05'].loc[0, 'sales'] = -1.0; last['sales'] = 0.0; nested['us']['ny'] = last",
    ),
    "cubes": Taught(
        [
            "import xarray as xr, numpy as np, pandas as pd",
            "temp = xr.DataArray(np.arange(24.0).reshape(2, 3, 4), dims=('time', 'lat', 'lon'), coords={'time': pd.date_range('2024', periods=2), 'lat': [10, 20, 30]}, name='temp', attrs={'units': 'K'})\nds = xr.Dataset({'temp': temp, 'rain': temp * 0.1}, attrs={'source': 'made'})",
            "mean = ds.mean('time')\nsel = temp.sel(lat=20)\ngrouped = ds.groupby('time')\nview = temp[0]\nstacked = temp.stack(point=('lat', 'lon'))\nframe = temp.to_dataframe()\nvals = temp.values\nlazy = ds.rolling(lat=2)",
        ],
        [
            "float(temp.sum()), temp.attrs, list(ds.data_vars), ds.attrs",
            "mean['rain'].values.round(6).tolist(), sel.values.tolist()",
            "view.values.tolist(), stacked.shape, frame.shape",
            "np.shares_memory(vals, temp.values), np.shares_memory(view.values, temp.values)",
            "grouped.sum()['temp'].shape",
        ],
        "temp[0, 0, 0] = 1000.0; ds['new'] = temp * 2; vals[1, 1, 1] = -5",
    ),
    "widgets": Taught(
        [
            "import ipywidgets as W\nfrom IPython.display import display, HTML, Markdown, Image",
            "slider = W.IntSlider(3, max=50)\nout = W.Output()\nlabel = W.Label('x')\nbox = W.VBox([slider, label])\ndef follow(change): label.value = str(change['new'])\nslider.observe(follow, 'value')\nslider.value = 7\nbtn = W.Button(description='go'); clicks = []\nbtn.on_click(lambda b: clicks.append(b.description))\nbtn.click()",
            "inter = W.interactive(lambda a, b: a * b, a=2, b=3)\nhtml = HTML('<b>x</b>')\nmd = Markdown('*x*')\nlink = W.link((slider, 'value'), (inter.children[0], 'value'))\ntab = W.Tab(children=[box, out], titles=['a', 'b'])",
        ],
        [
            "slider.value, label.value, box.children[0] is slider, clicks",
            "html.data, md.data, tab.titles",
            "inter.children[0].value, inter.kwargs",
        ],
        "slider.value = 11; btn.click()",
    ),
    "errors": Taught(
        [
            "import traceback, sys, warnings, contextlib, io",
            "class CourseError(Exception):\n    def __init__(self, code, msg='no'): super().__init__(msg); self.code = code\ntry:\n    raise CourseError(3)\nexcept CourseError as e:\n    caught = e\ntry: 1 / 0\nexcept ZeroDivisionError as e: saved, tb = e, e.__traceback__\ngroup = ExceptionGroup('g', [ValueError(1), caught])\nformatted = ''.join(traceback.format_exception_only(saved))\ninfo = sys.exc_info()",
            "with warnings.catch_warnings(record=True) as warned:\n    warnings.simplefilter('always'); warnings.warn('careful')\nbuffer = io.StringIO()\nwith contextlib.redirect_stdout(buffer): print('kept')\nstack = contextlib.ExitStack()\nframe = sys._getframe() if False else None\nresults = {'ok': 1, 'failed': caught}\nmade_before = [1]\nundefined_later = 1 / 0",
            "chained = None\ntry:\n    try: {}['x']\n    except KeyError as k: raise ValueError('outer') from k\nexcept ValueError as v: chained = v",
        ],
        [
            "caught.code, str(caught), results['failed'] is caught, type(caught) is CourseError",
            "[type(x).__name__ for x in group.exceptions], group.exceptions[1] is caught, formatted",
            "buffer.getvalue(), str(warned[0].message), info, str(chained)",
            "'undefined_later' in globals(), made_before",
        ],
        "caught.code = 9; buffer.write('more')",
        {"tb": "traceback"},
    ),
    "unicode": Taught(
        [
            "größe = [1, 2]; π = 3.14; 变量 = {'ключ': 'значение'}; ñ_ = größe; _hidden = 5; ﬁ = 1",
            "def naïve(x): return x + π\nclass Ω:\n    µ = 2\n    def __init__(self): self.é = größe\no = Ω()\nsurrogate = '\\udcff'; emoji = '🧑‍🚀' * 3; nul = 'a\\0b'\nx"
            + "y" * 300
            + " = [1]",
            "data = {1: 'a', (1, 2): 'b', None: 'c', 1.5: 'd', b'x': 'e', frozenset([1]): 'f', True: 'g'}\nwide = [[[[[[[[[[1]]]]]]]]]]\nempty = [(), [], {}, set(), frozenset(), '', b'', 0, None, ..., NotImplemented]\nbig = 'x' * 3_000_000",
        ],
        [
            "größe, π, 变量, ñ_ is größe, fi",
            "naïve(1), o.é is größe, Ω.µ, o.µ",
            "surrogate == '\\udcff', emoji, nul, x" + "y" * 300,
            "data, wide, empty[:9], empty[9] is ..., len(big)",
        ],
        "größe.append(3); 变量['x'] = 1; Ω.µ = 5",
    ),
    "training": Taught(
        [
            "import numpy as np, math, copy, collections, types, abc",
            "class Layer(abc.ABC):\n    @abc.abstractmethod\n    def forward(self, x): ...\nclass Dense(Layer):\n    def __init__(self, i, o, rng): self.W = rng.normal(size=(i, o)); self.b = np.zeros(o); self.cache = None\n    def forward(self, x): self.cache = x; return x @ self.W + self.b\n    def parameters(self): return [self.W, self.b]\nclass Tanh(Layer):\n    def forward(self, x): return np.tanh(x)\nclass Net:\n    def __init__(self, *layers): self.layers = list(layers); self.hooks = []\n    def __call__(self, x):\n        for l in self.layers: x = l.forward(x)\n        for h in self.hooks: h(x)\n        return x",
            "rng = np.random.default_rng(7)\nnet = Net(Dense(3, 4, rng), Tanh(), Dense(4, 1, rng))\nparams = [p for l in net.layers if isinstance(l, Dense) for p in l.parameters()]\nlog = []\nnet.hooks.append(lambda out: log.append(float(out.mean())))\nX = rng.normal(size=(50, 3)); Y = X.sum(1, keepdims=True)\nnet(X)",
            "class Adam:\n    def __init__(self, params, lr=0.1): self.params, self.lr, self.t = params, lr, 0; self.m = [np.zeros_like(p) for p in params]\n    def step(self, grads):\n        self.t += 1\n        for p, m, g in zip(self.params, self.m, grads):\n            m *= 0.9; m += 0.1 * g; p -= self.lr * m\nopt = Adam(params)\nopt.step([np.ones_like(p) for p in params])\nbest = copy.deepcopy(net)\ncheckpoints = collections.deque(maxlen=2)\nfor _ in range(3): checkpoints.append(copy.deepcopy(params))\nbatches = np.array_split(X, 5)\nschedule = lambda t: 0.1 * math.exp(-t)",
        ],
        [
            "net(X).sum().round(9), len(log)",
            "params[0] is net.layers[0].W, opt.params is params, opt.t",
            "best.layers[0].W is not net.layers[0].W, best(X).sum().round(9), len(checkpoints)",
            "np.shares_memory(batches[0], X), batches[1].shape, schedule(2)",
            "isinstance(net.layers[0], Layer), Layer.__abstractmethods__",
            "rng.normal()",
        ],
        "opt.step([np.ones_like(p) for p in params]); batches[0][:] = 0; net(X)",
    ),
}


def seen(ip, look: str) -> str:
    try:
        value = eval(look, ip.user_ns)
    except Exception as err:
        return f"{type(err).__name__}: {err}"
    return repr(value)


def main(what: str, out: str, names: list[str]) -> None:
    from larder import recovery

    ip = plainshell.shell()
    found = {}
    for name in plainshell.notebooks(ip, "taught", names):
        rec = recovery.recorder()
        row: dict = {"failed": []}
        if what == "run":
            for cell in NOTEBOOKS[name].cells:
                result = ip.run_cell(cell)
                if not result.success:
                    row["failed"].append(f"{cell[-60:]!r}: {result.error_in_exec or result.error_before_exec}")
        else:
            told = io.StringIO()
            with contextlib.redirect_stdout(told):
                ip.run_cell("get_ipython()", store_history=False)  # everything comes back before it
            row["told"] = told.getvalue()
        version = plainshell.last_version(rec)
        row["live"] = sorted(rec.namespace())
        row["unsaved"] = {n: u["why"] for n, u in version["unsaved"].items()}
        row["before"] = [seen(ip, look) for look in NOTEBOOKS[name].looks]
        try:
            exec(NOTEBOOKS[name].then, ip.user_ns)
        except Exception as err:
            row["failed"].append(f"then: {err!r}")
        row["after"] = [seen(ip, look) for look in NOTEBOOKS[name].looks]
        row["off"] = "" if rec.on else rec.why_off
        found[name] = row
    plainshell.end(out, found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:] or list(NOTEBOOKS))
