# ruff: noqa: E501
"""Random notebooks, run in one process and recovered in another; what both see must be the same.

``python recoveryfuzz.py run|back FILE SEED...``: ``run`` executes each seed's cells on a shell with a session shelf and ends
without a shutdown; ``back`` recovers them. Both write a fingerprint of the namespace (structure, values, who is the same
object as whom, which arrays overlap where), run the same probes, which store into everything, and write it again.
"""

from __future__ import annotations

import datetime
import gc
import json
import math
import os
import random
import re
import signal
import sys
import time
import types

import kindsfuzz
import plainshell
import widefuzz

PRELUDE = """
import numpy as np, pandas as pd, collections, array, datetime, functools
class Node:
    made = []
    def __init__(self, value=None): self.value = value; self.links = []
    def link(self, other): self.links.append(other); return self
class Slotted:
    __slots__ = ('a', 'b')
class Sub(Node):
    def size(self): return len(self.links)
class D(dict): pass
class L(list): pass
class A(np.ndarray): pass
class Stateful:
    def __init__(self, data): self.data = data; self.count = 0.5
    def __getstate__(self): return {**self.__dict__, 'data': [self.data], 'twice': self.count * 2}
    def __setstate__(self, state):
        del state['twice']
        self.__dict__.update(state); self.data, = state['data']
class Made:
    def __init__(self, left, right): self.left = left; self.right = right
    def __reduce__(self): return Made, (self.left, self.right), self.__dict__.copy()
class Bunch(dict):
    def __getattr__(self, name):
        try: return self[name]
        except KeyError: raise AttributeError(name) from None
    def __setattr__(self, name, value): self[name] = value
    def __setstate__(self, state): pass
try:
    from sklearn.tree import DecisionTreeClassifier
    from sklearn.preprocessing import StandardScaler
    from sklearn.ensemble import HistGradientBoostingClassifier
    X = np.arange(40.0).reshape(20, 2) % 7; Y = np.arange(20) % 3
except ImportError: pass
try:
    from matplotlib.figure import Figure
    def figure(k):
        one = Figure(); one.subplots().plot([0, 1], [1, k]); return one
except ImportError: pass
Pair = collections.namedtuple('Pair', 'left right')
def fresh(x):
    def add(v):
        nonlocal x
        x = x + v if not isinstance(x, list) else (x.append(v) or x)
        return x
    def get(): return x
    return add, get
"""

NAMES = [f"v{i}" for i in range(9)]
MAKE = [
    "{n} = [1, 2.5, 'a']",
    "{n} = {{'k': [1], 2: 'x'}}",
    "{n} = {{1, 'b', (2, 3)}}",
    "{n} = np.arange({k}.0)",
    "{n} = np.arange({k} * 4, dtype='i4').reshape(4, {k})",
    "{n} = np.asfortranarray(np.ones(({k}, 3)))",
    "{n} = np.zeros(200_000)",
    "{n} = np.array([[1, 'a', None], [[], {{}}, 2.5]], dtype=object)",
    "{n} = np.zeros({k}, dtype=[('f', 'f8'), ('i', 'i2')])",
    "{n} = bytearray(b'x' * {k} * 8)",
    "{n} = array.array('d', [1, 2, 3, 4])",
    "{n} = np.frombuffer(bytearray(8 * {k}))",
    "{n} = pd.DataFrame({{'a': np.arange({k}.0), 'b': np.arange({k}.0) * 2, 's': ['u'] * {k}, 't': pd.Timestamp('2020-01-01')}})",
    "{n} = pd.Series(range({k}), name='z')",
    "{n} = pd.Categorical(['a', 'b', 'a'])",
    "{n} = Node({k})",
    "{n} = Sub('s')",
    "{n} = Slotted(); {n}.a = [{k}]",
    "{n}, {m} = fresh({k})",
    "{n}, {m} = fresh([{k}])",
    "{n} = lambda x=[]: (x.append(1), len(x))",
    "{n} = D(a=[1]); {n}.extra = [2]",
    "{n} = L([1, 2]); {n}.extra = {{}}",
    "{n} = (1, [2], 'c')",
    "{n} = Pair([1], {k})",
    "{n} = np.ma.masked_array([1., 2., 3.], [0, 1, 0])",
    "{n} = np.matrix([[1, 2], [3, 4]])",
    "{n} = collections.defaultdict(list, a=[1])",
    "{n} = collections.deque([1, [2]], maxlen=9)",
    "{n} = {k}",
    "{n} = 'text' * {k}",
    "{n} = open('/dev/null')",
    "{n} = (i for i in [1])",
    "{n} = iter([1, [2], 3])",
    "{n} = datetime.datetime(2020, 1, {k})",
    "{n} = np.random.default_rng({k})",
    "{n} = np.float32({k})",
    "{n} = range({k})",
    "{n} = slice(1, {k})",
    "{n} = np.array(['2020-01-01'], dtype='M8[D]')",
    "{n} = np.arange(6.).view(A)",
    "{n} = type('Made', (Node,), {{'x': [1]}})",
    "{n} = pd.DataFrame({{'o': [[1], {{}}, 'x']}}, index=['p', 'q', 'r'])",
    "{n} = np.arange(100_000.0)",
    "{n} = pd.DataFrame({{'a': np.arange(50_000.0), 'b': np.arange(50_000.0)}})",
    "{n} = np.ones((300, 400), order='F')",
    "{n} = Stateful([{k}])",
    "{n} = Made([{k}], np.arange({k}.0))",
    "{n} = Bunch(a=[{k}], b=np.arange({k}.0))",
    "{n} = np.ma.masked_array(np.arange({k} + 2.0), np.arange({k} + 2) % 2)",
    "{n} = np.zeros(3, dtype=[('f', 'f8'), ('s', 'i4', (2,))])",
    "{n} = DecisionTreeClassifier(random_state={k}).fit(X, Y)",
    "{n} = StandardScaler().fit(X)",
    "{n} = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2, random_state={k}).fit(X, Y)",
    "{n} = figure({k})",
    "{n} = {{f'k{{i}}': i for i in range(100)}}",
    "{n} = [f's{{i}}' for i in range(200)]",
    "{n} = [[i] for i in range(100)]",
    "{n} = np.array([f's{{i}}' for i in range(100)], dtype=object)",
    "{n} = {{f'k{{i}}' for i in range(100)}}",
    "{n} = ValueError([{k}])",
    "{n} = np.random.RandomState({k})",
    "{n} = (np.arange(5000) * {k}).astype('M8[s]')",
    "{n} = pd.DataFrame({{'t': pd.date_range('2020', periods=5000, freq='h'), 'a': np.arange(5000.0)}})",
]
# Each is tried; one that raises (the wrong type) changes nothing more than a failed cell would.
SHARE = [
    "{n} = {m}",
    "{n} = [{m}, {m}]",
    "{n} = {{'m': {m}, 'l': [{m}]}}",
    "{n}.append({m})",
    "{n}['new'] = {m}",
    "{n}.link({m})",
    "{n}.value = {m}",
    "{n}.extra = {m}",
    "{n} = {m}[1:]",
    "{n} = {m}[::2]",
    "{n} = {m}[::-1]",
    "{n} = {m}.T",
    "{n} = {m}.reshape(-1)",
    "{n} = {m}[0]",
    "{n} = {m}['f']",
    "{n} = {m}.view('u1')",
    "{n} = {m}['a']",
    "{n} = {m}.iloc[1:3]",
    "{n} = {m}[['a']]",
    "{n} = {m}['a'].values",
    "{n} = {m}.to_numpy()",
    "{n} = {m}.index",
    "{n} = {m}.set_index('a')",
    "{n} = {m}.copy(deep=False)",
    # Not over an array of objects: a store through it would write into pointers, and no interpreter survives that.
    "assert not getattr(getattr({m}, 'dtype', None), 'hasobject', False); {n} = np.frombuffer({m}, dtype='u1')",
    "{n} = memoryview({m})",
    "{n} = np.asarray({m})",
    "{n} = {m}.view(np.ndarray)",
    "{n} = np.asarray(memoryview({m}))",
    "{n} = {m}.view(np.recarray)",
    "{n} = np.ma.masked_array({m})",
    "{n} = np.matrix({m}, copy=False)",
    "{n} = pd.Series({m})",
    "{n} = pd.DataFrame({m}, copy=False)",
    "{n} = {m}.link",
    "{n} = functools.partial(print, {m})",
    "{n} = lambda: {m}",
    "def f(x=[{m}]): return x\n{n} = f",
    "{n} = {m}.links",
    "{n} = {m}.__dict__",
    "{n} = type({m})",
    "{n} = {m}.made",
    "type({m}).made.append({m})",
    "{n} = {m}.base",
    "{n} = np.lib.stride_tricks.sliding_window_view({m}, 2)",
    "{n} = ({m}, {m})",
    "{n} = {m}.data",
    "{n} = {m}.__closure__[0]",
    "{n} = iter({m})",
    "{n} = {m}.keys()",
    "{n} = np.broadcast_to({m}, (2, *{m}.shape))",
    "{n} = {m}.left",
    "{n} = {m}[1]",
    "{n} = {m}.append",
    "{n} = weird_{k} = {m}",
    "{n} = {m}.real",
    "{n} = {m}.diagonal()",
    "{n} = {m}.mask",
    "{n} = {m}.tree_",
    "{n} = {m}.tree_.value",
    "{n} = {m}.mean_",
    "{n} = {m}.axes[0]",
    "{n} = {m}.get_lines()[0]",
    "{n} = {m}.b",
    "{n} = Made({m}, 1)",
    "{n} = Made({m}, {m})",
    "{n} = Stateful({m})",
    "{n} = Bunch(a={m}, b=[{m}])",
    "{n} = {m}.__getstate__()",
    "{n} = {m}.__reduce__()",
    "{n} = {m}.dtype",
    "{n} = Slotted(); {n}.b = {m}",
    "{n} = type(iter({m}))",
    "{n} = reversed({m})",
    "{n} = {m}.args",
    "{n} = {{f'k{{i}}': {m} for i in range(70)}}",
    "{n} = {m}['t']",
    "{n} = {m}['t'].values",
]
CHANGE = [
    "{n}.append({k})",
    "{n}['k'] = {k}",
    "{n}[0] = {k}",
    "{n}[-1] = {k}",
    "{n}[...] = {k}",
    "{n} += 1",
    "{n}.flags.writeable = False",
    "{n}.iloc[0, 0] = {k}",
    "{n}.loc[0, 'a'] = {k}.5",
    "{n}['a'] = 7.0",
    "{n}.iloc[0] = {k}",
    "{n}({k})",
    "{n}.value = {k}",
    "{n}.a = {k}",
    "{n}.clear()",
    "del {n}",
    "next({n})",
    "{n}.sort()",
    "{n}.random()",
    "{n}.cell_contents = {k}",
    "{n}.add({k})",
    "{n}['f'] = {k}",
    "{n}.made.append({k})",
    "{n}.count = {k}",
    "{n}.insert(0, {k})",
    "{n} = None",
    "{n}[1][0] = {k}",
    "{n}.drop(columns='b', inplace=True)",
    "{n}.shape = -1",
    "{n}.fill({k})",
    "{n}[150_000] = {k}",
    "{n}.rename(columns={{'a': 'A'}}, inplace=True)",
    "{n}.links.append({k})",
    "for i in range(3): {n}.append([i])",
    "{n}.extend([{k}])",
    "{n}.update(z=[{k}])",
    "{n}.sort_values('a', inplace=True)",
    "{n} *= 2",
    "{n}[::1000] = {k}",
    "{n}.iloc[100, 0] = {k}",
    "{n}[1:60_000] += {k}",
    "{n}.flat[77_000] = {k}",
    "{n} = {n} + 1",
    "{n}[2] = {k}; {n}.append({k})",
    "{n}.mask[0] = True",
    "{n}.data[0] = {k}",
    "{n}.data.append({k})",
    "{n}.set_fill_value({k})",
    "{n}[0] = np.ma.masked",
    "{n}.harden_mask()",
    "{n}.tree_.value[0] = {k}",
    "{n}.tree_.threshold[0] = {k}",
    "{n}.value[0] = {k}",
    "{n}.set_params(random_state={k})",
    "{n}.mean_[0] = {k}",
    "{n}.axes[0].set_title('t{k}')",
    "{n}.set_title('u{k}')",
    "{n}.axes[0].plot([1, {k}])",
    "{n}.axes[0].lines[0].set_ydata([1, {k}])",
    "{n}.set_ydata([2, {k}])",
    "{n}.dtype.names = ('x', 'y{k}')",
    "{n}['f'][0] = {k}",
    "{n}.b[0] = {k}",
    "{n}.left.append({k})",
    "{n}.right[0] = {k}",
    "{n}.count += {k}",
    "np.put({n}, 0, {k})",
    "np.copyto({n}, {k})",
    "np.add.at({n}, 0, {k})",
    "assert not {n}.dtype.hasobject; memoryview({n}).cast('B')[0] = {k}",
    "assert not {n}.dtype.hasobject; {n}.byteswap(inplace=True)",
    "{n}.partition(1)",
    "{n}[50] = 'other'",
    "{n}[50] = [{k}]",
    "{n}[50].append({k})",
    "{n}['k50'] = 'other'",
    "{n}['k50'] = {n}.pop('k50')",
    "{n}.discard('k50')",
    "{n}.reverse()",
    "assert not isinstance({n}, set); {n}.pop()",
    "{n}.args[0].append({k})",
    "{n}.args = ({k},)",
    "{n}.__setstate__({{'data': [{k}], 'count': {k}, 'twice': 0}})",
    "{n}.fit(X[{k}:], Y[{k}:])",
    "{n}[3] = np.datetime64({k}, 's')",
    "{n}.iloc[7, 0] = pd.Timestamp('2021-01-0{k}')",
]


WIDE = 1_000_000
"""Programs of seeds from here on have what `widefuzz` has as well."""


KINDS = 2_000_000
"""Programs of seeds from here on have what `kindsfuzz` has instead."""


def pools(seed: int) -> tuple[list[str], list[str], list[str]]:
    """What the program of this seed makes, shares and changes."""
    if seed >= KINDS:
        return kindsfuzz.pools(seed, MAKE, SHARE, CHANGE)
    return widefuzz.pools(MAKE, SHARE, CHANGE) if seed >= WIDE else (MAKE, SHARE, CHANGE)


def cells(seed: int) -> list[str]:
    rng = random.Random(seed)
    make, share, change = pools(seed)
    made = [] if seed < WIDE else [widefuzz.PRELUDE] if seed < KINDS else [kindsfuzz.PRELUDE]
    for i in range(rng.randint(4, 14)):
        pool = make if i < 3 else rng.choice([make, share, share, change, change])
        lines = []
        for _ in range(rng.randint(1, 3)):
            n, m = rng.sample(NAMES, 2) if i > 3 else rng.sample(NAMES[:5], 2)
            lines.append(rng.choice(pool).format(n=n, m=m, k=rng.randint(1, 9)))
        if seed >= WIDE and rng.random() < 0.1:
            lines.insert(0, "%%time")
        made.append("\n".join(lines))
    return made


def probes(seed: int) -> list[str]:
    """What is done to both namespaces after the comparison: stores that show whether sharing is the same."""
    rng = random.Random(~seed)
    change = pools(seed)[2]
    return [rng.choice(change).format(n=n, m=n, k=90 + rng.randint(1, 9)) for n in NAMES for _ in range(3)]


def _flat(values) -> list:
    """The elements of what a block of pandas holds."""
    return values.ravel().tolist() if hasattr(values, "ravel") else list(values)


class Fingerprint:
    """A namespace as text: equal text means that no program could tell the two apart (as far as this looks)."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.keep: list = []
        self.memory: list[tuple[int, int, int]] = []

    def of(self, x, depth=0) -> object:
        import numpy as np
        import pandas as pd

        kind = type(x)
        name = kind.__qualname__
        if x is None or kind in (bool, int, float, complex, str, bytes, range, slice, datetime.datetime):
            return repr(x)
        if isinstance(x, (types.ModuleType, types.BuiltinFunctionType)):
            if isinstance(getattr(x, "__self__", None), (list, dict, set, np.ndarray)):
                return ["bound", x.__name__, self.of(x.__self__)]
            return f"{name} {getattr(x, '__name__', '')}"
        if kind is tuple:
            return ["tuple", *[self.of(i) for i in x]]
        if kind in (np.dtype, type(np.dtype("f8"))) or isinstance(x, (np.dtype, np.generic)):
            return f"{name} {x!r}"
        told = widefuzz.unchanging(self, x) or kindsfuzz.unchanging(self, x)
        if told is not None:
            return told
        if id(x) in self.seen:
            return f"#{self.seen[id(x)]}"
        self.seen[id(x)] = len(self.seen)
        self.keep.append(x)
        told = kindsfuzz.of(self, x) or widefuzz.of(self, x)
        if told is not None:
            return told
        if isinstance(x, type):
            if x.__module__ != "__main__":
                return f"class {x.__module__}.{x.__qualname__}"
            own = {
                k: v
                for k, v in sorted(vars(x).items())
                if k not in ("__dict__", "__weakref__", "__doc__", "__module__")
            }
            own = {k: v for k, v in own.items() if not k.startswith("__") or k in ("__slots__", "__init__")}
            return [
                "class",
                x.__qualname__,
                [b.__name__ for b in x.__bases__],
                {
                    k: self.of(v)
                    for k, v in own.items()
                    if not isinstance(v, (types.MemberDescriptorType, types.GetSetDescriptorType))
                },
            ]
        if x is np.ma.masked:
            return "masked"
        if isinstance(x, np.ndarray):
            low, high = (np.lib.array_utils if hasattr(np.lib, "array_utils") else np).byte_bounds(x)
            where = next((i for i, (a, b, _) in enumerate(self.memory) if low < b and a < high), None)
            if where is None:
                self.memory.append((low, high, len(self.memory)))
                where, at = len(self.memory) - 1, 0
            else:
                at = low - self.memory[where][0]
            data = (
                [self.of(i) for i in np.asarray(x).view(np.ndarray).ravel().tolist()]
                if x.dtype.hasobject
                else np.asarray(x).tobytes().hex()[:2000]
            )
            body = [
                "array",
                name,
                str(x.dtype),
                x.shape,
                # Arrays of subclasses come back contiguous.
                [n for n, k in zip(x.strides, x.shape, strict=True) if k > 1]
                if x.size and kind is np.ndarray
                else None,
                bool(x.flags.writeable),
                (where, at) if x.nbytes else None,
                data,
            ]
            if not x.dtype.hasobject and x.nbytes > 2000:
                import zlib

                body.append(zlib.crc32(np.ascontiguousarray(x).view(np.uint8).reshape(-1)))
            if isinstance(x, np.ma.MaskedArray):
                body.append([np.ma.getmaskarray(x).tolist(), repr(x.fill_value), bool(x.hardmask)])
            return body
        if isinstance(x, (pd.DataFrame, pd.Series, pd.Index, pd.Categorical)):
            if isinstance(x, pd.DataFrame):
                inner = [[self.of(v) for v in x.iloc[:, i].tolist()] for i in range(x.shape[1])]
                labels = list(map(repr, x.columns)), list(map(repr, x.index))
                return [name, list(map(str, x.dtypes)), *labels, inner, *([self.of(x.attrs)] if x.attrs else [])]
            return [
                name,
                str(x.dtype),
                repr(getattr(x, "name", None)),
                [self.of(v) for v in x.tolist()],
                repr(x.index.tolist()) if isinstance(x, pd.Series) else "",
            ]
        if kind.__module__.startswith("pandas") and hasattr(x, "mgr_locs"):
            # A block, which also remembers things in a `_cache`. What frames share inside is copy on write.
            return [name, repr(x.mgr_locs.as_array.tolist()), str(x.dtype), [self.of(v) for v in _flat(x.values)]]
        if kind.__module__.startswith("pandas") and hasattr(x, "blocks") and hasattr(x, "axes"):
            return [name, [self.of(one) for one in x.axes], [self.of(one) for one in x.blocks]]
        if x.__class__.__module__.startswith("matplotlib"):
            return self.drawn(x)
        if name in ("Tree", "TreePredictor", "CyHalfMultinomialLoss", "CyHalfBinomialLoss"):
            made = x.__reduce__()
            return [name, [self.of(part) for part in made[1][1:]], self.of(made[2]) if name == "Tree" else 0]
        if isinstance(x, np.random.RandomState):
            return ["rng", [repr(part) for part in x.get_state()]]
        if isinstance(x, BaseException):
            return [name, self.of(x.args)]
        if isinstance(x, memoryview):
            return ["memoryview", self.of(x.obj)]
        if isinstance(x, bytearray):
            return ["bytearray", x.hex()]
        if isinstance(x, types.FunctionType):
            return [
                "function",
                x.__qualname__,
                x.__code__.co_code.hex(),
                [self.of(c) for c in x.__closure__ or ()],
                self.of(x.__defaults__),
                self.of(dict(x.__dict__)),
                x.__globals__ is sys.modules["__main__"].__dict__,
            ]
        if isinstance(x, types.CellType):
            try:
                return ["cell", self.of(x.cell_contents)]
            except ValueError:
                return ["cell"]
        if isinstance(x, (classmethod, staticmethod)):
            return [name, self.of(x.__func__)]
        if isinstance(x, types.MethodType):
            return ["method", self.of(x.__func__), self.of(x.__self__)]
        if isinstance(x, np.random.Generator):
            return ["rng", repr(x.bit_generator.state)]
        body = [name]
        if isinstance(x, dict):
            body.append([[self.of(k), self.of(v)] for k, v in x.items()])
            body.append(self.of(getattr(x, "default_factory", None)))
        elif isinstance(x, (set, frozenset)):
            body.append(sorted(repr(i) for i in x))
        elif isinstance(x, (list, tuple)) or name in ("deque", "array"):
            body.append([self.of(i) for i in x])
        elif name in ("partial",):
            body.append([self.of(i) for i in (x.func, x.args, x.keywords)])
        elif name.endswith("_iterator"):
            reduced = x.__reduce__()
            body.append([self.of(reduced[1]), (reduced[2] if len(reduced) > 2 else 0) or 0])
        elif not hasattr(x, "__dict__") and not hasattr(kind, "__slots__"):
            body.append(re.sub(r" at 0x[0-9a-f]+", "", repr(x)))
        if hasattr(x, "__dict__"):
            body.append([[self.of(k), self.of(v)] for k, v in x.__dict__.items()])
        for slot in getattr(kind, "__slots__", ()):
            if slot == "__weakref__":
                continue
            body.append([slot, self.of(getattr(x, slot, "<unset>"))])
        return body

    def drawn(self, x) -> object:
        """Of a figure and what it holds: what was set in it, and which figure it is of."""
        name = type(x).__qualname__
        if name == "Figure":
            return [name, [self.of(axes) for axes in x.axes]]
        if hasattr(x, "get_title"):
            lines = [self.of(line) for line in x.lines]
            return [name, self.of(x.figure), x.get_title(), lines, repr(x.dataLim.bounds)]
        if hasattr(x, "get_ydata"):
            return [name, self.of(x.axes), repr(list(x.get_xdata())), repr(list(x.get_ydata()))]
        return name

    @classmethod
    def namespace(cls, ns: dict, names: list[str]) -> dict[str, object]:
        one = cls()

        def told(name: str) -> object:
            try:
                return json.loads(json.dumps(one.of(ns[name]), default=repr))
            except Exception as err:  # a half-made object, on which its own methods fail: they do so in both
                return ["fails", type(ns[name]).__qualname__, type(err).__name__]

        return {name: told(name) for name in sorted(names) if name in ns}


def leave_to_children(rec, seed: int, given: list, lose: bool) -> None:
    """Have some states saved by forked children, which take their time, and most of the others ``given`` to those. With
    ``lose`` some of the children are killed."""
    from larder import recorder

    rng, save, put, hand_over, writing = random.Random(seed), rec.save, rec._put, rec._hand_over, rec._writing
    recorder.HEARD_SECONDS = 5.0
    rec._fork_seconds = 1e-12

    def seldom_here(code: str, count: int, patience: float, bounded: bool = False) -> None:
        save(code, count, rng.choice([0.0, 10.0, 10.0, 10.0]))
        rec._fork_seconds = 1e-12  # a fork is always worth it
        if lose and rec.savers and rng.random() < 0.2:
            os.kill(rng.choice(rec.savers).pid, signal.SIGKILL)

    def slowly(task, child, began):
        if child is not None:
            time.sleep(0.03)
        return put(task, child, began)

    def for_ever(task):
        """What the kernel serialised is left to a child to write."""
        return rng.choice([math.inf, writing(task)])

    def handed_over(look, task, child):
        done = rng.random() < 0.8 and hand_over(look, task, child)
        given.extend([task.seq] if done else [])
        return done

    rec.save, rec._put, rec._hand_over, rec._writing = seldom_here, slowly, handed_over, for_ever


def in_silence(ip, rec, seed: int, program: list[str]) -> int:
    """Run a program, some cells of it as requests that are no cells, whose changes the last state is brought up to: how often."""
    rng, done, up = random.Random(seed), 0, True
    for number, cell in enumerate(program):
        silent = number > 1 and rng.random() < 0.5
        ip.run_cell(cell, silent=silent)
        if silent:
            if rng.random() < 0.8:
                rec.drain()  # nothing is brought up while children save
            alone, versions = not rec.behind(), rec.meta["versions"]
            up = rec.look_again()
            done += up
            assert not alone or (rec.meta["versions"] == versions and rec.ledger.loose() == ([], []))
        else:
            up = True
    if not up:
        ip.run_cell("pass")
    return done


def main(what: str, out: str, seeds: list[int]) -> None:
    import resource

    # A program that would take all there is gets a MemoryError, as any other failed cell.
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, resource.RLIM_INFINITY))
    sys.setrecursionlimit(3000)
    from larder import between, hooks, recovery

    if not os.environ.get("LARDER_FUZZ_LARGE"):
        plainshell.small()
    ip = plainshell.shell()
    ip.showsyntaxerror = lambda *args, **kwargs: None
    found = {}
    for seed in plainshell.notebooks(ip, "fuzz", seeds):
        if what == "run":
            rec, given, plainly = recovery.recorder(), [], None
            if os.environ.get("LARDER_FUZZ_BESIDE") or seed % 4 == 3:
                plainly = rec.save
                leave_to_children(rec, seed, given, lose=seed % 8 == 7)
            if plainly is None and (os.environ.get("LARDER_FUZZ_SILENT") or seed % 4 == 2):
                between.REPLY_SECONDS = math.inf
                brought_up = in_silence(ip, rec, seed, [PRELUDE, *cells(seed)])
            else:
                brought_up = 0
                for cell in [PRELUDE, *cells(seed)]:
                    ip.run_cell(cell)
            if plainly is not None:
                rec.save = plainly
                rec.drain()
                # What was lost with a child is saved again while the kernel is idle, or before its next cell.
                rec.make_up() if seed // 8 % 2 else ip.run_cell("pass")
        else:
            if seed % 2:
                ip.run_cell("pass")  # everything comes after this one, and is part of the state saved after it
            hooks.ahead(None)
        rec = recovery.recorder()
        rec.drain()
        if rec._again is not None:
            ip.run_cell("pass")  # a child made no progress: what it was lost with is saved before the next cell
            rec.drain()
        version = plainshell.last_version(rec)
        row = {
            "unsaved": {n: u["why"] for n, u in version["unsaved"].items()},
            "live": sorted(n for n in ip.user_ns if n in NAMES),
        }
        names = [n for n in version["names"] if n in ip.user_ns] if what == "run" else list(version["names"])
        names += [n for n in version["imports"] if n in NAMES]
        row["before"] = Fingerprint.namespace(ip.user_ns, names)
        # What is not saved can hold on to what is: a view of a bytearray keeps it from growing.
        for name in set(ip.user_ns).intersection(NAMES) - set(names):
            del ip.user_ns[name]
        # What failed cells left behind holds on to arrays, and so keeps bytearrays from growing; it is not saved.
        sys.last_exc = sys.last_value = sys.last_traceback = ip.last_execution_result = None
        gc.collect()
        for cell in probes(seed):
            target = next((n for n in NAMES if n in cell), None)
            if target is None or target in names:
                ip.run_cell(cell)
        row["after"] = Fingerprint.namespace(ip.user_ns, names)
        row["given"] = len(given) if what == "run" else 0
        row["brought up"] = brought_up if what == "run" else 0
        found[seed] = row
    plainshell.end(out, found)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [int(seed) for seed in sys.argv[3:]])
