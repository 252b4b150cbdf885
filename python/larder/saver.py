"""Saving beside the kernel: a forked child has the notebook as it was when its cell ended, and all the time it takes.

The child's copy-on-write memory is the frozen view. It serialises, copies and commits to the session shelf, whose writer it is
until it ends (``shelf/src/lend.rs``), and leaves what it did in a memory file for those who write next: the kernel, or the
child forked after the next cell, which waits for it. It lives on when the kernel is killed, so what was answered is
saved; the next kernel of the notebook waits for it.

Rules

- One writes at a time: a child starts when those before it have ended, the kernel writes when no child is left.
- A child takes its token before it writes. Who takes the token first can also be the kernel: then the child never begins.
- A child that makes no progress ends itself (``SIGALRM``). The kernel then saves as if there were no children.
- What it sees does not change: variables in memory that is shared, or in a shelf, are not left to it.
- It prints nothing, runs no exit handlers and collects no garbage: finalisers are the kernel's to run.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import math
import os
import pickle
import posix
import re
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from . import processes
from .errors import ShelfError, ShelfFull
from .settings import positive

STALLED_SECONDS = positive("LARDER_SAVER_SECONDS", 30)
"""A child that reports no progress for so long ends itself."""
BYTES_PER_SECOND_MIN = 20 << 20
"""What the slowest disk we reckon with writes."""
WAITING_MAX = 4
"""So many children wait at most; one more takes the place of the last of them."""
SECONDS_PER_BYTE = 20e-3 / (1 << 30)
"""What a fork costs per byte of resident memory until one was measured (pages of 4 KiB: 7 to 22 ms per GiB)."""
COPIES, COPIES_SECONDS_MAX = 5, 20e-3
"""The cells behind it pay for the pages that they store to again: several times what the fork took, up to that."""
HOSTILE = {
    "cupy": "CUDA", "jax": "JAX", "tensorflow": "TensorFlow", "jpype": "a Java machine", "mpi4py": "MPI",
}  # fmt: skip
"""Modules whose state does not survive a fork."""
_HEAD, _NAME, _END = 64, 256, 512
"""The memory file: flags, the name in hand, and from ``_END`` on what the child says, each behind its length."""
_CLOSED, _UNTIL, _FIRST = 0, 8, 16
"""The memory file of states it is given: whether it takes no more, where the last one ends, and from ``_FIRST`` on the
states, each behind its length."""
GIVEN_BYTES_MAX = 64 << 20
"""So much is given to one child."""

hung = False
"""True once a child never began."""
forking = False
"""True while a saver is forked: hooks of ours that let children go leave it alone."""


class State(NamedTuple):
    """The state after a cell, as one speaks of it."""

    seq: int
    count: int
    code: str
    names: list[str]
    """Variables that changed."""


class Work(NamedTuple):
    """What a child does."""

    ahead: Callable[[Saver], None]
    """While those before it write."""
    states: Callable[[Saver], Iterator[Any]]
    """Writes, and says each time what it committed."""
    last: Callable[[], None]
    """In the end, if it was told to leave the session clean."""


class Answer(NamedTuple):
    """What became of one state."""

    saved: Any
    """What it committed (`recorder.Saved`), or ``None``."""
    error: str
    full: bool = False
    shelf: bool = False


def why_not() -> str:
    """Why no child can be forked here; empty where one can."""
    if not hasattr(os, "pidfd_open"):
        return "this system has no pidfd_open"
    if os.environ.get("LARDER_SAVER") == "never":
        return "LARDER_SAVER=never"
    if hung:
        return "a forked process hung before it began: some library does not survive a fork"
    for module, what in HOSTILE.items():
        if module in sys.modules:
            return f"{what} is in use, which does not survive a fork"
    torch = sys.modules.get("torch")
    if torch is not None and getattr(torch, "cuda", None) is not None and torch.cuda.is_initialized():
        return "CUDA is in use, which does not survive a fork"
    monitoring = getattr(sys, "monitoring", None)  # CPython 3.12
    if sys.gettrace() is not None or (monitoring and monitoring.get_tool(monitoring.DEBUGGER_ID)):
        return "a debugger is attached, which would stop at its breakpoints in a forked process too"
    return ""


def needs_threads(walked: Any) -> bool:
    """Whether serialising what a walk came to an end at (the name of its type) needs threads, which a forked child has not.

    Polars asks a pool for almost everything.
    """
    return isinstance(walked, str) and walked.startswith("polars.")


_MAPPING = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) rw.([sp]) \S+ \S+ (\d+) *(.*)$", re.M)


_TRACES = b"/memfd:larder-traces (deleted)"
"""`core/jit`'s arena."""


def not_frozen(session: str) -> list[tuple[int, int]]:
    """Memory that a forked child sees change: what is shared, and shelves, whose pages are private until a checkpoint.

    The session shelf's own pages stay what they are as long as something is mapped from them. The code of compiled loops, which
    is mapped twice and therefore shared, holds no variables.
    """
    with open("/proc/self/maps", "rb") as maps:
        found = _MAPPING.findall(maps.read())
    own = os.stat(session).st_ino
    return [
        (int(low, 16), int(high, 16))
        for low, high, sort, inode, path in found
        if (sort == b"s" and path != _TRACES) or (b".shelf" in path and int(inode) != own)
    ]


_MAPPING_AT = struct.Struct("9Q4I2Q")
_PROCMAP_QUERY = 0xC0000000 | _MAPPING_AT.size << 16 | ord("f") << 8 | 17
_WRITABLE_FROM_HERE, _SHARED = 0x12, 0x8
_ASKED_MAX = 64


def thaws(spans: Sequence[tuple[int, int]], session: str) -> bool | None:
    """Whether some of this memory is such as `not_frozen` finds, asked piece by piece (Linux 6.11); ``None``: look there."""
    if len(spans) > _ASKED_MAX:
        return None
    own = os.stat(session).st_ino
    with open("/proc/self/maps", "rb", 0) as maps:
        for low, high in spans:
            while low < high:
                about = bytearray(_MAPPING_AT.pack(_MAPPING_AT.size, _WRITABLE_FROM_HERE, low, *[0] * 12))
                try:
                    fcntl.ioctl(maps, _PROCMAP_QUERY, about)
                except OSError as err:
                    if err.errno == errno.ENOENT:
                        break  # there is none from here on
                    return None
                _, _, _, start, end, flags, _, _, inode, *_ = _MAPPING_AT.unpack(about)
                if start >= high:
                    break
                if flags & _SHARED:
                    return True
                if inode not in (0, own):
                    return None
                low = end
    return False


def always() -> bool:
    """Whether every cell is to be saved beside the kernel (for tests)."""
    return os.environ.get("LARDER_SAVER") == "always"


def resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Saver:
    """One child, as the kernel (and every child forked later) knows it."""

    def __init__(self, state: State) -> None:
        self.states = [state]
        """What it was forked to save, and what it was given since."""
        self.coming: Any = None
        """What will be on the shelf when it has ended (`states.Coming`), once that is known."""
        self.closed = False
        """It takes no more states: it has written all it has, or was ended."""
        self.pid = self.pidfd = 0
        self.began = self._forked = time.monotonic()
        self._file = os.memfd_create("larder-saver")
        os.ftruncate(self._file, _END)
        self._inbox = os.memfd_create("larder-states")
        self._sent = self._taken = _FIRST
        self._read = _END
        self._token = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.status: int | None = None
        self._turn, self._asked = 0.0, False
        self.hung = False
        """It was ended because it never began."""

    # --- in the kernel ---

    def fork(self, before: list[Saver], fds: list[int], work: Work) -> None:
        """Fork a child that does the ``work``, and writes when those ``before`` it have ended. Raises ``OSError``."""
        global forking
        signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD}
        held = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        forking = True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # threads: none of ours has a lock now
                self.pid = posix.fork()  # `os.fork` may be somebody's that starts threads in the child
            if self.pid == 0:
                self._child(before, fds, work)
            with contextlib.suppress(OSError):
                os.setpgid(self.pid, self.pid)  # a kill of the kernel's group must not reach it, from here on
            self.pidfd = os.pidfd_open(self.pid)
            self._forked = time.monotonic()
        except OSError:
            if self.pid > 0:
                os.kill(self.pid, signal.SIGKILL)
                self.reap()
            self.close()
            raise
        finally:
            forking = False
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def give(self, state: State, data: bytes, buffers: Sequence[memoryview] = ()) -> bool:
        """Have it save one more state behind those it has: a pickle and what is out of band of it; false if it takes no more.

        The state is in the child's memory, with the kernel or without it, when this returns true. One that was killed is
        there for a while: it takes none.
        """
        sizes = [len(data), *(part.nbytes for part in buffers)]
        head = pickle.dumps(sizes)
        size = 8 + len(head) + sum(sizes)
        if self._sent + size > GIVEN_BYTES_MAX:
            return False
        at = self._sent + 8
        for part in (len(head).to_bytes(8, "little"), head, data, *buffers):
            at += os.pwrite(self._inbox, part, at)
        os.pwrite(self._inbox, size.to_bytes(8, "little"), self._sent)
        with self._inbox_alone():
            self.closed = os.pread(self._inbox, 1, _CLOSED) == b"\1" or self.ending()
            if self.closed:
                return False
            self._sent += 8 + size
            self.states.append(state)
            os.pwrite(self._inbox, self._sent.to_bytes(8, "little"), _UNTIL)
        return True

    @contextlib.contextmanager
    def _inbox_alone(self) -> Iterator[None]:
        """Only the kernel or only the child is here. The lock is the process's own: it goes when the process does."""
        fcntl.lockf(self._inbox, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._inbox, fcntl.LOCK_UN)

    def cancel(self) -> bool:
        """End it, if it has not begun to write."""
        if not self._claim():
            return False
        os.kill(self.pid, signal.SIGKILL)
        return True

    def leave_clean(self, clean: bool) -> None:
        """Whether, at its end, it marks the session as shut down."""
        os.pwrite(self._file, b"\1" if clean else b"\0", 0)

    def reap(self) -> None:
        if self.status is None:
            try:
                self.status = os.waitpid(self.pid, 0)[1]
            except ChildProcessError:
                self.status = 0  # somebody else waited for it, or it is not our child

    def end_text(self) -> str:
        """How it ended, when it left no answer."""
        self.reap()
        if self.hung:
            return f"did not begin within {STALLED_SECONDS:g} s"
        if self.status and os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            if number == signal.SIGALRM:
                return f"made no progress for {STALLED_SECONDS:g} s"
            return f"was ended by {signal.Signals(number).name}"
        return "ended early"

    @property
    def blamed(self) -> bool:
        """Whether what it had in hand is the likely reason of its end."""
        return bool(self.status) and os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) != signal.SIGKILL

    # --- in both ---

    def ended(self, seconds: float | None = 0) -> bool:
        """Whether it has ended; waits for it for so long, or (``None``) as long as it takes."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(None if seconds is None else max(seconds, 0) * 1e3))

    def ending(self) -> bool:
        """Whether it has ended, or was killed and will soon have: it does nothing any more."""
        return self.ended() or processes.ended(self.pid)

    def finish(self, seconds: float | None = 0) -> bool:
        """As `ended`, asked when those before it have ended: if it does not begin then, it is ended.

        Only what runs our code has an alarm; before that a library's hook for forked processes may hang.
        """
        now = time.monotonic()
        until = math.inf if seconds is None else now + seconds
        self._turn = self._turn or now
        while not self.ended(min(max(until - now, 0), 1.0)):
            now = time.monotonic()
            if not self._asked and now - self._turn > STALLED_SECONDS and os.pread(self._file, 1, 1) != b"\1":
                self._asked, self.hung = True, self.cancel()
            if now >= until:
                return False
        return True

    def answers(self) -> list[Answer]:
        """What became of its states in order, once it has ended: as far as it came."""
        return [one for one in self._said(_END)[0] if isinstance(one, Answer)]

    @property
    def saved(self) -> bool:
        """Whether all of its states were."""
        return sum(answer.saved is not None for answer in self.answers()) == len(self.states)

    def said(self, seconds: float) -> Any:
        """What it says will be on the shelf; waits for it for so long after it was forked."""
        while True:
            found, self._read = self._said(self._read)
            coming = next((one for one in found if not isinstance(one, Answer)), None)
            left = self._forked + seconds - time.monotonic()
            if coming is not None or left < 0:
                return coming
            if self.ended(min(left, 5e-4)):
                return next((one for one in self._said(_END)[0] if not isinstance(one, Answer)), None)

    def _said(self, at: int) -> tuple[list, int]:
        found = []
        while size := int.from_bytes(os.pread(self._file, 8, at), "little"):
            found.append(pickle.loads(os.pread(self._file, size, at + 8)))
            at += 8 + size
        return found, at

    @property
    def in_hand(self) -> list[str]:
        """The variables it serialises together, or did when it ended."""
        written = os.pread(self._file, _NAME, _HEAD).rstrip(b"\0")
        try:
            names = written.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # cut short
            names = written.decode(errors="replace")
        return names.split(",") if names else []

    def close(self) -> None:
        for fd in (self._file, self._inbox, self._token, self.pidfd):
            if fd:
                os.close(fd)
        self._file = self._inbox = self._token = self.pidfd = 0

    def _claim(self) -> bool:
        try:
            return os.eventfd_read(self._token) == 1
        except BlockingIOError:
            return False

    # --- in the child ---

    def progress(self, names: Sequence[str], nbytes: int = 0, seconds: float = 0.0) -> None:
        """It goes on: with these variables, or so many bytes to write; it is expected to take ``seconds`` at most."""
        written = ",".join(names).encode("utf-8", "surrogatepass")
        os.pwrite(self._file, written[: _NAME - 1].ljust(_NAME, b"\0"), _HEAD)
        signal.setitimer(signal.ITIMER_REAL, STALLED_SECONDS + nbytes / BYTES_PER_SECOND_MIN + seconds)

    def say(self, what: Any) -> None:
        """Leave word for those who write next."""
        data = pickle.dumps(what)
        os.pwrite(self._file, data, self._read + 8)
        os.pwrite(self._file, len(data).to_bytes(8, "little"), self._read)
        self._read += 8 + len(data)

    def next(self) -> tuple[memoryview, list[memoryview]] | None:
        """The next state it was given; ``None`` if there is none, and then none will come."""
        with self._inbox_alone():
            until = int.from_bytes(os.pread(self._inbox, 8, _UNTIL), "little")
            if self._taken >= until:
                os.pwrite(self._inbox, b"\1", _CLOSED)
                return None
        size = int.from_bytes(os.pread(self._inbox, 8, self._taken), "little")
        given = memoryview(os.pread(self._inbox, size, self._taken + 8))
        self._taken += 8 + size
        at = 8 + int.from_bytes(given[:8], "little")
        parts = []
        for nbytes in pickle.loads(given[8:at]):
            parts.append(given[at : at + nbytes])
            at += nbytes
        return parts[0], parts[1:]

    def rest(self) -> None:
        """It waits for others."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def is_left_clean(self) -> bool:
        return os.pread(self._file, 1, 0) == b"\1"

    def _child(self, before: list[Saver], fds: list[int], work: Work) -> None:
        try:
            self.pid = os.getpid()
            others = (fd for one in before for fd in (one._file, one._token, one.pidfd))
            _settle_in([*fds, self._file, self._inbox, self._token, *others])
            os.pwrite(self._file, b"\1", 1)
            if before:
                work.ahead(self)
                self.rest()
            for one in before:
                one.finish(None)
            if not self._claim():
                os._exit(0)
            self.progress(())
            try:
                for saved in work.states(self):
                    self.say(Answer(saved, ""))
                if self.is_left_clean():
                    work.last()
            except ShelfFull as err:
                self.say(Answer(None, str(err), full=True))
            except ShelfError as err:
                self.say(Answer(None, str(err), shelf=True))
            os._exit(0)
        except BaseException as err:
            with contextlib.suppress(BaseException):
                self.say(Answer(None, f"{type(err).__name__}: {err}"))
        finally:
            os._exit(1)


def _settle_in(keep: list[int]) -> None:
    """Make a forked child independent of the kernel: no signals meant for it, no sockets, pipes and files of its own."""
    with contextlib.suppress(OSError):
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN if number != signal.SIGCHLD else signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    gc.disable()
    sys.settrace(None)
    sys.setprofile(None)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    sys.stdout = sys.stderr = open(os.devnull, "w")
    kept = {0, 1, 2, sys.stdout.fileno(), *keep}
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(entry))
