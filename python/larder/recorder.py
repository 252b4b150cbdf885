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
- `saved`, `known`, `meta` and `ledger` describe the last successful commit, never a pending one.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import threading
import time
import types
import uuid
from pathlib import Path
from typing import Any

from . import blocks, codec, groups, watch
from ._larder import Walker, pages_begin
from .errors import ShelfError, ShelfFull
from .ledger import Ledger, Plan

CHUNK_BYTES = 1 << 20
VERSIONS_MAX = 50
"""Versions kept for undo; the oldest goes first."""
INPUTS_MAX = 1000
RANDOM = "(random)"
"""Stands among the names of a version for the states of the global random number generators."""
BYTES_MAX = 32 << 30
"""Above this the oldest versions go before their time; ``LARDER_SESSION_BYTES`` sets another bound."""


class _New:
    """What one commit adds."""

    def __init__(self, there: set[str]) -> None:
        self.there = there
        """Names on the shelf, with those added."""
        self.sizes: dict[str, int] = {}
        self.uses: dict[str, frozenset[str]] = {}
        self.bases: dict[tuple[int, int, int], blocks.Base] = {}
        self.jobs: list[blocks.Job] = []


class _Part:
    """A stream or a buffer of a group: watched memory, or bytes with the digests of their chunks if they are many."""

    def __init__(self, view: memoryview, place: tuple[tuple[int, int, int], int] | None) -> None:
        self.view, self.place = view, place
        self.sums = _sums(view) if place is None else None

    @property
    def digested(self) -> Any:
        """What stands for it in the digest of its group."""
        if self.place is not None:
            return repr(self.place).encode()
        return self.view if self.sums is None else self.sums


@dataclasses.dataclass(eq=False)
class _State:
    """A state of the notebook that is about to be one of its versions."""

    version: dict
    records: set[str]
    chunks: set[str]
    needs: list[blocks.Base]
    """Copies it is not whole without."""
    since: float
    spoilt: bool = False
    """What it needs was written before it was copied."""


class Recorder:
    """One notebook's session shelf, open to write."""

    def __init__(self, ip: Any, native: Any, path: Path) -> None:
        self.ip, self.native, self.path = ip, native, path
        self.on = True
        self.why_off = ""
        self.excluded: set[str] = set()
        self.unsaved: dict[str, dict] = {}
        self.saved: dict[str, tuple[bytes, str]] = {}
        """Group (its names, joined by NUL) -> digest and record name of what is on the shelf."""
        self.run = uuid.uuid4().hex[:8]
        self.meta: dict = {"version": 2, "seq": 0, "versions": [], "clean": True, "attempts": 0, "recoverable": None}
        self.seconds = self.seconds_last = 0.0
        self.restored_from: int | None = None
        """The version that the running cell went back to."""
        self.over_cap = False
        self.bytes_max = int(os.environ.get("LARDER_SESSION_BYTES") or BYTES_MAX)
        self._versions: dict[int, dict] = {}
        self._lock = threading.RLock()
        self.hidden = set(ip.user_ns_hidden) | {"In", "Out", "exit", "quit", "get_ipython", "open"}
        entry = native.get("meta")
        if entry is not None:
            self.meta.update(json.loads(_joined(entry)))
        self.versions_max = int(self.meta.get("keep") or VERSIONS_MAX)
        self.known: dict[str, groups.Known] = {}
        """Names that can be told to be unchanged without serialising them."""
        self.walker = Walker(watch.classify)
        self.ledger = Ledger()
        self.blocks = blocks.Blocks()
        self._pending: list[_State] = []
        self._flying: dict[str, blocks.Base] = {}
        self._copier = blocks.Copier(native, path, self._landed)
        self._states: dict[str, Any] = {}
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
                self.ledger.add_record(name, size, frozenset(_chunks_of(self.native.get(name))))
            elif name.startswith(("c:", "b:", "p:")):
                self.ledger.add_chunk(name, size)
        for seq in self.meta["versions"]:
            self.ledger.add_state(seq, self.version(seq)["names"].values())
        self._sweep()

    # --- saving ---

    def namespace(self) -> dict[str, Any]:
        """The notebook's own variables."""
        ns, hidden = self.ip.user_ns, self.ip.user_ns_hidden
        return {
            name: value
            for name, value in list(ns.items())
            if isinstance(name, str)
            and not name.startswith("_")
            and name not in self.excluded
            and not (name in self.hidden and hidden.get(name, _MISSING) is value)
            and name not in ("In", "Out")
        }

    def after_cell(self, ip: Any, result: Any) -> None:
        """Save, unless the cell was silent or ran inside another one, whose end is what counts."""
        info = getattr(result, "info", None)
        if not self.on or getattr(info, "silent", False) or _inside_a_cell():
            return
        count = getattr(result, "execution_count", None) or max(ip.execution_count - 1, 0)
        began = time.perf_counter()
        with self._lock:
            try:
                self.save(getattr(info, "raw_cell", None) or "", count)
                self.why_off = ""
            except ShelfFull as err:
                self._report(f"the state after cell [{count}] is not saved, the disk is full: {err}")
            except ShelfError as err:
                self.on = False
                self._report(f"this notebook is no longer saved after each cell: {err}")
            late = bool(self._pending) and time.monotonic() - self._pending[0].since > blocks.BEHIND_SECONDS_MAX
        if late:
            self.drain()
        self.seconds_last = time.perf_counter() - began
        self.seconds += self.seconds_last

    def _report(self, why: str) -> None:
        if why != self.why_off:
            self.why_off = why
            print(f"larder: {why}", file=sys.stderr)

    def save(self, code: str, count: int) -> None:
        """Bring the session shelf up to the namespace, as one commit: all of it, or (on any error) nothing."""
        try:
            self._save(code, count)
        except BaseException:
            try:
                self.native.rollback()
            except ShelfError:
                self.on = False
            raise

    def _save(self, code: str, count: int) -> None:
        seq = self.meta["seq"] + 1
        values = self.namespace()
        imports = {name: value.__name__ for name, value in values.items() if isinstance(value, types.ModuleType)}
        for name in imports:
            del values[name]
        values[RANDOM] = self._random()
        later = {name: record for name, record in self.deferred.items() if name not in values and name not in imports}
        known, walked = self._unchanged(values)
        found, refused = groups.groups(values, known, walked)
        unsaved = {
            name: {"why": why, "cell": self.unsaved[name]["cell"] if name in self.unsaved else count}
            for name, why in refused.items()
        }
        new = _New(set(self.ledger.sizes))
        fresh = {name for group in found for name in group.names} | set(refused)
        kept = {name: one for name, one in known.items() if name not in fresh}
        saved = {"\0".join(one.names): self.saved["\0".join(one.names)] for one in kept.values()}
        placed = {name: self.saved["\0".join(one.names)][1] for name, one in kept.items()}
        for name, record in later.items():
            if record:
                placed[name] = record
            elif self._last:
                imports[name] = self._last["imports"][name]
        changed: list[str] = []
        for names, stream, buffers, needs in found:
            key = "\0".join(names)
            parts = [_Part(memoryview(stream), None), *(_Part(part, self.blocks.place(part)) for part in buffers)]
            digest = _digest([part.digested for part in parts])
            before = self.saved.get(key)
            if before is None or before[0] != digest:
                record = f"g:{seq}:{names[0]}"
                before = (self._put_group(record, parts, needs, seq, new), record)
                changed += names
            saved[key] = before
            placed.update(dict.fromkeys(names, before[1]))
        kept |= self._remembered(values, walked, [tuple(group.names) for group in found])
        lines = code.strip().splitlines()
        version = {
            "seq": seq,
            "run": self.run,
            "count": count,
            "time": time.time(),
            "line": lines[0][:80] if lines else "",
            "names": placed,
            "changed": sorted(set(changed) - {RANDOM}),
            "gone": sorted(set(self._last["names"]) - set(placed) - {RANDOM}) if self._last else [],
            "bytes": sum(new.sizes.values()) + sum(job.part.nbytes for job in new.jobs),
            "imports": imports,
            "unsaved": {**self._unsaved_later(), **unsaved},
            "cwd": _cwd(),
            "began": self._cwd,
            "of": self.restored_from,
        }
        self._put_json(f"i:{seq}", {"run": self.run, "count": count, "code": code})
        records = set(placed.values())
        chunks = set().union(*(new.uses.get(r) or self.ledger.uses.get(r, ()) for r in records))
        bases = {**self.blocks.bases, **new.bases}
        needs = [base for base in bases.values() if base.record in chunks and not base.origin.landed]
        state = _State(version, records, chunks, needs, time.monotonic())
        if needs:
            # Copies are still to be made: what is small is on the disk now, the state is one when they have landed.
            self.native.commit(version["line"] or None)
            self._added(new)
            self._pending.append(state)
            self.meta = {**self.meta, "seq": seq}
        else:
            self._commit([state], new)
            self._pending.clear()
        self.saved, self.unsaved, self.known, self._last = saved, unsaved, kept, version
        self.blocks.bases = bases
        self.blocks.prune()
        self.restored_from = None
        for job in new.jobs:
            self._flying[job.base.record] = job.base
            self._copier.add(job)

    def _commit(self, states: list[_State], new: _New) -> None:
        """Make states durable that nothing is missing from, oldest first, and let those go that are too many."""
        newest = states[-1]
        for state in states:
            self._put_json(f"v:{state.version['seq']}", state.version)
        waiting = [*states, *self._pending]
        records = set().union(*(state.records for state in waiting))
        chunks = set().union(*(state.chunks for state in waiting))
        room = self.versions_max - len(states)
        plan = self.ledger.plan(new.sizes, records, chunks, max(room, 0), self.bytes_max, self.meta["recoverable"])
        self._remove(plan, newest.version["seq"])
        ids = [state.version["seq"] for state in states]
        versions = sorted([*(s for s in self.meta["versions"] if s not in plan.versions), *ids])
        seq = max(self.meta["seq"], *ids)
        meta = {**self.meta, "seq": seq, "clean": False, "attempts": 0, "versions": versions}
        if not self.deferred:
            meta["finishing"] = 0
        self._put_json("meta", meta)
        self.native.commit(newest.version["line"] or None)
        self.meta = meta
        self._added(new)
        for state in states:
            self.ledger.add_state(state.version["seq"], state.records)
        self.ledger.apply(plan)
        self._versions = {s: v for s, v in self._versions.items() if s in versions}
        self._versions |= {state.version["seq"]: state.version for state in states}
        self._warn_of_size(plan.bytes)

    def _added(self, new: _New) -> None:
        for name, size in new.sizes.items():
            if name in new.uses:
                self.ledger.add_record(name, size, new.uses[name])
            else:
                self.ledger.add_chunk(name, size)

    def _landed(self, job: blocks.Job) -> None:
        """A copy was made (this runs in the copier's thread): states that waited for it are made durable."""
        base = job.base
        with self._lock:
            self._flying.pop(base.record, None)
            try:
                if not base.failed and not self.native.contains(base.record):
                    base.failed = "it was rolled back"
                if not base.failed:
                    self.native.commit("a copy in the background")
                    self.ledger.add_chunk(base.record, job.part.nbytes)
                    base.landed = True
                    for state in self._pending:
                        # What was written since that state ended may be in the copy already.
                        state.spoilt |= any(
                            need.origin is base and self.blocks.written(need, now=True) != [] for need in state.needs
                        )
                    self._settle()
            except ShelfError as err:
                base.failed = str(err)
            if base.failed:
                self._give_up(base)

    def _settle(self) -> None:
        whole = [state for state in self._pending if all(need.origin.landed for need in state.needs)]
        good = [state for state in whole if not state.spoilt]
        self._pending = [state for state in self._pending if state not in whole]
        if good:
            self._commit(good, _New(set()))

    def _give_up(self, base: blocks.Base) -> None:
        """A copy could not be made: the next cell's end tries again."""
        self._report(f"an array of {base.key[2] >> 20} MiB could not be saved: {base.failed}")
        lost = {record for record, chunks in self.ledger.uses.items() if base.record in chunks}
        self.saved = {key: one for key, one in self.saved.items() if one[1] not in lost}
        self.blocks.bases = {key: one for key, one in self.blocks.bases.items() if one.origin is not base}
        self._pending = [state for state in self._pending if not any(need.origin is base for need in state.needs)]

    def drain(self, seconds: float | None = None) -> bool:
        """Wait for what is being saved in the background; whether it is done."""
        return self._copier.wait(seconds)

    def behind(self) -> list[tuple[int, int]]:
        """Cells whose states wait for a copy, and the bytes that are still to be copied."""
        with self._lock:
            left = sum(job.part.nbytes for job in self._copier.waiting() if job.part is not None)
            return [(state.version["count"], left) for state in self._pending]

    def _random(self) -> dict[str, Any]:
        """The states of ``random`` and of NumPy's own generator: the same objects as long as they are the same states."""
        random, np = sys.modules.get("random"), sys.modules.get("numpy.random")
        now = random.getstate() if random is not None else None
        if now != self._states.get("random"):
            self._states = {**self._states, "random": now}
        if np is not None:
            name, key, *rest = np.get_state()
            before = self._states.get("numpy")
            if before is None or before[0] != name or before[2:] != (*rest,) or before[1] != key.tobytes():
                self._states = {**self._states, "numpy": (name, key.tobytes(), *rest)}
        return self._states

    def set_random(self, states: dict[str, Any]) -> None:
        """Go on with these sequences of random numbers."""
        if states.get("random") is not None:
            import random

            random.setstate(states["random"])
        if states.get("numpy") is not None:
            from .kernel.late import on_import

            def go_on(module: Any) -> None:
                import array

                name, key, *rest = states["numpy"]
                module.set_state((name, array.array("I", key), *rest))

            on_import("numpy.random", go_on)
        self._states = states

    def _unsaved_later(self) -> dict[str, dict]:
        return self._last["unsaved"] if self.deferred and self._last else {}

    def _unchanged(self, values: dict[str, Any]) -> tuple[dict[str, groups.Known], dict[str, Any]]:
        """The names that are what they were when they were saved, and what a walk below each of the others met."""
        pages_begin()
        self.walker.begin()
        known: dict[str, groups.Known] = {}
        walked: dict[str, Any] = {}
        for name, value in values.items():
            walked[name] = now = self.walker.walk(value, False)
            before = self.known.get(name)
            if before is None or isinstance(now, str):
                continue
            if now.digest == before.walked.digest and before.walked.alive() and "\0".join(before.names) in self.saved:
                known[name] = before
        self.walker.sweep()
        return known, walked

    def _remembered(
        self, values: dict[str, Any], walked: dict[str, Any], found: list[tuple[str, ...]]
    ) -> dict[str, groups.Known]:
        """What is known of the names just written: nothing if they changed while they were."""
        self.walker.begin()
        kept = {}
        for names in found:
            for name in names:
                if isinstance(walked[name], str):
                    continue
                now = self.walker.walk(values[name], True)
                if not isinstance(now, str) and now.digest == walked[name].digest:
                    kept[name] = groups.Known(now, names)
        return kept

    def _put_group(self, record: str, parts: list[_Part], needs: list[str], seq: int, new: _New) -> bytes:
        """Write one group; returns its digest. What is written is copied first, and the digest is that of the copy.

        A thread that stores into an array meanwhile can then be saved half-done, but never be taken for saved.
        """
        head: list[list] = []
        buffers, own, digested = [], set(), []
        size = 0
        for part in parts:
            if part.place is not None:
                base = self._base(part, seq, new)
                own.update(base.records)
                head.append([part.view.nbytes, 2, *base.head])
                digested.append(part.digested)
                continue
            if part.sums is None:
                copy = bytes(part.view)
                buffers.append(copy)
                digested.append(copy)
                head.append([len(copy), 0])
                size += len(copy)
                continue
            final = bytearray(part.sums)
            for at in range(0, len(final), 16):
                name = f"c:{final[at : at + 16].hex()}"
                if name not in new.there:
                    start = at // 16 * CHUNK_BYTES
                    copy = bytes(part.view[start : start + CHUNK_BYTES])
                    final[at : at + 16] = _sums_of_chunk(copy)
                    name = f"c:{final[at : at + 16].hex()}"
                    if name not in new.there:
                        self._put_chunk(name, "chunk", copy, new)
                own.add(name)
            buffers.append(bytes(final))
            digested.append(bytes(final))
            head.append([part.view.nbytes, 1])
            size += len(final)
        data = json.dumps({"parts": head, "chunk": CHUNK_BYTES, "needs": needs}).encode()
        inline = sum(map(len, buffers)) + len(data) <= codec.INLINE_BYTES_MAX
        packed = b"".join(buffers)
        self.native.put(record, "group", data + b"\0" + packed if inline else data + b"\1", [] if inline else [packed])
        new.sizes[record] = size + len(data)
        new.uses[record] = frozenset(own)
        return _digest(digested)

    def _put_chunk(self, name: str, kind: str, data: bytes, new: _New) -> None:
        self.native.put(name, kind, b"", [data])
        new.there.add(name)
        new.sizes[name] = len(data)

    def _base(self, part: _Part, seq: int, new: _New) -> blocks.Base:
        """A watched array's memory on the shelf: what is there, with a patch for what was written since, or a new copy."""
        key, version = part.place
        base = new.bases.get(key) or self.blocks.bases.get(key)
        if base is not None and not base.origin.failed:
            if base.version == version:
                return base
            ranges = self.blocks.written(base)
            size = sum(size for _, size in ranges) if ranges else 0
            before = sum(size for _, where in base.patches for _, size in where)
            few = size <= blocks.PATCH_BYTES_MAX and (size + before) * blocks.PATCHES_SHARE <= part.view.nbytes
            if ranges is not None and few:
                record = f"p:{seq}:{len(new.bases)}"
                if ranges:
                    self._put_chunk(record, "patch", b"".join(bytes(part.view[at : at + n]) for at, n in ranges), new)
                new.bases[key] = base.patched(record if ranges else "", ranges, version)
                return new.bases[key]
        base = new.bases[key] = blocks.Base(f"b:{seq}:{len(new.bases)}", key, version)
        if part.view.nbytes < blocks.BACKGROUND_BYTES_MIN:
            self.native.put(base.record, "block", b"", [part.view])
            new.sizes[base.record] = part.view.nbytes
            base.landed = True
        else:
            new.jobs.append(blocks.Job(base, part.view))
        return base

    def _remove(self, plan: Plan, newest: int) -> None:
        for seq in plan.versions:
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
            meta = {**self.meta, **changes}
            self._put_json("meta", meta)
            self.native.commit(message)
            self.meta = meta

    def forget(self, name: str) -> None:
        """Take ``name``, and what was saved in one group with it, out of every version."""
        with self._lock:
            for seq in self.meta["versions"]:
                version = self.version(seq)
                record = version["names"].get(name)
                if record is None:
                    continue
                for member in [n for n, r in version["names"].items() if r == record]:
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

    # --- reading ---

    def version(self, seq: int) -> dict:
        """One saved state. Raises ``KeyError`` naming those there are."""
        if seq not in self._versions:
            entry = self.native.get(f"v:{seq}") if seq in self.meta["versions"] else None
            if entry is None:
                raise KeyError(f"no saved state {seq}; there are {self.meta['versions']} (see larder.session.log())")
            self._versions[seq] = json.loads(_joined(entry))
        return self._versions[seq]

    def load(self, seq: int, names: list[str] | None, into: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
        """Put a version (all, or the groups of ``names``) into a namespace: names that are back, and failures.

        Values may need each other while they are made (a class that calls a function of the notebook), so groups go in
        one by one, oldest first, and those that failed get a second chance when the others are there.
        """
        version = self.version(seq)
        back: list[str] = []
        failed: dict[str, str] = {}
        wanted = set(names) if names is not None else {*version["names"], *version["imports"]}
        if RANDOM not in wanted:
            version = {**version, "names": {n: r for n, r in version["names"].items() if n != RANDOM}}
        for name in wanted - set(version["names"]) - set(version["imports"]):
            failed[name] = version["unsaved"].get(name, {}).get("why") or "it was not saved"
        for name, module in version["imports"].items():
            if name in wanted:
                try:
                    into[name] = importlib.import_module(module)
                    back.append(name)
                except (Exception, SystemExit) as err:
                    failed[name] = f"import {module}: {err}"
        records: dict[str, list[str]] = {}
        for name, record in version["names"].items():
            records.setdefault(record, []).append(name)
        todo = [(r, m) for r, m in records.items() if wanted.intersection(m)]
        todo.sort(key=lambda item: int(item[0].split(":")[1]))
        for last in (False, True):
            again = []
            for record, members in todo:
                try:
                    group = self._read_group(record)
                    if RANDOM in group:
                        self.set_random(group.pop(RANDOM))
                    into.update(group)
                    back += group
                except (Exception, SystemExit) as err:
                    again.append((record, members))
                    if last and RANDOM not in members:
                        failed.update(dict.fromkeys(members, f"{type(err).__name__}: {err}"))
            todo = again
        return back, failed

    def _read_group(self, record: str) -> dict[str, Any]:
        import pickle

        entry = self.native.get(record)
        if entry is None:
            raise ShelfError(f"its record {record} is missing")
        head, packed = _packed(entry)
        parts: list[Any] = []
        at = 0
        for nbytes, kind, *rest in head["parts"]:
            if kind == 0:
                parts.append(groups.Restored(packed[at : at + nbytes]))
                at += nbytes
                continue
            if kind == 2:
                parts.append(self._read_block(record, nbytes, *rest))
                continue
            chunk_bytes = head["chunk"]
            digests = bytes(packed[at : at + 16 * -(-nbytes // chunk_bytes)])
            at += len(digests)
            part = groups.Restored(nbytes)
            view = memoryview(part)
            for i in range(0, len(digests), 16):
                chunk = self.native.get(f"c:{digests[i : i + 16].hex()}")
                if chunk is None:
                    raise ShelfError(f"a chunk of {record} is missing")
                start = i // 16 * chunk_bytes
                view[start : start + chunk_bytes] = chunk[2][0].read()
            if _sums(part, chunk_bytes) != digests:
                raise ShelfError(f"a chunk of {record} does not have the digest it was saved with")
            parts.append(part)
        return pickle.loads(parts[0], buffers=[memoryview(part) for part in parts[1:]])

    def _read_block(self, record: str, nbytes: int, base: str, patches: list) -> Any:
        """The memory of a large array: mapped, not read, with its patches copied over it."""
        found = self.native.private(base)
        if found is None or len(found[0]) != nbytes:
            raise ShelfError(f"the copy {base} of {record} is missing")
        memory = found[0]
        view = memoryview(memory)
        for name, ranges in patches:
            patch = self.native.get(name)
            if patch is None:
                raise ShelfError(f"the patch {name} of {record} is missing")
            data, at = patch[2][0].read(), 0
            for start, size in ranges:
                view[start : start + size] = data[at : at + size]
                at += size
        place = memory.watch()
        if place is not None:
            one = blocks.Base(base, (place[0], memory.address, nbytes), place[1])
            one.patches = [(name, [tuple(r) for r in ranges]) for name, ranges in patches]
            one.landed = True
            self.blocks.bases[one.key] = one
        return memory

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
        self.walker.begin()
        for record, names in members.items():
            if RANDOM in names or not there.issuperset(names) or not all(n in self.ip.user_ns for n in names):
                continue
            names.sort()
            self.saved["\0".join(names)] = (b"", record)
            for name in names:
                walked = self.walker.walk(self.ip.user_ns[name], True)
                if not isinstance(walked, str):
                    self.known[name] = groups.Known(walked, tuple(names))
        if not more:
            self._last = version

    def reach(self, seq: int, names: set[str], blind: frozenset[str]) -> set[str]:
        """Names of a version that code which uses ``names`` may need: what functions below them use, and so on.

        All of them if one of those functions uses a name in ``blind``, which reaches variables without naming them.
        """
        version = self.version(seq)
        found: set[str] = set()
        todo = [name for name in names if name in version["names"] or name in version["imports"]]
        mates: dict[str, list[str]] = {}
        for name, record in version["names"].items():
            mates.setdefault(record, []).append(name)
        while todo:
            name = todo.pop()
            if name in found:
                continue
            found.add(name)
            record = version["names"].get(name)
            if record is None:
                continue
            needs = _packed(self.native.get(record))[0].get("needs", [])
            if not blind.isdisjoint(needs):
                return {*version["names"], *version["imports"]}
            todo += [n for n in (*mates[record], *needs) if n in version["names"] or n in version["imports"]]
        return found

    def restore_inputs(self, seq: int) -> None:
        """``In`` and the execution count go on where version ``seq`` left them."""
        version = self.version(seq)
        inputs: dict[int, str] = {}
        for number in sorted(int(name[2:]) for name in self.native.names() if name.startswith("i:")):
            if number <= seq:
                row = json.loads(_joined(self.native.get(f"i:{number}")))
                if row["run"] == version["run"]:
                    inputs[row["count"]] = row["code"]
        history = self.ip.history_manager
        for count in range(len(history.input_hist_raw), version["count"] + 1):
            history.input_hist_raw.append(inputs.get(count, ""))
            history.input_hist_parsed.append(inputs.get(count, ""))
        self.ip.execution_count = version["count"] + 1
        self.run = version["run"]


_MISSING = object()


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _inside_a_cell() -> bool:
    """Whether a cell is running on this thread's stack: then the one that just ended was run by it."""
    frame = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_name == "run_code" and code.co_filename.endswith("interactiveshell.py"):
            return True
        frame = frame.f_back
    return False


def _joined(entry: tuple) -> bytes:
    _, meta, buffers = entry
    return buffers[0].read() if buffers else meta


def _packed(entry: tuple) -> tuple[dict, Any]:
    _, meta, buffers = entry
    end = meta.index(b"}") + 1
    head = json.loads(meta[:end])
    return head, memoryview(buffers[0].read() if buffers else meta[end + 1 :])


def _chunks_of(entry: tuple) -> list[str]:
    head, packed = _packed(entry)
    found, at = [], 0
    for nbytes, kind, *rest in head["parts"]:
        if kind == 2:
            found += [rest[0], *(name for name, _ in rest[1])]
            continue
        size = 16 * -(-nbytes // head["chunk"]) if kind else nbytes
        if kind:
            found += [f"c:{bytes(packed[i : i + 16]).hex()}" for i in range(at, at + size, 16)]
        at += size
    return found


def _digest(parts: list) -> bytes:
    from ._larder import digest

    return digest(parts)


def _sums(part: Any, chunk_bytes: int = CHUNK_BYTES) -> bytes | None:
    """The digests of the chunks of a part that is larger than one; ``None`` for the others."""
    from ._larder import digest_chunks

    return digest_chunks(part, chunk_bytes) if memoryview(part).nbytes > chunk_bytes else None


def _sums_of_chunk(data: bytes) -> bytes:
    from ._larder import digest_chunks

    return digest_chunks(data, CHUNK_BYTES)
