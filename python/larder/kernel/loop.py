"""The main loop: an asyncio loop that lives between cells and takes the server's work one piece at a time.

Cells run inside the running loop, so ``asyncio.get_running_loop()`` and ``create_task`` work in any cell and tasks go
on between cells. A cell with a top-level ``await`` becomes a task; until it is done, later requests wait, except comm
messages, which it may be waiting for.

Interrupts: a running cell gets ``KeyboardInterrupt`` where it stands; an awaiting one has what it awaits cancelled and
gets ``KeyboardInterrupt`` at its ``await``; between cells an interrupt only stops a task or
callback that is running just then.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from .. import hooks
from . import cell as cells, comms, forks, requests
from .cell import Cell

REPLY_SECONDS_MAX = 0.5
"""How long what follows a reply waits for a front end that does not take it."""
BUSY_SECONDS = 0.1
"""How often it is looked whether the kernel is idle, where something waits for that."""


class _Interruptible:
    """Awaits a coroutine; when its task is cancelled by an interrupt, the coroutine sees ``KeyboardInterrupt``."""

    def __init__(self, coro) -> None:
        self._coro = coro
        self.interrupted = False

    def __await__(self):
        coro, value, error = self._coro, None, None
        while True:
            try:
                waiting = coro.send(value) if error is None else coro.throw(error)
            except StopIteration as done:
                return done.value
            value = error = None
            try:
                value = yield waiting
            except asyncio.CancelledError as cancelled:
                error = _from_outside(cancelled)
                if self.interrupted:
                    self.interrupted = False
                    task = asyncio.current_task()
                    if task is not None:
                        task.uncancel()
                    error = KeyboardInterrupt()
            except BaseException as other:
                error = _from_outside(other)


class MainLoop:
    """Owns the event loop and serves the queue until told to stop."""

    def __init__(self, kernel, queue=None) -> None:
        self.kernel = kernel
        self.native = kernel.native
        self._main = queue is None
        self.queue = queue if queue is not None else kernel.native.queue()
        self.shell = kernel.shell
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.context = copy_context()
        self._pid = os.getpid()
        self._waiting: deque = deque()
        self._task: asyncio.Task | None = None
        self._awaiting: _Interruptible | None = None
        self._stopping = False
        self._terminated = False
        self._unanswered: list = []
        self._inside = 0  # requests being served by synchronous code

    # -- life ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._on_sigint)
            signal.signal(signal.SIGTERM, self._on_sigterm)
            if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it, and means it
                signal.signal(signal.SIGHUP, self._on_sigterm)
            forks.leave_signals(lambda number: self._on_sigint if number == signal.SIGINT else self._on_sigterm)
            hooks.started(self._when_idle)
        comms.serving(self)
        # What already waits is served by the loop too, like all that comes: a cell runs inside the running loop.
        self.loop.add_reader(self.queue.fd(), self._wake)
        while not self._stopping:
            try:
                self.loop.run_forever()
            except KeyboardInterrupt:
                traceback.print_exc()  # a background task or callback was interrupted; the loop goes on
            except SystemExit:
                self._stopping = True

    def stop_soon(self) -> None:
        self._stopping = True
        self.loop.call_soon_threadsafe(self.loop.stop)

    def _on_sigint(self, _signum, frame) -> None:
        if self._inside:
            raise KeyboardInterrupt
        running = asyncio.current_task(self.loop)
        if running is not None and running is self._task and self._awaiting is None:
            return  # the cell is over and is being committed and answered
        if running is not None or _callback_runs(frame):
            raise KeyboardInterrupt
        if self._task is not None and self._awaiting is not None:
            self._awaiting.interrupted = True
            self.loop.call_soon_threadsafe(self._task.cancel)

    def _on_sigterm(self, _signum, _frame) -> None:
        """SIGTERM or SIGHUP: leave, between cells at once, in a cell by ending it.

        That cell is not answered: it did not end by itself.
        """
        self._stopping = self._terminated = True
        self.loop.call_soon_threadsafe(self._stop_if_idle)
        if self._inside or asyncio.current_task(self.loop) is not None:
            raise KeyboardInterrupt("the kernel was told to stop (SIGTERM or SIGHUP)")
        if self._task is not None and self._awaiting is not None:
            self._awaiting.interrupted = True
            self.loop.call_soon_threadsafe(self._task.cancel)

    def _stop_if_idle(self) -> None:
        if self._task is None:
            self.loop.stop()

    def _when_idle(self, fd: int, call: Callable[[], None], seconds: float) -> None:
        """See ``hooks.when_idle``; ``fd`` is ours now."""
        queue = select.poll()
        queue.register(self.queue.fd(), select.POLLIN)

        def at_rest() -> None:
            if self._task is not None or self._waiting or queue.poll(0):
                self.loop.call_later(BUSY_SECONDS, at_rest)
            elif not self._stopping:
                call()

        def ready() -> None:
            self.loop.remove_reader(fd)
            os.close(fd)
            self.loop.call_later(seconds, at_rest) if seconds > 0 else at_rest()

        self.loop.call_soon_threadsafe(self.loop.add_reader, fd, ready)

    # -- queue -----------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Readable: take one piece of work (or, while a cell awaits, all: only comm messages are served then)."""
        while True:
            if self._task is None and self._waiting:
                work = self._waiting.popleft()
            else:
                work = self.queue.take()
            if work is None:
                return
            if work.kind == "comm":
                asker = comms.asker(work.request()["content"])
                if asker is not None and asker is not self:
                    asker.loop.call_soon_threadsafe(asker.context.copy().run, asker._serve, work)
                    continue
            if self._task is not None:
                if work.kind == "comm":
                    self.context.copy().run(self._serve, work)
                else:
                    self._waiting.append(work)
                continue
            self.context.run(self._serve, work)
            if self._waiting and self._task is None:
                self.loop.call_soon(self._wake)
            return

    def _abort_waiting(self) -> None:
        keep: deque = deque()
        for work in self._waiting:
            if work.kind == "execute":
                work.reply({"status": "aborted"})
            else:
                keep.append(work)
        self._waiting = keep

    def _serve(self, work) -> None:
        cell = Cell(work.outputs(), work)
        cells.enter(cell)
        kind = work.kind
        try:
            if kind == "execute":
                self._execute(work, cell)
                return
            if kind == "shutdown":
                self._shutdown(work)
                return
            with self._interruptible():
                content = self._answer(kind, work)
        except KeyboardInterrupt:
            content = {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": []}
        except Exception as error:
            content = {
                "status": "error",
                "ename": type(error).__name__,
                "evalue": str(error),
                "traceback": traceback.format_exception(error),
            }
        self.native.drain()
        work.reply(content)

    def _answer(self, kind: str, work) -> dict[str, Any]:
        shell, request = self.shell, work.request()
        message: dict[str, Any] = cells.current().parent if kind in ("comm", "control") else {}
        # To make a subshell, the other control request, asks for no variable.
        if kind in ("complete", "inspect", "comm") or (
            kind == "control" and message["header"]["msg_type"] == "debug_request"
        ):
            hooks.ahead(None)
        if kind == "complete":
            return requests.complete(shell, request["code"], request["cursor_pos"])
        if kind == "inspect":
            return requests.inspect(shell, request["code"], request["cursor_pos"], request["detail_level"])
        if kind == "is_complete":
            return requests.is_complete(shell, request["code"])
        if kind == "history":
            return requests.history(shell, request)
        if kind == "control":
            return self.kernel.control(message)
        if kind == "comm_info":
            return comms.info(request["target_name"])
        if kind == "comm":
            msg = dict(message)
            msg["content"] = request["content"]
            msg["buffers"] = [memoryview(one) for one in request["buffers"]]
            comms.handle(msg)
            return {}
        return {"status": "error", "ename": "NotImplementedError", "evalue": kind, "traceback": []}

    @contextmanager
    def _interruptible(self):
        """Synchronous code runs: an interrupt raises in it, and libraries find Python's own handler installed."""
        self._inside += 1
        if self._main:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            self._inside -= 1
            if self._main:
                signal.signal(signal.SIGINT, self._on_sigint)

    @contextmanager
    def user_code(self):
        """As `_interruptible`, for callbacks that run often: an interrupt raises in them."""
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    # -- cells -----------------------------------------------------------------------------------------------------

    def _execute(self, work, cell: Cell) -> None:
        shell, request = self.shell, work.request()
        code, silent = request["code"], request["silent"]
        hooks.ahead(code)
        cell.allow_stdin, cell.silent = request["allow_stdin"], silent
        if self._main:
            self.native.capture(cell.outputs)
        if not silent:
            work.execute_input(code, shell.execution_count)
        shell.forget_traceback()
        options: dict[str, Any] = {"store_history": request["store_history"], "silent": silent}
        options["cell_id"] = request["cell_id"]
        result = None
        transformed = None
        try:
            with self._interruptible():
                transformed = shell.prepare(code)
                if transformed is None or shell.loop_runner is not _asyncio_runner() or shell.trio_runner is not None:
                    transformed = None
                    result = shell.run_cell(code, **options)
        except KeyboardInterrupt:
            transformed = None
            shell.showtraceback()
        if os.getpid() != self._pid:
            os._exit(0)  # a forked child that ran past the end of its cell
        if transformed is None:
            self._finish(work, cell, request, result)
            return
        coro = shell.run_cell_async(code, transformed_cell=transformed, **options)
        self._awaiting = _Interruptible(coro)
        self._task = self.loop.create_task(self._run_async(work, cell, request), context=self.context)

    async def _run_async(self, work, cell: Cell, request: dict[str, Any]) -> None:
        shell, result = self.shell, None
        try:
            result = await self._awaiting
        except (KeyboardInterrupt, asyncio.CancelledError):
            shell.showtraceback()
        finally:
            self._awaiting = None
            try:
                shell.events.trigger("post_execute")
                if not request["silent"]:
                    shell.events.trigger("post_run_cell", result)
            finally:
                self._task = None
        if os.getpid() != self._pid:
            os._exit(0)
        self._finish(work, cell, request, result)
        self.loop.call_soon(self._wake)
        if self._stopping:
            self.loop.stop()

    def _finish(self, work, cell: Cell, request: dict[str, Any], result) -> None:
        """The cell is over (and committed, in ``post_run_cell``): the last outputs, then the reply."""
        shell = self.shell
        if self._terminated:
            self._unanswered.append(work)
            self.loop.stop()
            return
        error = None
        if result is not None:
            error = result.error_before_exec if result.error_before_exec is not None else result.error_in_exec
        ok = result is not None and result.success
        failed_display = getattr(shell, "_last_traceback_during_displayhook", False)
        reply: dict[str, Any]
        if ok and not failed_display:
            reply = {"status": "ok"}
            expressions = request["user_expressions"]
            reply["user_expressions"] = shell.user_expressions(expressions) if expressions else {}
        else:
            if error is None:
                error = KeyboardInterrupt() if result is None else None
            reply = {
                "status": "error",
                "ename": type(error).__name__,
                "evalue": str(error),
                "traceback": list(shell._last_traceback or []),
                "user_expressions": {},
            }
        reply["execution_count"] = shell.execution_count - 1
        reply["payload"] = shell.payload_manager.read_payload()
        shell.payload_manager.clear_payload()
        self.kernel.remember(cell)
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
        self.native.drain()
        work.reply(reply)
        if reply["status"] == "error" and request["stop_on_error"] and not request["silent"]:
            self._abort_waiting()
        if hooks.REPLIED:
            self.native.flush(REPLY_SECONDS_MAX)
            hooks.replied()
        if request["silent"]:
            hooks.silent()
        if shell.exit_now:
            self.kernel.main_loop.leave_soon(restart=False)

    def _shutdown(self, work) -> None:
        restart = bool(work.request()["restart"])
        self._leave(restart)
        from .life import end_children

        end_children()
        self.native.drain()
        work.reply({"status": "ok", "restart": restart})

    def leave_soon(self, restart: bool) -> None:
        self.loop.call_soon_threadsafe(self._leave, restart)

    def _leave(self, restart: bool) -> None:
        from .life import clean_shutdown

        clean_shutdown(restart)
        self._stopping = True
        self.loop.stop()


def _from_outside(error: BaseException) -> BaseException:
    """Without the caller's own frame, into which it was thrown: it is none of the user's."""
    above = error.__traceback__
    return error.with_traceback(above.tb_next if above is not None else None)


def _callback_runs(frame) -> bool:
    """Whether the loop is in a callback of the user's (``call_later``, a protocol), not waiting or in our own code."""
    outermost = None
    while frame is not None and frame.f_code is not MainLoop.run.__code__:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in ("asyncio", "selectors", "nest_asyncio", "nest_asyncio2"):
            outermost = module
        frame = frame.f_back
    return outermost is not None and not outermost.startswith("larder.")


def _asyncio_runner():
    from IPython.core.interactiveshell import _asyncio_runner as runner

    return runner
