# ruff: noqa: E501
"""A real kernel is killed; the next one of the same notebook has everything back."""

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from kernelfixtures import kernel, kill, settle, shut, text

import larder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@contextmanager
def notebook(tmp_path, name="work/analysis.ipynb", **env):
    with kernel(tmp_path, JPY_SESSION_NAME=name, **env) as k:
        yield k


def started(k, code):
    """Send ``code``, wait for its first output that is not about recovery."""
    msg_id = k.send(code)
    k.wait_for(
        lambda m: (
            m["msg_type"] == "stream"
            and m["parent_header"].get("msg_id") == msg_id
            and not m["content"]["text"].splitlines()[-1].startswith("larder:")
        )
    )


def dies(k):
    deadline = time.monotonic() + 30
    while k.km.is_alive():
        assert time.monotonic() < deadline, "the kernel lives on"
        time.sleep(0.01)
    k.km.shutdown_kernel(now=True)


def session_files(tmp_path):
    return sorted((tmp_path / "home" / "sessions").glob("*.shelf"))


CELLS = [
    "import numpy as np, pandas as pd, collections as c",
    "n, s, t, none, big = 7, 'naïve', (1, 2.5), None, 1 << 90",
    "a = [1, 2]; b = {'a': a}; a.append(b)",
    "x = np.arange(6.0).reshape(2, 3); y = x[1]; ro = np.ones(3); ro.flags.writeable = False",
    "df = pd.DataFrame({'i': [1, 2], 's': ['u', 'v'], 't': pd.to_datetime(['2020-01-01', None])}, index=['p', 'q'])",
    "total = 10\ndef add(n):\n    global total\n    total += n\n    return total\nadd(1)",
    "class Point:\n    made = []\n    def __init__(self, x): self.x = x; self.made.append(self)\n    def twice(self): return 2 * self.x\n    @staticmethod\n    def s(): return 's'\n    @classmethod\n    def c(cls): return cls",
    "p = Point(4); q = Point(5); bound = p.twice",
    "Pair = c.namedtuple('Pair', 'l r'); pair = Pair([1], 2)\nimport functools\n@functools.wraps(add)\ndef wrapped(n): return add(n)",
    "def counter():\n    k = 0\n    def up():\n        nonlocal k; k += 1; return k\n    def get(): return k\n    return up, get\nup, get = counter(); up()",
]
CHECK = """
assert (n, s, t, none, big) == (7, 'naïve', (1, 2.5), None, 1 << 90)
assert a[:2] == [1, 2] and a[2] is b and b['a'] is a
y[0] = 77
assert x[1, 0] == 77 and x.sum() == 0 + 1 + 2 + 77 + 4 + 5 and not ro.flags.writeable
assert list(df.s) == ['u', 'v'] and df.index.tolist() == ['p', 'q'] and df.t.isna().tolist() == [False, True]
assert total == 11 and add(5) == 16 and total == 16
assert type(p) is Point and p.s() == 's' and p.c() is Point and Point.made == [p, q] and bound() == 8 and bound.__self__ is p and p.twice() == 8
assert type(pair) is Pair and pair.l == [1] and wrapped.__wrapped__ is add
up(); assert get() == 2
assert np.__name__ == 'numpy' and c.__name__ == 'collections'
print('all of it')
"""


def test_after_a_kill_the_namespace_is_back_before_the_first_cell(tmp_path):
    with notebook(tmp_path) as k:
        for cell in CELLS:
            k.ok(cell)
        kill(k)
    with notebook(tmp_path) as k:
        shown = k.text(CHECK)
        assert shown.endswith("all of it\n")
        assert shown.startswith("larder: back from cell [10]")
        assert "not back" not in shown
        content, _ = k.run("n")
        assert content["execution_count"] == len(CELLS) + 2
        assert k.value("In[2]") == repr(CELLS[1]) and k.value("In[10]") == repr(CELLS[9])


def test_a_kill_in_the_middle_of_a_cell_leaves_the_state_before_it(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("x = [1]")
        started(k, "x.append(2); y = 1\nprint('go', flush=True)\nimport time; time.sleep(60)")
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print(x, 'y' in globals())").endswith("[1] False\n")


def test_a_cell_that_runs_cells_is_saved_once_at_its_end(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("x = 1")
        started(k, "x = 2\nget_ipython().run_cell('x = 3')\nprint('go', flush=True)\nimport time; time.sleep(60)")
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print(x)").endswith("\n1\n")


def test_a_failed_cell_is_saved_too(tmp_path):
    with notebook(tmp_path) as k:
        k.run("x = 1; 1 / 0")
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print(x)").endswith("\n1\n")


def test_what_cannot_be_saved_is_listed_with_reason_and_cell_and_does_not_keep_the_rest(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("good = [1]")
        k.ok(
            "import threading, socket, os\nbad = {'deep': [threading.Lock()]}; f = open(os.devnull); g = (i for i in [1])"
        )
        k.ok("good.append(2); s = socket.socket()")
        k.ok("%shelf log")  # waits for what is saved behind the reply
        rows = k.text(
            "for r in larder.session.status() if 'larder' in globals() else __import__('larder').session.status():\n"
            "    print(r['name'], r['saved'], r['why'], sep='|')"
        )
        kill(k)
    with notebook(tmp_path) as k:
        shown = k.text("print(good, sorted({'bad', 'f', 'g', 's'} & set(globals())))")
    lines = {line.split("|")[0]: line for line in rows.splitlines()}
    assert lines["good"].startswith("good|yes")
    assert lines["bad"].startswith("bad|no|bad['deep'][0]: _thread.lock") and "(cell [2])" in lines["bad"]
    assert "open file" in lines["f"] and "generator" in lines["g"] and "(cell [3])" in lines["s"]
    assert shown.endswith("\n[1, 2] []\n")
    assert all(f" {name} (" in shown for name in ("bad", "f", "g", "s"))


@pytest.mark.parametrize("restart", [True, False])
def test_after_a_restart_the_namespace_is_fresh_and_recover_brings_it_back(tmp_path, restart):
    with notebook(tmp_path) as k:
        k.ok("x = [1]; y = x; z = 3")
        k.ok("class A: pass\na = A()")
        shut(k, restart)
    with notebook(tmp_path) as k:
        assert k.text("print('x' in globals(), len(In))") == "False 2\n"
        k.ok("w = 5; z = 4")
        assert "back from cell [2]" in k.text("%shelf recover x")
        assert k.text("print(x is y, z, w)") == "True 4 5\n"
        k.ok("%shelf recover")
        assert k.text("print(x is y, z, w, type(a) is A)") == "True 3 5 True\n"
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print(x is y, z, w, type(a) is A)").endswith("True 3 5 True\n")


def test_recovered_state_survives_the_next_kill_too(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import numpy as np\nx = np.zeros(100_000); y = x[::2]; log = []")
        kill(k)
    for round in range(3):
        with notebook(tmp_path) as k:
            assert k.text("log.append(1); y[len(log)] = 5; print(len(log), int(x.sum()))").endswith(
                f"{round + 1} {5 * round + 5}\n"
            )
            kill(k)


def test_killed_before_its_first_cell_the_next_kernel_still_recovers_and_a_third_time_offers(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("x = 1")
        kill(k)
    for _ in range(2):
        with notebook(tmp_path) as k:
            started(k, "print(x, flush=True); import time; time.sleep(60)")
            kill(k)
    with notebook(tmp_path) as k:
        shown = k.text("print('x' in globals())")
        assert "%shelf recover" in shown and shown.endswith("False\n")
        k.ok("%shelf recover")
        assert k.text("print(x)") == "1\n"
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print(x)").endswith("\n1\n")


def test_a_crash_loop_while_restoring_ends_in_an_offer(tmp_path):
    """A value that kills the kernel when it is unpickled."""
    with notebook(tmp_path) as k:
        k.ok("class Bomb:\n    def __reduce__(self):\n        import os\n        return os.kill, (0, 0)\n")
        k.ok("import os\nclass Bomb:\n    def __reduce__(self): return os._exit, (3,)\nfine = 2; bomb = Bomb()")
        kill(k)
    for _ in range(2):
        with notebook(tmp_path) as k:
            k.send("bomb")
            dies(k)
    with notebook(tmp_path) as k:
        shown = k.text("print('alive')")
        assert "%shelf recover" in shown and shown.endswith("alive\n")
        k.ok("%shelf recover fine")
        assert k.text("print(fine)") == "2\n"


def test_a_crash_loop_after_the_first_reply_ends_in_an_offer_too(tmp_path):
    """The value is not the first cell's: it comes back behind the reply, and kills the kernel there."""
    with notebook(tmp_path) as k:
        k.ok("import os\nclass Bomb:\n    def __reduce__(self): return os._exit, (3,)\nfine = 2; bomb = Bomb()")
        kill(k)
    for step in range(4):
        with notebook(tmp_path) as k:
            if step < 2:
                assert k.text("print(fine)").endswith("\n2\n"), "behind the reply, twice"
            else:
                k.send("print(fine)")  # no second step any more
            dies(k)
    with notebook(tmp_path) as k:
        assert "%shelf recover" in k.text("print('alive')")
        k.ok("%shelf recover fine")
        assert k.text("print(fine)") == "2\n"


def test_the_first_cell_has_what_it_touches_and_the_next_everything(tmp_path):
    with notebook(tmp_path) as k:
        k.ok(
            "import decimal, fractions\nfactor = 3\ndef scaled(v): return v * factor\nx = [1]; y = decimal.Decimal(2); z = fractions"
        )
        kill(k)
    # In words that do not say that they look at everything.
    look = "sorted({'dec' + 'imal', 'frac' + 'tions', 'fac' + 'tor', 'sca' + 'led', *'xyz'} & set(getattr(__builtins__, 'glo' + 'bals')()))"
    with notebook(tmp_path) as k:
        lines = k.text(f"print({look}, scaled(2))").splitlines()
        assert lines[0].startswith("larder: back from cell [1]") and "fractions" in lines[0]
        assert lines[-1] == "['factor', 'scaled'] 6", "the function, and what it uses"
        assert k.text(f"print({look})").endswith("['decimal', 'factor', 'fractions', 'scaled', 'x', 'y', 'z']\n")
        kill(k)
    with notebook(tmp_path, LARDER_RECOVER="auto") as k:
        k.ok("pass")
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print(x, y, scaled(1), z.__name__)").endswith("[1] 2 3 fractions\n")


@pytest.mark.parametrize("policy", ["ask", "never"])
def test_policy(tmp_path, policy):
    with notebook(tmp_path) as k:
        k.ok("x = 1")
        kill(k)
    with notebook(tmp_path, LARDER_RECOVER=policy) as k:
        shown = k.text("print('x' in globals())")
        assert shown.endswith("False\n") and ("%shelf recover" in shown) == (policy == "ask")
        k.ok("%shelf recover")
        assert k.text("print(x)") == "1\n"


@pytest.mark.parametrize("damage", ["noise", "cut", "flip"])
def test_a_damaged_session_shelf_is_set_aside_and_the_kernel_starts(tmp_path, damage):
    with notebook(tmp_path) as k:
        k.ok("x = list(range(100_000)); y = 2")
        settle(k)  # nothing writes any more
        kill(k)
    (path,) = session_files(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "noise":
        data[:] = os.urandom(len(data))
    elif damage == "cut":
        del data[8192:]
    else:
        data[0:64] = bytes(64)
        data[4096:4160] = bytes(64)
    path.write_bytes(data)
    with notebook(tmp_path) as k:
        shown = k.text("print('alive', 'x' in globals())")
        assert shown.endswith("alive False\n") and "set aside" in shown
        k.ok("z = 1")
        kill(k)
    aside = list((tmp_path / "home" / "sessions").glob("*damaged*"))
    assert len(aside) == 1 and aside[0].read_bytes() == bytes(data)
    with notebook(tmp_path) as k:
        assert k.text("print(z)").endswith("\n1\n")


def test_two_kernels_of_one_notebook_the_second_is_not_saved_and_says_why(tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "home").mkdir()
    os.symlink(tmp_path / "home", tmp_path / "second" / "home")
    with notebook(tmp_path) as first:
        first.ok("x = 1")
        with notebook(tmp_path / "second") as second:
            shown = second.text("x = 2")
            assert "not saved" in shown and str(first.pid) in shown
            assert "not saved" in second.text("print(__import__('larder').session.status())")
        first.ok("x += 10")
        kill(first)
    with notebook(tmp_path) as k:
        assert k.text("print(x)").endswith("\n11\n")


def test_a_forked_child_that_outlives_the_kernel_does_not_hold_the_session(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import os, time\nx = 1\npid = os.fork()\nif pid == 0:\n    os.setsid(); time.sleep(30); os._exit(0)")
        child = int(k.value("pid"))
        kill(k)
    try:
        with notebook(tmp_path) as k:
            assert k.text("print(x)").endswith("\n1\n")
    finally:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_files_are_private_readable_and_one_per_notebook(tmp_path):
    for name in ("a/b.ipynb", "a_b.ipynb", "a/b.ipynb ", "ümläut/../x.ipynb", "n" * 300):
        with kernel(tmp_path, JPY_SESSION_NAME=name) as k:
            k.ok("x = 1")
            shut(k)
    files = session_files(tmp_path)
    assert len(files) == 5
    assert all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in files)
    assert any("b.ipynb" in f.name for f in files)
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700


def test_without_a_session_name_nothing_is_saved_and_status_says_why(tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    with kernel(tmp_path) as k:
        k.ok("x = 1")
        assert "JPY_SESSION_NAME" in k.text("import larder; print(larder.session.status())")
    assert not (tmp_path / "home").exists() or session_files(tmp_path) == []


def test_undo_takes_from_a_class_what_it_was_given(tmp_path):
    with kernel(tmp_path, JPY_SESSION_NAME="classes.ipynb") as k:
        k.ok("""import enum, larder
class A: pass
class B: other = 1
class C(A):
    n = 1
    def f(self): return self.n
class E(enum.Enum): X = 1
one, held = C(), (C() for _ in 'a')""")
        k.ok("C.n = 2; C.more = [1]; C.__len__ = lambda self: 5; C.__bases__ = (B,); E.extra = 3; del C.f")
        assert (
            k.value("(one.n, one.more, len(one), one.other, E.extra, hasattr(one, 'f'))") == "(2, [1], 5, 1, 3, False)"
        )
        k.ok("larder.session.undo(2)")
        asked = "[hasattr(C, name) for name in ('more', '__len__', 'other')], hasattr(E, 'extra'), C.__bases__ == (A,), one.f()"
        assert k.value(asked) == "([False, False, False], False, True, 1)"
        assert k.value("type(next(held)) is C is type(one)") == "True", "what is not saved stays an instance of it"
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME="classes.ipynb") as k:
        assert k.value(asked) == "([False, False, False], False, True, 1)"


def test_undo_checkout_log_exclude_and_autosave(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import larder; x = [1]")
        k.ok("x.append(2); secret = 'hunter2'")
        k.ok("x.append(3); larder.session.exclude('secret')")
        rows = k.text(
            "for r in larder.session.log(): print(r['id'], r['cell'], r['changed'], r['line'], sep='|')"
        ).splitlines()
        assert rows[0].split("|")[1:] == ["1", "x", "import larder; x = [1]"]
        assert rows[1].split("|")[1] == "2" and {"x", "secret"} == set(rows[1].split("|")[2].split(", "))
        k.ok("larder.session.undo(2)")
        assert k.text("print(x)") == "[1, 2]\n"
        k.ok(f"larder.session.checkout({rows[0].split('|')[0]})")
        assert k.text("print(x)") == "[1]\n"
        k.ok("larder.session.autosave(False)")
        k.ok("x = 'not saved'")
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print(x, 'secret' in globals())").endswith("\n[1] False\n")


def test_names_with_an_underscore_and_ipythons_own_are_left_alone(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("_private = 1; open = 'mine'; exit_ = 2\n3")
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print(open, exit_, '_private' in globals(), callable(exit), callable(get_ipython))").endswith(
            "\nmine 2 False True True\n"
        )


def test_output_history_does_not_pin_or_save_values(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("'o' * 1_000_000")
        kill(k)
    (path,) = session_files(tmp_path)
    assert b"o" * 10_000 not in path.read_bytes()


def test_text_of_a_line_shown(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("x = 1")
        kill(k)
    with notebook(tmp_path) as k:
        messages = k.ok("x")
        assert text(messages).count("larder:") == 1
        assert text(k.ok("x")) == ""


def test_a_column_comes_back_apart_from_its_frame_as_pandas_keeps_it(tmp_path):
    """Copy on write ties frames together inside; a recovered store must not reach the others."""
    with notebook(tmp_path) as k:
        k.ok(
            "import numpy as np, pandas as pd\n"
            "frame = pd.DataFrame({'a': np.arange(3.0), 'b': np.arange(3.0)})\n"
            "column, head, shallow = frame['a'], frame.head(2), frame['b'].copy(deep=False)\n"
            "same = column"
        )
        kill(k)
    with notebook(tmp_path) as k:
        k.ok("column.iloc[0] = 99; head.iloc[1, 1] = 77; shallow.iloc[2] = 55")
        sums = "frame.to_numpy().sum(), head.to_numpy().sum(), shallow.sum(), same is column, same.sum()"
        assert k.value(f"[float(x) for x in ({sums})]") == "[6.0, 78.0, 56.0, 1.0, 102.0]"


def test_random_numbers_and_the_working_directory_go_on(tmp_path):
    (tmp_path / "data").mkdir()
    with notebook(tmp_path) as k:
        k.ok("import random, os; import numpy as np; np.random.seed(5); random.seed(6)")
        k.ok(f"np.random.rand(); random.random(); os.chdir({str(tmp_path / 'data')!r})")
        kill(k)
    expected = "import numpy as np, random; np.random.seed(5); random.seed(6); np.random.rand(); random.random(); print(np.random.rand(), random.random())"
    said = subprocess.run(
        [sys.executable, "-c", expected], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    with notebook(tmp_path) as k:
        first = k.text("print(random.random()); here = __import__('os').getcwd()").split()[-1]
        assert k.text("print(np.random.rand(), " + first + ")").strip() == said
        assert k.text("print(here)").strip() == str(tmp_path / "data")


def test_the_log_of_cells_and_the_way_back_as_magics(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("x = [1]")
        k.ok("x.append(2); y = 5")
        k.ok("del y; z = 0")
        lines = k.value("%shelf log").splitlines()
        assert [line.split()[0] for line in lines[-3:]] == ["1", "2", "3"] or "x, y" in "\n".join(lines)
        assert "-y" in lines[-1] and "del y; z = 0" in lines[-1]
        assert "changed" in k.value("%shelf diff 1 2") and "new" in k.value("%shelf diff 1 2")
        k.ok("%shelf checkout 1")
        assert k.text("print(x, 'y' in globals(), 'z' in globals())") == "[1] False False\n"
        k.ok("%shelf checkout 2")
        k.ok("%shelf undo")
        assert k.text("print(x, 'y' in globals())") == "[1] False\n"
        for bad in ("%shelf checkout 99", "%shelf undo 500", "%shelf checkout", "%shelf retain 0"):
            content, messages = k.run(bad)
            assert "UsageError" in text(messages, "stderr") or content["status"] == "error", bad
        k.ok("%shelf retain 2")
        k.ok("w = 1")
        k.ok("w = 2")
        assert k.text("import larder\nprint(len(larder.session.log()))") == "2\n"
        k.ok("%shelf exclude w")
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print(x, 'w' in globals())").endswith("[1] False\n")


BIG = 40_000_000  # bytes: several times what is saved behind the reply


def test_a_large_array_is_saved_behind_the_reply_and_by_pages_and_comes_back_mapped(tmp_path):
    with notebook(tmp_path) as k:
        k.ok(f"import numpy as np\nbig = np.arange({BIG // 8}.0); half = big[::2]; frame = None")
        assert (
            k.text("import larder; larder.recovery.recorder().drain(); print(len(larder.recovery.recorder().behind()))")
            == "0\n"
        )
        before = k.text("r = larder.recovery.recorder(); print(r.native.stats()['bytes_written'])")
        k.ok("big[5] = -1.0; big[4_000_000] = -2.0")
        after = k.text("print(r.native.stats()['bytes_written'], '(user)' if r.blocks.why_not else 'pages')")
        words = after.split()
        if words[1] == "pages":
            assert int(words[0]) - int(before) < 1 << 20, "two pages, not the array"
        k.ok("del r")
        kill(k)
    for _ in range(2):
        with notebook(tmp_path) as k:
            assert k.text("print(big[5], half[2_000_000], big[7], np.shares_memory(big, half))").endswith(
                "-1.0 -2.0 7.0 True\n"
            )
            k.ok("big[7] += 0.0; half[1] = 2.0")
            kill(k)


def test_states_of_a_large_array_are_apart_also_when_one_is_in_hand(tmp_path):
    with notebook(tmp_path) as k:
        k.ok(f"import numpy as np\nbig = np.arange({BIG // 8}.0)")
        k.ok("%shelf log")  # waits for the copy
        k.ok("big[5] = -1.0")
        kill(k)
    with notebook(tmp_path) as k:
        k.ok("now = big; big[6] = -2.0")
        k.ok("%shelf checkout 1")
        assert k.text("print(big[5], big[6], now[5] if 'now' in globals() else None)") == "5.0 6.0 None\n"
        k.ok("%shelf checkout 3")
        assert k.text("print(big[5], big[6])") == "-1.0 6.0\n"
        k.ok("%shelf checkout 1\nbig[7] = -3.0; old = big")
        k.ok("%shelf checkout 4")
        assert k.text("print(big[5], big[6], big[7], now is big)") == "-1.0 -2.0 7.0 True\n"


def test_saving_collects_no_garbage_and_leaves_the_collector_as_it_was(tmp_path):
    look = """
import gc, sys
found, outside = [], []
def seen(phase, info):
    frame = sys._getframe()
    while frame is not None and not (frame.f_code.co_name == "save" and "recorder" in frame.f_code.co_filename): frame = frame.f_back
    (outside if frame is None else found).append(phase)
gc.callbacks.append(seen); gc.set_threshold(20)
class P:
    def __init__(self, n): self.n = [n]
    def __reduce__(self): return P, (self.n, {1: 2})
"""
    with kernel(tmp_path, JPY_SESSION_NAME="n.ipynb") as k:
        k.ok(look)
        k.ok("x = [P(i) for i in range(3000)]")
        k.ok("x[5].n.append(7)")
        assert k.text("print(found, len(outside) > 0, gc.isenabled())") == "[] True True\n"
        k.ok("gc.disable()")
        assert k.text("print(found, gc.isenabled())") == "[] False\n"


def test_nonsense_in_the_environment_costs_nothing(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("kept = [1]")
        kill(k)
    with notebook(tmp_path, LARDER_SESSION_BYTES="lots", LARDER_SAVER_SECONDS="x", LARDER_WAIT_SECONDS="-1") as k:
        assert k.value("kept") == "[1]"
    assert len(session_files(tmp_path)) == 1 and not list((tmp_path / "home" / "sessions").glob("*damaged*"))


def test_a_notebook_whose_file_name_is_not_utf8_comes_back(tmp_path):
    name = "work/caf\udce9.ipynb"
    with notebook(tmp_path, name) as k:
        k.ok("kept = [1]")
        kill(k)
    with notebook(tmp_path, name) as k:
        assert k.value("kept") == "[1]"
        assert "saved after each cell" in k.value("%shelf status")


def test_a_session_shelf_of_a_newer_larder_is_left_as_it_is(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("kept = [1]")
        k.ok("from larder import recovery\nrecovery._recorder.put_meta('newer', version=99)")
        kill(k)
    (file,) = session_files(tmp_path)
    with larder.open(file, "r") as shelf:
        before = shelf.log()
    with notebook(tmp_path) as k:
        assert "is not saved" in (said := k.text("print('runs')")) and "newer larder" in said and "runs" in said
    assert session_files(tmp_path) == [file]
    with larder.open(file, "r") as shelf:
        assert shelf.log() == before


WRONG = [
    ("exclude('1 2')", "'1 2' is not the name of a variable"), ("exclude(5)", "strings, not 5"), ("exclude('')", "not the name"),
    ("exclude(None)", "strings, not None"), ("checkout('x')", "not 'x'"), ("checkout(9999)", "no saved state 9999; there are 1 to "),
    ("undo(0)", "one cell or more"), ("undo('a')", "not 'a'"), ("undo(99)", "undo goes no more than"), ("retain(2.5)", "not 2.5"),
    ("retain(0)", "at least the last state"), ("diff('a')", "not 'a'"), ("diff(1, 1.5)", "not 1.5"), ("recover(5)", "strings, not 5"),
    ("recover(['x', 3])", "strings, not 3"), ("autosave('maybe')", "not 'maybe'"),
    ("recover(notebook='none.ipynb')", "no state of a notebook `none.ipynb` is saved in"),
]  # fmt: skip


def test_what_is_asked_wrongly_is_said_in_one_line_and_changes_nothing(tmp_path):
    with notebook(tmp_path) as k:
        content, messages = k.run("%shelf undo")
        assert "nothing to go back to" in text(messages, "stderr")
        assert "nothing to recover" in k.text("%shelf recover")
        k.ok("import larder; x = [1]")
        for call, said in WRONG:
            content, _ = k.run(f"larder.session.{call}", stop_on_error=False)
            assert content["status"] == "error" and said in content["evalue"], (call, content)
        for line, said in (
            ("checkout 9999", "no saved state 9999"), ("exclude 1x", "'1x' is not"), ("undo 99", "no more than"),
            ("log nosuch", "there is no shelf `nosuch`"), ("diff 5000", "no saved state"), ("autosave maybe", "on|off"),
        ):  # fmt: skip
            shown = text(k.run(f"%shelf {line}", stop_on_error=False)[1], "stderr")
            assert shown.startswith("UsageError: ") and said in shown and len(shown.splitlines()) == 1, shown
        assert not list((tmp_path / "home").glob("nosuch*"))
        assert "there is no variable `later` now" in k.text("larder.session.exclude(['later', 'x'])")
        k.ok("later = 1; y = 2")
        rows = k.text("for row in larder.session.status(): print(row['name'], row['saved'], row['why'])").splitlines()
        assert "later no excluded" in rows and "x no excluded" in rows and any(row.startswith("y yes") for row in rows)
        kill(k)
    with notebook(tmp_path) as k:
        assert k.text("print('x' in globals(), y)").endswith("False 2\n")


def test_a_renamed_or_copied_notebook_has_what_the_other_one_had_when_asked(tmp_path):
    folder = tmp_path / "work"
    with kernel(tmp_path, JPY_SESSION_NAME=f"{folder}/old name.ipynb") as k:
        k.ok("import numpy as np\nx = [1]; y = x; f = open('/dev/null'); big = np.arange(3_000_000.0); view = big[::2]")
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME=f"{folder}/new.ipynb") as k:
        assert "notebook='OLD NAME.ipynb'" in k.text("%shelf recover")
        k.ok("import larder; z = 3")
        shown = k.text("larder.session.recover(notebook='old name.ipynb')")
        assert "back from cell [1]" in shown and "not back: f (" in shown
        k.ok("x.append(z); big[2] = -1.0")
        assert k.text("print(y, view[1], big.sum())") == "[1, 3] -1.0 4499998499997.0\n"
        k.ok("%shelf log")
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME=f"{folder}/new.ipynb") as k:
        assert k.text("print(y, x is y, view[1], z, big.sum())").endswith("\n[1, 3] True -1.0 3 4499998499997.0\n")
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME=f"{folder}/old name.ipynb") as k:
        assert k.text("print(x, big[2])").endswith("\n[1] 2.0\n"), "nothing of the other notebook's was changed"


def test_a_notebook_that_is_not_saved_says_why_in_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    with kernel(tmp_path) as k:
        for line in ("undo", "recover", "checkout 3", "exclude x", "log", "diff 1", "autosave off", "retain 3"):
            shown = text(k.run(f"%shelf {line}", stop_on_error=False)[1], "stderr")
            assert "UsageError: " in shown and "this notebook is not saved: the front end gave" in shown, (line, shown)
            assert len(shown.splitlines()) == 1


@pytest.mark.parametrize("policy", ["ask", "never"])
def test_status_says_what_can_still_be_had(tmp_path, policy):
    with notebook(tmp_path) as k:
        k.ok("import larder\nx = 1")
        kill(k)
    with notebook(tmp_path, LARDER_RECOVER=policy) as k:
        footer = "import larder\nprint(larder.session.status().footer)"
        assert "after its cell [1] comes back with %shelf recover" in k.text(footer)
        k.ok("%shelf recover")
        assert "comes back with" not in k.text(footer) and k.text("print(x)") == "1\n"
