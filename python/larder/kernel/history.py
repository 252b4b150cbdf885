"""IPython's input history, with fewer waits for the disk.

IPython begins its session in the database, with several fsyncs, before the first cell can run, and ends it before the
kernel can. Here a thread begins it, beside start-up and the first cell; whoever needs the session's number waits for it.

Its writer holds the lock that each cell takes until the disk has what it wrote. That is long while a large variable is on
its way to the session shelf, because one flush of a file system waits for the other. Here it holds it for as long as it takes
to see what there is to write. It writes for several cells at once, and goes on beside the children that save.
"""

from __future__ import annotations

import os
import threading
import weakref

import IPython.core.history
from IPython.core.history import DummyDB

from .. import saver

WAIT_SECONDS = 0.2
"""How long the writer waits for more cells."""


class HistoryManager(IPython.core.history.HistoryManager):
    """The shell's history manager: IPython's own but for when its session begins. `%config` knows it by that name."""

    _beginning: threading.Thread | None = None
    _error: Exception | None = None
    _number = 0

    def __init__(self, *args, **kwargs) -> None:
        self._writing = threading.Lock()
        super().__init__(*args, **kwargs)
        instances = getattr(self, "_instances", ())
        if self in instances:
            # IPython stops the writer before any fork: here it goes on when the fork is one of ours, which leaves it alone.
            instances.discard(self)
            one = weakref.ref(self)
            os.register_at_fork(before=lambda: _before_fork(one()))

    @property
    def session_number(self) -> int:
        beginning = self._beginning
        if beginning is not None and beginning is not threading.current_thread():
            beginning.join()
            self._beginning = None
            if self._error is not None:
                self._do_without_file()
        return self._number

    @session_number.setter
    def session_number(self, number: int) -> None:
        self._number = number

    def new_session(self, conn=None) -> None:
        """Get a new session number; at the first call somewhat later."""
        if conn is not None or self._number or self._beginning is not None or isinstance(self.db, DummyDB):
            super().new_session(conn)
            return
        self._beginning = threading.Thread(target=self._begin, name="larder-history", daemon=True)
        self._beginning.start()

    def _begin(self) -> None:
        try:
            super().new_session()
        except Exception as error:  # the file is locked, read-only, on a full disk
            self._error = error

    def _do_without_file(self) -> None:
        """As IPython does when it cannot begin: this session's history is kept in memory."""
        self.log.error(
            "Failed to create history session in %s (%s). History will not be saved.", self.hist_file, self._error
        )
        self._error = None
        thread, self.save_thread = self.save_thread, None
        self.using_thread = False
        if thread is not None:
            thread.stop()
        self.db.close()
        self.hist_file = ":memory:"
        self.init_db()
        super().new_session()

    def writeout_cache(self, conn=None) -> None:
        """Write what is new; cells that end meanwhile do not wait for it."""
        if not self.enabled:
            return
        conn = self.db if conn is None else conn
        with self._writing:
            with self.db_input_cache_lock:
                inputs, self.db_input_cache = self.db_input_cache, []
            with self.db_output_cache_lock:
                outputs, self.db_output_cache = self.db_output_cache, []
            if inputs:
                self._write_inputs(conn, inputs)
            if outputs and not self._write(conn, "INSERT INTO output_history VALUES (?, ?, ?)", outputs):
                print("!! Session/line number for output was not unique in database. Output will not be stored.")

    def _write_inputs(self, conn, inputs: list[tuple]) -> None:
        insert = "INSERT INTO history VALUES (?, ?, ?, ?)"
        if not self._write(conn, insert, inputs):
            self.new_session(conn)
            print(
                f"ERROR! Session/line number was not unique in database. History logging moved to new session {self._number}"
            )
            self._write(conn, insert, inputs)

    def _write(self, conn, insert: str, rows: list[tuple]) -> bool:
        """Whether none of these lines was there already."""
        import sqlite3

        session = self.session_number
        try:
            with conn:
                conn.executemany(insert, [(session, *row) for row in rows])
        except sqlite3.IntegrityError:
            return False
        return True

    def _restart_thread_if_stopped(self) -> None:
        stopped = self.save_thread is None
        super()._restart_thread_if_stopped()
        if stopped:
            gather(self)


def _before_fork(manager: HistoryManager | None) -> None:
    if manager is not None and not saver.forking:
        thread, manager.save_thread = manager.save_thread, None
        if thread is not None:
            thread.stop()


class _Gathering(threading.Event):
    """Wakes the history's writer a moment after it is set, so that cells in quick succession share one write."""

    def __init__(self, thread) -> None:
        super().__init__()
        self._thread = thread
        self._ending = threading.Event()

    def set(self) -> None:
        if self._thread._stop_now:
            self._ending.set()
        super().set()

    def wait(self, timeout=None) -> bool:
        found = super().wait(timeout)
        self._ending.wait(WAIT_SECONDS)
        return found


def gather(manager: IPython.core.history.HistoryManager) -> None:
    """Each write of the input history is an fsync: gather them.

    The writer thread is IPython's own; reading the history and leaving write at once, as before.
    """
    thread = getattr(manager, "save_thread", None)
    if not all(hasattr(thread, name) for name in ("save_flag", "_stop_now")):
        return  # an IPython that writes its history otherwise
    before, thread.save_flag = thread.save_flag, _Gathering(thread)
    before.set()
