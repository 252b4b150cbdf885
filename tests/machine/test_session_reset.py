"""The machine is switched off while forked children save a notebook; what comes back is its state after one of its cells.

``LARDER_MACHINE_ROUNDS=100`` for more rounds.
"""

from __future__ import annotations

import os
import platform
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import image  # noqa: E402
import machine as vm  # noqa: E402

ROUNDS = int(os.environ.get("LARDER_MACHINE_ROUNDS", "2"))
JOB = """
while [ ! -b /dev/pmem0 ]; do sleep 0.1; done
mount -t ext4 -o dax=never /dev/pmem0 /mnt
cd /mnt && LARDER_HOME=/mnt LARDER_SAVER=always PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3.11 /session_guest.py 2>&1
"""

pytestmark = [
    pytest.mark.timeout(240 * ROUNDS + 600),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulated NVDIMM machine is an x86-64 PC"),
]


class Guest(vm.Machine):
    """One power-on of a machine whose `/job` is ours."""

    def __init__(self, out: Path, memory: Path) -> None:
        backing = f"memory-backend-file,id=nv,share=on,mem-path={memory},size={memory.stat().st_size}"
        command = image.command(out, extra=("-object", backing, "-device", "nvdimm,id=nvdimm,memdev=nv"))
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )  # fmt: skip
        self.started = time.monotonic()
        self.seen: list[str] = []


def power_cycle(out: Path, memory: Path, durable: int, tried: int, cells: int, wait: float) -> tuple[int, int, int]:
    """Boots, checks what came back, runs ``cells`` cells or more, pulls the plug while a child saves.

    Gives the last step known to be durable, the last one begun, and how many children were at work.
    """
    guest = Guest(out, memory)
    back, children = None, 0
    try:
        for line in guest:
            assert "GUEST MIX" not in line and "Traceback" not in line, "\n".join(guest.seen[-30:])
            assert "larder-machine: job ended" not in line, "\n".join(guest.seen[-30:])
            if found := re.search(r"GUEST BACK (\d+)", line):
                back = int(found[1])
                assert durable <= back <= tried, f"{durable} was durable, {tried} begun, {back} came back"
            elif "GUEST FRESH" in line:
                assert tried < 0, "nothing came back"
                back = 0
            elif found := re.search(r"GUEST DURABLE (\d+)", line):
                durable = int(found[1])
            elif found := re.search(r"GUEST CELL (\d+)", line):
                tried = int(found[1])
            elif (found := re.search(r"GUEST REPLIED (\d+) UNDERWAY (\d+)", line)) and not children:
                assert back is not None
                if int(found[1]) >= back + cells and int(found[2]):
                    children = int(found[2])
                    time.sleep(wait)
                    guest.process.kill()  # what it had said by then is still to be read
    finally:
        guest.reset()
    assert children, "the guest ended:\n" + "\n".join(guest.seen[-30:])
    return durable, tried + 1, children  # a line may have been on its way


def test_after_a_reset_while_a_child_saves_the_notebook_is_that_after_one_of_its_cells(tmp_path):
    if image.missing():
        pytest.skip(f"needs {', '.join(image.missing())} (Debian: qemu-system-x86 busybox-static cpio)")
    import cloudpickle

    import larder

    out, memory = image.cache() / "session", tmp_path / "nvdimm"
    files = {
        "/larder": Path(larder.__file__).parent,
        "/cloudpickle": Path(cloudpickle.__file__).parent,
        "/session_guest.py": HERE / "session_guest.py",
    }
    image.build(out, JOB, files, python=True, modules=image.NVDIMM)
    vm.format_memory(memory)
    chance = random.Random("session")
    durable, tried, told = 0, -1, []
    for _ in range(ROUNDS):
        wait = chance.choice([0.0, 0.1, 0.5]) * chance.random()
        durable, tried, children = power_cycle(out, memory, durable, tried, chance.randrange(1, 12), wait)
        told.append(children)
    power_cycle(out, memory, durable, tried, 1, 0.0)
    print(f"{ROUNDS} resets with children at work: {told}")
