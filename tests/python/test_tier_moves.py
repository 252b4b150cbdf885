"""Moving arrays out of DRAM and back: same address, same bytes, and nobody who uses them meanwhile notices."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np
import pytest

from larder import _larder, tier

MB = 1 << 20


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A namespace `tier` looks at, with the tier file on."""
    names: dict = {}
    monkeypatch.setattr(tier, "namespace", lambda: names)
    monkeypatch.setenv("LARDER_TIER_DIR", str(tmp_path))
    tier.enable()
    yield names
    names.clear()
    tier.disable()
    for name in tier.pinned():
        tier.unpin(name)


def in_file(array) -> bool:
    block = _larder.tier_block(array.ctypes.data)
    return block is not None and block[2] == "tier file"


def resident(array) -> int:
    return sum(
        high - low
        for low, high, place in _larder.tier_pages(array.ctypes.data, array.nbytes)
        if place.startswith("node") or place == "cache"
    )


def test_large_arrays_live_in_the_tier_file_and_small_ones_do_not(space):
    large, small = np.ones(MB), np.ones(1000)
    assert in_file(large) and not in_file(small)
    assert large.ctypes.data % (2 * MB) == 0
    grown = np.fromiter((i for i in range(MB)), dtype=np.int64)
    assert (grown == np.arange(MB)).all()
    address = large.ctypes.data
    del large
    assert _larder.tier_block(address) is None


def test_arrays_made_before_are_freed_by_those_who_made_them(space):
    tier.disable()
    before = np.ones(MB)
    tier.enable(os.environ["LARDER_TIER_DIR"])
    assert not in_file(before)
    before.resize(2 * MB, refcheck=False)
    assert before[:MB].sum() == MB and before[MB:].sum() == 0


def test_a_round_trip_keeps_address_and_bytes(space):
    space["x"] = x = np.random.default_rng(3).random(4 * MB)
    address, copy = x.ctypes.data, x.copy()
    out = tier.demote("x")[0]
    assert out["how"] == "tier file" and resident(x) <= x.nbytes // 20, out
    assert out["moved"] >= x.nbytes * 0.95
    row = next(row for row in tier.table(exact=True, variables=space) if row["name"] == "x")
    assert row["disk"] >= x.nbytes * 0.95 and row["movable"]
    assert x.ctypes.data == address and (x == copy).all()
    tier.demote("x")
    back = tier.promote("x")[0]
    assert back["in DRAM"] >= x.nbytes and (x == copy).all()


def test_readers_writers_and_readv_go_on_during_moves(space, tmp_path):
    """One thread adds to the array, one checks a constant part, one reads a file into it; moves never stop them."""
    space["x"] = x = np.zeros(2 * MB, dtype=np.int64)
    quarter = x.size // 4
    steady, counted, filled = x[:quarter], x[quarter : 2 * quarter], x[2 * quarter :]
    steady[:] = 7
    data = os.urandom(filled.nbytes)
    path = tmp_path / "data"
    path.write_bytes(data)
    stop, trouble, rounds, reads = threading.Event(), [], [0], [0]

    def write():
        while not stop.is_set():
            counted.__iadd__(1)
            rounds[0] += 1

    def read():
        while not stop.is_set():
            if not (steady == 7).all():
                trouble.append("a reader saw other bytes")

    def fill():
        fd = os.open(path, os.O_RDONLY)
        try:
            while not stop.is_set():
                done = os.preadv(fd, [filled], 0)
                reads[0] += 1
                if done != filled.nbytes:
                    trouble.append(f"readv read {done}")
        except OSError as error:
            trouble.append(f"readv: {error}")
        finally:
            os.close(fd)

    threads = [threading.Thread(target=work) for work in (write, read, fill)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        tier.demote("x")
        tier.promote("x")
    stop.set()
    for thread in threads:
        thread.join()
    assert not trouble
    assert rounds[0] > 0 and reads[0] > 0
    assert (counted == rounds[0]).all() and filled.tobytes() == data


def test_a_pinned_variable_stays_until_unpinned(space):
    space["x"] = np.ones(MB)
    tier.pin("x")
    with pytest.raises(tier.TierError, match="pinned"):
        tier.demote("x")
    tier.unpin("x")
    tier.demote("x")
    with pytest.raises(tier.TierError, match="not pinned"):
        tier.unpin("x")


def test_what_cannot_move_says_why(space):
    with pytest.raises(NameError, match="nope"):
        tier.demote("nope")
    space["small"] = np.ones(10)
    with pytest.raises(tier.TierError, match="smaller than 1M"):
        tier.demote("small")
    space["base"] = np.ones(MB)
    space["view"] = space["base"][1:]
    with pytest.raises(tier.TierError, match="belong to base"):
        tier.demote("view")
    machine = _larder.tier_machine()
    if not machine["swap_total"] and len(machine["nodes"]) == 1:
        space["raw"] = bytearray(4 * MB)
        with pytest.raises(tier.TierError, match="not in the tier file"):
            tier.demote("raw")


def test_a_memory_file_system_is_refused(space):
    tier.disable()
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no tmpfs here")
    _larder.tier_disown()
    code = "import larder.tier as t\ntry: t.enable('/dev/shm')\nexcept t.TierError as e: print(e)"
    import subprocess

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "tmpfs" in out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_cannot_change_the_parents_array(space):
    space["x"] = x = np.arange(MB)
    pid = os.fork()
    if pid == 0:
        fine = bool((x == np.arange(MB)).all())
        x[:] = -1
        made = np.ones(MB)
        os._exit(0 if fine and made.sum() == MB and not in_file(made) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (x == np.arange(MB)).all()
    tier.demote("x")
    assert (x == np.arange(MB)).all()


SHIELD = """
import ctypes, gc
PR_SET_THP_DISABLE = 41  # of a huge page all would count as touched
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
from larder import heat, tier
from larder._migrate import pages, shield
rows = [{"a": [i], "b": str(i)} for i in range(100_000)]
within = pages(tier.Survey({"rows": rows}).ranges("rows"))
low, high = within[0][0], within[-1][1]
def visited():
    heat.clear_accessed()
    gc.collect()
    return sum(size for start, end, size in heat.accessed() if start < high and end > low)
before = visited()
changed, others = shield(rows, True, within)
assert changed >= 200_000 and others == 0
assert not gc.is_tracked(rows) and not gc.is_tracked(rows[5]) and not gc.is_tracked(rows[5]["a"])
during = visited()
assert shield(rows, False, within)[0] >= 200_000
assert gc.is_tracked(rows) and gc.is_tracked(rows[5])
assert during < before / 5, (before, during)
rows[0]["self"] = rows
before = len(gc.get_objects())
del rows
gc.collect()
assert len(gc.get_objects()) < before - 150_000, "a cycle, tracked again, is collected again"
"""


def test_shielded_containers_are_not_visited_by_a_collection_and_are_collected_after():
    import subprocess

    subprocess.run([sys.executable, "-c", SHIELD], check=True)


OTHER_SHIELDS = """
import collections, gc, random
from larder import tier
from larder._migrate import shield

class Plain:
    def __init__(self, inner):
        self.inner, self.me = inner, self

class Slots:
    __slots__ = ("inner", "__weakref__")
    def __init__(self, inner):
        self.inner = inner

class Listed(list):
    pass

class Ended(Plain):
    ended = 0
    def __del__(self):
        Ended.ended += 1

def value():
    return [Plain([at]) for at in range(2000)] + [Slots({"a": [at]}) for at in range(2000)] + [
        Listed([[at]]) for at in range(2000)] + [Ended([at]) for at in range(2000)] + [
        collections.deque([[at]]) for at in range(500)] + [collections.defaultdict(list, a=[at]) for at in range(500)] + [
        collections.OrderedDict(a=[at]) for at in range(500)] + [collections.Counter(a=at) for at in range(500)]

# What is untracked is freed as ever, and changed as ever.
for turn in range(3):
    x = value()
    within = tier.Survey({"x": x}).ranges("x")
    changed, others = shield(x, True, within)
    assert changed >= 8000 + 2000 and others == 0, (changed, others)
    assert not any(gc.is_tracked(item) for item in x)
    gc.collect()
    for item in x:
        if isinstance(item, (Plain, Slots)):
            item.inner = [item.inner]
    if turn == 1:
        random.shuffle(x)
        for item in x:
            if isinstance(item, Plain):
                item.me = None
        del item, x  # freed while off the lists
        assert Ended.ended == 4000
        continue
    assert shield(x, False, within)[0] >= 8000
    assert all(gc.is_tracked(item) for item in x)
    del item, x
    gc.collect()
assert Ended.ended == 6000, "cycles are collected once they are tracked again"

# Only what lies in the pages that go is touched, and what stays with the collector is counted.
shared = Plain([1])
x = [[shared, iter([at])] for at in range(1000)]
within = tier.Survey({"shared": shared, "x": x}).ranges("x")
changed, others = shield(x, True, within)
assert gc.is_tracked(shared) and others == 1000 and changed >= 1001, (changed, others)
"""


def test_instances_and_collections_are_shielded_too_and_end_as_ever():
    import subprocess

    subprocess.run([sys.executable, "-X", "faulthandler", "-c", OTHER_SHIELDS], check=True)


CELLS_SHIELDED = """
import ctypes, gc, random, sys
PR_SET_THP_DISABLE = 41  # of a huge page all would count as touched
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
import numpy as np
from larder import heat, tier
from larder import _migrate

KIND, COUNT = sys.argv[1], 60_000
def row(at):
    return {"a": [at], "b": str(at)}
def cells(count=COUNT):
    made = np.empty(count, dtype=object)
    made[:] = [row(at) for at in range(count)]
    return made
def make():
    if KIND == "array":
        return cells()
    if KIND == "view":
        return cells().reshape(-1, 2).T[:, ::-1]
    if KIND == "masked":
        return np.ma.array(cells(), mask=False)
    if KIND == "inside":
        return [{"cells": cells(COUNT // 2)}, (cells(COUNT // 2),)]
    if KIND == "nested":  # arrays in cells of arrays
        made = np.empty(COUNT // 1000, dtype=object)
        made[:] = [cells(1000) for at in range(len(made))]
        return made
    if KIND == "struct":
        made = np.zeros(COUNT, dtype=[("n", "i8"), ("in", [("cell", "O"), ("two", "O", (2,))])])
        made["in"]["cell"] = cells()
        return made
    import pandas as pd
    return pd.DataFrame({"n": range(COUNT), "cell": cells()})
def at(number):
    if KIND in ("array", "masked"):
        return x[number]
    if KIND == "view":
        return x[number % 2, number // 2]
    if KIND == "inside":
        return x[0]["cells"][number]
    if KIND == "nested":
        return x[0][number]
    return x["in"]["cell"][number] if KIND == "struct" else x["cell"].iloc[number]
def put(number, value):
    if KIND in ("array", "masked"):
        x[number] = value
    elif KIND == "view":
        x[number % 2, number // 2] = value
    elif KIND == "inside":
        x[0]["cells"][number] = value
    elif KIND == "nested":
        x[0][number] = value
    elif KIND == "struct":
        x["in"]["cell"][number] = value
    else:
        x.at[number, "cell"] = value

space = {}
tier.namespace = lambda: space
def visited():
    heat.clear_accessed()
    gc.collect()
    seen = heat.accessed()
    # Pages of libraries count as accessed when another process uses them.
    files = {int(line.split("-")[0], 16) for line in open("/proc/self/maps") if line.split()[4] != "0"}
    return sum(size for start, end, size in seen if start not in files)
def held():
    return sum(type(item) is dict and list(item)[:2] == ["a", "b"] for item in gc.get_objects())
make()
visited()
rest = visited()
x = space["x"] = make()
gc.collect()
unshielded = visited()
assert held() == COUNT
_migrate._shield("x", tier.Survey(space))
assert tier.shielded() == ["x"] and held() == 0
assert not gc.is_tracked(at(5)) and not gc.is_tracked(at(5)["a"])
shielded = visited()
assert shielded - rest < (unshielded - rest) / 5, (rest, unshielded, shielded)

# Written to while off the lists: what goes is freed, what comes is collected as ever, what somebody kept is found again.
kept, boxed = at(7), np.empty(1, dtype=object)
boxed[0] = at(8)
in_kept = at(8)["a"]
alive = []
class Ended(list):
    def __del__(self):
        alive.remove(self.name)
for number in (1, 2, 3):
    mine = Ended()
    mine.name = number
    alive.append(number)
    put(number, {"a": mine, "b": ""})
    del mine
put(1, None)
assert alive == [2, 3], "freed at once"
new = at(2)
new["self"] = new
put(2, None)
del new
gc.collect()
assert alive == [3], "a new one is collected while the others are shielded"
for number in (7, 8, 9):
    put(number, number)
assert all(at(number)["b"] == str(at(number)["a"][0]) for number in random.sample(range(10, 1000), 100))

_migrate._unshield("x")
assert tier.shielded() == [] and held() == COUNT - 3
assert gc.is_tracked(at(5)) and gc.is_tracked(at(5)["a"])
assert gc.is_tracked(kept) and gc.is_tracked(kept["a"]), "held by a variable"
assert gc.is_tracked(boxed[0]) and gc.is_tracked(in_kept), "held by another array only"
assert all(at(number)["b"] == str(at(number)["a"][0]) for number in random.sample(range(10, 1000), 100))

# Nothing is left behind: all of it goes, with its cycles.
mine = Ended()
mine.name = 4
alive.append(4)
at(10)["self"] = at(10)
at(10)["mine"] = mine
kept["self"] = kept
kept["mine"] = Ended()
kept["mine"].name = 5
alive.append(5)
del mine, in_kept
boxed[0] = None
kept = x = None
space.clear()
gc.collect()
assert alive == [] and held() == 0, (alive, held())
"""


@pytest.mark.parametrize("kind", ["array", "view", "masked", "inside", "nested", "struct", "pandas"])
def test_containers_in_object_arrays_are_shielded_and_found_again(kind):
    import subprocess

    subprocess.run([sys.executable, "-X", "faulthandler", "-c", CELLS_SHIELDED, kind], check=True)


def test_what_was_taken_out_of_a_shielded_list_is_collected_again_after_promote(space):
    import gc

    from larder import _migrate

    space["rows"] = [{"a": [at]} for at in range(1000)]
    _migrate._shield("rows", tier.Survey(dict(space)))
    first, last, held = space["rows"].pop(0), space["rows"].pop(), []
    held.append(last)
    del last
    assert not gc.is_tracked(first) and not gc.is_tracked(held[0]["a"])
    space["other"], space["rows"] = first, None
    del first
    _migrate.check_shields()
    assert tier.shielded() == []
    assert all(map(gc.is_tracked, (space["other"], space["other"]["a"], held[0], held[0]["a"])))


def test_what_collections_go_on_visiting_is_said(space):
    from larder import _migrate

    space["cells"] = np.empty(1000, dtype=object)
    space["cells"][:] = [[at] for at in range(1000)]
    space["plain"] = [[at] for at in range(1000)]
    space["mixed"] = [iter([at]) for at in range(1000)]
    space["texts"] = np.array([str(at) for at in range(1000)], dtype=object)
    survey = tier.Survey(dict(space))
    try:
        for name in space:
            _migrate._shield(name, survey)
        assert tier.unshielded("mixed").startswith("1000 of its containers are of types that stay with the collector")
        assert tier.unshielded("plain") == tier.unshielded("texts") == tier.unshielded("cells") == ""
        assert tier.shielded() == ["cells", "mixed", "plain"]
        assert "a full collection reads them" in str(tier.table(["mixed"], variables=space))
    finally:
        for name in space:
            _migrate._unshield(name)
    assert tier.unshielded("mixed") == "" and tier.shielded() == []


def test_the_policy_moves_the_cold_array_and_keeps_the_hot_one(space):
    from larder import _auto, heat

    space["hot"], space["cold"] = np.ones(24 * MB), np.ones(24 * MB)
    try:
        # Just above the high mark (0.9), and moving the cold one brings it below the low one (0.75).
        tier.auto(int(_auto.resident() / 0.93))
        for _ in range(60):
            space["hot"] += 1
        heat.finish()
        moves = _auto.step()
        assert [(row["what"], row["name"]) for row in moves] == [("demote", "cold")]
        assert resident(space["cold"]) <= 4 * MB and resident(space["hot"]) >= 190 * MB
        assert (space["cold"] == 1).all()
    finally:
        tier.auto(None)
        heat.stop()


def test_amounts_of_memory_are_read_or_refused():
    from larder._auto import parse_bytes

    assert parse_bytes("4G") == 4 << 30 and parse_bytes("1.5M") == 3 << 19 and parse_bytes(7) == 7
    for wrong in ("", "much", "-1G", "0"):
        with pytest.raises(ValueError, match="512M or 4G"):
            parse_bytes(wrong)


def test_a_shelved_array_leaves_the_page_cache_and_changes_stay_until_the_commit(space, tmp_path):
    import larder

    with_shelf = larder.open(tmp_path / "w.shelf")
    try:
        with_shelf.x = np.arange(4 * MB, dtype=np.int64)
        with_shelf.commit()
        space["x"] = x = with_shelf.x
        x.sum()
        row = next(row for row in tier.table(exact=True, variables=space) if row["name"] == "x")
        assert row.get("swap") in (None, 0), "a write tracker's markers are not swap"
        out = tier.demote("x")[0]
        assert out["moved"] >= 30 * MB, out
        assert (x[:: MB // 8] == np.arange(0, 4 * MB, MB // 8)).all()
        x[:MB] = -1
        tier.demote("x")
        assert (x[:MB] == -1).all() and x[MB] == MB
    finally:
        space.clear()
        with_shelf.close()


def test_what_the_next_cell_names_comes_in_before_it_runs(space):
    from larder import _auto, heat

    space["a"], space["b"] = np.ones(4 * MB), np.ones(4 * MB)
    space["use"] = eval("lambda: b.sum()")
    tier.demote("a")
    tier.demote("b")
    try:
        tier.auto(_auto.resident() * 2 + 512 * MB)
        assert _auto.named("a += 1; c = 2") == (["a"], ["a"])
        assert _auto.named("use()") == (["use", "b"], [])
        assert _auto.named("a[3:] = 1; np.add(b, 1, out=b)") == (["b", "a"], ["a", "b"])
        assert _auto.named("this is no Python") == ([], [])
        moves = _auto.prepare(*_auto.named("a += 1"))
        assert [(row["what"], row["name"]) for row in moves] == [("promote", "a")]
        assert resident(space["a"]) >= 31 * MB and resident(space["b"]) <= 16 * MB
        assert (space["a"] == 1).all()
        assert _auto.prepare(["a"]) == [], "what is there need not move"
    finally:
        tier.auto(None)
        heat.stop()


def shell_with(tmp_path, monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    import larder

    monkeypatch.setenv("LARDER_TIER_DIR", str(tmp_path))
    ip = InteractiveShell.instance()
    larder.load_ipython_extension(ip)
    return ip


def test_a_long_move_shows_how_far_it_is_and_a_short_one_nothing(tmp_path, monkeypatch, capsys):
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    import larder
    from larder.display import Bar

    ip = shell_with(tmp_path, monkeypatch)
    try:
        ip.run_cell("import numpy as np\n%tier on\nx = np.ones(8 << 20)").raise_error()
        monkeypatch.setattr(Bar, "AFTER_S", 600.0)  # longer than a busy machine takes
        with capture_output() as short:
            ip.run_line_magic("tier", "demote x")
            ip.run_line_magic("tier", "promote x")
        monkeypatch.setattr(Bar, "AFTER_S", 0.0)
        monkeypatch.setattr(Bar, "EVERY_S", 0.0)
        with capture_output() as long:
            ip.run_line_magic("tier", "demote x")
        assert short.outputs == []
        shown = [(output.data["text/html"], output.data["text/plain"], output.update) for output in long.outputs]
        assert [update for *_, update in shown] == [False] + [True] * (len(shown) - 1) and len(shown) >= 4
        assert 'value="16777216" max="67108864"' in shown[0][0], shown[0]
        assert 'value="67108864" max="67108864"' in shown[-1][0] and "100%  64M of 64M" in shown[-1][1]
        assert "demote x" in shown[0][0] and " 25%  16M of 64M" in shown[0][1]
    finally:
        tier.disable()
        larder.magics.unload_ipython_extension(ip)
        ip.history_manager.end_session()
        InteractiveShell.clear_instance()


def test_an_interrupted_move_says_what_has_moved_and_can_go_on(space):
    import re
    import signal

    space["x"] = x = np.random.default_rng(5).random(16 * MB)  # 128 MiB
    copy = x.copy()

    def interrupt(done, total):
        assert total == x.nbytes
        if done == total // 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"64M of 128M moved, 64M in DRAM now.*`%tier demote x` goes on"):
        tier.demote("x", progress=interrupt)
    assert abs(resident(x) - 64 * MB) <= 4 * MB
    assert tier.demote("x")[0]["moved"] >= 60 * MB
    with pytest.raises(KeyboardInterrupt) as stopped:
        tier.promote("x", progress=interrupt)
    assert re.search("promote of x was interrupted: [0-9]+M of 128M moved", str(stopped.value)), stopped.value
    assert 60 * MB <= resident(x) < x.nbytes, "some is read ahead"
    assert tier.promote("x")[0]["in DRAM"] >= x.nbytes and (x == copy).all()


def test_a_tier_asked_for_that_cannot_be_is_refused(space):
    space["x"] = np.ones(MB)
    with pytest.raises(tier.TierError, match="no tier is called 'tape'; those there can be: slow, file, swap, cache"):
        tier.demote("x", "tape")
    if not tier.slow_nodes():
        with pytest.raises(
            tier.TierError, match="x cannot go to slow here: that takes a memory-only NUMA node; it can go to file"
        ):
            tier.demote("x", "slow")
    assert resident(space["x"]) == space["x"].nbytes
    assert tier.demote("x", "file")[0]["how"] == "tier file"


def test_objects_in_swap_stay_there_whoever_asks_and_promote_says_what_came(tmp_path):
    import json
    import subprocess
    from pathlib import Path

    bench = Path(__file__).parents[2] / "benches/heat/swap.py"
    if os.geteuid():
        pytest.skip("turning swap on needs root")
    command = [sys.executable, bench, "--objects", "80000", "--directory", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["MB"] >= 10 and said["demoted_MB"] >= 0.95 * said["MB"], said
    for after in ("collect", "table", "three_sampled_cells"):
        assert said[f"swap_MB_after_{after}"] >= 0.9 * said["demoted_MB"], said
    assert said["table_says_swap_MB"] >= 0.9 * said["MB"]
    assert 0.9 * said["demoted_MB"] <= said["promoted_MB"] <= said["came_from_swap_MB"] + 2, said


def test_a_pinned_variable_says_so_in_the_table(space):
    space["x"] = np.ones(MB)
    tier.pin("x")
    row = tier.table(variables=space)[0]
    assert not row["movable"] and row["why"] == "pinned in DRAM until `%tier unpin x`"
    tier.unpin("x")
    assert tier.table(variables=space)[0]["movable"]


def test_a_limit_below_what_cannot_leave_says_so(space):
    space["x"] = np.ones(MB)
    try:
        assert "That will not do it" in tier.auto(4 << 20)
        assert "That will not do it" not in tier.auto("1T")
        told = tier.auto(None)
        assert "tier off" in told and "tier heat off" in told, "what `on` turned on is still on"
        for amount in (0, -1, "0", "4Q"):
            with pytest.raises(ValueError, match="not an amount of memory"):
                tier.auto(amount)
    finally:
        from larder import heat

        tier.auto(None)
        heat.stop()
