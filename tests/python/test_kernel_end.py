"""How a kernel ends: what is committed, who is told, who is killed."""

import gzip
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from jupyter_client import BlockingKernelClient
from kernelfixtures import Running, alive, kernel, wait_until

import larder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

# A thread stores into a shelf's array after its cell was committed: only the end of the kernel can commit that.
BACKGROUND_STORE = """
import larder, threading, numpy as np
shelf = larder.open({path!r})
shelf.x = np.zeros(3)
x = shelf.x
told, stored = threading.Event(), threading.Event()
def work():
    told.wait()
    x[1] = 7
    open({flag!r}, "w").close()
threading.Thread(target=work, daemon=True).start()
"""


@contextmanager
def orphanable(tmp_path, between):
    """A kernel whose parent (or, with a shell ``between``, the parent of whose parent) is a process to be killed."""
    file = tmp_path / "kernel.json"
    command = [sys.executable, "-m", "larder", "-f", str(file)]
    if between:
        command = ["sh", "-c", '"$@"; :', "sh", *command]
    script = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen({command!r}, env=dict(os.environ, JPY_PARENT_PID=str(os.getpid())), start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    env = dict(os.environ, LARDER_HOME=str(tmp_path / "home"), IPYTHONDIR=str(tmp_path / "ipython"))
    parent = subprocess.Popen([sys.executable, "-c", script], env=env)
    try:
        wait_until(lambda: file.exists() and file.stat().st_size > 0)
        kc = BlockingKernelClient(connection_file=str(file))
        kc.load_connection_file()
        kc.start_channels()
        kc.wait_for_ready(timeout=30)
        yield Running(None, kc), parent
        kc.stop_channels()
    finally:
        parent.kill()
        parent.wait()


@pytest.fixture
def hangs_up():
    """Under nohup SIGHUP is ignored, and by the kernel too: here it is not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "way", ["shutdown", "restart", "exit()", "SIGTERM", "SIGHUP", "parent", "parent behind a shell"]
)
def test_every_end_but_sigkill_commits_what_is_on_the_shelves(tmp_path, way, hangs_up):
    path, flag = tmp_path / "data.shelf", tmp_path / "stored"
    with kernel(tmp_path) if "parent" not in way else orphanable(tmp_path, "shell" in way) as started:
        k, parent = started if "parent" in way else (started, None)
        k.ok(BACKGROUND_STORE.format(path=str(path), flag=str(flag)))
        pid = int(k.text("import os; print(os.getpid()); told.set()"))
        wait_until(flag.exists)
        if way in ("shutdown", "restart"):
            k.kc.control_channel.send(k.kc.session.msg("shutdown_request", {"restart": way == "restart"}))
        elif way == "exit()":
            k.send("exit()")
        elif parent is not None:
            parent.kill()
        else:
            os.kill(pid, getattr(signal, way))
        wait_until(lambda: not alive(pid), timeout=20)
    with larder.open(path, mode="r") as shelf:
        np.testing.assert_array_equal(shelf.x, [0, 7, 0])


def test_children_are_told_before_they_are_killed_and_grandchildren_too(tmp_path):
    log = tmp_path / "log"
    child = tmp_path / "child.py"
    child.write_text(
        "import signal, sys, time\n"
        "def told(signum, frame):\n    open(sys.argv[1], 'a').write(sys.argv[2] + ' told\\n')\n"
        "    if sys.argv[2] != 'deaf': sys.exit()\n"
        "signal.signal(signal.SIGTERM, told)\n"
        "open(sys.argv[1], 'a').write(sys.argv[2] + ' ready\\n')\n"
        "while True: time.sleep(60)\n"
    )
    with kernel(tmp_path) as k:
        start = f"subprocess.Popen([sys.executable, {str(child)!r}, {str(log)!r}, 'NAME'])"
        k.ok(
            f"import subprocess, sys\ndeaf = {start.replace('NAME', 'deaf')}\npolite = {start.replace('NAME', 'polite')}"
        )
        k.ok(f"shell = subprocess.Popen(['sh', '-c', '{sys.executable} {child} {log} grandchild; :'])")
        # A session of its own is a daemon's way to stay.
        k.ok("daemon = subprocess.Popen(['sleep', '600'], start_new_session=True)")
        pids = [int(pid) for pid in k.text("print(deaf.pid, polite.pid, shell.pid, daemon.pid)").split()]
        wait_until(lambda: log.exists() and log.read_text().count("ready") == 3)
        pid = k.pid
        k.kc.control_channel.send(k.kc.session.msg("shutdown_request", {"restart": False}))
        assert k.kc.control_channel.get_msg(timeout=10)["content"]["status"] == "ok"
        wait_until(lambda: not alive(pid))
    *ended, daemon = pids
    try:
        assert not any(alive(one) for one in ended)
        assert alive(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)
    assert sorted(line for line in log.read_text().splitlines() if "told" in line) == [
        "deaf told",
        "grandchild told",
        "polite told",
    ]


def test_nohup_keeps_a_kernel_through_a_hangup(tmp_path):
    file = tmp_path / "kernel.json"
    env = dict(os.environ, LARDER_HOME=str(tmp_path / "home"), IPYTHONDIR=str(tmp_path / "ipython"))
    command = ["nohup", sys.executable, "-m", "larder", "-f", str(file)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: file.exists() and file.stat().st_size > 0)
        kc = BlockingKernelClient(connection_file=str(file))
        kc.load_connection_file()
        kc.start_channels()
        kc.wait_for_ready(timeout=30)
        k = Running(None, kc)
        assert k.text("print('before')") == "before\n"
        process.send_signal(signal.SIGHUP)
        assert k.text("print('after')") == "after\n"
        kc.shutdown()
        assert process.wait(20) == 0
        kc.stop_channels()
    finally:
        process.kill()
        process.wait()


def test_a_missing_connection_file_is_made_in_jupyters_runtime_folder(tmp_path):
    env = dict(os.environ, LARDER_HOME=str(tmp_path), IPYTHONDIR=str(tmp_path), JUPYTER_RUNTIME_DIR=str(tmp_path / "r"))
    process = subprocess.Popen([sys.executable, "-m", "larder"], env=env)
    file = Path(tmp_path / "r" / f"kernel-{process.pid}.json")
    try:
        wait_until(lambda: file.exists() and file.stat().st_size > 0)
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
    finally:
        process.terminate()
        process.wait(20)
    wait_until(lambda: not file.exists())


FILES = """
import atexit, gzip, sys, types
def path(name): return {folder!r} + "/" + name
plain = open(path("plain"), "w"); plain.write("of the namespace")
packed = gzip.open(path("packed.gz"), "wt"); packed.write("not closed")
module = sys.modules["mine"] = types.ModuleType("mine")
module.me = [module]; module.file = open(path("module"), "w"); module.file.write("of a module")
atexit.register(lambda target=path("atexit"), open=open: open(target, "w").write("at the end"))
"""


@pytest.mark.parametrize("way", ["shutdown", "SIGTERM"])
def test_what_is_in_files_nobody_closed_is_written_and_exit_functions_run(tmp_path, way):
    with kernel(tmp_path) as k:
        k.ok(FILES.format(folder=str(tmp_path)))
        pid = k.pid
        if way == "shutdown":
            k.kc.control_channel.send(k.kc.session.msg("shutdown_request", {"restart": False}))
        else:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(pid), timeout=20)
    assert (tmp_path / "plain").read_text() == "of the namespace"
    assert gzip.decompress((tmp_path / "packed.gz").read_bytes()) == b"not closed"
    assert (tmp_path / "module").read_text() == "of a module"
    assert (tmp_path / "atexit").read_text() == "at the end"
