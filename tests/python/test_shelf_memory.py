"""Arrays on a shelf that are larger than the memory they may have: changed pages leave it before their commit."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

LIMIT = 128 << 20


def run(code: str, folder, *flags: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "LARDER_HOME": str(folder), "LARDER_MEMORY_MAX": str(LIMIT)}
    command = [sys.executable, *flags, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)


BEGIN = """
    import larder, numpy as np
    def used():
        line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
        return int(line.split()[1]) << 10
    shelf = larder.open("big")
"""


@pytest.fixture
def tracked(tmp_path):
    said = run(BEGIN + "    print(shelf.stats()['tracker'])\n", tmp_path).stdout.strip()
    if said not in ("wp", "anon"):
        pytest.skip(f"tracker {said!r} cannot tell private pages from others")


def test_an_array_larger_than_its_memory_is_filled_taken_back_and_committed(tmp_path, tracked):
    code = f"""
        n = (512 << 20) // 8
        shelf.x = larder.ndarray((n,), dtype=np.float64)
        x = shelf.x
        x[:] = 1                                    # one call that knows nothing of the limit
        assert used() < {2 * LIMIT}, used()
        shelf.commit()
        x *= 3
        assert used() < {2 * LIMIT} and shelf.stats()["spilled_bytes"] > {LIMIT}
        shelf.rollback()
        assert x[0] == 1 and x.sum() == n
        x += 4
        done = shelf.commit()
        shelf.close()
        assert float(x.sum()) == 5 * n              # also after the close
        with larder.open("big", "r") as again:
            assert float(again.x.sum()) == 5 * n and again.verify().ok
        print("through")
    """
    done = run(BEGIN + textwrap.indent(textwrap.dedent(code), "    "), tmp_path)
    assert done.stdout == "through\n", done.stderr


@pytest.mark.parametrize("flags", [(), ("-X", "faulthandler")], ids=["plain", "faulthandler"])
def test_a_real_fault_still_ends_the_process_after_a_spill(tmp_path, tracked, flags):
    code = """
        import ctypes
        shelf.x = np.zeros(4 << 20)
        x = shelf.x
        x += 1
        shelf._native.relieve()
        assert x.sum() == 4 << 20 and shelf.stats()["spilled_bytes"] > 0
        print("spilled", flush=True)
        ctypes.string_at(0)
    """
    done = run(BEGIN + textwrap.indent(textwrap.dedent(code), "    "), tmp_path, *flags)
    assert done.stdout == "spilled\n", done.stderr
    assert done.returncode == -signal.SIGSEGV
    assert ("Segmentation fault" in done.stderr) == bool(flags), done.stderr
