"""What happens around a notebook: a disk that is full for a while, files that cannot be written, folders, names and clocks."""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from kernelfixtures import kernel, kill, settle

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
NAME = "work/world.ipynb"


def notebook(tmp_path, name=NAME, **env):
    return kernel(tmp_path, JPY_SESSION_NAME=name, **env)


def after_a_kill(k, tmp_path, code, name=NAME, **env):
    """What the next kernel prints for ``code`` when this one was killed."""
    kill(k)
    with notebook(tmp_path, name, **env) as again:
        return again.text(code)


@contextmanager
def small_disk(tmp_path, megabytes):
    """The data folder on a file system of its own."""
    home = tmp_path / "home"
    home.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", home]).returncode
    ):
        pytest.skip("mounting is not allowed here")
    try:
        yield home
    finally:
        subprocess.run(["umount", "-l", home], check=True)


def fill(home):
    """All that is left of the disk, in a file."""
    filler = home / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            pass
    return filler


@pytest.mark.parametrize("saver", ["always", "never"])
def test_a_disk_that_is_full_for_a_while_costs_the_states_meanwhile_and_nothing_else(tmp_path, saver):
    with small_disk(tmp_path, 64) as home, notebook(tmp_path, LARDER_SAVER=saver) as k:
        k.ok("import numpy as np, larder\nx = [1]; big = np.arange(1_000_000.0)")
        settle(k)
        filler = fill(home)
        message = k.send("x.append(2); other = np.arange(2_000_000.0); y = 'kept'")
        k.shown("the disk is full")
        assert k.reply(message)["content"]["status"] == "ok"
        k.ok("x.append(3); big[5] = -1.0")
        status = k.text("print(larder.session.status())", silent=True)
        assert "the disk is full" in status.splitlines()[0], status
        filler.unlink()
        k.ok("x.append(4)")
        settle(k)
        status = k.text("print(larder.session.status())", silent=True)
        assert status.splitlines()[0] == "saved after each cell", status
        shown = after_a_kill(k, tmp_path, "print(x, y, other.sum(), big[4:7].tolist())")
        assert shown.endswith("\n[1, 2, 3, 4] kept 1999999000000.0 [4.0, -1.0, 6.0]\n"), shown


def test_killed_while_the_disk_is_full_the_last_saved_state_is_back_and_the_disk_is_not_the_end(tmp_path):
    with small_disk(tmp_path, 48) as home:
        with notebook(tmp_path) as k:
            k.ok("import numpy as np\nx = [1]; big = np.arange(1_000_000.0)")
            settle(k)
            filler = fill(home)
            message = k.send("x.append(2); other = np.arange(2_000_000.0)")
            k.shown("the disk is full")
            k.reply(message)
            kill(k)
        with notebook(tmp_path) as k:
            # Nothing can be written: it runs, says why it is not saved or that it is back, and loses nothing.
            first = k.text("print('runs')")
            assert first.endswith("runs\n")
            filler.unlink()
            k.ok("y = 5")
            assert k.text("print(__import__('larder').recovery.why_none() == '')", silent=True) == "True\n", first
            settle(k)
            if "back from" not in first:
                k.ok("%shelf recover")
            assert k.text("print(x, big[7], y)").endswith("[1] 7.0 5\n")


def test_a_kernel_that_starts_on_a_full_disk_is_saved_when_there_is_room(tmp_path):
    with small_disk(tmp_path, 32) as home:
        filler = fill(home)
        with notebook(tmp_path) as k:
            assert "this notebook is not saved" in k.text("x = [1]")
            k.ok("x.append(2)")
            assert "not saved" in k.text("print(__import__('larder').session.status())")
            filler.unlink()
            assert "this notebook is saved from now on" in k.text("x.append(3)")
            assert after_a_kill(k, tmp_path, "print(x, len(In))").endswith("\n[1, 2, 3] 6\n")


def test_on_a_home_that_is_read_only_a_kernel_runs_says_so_and_loses_nothing(tmp_path):
    with small_disk(tmp_path, 32) as home:
        env = {"HOME": str(home), "LARDER_HOME": str(home / ".local" / "larder"), "IPYTHONDIR": str(home / ".ipython")}
        env["TMPDIR"] = str(tmp_path)  # where IPython goes instead

        def mount(how):
            subprocess.run(["mount", "-o", f"remount,{how}", home], check=True)

        mount("ro")
        with notebook(tmp_path, **env) as k:
            first = k.text("x = [1]; print('runs')")
            assert "this notebook is not saved: " in first and "Read-only file system" in first, first
            assert first.endswith("runs\n")
            content, _ = k.run("import larder; larder.open('mine')")
            assert "Read-only file system" in content["evalue"] and "set LARDER_HOME" in content["evalue"]
            mount("rw")
            assert "is saved from now on" in k.text("x.append(2)")
            kill(k)
        mount("ro")
        with notebook(tmp_path, **env) as k:
            shown = k.text("print('x' in globals())")
            assert "this notebook is not saved: " in shown and shown.endswith("False\n"), shown
            mount("rw")
            assert "is saved from now on" in k.text("y = 3")
            k.ok("%shelf recover")
            assert after_a_kill(k, tmp_path, "print(x, y)", **env).endswith("\n[1, 2] 3\n")


def test_a_session_shelf_of_an_older_layout_is_set_aside_as_it_is(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("kept = [1]")
        k.ok("from larder import recovery\nrecovery._recorder.put_meta('older', version=1)")
        kill(k)
    (file,) = (tmp_path / "home" / "sessions").glob("*.shelf")
    before = file.read_bytes()
    with notebook(tmp_path) as k:
        shown = k.text("y = 2; print('kept' in globals())")
        assert "written by another version of larder (layout 1)" in shown and shown.endswith("False\n"), shown
        (aside,) = file.parent.glob("*.damaged-*")
        assert str(aside) in shown and aside.read_bytes() == before
        assert after_a_kill(k, tmp_path, "print(y)").endswith("\n2\n")


def test_a_large_frame_is_still_being_saved_when_the_kernel_is_killed(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import numpy as np, pandas as pd, larder")
        settle(k)
        k.ok("df = pd.DataFrame(np.arange(8_000_000.0).reshape(-1, 8), columns=list('abcdefgh')); df['t'] = 'text'")
        shown = after_a_kill(k, tmp_path, "print(df.shape, df['h'].iloc[-1], df['t'].iloc[5], len(df.columns))")
        assert shown.endswith("\n(1000000, 9) 7999999.0 text 9\n") and "not back" not in shown


def test_a_session_file_made_read_only_in_the_middle_goes_on_and_comes_back(tmp_path):
    """The kernel has it open; the next one needs no right to open it either when it is root's, and else says so."""
    with notebook(tmp_path) as k:
        k.ok("x = [1]")
        settle(k)
        (file,) = (tmp_path / "home" / "sessions").glob("*.shelf")
        file.chmod(0o400)
        k.ok("x.append(2)")
        settle(k)
        assert after_a_kill(k, tmp_path, "print(x)").endswith("\n[1, 2]\n")
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not Path("/usr/bin/chattr").exists() or os.geteuid() != 0, reason="needs chattr and root")
def test_a_session_file_that_nobody_may_open_to_write_keeps_its_state_until_one_may(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("x = ['first']")
        settle(k)
        (file,) = (tmp_path / "home" / "sessions").glob("*.shelf")
        kill(k)
    if subprocess.run(["chattr", "+i", file], capture_output=True).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        with notebook(tmp_path) as k:
            shown = k.text("y = 1; print('x' in globals())")
            assert "this notebook is not saved" in shown and str(file) in shown and shown.endswith("False\n"), shown
            subprocess.run(["chattr", "-i", file], check=True)
            assert "is saved from now on" in k.text("z = 2")
            k.ok("%shelf recover")
            assert after_a_kill(k, tmp_path, "print(x, y, z)").endswith("\n['first'] 1 2\n")
    finally:
        subprocess.run(["chattr", "-i", file])


def test_notebooks_of_one_name_in_two_folders_are_two(tmp_path):
    for folder in ("a", "b"):
        with notebook(tmp_path, f"{tmp_path}/{folder}/Untitled.ipynb") as k:
            k.ok(f"x = {folder!r}")
            settle(k)
            kill(k)
    for folder in ("a", "b"):
        with notebook(tmp_path, f"{tmp_path}/{folder}/Untitled.ipynb") as k:
            assert k.text("print(x)").endswith(f"\n{folder}\n")
    assert len(list((tmp_path / "home" / "sessions").glob("*.shelf"))) == 2


def test_a_renamed_notebook_goes_on_under_its_old_name_until_it_is_restarted_and_is_found_then(tmp_path):
    """The kernel's name for its session is the one it was started with: a front end renames the file beneath it."""
    with notebook(tmp_path, f"{tmp_path}/old.ipynb") as k:
        k.ok("x = [1]")
        shown = after_a_kill(
            k,
            tmp_path,
            "import larder; larder.session.recover(notebook='old.ipynb'); print(x)",
            f"{tmp_path}/new.ipynb",
        )
        assert "back from cell [1]" in shown and shown.endswith("\n[1]\n")


# A process for which it is `LATER` seconds later (or earlier) than it is.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, now);
    const char *later = getenv("LATER");
    if (!failed && id == CLOCK_REALTIME && later) now->tv_sec += atol(later);
    return failed;
}
"""


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", folder / "clock.so", folder / "clock.c", "-ldl"], check=True)
    return folder / "clock.so"


@pytest.mark.parametrize("later", [-7200, -40 * 365 * 86400])
def test_a_clock_that_is_set_back_changes_no_order(tmp_path, clock, later):
    """Between two kernels of a notebook, and while one of them runs."""
    with notebook(tmp_path) as k:
        k.ok("x = [1]; import time; before = time.time()")
        settle(k)
        kill(k)
    with notebook(tmp_path, LD_PRELOAD=str(clock), LATER=str(later)) as k:
        shown = k.text("x.append(2); print(time.time() < before, x)")
        assert shown.endswith("\nTrue [1, 2]\n")
        k.ok(f"import ctypes, os; ctypes.CDLL(None).setenv(b'LATER', b'{2 * later}', 1)", silent=True)
        k.ok("x.append(3)")
        k.ok("x.append(4)")
        settle(k)
        rows = k.text(
            "import larder\nfor r in larder.session.log(): print(r['id'], r['line'])", silent=True
        ).splitlines()
        assert [row.split()[-1][-2:] for row in rows[-2:]] == ["3)", "4)"] and len(rows) == 4
        k.ok("import larder; larder.session.undo()")
        k.ok("x.append(5)")
        assert after_a_kill(k, tmp_path, "print(x)").endswith("\n[1, 2, 3, 5]\n")
