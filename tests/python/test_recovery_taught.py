"""Notebooks as courses have them come back equal, or it is said which part of a variable cannot."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from taughtnotebooks import NOTEBOOKS


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """What both processes saw: one runs all notebooks and ends without a shutdown, the other recovers them."""
    home = tmp_path_factory.mktemp("taught")
    found = []
    for what in ("run", "back"):
        out = home / f"{what}.json"
        environment = dict(os.environ, LARDER_HOME=str(home), IPYTHONDIR=str(home / "ipython"), PYTHONFAULTHANDLER="1")
        environment["TMPDIR"] = str(home)  # what notebooks leave there
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("taughtnotebooks.py"), what, out],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, cwd=home,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        found.append(json.loads(out.read_text()))
    return found


def used(look: str) -> set[str]:
    return {part.id for part in ast.walk(ast.parse(look)) if isinstance(part, ast.Name)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_comes_back_equal_or_it_is_said_what_cannot(rows, name):
    live, back = (row[name] for row in rows)
    taught = NOTEBOOKS[name]
    assert not live["off"] and [why for why in live["failed"] if "division by zero" not in why] == []
    must = {variable for variable, why in taught.unsaved.items() if not why.startswith("?")}
    unsaved = live["unsaved"]
    assert must <= set(unsaved) <= set(taught.unsaved), unsaved
    for variable, why in unsaved.items():
        assert re.search(taught.unsaved[variable].removeprefix("?"), why), (variable, why)
        assert f"{variable} (" in back["told"], "the new kernel says so too"
    lost = set(live["live"]) - set(back["live"]) - set(unsaved)
    assert lost == {variable for variable in lost if f"{variable} (" in back["told"].partition("not back:")[2]}, lost
    assert lost <= LOADED_SELDOM.get(name, set()) and set(back["live"]) <= set(live["live"])
    gone = {look for look in taught.looks if used(look) & {*unsaved, *lost}}
    for when in ("before", "after"):
        for look, one, other in zip(taught.looks, live[when], back[when], strict=True):
            assert look in gone or one == other, f"{when} {look}"
            assert look in gone or not re.match(r"\w+(Error|Exception): ", one), f"{look}: {one}"
    assert any(look not in gone for look in taught.looks)


# What can be written and not be read again: the new kernel says so.
LOADED_SELDOM = {"images": {"font"}}
