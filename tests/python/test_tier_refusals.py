"""Heat and tiers where the kernel says no: a sandbox, an unprivileged user, a full disk, a truncated allowance."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Of x86-64, which is what larder runs on.
CALLS = {
    "move_pages": 279,
    "get_mempolicy": 239,
    "mincore": 27,
    "madvise": 28,
    "fallocate": 285,
    "sync_file_range": 277,
    "process_vm_readv": 310,
}
PAGEMAP_SCAN = 0xC0606610

PROLOGUE = """
import ctypes, errno, os, struct, sys, time
import numpy as np
from larder import heat, tier

space = {}
tier.namespace = lambda: space

def deny(numbers, ioctl, error):
    "Seccomp: from here on these system calls, and this ioctl, fail."
    step = lambda code, true, false, value: struct.pack("HBBI", code, true, false, value)
    program = [step(0x20, 0, 0, 0)]
    for number in numbers:
        program += [step(0x15, 0, 1, number), step(0x06, 0, 0, 0x50000 | error)]
    if ioctl:
        program += [step(0x15, 0, 3, 16), step(0x20, 0, 0, 24), step(0x15, 0, 1, ioctl), step(0x06, 0, 0, 0x50000 | error)]
    program.append(step(0x06, 0, 0, 0x7FFF0000))
    text = ctypes.create_string_buffer(b"".join(program))
    class Program(ctypes.Structure):
        _fields_ = [("count", ctypes.c_ushort), ("text", ctypes.c_void_p)]
    libc = ctypes.CDLL(None, use_errno=True)
    whole = Program(len(program), ctypes.addressof(text))
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(whole)) == 0, ctypes.get_errno()

def used():
    for seconds in (0.3, 1, 4, 15):  # the sampler's thread may not get a core at once, nor 30 looks
        end = time.thread_time() + seconds
        heat._before(None, None)
        while time.thread_time() < end:
            space["x"].sum()
        heat._after(None, None)
        rows = {row["name"]: row for row in heat.table()}
        if rows["x"]["conf"] != "?":
            return rows
"""


def run(body: str, where) -> str:
    env = {**os.environ, "LARDER_TIER_DIR": str(where)}
    done = subprocess.run([sys.executable, "-c", PROLOGUE + body], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def denied(*names: str, scan: bool = False, error: str = "EPERM") -> str:
    numbers = [CALLS[name] for name in names]
    return f"deny({numbers}, {PAGEMAP_SCAN if scan else 0}, errno.{error})\n"


ROUND = """
tier.enable()
space["x"] = x = np.ones(4 << 20)
rows = tier.table()
print(rows.footer)
assert rows[0]["DRAM"] >= x.nbytes, rows
assert tier.demote("x")[0]["moved"] > x.nbytes * 0.9
assert (x == 1).all()
assert tier.promote("x")[0]["in DRAM"] >= x.nbytes
heat.start()
assert used()["x"]["conf"] in ("low", "med", "high")
print(heat.cost())
heat.stop()
"""


def test_without_the_newer_calls_others_answer_and_the_footer_says_which(tmp_path):
    said = run(
        denied("move_pages", "get_mempolicy", "process_vm_readv", "sync_file_range", scan=True) + ROUND, tmp_path
    )
    assert "asked: /proc/self/pagemap" in said and "PAGEMAP_SCAN" not in said and "move_pages" not in said
    assert "by /proc/self/mem" in said


def test_without_mincore_what_has_left_counts_as_on_disk_and_the_footer_says_so(tmp_path):
    body = """
tier.enable()
space["x"] = x = np.ones(4 << 20)
tier.demote("x")
rows = tier.table()
print(rows.footer)
assert rows[0]["disk"] > x.nbytes * 0.9 and (x == 1).all()
"""
    assert "mincore refused" in run(denied("mincore") + body, tmp_path)


def test_a_move_that_the_kernel_refuses_says_so_and_loses_nothing(tmp_path):
    body = """
tier.enable()
space["x"] = x = np.ones(4 << 20)
for move in (tier.demote, tier.promote):
    try:
        move("x")
    except tier.TierError as error:
        print(error)
    else:
        raise AssertionError("nothing refused")
assert (x == 1).all() and tier.shielded() == []
"""
    said = run(denied("madvise") + body, tmp_path)
    assert "demote of x ended at 0B of 32M: the kernel refused" in said and "promote of x ended" in said


def test_a_full_disk_gives_ordinary_arrays_that_say_why_they_stay(tmp_path):
    body = """
tier.enable()
space["x"] = x = np.ones(4 << 20)
try:
    tier.demote("x")
except tier.TierError as error:
    print(error)
assert (x == 1).all()
print(tier.table()[0]["why"])
"""
    said = run(denied("fallocate", error="ENOSPC") + body, tmp_path)
    if "swapon" in said:  # with swap it leaves that way
        assert "disk was full" in said and "not in the tier file: %tier why x" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="everything here runs without privileges already")
def test_an_unprivileged_user_has_all_of_it(tmp_path):
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and parent != parent.parent and "pytest" in parent.name:
            parent.chmod(0o755)
    body = """
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1)  # a process that has changed its user is nobody's in /proc until it says so
"""
    said = run(body + ROUND, tmp_path)
    assert "resident" in said and "sampler" in said


def test_two_processes_share_a_directory(tmp_path):
    body = """
tier.enable()
for turn in range(10):
    space["x"] = np.full(1 << 20, os.getpid() * 100 + turn)
    tier.demote("x")
    assert (space["x"] == os.getpid() * 100 + turn).all()
    if turn % 3 == 0:
        tier.disable(); tier.enable()
"""
    env = {**os.environ, "LARDER_TIER_DIR": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", PROLOGUE + body], env=env) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    assert list(tmp_path.iterdir()) == [], "a tier file has no name"


@pytest.fixture
def limited():
    """A control group of 400 MB, where one can be made."""
    from pathlib import Path

    for home in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")):
        two = home.name == "cgroup"
        if not (home / ("cgroup.controllers" if two else "memory.limit_in_bytes")).exists():
            continue
        group = home / f"larder-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        file = group / ("memory.max" if two else "memory.limit_in_bytes")
        try:
            file.write_text(str(400 << 20))
        except OSError:
            group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no control group with memory can be made here")


def test_auto_takes_the_control_groups_limit_and_keeps_under_it(tmp_path, limited):
    body = f"""
open({str(limited / "cgroup.procs")!r}, "w").write(str(os.getpid()))
from larder import _auto
print(tier.auto())
assert _auto.cgroup_limit() == 400 << 20
for turn in range(16):
    space[f"x{{turn}}"] = np.full(4 << 20, float(turn))
    heat.finish()
    _auto.step()
assert _auto.resident() < 400 << 20 and len(space) == 16
assert all((space[f"x{{turn}}"][::1000] == turn).all() for turn in range(16)), "512 MB of arrays under 400 MB"
tier.auto(None)
"""
    assert "keeping this process under 360M" in run(body, tmp_path)
