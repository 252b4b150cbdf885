"""Magics whose meaning depends on being in a kernel: pagers, editors and windows live in the front end."""

from __future__ import annotations

import json
import os
import threading
import warnings
from pathlib import Path

from IPython.core import page
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class


@magics_class
class KernelMagics(Magics):
    """``%edit``, ``%clear``, ``%less``, ``%man``, ``%connect_info``, ``%qtconsole``, ``%autosave``, ``%subshell``."""

    @line_magic
    def edit(self, parameter_s="", last_call=None):
        """``%edit [-n LINE] [-p] [-r] [ARGS]``: have the front end open an editor on ARGS.

        ARGS as in IPython's ``%edit``: history ranges, a variable holding source text, an object whose source file is
        known, or a file name. The kernel does not learn when the editor closes, so nothing is run afterwards.
        """
        from IPython.core.magics.code import CodeMagics, MacroToEdit

        last_call = last_call or ["", ""]
        options, args = self.parse_options(parameter_s, "prn:")
        try:
            filename, line, _ = CodeMagics._find_edit_target(self.shell, args, options, last_call)
        except MacroToEdit:
            print("a macro cannot be edited from a notebook; edit its source text instead")
            return
        if line is not None and not str(line).isdigit():
            raise UsageError(f"%edit -n takes a line number, got {line!r}")
        where = {"filename": str(Path(filename).resolve()), "line_number": None if line is None else int(line)}
        self.shell.payload_manager.write_payload({"source": "edit_magic", **where})

    @line_magic
    def clear(self, arg_s):
        """Clear the terminal."""
        self.shell.system("clear")

    @line_magic
    def less(self, arg_s):
        """``%less FILE``: show a file in the pager, Python files with colours."""
        if not arg_s:
            raise UsageError("Missing filename.")
        if arg_s.endswith(".py"):
            from IPython.utils import openpy

            text = self.shell.pycolorize(openpy.read_py_file(arg_s, skip_encoding_cookie=False))
        else:
            text = Path(arg_s).read_text()
        page.page(text)

    more = line_magic("more")(less)

    @line_magic
    def man(self, arg_s):
        """``%man COMMAND``: its manual page, in the pager."""
        page.page(self.shell.getoutput(f"man {arg_s} | col -b", split=False))

    @line_magic
    def connect_info(self, arg_s):
        """Show how other front ends can connect to this kernel."""
        kernel = self.shell.kernel
        from jupyter_core.paths import jupyter_runtime_dir

        file = Path(kernel.connection_file)
        name = file.name if file.parent == Path(jupyter_runtime_dir()) else file
        print(json.dumps(kernel.connection(), indent=2) + "\n")
        print(
            "Paste the above JSON into a file, and connect with:\n"
            "    $> jupyter <app> --existing <file>\n"
            "or, if you are local, you can connect with just:\n"
            f"    $> jupyter <app> --existing {name}\n"
            "or even just:\n"
            "    $> jupyter <app> --existing\n"
            "if this is the most recent Jupyter kernel you have started."
        )

    @line_magic
    def qtconsole(self, arg_s):
        """Open a qtconsole connected to this kernel."""
        import subprocess
        import sys

        from IPython.utils.process import arg_split

        command = [sys.executable, "-m", "qtconsole", "--existing", self.shell.kernel.connection_file]
        try:
            from importlib.util import find_spec

            if find_spec("qtconsole") is None:
                raise ModuleNotFoundError("qtconsole is not installed; `pip install qtconsole`")
            subprocess.Popen([*command, *arg_split(arg_s, True)], start_new_session=True)
        except Exception as error:
            warnings.warn(f"Could not start qtconsole: {error!r}", stacklevel=2)

    @line_magic
    def autosave(self, arg_s):
        """``%autosave SECONDS``: how often the classic notebook saves; 0 turns it off."""
        from IPython.display import Javascript, display

        try:
            interval = int(arg_s)
        except ValueError as error:
            raise UsageError(f"%autosave requires an integer, got {arg_s!r}") from error
        display(
            Javascript(f"IPython.notebook.set_autosave_interval({1000 * interval})"),
            include=["application/javascript"],
        )
        print(f"Autosaving every {interval} seconds" if interval else "Autosave disabled")

    @line_magic
    def subshell(self, arg_s):
        """Show this cell's subshell and all others."""
        kernel = self.shell.kernel
        print(f"subshell id: {kernel.subshell_here()}")
        print(f"thread id: {threading.get_ident()}")
        print(f"main thread id: {threading.main_thread().ident}")
        print(f"pid: {os.getpid()}")
        print(f"thread count: {threading.active_count()}")
        print(f"subshell list: {kernel.subshells()}")
