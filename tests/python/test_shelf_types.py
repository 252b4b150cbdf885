"""What lives on a shelf: everything of ``shelftable`` is put by one process and read, compared, by another."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import shelftable

import larder

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def torch_path(tmp_path_factory):
    """A folder with the larder under test and nothing else: what lies beside it is for another Python than torch's."""
    folder = tmp_path_factory.mktemp("torch")
    (folder / "larder").symlink_to(Path(larder.__file__).parent)
    return folder


def other_process(
    what: str, path: Path, which: str = "all", python: str = sys.executable, where: Path | None = None
) -> dict[str, str | None]:
    """What ``shelftable.py`` says of every value."""
    done = subprocess.run(
        [python, HERE / "shelftable.py", what, path, which],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **({"PYTHONPATH": str(where)} if where else {})},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The table on a shelf: its path, and what went wrong when it was put there."""
    path = tmp_path_factory.mktemp("types") / "table.shelf"
    return path, other_process("write", path)


@pytest.fixture(scope="module")
def came_back(written):
    """What went wrong when another process read and compared."""
    return other_process("read", written[0])


class TestEveryValue:
    """Of the table, one test each."""

    @pytest.fixture(autouse=True)
    def larder_home(self):
        """Nothing is opened here, so nothing has to be cleaned up after each."""

    @pytest.mark.parametrize("name", shelftable.table("all"))
    def test_comes_back_in_another_process(self, name, written, came_back):
        said = written[1][name] or came_back[name]
        assert said is None, said


def test_the_whole_table_is_sound_after_all_that(came_back, written):
    assert set(came_back) == set(written[1]) == set(shelftable.table("all"))
    assert larder.shelf.verify_file(written[0]).ok


@pytest.fixture(scope="module")
def torch_python():
    """A Python that has torch."""
    done = subprocess.run([ROOT / "scripts" / "ensure-torch.sh"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


@pytest.mark.timeout(700)
def test_tensors_come_back_in_another_process(torch_python, torch_path, tmp_path):
    path = tmp_path / "t.shelf"
    said = other_process("write", path, "torch", torch_python, torch_path)
    back = other_process("read", path, "torch", torch_python, torch_path)
    wrong = {name: text for one in (said, back) for name, text in one.items() if text}
    assert not wrong, "\n".join(wrong.values())
    assert len(back) >= 30
    with larder.open(path, "r", trust=False) as shelf:
        assert shelf.inspect()[0]["kind"].startswith("tensor ")
        if "torch" not in sys.modules:
            with pytest.raises(larder.ShelfError, match="torch cannot be imported here"):
                _ = shelf["tensor float32"]


TORCH = """
import gc, os, pickle, signal, sys, warnings
warnings.simplefilter("error")
import torch, larder
path = sys.argv[1]
shelf = larder.open(path)
shelf.t = torch.zeros(50_000)
t = shelf.t
assert type(t) is torch.Tensor and t.data_ptr() == shelf.t.data_ptr(), "every read is the same memory"
low = shelf._native.get("t")[2][0].address
assert t.data_ptr() == low, "it is the shelf's memory"
t[5] = 1
before = shelf.stats()["bytes_written"]
shelf.commit()
assert 0 < shelf.stats()["bytes_written"] - before < 64 << 10, "one element costs pages"
t[6] = 7
shelf.rollback()
assert t[6] == 0 and t[5] == 1, "a rollback shows in the tensor in hand"

shelf.u = larder.tensor((9, 9), dtype=torch.int32)
shelf.u[3] = 4
shelf.g = larder.tensor(3, requires_grad=True)
assert shelf.g.requires_grad and shelf.g.dtype == torch.get_default_dtype()
for wrong, error in (((-1,), ValueError), ((2, object), TypeError)):
    try:
        larder.tensor(*wrong)
    except error:
        continue
    raise AssertionError(wrong)

# A model whose weights are the shelf's memory trains in place.
model = torch.nn.Linear(200, 100)
shelf.model = model
model = shelf.model
with torch.no_grad():
    model.weight.fill_(2.0)
shelf.commit()

# Inside a container a shelved tensor is a reference.
shelf.pair = {"t": shelf.t, "n": 1}
row = next(r for r in shelf.inspect() if r["name"] == "pair")
assert row["bytes"] < 1000, row
assert shelf.pair["t"].data_ptr() == low
plain = pickle.loads(pickle.dumps(shelf.t))
assert plain.data_ptr() != low and plain[5] == 1

# Removed and replaced tensors keep what they show.
shelf.gone = torch.full((30_000,), 7.0)
gone = shelf.gone
del shelf.gone
shelf.pair = {"t": 0}
old = shelf.t
shelf.t = torch.full((50_000,), 3.0)
for n in range(20):
    shelf[f"filler{n}"] = torch.full((30_000,), float(n))
assert bool((gone == 7).all()) and old[5] == 1 and float(old.sum()) == 1
gone[0] = 5
shelf.commit()
assert shelf.verify().ok and all(float(shelf[f"filler{n}"].sum()) == 30_000 * n for n in range(20))

# A reader has a copy: its memory is read-only, and torch has no such tensors.
with larder.open(path, "r") as reader:
    copy = reader.t
    copy[0] = 99
    assert reader.t[0] == 3
shelf.close()
assert float(old.sum()) == 1, "also after the shelf was closed"
os.kill(os.getpid(), signal.SIGKILL)
"""

TORCH_AFTER = """
import sys, torch, larder
shelf = larder.open(sys.argv[1])
assert bool((shelf.t == 3).all()) and shelf.u.sum() == 36 and float(shelf.u[3, 0]) == 4
assert bool((shelf.model.weight == 2).all())
with larder.open(sys.argv[1], "r", trust=False) as careful:
    assert float(careful.t[0]) == 3
print("sound")
"""


@pytest.mark.timeout(700)
def test_tensors_share_the_memory_of_the_shelf(torch_python, torch_path, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(torch_path)}
    command = [torch_python, "-c", TORCH, tmp_path / "t.shelf"]
    first = subprocess.run(command, capture_output=True, text=True, timeout=100, env=env)
    assert first.returncode == -9, first.stderr
    command[2] = TORCH_AFTER
    assert subprocess.run(command, capture_output=True, text=True, timeout=100, env=env).stdout == "sound\n"


# --- in place ---

N = 100_000


def spans(shelf, name):
    """Where the buffers of a variable are in memory."""
    return [(buffer.address, buffer.address + len(buffer)) for buffer in shelf._native.get(name)[2]]


def address(array):
    return array.__array_interface__["data"][0]


IN_PLACE = {
    "ndarray": (lambda: np.arange(N), address),
    "pandas": (lambda: pd.DataFrame({"a": np.arange(N), "b": np.ones(N)}), lambda f: address(f["b"].to_numpy())),
    "pandas text": (
        lambda: pd.DataFrame({"s": [f"row {n}" for n in range(N)]}),
        lambda f: f["s"].array.__arrow_array__().chunks[0].buffers()[2].address,
    ),
    "pandas Series": (lambda: pd.Series(np.arange(N)), lambda s: address(s.to_numpy())),
    "polars": (lambda: pl.DataFrame({"a": np.arange(N), "b": np.ones(N)}), lambda f: address(f["b"].to_numpy())),
    "polars Series": (lambda: pl.Series("q", np.arange(N)), lambda s: address(s.to_numpy())),
    "pyarrow Table": (lambda: pa.table({"n": np.arange(N)}), lambda t: t["n"].chunks[0].buffers()[1].address),
    "pyarrow Array": (lambda: pa.array(np.arange(N)), lambda a: a.buffers()[1].address),
    "scipy csr": (lambda: scipy.sparse.csr_array(np.eye(2_500)), lambda m: address(m.data)),
    "dict of arrays": (lambda: {"a": np.arange(N)}, lambda d: address(d["a"])),
    "dataclass": (lambda: shelftable.Point(1, [np.ones(N)]), lambda p: address(p.tags[0])),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_large_parts_are_mapped_where_they_lie(name):
    make, where = IN_PLACE[name]
    with larder.open("t") as shelf:
        shelf.x = make()
    shelf = larder.open("t")
    got = shelf.x
    assert any(low <= where(got) < high for low, high in spans(shelf, "x")), "a copy was made"


def test_stores_into_a_frame_or_a_list_of_arrays_are_part_of_the_next_commit():
    shelf = larder.open("t")
    shelf.update({"f": pd.DataFrame({"a": np.arange(N), "b": np.ones(N)}), "l": [np.zeros(N)]})
    frame = shelf.f  # pandas warns of a store into a frame that has no name
    frame.loc[5, "a"] = -1
    shelf.l[0][7] = 3
    shelf.commit()
    shelf.close()
    shelf = larder.open("t")
    assert shelf.f["a"][5] == -1 and shelf.l[0][7] == 3 and shelf.l[0].sum() == 3


# --- references ---


def test_references_follow_the_name_and_dangling_ones_say_which():
    shelf = larder.open("t")
    shelf.x = np.zeros(N)
    shelf.deep = {"all": [shelf.x, (shelf.x,)], "other": np.ones(3)}
    deep = shelf.deep
    assert address(deep["all"][0]) == address(deep["all"][1][0]) == address(shelf.x)
    view = shelf.x[10:]
    shelf.views = [view]
    assert address(shelf.views[0]) not in range(*spans(shelf, "x")[0]), (
        "a part of a variable is a copy, not a reference"
    )
    shelf.x = np.full(N, 2.0)
    assert shelf.deep["all"][0][0] == 2, "it refers to the name, not to what was there"
    shelf["again"] = [deep["all"][0]]
    assert shelf.again[0][0] == 0, "what x was before is no variable any more: a copy"
    del shelf.x
    with pytest.raises(larder.ShelfError, match="refers to the shelved variable `x`, which is no longer on the shelf"):
        _ = shelf.deep
    assert shelf.again[0][0] == 0
    shelf.x = 5
    assert shelf.deep["all"] == [5, (5,)]


def test_what_is_shelved_on_another_shelf_is_copied():
    one, two = larder.open("one"), larder.open("two")
    one.x = np.arange(N)
    two.x = {"x": one.x}
    one.close()
    assert two.x["x"].sum() == N * (N - 1) // 2


def test_a_variable_that_is_replaced_by_something_that_holds_it_is_copied():
    shelf = larder.open("t")
    shelf.x = np.arange(N)
    shelf.x = [shelf.x, "and more"]
    assert shelf.x[0].sum() == N * (N - 1) // 2


# --- shadow types ---


@pytest.mark.parametrize(
    ("shape", "dtype", "order"),
    [
        ((9, 9), "i4", "C"),
        (5, "f8", "C"),
        ((), "f4", "C"),
        ((0, 3), "f8", "C"),
        ((4, 5), "c16", "F"),
        (3, [("a", "i2")], "C"),
    ],
)
def test_a_shadow_array_is_zeros_of_its_shape_and_kept_after_a_commit(shape, dtype, order):
    shelf = larder.open("t")
    shelf.y = larder.ndarray(shape, dtype=dtype, order=order)
    expected = np.zeros(shape, dtype, order)
    assert (shelf.y == expected).all() and shelf.y.dtype == expected.dtype and shelf.y.shape == expected.shape
    assert shelf.y.flags.f_contiguous == expected.flags.f_contiguous
    shelf.y[...] = 1
    shelf.close()
    expected[...] = 1
    np.testing.assert_array_equal(np.asarray(larder.open("t").y), expected)


def test_wrong_shadows_are_refused_before_anything_is_written():
    for make, error in (
        (lambda: larder.ndarray((-1, 2)), ValueError),
        (lambda: larder.ndarray(-1), ValueError),
        (lambda: larder.ndarray(3, order="K"), ValueError),
        (lambda: larder.ndarray(3, dtype=object), TypeError),
        (lambda: larder.ndarray("abc"), (TypeError, ValueError)),
    ):
        with pytest.raises(error):
            make()
    shelf = larder.open("t")
    with pytest.raises((larder.ShelfError, ValueError, MemoryError)):
        shelf.y = larder.ndarray(1 << 61)
    shelf.z = 1
    assert list(shelf) == ["z"] and shelf.verify().ok


# --- trust ---


def test_without_trust_only_data_is_read_and_no_code_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w').close()",)

    data = {
        "x": np.arange(5),
        "s": "text",
        "n": -5,
        "z": 1j,
        "none": None,
        "b": b"1",
        "st": np.ones(2, dtype=[("a", "i2")]),
    }
    with larder.open("t") as shelf:
        shelf.update(data)
        shelf.update({"evil": Evil(), "list": [1], "object array": np.array([None])})
    for mode in ("r", "r+"):
        with larder.open("t", mode, trust=False) as shelf:
            for name, value in data.items():
                assert np.all(shelf[name] == value), name
            for name in ("evil", "list", "object array"):
                with pytest.raises(larder.ShelfError, match=rf"`{name}` is a pickled object.*trust=True"):
                    shelf[name]
            assert shelf.verify().ok and len(shelf.inspect()) == len(data) + 3 and "evil" in repr(shelf.inspect())
    assert not (tmp_path / "ran").exists()


# --- views outlive their variables ---


def test_views_in_hand_never_see_other_data_whatever_happens_to_the_shelf():
    seed = random.randrange(1 << 30)
    draw = random.Random(seed)
    shelf = larder.open("t", history=3)
    held: list[tuple[np.ndarray, float]] = []
    on_shelf: dict[str, float] = {}
    made = iter(range(1, 10**9))

    def check() -> None:
        for view, value in held:
            assert (np.asarray(view) == value).all(), (
                f"seed {seed}: {value} became {set(np.asarray(view).ravel().tolist())}"
            )
        for name, value in on_shelf.items():
            assert (np.asarray(shelf[name]) == value).all(), f"seed {seed}: {name}"

    for _ in range(250):
        name, value = f"v{draw.randrange(6)}", float(next(made))
        match draw.randrange(10):
            case 0 | 1 | 2 | 3:
                shelf[name] = np.full(draw.choice([3, 600, 5_000, 300_000]), value)
                on_shelf[name] = value
            case 4 | 5 if name in on_shelf:
                held.append((shelf[name], on_shelf[name]))
            case 6 if name in on_shelf:
                del shelf[name], on_shelf[name]
            case 7 if name in on_shelf:
                with pytest.raises(RuntimeError), shelf.transaction():
                    shelf[name] = np.full(700, -1.0)
                    shelf.other = np.full(900, -2.0)
                    raise RuntimeError
            case 8:
                shelf.compact()
            case 9:
                shelf.close()
                shelf = larder.open("t")
        held = held[-12:]
        check()
    assert held and shelf.verify().ok
    # A store into what is no variable any more stays in that array alone.
    outside = [v for v, value in held if value not in on_shelf.values()]
    assert outside
    for view in outside:
        view[0] = -7
    shelf.commit()
    shelf.close()
    shelf = larder.open("t")
    assert shelf.verify().ok
    for name, value in on_shelf.items():
        assert (np.asarray(shelf[name]) == value).all(), f"seed {seed}: {name}"


def test_frames_and_lists_in_hand_outlive_their_variables():
    shelf = larder.open("t")
    shelf.update(
        {"f": pd.DataFrame({"a": np.full(N, 5.0)}), "p": pl.DataFrame({"a": np.full(N, 6.0)}), "l": [np.full(N, 7.0)]}
    )
    frame, polar, inside = shelf.f, shelf.p, shelf.l[0]
    del shelf.f, shelf.p
    shelf.l = 1
    for n in range(30):
        shelf[f"filler{n}"] = np.full(N, float(n))
    shelf.compact()
    shelf.close()
    assert frame["a"].sum() == 5 * N and polar["a"].sum() == 6 * N and inside.sum() == 7 * N


def test_reading_an_instance_leaves_its_class_as_it_is_here(tmp_path):
    """What a class of `__main__` was given since, and how it counts, is not what it was when the instance was put."""
    code = """
import larder, sys
shelf = larder.open(sys.argv[1])
class Counted:
    made = 0
    def __init__(self): Counted.made += 1
    def told(self): return "then"
shelf.one = Counted(); shelf.big = [Counted(), bytes(100_000)]; shelf.commit()
Counted.told = lambda self: "now"; Counted.made = 7; Counted.new = 1
one, (other, _) = shelf.one, shelf.big
print(type(one) is type(other) is Counted, one.told(), other.told(), Counted.made, Counted.new)
shelf.close()
"""
    there = "import larder, sys; shelf = larder.open(sys.argv[1]); print(shelf.one.told(), type(shelf.big[0]).made)"
    file = tmp_path / "c.shelf"
    said = [subprocess.run([sys.executable, "-c", one, file], capture_output=True, text=True) for one in (code, there)]
    assert [one.stdout for one in said] == ["True now now 7 1\n", "then 1\n"], said
