"""Shelves as a notebook user meets them: what goes on one comes back, equal, and in place where it can be."""

from __future__ import annotations

import copy
import datetime
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pandas as pd
import pytest

import larder
from larder.types import ShelfArray


def reopened(path="t"):
    for shelf in larder.shelves():
        shelf.close()
    return larder.open(path)


def child(code: str) -> subprocess.CompletedProcess:
    """``code`` in another process with the same larder home."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )


ARRAYS = {
    "float": np.linspace(0, 1, 7),
    "int8": np.arange(5, dtype=np.int8),
    "big endian": np.arange(5, dtype=">i4"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j, 3]),
    "str": np.array(["a", "héllo"]),
    "bytes": np.array([b"a", b"bc"]),
    "datetime": np.array(["2026-01-01", "NaT"], dtype="datetime64[ns]"),
    "timedelta": np.array([1, 2], dtype="timedelta64[s]"),
    "structured": np.array([(1, 2.5), (3, 4.5)], dtype=[("n", "i4"), ("x", "f8")]),
    "nested": np.zeros(3, dtype=[("a", [("b", "i2"), ("c", "f4", (2, 2))])]),
    "0-d": np.array(3.5),
    "empty": np.empty((0, 4)),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(20)[::3],
    "reversed": np.arange(6)[::-1],
    "transposed": np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
    "void": np.zeros(2, dtype="V5"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_every_plain_dtype_and_layout_comes_back_equal(name):
    given = ARRAYS[name]
    larder.open("t").x = given
    got = reopened().x
    assert got.dtype == given.dtype and got.shape == given.shape
    np.testing.assert_array_equal(np.asarray(got), given)
    if name == "fortran":
        assert got.flags.f_contiguous


ATOMS = [
    None,
    True,
    False,
    0,
    -1,
    2**200,
    -(2**200),
    1.5,
    float("inf"),
    -0.0,
    1 - 2j,
    "",
    "grün",
    "\ud800",
    b"",
    b"\0" * 40_000,
    "x" * 50_000,
]


@pytest.mark.parametrize("value", ATOMS, ids=lambda v: repr(v)[:20])
def test_atoms_come_back_equal_and_of_the_same_type(value):
    larder.open("t").x = value
    got = reopened().x
    assert got == value and type(got) is type(value)


def test_bytearray_nan_dates_and_containers_come_back():
    shelf = larder.open("t")
    value = {"a": [1, (2, {3})], "d": datetime.datetime(2026, 11, 21), "n": None}
    shelf.update({"ba": bytearray(b"xy"), "nan": float("nan"), "value": value})
    shelf = reopened()
    assert shelf.ba == bytearray(b"xy") and shelf.nan != shelf.nan and shelf.value == value


def test_shared_parts_and_cycles_of_one_value_are_kept():
    part = [1]
    cycle = [part, part]
    cycle.append(cycle)
    larder.open("t").x = cycle
    got = reopened().x
    assert got[0] is got[1] and got[2] is got


def test_an_array_is_mapped_not_copied_and_a_store_is_durable_after_commit():
    shelf = larder.open("t")
    shelf.x = np.zeros(1_000_000)
    x = shelf.x
    assert isinstance(x, np.ndarray) and np.shares_memory(x, shelf.x)
    before = shelf.stats()["bytes_written"]
    x[5] = 1
    shelf.commit()
    assert shelf.stats()["bytes_written"] - before < 64 << 10, "one element costs pages, not the array"
    assert reopened().x[5] == 1


def test_rollback_takes_back_stores_that_are_in_hand():
    shelf = larder.open("t")
    shelf.x = np.arange(4)
    x = shelf.x
    x[0] = 99
    shelf["y"] = 1
    x[1] = 98
    shelf.rollback()
    assert shelf.x[0] == 99, "y's assignment was a commit of its own, with the store before it"
    assert x[1] == 1 and shelf.x[1] == 1


def test_what_is_computed_from_a_shelved_array_is_plain():
    shelf = larder.open("t")
    shelf.x = np.arange(4.0)
    for plain in (
        shelf.x + 1,
        np.sin(shelf.x),
        shelf.x.copy(),
        copy.deepcopy(shelf.x),
        pickle.loads(pickle.dumps(shelf.x)),
        np.sort(shelf.x),
        np.concatenate([shelf.x, shelf.x]),
        np.unique(shelf.x),
        *np.unique(shelf.x, return_counts=True),
        np.zeros_like(shelf.x),
        shelf.x.astype("f4"),
        shelf.x.flatten(),
        shelf.x.take([1]),
        shelf.x.dot(np.ones((4, 4))),
        shelf.x > 1,
    ):
        assert type(plain) is np.ndarray
    assert type(shelf.x) is ShelfArray
    x = shelf.x
    x += 1
    assert x is not None and shelf.x[0] == 1 and shelf.x.sum() == 10


def test_an_augmented_assignment_stores_in_place():
    shelf = larder.open("t")
    shelf.x = np.zeros(1_000_000)
    shelf.y = shelf.x
    x, extents = shelf.x, [row["offset"] for row in shelf._native.inspect()]
    x[7] = 1
    before = shelf.stats()["bytes_written"]
    shelf.x = x
    assert shelf.stats()["bytes_written"] - before < 64 << 10, "nothing was copied"
    shelf.x[:5] += 1
    shelf.x += 0
    assert [row["offset"] for row in shelf._native.inspect()][1] == extents[1]
    assert x is not shelf.y and x.sum() == 6 and shelf.y.sum() == 0, "another name is a copy"
    shelf.y = x
    shelf.y[0] = 9
    assert reopened().x.sum() == 6 and larder.open("t").y[0] == 9


def test_a_view_of_a_replaced_or_removed_variable_keeps_its_data():
    shelf = larder.open("t")
    shelf.x = np.full(10_000, 7.0)
    old = shelf.x
    shelf.x = np.zeros(3)
    for n in range(20):
        shelf[f"filler{n}"] = np.full(10_000, float(n))
    assert (old == 7).all()
    kept = shelf.filler3
    del shelf.filler3
    shelf.again = np.ones(10_000)
    shelf.close()
    assert (old == 7).all() and (kept == 3).all()


def test_shadow_array_is_allocated_in_place():
    shelf = larder.open("t")
    shelf.y = larder.ndarray((9, 9), dtype=np.int32)
    shelf.y[3] = 4
    shelf.commit()
    got = reopened().y
    assert got.dtype == np.int32 and got.shape == (9, 9) and got[3].sum() == 36 and got.sum() == 36
    with pytest.raises(TypeError, match="objects"):
        larder.ndarray(3, dtype=object)


def test_frames_come_back_with_their_buffers_out_of_band():
    frame = pd.DataFrame({"a": np.arange(100_000.0), "b": np.arange(100_000), "c": ["x"] * 100_000})
    larder.open("t").f = frame
    shelf = reopened()
    pd.testing.assert_frame_equal(shelf.f, frame)
    assert shelf.inspect()[0]["bytes"] > 1_600_000


def test_arrow_polars_and_sparse_come_back():
    import polars as pl
    import pyarrow as pa
    import scipy.sparse

    shelf = larder.open("t")
    table, frame = pa.table({"n": list(range(1000))}), pl.DataFrame({"n": range(1000), "s": ["q"] * 1000})
    matrix = scipy.sparse.random(200, 200, 0.1, format="csr", random_state=1)
    shelf.update({"table": table, "frame": frame, "matrix": matrix})
    shelf = reopened()
    assert shelf.table.equals(table) and shelf.frame.equals(frame) and (shelf.matrix != matrix).nnz == 0


def test_functions_and_classes_of_the_main_module_come_back_in_another_process():
    made = child("""
        import larder
        class Point:
            def __init__(self, x): self.x = x
            def double(self): return twice(self.x)
        def twice(x): return 2 * x
        larder.open("t").update({"point": Point(21), "twice": twice})
    """)
    assert made.returncode == 0, made.stderr
    shelf = larder.open("t")
    assert shelf.twice(4) == 8 and shelf.point.double() == 42


def test_a_shelved_array_inside_a_container_is_a_reference():
    shelf = larder.open("t")
    shelf.x = np.zeros(50_000)
    shelf.pair = {"x": shelf.x}
    assert shelf.inspect()[0]["bytes"] < 10_000, "a name was stored, not the elements"
    shelf = reopened()
    shelf.x[3] = 8
    assert shelf.pair["x"][3] == 8
    del shelf.x
    with pytest.raises(larder.ShelfError, match="refers to the shelved variable `x`"):
        _ = shelf.pair


def test_what_cannot_be_shelved_is_named_by_its_path():
    class Model:
        pass

    shelf = larder.open("t")
    model = Model()
    model.inner = {"locks": [1, threading.Lock()]}
    with pytest.raises(TypeError, match=r"x\.inner\['locks'\]\[1\]: _thread\.lock"):
        shelf.x = model
    with open(os.devnull) as file, pytest.raises(TypeError, match="open file"):
        shelf.x = file
    with pytest.raises(TypeError, match="generator"):
        shelf.x = (n for n in [1])
    assert "x" not in shelf and shelf.verify().ok


def test_missing_names_are_errors_that_suggest():
    shelf = larder.open("t")
    shelf.weights = 1
    with pytest.raises(AttributeError, match="did you mean weights"):
        _ = shelf.weigths
    with pytest.raises(KeyError):
        _ = shelf["nothing"]
    with pytest.raises(KeyError):
        del shelf["nothing"]
    assert shelf.get("nothing", 5) == 5
    with pytest.raises(AttributeError, match="name of Shelf itself"):
        shelf.commit = 1
    shelf["commit"] = 1
    assert shelf["commit"] == 1 and list(shelf) == ["commit", "weights"] and len(shelf) == 2


def test_a_transaction_is_all_or_nothing():
    shelf = larder.open("t")
    shelf.a, shelf.x = 1, np.zeros(3)
    with pytest.raises(ZeroDivisionError), shelf.transaction():
        shelf.a = 2
        shelf.b = 3
        shelf.x[0] = 9
        with shelf.transaction():
            shelf.c = 4
        raise ZeroDivisionError
    assert shelf.a == 1 and "b" not in shelf and "c" not in shelf and shelf.x[0] == 0
    commits = len(shelf.log())
    with shelf.transaction("both"):
        shelf.a = 5
        shelf.b = 6
    assert len(shelf.log()) == commits + 1 and shelf.log()[-1].message == "both"
    assert sorted(shelf.log()[-1].names) == ["a", "b"]
    with pytest.raises(larder.ShelfError, match="inside a transaction"), shelf.transaction():
        shelf.commit()


def test_with_rolls_back_on_an_exception_and_commits_otherwise():
    with larder.open("t") as shelf:
        shelf.x = np.zeros(3)
        shelf.x[0] = 1
    with pytest.raises(RuntimeError), larder.open("t") as shelf:
        shelf.x[0] = 2
        raise RuntimeError
    assert larder.open("t").x[0] == 1


def test_modes_are_those_of_h5py(tmp_path):
    path = tmp_path / "m.shelf"
    with pytest.raises(FileNotFoundError):
        larder.open(path, "r")
    with pytest.raises(FileNotFoundError):
        larder.open(path, "r+")
    with larder.open(path, "x") as shelf:
        shelf.a = 1
    with pytest.raises(FileExistsError):
        larder.open(path, "x")
    with larder.open(path, "r") as shelf:
        with pytest.raises(larder.ShelfReadOnly):
            shelf.a = 2
        assert shelf.a == 1
    with larder.open(path, "w") as shelf:
        assert len(shelf) == 0
    with pytest.raises(ValueError, match="mode"):
        larder.open(path, "q")


def test_a_read_only_array_cannot_be_written():
    with larder.open("t") as shelf:
        shelf.x = np.zeros(3)
    x = larder.open("t", "r").x
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 1


def test_the_same_file_twice_is_the_same_shelf_and_a_closed_one_says_so(tmp_path):
    shelf = larder.open("t")
    assert larder.open("t") is shelf and shelf in larder.shelves()
    shelf.close()
    shelf.close()
    with pytest.raises(larder.ShelfClosed, match="closed"):
        _ = shelf.x
    assert larder.open("t") is not shelf


def test_a_second_writer_is_refused_with_the_first_ones_pid():
    larder.open("t").x = 1
    second = child("""
        import larder
        try:
            larder.open("t")
        except larder.ShelfBusy as err:
            print(err)
    """)
    assert str(os.getpid()) in second.stdout, second.stderr


def test_acknowledged_assignments_survive_sigkill():
    died = child("""
        import os, signal, larder
        shelf = larder.open("t")
        for n in range(50):
            shelf.n = n
        shelf.x = [1, 2]
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert died.returncode == -signal.SIGKILL
    shelf = larder.open("t")
    assert shelf.n == 49 and shelf.x == [1, 2] and shelf.verify().ok


def test_a_kill_inside_a_transaction_leaves_the_state_before_it():
    died = child("""
        import os, signal, larder
        import numpy as np
        shelf = larder.open("t")
        shelf.update({"a": 1, "x": np.zeros(100_000)})
        with shelf.transaction():
            shelf.a = 2
            shelf.x[:] = 1
            shelf.b = 3
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert died.returncode == -signal.SIGKILL
    shelf = larder.open("t")
    assert shelf.a == 1 and "b" not in shelf and shelf.x.sum() == 0


def test_files_that_are_no_shelf_are_refused_and_untouched(tmp_path):
    path = tmp_path / "n.shelf"
    for content in (b"", b"hello", os.urandom(100_000)):
        path.write_bytes(content)
        if content:
            with pytest.raises(larder.ShelfFormat, match="not a shelf"):
                larder.open(path)
        with pytest.raises(larder.ShelfError):
            larder.open(path, "r")
        assert path.read_bytes() == content


def test_a_flipped_byte_in_an_array_is_found_with_its_name(tmp_path):
    path = tmp_path / "f.shelf"
    with larder.open(path) as shelf:
        shelf.victim = np.full(100_000, 3.25)
        shelf.other = 1
    data = bytearray(path.read_bytes())
    at = data.find(np.full(100, 3.25).tobytes()) + 40_000
    data[at] ^= 4
    path.write_bytes(data)
    report = larder.open(path, "r").verify()
    assert not report.ok and {d["name"] for d in report.damage} == {"victim"}
    assert any(abs(d["offset"] - at) < 8192 for d in report.damage)


def test_a_shelf_cut_short_anywhere_never_opens_as_something_else(tmp_path):
    path = tmp_path / "c.shelf"
    with larder.open(path) as shelf:
        shelf.x = np.arange(5000)
        shelf.s = "text"
    whole = path.read_bytes()
    for cut in range(1, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:cut])
        try:
            shelf = larder.open(path, "r")
        except (larder.ShelfFormat, larder.ShelfCorrupt):
            continue
        try:
            assert shelf.s == "text" and (shelf.x == np.arange(5000)).all()
        except larder.ShelfCorrupt:
            pass
        finally:
            shelf.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_fails_the_commit_and_keeps_the_shelf(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", mount]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        shelf = larder.open(mount / "s.shelf")
        shelf.a = 1
        shelf.x = np.zeros(100_000)
        shelf.commit()
        free = os.statvfs(mount).f_bfree
        with pytest.raises(larder.ShelfFull, match="no room"):
            shelf.big = np.ones(4_000_000)
        assert shelf.a == 1 and "big" not in shelf
        assert os.statvfs(mount).f_bfree >= free - 1, "what did not fit is still on the disk"
        shelf.b = np.ones(1000)
        shelf.commit()
        shelf.x[:] = 1  # more than fits in the log: all of it is written elsewhere
        shelf.commit()
        shelf.close()
        shelf = larder.open(mount / "s.shelf")
        assert shelf.a == 1 and shelf.b.sum() == 1000 and shelf.x.sum() == 100_000 and shelf.verify().ok
        shelf.close()
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def test_trust_false_reads_data_and_refuses_pickles():
    with larder.open("t") as shelf:
        shelf.update({"x": np.arange(3), "s": "text", "p": [1]})
    shelf = larder.open("t", "r", trust=False)
    assert shelf.s == "text" and shelf.x.sum() == 3
    with pytest.raises(larder.ShelfError, match="trust=True"):
        _ = shelf.p


def test_inspect_and_log_tell_what_is_there():
    shelf = larder.open("t")
    shelf.x = np.zeros((3, 4))
    shelf.f = pd.DataFrame({"a": [1]})
    rows = {row["name"]: row for row in shelf.inspect()}
    assert rows["x"]["kind"] == "ndarray float64 (3, 4)" and rows["x"]["bytes"] == 96
    assert rows["f"]["kind"].endswith("DataFrame")
    assert [c.names for c in shelf.log()] == [["x"], ["f"]]
    assert "ndarray float64" in repr(shelf.inspect()) and "<table" in shelf.inspect()._repr_html_()


def test_a_reader_beside_the_writer_is_its_own_and_closes_only_itself():
    shelf = larder.open("t")
    shelf.x = 1
    with larder.open("t", "r") as reader:
        assert reader is not shelf and reader.x == 1
        shelf.x = 2
        assert reader.x == 1, "a reader stays at the commit it opened"
    assert not shelf.closed and shelf.x == 2
    assert larder.shelf.verify_file(shelf.path).ok and not shelf.closed


def test_a_trusting_shelf_is_not_handed_out_as_a_distrusting_one():
    larder.open("t").p = [1]
    with pytest.raises(larder.ShelfError, match="trust=True"):
        larder.open("t", trust=False)


def test_a_relative_home_stays_where_it_was_when_the_program_goes_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LARDER_HOME", "mine")
    with larder.open("here") as shelf:
        shelf.x = 1
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with larder.open("here", "r") as shelf:
        assert shelf.x == 1
    monkeypatch.setenv("LARDER_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert larder.shelf.home() == tmp_path / "data" / "larder"


def test_a_path_that_is_not_utf8_is_a_path(tmp_path):
    path = tmp_path / "caf\udce9.shelf"
    with larder.open(path) as shelf:
        shelf.x = 1
        shelf.backup(tmp_path / "kopi\udce9.shelf")
    with larder.open(tmp_path / "kopi\udce9.shelf", "r") as shelf:
        assert shelf.x == 1
