"""The process-level tests of ipykernel and the suite of nbclient, unchanged, with larder as their ``python3`` kernel.

Both come as source packages from PyPI into a cache folder (``LARDER_TEST_CACHE``, default ``.cache`` of the user). They
run in a process of their own, with their own pytest plugins beside ours. What is left out is named below, with why; what
a suite skips by itself must be known below too. Both are shown at the end of the run.
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
PLUGINS = ["pytest-asyncio", "pytest-cov", "flaky", "testpath", "xmltodict"]

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
    "nbclient": {},
}

# What the suites skip by themselves on Linux: the test's start, and why it is so.
SKIPPED = {
    "ipykernel": {
        "test_eventloop.py::test_cocoa_loop": "for macOS",
        "test_eventloop.py::test_qt_enable_gui[NOTSET]": "there is no PySide6 for this Python",
        "test_kernel.py::test_capture_fd": "never run upstream; here test_kernel_cells.py shows the same",
        "test_kernel.py::test_subprocess_peek_at_stream_fileno": "never run upstream; here test_kernel_cells.py shows the same",
        "test_kernel.py::test_complete": "for Windows",
        "test_kernel.py::test_unc_paths": "for Windows",
        "test_kernel.py::test_shutdown_subprocesses": "stalls on Linux, says upstream; test_kernel_life.py shows the same",
    },
    "nbclient": {},
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


def run(name: str, files: list[str], tmp_path: Path, **more: str) -> tuple[dict[str, str], str]:
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
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        PYTHONPATH=os.pathsep.join([site, str(plugins())]),
        COLUMNS="200",
        TMPDIR=str(tmp_path / "tmp"),  # what killed kernels leave there
    )
    (tmp_path / "tmp").mkdir()
    # Some tests do not run where these are set; Qt and Tk get a display only where it is given.
    for variable in ("CI", "GITHUB_ACTIONS", "DISPLAY", "WAYLAND_DISPLAY"):
        env.pop(variable, None)
    env.update(more)
    command = [sys.executable, "-m", "pytest", "-c", str(ini), "--rootdir", str(folder), "-p", "no:cacheprovider"]
    command += ["-v", "-rs", "--color=no", "--tb=short", "--timeout=60"]
    command += [f"--deselect=tests/{one}" for one in LEFT_OUT[name]]
    done = subprocess.run(
        [*command, *(f"tests/{file}" for file in files)], cwd=folder, env=env, capture_output=True, text=True
    )
    found = re.findall(r"^(tests/\S.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)", done.stdout, re.M)
    return dict(found), done.stdout + done.stderr


def check(name: str, files: list[str], tests_min: int, tmp_path: Path, say, **env: str) -> None:
    outcomes, output = run(name, files, tmp_path, **env)
    for test, why in LEFT_OUT[name].items():
        if test.partition("::")[0] in files:
            say(f"{name} {test}: left out: {why}")
    skipped = [test.removeprefix("tests/") for test, outcome in outcomes.items() if outcome == "SKIPPED"]
    for test in skipped:
        why = next((why for start, why in SKIPPED[name].items() if test.startswith(start)), None)
        assert why is not None, f"{test} was skipped, and nobody knows why:\n{output[-3000:]}"
        say(f"{name} {test}: skips itself: {why}")
    failed = [test for test, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")]
    assert failed == [], output[-6000:]
    passed = sum(outcome == "PASSED" for outcome in outcomes.values())
    assert passed >= tests_min, output[-3000:]
    say(f"{name} {' '.join(files)}: {passed} passed")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "files", "tests_min"),
    [
        ("ipykernel", ["test_async.py", "test_kernel.py", "test_message_spec.py"], 50),
        ("ipykernel", ["test_subshells.py", "test_debugger.py"], 30),
        ("nbclient", ["test_cli.py", "test_client.py", "test_util.py"], 100),
    ],
)
def test_the_suite_passes_unchanged(name, files, tests_min, tmp_path, say_not_run):
    check(name, files, tests_min, tmp_path, say_not_run)


@pytest.mark.timeout(300)
def test_the_suite_of_event_loops_passes_unchanged(tmp_path, say_not_run):
    # Its Tk test waits for ever where there is a display; its Qt test needs none.
    check("ipykernel", ["test_eventloop.py"], 3, tmp_path, say_not_run, QT_QPA_PLATFORM="offscreen")


@pytest.mark.timeout(300)
def test_the_suite_of_matplotlib_with_windows_passes_unchanged(tmp_path, say_not_run, display):
    check("ipykernel", ["test_matplotlib_eventloops.py"], 1, tmp_path, say_not_run, DISPLAY=display)
