"""Older commits, snapshots, compaction and backup, as a notebook uses them."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import larder


def test_kept_commits_are_compared_shown_and_brought_back(tmp_path):
    shelf = larder.open(tmp_path / "h.shelf", history=10)
    shelf.x = np.zeros(100_000)
    shelf.commit()
    first = shelf.log()[-1].id
    shelf.x[7] = 1.5
    shelf.note = "later"
    shelf.commit()
    last = shelf.log()[-1].id
    assert shelf.diff(first) == {"added": ["note"], "removed": [], "changed": ["x"]}
    then = shelf.snapshot(first)
    assert then.x[7] == 0 and list(then) == ["x"] and then.readonly
    with pytest.raises(larder.ShelfReadOnly):
        then.y = 1
    then.close()
    assert sorted(shelf.checkout(first)) == ["note", "x"]
    assert shelf.x[7] == 0 and "note" not in shelf
    shelf.checkout(last)
    assert shelf.x[7] == 1.5 and shelf.note == "later"
    with pytest.raises(LookupError, match="history"):
        shelf.checkout(10**6)


def test_a_reader_in_another_process_keeps_its_commit(tmp_path):
    shelf = larder.open(tmp_path / "r.shelf")
    shelf.x = np.full(100_000, 1.0)
    code = (
        "import larder, sys; s = larder.open(sys.argv[1], mode='r'); x = s.x; print(x[5], flush=True);"
        "sys.stdin.readline(); print(x[5], s.x[5], s.snapshot().x.sum(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(shelf.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout.readline() == "1.0\n"
        shelf.x[5] = 2
        shelf.commit()
        shelf.compact()
        out, _ = reader.communicate("go\n", timeout=60)
    assert out == "1.0 1.0 100000.0\n"
    assert shelf.x[5] == 2


def test_compaction_and_backup(tmp_path):
    shelf = larder.open(tmp_path / "c.shelf")
    for n in range(8):
        shelf[f"n{n}"] = np.full(1 << 18, n)
    for n in range(7):
        del shelf[f"n{n}"]
    seen = []
    done = shelf.compact(progress=lambda a, b: seen.append((a, b)))
    assert done["bytes_after"] < done["bytes_before"] == 0 or done["bytes_after"] < 8 << 20
    assert seen
    copy = tmp_path / "copy.shelf"
    assert shelf.backup(copy) == shelf.log()[-1].id
    with pytest.raises(FileExistsError):
        shelf.backup(copy)
    with larder.open(copy) as other:
        assert (other.n7 == 7).all() and other.verify().ok


def test_history_is_a_setting_of_the_shelf_and_survives_reopening():
    with larder.open("h", history=5) as shelf:
        shelf.a = 1
        first = shelf.log()[-1].id
        shelf.a = 2
    with larder.open("h") as shelf:
        assert shelf.stats()["history"] == 5
        assert (shelf.snapshot(first).a, shelf.a) == (1, 2)


def test_a_snapshot_is_not_disturbed_by_anything_that_comes_later():
    shelf = larder.open("h")
    shelf.x = np.zeros(100_000)
    shelf.text = "then"
    then = shelf.snapshot()
    view = then.x
    shelf.x[:] = 1
    shelf.commit()
    shelf.text = "now"
    del shelf.x
    assert (then.text, then.x.sum(), view.sum(), list(then)) == ("then", 0, 0, ["text", "x"])
    assert "at commit" in repr(then)
    with pytest.raises(larder.ShelfReadOnly, match="write to the shelf itself"):
        then.text = "no"
    with pytest.raises(ValueError, match="read-only"):
        then.x[0] = 1
    assert then not in larder.shelves()
    then.close()
    assert shelf.text == "now"


def test_arrays_of_a_snapshot_are_copied_into_what_is_stored_of_them():
    shelf = larder.open("h")
    shelf.x = np.arange(10)
    then = shelf.snapshot()
    shelf.holder = {"x": then.x}
    del shelf.x
    assert shelf.holder["x"].tolist() == list(range(10))
    with pytest.raises(TypeError, match="snapshot"):
        pickle.dumps(then)


def test_uncommitted_stores_are_committed_before_a_checkout_not_lost():
    shelf = larder.open("h", history=10)
    shelf.x = np.zeros(10)
    first = shelf.log()[-1].id
    shelf.x[0] = 5
    shelf.checkout(first)
    assert shelf.x[0] == 0
    stored = shelf.log()[-2].id
    assert shelf.snapshot(stored).x[0] == 5


def test_a_transaction_is_not_torn_by_checkout_compact_or_backup(tmp_path):
    shelf = larder.open("h")
    shelf.a = 1
    with shelf.transaction():
        shelf.a = 2
        for call in (lambda: shelf.checkout(1), shelf.compact, lambda: shelf.backup(tmp_path / "b.shelf")):
            with pytest.raises(larder.ShelfError, match="inside a transaction"):
                call()
    assert shelf.a == 2


def test_a_backup_holds_the_stores_in_hand(tmp_path):
    shelf = larder.open("h")
    shelf.x = np.zeros(1000)
    shelf.x[3] = 4
    shelf.backup(tmp_path / "b.shelf")
    shelf.x[3] = 5
    with larder.open(tmp_path / "b.shelf", "r") as copy:
        assert copy.x[3] == 4
        assert copy.verify().ok


def test_an_exception_in_a_progress_function_is_raised():
    shelf = larder.open("h")
    shelf.x = np.zeros(1_000_000)

    def stop(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        shelf.verify(stop)
    assert shelf.verify().ok


def test_the_magic_compares_compacts_and_copies(tmp_path, capsys):
    from IPython.core.interactiveshell import InteractiveShell

    from larder.magics.shelf import ShelfMagics

    ip = InteractiveShell.instance()
    try:
        magic = ShelfMagics(ip)
        shelf = larder.open("h", history=3)
        shelf.a = 1
        first = shelf.log()[-1].id
        shelf.b = 2
        assert list(magic.shelf(f"diff {first}")) == [{"name": "b", "what": "added"}]
        magic.shelf("compact")
        magic.shelf(f"backup {tmp_path / 'b.shelf'}")
        assert "copied to" in capsys.readouterr().out
        assert (tmp_path / "b.shelf").is_file()
    finally:
        ip.history_manager.end_session()
        InteractiveShell.clear_instance()
