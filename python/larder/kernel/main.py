"""Start: the server first, IPython while it already answers ``kernel_info``, then the main loop."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys


def language_info() -> dict:
    return {
        "name": "python",
        "version": sys.version.split()[0],
        "mimetype": "text/x-python",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
        "file_extension": ".py",
    }


def info(version: str) -> dict:
    from importlib.util import find_spec

    return {
        "debugger": find_spec("debugpy") is not None,
        "implementation": "larder",
        "implementation_version": version,
        "language_info": language_info(),
        "banner": f"larder {version}, Python {sys.version.split()[0]}: a kernel whose data outlives it",
        "help_links": [
            {"text": "Python Reference", "url": f"https://docs.python.org/{sys.version_info[0]}.{sys.version_info[1]}"},
            {"text": "IPython Reference", "url": "https://ipython.readthedocs.io/en/stable/"},
        ],
    }


def _connection_path(given: str | None) -> str:
    """An existing file as given or in Jupyter's runtime folder; else the path to create."""
    from os.path import abspath, dirname, exists, join

    if given and (exists(given) or dirname(given)):
        return abspath(given)
    from jupyter_core.paths import jupyter_runtime_dir

    folder = jupyter_runtime_dir()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return join(folder, given or f"kernel-{os.getpid()}.json")


def _forget_cells() -> None:
    """Remove the folder that the debugger wrote cells to, if it did."""
    from .names import cell_folder

    if os.path.isdir(cell_folder()):
        import shutil

        shutil.rmtree(cell_folder(), ignore_errors=True)


def _leave(signum, _frame) -> None:
    """Until the main loop has its own handler: a kernel that is told to stop while it starts has nothing to save."""
    raise SystemExit(128 + signum)


def start(connection_file: str | None, extra: list[str] | None = None) -> int:
    """Serve one session; returns the exit code when a front end has shut it down."""
    gc.disable()  # until the shell stands: what start-up makes is not garbage, and 6 ms are spent on finding that out
    from larder._larder import NativeKernel, __version__, keep_freed, keep_stack

    keep_freed()
    keep_stack()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # no cell runs that it could be meant for
    path = _connection_path(connection_file)
    owned = not os.path.exists(path)
    native = None
    real_stderr, failed = os.dup(2), False
    try:
        native = NativeKernel(path, info(__version__))
        if connection_file is None:  # started by hand
            told = (
                f"larder: a kernel runs here; `jupyter console --existing {path}` connects to it, `exit` there ends it"
            )
            print(told, file=sys.stderr, flush=True)
        _serve(native, path, extra or [])
    except Exception:
        failed = True
        raise
    except SystemExit as end:
        os.write(real_stderr, getattr(end, "said", "").encode())  # of the command line: no front end shows it
        raise
    finally:
        if native is not None:
            native.stop(5.0)
        if failed:  # the traceback goes where the kernel was started from; no front end need be there
            os.dup2(real_stderr, 2)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        os.close(real_stderr)
        if not failed:
            _forget_cells()
        if owned:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
    return 0


def _serve(native, path: str, extra: list[str]) -> None:
    """From the running server to the end of the main loop, and all that the front ends should still hear of."""
    from . import cell as cells
    from .kernel import Kernel
    from .streams import STDERR, STDOUT, OutStream, after_fork_in_child

    kernel = Kernel(native, path)
    background = native.background()
    cells._last = cells.Cell(background, parent={"header": {}, "parent_header": {}, "metadata": {}, "content": {}})
    cells.follow_threads()
    sys.stdout, sys.stderr = OutStream(STDOUT), OutStream(STDERR)
    native.capture(background)
    parent_pid = os.environ.get("JPY_PARENT_PID", "")
    if parent_pid.isdigit() and int(parent_pid) > 1:
        native.watch_parent(int(parent_pid))
    os.register_at_fork(after_in_child=after_fork_in_child)
    if not os.environ.get("MPLBACKEND"):
        os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

    from .app import start_shell
    from .life import end_children, leave_modules
    from .loop import MainLoop

    shell = None
    try:
        shell = start_shell(kernel, extra)
        kernel.main_loop = loop = MainLoop(kernel)
        kernel.start_control()
        native.started()
        loop.run()
    finally:
        try:
            end_children()
        finally:
            if shell is not None:
                atexit.unregister(shell.atexit_operations)  # they run once, while the front ends still listen
                shell.atexit_operations()
                leave_modules()
