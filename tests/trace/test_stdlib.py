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
# Not test_dis, which looks for the specialised form of a back edge, nor test_pdb: whatever tool of sys.monitoring is active,
# pdb.set_trace() of CPython 3.13 and later stops an event late (a kernel's own makes way: `larder.trace.make_way`).
MORE = (
    "test_tokenize test_ast test_difflib test_textwrap test_dataclasses test_enum test_typing test_queue "
    "test_asyncio.test_queues test_asyncio.test_locks test_asyncio.test_tasks test_asyncio.test_streams test_decimal "
    "test_datetime test_pprint test_shlex test_string_literals test_format test_fstring test_listcomps test_setcomps "
    "test_dictcomps test_genexps test_named_expressions test_patma test_yield_from test_coroutines test_asyncgen "
    "test_cmath test_colorsys test_calendar test_csv test_configparser test_argparse test_optparse test_ordered_dict "
    "test_userdict test_userlist test_memoryview test_zlib test_binascii test_hashlib test_ipaddress test_graphlib "
    "test_tomllib test_plistlib test_pickle test_copyreg test_inspect test_compile test_peepholer test_symtable "
    "test_unparse test_contextlib test_slice test_super test_property test_richcmp test_str test_complex test_bool "
    "test_pow test_global test_raise test_with test_except_star test_exception_group test_gc test_signal test_thread "
    "test_sched test_timeit test_zipfile test_email test_unittest test_xml_etree test_minidom test_strptime "
    "test_unicodedata test_urlparse test_reprlib test_secrets test_uuid test_abc test_sys test_trace test_cprofile "
    "test_bdb test_builtin test_syntax test_grammar test_contains test_dictviews test_threading_local test_weakset "
    "test_concurrent_futures.test_thread_pool test_frame test_code test_funcattrs test_keywordonlyarg test_call "
    "test_extcall test_int_literal test_numeric_tower test_unpack_ex test_userstring test_wave test_quopri test_ucn"
)
# Two doctests, whose loops go round a few times; on some versions no trace of them is long enough to keep.
WITHOUT_LOOPS = ("test_unpack",)
MODULES = SHORT.split() + ((LONG + " " + MORE).split() if os.environ.get("LARDER_STDLIB") == "long" else [])


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
    assert plain["outcomes"]  # of a module of doctests, one
    assert traced["native"] > 0 or module in WITHOUT_LOOPS
