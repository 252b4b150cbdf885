"""``get_ipython().kernel``: what libraries reach for behind the shell."""

from __future__ import annotations

import logging
import os
import sys
from types import ModuleType
from typing import Any

from . import cell as cells
from .cell import Cell
from .messages import SESSION, header_of, message


class _Socket:
    """Stands for a socket in libraries' calls; the server owns the real ones."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<larder {self.name} socket>"


class Session:
    """``kernel.session``: builds and sends messages on IOPub, as libraries written for jupyter_client's Session do."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.session = SESSION
        self.username = os.environ.get("USER", "kernel")

    @property
    def key(self) -> bytes:
        return self._kernel.connection().get("key", "").encode()

    def msg(self, msg_type, content=None, parent=None, header=None, metadata=None) -> dict[str, Any]:
        msg = message(msg_type, content or {}, parent, metadata)
        if header:
            msg["header"].update(header)
        return msg

    def send(self, stream, msg_or_type, content=None, parent=None, ident=None, buffers=None, track=False, header=None,
             metadata=None):  # fmt: skip
        if isinstance(msg_or_type, dict):
            msg = msg_or_type
            parent = parent or msg.get("parent_header")
            buffers = buffers or msg.get("buffers")
        else:
            msg = self.msg(msg_or_type, content, parent, header, metadata)
        cell = self._kernel.cell_for(parent) if parent else cells.current()
        cell.outputs.publish(msg["msg_type"], msg["content"], msg.get("metadata") or {}, list(buffers or []))
        return msg


class Kernel:
    """One kernel: the shell, the server's handle, and the names that ipykernel's kernel has."""

    implementation = "larder"
    language = "python"
    protocol_version = "5.5"

    def __init__(self, native, connection_file: str) -> None:
        self.native = native
        self.connection_file = connection_file
        self.shell = None
        self.user_ns: dict[str, Any] = {}
        self.user_module: ModuleType | None = None
        self.log = logging.getLogger("larder.kernel")
        self.session = Session(self)
        self.iopub_socket = _Socket("iopub")
        self.stdin_socket = _Socket("stdin")
        self.shell_stream = _Socket("shell")
        self.control_stream = _Socket("control")
        self.iopub_thread = None
        self.ident = SESSION
        self.int_id = -1
        self.eventloop = None
        self.main_loop = None
        self._by_id: dict[str, Cell] = {}
        self._allow_stdin = False

    # -- identity --------------------------------------------------------------------------------------------------

    @property
    def implementation_version(self) -> str:
        from larder import __version__

        return __version__

    @property
    def kernel_info(self) -> dict[str, Any]:
        """What front ends are told of this kernel."""
        from .main import info

        return {"status": "ok", "protocol_version": self.protocol_version, **info(self.implementation_version)}

    @property
    def language_info(self) -> dict[str, Any]:
        return self.kernel_info["language_info"]

    @property
    def language_version(self) -> str:
        return self.language_info["version"]

    @property
    def banner(self) -> str:
        return self.kernel_info["banner"]

    @property
    def help_links(self) -> list[dict[str, str]]:
        return self.kernel_info["help_links"]

    def connection(self) -> dict[str, Any]:
        """The connection file's content: transport, ip, ports, key."""
        return self.native.connection()

    @property
    def execution_count(self) -> int:
        return self.shell.execution_count if self.shell is not None else 0

    @property
    def comm_manager(self):
        from . import comms

        return comms.manager()

    @property
    def io_loop(self):
        """The loop as tornado sees it, for libraries that ask; tornado is imported only then."""
        from tornado.ioloop import IOLoop

        return IOLoop.current()

    # -- parents ---------------------------------------------------------------------------------------------------

    def cell_for(self, parent) -> Cell:
        """The cell whose request ``parent`` is (a message or a header); one made for it when it is not known."""
        header = header_of(parent or {})
        msg_id = header.get("msg_id")
        here = cells.current()
        if not msg_id or header_of(here.parent).get("msg_id") == msg_id:
            return here
        known = self._by_id.get(msg_id)
        if known is not None:
            return known
        whole = parent if "header" in parent else {"header": header}
        return Cell(self.native.outputs_for(whole), parent=dict(whole))

    def remember(self, cell: Cell) -> None:
        """Keep the last cells findable by message id; older ones are rebuilt from the message when asked for."""
        self._by_id[header_of(cell.parent).get("msg_id")] = cell
        if len(self._by_id) > 64:
            del self._by_id[next(iter(self._by_id))]

    def get_parent(self, channel=None) -> dict[str, Any]:
        return cells.current().parent

    @property
    def _parent_ident(self) -> dict[str, list[bytes]]:
        idents = cells.current().ticket.identities() if cells.current().ticket is not None else []
        return {"shell": idents, "control": []}

    def set_parent(self, ident, parent, channel="shell") -> None:
        if channel == "shell":
            cells.enter(self.cell_for(parent))

    @property
    def _parent_header(self) -> dict[str, Any]:
        return self.get_parent()

    def send_response(self, stream, msg_or_type, content=None, ident=None, buffers=None, track=False, header=None,
                      metadata=None, channel=None):  # fmt: skip
        return self.session.send(
            stream, msg_or_type, content, self.get_parent(channel), ident, buffers, track, header, metadata
        )

    def _publish_debug_event(self, event) -> None:
        cells.current().outputs.publish("debug_event", event)

    # -- control ---------------------------------------------------------------------------------------------------

    @property
    def _supports_kernel_subshells(self) -> bool:
        return True

    def start_control(self) -> None:
        """Serve control requests from now on, on a thread of their own."""
        from .subshells import Subshells

        self._subshells = Subshells(self)
        self._subshells.start()

    def subshell_here(self) -> str | None:
        return self._subshells.here()

    def subshells(self) -> list[str]:
        return self._subshells.list()

    def control(self, message: dict[str, Any]) -> dict[str, Any]:
        """The reply to a control request that needs Python."""
        msg_type = message["header"]["msg_type"]
        if msg_type == "debug_request":
            from .debugger import debugger_of

            return debugger_of(self).answer(message["content"])
        return self._subshells.answer(msg_type, message["content"])

    # -- stdin -----------------------------------------------------------------------------------------------------

    def raw_input(self, prompt="") -> str:
        """``input()``: asks the front end that sent the cell."""
        return self._input(str(prompt), False, "raw_input")

    def getpass(self, prompt="Password: ", stream=None, *, echo_char=None) -> str:
        """``getpass.getpass()``: as `raw_input`, not echoed."""
        if stream is not None or echo_char is not None:
            import warnings

            warnings.warn("a notebook's getpass ignores `stream` and `echo_char`", UserWarning, stacklevel=2)
        return self._input(str(prompt), True, "getpass")

    def _input(self, prompt: str, password: bool, name: str) -> str:
        cell = cells.current()
        if cell.ticket is None or not cell.allow_stdin:
            from IPython.core.error import StdinNotImplementedError

            raise StdinNotImplementedError(f"{name} was called, but this frontend does not support input requests.")
        try:
            value = cell.ticket.input(prompt, password)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Interrupted by user") from None
        if value == "\x04":
            raise EOFError
        return value

    def forward_input(self) -> None:
        """Point ``input`` and ``getpass.getpass`` at the front end."""
        import builtins
        import getpass

        builtins.input = self.raw_input
        getpass.getpass = self.getpass

    def do_shutdown(self, restart: bool) -> dict[str, Any]:
        if self.main_loop is not None:
            self.main_loop.stop_soon()
        return {"status": "ok", "restart": restart}

    def __repr__(self) -> str:
        return f"<larder kernel, pid {os.getpid()}, python {sys.version.split()[0]}>"
