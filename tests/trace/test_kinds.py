"""Random programs of many kinds (`kinds/`), plain and optimised: values, who is who, the order of side effects and deaths,
exceptions with their lines, reference counts.

``LARDER_KINDS_PROGRAMS`` sets how many of each kind, ``LARDER_FUZZ_SEED`` the first seed; a failure prints its seed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kinds import KINDS

import larder.optimiser

pytestmark = pytest.mark.skipif(not larder.optimiser.serves(), reason="the optimiser does not serve this CPython")

PROGRAMS = int(os.environ.get("LARDER_KINDS_PROGRAMS", "40"))
BATCH = 150
FORCE = (0, 2) if PROGRAMS <= 40 else (0, 1, 2, 5)


@pytest.mark.parametrize("force", FORCE)
@pytest.mark.parametrize("kind", KINDS)
def test_programs_of_every_kind_end_as_plain_ones(kind, force):
    first = int(os.environ.get("LARDER_FUZZ_SEED", "1"))
    # In processes of their own: an optimiser that crashes must fail this test, not end it.
    for start in range(first, first + PROGRAMS, BATCH):
        count = min(BATCH, first + PROGRAMS - start)
        command = [sys.executable, "-X", "faulthandler", "kinds", kind, start, count, force]
        here = Path(__file__).parent
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=here)
        print(done.stdout[-6000:], done.stderr[-3000:])
        assert done.returncode == 0, f"a program of kind {kind} from seed {start} on"
