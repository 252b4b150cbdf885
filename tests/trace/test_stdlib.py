"""Modules of CPython's own test package, every loop of them (and of the library under test) traced at once: the outcome of
every single test is that of plain Python. ``LARDER_STDLIB=long`` runs many more modules."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import larder.optimiser

SHORT = (
    "test_list test_tuple test_dict test_range test_iter test_enumerate test_generators test_sort test_heapq test_bisect "
    "test_deque test_random test_struct test_functools test_sys_settrace"
)
LONG = (
    "test_int test_long test_float test_math test_set test_compare test_fractions test_statistics test_json test_base64 "
    "test_copy test_operator test_unpack test_augassign test_weakref test_bytes test_array test_scope test_class test_re "
    "test_exceptions test_collections test_itertools test_string test_types test_descr test_traceback test_sys_setprofile "
    "test_threading"
)
# Two doctests, whose loops go round a few times; on some versions no trace of them is long enough to keep.
WITHOUT_LOOPS = ("test_unpack",)
MODULES = SHORT.split() + (LONG.split() if os.environ.get("LARDER_STDLIB") == "long" else [])


def outcomes(mode, module, folder):
    script = Path(__file__).with_name("stdlib.py")
    command = [sys.executable, "-X", "faulthandler", script, mode, module]
    env = {**os.environ, "LARDER_HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, stdin=subprocess.DEVNULL)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"outcomes"')]
    assert lines, f"{mode}: ended with {done.returncode}\n{done.stderr[-2000:]}"
    return json.loads(lines[-1])


@pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")
@pytest.mark.timeout(600)  # test_int of 3.15 takes a minute, plain
@pytest.mark.parametrize("module", MODULES)
def test_cpythons_own_tests_end_as_without_the_optimiser(module, tmp_path):
    if importlib.util.find_spec("test") is None or importlib.util.find_spec(f"test.{module}") is None:
        pytest.skip("this Python comes without its own tests")
    plain, traced = outcomes("plain", module, tmp_path), outcomes("traced", module, tmp_path)
    assert plain["outcomes"] == traced["outcomes"]
    assert len(plain["outcomes"]) > 1
    assert traced["native"] > 0 or module in WITHOUT_LOOPS
