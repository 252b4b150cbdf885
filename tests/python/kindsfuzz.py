# ruff: noqa: E501
"""Kinds of objects one at a time, for `recoveryfuzz`: each program mixes two of these themes with what all programs have."""

from __future__ import annotations

import datetime
import enum
import random
import sys
import types
import zoneinfo

from kindschanged import CHANGE
from kindsmade import MAKE, SHARE

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
        if isinstance(x, sys.modules["comm"].base_comm.BaseComm):  # whose class is the kernel's
            return ["comm", f"IPY_MODEL_{x.comm_id}", x.target_name]
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
