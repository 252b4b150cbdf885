"""Two NUMA nodes, one without processors, under QEMU: the real package moves variables there and back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import image  # noqa: E402


@pytest.mark.timeout(1200)
def test_variables_move_to_the_slow_node_and_back():
    if image.missing():
        pytest.skip(f"needs {', '.join(image.missing())} (Debian: qemu-system-x86 busybox-static cpio)")
    import larder

    out = image.cache() / "numa"
    job = "cd / && PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3.11 /numa_guest.py 2>&1"
    files = {"/larder": Path(larder.__file__).parent, "/numa_guest.py": HERE / "numa_guest.py"}
    image.build(out, job, files, python=True)
    said = image.run(image.command(out, nodes_mib=(768, 384)), timeout_s=900)
    assert "GUEST PASS" in said, said[-6000:]
