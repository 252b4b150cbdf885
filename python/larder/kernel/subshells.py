"""Subshells: further threads that run cells in the same namespace, each with a queue and an event loop of its own.

The control thread makes and ends them; it serves every control request that the server cannot answer without Python,
one at a time, so they are answered while the main thread runs a cell.
"""

from __future__ import annotations

import threading
from typing import Any

from .loop import MainLoop


class _Thread(threading.Thread):
    def __init__(self, name: str, kernel, queue) -> None:
        super().__init__(name=name, daemon=True)
        self._kernel, self._queue = kernel, queue
        self._ready = threading.Event()
        self.loop: MainLoop | None = None

    def start(self) -> None:
        super().start()
        self._ready.wait()

    def run(self) -> None:
        self.loop = MainLoop(self._kernel, self._queue)
        self._ready.set()  # before the first request is served: it may need the thread that waits for us
        try:
            self.loop.run()
        finally:
            self.loop.loop.close()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Let the thread end after what it does now; one that is busy for longer ends by itself later."""
        if self.loop is not None:
            self.loop.stop_soon()
        if self is not threading.current_thread():
            self.join(timeout_s)


class Subshells:
    """All subshells of a kernel, and the control thread."""

    def __init__(self, kernel) -> None:
        self._kernel = kernel
        self._threads: dict[str, _Thread] = {}
        # The debugger must not stop the thread that serves it.
        self._control = _Thread("Control", kernel, kernel.native.control_queue())

    def start(self) -> None:
        self._control.pydev_do_not_trace = True  # type: ignore[attr-defined]
        self._control.is_pydev_daemon_thread = True  # type: ignore[attr-defined]
        self._control.start()

    def here(self) -> str | None:
        """The id of the subshell that the calling thread is, None in the main shell."""
        me = threading.current_thread()
        return next((id_ for id_, thread in self._threads.items() if thread is me), None)

    def list(self) -> list[str]:
        return self._kernel.native.subshells()

    def create(self) -> str:
        id_, queue = self._kernel.native.create_subshell()
        thread = self._threads[id_] = _Thread(f"subshell-{id_}", self._kernel, queue)
        thread.start()
        return id_

    def delete(self, id_: str) -> bool:
        if not self._kernel.native.delete_subshell(id_):
            return False
        self._threads.pop(id_).stop()
        return True

    def answer(self, msg_type: str, content: dict[str, Any]) -> dict[str, Any]:
        """Replies to ``create_subshell_request``, ``delete_subshell_request`` and ``list_subshell_request``."""
        if msg_type == "create_subshell_request":
            return {"status": "ok", "subshell_id": self.create()}
        if msg_type == "list_subshell_request":
            return {"status": "ok", "subshell_id": self.list()}
        id_ = content.get("subshell_id")
        if isinstance(id_, str) and self.delete(id_):
            return {"status": "ok"}
        return {
            "status": "error",
            "ename": "UnknownSubshellError",
            "evalue": f"Unknown subshell_id {id_!r}",
            "traceback": [],
        }
