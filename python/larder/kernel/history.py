"""IPython's input history, with fewer waits for the disk.

IPython begins its session in the database, with several fsyncs, before the first cell can run, and ends it before the
kernel can. Here a thread begins it, beside start-up and the first cell; whoever needs the session's number waits for it.
"""

from __future__ import annotations

import threading

import IPython.core.history
from IPython.core.history import DummyDB


class HistoryManager(IPython.core.history.HistoryManager):
    """The shell's history manager: IPython's own but for when its session begins. `%config` knows it by that name."""

    _beginning: threading.Thread | None = None
    _error: Exception | None = None
    _number = 0

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
