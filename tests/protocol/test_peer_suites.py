"""The process-level tests of ipykernel and the suite of nbclient, unchanged, with larder as their ``python3`` kernel.

Both come as source packages from PyPI into a cache folder (``LARDER_TEST_CACHE``, default ``.cache`` of the user). They
run in a process of their own, with their own pytest plugins beside ours. What is left out is named below, with why.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("LARDER_TEST_CACHE", Path.home() / ".cache" / "larder-tests"))

# Not the kernel's: test helpers that the suites import.
PLUGINS = ["pytest-asyncio", "pytest-cov", "trio", "flaky", "testpath", "xmltodict", "ipywidgets"]

LEFT_OUT = {
    "ipykernel": {
        "test_kernel.py::test_print_to_correct_cell_from_thread[none]": (
            "states that a thread's output follows whichever cell runs; larder keeps it in the cell that started it"
        ),
        "test_kernel.py::test_print_to_correct_cell_from_thread[thread-local]": (
            "states the same for a thread that has reset its parent; larder returns to the cell that started it"
        ),
        "test_kernel.py::test_parent_header_and_ident": (
            "reads the last control request from Python; larder answers kernel_info on control without Python"
        ),
        "test_message_spec.py::test_kernel_info_request": (
            "wants implementation_version >= 2.1, IPython's; larder says its own version"
        ),
    },
    "nbclient": {
        "test_cli.py::test_cli_simple": "starts `jupyter` by name from PATH, which a test environment need not have",
    },
}


def source(name: str) -> Path:
    """The unpacked source package of the installed version of ``name``."""
    wanted = f"{name}-{version(name)}"
    folder = CACHE / wanted
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name, "-d", str(CACHE)]
        subprocess.run([*command, f"{name}=={version(name)}"], check=True)
        with tarfile.open(CACHE / f"{wanted}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
    return folder


def plugins() -> Path:
    """A folder with what the suites import besides what is installed here."""
    folder = CACHE / f"plugins-{sys.version_info[0]}.{sys.version_info[1]}"
    if not (folder / "done").exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), *PLUGINS]
        subprocess.run(command, check=True)
        (folder / "done").touch()
    return folder


def run(name: str, files: list[str], tmp_path: Path) -> tuple[dict[str, str], str]:
    """Outcome of every test by its id, and the whole output."""
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "larder", "-f", "{connection_file}"]
    spec.joinpath("kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "larder", "language": "python", "metadata": {"debugger": True}})
    )
    ini = tmp_path / "pytest.ini"
    ini.write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    folder = source(name)
    # Ours first: the plugins' folder also holds copies of packages that are installed here.
    site = next(path for path in sys.path if path.endswith("site-packages"))
    env = dict(
        os.environ,
        JUPYTER_PATH=str(tmp_path / "jupyter"),
        LARDER_HOME=str(tmp_path / "home"),
        IPYTHONDIR=str(tmp_path / "ipython"),
        PYTHONPATH=os.pathsep.join([site, str(plugins())]),
        COLUMNS="200",
    )
    command = [sys.executable, "-m", "pytest", "-c", str(ini), "--rootdir", str(folder), "-p", "no:cacheprovider"]
    command += ["-v", "--color=no", "--tb=short", "--timeout=60"]
    command += [f"--deselect=tests/{one}" for one in LEFT_OUT[name]]
    done = subprocess.run(
        [*command, *(f"tests/{file}" for file in files)], cwd=folder, env=env, capture_output=True, text=True
    )
    found = re.findall(r"^(tests/\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)", done.stdout, re.M)
    return dict(found), done.stdout + done.stderr


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "files", "tests_min"),
    [
        ("ipykernel", ["test_async.py", "test_kernel.py", "test_message_spec.py"], 50),
        ("ipykernel", ["test_subshells.py", "test_debugger.py"], 30),
        ("nbclient", ["test_cli.py", "test_client.py", "test_util.py"], 100),
    ],
)
def test_the_suite_passes_unchanged(name, files, tests_min, tmp_path):
    outcomes, output = run(name, files, tmp_path)
    for test, why in LEFT_OUT[name].items():
        print(f"left out: {name} {test}: {why}")
    failed = [test for test, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")]
    assert failed == [], output[-6000:]
    passed = sum(outcome == "PASSED" for outcome in outcomes.values())
    assert passed >= tests_min, output[-3000:]
