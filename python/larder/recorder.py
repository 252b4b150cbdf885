"""What a session shelf holds, and how a namespace gets there and back.

========= ==================================================================================================
record    content
========= ==================================================================================================
meta      JSON: last version, versions kept, whether the last shutdown was clean, attempts to restore
v:SEQ     JSON: one version: cell, time, name -> group record, imports, what was not saved and why
i:SEQ     JSON: the input of that cell
g:SEQ:N   a group (see `groups`): its pickle and its buffers; what is larger than a chunk is a list of chunks
c:DIGEST  a chunk, named by the 128-bit XXH3 digest of its bytes
========= ==================================================================================================

Invariants

- A version names only records that are on the shelf; what no version names is removed in the same commit.
- A record is never changed: a group that changed gets a new record, a chunk that changed has another name.
- `saved`, `meta` and `uses` describe the last successful commit, never a pending one.
"""

from __future__ import annotations

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

from . import codec, groups
from .errors import ShelfError, ShelfFull

CHUNK_BYTES = 1 << 20
VERSIONS_MAX = 50
"""Versions kept for undo; the oldest goes first."""
INPUTS_MAX = 1000
BYTES_MAX = 32 << 30
"""Above this the oldest versions go before their time; ``LARDER_SESSION_BYTES`` sets another bound."""


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
        self.uses: dict[str, frozenset[str]] = {
            name: frozenset(_chunks_of(native.get(name))) for name in native.names() if name.startswith("g:")
        }
        """Group record -> its chunks, of every group on the shelf."""

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
        found, refused = groups.groups({n: v for n, v in values.items() if n not in imports})
        unsaved = {
            name: {"why": why, "cell": self.unsaved[name]["cell"] if name in self.unsaved else count}
            for name, why in refused.items()
        }
        uses = dict(self.uses)
        chunks = set().union(*uses.values()) if uses else set()
        saved: dict[str, tuple[bytes, str]] = {}
        placed: dict[str, str] = {}
        changed: list[str] = []
        written = 0
        for names, stream, buffers in found:
            key = "\0".join(names)
            parts = [memoryview(stream), *buffers]
            sums = [_sums(part) for part in parts]
            digest = _digest([s if s is not None else p for p, s in zip(parts, sums, strict=True)])
            known = self.saved.get(key)
            if known is None or known[0] != digest:
                record = f"g:{seq}:{names[0]}"
                digest, uses[record], size = self._put_group(record, parts, sums, chunks)
                known = (digest, record)
                changed += names
                written += size
            saved[key] = known
            placed.update(dict.fromkeys(names, known[1]))
        before = self._versions.get(self.meta["seq"]) if self.saved else None
        lines = code.strip().splitlines()
        version = {
            "seq": seq,
            "run": self.run,
            "count": count,
            "time": time.time(),
            "line": lines[0][:80] if lines else "",
            "names": placed,
            "changed": sorted(changed),
            "gone": sorted(set(before["names"]) - set(placed)) if before else [],
            "bytes": written,
            "imports": imports,
            "unsaved": unsaved,
            "cwd": _cwd(),
            "of": self.restored_from,
        }
        self._put_json(f"v:{seq}", version)
        self._put_json(f"i:{seq}", {"run": self.run, "count": count, "code": code})
        versions = {**{s: self.version(s) for s in self.meta["versions"]}, seq: version}
        meta = {**self.meta, "seq": seq, "clean": False, "attempts": 0}
        self._retire(versions, uses, meta["recoverable"])
        meta["versions"] = list(versions)
        self._put_json("meta", meta)
        self.native.commit(version["line"] or None)
        self.meta, self.saved, self.uses, self.unsaved = meta, saved, uses, unsaved
        self._versions, self.restored_from = versions, None

    def _put_group(self, record: str, parts: list, sums: list, chunks: set[str]) -> tuple[bytes, frozenset[str], int]:
        """Write one group. What is written is copied first, and the digest is that of the copy.

        A thread that stores into an array meanwhile can then be saved half-done, but never be taken for saved.
        """
        head, buffers, own, digested = [], [], set(), []
        size = 0
        for part, known in zip(parts, sums, strict=True):
            if known is None:
                copy = bytes(part)
                buffers.append(copy)
                digested.append(copy)
                head.append([len(copy), 0])
                size += len(copy)
                continue
            final = bytearray(known)
            for at in range(0, len(known), 16):
                name = f"c:{known[at : at + 16].hex()}"
                if name not in chunks:
                    start = at // 16 * CHUNK_BYTES
                    copy = bytes(part[start : start + CHUNK_BYTES])
                    final[at : at + 16] = _sums_of_chunk(copy)
                    name = f"c:{final[at : at + 16].hex()}"
                    if name not in chunks:
                        self.native.put(name, "chunk", b"", [copy])
                        chunks.add(name)
                        size += len(copy)
                own.add(name)
            buffers.append(bytes(final))
            digested.append(bytes(final))
            head.append([part.nbytes, 1])
        data = json.dumps({"parts": head, "chunk": CHUNK_BYTES}).encode()
        inline = sum(map(len, buffers)) + len(data) <= codec.INLINE_BYTES_MAX
        packed = b"".join(buffers)
        self.native.put(record, "group", data + b"\0" + packed if inline else data + b"\1", [] if inline else [packed])
        return _digest(digested), frozenset(own), size

    def _retire(self, versions: dict[int, dict], uses: dict[str, frozenset[str]], protected: int | None) -> None:
        """Forget versions beyond the bounds, and the records and chunks that no version needs."""
        sizes = {row["name"]: row["nbytes"] for row in self.native.inspect()}

        def drop_oldest() -> None:
            oldest = next(s for s in versions if s != protected)
            del versions[oldest]
            self.native.remove(f"v:{oldest}")

        def sweep() -> int:
            used = {record for v in versions.values() for record in v["names"].values()}
            for record in [r for r in uses if r not in used]:
                del uses[record]
            needed = used.union(*uses.values()) if uses else used
            for name in list(sizes):
                if name.startswith(("g:", "c:")) and name not in needed:
                    self.native.remove(name)
                    del sizes[name]
            return sum(sizes.values())

        while len(versions) > VERSIONS_MAX:
            drop_oldest()
        total = sweep()
        while total > self.bytes_max and len(versions) > (2 if protected in versions else 1):
            drop_oldest()
            total = sweep()
        if total > self.bytes_max and not self.over_cap:
            print(
                f"larder: this notebook's saved state takes {total >> 20} MiB, more than LARDER_SESSION_BYTES allows; "
                "earlier states were dropped, and larder.session.exclude(name) keeps a variable out",
                file=sys.stderr,
            )
        self.over_cap = total > self.bytes_max
        newest = max(versions)
        for name in sizes:
            if name.startswith("i:") and int(name[2:]) <= newest - INPUTS_MAX:
                self.native.remove(name)

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
            self.saved = {key: value for key, value in self.saved.items() if name not in key.split("\0")}
            uses = dict(self.uses)
            self._retire({s: self.version(s) for s in self.meta["versions"]}, uses, None) if self.meta[
                "versions"
            ] else None
            self.native.commit("exclude")
            self.uses = uses

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
                    into.update({name: group[name] for name in members})
                    back += members
                except (Exception, SystemExit) as err:
                    again.append((record, members))
                    if last:
                        failed.update(dict.fromkeys(members, f"{type(err).__name__}: {err}"))
            todo = again
        return back, failed

    def _read_group(self, record: str) -> dict[str, Any]:
        import pickle

        entry = self.native.get(record)
        if entry is None:
            raise ShelfError(f"its record {record} is missing")
        head, packed = _packed(entry)
        parts, at = [], 0
        for nbytes, chunked in head["parts"]:
            if not chunked:
                parts.append(groups.Restored(packed[at : at + nbytes]))
                at += nbytes
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
                view[start : start + chunk_bytes] = memoryview(chunk[2][0])
            if _sums(part, chunk_bytes) != digests:
                raise ShelfError(f"a chunk of {record} does not have the digest it was saved with")
            parts.append(part)
        return pickle.loads(parts[0], buffers=[memoryview(part) for part in parts[1:]])

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
    for nbytes, chunked in head["parts"]:
        size = 16 * -(-nbytes // head["chunk"]) if chunked else nbytes
        if chunked:
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
