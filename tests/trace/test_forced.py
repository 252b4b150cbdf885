"""Every exit of a trace, taken for no reason: what the frame is rebuilt from must be right there too.

An operation that can leave a trace does so before it has changed anything, so leaving is right at any time: the interpreter
does the instruction again. Programs rarely leave by most exits. Here the compiler puts a countdown before each such operation
(``_larder.trace_force``), and once it is over the trace leaves there, whatever the check says. The results must be those of
plain Python: of the programs of `test_coverage`, those of `attacks`, and random ones (``LARDER_FORCED_PROGRAMS``, from
``LARDER_FUZZ_SEED``).
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from compared import again, differing

import larder
import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

PROGRAMS = int(os.environ.get("LARDER_FORCED_PROGRAMS", "300"))
BATCH = 250
AFTER = (1, 5) if PROGRAMS <= 300 else (1, 2, 5, 40)
RUNS = 6
SMALL = 400


def programs(which):
    """Name and source of every program; each defines ``run``."""
    if which == "coverage":
        from test_coverage import PROGRAMS, program

        return {name: program(name) for name in PROGRAMS}
    from attacks import CASES

    return {name: textwrap.dedent(text) for name, text in CASES.items()}


def outcome(text, arguments):
    space = {"__name__": "program"}
    exec(compile(text, "<program>", "exec"), space)
    return repr(space["run"](*arguments))


def told(text, plain, forced):
    return f"{text}\nplain  {plain[-2000:]}\nforced {forced[-2000:]}"


def compare(which, after):
    """Runs the programs plain and, several times, with every exit forced; how many differ, and what was left by."""
    arguments = (SMALL,) if which == "coverage" else ()
    runs = again(lambda text: outcome(text, arguments))
    bad = differing(which, programs(which), runs, after, limits=(60, 600), times=RUNS - 1, tell=told)
    made, reached, left = larder._larder.trace_force()
    print(f"{made} places that can leave a trace, {reached} reached, {left} left by")
    assert left == reached > 0 if after == 1 else left > 0
    return bad


def apart(*command, **env):
    """In a process of its own: an optimiser that crashes must fail this test, not end it."""
    here = Path(__file__).parent
    command = [sys.executable, "-X", "faulthandler", *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=here, env={**os.environ, **env})
    print(done.stdout[-6000:], done.stderr[-3000:])
    assert done.returncode == 0


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("which", ["coverage", "attacks"])
def test_programs_end_as_plain_ones_whichever_exit_is_taken(which, after):
    apart(__file__, which, after)


@pytest.mark.parametrize("after", AFTER)
def test_random_programs_end_as_plain_ones_whichever_exit_is_taken(after):
    first = int(os.environ.get("LARDER_FUZZ_SEED", "1"))
    for start in range(first, first + PROGRAMS, BATCH):
        count = min(BATCH, first + PROGRAMS - start)
        apart(Path(__file__).with_name("test_fuzz.py"), start, count, LARDER_FUZZ_FORCE=str(after))


@pytest.mark.parametrize("after", (0, *AFTER))
def test_objects_die_in_the_order_they_did(after):
    first = int(os.environ.get("LARDER_FUZZ_SEED", "1"))
    for start in range(first, first + PROGRAMS, BATCH):
        count = min(BATCH, first + PROGRAMS - start)
        apart(Path(__file__).with_name("deaths.py"), start, count, after)


if __name__ == "__main__":
    sys.exit(1 if compare(sys.argv[1], int(sys.argv[2])) else 0)
