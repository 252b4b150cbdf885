"""Recovery of a notebook: its variables go to a session shelf after every cell and come back after a crash.

Rules (``docs/recovery.md`` has the reasons)

- After each cell every variable is serialised again and compared by a 128-bit digest of the result with what was saved
  last; only what differs is written. Nothing is skipped because a cell "could not have" touched it.
- Names that share an object, or arrays that share memory, are one group: one record, shared again after recovery.
- One cell is one commit: the groups that changed, and a version that says which record every name was in.
- What cannot be serialised is listed with the reason and the cell; it never keeps other names from being saved.
- Without a clean shutdown on record the next kernel of the same notebook restores the last version. An attempt is
  recorded before it begins: two that did not live to see a cell end make the third offer instead of force.
- A second kernel of a notebook is not saved while the first one lives, and is from then on (`takeover`).
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import hooks, saver, surroundings
from .blocks import Blocks
from .errors import ShelfBusy, ShelfError
from .processes import ended
from .reader import Reader, joined
from .recorder import VERSION, Recorder, _cwd
from .settings import positive

ATTEMPTS_MAX = 2
SHUTDOWN_SECONDS = 3.0
"""How long a shutdown waits for what is saved beside the kernel; front ends kill a kernel that takes five."""
SAVER_SECONDS_MAX = positive("LARDER_WAIT_SECONDS", 60)
"""How long a new kernel waits for what the last one's children still save."""
POLICIES = ("auto", "ask", "never")
WORDS_MAX, WORD_MAX = 200, 300
"""Names in the line that says what came back, and characters of one with its reason."""


def session_file(key: str) -> Path:
    """Where the session shelf of a notebook is: readable, and different for different notebooks."""
    import hashlib

    from .shelf import home

    tail = re.sub(r"[^A-Za-z0-9._-]+", "_", key)[-60:].strip("_.") or "session"
    return (
        home() / "sessions" / f"{tail}-{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}.shelf"
    )


_session = ""
"""What the front end calls this notebook."""
_recorder: Recorder | None = None
_why_none = "recovery was not started: it needs larder's own kernel"


def recorder() -> Recorder:
    """This process's recorder. Raises ``ShelfError`` saying why there is none."""
    if _recorder is None:
        raise ShelfError(f"this notebook is not saved: {why_none()}")
    return _recorder


_look_again: Callable[[], object] | None = None
"""Of a kernel that waits for another one's end: says in ``_why_none`` how that stands now."""


def why_none() -> str:
    """Why there is no recorder; empty when there is one."""
    if _recorder is None and _look_again is not None:
        _look_again()
    return "" if _recorder is not None else _why_none


def start(ip: Any, session: str | None) -> None:
    """Attach to ``ip`` before its first cell, and restore the notebook ``session`` if it ended in a crash.

    Never raises: a kernel without recovery is better than none. What went wrong is printed with the first cell.
    """
    global _why_none, _session
    _session = session or ""
    if not session:
        _why_none = "the front end gave this kernel no session name (JPY_SESSION_NAME)"
        return
    path = session_file(session)
    try:
        surroundings.begin(ip)
        try:
            _begin(ip, _open_when_free(ip, path))
            return
        except ShelfBusy as err:
            _why_none = str(err)
            _wait(ip, path)
        except NewerLayout as err:
            _why_none = f"{err}; restart this kernel when that is mended"
        except (ShelfError, OSError) as err:
            _why_none = f"{err}; it is saved from the end of the first cell on for which that is mended"
            _wait(ip, path)
    except Exception as err:
        _why_none = f"{type(err).__name__}: {err}"
    _say(ip, f"larder: this notebook is not saved: {_why_none}")


def _wait(ip: Any, path: Path) -> None:
    from .takeover import Waiting  # seldom needed

    Waiting(ip, path)


class NewerLayout(ShelfError):
    """The session shelf is a newer larder's."""


def _attach(rec: Recorder) -> None:
    """This process's notebook is saved by ``rec`` from now on."""
    global _recorder
    hooks.BEFORE.append(rec.before_cell)
    hooks.AFTER.append(rec.after_cell)
    hooks.SILENT.append(rec.after_silent)
    _recorder = rec
    _let_go_in_children(rec)
    rec.blocks.turn_on()
    versions = rec.meta["versions"]
    rec.began_with_nothing = not versions
    if versions:
        rec.meta["recoverable"] = versions[-1]
        rec.offered = True


def _begin(ip: Any, rec: Recorder) -> None:
    """No cell was run yet: begin as the state on the shelf asks for."""
    _attach(rec)
    versions = rec.meta["versions"]
    missing = rec.promised.told()
    if not versions:
        if missing:
            _say(ip, missing)
        return
    crashed = not rec.meta["clean"]
    policy = os.environ.get("LARDER_RECOVER") or "auto"
    if policy not in POLICIES:
        _say(ip, f"larder: LARDER_RECOVER is {policy!r}, which is none of {', '.join(POLICIES)}; taken as auto")
        policy = "auto"
    if not crashed or policy == "never":
        return
    if policy == "ask" or rec.meta["attempts"] >= ATTEMPTS_MAX:
        why = "LARDER_RECOVER=ask" if policy == "ask" else "the last attempts to restore it did not survive a cell"
        _say(
            ip,
            f"larder: the last kernel of this notebook ended without a shutdown; `%shelf recover` restores it ({why})"
            + (f"\n{missing}" if missing else ""),
        )
        return
    rec.put_meta("recovery begins", attempts=rec.meta["attempts"] + 1)
    try:
        later = Later(rec, versions[-1])
        hooks.AHEAD.append(later.ahead)
        hooks.BEFORE.append(later.before)
        rec.meta["recoverable"], rec.offered = None, False
    except Exception as err:
        _say(ip, f"larder: the state of this notebook could not be restored ({type(err).__name__}: {err}); it is kept")


def _open_when_free(ip: Any, path: Path) -> Recorder:
    """Open the session shelf; what a child of the last kernel, which has ended, still saves is waited for."""
    from ._larder import shelf_holders

    began = time.monotonic()
    told = 0
    while True:
        try:
            rec = _open(ip, path)
        except ShelfBusy as err:
            kernel, child = shelf_holders(str(path))
            waited = time.monotonic() - began
            if kernel is not None and not ended(kernel):
                raise ShelfBusy(held_by(kernel)) from err
            told = child or told
            if waited > SAVER_SECONDS_MAX:
                who = f"process {told}" if told else "a process"
                still = f"{who} is still saving what the last kernel of this notebook had, after {waited:.0f} s"
                raise ShelfBusy(f"{still}; this kernel is saved when it has ended") from err
            time.sleep(0.02)
            continue
        waited = time.monotonic() - began
        if told and waited > 1:
            _say(ip, f"larder: waited {waited:.1f} s for process {told}, which saved what the last kernel had")
        return rec


def held_by(kernel: int) -> str:
    """Why a second kernel of a notebook is not saved."""
    return (
        f"another kernel (process {kernel}) has this notebook's variables; this one is saved when that one has ended, and "
        "what that one had stays in `%shelf log`"
    )


def _open(ip: Any, path: Path) -> Recorder:
    """The recorder of a session shelf; one that cannot be read is set aside and a new one begun."""
    from ._larder import NativeShelf
    from .errors import ShelfCorrupt, ShelfFormat

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = os.umask(0o077)
    try:
        try:
            native = NativeShelf(str(path), "a", None)
            rec = Recorder(ip, native, path)
            if rec.meta["version"] > VERSION:
                native.close()
                raise NewerLayout(
                    f"{path} was written by a newer larder (layout {rec.meta['version']}); it is left as it is"
                )
            if rec.meta["version"] < VERSION:
                raise ShelfFormat(f"written by another version of larder (layout {rec.meta['version']})")
        except (ShelfCorrupt, ShelfFormat, ValueError, KeyError) as err:
            aside = path.with_suffix(f".damaged-{int(time.time())}")
            os.replace(path, aside)
            rec = Recorder(ip, NativeShelf(str(path), "a", None), path)
            _say(ip, f"larder: the saved state of this notebook cannot be read ({err}); it was set aside as {aside}")
    finally:
        os.umask(before)
    os.chmod(path, 0o600)
    return rec


def _let_go_in_children(rec: Recorder) -> None:
    """A forked child must not hold the shelf's lock when the kernel is gone: its descriptors of the file are replaced."""

    def let_go() -> None:
        global _recorder, _why_none
        if saver.forking or _recorder is not rec:
            return
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for fd in rec.fds:
            os.dup2(null, fd, inheritable=False)
        os.close(null)
        rec.on = False
        _recorder, _why_none = None, "this process was forked from the kernel"

    os.register_at_fork(after_in_child=let_go)


def restore(seq: int, names: list[str] | None = None) -> str:
    """Put version ``seq`` into the namespace; returns the line that says what came back."""
    rec = recorder()
    rec.drain()
    version = rec.version(seq)
    back, failed = rec.load(seq, names, rec.ip.user_ns)
    if names is None:
        rec.restored(seq, back)
    if names is None:
        failed = {**_unsaved(version), **failed}
        rec.restored_from = seq
    return _told(version, back, failed, names is None)


class Elsewhere(Reader):
    """The session shelf of another notebook, to read."""

    def __init__(self, path: Path) -> None:
        from ._larder import NativeShelf

        self.ip, self.native, self.run = recorder().ip, NativeShelf(str(path), "r", None), ""
        self.blocks, self._versions = Blocks(), {}
        entry = self.native.get("meta")
        self.meta = json.loads(joined(entry)) if entry is not None else {"versions": []}

    def drain(self, seconds: float | None = None) -> bool:
        return True

    def set_beside(self, name: str, value: dict[str, Any]) -> None:
        """The sequences of random numbers and the options stay this notebook's."""

    def variables_came(self) -> None:
        pass

    def set_here(self, version: dict) -> dict[str, str]:
        return {}


def restore_from(notebook: str, names: list[str] | None = None) -> str:
    """Put the last state of another notebook into the namespace: one it was renamed or copied from.

    Raises ``FileNotFoundError`` naming the notebooks that have one.
    """
    found = session_file(os.path.join(os.path.dirname(_session), notebook))
    if not found.exists():
        found = session_file(notebook)
    if not found.exists():
        there = sorted(path.stem.rpartition("-")[0] for path in found.parent.glob("*.shelf")) or ["none"]
        raise FileNotFoundError(
            f"no state of a notebook `{notebook}` is saved in {found.parent}; there are: {', '.join(there)}"
        )
    other = Elsewhere(found)
    if not other.meta["versions"]:
        raise FileNotFoundError(f"nothing was saved of the notebook `{notebook}` ({found})")
    rec = recorder()
    rec.drain()
    version = other.version(other.meta["versions"][-1])
    back, failed = other.load(version["seq"], names, rec.ip.user_ns)
    if names is None:
        failed = {**_unsaved(version), **failed}
    return _told(version, back, failed, False)


# Code with one of these words can reach any variable without naming it.
_ANY = frozenset(
    "globals locals vars eval exec dir compile get_ipython __main__ inspect gc sys user_ns larder who whos _".split()
)


class Later:
    """A restore in two steps: what the first cell can touch before it runs, the rest (and its imports) after its reply.

    The first cell's words, and what the functions they name use, say what it can touch; code that can reach variables without
    naming them gets all of them first. Whatever comes second is in the namespace before the next request is looked at. If
    kernels did not survive the second step, there is none: all is restored before the first cell.
    """

    def __init__(self, rec: Recorder, seq: int) -> None:
        self.rec, self.seq = rec, seq
        self.version = rec.version(seq)
        rec.restore_inputs(seq)
        rec.deferred = {**self.version["names"], **dict.fromkeys(self.version["imports"], "")}
        rec._last = self.version
        rec.restored_from = seq
        began, ended = self.version.get("began"), self.version["cwd"]
        if ended and began and ended != began and os.path.isdir(ended):
            os.chdir(ended)
        self.failed: dict[str, str] = {}
        self._first = self._elsewhere = True
        """What comes with the first step: what the first cell can touch, and what the notebook has set beside its variables."""
        self._served = self._told = False

    def ahead(self, code: str | None) -> None:
        """Before code runs, or (``None``) before the namespace is looked at some other way.

        A front end that knows subshells sends what its widgets say to a thread of its own: who comes second waits for the
        other, and finds everything there.
        """
        with self.rec._lock:
            self._ahead(code)

    def _ahead(self, code: str | None) -> None:
        self._served = True
        if not self.rec.deferred:
            if self.ahead in hooks.AHEAD:
                hooks.AHEAD.remove(self.ahead)
            return
        first, self._first = self._first and self.rec.meta.get("finishing", 0) < ATTEMPTS_MAX, False
        self._load(self._touched(code) if first and code is not None else set(self.rec.deferred))
        if self.rec.deferred and self.finish not in hooks.REPLIED:
            hooks.REPLIED.append(self.finish)

    def before(self, ip: Any, info: Any) -> None:
        """The same for shells that do not announce requests; and a line on the first cell's page."""
        served, self._served = self._served, False
        if not served and self.rec.deferred:
            self.ahead(getattr(info, "raw_cell", None) or "")
            self._served = False
        if not self._told:
            self._told = True
            failed = {**_unsaved(self.version), **self.failed}
            back = {*self.version["names"], *self.version["imports"]} - set(failed)
            print(_told(self.version, back, failed, True))
        if not self.rec.deferred:
            hooks.BEFORE.remove(self.before)

    def _touched(self, code: str) -> set[str]:
        words = set(re.findall(r"[^\W\d]\w*", code))
        if words & _ANY or re.search(r"(^|\n|=)\s*[%!]|\?\s*($|\n)|import\s*\*", code):
            return set(self.rec.deferred)
        names = self.version["names"]
        beside = {names[name] for name in surroundings.BESIDE & names.keys()}
        beside = {name for name, record in names.items() if record in beside}
        return (self.rec.reach(self.seq, words, _ANY) | beside) & set(self.rec.deferred)

    def finish(self) -> None:
        """Everything that is still missing, and a word on the next cell's page if something cannot come back."""
        with self.rec._lock:
            self._finish()

    def _finish(self) -> None:
        hooks.REPLIED.remove(self.finish)
        if not self.rec.deferred:
            return
        before = set(self.failed)
        self.rec.put_meta("the rest of recovery begins", finishing=self.rec.meta.get("finishing", 0) + 1)
        self._load(set(self.rec.deferred))
        self.rec.put_meta("recovered", finishing=0)
        new = {name: why for name, why in self.failed.items() if name not in before}
        if new and self._told:
            _say(self.rec.ip, "larder: not back after all: " + _reasons(new))

    def _load(self, names: set[str]) -> None:
        rec, space = self.rec, self.rec.ip.user_ns
        if self._elsewhere:
            self._elsewhere = False
            self.failed |= rec.set_here(self.version)
        if not names:
            return
        newer = {name: value for name, value in rec.namespace().items() if name in names}
        back, failed = rec.load(self.seq, sorted(names), space)
        space.update(newer)
        self.failed |= failed
        for name in names:
            rec.deferred.pop(name, None)
        rec.restored(self.seq, [name for name in back if name not in newer], more=True)


def _unsaved(version: dict) -> dict[str, str]:
    return {n: f"{u['why']}; cell [{u['cell']}]" for n, u in version["unsaved"].items()}


def _reasons(failed: dict[str, str]) -> str:
    return _some([f"{name} ({why})" for name, why in sorted(failed.items())], "; ")


def _some(words: list[str], between: str) -> str:
    """No more of them than a page has room for."""
    shown = [word if len(word) <= WORD_MAX else word[: WORD_MAX - 3] + "..." for word in words[:WORDS_MAX]]
    more = f"{between}and {len(words) - WORDS_MAX:,} more (see %shelf status)" if len(words) > WORDS_MAX else ""
    return between.join(shown) + more


def _told(version: dict, back: Any, failed: dict[str, str], whole: bool) -> str:
    listed = _some(sorted(set(back) - surroundings.BESIDE), ", ") or "nothing"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(version["time"]))
    line = f"larder: back from cell [{version['count']}] of {when}: {listed}"
    if whole and (beside := surroundings.told(version.get("here", {}), {*version["names"]} - set(failed))):
        line += "\nlarder: set as before: " + _reasons(beside)
    if failed:
        line += "\nlarder: not back: " + _reasons(failed)
    if whole and recorder().promised.missing and version["seq"] == recorder().meta["versions"][-1]:
        line += "\n" + recorder().promised.told()
    if whole and version["cwd"] and version["cwd"] != _cwd():
        line += f"\nlarder: the notebook was in {version['cwd']}, it is now in {_cwd()}"
    return line


def _say(ip: Any, text: str) -> None:
    """Print once, on the page of the first cell: before it there is no page."""

    def once(shell: Any, info: Any) -> None:
        hooks.BEFORE.remove(once)
        print(text)

    hooks.BEFORE.append(once)


def clean_shutdown(restart: bool) -> None:
    """A front end asked for the end: the next kernel starts fresh, and ``%shelf recover`` brings the state back."""
    global _recorder, _why_none, _look_again
    rec, _recorder = _recorder, None
    _look_again = None
    _why_none = "the kernel is shutting down"
    if rec is None:
        return
    hooks.AFTER[:] = [hook for hook in hooks.AFTER if hook != rec.after_cell]
    hooks.BEFORE[:] = [hook for hook in hooks.BEFORE if hook != rec.before_cell]
    hooks.SILENT[:] = [hook for hook in hooks.SILENT if hook != rec.after_silent]
    if not rec.leave(SHUTDOWN_SECONDS):
        return  # the child that saves records it
    try:
        rec.put_meta("restart" if restart else "shutdown", clean=True, restarting=restart)
        rec.promised.clear(rec.meta["seq"])
        rec.native.close()
    except ShelfError as err:
        print(f"larder: the end of this session could not be recorded: {err}", file=sys.stderr)
