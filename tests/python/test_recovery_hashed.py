"""Objects that hash themselves come back in the sets and dictionaries they were in, whoever of them was met first."""

import collections
import dataclasses
import random
import sys

import pytest
from kernelfixtures import kernel, kill, settle

from larder import groups, hashed

CLASSES = """
import collections, dataclasses
from dataclasses import dataclass, field
class Node:
    def __init__(self, name): self.name, self.nbrs = name, set()
    def __hash__(self): return hash(self.name)
    def __eq__(self, other): return self.name == other.name
@dataclass(frozen=True)
class Edge:
    u: Node
    v: Node
@dataclass(unsafe_hash=True)
class Place:
    x: int = 0
    y: int = 0
    near: dict = field(default_factory=dict, compare=False)
    paths: set = field(default_factory=set, compare=False)
@dataclass(frozen=True, slots=True)
class Slotted:
    key: str
    more: list = field(compare=False)
"""

MADE = """
a, b, c = map(Node, "abc")
a.nbrs |= {b, c}; b.nbrs |= {a, b}; c.nbrs |= {a}
for one in (a, b, c): one.edges = {Edge(one, other): len(other.nbrs) for other in one.nbrs}
places = [Place(i, -i) for i in range(3)]
for one in places:
    one.near.update((other, other.x) for other in places)
    one.paths.update((one, other) for other in places)
slotted = Slotted("s", []); slotted.more.append({slotted: slotted})
counted = collections.Counter(); ordered = collections.OrderedDict()
lone = Node("lone"); lone.counted = counted; counted[lone] += 2
first = Node("first"); first.ordered = ordered; ordered[first], ordered[lone] = 1, 2
"""

SEEN = (
    "print(sorted(n.name for n in b.nbrs), a in b.nbrs, [n is a for n in c.nbrs], "
    "all(Edge(one, other) in one.edges for one in (a, b, c) for other in one.nbrs), "
    "{(e.u.name, e.v.name): n for e, n in sorted(b.edges.items(), key=lambda i: i[0].v.name)}, "
    "all(one.near[other] == other.x and (one, other) in one.paths for one in places for other in places), "
    "[len(one.near) for one in places], slotted.more[0][slotted] is slotted, counted[lone], "
    "list(ordered) == [first, lone], ordered[first])"
)
WHAT = "['a', 'b'] True [True] True {('b', 'a'): 2, ('b', 'b'): 2} True [3, 3, 3] True 2 True 1\n"


def test_graphs_of_objects_that_hash_themselves_come_back(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="hashed.ipynb") as k:
        k.ok(CLASSES)
        k.ok(MADE)
        assert k.text(SEEN) == WHAT
        settle(k)
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="hashed.ipynb") as k:
        assert "not back" not in k.text("1;")
        assert k.text(SEEN) == WHAT
        k.ok("a.nbrs.clear(); places.clear()")
        k.ok("%shelf undo")
        assert k.text(SEEN) == WHAT


def test_they_can_be_read_from_a_shelf(tmp_path):
    with kernel(tmp_path) as k:
        k.ok(CLASSES)
        k.ok(MADE)
        k.ok(f"import larder; shelf = larder.open({str(tmp_path / 'some.shelf')!r})")
        k.ok("shelf.all = a, b, c, places, slotted, counted, lone, ordered, first; del a, b, c, places, slotted")
        k.ok("a, b, c, places, slotted, counted, lone, ordered, first = shelf.all")
        assert k.text(SEEN) == WHAT


class Node:
    """Hashed by its name, of which a class has a default."""

    name = "?"

    def __init__(self, name):
        self.name = name

    def __hash__(self):
        return hash(self.name)

    def __eq__(self, other):
        return type(other) is type(self) and self.name == other.name


class Strict:
    """The same without a default, and with parts that are compared."""

    def __init__(self, name):
        self.name = name

    def __hash__(self):
        return hash((self.name, "strict"))

    def __eq__(self, other):
        return type(other) is type(self) and self.name == other.name


@dataclasses.dataclass(frozen=True)
class Pair:
    first: object
    second: object


def made(rng):
    """Objects that hold one another in all ways there are."""
    nodes = [rng.choice((Node, Strict))(f"n{i}" if rng.random() < 0.9 else "?") for i in range(rng.randint(1, 6))]
    nodes += [Pair(*rng.choices(nodes, k=2)) for _ in range(rng.randint(0, 3))]
    held = []
    for one in nodes:
        own = [] if isinstance(one, Pair) else [one]
        for _ in range(rng.randint(0, 3)):
            some = rng.choices(nodes, k=rng.randint(0, 4))
            keys = some if rng.random() < 0.6 else [(key, rng.randint(0, 2)) for key in some]
            held.append(
                rng.choice(
                    (
                        set,
                        dict.fromkeys,
                        list,
                        collections.OrderedDict.fromkeys,
                        lambda keys: collections.defaultdict(list, dict.fromkeys(keys, 1)),
                    )
                )(keys)
            )
            for mine in own:
                setattr(mine, f"part{len(vars(mine))}", held[-1])
    return {"nodes": nodes, "held": rng.sample(held, len(held))}


def seen(state):
    """What can be told of it, with a number for each object."""
    numbers, said, todo = {}, [], [state]

    def told(one):
        if isinstance(one, (str, int, type(None))):
            return one
        if isinstance(one, tuple):
            return tuple(map(told, one))
        if id(one) not in numbers:
            numbers[id(one)] = len(numbers)
            todo.append(one)
        return f"#{numbers[id(one)]}"

    for one in todo:
        if isinstance(one, dict):
            assert all(key in one for key in one)
            said.append((type(one).__name__, [(told(key), told(value)) for key, value in one.items()]))
        elif isinstance(one, set):
            assert all(key in one for key in one)
            keys = sorted(one, key=lambda key: repr([getattr(part, "name", part) for part in named(key)]))
            said.append(("set", [told(key) for key in keys]))
        elif isinstance(one, list):
            said.append(("list", [told(part) for part in one]))
        else:
            said.append((type(one).__name__, [(name, told(part)) for name, part in sorted(vars(one).items())]))
    return said


def named(key):
    """The parts of a key that are compared."""
    if isinstance(key, tuple):
        return [one for part in key for one in named(part)]
    return [*named(key.first), *named(key.second)] if isinstance(key, Pair) else [key]


@pytest.mark.parametrize("seed", range(20))
def test_random_ones_come_back_as_they_were(seed, monkeypatch):
    rng = random.Random(seed)
    loaded = []

    class Counted(hashed._Second):
        def load(self):
            loaded.append(self)
            return super().load()

    monkeypatch.setattr(hashed, "_Second", Counted)
    for _ in range(20):
        state = made(rng)
        before = seen(state)
        (found,), refused = groups.groups({"state": state})
        assert not refused and found.hashed
        assert seen(hashed.loads(found.stream, found.buffers)["state"]) == before
    assert loaded, "none of them was hashed too early"


class Whose:
    """Hashed by who it has, which is another one in each process."""

    def __init__(self, part):
        self.part = part

    def __hash__(self):
        return id(self.part)


def test_hashes_that_go_by_who_somebody_is(tmp_path):
    one = Whose([])
    one.held, one.kept = {one: 1}, collections.OrderedDict({one: 2})
    (found,), _ = groups.groups({"one": one})
    back = hashed.loads(found.stream, found.buffers)["one"]
    assert back.held[back] == 1 and back.kept[back] == 2 and len(back.held) == len(back.kept) == 1
    one.frozen = frozenset([one, 1])
    (found,), _ = groups.groups({"one": one})
    with pytest.raises(Exception, match="frozenset"):
        hashed.loads(found.stream, found.buffers)


class Counted(set):
    """Counts what it is given when it comes back."""

    def __init__(self, items=()):
        super().__init__(items)
        self.count = len(self)


def test_what_copies_keys_when_it_is_made():
    one, two = Strict("one"), Node("two")
    one.counter, one.frozen, one.own = (
        collections.Counter([one, two, one]),
        frozenset([one, (two, 1)]),
        Counted([one, two]),
    )
    two.counter, two.frozen, two.own = collections.Counter([two]), frozenset([one, two]), Counted([two])
    (found,), _ = groups.groups({"both": [one, two]})
    one, two = hashed.loads(found.stream, found.buffers)["both"]
    assert one.counter == {one: 2, two: 1} and two.counter == {two: 1}
    assert one.frozen == {one, (two, 1)} and two.frozen == {one, two}
    assert one.own == {one, two} and two.own == {two} and (one.own.count, two.own.count) == (2, 1)


def test_only_classes_with_a_hash_of_their_own_are_loaded_so():
    (found,), _ = groups.groups({"x": [random.Random(1), collections.OrderedDict(a=1)]})
    assert not found.hashed
    assert hashed.hash_themselves([int, Node]) and not hashed.hash_themselves([int, object, dict, type(sys)])
