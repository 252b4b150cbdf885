"""Programs of other kinds than `kinds`, plain and optimised: values, errors with their lines and variables, who is who, counts.

Algorithms as people write them, changed at random (`mutants/`); exercises and puzzles on random data (`tasks/`); random
functions that call one another (`calls.py`); random expressions over many operands (`operands.py`); programs in eight threads
(`crowds.py`); programs at a kernel's thresholds, or whose compiled loops are disturbed (`shaken.py`); random notebooks
(`sessions.py`); what can be seen of a loop from outside while it runs (`moments.py`); exceptions, generators, coroutines
and other jumps (`flows.py`); modules of CPython's library on random data (`library.py`); loops of a hundred
numbers (`wide.py`); loops in the midst of expressions (`stacks.py`); containers of every size (`sized.py`); one code in several
namespaces, over numbers of every type (`worlds.py`); programs of most sources looked
at more closely (`looks.py`); and every use of an object while what it relies on is changed (`changes.py`).
``LARDER_MUTANTS_PROGRAMS`` sets how many of each, ``LARDER_FUZZ_SEED`` the first seed; a failure prints its seed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

PROGRAMS = int(os.environ.get("LARDER_MUTANTS_PROGRAMS", "40"))
BATCH = 150
FORCE = (0, 2) if PROGRAMS <= 40 else (0, 1, 2, 5)


@pytest.mark.parametrize("force", FORCE)
@pytest.mark.parametrize(
    "source",
    "mutants tasks calls.py operands.py crowds.py shaken.py sessions.py moments.py flows.py library.py wide.py "
    "stacks.py sized.py worlds.py changes.py looks.py".split(),
)
def test_programs_of_every_source_end_as_plain_ones(source, force):
    first, count = int(os.environ.get("LARDER_FUZZ_SEED", "1")), PROGRAMS
    if source in ("moments.py", "crowds.py", "shaken.py", "library.py", "wide.py", "looks.py"):
        count = max(10, count // 5)  # in 24 runs, in eight threads, twenty times as long, with a module's source, large
    if source == "shaken.py" and force:
        first += 100  # those are disturbed
    # In processes of their own: an optimiser that crashes must fail this test, not end it.
    for start in range(first, first + count, BATCH):
        command = [sys.executable, "-X", "faulthandler", source, start, min(BATCH, first + count - start), force]
        env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}
        here = Path(__file__).parent
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=here, env=env)
        print(done.stdout[-6000:], done.stderr[-3000:])
        assert done.returncode == 0, f"a program of {source} from seed {start} on"
