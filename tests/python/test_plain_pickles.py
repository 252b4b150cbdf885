"""Pickles of plain values written in Rust (``core/cpython/src/plain.rs``): `pickle.loads` makes of them what it makes of
pickle's own, with the same sharing.

``LARDER_FUZZ_GRAPHS`` random graphs from seed ``LARDER_FUZZ_SEED`` on.
"""

from __future__ import annotations

import gc
import math
import os
import pickle
import random
import struct
import subprocess
import sys

import pytest

from larder import plain
from larder._larder import PlainPickler

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="its objects are not known: Python's pickler does all"
)

GRAPHS = int(os.environ.get("LARDER_FUZZ_GRAPHS", "600"))
SEED = int(os.environ.get("LARDER_FUZZ_SEED", "0"))
ATOMS = (int, float, bool, type(None))
MEMOIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)


def written(value) -> bytes:
    found = plain.dumps(value)
    assert found is not None
    return found[0]


def described(root) -> list:
    """A graph as a list that says types, values, order and which objects are one object, but for atoms and ``()``."""
    seen: dict[int, int] = {}
    said: list = []
    todo = [root]
    while todo:
        one = todo.pop()
        kind = type(one)
        if kind in ATOMS or (one == () and kind is tuple):
            said.append((kind, struct.pack("d", one) if kind is float else one))
            continue
        assert kind in MEMOIZED
        if id(one) in seen:
            said.append(("again", seen[id(one)]))
            continue
        seen[id(one)] = len(seen)
        said.append((kind, one if kind in (str, bytes) else bytes(one) if kind is bytearray else len(one)))
        if kind is dict:
            todo += [part for item in reversed(one.items()) for part in reversed(item)]
        elif kind in (list, tuple):
            todo += reversed(one)
        elif kind in (set, frozenset):
            todo += sorted(one, key=lambda part: repr(described(part)))
    return said


def same(value) -> None:
    ours, theirs = pickle.loads(written(value)), pickle.loads(pickle.dumps(value, 5))
    assert described(ours) == described(theirs)


class Graph:
    """A random graph of plain objects."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.made: list = []
        """What may be held once more."""
        self.fixed: list = []
        """The same for what has a hash."""

    def root(self) -> object:
        return self.some(self.random.choice((2, 4, 7)))

    def some(self, depth: int) -> object:
        r = self.random
        if self.made and r.random() < 0.25:
            return r.choice(self.made)
        if depth == 0 or r.random() < 0.3:
            return self.leaf()
        kind = r.randrange(8)
        count = r.choice((0, 1, 2, 3, 4, 9, 40)) if depth < 3 else r.choice((0, 1, 2, 3, 4))
        if kind == 0:
            made = tuple(self.some(depth - 1) for _ in range(count))
        elif kind == 1:
            made = {self.hashable(depth - 1) for _ in range(count)}
        elif kind == 2:
            made = frozenset(self.hashable(depth - 1) for _ in range(count))
        elif kind in (3, 4):
            made = {}
            self.made.append(made)
            for _ in range(count):
                made[self.hashable(depth - 1)] = self.some(depth - 1)
            for key in [key for key in made if r.random() < 0.2]:
                made[key] = made.pop(key)
        else:
            made = []
            self.made.append(made)
            made.extend(self.some(depth - 1) for _ in range(count))
            if r.random() < 0.2:
                made.append((made, *made[:2]))  # a tuple that holds itself by way of a list
        if r.random() < 0.5:
            self.made.append(made)
        return made

    def hashable(self, depth: int) -> object:
        r = self.random
        if self.fixed and r.random() < 0.3:
            return r.choice(self.fixed)
        if depth > 0 and r.random() < 0.3:
            parts = [self.hashable(depth - 1) for _ in range(r.randrange(6))]
            made = tuple(parts) if r.random() < 0.5 else frozenset(parts)
            if r.random() < 0.5:
                self.fixed.append(made)
                self.made.append(made)
            return made
        while True:
            made = self.leaf()
            if type(made) is not bytearray:
                return made

    def leaf(self) -> object:
        r = self.random
        kind = r.randrange(9)
        if kind == 0:
            return r.choice((None, True, False))
        if kind in (1, 2):
            bits = r.choice((1, 7, 8, 9, 15, 16, 17, 30, 31, 32, 33, 60, 63, 64, 65, 90, 200, 2040, 2048, 3000))
            number = r.choice((r.getrandbits(bits), 1 << bits, (1 << bits) - 1))
            return number if r.random() < 0.5 else -number
        if kind == 3:
            return r.choice((0.0, -0.0, math.inf, -math.inf, math.nan, r.random(), 1e300 * r.random()))
        if kind == 4:
            made = r.randbytes(r.choice((0, 1, 5, 255, 256, 300)))
        elif kind == 5:
            made = bytearray(r.randbytes(r.choice((0, 1, 300))))
        else:
            letters = r.choice(("a", "ab\0", "é\x80ÿ", "жλ中", "😀a"))
            made = "".join(r.choices(letters, k=r.choice((0, 1, 4, 60, 255, 256, 300))))
        if r.random() < 0.5:
            self.made.append(made)
            if type(made) is not bytearray:
                self.fixed.append(made)
        return made


@pytest.mark.parametrize("block", range(0, GRAPHS, 100))
def test_random_graphs_come_back_as_pickle_brings_them_back(block):
    for seed in range(SEED + block, SEED + min(block + 100, GRAPHS)):
        graph = Graph(seed)
        value = graph.root()
        if seed % 2:
            graph.made.clear()  # then many objects have one reference only
            graph.fixed.clear()
        before = described(value)
        try:
            same(value)
        except AssertionError as err:
            raise AssertionError(f"seed {seed}") from err
        assert described(value) == before


@pytest.mark.parametrize("bits", range(0, 300, 1))
def test_numbers_of_any_size_are_exact(bits):
    numbers = [sign * ((1 << bits) + off) for sign in (1, -1) for off in (-1, 0, 1)]
    assert pickle.loads(written(numbers)) == numbers


def test_very_large_numbers_are_exact():
    numbers = [sign * (7**count + 1) for sign in (1, -1) for count in (700, 740, 5000)]
    assert pickle.loads(written(numbers)) == numbers


def test_a_string_held_twice_is_one_string_again_and_equal_ones_stay_apart():
    text, equal = "".join(["so", "me"]), "".join(["so", "me"])
    back = pickle.loads(written([text, equal, text, [text]]))
    assert back[0] is back[2] is back[3][0] and back[0] is not back[1] and back[0] == back[1]


def test_what_one_reference_counts_for_is_written_once_wherever_it_is():
    value = [[[]], ([],), {"a": []}, {1: ([],)}, bytearray(b"x"), "".join(["on", "ly"])]
    holder = [value]  # from 3.14 on the variable's own reference may count for nothing while it is an argument
    stream = written(value)
    same(value)
    assert (
        holder and stream.count(pickle.MEMOIZE) == 2
    )  # the list, which we hold as well, and the "a" of this module's code


def test_more_items_than_fit_a_batch():
    for count in (999, 1000, 1001, 2000, 2001):
        same([str(i) for i in range(count)])
        same({i: str(i) for i in range(count)})
        same(set(range(count)))
        same(frozenset(range(count)))
        same(tuple(range(count)))


def test_lists_and_tuples_that_hold_themselves():
    loop: list = []
    loop.append(loop)
    same(loop)
    for count in range(1, 6):
        inner: list = []
        held = (*range(count - 1), inner)
        inner.append(held)
        same(held)
        same([inner, held])
        only = ([1], inner, ["x"])  # parts that nobody else has are met twice
        inner.append(only)
        same(only)
        same({"a": only, "b": inner})
    table: dict = {}
    table["self"] = (table, [table])
    same(table)


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_what_is_nested_too_deeply_is_refused_and_nothing_breaks(kind):
    def nested(levels: int):
        value: object = 1
        for _ in range(levels):
            value = {0: value} if kind is dict else kind([value])
        return value

    same(nested(300))
    for levels in (500, 100_000):
        assert plain.dumps(nested(levels)) is None
    same([nested(300), nested(300)])


class Text(str):
    pass


class Number(int):
    pass


class Items(list):
    pass


@pytest.mark.parametrize(
    "odd", [Text("a"), Number(1), Items(), 1j, object(), range(3), print, int, ..., memoryview(b"x"), "\ud800"]
)
def test_anything_else_is_refused_wherever_it_is(odd):
    values: list = [odd, [1, "a", odd], (odd,), {"a": [odd]}]
    if getattr(type(odd), "__hash__", None) is not None:
        values += [{odd: 1}, {odd}, frozenset((odd,))]
    for value in values:
        assert plain.dumps(value) is None
    same(["what", "follows", "is", "written", ["as", "ever"]])


def test_nothing_is_held_and_no_count_is_changed():
    parts = ["".join(["a", str(i)]) for i in range(100)]
    value = [parts, {part: [part] for part in parts}, set(parts), frozenset(parts), tuple(parts)]
    everything = [value, *value, *parts]
    before = [sys.getrefcount(one) for one in everything]
    for _ in range(3):
        written(value)
        assert plain.dumps([value, object()]) is None
    assert [sys.getrefcount(one) for one in everything] == before
    assert gc.isenabled()


def test_which_parts_others_may_hold_and_change_is_told():
    shared, bytes_ = [1], bytearray(b"x")
    value = {"a": [shared], "b": (shared, bytes_, "text"), "c": [[]]}
    holder = [value]
    found = plain.dumps(value, True)
    assert holder and found is not None and set(found[1]) == {id(value), id(shared), id(bytes_)}


def test_one_pickler_writes_small_and_large_ones_in_turns():
    pickler = PlainPickler()
    words = [f"w{i}" for i in range(300_000)]
    for value in ([1], [words, words], {"a": 1}, {word: word for word in words}, [[]]):
        found = pickler.dumps(value)
        assert found is not None and pickle.loads(found[0]) == value


WITHOUT_MEMORY = """
import pickle, resource
from larder import plain

plain.dumps([1])
value = [f"x{i}" for i in range(500_000)]
held = list(value)
pages = int(open("/proc/self/statm").read().split()[0])
for room in (1 << 18, 1 << 20, 4 << 20):
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + room, resource.RLIM_INFINITY))
    try:
        assert plain.dumps(value) is None
    except MemoryError:
        pass
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
assert pickle.loads(plain.dumps(value)[0]) == value
"""


def test_without_memory_nothing_is_written_and_nothing_breaks():
    done = subprocess.run([sys.executable, "-c", WITHOUT_MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_scalars_of_numpy_are_written_as_what_they_are():
    np = pytest.importorskip("numpy")
    codes = "bBhHiIlLqQd?"
    values = [np.dtype(code).type(number) for code in codes for number in (0, 1, 77)]
    for kind in {np.dtype(code).type for code in codes if code not in "d?"}:
        about = np.iinfo(kind)
        values += [kind(number) for number in (about.min, about.max, about.max - 1, about.max // 3)]
    values += map(np.float64, (-0.0, 1e-310, 1 / 3, float("inf"), float("-inf"), float("nan")))
    value = {"list": values, "keys": {(one, type(one).__name__): one for one in values}, "same": [values[1]] * 2}
    ours = pickle.loads(written(value))
    theirs = pickle.loads(pickle.dumps(value, 5))
    for mine, other, live in zip(ours["list"], theirs["list"], values, strict=True):
        assert type(mine) is type(live)  # NumPy makes an int64 of a longlong
        assert mine.dtype == other.dtype and mine.tobytes() == other.tobytes() == live.tobytes()
    assert [*ours["keys"]] == [*theirs["keys"]] or any(key != key for key, _ in ours["keys"])
    assert ours["list"][-2].dtype == np.float64 and pickle.loads(written(np.True_)) is np.True_


def test_other_scalars_of_numpy_are_refused():
    np = pytest.importorskip("numpy")

    class Own(np.float64):
        pass

    others = (np.float32(1), np.float16(1), np.complex128(1), np.longdouble(1), np.str_("a"), np.bytes_(b"a"), Own(1))
    for one in (*others, np.datetime64(0, "s"), np.timedelta64(0, "s"), np.zeros(1, "i4,i4")[0]):
        assert plain.dumps([one]) is None


def test_scalars_among_objects_that_are_not_plain():
    np = pytest.importorskip("numpy")
    from larder import groups

    class Held:
        pass

    one = Held()
    one.__class__ = type("Held", (), {"__module__": "__main__"})
    one.parts = [np.dtype(code).type(1) for code in "bBhHiIlLqQ?efdgFDG"] + [np.float64("nan"), np.float32(1 / 3)]
    one.parts += [np.datetime64(3, "s"), np.timedelta64(3, "s"), np.str_("a"), np.bytes_(b"a"), np.uint64(2**64 - 1)]
    (found,), refused = groups.groups({"one": one})
    back = pickle.loads(found.stream, buffers=found.buffers)["one"]
    assert not refused
    for mine, live in zip(back.parts, one.parts, strict=True):
        assert type(mine) is type(live) and mine.dtype == live.dtype and mine.tobytes() == live.tobytes()
