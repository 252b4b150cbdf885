"""`%tier` against the raw interfaces: every page of the table's answer is compared with /proc and mincore."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

import numpy as np
import pytest

import larder
from larder import _larder, tier

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)


def raw_pagemap(start: int, pages: int) -> list[int]:
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(start // PAGE * 8)
        return list(struct.unpack(f"{pages}Q", file.read(pages * 8)))


def raw_node(page: int) -> int:
    where, status = (ctypes.c_void_p * 1)(page), (ctypes.c_int * 1)()
    assert LIBC.syscall(279, 0, ctypes.c_ulong(1), where, None, status, 0) == 0
    return status[0]


def per_page(start: int, pages: int, **kwargs) -> list[str]:
    places: list[str] = []
    at = start
    for low, high, place in _larder.tier_pages(start, pages * PAGE, **kwargs):
        assert low == at, "runs cover the range without a gap"
        places += [place] * ((high - low) // PAGE)
        at = high
    assert len(places) == pages
    return places


@pytest.mark.parametrize("plain", [False, True])
def test_anonymous_pages_equal_pagemap_and_move_pages_page_for_page(plain):
    pages = 1500
    memory = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    rng = np.random.default_rng(5)
    for page in rng.choice(pages, 400, replace=False):
        memory[int(page) * PAGE] = 1
    for page in rng.choice(pages, 200, replace=False):
        memory[int(page) * PAGE]  # may map the zero page
    start, size = _larder.tier_buffer(memory)
    assert size == pages * PAGE
    found = per_page(start, pages, plain=plain)
    for index, word in enumerate(raw_pagemap(start, pages)):
        present, swapped = word >> 63 & 1, word >> 62 & 1
        node = raw_node(start + index * PAGE)
        expected = "swap" if swapped else f"node{node}" if present and node >= 0 else "untouched"
        assert found[index] == expected, f"page {index}: pagemap {word:#x}, move_pages {node}"
    assert {"node0", "untouched"} <= set(found)


def test_file_pages_equal_mincore_page_for_page(tmp_path):
    pages = 256
    path = tmp_path / "data"
    path.write_bytes(os.urandom(pages * PAGE))
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    array = np.memmap(path, dtype=np.uint8, mode="r")
    array[3 * PAGE], array[100 * PAGE]
    start = array.ctypes.data
    vector = (ctypes.c_ubyte * pages)()
    found = per_page(start, pages)
    assert LIBC.mincore(ctypes.c_void_p(start), ctypes.c_size_t(pages * PAGE), vector) == 0
    os.close(fd)
    assert [place == "cache" for place in found] == [bool(byte & 1) for byte in vector]
    assert set(found) <= {"cache", "disk"}
    assert found[3] == "cache"


def test_freed_memory_is_said_to_be_unmapped():
    memory = mmap.mmap(-1, 64 * PAGE)
    start, _ = _larder.tier_buffer(memory)
    memory.close()
    places = {place for _, _, place in _larder.tier_pages(start, PAGE)}
    assert places <= {"unmapped", "untouched", "node0", "cache", "disk"}  # another mapping may have taken the address


def row_of(rows, name):
    return next(row for row in rows if row["name"] == name)


def test_a_view_is_counted_once_and_said():
    base = np.ones(1 << 20, dtype=np.uint8)
    rows = tier.table(variables={"base": base, "view": base[10:]})
    assert row_of(rows, "base")["bytes"] >= base.nbytes
    assert row_of(rows, "view")["bytes"] < 1000
    assert "base" in row_of(rows, "view")["why"]


def test_bytes_of_a_row_add_up_over_its_places():
    values = {"a": np.ones(1 << 18), "b": [str(i) for i in range(5000)], "z": np.zeros(8 << 20)}
    rows = tier.table(variables=values, exact=True)
    for row in rows:
        assert sum(row.get(key) or 0 for key in rows.columns[3:-2]) == row["bytes"]
    assert row_of(rows, "z")["untouched"] > 60 << 20


def test_containers_object_arrays_and_instances_are_followed():
    class Node:
        pass

    node = Node()
    node.data, node.me = np.ones(1 << 18), node
    strings = np.array(["x" * 1000 + str(i) for i in range(200)], dtype=object)
    nested = {"k": [bytes(1 << 20), (bytearray(1 << 19),)]}
    rows = tier.table(variables={"node": node, "strings": strings, "nested": nested})
    assert row_of(rows, "node")["bytes"] >= 1 << 21
    assert row_of(rows, "strings")["bytes"] >= 200_000
    assert row_of(rows, "nested")["bytes"] >= (1 << 20) + (1 << 19)


def test_frames_of_pandas_arrow_and_polars_show_their_buffers():
    pandas, arrow, polars = (pytest.importorskip(name) for name in ("pandas", "pyarrow", "polars"))
    numbers = np.arange(100_000)
    values = {
        "pd": pandas.DataFrame({"a": numbers * 1.5}),
        "pa": arrow.table({"a": arrow.array(numbers * 2)}),
        "pl": polars.DataFrame({"a": polars.Series(numbers * 3)}),
    }
    rows = tier.table(variables=values)
    for name in values:
        assert 800_000 <= row_of(rows, name)["bytes"] < 900_000, name


def test_text_lists_and_pieces_of_arrow_and_polars_are_counted_and_nothing_that_is_not_there():
    pandas, arrow, polars = (pytest.importorskip(name) for name in ("pandas", "pyarrow", "polars"))
    count = 50_000
    text = [f"a long text number {at:09d} with more" for at in range(count)]
    values = {
        "pl_text": polars.DataFrame({"s": text}),
        "pl_list": polars.Series("l", [[1, 2, 3]] * count),
        "pa_table": arrow.table({"a": np.arange(count), "s": text}),
        "pa_chunks": arrow.chunked_array([np.arange(count), np.arange(count)]),
        "pa_buffer": arrow.py_buffer(bytes(1 << 20)),
        "pd_text": pandas.DataFrame({"s": text}),
    }
    least = {
        "pl_text": values["pl_text"].estimated_size(),
        "pl_list": values["pl_list"].estimated_size(),
        "pa_table": values["pa_table"].nbytes,
        "pa_chunks": values["pa_chunks"].nbytes,
        "pa_buffer": 1 << 20,
        "pd_text": int(values["pd_text"].memory_usage(deep=True).sum()),
    }
    if hasattr(np.dtypes, "StringDType"):
        values["np_text"] = np.array(["abc"] * count, dtype=np.dtypes.StringDType())
        least["np_text"] = values["np_text"].nbytes
    rows = tier.table(variables=values, exact=True)
    assert "unmapped" not in rows.columns, "no address of anything that is gone"
    for name, size in least.items():
        assert size <= row_of(rows, name)["bytes"] <= 2 * size + 100_000, name


TORCH = """
import time, torch
from larder import heat, tier
space = {"t": torch.ones(1 << 20), "net": torch.nn.Linear(1000, 1000)}
space["v"] = space["t"][10:]
space["sparse"] = torch.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2))
space["meta"] = torch.ones(5).to("meta")
tier.namespace = lambda: space
rows = {row["name"]: row for row in tier.table()}
assert 4 << 20 <= rows["t"]["bytes"] < 5 << 20 and rows["v"]["bytes"] < 1000 and "counted in t" in rows["v"]["why"]
assert 4_000_000 <= rows["net"]["bytes"] < 4_100_000 and 40 <= rows["sparse"]["bytes"] < 2000
for seconds in (0.5, 2, 8, 30):  # the sampler's thread may not get a core at once
    heat.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        space["t"].mul_(1.0001)
    heat._after(None, None)
    found = next(row for row in heat.table() if row["name"] == "t")["heat"]
    if found:
        break
assert found > 0
heat.stop()
"""


@pytest.mark.timeout(700)
def test_tensors_show_their_storage(tmp_path):
    import subprocess
    from pathlib import Path

    root = Path(__file__).parents[2]
    found = subprocess.run([root / "scripts" / "ensure-torch.sh"], capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    (tmp_path / "larder").symlink_to(Path(larder.__file__).parent)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [found.stdout.split()[-1], "-c", TORCH], capture_output=True, text=True, env=env, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_large_sets_are_counted_with_their_tables_and_nothing_behind_their_bodies():
    import sys

    value = {f"{at:06d}" for at in range(100_000)}
    survey = tier.Survey({"value": value})
    expected = sys.getsizeof(value) + sum(map(sys.getsizeof, value))
    assert abs(survey.row("value")["bytes"] - expected) <= expected // 50
    body = next((start, end) for start, end in survey.ranges("value") if start <= id(value) < end)
    assert body[1] - id(value) < 1 << 20, "the table is elsewhere"


def test_sizes_of_plain_containers_agree_with_getsizeof():
    import sys

    value = [i * 1000 + 257 for i in range(2000)]
    expected = sys.getsizeof(value) + sum((sys.getsizeof(item) + 7) & ~7 for item in value)
    counted = tier.table(variables={"value": value})[0]["bytes"]
    assert abs(counted - expected) <= 64 + expected // 50


def test_an_unknown_name_is_an_error_that_names_it():
    with pytest.raises(NameError, match="nope"):
        tier.table(["nope"], variables={"a": 1})


@pytest.fixture
def ip():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    larder.load_ipython_extension(shell)
    yield shell
    larder.magics.unload_ipython_extension(shell)
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


def test_the_magic_shows_runs_and_answers(ip, capsys):
    ip.run_cell("import numpy as np\nbig = np.ones(1 << 20)\nidle = np.ones(1 << 20)")
    rows = ip.run_line_magic("tier", "")
    assert {"big", "idle"} <= {row["name"] for row in rows}
    assert "PAGEMAP" in rows.footer or "pagemap" in rows.footer
    touched = ip.run_cell_magic("tier", "", "big += 1\nmade = 5 * big")
    happened = {row["name"]: row["happened"] for row in touched}
    assert happened["big"] == "accessed" and happened["made"] == "made" and "idle" not in happened
    capsys.readouterr()
    ip.run_line_magic("tier", "why big")
    assert "big (ndarray float64, 8.0M)" in capsys.readouterr().out
    ip.run_line_magic("tier", "--help")
    assert "%tier why NAME" in capsys.readouterr().out
    with pytest.raises(Exception, match="nope"):
        ip.run_line_magic("tier", "nope")
    with pytest.raises(ZeroDivisionError):
        ip.run_cell_magic("tier", "", "1 / 0")
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        offered = {match.text for match in ip.Completer.completions("%tier ", 6)}
    assert {"why", "big"} <= offered


def test_what_variables_take_adds_up_to_what_the_process_has():
    tier.process(tier.Survey({"warm": [[i] for i in range(1000)]}))
    before = tier.process(tier.Survey({}))
    values = {"a": np.ones(16 << 20), "rows": [[i] for i in range(300_000)], "z": np.zeros(8 << 20)}
    survey = tier.Survey(values, exact=True)
    sums = tier.process(survey)
    assert sums["variables"] + sums["files"] + sums["rest"] == sums["resident"]
    assert sums["variables"] >= 128 << 20
    # The rest is what was there before, and what the survey itself and free lists take.
    added = sums["resident"] - before["resident"]
    assert 0 <= sums["rest"] <= before["rest"] + added // 4
    assert "resident" in tier.table(variables=values).footer


def test_the_methods_in_use_are_said():
    said = tier.methods()
    assert "DRAM" in said and ("PAGEMAP_SCAN" in said or "pagemap" in said)
    assert "frames by process_vm_readv" in said or "no frames" in said


def test_a_table_of_many_variables_shows_the_largest_and_counts_the_others():
    names = {f"v{i}": [float(k) for k in range(i)] for i in range(60)} | {"数据": bytes(5000)}
    names["odd"] = type("A" * 150, (), {})()
    rows = tier.table(variables=names)
    assert len(rows) == 62
    lines = repr(rows).splitlines()
    assert len(lines) == 1 + tier.ROWS_SHOWN + 2
    assert lines[-2].startswith("and 22 more rows, ") and lines[-2] in rows._repr_html_()
    assert rows._repr_html_().count("<tr>") == 1 + tier.ROWS_SHOWN
    assert row_of(rows, "odd")["kind"] == "A" * 39 + "…"
    wide = next(line for line in lines if line.startswith("数据"))
    assert len(wide[: wide.index("bytes")]) + 2 == lines[0].index("kind"), "letters of two columns count as two"
