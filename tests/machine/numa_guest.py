"""Runs inside the machine: variables move to the memory-only node and back; every page is checked against move_pages."""

import collections
import ctypes
import sys

sys.path.insert(0, "/")
import numpy as np

from larder import _larder, tier

LIBC = ctypes.CDLL(None, use_errno=True)
space = {}
tier.namespace = lambda: space


def raw(address, size):
    start, end = address & ~4095, (address + size + 4095) & ~4095
    count = (end - start) // 4096
    pages, status = (ctypes.c_void_p * count)(*range(start, end, 4096)), (ctypes.c_int * count)()
    for _ in range(100):
        assert LIBC.syscall(279, 0, ctypes.c_ulong(count), pages, None, status, 0) == 0
        hidden = [page for page, node in enumerate(status) if node == -14]
        if not hidden:
            break
        for page in hidden:  # NUMA balancing hides some from time to time, until they are touched
            ctypes.string_at(start + page * 4096, 1)
    return start, list(status)


def agree(array):
    start, nodes = raw(array.ctypes.data, array.nbytes)
    for low, high, place in _larder.tier_pages(array.ctypes.data, array.nbytes):
        for page in range((low - start) // 4096, (high - start) // 4096):
            expected = f"node{nodes[page]}" if nodes[page] >= 0 else "untouched"
            assert place == expected, (page, place, nodes[page])
    return collections.Counter(nodes)


def on_slow_node():
    """Pages of this process on node 1, as numa_maps adds them up."""
    with open("/proc/self/numa_maps") as maps:
        return sum(int(word[3:]) for line in maps for word in line.split() if word.startswith("N1="))


class Thing:
    def __init__(self, n):
        self.n, self.text, self.both = n, f"{n}" * 9, [n, float(n)]


print([(row["tier"], row["what"]) for row in tier.tiers()])
assert [row["tier"] for row in tier.tiers()] == ["DRAM", "slow1"]
x = space["x"] = np.arange(4 << 20, dtype=np.float64)
space["rows"] = [{"n": n, "text": "x" * 50 + str(n)} for n in range(30_000)]
space["things"] = [Thing(n) for n in range(30_000)]
address, total = x.ctypes.data, x.sum()
print("GUEST before", dict(agree(x)))
before = on_slow_node()
print(tier.demote("x"))
there = agree(x)
print("GUEST after demote", dict(there))
assert there[1] >= 0.99 * sum(there.values())
print("GUEST numa_maps", on_slow_node() - before)
assert on_slow_node() - before == there[1]
print(tier.table())
row = next(row for row in tier.table(exact=True, variables=space) if row["name"] == "x")
assert row["slow1"] >= 0.99 * x.nbytes
assert x.ctypes.data == address and x.sum() == total
print(tier.promote("x"))
back = agree(x)
print("GUEST after promote", dict(back))
assert back[0] >= 0.99 * sum(back.values()) and x.sum() == total
for name in ("rows", "things"):
    print(tier.why(name))
    print(tier.demote(name))
    row = next(row for row in tier.table(exact=True, variables=space) if row["name"] == name)
    print("GUEST", name, row["slow1"], "of", row["bytes"], tier.shielded())
    assert row["slow1"] >= 0.9 * row["bytes"] and tier.shielded() == [name]
    assert all((row if name == "things" else row["n"]) is not None for row in space[name])
    tier.promote(name)
    row = next(row for row in tier.table(exact=True, variables=space) if row["name"] == name)
    assert row["DRAM"] >= 0.99 * row["bytes"] and tier.shielded() == []
assert [thing.n for thing in space["things"]] == list(range(30_000))
assert [row["n"] for row in space["rows"]] == list(range(30_000))
print("GUEST PASS")
