"""``larder shelf``, the real command: what it prints, what it returns, what it writes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import larder

LARDER = Path(sys.executable).with_name("larder")
N = 100_000


def run(*argv, **options) -> subprocess.CompletedProcess:
    """The command, as a user's shell runs it."""
    options = {"capture_output": True, "text": True, "timeout": 60} | options
    return subprocess.run([LARDER, "shelf", *map(str, argv)], **options)


def out(*argv, code=0):
    """What ``larder shelf ARGV --json`` prints, read back."""
    done = run(*argv, "--json")
    assert done.returncode == code, done.stderr
    assert done.stderr == "", "a bar is for terminals"
    return json.loads(done.stdout)


@pytest.fixture
def path():
    """A shelf of a few kinds, with history."""
    with larder.open("c", history=5) as shelf:
        shelf.x = np.arange(float(N))
        shelf.text = "grüße"
        shelf["odd/name"] = {"a": [1, None]}
        shelf.raw = b"\0\1"
        shelf.n = 12
        return shelf.path


def damage(path: Path, needle: bytes) -> None:
    """Flips a bit of the first ``needle`` in the file."""
    data = bytearray(path.read_bytes())
    data[data.index(needle)] ^= 1
    path.write_bytes(data)


def test_ls_log_diff_and_verify_tell_what_is_there(path):
    assert [row["name"] for row in out("ls", path)] == ["n", "odd/name", "raw", "text", "x"]
    assert [row["kind"] for row in out("ls", path)] == ["int", "dict", "bytes", "str", f"ndarray float64 ({N},)"]
    log = out("log", "c")
    assert log[-1]["names"] == ["n"] and [row["id"] for row in log] == [1, 2, 3, 4, 5]
    assert out("diff", path, log[1]["id"]) == {"added": ["n", "odd/name", "raw"], "removed": [], "changed": []}
    assert out("diff", path, 1, 2)["added"] == ["text"]
    assert out("verify", path) == {"ok": True, "pages_checked": out("verify", path)["pages_checked"], "damage": []}


def test_for_people_it_prints_tables_and_sentences(path, tmp_path):
    lines = run("ls", "c").stdout.splitlines()
    assert lines[0] == str(path) and lines[1].split() == ["name", "kind", "bytes", "commit"]
    assert lines[-1].startswith("5 variables, 781")
    assert run("log", path).stdout.splitlines()[0].endswith("x  put x")
    assert "added   raw" in run("diff", path, 1).stdout
    assert run("verify", path).stdout.startswith("sound: ")
    assert run("compact", path).stdout.endswith(" now\n")
    assert run("backup", path, tmp_path / "b.shelf").stdout == f"commit 5 copied to {tmp_path / 'b.shelf'}\n"
    done = run("salvage", path, tmp_path / "s.shelf")
    assert done.stdout == f"commit 5: 5 of 5 variables saved to {tmp_path / 's.shelf'}\n"
    assert run("export", path, tmp_path / "out", "n").stdout == f"n -> {tmp_path / 'out' / 'n.json'}\n"


def test_ls_without_a_file_lists_the_shelves_with_bare_names(path):
    rows = out("ls")
    assert [(row["name"], row["path"], row["bytes"]) for row in rows] == [("c", str(path), path.stat().st_size)]
    assert "c " in run("ls").stdout


def test_help_names_every_verb_and_what_it_takes():
    text = run("--help").stdout
    verbs = ("ls", "log", "diff", "verify", "compact", "backup", "salvage", "export")
    assert all(verb in text for verb in verbs)
    for verb in verbs:
        done = run(verb, "--help")
        assert done.returncode == 0 and "FILE" in done.stdout and "--json" in done.stdout


def test_a_damaged_shelf_fails_verify_with_the_name(path):
    damage(path, np.float64(54_321).tobytes())
    report = out("verify", path, code=1)
    assert [place["name"] for place in report["damage"]] == ["x"]
    done = run("verify", path)
    assert done.returncode == 1 and ": x: " in done.stdout


def test_salvage_copies_what_is_whole_and_names_what_is_lost(path, tmp_path):
    damage(path, np.float64(54_321).tobytes())
    before = path.read_bytes()
    new = tmp_path / "new.shelf"
    found = out("salvage", path, new, code=1)
    assert found["saved"] == ["n", "odd/name", "raw", "text"] and found["commit"] == 5
    assert [row["name"] for row in found["lost"]] == ["x"] and "checksum" in found["lost"][0]["why"]
    assert path.read_bytes() == before
    with larder.open(new, "r") as shelf:
        assert shelf.text == "grüße" and shelf["odd/name"] == {"a": [1, None]} and "x" not in shelf
    again = run("salvage", path, new)
    assert again.returncode == 1 and "exists" in again.stderr
    missing = run("salvage", tmp_path / "no.shelf", tmp_path / "n.shelf")
    assert missing.returncode == 1 and missing.stderr.startswith("error: ") and not (tmp_path / "n.shelf").exists()


def test_a_shelf_whose_catalog_is_damaged_is_sent_to_salvage(path):
    assert run("compact", path).returncode == 0, "the catalog is in one piece now"
    path.write_bytes(path.read_bytes().replace(b"odd/name", b"odd/nAme"))
    for verb in ("ls", "verify", "export"):
        done = run(verb, path, *(["/tmp"] * (verb == "export")))
        assert done.returncode == 1 and "checksum" in done.stderr
        assert f"hint: `larder shelf salvage {path} NEW.shelf`" in done.stderr


def test_compact_and_backup_keep_the_values(path, tmp_path):
    with larder.open(path, history=0) as shelf:
        shelf.big = np.zeros(1_000_000)
        del shelf.big
    done = out("compact", path)
    assert done["bytes_after"] < done["bytes_before"] - 7_000_000
    assert path.stat().st_size == done["bytes_after"]
    out("backup", path, tmp_path / "b.shelf")
    with larder.open(tmp_path / "b.shelf", "r") as copy:
        assert copy.x[-1] == N - 1 and copy.verify().ok
    again = run("backup", path, tmp_path / "b.shelf")
    assert again.returncode == 1 and "exists" in again.stderr


def test_export_writes_files_that_others_read_and_names_what_it_left(path, tmp_path):
    to = tmp_path / "out"
    rows = {row["name"]: row for row in out("export", path, to, code=1)}
    assert np.load(to / "x.npy")[-1] == N - 1
    assert (to / "text.txt").read_text("utf-8") == "grüße"
    assert (to / "raw.bin").read_bytes() == b"\0\1"
    assert json.loads((to / "n.json").read_text()) == 12
    assert rows["odd/name"]["file"] is None
    assert "trust" in rows["odd/name"]["why"]
    rows = {row["name"]: row for row in out("export", path, to, "odd/name", "n", "--trust")}
    assert json.loads((to / "odd_name.json").read_text()) == {"a": [1, None]}
    assert rows["n"]["file"].endswith("n-2.json")


def test_export_writes_frames_tables_and_sparse_matrices_in_their_own_formats(tmp_path):
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import scipy.sparse

    with larder.open("f") as shelf:
        shelf.update({"p": pd.DataFrame({"a": [1, 2]}), "q": pl.DataFrame({"a": [1, 2]}), "t": pa.table({"a": [1, 2]})})
        shelf.m = scipy.sparse.csr_array(np.eye(3))
        shelf.odd = {1, 2}
    rows = {row["name"]: row for row in out("export", "f", tmp_path / "o", "--trust", code=1)}
    for name in ("p", "q", "t"):
        assert pd.read_parquet(tmp_path / "o" / f"{name}.parquet")["a"].tolist() == [1, 2]
    assert scipy.sparse.load_npz(tmp_path / "o" / "m.npz").nnz == 3
    assert rows["odd"]["why"].startswith("no plain file format for set")


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (["ls", "nowhere"], 1, "hint: give a path"),
        (["diff", "c", "99"], 1, "does not keep commit 99"),
        (["diff", "c", "first"], 2, "invalid int value"),
        (["diff", "c"], 2, "required: A"),
        (["export", "c", "out", "nix"], 1, "no variable `nix`"),
        (["export", "c", "/dev/null"], 1, "error: "),
        (["ls", "/dev/null"], 1, "error: "),
        (["ls", "."], 1, "error: "),
        (["backup", "c", "/no/such/folder/b.shelf"], 1, "/no/such/folder"),
        (["peek", "c"], 2, "invalid choice"),
        ([], 2, "VERB"),
    ],
)
def test_a_wrong_call_says_what_to_do(path, argv, code, text, tmp_path):
    done = run(*argv, cwd=tmp_path)
    assert done.returncode == code and text in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr
    assert larder.shelf.verify_file(path).ok and len(larder.open(path, "r")) == 5


def test_a_file_that_is_no_shelf_is_named_and_left_alone(tmp_path):
    other = tmp_path / "notes.shelf"
    other.write_text("hello " * 2_000)
    for verb in ("ls", "verify", "compact"):
        done = run(verb, other)
        assert done.returncode == 1 and "not a shelf" in done.stderr
    assert other.read_text() == "hello " * 2_000


def test_a_shelf_that_is_being_written_is_listed_but_not_compacted(path):
    code = f"import larder; s = larder.open({str(path)!r}); print('open', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout.readline() == "open\n"
        try:
            assert len(out("ls", path)) == 5
            done = run("compact", path)
            assert done.returncode == 1 and str(child.pid) in done.stderr
        finally:
            child.stdin.close()


@pytest.mark.parametrize("verb", ["verify", "compact", "backup", "salvage", "export"])
def test_long_work_shows_a_bar_on_a_terminal_and_takes_it_away(path, tmp_path, verb):
    more = {"backup": [tmp_path / "b.shelf"], "salvage": [tmp_path / "s.shelf"], "export": [tmp_path, "x"]}
    ours, theirs = pty.openpty()
    try:
        done = run(verb, path, *more.get(verb, []), capture_output=False, stdout=subprocess.PIPE, stderr=theirs)
        assert done.returncode == 0
        os.set_blocking(ours, False)
        shown = os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert f"{verb} [" in shown and "100%" in shown and shown.endswith("\x1b[K")
    assert "[" not in done.stdout


def test_a_reader_that_has_seen_enough_ends_it_quietly(path):
    with larder.open(path) as shelf:
        shelf.update({f"name{n}" * 20: n for n in range(2_000)})
    done = subprocess.run(f"{LARDER} shelf ls {path} | head -2", shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("\n") == 2 and done.stderr == ""


def test_ctrl_c_ends_verify_and_leaves_the_shelf_sound(path):
    with larder.open(path) as shelf:
        shelf.big = np.ones(40_000_000)
    ours, theirs = pty.openpty()
    with subprocess.Popen([LARDER, "shelf", "verify", path], stdout=subprocess.PIPE, stderr=theirs) as child:
        os.read(ours, 1)  # the bar has begun
        child.send_signal(signal.SIGINT)
        assert child.wait(30) in (-signal.SIGINT, 0), "0 if it was done by then"
    os.close(ours)
    os.close(theirs)
    assert larder.shelf.verify_file(path).ok
