"""Odd names, many of them, and verbs in odd orders: nothing is lost, and what is said can be read."""

import pytest
from kernelfixtures import kernel, kill, text

LONG = "a" * 50_000


@pytest.mark.timeout(120)
def test_names_of_any_length_and_alphabet_and_thousands_of_them_come_back(tmp_path):
    session = "l" * 300 + "/ünï 🎉.ipynb"
    with kernel(tmp_path, JPY_SESSION_NAME=session) as k:
        k.ok(f"{LONG} = [1]; {LONG[:5000]}b = {LONG}; ž = 变量 = {LONG}; spaces = globals()")
        k.ok("spaces['a b'] = 3; spaces['\\udcff'] = 4; spaces['nul\\0'] = 5; del spaces")
        k.ok(f"{LONG}2 = [__import__('threading').Lock()]")
        k.ok("for i in range(3000): globals()[f'v{i}'] = [i]")
        k.ok("v7.append(ž)")
        kill(k)
    with kernel(tmp_path, JPY_SESSION_NAME=session) as k:
        shown = k.text(f"print(ž, {LONG[:5000]}b is ž is 变量 is v7[1], globals()['a b'], globals()['\\udcff'], v2999)")
        assert shown.endswith("\n[1] True 3 4 [2999]\n")
        told = shown.splitlines()
        assert told[0].startswith("larder: back from cell [5]") and "2,807 more (see %shelf status)" in told[0]
        assert told[1].startswith("larder: not back: aaa") and all(len(line) < 10_000 for line in told)


@pytest.mark.parametrize("saver", ["", "always"])
def test_undo_of_cells_that_were_not_saved_goes_to_the_last_state_there_is(tmp_path, saver):
    with kernel(tmp_path, JPY_SESSION_NAME="off.ipynb", LARDER_SAVER=saver) as k:
        for code in ("x = 1", "x = 2", "%shelf autosave off", "x = 3", "x = 4"):
            k.ok(code)
        assert "the cells after [2] were not saved (%shelf autosave off)" in k.text("%shelf undo\nprint(x)")
        assert k.text("print(x)") == "2\n"
        assert k.text("%shelf undo\nprint(x)").endswith("\n1\n"), "again goes further back"
        reply, messages = k.run("%shelf undo")
        assert reply["status"] == "error" and "goes no further back" in text(messages, "stderr")
        k.ok("%shelf autosave on")
        k.ok("x = 9")
        assert k.text("%shelf undo\nprint(x)").endswith("\n1\n")
        assert "one whole number" in text(k.run("%shelf undo -1")[1], "stderr")
