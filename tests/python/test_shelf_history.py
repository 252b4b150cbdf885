"""Older commits, snapshots, compaction and backup, as a notebook uses them."""

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
