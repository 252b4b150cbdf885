"""What silent requests change is saved between cells; names told natively; freed memory that is kept."""

import subprocess
import sys
import types

import pytest
from kernelfixtures import kernel, kill, settle, wait_until

from larder import watch
from larder._larder import Walker

REC = "__import__('larder').recovery.recorder()"


SEEN = f"""
_seen, _r = [], {REC}
_old, _r._task = _r._task, lambda look, child: _seen.append(look.changed) or _old(look, child)
"""


def notebook(tmp_path, **env):
    return kernel(tmp_path, JPY_SESSION_NAME="between.ipynb", **env)


def asked(k, what):
    return k.text(f"print({what})", silent=True).strip()


def brought_up(k, nbytes):
    """Wait for the last state to have grown."""
    wait_until(lambda: int(asked(k, REC + "._last['bytes']")) > nbytes)


def test_what_a_silent_request_changed_is_saved_while_the_kernel_is_idle(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import larder; x = [1]; y = {'a': x}; gone = 3")
        k.ok("z = 5")
        settle(k)
        ids, nbytes = asked(k, REC + ".meta['versions']"), int(asked(k, REC + "._last['bytes']"))
        k.ok("x.append(2); new = 'there'; del gone", silent=True)
        brought_up(k, nbytes)
        assert asked(k, REC + ".meta['versions']") == ids
        assert asked(k, f"sorted({REC}._last['changed']), {REC}._last['gone'], {REC}._last['line']") == (
            "['new', 'x', 'y', 'z'] ['gone'] z = 5"
        )
        k.ok(SEEN, silent=True)
        k.ok("pass")
        assert asked(k, "_seen") == "[[]]", "the next cell has nothing to serialise"
        kill(k)
        with notebook(tmp_path) as again:
            assert again.text("print(x, y['a'] is x, new, z, 'gone' in globals())").endswith(
                "\n[1, 2] True there 5 False\n"
            )
            again.ok("larder.session.undo(2)")
            assert again.text("print(x, 'z' in globals(), gone)") == "[1] False 3\n", (
                "the states before are what they were"
            )


def test_a_state_that_was_brought_up_twice_leaves_nothing_behind_when_it_goes(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import numpy as np, larder; a = np.arange(600_000.0); b = [0]")
        settle(k)
        for n in range(1, 3):
            nbytes = int(asked(k, REC + "._last['bytes']"))
            k.ok(f"a[7] = -{n}; b.append(a[:{n}])", silent=True)
            brought_up(k, nbytes)
        records = asked(k, f"sorted(n for n in {REC}.native.names() if n.startswith('g:') and not n.endswith(')'))")
        assert records.count("g:") == 1, records
        counted = f"[{REC}.ledger.bytes == sum({REC}.ledger.sizes.values()), {REC}.ledger.loose()]"
        assert asked(k, counted) == "[True, ([], [])]"
        kill(k)
        with notebook(tmp_path) as again:
            told = again.text("print(a[7], [len(v) for v in b[1:]], b[2].base is not None, a.shape)")
            assert told.endswith("\n-2.0 [1, 2] True (600000,)\n")


def test_a_state_gone_back_to_in_silence_is_not_taken_for_the_last_one(tmp_path):
    with notebook(tmp_path) as k:
        k.ok("import larder; x = 1")
        k.ok("x = 2")
        k.ok("larder.session.checkout(larder.session.log()[0]['id'])", silent=True)
        settle(k)
        before = asked(k, REC + "._last['names']")
        for _ in range(5):
            k.ok("import time; time.sleep(0.05)", silent=True)
        assert asked(k, REC + "._last['names']") == before
        k.ok("pass")
        kill(k)
        with notebook(tmp_path) as again:
            assert again.text("print(x)").endswith("\n1\n")


@pytest.fixture
def home(monkeypatch):
    """An imported module with a class and a function."""
    module = types.ModuleType("homely")
    exec("class Kind:\n    def method(self): pass\n\ndef function(): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "homely", module)
    return module


def walked(value, classify=watch.classify):
    walker = Walker(classify, watch.Registries())
    walker.begin()
    return walker.walk(value, True).digest


def test_classes_and_functions_by_name_are_told_natively_as_python_tells_them(home):
    def by_python(kind):
        how = watch.classify(kind)
        return how[1] if isinstance(how, tuple) and how[0] == "named" else how

    bound = home.Kind().method
    for value in (
        home.Kind,
        home.Kind(),
        home.function,
        bound,
        {"k": home.Kind, "f": [home.function]},
        subprocess.run,
        Walker,
    ):
        assert walked(value) == walked(value, by_python)


def test_what_is_no_longer_what_its_module_has_under_its_name_is_walked_into(home):
    kind, function, bound = home.Kind, home.function, home.Kind().method
    before = [walked(one) for one in (kind, function, bound)]
    assert [walked(one) for one in (kind, function, bound)] == before
    home.Kind, home.function = type("Kind", (), {}), len
    after = [walked(one) for one in (kind, function, bound)]
    assert all(a != b for a, b in zip(before, after, strict=True))
    home.Kind, home.function = kind, function
    assert [walked(one) for one in (kind, function, bound)] == before
    method = kind.method
    kind.method = lambda self: 1
    assert walked(bound) != before[2]
    kind.method = method
    assert walked(bound) == before[2]


def test_modules_that_are_pickled_by_value_have_no_names(home):
    import cloudpickle

    before = walked(home.Kind), walked(home.function)
    cloudpickle.register_pickle_by_value(home)
    try:
        assert walked(home.function) != before[1]
    finally:
        cloudpickle.unregister_pickle_by_value(home)
    assert (walked(home.Kind), walked(home.function)) == before


FREED = """
import resource, sys
from larder._larder import keep_freed
told = keep_freed()
def faults(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        bytearray(b"x") * (8 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(1)
print(told, faults(20) < 2048)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an allocator of its own")
def test_freed_memory_is_kept_unless_the_bounds_were_set_by_hand():
    def said(**env):
        import os

        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
        run = subprocess.run(
            [sys.executable, "-c", FREED], env={**clean, **env}, capture_output=True, text=True, check=True
        )
        return run.stdout.split()

    assert said() == ["True", "True"]
    assert said(MALLOC_TRIM_THRESHOLD_="100000")[0] == "False"
