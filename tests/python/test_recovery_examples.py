"""The examples in libraries' docstrings, and changes of what they made, come back as they were: a few of each library.

``python tests/python/docfuzz.py wide numpy`` runs all of a library's.
"""

import os

import docfuzz
import docprograms
import pytest

SEED = int(os.environ.get("LARDER_FUZZ_SEED", "0"))
LIBRARIES = ["stdlib", "numpy", "pandas", "sklearn", "networkx", "xarray", "polars", "scipy"]
EACH = int(os.environ.get("LARDER_DOC_PROGRAMS", "4"))


@pytest.mark.timeout(600)
def test_examples_of_docstrings_come_back_as_they_were(tmp_path):
    programs = {name: cells for one in LIBRARIES for name, cells in docprograms.some(one, EACH, SEED).items()}
    live, wrong, ended = docfuzz.batch(programs, SEED, tmp_path / "home")
    told = docfuzz.Told()
    told.add(live, wrong, ended)
    print(f"seed {SEED}: {told.line()}")
    assert len(live) + len(ended) == len(programs) and sum(len(row["names"]) for row in live.values()) > 2 * len(live)
    assert sum(len(row["again"]) for row in live.values()) > len(live)
    assert not [row["off"] for row in live.values() if row["off"]]
    differ = [docfuzz.report(name, SEED, *one) for name, one in wrong.items() if one[0] == "differs"]
    assert not differ, "\n\n".join(differ)
    assert not {why for why in ended.values() if why.startswith("back")}, "what comes back ends no process"


def test_what_differs_is_seen(tmp_path):
    """A variable that comes back as it was before its last change, one that does not come back, and what is printed."""
    cells = ["import numpy as np", "a = [1, np.arange(3)]; b = a[1]; c = {'k': a}", "a", "len(c)"]
    live = docfuzz._process("run", tmp_path, {"made": cells}, SEED, "random", {})["made"]
    back = docfuzz._process("back", tmp_path, {"made": cells}, SEED, "random", {})["made"]
    assert live["printed"] and len(live["changes"]) == len(live["probes"]) == docfuzz.CHANGES
    assert {"a", "b", "c"} <= set(live["before"]) and docfuzz._differences(live, back) == []
    stale = {**back, "before": {**back["before"], "a": ["list", ["1"]]}}
    assert [one[:2] for one in docfuzz._differences(live, stale)] == [("before", "a")]
    missing = {**back, "before": {name: one for name, one in back["before"].items() if name != "b"}}
    assert [one[:2] for one in docfuzz._differences(live, missing)] == [("before", "b")]
    other = {**back, "printed": [*back["printed"][:-1], "another"]}
    assert [one[0] for one in docfuzz._differences(live, other)] == ["printed"]
    assert [one[:2] for one in docfuzz._differences({**live, "lost": ["a"]}, back)] == [("lost", "a")]
