"""What cannot be saved is named by its path, and takes nothing else with it."""

import collections
import decimal
import functools
import re
import threading
import types
import warnings
import weakref

import numpy as np
import pandas as pd
import pytest
from kernelfixtures import kernel, kill

from larder import groups, offenders


class Holder:
    def __init__(self, part):
        self.part = part


class Slotted:
    __slots__ = ("part",)

    def __init__(self, part):
        self.part = part


class Mapping(collections.ChainMap):
    """Whose maps need not be any."""


class Lying(dict):
    def items(self):
        raise RuntimeError("no items")

    def __iter__(self):
        raise RuntimeError("no keys")


class Unshown:
    def __repr__(self):
        raise RuntimeError("not shown")

    def __hash__(self):
        return 1


class Closed:
    """Nothing of it can be asked for."""

    def __init__(self, part):
        object.__setattr__(self, "part", part)

    def __getattribute__(self, name):
        raise RuntimeError(f"no {name}")


class Said(Exception):
    def __str__(self):
        raise RuntimeError("says nothing")


class Refusing:
    def __reduce_ex__(self, protocol):
        raise Said()


def lock():
    return threading.Lock()


def closure(part):
    return lambda: part


def overlapping():
    array = np.zeros(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        array.strides = (0,)  # a store to one item is one to all of them
    return array


LOCK = "_thread.lock"
SEEN = Holder(1)
NAMED = {
    "a dictionary": (lambda: {"a": {"b": lock()}}, "x['a']['b']: " + LOCK),
    "a list in a tuple": (lambda: (1, [2, lock()]), f"x[1][1]: {LOCK}"),
    "an instance": (lambda: Holder([lock()]), f"x.part[0]: {LOCK}"),
    "a slot": (lambda: Slotted(lock()), f"x.part: {LOCK}"),
    "a deque": (lambda: collections.deque([1, lock()]), f"x[1]: {LOCK}"),
    "a closure": (lambda: closure(lock()), f"x.<closure>.part: {LOCK}"),
    "a default": (
        lambda: eval("lambda a=part: a", {"part": lock(), "__name__": __name__}),
        "x.__defaults__[0]: " + LOCK,
    ),
    "a partial": (lambda: functools.partial(print, end=lock()), f"x.keywords['end']: {LOCK}"),
    "a method": (lambda: types.MethodType(print, Holder(lock())), f"x.__self__.part: {LOCK}"),
    "an array": (lambda: np.array([[None, 1], [2, lock()]], dtype=object), f"x[1, 1]: {LOCK}"),
    "an array over itself": (lambda: [overlapping()], "x[0]: numpy.ndarray (an array whose items lie over one another"),
    "a frame": (lambda: pd.DataFrame({"a": [1, 2], "b": [None, lock()]}), f"x['b'].iloc[1]: {LOCK}"),
    "a key": (lambda: {lock(): 1}, LOCK),
    "a chain of maps that are none": (lambda: Mapping(Holder(lock())), f"x.maps[0].part: {LOCK}"),
    "a dictionary with methods of its own": (lambda: Lying(a=lock()), f"x['a']: {LOCK}"),
    "a key that cannot be shown": (lambda: {Unshown(): lock()}, f"x[a Unshown]: {LOCK}"),
    "a long key": (lambda: {"k" * 5000: lock()}, "x['" + "k" * 56 + "...]: " + LOCK),
    "a generator in an iterator": (lambda: enumerate(i for i in [1]), "generator"),
    "keys of a dictionary, inside": (lambda: [{"a": 1}.keys()], "x[0]: dict_keys"),
    "a proxy": (
        lambda: [weakref.proxy(SEEN)],
        "x[0]: weakref.ProxyType (cannot pickle 'ProxyType' object: it looks into",
    ),
    "a proxy of a function": (lambda: weakref.proxy(closure), "cannot pickle 'CallableProxyType' object: it looks"),
    "a context": (lambda: [decimal.localcontext()], "x[0]: decimal"),
    "what cannot be asked": (lambda: [Closed(lock())], "x[0]"),
    "an error that cannot be told": (lambda: [Refusing()], "x[0]: test_recovery_reasons.Refusing (Said)"),
}


@pytest.mark.parametrize("what", NAMED)
def test_the_part_that_cannot_be_saved_is_named_and_nobody_else_is_refused(what):
    make, told = NAMED[what]
    beside = [1, 2]
    found, refused = groups.groups({"x": make(), "beside": beside})
    assert list(refused) == ["x"] and told in refused["x"], refused
    assert [one.names for one in found] == [["beside"]]


def test_what_fails_where_no_refusal_is_expected_is_refused_alone(monkeypatch):
    """Code of a class may run, and fail, at any step: the others are saved all the same."""

    def fails(*args):
        raise RuntimeError("not expected")

    monkeypatch.setattr(offenders, "find", fails)
    found, refused = groups.groups({"x": [lock()], "y": [1]})
    assert refused == {"x": "list (its own code fails: RuntimeError)"}
    assert [one.names for one in found] == [["y"]]


def test_looking_for_the_part_ends(monkeypatch):
    monkeypatch.setattr(offenders, "SECONDS_MAX", 0.0)
    _, refused = groups.groups({"x": {"a": lock()}})
    assert re.search("_thread.lock", refused["x"]), refused


def test_a_cell_that_makes_such_things_is_saved_and_what_it_replaced_does_not_come_back(tmp_path):
    make = (
        "import collections, weakref, threading\nclass Tree:\n    parent = None\nclass Maps(collections.ChainMap): pass\n"
        "x, y = [1, 2], [3]\nroot = Tree()"
    )
    with kernel(tmp_path, JPY_SESSION_NAME="reasons.ipynb") as k:
        k.ok(make)
        k.ok("x = Maps(root); root.parent = weakref.ref(threading.main_thread()); y.append(4)")
        told = k.value("import larder; larder.session.log(); larder.session.status()")
        assert "x.maps[0].parent: weakref.ReferenceType" in told
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="reasons.ipynb") as k:
        assert "not back: root (root.parent: weakref" in k.text("print(y, 'x' in globals())")
        assert k.text("print(y, 'x' in globals())") == "[3, 4] False\n"
