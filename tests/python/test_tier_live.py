"""The live trace kept between cells, and the frame probe: what is unchanged is not walked, what is used is found."""

from __future__ import annotations

import gc
import random
import threading
import time
from array import array
from collections import OrderedDict, deque

import numpy as np
import pytest

from larder import _larder, _live, heat, tier


class Item:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


def work(items, seconds):
    """Uses the items round and round for so many seconds of running."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for item in items:
            item.n += 1


def test_objects_in_use_are_hotter_than_their_neighbours(space):
    assert _larder.tier_frames() is None, "the frames of this interpreter are read"
    items = [Item() for _ in range(2000)]
    random.shuffle(items)
    space["items"] = items
    hot = items[:100]
    for seconds in (1.5, 6, 25):  # a busy machine may not let the sampler's thread run often
        heat.start(cpu_max=0.2)
        work(hot, seconds)
        heat._after(None, None)
        found = heat.objects("items")
        assert len(found) >= len(items)
        warm = np.mean([found[id(item)] for item in hot])
        cold = np.mean([found[id(item)] for item in items[100:]])
        row = next(row for row in heat.table() if row["name"] == "items")
        if warm > 20 * max(cold, 1e-9) and row["heat"] > 0.1:
            break
    assert warm > 20 * max(cold, 1e-9)
    assert row["heat"] > 0.1 and "frames" in row["seen by"]


def test_unchanged_variables_are_compared_and_of_changed_ones_what_changed_is_walked(space):
    space["rows"] = [{"a": [i], "b": str(i)} for i in range(5000)]
    space["x"] = np.ones(1 << 16)
    space["held"] = {"deep": [np.ones(1 << 18)]}
    space["names"] = np.array(["a" * 50 + str(i) for i in range(100)], dtype=object)
    live = _live.LiveTrace()
    live.update()
    assert (live.walked, live.compared) == (4, 0)
    live.update()
    assert (live.walked, live.compared) == (5, 3), "only the object array, whose changes do not show, is walked again"
    mended = [
        lambda: space["rows"][77]["a"].append(object()),
        lambda: space["rows"][78].__setitem__("c", object()),
        lambda: space["rows"].pop(),
        lambda: space["held"].__setitem__("more", np.ones(1 << 16)),
        lambda: space["held"].__setitem__("more", space["held"]["more"] - 1),
        lambda: space["held"]["deep"].__setitem__(0, np.ones(1 << 18)),
        lambda: space["held"]["deep"][0].resize((1 << 18) - 7, refcheck=False),
        lambda: space["held"].pop("more"),
    ]
    for change in mended:
        before = live.walked, live.mended
        change()
        live._credit_s = 20.0
        live.update()
        assert (live.walked, live.mended) == (before[0] + 1, before[1] + 1)
    walked = [
        lambda: space.__setitem__("x", np.ones(1 << 17)),
        lambda: space["x"].resize(1 << 18, refcheck=False),
    ]
    for change in walked:
        before = live.walked
        change()
        live._credit_s = 20.0
        live.update()
        assert live.walked == before + 2
    assert sum(end - start for start, end in live.native.ranges("x", True)) == 8 << 18
    assert sum(end - start for start, end in live.native.ranges("held", True)) == 8 * ((1 << 18) - 7)
    del space["rows"]
    live.update()
    assert sorted(live.names()) == ["held", "names", "x"]


class Node:
    def __init__(self, *kids) -> None:
        self.kids = list(kids)


class Word(str):
    pass


def grown(rng, depth, shared):
    """Nested containers of all sorts, some of them in several places."""
    kind = rng.randrange(15) if depth > 0 else 0
    many = range(rng.randrange(6))
    if kind == 0:
        text = str(rng.random()) * rng.randrange(1, 9)
        return rng.choice([rng.random(), rng.randrange(10**12), text, Word(text), bytes(300)])
    if kind == 1 and shared:
        return rng.choice(shared)
    if kind <= 4:
        made = [grown(rng, depth - 1, shared) for _ in many]
    elif kind <= 6:
        made = {f"{i}{rng.randrange(3)}": grown(rng, depth - 1, shared) for i in many}
    elif kind == 7:
        made = tuple(grown(rng, depth - 1, shared) for _ in many)
    elif kind == 8:
        made = {rng.randrange(1000, 10**9) for _ in range(rng.randrange(30))}
    elif kind == 9:
        made = Node(*(grown(rng, depth - 1, shared) for _ in many))
    elif kind == 10:
        made = deque([*(grown(rng, depth - 1, shared) for _ in many), *range(1000, 1000 + rng.randrange(150))])
    elif kind == 11:
        made = OrderedDict((f"{i}{rng.randrange(3)}", grown(rng, depth - 1, shared)) for i in many)
    else:
        made = buffer(rng) if rng.random() < 0.7 else [grown(rng, depth - 1, shared)]
    if rng.random() < 0.1:
        shared.append(made)
    return made


def buffer(rng):
    match rng.randrange(6):
        case 0:
            return bytearray(rng.randrange(1, 5000))
        case 1:
            return array("d", [1.0] * rng.randrange(1, 500))
        case 2:
            return np.ones(rng.randrange(10, 500))[3:]
        case 3:
            return np.frombuffer(bytes(rng.randrange(1, 500)), dtype=np.uint8)
        case _:
            return np.ones(rng.randrange(1, 5000))


NAMES = ["kids", "one", "two", "three"]


def inside(root):
    found, left = {}, [root]
    while left:
        here = left.pop()
        if isinstance(here, list | dict | set | tuple | deque | Node) and id(here) not in found:
            found[id(here)] = here
            if isinstance(here, Node):  # not through `__dict__`, which would make one
                left.extend(getattr(here, name) for name in NAMES if hasattr(here, name))
            else:
                left.extend(here.values() if isinstance(here, dict) else here)
    return list(found.values())


def changed(rng, root, shared):
    """One container somewhere loses, gains, swaps or hands over something."""
    where = rng.choice(inside(root))
    new = buffer(rng) if rng.random() < 0.3 else grown(rng, rng.randrange(4), shared)
    if rng.random() < 0.3:
        return replaced(rng, root)
    if isinstance(where, list):
        match rng.randrange(4) if where else 0:
            case 0:
                where.append(new)
            case 1:
                where.pop(rng.randrange(len(where)))
            case 2:
                where[rng.randrange(len(where))] = new
            case 3:
                other = rng.choice(inside(root))
                other.append(where.pop()) if isinstance(other, list) else rng.shuffle(where)
    elif isinstance(where, dict):
        where.pop(rng.choice(list(where)), None) if where and rng.random() < 0.5 else where.__setitem__(
            rng.random(), new
        )
    elif isinstance(where, set):
        where.add(rng.randrange(1000, 10**9))
    elif isinstance(where, Node):
        setattr(where, rng.choice(NAMES), [new])
        if rng.random() < 0.2:
            where.__dict__[rng.choice(NAMES)] = new
    elif isinstance(where, deque):
        rng.choice([where.append, where.appendleft])(new) if rng.random() < 0.5 or not where else where.pop()


def replaced(rng, root):
    """One array or byte array somewhere becomes another, grows in place, or goes."""
    found = []
    for where in inside(root):
        items = enumerate(where) if isinstance(where, list) else where.items() if isinstance(where, dict) else ()
        found += [(where, at) for at, value in items if isinstance(value, np.ndarray | bytearray | array)]
    if not found:
        return
    where, at = rng.choice(found)
    value = where[at]
    match rng.randrange(4):
        case 0:
            where[at] = value - 1 if isinstance(value, np.ndarray) else value + value
        case 1:
            where[at] = buffer(rng)
        case 2 if isinstance(value, np.ndarray) and value.flags.owndata:
            value.resize(rng.randrange(1, 5000), refcheck=False)
        case 2 if not isinstance(value, np.ndarray):
            value.extend(bytes(8 * rng.randrange(100)))
        case _:
            del where[at]


def ends_at_8(live, buffers):
    out = []
    for start, end in live.native.ranges("root", buffers):
        end = (end + 7) & ~7
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        else:
            out.append((start, end))
    return out


@pytest.mark.parametrize("seed", range(2))
def test_a_record_brought_up_to_date_is_what_a_new_walk_finds(space, seed):
    rng, shared = random.Random(seed), []
    space["root"] = [grown(rng, 7, shared) for _ in range(30)]
    live = _live.LiveTrace()
    for _ in range(100):
        changed(rng, space["root"], shared)
        count = len(inside(space["root"]))
        if count > 4000:
            del space["root"][len(space["root"]) // 4 :], shared[:]
        elif count < 200:
            space["root"].extend(grown(rng, 7, shared) for _ in range(5))
        gc.collect(0)
        live._credit_s = 20.0
        live.update()
        fresh = _live.LiveTrace()
        fresh.update()
        assert live.stale == []
        for buffers in (False, True):
            assert ends_at_8(live, buffers) == ends_at_8(fresh, buffers)
        assert live.native.about("root")["objects"] == fresh.native.about("root")["objects"]
    assert live.mended > 50, "mostly without a new walk"


def test_what_a_record_says_is_what_a_fresh_walk_finds(space):
    shared = [bytes(1000) for _ in range(100)]
    space.update(one=[shared, 1.5], two={"k": shared}, three=memoryview(bytearray(1 << 16)), four=Item())
    live = _live.LiveTrace()
    live.update()
    kept, fresh = live.survey(), tier.Survey(dict(space))
    total = {name: fresh.row(name)["bytes"] for name in fresh.names}
    assert sum(kept.row(name)["bytes"] for name in kept.names) == sum(total.values())
    for name in ("one", "three", "four"):
        assert kept.row(name)["bytes"] == total[name]


def test_a_walk_too_long_for_its_allowance_is_left_for_later(space):
    space["rows"] = [[i] for i in range(300_000)]
    live = _live.LiveTrace()
    live.update()
    assert live.stale == []
    space["rows"].append([0])
    live._credit_s, live._since = -1.0, time.monotonic()
    live.update()
    assert live.stale == ["rows"] and live.native.about("rows")["objects"] <= 600_001
    whole = live.native.about("rows")["objects"]
    live._credit_s = 20.0
    live.update()
    assert live.stale == [] and live.walked == 1 and live.native.about("rows")["objects"] == whole + 1


def test_a_small_variable_does_not_wait_for_a_large_one(space):
    space["rows"], space["small"] = [[i] for i in range(300_000)], [1000]
    live = _live.LiveTrace()
    live.update()
    before = live.native.about("small")["objects"]
    live._mend_s["small"] = 1e-5  # however long the machine took over it
    live._credit_s, live._since = -1.0, time.monotonic()
    space["small"].append([])
    live.update()
    assert live.stale == ["rows"] and live.native.about("small")["objects"] == before + 1


def test_a_long_walk_goes_on_over_cells_and_the_old_record_stays_while_it_says_more(space):
    space["rows"] = [[i] for i in range(400_000)]
    live = _live.LiveTrace()
    live.update()
    whole = live.native.about("rows")["objects"]
    space["rows"] = [[i, object()] for i in range(300_000)]
    live._credit_s, went_on = 0.0, 0
    for cell in range(400):
        live._since = time.monotonic() - 0.6  # cells of so many seconds: 40 ms for 900,000 objects
        live.update()
        if not live.stale:
            break
        assert live.native.about("rows")["objects"] >= whole, "the old record stays while it says more"
        went_on += live.native.goes_on("rows")
        space["rows"][cell * 7].append(object())  # and what was walked already changes
    assert went_on > 1 and live.stale == [], "over several cells"
    fresh = _live.LiveTrace()
    fresh.update()
    assert live.native.about("rows")["objects"] == fresh.native.about("rows")["objects"]
    assert live.native.ranges("rows", False) == fresh.native.ranges("rows", False)


def test_stop_frees_what_was_known(space):
    space["items"] = [Item() for _ in range(200_000)]
    heat.start()
    work(space["items"], 0.1)
    heat._after(None, None)
    live = heat.live()
    held = live.native.memory_bytes()
    assert held > 200_000 * 16
    del live
    before = sum(type(thing).__name__ in ("TierTrace", "LiveTrace", "_Sampling") for thing in gc.get_objects())
    heat.stop()
    gc.collect()
    after = sum(type(thing).__name__ in ("LiveTrace", "_Sampling") for thing in gc.get_objects())
    assert before > 0 and after == 0
    with pytest.raises(NameError, match="items"):
        heat.objects("items")


def test_probes_survive_generators_threads_and_deep_calls(space):
    space["items"] = [Item() for _ in range(1000)]

    def generate(depth):
        for item in space["items"]:
            yield item
            if depth:
                yield from generate(0)
                depth = 0

    def deep(n):
        return deep(n - 1) if n else [item.n for item in generate(1)]

    for seconds in (1.5, 6, 25):
        heat.start(interval_ms=0.05, cpu_max=0.9)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            threads = [threading.Thread(target=deep, args=(300,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            space["items"] = [Item() for _ in range(1000)]
        heat._after(None, None)
        if heat.said().frame_looks > 0:
            break
    assert heat.said().frame_looks > 0
