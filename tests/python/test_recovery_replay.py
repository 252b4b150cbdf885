"""A walk that is replayed finds what a walk in full finds, whatever was changed in between, and by whatever way."""

import collections
import gc
import itertools
import random
import sys
import types

import numpy as np
import pytest

from larder import watch
from larder._larder import Walker, pages_begin

NEVER = 1 << 40

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 12), reason="the layout of containers is not known"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def walkers():
    return Walker(watch.classify, watch.Registries(), 1), Walker(watch.classify, watch.Registries(), NEVER)


class Both:
    """What two walkers find, one of which replays."""

    def __init__(self, value):
        self.value = value
        self.replaying, self.full = walkers()
        self.look()

    def look(self):
        pages_begin()
        found = []
        for walker in (self.replaying, self.full):
            walker.begin()
            found.append(walker.walk(self.value, True))
            walker.sweep()
        one, other = found
        if isinstance(one, str) or isinstance(other, str):
            assert one == other
            return one
        assert one.digest == other.digest
        assert (one.ids, one.spans, one.framed) == (other.ids, other.spans, other.framed)
        assert one.alive() == other.alive()
        return one.digest

    def same(self):
        """Look until there is a trace: looking may import something, which makes larder ask about all types again."""
        self.look()
        before = self.look()
        replays = self.replaying.replays
        assert self.look() == before
        return self.replaying.replays > replays


class Plain:
    def __init__(self, **own):
        self.__dict__.update(own)

    def method(self):
        return self


class Other(Plain):
    pass


def below(root):
    """Everything that can be changed and is reached from there."""
    found, todo = {}, [root]
    while todo:
        one = todo.pop()
        if id(one) in found or isinstance(one, (type, types.ModuleType, types.FunctionType, str, int, float)):
            continue
        found[id(one)] = one
        if isinstance(one, dict):
            todo += [*one.keys(), *one.values()]
        elif isinstance(one, (list, tuple, set, frozenset)):
            todo += one
        elif isinstance(one, types.MethodType):
            todo.append(one.__self__)
        elif isinstance(one, np.ndarray):
            todo += [one.base] if one.base is not None else []
            todo += one.ravel().tolist() if one.dtype == object else []
        if type(getattr(one, "__dict__", None)) is dict:
            todo.append(one.__dict__)
    return list(found.values())


def changes(one, rng):
    """Ways to change an object in place: pairs of what does it and what undoes it."""
    new = [7]
    if isinstance(one, list):
        kept = list(one)
        back = lambda: one.__setitem__(slice(None), kept)  # noqa: E731
        yield lambda: one.append(new), back
        yield lambda: one.insert(0, 3.5), back
        if one:
            at = rng.randrange(len(one))
            yield lambda: one.__setitem__(at, new), back
            yield lambda: one.pop(at), back
            yield one.reverse, back
            yield one.clear, back
    elif isinstance(one, dict) and type(one) in (dict, collections.OrderedDict, collections.defaultdict):
        kept_items = dict(one)

        def back_items():
            one.clear()
            one.update(kept_items)

        yield lambda: one.__setitem__("added by a test", new), back_items
        if one and all(isinstance(key, str) for key in one):
            key = rng.choice(list(one))
            yield lambda: one.__setitem__(key, new), back_items
            yield lambda: one.__setitem__(key, one.pop(key)), back_items
            yield lambda: one.pop(key), back_items
    elif type(one) is set:
        kept_set = set(one)

        def back_set():
            one.clear()
            one.update(kept_set)

        yield lambda: one.add("added by a test"), back_set
        if one:
            yield one.pop, back_set
    elif isinstance(one, bytearray):
        yield lambda: one.__setitem__(0, one[0] ^ 1), lambda: one.__setitem__(0, one[0] ^ 1)
    elif isinstance(one, np.ndarray) and one.size and one.flags.writeable and one.dtype.kind in "biuf":
        before, flat = one.copy(), tuple(rng.randrange(n) for n in one.shape)

        def back_array():
            one[...] = before

        yield lambda: one.__setitem__(flat, one[flat] + 1 if one.dtype.kind != "b" else not one[flat]), back_array
        yield lambda: one.fill(1), back_array
        if one.flags.owndata:
            yield lambda: setattr(one.flags, "writeable", False), lambda: setattr(one.flags, "writeable", True)
        if one.ndim == 2 and one.flags.c_contiguous:
            shape = one.shape
            yield lambda: setattr(one, "shape", shape[::-1]), lambda: setattr(one, "shape", shape)
    own = getattr(one, "__dict__", None)
    if type(own) is dict and own:
        kept_own, name = dict(own), rng.choice(list(own))

        def back_own():
            own.clear()
            own.update(kept_own)
            one.__dict__ = own

        yield lambda: own.__setitem__(name, new), back_own
        yield lambda: object.__setattr__(one, "added_by_a_test", new), back_own
        yield lambda: object.__setattr__(one, name, new), back_own
        yield lambda: object.__delattr__(one, name), back_own
        yield lambda: own.__setitem__(name, own.pop(name)), back_own
        yield lambda: setattr(one, "__dict__", dict(kept_own)), back_own
        if type(one) is Plain:
            yield lambda: setattr(one, "__class__", Other), lambda: setattr(one, "__class__", Plain)


def graph(rng, size):
    """Containers, instances, arrays and views of each other."""
    made = [Plain(n=i) for i in range(4)]
    base = np.arange(64.0)

    def pick(n):
        return rng.sample(made, min(n, len(made)))

    def ways(i):
        return [
            lambda: [*pick(3), i],
            lambda: {f"k{j}": part for j, part in enumerate(pick(3))},
            lambda: (*pick(2), i),
            lambda: {i, f"s{i}", (i, i)},
            lambda: frozenset((i, f"f{i}")),
            lambda: Plain(part=pick(1)[0], n=i, name=f"n{i}"),
            lambda: np.arange(float(i % 9 + 1)),
            lambda: base[i % 60 :],
            lambda: np.array([*pick(2), i, None], dtype=object),
            lambda: np.arange(6.0).reshape(2, 3),
            lambda: bytearray(b"abc%d" % i),
            lambda: bytes(5000) + b"%d" % i,
            lambda: [*range(40), *pick(2)],
            lambda: {j: f"v{j}" for j in range(20)},
            lambda: Plain().method,
            lambda: collections.OrderedDict(a=pick(1)[0]),
            lambda: collections.deque(pick(2)),
        ]

    for i in range(size):
        made.append(rng.choice(ways(i))())
    return made


def change_all(root, rng, most):
    both = Both(root)
    assert both.same()
    todo = [(one, n) for one in below(root) for n, _ in enumerate(changes(one, rng))]
    shown = 0
    for one, n in rng.sample(todo, min(most, len(todo))):
        before = both.look()
        do = next(itertools.islice(changes(one, rng), n, None), None)
        if do is None:
            continue
        try:
            do[0]()
        except (AttributeError, TypeError, ValueError):
            continue  # it cannot be changed that way
        try:
            shown += both.look() != before
        finally:
            do[1]()
        both.look()
    assert both.same(), "what was undone is replayed again"
    return shown, len(todo)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_changes_in_containers_instances_and_arrays_shows_as_in_a_walk_in_full(seed):
    rng = random.Random(seed)
    shown, there = change_all(graph(rng, 90), rng, 300)
    assert shown > 100 and there > 200


def figure():
    pytest.importorskip("matplotlib").use("agg")
    import matplotlib.pyplot as plt

    made, (left, right) = plt.subplots(1, 2, figsize=(5, 3))
    left.plot([1, 2, 3], [3, 1, 2], "o-", label="line")
    left.bar([1, 2], [1, 2])
    left.text(1, 1, "text")
    left.legend()
    left.twinx().plot([1, 2], [9, 8])
    right.imshow(np.arange(12.0).reshape(3, 4))
    right.scatter([1, 2], [2, 1], c=[1.0, 2.0])
    right.annotate("here", (1, 1), (2, 2), arrowprops={})
    right.fill_between([0, 1], [0, 1])
    made.canvas.draw()
    plt.close(made)
    return made


def test_every_part_of_a_figure_by_every_way():
    rng = random.Random(5)
    shown, there = change_all(figure(), rng, 500)
    assert shown > 200 and there > 2000


def test_a_figure_changed_by_its_own_methods():
    made = figure()
    left, right, twin = made.axes
    both = Both(made)
    line = left.lines[0]
    for change in (
        lambda: line.set_color("red"),
        lambda: line.set_ydata([1, 1, 1]),
        lambda: line.get_xdata(orig=False).__setitem__(0, 5),
        lambda: left.set_xlim(0, 9),
        lambda: left.set_title("title"),
        lambda: left.get_xticklabels()[0].set_rotation(30),
        lambda: left.patches[0].set_height(5),
        lambda: right.images[0].set_cmap("gray"),
        lambda: right.images[0].get_array().__setitem__((0, 0), 9.0),
        lambda: right.collections[0].set_offsets([[1, 1], [2, 2]]),
        lambda: twin.set_ylabel("other"),
        lambda: made.set_size_inches(4, 4),
        lambda: made.canvas.mpl_connect("button_press_event", print),
        lambda: left.add_line(type(line)([0], [0])),
        lambda: left.lines[-1].remove(),
        lambda: left.spines["top"].set_visible(False),
        lambda: made.canvas.draw(),
    ):
        before = both.look()
        both.look()
        change()
        changed = both.look() != before
        assert changed or change.__code__.co_names[-1:] == ("draw",)


def test_a_hidden_name_that_is_there_as_another_string_hides_nothing():
    one = figure()
    both = Both(one)
    assert both.same()
    own = one.axes[0].title.__dict__
    hidden = next(name for name in own if name == "stale_callback")
    again = "".join(list(hidden))
    assert again is not hidden
    own[again] = own.pop(hidden)
    both.look()
    assert both.same()
    for at, value in (("_text", "another"), (again, print), ("new", 1)):
        before = both.look()
        own[at] = value
        both.look()
        assert both.same()
        assert both.look() != before, at


def test_types_that_change_are_asked_about_again(monkeypatch):
    import larder.between as module  # a class that is imported by name

    class Kept:
        def __init__(self):
            self.part, self.hidden = [1], [2]

    Kept.__module__, Kept.__qualname__ = module.__name__, "Kept"
    monkeypatch.setattr(module, "Kept", Kept, raising=False)
    value = [Kept() for _ in range(100)]
    both = Both(value)
    assert both.same()
    before = both.look()
    Kept.__getstate__ = lambda self: {"part": self.part}
    assert both.look() != before
    assert both.same()
    before = both.look()
    value[3].hidden.append(3)
    assert both.look() == before, "its pickle leaves that out"
    value[3].part.append(3)
    assert both.look() != before
    before = both.look()
    monkeypatch.delattr(module, "Kept")
    assert both.look() != before, "it has no name any more: it is pickled by what is in it"
    before = both.look()
    Kept.more = 5
    assert both.look() != before


def test_a_trace_keeps_nothing_alive_and_reads_nothing_that_is_gone():
    value = [Plain(part=[Plain(n=[i])]) for i in range(200)]
    both = Both(value)
    assert both.same()
    gone = [__import__("weakref").ref(value[i]) for i in range(200)]
    for i in range(0, 200, 2):
        value[i] = None
    gc.collect()
    assert [one() is None for one in gone] == [i % 2 == 0 for i in range(200)]
    both.look()
    assert both.same()
    for i in range(1, 200, 2):
        value[i].part.clear()
    gc.collect()
    both.look()
    assert both.same()


def test_memory_of_another_kind_at_the_same_place_is_read_again():
    value = [np.zeros(50) for _ in range(100)]
    both = Both(value)
    assert both.same()
    before = both.look()
    value[50][7] = 1.0
    assert both.look() != before
    value[50][7] = 0.0
    assert both.look() == before
    assert both.same()
