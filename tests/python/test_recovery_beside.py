"""What takes longer to save than a reply may wait is saved by a forked child, which outlives the kernel."""

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import time

import kernelfixtures
import pytest
from kernelfixtures import alive, kernel, kill, shut, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

SLOW = """
import time, os
class Slow:
    def __init__(self, value, seconds=0.25): self.value, self.seconds = value, seconds
    def __reduce__(self):
        time.sleep(self.seconds)
        return Slow, (self.value, self.seconds)
"""

# In a child, not before there is a file.
GATED = """
import time, os
class Slow:
    def __init__(self, value, seconds=0.25): self.value, self.seconds, self.home = value, seconds, os.getpid()
    def __reduce__(self):
        time.sleep(self.seconds)
        while os.getpid() != self.home and not os.path.exists({go!r}): time.sleep(0.01)
        return Slow, (self.value, self.seconds)
"""
PATIENT = {"LARDER_SAVER_SECONDS": "100"}  # a child that waits for a file makes no progress


@pytest.fixture(autouse=True)
def opened(tmp_path):
    """In the end no child waits any more, however the test went."""
    yield
    (tmp_path / "go").touch()


def gated(tmp_path):
    """The file that opens, and the class."""
    go = tmp_path / "go"
    return go, GATED.format(go=str(go))


def notebook(tmp_path, **env):
    return kernel(tmp_path, JPY_SESSION_NAME="beside.ipynb", **env)


def pids(k):
    """Living children of the kernel."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and alive(int(entry)):
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stat:
                if int(stat.read().rpartition(b")")[2].split()[1]) == k.pid:
                    found.append(int(entry))
    return found


def settle(k):
    """Wait for what is under way: nothing is left of it."""
    kernelfixtures.settle(k)
    assert pids(k) == []


def ended(pid):
    return not alive(pid)


def end(pid):
    """SIGKILL, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def after_a_kill(k, tmp_path, code):
    """What the next kernel prints for ``code`` when this one was killed."""
    kill(k)
    with notebook(tmp_path) as again:
        return again.text(code)


HOW = "for r in larder.session.log(): print(r['cell'], r['how'])"


def test_small_states_are_saved_before_the_reply_and_slow_ones_behind_it(tmp_path):
    go, slow = gated(tmp_path)
    with notebook(tmp_path, **PATIENT) as k:
        k.ok("import larder" + slow)
        settle(k)
        k.ok("larder.recorder.REPLY_SECONDS = 0.2", silent=True)  # small things take a while on a busy machine
        k.ok("x = [1]")
        k.ok("s = Slow(1)")
        (pid,) = pids(k)
        status = k.text("print(larder.session.status())", silent=True)
        assert "cell [3] is being saved behind its reply" in status and f"process {pid}" in status
        assert [line.split()[:3] for line in status.splitlines() if line.split()[:1] == ["s"]] == [["s", "not", "yet"]]
        go.touch()
        rows = k.text(HOW, silent=True).splitlines()  # waits for it
        assert rows[1:] == ["2 before reply", "3 behind reply"] and ended(pid) and pids(k) == []
        assert "behind its reply" not in k.text("print(larder.session.status())", silent=True)
        k.ok("x.append(2)\n%shelf log")
        assert after_a_kill(k, tmp_path, "print(x, s.value)").endswith("\n[1, 2] 1\n")


# What a child cannot serialise before there is a file.
WHEN_TOLD = """
import os, time
class Told:
    def __init__(self, value): self.value, self.home = value, os.getpid()
    def __reduce__(self):
        while os.getpid() != self.home and not os.path.exists({go!r}): time.sleep(0.01)
        return Told, (self.value,)
"""


def test_a_child_saves_variables_of_any_name(tmp_path):
    with notebook(tmp_path, LARDER_SAVER="always") as k:
        k.ok("import larder; globals()['\\udcff'] = [4]; globals()['\\ud800' * 3000] = x = [5]")
        assert k.text(HOW, silent=True) == "1 behind reply\n"
        assert after_a_kill(k, tmp_path, "print(globals()['\\udcff'], x is globals()['\\ud800' * 3000])").endswith(
            "\n[4] True\n"
        )


@pytest.mark.parametrize("group", [False, True])
def test_killed_with_states_under_way_the_last_replied_cell_is_back(tmp_path, group):
    go = tmp_path / "go"
    with notebook(tmp_path, LARDER_SAVER="always") as k:
        k.ok("import numpy as np" + WHEN_TOLD.format(go=str(go)))
        settle(k)
        k.ok("big = np.arange(5_000_000.0); s = Told([1])")
        k.ok("big[7] = -1; y = 5")
        k.ok("big *= 2; s.value.append(y)")
        under_way = pids(k)
        assert len(under_way) == 3
        kill(k, group)
        go.touch()
    with notebook(tmp_path) as k:
        shown = k.text("print(big[7], big[8], big.sum(), s.value, y)")
        assert shown.splitlines()[-1] == "-2.0 16.0 24999994999984.0 [1, 5] 5"
        assert all(map(ended, under_way))


def test_a_child_that_is_killed_alone_costs_nothing_but_its_time(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import larder, numpy as np" + SLOW)
        settle(k)
        k.ok("big = np.arange(5_000_000.0); s = Slow([1], 0.3)")
        settle(k)
        for step in range(2, 5):
            k.ok(f"big[{step}] = -1; s.value.append({step})")
            for pid in pids(k):
                end(pid)
            wait_until(lambda: not noted(tmp_path))
        k.ok("x = 5")
        settle(k)
        assert k.text("print([r['cell'] for r in larder.session.log()])", silent=True) == "[1, 2, 3, 4, 5, 6]\n"
        ids = k.text("print(*(r['id'] for r in larder.session.log() if r['cell'] in (4, 6)))", silent=True).split()
        k.ok(f"%shelf checkout {ids[0]}")
        assert k.text("print(s.value, big[2:5].tolist())", silent=True) == "[1, 2, 3] [-1.0, -1.0, 4.0]\n"
        k.ok(f"%shelf checkout {ids[1]}")
        settle(k)
        shown = after_a_kill(k, tmp_path, "print(s.value, big[2:5].tolist(), x)")
        assert shown.endswith("\n[1, 2, 3, 4] [-1.0, -1.0, -1.0] 5\n") and "not back" not in shown


def noted(tmp_path):
    """Whether something that was promised is not on the shelf yet."""
    return bool(list((tmp_path / "home" / "sessions").glob("*.promised")))


def lose_all(k, tmp_path):
    """A slow cell; then every child that saves is killed, without a further cell, until none comes any more."""
    go, slow = gated(tmp_path)
    go.touch()
    k.ok("import larder, numpy as np" + slow)
    settle(k)
    k.ok("big = np.arange(5_000_000.0); s = Slow([1], 0.3)")
    settle(k)
    go.unlink()
    k.ok("big[3] = -1; s.value.append(2)")
    for when in ("now", "before the next cell runs"):  # once for the cell, once to make up for it
        wait_until(lambda: pids(k))
        (pid,) = pids(k)
        os.kill(pid, signal.SIGKILL)
        k.shown(
            f"process {pid}, which saved the state after cell [3], was ended by SIGKILL; the state is saved again {when}"
        )
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        assert pids(k) == [], "and not again"
        time.sleep(0.01)
    go.touch()
    assert noted(tmp_path)


def test_what_a_killed_child_was_to_save_is_saved_while_the_kernel_is_idle(tmp_path):
    go, slow = gated(tmp_path)
    go.touch()
    with notebook(tmp_path) as k:
        k.ok("import larder, numpy as np" + slow)
        settle(k)
        k.ok("big = np.arange(5_000_000.0); s = Slow([1], 0.3)")
        settle(k)
        go.unlink()
        k.ok("big[3] = -1; s.value.append(2)")
        (pid,) = pids(k)
        os.kill(pid, signal.SIGKILL)
        go.touch()
        k.shown(
            f"process {pid}, which saved the state after cell [3], was ended by SIGKILL; the state is saved again now"
        )
        wait_until(lambda: not noted(tmp_path))  # with no further cell
        assert pids(k) == []
        kill(k)
    with notebook(tmp_path) as k:
        shown = k.text("print(s.value, big[2:5].tolist())")
        assert shown.endswith("\n[1, 2] [2.0, -1.0, 4.0]\n") and "not back" not in shown
        assert k.text(HOW, silent=True).splitlines()[1:3] == ["2 behind reply", "3 behind reply"]


def test_a_small_state_that_was_given_to_a_killed_child_is_saved_while_idle_too(tmp_path):
    with notebook(tmp_path) as k:
        pid = begin(k, tmp_path)
        k.ok("x.append(1)")
        os.kill(pid, signal.SIGKILL)
        (tmp_path / "go").touch()
        wait_until(lambda: not noted(tmp_path))
        assert after_a_kill(k, tmp_path, "print(y, big.sum())").endswith("\n[[0, 1]] 0.0\n")


def test_a_running_cell_is_not_disturbed_by_the_end_of_a_child(tmp_path):
    go, slow = gated(tmp_path)
    over = tmp_path / "over"
    with notebook(tmp_path, **PATIENT) as k:
        k.ok("import asyncio, larder" + slow)
        settle(k)
        k.ok("s = Slow([1], 0.2)")
        assert len(pids(k)) == 1
        for sleep in ("time.sleep(0.01)", "await asyncio.sleep(0.01)"):
            message = k.send(f"while not os.path.exists({str(over)!r}): {sleep}")
            k.wait_for(lambda msg: msg["msg_type"] == "execute_input")
            for child in pids(k):
                os.kill(child, signal.SIGKILL)
            wait_until(lambda: pids(k) == [])
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                assert pids(k) == []
                time.sleep(0.01)
            over.touch()
            assert k.reply(message)["content"]["status"] == "ok"
            over.unlink()
        go.touch()
        wait_until(lambda: not noted(tmp_path))
        assert after_a_kill(k, tmp_path, "print(s.value)").endswith("\n[1]\n")


def test_what_was_lost_twice_is_saved_by_the_next_cell(tmp_path):
    with notebook(tmp_path) as k:
        lose_all(k, tmp_path)
        k.ok("x = 4")
        settle(k)
        shown = after_a_kill(k, tmp_path, "print(s.value, big[3], x)")
        assert shown.endswith("\n[1, 2] -1.0 4\n") and "not back" not in shown


def test_what_was_lost_twice_is_saved_by_a_shutdown(tmp_path):
    with notebook(tmp_path) as k:
        lose_all(k, tmp_path)
        shut(k)
    with notebook(tmp_path) as k:
        assert "not back" not in k.text("%shelf recover")
        assert k.text("print(s.value, big[3])") == "[1, 2] -1.0\n"


def die_together(k):
    """The kernel and what saves for it, in one moment."""
    os.kill(k.pid, signal.SIGSTOP)
    for pid in [*pids(k), k.pid]:
        os.kill(pid, signal.SIGKILL)
    k.km.shutdown_kernel(now=True)


# What takes long in a child only.
LONG = """
import os, time
class Long:
    def __init__(self, value): self.value, self.home = value, os.getpid()
    def __reduce__(self):
        if os.getpid() != self.home: time.sleep(20)
        return Long, (self.value,)
"""


def test_killed_together_with_what_saves_the_last_durable_state_is_back_and_what_is_missing_is_said(tmp_path):
    note = lambda: list((tmp_path / "home" / "sessions").glob("*.promised"))  # noqa: E731
    with notebook(tmp_path, LARDER_SAVER="always") as k:
        k.ok("import numpy as np" + LONG)
        k.ok("big = np.arange(5_000_000.0); x = 2")
        settle(k)
        assert note() == [], "all of it is saved"
        k.ok("x = 3; s = Long([3])")
        k.ok("x = 4; big[0] = 4")
        assert len(pids(k)) == 2
        die_together(k)
    with notebook(tmp_path, LARDER_RECOVER="ask") as k:
        k.ok("pass", silent=True)
        kill(k)  # nothing was said yet
    with notebook(tmp_path, LARDER_SAVER="always") as k:
        shown = k.text("print(x, 's' in globals(), big[0])").splitlines()
        assert "not back: what cells [3] and [4] changed" in shown[-2] and shown[-1] == "2 False 0.0"
        assert "not back" not in k.text("print(x)")
        settle(k)
        assert note() == []
        k.ok("s = Long([5])")
        die_together(k)
    with notebook(tmp_path, LARDER_RECOVER="ask") as k:
        shown = k.text("print('x' in globals())")
        assert "not back: what cell [5] changed" in shown and shown.endswith("\nFalse\n")


def test_nothing_saved_yet_and_killed_together_is_said_too(tmp_path):
    with notebook(tmp_path, LARDER_SAVER="always") as k:
        k.ok(LONG + "s = Long([1])")
        assert len(pids(k)) == 1
        die_together(k)
    with notebook(tmp_path) as k:
        assert "not back: what cell [1] changed" in k.text("print('s' in globals())")


# In the kernel: a child writes nothing before there is a file; what it serialised it says before that.
WRITES_WHEN_TOLD = """
import larder, numpy as np, time, os
exec('''
_put = Recorder._put
def _when_told(self, task, child, began):
    while child is not None and not os.path.exists({go!r}): time.sleep(0.01)
    return _put(self, task, child, began)
Recorder._put = _when_told
Costs.writing = lambda self, nbytes: nbytes / (600 << 20)  # whatever the disk is like
''', vars(larder.recorder))
x = [0]; y = [x]; w = np.zeros(10)
"""


def begin(k, tmp_path):
    """A child that has serialised a large array and waits; its process. What can be foretold is serialised by the kernel from
    then on if that is 0.3 s or less, as small things are on a busy machine too."""
    go = tmp_path / "go"
    go.touch()
    k.ok(WRITES_WHEN_TOLD.format(go=str(go)) + SLOW)
    settle(k)
    go.unlink()
    k.ok("big = np.zeros(4_000_000)")
    k.ok("rec = larder.recovery.recorder(); assert rec._learn(rec.savers, 20); del rec", silent=True)
    (pid,) = pids(k)
    k.ok("larder.recorder.REPLY_SECONDS = 0.3", silent=True)
    return pid


@pytest.mark.parametrize("group", [False, True])
def test_small_states_are_given_to_a_child_that_saves_already_and_survive_the_kernel(tmp_path, group):
    with notebook(tmp_path) as k:
        pid = begin(k, tmp_path)
        k.ok("x.append(1)")
        k.ok("big[7] = 5.0")
        k.ok("del y; z = np.arange(3000); v = z[::2]")
        k.ok("big[-1] = 6.0; v[1] = 9; w += 1")
        assert pids(k) == [pid], "no other process was needed"
        status = k.text("print(larder.session.status())", silent=True)
        assert "the states after cells [2] to [6] are being saved behind their reply" in status
        kill(k, group)
    (tmp_path / "go").touch()
    with notebook(tmp_path) as k:
        shown = k.text("z[2] += 1; print(x, big[7], big[-1], big.sum(), v[1], w.sum(), 'y' in globals())")
        assert shown.splitlines()[-1] == "[0, 1] 5.0 6.0 11.0 10 10.0 False"
        rows = k.text(f"import larder\n{HOW}", silent=True).splitlines()
        assert rows[1:6] == [f"{cell} behind reply" for cell in range(2, 7)]
        k.ok("larder.session.checkout([r['id'] for r in larder.session.log() if r['cell'] == 4][0])")
        assert k.text("print(x, y[0] is x, big[7], big[-1], 'z' in globals())") == "[0, 1] True 5.0 0.0 False\n"


def test_states_that_a_child_was_given_and_did_not_live_to_save_are_saved_again(tmp_path):
    with notebook(tmp_path) as k:
        pid = begin(k, tmp_path)
        k.ok("x.append(1); big[3] = 1.0")
        k.ok("w[0] = 7.0")
        assert pids(k) == [pid]
        os.kill(pid, signal.SIGKILL)
        (tmp_path / "go").touch()
        message = k.send("u = 1")
        k.shown("was ended by SIGKILL")  # noticed before the new cell's state was given to it (4) or after (5)
        assert k.reply(message)["content"]["status"] == "ok"
        settle(k)
        shown = after_a_kill(k, tmp_path, "x.append(2); print(y, big[3], big.sum(), w[0], u)")
        assert shown.splitlines()[-1] == "[[0, 1, 2]] 1.0 1.0 7.0 1"


def test_a_child_finds_out_that_the_one_before_it_did_not_save_what_it_was_given(tmp_path):
    with notebook(tmp_path) as k:
        pid = begin(k, tmp_path)
        k.ok("x.append(1); big[3] = 1.0")
        assert pids(k) == [pid]
        k.ok("s = Slow(4, 0.1)")
        assert len(pids(k)) == 2, "what nothing is known of is left to another one"
        k.ok("rec = larder.recovery.recorder(); assert rec._learn(rec.savers, 20); del rec", silent=True)
        k.ok("w[0] = 7.0")
        os.kill(pid, signal.SIGKILL)
        kill(k)
    (tmp_path / "go").touch()
    with notebook(tmp_path) as k:
        shown = k.text("x.append(2); print(y, big[3], big.sum(), w[0], s.value)")
        assert shown.splitlines()[-1] == "[[0, 1, 2]] 1.0 1.0 7.0 4"


# In the kernel: a child writes the state of its number when there is a file with it, or one for all.
WRITES_IN_TURN = WRITES_WHEN_TOLD.replace(
    "os.path.exists({go!r})", "any(os.path.exists({go!r} + number) for number in ('', str(task.seq)))"
)


def test_what_went_with_two_children_one_after_the_other_is_not_taken_for_saved(tmp_path):
    go = tmp_path / "go"
    go.touch()
    latest = "print(larder.recovery.recorder().meta['seq'])"
    learn = "rec = larder.recovery.recorder(); rec._collect(); assert rec._learn(rec.savers, 20); del rec"
    with notebook(tmp_path) as k:
        k.ok(WRITES_IN_TURN.format(go=str(go)) + SLOW)
        k.ok("s = Slow(0, 0.05); v = ['old']")
        settle(k)
        go.unlink()
        k.ok("s = Slow(1, 0.05)")
        first, seq = pids(k)[0], k.text(latest, silent=True).strip()
        k.ok("s = Slow(2, 0.05); v = ['new']")
        (second,) = {*pids(k)} - {first}
        os.kill(second, signal.SIGKILL)
        wait_until(lambda: ended(second))
        k.ok("s = Slow(3, 0.05)")
        (third,) = {*pids(k)} - {first}
        (tmp_path / f"go{seq}").touch()
        wait_until(lambda: ended(first))
        k.ok(learn, silent=True)  # what the third child serialised in place of the second
        os.kill(third, signal.SIGKILL)
        wait_until(lambda: ended(third))
        go.touch()
        k.ok("x = 5")
        settle(k)
        assert after_a_kill(k, tmp_path, "print(v, s.value, x)").endswith("\n['new'] 3 5\n")


def test_what_went_with_children_that_were_replaced_is_not_taken_for_saved(tmp_path):
    go = tmp_path / "go"
    go.touch()
    learn = "rec = larder.recovery.recorder(); assert rec._learn(rec.savers, 20); del rec"
    with notebook(tmp_path) as k:
        k.ok(WRITES_WHEN_TOLD.format(go=str(go)) + SLOW)
        k.ok("s = Slow(0, 0.05); v = ['old']")
        settle(k)
        go.unlink()
        for step in range(4):
            k.ok(f"s = Slow({step}, 0.05)")
        k.ok("s = Slow(6, 0.05); v = ['new']")
        for step in range(7, 10):  # each takes the place of the one before it
            k.ok(learn, silent=True)
            k.ok(f"s = Slow({step}, 0.05)")
        k.ok(learn, silent=True)
        go.touch()
        settle(k)
        k.ok("x = 5")
        assert after_a_kill(k, tmp_path, "print(v, s.value, x)").endswith("\n['new'] 9 5\n")


def test_the_frozen_view_is_of_the_end_of_the_cell_whatever_the_next_ones_store(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import larder, numpy as np" + SLOW)
        k.ok("s = Slow([0]); big = np.zeros(4_000_000)")
        for step in range(1, 4):
            k.ok(f"big[:] = {step}; s.value[0] = {step}")
        k.ok("%shelf checkout 3")
        assert k.text("print(s.value, big.min(), big.max())") == "[1] 1.0 1.0\n"
        k.ok("%shelf checkout 2")
        assert k.text("print(s.value, big.min(), big.max())") == "[0] 0.0 0.0\n"
        k.ok("%shelf checkout 5")
        assert k.text("print(s.value, big.min(), big.max())") == "[3] 3.0 3.0\n"


def test_cells_do_not_wait_for_each_others_states_and_the_last_one_counts(tmp_path):
    go, slow = gated(tmp_path)
    with notebook(tmp_path, **PATIENT) as k:
        k.ok("import larder" + slow)
        settle(k)
        k.ok("s = Slow(0)")
        for step in range(12):
            k.ok(f"x = {step}")
        assert len(pids(k)) >= 2, "one saves, some wait"
        wait_until(lambda: len(pids(k)) <= 7)  # the others were replaced: killed, which takes a moment
        go.touch()
        shown = k.text("rows = larder.session.log(); print(len(rows), rows[-1]['cell'], rows[-1]['line'])", silent=True)
        assert shown.split()[1:] == ["14", "x", "=", "11"]
        assert after_a_kill(k, tmp_path, "print(x, s.value)").endswith("\n11 0\n")


def test_an_interrupt_and_the_end_of_the_group_do_not_reach_what_saves(tmp_path):
    go, slow = gated(tmp_path)
    with notebook(tmp_path, **PATIENT) as k:
        k.ok("import larder" + slow)
        settle(k)
        k.ok("s = Slow('kept')")
        (pid,) = pids(k)
        os.killpg(k.pid, signal.SIGINT)
        k.km.interrupt_kernel()
        go.touch()
        assert k.text("rows = larder.session.log(); print(rows[-1]['how'])", silent=True) == "behind reply\n"
        assert ended(pid)


ONLY_HERE = """
import os, time, signal
class Stuck:
    def __init__(self, value): self.value, self.home = value, os.getpid()
    def __reduce__(self):
        if os.getpid() != self.home: {what}
        return Stuck, (self.value,)
"""


@pytest.mark.parametrize("what", ["time.sleep(600)", "os.kill(os.getpid(), signal.SIGSEGV)"])
def test_what_does_not_survive_a_fork_is_saved_in_the_kernel(tmp_path, what):
    with notebook(tmp_path, LARDER_SAVER_SECONDS="0.5", LARDER_SAVER="always") as k:
        k.ok("import larder\nx = 1" + ONLY_HERE.format(what=what))
        settle(k)
        k.ok("s = Stuck([1])")
        said = k.shown("the state is saved again before the next cell runs")["content"]["text"]
        assert "saved the state after cell [2]" in said and "`s`" in said, said
        k.ok("x = 2")
        k.ok("s.value.append(2); y = 3")
        assert "before reply" in k.text(HOW + "\nprint(len(larder.recovery.recorder().behind()))", silent=True)
        assert after_a_kill(k, tmp_path, "print(x, s.value, y)").endswith("\n2 [1, 2] 3\n")


def test_a_child_that_never_begins_is_ended_and_the_kernel_saves_from_then_on(tmp_path):
    with notebook(tmp_path, LARDER_SAVER="always", LARDER_SAVER_SECONDS="1") as k:
        k.ok("import larder, os, time\nx = [1]")
        settle(k)
        k.ok("os.register_at_fork(after_in_child=lambda: time.sleep(1000))", silent=True)
        k.ok("x.append(2)")
        k.ok("x.append(3)")
        hung = pids(k)
        assert hung
        settle(k)
        assert all(map(ended, hung))
        k.ok("x.append(4)")
        assert pids(k) == []
        status = k.text("print(larder.session.status())", silent=True)
        assert "hung before it began" in status
        assert k.text(HOW, silent=True).splitlines()[-1] == "4 before reply"
        assert after_a_kill(k, tmp_path, "print(x)").endswith("\n[1, 2, 3, 4]\n")


def test_where_no_fork_is_possible_everything_is_saved_before_the_reply_and_status_says_why(tmp_path):
    with notebook(tmp_path) as k:
        k.ok(
            "import larder, posix, errno\n"
            "def no(): raise OSError(errno.ENOMEM, 'no memory')\n"
            "real, posix.fork = posix.fork, no" + SLOW
        )
        k.ok("s = Slow([1], 0.3)")
        assert pids(k) == []
        assert "no memory" in k.text("print(larder.session.status())", silent=True)
        assert k.text(HOW, silent=True).splitlines()[-1] == "2 before reply"
        k.ok("posix.fork = real; s.value.append(2)")
        assert after_a_kill(k, tmp_path, "print(s.value)").endswith("\n[1, 2]\n")


def test_a_shutdown_in_the_middle_is_a_shutdown_and_leaves_no_process(tmp_path):
    go, slow = gated(tmp_path)
    with notebook(tmp_path, **PATIENT) as k:
        k.ok("import larder" + slow)
        settle(k)
        k.ok("s = Slow('there')")
        under_way = pids(k)
        shut(k)
    assert len(under_way) == 1 and alive(under_way[0]), "the kernel does not wait for ever"
    go.touch()
    with notebook(tmp_path) as k:
        assert k.text("print('s' in globals())").splitlines()[-1] == "False", (
            "not a crash: nothing comes back by itself"
        )
        assert ended(under_way[0])
        k.ok("%shelf recover")
        assert k.text("print(s.value)") == "there\n"


def test_a_kernel_that_cannot_wait_any_longer_says_for_whom_and_loses_nothing(tmp_path):
    go, slow = gated(tmp_path)
    with notebook(tmp_path, **PATIENT) as k:
        k.ok("x = 1" + slow)
        settle(k)
        k.ok("s = Slow('there')")
        (pid,) = pids(k)
        kill(k)
    with notebook(tmp_path, LARDER_WAIT_SECONDS="0.5") as k:
        shown = k.text("print('s' in globals())")
        assert f"process {pid} is still saving what the last kernel" in shown and shown.endswith("False\n")
    go.touch()
    wait_until(lambda: ended(pid))
    with notebook(tmp_path) as k:
        assert k.text("print(s.value, x)").endswith("\nthere 1\n")


def test_what_is_saved_has_no_finaliser_run_twice_and_prints_nothing(tmp_path):
    with notebook(tmp_path, LARDER_SAVER="always") as k:
        k.ok("import gc, os" + SLOW.replace("time.sleep", "print('reduced', flush=True); time.sleep"))
        k.ok(
            f"class Noted:\n    def __del__(self): open({str(tmp_path / 'noted')!r}, 'a').write(f'{{os.getpid()}} ')\n"
            "a = Noted(); a.me = a; del a; s = Slow(1, 0.05)"
        )
        k.ok("%shelf log")
        assert "reduced" not in k.text("x = 1")
        k.ok("gc.collect()")
        assert (tmp_path / "noted").read_text().split() == [str(k.pid)]
        kill(k)


def test_disk_full_behind_the_reply_is_said_and_the_next_cell_saves_again(tmp_path):
    with notebook(tmp_path, LARDER_SAVER="always") as k:
        k.ok("import larder, resource, signal; x = 1")
        settle(k)
        # No file may grow past what this one has: writing fails with EFBIG, which the shelf takes for a full disk or an error.
        k.ok(
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "size = larder.recovery.recorder().path.stat().st_size\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\nbig = bytes(60_000_000)"
        )
        said = ("is not saved", "not saved any more", "saved the state")
        k.wait_for(lambda m: m["msg_type"] == "stream" and any(one in m["content"]["text"] for one in said))
        k.ok("resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2); x = 2")
        k.ok("%shelf log")
        on = k.text("print(larder.recovery.recorder().on)", silent=True)
        kill(k)
    if on.strip() == "True":
        with notebook(tmp_path) as k:
            assert k.text("print(x, len(big))").endswith("\n2 60000000\n")


def test_time_is_not_spent_on_a_fork_that_costs_more_than_the_save():
    from larder.costs import Costs

    costs = Costs()
    assert costs.seconds("m.T", "x", None) == float("inf"), "what is not known may take any time"
    costs.took("m.T", "x", 0.5, 0.0)
    assert costs.seconds("m.T", "x", None) == 0.5
    assert costs.seconds("m.T", "y", None) == 0.5, "as others of its type"
    assert costs.seconds("m.U", "x", None) == float("inf"), "another type under the same name"
    assert costs.seconds("list", "l", 0.001) == pytest.approx(0.005)
    costs.took("list", "l", 0.004, 0.001)
    assert costs.seconds("list", "l", 0.002) == pytest.approx(0.008), "twice as much to walk"
    before = costs.writing(1 << 30)
    costs.wrote(1 << 30, 10.0)
    assert costs.writing(1 << 30) > before, "a slow disk"


def test_a_fork_costs_what_the_cells_behind_it_pay_too(monkeypatch):
    import types

    from larder import beside, saver

    monkeypatch.setattr(saver, "resident_bytes", lambda: 100)

    def cost(per_byte: float) -> float:
        return beside.Beside._fork_cost(types.SimpleNamespace(_fork_seconds=per_byte))

    assert cost(10e-6) == pytest.approx(1e-3 + saver.COPIES * 1e-3)
    assert cost(1e-3) == pytest.approx(0.1 + saver.COPIES_SECONDS_MAX)
    assert cost(0.0) == pytest.approx(saver.SECONDS_PER_BYTE * 100 * (1 + saver.COPIES)), "before one was measured"


def test_how_fast_a_disk_writes_is_tried_until_it_is_measured_and_leaves_no_file(tmp_path):
    from larder.costs import BYTES_PER_SECOND, Costs

    costs = Costs()
    costs.try_disk(str(tmp_path / "nowhere"))
    guess = costs.writing(BYTES_PER_SECOND)
    assert guess == 1.0, "where nothing can be tried, the guess stands"
    costs = Costs()
    costs.try_disk(str(tmp_path))
    trial = costs._trial
    with contextlib.suppress(AssertionError):  # a slow disk, or a file system without files that have no name
        wait_until(lambda: trial.bytes_per_second(), timeout=10)
    tried = trial.bytes_per_second()
    assert list(tmp_path.iterdir()) == []
    costs.try_disk(str(tmp_path))
    assert costs._trial is trial, "once"
    if tried is not None:
        assert costs.writing(1 << 20) == pytest.approx((1 << 20) / tried)
    costs.wrote(8 << 20, 2.0)
    assert costs.writing(4 << 20) == 1.0, "what was measured counts"
    costs.wrote(8 << 20, 1.0)
    assert costs.writing(6 << 20) == 1.0, "the mean of that and of what comes"


def test_what_work_took_is_the_processors_time_unless_it_slept():
    from larder._larder import Stopwatch

    watch = Stopwatch()
    time.sleep(0.05)
    assert watch.lap() >= 0.05, "a thing that sleeps does so the next time too"
    waits = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    began, spent = time.perf_counter(), time.thread_time()
    watch.lap()
    sum(range(300_000))
    took = watch.lap()
    wall, spent = time.perf_counter() - began, time.thread_time() - spent
    assert 0 < took <= wall + 1e-3
    if resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw == waits:
        assert took <= spent + 1e-3


def test_the_clock_of_the_oldest_child_goes_on(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import larder" + SLOW)
        settle(k)
        k.ok("s = Slow(1, 0.5)")
        began = time.monotonic()
        k.ok("larder.recovery.recorder().drain()", silent=True)
        assert time.monotonic() - began < 30 and pids(k) == []


def test_memory_asked_about_piece_by_piece_is_what_the_list_of_mappings_says(tmp_path):
    from larder import saver

    own, other = tmp_path / "own.shelf", tmp_path / "other.shelf"
    size, anonymous = 1 << 20, mmap.MAP_ANONYMOUS
    made, spans = [], {}
    for path, name in ((own, "own"), (other, "other")):
        path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            made.append((name, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE)))
    made += [
        ("plain", mmap.mmap(-1, size, mmap.MAP_PRIVATE | anonymous)),
        ("shared", mmap.mmap(-1, size, mmap.MAP_SHARED | anonymous)),
    ]
    for name, memory in made:
        low = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        spans[name] = (low, low + size)
    listed = saver.not_frozen(str(own))
    for name, (low, high) in spans.items():
        said = any(a < high and low < b for a, b in listed)
        assert said == (name in ("other", "shared")), name
        assert saver.thaws([(low, high)], str(own)) in (None, said), name
    asked = saver.thaws([spans["plain"], spans["own"]], str(own))
    if asked is None:
        pytest.skip("this kernel cannot be asked about one mapping (Linux 6.11)")
    assert asked is False and saver.thaws([spans["plain"], spans["shared"]], str(own)) is True
    assert saver.thaws([], str(own)) is False and saver.thaws([spans["plain"]] * 1000, str(own)) is None


def test_memory_that_a_child_would_see_change_is_saved_by_the_kernel(tmp_path):
    with notebook(tmp_path, LARDER_SAVER="always") as k:
        k.ok("import larder, mmap, numpy as np\nfrom larder import saver")
        frozen = "print(saver.not_frozen(str(larder.recovery.recorder().path)) == [])"
        assert k.text(frozen, silent=True) == "True\n"
        k.ok("y = 1")
        k.ok("w = larder.open('other'); w.x = np.zeros(600_000); x = w.x")
        assert k.text(frozen, silent=True) == "False\n"
        k.ok("x[:] = 1")
        k.ok("w.close(); del w, x")
        rows = [line.split() for line in k.text(HOW, silent=True).splitlines()]
        assert [row[1] for row in rows][3] == "before" and pids(k) == []


def test_what_is_slow_is_saved_by_a_child_where_loops_are_compiled_too(tmp_path):
    with notebook(tmp_path, LARDER_SAVER="always", LARDER_TRACE="on") as k:
        k.ok("import larder\nfrom larder import saver")
        k.ok("for i in range(100_000): pass")
        assert k.text("print(larder.trace.stats()['loops'] > 0)", silent=True) == "True\n"
        frozen = "saver.not_frozen(str(larder.recovery.recorder().path)) == []"
        mapped = "'larder-traces' in open('/proc/self/maps').read()"
        frozen = f"print({frozen}, {mapped})"
        assert k.text(frozen, silent=True) == "True True\n"


def test_what_needs_threads_is_serialised_in_the_kernel_and_written_by_a_child(tmp_path):
    """Polars would wait in a forked child for threads that are not there."""
    asked = """
said, given = [], larder.beside.Beside._only_here
def asked(self, look):
    said.append(given(self, look))
    return said[-1]
larder.beside.Beside._only_here = asked
"""
    with notebook(tmp_path, LARDER_SAVER="always", LARDER_SAVER_SECONDS="5") as k:
        k.ok("import larder, polars as pl, numpy as np" + asked)
        settle(k)
        k.ok("df = pl.DataFrame({f'c{i}': np.arange(100_000.0) for i in range(12)})")
        settle(k)
        assert k.text("print(said)", silent=True).split()[-1] == "True]"
        assert k.text(HOW, silent=True).splitlines()[-1] == "2 behind reply"
        shown = after_a_kill(k, tmp_path, "print(df.shape, df['c11'].sum())")
        assert shown.endswith("\n(100000, 12) 4999950000.0\n")
