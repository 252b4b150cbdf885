"""Heat: what a run used is hotter than what it did not, safely and only while something runs."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import larder
from larder import _larder, heat, hooks, tier


def sampler_threads() -> int:
    import pathlib

    names = [(task / "comm").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir()]
    return names.count("larder-heat")


def comes_to(count: int) -> bool:
    """Whether that many sampler threads run, soon: a thread takes its name a moment after its start."""
    import time

    end = time.monotonic() + 30
    while sampler_threads() != count and time.monotonic() < end:
        time.sleep(0.005)
    return sampler_threads() == count


def spin(array, seconds=0.6):
    import time

    end = time.monotonic() + seconds
    array += 1
    while time.monotonic() < end:
        array += 1


LONGER = (0.3, 1.0, 4.0, 15.0)
"""Seconds of work, one after the other until the sampler has seen it: a busy machine may not let its thread run at once."""


def rows_of():
    return {row["name"]: row for row in heat.table()}


def test_the_used_array_is_hot_and_the_idle_one_is_not(space):
    space["hot"], space["cold"] = np.ones(1 << 20), np.ones(1 << 20)
    for seconds in LONGER:
        heat.start()
        spin(space["hot"], seconds)
        heat._after(None, None)
        rows = rows_of()
        if rows["hot"]["heat"]:
            break
    assert rows["hot"]["heat"] > 0 and rows["hot"]["last"] is not None
    assert rows["cold"]["heat"] == 0 and rows["cold"]["last"] is None
    assert rows["hot"]["conf"] != "?"
    shown = {row["name"]: row for row in tier.table(variables=space)}
    assert shown["hot"]["heat"] == pytest.approx(rows["hot"]["heat"])


def test_what_is_done_with_a_variable_after_the_cell_is_none_of_its_use(space):
    """A session is saved in a hook after the cell, which reads every variable."""
    space["hot"], space["cold"] = np.ones(1 << 20), np.ones(1 << 20)

    def save(_ip, _result):
        spin(space["cold"], 0.3)

    hooks.AFTER.append(save)
    try:
        for seconds in LONGER:
            heat.deferred = False
            heat.start(epoch_ms=20)
            spin(space["hot"], seconds)
            hooks._run(hooks.AFTER, None, None)
            hooks._run(hooks.BEFORE, None, None)
            spin(space["hot"], seconds)
            heat.deferred = True  # as while variables move by themselves
            hooks._run(hooks.AFTER, None, None)
            heat.finish()
            rows = rows_of()
            assert not rows["cold"]["heat"] and rows["cold"]["last"] is None
            if rows["hot"]["heat"]:
                break
    finally:
        heat.deferred = False
        hooks.AFTER.remove(save)
    assert rows["hot"]["heat"] > 0


def test_looking_where_variables_are_is_not_using_them(space):
    space["hot"], space["cold"] = np.ones(1 << 20), [[i] for i in range(50_000)]
    for seconds in LONGER:
        heat.start(interval_ms=0.1, cpu_max=0.9)
        spin(space["hot"], seconds)
        for _ in range(5):
            tier.table(variables=space)
            tier.why("cold")
        spin(space["hot"], seconds)
        heat._after(None, None)
        rows = rows_of()
        assert not rows["cold"]["heat"] and rows["cold"]["last"] is None
        if rows["hot"]["heat"]:
            break
    assert rows["hot"]["heat"] > 0


def test_a_watched_array_may_go_while_its_bits_are_counted(space):
    space.update(x=np.ones(4 << 20), y=np.ones(4 << 20))
    heat.start(epoch_ms=20)
    with heat.Touched() as touched:
        spin(space["y"], 0.1)
        del space["x"]
    heat._after(None, None)
    table = touched.table()
    assert "deleted: x" in table.footer
    assert [row["name"] for row in table] == ["y"]
    with pytest.raises(OSError, match="memory"):
        _larder.tier_advise(4096, 8192, "split")


def test_the_map_finds_the_part_that_is_used(space):
    space["x"] = x = np.ones(24 << 20, dtype=np.float32)  # 96 MiB
    for seconds in LONGER:
        heat.start(epoch_ms=50)
        spin(x[: 2 << 20], seconds)  # its first 8 MiB
        heat._after(None, None)
        chunks = [row["heat"] for row in heat.map("x")]
        if any(chunks):
            break
    assert len(chunks) >= 3
    assert chunks[0] > 0.1 and max(chunks[1:]) < chunks[0] / 4
    assert heat.map("x")._repr_svg_().count("<rect") == heat.map("x")._repr_html_().count("<td") == len(chunks)


def test_nothing_runs_between_cells_and_stop_forgets(space):
    space["x"] = np.ones(1 << 20)
    heat.start()
    assert comes_to(1)
    heat._after(None, None)
    assert comes_to(0)
    heat._before(None, None)
    assert comes_to(1)
    heat.stop()
    assert comes_to(0) and not heat.active()
    assert heat._before not in hooks.BEFORE and heat._after not in hooks.AFTER
    assert heat.table() == []
    with pytest.raises(NameError, match="x"):
        heat.map("x")


def test_objects_freed_and_replaced_under_the_sampler_are_survived(space):
    space.update({f"v{i}": [bytearray(3000) for _ in range(50)] for i in range(200)})
    done = threading.Event()

    def churn():
        while not done.is_set():
            for i in range(200):
                space[f"v{i}"] = [bytearray(3000) for _ in range(50)]

    for seconds in LONGER[1:]:
        heat.start(interval_ms=0.05, epoch_ms=5, cpu_max=1.0)
        done.clear()
        thread = threading.Thread(target=churn)
        thread.start()
        spin(np.ones(1000), seconds)
        done.set()
        thread.join()
        heat._after(None, None)
        found = any(row["heat"] for row in heat.table())
        if found:
            break
    assert found


def test_a_sampler_reads_unmapped_addresses_without_harm():
    import mmap

    memory = mmap.mmap(-1, 1 << 16)
    address, _ = _larder.tier_buffer(memory)
    memory.close()
    for seconds in LONGER:
        sampler = _larder.TierSampler([address, 8, 2**63], [(4096, 8192)], 0.001, 0.01, 0.5)
        spin(np.ones(10), seconds)
        seen = sampler.stop()
        if seen["bursts"]:
            break
    assert seen["touches"][1:] == [0, 0] and seen["looks"][1:] == [0, 0]
    assert seen["bursts"] > 0 and seen["begun"][1:] == [0, 0]


def test_containers_lend_their_objects_what_single_counts_miss():
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(200), 500)
    hot = group < 20
    touches = rng.poisson(np.where(hot, 0.3, 0.01))
    score = np.array(_larder.tier_shrink(touches.tolist(), group.tolist()))
    top = np.argsort(-score, kind="stable")[: hot.sum()]
    assert hot[top].mean() >= 0.7


def test_the_magic_turns_it_on_shows_it_and_turns_it_off(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    ip = InteractiveShell.instance()
    larder.load_ipython_extension(ip)
    try:
        ip.run_cell("import numpy as np\nx = np.ones(1 << 20)")
        ip.run_cell("%tier heat on")
        for _ in LONGER:
            ip.run_cell("for _ in range(300): x += 1")
            rows = {row["name"]: row for row in ip.run_line_magic("tier", "heat")}
            if rows["x"]["heat"]:
                break
        assert rows["x"]["heat"] > 0
        assert "sampler" in ip.run_line_magic("tier", "").footer
        assert ip.run_line_magic("tier", "heat off")[0]["name"] == "x"
    finally:
        heat.stop()
        larder.magics.unload_ipython_extension(ip)
        ip.history_manager.end_session()
        InteractiveShell.clear_instance()


def test_a_cell_that_is_asked_what_it_touched_while_heat_is_sampled_tells_all_of_it(space):
    """The sampler clears accessed bits, too."""
    space["used"], space["idle"] = np.ones(4 << 20), np.ones(4 << 20)
    heat.start(epoch_ms=1, cpu_max=0.9)
    try:
        spin(space["idle"], 0.1)
        with heat.Touched() as touched:
            space["used"].sum()
            spin(np.ones(1000), 0.5)
        [row] = touched.table()
        assert row["name"] == "used" and row["accessed"] >= 0.99 * space["used"].nbytes
        spin(space["used"], 0.2)
        heat._after(None, None)
        assert comes_to(0)
        assert {"used", "idle"} <= {row["name"] for row in heat.table()}
    finally:
        heat.stop()
