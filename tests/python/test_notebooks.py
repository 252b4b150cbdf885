"""The tutorials run from top to bottom in the real kernel, and the main job comes back from its SIGKILL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import larder.optimiser

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(300)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, monkeypatch):
    if path.stem == "05-traces" and not larder.optimiser.serves():
        pytest.skip("the notebook shows compiled loops; the optimiser does not serve this CPython")
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="larder").execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells and all(cell.execution_count for cell in cells if cell.source.strip())
    for cell in cells:
        raised = [out for out in cell.outputs if out.output_type == "error"]
        assert bool(raised) == ("raises-exception" in cell.metadata.get("tags", [])), cell.source
        said = "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stderr")
        assert "Traceback" not in said and "Warning" not in said, said
    if path.stem == "02-shelves":
        the_tour_of_shelves(cells)


def the_tour_of_shelves(cells) -> None:
    """What ``02-shelves`` shows, beside the asserts in its cells."""
    shown = {cell.source: "".join(text_of(out) for out in cell.outputs) for cell in cells}

    def after(start: str) -> str:
        return next(text for source, text in shown.items() if start in source)

    assert "which is no longer on the shelf" in after("del tour.x")
    assert "broken['models'][0].lock: _thread.lock" in after("tour.broken")
    assert "rolled back: the other side is gone" in after('tour.transaction("move 60")')
    assert after('tour.transaction("move 60")').endswith("ShelfArray([40, 60])")
    assert "RuntimeError" in after("%%shelf tour") and "not today" in after("%%shelf tour")
    assert "'changed': ['balance']" in after("tour.diff")
    assert "trust=True" in after("trust=False")
    for kind in ("ndarray float64 (9, 9)", "ndarray structured (2,)", "DataFrame", "pyarrow.lib.Table", "csr_array"):
        assert kind in after("tour.inspect()")


def text_of(output) -> str:
    """What a front end without HTML would show."""
    match output.output_type:
        case "stream":
            return output.text
        case "error":
            return f"{output.ename}: {output.evalue}"
    return output.data.get("text/plain", "")


def test_the_main_job_survives_sigkill():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "survive.py"], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout and "larder: back from cell" in done.stdout
    assert "log_file (cannot pickle" in done.stdout, "what could not be saved is named"
