"""JupyterLab on larder's kernel, and a headless Chromium looking at it."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Lab:
    """A JupyterLab server with a home of its own."""

    def __init__(self, home: Path, theme: str | None = None) -> None:
        self.root = home / "work"
        self.root.mkdir(parents=True)
        self.token = secrets.token_hex(16)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))}
        env.update(
            HOME=str(home),
            LARDER_HOME=str(home / "larder"),
            JUPYTER_PATH=str(Path(sys.prefix) / "share" / "jupyter"),
            JUPYTER_CONFIG_DIR=str(home / "config"),
            JUPYTER_DATA_DIR=str(home / "data"),
            JUPYTER_RUNTIME_DIR=str(home / "runtime"),
            IPYTHONDIR=str(home / "ipython"),
        )
        settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        quiet = '{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}'
        (settings / "notification.jupyterlab-settings").write_text(quiet)
        if theme is not None:
            (settings / "themes.jupyterlab-settings").write_text(f'{{"theme": "{theme}"}}')
        self.log = (home / "server.log").open("w")
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port-retries=0"]
        command += [
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.root}",
            "--KernelRestarter.time_to_dead=0.5",
        ]
        # A kernel that dies in its first ten seconds would be given new ports, and JupyterLab loses any kernel then.
        command += ["--KernelRestarter.stable_start_time=0.1", "--KernelRestarter.random_ports_until_alive=False"]
        for _ in range(3):  # a port that was free may be taken by any program before the server has it
            self.port = _free_port()
            self.process = subprocess.Popen(
                [*command, f"--port={self.port}"], env=env, stdout=self.log, stderr=self.log, start_new_session=True
            )
            if self._answers():
                return
            self._end()
        self.log.close()
        raise RuntimeError("JupyterLab did not start:\n" + (home / "server.log").read_text()[-3000:])

    def _answers(self) -> bool:
        """Whether it serves, soon."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api?token={self.token}", timeout=2).close()
                return True
            except OSError:
                time.sleep(0.2)
            except http.client.HTTPException:  # another program's port
                break
        return False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/tree/{path}?token={self.token}"

    def stop(self) -> None:
        self._end()
        self.log.close()

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def lab(tmp_path, request):
    """A running JupyterLab; a test may ask for a theme with `indirect` parameters."""
    server = Lab(tmp_path / "home", getattr(request, "param", None))
    yield server
    server.stop()


@pytest.fixture
def page(tmp_path, request):
    """A page of headless Chromium; on failure its picture is in the test's folder."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("Chromium is missing: run scripts/ensure-chromium.sh")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(30_000)
        yield page
        page.screenshot(path=tmp_path / "page.png")
        print(f"a picture of the page: {tmp_path / 'page.png'}")
        browser.close()
