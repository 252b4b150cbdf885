"""What a session shelf holds, and how a namespace gets there and back.

========= ==================================================================================================
record    content
========= ==================================================================================================
meta      JSON: last version, versions kept, whether the last shutdown was clean, attempts to restore
v:SEQ     JSON: one version: cell, time, name -> group record, imports, what was not saved and why
i:SEQ     JSON: the input of that cell
g:SEQ:N   a group (see `groups`): its pickle and its buffers; what is larger than a chunk is a list of chunks
c:DIGEST  a chunk, named by the 128-bit XXH3 digest of its bytes
b:, p:    copies of large arrays, and patches over them (see `blocks`)
========= ==================================================================================================

Invariants

- A version names only records that are on the shelf; what no version names is removed in the same commit.
- A record is never changed: a group that changed gets a new record, a chunk that changed has another name.
- `saved`, `meta` and `ledger` describe the last successful commit that is known here, never a pending one; `known` also says
  what a child of `saver` was left to save, with the group to be told.

A cell is saved in three steps: `_look` finds what there is and what changed, `_task` serialises that, `_put` commits it and
says what that did (`Saved`), which `_apply` makes our own. Who does them:

- all three the kernel, if that is quick;
- the last two a forked child (`saver`) if they would keep the reply waiting; what it serialised it says before it writes it
  (`Coming`), and `_apply` comes when it has ended, here and in every child forked since;
- the last one a child that saves already, if the first two are quick (`_hand_over`).
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import math
import os
import sys
import threading
import time
import types
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import blocks, codec, groups, hooks, plotted, saver, surroundings, watch
from ._larder import Stopwatch, Variables, Walker, digest_joined, pages_begin
from .beside import BEFORE_REPLY, BEHIND_REPLY, HEARD_SECONDS
from .between import REPLY_SECONDS, Between, brought_up
from .chance import Sequences
from .costs import COMMIT_SECONDS, Costs
from .errors import ShelfError, ShelfFull
from .ledger import Ledger, Plan
from .promised import Promised
from .reader import CHUNK_BYTES, chunks_of, joined
from .settings import positive
from .states import Look, New, Part, Saved, Task, told
from .surroundings import BESIDE, ENVIRON, PATH, RANDOM

VERSIONS_MAX = 50
"""Versions kept for undo; the oldest goes first."""
INPUTS_MAX = 1000
REPLY_SHARE = 0.03
"""A save that takes longer than this share of its cell, and than `REPLY_SECONDS`, is done beside the kernel."""
SLOW_SECONDS = 5e-3
HELD_SECONDS = 1e-3
"""What takes no longer to look at is held each time, in case it changed; the rest is looked at again then."""
BYTES_MAX = 32 << 30
"""Above this the oldest versions go before their time; ``LARDER_SESSION_BYTES`` sets another bound."""
NAME_BYTES_MAX = 200
"""A longer name of a variable, or one that is no identifier, is not part of its record's name."""
VERSION = 2
"""Of the layout of a session shelf."""


def _record_name(name: str) -> str:
    encoded = name.encode("utf-8", "surrogatepass")
    if name in BESIDE or (name.isidentifier() and len(encoded) <= NAME_BYTES_MAX):
        return name
    return "#" + hashlib.sha256(encoded).hexdigest()[:32]


class Recorder(Between):
    """One notebook's session shelf, open to write."""

    def __init__(self, ip: Any, native: Any, path: Path) -> None:
        super().__init__()
        self.ip, self.native, self.path = ip, native, path
        self.on = True
        self.why_off = ""
        self.excluded: set[str] = set()
        self.unsaved: dict[str, dict] = {}
        self.saved: dict[str, tuple[bytes, str]] = {}
        """Group (its names, joined by NUL) -> digest and record name of what is on the shelf."""
        self.run = uuid.uuid4().hex[:8]
        self.meta: dict = {
            "version": VERSION,
            "seq": 0,
            "versions": [],
            "clean": True,
            "attempts": 0,
            "recoverable": None,
        }
        self.seconds = self.seconds_last = 0.0
        self.restored_from: int | None = None
        """The version that the running cell went back to."""
        self.began_with_nothing = False
        """No kernel before this one saved a state of the notebook."""
        self.offered = False
        """There is a state of the last kernel that was not brought back."""
        self.over_cap = False
        self.bytes_max = int(positive("LARDER_SESSION_BYTES", BYTES_MAX))
        self._versions: dict[int, dict] = {}
        self._lock = threading.RLock()
        self._variables = Variables(set(ip.user_ns_hidden) | {"In", "Out", "exit", "quit", "get_ipython", "open"})
        entry = native.get("meta")
        if entry is not None:
            self.meta.update(json.loads(joined(entry)))
        self.versions_max = int(self.meta.get("keep") or VERSIONS_MAX)
        self.promised = Promised(path, max(self.meta["versions"], default=0))
        self.known: dict[str, groups.Known] = {}
        """Names that can be told to be unchanged without serialising them."""
        self.walker = Walker(watch.classify, watch.Registries())
        self.ledger = Ledger()
        self.blocks = blocks.Blocks()
        self.costs = Costs()
        self._walks: dict[str, float] = {}
        """Seconds of the last walks."""
        self._slow: dict[str, float] = {}
        """Variables that took long to look at, and how long: who takes longer than a reply waits is serialised, beside."""
        self._runs, self._folder = _runs(), str(path.parent)
        self._cell_began = time.perf_counter()
        self._room = bytearray(CHUNK_BYTES)
        """Where a chunk is copied before it is digested and written."""
        self.fds = _descriptors(path)
        self._random = Sequences()
        self.surroundings = surroundings.begin(ip)
        self._cwd = _cwd()
        self.deferred: dict[str, str] = {}
        """Names of the restored state that are not in the namespace yet -> their records (modules: empty)."""
        self._last: dict | None = None
        """The version made last, durable or not."""
        self._open()

    def _open(self) -> None:
        """Take stock of what is on the shelf, and remove what no state needs."""
        sizes = {row["name"]: row["nbytes"] for row in self.native.inspect()}
        for name, size in sizes.items():
            if name.startswith("g:"):
                self.ledger.add_record(name, size, frozenset(chunks_of(self.native.get(name))))
            elif name.startswith(("c:", "b:", "p:")):
                self.ledger.add_chunk(name, size)
        for seq in self.meta["versions"]:
            self.ledger.add_state(seq, self.version(seq)["names"].values())
        self._sweep()

    # --- saving ---

    def namespace(self) -> dict[str, Any]:
        """The notebook's own variables."""
        values, imports = self._split()
        return {name: self.ip.user_ns[name] if name in imports else values[name] for name in (*values, *imports)}

    def _split(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The same, with the names of modules in the place of these and apart."""
        return self._variables.split(self.ip.user_ns, self.ip.user_ns_hidden, self.excluded)

    def before_cell(self, ip: Any, info: Any) -> None:
        """Note the time; and save again what a child was lost with, while it is what it was."""
        with self._lock:
            self._collect()
            again, self._again = self._again, None
            if again is not None and self.on and not self.savers:
                self._guarded(*again, math.inf)
        self.costs.try_disk(self._folder)
        self.surroundings.cell_begins()
        self._cell_began = time.perf_counter()

    def after_cell(self, ip: Any, result: Any) -> None:
        """Save, unless the cell was silent or ran inside another one, whose end is what counts."""
        info = getattr(result, "info", None)
        if not self.on or getattr(info, "silent", False) or _inside_a_cell(self._runs):
            return
        count = getattr(result, "execution_count", None) or max(ip.execution_count - 1, 0)
        self._ended = count
        began = time.perf_counter()
        patience = max(REPLY_SECONDS, REPLY_SHARE * (began - self._cell_began)) if not saver.always() else 0.0
        with self._lock:
            self._made_up = False
            self._guarded(getattr(info, "raw_cell", None) or "", count, patience)
        self.seconds_last = time.perf_counter() - began
        self.seconds += self.seconds_last

    def go_on(self, cwd: str) -> None:
        """The notebook ran cells before it could be saved: note their inputs, and where it began."""
        inputs, seq = self.ip.history_manager.input_hist_raw, self.meta["seq"]
        for count in range(1, min(self.ip.execution_count, len(inputs))):
            seq += 1
            self._put_json(f"i:{seq}", {"run": self.run, "count": count, "code": inputs[count]})
        self._cwd = cwd
        self.put_meta("another kernel goes on", seq=seq)

    def save_between_cells(self) -> None:
        """Save what there is, while no cell runs."""
        inputs = self.ip.history_manager.input_hist_raw
        self._ended = count = max(self.ip.execution_count - 1, 0)
        with self._lock:
            self._guarded(inputs[count] if count < len(inputs) else "", count, REPLY_SECONDS, True)

    def _guarded(self, code: str, count: int, patience: float, bounded: bool = False) -> None:
        with self._guard(count), hooks.no_collection():
            self.save(code, count, patience, bounded)

    @contextlib.contextmanager
    def _guard(self, count: int) -> Iterator[None]:
        """What saving raises is told."""
        try:
            yield
        except ShelfFull as err:
            self._report(f"the state after cell [{count}] is not saved, the disk is full: {err}")
        except ShelfError as err:
            self.on = False
            self._report(f"this notebook is no longer saved after each cell: {err}")

    def _report(self, why: str) -> None:
        if why != self.why_off:
            self.why_off = why
            print(f"larder: {why}", file=sys.stderr)

    def save(self, code: str, count: int, patience: float = math.inf, bounded: bool = False) -> None:
        """Bring the session shelf up to the namespace, as one commit: all of it, or (on any error) nothing.

        What is expected to take more than ``patience`` seconds is left to a child; where none can be had, the kernel does
        it, or (``bounded``) it is left for the next cell.
        """
        try:
            self._save(code, count, patience, bounded)
        finally:
            self.seen(None)

    def _save(self, code: str, count: int, patience: float, bounded: bool) -> None:
        began = time.perf_counter()
        self._latest = (code, count)
        self._collect()
        self._again = None
        alone = not self.savers
        look = self._look(code, count, patience)
        if self.savers and self._learn(self.savers, HEARD_SECONDS):
            look.refresh(self.known)
        task = None
        if patience < math.inf or self.savers:
            seconds = self._seconds(look)
            if (seconds <= patience or self._only_here(look)) and (not self.savers or self._foreseen(look)):
                task = self._task(look, None)
                if self.savers and self._hand_over(look, task, self.savers[-1]):
                    return
                if self.savers and self.savers[-1].closed:
                    self.drain(HEARD_SECONDS)
                seconds = self._writing(task)
            beside = self.savers or seconds > patience
            if beside and self._save_beside(look, task, seconds, began + patience):
                return
            if beside and bounded and seconds > self._fork_cost():
                self._again = (code, count)
                return
        self.drain()
        look.refresh(self.known)
        look.known = {name: one for name, one in look.known.items() if one.names}
        if task is None or not (alone or self._rests(task, look)):
            task = self._task(look, None)
        self._commit_here(look, task)
        self.restored_from = None
        self.why_off = ""

    def _commit_here(self, look: Look, task: Task) -> None:
        """Write a state, in the kernel."""
        try:
            saved = self._put(task, None, time.perf_counter())
        except BaseException:
            try:
                self.native.rollback()
            except ShelfError:
                self.on = False
            raise
        self._apply(saved)
        self._again = None  # whoever was lost meanwhile: all there is is saved
        self.known = dict(look.known)
        for name in (*(name for names in saved.groups for name in names), *saved.unsaved):
            self.known.pop(name, None)
        self.known |= self._remembered(look, saved.groups)

    def _look(self, code: str, count: int, patience: float) -> Look:
        values, imports = self._split()
        values[RANDOM] = self._random.now()
        values.update(self.surroundings.options())
        pages_begin()
        self.walker.begin(plotted.own())
        slow, left = self._slow, patience
        if slow:
            slow = {name: seconds for name, seconds in slow.items() if name not in self._not_beside}
            left = math.inf if saver.why_not() else patience
        bounds = left, HELD_SECONDS, SLOW_SECONDS
        walked, walks, held, known = self.walker.look(values, self.known, self._walks, slow, self.keys, *bounds)
        self._slow.update((name, seconds) for name, seconds in walks.items() if seconds > SLOW_SECONDS)
        self.walker.sweep()
        self.seen(self.walker)
        self._walks = walks
        seq = self.meta["seq"] + 1
        return Look(seq, code, count, values, imports, known, walked, walks, held, self.restored_from, patience)

    def _seconds(self, look: Look) -> float:
        """What it will take at least: to serialise what was seen; endless if it holds what was never saved before and cannot
        be walked."""

        def seconds(name: str, walk: float) -> float:
            ruled = not isinstance(look.walked[name], str)
            return self.costs.seconds(look.kind(name), name, walk if ruled else None)

        # What one of those that are serialised together holds, the others hold too, for the most part.
        units = groups.units(changed, look.walked) if (changed := look.changed) else []
        walks = [max(look.walks[name] for name in unit) for unit in units]
        return COMMIT_SECONDS + sum(
            max(seconds(name, walk) for name in unit) for unit, walk in zip(units, walks, strict=True)
        )

    def _writing(self, task: Task) -> float:
        """What it will take to write what was serialised."""
        there, nbytes = None, 0
        for group, parts in zip(task.groups, task.parts(self.blocks), strict=True):
            before = self.saved.get("\0".join(group.names))
            if before is None or self.savers or before[0] != parts.digest:
                if there is None and any(part.sums for part in parts.all):
                    there = self._chunks_there()
                nbytes += sum(part.missing(there or (), self.blocks) for part in parts.all)
        return COMMIT_SECONDS + self.costs.writing(nbytes)

    def _chunks_there(self) -> set[str]:
        """Chunks of the last state that is known to be on the shelf."""
        return {chunk for _, record in self.saved.values() for chunk in self.ledger.uses.get(record, ())}

    def _task(self, look: Look, child: saver.Saver | None) -> Task:
        """Serialise what changed."""
        imports = dict(look.imports)
        keys = self.keys
        known, kept = {}, {}
        for name, one in look.known.items():
            key = "\0".join(one.names)
            if key in keys:
                known[name], kept[name] = one, key
        beside = _cwd(), self.surroundings.here(self.excluded), dict(self.deferred), look.reply_at
        if len(known) == len(look.values):
            return Task(
                look.seq, look.code, look.count, frozenset(look.values), imports, kept, [], {}, [], look.of, *beside
            )  # fmt: skip
        clock: dict[str, float] = {}
        in_hand, lap = "", Stopwatch().lap

        def turn_to(names: list[str]) -> None:
            nonlocal in_hand
            clock[in_hand] = clock.get(in_hand, 0.0) + lap()
            in_hand = names[0] if names else ""
            if child is not None:
                longest = max((max(look.walks.get(n, 0.0), self._slow.get(n, 0.0)) for n in names), default=0.0)
                child.progress(names, seconds=100 * longest)

        found, refused = groups.groups(look.values, known, look.walked, turn_to)
        fresh = {name for group in found for name in group.names} | set(refused)
        for name in fresh:
            kept.pop(name, None)
        # One that changes has all of its group serialised.
        together = {name: (clock.get(name, 0.0), look.walks[name]) for name in refused}
        for group in found:
            took = sum(clock.get(one, 0.0) for one in group.names), max(look.walks[one] for one in group.names)
            together.update(dict.fromkeys(group.names, took))
        costs = [(look.kind(name), name, *together[name], child is not None) for name in fresh]
        return Task(
            look.seq, look.code, look.count, frozenset(look.values), imports, kept, found, refused, costs, look.of, *beside
        )  # fmt: skip

    def _put(self, task: Task, child: saver.Saver | None, began: float) -> Saved:
        """Commit a state."""
        seq, imports = task.seq, dict(task.imports)
        later = {n: record for n, record in self.deferred.items() if n not in task.names and n not in imports}
        unsaved = {
            name: {"why": why, "cell": self.unsaved[name]["cell"] if name in self.unsaved else task.count}
            for name, why in task.refused.items()
        }
        new = New(self.ledger.sizes, child)
        saved = {key: self.saved[key] for key in task.known.values()}
        placed = {name: self.saved[key][1] for name, key in task.known.items()}
        for name, record in later.items():
            if record:
                placed[name] = record
            elif self._last:
                imports[name] = self._last["imports"][name]
        changed: list[str] = []
        for (names, _, _, needs, asks), parts in zip(task.groups, task.parts(self.blocks), strict=True):
            key = "\0".join(names)
            before = self.saved.get(key)
            if before is None or before[0] != parts.digest:
                record = self._fresh_name(f"g:{seq}:{_record_name(names[0])}", new)
                before = (self._put_group(record, parts.all, needs, asks, seq, new), record)
                changed += names
            saved[key] = before
            placed.update(dict.fromkeys(names, before[1]))
        lines = task.code.strip().splitlines()
        version = {
            "seq": seq,
            "run": self.run,
            "count": task.count,
            "time": time.time(),
            "line": lines[0][:80] if lines else "",
            "names": placed,
            "changed": sorted(set(changed) - BESIDE),
            "gone": sorted(n for n in self._last["names"] if n not in placed and n not in BESIDE) if self._last else [],
            "bytes": sum(new.sizes.values()),
            "imports": imports,
            "unsaved": {**self._unsaved_later(), **unsaved},
            "cwd": task.cwd,
            "began": self._cwd,
            "here": task.here,
            "of": task.of,
            "how": BEFORE_REPLY if child is None or time.perf_counter() < task.reply_at else BEHIND_REPLY,
        }
        if task.instead is not None:
            version |= brought_up(task.instead, version)
        else:
            self._put_json(f"i:{seq}", {"run": self.run, "count": task.count, "code": task.code})
        meta, plan = self._commit(version, new, None if task.instead is None else seq)
        return Saved(
            version, saved, unsaved, [tuple(group.names) for group in task.groups], meta, new.sizes, new.uses, plan,
            {**self.blocks.bases, **new.bases}, task.costs, time.perf_counter() - began,
        )  # fmt: skip

    def _fresh_name(self, record: str, new: New) -> str:
        """A name for a record: this one, or one that begins with it if the state had one of that name before."""
        while new.has(record):
            record += ":again"
        return record

    def _commit(self, version: dict, new: New, instead: int | None) -> tuple[dict, Plan]:
        """Make a state durable (``instead`` of that one, whose number it has), and let those go that are too many."""
        seq = version["seq"]
        self._put_json(f"v:{seq}", version)
        room = max(self.versions_max - 1, 0)
        plan = self.ledger.fits(new.sizes, room, self.bytes_max) if instead is None else None
        if plan is None:
            records = set(version["names"].values())
            chunks = set().union(*(new.uses.get(r) or self.ledger.uses.get(r, ()) for r in records))
            held = self.meta["recoverable"]
            plan = self.ledger.plan(new.sizes, records, chunks, room, self.bytes_max, held, instead)
        self._remove(plan, seq)
        versions = [*(s for s in self.meta["versions"] if s not in plan.versions), seq]
        meta = {**self.meta, "seq": seq, "clean": False, "attempts": 0, "versions": versions}
        if not self.deferred:
            meta["finishing"] = 0
        self._put_json("meta", meta)
        new.tell(sum(new.sizes.values()))
        self.native.commit(version["line"] or None)
        return meta, plan

    def _apply(self, done: Saved) -> None:
        """Something was committed: here, or by a child that has ended."""
        seq = done.version["seq"]
        self.saved, self.unsaved, self._last = done.saved, done.unsaved, done.version
        self.promised.clear(seq)
        self.meta = {**done.meta, "seq": max(seq, self.meta["seq"])}
        for name, size in done.sizes.items():
            if name in done.uses:
                self.ledger.add_record(name, size, done.uses[name])
            else:
                self.ledger.add_chunk(name, size)
        self.ledger.apply(done.plan)
        self.ledger.add_state(seq, done.version["names"].values())
        for gone in done.plan.versions:
            self._versions.pop(gone, None)
        self._versions[seq] = done.version
        self.blocks.bases = done.bases
        self.blocks.prune()
        self._resolve(done.groups, done.unsaved, seq)
        for cost in done.costs:
            self.costs.took(*cost)
            if cost[2] < SLOW_SECONDS:
                self._slow.pop(cost[1], None)
        self.costs.wrote(sum(done.sizes.values()), done.seconds)
        self.costs.keep(done.version["names"])
        self._warn_of_size(done.plan.bytes)

    def set_beside(self, name: str, value: dict[str, Any]) -> None:
        if name == RANDOM:
            self._random.go_on(value)
        else:
            self.surroundings.go_on(name, value)

    def variables_came(self) -> None:
        self.surroundings.variables_came()

    def set_here(self, version: dict) -> dict[str, str]:
        if "here" not in version:
            return {}  # saved before there was such a thing
        failed = self.surroundings.go_on_here(version["here"], self.excluded)
        for name in BESIDE - version["names"].keys() - {RANDOM}:
            try:
                self.surroundings.go_on(name, {})
            except Exception as err:
                failed[name] = f"{type(err).__name__}: {err}"
        return failed

    def _unsaved_later(self) -> dict[str, dict]:
        return self._last["unsaved"] if self.deferred and self._last else {}

    def _remembered(self, look: Look, found: list[tuple[str, ...]]) -> dict[str, groups.Known]:
        """What is known of these names: as they were when they were seen, held or found to be the same once more.

        What changed since, and may have been serialised so, is not known; at the next look it is not what it was.
        """
        kept = {}
        if not all(name in look.held for names in found for name in names):
            self.walker.begin(plotted.own())
        for names in found:
            for name in names:
                seen = look.walked[name]
                if isinstance(seen, str) or look.walks[name] > look.patience:
                    continue
                now = seen if name in look.held else self.walker.walk(look.values[name], True)
                if not isinstance(now, str) and now.digest == seen.digest:
                    kept[name] = groups.Known(now, names, look.seq)
        return kept

    def _put_group(self, record: str, parts: list[Part], needs: list[str], asks: bool, seq: int, new: New) -> bytes:
        """Write one group; returns its digest. What is written is copied first, and the digest is that of the copy.

        A thread that stores into an array meanwhile can then be saved half-done, but never be taken for saved.
        """
        head: list[list] = []
        written: list[Any] = []
        own: set[str] = set()
        for part in parts:
            new.tell(part.nbytes)
            if part.place is not None:
                base = self._base(part, seq, new)
                own.update(base.records)
                head.append([part.nbytes, 2, *base.head])
                continue
            if part.sums is None:
                written.append(part.view)
                head.append([part.nbytes, 0])
                continue
            final = bytearray(part.sums)
            for at in range(0, len(final), 16):
                name = f"c:{final[at : at + 16].hex()}"
                if not new.has(name):
                    copy = part.chunk(at // 16, self._room)
                    final[at : at + 16] = _sums_of_chunk(copy)
                    name = f"c:{final[at : at + 16].hex()}"
                    if not new.has(name):
                        self._put_chunk(name, "chunk", copy, new)
                own.add(name)
            written.append(final)
            head.append([part.nbytes, 1])
        size = sum(one.nbytes if isinstance(one, memoryview) else len(one) for one in written)
        about = {"parts": head, "chunk": CHUNK_BYTES, "needs": needs} | ({"hashed": True} if asks else {})
        data = json.dumps(about).encode()
        if size + len(data) <= codec.INLINE_BYTES_MAX:
            packed = b"".join(written)
            self.native.put(record, "group", data + b"\0" + packed, [])
            found = digest_joined([packed], told(parts))
        else:
            found = self.native.put_joined(record, "group", data + b"\1", written, told(parts))
        new.sizes[record] = size + len(data)
        new.uses[record] = frozenset(own)
        return found

    def _put_chunk(self, name: str, kind: str, data: bytes | memoryview, new: New) -> None:
        self.native.put(name, kind, b"", [data])
        new.sizes[name] = len(data)

    def _base(self, part: Part, seq: int, new: New) -> blocks.Base:
        """A watched array's memory on the shelf: what is there, with a patch for what was written since, or a new copy."""
        key, version = part.place
        base = new.bases.get(key) or self.blocks.bases.get(key)
        if base is not None:
            if base.version == version:
                return base
            if part.patch is not None:
                record = self._fresh_name(f"p:{seq}:{len(new.bases)}", new)
                if part.patch.ranges:
                    self._put_chunk(record, "patch", part.patch.data, new)
                new.bases[key] = base.patched(record, part.patch.ranges, version)
                return new.bases[key]
            ranges = self.blocks.written(base)
            size = sum(size for _, size in ranges) if ranges else 0
            before = sum(size for _, where in base.patches for _, size in where)
            few = size <= blocks.PATCH_BYTES_MAX and (size + before) * blocks.PATCHES_SHARE <= part.nbytes
            if ranges is not None and few:
                record = self._fresh_name(f"p:{seq}:{len(new.bases)}", new)
                if ranges:
                    self._put_chunk(record, "patch", b"".join(bytes(part.view[at : at + n]) for at, n in ranges), new)
                new.bases[key] = base.patched(record if ranges else "", ranges, version)
                return new.bases[key]
        base = new.bases[key] = blocks.Base(self._fresh_name(f"b:{seq}:{len(new.bases)}", new), key, version)
        new.tell(part.nbytes)
        self.native.put(base.record, "block", b"", [part.view])
        new.sizes[base.record] = part.nbytes
        return base

    def _remove(self, plan: Plan, newest: int) -> None:
        for seq in plan.versions:
            if seq != newest:
                self.native.remove(f"v:{seq}")
        for name in (*plan.records, *plan.chunks):
            self.native.remove(name)
        if newest > INPUTS_MAX:
            self.native.remove(f"i:{newest - INPUTS_MAX}")

    def _warn_of_size(self, total: int) -> None:
        over = total > self.bytes_max
        if over and not self.over_cap:
            print(
                f"larder: this notebook's saved state takes {total >> 20} MiB, more than LARDER_SESSION_BYTES allows; "
                "earlier states were dropped, and larder.session.exclude(name) keeps a variable out",
                file=sys.stderr,
            )
        self.over_cap = over

    def put_meta(self, message: str, **changes: Any) -> None:
        """Change the meta record, durably."""
        with self._lock:
            self.drain()
            meta = {**self.meta, **changes}
            self._put_json("meta", meta)
            self.native.commit(message)
            self.meta = meta

    def forget(self, name: str) -> None:
        """Take ``name``, and what was saved in one group with it, out of every version."""
        with self._lock:
            self.drain()
            for seq in self.meta["versions"]:
                version = self.version(seq)
                key = {PATH: "path", ENVIRON: "environ"}.get(name, "")
                record = version["names"].get(name)
                if version.get("here", {}).pop(key, None) is None and record is None:
                    continue
                for member in [n for n, r in version["names"].items() if record is not None and r == record]:
                    del version["names"][member]
                    if member != name:
                        why = f"was saved together with `{name}`, which is excluded"
                        version["unsaved"][member] = {"why": why, "cell": version["count"]}
                self._put_json(f"v:{seq}", version)
            states = {seq: set(self.version(seq)["names"].values()) for seq in self.meta["versions"]}
            for seq, records in states.items():
                self.ledger.change_state(seq, records)
            self._sweep()
            self.native.commit("exclude")
            self.saved = {key: value for key, value in self.saved.items() if name not in key.split("\0")}

    def _sweep(self) -> None:
        """Remove what no state needs."""
        records, chunks = self.ledger.loose()
        for one in (*records, *chunks):
            self.native.remove(one)
        self.ledger.apply(Plan([], records, chunks, 0))

    def _put_json(self, name: str, value: Any) -> None:
        data = json.dumps(value).encode()
        if len(data) <= codec.INLINE_BYTES_MAX:
            self.native.put(name, "json", data, [])
        else:
            self.native.put(name, "json", b"", [data])

    # --- what came back ---

    def restored(self, seq: int, back: list[str], more: bool = False) -> None:
        """Names of a version were just put into the namespace: they need not be written again. ``more``: to others."""
        version = self.version(seq)
        members: dict[str, list[str]] = {}
        for name, record in version["names"].items():
            members.setdefault(record, []).append(name)
        there = set(back)
        if not more:
            self.saved, self.known = {}, {}
        pages_begin()
        self.walker.begin(plotted.own())
        for record, names in members.items():
            if (
                BESIDE.intersection(names)
                or not there.issuperset(names)
                or not all(n in self.ip.user_ns for n in names)
            ):
                continue
            names.sort()
            self.saved["\0".join(names)] = (b"", record)
            for name in names:
                walked = self.walker.walk(self.ip.user_ns[name], True)
                if not isinstance(walked, str):
                    self.known[name] = groups.Known(walked, tuple(names))
        if not more:
            self._last = version


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _descriptors(path: Path) -> list[int]:
    """This process's descriptors of a file."""
    file = os.stat(path)
    held = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            if os.path.samestat(os.fstat(int(entry)), file):
                held.append(int(entry))
        except OSError:
            continue
    return held


def _inside_a_cell(runs: types.CodeType | None) -> bool:
    """Whether a cell is running on this thread's stack, by ``runs``: then the one that just ended was run by it."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code is runs:
            return True
        frame = frame.f_back
    return False


def _runs() -> types.CodeType | None:
    """The code of IPython that runs the code of cells; none where the shell is another's."""
    module = sys.modules.get("IPython.core.interactiveshell")
    return None if module is None else inspect.unwrap(module.InteractiveShell.run_code).__code__


def _sums_of_chunk(data: bytes | memoryview) -> bytes:
    from ._larder import digest_chunks

    return digest_chunks(data, CHUNK_BYTES)
