"""How the parts of a group are written, and where arrays are."""

from __future__ import annotations

import time
import types

import numpy as np
import pytest

from larder import _larder, codec, groups, pickled, states, watch

MIB = 1 << 20


@pytest.fixture
def shelf(tmp_path):
    native = _larder.NativeShelf(str(tmp_path / "a.shelf"), "w")
    yield native
    native.close()


@pytest.mark.parametrize("sizes", [[0], [5], [5, 0, 4091], [70_000], [MIB], [MIB - 1, 2], [300_000, 3 * MIB, 0, 17]])
def test_parts_lie_one_after_the_other_and_the_digest_is_of_what_is_written(shelf, sizes):
    parts = [np.random.default_rng(at).bytes(size) for at, size in enumerate(sizes)]
    found = shelf.put_joined("x", "group", b"head", parts, b"told")
    shelf.commit(None)
    kind, meta, (whole,) = shelf.get("x")
    assert (kind, bytes(meta), bytes(whole)) == ("group", b"head", b"".join(parts))
    assert found == _larder.digest_joined(parts, b"told") == _larder.digest_joined([b"".join(parts)], b"told")
    assert found != _larder.digest_joined(parts, b"other")


def test_parts_that_are_cut_elsewhere_have_another_digest():
    def digest(*buffers: bytes) -> bytes:
        return states.Parts(
            groups.Found(["x"], b"stream", [memoryview(one) for one in buffers], [], False), NOTHING
        ).digest

    assert digest(b"ab", b"c") == digest(b"ab", b"c")
    assert (
        len({digest(b"ab", b"c"), digest(b"a", b"bc"), digest(b"abc"), digest(b"abc", b""), digest(b"ab", b"d")}) == 5
    )
    large = bytes(2 * MIB)
    assert digest(large) != digest(states.Part(large, NOTHING).sums)


NOTHING = types.SimpleNamespace(place=lambda view: None, sums=lambda view, size: None)

ARRAYS = {
    "numbers": np.arange(12.0),
    "Fortran": np.asfortranarray(np.ones((3, 4))),
    "none": np.zeros((0, 3)),
    "scalar": np.array(3),
    "bool": np.ones(3, bool),
    "bytes": np.array([b"ab", b"c"]),
    "text": np.array(["ab", "c"]),
    "records": np.zeros(3, [("a", "i4"), ("b", "f8", 2)]),
    "void": np.zeros(3, "V5"),
    "dates": np.zeros(3, "M8[s]"),
    "view": np.arange(12.0)[2:7],
    "with gaps": np.arange(12.0)[::2],
    "backwards": np.arange(12.0)[::-1],
    "over bytes": np.frombuffer(b"abcd", np.uint8),
    "objects": np.array([1, "a"], object),
    "masked": np.ma.array([1, 2], mask=[0, 1]),
    "record array": np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "matrix": np.ones((2, 2)).view(np.matrix),
}
READ_ONLY = np.ones(3)
READ_ONLY.flags.writeable = False
ARRAYS["read only"] = READ_ONLY


@pytest.mark.parametrize("name", ARRAYS)
def test_where_an_array_is_is_what_numpy_says(name):
    array = ARRAYS[name]
    assert _larder.array_data(array) == array.__array_interface__["data"][0]
    assert codec.byte_bounds(array) == tuple(map(int, np.lib.array_utils.byte_bounds(array)))
    own = name in ("numbers", "Fortran", "none", "scalar", "bool", "bytes", "text", "records", "void")
    assert _larder.array_own(array) == (codec.byte_bounds(array) if own else None)


def test_what_is_no_array_has_no_data():
    for one in (b"abc", [1], np, np.ndarray, np.float64(1)):
        assert _larder.array_own(one) is None
        with pytest.raises(TypeError, match="not an array"):
            _larder.array_data(one)


def test_arrays_of_records_are_found_to_be_where_others_look_into_them():
    table = np.zeros(5000, [("a", "i4"), ("b", "f8")])
    found, refused = groups.groups({"table": table, "column": table["a"], "other": np.zeros(3)})
    assert not refused
    assert sorted(one.names for one in found) == [["column", "table"], ["other"]]
    assert pickled.Span(1, 2, 3, False, 4, "x") == (1, 2, 3, False, 4, "x")


def test_asking_about_types_is_no_part_of_a_walk():
    class Unknown:
        pass

    def classify(kind: type):
        if kind is Unknown:
            time.sleep(1)
        return watch.classify(kind)

    walker = _larder.Walker(classify, watch.Registries())
    walker.begin()
    walked, walks, *_ = walker.look({"x": Unknown()}, {}, {}, {}, (), 1.0, 1e-3, 5e-3)
    assert not isinstance(walked["x"], str)
    assert walks["x"] < 0.9


class Bag(dict):
    """Pickled by way of ``copyreg.__newobj__``, as many things are."""

    def __setstate__(self, state):
        pass


def test_what_is_made_by_the_same_function_shares_nothing_by_that():
    walker = _larder.Walker(watch.classify, watch.Registries())
    walker.begin()
    inner: list = []
    walks = [walker.walk(one, True) for one in (Bag(a=1), Bag(b=inner), Bag(c=inner), np.random.PCG64)]
    assert not any(isinstance(one, str) for one in walks)
    first, second, third, _ = _larder.joined(walks)
    assert first != second == third
    assert _larder.sharing(walks[:1], walks[1:]) == []
    assert _larder.sharing(walks[1:2], [walks[0], *walks[2:]]) == [1]
