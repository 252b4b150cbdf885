"""Whatever changes below a variable changes what a walk says of it, and nothing else does."""

import collections
import copyreg
import functools
import gc
import io
import os
import pickle
import sys
import threading
import types
import weakref

import numpy as np
import pandas as pd
import pytest

from larder import _larder, groups, watch


class Plain:
    shared = {}  # noqa: RUF012

    def __init__(self):
        self.part = [1, {"k": (2, [3])}]

    def method(self, x=[0]):  # noqa: B006
        return self.part, x


class Dict(dict):
    pass


class Slotted:
    __slots__ = ("a", "b")


def slotted():
    one = Slotted()
    one.a = [1]
    return one


class Stateful:
    def __init__(self):
        self.data, self.count, self.name = {"k": []}, 2.5, "n"

    def __getstate__(self):
        return {"data": dict(self.data), "more": [self.count * 2, self.name + self.name, (self.count, 3)]}

    def __setstate__(self, state):
        self.__dict__ = state


class Reduced:
    def __init__(self, array, copy=False, start=0):
        self.array, self.copy, self.start = array, copy, start

    def __reduce__(self):
        return Reduced, (self.array.copy() if self.copy else self.array[self.start : self.start + 5],)


class Bunch(dict):
    def __setstate__(self, state):
        pass


class Kept(list):
    def __setstate__(self, state):
        pass


class Handed:
    def __init__(self, memory):
        self.memory = memory

    def __reduce_ex__(self, protocol):
        return Handed, (pickle.PickleBuffer(self.memory),)


Pair = collections.namedtuple("Pair", "left right")


def closure():
    n = [0]

    def up():
        n[0] += 1
        return n

    return up


def foreign():
    space = {"__name__": "no_module", "box": [], "n": 1, "deep": [1], "unused": object()}
    exec("def f(x=0):\n    def g(): return deep\n    return box, n, g, absent", space)
    return space["f"]


def own_pair():
    return collections.namedtuple("OwnPair", "left right", module="no_module")


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
    "function in a namespace that no module has": (foreign, lambda v: v.__globals__["box"].append(1)),
    "name that it uses": (foreign, lambda v: replaced(v.__globals__, "n", 2)),
    "name that a function inside it uses": (foreign, lambda v: replaced(v.__globals__, "deep", [2])),
    "name that it no longer finds": (foreign, lambda v: v.__globals__.pop("n")),
    "class of a namedtuple": (own_pair, lambda v: setattr(v, "mark", 1)),
    "instance of it": (lambda: [own_pair()([1], 2)], lambda v: v[0].left.append(3)),
    "function attribute": (closure, lambda v: setattr(v, "mark", 1)),
    "partial": (lambda: functools.partial(print, [1]), lambda v: v.args[0].append(2)),
    "deque": (lambda: collections.deque([1, [2]]), lambda v: v.append(3)),
    "deque rotated": (lambda: collections.deque([1, 2]), lambda v: v.rotate(1)),
    "defaultdict": (lambda: collections.defaultdict(list), lambda v: v["x"]),
    "ordered": (lambda: collections.OrderedDict(a=1, b=2), lambda v: v.move_to_end("a")),
    "counter": (lambda: collections.Counter("aab"), lambda v: v.update("b")),
    "generator of numbers": (lambda: np.random.default_rng(1), lambda v: v.random()),
    "slots": (slotted, lambda v: v.a.append(1)),
    "slot": (slotted, lambda v: setattr(v, "b", 1)),
    "state of its own": (Stateful, lambda v: v.data["k"].append(1)),
    "number in a state made anew": (Stateful, lambda v: setattr(v, "count", v.count + 1.5)),
    "text in a state made anew": (Stateful, lambda v: setattr(v, "name", v.name + "x")),
    "reduction of its own": (lambda: [Reduced(np.arange(5.0))], lambda v: replaced(v[0].array, 2, 7.0)),
    "array a reduction copies": (lambda: Reduced(np.arange(5.0), copy=True), lambda v: replaced(v.array, 2, 7.0)),
    "view a reduction moves": (lambda: Reduced(np.zeros(9), start=1), lambda v: setattr(v, "start", 2)),
    "bunch": (lambda: Bunch(a=[1], b=np.arange(3)), lambda v: replaced(v["b"], 0, 5)),
    "bunch key": (lambda: Bunch(a=[1]), lambda v: replaced(v, "c", 5)),
    "list with a state": (lambda: Kept([1, [2]]), lambda v: v[1].append(3)),
    "exception": (lambda: ValueError([1]), lambda v: v.args[0].append(2)),
    "iterator": (lambda: iter([1, [2]]), next),
    "iterator's list": (lambda: iter(([1], 2)), lambda v: v.__reduce__()[1][0][0].append(2)),
    "masked array": (lambda: np.ma.array([1.0, 2.0], mask=[0, 1]), lambda v: replaced(v, 0, 5.0)),
    "mask": (lambda: np.ma.array([1.0, 2.0], mask=[0, 1]), lambda v: replaced(v.mask, 0, True)),
    "fill value": (lambda: np.ma.array([1.0, 2.0]), lambda v: v.set_fill_value(7.0)),
    "masked array's data": (lambda: np.ma.array(np.arange(9.0)), lambda v: replaced(v.data, 3, 5.0)),
    "matrix": (lambda: np.arange(2).reshape(1, 2).view(np.matrix), lambda v: replaced(v, (0, 1), 5)),
    "records": (lambda: np.zeros(4, "f8,i4"), lambda v: replaced(v["f1"], 2, 5)),
    "names of fields": (lambda: np.zeros(4, "f8,i4"), lambda v: setattr(v.dtype, "names", ("a", "b"))),
    "record array": (lambda: np.zeros(4, "f8,i4").view(np.recarray), lambda v: setattr(v[1], "f1", 5)),
    "bytes handed to pickle": (lambda: Handed(bytearray(50_000)), lambda v: replaced(v.memory, 40_000, 1)),
    "many strings": (lambda: [f"s{i}" for i in range(1000)], lambda v: replaced(v, 500, "s" + str(500) * 2)),
    "many strings, one more": (lambda: [f"s{i}" for i in range(1000)], lambda v: v.append("last")),
    "many strings, one fewer": (lambda: [f"s{i}" for i in range(1000)], lambda v: v.pop()),
    "many strings in another order": (lambda: [f"s{i}" for i in range(1000)], lambda v: v.reverse()),
    "many strings and a list": (lambda: ["s", [1]] * 50 + [[2]], lambda v: v[-1].append(1)),
    "many strings, one a list": (lambda: [f"s{i}" for i in range(100)], lambda v: replaced(v, 7, ["s7"])),
    "many lists, one a string": (lambda: [[i] for i in range(100)], lambda v: replaced(v, 7, "s")),
    "large dict": (lambda: {f"k{i}": i + 1000 for i in range(1000)}, lambda v: replaced(v, "k500", 7)),
    "key of a large dict": (lambda: {f"k{i}": i for i in range(1000)}, lambda v: replaced(v, "k500", v.pop("k500"))),
    "part of a large dict": (lambda: {f"k{i}": [i] for i in range(1000)}, lambda v: v["k500"].append(7)),
    "large set": (lambda: {f"k{i}" for i in range(1000)}, lambda v: v.discard("k7")),
    "large tuple": (lambda: tuple([i] for i in range(1000)), lambda v: v[7].append(7)),
    "large array of objects": (
        lambda: np.array([f"s{i}" for i in range(999)] + [None], dtype=object),
        lambda v: replaced(v, 998, "other"),
    ),
    "spawned": (lambda: np.random.default_rng(1), lambda v: v.spawn(1)),
}


def new_walker():
    return _larder.Walker(watch.classify, watch.Registries())


def walk(walker, value, hold=True):
    walker.begin()
    return walker.walk(value, hold)


@pytest.mark.parametrize("case", CASES)
def test_a_change_shows_and_no_change_does_not(case):
    make, change = CASES[case]
    walker, value = new_walker(), make()
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


class Refusing:
    def __getstate__(self):
        raise TypeError("no")


class Odd:
    def __reduce__(self):
        return [Odd, ()]


def generator():
    yield


UNKNOWN = {
    "generator": generator,
    "keys": lambda: {}.keys(),
    "iterator over a dict": lambda: iter({1: 2}),
    "file": lambda: open(os.devnull),
    "lock": threading.Lock,
    "weak reference": lambda: weakref.ref(Plain),
    "row": lambda: np.zeros(2, "f8,i4")[0],
    "records with objects": lambda: np.zeros(2, "O,i4"),
    "a state that cannot be had": Refusing,
    "a reduction that is none": Odd,
    "a file in a slot": lambda: setattr(one := Slotted(), "a", open(os.devnull)) or one,
}


@pytest.mark.parametrize("case", UNKNOWN)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_of_what_cannot_be_pickled_nothing_is_said(case):
    assert isinstance(new_walker().walk([UNKNOWN[case]()], True), str)


def test_what_is_made_anew_for_each_pickle_is_compared_by_what_it_holds():
    walker, one = new_walker(), Stateful()
    digests = {walk(walker, one).digest for _ in range(50)}
    assert len(digests) == 1
    for turn in range(200):
        before = walk(walker, one).digest
        one.count = turn + 0.25
        one.name = f"n{turn}"
        assert walk(walker, one).digest != before


def changed_state(self):
    return {"only": self.part[0]}


class Otherwise:
    __getstate__ = changed_state


CLASS_CHANGES = {
    "a state": lambda base, kind: setattr(kind, "__getstate__", changed_state),
    "a state of a base": lambda base, kind: setattr(base, "__getstate__", changed_state),
    "a reduction": lambda base, kind: setattr(kind, "__reduce__", lambda self: (len, ((self.part[0],),))),
    "another base": lambda base, kind: setattr(kind, "__bases__", (Otherwise,)),
    "copyreg": lambda base, kind: copyreg.pickle(kind, lambda one: (len, ((one.part[0],),))),
    "copyreg, twice": lambda base, kind: [
        copyreg.pickle(kind, make) for make in (lambda one: (len, ("",)), lambda one: (len, ((one.part[0],),)))
    ],
}


@pytest.mark.parametrize("case", CLASS_CHANGES)
def test_types_are_asked_about_again_when_they_or_what_is_registered_for_them_changed(case):
    """A class of a module is remembered from cell to cell."""
    space = {"__name__": "some_module"}
    exec("class Base:\n    pass\nclass Kind(Base):\n    def __init__(self): self.part, self.count = [1], 2", space)
    held = [space["Kind"]()]
    sys.modules["some_module"] = module = types.ModuleType("some_module")
    vars(module).update(space)
    try:
        walker = new_walker()
        for _ in range(3):
            before = walk(walker, held)
            walker.sweep()
        assert not isinstance(before, str)
        CLASS_CHANGES[case](space["Base"], space["Kind"])
        after = walk(walker, held)
        walker.sweep()
        assert after.digest != before.digest
        assert walk(walker, held).digest == walk(new_walker(), held).digest
    finally:
        del sys.modules["some_module"]
        copyreg.dispatch_table.pop(space["Kind"], None)


def test_a_class_of_the_notebook_is_not_kept_by_walks():
    space = {"__name__": "__main__"}
    exec("class Kind: pass\nones = [Kind() for _ in range(3)]", space)
    walker = new_walker()
    walk(walker, space["ones"], False)
    gone = weakref.ref(space["Kind"])
    walker.sweep()
    walker.begin()
    space.clear()
    gc.collect()
    assert gone() is None


def test_a_text_buffer_is_walked_by_what_it_holds():
    walker, text = new_walker(), io.StringIO("a")
    before = walk(walker, text).digest
    assert walk(walker, text).digest == before
    text.write("b")
    assert walk(walker, text).digest != before


def test_a_walk_inside_another_is_not_made_again_but_as_good():
    walker = new_walker()
    inner = [Plain() for _ in range(10)]
    outer = {"inner": inner, "rest": [[i] for i in range(500)]}
    walk(walker, outer, True)
    last = walker.walk(inner, True)
    for change in (None, lambda: inner[3].part.append(1), None, lambda: outer["rest"][7].append(1), None, None):
        if change:
            change()
        walker.begin()
        walker.walk(outer, False)
        now = walker.walk(inner, False)
        # They are one group: what changed in the larger one has both serialised.
        assert (now.digest == last.digest) == (change is None)
        last = now


def test_a_dictionary_that_an_object_hides_a_part_of_is_walked_itself():
    """The walk below the object goes into its ``__dict__`` as its pickle does, without what that leaves out."""

    class Hiding:
        def __init__(self):
            self.parts, self.hidden = [[i] for i in range(500)], [0]

        def __getstate__(self):
            return {"parts": self.parts}

    walker, one = new_walker(), Hiding()
    walk(walker, one, True)
    before = walker.walk(one.__dict__, True).digest
    one.hidden.append(1)
    walker.begin()
    walker.walk(one, False)
    assert walker.walk(one.__dict__, False).digest != before


def test_a_figure_is_the_same_until_it_is_changed():
    pytest.importorskip("matplotlib").use("agg")
    import matplotlib.pyplot as plt

    walker = new_walker()
    figure, axes = plt.subplots()
    (line,) = axes.plot([1, 2], [3, 4])
    pickle.dumps(figure)
    before = walk(walker, figure)
    pickle.dumps(figure)
    assert walk(walker, figure, False).digest == before.digest and before.alive()
    changes = [
        lambda: line.set_ydata([3, 5]),
        lambda: axes.set_title("t"),
        lambda: axes.get_xticklabels()[0].set_color("red"),
        lambda: figure.canvas.mpl_connect("button_press_event", print),
        lambda: figure.set_size_inches(3, 4),
        lambda: axes.set_xlim(0, 9),
    ]
    for change in changes:
        before = walk(walker, figure)
        change()
        assert walk(walker, figure, False).digest != before.digest
    plt.close(figure)


def test_an_object_at_the_address_of_another_is_not_taken_for_it():
    """Immutable objects are held, so that their addresses stay theirs."""
    walker = new_walker()
    value = [float(i) + 0.5 for i in range(50)]
    for turn in range(200):
        before = walk(walker, value)
        for i in range(50):
            value[i] = float(turn * 100 + i) + 0.25
        assert walk(walker, value, False).digest != before.digest


def test_what_can_change_is_not_kept_alive():
    walker, part = new_walker(), Plain()
    gone = weakref.ref(part)
    array = weakref.ref(part.__dict__.setdefault("a", np.zeros(10)))
    found = walk(walker, {"x": [part]})
    del part
    assert gone() is None and array() is None and found.digest


def test_items_of_a_large_list_are_let_go_with_it():
    walker, text = new_walker(), "".join(["te", "xt"])
    value, alone = [text] * 1000, sys.getrefcount(text)
    found = walk(walker, value)
    assert sys.getrefcount(text) > alone + 999
    walker.sweep()
    del value, found
    gc.collect()
    walk(walker, [1])
    walker.sweep()
    assert sys.getrefcount(text) == alone - 1000


def test_nested_tuples_are_walked_once():
    value = ()
    for _ in range(200):
        value = (value, value)
    assert walk(new_walker(), value).digest


def test_stores_of_every_sort_into_watched_memory_show(request):
    try:
        _larder.pages_on(1 << 16)
    except RuntimeError as err:
        pytest.skip(str(err))
    walker, a = new_walker(), np.zeros(1 << 20)
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


def test_many_dates_are_saved_as_the_integers_they_are():
    dates = np.arange(5000).astype("M8[s]")
    frame = pd.DataFrame({"t": dates, "n": 1})
    found, refused = groups.groups({"dates": dates, "view": dates[::2], "frame": frame})
    assert not refused and {tuple(one.names) for one in found} == {("dates", "view"), ("frame",)}
    assert all(len(one.stream) < 10_000 for one in found), "the dates are beside the pickle"
    back = {}
    for one in found:
        back |= pickle.loads(one.stream, buffers=[bytearray(buffer) for buffer in one.buffers])
    assert back["dates"].dtype == dates.dtype and (back["dates"] == dates).all()
    pd.testing.assert_frame_equal(back["frame"], frame)
    back["view"][1] = np.datetime64("2021-01-01")
    assert back["dates"][2] == np.datetime64("2021-01-01")


def test_a_frame_and_an_array_of_its_memory_share_it_again():
    frame = pd.DataFrame({"a": np.arange(5000.0), "b": np.arange(5000.0)})
    values = frame["a"].values
    found, refused = groups.groups({"frame": frame, "values": values, "twice": [frame, frame]})
    assert not refused and [one.names for one in found] == [["frame", "twice", "values"]]
    back = pickle.loads(found[0].stream, buffers=[bytearray(buffer) for buffer in found[0].buffers])
    frame.iloc[7, 0] = back["frame"].iloc[7, 0] = -1.0
    assert values[7] == back["values"][7] == -1.0


@pytest.mark.parametrize("step", [1, -1, 2, -2])
def test_a_frame_over_a_view_shares_it_again_however_that_is_strided(step):
    array = np.arange(8.0)
    frame = pd.DataFrame(array[::step], copy=False)
    frame.insert(0, "first", 1)
    found, refused = groups.groups({"array": array, "frame": frame})
    assert not refused and [one.names for one in found] == [["array", "frame"]]
    back = pickle.loads(found[0].stream, buffers=[bytearray(buffer) for buffer in found[0].buffers])
    array[::3] = back["array"][::3] = 93
    assert 93 in frame[0].values and (frame[0].values == back["frame"][0].values).all()


def test_frames_that_share_memory_are_saved_apart_and_looked_at_apart():
    first = pd.DataFrame({"a": np.arange(100_000.0), "b": 1})
    second = first[["a"]]
    alone = second["a"].values
    assert np.shares_memory(first["a"].values, alone)
    found, refused = groups.groups({"first": first, "second": second})
    assert not refused and sorted(one.names for one in found) == [["first"], ["second"]]
    walker = new_walker()
    known = {"first": groups.Known(walk(walker, first), ("first",))}
    values = {"first": first, "second": second}
    assert [one.names for one in groups.groups(values, known)[0]] == [["second"]]
    # An array of the memory itself is of both of them.
    found, refused = groups.groups({**values, "alone": alone}, known)
    assert "first" in refused or any("first" in one.names for one in found)


def test_what_is_inside_a_frame_is_not_saved_apart_from_it():
    frame = pd.DataFrame({"a": np.arange(3.0)})
    inside = {"reduced": frame.__reduce__(), "manager": [frame._mgr], "block": frame._mgr.blocks[0]}
    walker = new_walker()
    for name, value in inside.items():
        for values in ({"frame": frame, name: value}, {name: [frame, value]}):
            found, refused = groups.groups(values)
            assert list(refused) == [name] and "the inside of a DataFrame" in refused[name]
            assert [one.names for one in found] == [["frame"]][: len(values) - 1]
        # Whichever of the two is known already.
        for first, second in (("frame", name), (name, "frame")):
            values = {"frame": frame, name: value}
            known = {first: groups.Known(walk(walker, values[first]), (first,))}
            assert name in groups.groups(values, known)[1], f"{second} is new"
    found, refused = groups.groups({"alone": frame.__reduce__()})
    assert not refused and len(found) == 1


class OwnState(Exception):
    """Pickled with its ``__dict__`` as its state."""


class CopiedState:
    def __init__(self, *args):
        self.part = args

    def __reduce__(self):
        return CopiedState, (), self.__dict__.copy()


@pytest.mark.parametrize("kind", [OwnState, CopiedState])
def test_the_dictionary_of_an_object_is_not_saved_apart_from_it(kind):
    one = kind(1)
    one.more = [one]
    own = one.__dict__
    for beside in (own, (own,), [own], {"k": (1, (own,))}):
        assert list(groups.groups({"both": [one, beside]})[1]) == ["both"]
        assert list(groups.groups({"one": one, "own": beside})[1]) == ["own"]
    found, refused = groups.groups({"one": one, "same": [one]})
    assert not refused and [found.names for found in found] == [["one", "same"]]


@pytest.mark.parametrize("writeable", [True, False])
def test_a_hard_mask_shows_and_comes_back_hard(writeable):
    array = np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0])
    walker = new_walker()
    before = walk(walker, array).digest
    array.harden_mask()
    hard = walk(walker, array).digest
    assert hard != before == walk(walker, np.ma.MaskedArray.soften_mask(array)).digest
    array.harden_mask()
    array.flags.writeable = writeable
    found, refused = groups.groups({"array": array, "masked": np.ma.masked, "soft": np.ma.masked_array([1.0])})
    back = {}
    for one in found:
        back |= pickle.loads(one.stream, buffers=one.buffers)
    assert not refused and back["masked"] is np.ma.masked and not back["soft"].hardmask
    back = back["array"]
    assert back.hardmask and back.flags.writeable == writeable and back.mask.tolist() == [False, True, False]
    if writeable:
        back[1] = 5.0
        assert back[1] is np.ma.masked


def test_a_mask_is_shared_again_by_all_that_had_it():
    data, mask = np.arange(4.0), np.array([False, True, False, False])
    m = np.ma.array(data, mask=mask)
    owner = data.copy().view(np.ma.MaskedArray)[:].copy()
    values = {
        "mask": mask, "m": m, "negative": -m, "seen": m.mask, "part": m[1:], "alone": np.ma.array([1, 2], fill_value=7),
        "owner": owner, "below": owner.view(np.ndarray), "hard": np.ma.array([1.0, 2.0], mask=[0, 1], hard_mask=True),
        "objects": np.ma.array([[1], None], dtype=object), "records": np.ma.array([(1, 2.0)], dtype=[("f", "i4"), ("g", "f8")]),
    }  # fmt: skip
    m.note = "kept"
    found, refused = groups.groups(values)
    assert refused == {}
    names = {name: one.names for one in found for name in one.names}
    assert names["m"] == names["mask"] == names["seen"] == names["negative"] == names["part"]
    assert names["owner"] == names["below"] != names["m"] and names["alone"] == ["alone"]
    back = {n: v for one in found for n, v in pickle.loads(one.stream, buffers=one.buffers).items()}
    for name, value in values.items():
        assert type(back[name]) is type(value) and repr(back[name]) == repr(value), name
    assert back["m"].note == "kept" and back["alone"].mask is back["objects"].mask is np.ma.nomask
    for space in (values, back):
        space["mask"][2], space["part"][0], space["below"][1], space["hard"][1] = True, 5.0, 9.0, 3.0
    assert [back[name].tolist() for name in values] == [values[name].tolist() for name in values]
    assert back["negative"].mask[2] and back["seen"][2] and back["owner"][1] == 9.0 and back["m"][1] == 5.0
    kinds = new_walker()
    kinds.begin()
    before = kinds.walk(m, True)
    assert not isinstance(before, str)
    mask[3] = True
    kinds.begin()
    assert kinds.walk(m, True).digest != before.digest


def test_an_extension_array_by_itself_shares_its_memory_again():
    column = pd.Categorical(["a", "b", "a"])
    numbers = pd.array([1, 2, None])
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y", "x"]), "n": pd.array([4, None, 6])})
    values = {"column": column, "view": column[:2], "numbers": numbers, "tail": numbers[1:], "frame": frame}
    values["other"] = frame[["n"]]
    found, refused = groups.groups(values)
    assert refused == {}
    assert sorted(one.names for one in found) == [["column", "view"], ["frame"], ["numbers", "tail"], ["other"]]
    back = {n: v for one in found for n, v in pickle.loads(one.stream, buffers=one.buffers).items()}
    for space in (values, back):
        space["view"][0], space["tail"][0] = "b", 7
    assert [repr(back[name]) for name in values] == [repr(values[name]) for name in values]
    # One that is known to be as it was is looked at again when another one over its memory comes.
    kinds = new_walker()
    kinds.begin()
    known = {"column": groups.Known(kinds.walk(column, True), ("column",))}
    found, _ = groups.groups({"column": column, "series": pd.Series(column, copy=False)}, known)
    assert [one.names for one in found] == [["column", "series"]]


def test_a_proxy_follows_its_mapping_and_that_of_a_class_is_not_saved_apart_from_it():
    import types

    mapping = {"k": [1]}
    values = {"mapping": mapping, "proxy": types.MappingProxyType(mapping), "names": Plain.__dict__}
    found, refused = groups.groups(values)
    assert list(refused) == ["names"] and "looks into the class" in refused["names"]
    (one,) = found
    back = pickle.loads(one.stream, buffers=one.buffers)
    back["mapping"]["more"] = 2
    assert dict(back["proxy"]) == {"k": [1], "more": 2}


CLASSES = """
import abc, dataclasses, enum, functools, typing
class Base:
    found = []
    def __init_subclass__(cls, tag, **more):
        super().__init_subclass__(**more)
        Base.found.append((tag, cls))
class Child(Base, tag='c'):
    @functools.lru_cache
    def twice(self, x): return [x, x]
    @functools.cached_property
    def once(self): return [0]
    def who(self): return super().__hash__() and type(self).__name__
class Point(typing.NamedTuple):
    x: object
    y: int = 7
    def both(self): return self.x, self.y
class Row(typing.TypedDict):
    a: int
T = typing.TypeVar('T')
class Box(typing.Generic[T]):
    def __init__(self, v: T): self.v = v
class Color(enum.Enum):
    RED = 1
@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: object
    b: list = dataclasses.field(default_factory=list)
@functools.cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
def maker():
    class Inner: pass
    return Inner
inner, child, point, frozen, red = maker()(), Child(), Point([1]), Frozen(1), Color.RED
child.once.append(fib(9))
"""
ASKED = """
assert [tag for tag, cls in Base.found] == ['c'] and Base.found[0][1] is Child and child.twice(1) is child.twice(1)
class Other(Base, tag='o'): pass
assert [tag for tag, cls in Base.found] == ['c', 'o'] and child.once == [0, 34] and child.who() == 'Child'
assert point == Point([1], 7) and point.both() == ([1], 7) and Point._fields == ('x', 'y') and type(point) is Point
assert Row(a=1) == {'a': 1} and Row.__annotations__ == {'a': int} and Box[int](3).v == 3
assert Color.RED is red and Color(1) is red and frozen == Frozen(1) and not hasattr(frozen, '__dict__')
assert fib(30) == 832040 and fib.__name__ == 'fib' and fib.cache_parameters()['maxsize'] is None
assert type(inner).__qualname__ == 'maker.<locals>.Inner'
"""


def test_classes_of_every_sort_come_back_in_another_process(tmp_path):
    import subprocess

    run = (
        "import pickle, sys, types\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "from larder import groups\nip = InteractiveShell.instance()\nip.history_manager.enabled = False\nns = ip.user_ns\n"
        "hidden = set(ns)\n"
    )
    save = (
        f"ip.run_cell({CLASSES + ASKED.partition('class Other')[0]!r}).raise_error()\n"
        "own = {n: v for n, v in ns.items() if n not in hidden and n[0] != '_' and type(v) is not type(sys)}\n"
        "found, refused = groups.groups(own)\n"
        "assert not refused, refused\n"
        "pickle.dump([(one.stream, list(map(bytes, one.buffers))) for one in found], open(sys.argv[1], 'wb'))\n"
    )
    load = (
        "todo = pickle.load(open(sys.argv[1], 'rb'))\n"
        "for stream, buffers in todo: ns.update(pickle.loads(stream, buffers=buffers))\n"
        f"ip.run_cell({ASKED!r}).raise_error()\n"
    )
    for what in (save, load):
        done = subprocess.run(
            [sys.executable, "-c", run + what, tmp_path / "saved"], capture_output=True, text=True, timeout=60,
            env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
