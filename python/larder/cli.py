"""The ``larder`` command: install the kernel, check this machine, run code, look after shelf files."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
import tokenize
from getpass import getpass
from pathlib import Path
from queue import Empty


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 it failed, 2 the call was wrong."""
    parser = argparse.ArgumentParser(
        prog="larder", description="A Jupyter kernel for Python whose data outlives the kernel."
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    install = commands.add_parser("install", help="register the kernel with Jupyter", description=_install.__doc__)
    where = install.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for this user (default)")
    where.add_argument("--sys-prefix", action="store_true", help="in this Python's environment")
    where.add_argument("--prefix", metavar="P", help="under the folder P/share/jupyter/kernels")
    install.add_argument("--name", default="larder", help="name of the kernel spec (default: larder)")
    install.add_argument("--display-name", metavar="D", help="name that front ends show")
    install.add_argument(
        "--env", nargs=2, action="append", default=[], metavar=("K", "V"), help="set K=V in the kernel"
    )
    install.set_defaults(run=_install)

    doctor = commands.add_parser(
        "doctor", help="start the kernel, run a cell over the wire, say what this machine gives"
    )
    doctor.add_argument("--json", action="store_true", help="machine-readable output")
    doctor.set_defaults(run=lambda args: _doctor(args.json))

    execute = commands.add_parser("exec", help="run code in a fresh kernel and stream its output")
    execute.add_argument("code", help="code, a file's path, or - for standard input")
    execute.add_argument("--timeout", type=float, default=None, metavar="S", help="interrupt after S seconds")
    execute.set_defaults(run=_exec)

    from .shelfcli import add_parser

    add_parser(commands)

    args = parser.parse_args(argv)
    if args.version:
        from . import __version__

        print(__version__)
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    try:
        return args.run(args)
    except BrokenPipeError:  # who reads has left (`| head`): nothing more to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def fail(text: str, hint: str = "") -> int:
    print(f"error: {text}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return 1


def kernel_spec_folder() -> Path:
    """The kernel spec shipped with this installation. Raises ``FileNotFoundError`` when it is missing."""
    shipped = Path(sys.prefix) / "share" / "jupyter" / "kernels" / "larder"
    source = Path(__file__).parents[2] / "kernelspec" / "wheel" / "data" / "share" / "jupyter" / "kernels" / "larder"
    for folder in (shipped, source):
        if (folder / "kernel.json").is_file():
            return folder
    raise FileNotFoundError(f"no kernel spec at {shipped}; reinstall larder")


def _install(args: argparse.Namespace) -> int:
    """Register the kernel with Jupyter, running with the Python that runs this command."""
    import shutil
    import tempfile
    from importlib.util import find_spec

    from jupyter_client.kernelspec import KernelSpecManager

    try:
        folder = kernel_spec_folder()
    except FileNotFoundError as err:
        return fail(str(err))
    spec = json.loads((folder / "kernel.json").read_text())
    spec["argv"][0] = sys.executable
    spec["metadata"]["debugger"] = find_spec("debugpy") is not None
    if args.display_name:
        spec["display_name"] = args.display_name
    if args.env:
        spec["env"] = dict(args.env)
    from jupyter_core.paths import jupyter_data_dir

    prefix = sys.prefix if args.sys_prefix else args.prefix
    data = Path(jupyter_data_dir()) if prefix is None else Path(prefix) / "share" / "jupyter"
    # Copied beside its place and then put there: what was registered stays until all of the new one is on the disk.
    new = f"{args.name}.new-{os.getpid()}".lower()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            made = Path(scratch) / new
            shutil.copytree(folder, made)
            (made / "kernel.json").write_text(json.dumps(spec, indent=2) + "\n")
            there = Path(KernelSpecManager().install_kernel_spec(str(made), new, user=prefix is None, prefix=prefix))
            to = there.with_name(args.name.lower())
            if to.is_dir():
                shutil.rmtree(to)
            there.rename(to)
        except ValueError:
            return fail(f"`{args.name}` is no name of a kernel: letters, digits, `-`, `.` and `_` make one")
        except OSError as err:
            shutil.rmtree(data / "kernels" / new, ignore_errors=True)
            causes = err.args[0] if isinstance(err, shutil.Error) else None  # one (from, to, reason) for each file
            why = causes[0][2] if causes else err
            return fail(
                f"cannot install the kernel spec: {why}", "--user, --sys-prefix or --prefix P choose another place"
            )
    print(f"installed kernel {args.name} in {to}")
    return 0


def _start(timeout: float = 30):
    """A fresh kernel of this Python over the wire: ``(manager, client)``."""
    from jupyter_client.manager import KernelManager

    class Manager(KernelManager):
        @property
        def kernel_spec(self):
            from jupyter_client.kernelspec import KernelSpec

            argv = [sys.executable, "-m", "larder", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, display_name="larder", language="python")

    manager = Manager(kernel_name="larder")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=timeout)
    except BaseException:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        raise
    return manager, client


def _doctor(as_json: bool) -> int:
    import platform
    import tempfile
    import time

    rows: list[dict] = []

    def check(name: str, run) -> None:
        try:
            rows.append({"check": name, "ok": True, "found": str(run())})
        except Exception as err:
            rows.append({"check": name, "ok": False, "found": f"{type(err).__name__}: {err}"})

    check("python", lambda: f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}")

    def cell() -> str:
        began = time.perf_counter()
        manager, client = _start()
        try:
            ready = time.perf_counter()
            reply = client.execute_interactive("assert 6 * 7 == 42", timeout=30, output_hook=lambda message: None)
            if reply["content"]["status"] != "ok":
                raise RuntimeError(reply["content"].get("evalue", "the cell failed"))
            done = time.perf_counter()
        finally:
            client.stop_channels()
            manager.shutdown_kernel()
        return f"started in {(ready - began) * 1e3:.0f} ms, ran a cell in {(done - ready) * 1e3:.1f} ms"

    check("kernel over the wire", cell)

    def medium() -> str:
        from . import shelf

        where = shelf.home()
        while not os.path.lexists(where):
            where = where.parent
        if not where.is_dir() or not os.access(where, os.W_OK):
            what = "cannot be written" if where.is_dir() else "is no folder"
            raise RuntimeError(f"{where} {what}; set LARDER_HOME to a folder that can")
        with (
            tempfile.TemporaryDirectory(dir=where) as folder,
            shelf.open(f"{folder}/doctor.shelf") as one,
        ):
            one.x = 1
            stats = one.stats()
            return f"{stats['medium']} at {shelf.home()}, dirty tracker {stats['tracker']}"

    check("shelf", medium)

    def tiers() -> str:
        from . import tier

        return tier.methods()

    check("tiers and heat", tiers)

    def spec() -> str:
        from jupyter_client.kernelspec import KernelSpecManager

        found = KernelSpecManager().find_kernel_specs().get("larder")
        if found is None:
            raise RuntimeError("not registered with Jupyter; run `larder install --user`")
        return found

    check("kernel spec", spec)

    def optimiser() -> str:
        from . import trace

        was_on = trace.stats()["on"]
        trace.enable()
        stats = trace.stats()
        if not was_on:
            trace.disable()
        if stats["compiling"]:
            return f"the self-test jumped its frame; hot loops can be compiled, at most {stats['limit'] >> 10}K of code"
        return f"loops are counted only: {stats['not_compiling']}" if stats["on"] else f"off: {stats['why']}"

    check("loop tracing", optimiser)
    ok = all(row["ok"] for row in rows)
    if as_json:
        print(json.dumps({"ok": ok, "checks": rows}, indent=2))
    else:
        for row in rows:
            print(f"{'ok  ' if row['ok'] else 'FAIL'}  {row['check']:22}{row['found']}")
    return 0 if ok else 1


def _code(given: str) -> str:
    """What to run: standard input for ``-``, a file's text, or the argument itself. Raises ``ValueError``, ``OSError``."""
    if given == "-":
        return sys.stdin.read()
    if len(given) > 4096 or "\n" in given:
        return given
    path = Path(given)
    if path.suffix == ".ipynb":
        raise ValueError(f"{given} is a notebook; `jupyter execute --kernel_name=larder {given}` runs it")
    if path.is_dir():
        raise IsADirectoryError(f"{given} is a folder, not code or a file of it")
    if path.is_file():
        try:
            with tokenize.open(path) as file:
                return file.read()
        except (SyntaxError, UnicodeDecodeError) as err:
            raise ValueError(f"{path} is no Python source: {err}") from None
    if path.suffix == ".py" and " " not in given:
        raise FileNotFoundError(f"there is no file {given}")
    return given


def _shown(message: dict, colours: tuple[bool, bool]) -> None:
    """One message of the kernel, on standard output or standard error; `colours` says which of them takes colours."""
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        error, text = content["name"] == "stderr", content["text"]
    elif kind in ("execute_result", "display_data"):
        error, text = False, content["data"].get("text/plain", "") + "\n"
    elif kind == "error" and content["ename"] != "SystemExit":
        error, text = True, "\n".join(content["traceback"]) + "\n"
    else:
        return
    if kind != "stream" and not colours[error]:
        text = re.sub("\x1b\\[[0-9;]*m", "", text)
    out = sys.stderr if error else sys.stdout
    out.write(text)
    out.flush()


def _asked(client, timeout: float) -> None:
    """Answers `input()` in the cell from this terminal."""
    asked = client.get_stdin_msg(timeout=timeout)["content"]
    try:
        client.input(getpass(asked["prompt"]) if asked["password"] else input(asked["prompt"]))
    except EOFError:
        client.input("\x04")


QUIET = "__import__('warnings').filterwarnings('ignore', 'To exit: use')"
"""IPython's advice after ``sys.exit()`` is for those who type into a notebook."""


def _code_of(reply: dict) -> int:
    """The exit code that Python itself would have ended with."""
    if reply["status"] == "ok":
        return 0
    if reply.get("ename") != "SystemExit":
        return 1
    said = reply["evalue"]
    if said in ("", "None"):
        return 0
    try:
        return int(said) & 0xFF
    except ValueError:
        print(said, file=sys.stderr)
        return 1


def _exec(args: argparse.Namespace) -> int:
    """Run code in a fresh kernel; its output streams to this terminal, its failure is the exit code."""
    try:
        code = _code(args.code)
    except (OSError, ValueError) as err:
        return fail(str(err))
    plain = os.environ.get("NO_COLOR")
    colours = (sys.stdout.isatty() and not plain, sys.stderr.isatty() and not plain)
    try:
        manager, client = _start()
    except RuntimeError as err:
        return fail(f"the kernel did not start: {err}", "run `larder doctor`")
    process = manager.provisioner.process
    until = None if args.timeout is None else time.monotonic() + args.timeout
    try:
        client.execute(QUIET, silent=True)
        msg_id = client.execute(code, allow_stdin=sys.stdin.isatty())
        while True:
            dead = process.poll()
            try:
                message = client.get_iopub_msg(timeout=0.05)
            except Empty:
                if dead is not None:
                    ended = f"exited with {dead}" if dead >= 0 else f"was killed by {signal.Signals(-dead).name}"
                    return fail(f"the kernel {ended}")
                if client.stdin_channel.msg_ready():
                    _asked(client, 1)
            else:
                if message["parent_header"].get("msg_id") != msg_id:
                    continue
                _shown(message, colours)
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    break
            if until is not None and time.monotonic() > until:
                manager.interrupt_kernel()
                return fail(f"no answer within {args.timeout} s")
        while True:
            reply = client.get_shell_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == msg_id:
                return _code_of(reply["content"])
    except KeyboardInterrupt:
        manager.interrupt_kernel()
        return 130
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


if __name__ == "__main__":  # `python -m larder.cli`
    sys.exit(main())
