"""The live trace kept between cells, and the frame probe: what is unchanged is not walked, what is used is found."""

from __future__ import annotations

import gc
import random
import threading
import time

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
    heat.start(cpu_max=0.2)
    work(hot, 1.5)
    heat._after(None, None)
    found = heat.objects("items")
    assert len(found) >= len(items)
    warm = np.mean([found[id(item)] for item in hot])
    cold = np.mean([found[id(item)] for item in items[100:]])
    assert warm > 20 * max(cold, 1e-9)
    row = next(row for row in heat.table() if row["name"] == "items")
    assert row["heat"] > 0.1 and "frames" in row["seen by"]


def test_unchanged_variables_are_compared_and_changed_ones_walked_again(space):
    space["rows"] = [{"a": [i], "b": str(i)} for i in range(5000)]
    space["x"] = np.ones(1 << 16)
    space["held"] = {"deep": [np.ones(1 << 18)]}
    space["names"] = np.array(["a" * 50 + str(i) for i in range(100)], dtype=object)
    live = _live.LiveTrace()
    live.update()
    assert (live.walked, live.compared) == (4, 0)
    live.update()
    assert (live.walked, live.compared) == (5, 3), "only the object array, whose changes do not show, is walked again"
    changes = [
        lambda: space["rows"][77]["a"].append(object()),
        lambda: space["rows"][78].__setitem__("c", object()),
        lambda: space["rows"].pop(),
        lambda: space.__setitem__("x", np.ones(1 << 17)),
        lambda: space["x"].resize(1 << 18, refcheck=False),
        lambda: space["held"]["deep"][0].resize((1 << 18) - 7, refcheck=False),
    ]
    for change in changes:
        before = live.walked
        change()
        live.update()
        assert live.walked == before + 2
    assert sum(end - start for start, end in live.native.ranges("x", True)) == 8 << 18
    assert sum(end - start for start, end in live.native.ranges("held", True)) == 8 * ((1 << 18) - 7)
    del space["rows"]
    live.update()
    assert sorted(live.names()) == ["held", "names", "x"]


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
    live._credit_s = 2.0
    live._cost_s.clear()
    live.update()
    assert live.stale == []


def test_a_walk_that_was_cut_short_does_not_replace_a_whole_one_and_is_saved_up_for(space):
    space["rows"] = [[i] for i in range(300_000)]
    live = _live.LiveTrace()
    live.update()
    whole = live.native.about("rows")["objects"]
    space["rows"].append([0])
    live._credit_s, live._since = 0.0, time.monotonic()
    live._cost_s.clear()
    live.update()
    assert live.stale == ["rows"], "ten milliseconds do not do for 600,000 objects"
    assert live.native.about("rows")["objects"] == whole and not live.native.about("rows")["cut"]
    for _ in range(100):
        live._since -= 1.0  # a second in which cells ran
        live.update()
        if not live.stale:
            break
    assert live.stale == [] and live.native.about("rows")["objects"] >= whole + 1


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

    heat.start(interval_ms=0.05, cpu_max=0.9)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        threads = [threading.Thread(target=deep, args=(300,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        space["items"] = [Item() for _ in range(1000)]
    heat._after(None, None)
    assert heat.said().frame_looks > 0
