"""The machine is switched off while the engine commits; after the next boot no acknowledged commit is missing.

``LARDER_MACHINE_ROUNDS=100`` for more rounds.
"""

from __future__ import annotations

import os
import platform
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import machine as vm

ROUNDS = int(os.environ.get("LARDER_MACHINE_ROUNDS", "5"))

pytestmark = [
    pytest.mark.timeout(60 * ROUNDS + 300),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulated NVDIMM machine is an x86-64 PC"),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    subprocess.run([vm.ROOT / "scripts" / "ensure-machine.sh"], check=True)
    return vm.build(tmp_path_factory.mktemp("machine"))


def power_cycle(parts, memory: Path, dax: bool, acknowledged: int, stop_after: int) -> tuple[int, str]:
    """Boots, lets the writer check and commit, pulls the plug; the last acknowledged commit and the medium's name."""
    machine = vm.Machine(*parts, memory, dax)
    medium = None
    try:
        for line in machine:
            if found := re.search(r"medium (\w+) tracker (\w+) at (\d+)$", line):
                medium, recovered = found[1], int(found[3])
                assert recovered >= acknowledged, f"{acknowledged} was acknowledged, {recovered} came back"
                stop_after += recovered
            elif medium and line.isdigit():
                acknowledged = int(line)
                if acknowledged >= stop_after:
                    break
            assert "panicked" not in line and "writer ended" not in line, "\n".join(machine.seen[-30:])
    finally:
        machine.reset()
    assert medium, "the writer never spoke:\n" + "\n".join(machine.seen[-30:])
    return acknowledged, medium


@pytest.mark.parametrize("dax", [True, False], ids=["dax", "file"])
def test_a_reset_loses_no_acknowledged_commit(parts, tmp_path, dax):
    memory = tmp_path / "nvdimm"
    vm.format_memory(memory)
    chance = random.Random(f"larder-{dax}")
    acknowledged = 0
    for round_ in range(ROUNDS):
        before = acknowledged
        acknowledged, medium = power_cycle(parts, memory, dax, acknowledged, chance.randrange(5, 120))
        assert medium == ("dax" if dax else "file")
        assert acknowledged > before, f"round {round_} made no progress"
    # A last boot only checks: it recovers, says where it is, and is switched off at the first commit.
    power_cycle(parts, memory, dax, acknowledged, 1)
