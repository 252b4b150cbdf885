"""What the end of each cell compares in one call: what settings hold, and which names are variables."""

from __future__ import annotations

import decimal
import logging
import os
import sys
import types
import warnings

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from larder import surroundings
from larder._larder import Contents, Variables

STORES = {
    "a value": lambda d: d.update(a=2),
    "a new name": lambda d: d.update(z=1),
    "a name less": lambda d: d.pop("a"),
    "another order": lambda d: d.update(a=d.pop("a")),
    "another name": lambda d: d.update(z=d.pop("last")),
    "an inner value": lambda d: d["inner"].update(b=3),
    "a list's item": lambda d: d["inner"]["items"].__setitem__(1, 9),
    "a list's new item": lambda d: d["inner"]["items"].append(4),
    "a list's last item": lambda d: d["inner"]["items"].pop(),
    "a list in a list": lambda d: d["inner"]["items"][0].append(4),
    "an equal list in its place": lambda d: d["inner"].update(items=list(d["inner"]["items"])),
    "a list emptied": lambda d: d["inner"]["items"].clear(),
    "all": lambda d: d.clear(),
}


class Derived(dict):
    def __iter__(self):
        raise AssertionError("nothing of it is asked")


@pytest.mark.parametrize("kind", [dict, Derived])
@pytest.mark.parametrize("store", STORES)
def test_a_store_is_seen_once(store, kind):
    made = kind(a=1, inner={"b": 2, "items": [[], "x", object()], "empty": {}}, last="y")
    made["inner"]["items"].append(made)  # it holds itself
    objects, contents = [[], made, (made, "other")], Contents()
    assert contents.differ(objects) == [0, 1, 2]
    assert contents.differ(objects) == []
    STORES[store](made)
    assert contents.differ(objects) == [1, 2]
    assert contents.differ(objects) == []


def test_others_in_its_place_are_seen():
    contents, one = Contents(), {}
    assert contents.differ([one, (one, one), "x"]) == [0, 1, 2]
    assert contents.differ([{}, (one,), "x"]) == [0, 1]
    assert contents.differ([one, (one, one, one), "y"]) == [0, 1, 2]
    assert contents.differ([one, (one, one, one), "y", None]) == [3]


@pytest.fixture
def shell():
    InteractiveShell.clear_instance()
    ip = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield ip
    InteractiveShell.clear_instance()


def numpy_error():
    np.seterr(over="raise")


def context(name, value):
    return lambda: setattr(decimal.getcontext(), name, value)


def trap():
    decimal.getcontext().traps[decimal.Inexact] = True


CHANGES = {
    "numpy printing": lambda: np.set_printoptions(precision=3),
    "numpy formatter": lambda: np.set_printoptions(formatter={"int": hex}),
    "numpy errors": numpy_error,
    "pandas": lambda: pd.set_option("display.max_rows", 7),
    "pandas, reset": lambda: pd.reset_option("display.max_rows"),
    "decimal prec": context("prec", 7),
    "decimal rounding": context("rounding", decimal.ROUND_UP),
    "decimal Emin": context("Emin", -77),
    "decimal Emax": context("Emax", 77),
    "decimal capitals": context("capitals", 0),
    "decimal clamp": context("clamp", 1),
    "decimal trap": trap,
    "logging level": lambda: logging.getLogger().setLevel(logging.ERROR),
    "logging handler": lambda: logging.getLogger().addHandler(logging.StreamHandler(sys.stderr)),
    "logging handler's level": lambda: logging.getLogger().handlers[-1].setLevel(logging.ERROR),
    "warnings": lambda: warnings.simplefilter("ignore"),
    "magic": lambda: InteractiveShell.instance().register_magic_function(_magic, magic_name="contents_test"),
}


def _magic(line):
    return line


_magic.__module__ = "__main__"


def test_each_change_of_an_option_is_seen_and_nothing_is_read_without(shell, monkeypatch):
    before = (
        np.get_printoptions(),
        np.geterr(),
        decimal.getcontext().copy(),
        logging.root.level,
        list(logging.root.handlers),
    )
    logging.root.handlers.clear()
    try:
        with warnings.catch_warnings():
            one = surroundings.Surroundings(shell)
            options = one.options()
            for what, change in CHANGES.items():
                assert one.options() is options, what
                change()
                after = one.options()
                assert after is not options, what
                read = {name: surroundings.LIBRARIES[name] for name in one._first}
                for name, library in read.items():
                    now, first = library.read(sys.modules[library.module]), one._first[name]
                    differs = {key: value for key, value in now.items() if key not in first or value != first[key]}
                    assert after.get(name, {}) == differs, what
                options = after
            logging.root.handlers.clear()
            one.options()
            asked: list[str] = []
            monkeypatch.setattr(one, "_look_again", asked.append)
            one.options()
            old = int(np.__version__.partition(".")[0]) < 2  # keeps them elsewhere
            assert set(asked) <= {"(torch options)", "(logging options)", *(["(numpy options)"] if old else [])}
    finally:
        np.set_printoptions(**before[0])
        np.seterr(**before[1])
        decimal.setcontext(before[2])
        logging.root.setLevel(before[3])
        logging.root.handlers[:] = before[4]
        pd.reset_option("display.max_rows")


HERE = {
    "a path": lambda ip: sys.path.append("/nowhere"),
    "another path": lambda ip: sys.path.__setitem__(-1, "/elsewhere"),
    "a variable": lambda ip: os.environ.update(LARDER_TEST_HERE="1"),
    "its value": lambda ip: os.environ.update(LARDER_TEST_HERE="2"),
    "one less": lambda ip: os.environ.pop("LARDER_TEST_HERE"),
    "an extension": lambda ip: ip.extension_manager.loaded.add("larder_test_extension"),
    "a bound": lambda ip: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
    "the shell": lambda ip: setattr(ip, "ast_node_interactivity", "all"),
}


def test_each_change_of_what_is_here_is_seen(shell, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("LARDER_TEST_HERE", "0")
    limit = sys.getrecursionlimit()
    one = surroundings.Surroundings(shell)
    before = one.here()
    try:
        for what, change in HERE.items():
            assert one.here() == before, what
            change(shell)
            after = one.here()
            assert after != before, what
            assert after == surroundings.Surroundings.here(_anew(one)), what
            before = after
        assert set(before) == {"path", "environ", "extensions", "bounds", "shell"}
        assert set(one.here({"sys.path", "os.environ"})) == {"extensions", "bounds", "shell"}
    finally:
        sys.setrecursionlimit(limit)


def _anew(one: surroundings.Surroundings) -> surroundings.Surroundings:
    """The same, which has not looked yet."""
    other = object.__new__(surroundings.Surroundings)
    vars(other).update(vars(one), _contents_here=Contents(), _found={})
    return other


def test_variables_are_told_from_the_rest():
    class Text(str):
        pass

    seven, eight = 7 * 10**9, 8 * 10**9
    hides, hidden = {"get_ipython": seven, "mine": eight}, {"get_ipython", "mine", "In", "Out", "exit"}
    space: dict = {"In": [], "Out": {}, "_": 1, "get_ipython": seven, "mine": seven, "exit": 1, "x": 1, "os": os}
    space |= {
        "a\0b": 1,
        "": 2,
        "é": 3,
        "\ud800": 4,
        Text("_sub"): 5,
        Text("sub"): 6,
        7: 8,
        "lazy": types.ModuleType("m.n"),
    }
    variables, excluded = Variables(hidden), set()
    for _ in range(3):
        values, modules = variables.split(space, hides, excluded)
        assert values == {"mine": seven, "exit": 1, "x": 1, "": 2, "é": 3, "\ud800": 4, "sub": 6}
        assert modules == {"os": "os", "lazy": "m.n"}
    space["get_ipython"] = eight  # bound to something else now
    del space["mine"]  # all others move
    space["mine"] = eight
    values, modules = variables.split(space, hides, excluded)
    assert "mine" not in values and values["get_ipython"] == eight and values["x"] == 1 and len(modules) == 2
    excluded.add("x")
    space["os"] = 5
    values, modules = variables.split(space, hides, excluded)
    assert "x" not in values and values["os"] == 5 and modules == {"lazy": "m.n"}


def test_a_filter_is_the_notebooks_if_its_cell_imported_nothing_whatever_was_imported_between_cells(shell, monkeypatch):
    with warnings.catch_warnings():
        one = surroundings.Surroundings(shell)
        one.options()
        monkeypatch.setitem(sys.modules, "imported_while_saving", sys)
        one.cell_begins()
        warnings.filterwarnings("ignore", "of the notebook")
        (kept,) = one.options()["(warnings)"]["own"]
        one.cell_begins()
        monkeypatch.setitem(sys.modules, "imported_in_the_cell", sys)
        warnings.filterwarnings("ignore", "of a module")
        assert one.options()["(warnings)"]["own"] == (kept,)
        one.go_on("(warnings)", {})
        assert [str(one[1] and one[1].pattern) for one in warnings.filters[:1]] == ["of a module"]
        one.cell_begins()
        one.go_on("(warnings)", {"filters": (kept,), "own": ()})  # of another kernel's module
        assert one.options()["(warnings)"]["own"] == ()
