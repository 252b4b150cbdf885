"""What lives on a shelf, as one table: how each value is made, and how one that came back is compared.

Run as a script it is the other process: ``shelftable.py write|read PATH all|torch`` puts the table on a shelf or reads
it, and prints what went wrong by name, as JSON.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import pathlib
import sys
import traceback
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np

N = 20_000

Make = Callable[[], Any]
Check = Callable[[Any, Any], object]


def equal(got: Any, given: Any) -> None:
    """Same type, same value."""
    assert type(got) is type(given), type(got)
    assert got == given, got


def same_array(got: Any, given: Any) -> None:
    """Same dtype, shape, elements; an ``np.ndarray``."""
    assert isinstance(got, np.ndarray)
    assert (got.dtype, got.shape) == (given.dtype, given.shape), (got.dtype, got.shape)
    np.testing.assert_array_equal(np.asarray(got), np.asarray(given))


NUMBERS = "?bhilqBHILQefdgFDG"


def arrays() -> dict[str, tuple[Make, Check]]:
    """Every dtype, every layout."""
    table: dict[str, Make] = {f"dtype {np.dtype(c).name} {c}": lambda c=c: np.arange(7).astype(c) for c in NUMBERS}
    table |= {f"dtype >{c}": lambda c=c: np.arange(7).astype(f">{c}") for c in ("i2", "i4", "i8", "f4", "f8", "c16")}
    for unit in ("Y", "M", "D", "s", "ms", "us", "ns"):
        table[f"dtype datetime64 {unit}"] = lambda u=unit: np.array(["2026-11-21", "NaT"], dtype=f"M8[{u}]")
        table[f"dtype timedelta64 {unit}"] = lambda u=unit: np.array([-5, 7], dtype=f"m8[{u}]")
    table |= {
        "dtype datetime64 25 s": lambda: np.arange(3).astype("M8[25s]"),
        "dtype str": lambda: np.array(["a", "héllo", "世界", ""]),
        "dtype bytes": lambda: np.array([b"a", b"bc\0d"]),
        "dtype empty str": lambda: np.array(["", ""], dtype="U0"),
        "dtype void": lambda: np.frombuffer(bytes(range(20)), dtype="V5"),
        "dtype structured": lambda: np.array([(1, 2.5), (3, 4.5)], dtype=[("n", "i4"), ("x", "f8")]),
        "dtype structured aligned": lambda: np.ones(4, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        "dtype structured offsets": lambda: np.ones(
            3, dtype={"names": ["b", "a"], "formats": ["i2", "f4"], "offsets": [8, 0], "itemsize": 16}
        ),
        "dtype structured overlapping": lambda: np.full(
            3, 258, dtype={"names": ["whole", "low"], "formats": ["<u2", "u1"], "offsets": [0, 0]}
        ),
        "dtype structured titles": lambda: np.ones(3, dtype=[(("a title", "a"), "f4")]),
        "dtype structured nested": lambda: np.ones(3, dtype=[("a", [("b", "i2"), ("c", "f4", (2, 2))])]),
        "dtype structured object": lambda: np.array([(1, "x"), (2, None)], dtype=[("n", "i4"), ("o", object)]),
        "dtype object": lambda: np.array([1, "a", None, (2, 3)], dtype=object),
        "0-d": lambda: np.array(3.5),
        "0-d structured": lambda: np.array((1, 2.5), dtype=[("n", "i4"), ("x", "f8")]),
        "0-d object": lambda: np.array({"a": 1}, dtype=object),
        "empty": lambda: np.empty((0, 4)),
        "empty middle": lambda: np.empty((3, 0, 4), dtype="i2"),
        "empty object": lambda: np.empty((0, 2), dtype=object),
        "fortran": lambda: np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "strided": lambda: np.arange(20)[::3],
        "reversed": lambda: np.arange(6)[::-1],
        "transposed": lambda: np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
        "broadcast": lambda: np.broadcast_to(np.arange(4), (3, 4)),
        "column": lambda: np.arange(30.0).reshape(10, 3)[:, 1],
        "field": lambda: np.ones(9, dtype=[("n", "i4"), ("x", "f8")])["x"],
        "window": lambda: np.lib.stride_tricks.sliding_window_view(np.arange(9), 3),
        "unaligned": lambda: np.frombuffer(bytes(range(17)), np.uint8)[1:].view("i4"),
        "read-only source": lambda: np.frombuffer(bytes(range(16)), "i4"),
        "32 dimensions": lambda: np.arange(2).reshape((1,) * 31 + (2,)),
        "many pages": lambda: np.arange(300_000.0),
    }
    if hasattr(np.dtypes, "StringDType") if hasattr(np, "dtypes") else False:
        kind = np.dtypes.StringDType
        table["dtype StringDType"] = lambda: np.array(["a", "héllo" * 50, ""], dtype=kind())
        table["dtype StringDType nullable"] = lambda: np.array(["a", None], dtype=kind(na_object=None))
    return {f"array {name}": (make, same_array) for name, make in table.items()}


def atoms() -> dict[str, tuple[Make, Check]]:
    """Python's own values."""
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    values: dict[str, Any] = {
        "None": None,
        "True": True,
        "int": -(2**200),
        "long int": 3**200_000,
        "float": float("inf"),
        "complex": 1 - 2j,
        "str": "grün 世界 \0",
        "surrogate": "\ud800",
        "long str": "x" * 50_000,
        "bytes": b"\0\1",
        "long bytes": b"\0" * 40_000,
        "bytearray": bytearray(b"xy"),
        "Ellipsis": ...,
        "date": datetime.date(2026, 11, 21),
        "time": datetime.time(7, 50, tzinfo=datetime.UTC),
        "datetime": datetime.datetime(2026, 11, 21, 7, 50, 1, 5),
        "datetime UTC": datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC),
        "datetime zone": datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=berlin),
        "timedelta": datetime.timedelta(-1, 5, 7),
        "timezone": datetime.timezone(datetime.timedelta(hours=5, minutes=45), "Kathmandu"),
        "ZoneInfo": berlin,
        "Decimal": decimal.Decimal("-1.2300"),
        "Fraction": fractions.Fraction(-22, 7),
        "UUID": uuid.UUID(int=2**127 + 5),
        "Path": pathlib.Path("/tmp/ä"),
        "PurePath": pathlib.PurePosixPath("a/b"),
        "range": range(3, 30, 4),
        "slice": slice(1, None, 2),
        "list": [1, [2, [3]], "x"],
        "tuple": (1, (2, ())),
        "set": {1, "a", (2, 3)},
        "frozenset": frozenset({1, 2}),
        "dict": {"a": 1, 2: None, (3, 4): [5]},
        "OrderedDict": collections.OrderedDict(b=1, a=2),
        "defaultdict": collections.defaultdict(list, a=[1]),
        "Counter": collections.Counter("hello"),
        "deque": collections.deque([1, 2], maxlen=5),
        "float64": np.float64(2.5),
        "datetime64": np.datetime64("2026-11-21T07:50", "m"),
        "structured scalar": np.ones(1, dtype=[("n", "i4")])[0],
        "dtype": np.dtype([("a", "i4")]),
        "dict of long buffers": {"a": b"\1" * N, "b": bytearray(b"\2" * N)},
        "builtin function": len,
        "type": dict,
        "module function": json.dumps,
        "ufunc": np.sin,
    }
    table: dict[str, tuple[Make, Check]] = {name: ((lambda v=v: v), equal) for name, v in values.items()}
    table["nan"] = (lambda: float("nan")), lambda got, _: type(got) is float and equal(got != got, True)
    table["minus zero"] = (lambda: -0.0), lambda got, given: equal(str(got), str(given))
    table["shared parts"] = shared, lambda got, _: equal((got["a"] is got["b"], got["a"]), (True, [1, 2]))
    table["cycle"] = cycle, lambda got, _: equal((got[0] is got, got[1]["up"] is got), (True, True))
    table["cycle through an object"] = cycle_of_objects, lambda got, _: equal(got.other.other is got, True)
    table["shared array"] = shared_array, shared_array_is_shared
    table["module"] = (lambda: json), lambda got, _: equal(got is json, True)
    return table


def shared() -> dict:
    part = [1, 2]
    return {"a": part, "b": part}


def cycle() -> list:
    value: list = []
    value += [value, {"up": value}]
    return value


def cycle_of_objects() -> Any:
    from types import SimpleNamespace

    one, two = SimpleNamespace(), SimpleNamespace()
    one.other, two.other = two, one
    return one


def shared_array() -> list:
    array = np.arange(float(N))
    return [array, {"again": array}]


def shared_array_is_shared(got: list, given: list) -> None:
    assert got[0] is got[1]["again"]
    same_array(got[0], given[0])


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    tags: list = dataclasses.field(default_factory=list)


class Slots:
    __slots__ = ("a", "b")

    def __init__(self, a, b):
        self.a, self.b = a, b

    def __eq__(self, other):
        return (self.a, self.b) == (other.a, other.b)

    __hash__ = None


Pair = collections.namedtuple("Pair", "a b")


class Marked(np.ndarray):
    """A subclass of ndarray with an attribute."""

    def __reduce__(self):
        rebuild, args, state = super().__reduce__()
        return rebuild, args, (*state, self.mark)

    def __setstate__(self, state):
        self.mark = state[-1]
        super().__setstate__(state[:-1])


def marked() -> Marked:
    value = np.arange(5.0).view(Marked)
    value.mark = "here"
    return value


def classes() -> dict[str, tuple[Make, Check]]:
    """Instances of classes that are in this module, and what a cell defines."""
    table: dict[str, tuple[Make, Check]] = {
        "enum": ((lambda: Colour.RED), lambda got, _: equal((got.name, got.value), ("RED", 1))),
        "dataclass": ((lambda: Point(3, ["t"])), lambda got, _: equal((got.x, got.tags), (3, ["t"]))),
        "slots": ((lambda: Slots(1, [2])), lambda got, _: equal((got.a, got.b), (1, [2]))),
        "namedtuple": ((lambda: Pair(1, [2])), lambda got, _: equal((got.a, got.b), (1, [2]))),
        "ndarray subclass": (marked, lambda got, _: equal((got.mark, list(got)), ("here", [0, 1, 2, 3, 4]))),
        "masked array": (
            lambda: np.ma.masked_array(np.arange(N), mask=np.arange(N) % 2, fill_value=7),
            lambda got, given: equal(
                (type(got), got.fill_value, got.sum(), int(got.mask.sum())), (type(given), 7, given.sum(), N // 2)
            ),
        ),
        "recarray": (
            lambda: np.rec.array([(1, 2.0)] * 5, names="a,b"),
            lambda got, given: equal((type(got), got.b.sum()), (type(given), 10.0)),
        ),
        "matrix": (
            lambda: np.asmatrix(np.eye(3)),
            lambda got, given: equal((type(got), got.sum()), (type(given), 3.0)),
        ),
    }
    for name, (source, check) in CELLS.items():
        table[f"cell {name}"] = (lambda source=source: cell(source)), check
    return table


def cell(source: str) -> Any:
    """What the name ``it`` is after ``source`` ran as a cell does, in ``__main__``; its names are gone afterwards."""
    space = sys.modules["__main__"].__dict__
    before = set(space)
    exec(source, space)
    value = space["it"]
    # The functions need their globals until they are pickled: another dict cannot stand for __main__.
    for name in set(space) - before - {"__builtins__"} - set(KEPT):
        del space[name]
    return value


KEPT = ("twice", "FACTOR", "Base", "Model")

CELLS: dict[str, tuple[str, Check]] = {
    "function": ("def it(x, y=2, *, z=3): return x * y + z", lambda got, _: equal((got(1), got(1, 1, z=1)), (5, 2))),
    "lambda": ("it = lambda x: x + 1", lambda got, _: equal(got(1), 2)),
    "closure": (
        "def make():\n n = 0\n def it():\n  nonlocal n\n  n += 1\n  return n\n return it\nit = make(); it()",
        lambda got, _: equal((got(), got()), (2, 3)),
    ),
    "function that calls another": (
        "FACTOR = 2\ndef twice(x): return FACTOR * x\ndef it(x): return twice(x) + 1",
        lambda got, _: equal(got(4), 9),
    ),
    "generator function": ("def it(n):\n yield from range(n)", lambda got, _: equal(list(got(3)), [0, 1, 2])),
    "async function": (
        "async def it(): return 5",
        lambda got, _: equal(__import__("asyncio").run(got()), 5),
    ),
    "recursive function": (
        "def make():\n def it(n): return 1 if n < 2 else n * it(n - 1)\n return it\nit = make()",
        lambda got, _: equal(got(5), 120),
    ),
    "class": ("class it:\n x = 1\n def get(self): return self.x", lambda got, _: equal(got().get(), 1)),
    "instance": (
        "class Base:\n def __init__(self, n): self.n = n\n"
        "class Model(Base):\n def go(self): return super().__repr__() and self.n * 2\nit = Model(21)",
        lambda got, _: equal(got.go(), 42),
    ),
    "dataclass": (
        "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass P:\n x: int = 1\nit = P(5)",
        lambda got, _: equal((got.x, got == type(got)(5)), (5, True)),
    ),
    "enum": ("import enum\nclass E(enum.Enum):\n A = 1\nit = [E.A, E.A]", lambda got, _: equal(got[0] is got[1], True)),
    "partial": (
        "import functools\nit = functools.partial(lambda a, b: a - b, b=1)",
        lambda got, _: equal(got(3), 2),
    ),
    "bound method": (
        "class Q:\n def __init__(self): self.n = 7\n def get(self): return self.n\nit = Q().get",
        lambda got, _: equal(got(), 7),
    ),
    "property and static": (
        "class R:\n @property\n def p(self): return 1\n @staticmethod\n def s(): return 2\n"
        " @classmethod\n def c(cls): return cls.__name__\nit = R()",
        lambda got, _: equal((got.p, got.s(), got.c()), (1, 2, "R")),
    ),
    "exception": (
        "class Oops(ValueError): pass\nit = Oops('no', 5)",
        lambda got, _: equal((type(got).__name__, isinstance(got, ValueError), got.args), ("Oops", True, ("no", 5))),
    ),
}


def frames() -> dict[str, tuple[Make, Check]]:
    """pandas, polars, pyarrow, scipy.sparse."""
    import pandas as pd
    import polars as pl
    import polars.testing
    import pyarrow as pa
    import scipy.sparse

    text = [f"row {i % 97}" for i in range(N)]
    stamps = pd.date_range("2026-01-01", periods=N, freq="min", tz="Europe/Berlin")
    columns = {
        "numbers": lambda: {"a": np.arange(N), "b": np.linspace(0, 1, N), "c": np.arange(N) % 2 == 0},
        "text": lambda: {"s": text},
        "objects": lambda: {"o": [None, [1], {"a": 2}]},
        "categories": lambda: {"c": pd.Categorical(text)},
        "times": lambda: {"t": stamps, "d": stamps - stamps[0], "p": stamps.tz_localize(None).to_period("h")},
        "nullable": lambda: {
            "i": pd.array([1, None] * (N // 2), dtype="Int64"),
            "b": pd.array([True, None] * (N // 2)),
        },
        "arrow": lambda: {"n": pd.array([1, None] * (N // 2), dtype="int64[pyarrow]")},
        "sparse": lambda: {"z": pd.arrays.SparseArray([0.0] * (N - 1) + [1.0])},
        "intervals": lambda: {"v": pd.interval_range(0, N)},
        "nothing": lambda: {},
    }
    table: dict[str, tuple[Make, Check]] = {
        f"pandas {name}": ((lambda make=make: pd.DataFrame(make())), pd.testing.assert_frame_equal)
        for name, make in columns.items()
    }

    def with_indices() -> pd.DataFrame:
        rows = pd.MultiIndex.from_product([range(N // 100), range(100)], names=["a", "b"])
        frame = pd.DataFrame(
            np.ones((len(rows), 2)), index=rows, columns=pd.MultiIndex.from_tuples([("x", 1), ("x", 2)])
        )
        frame.attrs["source"] = "test"
        return frame

    table["pandas multi-index"] = with_indices, pd.testing.assert_frame_equal
    table["pandas view"] = (lambda: pd.DataFrame({"a": np.arange(N)})[5:500:3]), pd.testing.assert_frame_equal
    table["pandas Series"] = (lambda: pd.Series(text, index=stamps, name="s")), pd.testing.assert_series_equal
    table["pandas Index"] = (lambda: pd.Index(text)), pd.testing.assert_index_equal
    table["pandas DatetimeIndex"] = (lambda: stamps), pd.testing.assert_index_equal
    table["pandas Timestamp"] = (lambda: stamps[5]), equal
    table["pandas NA"] = (
        (lambda: [pd.NA, pd.NaT]),
        lambda got, _: equal((got[0] is pd.NA, got[1] is pd.NaT), (True, True)),
    )

    poly = {
        "numbers": lambda: {"a": np.arange(N), "b": np.linspace(0, 1, N)},
        "text": lambda: {"s": text, "b": [t.encode() for t in text]},
        "nested": lambda: {
            "l": [[1, None], []],
            "s": [{"x": 1}, {"x": None}],
            "a": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
        },
        "categories": lambda: {
            "c": pl.Series(text, dtype=pl.Categorical),
            "e": pl.Series(["a", "b"] * (N // 2), dtype=pl.Enum(["b", "a"])),
        },
        "times": lambda: {
            "t": pl.Series([datetime.datetime(2026, 1, 1)], dtype=pl.Datetime("ms", "Europe/Berlin")),
            "d": [datetime.timedelta(5)],
            "h": [datetime.time(5)],
        },
        "decimals": lambda: {"d": [decimal.Decimal("1.25"), None], "n": [None, None]},
        "nothing": lambda: {},
    }
    for name, make in poly.items():
        table[f"polars {name}"] = (lambda make=make: pl.DataFrame(make())), pl.testing.assert_frame_equal
    table["polars objects"] = (
        (lambda: pl.DataFrame({"o": pl.Series([{"a"}, None], dtype=pl.Object)})),
        lambda got, _: equal(got["o"].to_list(), [{"a"}, None]),
    )
    table["polars chunks"] = (
        (lambda: pl.concat([pl.DataFrame({"a": np.arange(N)})] * 2, rechunk=False)),
        pl.testing.assert_frame_equal,
    )
    table["polars slice"] = (
        (lambda: pl.DataFrame({"a": np.arange(N), "s": text})[7:9_000]),
        pl.testing.assert_frame_equal,
    )
    table["polars Series"] = (lambda: pl.Series("q", text)), pl.testing.assert_series_equal
    table["polars LazyFrame"] = (
        (lambda: pl.LazyFrame({"a": np.arange(N)}).filter(pl.col("a") < 5)),
        lambda got, given: polars.testing.assert_frame_equal(got.collect(), given.collect()),
    )
    table["polars expression"] = (lambda: pl.col("a") + 1), lambda got, given: equal(got.meta.eq(given), True)

    def table_equal(got: Any, given: Any) -> None:
        assert type(got) is type(given) and got.equals(given)

    numbers = pa.array(np.arange(N))
    arrow = {
        "Table": lambda: pa.table({"n": numbers, "s": text, "l": [[1, None]] * N}, metadata={"k": "v"}),
        "Table of no columns": lambda: pa.table({}),
        "RecordBatch": lambda: pa.record_batch({"n": numbers}),
        "Array": lambda: pa.array([1, None, 3]),
        "slice": lambda: numbers[5:9_000],
        "strings": lambda: pa.array(text),
        "dictionary": lambda: pa.array(text).dictionary_encode(),
        "ChunkedArray": lambda: pa.chunked_array([numbers, numbers]),
        "struct": lambda: pa.array([{"a": 1, "b": None}]),
        "Buffer": lambda: pa.py_buffer(b"\5" * N),
        "Schema": lambda: pa.schema({"a": pa.int8()}),
        "scalar": lambda: pa.scalar(5, pa.int16()),
    }
    for name, make in arrow.items():
        table[f"pyarrow {name}"] = make, table_equal

    def same_sparse(got: Any, given: Any) -> None:
        assert type(got) is type(given) and got.dtype == given.dtype and got.shape == given.shape
        assert (got.toarray() == given.toarray()).all()

    for name in ("csr", "csc", "coo", "bsr", "dia", "dok", "lil"):
        for kind in ("array", "matrix"):
            make = getattr(scipy.sparse, f"{name}_{kind}")
            table[f"scipy {name}_{kind}"] = (lambda make=make: make(np.eye(150, 100) * 2.5)), same_sparse
    return table


def tensors() -> dict[str, tuple[Make, Check]]:
    """torch, where it is installed."""
    import torch

    def same(got: Any, given: Any) -> None:
        assert type(got) is type(given) and got.dtype == given.dtype and got.shape == given.shape
        assert got.requires_grad == given.requires_grad
        assert torch.equal(got.detach().contiguous(), given.detach().contiguous())

    names = "float64 float32 float16 bfloat16 complex128 complex64 int64 int32 int16 int8 uint8 bool".split()
    table: dict[str, tuple[Make, Check]] = {
        f"tensor {name}": ((lambda name=name: torch.arange(7).to(getattr(torch, name))), same) for name in names
    }
    torch.manual_seed(0)
    linear = torch.nn.Linear(80, 60)
    base = torch.arange(float(N))

    def same_model(got: Any, given: Any) -> None:
        for mine, there in zip(got.parameters(), given.parameters(), strict=True):
            same(mine.data, there.data)
            assert mine.requires_grad

    def views_share(got: Any, _: Any) -> None:
        got["view"][0] = -5
        assert got["base"][10] == -5 and got["view"].stride() == (2,) and len(got["base"]) == N

    def tied(got: Any, _: Any) -> None:
        assert got[0].weight.data_ptr() == got[1].weight.data_ptr()

    def make_tied() -> Any:
        one, two = torch.nn.Linear(90, 90), torch.nn.Linear(90, 90)
        two.weight = one.weight
        return torch.nn.Sequential(one, two)

    table |= {
        "tensor 0-d": ((lambda: torch.tensor(2.5)), same),
        "tensor empty": ((lambda: torch.empty((3, 0))), same),
        "tensor strided": ((lambda: base[::3]), same),
        "tensor transposed": ((lambda: base.reshape(100, 200).T), same),
        "tensor expanded": ((lambda: torch.arange(3).expand(4, 3)), same),
        "tensor conjugate": ((lambda: torch.tensor([1 + 2j]).conj()), same),
        "tensor that requires grad": ((lambda: torch.ones(5, requires_grad=True)), same),
        "tensor sparse": (
            (lambda: torch.eye(5).to_sparse()),
            lambda got, given: equal(torch.equal(got.to_dense(), given.to_dense()), True),
        ),
        "tensor Parameter": ((lambda: torch.nn.Parameter(torch.ones(100, 100))), same),
        "tensor in a list": (
            (lambda: [base, base[5]]),
            lambda got, given: [same(*p) for p in zip(got, given, strict=True)],
        ),
        "tensor views in a dict": (
            (lambda: {"base": base.clone(), "view": None}),
            lambda got, given: same(got["base"], base),
        ),
        "tensor views share": ((lambda: (lambda b: {"base": b, "view": b[10::2]})(base.clone())), views_share),
        "tensor state_dict": (
            (lambda: linear.state_dict()),
            lambda got, given: [same(got[name], given[name]) for name in given],
        ),
        "tensor model": ((lambda: linear), same_model),
        "tensor tied weights": (make_tied, tied),
        "tensor Size": ((lambda: torch.Size([2, 3])), equal),
        "tensor dtype": ((lambda: torch.float16), lambda got, given: equal(got is given, True)),
        "tensor optimiser": (
            (lambda: torch.optim.Adam(linear.parameters(), lr=0.5).state_dict()),
            equal,
        ),
    }
    return table


def table(which: str) -> dict[str, tuple[Make, Check]]:
    """Name to (make, check)."""
    return tensors() if which == "torch" else arrays() | atoms() | classes() | frames()


def main(what: str, path: str, which: str) -> None:
    """Puts the table on a shelf, or reads and compares it; prints ``{name: what went wrong or null}``."""
    import larder

    said: dict[str, str | None] = {}
    with larder.open(path, "w" if what == "write" else "r+") as shelf, shelf.transaction():
        for name, (make, check) in table(which).items():
            try:
                if what == "write":
                    shelf[name] = make()
                elif name.startswith("cell "):
                    check(shelf[name], None)
                else:
                    check(shelf[name], make())
                said[name] = None
            except Exception:
                said[name] = traceback.format_exc()
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
