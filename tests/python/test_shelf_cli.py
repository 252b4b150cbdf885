"""``larder shelf``: what it prints, what it returns, what it writes."""

import json

import numpy as np
import pytest

import larder
from larder.cli import main


@pytest.fixture
def path():
    with larder.open("c", history=5) as shelf:
        shelf.x = np.arange(100_000.0)
        shelf.text = "grüße"
        shelf["odd/name"] = {"a": [1, None]}
        shelf.raw = b"\0\1"
        shelf.n = 12
        return shelf.path


def out(capsys, *argv, code=0):
    """What ``larder shelf ARGV --json`` prints, read back."""
    assert main(["shelf", *map(str, argv), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_ls_log_diff_and_verify_tell_what_is_there(path, capsys):
    assert [row["name"] for row in out(capsys, "ls", path)] == ["n", "odd/name", "raw", "text", "x"]
    log = out(capsys, "log", "c")
    assert log[-1]["names"] == ["n"]
    assert out(capsys, "diff", path, log[1]["id"]) == {"added": ["n", "odd/name", "raw"], "removed": [], "changed": []}
    assert out(capsys, "verify", path)["ok"]
    assert main(["shelf", "ls", str(path)]) == 0
    assert "100000" in capsys.readouterr().out


def test_a_damaged_shelf_fails_verify_with_the_name(path, capsys):
    data = bytearray(path.read_bytes())
    at = data.index(np.float64(54_321).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    report = out(capsys, "verify", path, code=1)
    assert [place["name"] for place in report["damage"]] == ["x"]


def test_compact_and_backup_keep_the_values(path, tmp_path, capsys):
    with larder.open(path, history=0) as shelf:
        shelf.big = np.zeros(1_000_000)
        del shelf.big
    done = out(capsys, "compact", path)
    assert done["bytes_after"] < done["bytes_before"] - 7_000_000
    out(capsys, "backup", path, tmp_path / "b.shelf")
    with larder.open(tmp_path / "b.shelf", "r") as copy:
        assert copy.x[-1] == 99_999
    assert main(["shelf", "backup", str(path), str(tmp_path / "b.shelf")]) == 1
    assert "exists" in capsys.readouterr().err


def test_export_writes_files_that_others_read_and_names_what_it_left(path, tmp_path, capsys):
    to = tmp_path / "out"
    rows = {row["name"]: row for row in out(capsys, "export", path, to, code=1)}
    assert np.load(to / "x.npy")[-1] == 99_999
    assert (to / "text.txt").read_text("utf-8") == "grüße"
    assert (to / "raw.bin").read_bytes() == b"\0\1"
    assert json.loads((to / "n.json").read_text()) == 12
    assert rows["odd/name"]["file"] is None
    assert "trust" in rows["odd/name"]["why"]
    rows = {row["name"]: row for row in out(capsys, "export", path, to, "odd/name", "n", "--trust")}
    assert json.loads((to / "odd_name.json").read_text()) == {"a": [1, None]}
    assert rows["n"]["file"].endswith("n-2.json")


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["ls", "nowhere"], "hint: give a path"),
        (["diff", "c", "99"], "does not keep commit 99"),
        (["export", "c", "out", "nix"], "no variable `nix`"),
    ],
)
def test_a_wrong_call_says_what_to_do(path, argv, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["shelf", *argv]) == 1
    assert text in capsys.readouterr().err


def test_a_shelf_that_is_being_written_is_listed_but_not_compacted(path, capsys):
    import subprocess
    import sys

    code = f"import larder; s = larder.open({str(path)!r}); print('open', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout.readline() == "open\n"
        try:
            assert len(out(capsys, "ls", path)) == 5
            assert main(["shelf", "compact", str(path)]) == 1
            assert str(child.pid) in capsys.readouterr().err
        finally:
            child.stdin.close()
