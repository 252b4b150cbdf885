"""Recovery of a notebook: its variables go to a session shelf after every cell and come back after a crash.

Rules (``docs/recovery.md`` has the reasons)

- After each cell every variable is serialised again and compared by a 128-bit digest of the result with what was saved
  last; only what differs is written. Nothing is skipped because a cell "could not have" touched it.
- Names that share an object, or arrays that share memory, are one *group*: one record, shared again after recovery.
- One cell is one commit: the groups that changed, and a *version* that says which record every name was in.
- What cannot be serialised is listed with the reason and the cell; it never keeps other names from being saved.
- Without a clean shutdown on record the next kernel of the same notebook restores the last version. An attempt is
  recorded before it begins: two that did not live to see a cell end make the third offer instead of force.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
import types
import uuid
from pathlib import Path
from typing import Any

from . import codec, hooks
from .errors import ShelfBusy, ShelfError, ShelfFull

ATTEMPTS_MAX = 2
VERSIONS_MAX = 20
"""Versions kept for undo; the oldest goes first."""
INPUTS_MAX = 1000
_ATOMS = (type(None), bool, int, float, complex, str, bytes)
# Identity of these is either kept by other means (classes, importable functions) or cannot be told from a copy.
_UNSHARED = (*_ATOMS, tuple, frozenset, type, types.BuiltinFunctionType, types.ModuleType)


def session_file(key: str) -> Path:
    """Where the session shelf of a notebook is: readable, and different for different notebooks."""
    import hashlib

    from .shelf import home

    tail = re.sub(r"[^A-Za-z0-9._-]+", "_", key)[-60:].strip("_.") or "session"
    return home() / "sessions" / f"{tail}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.shelf"


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
        self.meta: dict = {"version": 1, "seq": 0, "versions": [], "clean": True, "attempts": 0, "recoverable": None}
        self.seconds = 0.0
        """What saving cost so far."""
        self.hidden = set(ip.user_ns_hidden) | {"In", "Out", "exit", "quit", "get_ipython", "open"}
        entry = native.get("meta")
        if entry is not None:
            self.meta.update(json.loads(_joined(entry)))

    # --- saving ---

    def namespace(self) -> dict[str, Any]:
        """The notebook's own variables."""
        ns, hidden = self.ip.user_ns, self.ip.user_ns_hidden
        return {
            name: value
            for name, value in list(ns.items())
            if not name.startswith("_")
            and name not in self.excluded
            and not (name in self.hidden and hidden.get(name, _MISSING) is value)
            and name not in ("In", "Out")
        }

    def after_cell(self, ip: Any, result: Any) -> None:
        if not self.on:
            return
        info = getattr(result, "info", None)
        if info is not None and getattr(info, "silent", False):
            return
        began = time.perf_counter()
        try:
            count = getattr(result, "execution_count", None) or max(ip.execution_count - 1, 1)
            self.save(getattr(info, "raw_cell", None) or "", count)
        except ShelfFull as err:
            self.native.rollback()
            self._stop(f"no room on the disk: {err}")
        except ShelfError as err:
            self._stop(str(err))
        self.seconds += time.perf_counter() - began

    def _stop(self, why: str) -> None:
        self.on, self.why_off = False, why
        print(f"larder: this notebook is no longer saved after each cell: {why}", file=sys.stderr)

    def save(self, code: str, count: int) -> None:
        """Bring the session shelf up to the namespace after cell ``count``, as one commit."""
        seq = self.meta["seq"] + 1
        values = self.namespace()
        imports = {name: value.__name__ for name, value in values.items() if isinstance(value, types.ModuleType)}
        groups, failed = _groups({n: v for n, v in values.items() if n not in imports})
        self.unsaved = {name: self.unsaved.get(name) or {"why": why, "cell": count} for name, why in failed.items()}
        for name, why in failed.items():
            self.unsaved[name]["why"] = why
        placed: dict[str, str] = {}
        changed: list[str] = []
        written = 0
        keep: dict[str, tuple[bytes, str]] = {}
        for names, (stream, buffers) in groups:
            key = "\0".join(names)
            digest = _digest([stream, *buffers])
            known = self.saved.get(key)
            if known is None or known[0] != digest:
                record = codec.pack(stream, buffers, {})
                known = (digest, f"g:{seq}:{names[0]}")
                self.native.put(known[1], record.kind, record.meta, record.buffers)
                changed += names
                written += len(stream) + sum(b.nbytes for b in buffers)
            keep[key] = known
            placed.update(dict.fromkeys(names, known[1]))
        gone = sorted(set().union(*(k.split("\0") for k in self.saved)) - set(placed)) if self.saved else []
        self.saved = keep
        lines = code.strip().splitlines()
        version = {
            "seq": seq,
            "run": self.run,
            "count": count,
            "time": time.time(),
            "line": lines[0][:80] if lines else "",
            "names": placed,
            "changed": changed,
            "gone": gone,
            "bytes": written,
            "imports": imports,
            "unsaved": self.unsaved,
            "cwd": os.getcwd() if os.path.isdir(".") else "",
        }
        self._put_json(f"v:{seq}", version)
        self._put_json(f"i:{seq}", {"run": self.run, "count": count, "code": code})
        self.meta.update(seq=seq, clean=False, attempts=0, versions=[*self.meta["versions"], seq])
        self._retire()
        self._put_json("meta", self.meta)
        self.native.commit(version["line"] or None)

    def _retire(self) -> None:
        """Forget versions beyond the bound, and the records no version uses."""
        versions = self.meta["versions"]
        protected = self.meta.get("recoverable")
        while len(versions) > VERSIONS_MAX:
            oldest = next(s for s in versions if s != protected)
            versions.remove(oldest)
            self.native.remove(f"v:{oldest}")
        current = {record for _, record in self.saved.values()}
        used = current.union(*(self.version(s)["names"].values() for s in versions))
        for name in self.native.names():
            old_input = name.startswith("i:") and int(name[2:]) <= self.meta["seq"] - INPUTS_MAX
            if old_input or (name.startswith("g:") and name not in used):
                self.native.remove(name)

    def _put_json(self, name: str, value: Any) -> None:
        data = json.dumps(value).encode()
        if len(data) <= codec.INLINE_BYTES_MAX:
            self.native.put(name, "json", data, [])
        else:
            self.native.put(name, "json", b"", [data])

    # --- reading ---

    def version(self, seq: int) -> dict:
        entry = self.native.get(f"v:{seq}")
        if entry is None:
            raise KeyError(f"no saved state {seq}; there are {self.meta['versions']} (see larder.session.log())")
        return json.loads(_joined(entry))

    def load(self, seq: int, names: list[str] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
        """The values of a version (all, or the groups of ``names``), and what could not be read: name -> reason."""
        version = self.version(seq)
        values: dict[str, Any] = {}
        failed: dict[str, str] = {}
        wanted = set(names) if names is not None else {*version["names"], *version["imports"]}
        missing = wanted - set(version["names"]) - set(version["imports"])
        for name in missing:
            failed[name] = version["unsaved"].get(name, {}).get("why") or "it was not saved"
        for name, module in version["imports"].items():
            if name in wanted:
                try:
                    values[name] = importlib.import_module(module)
                except Exception as err:
                    failed[name] = f"import {module}: {err}"
        records: dict[str, list[str]] = {}
        for name, record in version["names"].items():
            records.setdefault(record, []).append(name)
        # Modules first: what is unpickled below may look them up. Groups come oldest first, as they were made.
        for record, members in sorted(records.items(), key=lambda item: int(item[0].split(":")[1])):
            if not wanted.intersection(members):
                continue
            try:
                entry = self.native.get(record)
                if entry is None:
                    raise ShelfError("its record is missing")
                _, meta, buffers = entry
                group = codec.decode_pickle(meta, [bytearray(memoryview(b)) for b in buffers])
                values.update({name: group[name] for name in members})
            except Exception as err:
                failed.update(dict.fromkeys(members, f"{type(err).__name__}: {err}"))
        return values, failed

    def restore_inputs(self, seq: int) -> None:
        """``In`` and the execution count go on where version ``seq`` left them."""
        version = self.version(seq)
        inputs: dict[int, str] = {}
        for name in self.native.names():
            if name.startswith("i:") and int(name[2:]) <= seq:
                row = json.loads(_joined(self.native.get(name)))
                if row["run"] == version["run"]:
                    inputs[row["count"]] = row["code"]
        history = self.ip.history_manager
        for count in range(len(history.input_hist_raw), version["count"] + 1):
            history.input_hist_raw.append(inputs.get(count, ""))
            history.input_hist_parsed.append(inputs.get(count, ""))
        self.ip.execution_count = version["count"] + 1
        self.run = version["run"]


_MISSING = object()
_recorder: Recorder | None = None
_why_none = "recovery was not started: it needs larder's own kernel"


def recorder() -> Recorder:
    """This process's recorder. Raises ``ShelfError`` saying why there is none."""
    if _recorder is None:
        raise ShelfError(f"this notebook is not saved: {_why_none}")
    return _recorder


def why_none() -> str:
    """Why there is no recorder; empty when there is one."""
    return "" if _recorder is not None else _why_none


def start(ip: Any, session: str | None) -> None:
    """Attach to ``ip`` before its first cell, and restore the notebook ``session`` if it ended in a crash."""
    global _recorder, _why_none
    if not session:
        _why_none = "the front end gave this kernel no session name (JPY_SESSION_NAME)"
        return
    policy = os.environ.get("LARDER_RECOVER", "auto")
    path = session_file(session)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        native, note = _open(path)
    except ShelfBusy as err:
        _why_none = f"another kernel is saving the same notebook: {err}"
        _say(ip, f"larder: this notebook is not saved: {_why_none}")
        return
    except (ShelfError, OSError) as err:
        _why_none = str(err)
        _say(ip, f"larder: this notebook is not saved: {_why_none}")
        return
    if note:
        _say(ip, note)
    _recorder = rec = Recorder(ip, native, path)
    hooks.AFTER.append(rec.after_cell)
    versions = rec.meta["versions"]
    if not versions:
        return
    crashed = not rec.meta["clean"]
    rec.meta["recoverable"] = versions[-1]
    if not crashed or policy == "never":
        return
    if policy == "ask" or rec.meta["attempts"] >= ATTEMPTS_MAX:
        why = "LARDER_RECOVER=ask" if policy == "ask" else "the last attempts to restore it did not survive a cell"
        _say(
            ip,
            f"larder: the last kernel of this notebook ended without a shutdown; `%shelf recover` restores it ({why})",
        )
        return
    rec.meta["attempts"] += 1
    rec._put_json("meta", rec.meta)
    native.commit("recovery begins")
    _say(ip, restore(versions[-1], crashed=True))


def _open(path: Path) -> tuple[Any, str]:
    from ._larder import NativeShelf
    from .errors import ShelfCorrupt, ShelfFormat

    try:
        native = NativeShelf(str(path), "a", None)
        note = ""
    except (ShelfCorrupt, ShelfFormat) as err:
        aside = path.with_suffix(f".damaged-{int(time.time())}")
        os.replace(path, aside)
        native = NativeShelf(str(path), "a", None)
        note = f"larder: the saved state of this notebook cannot be read ({err}); it was set aside as {aside}"
    os.chmod(path, 0o600)
    return native, note


def restore(seq: int, names: list[str] | None = None, *, crashed: bool = False) -> str:
    """Put version ``seq`` into the namespace; returns the line that says what came back."""
    rec = recorder()
    version = rec.version(seq)
    values, failed = rec.load(seq, names)
    rec.ip.user_ns.update(values)
    if crashed:
        rec.restore_inputs(seq)
    if names is None:
        failed = {**{n: u["why"] for n, u in version["unsaved"].items()}, **failed}
    back = ", ".join(sorted(values)) or "nothing"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(version["time"]))
    line = f"larder: back from cell [{version['count']}] of {when}: {back}"
    if failed:
        line += "\nlarder: not back: " + "; ".join(f"{name} ({why})" for name, why in sorted(failed.items()))
    if version["cwd"] and version["cwd"] != os.getcwd() and names is None:
        line += f"\nlarder: the notebook was in {version['cwd']}, it is now in {os.getcwd()}"
    return line


def _say(ip: Any, text: str) -> None:
    """Print once, on the page of the first cell: before it there is no page."""

    def once(shell: Any, info: Any) -> None:
        hooks.BEFORE.remove(once)
        print(text)

    hooks.BEFORE.append(once)


def clean_shutdown(restart: bool) -> None:
    """A front end asked for the end: the next kernel starts fresh, and ``%shelf recover`` brings the state back."""
    global _recorder, _why_none
    rec, _recorder = _recorder, None
    _why_none = "the kernel is shutting down"
    if rec is None:
        return
    hooks.AFTER[:] = [hook for hook in hooks.AFTER if hook != rec.after_cell]
    try:
        rec.meta["clean"] = True
        rec._put_json("meta", rec.meta)
        rec.native.commit("restart" if restart else "shutdown")
        rec.native.close()
    except ShelfError as err:
        print(f"larder: the end of this session could not be recorded: {err}", file=sys.stderr)


def _joined(entry: tuple) -> bytes:
    _, meta, buffers = entry
    return bytes(memoryview(buffers[0])) if buffers else meta


def _digest(parts: list) -> bytes:
    from ._larder import digest

    return digest(parts)


# --- groups: which names have to be saved together ---


def _groups(values: dict[str, Any]) -> tuple[list[tuple[list[str], tuple]], dict[str, str]]:
    """``([(names, (stream, buffers))], failed)``: names that share objects or memory are in one group."""
    failed: dict[str, str] = {}
    dumped: dict[str, tuple] = {}
    parent = {name: name for name in values}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    owner_of: dict[int, str] = {}
    spans: list[tuple[int, int, str]] = []
    keep_alive: list[Any] = []
    for name, value in values.items():
        if type(value) in _ATOMS:
            dumped[name] = codec.dump({name: value})[:2]
            continue
        try:
            stream, buffers, pickler, ranges = codec.dump_traced({name: value})
        except Exception as err:
            path, part, why = codec.offender(value, name, err)
            failed[name] = f"{path}: {codec._type_name(part)} ({why})" if path != name else why
            del parent[name]
            continue
        dumped[name] = (stream, buffers)
        spans += [(start, start + size, name) for start, size in ranges if size]
        for key, (_, part) in pickler.memo.copy().items():
            if _shareable(part):
                # Objects made while pickling (reduce states) die with the memo; keeping them keeps ids apart.
                keep_alive.append(part)
                other = owner_of.setdefault(key, name)
                if other != name:
                    parent[root(name)] = root(other)
    spans.sort()
    end, last = -1, ""
    for start, stop, name in spans:
        if start < end:
            parent[root(name)] = root(last)
        if stop > end:
            end, last = stop, name
    members: dict[str, list[str]] = {}
    for name in parent:
        members.setdefault(root(name), []).append(name)
    groups = []
    for names in members.values():
        if len(names) == 1:
            groups.append((names, dumped[names[0]]))
        else:
            names.sort()
            groups.append((names, codec.dump_traced({name: values[name] for name in names})[:2]))
    return groups, failed


def _shareable(part: Any) -> bool:
    if isinstance(part, _UNSHARED):
        return False
    if isinstance(part, types.FunctionType):
        return part.__module__ == "__main__"
    np = sys.modules.get("numpy")
    return np is None or not isinstance(part, (np.dtype, np.generic, np.ufunc))
