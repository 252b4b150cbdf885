"""Random loop programs, plain and optimised: values, identities, exceptions with their lines, namespaces, reference counts
and the order of side effects must agree.

``LARDER_FUZZ_PROGRAMS`` sets how many programs, ``LARDER_FUZZ_SEED`` the first seed, ``LARDER_FUZZ_OFF`` names passes
that are switched off, ``LARDER_FUZZ_FORCE`` within how many times each place that could leave a trace does (see
``test_forced.py``); a failure prints its seed.
"""

import contextlib
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from compared import differing
from kinds import make
from maker import Maker, observe

import larder
import larder.optimiser

PROGRAMS = int(os.environ.get("LARDER_FUZZ_PROGRAMS", "400"))
BATCH = 250
NAMES = "fold merge guards forward refcounts dead hoist".split()


def compare(first, count):
    """Runs the programs of these seeds both ways; every difference is printed and counted."""
    import larder
    import larder.optimiser

    warnings.simplefilter("ignore")
    force = int(os.environ.get("LARDER_FUZZ_FORCE", "0"))

    def runs(text, times):
        if os.environ.get("LARDER_FUZZ_SHOW"):
            print(text, flush=True)
        return observe(text, times)

    def start(force):
        assert larder.trace.optimise(watch_all=True, hot=3), larder.trace.stats()
        for name in os.environ.get("LARDER_FUZZ_OFF", "").split():
            larder._larder.trace_pass(name, False)
        if force:
            larder._larder.trace_force(force)

    programs = {seed: Maker(seed).program() for seed in range(first, first + count)}
    bad = differing(f"fuzz from seed {first}", programs, runs, force, times=2 + bool(force), start=start)
    if os.environ.get("LARDER_FUZZ_WHY"):
        from collections import Counter

        print(Counter(r["why"] for r in larder.optimiser.loops()).most_common(60))
    if force:
        made, reached, left = larder._larder.trace_force()
        print(f"{made} places that can leave a trace, {reached} reached, {left} left by")
        assert left == reached > 0 if force == 1 else left > 0
    return bad


@pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")
def test_fuzz_optimised_programs_behave_as_plain_ones():
    first = int(os.environ.get("LARDER_FUZZ_SEED", "1"))
    # In processes of their own: an optimiser that crashes must fail this test, not end it.
    for start in range(first, first + PROGRAMS, BATCH):
        count = min(BATCH, first + PROGRAMS - start)
        command = [sys.executable, "-X", "faulthandler", __file__, str(start), str(count)]
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stdout[-6000:], done.stderr[-3000:])
        assert done.returncode == 0, f"a program from seed {start} on"


@pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")
@pytest.mark.parametrize("off", [["merge"], ["guards", "fold"], ["forward", "dead", "hoist"], [*NAMES]])
def test_fuzz_passes_can_be_left_out(off):
    first = int(os.environ.get("LARDER_FUZZ_SEED", "1"))
    command = [sys.executable, "-X", "faulthandler", __file__, str(first), "60"]
    env = {**os.environ, "LARDER_FUZZ_OFF": " ".join(off)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    print(done.stdout[-6000:], done.stderr[-3000:])
    assert done.returncode == 0


@pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")
def test_the_programs_reach_every_operation_of_the_table():
    table = Path(__file__).parents[2].joinpath("core/trace/src/ops.rs").read_text()
    ops = set(re.findall(r'^    [A-Z]\w+ "(\w+)" "', table, re.MULTILINE))
    assert len(ops) > 90
    # Those stand for what is there already; a listing has their values.
    missing = ops - {"input", "phi", "consti", "constf", "constb", "constp"}
    if sys.version_info >= (3, 15):
        missing -= {"guardheld"}  # a loop of 3.15 over a list has no iterator that could be the only owner of the list
    done = subprocess.run([sys.executable, __file__, "operations", "600"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    missing -= set(done.stdout.split())
    assert not missing


def operations(count):
    """What the traces of this many programs consist of."""
    found = set()

    def look(code):
        for line in larder._larder.trace_listing(code).splitlines():
            words = line.strip().removeprefix("before: ").split()
            found.update(words[:1] + words[2:3])
        for constant in code.co_consts:
            if hasattr(constant, "co_consts"):
                look(constant)

    assert larder.trace.enable(watch_all=True, hot=3), larder.trace.stats()
    warnings.simplefilter("ignore")
    texts = [Maker(seed).program() for seed in range(1, 1 + count)] + [make("rounds", seed) for seed in range(1, 41)]
    for text in texts:
        code = compile(text, "fuzz", "exec")
        for _ in range(2):
            with contextlib.suppress(Exception):
                exec(code, {"__name__": "fuzz"})
        look(code)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "operations":
        print(*sorted(operations(int(sys.argv[2]))))
        sys.exit()
    sys.exit(1 if compare(int(sys.argv[1]), int(sys.argv[2])) else 0)
