"""Every test has a larder home of its own and leaves no shelf open."""

import gc
import os
import shutil
import subprocess

import pytest


@pytest.fixture(scope="session", autouse=True)
def folders_of_the_user(tmp_path_factory):
    """What programs keep in the user's folders goes with the tests; their kernels have none of the user's settings."""
    home = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LARDER_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
            patch.setenv(name, str(home / name.lower()))
        yield


@pytest.fixture(autouse=True)
def larder_home(tmp_path, monkeypatch):
    """A home for shelves that dies with the test."""
    monkeypatch.setenv("LARDER_HOME", str(tmp_path / "larder"))
    yield tmp_path / "larder"
    import larder

    for shelf in larder.shelves():
        shelf.close()
    gc.collect()


@pytest.fixture(scope="session")
def display():
    """The name of a display for the length of the tests; its screen is memory (Xvfb)."""
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        pytest.fail("Xvfb is missing: run scripts/ensure-display.sh")
    reading, writing = os.pipe()
    command = [xvfb, "-displayfd", str(writing), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as answer:
        number = answer.readline().strip()
    if not number:
        server.wait()
        pytest.fail(f"Xvfb did not start: exit {server.returncode}")
    yield f":{number}"
    server.terminate()
    server.wait()
