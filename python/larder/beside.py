"""States that are saved beside the kernel: what a `Recorder` leaves to forked children (`saver`), and what they do with it.

Invariants

- What was answered is saved, or in the hands of a child that ends after it saved it, or (when that child died) known as lost.
- `Coming` is what a child says before it writes; who builds on it checks, when that child has ended, that it came true.
- `known` that rests on a state which was not saved names no group, and is serialised again.
- What a child was forked with rests on nothing: it serialises again what those before it did not save. What it is given may
  rest on them. So while one of them is lost, known or not (`_in_doubt`), none is given anything.
"""

from __future__ import annotations

import dataclasses
import math
import pickle
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from . import blocks, groups, hooks, pickled, saver
from .costs import Costs
from .ledger import Ledger
from .promised import Promised
from .reader import Reader
from .states import Coming, Look, Patch, Saved, Task

HANDED_BYTES_MAX = 16 << 20
"""The largest state that is given to a child that saves already."""
HEARD_SECONDS = 20e-3
"""How long one that was forked just now is listened to: a fork of another one takes as long, and its pages as well."""
BEFORE_REPLY, BEHIND_REPLY = "before reply", "behind reply"


class Beside(Reader):
    """The part of a `Recorder` that has children."""

    path: Path
    on: bool
    why_off: str
    saved: dict[str, tuple[bytes, str]]
    known: dict[str, groups.Known]
    deferred: dict[str, str]
    costs: Costs
    fds: list[int]
    walker: Any
    promised: Promised
    restored_from: int | None
    put_meta: Callable[..., None]
    _lock: threading.RLock
    _report: Callable[[str], None]
    _guarded: Callable[..., None]
    _task: Callable[[Look, saver.Saver | None], Task]
    _put: Callable[[Task, saver.Saver | None, float], Saved]
    _apply: Callable[[Saved], None]
    _remembered: Callable[[Look, list[tuple[str, ...]]], dict[str, groups.Known]]
    _chunks_there: Callable[[], set[str]]
    ledger: Ledger

    def __init__(self) -> None:
        self.savers: list[saver.Saver] = []
        """Children that save, oldest first."""
        self._doubt = False
        """One of the children since there was none was lost."""
        self._cancelled: list[saver.Saver] = []
        """Children that were ended before they began; it takes a large one a while to be gone."""
        self.why_no_saver = ""
        """Why cells are saved before their reply whatever it takes; empty where they are not."""
        self._not_beside: set[str] = set()
        """Variables a child came to its end with."""
        self._fork_seconds = 0.0
        """What forks took, per byte of resident memory."""
        self._task_ahead: Task | None = None
        """In a child: its state, serialised before it may write."""
        self._again: tuple[str, int] | None = None
        """The cell whose state is to be saved because a child was lost."""
        self._latest: tuple[str, int] | None = None
        """The last cell that ended: the state that is saved again is the one after it, whichever child was lost."""
        self._made_up = False
        """Since the last cell it was tried to make up for a lost child, or that is not to be tried before the next one."""

    @property
    def keys(self) -> Collection[str]:
        """The groups that are on the shelf, or will be by the time the next state is written."""
        return next((one.coming.keys for one in reversed(self.savers) if one.coming is not None), self.saved)

    def _save_beside(self, look: Look, task: Task | None, seconds: float, reply_at: float) -> bool:
        """Leave it to a child, if one can be had and is worth a fork; ``task``: it need only be written."""
        before = list(self.savers)
        # Who is forked next finds out what those before it did; who has not begun by then can go.
        surplus = before[-1] if len(before) > saver.WAITING_MAX else None
        if surplus is not None:
            task = None  # it rests on what the one that goes was to save
        self.why_no_saver = saver.why_not()
        resident = saver.resident_bytes()
        if self.why_no_saver or (task is None and self._only_here(look)):
            return False
        if not self.savers and seconds < self._fork_cost() and not saver.always():
            return False
        if self._unfrozen(look):
            return False
        listened = not self.savers and seconds == math.inf  # nothing is known of it: it may be quick
        look.reply_at = reply_at if listened else 0.0
        look.refresh(self.known)
        if task is not None and not task.rests_on(look.known):
            task = None
        child = saver.Saver(saver.State(look.seq, look.count, look.code, look.changed))
        if task is None:
            pickled.prepare(look.values.values())
        else:
            task.reply_at = 0.0
            look.known = {name: look.known[name] for name in task.known}
            child.coming = self._coming(task)
        if not self.native.lent:
            self.native.lend()
        self.promised.note(look.seq, look.count)
        began = time.thread_time()
        try:
            self._task_ahead = task
            ahead, states = lambda one: self._ahead(before, one, look), lambda one: self._as_child(before, one, look)
            child.fork(before, self.fds, saver.Work(ahead, states, self._leave_clean))
        except OSError as err:
            self.why_no_saver = f"the kernel cannot be forked: {err}"
            if not self.savers:
                self.native.take()
            return False
        finally:
            self._task_ahead = None
        self._fork_seconds = (time.thread_time() - began) / resident
        if surplus is not None and surplus.cancel():
            self.savers.remove(surplus)
            gone = {state.seq for state in surplus.states}
            self.known = {n: one._replace(names=()) if one.since in gone else one for n, one in self.known.items()}
            look.refresh(self.known)
            self._cancelled.append(surplus)
        self.savers.append(child)
        hooks.when_idle(child.pidfd, self.make_up)
        if task is None:
            held = self._remembered(look, [(name,) for name in look.changed])
            self.known = {**look.known, **{n: one._replace(names=(), since=look.seq) for n, one in held.items()}}
        else:
            self._foresee(look, task, child.coming)
        self.meta = {**self.meta, "seq": look.seq}
        self.restored_from = None
        if listened and child.ended(reply_at - time.perf_counter()):
            self._collect(BEFORE_REPLY)
        return True

    def _only_here(self, look: Look) -> bool:
        """Whether something that changed is to be serialised in the kernel: a forked child came to its end with it, or would
        wait for threads it does not have."""
        return any(
            name in self._not_beside or saver.needs_threads(look.walked[name])
            for name in look.changed
            if name in look.walked
        )

    def _fork_cost(self) -> float:
        """Seconds a fork takes now, and later for the pages that are stored to again, as far as can be told."""
        fork = (self._fork_seconds or saver.SECONDS_PER_BYTE) * saver.resident_bytes()
        return fork + min(fork * saver.COPIES, saver.COPIES_SECONDS_MAX)

    def _unfrozen(self, look: Look) -> bool:
        """Whether what a child would see of the changed variables could change under it."""
        found = [look.walked[name] for name in look.changed]
        spans = None if any(isinstance(one, str) for one in found) else [span for one in found for span in one.spans]
        told = None if spans is None else saver.thaws(spans, str(self.path))
        if told is not None:
            return told
        ranges = saver.not_frozen(str(self.path))
        if not ranges or spans is None:
            return bool(ranges)
        return any(a < high and low < b for a, b in ranges for low, high in spans)

    def _foreseen(self, look: Look) -> bool:
        """Whether it is known what will be on the shelf of all that did not change."""
        coming = self.savers[-1].coming
        return coming is not None and all("\0".join(one.names) in coming.keys for one in look.known.values())

    def _hand_over(self, look: Look, task: Task, child: saver.Saver) -> bool:
        """Give a state to the child that will write last, if it is small and the child is still there for it.

        What a child was given is as safe as what it was forked with: it lies in memory of both processes.
        """
        if self._in_doubt():
            return False
        bases = dict(child.coming.bases)
        there = self._chunks_there().union(*(one.coming.chunks for one in self.savers if one.coming is not None))
        room = HANDED_BYTES_MAX
        given = []
        for group, parts in zip(task.groups, task.parts(self.blocks), strict=True):
            stream, *others = parts.all
            buffers: list[Any] = []
            for view, part in zip(group.buffers, others, strict=True):
                one = part.given(there) if part.place is None else self._patch(view, part.place, bases)
                room -= part.missing(there, self.blocks) if part.place is None else len(one.data) if one else room + 1
                if room < 0:
                    return False
                buffers.append(one)
            room -= stream.missing(there, self.blocks)
            given.append(group._replace(stream=stream.given(there), buffers=buffers))
        if room < 0:
            return False
        apart: list[memoryview] = []

        def take(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes < pickled.OUT_OF_BAND_BYTES_MIN:
                return True
            apart.append(raw)
            return False

        told = dataclasses.replace(task, groups=given, costs=[], reply_at=0.0, made=None)
        data = pickle.dumps(told, 5, buffer_callback=take)
        self.meta = {**self.meta, "seq": look.seq}
        self.promised.note(look.seq, look.count)
        if not child.give(saver.State(look.seq, look.count, look.code, look.changed), data, apart):
            return False
        coming = self._coming(task)
        child.coming = coming._replace(bases=bases, chunks=coming.chunks | child.coming.chunks)
        for cost in task.costs:
            self.costs.took(*cost)
        self._foresee(look, task, child.coming)
        self.restored_from = None
        return True

    def _in_doubt(self) -> bool:
        """Whether what children say will be on the shelf may not come to be there, because one of them was lost. (Of the last
        one `Saver.give` finds out.)"""
        self._doubt = self._doubt or any(one.ending() and not one.saved for one in self.savers[:-1])
        return self._doubt

    def _foresee(self, look: Look, task: Task, coming: Coming) -> None:
        """This is what will be on the shelf when the last child has ended."""
        self.blocks.coming = coming.bases
        gone = {name for names in coming.fresh for name in names} | coming.refused
        self.known = {name: one for name, one in look.known.items() if name not in gone}
        self.known |= self._remembered(look, coming.fresh)

    def _patch(self, part: memoryview, place: tuple, bases: dict) -> Patch | None:
        """What was written to watched memory since a version that is as good as on the shelf, if that is little."""
        key, version = place
        since = bases.get(key)
        if since is None:
            return None
        ranges = [] if since == version else self.blocks.written(blocks.Base("", key, since))
        if ranges is None or sum(size for _, size in ranges) > HANDED_BYTES_MAX:
            return None
        bases[key] = version
        return Patch(key, version, since, ranges, b"".join(bytes(part[at : at + size]) for at, size in ranges))

    def _learn(self, children: list[saver.Saver], seconds: float) -> bool:
        """What children said of their states before they write them; waits a moment for one that was forked just now."""
        for child in children:
            if child.coming is None:
                child.coming = child.said(seconds)
                if child.coming is None:
                    return False
                self.blocks.coming = child.coming.bases
                self._resolve(child.coming.fresh, child.coming.refused, child.states[0].seq)
        return True

    def _resolve(self, fresh: list[tuple[str, ...]], refused: Collection[str], seq: int) -> None:
        """The groups of a state that was serialised elsewhere are known: as those of that state, which may yet be lost."""
        for names in fresh:
            for name in names:
                one = self.known.get(name)
                if one is not None and one.since <= seq:
                    self.known[name] = one._replace(names=names, since=seq)
        for name in refused:
            if name in self.known and self.known[name].since <= seq:
                del self.known[name]

    def _coming(self, task: Task) -> Coming:
        bases = {**{key: base.version for key, base in self.blocks.bases.items()}, **self.blocks.coming}
        for group in task.groups:
            bases.update(place for place in map(self.blocks.place, group.buffers) if place is not None)
        chunks = {name for parts in task.made or () for part in parts.all for name in part.names}
        fresh = [tuple(group.names) for group in task.groups]
        return Coming(task.keys, bases, fresh, frozenset(task.refused), frozenset(chunks))

    def _ahead(self, before: list[saver.Saver], child: saver.Saver, look: Look) -> None:
        """In the child, while those before it write: serialise its state, as soon as it is known what theirs will be."""
        if self._task_ahead is not None or not self._learn(before, math.inf):
            return
        look.refresh(self.known)
        keys = self.keys
        look.known = {n: one for n, one in look.known.items() if "\0".join(one.names) in keys}
        self._task_ahead = self._task(look, child)
        child.say(self._coming(self._task_ahead))

    def _as_child(self, before: list[saver.Saver], child: saver.Saver, look: Look) -> Iterator[Saved]:
        """In the child, when those before it have ended: its own state, then those it is given."""
        self.promised.leave()
        self.native.take()
        self.savers = []
        for one in before:
            self._follow(one)
        self.blocks.coming = {}
        look.refresh(self.known)
        task, self._task_ahead = self._task_ahead, None
        if task is None or not self._rests(task, look):
            task = self._task(look, child)
            child.say(self._coming(task))
        saved = self._put(task, child, time.perf_counter())
        self.seen(None)
        while True:
            self._apply(saved)
            yield saved
            data = child.next()
            if data is None:
                return
            child.progress((), sum(map(len, data[1])) + len(data[0]))
            task = pickle.loads(data[0], buffers=data[1])
            self.deferred = task.deferred
            self._check(task)
            saved = self._put(task, child, time.perf_counter())

    def _rests(self, task: Task, look: Look) -> bool:
        """Whether what did not change since an earlier state is on the shelf as of that state."""
        return task.rests_on(look.known) and all(key in self.saved for key in task.known.values())

    def seen(self, walker: Any) -> None:
        """What this walker read is what there is; or (``None``) it may not be from here on."""
        self.blocks.seen = walker
        if walker is None:
            self.walker.forget()

    def _check(self, task: Task) -> None:
        """Raise if a state that was given relies on something that is not on the shelf after all."""
        missing = {key for key in task.known.values() if key not in self.saved}
        for group, parts in zip(task.groups, task.parts(self.blocks), strict=True):
            for part in parts.all:
                if part.patch is not None:
                    base = self.blocks.bases.get(part.patch.key)
                    if base is None or base.version not in (part.patch.since, part.patch.version):
                        missing.add(group.names[0])
                elif part.lacking(self.ledger.sizes):
                    missing.add(group.names[0])
        if missing:
            raise LookupError(f"{', '.join(sorted(missing))} is not there")

    def _follow(self, child: saver.Saver, how: str = "") -> saver.Answer | None:
        """Take over what a child saved that has ended; its last answer if that is not a state.

        What is known since a state that it did not save is not known to be anywhere.
        """
        answers = child.answers()
        done = [answer.saved for answer in answers if answer.saved is not None]
        for saved in done:
            if how:
                saved.version["how"] = how
            self._apply(saved)
        lost = {state.seq for state in child.states[len(done) :]}
        if lost:
            self.known = {n: one._replace(names=()) if one.since in lost else one for n, one in self.known.items()}
        return answers[-1] if answers and answers[-1].saved is None else None

    def _leave_clean(self) -> None:
        self.put_meta("shutdown", clean=True, restarting=True)  # which of the two it was is not known here

    def _collect(self, how: str = BEHIND_REPLY) -> None:
        """Take over what children have saved that have ended."""
        for child in [one for one in self._cancelled if one.ended()]:
            self._cancelled.remove(child)
            self._drop(child)
        while self.savers and self.savers[0].finish():
            child = self.savers.pop(0)
            failed, ended, last = self._follow(child, how), child.end_text(), child.states[-1]
            saver.hung = saver.hung or child.hung
            self._doubt = self._doubt or not child.saved
            if child.saved:
                self._again, self.why_off = None, "" if self.on else self.why_off
            elif failed is not None and failed.full:
                self._report(f"the state after cell [{last.count}] is not saved, the disk is full: {failed.error}")
            elif failed is not None and failed.shelf:
                self.on = False
                self._report(f"this notebook is no longer saved after each cell: {failed.error}")
            else:
                names = child.in_hand if child.blamed else []
                self._not_beside.update(names)
                told, is_ = ", ".join(f"`{name}`" for name in names), "is" if len(names) == 1 else "are"
                where = f" at {told}, which {is_} saved before the reply from now on" if names else ""
                why = failed.error if failed is not None else ended
                self._again = self._latest or (last.code, last.count)
                self._made_up = self._made_up or child.blamed or child.hung
                which = f"process {child.pid}, which saved the state after cell [{last.count}],"
                when = "before the next cell runs" if self._made_up else "now"
                self._report(f"{which} {why}{where}; the state is saved again {when}")
            self._drop(child)
        self._doubt = self._doubt and bool(self.savers)
        if not self.savers and self.native.lent:
            self.native.take()
            self.known = {name: one for name, one in self.known.items() if one.names}
            self.blocks.coming = {}

    def _drop(self, child: saver.Saver) -> None:
        child.reap()
        child.close()

    def make_up(self) -> None:
        """Between cells: have the state saved that a child was lost with, by another child if it takes long.

        Once until the next cell ends, and not where the child came to its end with something in hand, or none can be had: the
        next cell waits for that, not one that is not there yet.
        """
        with self._lock:
            self._collect()
            if self._again is not None and self.on and not self.savers and not self._made_up:
                self._made_up = True
                self._guarded(*self._again, HEARD_SECONDS, True)

    def drain(self, seconds: float | None = None) -> bool:
        """Wait for what is being saved beside the kernel; whether it is done."""
        deadline = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            while self.savers:
                if not self.savers[0].finish(None if deadline is None else deadline - time.monotonic()):
                    return False
                self._collect()
        return True

    def leave(self, seconds: float) -> bool:
        """The kernel ends: wait so long for the children. ``False``: the last of them marks the session as shut down."""
        until = time.monotonic() + seconds
        if not self._drain_clean(until):
            return False
        with self._lock:
            if self._again is not None and self.on:
                self._guarded(*self._again, HEARD_SECONDS)
        return self._drain_clean(until)

    def _drain_clean(self, until: float) -> bool:
        if self.savers:
            self.savers[-1].leave_clean(True)
        return self.drain(until - time.monotonic())

    def behind(self) -> list[saver.Saver]:
        """The children that save, oldest first."""
        with self._lock:
            self._collect()
            return list(self.savers)
