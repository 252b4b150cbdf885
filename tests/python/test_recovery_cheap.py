"""What makes saving cheap changes nothing of what is saved: rules for libraries' states, shorter ways, older pickles."""

import argparse
import base64
import pickle
import subprocess
import sys
import types
import zlib

import numpy as np
import pandas as pd
import pytest

from larder import _larder, groups, pickled, stated, watch


def new_walker():
    return _larder.Walker(watch.classify, watch.Registries())


def walk(walker, value, hold=True):
    walker.begin()
    found = walker.walk(value, hold)
    walker.sweep()
    return found


# A group as it was saved when `larder.groups` was one file.
OLD = zlib.decompress(base64.b85decode(
    r"c-nPSTTj$L6yEMGu-pO!H9Tly^ksc;VMPTK6G-66hHBu^kY=`>Wh&ja&a~hrl4#5Vo6H+W{G0v*J!d)_mWb1&-%Mxbe3zMioA~*$UNP+qn%ZHY"
    r"my@EG^;>?BO5Vagmr($E*6+%+*D1PPF5wEA*B>f(wclH|vt2^N;-bZS7FR4jwD{QKlWouwMgU@%_cM-Uy4u}@;pGMFL({Ek=Ph`i_wEli^KvUW"
    r"bljN%XlDm<T%_wK5kCbzA2S(p**cPGktr<boA0PzEV+wrbpY<l0L1KNxhXwCYhqc?nPq;D_fpw6UT3VSwf2kkm#<!LY`y`v=GJh(gZmr0TC~UY"
    r"eZ50p$uVh*ibuMhvnVFI`I0W}eBwc_h)+KlKZ0Hn=Mj^VVI*_D<UyLKToyr&OU0y~O2TsT3f#&7cAO5BLL3rE;@*#iC!XGxwuRD$hqPKdU%=y("
    r"WWyxWz|9+_>Zy@7v92c-XE6^!JQu6PC)!lmq-JFJDrY$zn%E@?RjNV++R5;IJ_9lghZk_ZzlLEjbxfs}^^DJyZ-=<`epA$&*DE%4$70oD&7v_E"
    r"jhmah<6ck*3uMEsm=hyk2gVn1jA|i?Dc5QLKdam2&P&_#R`!i=PCpX<E>Rr&CoC>FczW6wcok_ST;iO<5g!d3ex$k)k3$$@4jra=5Hp2gui{ji"
    r"<x$d2;S36jtRAwyBHC#REJQ}SFlgkLIM}N!j<k`Jy_;a_{{-VTcbr|kz4YX01)Y%}T}u-Vy20d8#-zgTw8wf}Wh@|T&%P7&f*;`pWJ$npJpVw?"
    r"!Vyc_Ifg^5%Z%DudYXVZFIs;A6t|Z@"
))  # fmt: skip


def test_a_group_saved_by_an_older_larder_comes_back():
    if int(np.__version__.partition(".")[0]) < 2:
        pytest.skip("it was pickled by NumPy 2")
    days = np.arange(4096, dtype="i8")
    back = pickle.loads(OLD, buffers=[memoryview(bytearray(days.tobytes()))])
    assert back["a"].tolist() == list(range(10)) and back["view"].tolist() == [2.0, 5.0]
    back["a"][2] = 7.5
    assert back["view"][0] == 7.5 and back["one"].a is back["a"]
    back["memory"][4] = 0x7A
    assert bytes(back["over"]) == b"3z5"
    back["objects"][1] = "y"
    assert back["tail"].tolist() == ["y", None]
    assert not back["sealed"].flags.writeable and back["sealed"].tolist() == ["p", "q"]
    assert back["masked"].hardmask and back["masked"].tolist() == [1, None, 3]
    assert back["days"].dtype == "M8[D]" and (back["days"].view("i8") == days).all()
    assert type(back["one"]) is argparse.Namespace and back["own"] is back["one"].__dict__


def test_pickles_name_what_they_call_as_older_ones_did():
    for one in pickled.LOADED:
        assert one.__module__ == "larder.groups" and getattr(groups, one.__name__) is one
    a = np.arange(10.0)
    stream = groups.groups({"a": a, "b": a[::2]})[0][0].stream
    assert b"larder.groups" in stream and b"larder.pickled" not in stream
    # Nothing else need be imported for that.
    code = f"import pickle; back = pickle.loads({stream!r}); back['a'][2] = 9; assert back['b'][1] == 9"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture
def plot():
    pytest.importorskip("matplotlib").use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2], [3, 4])
    axes.set_title("t")
    figure.canvas.draw()
    yield figure, axes
    plt.close(figure)


def rules_of(kind):
    found = watch.classify(kind)
    return found[0] if isinstance(found, tuple) and isinstance(found[0], dict) else None


def test_states_of_plots_are_known_for_what_they_are(plot):
    """The rule says of each object what asking it says."""
    figure, _axes = plot
    todo, seen = [figure, *figure.findobj()], {}
    while todo:
        one = todo.pop()
        if id(one) in seen or not hasattr(one, "__dict__") or isinstance(one, type):
            continue
        seen[id(one)] = one
        if type(one).__module__.startswith("matplotlib"):
            todo += vars(one).values()
    told = 0
    for one in seen.values():
        rules = rules_of(type(one))
        if rules is None or not hasattr(one, "__getstate__") or "callbacks" in rules:
            continue
        told += 1
        state = one.__getstate__()
        assert list(state) == list(vars(one))
        for name, value in vars(one).items():
            how = rules.get(name)
            if how is None:
                assert state[name] is value
            elif how == "nothing":
                assert state[name] is None
            else:
                assert state[name] == {key: ref() for key, ref in value.items()}
    assert told > 50
    kinds = {type(one).__name__ for one in seen.values() if rules_of(type(one))}
    assert {"Text", "Line2D", "Affine2D", "CallbackRegistry"} <= kinds and "Figure" not in kinds


def test_what_a_plot_leaves_out_of_its_pickle_does_not_show_and_the_rest_does(plot):
    figure, axes = plot
    text, (line,) = axes.title, axes.lines
    walker = new_walker()
    walk(walker, figure)
    before = walk(walker, figure)
    text.stale_callback = None
    text._renderer = object()
    assert walk(walker, figure, False).digest == before.digest
    for change in (
        lambda: text.set_text("u"),
        lambda: setattr(text, "mine", [1]),
        lambda: text.mine.append(2),
        lambda: delattr(text, "mine"),
        lambda: line.add_callback(print),
        lambda: line._callbacks.__dict__.update(more=[1]),
        lambda: line._callbacks.more.append(2),
        lambda: setattr(line._callbacks, "exception_handler", print),
        lambda: axes.transData._parents.update({1: __import__("weakref").ref(text)}),
        lambda: axes.transData._parents.popitem(),
        lambda: setattr(axes.transData, "mine", 1.5),
        lambda: setattr(axes.viewLim, "_points", axes.viewLim._points.copy()),
        lambda: axes.viewLim._points.__setitem__((0, 0), -7.0),
    ):
        before = walk(walker, figure)
        change()
        assert walk(walker, figure, False).digest != before.digest


def test_a_state_that_is_not_the_known_one_is_asked_for(plot, monkeypatch):
    from matplotlib.artist import Artist
    from matplotlib.text import Text

    _figure, axes = plot
    more = [1]

    def with_more(self):
        return {**self.__dict__, "stale_callback": None, "more": more}

    monkeypatch.setattr(Artist, "__getstate__", with_more)
    assert stated.of_matplotlib(Text) is None and watch.classify(Text) == "state"
    walker = new_walker()
    before = walk(walker, axes.title)
    more.append(2)
    assert walk(walker, axes.title, False).digest != before.digest


def test_a_dictionary_that_hides_behind_a_property_is_asked_for():
    from matplotlib.text import Text

    class Other(Text):
        @property
        def __dict__(self):
            return {"_parents": None}

    assert stated.of_matplotlib(Text) and stated.of_matplotlib(Other) is None


class Holder:
    def __init__(self):
        self.part = [1]

    def method(self):
        return self.part


def test_a_method_is_its_function_and_its_object():
    walker, value = new_walker(), [Holder().method]
    before = walk(walker, value)
    assert walk(walker, value, False).digest == before.digest
    value[0].__self__.part.append(2)
    after = walk(walker, value)
    assert after.digest != before.digest
    value[0] = types.MethodType(lambda self: self.part, value[0].__self__)
    assert walk(walker, value, False).digest != after.digest


@pytest.mark.parametrize("count", [5, 16, 31, 32, 33, 200])
def test_items_of_containers_of_any_size_are_told_apart(count):
    """Large ones are compared as blocks, and what is no leaf in them is looked into all the same."""
    for make in (list, tuple, lambda items: dict(enumerate(items))):
        inner: list = []
        values: list = [float(i) + 0.5 for i in range(count)]
        values[count // 2] = inner
        walker, value = new_walker(), [make(values)]
        for turn in range(3):
            before = walk(walker, value)
            assert walk(walker, value, False).digest == before.digest
            inner.append(turn)
            assert walk(walker, value, False).digest != before.digest
        before = walk(walker, value)
        values[count // 2] = 7.25
        value[0] = make(values)
        assert walk(walker, value, False).digest != before.digest
        if not isinstance(value[0], tuple):
            before = walk(walker, value)
            value[0][0] = [1]
            changed = walk(walker, value)
            value[0][0].append(2)
            assert len({before.digest, changed.digest, walk(walker, value, False).digest}) == 3


def test_a_walk_that_comes_out_the_same_gives_what_it_gave_before():
    walker, value = new_walker(), [[1.5], {"k": "v"}]
    first = walk(walker, value)
    assert walk(walker, value) is first
    value[0].append(2.5)
    second = walk(walker, value)
    assert second is not first and walk(walker, value) is second
    del value[0][1]
    assert walk(walker, value).digest == first.digest


def test_text_in_one_piece_is_pickled_without_a_copy_and_a_part_of_it_without_the_rest():
    pytest.importorskip("pyarrow")
    text = pd.Series([f"number {i}" for i in range(5000)], dtype="str")
    if not hasattr(text.array, "_pa_array"):
        pytest.skip("this pandas keeps text as objects")
    whole = text.array._from_sequence(list(text), dtype=text.dtype)
    state = stated.one_chunk(whole)
    asked = whole.__getstate__()
    assert state is not None and list(state) == list(asked)
    assert state["_pa_array"].equals(asked["_pa_array"]) and state["_cache"] == {} == asked["_cache"]
    assert stated.one_chunk(whole[10:20]) is None, "all of the text would be written"
    for value in (text, text[10:20], text.iloc[::7], pd.concat([text, text[:3]], ignore_index=True), text.str.upper()):
        (found,), refused = groups.groups({"x": value})
        assert not refused
        back = pickle.loads(found.stream, buffers=found.buffers)["x"]
        pd.testing.assert_series_equal(back, value)
        assert len(found.stream) + sum(map(len, found.buffers)) < 40 * len(value) + 4000


def test_text_whose_state_is_another_one_is_asked_for_it(monkeypatch):
    pytest.importorskip("pyarrow")
    array = pd.Series(["a", "b"], dtype="str").array
    if not hasattr(array, "_pa_array"):
        pytest.skip("this pandas keeps text as objects")
    before = type(array).__getstate__
    monkeypatch.setattr(type(array), "__getstate__", lambda self: {**before(self), "more": 1}, raising=False)
    assert stated.one_chunk(array) is None


def test_chunks_that_a_walk_read_are_those_of_the_memory():
    chunk = 1 << 20
    walker = new_walker()
    a = np.arange(3 * chunk // 8 + 5, dtype="f8")
    low = a.__array_interface__["data"][0]
    walk_of = [a, a[::2]]
    walker.begin()
    walker.walk(walk_of, True)
    assert walker.chunks(low, low + a.nbytes, chunk) == _larder.digest_chunks(a.data.cast("B"), chunk)
    assert walker.chunks(low, low + a.nbytes - 8, chunk) is None
    assert walker.chunks(low, low + a.nbytes, 2 * chunk) is None
    count = sys.getrefcount(a)
    walker.forget()
    assert walker.chunks(low, low + a.nbytes, chunk) is None
    assert sys.getrefcount(a) == count - 1, "no other array takes that memory as long as the digests are of use"


def test_who_holds_the_dictionary_of_another():
    one, other = Holder(), Holder()
    own = {id(one.__dict__): id(one)}
    assert _larder.held_by_others(own, {id(one): one, id(other): other}) is None
    other.seen = ((one.__dict__,), 1)
    parts = {id(one): one, id(other): other, id(other.__dict__): other.__dict__}
    assert _larder.held_by_others(own, parts) == id(one.__dict__)
    assert _larder.held_by_others(own, {0: [int, one], 1: int, 2: "s", 3: (1, 2)}) is None


class Bag:
    pass


def instance_dict(count):
    bag = Bag()
    for i in range(count):
        setattr(bag, f"name{i}", text(i))
    return bag.__dict__


def text(i):
    return "".join(["te", "xt", str(i)])


LARGE = {
    "list": lambda count: [text(i) for i in range(count)],
    "dict by name": lambda count: {text(i): i + 0.5 for i in range(count)},
    "dict by number": lambda count: {i + 1000: text(i) for i in range(count)},
    "dict with gaps": lambda count: holey({text(i): text(i) for i in range(count + 20)}),
    "dict of an instance": instance_dict,
    "array of objects": lambda count: np.array([text(i) for i in range(count)], object),
    "list of both": lambda count: [[i] if i % 7 == 3 else text(i) for i in range(count)],
    "dict of both": lambda count: {text(i): [i] if i % 7 == 3 else text(i) for i in range(count)},
}


def holey(table):
    for key in list(table)[5:25]:
        del table[key]
    return table


@pytest.mark.parametrize("count", [31, 32, 33, 100])
@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_a_change_of_any_item_of_a_container_of_many_shows(make, count):
    """Those that were seen to hold leaves only are compared as memory."""
    walker, value = new_walker(), make(count)
    first = walk(walker, value)
    for _ in range(3):
        assert walk(walker, value).digest == first.digest
    for at in range(len(value)) if not isinstance(value, dict) else list(value):
        before = value[at]
        for other in (text(at), [1], None, b"x"):
            value[at] = other
            assert walk(walker, value).digest != first.digest
            assert walk(walker, value, False).digest != first.digest
        value[at] = before
        assert walk(walker, value).digest == first.digest
    if isinstance(value, np.ndarray):
        return
    if isinstance(value, list):
        value[0], value[1] = value[1], value[0]
        assert walk(walker, value).digest != first.digest
        value[0], value[1] = value[1], value[0]
        assert walk(walker, value).digest == first.digest
        last = value.pop()
        assert walk(walker, value).digest != first.digest
        value.append(last)
        value.append("more")
        assert walk(walker, value).digest != first.digest
        return
    for key in list(value):
        kept = value.pop(key)
        assert walk(walker, value).digest != first.digest
        value[key] = kept  # it stands last now
    assert walk(walker, value).digest == first.digest
    key = next(iter(value))
    value[key] = value.pop(key)
    assert walk(walker, value).digest != first.digest
    value[1j] = "more"
    assert walk(walker, value).digest != first.digest


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_what_large_containers_hold_is_let_go_with_them(make):
    walker, value = new_walker(), make(100)
    parts = [*value, *(value.values() if isinstance(value, dict) else ())]
    parts = [
        part for part in parts if not str(part).startswith("name")
    ]  # the interpreter remembers names of attributes
    before = [sys.getrefcount(part) for part in parts]
    for _ in range(3):
        walk(walker, value)
    found = walk(walker, parts)
    del found
    walk(walker, [1])
    walk(walker, [2])
    assert [sys.getrefcount(part) for part in parts] == before


def test_what_saves_a_frame_leaves_nothing_behind_in_it():
    """The array of a range, a table of the columns: pandas makes them when it is asked, and keeps them."""
    frame = pd.DataFrame({"a": np.arange(1000.0), "b": ["x"] * 1000})
    walker = new_walker()
    walk(walker, frame)
    saved, refused = groups.groups({"frame": frame})
    assert saved and not refused
    assert not {"_data", "_engine"} & {*frame.index._cache, *frame.columns._cache}


def test_an_array_of_a_range_is_saved_beside_it():
    frame = pd.DataFrame({"a": np.arange(1000.0)})
    saved, refused = groups.groups({"labels": frame.index.values, "index": frame.index, "frame": frame})
    assert not refused and sorted(name for one in saved for name in one.names) == ["frame", "index", "labels"]


def foreign(text, **names):
    space = {"__name__": "no_module", **names}
    exec(text, space)
    return space["f"]


def test_what_names_the_same_module_or_builtin_is_not_saved_together():
    """Each namedtuple's functions name ``tuple.__new__`` and ``len``: their classes would all be one group."""
    ones = {
        "a": foreign("def f(): return size, np, count", size=len, np=np, count=np.count_nonzero),
        "b": foreign("def f(): return size, np", size=len, np=np, count=np.count_nonzero),
    }
    walker = new_walker()
    walked = {name: walk(walker, one) for name, one in ones.items()}
    assert groups.units(["a", "b"], walked) == [["a"], ["b"]]
    shared = []
    ones = {name: foreign("def f(): return shared", shared=shared) for name in "ab"}
    walked = {name: walk(walker, one) for name, one in ones.items()}
    assert groups.units(["a", "b"], walked) == [["a", "b"]]


def test_a_name_that_a_function_does_not_use_is_not_looked_at():
    f, walker = foreign("def f(): return n", n=1, other=open), new_walker()
    before = walk(walker, f)
    f.__globals__["other"] = 5
    assert walk(walker, f).digest == before.digest and not isinstance(before, str)


def test_a_tree_of_a_forest_is_told_by_its_memory_as_by_its_pickle():
    ensemble = pytest.importorskip("sklearn.ensemble")
    from sklearn.tree._tree import Tree

    assert watch.classify(Tree) == "tree"
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(60, 4)), rng.integers(0, 3, (60, 2))
    forest = ensemble.RandomForestClassifier(5, random_state=0).fit(inputs, labels)
    by_pickle = _larder.Walker(lambda kind: "reduce" if kind is Tree else watch.classify(kind), watch.Registries())
    by_memory = new_walker()
    tree = forest.estimators_[3].tree_
    other = forest.estimators_[2].tree_.__getstate__()

    def change_state():
        state = tree.__getstate__()
        state = {name: np.array(part) if name in ("nodes", "values") else part for name, part in state.items()}
        state["nodes"]["missing_go_to_left"][-1] ^= 1
        tree.__setstate__(state)

    def store(name, at, by):
        getattr(tree, name)[at] += by

    changes = [
        *(lambda name=name: store(name, 1, 1) for name in ("threshold", "impurity", "feature", "children_left")),
        *(
            lambda name=name: store(name, -1, 1)
            for name in ("n_node_samples", "weighted_n_node_samples", "children_right")
        ),
        lambda: store("value", (0, 0, 0), 0.25),
        lambda: store("value", (-1, -1, -1), 0.25),
        change_state,
        lambda: tree.__setstate__({**tree.__getstate__(), "max_depth": 99}),
        lambda: tree.__setstate__(
            {name: np.array(part) if name in ("nodes", "values") else part for name, part in other.items()}
        ),
    ]
    for change in (lambda: None, *changes):
        before = [walk(walker, forest) for walker in (by_memory, by_pickle)]
        assert [walk(walker, forest).digest for walker in (by_memory, by_pickle)] == [one.digest for one in before]
        assert sorted(before[0].spans) == sorted(before[1].spans)
        state = pickle.dumps(forest)
        change()
        now = [walk(walker, forest) for walker in (by_memory, by_pickle)]
        assert (pickle.dumps(forest) != state) == (change in changes)
        assert [one.digest != two.digest for one, two in zip(now, before, strict=True)] == [change in changes] * 2


def test_what_is_called_like_a_tree_and_is_none_is_asked():
    pytest.importorskip("sklearn.tree")
    from sklearn.tree._tree import Tree

    class Other:
        def __init__(self, *given):
            self.given = given

    assert stated.tree(Tree) and not stated.tree(Other) and not stated.tree(type("Tree", (Tree,), {}))
    named = type("Tree", (), {"__module__": "sklearn.tree._tree", "__reduce__": lambda self: (int, ())})
    assert watch.classify(named) == "reduce"
