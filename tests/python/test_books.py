"""What `books` finds of a notebook: nothing where nothing is, and what differs, is lost, or is not saved."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat

BOOKS = Path(__file__).with_name("books.py")
SAME = [
    "import numpy as np, pandas as pd",
    "class Told(np.ndarray): pass\na = np.arange(5.0); b = a[1:]; t = a.view(Told); t.info = 'x'",
    "df = pd.DataFrame({'a': a}); df.name = 'train'\ndf",
    "total = 0\nfor i in range(200_000):\n    total += i & 3\nprint(total, {1: 'a'})",
    "def f(x, more=[1]): return x + more[0]\nf(2)",
    "1 / 0",
    "import random; random.random()",
]
OTHER = [
    "import sys; 'larder' in sys.modules",
    "lines = (line for line in 'ab'); x = 1",
    "class Sly:\n    def __reduce__(self): return int, ()\nsly = Sly()",
]


def found(tmp_path, name, cells):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    (tmp_path / name).mkdir()
    nbformat.write(book, tmp_path / name / "book.ipynb")
    ran = subprocess.run(
        [sys.executable, str(BOOKS), str(tmp_path / name)], capture_output=True, text=True, timeout=110
    )
    (line,) = ran.stdout.splitlines()
    return json.loads(line)


def test_a_notebook_runs_as_in_ipykernel_and_comes_back(tmp_path):
    line = found(tmp_path, "same", SAME)
    assert (line["cells"], line["compared"]) == (7, 6), "one draws at random"
    for kind in ("larder", "compiling"):
        about = line[kind]
        assert about["variables"] >= 10 and about["restored"] > 0
        assert [about[what] for what in ("missing", "differs", "not saved", "wrong")] == [[], [], [], {}], kind


def test_what_differs_and_what_is_lost_are_named(tmp_path):
    line = found(tmp_path, "other", OTHER)
    assert line["compared"] == 3
    for kind in ("larder", "compiling"):
        about = line[kind]
        assert [at for at, *_ in about["differs"]] == [0]
        assert about["not saved"] == ["lines"]
        assert "sly" in about["wrong"] and "x" not in about["wrong"]
