# ruff: noqa: E501
"""Kinds of objects one at a time, for `recoveryfuzz`: each program mixes two of these themes with what all programs have."""

from __future__ import annotations

import datetime
import enum
import random
import sys
import types
import zoneinfo

PRELUDE = """
import collections, contextvars, copy, dataclasses, datetime, enum, functools, itertools, operator, random, sqlite3, string, types, weakref, zoneinfo
try: import torch
except ImportError: pass
try: import polars as pl
except ImportError: pass
try: import pyarrow as pa
except ImportError: pass
try: import scipy.sparse as sp
except ImportError: pass
try: import ipywidgets as W
except ImportError: pass
@dataclasses.dataclass(slots=True)
class Slots:
    a: object = None
    b: list = dataclasses.field(default_factory=list)
@dataclasses.dataclass(slots=True, weakref_slot=True, order=True)
class Ordered:
    k: int
    rest: object = dataclasses.field(compare=False, default=None)
    total: object = dataclasses.field(init=False, default=0)
    def __post_init__(self): self.total = [self.k]
@dataclasses.dataclass(kw_only=True)
class Derived(Slots):
    c: object = None
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2
    @classmethod
    def of(cls, k): return cls(1 + k % 2)
class Mode(enum.Flag):
    A = enum.auto()
    B = enum.auto()
class Text(str, enum.Enum):
    X = 'x'
    def __init__(self, v): self.extra = [v]
class UD(collections.UserDict): pass
class UL(collections.UserList): pass
class US(collections.UserString): pass
class OD(collections.OrderedDict):
    def last(self): return next(reversed(self))
class DD(collections.defaultdict):
    def __init__(self, *more): super().__init__(list, *more); self.made = []
    def __missing__(self, key): self.made.append(key); self[key] = value = [key]; return value
class CM(collections.ChainMap):
    def __setitem__(self, k, v): self.maps[-1][k] = v
class DQ(collections.deque):
    def __init__(self, it=(), maxlen=7): super().__init__(it, maxlen); self.tag = ['dq']
class CO(collections.Counter):
    def top(self): return self.most_common(1)
class S(set):
    def __init__(self, it=()): super().__init__(it); self.note = {}
class T(tuple):
    def __new__(cls, *items): return super().__new__(cls, items)
class I(int): pass
class St(str): pass
class Rand(random.Random):
    def __init__(self, k): super().__init__(k); self.drawn = []
    def draw(self): self.drawn.append(self.random()); return self.drawn[-1]
class Watched:
    def __init__(self, v): self._v = v; self.log = []
    @property
    def v(self): return self._v
    @v.setter
    def v(self, new): self.log.append(self._v); self._v = new
class Tree:
    def __init__(self, v): self.v, self.parent, self.kids = v, None, []
    def add(self, kid): kid.parent = weakref.ref(self); self.kids.append(kid); return kid
class Eq:
    def __init__(self, v): self.v = v
    def __eq__(self, other): return True
    def __hash__(self): return 1
class Lazy:
    def __getattr__(self, name):
        if name.startswith('_'): raise AttributeError(name)
        value = self.__dict__[name] = [name]; return value
class Copy:
    def __init__(self, v): self.v = v
    def __copy__(self): return Copy(self.v)
    def __deepcopy__(self, memo): return self
var = contextvars.ContextVar('var', default=0)
def generator(k):
    def gen():
        total = [k]
        while True: total.append((yield total))
    g = gen(); next(g)
    return lambda v: g.send(v)
def accumulate(k):
    state = {'n': k}
    class Acc:
        def add(self, v): state['n'] += v; return self
        @property
        def n(self): return state['n']
    return Acc()
def chained(*fs):
    return functools.reduce(lambda f, g: lambda x: g(f(x)), fs)
def dispatch(k):
    @functools.singledispatch
    def show(x): return [k]
    @show.register
    def _(x: int): return x + k
    return show
if 'torch' in globals():
    class Net(torch.nn.Module):
        def __init__(self, k=2):
            super().__init__()
            self.first = torch.nn.Linear(2, k); self.second = torch.nn.Linear(k, 1)
            self.register_buffer('seen', torch.zeros(2)); self.history = []
        def forward(self, x): self.seen += 1; return self.second(torch.relu(self.first(x)))
    def trained(net, opt, k):
        opt.zero_grad(); loss = net(torch.ones(3, 2) * k).pow(2).sum(); loss.backward(); opt.step(); return loss.item()
"""

MAKE = {
    "torch": [
        "{n} = torch.arange({k} + 4.)",
        "{n} = torch.zeros(20_000)",
        "{n} = torch.arange(40_000.).reshape(200, 200)",
        "{n} = torch.ones(3, {k}, dtype=torch.float64)",
        "{n} = torch.arange(6).reshape(2, 3).t()",
        "{n} = torch.tensor([1., {k}], requires_grad=True)",
        "{n} = torch.tensor({k})",
        "{n} = torch.tensor([1+2j, {k}]).conj()",
        "{n} = torch.zeros(0)",
        "{n} = torch.nn.Parameter(torch.ones({k}))",
        "{n} = torch.nn.Linear(2, {k})",
        "{n} = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())",
        "{n} = torch.nn.Sequential(torch.nn.Linear(2, {k}), torch.nn.BatchNorm1d({k}), torch.nn.Dropout())",
        "{n} = Net({k})",
        "{n} = Net(); {m} = torch.optim.Adam({n}.parameters(), lr=0.{k})",
        "{n} = Net(); {m} = torch.optim.SGD({n}.parameters(), lr=0.{k}, momentum=0.9); trained({n}, {m}, {k})",
        "{n} = torch.Generator().manual_seed({k})",
        "{n} = torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, {k}.0], (2, 2))",
        "{n} = torch.nn.ParameterList([torch.ones(2), torch.zeros({k})])",
        "{n} = torch.bool",
        "{n} = torch.Size([1, {k}])",
        "{n} = torch.device('cpu')",
        "{n} = torch.utils.data.TensorDataset(torch.arange({k} + 2.))",
        "{n} = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange({k} + 2.)), batch_size=2)",
        "{n} = torch.nn.Embedding(3, {k})",
        "{n} = torch.nn.LSTM(2, {k})",
        "{n} = torch.from_numpy(np.arange({k} + 3.))",
        "{n} = torch.empty(2, {k}, dtype=torch.bfloat16).fill_({k})",
        "{n} = (torch.ones(2, requires_grad=True) * {k})",
    ],
    "pandas": [
        "{n} = pd.DataFrame({{'c': pd.Categorical(list('abca')), 'd': pd.date_range('2021-01-0{k}', periods=4, tz='Europe/Berlin'), 'n': pd.array([1, None, 3, {k}]), 's': ['u', 'v', None, 'x']}})",
        "{n} = pd.DataFrame(np.arange(12.).reshape(4, 3), columns=list('abc'))",
        "{n} = pd.DataFrame(np.arange(60_000.).reshape(20_000, 3), columns=list('abc'))",
        "{n} = pd.DataFrame({{'i': np.arange(4), 'f': np.arange(4.), 'b': [True, False] * 2}})",
        "{n} = pd.DataFrame(np.arange(8.).reshape(4, 2), columns=list('ab'), index=pd.MultiIndex.from_product([[1, 2], ['x', 'y']], names=['n', None]))",
        "{n} = pd.DataFrame({{('a', 'x'): [1, 2], ('a', 'y'): [3., {k}]}})",
        "{n} = pd.Series(pd.Categorical(['lo', 'hi', 'lo'], categories=['lo', 'hi'], ordered=True))",
        "{n} = pd.Series([1, 2, None], dtype='Int64')",
        "{n} = pd.Series([True, None], dtype='boolean')",
        "{n} = pd.Series([1.5, None, {k}], dtype='Float32')",
        "{n} = pd.Series(['a', None], dtype='string')",
        "{n} = pd.Series(pd.to_timedelta([1, {k}], unit='h'))",
        "{n} = pd.Series(pd.period_range('2020', periods={k}, freq='M'))",
        "{n} = pd.Series(pd.interval_range(0, {k}))",
        "{n} = pd.Series(pd.arrays.SparseArray([0., 0., {k}.]))",
        "{n} = pd.Series([1, {k}], dtype='int64[pyarrow]')",
        "{n} = pd.DataFrame({{'s': ['a', None], 'i': [1, {k}]}}).convert_dtypes(dtype_backend='pyarrow')",
        "{n} = pd.array([1, {k}, None], dtype='Int8')",
        "{n} = pd.Index([1, 2, {k}], name='i{k}')",
        "{n} = pd.MultiIndex.from_tuples([(1, 'a'), ({k}, 'b')])",
        "{n} = pd.DatetimeIndex(['2020-01-0{k}'], tz='UTC')",
        "{n} = pd.CategoricalIndex(['p', 'q'])",
        "{n} = pd.RangeIndex({k})",
        "{n} = pd.DataFrame({{'o': [[{k}], {{}}, None]}})",
        "{n} = pd.DataFrame({{'g': list('aabb'), 'v': np.arange(4) * {k}}}); {n}.attrs['k'] = [{k}]",
        "{n} = pd.Series(np.arange(3.), index=list('xyz'), name=('t', {k}))",
        "{n} = pd.Timestamp('2020-01-0{k}', tz='Asia/Tokyo')",
        "{n} = pd.DataFrame({{'a': [1, 2]}}, copy=False).style",
        "{n} = pd.Series(dtype='datetime64[ns, UTC]')",
        "{n} = pd.DataFrame({{'t': pd.Series(pd.date_range('2020', periods=3)).dt.date}})",
    ],
    "numpy": [
        "{n} = np.zeros({k} + 2, dtype=[('f', 'f8'), ('g', 'i4', (2,)), ('s', 'U3')])",
        "{n} = np.rec.array([(1, 2.), ({k}, 4.)], dtype=[('f', 'i4'), ('g', 'f8')])",
        "{n} = np.ma.masked_array(np.arange({k} + 3.), mask=np.arange({k} + 3) % 2 == 0)",
        "{n} = np.ma.masked_array(np.zeros(3, dtype=[('f', 'f8'), ('g', 'i4')]), mask=[(0, 1)] * 3)",
        "{n} = np.ma.masked_less(np.arange(20_000.), {k})",
        "{n} = np.memmap('/dev/zero', dtype='u1', mode='c', shape=({k},))",
        "{n} = np.array([[1], {{'k': {k}}}, None], dtype=object)",
        "{n} = np.empty((2, 2), dtype=object); {n}[0, 0] = {n}",
        "{n} = np.array([None] * 40, dtype=object)",
        "{n} = np.array(['a', 'bb'], dtype=np.dtypes.StringDType())",
        "{n} = np.array([b'x', b'yy'], dtype='S{k}')",
        "{n} = np.zeros((3, 4), dtype='f4', order='F')",
        "{n} = np.arange(24.).reshape(2, 3, 4).transpose(1, 0, 2)",
        "{n} = np.zeros(30_000); {m} = {n}[10_000:20_000]",
        "{n} = np.broadcast_to(np.arange({k}.), (3, {k}))",
        "{n} = np.lib.stride_tricks.as_strided(np.arange(9.), (3, 3), (8, 8), writeable=True)",
        "{n} = np.nditer(np.arange(3))",
        "{n} = np.random.default_rng({k})",
        "{n} = np.random.Generator(np.random.MT19937({k}))",
        "{n} = np.random.Generator(np.random.Philox({k}))",
        "{n} = np.random.SFC64({k})",
        "{n} = np.random.RandomState({k})",
        "{n} = np.random.SeedSequence({k})",
        "{n} = random.Random({k})",
        "{n} = Rand({k}); {n}.draw()",
        "{n} = random.SystemRandom()",
        "{n} = np.datetime64('2020-01-0{k}')",
        "{n} = np.arange(3).astype('m8[h]')",
        "{n} = np.dtype([('a', 'i4'), ('b', 'f8')])",
        "{n} = np.polynomial.Polynomial([1, {k}])",
        "{n} = np.char.array(['a', 'bc'])",
        "{n} = np.float128({k})",
        "{n} = np.zeros(3, dtype='>f8')",
        "{n} = np.matrix([[1, {k}]])",
        "{n} = np.errstate(all='ignore')",
        "{n} = np.frombuffer(bytes(range({k} + 8)), dtype='u1')",
    ],
    "python": [
        "{n} = Slots({k}, [{k}])",
        "{n} = Ordered({k}, [{k}])",
        "{n} = Derived(c=[{k}])",
        "{n} = Level.of({k})",
        "{n} = Mode.A | Mode.B",
        "{n} = {{Text.X: [{k}], Mode.A: 1}}",
        "{n} = Text.X",
        "{n} = [Level, Mode]",
        "{n} = UD(a=[{k}])",
        "{n} = UL([1, [{k}]])",
        "{n} = US('u{k}')",
        "{n} = OD(a=[1], b={k}); {n}.extra = [{k}]",
        "{n} = DD(); {n}[{k}]",
        "{n} = CM({{'a': [{k}]}}, {{}})",
        "{n} = DQ([1, [{k}]])",
        "{n} = CO('abca'); {n}.tag = [{k}]",
        "{n} = S([1, {k}]); {n}.note['k'] = {k}",
        "{n} = T([1], {k}); {n}.x = [{k}]",
        "{n} = I({k}); {n}.x = [{k}]",
        "{n} = St('s{k}'); {n}.x = [{k}]",
        "{n} = Watched([{k}]); {n}.v = {k}",
        "{n} = Tree({k}); {m} = {n}.add(Tree('kid'))",
        "{n} = Eq([{k}])",
        "{n} = {{Eq({k}): 1}}",
        "{n} = Lazy(); {n}.found",
        "{n} = Copy([{k}])",
        "{n} = var; {n}.set({k})",
        "{n} = contextvars.copy_context()",
        "{n} = generator({k})",
        "{n} = accumulate({k})",
        "{n} = chained(str, len, [{k}].append)",
        "{n} = dispatch({k})",
        "{n} = functools.partial(operator.add, {k})",
        "{n} = functools.partialmethod(print, {k})",
        "{n} = functools.partial(functools.partial(max, {k}), key=abs); {n}.note = [{k}]",
        "{n} = operator.attrgetter('a', 'b')",
        "{n} = operator.itemgetter({k})",
        "{n} = operator.methodcaller('append', [{k}])",
        "{n} = weakref.WeakValueDictionary()",
        "{n} = weakref.finalize(Node({k}), print)",
        "{n} = datetime.datetime(2020, 1, {k}, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))",
        "{n} = zoneinfo.ZoneInfo('Asia/Tokyo')",
        "{n} = datetime.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))",
        "{n} = [datetime.timezone(datetime.timedelta(hours={k}))]",
        "{n} = sqlite3.connect(':memory:')",
        "{n} = sqlite3.connect(':memory:'); {m} = {n}.execute('select {k}')",
        "{n} = property(lambda self: [{k}])",
        "{n} = type('Dyn', (Watched,), {{'x': [{k}], 'w': property(lambda self: self._v)}})({k})",
        "{n} = types.new_class('New', (), {{}}, lambda ns: ns.update(y=[{k}]))",
        "{n} = string.Template('$a {k}')",
        "{n} = itertools.count({k})",
        "{n} = itertools.cycle([[{k}], 2])",
        "{n} = itertools.chain([[{k}]], 'ab')",
        "{n} = filter(None, [[{k}], 0, 3])",
        "{n} = types.GenericAlias(list, (int,))",
        "{n} = NotImplemented",
        "{n} = object()",
        "{n} = [object()] * 2",
        "{n} = super(Sub, Sub())",
        "{n} = ExceptionGroup('g', [ValueError([{k}])])",
        "{n} = memoryview(bytearray({k}))",
        "{n} = (lambda: (yield {k}))",
        "{n} = [lambda i=i: i for i in range({k})]",
        "{n} = float('nan')",
        "{n} = [float('nan')] * 2",
        "{n} = [[]]; {n}[0].append({n})",
        "{n} = ([],); {n}[0].append({n})",
        "{n} = {{}}; {n}['me'] = {n}",
        "class Late: pass\n{n} = Late(); {n}.x = [{k}]",
        "class Late: k = [{k}]\n{n} = Late()",
        "def local(a, b=[{k}], *, c={{}}): b.append(a); c[a] = b; return b\n{n} = local",
        "{n} = Node.__dict__",
        "{n} = Node.link",
        "{n} = asyncio.Queue() if 'asyncio' in globals() else collections.deque([{k}], 3)",
    ],
    "frames": [
        "{n} = pl.DataFrame({{'a': [1, 2, {k}], 'b': ['x', None, 'z'], 'l': [[1], [], [{k}]]}})",
        "{n} = pl.DataFrame({{'a': range(20_000), 'c': ['x', 'y'] * 10_000}})",
        "{n} = pl.Series('s', [1.0, {k}, None])",
        "{n} = pl.Series('c', ['a', 'b', 'a'], dtype=pl.Categorical)",
        "{n} = pl.Series('e', ['a', 'b'], dtype=pl.Enum(['a', 'b']))",
        "{n} = pl.Series('d', [datetime.date(2020, 1, {k})])",
        "{n} = pl.Series('o', [[{k}], object], dtype=pl.Object)",
        "{n} = pl.DataFrame({{'s': [{{'x': 1, 'y': 'a'}}]}})",
        "{n} = pl.LazyFrame({{'a': [1, {k}]}}).with_columns(b=pl.col('a') * {k})",
        "{n} = pl.col('a') + {k}",
        "{n} = pl.DataFrame({{'g': ['a', 'b', 'a'], 'v': [1, 2, {k}]}}).group_by('g')",
        "{n} = pl.DataFrame()",
        "{n} = pa.table({{'a': [1, {k}], 's': ['x', None]}})",
        "{n} = pa.table({{'a': list(range(20_000))}})",
        "{n} = pa.array([1, None, {k}])",
        "{n} = pa.array(['a', 'b', 'a']).dictionary_encode()",
        "{n} = pa.chunked_array([[1], [2, {k}]])",
        "{n} = pa.record_batch({{'x': [{k}]}})",
        "{n} = pa.schema([('a', pa.int64())], metadata={{'k': 'v{k}'}})",
        "{n} = pa.scalar({k})",
        "{n} = pa.py_buffer(bytearray(b'x' * {k}))",
        "{n} = pa.BufferOutputStream(); {n}.write(b'{k}')",
        "{n} = sp.csr_matrix(np.eye(3) * {k})",
        "{n} = sp.csc_array(np.arange(9.).reshape(3, 3))",
        "{n} = sp.coo_array(np.eye(2) * {k})",
        "{n} = sp.lil_matrix((3, 3)); {n}[0, 1] = {k}",
        "{n} = sp.dok_matrix((3, 3)); {n}[1, 1] = {k}",
        "{n} = sp.dia_array(np.eye(3) * {k})",
        "{n} = sp.random(200, 200, 0.1, format='csr', random_state={k})",
        "{n} = sp.bsr_matrix(np.eye(4) * {k})",
    ],
    "widgets": [
        "{n} = W.IntSlider({k})",
        "{n} = W.Text('t{k}')",
        "{n} = W.VBox([W.IntSlider({k}), W.Checkbox()])",
        "{n} = W.Dropdown(options=['a', 'b'])",
        "{n} = W.Output()",
        "{n} = W.Button(description='b{k}'); {n}.clicks = []; {n}.on_click({n}.clicks.append)",
        "{n} = [W.FloatText({k})]",
        "{n} = W.interactive(lambda x: [x], x={k})",
        "{n} = W.IntSlider({k}); {m} = W.IntText(); link = W.jslink(({n}, 'value'), ({m}, 'value'))",
    ],
}
SHARE = {
    "torch": [
        "{n} = {m}[1:]",
        "{n} = {m}[::2]",
        "{n} = {m}.view(-1)",
        "{n} = {m}.t()",
        "{n} = {m}.unsqueeze(0)",
        "{n} = {m}.expand(2, *{m}.shape)",
        "{n} = {m}.detach()",
        "{n} = {m}.data",
        "{n} = {m}.grad",
        "{n} = {m}.clone()",
        "{n} = {m}.numpy()",
        "{n} = {m}.detach().numpy()",
        "{n} = torch.from_numpy({m})",
        "{n} = torch.as_tensor({m})",
        "{n} = {m}.untyped_storage()",
        "{n} = {m}.storage()",
        "{n} = torch.nn.Parameter({m})",
        "{n} = list({m}.parameters())",
        "{n} = next({m}.parameters())",
        "{n} = {m}.state_dict()",
        "{n} = dict({m}.named_parameters())",
        "{n} = {m}.first",
        "{n} = {m}.first.weight",
        "{n} = {m}.seen",
        "{n} = {m}.weight",
        "{n} = {m}.weight.data[0]",
        "{n} = {m}[0]",
        "{n} = copy.deepcopy({m})",
        "{n} = torch.optim.SGD({m}.parameters(), lr=0.1, momentum=0.9)",
        "{n} = torch.optim.Adam({m}.parameters())",
        "{n} = torch.optim.Adam([{m}], lr=0.1)",
        "{n} = torch.optim.lr_scheduler.StepLR({m}, 2)",
        "{n} = {m}.param_groups",
        "{n} = {m}.state",
        "{n} = torch.nn.Sequential({m}, torch.nn.Tanh())",
        "{n} = ({m} * 2).sum()",
        "{n} = {m}(torch.ones(2, 2))",
        "{n} = {m}(torch.ones(2, 2)).detach()",
        "{n} = [{m}, {m}.view(-1)]",
        "{n} = {{'w': {m}}}",
        "{n} = torch.utils.data.TensorDataset({m})",
        "{n} = {m}.tensors[0]",
        "{n} = {m}.imag",
        "{n} = {m}.conj()",
        "{n} = {m}.real",
        "{n} = {m}.diagonal()",
        "{n} = {m}.forward",
        "{n} = {m}.split(1)",
        "{n} = {m}.to_sparse()",
        "{n} = torch.nn.utils.parameters_to_vector({m}.parameters()).detach()",
        "{m}.history.append({n})",
        "{m}.tied = {n}",
        "{m}.second.weight = {m}.first.weight",
        "{n} = {m}.register_forward_hook(lambda *a: None)",
        "{n} = weakref.ref({m})",
        "{n} = functools.partial(torch.add, {m})",
        "def use(): return {m}.sum()\n{n} = use",
    ],
    "pandas": [
        "{n} = {m}['a']",
        "{n} = {m}[['a']]",
        "{n} = {m}.iloc[1:3]",
        "{n} = {m}.loc[:, 'a':'b']",
        "{n} = {m}.T",
        "{n} = {m}.copy()",
        "{n} = {m}.copy(deep=False)",
        "{n} = {m}.values",
        "{n} = {m}['a'].values",
        "{n} = {m}.to_numpy()",
        "{n} = {m}.array",
        "{n} = {m}['c'].cat",
        "{n} = {m}.cat.codes",
        "{n} = {m}['n'].array",
        "{n} = {m}.index",
        "{n} = {m}.columns",
        "{n} = {m}.index.get_level_values(0)",
        "{n} = {m}.index.levels[0]",
        "{n} = {m}.xs(1)",
        "{n} = {m}.loc[1]",
        "{n} = {m}['a']['x']",
        "{n} = {m}.groupby(level=0)",
        "{n} = {m}.groupby('g')['v']",
        "{n} = {m}.groupby('c', observed=True)",
        "{n} = {m}.rolling(2)",
        "{n} = {m}.resample('D')",
        "{n} = {m}.loc",
        "{n} = {m}.dt",
        "{n} = {m}.str",
        "{n} = {m}.dtypes",
        "{n} = {m}.dtype",
        "{n} = {m}.attrs",
        "{n} = pd.DataFrame({m}, copy=False)",
        "{n} = pd.Series({m}, copy=False)",
        "{n} = pd.concat([{m}, {m}], axis=1)",
        "{n} = {m}.reset_index()",
        "{n} = {m}.set_index('a')",
        "{n} = {m}.rename(columns=str.upper)",
        "{n} = {m}.assign(z={m}.iloc[:, 0])",
        "{n} = {m}.astype('category')",
        "{n} = {m}.style",
        "{n} = {m}.items()",
        "{n} = {m}.itertuples()",
        "{n} = {m}.iloc[0]",
        "{n} = {m}['o'][0]",
        "{n} = {m}['o'].values",
        "{n} = dict(list({m}.groupby('g')))",
        "{n} = {m}.view()",
        "{n} = {m}.unstack()",
        "{n} = pd.arrays.NumpyExtensionArray({m})",
        "{n} = {m}._mgr",
    ],
    "numpy": [
        "{n} = {m}['f']",
        "{n} = {m}.f",
        "{n} = {m}[['f', 'g']]",
        "{n} = {m}[0]",
        "{n} = {m}[1:]",
        "{n} = {m}.data",
        "{n} = {m}.mask",
        "{n} = {m}.base",
        "{n} = {m}.flat",
        "{n} = {m}.view(np.recarray)",
        "{n} = {m}.view('u1')",
        "{n} = np.ma.asarray({m})",
        "{n} = np.ma.masked_where({m} == 1, {m}, copy=False)",
        "{n} = {m}.compressed()",
        "{n} = {m}.T",
        "{n} = {m}.ravel()",
        "{n} = {m}.bit_generator",
        "{n} = np.random.Generator({m})",
        "{n} = np.random.Generator({m}.bit_generator)",
        "{n} = np.random.RandomState({m}._bit_generator)",
        "{n} = {m}.spawn(2)",
        "{n} = {m}.random",
        "{n} = {m}.draw",
        "{n} = {m}.bit_generator.seed_seq",
        "{n} = np.vectorize({m}.random)",
        "{n} = {m}.dtype",
        "{n} = {m}.dtype.fields",
        "{n} = {m}.ctypes",
        "{n} = {m}.__array_interface__",
        "{n} = {m}.coef",
        "{n} = {m}[{m} > 1]",
        "{n} = {m}.squeeze()[..., None]",
        "{n} = np.asarray({m})",
        "{n} = {m}.item",
        "{n} = np.array([{m}, None], dtype=object)",
        "{n} = memoryview({m})",
        "{n} = {m}.swapaxes(0, -1)",
        "{n} = np.nditer({m}, op_flags=['readwrite'])",
        "{n} = {m}.newbyteorder() if hasattr({m}, 'newbyteorder') else {m}.view({m}.dtype.newbyteorder())",
    ],
    "python": [
        "{n} = Slots({m}, [{m}])",
        "{n} = Ordered(1, {m})",
        "{n} = {m}.b",
        "{n} = {m}.total",
        "{n} = {m}.rest",
        "{n} = UD(a={m})",
        "{n} = {m}.data",
        "{n} = OD(a={m})",
        "{n} = DD(a={m})",
        "{n} = CM({m})",
        "{n} = {m}.new_child()",
        "{n} = {m}.maps",
        "{n} = DQ([{m}])",
        "{n} = {m}.note",
        "{n} = {m}.made",
        "{n} = {m}.tag",
        "{n} = T({m})",
        "{n} = Watched({m})",
        "{n} = {m}.log",
        "{n} = {m}.parent",
        "{n} = {m}.kids[0]",
        "{n} = weakref.ref({m})",
        "{n} = weakref.proxy({m})",
        "{n} = weakref.WeakMethod({m}.add)",
        "{n} = weakref.WeakValueDictionary(k={m})",
        "{n} = weakref.WeakKeyDictionary({{{m}: 1}})",
        "{n} = weakref.WeakSet([{m}])",
        "{n} = functools.partial({m}, 1)",
        "{n} = functools.partial(list, {m})",
        "{n} = {m}.args",
        "{n} = {m}.keywords",
        "{n} = {m}.add",
        "{n} = {m}.add.__self__",
        "{n} = {m}.dispatch",
        "{n} = {m}.registry",
        "{n} = type({m})",
        "{n} = type({m}).__dict__",
        "{n} = vars({m})",
        "{n} = {m}.__class__.v.fset",
        "{n} = {m}.__closure__",
        "{n} = {m}.__kwdefaults__",
        "{n} = {m}.__defaults__[0]",
        "{n} = {m}.__globals__",
        "{n} = {m}.__code__",
        "{n} = copy.copy({m})",
        "{n} = copy.deepcopy({m})",
        "{n} = {m}.exceptions",
        "{n} = {m}.extra",
        "{n} = {m}.x",
        "{n} = {m}.v",
        "{n} = [*{m}]",
        "{n} = {{**{m}}}",
        "{n} = sorted({m}, key=id)",
        "{n} = itertools.tee({m})",
        "{n} = itertools.islice({m}, 3)",
        "{n} = map({m}.append, [[1], [2]])",
        "{n} = zip({m}, {m})",
        "{n} = {m}.cursor()",
        "{n} = {m}.tzinfo",
        "{n} = {m}.__next__",
        "{n} = operator.itemgetter({m})",
        "{n} = var.set({m})",
        "{n} = types.SimpleNamespace(**{{'a': {m}}})",
        "{n} = lambda: {m}.x",
        "def outer(z={m}):\n    def inner(): return z\n    return inner\n{n} = outer()",
        "class Held:\n    item = {m}\n    def get(self): return Held.item\n{n} = Held()",
        "class Prop:\n    p = property(lambda self: {m})\n{n} = Prop",
        "{n} = iter({m})",
    ],
    "frames": [
        "{n} = {m}['a']",
        "{n} = {m}.get_column('a')",
        "{n} = {m}.lazy()",
        "{n} = {m}.collect()",
        "{n} = {m}.to_arrow()",
        "{n} = {m}.to_pandas()",
        "{n} = {m}.to_numpy()",
        "{n} = {m}.clone()",
        "{n} = {m}.slice(1)",
        "{n} = {m}.column(0)",
        "{n} = {m}.schema",
        "{n} = {m}.chunk(0)",
        "{n} = {m}.buffers()[1]",
        "{n} = {m}.dictionary",
        "{n} = np.frombuffer({m}, dtype='u1')",
        "{n} = pl.from_arrow({m})",
        "{n} = pl.DataFrame({{'z': {m}}})",
        "{n} = pl.Series({m})",
        "{n} = pa.array({m})",
        "{n} = pa.Table.from_pandas({m})",
        "{n} = pa.concat_tables([{m}, {m}])",
        "{n} = pd.Series({m}.data)",
        "{n} = {m}.data",
        "{n} = {m}.indices",
        "{n} = {m}.row",
        "{n} = {m}.tocsr()",
        "{n} = {m}.tocoo(copy=False)",
        "{n} = {m}.T",
        "{n} = {m}.transpose(copy=False)",
        "{n} = {m}[0]",
        "{n} = {m}.copy()",
        "{n} = {m}.getrow(0)",
        "{n} = sp.csr_matrix(({m}.data, {m}.indices, {m}.indptr), copy=False)",
        "{n} = {m}.rows",
        "{n} = {m}.getvalue()",
        "{n} = {m}.filter(pl.col('a') > 1)",
        "{n} = {m}.with_columns(y=pl.lit(1))",
        "{n} = {m}.rechunk()",
    ],
    "widgets": [
        "{n} = {m}.children",
        "{n} = {m}.children[0]",
        "{n} = {m}.layout",
        "{n} = {m}.style",
        "{n} = {m}.comm",
        "{n} = W.HBox([{m}])",
        "{n} = []; {m}.observe({n}.append, 'value')",
        "{n} = W.link(({m}, 'value'), (W.IntText(), 'value'))",
        "{n} = {m}.clicks",
        "{n} = {m}.value",
        "{n} = {m}.options",
        "{n} = {m}.widget",
        "{n} = {m}.keys",
        "{n} = {m}.observe",
    ],
}
CHANGE = {
    "torch": [
        "{n}.add_(1)",
        "{n}[0] = {k}",
        "{n}[0].fill_({k})",
        "{n}[..., -1] = {k}",
        "{n}.data[0] = {k}",
        "{n}.data = torch.ones(2) * {k}",
        "{n}.mul_({n})",
        "{n}.resize_({k})",
        "{n}.zero_()",
        "{n}.t_()",
        "{n}.set_(torch.ones({k}))",
        "{n}.requires_grad_()",
        "{n}.requires_grad_(False)",
        "({n} * {k}).sum().backward()",
        "{n}.sum().backward()",
        "{n}.backward()",
        "{n}.grad = None",
        "{n}.grad.add_({k})",
        "{n}.grad[0] = {k}",
        "{n}.note = [{k}]",
        "{n}.retain_grad()",
        "with torch.no_grad(): {n}[1] = {k}",
        "with torch.no_grad(): {n}.weight[0, 0] = {k}",
        "with torch.no_grad(): {n}.first.weight.mul_({k})",
        "torch.nn.init.constant_({n}.weight, {k})",
        "{n}.weight.data.fill_({k})",
        "{n}.weight = torch.nn.Parameter(torch.ones(1))",
        "{n}.bias = None",
        "{n}[0].weight.data[0] = {k}",
        "{n}(torch.ones(2, 2) * {k})",
        "{n}(torch.ones(2, 2)).sum().backward()",
        "{n}.zero_grad()",
        "{n}.step()",
        "{n}.param_groups[0]['lr'] = 0.{k}",
        "{n}.add_param_group({{'params': [torch.nn.Parameter(torch.ones({k}))]}})",
        "{n}.train(False)",
        "{n}.eval(); {n}.requires_grad_(False)",
        "{n}.double()",
        "{n}.half()",
        "{n}.load_state_dict({{key: torch.zeros_like(one) for key, one in {n}.state_dict().items()}})",
        "{n}.append(torch.nn.Identity())",
        "{n}.register_buffer('late{k}', torch.ones({k}))",
        "{n}.register_parameter('extra', torch.nn.Parameter(torch.ones(1)))",
        "{n}.seen.add_({k})",
        "{n}.apply(lambda one: setattr(one, 'mark', {k}))",
        "{n}.register_hook(lambda g: g * 2)",
        "{n}.share_memory_()",
        "torch.manual_seed({k})",
        "torch.rand(2)",
        "{n} = torch.rand(2)",
        "{n}.manual_seed({k})",
        "torch.rand(2, generator={n})",
        "torch.nn.functional.relu_({n})",
        "torch.set_default_dtype(torch.float32)",
        "np.asarray({n})[0] = {k}",
        "{n}.numpy()[0] = {k}",
        "{n}.copy_(torch.tensor({k}))",
        "{n}.index_fill_(0, torch.tensor([0]), {k})",
        "{n}.clamp_(max={k})",
        "{n}.coalesce().values()[0] = {k}",
        "{n}.values().fill_({k})",
        "{n}.state_dict()[next(iter({n}.state_dict()))].fill_({k})",
        "torch.nn.utils.clip_grad_norm_({n}.parameters(), 0.{k})",
        "for p in {n}.parameters(): p.data.add_({k}); break",
        "trained({n}, torch.optim.SGD({n}.parameters(), lr=0.1), {k})",
    ],
    "pandas": [
        "{n}.iloc[0, 0] = {k}",
        "{n}.iloc[0] = {k}",
        "{n}.iat[0, 0] = {k}",
        "{n}.at[0, 'a'] = {k}",
        "{n}.loc[0, 'new'] = {k}",
        "{n}.loc[:, 'a'] = {k}.5",
        "{n}['a'] += {k}",
        "{n}['new'] = [{k}] * len({n})",
        "{n}['a'].values[0] = {k}",
        "{n}.values[0] = {k}",
        "{n}.to_numpy()[0] = {k}",
        "{n}._values[0] = {k}",
        "{n}.array[0] = {k}",
        "{n}[0] = {k}",
        "{n}[0] = pd.NA",
        "{n}['n'].array[0] = {k}",
        "{n}.array._data[0] = {k}",
        "{n}.array._mask[0] = True",
        "{n}['c'] = {n}['c'].cat.add_categories('z{k}')",
        "{n}['c'].array.codes",
        "{n}.cat.rename_categories(['p{k}', 'q{k}'])",
        "{n}.array._ndarray[0] = 0",
        "{n}.index = pd.Index(range(len({n})), name='i{k}')",
        "{n}.index.name = 'i{k}'",
        "{n}.columns = [f'c{{i}}' for i in range({n}.shape[1])]",
        "{n}.columns.name = 'cols{k}'",
        "{n}.index.names = ['p{k}', 'q']",
        "{n}.name = ['n{k}'][0]",
        "{n}.attrs['k'] = {k}",
        "{n}.attrs['k'].append({k})",
        "{n}.flags.allows_duplicate_labels = False",
        "{n}.insert(0, 'new{k}', {k})",
        "{n}.pop('a')",
        "del {n}['b']",
        "{n}.drop(columns='a', inplace=True)",
        "{n}.rename(columns={{'a': 'A{k}'}}, inplace=True)",
        "{n}.sort_values('a', ascending=False, inplace=True)",
        "{n}.sort_index(inplace=True)",
        "{n}.reset_index(inplace=True)",
        "{n}.set_index('a', inplace=True)",
        "{n}.fillna({k}, inplace=True)",
        "{n}.replace(1, {k}, inplace=True)",
        "{n}.mask({n} > 1, {k}, inplace=True)",
        "{n}.clip(0, {k}, inplace=True)",
        "{n}.update({n} * 2)",
        "{n}.eval('z = a + {k}', inplace=True)",
        "{n}.dropna(inplace=True)",
        "{n}.drop_duplicates(inplace=True)",
        "{n} += {k}",
        "{n}.loc[(1, 'x'), 'a'] = {k}",
        "{n}['o'][0].append({k})",
        "{n}.iloc[0, 0].append({k})",
        "{n}.loc[len({n})] = {k}",
        "{n} = {n}.astype('Int64')",
        "{n}._mgr.blocks[0].values.flat[0] = {k}",
        "{n}._consolidate_inplace()",
        "{n}._item_cache",
        "{n}.obj.iloc[0, 0] = {k}",
        "{n}.note = [{k}]",
        "{n}.describe()",
        "{n}.groupby('g').sum()",
        "{n}.index.values[0] = {k}",
        "{n}.index._values[0] = {k}",
        "{n}.freq = None",
    ],
    "numpy": [
        "{n}['f'] = {k}",
        "{n}['g'][0] = {k}",
        "{n}[0]['f'] = {k}",
        "{n}.f[0] = {k}",
        "{n}[0] = np.ma.masked",
        "{n}.mask[0] = True",
        "{n}.mask = False",
        "{n}.data[1] = {k}",
        "{n}.fill_value = {k}",
        "{n}.soften_mask()",
        "{n}.unshare_mask()",
        "{n}.harden_mask()",
        "{n}[1]['k'] = [{k}]",
        "{n}[0].append({k})",
        "{n}.flat[0] = {k}",
        "{n}[:] = {k}",
        "{n}[::2] = {k}",
        "{n}[...] = {n}[..., ::-1]",
        "{n}.T[0] = {k}",
        "{n}.sort()",
        "{n}.put(0, {k})",
        "{n}.itemset(0, {k}) if hasattr({n}, 'itemset') else {n}.fill({k})",
        "{n}.setfield({k}, 'u1')",
        "{n}.shape = (-1, 1)",
        "{n}.dtype = 'u1'",
        "{n}.strides = (0,)",
        "{n}.dtype.names = ('p', 'q{k}')",
        "{n}.flags.writeable = False",
        "{n}.flags.writeable = True",
        "{n}.random()",
        "{n}.random({k})",
        "{n}.integers({k} + 1)",
        "{n}.standard_normal(3)",
        "{n}.shuffle([1, 2, 3])",
        "{n}.seed({k})",
        "{n}.draw()",
        "{n}.gauss(0, 1)",
        "{n}.normal()",
        "{n}.bytes({k})",
        "{n}.advance({k})",
        "{n}.random_raw({k})",
        "{n}.state = {{**{n}.state}}",
        "{n}.spawn({k})",
        "{n}.set_state({n}.get_state())",
        "{n}.jumped()",
        "{n}.getstate()",
        "{n}.setstate(random.Random({k}).getstate())",
        "np.random.shuffle([1, 2])",
        "np.random.seed({k})",
        "random.random()",
        "{n}.coef[0] = {k}",
        "{n}.flush()",
        "np.add({n}, 1, out={n})",
        "np.multiply({n}, {k}, out={n}, where={n} > 1)",
        "np.fill_diagonal({n}, {k})",
        "np.place({n}, {n} == 1, [{k}])",
        "{n}.real[0] = {k}",
        "{n}.ctypes.data_as(__import__('ctypes').POINTER(__import__('ctypes').c_double))[0] = {k}.5",
    ],
    "python": [
        "{n}.a = [{k}]",
        "{n}.b.append({k})",
        "{n}.total.append({k})",
        "{n}.rest = {k}",
        "{n}.c = [{k}]",
        "{n}.data['z'] = {k}",
        "{n}.data = {{'y': {k}}}",
        "{n}.move_to_end('a')",
        "{n}[{k}]",
        "{n}['new'] = [{k}]",
        "{n}.made.append({k})",
        "{n}.default_factory = dict",
        "{n}.maps[0]['m'] = {k}",
        "{n}.maps.append({{'late': {k}}})",
        "{n}.rotate(1)",
        "{n}.appendleft({k})",
        "{n}.tag.append({k})",
        "{n}['a'] += {k}",
        "{n}.note['n'] = {k}",
        "{n}.x.append({k})",
        "{n}.x = {k}",
        "{n}.add({k})",
        "{n}.v = {k}",
        "{n}.v.append({k})",
        "{n}.log.clear()",
        "{n}.kids.append(Tree({k}))",
        "{n}.kids[0].v = {k}",
        "{n}.parent().v = {k}",
        "{n}.later",
        "{n}.found.append({k})",
        "{n}.set({k})",
        "{n}({k})",
        "{n}({k}, {k})",
        "{n}()",
        "{n}().v = {k}",
        "{n}.n",
        "{n}.keywords['key'] = len",
        "{n}.note = [{k}]",
        "{n}.register(str, lambda x: [{k}])",
        "{n}.__setstate__((print, ({k},), {{}}, None))",
        "{n}.execute('create table t{k} (x)')",
        "{n}.close()",
        "next({n})",
        "next({n}); next({n})",
        "{n}.__closure__[0].cell_contents = [{k}]",
        "{n}.__defaults__ = ([{k}],)",
        "{n}.__kwdefaults__['c'] = {{'k': {k}}}",
        "{n}.__defaults__[0].append({k})",
        "{n}.__name__ = 'renamed{k}'",
        "{n}.__doc__ = 'doc{k}'",
        "{n}.__dict__['d'] = {k}",
        "{n}.__class__ = Node",
        "{n}.__class__ = type('Other{k}', (type({n}),), {{}})",
        "type({n}).extra = [{k}]",
        "type({n}).extra.append({k})",
        "type({n}).v = property(lambda self: {k})",
        "setattr(type({n}), 'm{k}', lambda self: {k})",
        "Watched.v = property(lambda self: self._v, lambda self, new: None)",
        "Watched.added = {k}",
        "Tree.add = lambda self, kid: kid",
        "Text.X.extra.append({k})",
        "Level.HIGH.note = [{k}]",
        "var.set([{k}])",
        "class Watched:\n    def __init__(self, v): self.v = [v]",
        "class Tree(Tree): extra = {k}",
        "del {n}.a",
        "del {n}.x",
        "{n}.update(k=[{k}])",
        "{n} |= {{'o': {k}}}",
        "{n} &= {{1}}",
        "{n}.template = 't{k}'",
        "{n}[0].append({k})",
        "{n}[0][0] = {k}",
        "{n}['me']['k'] = {k}",
        "{n}[:] = {n}[::-1]",
        "{n}.fget",
        "{n} = {n}.setter(lambda self, v: None)",
        "{n}.exceptions[0].args[0].append({k})",
        "{n}[0] = {k}",
        "{n}.release()",
        "{n}.prec = {k}",
        "import sys; sys.modules['__main__'].late = {k}",
        "__import__('gc').collect()",
    ],
    "frames": [
        "{n}[0, 'a'] = {k}",
        "{n}.insert_column(0, pl.Series('z{k}', range(len({n}))))",
        "{n}.replace_column(0, pl.Series('r{k}', range(len({n}))))",
        "{n}.drop_in_place('a')",
        "{n}.extend({n})",
        "{n}.append({n})",
        "{n}.columns = [f'q{{i}}' for i in range({n}.width)]",
        "{n}[0] = {k}",
        "{n}.rename('x{k}')",
        "{n}.scatter(0, {k})",
        "{n}.sort(in_place=True)",
        "{n}.to_numpy(writable=True)[0] = {k}",
        "{n} = {n}.with_columns(k=pl.lit({k}))",
        "{n} = {n}.append_column('y{k}', pa.array(range({n}.num_rows)))",
        "{n} = {n}.replace_schema_metadata({{'k': '{k}'}})",
        "np.frombuffer({n}, dtype='u1')[0] = {k}",
        "{n}.write(b'more{k}')",
        "{n}.data[0] = {k}.5",
        "{n}.indices[0] = 0",
        "{n}.indptr[-1] = 0",
        "{n}[0, 0] = {k}",
        "{n}[1, 2] = {k}",
        "{n}.setdiag({k})",
        "{n} *= {k}",
        "{n}.sum_duplicates()",
        "{n}.sort_indices()",
        "{n}.eliminate_zeros()",
        "{n}.prune()",
        "{n}.resize(5, 5)",
        "{n}.rows[0].append({k})",
        "{n}.has_sorted_indices",
        "{n}.has_canonical_format = False",
        "{n}.note = [{k}]",
    ],
    "widgets": [
        "{n}.value = {k}",
        "{n}.value = 'v{k}'",
        "{n}.set_state({{'value': {k}}})",
        "{n}._handle_msg({{'content': {{'data': {{'method': 'update', 'state': {{'value': {k}}}, 'buffer_paths': []}}}}, 'buffers': []}})",
        "{n}._handle_msg({{'content': {{'data': {{'method': 'custom', 'content': {{'event': 'click'}}}}}}}})",
        "{n}.click()",
        "{n}.max = {k} * 10",
        "{n}.children[0].value = {k}",
        "{n}.children = ()",
        "{n}.layout.width = '{k}px'",
        "{n}.description = 'd{k}'",
        "{n}.close()",
        "{n}.unobserve_all()",
        "{n}.options = ['x', 'y{k}']",
        "{n}.append_stdout('out{k}')",
        "{n}.clicks.append({k})",
    ],
}


def themes(seed: int) -> list[str]:
    """The themes of a program: those of which there is nothing here to import are left to others."""
    return random.Random(f"themes of {seed}").sample(sorted(MAKE), 2)


def pools(seed: int, make: list[str], share: list[str], change: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Four of five items are of the program's themes."""
    chosen = themes(seed)

    def mixed(own: dict, old: list[str]) -> list[str]:
        of_themes = [item for theme in chosen for item in own[theme]]
        return of_themes * max(1, round(4 * len(old) / len(of_themes))) + old

    return mixed(MAKE, make), mixed(SHARE, share), mixed(CHANGE, change)


def unchanging(one, x) -> object:
    """What never changes; ``None`` for the rest."""
    kind = type(x)
    if isinstance(x, zoneinfo.ZoneInfo):
        return repr(x)
    if kind.__module__ == "torch" and kind.__name__ in ("dtype", "device", "Size"):
        return repr(x)
    return None


def of(one, x) -> object:
    """What a program can see of ``x``, whose parts ``one`` tells; ``None`` if nothing special is known of it."""
    kind = type(x)
    root = (kind.__module__ if isinstance(kind.__module__, str) else "").partition(".")[0]
    name = kind.__qualname__
    torch = sys.modules.get("torch")
    if torch is not None:
        told = _of_torch(one, x, name, torch)
        if told is not None:
            return told
    if "ipywidgets" in sys.modules:
        if isinstance(x, sys.modules["ipywidgets"].Widget):
            kept = {k: v for k, v in x.get_state().items() if k not in ("layout", "style")}
            return [name, [[k, one.of(v) if not isinstance(v, bytes) else repr(v)] for k, v in kept.items()]]
    if root == "scipy" and hasattr(x, "tocoo"):
        return [name, repr(x.shape), [[k, one.of(v)] for k, v in vars(x).items()]]
    if root == "polars" and name in ("Expr", "GroupBy"):
        return [name, str(x) if name == "Expr" else one.of(x.df)]
    if root == "pyarrow" and name == "Buffer":
        return [name, bytes(x).hex(), x.is_mutable]
    if root == "pandas" and name == "Styler":
        return [name, one.of(x.data)]
    if root == "pandas" and name in ("ArrowExtensionArray", "IntervalArray", "NumpyExtensionArray", "TimedeltaArray"):
        return [name, str(x.dtype), repr(list(x))]
    if name == "Polynomial":
        return [name, one.of(x.coef), repr(list(x.domain)), repr(list(x.window)), x.symbol]
    if isinstance(x, random.Random) and not isinstance(x, random.SystemRandom):
        return [name, repr(x.getstate()), [[k, one.of(v)] for k, v in vars(x).items()]]
    if isinstance(x, sys.modules["numpy"].random.SeedSequence):
        return [name, repr(x.state)]
    if isinstance(x, sys.modules["numpy"].random.BitGenerator):
        return [name, repr(x.state)]
    if isinstance(x, sys.modules["numpy"].random.Generator):
        return [name, one.of(x.bit_generator)]
    if isinstance(x, (int, str)) and not isinstance(x, enum.Enum) and hasattr(x, "__dict__") and root == "__main__":
        return [
            name,
            repr(str.__str__(x)) if isinstance(x, str) else int(x),
            [[k, one.of(v)] for k, v in vars(x).items()],
        ]
    if isinstance(x, datetime.tzinfo):
        return repr(x)
    if isinstance(x, types.GenericAlias):
        return repr(x)
    return None


def _of_torch(one, x, name, torch) -> object:
    if isinstance(x, torch.Tensor):
        if x.layout is not torch.strided:
            return [name, str(x.layout), repr(x.detach().to_dense().tolist()), bool(x.requires_grad)]
        storage = x.untyped_storage() if hasattr(x, "untyped_storage") else x.storage()
        low, size = storage.data_ptr(), storage.nbytes()
        where = next((i for i, (a, b, _) in enumerate(one.memory) if low < b and a < low + size), None)
        if where is None and size:
            one.memory.append((low, low + size, len(one.memory)))
            where = len(one.memory) - 1
        at = low - one.memory[where][0] if where is not None else 0
        told = [
            name,
            str(x.dtype),
            list(x.shape),
            list(x.stride()),
            x.storage_offset(),
            bool(x.requires_grad),
            bool(x.is_leaf),
        ]
        shown = repr(x.detach().tolist()) if x.numel() < 500 else repr(x.detach().double().sum().item())
        return [
            *told,
            (where, at),
            shown,
            one.of(x.grad) if x.is_leaf else None,
            [[k, one.of(v)] for k, v in vars(x).items()],
            len(x._backward_hooks or ()),
        ]
    if isinstance(x, torch.Generator):
        return [name, repr(x.get_state().tolist())]
    if isinstance(x, torch.nn.Module):
        own = [
            [k, one.of(v)]
            for k, v in vars(x).items()
            if not k.endswith("_hooks") and k not in ("_parameters", "_buffers", "_modules")
        ]
        parts = [[k, one.of(v)] for k, v in (*x._parameters.items(), *x._buffers.items(), *x._modules.items())]
        return [name, parts, own]
    if isinstance(x, torch.optim.Optimizer):
        return [name, one.of(x.param_groups), [[one.of(k), one.of(v)] for k, v in x.state.items()]]
    if name in ("UntypedStorage", "TypedStorage", "_TypedStorage"):
        return [name, repr(list(x))]
    return None
