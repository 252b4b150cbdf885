"""The debugger: front ends speak the Debug Adapter Protocol over the control channel, debugpy answers it.

debugpy listens inside this process; `_Adapter` is its client. Most requests are passed on as they are. The kernel itself
answers what concerns cells and the namespace: where a cell's source is (`dumpCell`), variables while nothing is stopped,
rich displays of variables, and `copyToGlobals`. All of it is imported on the first ``initialize``.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import queue
import re
import socket
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .names import HASH_SEED, cell_file, cell_folder

_ANSWER_TIMEOUT_S = 60.0
_GREETING_TIMEOUT_S = 2.0
# Sequence numbers of our own requests; front ends count from one.
_OWN_SEQ = 1_000_000_000
_HIDDEN = frozenset(
    "__name__ __doc__ __package__ __loader__ __spec__ __annotations__ __builtins__ __builtin__ __display__ __session__ "
    "get_ipython debugpy exit quit open In Out _oh _dh _ __ ___".split()
)


def available() -> bool:
    """Whether debugpy is installed; it is not imported for the answer."""
    return find_spec("debugpy") is not None


def debugger_of(kernel) -> Debugger:
    """The kernel's debugger, made on first use."""
    if getattr(kernel, "_debugger", None) is None:
        kernel._debugger = Debugger(kernel)
    return kernel._debugger


def _daemon(run, name: str) -> None:
    """A thread that the debugger itself never stops."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.pydev_do_not_trace = True  # type: ignore[attr-defined]
    thread.is_pydev_daemon_thread = True  # type: ignore[attr-defined]
    thread.start()


class _Adapter:
    """A DAP connection: requests wait for their answer, events go to a callback on the reader's thread."""

    def __init__(self, host: str, port: int, on_event) -> None:
        self._socket = socket.create_connection((host, port), timeout=_ANSWER_TIMEOUT_S)
        self._socket.settimeout(None)
        self._on_event = on_event
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[threading.Event, list]] = {}
        self._seqs = itertools.count(_OWN_SEQ)
        self._greeted = threading.Event()
        _daemon(self._read, "larder-debug")
        self._greeted.wait(_GREETING_TIMEOUT_S)

    def own_seq(self) -> int:
        return next(self._seqs)

    def ask(self, request: dict[str, Any], timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Send ``request`` and wait for its response."""
        return self.begin(request, timeout_s)()

    def begin(self, request: dict[str, Any], timeout_s: float = _ANSWER_TIMEOUT_S):
        """Send ``request``; the function returned waits for its response."""
        done, answer = threading.Event(), []
        self._waiting[request["seq"]] = (done, answer)
        self.send(request)

        def wait() -> dict[str, Any]:
            if not done.wait(timeout_s) or not answer:
                self._waiting.pop(request["seq"], None)
                return _response(request, False, message="the debugger did not answer")
            return answer[0]

        wait.done = done
        return wait

    def send(self, request: dict[str, Any]) -> None:
        body = json.dumps(request).encode()
        with self._lock:
            self._socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def _read(self) -> None:
        stream = self._socket.makefile("rb")
        try:
            while True:
                size = None
                while line := stream.readline().strip():
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        size = int(value)
                if size is None:
                    return
                message = json.loads(stream.read(size))
                if message["type"] == "event":
                    if message["event"] == "output" and (message.get("body") or {}).get("output") == "debugpy":
                        self._greeted.set()  # the second and last line of the greeting
                    self._on_event(message)
                elif message["type"] == "response":
                    waiting = self._waiting.pop(message["request_seq"], None)
                    if waiting is not None:
                        waiting[1].append(message)
                        waiting[0].set()
        except (OSError, ValueError):
            return
        finally:
            for done, _ in list(self._waiting.values()):
                done.set()

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


def _response(request: dict[str, Any], success: bool, body: dict[str, Any] | None = None, **more) -> dict[str, Any]:
    return {
        "type": "response",
        "seq": request["seq"],
        "request_seq": request["seq"],
        "command": request["command"],
        "success": success,
        "body": body if body is not None else {},
        **more,
    }


class Debugger:
    """One kernel's debugging state: breakpoints set, threads stopped, the connection to debugpy."""

    def __init__(self, kernel) -> None:
        self._kernel = kernel
        self._shell = kernel.shell
        self._adapter: _Adapter | None = None
        self._port: tuple[str, int] | None = None
        self._breakpoints: dict[str, list] = {}
        self._stopped: set[int] = set()
        self._initialized = threading.Event()
        self._oldest: _Adapter | None = None
        self._explorer: Any = None
        self._events: queue.SimpleQueue = queue.SimpleQueue()
        _daemon(self._tell, "larder-debug-events")
        self._removed: list[tuple[int, Any]] = []
        # Files of the kernel and of what it runs on: not stepped into.
        self._internal = sorted({f for m in list(sys.modules.values()) if (f := getattr(m, "__file__", None))})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The response to one DAP request; empty without debugpy, as front ends expect."""
        if not available():
            return {}
        command = request.get("command", "")
        if command == "initialize" and self._adapter is None:
            self._start()
        own = getattr(self, f"_on_{command}", None)
        always = command in ("debugInfo", "inspectVariables", "richInspectVariables", "modules", "copyToGlobals")
        if own is not None and (always or self._adapter is not None):
            reply = own(request)
        elif self._adapter is not None:
            reply = self._adapter.ask(request)
        else:
            reply = {}
        if command == "disconnect":
            self._stop()
        return reply

    # -- start and end ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._port is None:
            self._port = self._on_main_thread(self._listen)
        self._watch(True)
        Path(cell_folder()).mkdir(mode=0o700, parents=True, exist_ok=True)
        from IPython.core.inputtransformer2 import leading_empty_lines

        cleanup = self._shell.input_transformer_manager.cleanup_transforms
        if leading_empty_lines in cleanup:  # breakpoints count lines from the cell's top
            at = cleanup.index(leading_empty_lines)
            self._removed.append((at, cleanup.pop(at)))
        # debugpy's adapter greets a client from the thread that accepts clients, and tells its oldest client of it. If one of
        # them has left by then, that thread ends and nobody is ever served again. So the oldest client is one of ours that
        # stays, and nothing is asked before the greeting.
        if self._oldest is None:
            self._oldest = _Adapter(*self._port, lambda event: None)
        self._adapter = _Adapter(*self._port, self._on_event)

    def _stop(self) -> None:
        if self._adapter is not None:
            self._adapter.close()
            self._watch(False)
        self._adapter = None
        self._breakpoints, self._stopped = {}, set()
        cleanup = self._shell.input_transformer_manager.cleanup_transforms
        while self._removed:
            cleanup.insert(*self._removed.pop())

    @staticmethod
    def _listen() -> tuple[str, int]:
        os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        import debugpy

        return debugpy.listen(("127.0.0.1", 0))

    def _on_main_thread(self, function):
        """Run ``function`` on the main thread between cells: debugpy debugs from where it was set up."""
        done, result = threading.Event(), []

        def call():
            try:
                result.append((function(), None))
            except BaseException as error:
                result.append((None, error))
            done.set()

        self._kernel.main_loop.loop.call_soon_threadsafe(call)
        done.wait()
        value, error = result[0]
        if error is not None:
            raise error
        return value

    def _watch(self, on: bool) -> None:
        """Whether debugpy watches code. It would go on after its client has left: slow, and in the optimiser's way."""
        from _pydevd_bundle.pydevd_constants import PYDEVD_USE_SYS_MONITORING, get_global_debugger  # debugpy's

        if PYDEVD_USE_SYS_MONITORING:
            from _pydevd_sys_monitoring import pydevd_sys_monitoring

            watch = pydevd_sys_monitoring.start_monitoring if on else pydevd_sys_monitoring.stop_monitoring
            watch(all_threads=True)
            return
        main = self._kernel.main_loop.loop
        pydevd = get_global_debugger()  # CPython 3.11: a trace function, which a thread can only take off itself
        main.call_soon_threadsafe(*((pydevd.enable_tracing, pydevd.trace_dispatch) if on else (sys.settrace, None)))

    # -- events ----------------------------------------------------------------------------------------------------

    def _publish(self, event: dict[str, Any]) -> None:
        self._kernel.native.background().publish("debug_event", event)

    def _on_event(self, event: dict[str, Any]) -> None:
        """On the reader's thread, which must not wait: what follows may be asked of debugpy again."""
        if event["event"] == "initialized":
            self._initialized.set()
        self._events.put((self._adapter, event))

    def _tell(self) -> None:
        """Events in their order, on a thread of their own: state first, then the front end."""
        while True:
            adapter, event = self._events.get()
            kind, body = event["event"], event.get("body") or {}
            if kind == "stopped" and body.get("allThreadsStopped"):
                if adapter is None or adapter is not self._adapter:
                    continue
                reply = adapter.ask({"type": "request", "seq": adapter.own_seq(), "command": "threads"})
                for thread in reply.get("body", {}).get("threads", []):
                    if thread["name"] not in ("IPythonHistorySavingThread", "Control"):
                        self._stopped.add(thread["id"])
            elif kind == "stopped":
                self._stopped.add(body["threadId"])
            elif kind == "continued" and body.get("allThreadsContinued"):
                self._stopped.clear()
            elif kind == "continued":
                self._stopped.discard(body["threadId"])
            self._publish(event)

    # -- requests that the kernel answers --------------------------------------------------------------------------

    def _on_debugInfo(self, request):
        return _response(
            request,
            True,
            {
                "isStarted": self._adapter is not None,
                "hashMethod": "Murmur2",
                "hashSeed": HASH_SEED,
                "tmpFilePrefix": cell_folder() + os.sep,
                "tmpFileSuffix": ".py",
                "breakpoints": [{"source": s, "breakpoints": b} for s, b in self._breakpoints.items()],
                "stoppedThreads": sorted(self._stopped),
                "richRendering": True,
                "exceptionPaths": ["Python Exceptions"],
                "copyToGlobals": True,
            },
        )

    def _on_dumpCell(self, request):
        code = request["arguments"]["code"]
        path = cell_file(code)
        Path(path).write_text(code, encoding="utf-8")
        return _response(request, True, {"sourcePath": path})

    def _on_source(self, request):
        path = Path(request["arguments"]["source"]["path"])
        if path.is_file():
            return _response(request, True, {"content": path.read_text(encoding="utf-8")})
        return _response(request, False, message="source unavailable")

    def _on_setBreakpoints(self, request):
        source = request["arguments"]["source"]["path"]
        self._breakpoints[source] = request["arguments"]["breakpoints"]
        reply = self._adapter.ask(request)
        if reply.get("success"):  # debugpy may have moved them to other lines
            self._breakpoints[source] = [{"line": b["line"]} for b in reply["body"]["breakpoints"] if "line" in b]
        return reply

    def _on_attach(self, request):
        host, port = self._port
        arguments = request.setdefault("arguments", {})
        arguments["connect"] = {"host": host, "port": port}
        arguments.setdefault("debugOptions", ["DebugStdLib"])
        arguments["rules"] = [{"path": path, "include": False} for path in self._internal]
        # debugpy answers once it is configured, and says with `initialized` when it can be; the front end's own
        # configurationDone comes after our answer, so the kernel sends one.
        adapter = self._adapter
        self._initialized.clear()
        answered = adapter.begin(request)
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        while not answered.done.is_set() and not self._initialized.wait(0.02) and time.monotonic() < deadline:
            pass  # an attach that is refused is answered without `initialized`
        if self._initialized.is_set():
            adapter.ask({"type": "request", "seq": adapter.own_seq(), "command": "configurationDone"})
        return answered()

    def _on_configurationDone(self, request):
        """debugpy answers this one only after ``attach``, which waits for it: answered here."""
        return _response(request, True)

    def _on_disconnect(self, request):
        """The debugger goes, never the kernel: it is not the debugger's to end (``terminateDebuggee``)."""
        request.setdefault("arguments", {})["terminateDebuggee"] = False
        return self._adapter.ask(request)

    def _on_stackTrace(self, request):
        """The user's frames; what started the kernel is none of them."""
        reply = self._adapter.ask(request)
        if reply.get("success"):
            own = str(Path(__file__).parents[1]) + os.sep
            frames = reply["body"]["stackFrames"]
            kept = [frame for frame in frames if not (frame.get("source") or {}).get("path", "").startswith(own)]
            reply["body"]["stackFrames"] = kept
            if "totalFrames" in reply["body"]:
                reply["body"]["totalFrames"] -= len(frames) - len(kept)
        return reply

    def _on_variables(self, request):
        if not self._stopped:
            reference = request["arguments"]["variablesReference"]
            return _response(request, True, {"variables": self._children(reference)})
        reply = self._adapter.ask(request)
        if reply.get("success"):
            reply["body"]["variables"] = [v for v in reply["body"]["variables"] if _shown(v["name"])]
        return reply

    def _on_inspectVariables(self, request):
        self._explorer = _Explorer(self._shell.user_ns)
        return _response(request, True, {"variables": self._children(None)})

    def _children(self, reference):
        if self._explorer is None:
            self._explorer = _Explorer(self._shell.user_ns)
        return [v for v in self._explorer.children(reference) if _shown(v["name"])]

    def _on_richInspectVariables(self, request):
        arguments = request["arguments"]
        name = arguments["variableName"]
        nothing = {"data": {}, "metadata": {}}
        if not name.isidentifier():
            return _response(request, name in ("special variables", "function variables"), nothing)
        if self._stopped and self._adapter is not None:
            reply = self._adapter.ask(
                {
                    "type": "request",
                    "seq": self._adapter.own_seq(),
                    "command": "evaluate",
                    "arguments": {
                        "expression": f"get_ipython().display_formatter.format({name})",
                        "frameId": arguments.get("frameId"),
                        "context": "clipboard",
                    },
                }
            )
            if not reply.get("success"):
                return _response(request, False, nothing, message=reply.get("message", ""))
            data, metadata = ast.literal_eval(reply["body"]["result"])
        else:
            found = self._shell.user_expressions({name: name})[name]
            data, metadata = found.get("data", {}), found.get("metadata", {})
        return _response(request, True, {"data": data, "metadata": {k: v for k, v in metadata.items() if k in data}})

    def _on_copyToGlobals(self, request):
        arguments = request["arguments"]
        target, source = arguments["dstVariableName"], arguments["srcVariableName"]
        if not (target.isidentifier() and source.isidentifier()):
            return _response(request, False, message="dstVariableName and srcVariableName must be valid identifiers")
        if self._adapter is None:
            return _response(request, False, message="the debugger is not running")
        reply = self._adapter.ask(
            {
                "type": "request",
                "seq": self._adapter.own_seq(),
                "command": "setExpression",
                "arguments": {
                    "expression": f"globals()[{target!r}]",
                    "value": source,
                    "frameId": arguments["srcFrameId"],
                },
            }
        )
        return {**reply, "request_seq": request["seq"]}

    def _on_modules(self, request):
        modules = list(sys.modules.values())
        start = request.get("startModule", 0)
        count = request.get("moduleCount", len(modules))
        found = []
        for at, module in enumerate(modules[start : start + count], start):
            path = getattr(getattr(module, "__spec__", None), "origin", None)
            if path and path.endswith(".py"):
                found.append({"id": at, "name": module.__name__, "path": path})
        return _response(request, True, {"modules": found, "totalModules": len(modules)})


def _shown(name: str) -> bool:
    return name not in _HIDDEN and not re.match(r"_\d|_i", name)


class _Explorer:
    """The namespace as debugpy shows variables, without a stopped frame."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # nothing is said of frozen modules
        import debugpy.server  # noqa: F401  (puts its bundled pydevd on the path)
        from _pydevd_bundle import pydevd_frame_utils
        from _pydevd_bundle.pydevd_api import PyDevdAPI
        from _pydevd_bundle.pydevd_suspended_frames import SuspendedFramesManager, _FramesTracker

        class Code:
            co_name = "<module>"
            co_filename = "<cell>"
            co_firstlineno = 1
            co_flags = 0

        class Frame:
            f_code = Code
            f_globals = f_locals = namespace
            f_lineno = 1
            f_back = None

        class Debugger:
            variable_presentation = PyDevdAPI.VariablePresentation()

        self._frame = Frame()
        self._manager = SuspendedFramesManager()
        self._debugger = Debugger()
        self._tracker = _FramesTracker(self._manager, self._debugger)
        self._tracker.track("namespace", pydevd_frame_utils.create_frames_list_from_frame(self._frame))

    def children(self, reference: int | None) -> list[dict[str, Any]]:
        variables = self._manager.get_variable(reference or id(self._frame))
        return [one.get_var_data() for one in variables.get_children_variables()]
