"""What the walk counts is what the allocators gave: for all sorts of objects, to the byte or the block."""

from __future__ import annotations

import array
import collections
import dataclasses
import decimal
import enum
import gc
import io
import tracemalloc
import types
import weakref
from fractions import Fraction

import numpy as np
import pytest

from larder import _larder, tier

COUNT = 2000


class Plain:
    def __init__(self, i: int) -> None:
        self.a, self.b, self.c = float(i), f"{i}xyz", [i]


class Many:
    def __init__(self, i: int) -> None:
        for k in range(40):
            setattr(self, f"k{k}", float(i + k))


class Slots:
    __slots__ = ("a", "b")

    def __init__(self, i: int) -> None:
        self.a, self.b = float(i), str(i) * 3


class WeakSlots:
    __slots__ = ("__weakref__", "a")

    def __init__(self, i: int) -> None:
        self.a = float(i)


@dataclasses.dataclass
class Data:
    x: float
    y: str


class Colour(enum.IntFlag):
    RED = 1 << 40


class OfDict(dict): ...


class OfList(list): ...


class OfStr(str): ...


class OfInt(int): ...


class OfTuple(tuple): ...


class OfSet(set): ...


class OfDeque(collections.deque): ...


class OfFloat(float): ...


Point = collections.namedtuple("Point", "x y")


def with_more(made):
    made.extra, made.more = 1.25, [1.5]
    return made


def with_dict(i):
    made = Plain(i)
    assert len(made.__dict__) == 3
    return made


def with_names_of_its_own(i):
    made = Plain(i)
    made.__dict__[f"own{i}"] = 1.5
    return made


def without_one(i):
    made = Plain(i)
    del made.b
    return made


def of_the_dead(i):
    """The attributes of an object that is gone."""
    return Plain(i).__dict__


def in_utf8(i):
    import ctypes

    text = f"é{i}" * 7
    ask = ctypes.pythonapi.PyUnicode_AsUTF8
    ask.argtypes, ask.restype = [ctypes.py_object], ctypes.c_void_p
    ask(text)
    return text


def shrunk_deque(i):
    made = collections.deque(range(1000, 1200))
    for _ in range(190):
        made.pop()
    return made


def grown_bytearray(i):
    made = bytearray(50)
    made.extend(bytes(80))
    del made[:7]
    return made


def grown_array(i):
    made = array.array("d", [1.0] * 30)
    for _ in range(5):
        made.append(1.0)
    return made


def grown_list(i):
    made = []
    for k in range(20):
        made.append(float(k))
    return made


def shrunk_dict(i):
    made = {k: float(k) for k in range(50)}
    for k in range(45):
        del made[k]
    return made


def begun(i):
    def steps():
        x = float(i)
        yield x

    made = steps()
    next(made)
    return made


def closure(i):
    x = float(i)
    return lambda: x


def stream(i):
    made = io.BytesIO()
    made.write(b"hello" * 20 * (1 + i % 3))
    return made


ZOO = {
    "float": float,
    "int": lambda i: i + 10**6,
    "large int": lambda i: (1 << 200) + i,
    "complex": lambda i: complex(i, 1),
    "ascii": lambda i: f"abc{i}",
    "latin": lambda i: f"é{i}" * 5,
    "two bytes a letter": lambda i: f"\u4e2d{i}" * 5,
    "four bytes a letter": lambda i: f"\U0001f600{i}" * 5,
    "text with a copy in UTF-8": in_utf8,
    "bytes": lambda i: b"x%d" % i * 7,
    "bytearray": grown_bytearray,
    "array": grown_array,
    "list": grown_list,
    "empty list": lambda i: [],
    "tuple": lambda i: (i + 1000.0, str(i)),
    "dict of texts": lambda i: {f"k{i}_{k}": float(k) for k in range(7)},
    "dict of numbers": lambda i: {i * 1000 + k: float(k) for k in range(12)},
    "large dict": lambda i: {f"k{i}_{k}": None for k in range(300)},
    "dict that was larger": shrunk_dict,
    "empty dict": lambda i: {},
    "set": lambda i: {i * 1000 + k for k in range(30)},
    "small set": lambda i: {i + 1000},
    "frozenset": lambda i: frozenset(range(i * 100, i * 100 + 20)),
    "instance": Plain,
    "instance with its dict": with_dict,
    "instance with names of its own": with_names_of_its_own,
    "instance without one": without_one,
    "instance of many": Many,
    "dict of an instance that is gone": of_the_dead,
    "slots": Slots,
    "slots and weak references": WeakSlots,
    "dataclass": lambda i: Data(float(i), str(i) * 3),
    "namespace": lambda i: types.SimpleNamespace(a=float(i), b=[i]),
    "named tuple": lambda i: Point(float(i), str(i)),
    "on dict": lambda i: OfDict({float(i): str(i)}),
    "on dict, with attributes": lambda i: with_more(OfDict({float(i): str(i)})),
    "on list": lambda i: with_more(OfList([float(i)])),
    "on str": lambda i: OfStr(f"hello{i}"),
    "on str, with attributes": lambda i: with_more(OfStr(f"é{i}" * 9)),
    "on int": lambda i: with_more(OfInt(i + 10**12)),
    "on float": lambda i: with_more(OfFloat(i)),
    "on tuple": lambda i: with_more(OfTuple((float(i),))),
    "on set": lambda i: with_more(OfSet([float(k) for k in range(20)])),
    "on deque": lambda i: with_more(OfDeque([float(i)])),
    "deque": lambda i: collections.deque(float(k) for k in range(100)),
    "deque that was longer": shrunk_deque,
    "ordered dict": lambda i: collections.OrderedDict((float(k), str(i)) for k in range(9)),
    "ordered dict of texts": lambda i: collections.OrderedDict((f"{i}_{k}", float(k)) for k in range(9)),
    "defaultdict": lambda i: collections.defaultdict(list, {f"a{i}": [i]}),
    "counter": lambda i: collections.Counter(f"a{i * k % 13}" for k in range(20)),
    "decimal": lambda i: decimal.Decimal(i + 10**6),
    "fraction": lambda i: Fraction(i + 1, 10**9 + 7),
    "slice": lambda i: slice(i + 1000, None),
    "generator": begun,
    "closure": closure,
    "BytesIO": stream,
    "memoryview": lambda i: memoryview(bytes(100)),
    "exception": lambda i: ValueError(f"x{i}"),
    "small array": lambda i: np.arange(3.0) + i,
    "array of two dimensions": lambda i: np.ones((4, 5)) * i,
    "view": lambda i: (np.arange(40.0) + i)[3:20],
    "array of objects": lambda i: np.array([str(i), float(i)], dtype=object),
    "masked array": lambda i: np.ma.masked_array(np.arange(100.0), mask=np.zeros(100, bool)),
    "NumPy's float": np.float64,
}


@pytest.mark.parametrize("sort", ZOO)
def test_what_is_counted_is_what_the_allocators_gave(sort):
    make = ZOO[sort]
    for i in range(50):
        make(i)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        made = [None] * COUNT
        for i in range(COUNT):
            made[i] = make(i)
        given = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.enable()
    survey = tier.Survey({"made": made})
    row = survey.row("made")
    assert row["bytes"] == pytest.approx(given, rel=0.02), (
        f"{row['bytes'] / COUNT:.1f} of {given / COUNT:.1f} bytes each"
    )


def test_all_of_it_is_known_on_this_build():
    assert _larder.tier_missing() == []
    assert tier.Survey({}).refused is None


def test_generators_do_not_claim_what_is_not_theirs():
    """They have items and no count of them: a list of weak references stands where others have it."""

    async def later():
        pass

    made = begun(1)
    kept = weakref.ref(made)
    waits = later()
    also = weakref.ref(waits)
    row = tier.table(variables={"made": made, "waits": waits})
    assert {entry["name"]: entry["bytes"] < 2000 for entry in row} == {"made": True, "waits": True}
    assert kept() is made and also() is waits
    waits.close()


def test_names_shared_by_a_class_and_interned_texts_belong_to_nobody():
    import sys

    names = [sys.intern(f"a name nobody else has {i}") for i in range(100)]
    assert tier.Survey({"names": names}).row("names")["objects"] == 1
    few, many = [Plain(i) for i in range(10)], [Plain(i) for i in range(1000)]
    few, many = (tier.Survey({"made": made}).row("made")["bytes"] / len(made) for made in (few[1:], many))
    assert few == pytest.approx(many, rel=0.1)
