"""IPython's shell as a Jupyter front end expects it.

The class is called ``ipykernel.zmqshell.ZMQInteractiveShell`` because that is the name by which libraries (tqdm, matplotlib,
plotly, rich, tensorflow, ...) recognise a notebook; everything they then look for is here: ``kernel``,
``get_parent``/``set_parent``, ``set_thread_parent``, ``display_pub.register_hook``, payloads, ``config["IPKernelApp"]``.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from subprocess import CalledProcessError
from typing import Any as AnyType

from IPython.core import page
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell, InteractiveShellABC
from traitlets import Any, Bool, CBool, Instance, Type, default

from . import cell as cells
from .messages import clean_bundle, header_of, message
from .results import kept

try:
    from IPython.core.history import HistoryOutput
except ImportError:  # IPython 8
    HistoryOutput = None


class _Hooks:
    """Transform hooks of the calling thread: each takes a message and returns it, or None to drop it."""

    def __init__(self) -> None:
        self._local = threading.local()

    def add(self, hook) -> None:
        self.__dict__["used"] = True
        if not hasattr(self._local, "hooks"):
            self._local.hooks = []
        self._local.hooks.append(hook)

    def remove(self, hook) -> bool:
        hooks = getattr(self._local, "hooks", [])
        if hook in hooks:
            hooks.remove(hook)
            return True
        return False

    def list(self) -> list:
        return getattr(self._local, "hooks", [])


class _Parented:
    """``parent_header`` and the thread-local parents, as libraries set them."""

    @property
    def parent_header(self) -> dict[str, AnyType]:
        return header_of(cells.current().parent)

    @parent_header.setter
    def parent_header(self, value) -> None:
        self.set_parent(value)

    def set_parent(self, parent) -> None:
        if getattr(self, "shell", None) is not None:
            self.shell.set_parent(parent)

    def set_thread_parent(self, parent):
        return cells.set_here(self.shell.kernel.cell_for(parent))

    def reset_thread_parent(self, token) -> None:
        cells.reset_here(token)


class ZMQDisplayHook(_Parented, DisplayHook):
    """Publishes the last expression of a cell as ``execute_result``."""

    session = Any(allow_none=True)
    pub_socket = Any(allow_none=True)
    topic = None

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._hooks = _Hooks()
        self._active = threading.local()
        self.msg = None

    register_hook = property(lambda self: self._hooks.add)
    unregister_hook = property(lambda self: self._hooks.remove)

    @property
    def is_active(self) -> bool:
        return getattr(self._active, "content", None) is not None

    def update_user_ns(self, result) -> None:
        super().update_user_ns(kept(result))

    def start_displayhook(self) -> None:
        self._active.content = {"data": {}, "metadata": {}}
        self.msg = self._active.content

    def write_output_prompt(self) -> None:
        self._active.content["execution_count"] = self.prompt_count

    def write_format_data(self, format_dict, md_dict=None) -> None:
        self._active.content["data"] = clean_bundle(format_dict)
        self._active.content["metadata"] = md_dict or {}

    def finish_displayhook(self) -> None:
        content, self._active.content, self.msg = self._active.content, None, None
        if not content["data"]:
            return
        _publish(self._hooks, "execute_result", content)


class ZMQDisplayPublisher(_Parented, DisplayPublisher):
    """Publishes ``display_data``, ``update_display_data`` and ``clear_output``."""

    session = Any(allow_none=True)
    pub_socket = Any(allow_none=True)
    topic = Any(b"display_data")
    store_display_history = Bool(False, help="Keep displayed outputs in the history manager.").tag(config=True)

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._hooks = _Hooks()

    register_hook = property(lambda self: self._hooks.add)
    unregister_hook = property(lambda self: self._hooks.remove)

    def publish(self, data, metadata=None, *_source, transient=None, update=False, **_kwargs) -> None:
        self._validate_data(data, metadata)
        if self.store_display_history and HistoryOutput is not None and self.shell is not None:
            count = self.shell.execution_count - (1 if getattr(self, "_in_post_execute", False) else 0)
            self.shell.history_manager.outputs.setdefault(count, []).append(
                HistoryOutput(output_type="display_data", bundle=data)
            )
        content = {"data": clean_bundle(data), "metadata": metadata or {}, "transient": transient or {}}
        _publish(self._hooks, "update_display_data" if update else "display_data", content)

    def clear_output(self, wait=False) -> None:
        _publish(self._hooks, "clear_output", {"wait": bool(wait)})


def _publish(hooks: _Hooks, msg_type: str, content: dict) -> None:
    cell = cells.current()
    if "used" in hooks.__dict__:
        msg = message(msg_type, content, cell.parent)
        for hook in hooks.list():
            msg = hook(msg)
            if msg is None:
                return
        content = msg["content"]
        msg_type = msg.get("msg_type", msg_type)
    cell.outputs.publish(msg_type, content)


class ZMQInteractiveShell(InteractiveShell):
    """The shell of larder's kernel."""

    __module__ = "ipykernel.zmqshell"

    displayhook_class = Type(ZMQDisplayHook)
    display_pub_class = Type(ZMQDisplayPublisher)
    kernel = Any()
    exiter = Instance(ZMQExitAutocall)
    autoindent = CBool(False)
    readline_use = CBool(False)
    keepkernel_on_exit = None

    @default("exiter")
    def _default_exiter(self):
        return ZMQExitAutocall(self)

    def __init__(self, *args, **kwargs) -> None:
        self._prepared = threading.local()
        super().__init__(*args, **kwargs)
        if "IPKernelApp" not in self.config:
            self.config.IPKernelApp.tqdm = "present"  # tqdm and others take this section for "in a notebook"

    # -- running ---------------------------------------------------------------------------------------------------

    def init_history(self) -> None:
        from .history import HistoryManager

        self.history_manager = HistoryManager(shell=self, parent=self)
        self.configurables.append(self.history_manager)

    def prepare(self, code: str) -> str | None:
        """Transform ``code`` once, ahead of `run_cell`; returns the result if it needs the event loop, else None."""
        try:
            transformed = self.transform_cell(code)
        except Exception:
            return None
        if super().should_run_async(code, transformed_cell=transformed):
            return transformed
        self._prepared.cell = (code, transformed)
        return None

    def transform_cell(self, raw_cell):
        prepared = getattr(self._prepared, "cell", None)
        if prepared is not None and prepared[0] is raw_cell:
            return prepared[1]
        return super().transform_cell(raw_cell)

    def should_run_async(self, raw_cell, **kwargs):
        prepared = getattr(self._prepared, "cell", None)
        if prepared is not None and prepared[0] is raw_cell:
            self._prepared.cell = None
            return False
        return super().should_run_async(raw_cell, **kwargs)

    def forget_traceback(self) -> None:
        self._last_traceback = None
        self._last_traceback_during_displayhook = False

    def run_cell(self, *args, **kwargs):
        self.forget_traceback()
        return super().run_cell(*args, **kwargs)

    @contextmanager
    def _tee(self, channel):
        """Keep the cell's printed text in the history, without IPython's detour through a patched ``write``."""
        stream = getattr(sys, channel, None)
        if HistoryOutput is None or not hasattr(stream, "_record"):
            yield
            return
        outputs = self.history_manager.outputs
        count = self.execution_count
        kind = "out_stream" if channel == "stdout" else "err_stream"

        def record(text):
            entries = outputs[count]
            if not entries or entries[-1].output_type != kind:
                entries.append(HistoryOutput(output_type=kind, bundle={"stream": []}))
            entries[-1].bundle["stream"].append(text)

        before, stream._record = stream._record, record
        try:
            yield
        finally:
            stream._record = before

    def _showtraceback(self, etype, evalue, stb) -> None:
        if self.displayhook.is_active:
            self._last_traceback_during_displayhook = True
        cells.current().outputs.publish(
            "error", {"ename": str(etype.__name__), "evalue": str(evalue), "traceback": list(stb)}
        )
        self._last_traceback = stb

    # -- parents ---------------------------------------------------------------------------------------------------

    def get_parent(self) -> dict[str, AnyType]:
        """The request whose output this would be."""
        return cells.current().parent

    def set_parent(self, parent) -> None:
        cells.enter(self.kernel.cell_for(parent))

    @property
    def parent_header(self) -> dict[str, AnyType]:
        return self.get_parent()

    @parent_header.setter
    def parent_header(self, value) -> None:
        self.set_parent(value)

    def set_thread_parent(self, parent):
        return cells.set_here(self.kernel.cell_for(parent))

    def reset_thread_parent(self, token) -> None:
        cells.reset_here(token)

    # -- set-up ----------------------------------------------------------------------------------------------------

    def init_environment(self) -> None:
        for name, value in (
            ("TERM", "xterm-color"),
            ("CLICOLOR", "1"),
            ("FORCE_COLOR", "1"),
            ("CLICOLOR_FORCE", "1"),
            ("PAGER", "cat"),
            ("GIT_PAGER", "cat"),
        ):
            os.environ[name] = value

    def init_virtualenv(self) -> None:
        """A kernel belongs to the environment it is installed in."""

    def init_hooks(self) -> None:
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(self._page), 99)

    def init_magics(self) -> None:
        super().init_magics()
        from .magics import KernelMagics

        self.register_magics(KernelMagics)
        self.magics_manager.register_alias("ed", "edit")

    def enable_gui(self, gui=None) -> None:
        from .gui import enable_gui

        try:
            enable_gui(gui, self.kernel)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.active_eventloop = gui

    # -- payloads --------------------------------------------------------------------------------------------------

    def _page(self, strg, start=0, screen_lines=0, pager_cmd=None) -> None:
        data = strg if isinstance(strg, dict) else {"text/plain": strg}
        self.payload_manager.write_payload({"source": "page", "data": data, "start": max(0, start)})

    payloadpage_page = _page

    def ask_exit(self) -> None:
        self.exit_now = not self.keepkernel_on_exit
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": self.keepkernel_on_exit})

    def set_next_input(self, text, replace=False) -> None:
        self.payload_manager.write_payload({"source": "set_next_input", "text": text, "replace": replace})

    def system(self, cmd) -> None:
        """Run ``cmd`` in a shell, its output in the cell; the exit code is left in ``_exit_code``."""
        if cmd.rstrip().endswith("&"):
            raise OSError("Background processes not supported.")
        from IPython.utils.process import system

        code = system(self.var_expand(cmd, depth=1))
        self.user_ns["_exit_code"] = code
        if getattr(self, "system_raise_on_error", False) and code != 0:
            raise CalledProcessError(code, cmd)

    system_piped = system


InteractiveShellABC.register(ZMQInteractiveShell)
