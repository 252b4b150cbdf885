"""Children that save are killed, and the kernel after them: what was answered between the two comes back.

Whoever is killed is there until the system has done with it, and every step here is held by a file or by a tracer.
"""

import contextlib
import os
import signal

import pytest
from kernelfixtures import alive, kernel, kill, killed_and_held, wait_until
from test_recovery_beside import WRITES_WHEN_TOLD, begin, notebook, pids, settle

from larder import processes

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
LEARN = "rec = larder.recovery.recorder(); assert rec._learn(rec.savers, 20); del rec"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_was_killed_and_is_not_gone_counts_as_ended(number):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        assert not processes.ended(child)
        with killed_and_held(child, number):
            assert alive(child) and processes.ended(child)
    finally:
        os.close(writing)
        os.waitpid(child, 0)
    assert processes.ended(child)


def test_what_is_answered_while_a_killed_child_is_not_gone_yet_is_not_left_to_it(tmp_path):
    with notebook(tmp_path) as k:
        pid = begin(k, tmp_path)
        with killed_and_held(pid):
            k.ok("x.append(1); w[0] = 7.0")
            assert len(pids(k)) == 2, "another child has it"
            kill(k)
    (tmp_path / "go").touch()
    with notebook(tmp_path) as k:
        shown = k.text("x.append(2); print(y, big.sum(), w[0])")
        assert shown.splitlines()[-1] == "[[0, 1, 2]] 0.0 7.0"


ONE, OTHER = "m = np.random.default_rng(7).bytes(14 << 20)", "m = b'z' * (14 << 20)"


def left_to_children(k, go):
    """From here on `ONE` and the like are serialised by the kernel and written by a child once ``go`` is there, however busy
    the machine is."""
    go.touch()
    k.ok(WRITES_WHEN_TOLD.format(go=str(go)) + "m = np.random.default_rng(5).bytes(9)")
    settle(k)
    k.ok("larder.recorder.Costs.writing = lambda self, nbytes: nbytes / (20 << 20)", silent=True)
    k.ok("larder.recorder.REPLY_SECONDS = 0.5", silent=True)
    go.unlink()


@pytest.mark.parametrize("gone", [True, False])
def test_what_is_answered_after_a_child_was_killed_does_not_rest_on_what_that_one_was_to_write(tmp_path, gone):
    """The second child, given `m` without the chunks that the first one had, has others in their place."""
    go = tmp_path / "go"
    with notebook(tmp_path) as k:
        left_to_children(k, go)
        k.ok(ONE)
        (first,) = pids(k)
        k.ok(f"big = np.ones(4_000_000); {OTHER}")
        assert len(pids(k)) == 2, "what is large is left to another one"
        if gone:
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: not alive(first))
        with contextlib.nullcontext() if gone else killed_and_held(first):
            k.ok(f"{ONE}; x.append(3)")
            kill(k)
    go.touch()
    with notebook(tmp_path) as k:
        shown = k.text("print(m == np.random.default_rng(7).bytes(14 << 20), y, big.sum())")
        assert shown.splitlines()[-1] == "True [[0, 3]] 4000000.0"


def test_what_is_answered_after_a_child_was_replaced_does_not_rest_on_what_that_one_was_to_write(tmp_path):
    go = tmp_path / "go"
    with notebook(tmp_path) as k:
        left_to_children(k, go)
        for value in range(4):
            k.ok(f"big = np.full(4_000_000, {value}.5)")
        k.ok(f"big = np.full(4_000_000, 4.5); {ONE}")
        before = pids(k)
        k.ok(f"big = np.full(4_000_000, 5.5); {OTHER}")
        wait_until(lambda: len(pids(k)) == 5)
        assert len({*before} - {*pids(k)}) == 1, "it took the place of the last one"
        k.ok(LEARN, silent=True)
        now = pids(k)
        k.ok(f"{ONE}; x.append(3)")
        assert pids(k) == now, "no other process was needed"
        kill(k)
    go.touch()
    with notebook(tmp_path) as k:
        shown = k.text("print(m == np.random.default_rng(7).bytes(14 << 20), y, big[-1])")
        assert shown.splitlines()[-1] == "True [[0, 3]] 5.5"


def test_after_a_loss_small_states_are_given_again_once_no_child_is_left_that_knew_nothing_of_it(tmp_path):
    with notebook(tmp_path) as k:
        pid = begin(k, tmp_path)
        os.kill(pid, signal.SIGKILL)
        (tmp_path / "go").touch()
        k.shown("was ended by SIGKILL")
        settle(k)
        (tmp_path / "go").unlink()
        k.ok("larder.recorder.REPLY_SECONDS = 0.02", silent=True)
        k.ok("big = np.ones(4_000_000)")
        k.ok(LEARN, silent=True)
        (pid,) = pids(k)
        k.ok("larder.recorder.REPLY_SECONDS = 0.3", silent=True)
        k.ok("x.append(1)")
        assert pids(k) == [pid], "no other process was needed"
        kill(k)
    (tmp_path / "go").touch()
    with notebook(tmp_path) as k:
        assert k.text("print(y, big[0])").splitlines()[-1] == "[[0, 1]] 1.0"


def test_a_kernel_started_while_the_killed_one_is_not_gone_yet_waits_for_it(tmp_path):
    """It is not taken for another kernel of the notebook that goes on."""
    (tmp_path / "home").mkdir()
    other = tmp_path / "other"
    other.mkdir()
    os.symlink(tmp_path / "home", other / "home")
    with notebook(tmp_path) as k:
        k.ok("x = 5")
        settle(k)
        with (
            killed_and_held(k.pid),
            kernel(other, JPY_SESSION_NAME="beside.ipynb", LARDER_WAIT_SECONDS="1") as again,
        ):
            told = again.text("pass")
        k.km.shutdown_kernel(now=True)
    assert "is still saving what the last kernel of this notebook had" in told, told
