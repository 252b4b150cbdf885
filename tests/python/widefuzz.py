# ruff: noqa: E501
"""More of what notebooks hold, for `recoveryfuzz`: makers, aliases, changes, and what of such objects a program can see."""

from __future__ import annotations

import builtins
import collections
import datetime
import decimal
import enum
import fractions
import functools
import gc
import io
import json
import pathlib
import random
import re
import types
import weakref

PRELUDE = """
import dataclasses, enum, typing, abc, re, decimal, pathlib, fractions, weakref, itertools, random, io, types, contextlib, asyncio
@dataclasses.dataclass
class Data:
    a: object = 1
    items: list = dataclasses.field(default_factory=list)
@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: object
    b: object = None
class Color(enum.Enum):
    RED = 1
    GREEN = 'g'
    def lower(self): return self.name.lower()
class Access(enum.IntFlag):
    R = 4
    W = 2
class Point(typing.NamedTuple):
    x: object
    y: object = 0
    def both(self): return self.x, self.y
def counted(f):
    @functools.wraps(f)
    def inner(*args):
        inner.calls += 1
        return f(*args)
    inner.calls = 0
    return inner
@functools.lru_cache(maxsize=8)
def cached(n): return n * 2
@functools.cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
@counted
def decorated(x): return x
total = 0
def bump(k=1):
    global total
    total += k
    return total
class Base:
    registry = []
    def __init_subclass__(cls, **more):
        super().__init_subclass__(**more); Base.registry.append(cls.__name__)
    def __init__(self, v=0): self.v = v
    def who(self): return 'base'
class Child(Base):
    tag = ['child']
    @property
    def double(self): return [self.v, self.v]
    @double.setter
    def double(self, v): self.v = v
    @classmethod
    def make(cls, v): return cls(v)
    @staticmethod
    def plain(): return 1
    @functools.cached_property
    def once(self): return [self.v]
    @functools.lru_cache
    def remembered(self, k): return [k]
    def who(self): return super().who() + '+'
class Meta(type):
    def __call__(cls, *args):
        made = super().__call__(*args); made.meta = cls.__name__; return made
class Grown(Child, metaclass=Meta):
    def __enter__(self): return self
    def __exit__(self, *why): self.v = 'left'
class Abstract(abc.ABC):
    @abc.abstractmethod
    def f(self): ...
class Concrete(Abstract):
    def f(self): return 1
class Holder:
    __slots__ = ('x', '__weakref__')
class Descriptor:
    def __set_name__(self, owner, name): self.name = name
    def __get__(self, one, owner): return self if one is None else one.__dict__.get(self.name, 'unset')
    def __set__(self, one, value): one.__dict__[self.name] = value
class Described(Base):
    field = Descriptor()
class Failure(ValueError):
    def __init__(self, code, more=None): super().__init__(code); self.code, self.more = code, more
def steps(n):
    for i in range(n): yield [i]
def caught(k):
    try:
        local = [k]; raise Failure(local, more={'k': k})
    except Failure as failure: return failure
def maker(k):
    shared = [k]
    class Inner(Base):
        def get(self): return shared
        def put(self, v): shared.append(v)
    return Inner()
async def soon(v): await asyncio.sleep(0); return v
try: import polars as pl, pyarrow as pa
except ImportError: pass
try: import scipy.sparse
except ImportError: pass
try:
    from sklearn.pipeline import make_pipeline
    from sklearn.linear_model import LogisticRegression
    from sklearn.compose import ColumnTransformer
except ImportError: pass
try: import torch
except ImportError: pass
"""

MAKE = [
    "{n} = Data({k}, [{k}])",
    "{n} = Data(Data([{k}]))",
    "{n} = Frozen([{k}], {k})",
    "{n} = Color.RED",
    "{n} = [Color.GREEN, Access.R | Access.W]",
    "{n} = {{Color.RED: [{k}]}}",
    "{n} = Point([{k}], {{}})",
    "{n} = cached",
    "{n} = [fib, fib(9), cached.__wrapped__]",
    "{n} = decorated; decorated({k})",
    "{n} = counted(lambda x: x + {k})",
    "{n} = bump; bump({k})",
    "{n} = Child([{k}])",
    "{n} = Child.make({{'k': {k}}}); {n}.once",
    "{n} = Child.make",
    "{n} = [Child, Base]",
    "{n} = Grown({k})",
    "{n} = Concrete()",
    "{n} = Holder(); {n}.x = [{k}]",
    "{n} = Described({k}); {n}.field = [{k}]",
    "{n} = caught({k})",
    "{n} = maker({k})",
    "{n} = steps({k}); next({n})",
    "{n} = pathlib.Path('/tmp') / 'f{k}'",
    "{n} = decimal.Decimal('{k}.5')",
    "{n} = fractions.Fraction({k}, 7)",
    "{n} = re.compile('a{{{k}}}')",
    "{n} = datetime.timedelta({k})",
    "{n} = [datetime.date(2020, 1, {k}), datetime.timezone.utc]",
    "{n} = random.Random({k})",
    "{n} = io.StringIO('text{k}')",
    "{n} = io.BytesIO(b'x' * {k})",
    "{n} = types.SimpleNamespace(a=[{k}])",
    "{n} = collections.ChainMap({{'k': [{k}]}}, {{'m': 1}})",
    "{n} = collections.Counter('abca' * {k})",
    "{n} = collections.OrderedDict(a=[1], b={k})",
    "{n} = frozenset([{k}, (1, 2)])",
    "{n} = weakref.WeakKeyDictionary()",
    "{n} = types.MappingProxyType({{'k': [{k}]}})",
    "{n} = complex({k}, 1)",
    "{n} = pd.DataFrame({{'c': pd.Categorical(list('abca')), 'd': pd.date_range('2021-01-0{k}', periods=4, tz='UTC'), 'n': pd.array([1, None, 3, {k}]), 's': ['u', 'v', None, 'x']}})",
    "{n} = pd.DataFrame(np.arange(8.).reshape(4, 2), columns=list('ab'), index=pd.MultiIndex.from_product([[1, 2], ['x', 'y']]))",
    "{n} = pd.DataFrame({{'a': np.arange(4) * {k}, 'b': 1.5}}, index=pd.date_range('2020', periods=4, freq='D'))",
    "{n} = pd.Series(np.arange(3.), index=pd.CategoricalIndex(['p', 'q', 'r']))",
    "{n} = pd.Series(pd.period_range('2020', periods={k}, freq='M'))",
    "{n} = pd.interval_range(0, {k})",
    "{n} = pd.Series(pd.arrays.SparseArray([0., 0., {k}.]))",
    "{n} = pd.array([1.5, None, {k}])",
    "{n} = pd.array(['a', None], dtype='string')",
    "{n} = pd.DataFrame({{'g': list('aabb'), 'v': np.arange(4) * {k}}})",
    "{n} = pd.DataFrame({{'g': list('aabb'), 'v': np.arange(4) * {k}}}).groupby('g')",
    "{n} = pd.Timestamp('2020-01-0{k}', tz='Europe/Berlin')",
    "{n} = pl.DataFrame({{'a': [1, 2, {k}], 'b': ['x', None, 'z']}})",
    "{n} = pl.Series('s', [1.0, {k}, None])",
    "{n} = pl.DataFrame({{'a': range(20_000), 'c': ['x', 'y'] * 10_000}})",
    "{n} = pl.LazyFrame({{'a': [1, {k}]}}).filter(pl.col('a') > 1)",
    "{n} = pa.table({{'a': [1, {k}], 's': ['x', None]}})",
    "{n} = pa.array(range({k}))",
    "{n} = pa.schema([('a', pa.int64())])",
    "{n} = scipy.sparse.csr_matrix(np.eye(3) * {k})",
    "{n} = scipy.sparse.coo_array(np.eye(2))",
    "{n} = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)",
    "{n} = ColumnTransformer([('s', StandardScaler(), [0])]).fit(X)",
    "{n} = np.arange(6.).reshape(2, 3)[:, ::-1]",
    "{n} = np.rec.array([(1, 2.), ({k}, 4.)], dtype=[('f', 'i4'), ('g', 'f8')])",
    "{n} = np.array(['a', 'bc'], dtype='U{k}')",
    "{n} = np.array([1, None, [2]], dtype=object)",
    "{n} = np.poly1d([1, {k}])",
    "{n} = np.vectorize(lambda x: x + {k})",
    "{n} = torch.arange({k} + 2.)",
    "{n} = torch.zeros(20_000)",
    "{n} = torch.nn.Linear(2, {k})",
    "{n} = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())",
    "{n} = torch.tensor([1., {k}], requires_grad=True)",
    "{n} = torch.Generator().manual_seed({k})",
    "{n} = await soon([{k}])",
    "{n} = functools.partial(decorated, [{k}])",
    "{n} = property(lambda self: {k})",
    "{n} = typing.List[int]",
    "{n} = list[int] | None",
    "{n} = enumerate([[{k}], 2])",
    "{n} = zip([1, 2], [[{k}], 3])",
    "{n} = Failure",
    "{n} = [caught({k})]; {n}[0].add_note('n{k}')",
]
SHARE = [
    "{n} = Data({m}, [{m}])",
    "{n} = Frozen({m})",
    "{n} = Point({m})",
    "{n} = Child({m})",
    "{n} = counted({m})",
    "{n} = functools.lru_cache({m})",
    "{n} = {m}.items",
    "{n} = {m}.who",
    "{n} = {m}.get",
    "{n} = {m}.v",
    "{n} = {m}.a",
    "{n} = {m}.once",
    "{n} = {m}.x",
    "{n} = {m}.more",
    "{n} = {m}.maps[0]",
    "{n} = {m}.func",
    "{n} = {m}.__wrapped__",
    "{n} = {m}.__class__.__dict__",
    "{n} = {m}.__traceback__",
    "{n} = weakref.ref({m})",
    "{n} = weakref.WeakSet([{m}])",
    "{n} = {m}.groupby('g')",
    "{n} = {m}.groupby('c', observed=True)",
    "{n} = {m}.obj",
    "{n} = {m}['c']",
    "{n} = {m}['c'].cat",
    "{n} = {m}['c'].array",
    "{n} = {m}['n'].array",
    "{n} = {m}.array",
    "{n} = {m}.index.values",
    "{n} = {m}.loc[1]",
    "{n} = {m}.unstack()",
    "{n} = {m}.rolling(2)",
    "{n} = {m}.iloc",
    "{n} = {m}.codes",
    "{n} = pd.concat([{m}, {m}])",
    "{n} = pd.Series({m}, copy=False)",
    "assert 'Object' not in repr(getattr({m}, 'schema', getattr({m}, 'dtype', None))); {n} = {m}.to_arrow()",
    "{n} = {m}.to_pandas()",
    "{n} = pl.from_pandas({m})",
    "{n} = pa.Table.from_pandas({m})",
    "{n} = pa.array({m})",
    "{n} = {m}.column('a')",
    "{n} = {m}.clone()",
    "{n} = {m}.lazy()",
    "{n} = {m}.data",
    "{n} = {m}.indices",
    "{n} = {m}[-1]",
    "{n} = {m}.named_steps",
    "{n} = {m}[-1].coef_",
    "{n} = {m}.numpy()",
    "{n} = torch.from_numpy({m})",
    "{n} = torch.as_tensor({m})",
    "{n} = {m}.view(-1)[1:]",
    "{n} = {m}.weight",
    "{n} = {m}.weight.data",
    "{n} = {m}.detach()",
    "{n} = {m}.state_dict()",
    "{n} = torch.optim.SGD({m}.parameters(), lr=0.1)",
    "{n} = ({m} * 2).sum()",
    "{n} = types.MappingProxyType({m})",
    "{n} = enumerate({m})",
    "{n} = map(str, {m})",
    "{n} = types.MethodType(lambda self: self, {m})",
    "{n} = collections.ChainMap({m})",
    "{n} = {m}.bit_generator",
    "{n} = {m}.getbuffer()",
    "def g(): return {m}, total\n{n} = g",
    "{n} = [f() for f in [lambda: {m}]]",
    "class Late(Child):\n    held = {m}\n{n} = Late({m})",
    "{n} = [e for e in [caught({m})]]",
    "from copy import copy\n{n} = copy({m})",
    "{n} = {m}.fields",
    "{n} = dataclasses.replace({m})",
    "{n} = dataclasses.fields({m})",
    "{n} = (x for x in {m})",
]
CHANGE = [
    "{n}.items.append({k})",
    "{n}.a = [{k}]",
    "{n}.v = {k}",
    "{n}.v.append({k})",
    "{n}.double = {k}",
    "{n}.x.append({k})",
    "{n}.calls = {k}",
    "{n}.tag.append({k})",
    "{n}.put({k})",
    "{n}.field = {k}",
    "{n}.more['new'] = {k}",
    "{n}.add_note('m{k}')",
    "{n}.cache_clear()",
    "bump({k})",
    "decorated({k})",
    "cached({k})",
    "total = {k}",
    "class Child(Base):\n    tag = [{k}]\n    def who(self): return 'new{k}'",
    "class Base:\n    registry = []\n    def who(self): return 'other{k}'",
    "Base.who = lambda self: {k}",
    "Child.extra = [{k}]",
    "type({n}).extra = [{k}]",
    "del Child.extra",
    "def bump(k=1): return {k}",
    "def decorated(x): return {k}",
    "class Color(enum.Enum):\n    RED = {k}",
    "del decorated",
    "del {n}.v",
    "del {n}[0]",
    "del {n}['k']",
    "with {n}: pass",
    "{n}.attrs['k'] = [{k}]",
    "{n}['c'] = {n}['c'].cat.add_categories('z{k}')",
    "{n}.iloc[0, 0] = 'b'",
    "{n}[0] = 'b'",
    "{n}[0] = None",
    "{n}[1] = pd.NA",
    "{n}.loc[(1, 'x'), 'a'] = {k}",
    "{n}.index = range(len({n}))",
    "{n}.index.name = 'i{k}'",
    "{n}.columns = [f'c{{i}}' for i in range({n}.shape[1])]",
    "{n}.name = 'n{k}'",
    "{n}.insert(0, 'new{k}', {k})",
    "{n}['v'] += {k}",
    "{n}.obj['v'] = {k}",
    "{n}.sum()",
    "{n}.sort_index(ascending=False, inplace=True)",
    "{n}.fillna(0, inplace=True)",
    "{n}[0, 'a'] = {k}",
    "{n}.insert_column(0, pl.Series('z{k}', range(len({n}))))",
    "{n} = {n}.append_column('y{k}', pa.array(range({n}.num_rows)))",
    "{n}.data[0] = {k}.5",
    "{n}.write('{k}')",
    "{n}.seek({k})",
    "{n}.truncate(1)",
    "{n}.rebuild = {k}",
    "{n}.steps.append(('more', None))",
    "{n}.set_params(standardscaler__with_mean=False)",
    "{n}[-1].coef_[0] = {k}",
    "{n}[0].mean_[0] = {k}",
    "{n}.add_(1)",
    "{n}[0].fill_({k})",
    "{n}.data[0] = {k}",
    "torch.nn.init.constant_({n}.weight, {k})",
    "{n}.requires_grad_(False)",
    "{n}.backward()",
    "{n}.zero_grad()",
    "{n}.step()",
    "{n}.train(False)",
    "{n}.seed({k})",
    "{n}.gauss(0, 1)",
    "{n}.subtract('a')",
    "{n}.move_to_end('a')",
    "{n}.coeffs[0] = {k}",
    "{n} = await soon({n})",
    "await soon(1); {n}.append({k})",
    "%time {n}.append({k})",
    "raise Failure({k})",
    "x = {n}; raise caught({k})",
    "for {n} in range({k}): pass",
    "{n}: int = {k}",
    "({n} := [{k}])",
    "exec('{n} = [{k}]')",
    "globals()['{n}'] = {{'k': {k}}}",
    "global {n}; {n} = [{k}]",
    "import math as {n}",
    "from math import pi as {n}",
    "{n}.f_g = {k}",
    "next({n}); next({n})",
    "{n}.send(None)",
    "{n}.close()",
    "{n}[{n} == 0] = {k}",
    "{n}.sum(axis=0, out={n}[0])",
    "np.random.seed({k})",
    "random.seed({k})",
    "{n}.shuffle([1, 2])",
]


def pools(make: list[str], share: list[str], change: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The old pools with these: one of two items is of here."""
    return make + MAKE, share + SHARE, change + CHANGE


def unchanging(one, x) -> object:
    """What never changes, so that two equal ones are as good as one; ``None`` for the rest."""
    if type(x) is frozenset:
        return ["frozenset", sorted(json.dumps(one.of(i)) for i in x)]
    leaf = (
        pathlib.PurePath,
        decimal.Decimal,
        fractions.Fraction,
        datetime.date,
        datetime.timedelta,
        datetime.tzinfo,
        re.Pattern,
    )
    return repr(x) if isinstance(x, leaf) else None


def of(one, x) -> object:
    """What a program can see of ``x``, whose parts ``one`` tells; ``None`` if nothing special is known of it."""
    kind = type(x)
    home, name = kind.__module__ if isinstance(kind.__module__, str) else "", kind.__qualname__
    root = home.partition(".")[0]
    if isinstance(x, weakref.WeakSet):
        return [name, [one.of(i) for i in x]]
    if isinstance(x, weakref.WeakKeyDictionary):
        return [name, [[one.of(k), one.of(v)] for k, v in x.items()]]
    if isinstance(x, enum.EnumMeta) and x.__module__ == "__main__":
        own = {k: v for k, v in vars(x).items() if isinstance(v, types.FunctionType) and not k.startswith("_")}
        return ["enum", name, [[m.name, one.of(m.value)] for m in x], {k: one.of(v) for k, v in own.items()}]
    if isinstance(x, enum.Enum):
        return ["member", one.of(kind), repr(x.name), x in kind and kind(x.value) is x]
    if isinstance(x, functools._lru_cache_wrapper):
        if x.__module__ != "__main__":
            return f"cached {x.__module__}.{x.__qualname__}"
        return ["cached", x.cache_parameters(), [[k, one.of(v)] for k, v in x.__dict__.items()]]
    if isinstance(x, property):
        return ["property", one.of(x.fget), one.of(x.fset), repr(x.__doc__)]
    if isinstance(x, types.MappingProxyType):
        return ["proxy", one.of(gc.get_referents(x)[0])]
    if kind is collections.Counter:  # whose pickle leaves attributes out
        return [name, [[one.of(k), v] for k, v in x.items()]]
    if isinstance(x, (io.StringIO, io.BytesIO)):
        return [name, repr(x.getvalue()), x.tell()] if not x.closed else [name, "closed"]
    if isinstance(x, random.Random):
        return [name, repr(x.getstate())]
    if isinstance(x, BaseException):
        return [name, one.of(x.args), [[k, one.of(v)] for k, v in x.__dict__.items()]]
    if kind in (builtins.enumerate, builtins.zip, builtins.map):
        return [name, one.of(x.__reduce__()[1:])]
    if root == "polars":
        if name == "DataFrame":
            return [name, str(x.schema), re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(x.rows()))]  # of objects in it
        if name == "Series":
            return [name, x.name, str(x.dtype), repr(x.to_list())]
        return [name, x.explain()] if name == "LazyFrame" else None
    if root == "pyarrow":
        shown = x.to_pylist() if hasattr(x, "to_pylist") else ""
        return [name, str(getattr(x, "schema", None) or getattr(x, "type", x)), repr(shown)]
    if root == "pandas" and "GroupBy" in name:
        return [name, one.of(x.obj), repr(x.keys), repr({k: list(v) for k, v in x.indices.items()})]
    if root == "pandas" and hasattr(x, "obj") and name in ("Rolling", "_iLocIndexer", "_LocIndexer"):
        return [name, one.of(x.obj), repr(getattr(x, "window", None))]
    if root == "pandas" and name == "CategoricalAccessor":
        return [name, one.of(x._parent)]
    if root == "pandas" and name in (
        "IntegerArray",
        "FloatingArray",
        "BooleanArray",
        "ArrowStringArray",
        "DatetimeArray",
        "PeriodArray",
        "SparseArray",
    ):
        return [name, str(x.dtype), repr(x.tolist() if hasattr(x, "tolist") else list(x))]
    if root == "torch":
        return _of_torch(one, x, name)
    return None


def _of_torch(one, x, name) -> object:
    import torch

    if isinstance(x, torch.Tensor):
        grad = None if x.grad is None else repr(x.grad.tolist())
        return [
            name,
            str(x.dtype),
            list(x.shape),
            list(x.stride()),
            bool(x.requires_grad),
            repr(x.detach().tolist()),
            grad,
        ]
    if isinstance(x, torch.Generator):
        return [name, repr(x.get_state().tolist())]
    if isinstance(x, torch.nn.Module):
        parts = [[k, one.of(v)] for k, v in (*x._parameters.items(), *x._buffers.items(), *x._modules.items())]
        return [name, parts, x.training]
    return None
