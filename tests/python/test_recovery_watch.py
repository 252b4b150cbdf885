"""Whatever changes below a variable changes what a walk says of it, and nothing else does."""

import collections
import functools
import gc
import os

import numpy as np
import pandas as pd
import pytest

from larder import _larder, watch


class Plain:
    shared = {}  # noqa: RUF012

    def __init__(self):
        self.part = [1, {"k": (2, [3])}]

    def method(self, x=[0]):  # noqa: B006
        return self.part, x


class Dict(dict):
    pass


Pair = collections.namedtuple("Pair", "left right")


def closure():
    n = [0]

    def up():
        n[0] += 1
        return n

    return up


def frame():
    return pd.DataFrame({"a": np.arange(3.0), "s": ["x", "y", "z"], "c": pd.Categorical(["u", "v", "u"])})


def replaced(d, key, value):
    d[key] = value


CASES = {
    "list": (lambda: [1, "a", [2]], lambda v: v[2].append(3)),
    "list item replaced by an equal one": (lambda: [1.5, 2.5], lambda v: replaced(v, 0, 3.5)),
    "tuple": (lambda: (1, [2], (3, [4])), lambda v: v[2][1].append(5)),
    "dict value": (lambda: {"a": 1, "b": [2]}, lambda v: replaced(v, "a", 7)),
    "dict order": (lambda: {"a": 1, "b": 2}, lambda v: replaced(v, "a", v.pop("a"))),
    "set": (lambda: {1, 2}, lambda v: v.add(9)),
    "bytearray": (lambda: bytearray(b"abc"), lambda v: replaced(v, 1, 0)),
    "long bytes in a list": (lambda: [b"x" * 10_000], lambda v: replaced(v, 0, b"x" * 9_999 + b"y")),
    "array element": (lambda: np.arange(100_000), lambda v: replaced(v, 77_777, -1)),
    "array through a view": (lambda: (lambda a: [a, a[::2]])(np.arange(9)), lambda v: replaced(v[1], 1, -1)),
    "array flags": (lambda: np.arange(3), lambda v: setattr(v.flags, "writeable", False)),
    "array of objects": (lambda: np.array([[1], None], dtype=object), lambda v: v[0].append(2)),
    "array over a bytearray": (lambda: np.frombuffer(bytearray(16)), lambda v: replaced(v, 1, 2.0)),
    "frame value": (frame, lambda v: v.iloc.__setitem__((1, 0), 9.0)),
    "frame string": (frame, lambda v: v.iloc.__setitem__((1, 1), "other")),
    "frame column": (frame, lambda v: v.__setitem__("new", 1)),
    "frame label": (frame, lambda v: setattr(v, "columns", ["A", "s", "c"])),
    "frame index": (frame, lambda v: setattr(v, "index", [7, 8, 9])),
    "frame attrs": (frame, lambda v: v.attrs.update(k=1)),
    "period": (
        lambda: pd.DataFrame({"p": pd.period_range("2020-01", periods=3, freq="M")}),
        lambda v: v.iloc.__setitem__((1, 0), pd.Period("2030-01", "M")),
    ),
    "period index": (
        lambda: pd.Series([1, 2], index=pd.period_range("2020-01", periods=2, freq="M")),
        lambda v: setattr(v, "index", pd.period_range("2021-01", periods=2, freq="M")),
    ),
    "interval": (
        lambda: pd.Series(pd.interval_range(0, 3)),
        lambda v: v.iloc.__setitem__(1, pd.Interval(7, 8)),
    ),
    "interval index's name": (
        lambda: pd.Series([1, 2], index=pd.interval_range(0, 2)),
        lambda v: setattr(v.index, "name", "n"),
    ),
    "series name": (lambda: pd.Series([1, 2]), lambda v: setattr(v, "name", "n")),
    "instance": (Plain, lambda v: v.part[1]["k"][1].append(4)),
    "instance attribute": (Plain, lambda v: setattr(v, "new", 1)),
    "dict subclass": (lambda: Dict(a=[1]), lambda v: setattr(v, "extra", 1)),
    "named tuple": (lambda: Pair([1], 2), lambda v: v.left.append(2)),
    "closure": (closure, lambda v: v()),
    "default": (lambda: Plain().method.__func__.__defaults__, lambda v: v[0].append(1)),
    "function attribute": (closure, lambda v: setattr(v, "mark", 1)),
    "partial": (lambda: functools.partial(print, [1]), lambda v: v.args[0].append(2)),
    "deque": (lambda: collections.deque([1, [2]]), lambda v: v.append(3)),
    "deque rotated": (lambda: collections.deque([1, 2]), lambda v: v.rotate(1)),
    "defaultdict": (lambda: collections.defaultdict(list), lambda v: v["x"]),
    "ordered": (lambda: collections.OrderedDict(a=1, b=2), lambda v: v.move_to_end("a")),
    "counter": (lambda: collections.Counter("aab"), lambda v: v.update("b")),
    "generator of numbers": (lambda: np.random.default_rng(1), lambda v: v.random()),
    "spawned": (lambda: np.random.default_rng(1), lambda v: v.spawn(1)),
}


def walk(walker, value, hold=True):
    walker.begin()
    return walker.walk(value, hold)


@pytest.mark.parametrize("case", CASES)
def test_a_change_shows_and_no_change_does_not(case):
    make, change = CASES[case]
    walker, value = _larder.Walker(watch.classify), make()
    before = walk(walker, value)
    assert not isinstance(before, str), f"nothing can be said: {before}"
    gc.collect()
    assert walk(walker, value, False).digest == before.digest and before.alive()
    # What another variable asked about before does not show.
    walker.begin()
    walker.walk([1, "a", {2.5: None}], False)
    assert walker.walk(value, False).digest == before.digest
    change(value)
    assert walk(walker, value, False).digest != before.digest


UNKNOWN = [iter([1]), (i for i in [1]), np.ma.array([1.0]), np.zeros(2, "f8,i4"), object()]


@pytest.mark.parametrize("value", UNKNOWN, ids=lambda value: type(value).__name__)
def test_of_what_no_rule_knows_nothing_is_said(value):
    assert isinstance(_larder.Walker(watch.classify).walk([value], True), str)


def test_an_object_at_the_address_of_another_is_not_taken_for_it():
    """Immutable objects are held, so that their addresses stay theirs."""
    walker = _larder.Walker(watch.classify)
    value = [float(i) + 0.5 for i in range(50)]
    for turn in range(200):
        before = walk(walker, value)
        for i in range(50):
            value[i] = float(turn * 100 + i) + 0.25
        assert walk(walker, value, False).digest != before.digest


def test_what_can_change_is_not_kept_alive():
    import weakref

    walker, part = _larder.Walker(watch.classify), Plain()
    gone = weakref.ref(part)
    array = weakref.ref(part.__dict__.setdefault("a", np.zeros(10)))
    found = walk(walker, {"x": [part]})
    del part
    assert gone() is None and array() is None and found.digest


def test_nested_tuples_are_walked_once():
    value = ()
    for _ in range(200):
        value = (value, value)
    assert walk(_larder.Walker(watch.classify), value).digest


def test_stores_of_every_sort_into_watched_memory_show(request):
    try:
        _larder.pages_on(1 << 16)
    except RuntimeError as err:
        pytest.skip(str(err))
    walker, a = _larder.Walker(watch.classify), np.zeros(1 << 20)
    low = a.__array_interface__["data"][0]
    zeros = os.open("/dev/zero", os.O_RDONLY)
    request.addfinalizer(lambda: os.close(zeros))

    def look():
        _larder.pages_begin()
        return walk(walker, a).digest

    look()
    assert _larder.pages_place(low, low + a.nbytes) is not None
    stores = [
        lambda: replaced(a, 5, 1.0),
        lambda: np.multiply(a, 2, out=a),
        lambda: memoryview(a).cast("B").__setitem__(9_000, 3),
        lambda: np.random.default_rng(0).random(out=a),
        lambda: os.preadv(zeros, [memoryview(a).cast("B")[4096:8192]], 0),
        lambda: a[::1000].sort(),
        lambda: a.fill(3.0),
    ]
    for store in stores:
        before = look()
        assert look() == before
        float(a[::7].max())
        assert look() == before, "reading is no change"
        store()
        assert look() != before
    serial = _larder.pages_place(low, low + a.nbytes)[0]
    del a
    gc.collect()
    a = np.zeros(1 << 20)
    look()
    again = a.__array_interface__["data"][0]
    assert _larder.pages_place(again, again + a.nbytes)[0] != serial
