"""From nothing to a shell: the user's IPython profile (configuration, extensions, start-up files), larder's magics."""

from __future__ import annotations

import gc
import os
import sys

from IPython.core.application import BaseIPythonApplication, base_aliases, base_flags
from IPython.core.profiledir import ProfileDir
from IPython.core.shellapp import InteractiveShellApp, shell_aliases, shell_flags
from traitlets import Any, Dict, Unicode

from .names import CellCompiler
from .shell import ZMQInteractiveShell


class Refused(SystemExit):
    """The command line or the profile ends the kernel before it begins; ``said`` is what the user should read."""

    def __init__(self, code, said: str) -> None:
        super().__init__(code)
        self.said = said


class IPKernelApp(BaseIPythonApplication, InteractiveShellApp):
    """Reads the profile as ipykernel does; the name is the section that profiles and libraries use."""

    name = "ipython-kernel"
    connection_file = Unicode().tag(config=True)
    kernel = Any()
    shell = Any()
    classes = [ZMQInteractiveShell, ProfileDir]  # noqa: RUF012
    aliases = Dict({**base_aliases, **shell_aliases})
    flags = Dict({**base_flags, **shell_flags})

    @property
    def connection_dir(self) -> str:
        """The folder of the connection file, which `ipykernel.connect` looks in."""
        return os.path.dirname(self.connection_file)

    def _log_level_default(self):
        return 30

    def start(self) -> None:
        """What `ipykernel.embed.embed_kernel` calls last."""
        raise RuntimeError("this process is a kernel already: %connect_info says how another front end joins it")

    def init_crash_handler(self) -> None:
        """An error at start is a traceback on the real stderr, nothing more."""

    def init_shell(self) -> None:
        self.shell = ZMQInteractiveShell.instance(
            parent=self,
            profile_dir=self.profile_dir,
            kernel=self.kernel,
            compiler_class=CellCompiler,
        )
        self.kernel.shell, self.kernel.user_ns = self.shell, self.shell.user_ns
        self.kernel.user_module = self.shell.user_module
        self.shell.configurables.append(self)


def start_shell(kernel, argv: list[str]) -> ZMQInteractiveShell:
    """The shell of this process, its magics loaded and its session recovered, ready for the first cell."""
    from . import comms, compat, history

    app = IPKernelApp.instance(kernel=kernel, connection_file=kernel.connection_file)
    said: list[str] = []
    sys.stdout._record = sys.stderr._record = said.append
    try:
        app.initialize(argv)
    except SystemExit as end:
        raise Refused(end.code, "".join(said)) from None
    finally:
        sys.stdout._record = sys.stderr._record = None
    app.init_path()
    app.init_shell()
    gc.enable()
    shell = app.shell
    shell.config.IPKernelApp.connection_file = kernel.connection_file
    kernel.parent = app
    name = os.environ.get("JPY_SESSION_NAME")
    if name:
        shell.user_ns["__session__"] = name
    kernel.forward_input()
    history.gather(shell.history_manager)
    comms.install(kernel)
    compat.install(app)
    app.init_gui_pylab()
    app.init_extensions()
    app.init_code()

    from larder.magics import load_ipython_extension

    load_ipython_extension(shell)
    from larder import trace

    trace.at_start()
    from larder import recovery

    recovery.start(shell, session_path(kernel))
    return shell


def session_path(kernel) -> str | None:
    """The notebook this session belongs to: ``JPY_SESSION_NAME``, else what the connection file says, else None."""
    connection = kernel.connection()
    return os.environ.get("JPY_SESSION_NAME") or connection.get("jupyter_session") or connection.get("session_name")
