"""Two kernels of one notebook: one of them is saved, and when that one ends, the other one is."""

import os
from contextlib import contextmanager

import pytest
from kernelfixtures import TIMEOUT_S, Running, alive, kernel, kill, manager, settle, shut, text, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
STATES = "import larder\nfor r in larder.session.log(): print(r['id'], r['cell'], r['line'], sep='|')"
SLOW = """
import time
class Slow:
    def __init__(self, value): self.value = value
    def __reduce__(self): time.sleep(1.0); return Slow, (self.value,)
"""


@contextmanager
def notebook(tmp_path, which="one", **env):
    """Kernels with different connection files, and one home."""
    folder = tmp_path / which
    folder.mkdir(exist_ok=True)
    (tmp_path / "home").mkdir(exist_ok=True)
    if not (folder / "home").exists():
        os.symlink(tmp_path / "home", folder / "home")
    with kernel(folder, JPY_SESSION_NAME="work/shared.ipynb", **env) as k:
        yield k


def saved(k):
    return k.text("print(__import__('larder').recovery.why_none() == '')", silent=True) == "True\n"


def states(k):
    return [line.split("|", 2) for line in k.text(STATES, silent=True).splitlines()]


def test_killed_the_idle_second_one_is_saved_as_it_is_and_the_first_ones_state_is_kept(tmp_path):
    with notebook(tmp_path) as first:
        first.ok("x = [1]; only = 'first'")
        first.ok("x.append(2)")
        with notebook(tmp_path, "two", LARDER_TAKEOVER_SECONDS="0.2") as second:
            shown = second.text("import os\nx = 'second'; y = [x]")
            assert f"another kernel (process {first.pid}) has this notebook's variables" in shown
            assert str(first.pid) in second.text("print(__import__('larder').session.status())")
            second.ok("y.append(3)")
            assert not saved(second)
            kill(first)
            said = second.shown("is saved from now on")["content"]["text"]  # with no further cell
            assert f"process {first.pid}" in said and "after its cell [2] is state 2" in said
            settle(second)
            assert [row[1:] for row in states(second)] == [
                ["1", "x = [1]; only = 'first'"],
                ["2", "x.append(2)"],
                ["3", "y.append(3)"],
            ]
            kill(second)
    with notebook(tmp_path) as k:
        shown = k.text("print(x, y, 'only' in globals(), os.name)")
        assert "back from cell [3]" in shown and shown.endswith("\nsecond ['second', 3] False posix\n")
        assert "y.append(3)" in k.value("In[3]") and "y = [x]" in k.value("In[1]"), "cells that ran unsaved are in it"
        k.ok("%shelf checkout 2")
        assert k.text("print(x, only, 'y' in globals())") == "[1, 2] first False\n"


def test_of_kernels_that_start_at_the_same_time_one_is_saved_and_the_others_say_so(tmp_path):
    environment = {
        **os.environ,
        "LARDER_HOME": str(tmp_path / "home"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JPY_SESSION_NAME": "work/shared.ipynb",
        "LARDER_TAKEOVER_SECONDS": "600",
    }
    managers = [manager(connection_file=str(tmp_path / f"{which}.json")) for which in range(3)]
    kernels = []
    try:
        for km in managers:
            km.start_kernel(env=environment)
        for km in managers:
            kernels.append(Running(km, km.client()))
            kernels[-1].kc.start_channels()
            kernels[-1].kc.wait_for_ready(timeout=TIMEOUT_S)
        asked = [k.send(f"x = {which}") for which, k in enumerate(kernels)]
        said = [text(k.until_idle(message)) for k, message in zip(kernels, asked, strict=True)]
        (first,) = [which for which, k in enumerate(kernels) if saved(k)]
        assert [which for which, told in enumerate(said) if not told] == [first]
        assert all(f"process {kernels[first].pid}" in told for told in said if told), said
    finally:
        for k in kernels:
            k.kc.stop_channels()
        for km in managers:
            if km.has_kernel:
                km.shutdown_kernel(now=True)
            km.cleanup_resources()
    with kernel(tmp_path, JPY_SESSION_NAME="work/shared.ipynb") as k:
        assert k.text("print(x)").endswith(f"\n{first}\n")


def test_shut_down_the_next_cell_of_the_second_one_is_saved_at_once(tmp_path):
    with notebook(tmp_path) as first:
        first.ok("x = 1")
        with notebook(tmp_path, "two", LARDER_TAKEOVER_SECONDS="1000") as second:
            second.ok("import numpy as np\nx = np.arange(3_000_000.0)")
            shut(first)
            second.ok("x[1] = -5.0")
            assert saved(second)
            assert "back from cell [1]" in second.text("old = x; get_ipython().run_line_magic('shelf', 'recover')")
            assert second.text("print(x, old[1])") == "1 -5.0\n"
            kill(second)
    with notebook(tmp_path) as k:
        assert k.text("print(x, old[:3].tolist(), len(old))").endswith("\n1 [0.0, -5.0, 2.0] 3000000\n")


def test_a_kernel_started_in_place_of_the_first_one_has_its_variables_and_not_the_second_one(tmp_path):
    with notebook(tmp_path) as first:
        first.ok("x = ['first']")
        with notebook(tmp_path, "two", LARDER_TAKEOVER_SECONDS="1000") as second:
            second.ok("x = 'second'")
            kill(first)
            wait_until(
                lambda: "has ended; if none is started" in second.text("print(__import__('larder').session.status())")
            )
            with notebook(tmp_path) as again:
                assert again.text("print(x)").endswith("\n['first']\n")
                assert not saved(second) and str(again.pid) in second.text(
                    "print(__import__('larder').session.status())"
                )
                shut(again, restart=True)
            with notebook(tmp_path) as again:
                again.ok("%shelf recover\nx.append('again')")
                assert not saved(second), "a kernel that is restarted is left its notebook too"
                shut(again)
            second.ok("z = x")
            assert saved(second)
            kill(second)
    with notebook(tmp_path) as k:
        assert k.text("print(x, z)").endswith("\nsecond second\n")


@pytest.mark.parametrize("looked", [False, True])
def test_a_second_one_that_has_no_variable_yet_gets_the_first_ones(tmp_path, looked):
    with notebook(tmp_path) as first:
        first.ok("import math\nx = ['first']\ndef area(): return math.floor(x.__len__())")
        with notebook(tmp_path, "two", LARDER_TAKEOVER_SECONDS="0.2") as second:
            if looked:
                assert "\n0\n" in "\n" + second.text("print(len(x) if 'x' in globals() else 0)", store_history=False)
            kill(first)
            wait_until(lambda: not alive(first.pid))
            wait_until(lambda: saved(second))
            shown = second.text("print(x, area())")
            assert "back from cell [1]" in shown and shown.endswith("\n['first'] 1\n")
            second.ok("x.append(2)")
            kill(second)
    with notebook(tmp_path) as k:
        assert k.text("print(x, area())").endswith("\n['first', 2] 2\n")


def test_what_a_child_of_the_first_one_saves_is_waited_for(tmp_path):
    with notebook(tmp_path) as first:
        first.ok("x = 1" + SLOW)
        settle(first)
        with notebook(tmp_path, "two", LARDER_TAKEOVER_SECONDS="0.1") as second:
            second.ok("x = 'second'")
            first.ok("x = Slow([2])")
            kill(first)
            second.ok("y = 1")
            second.shown("after its cell [2] is state 2")
            settle(second)
            assert [row[2].split()[0] for row in states(second)] == ["x", "x", "y"]
            second.ok("mine = x; larder.session.checkout(2)")
            assert second.text("print(x.value, 'mine' in globals(), 'y' in globals())") == "[2] False False\n"


def test_two_that_wait_take_over_one_after_the_other(tmp_path):
    with notebook(tmp_path) as first:
        first.ok("x = 1")
        with (
            notebook(tmp_path, "two", LARDER_TAKEOVER_SECONDS="0.1") as second,
            notebook(tmp_path, "three", LARDER_TAKEOVER_SECONDS="0.1") as third,
        ):
            second.ok("x = 2")
            third.ok("x = 3")
            kill(first)
            wait_until(lambda: saved(second) or saved(third))
            one, other = (second, third) if saved(second) else (third, second)
            one.ok("y = x")
            assert not saved(other) and str(one.pid) in other.text("print(__import__('larder').session.status())")
            kill(one)
            wait_until(lambda: saved(other))
            other.ok("z = x")
            settle(other)
            assert [row[2] for row in states(other)][-1] == "z = x" and len(states(other)) >= 4
            kill(other)
