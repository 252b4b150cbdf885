"""Reading what a session shelf holds (its layout: `recorder`) back into a namespace."""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from typing import Any

from . import blocks, classes, groups, hashed, hooks
from .errors import ShelfError
from .surroundings import BESIDE, RANDOM

CHUNK_BYTES = 1 << 20


class Reader(ABC):
    """The half of a `Recorder` that reads; nothing it asks the shelf for is being written meanwhile."""

    ip: Any
    native: Any
    meta: dict
    run: str
    blocks: blocks.Blocks
    _versions: dict[int, dict]

    @abstractmethod
    def drain(self, seconds: float | None = None) -> bool:
        """Wait until nothing is being written to the shelf; whether that is so."""

    @abstractmethod
    def set_beside(self, name: str, value: dict[str, Any]) -> None:
        """Go on with what is saved under one of the names of `surroundings.BESIDE`."""

    @abstractmethod
    def variables_came(self) -> None:
        """Something was loaded, which may be what something of `surroundings.BESIDE` waits for."""

    @abstractmethod
    def set_here(self, version: dict) -> dict[str, str]:
        """Go on with what else a state says of its surroundings, and undo what it does not have; what failed, and why."""

    def version(self, seq: int) -> dict:
        """One saved state. Raises ``KeyError`` naming those there are."""
        if seq not in self._versions:
            entry = self.native.get(f"v:{seq}") if seq in self.meta["versions"] else None
            if entry is None:
                raise KeyError(
                    f"no saved state {seq!r}; there are {spans(self.meta['versions'])} (see larder.session.log())"
                )
            self._versions[seq] = json.loads(joined(entry))
        return self._versions[seq]

    def load(self, seq: int, names: list[str] | None, into: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
        """Put a version (all, or the groups of ``names``) into a namespace: names that are back, and failures.

        Values may need each other while they are made (a class that calls a function of the notebook), so groups go in
        one by one, oldest first, and those that failed get a second chance when the others are there.
        """
        self.drain()
        version = self.version(seq)
        back: list[str] = []
        failed: dict[str, str] = {}
        wanted = set(names) if names is not None else {*version["names"], *version["imports"]}
        if not wanted & BESIDE:
            version = {**version, "names": {n: r for n, r in version["names"].items() if n not in BESIDE}}
        if names is None:
            failed |= self.set_here(version)
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
        comes = {name for _, members in todo for name in members}
        beside: dict[str, dict] = {}
        with classes.loading(lambda kind: names is None or kind.__name__ in comes):
            for last in (False, True):
                again = []
                for record, members in todo:
                    try:
                        group = self._read_group(record)
                        beside.update({name: group.pop(name) for name in BESIDE & group.keys()})
                        into.update(group)
                        back += group
                    except (Exception, SystemExit) as err:
                        again.append((record, members))
                        if last:
                            failed.update(dict.fromkeys(set(members) - {RANDOM}, f"{type(err).__name__}: {err}"))
                todo = again
        # When what they name is there; the random numbers last, since what is imported or made can draw some.
        for name in sorted(beside, key=lambda name: name == RANDOM):
            try:
                self.set_beside(name, beside[name])
            except (Exception, SystemExit) as err:
                failed[name] = f"{type(err).__name__}: {err}"
        self.variables_came()
        hooks.back()
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
            if sums_of(part, chunk_bytes) != digests:
                raise ShelfError(f"a chunk of {record} does not have the digest it was saved with")
            parts.append(part)
        loads = hashed.loads if head.get("hashed") else pickle.loads
        return loads(parts[0], buffers=[memoryview(part) for part in parts[1:]])

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
            self.blocks.bases[one.key] = one
        return memory

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
                row = json.loads(joined(self.native.get(f"i:{number}")))
                if row["run"] == version["run"]:
                    inputs[row["count"]] = row["code"]
        history = self.ip.history_manager
        for count in range(len(history.input_hist_raw), version["count"] + 1):
            history.input_hist_raw.append(inputs.get(count, ""))
            history.input_hist_parsed.append(inputs.get(count, ""))
        self.ip.execution_count = version["count"] + 1
        self.run = version["run"]


def spans(numbers: list[int]) -> str:
    """``[1, 2, 3, 7]`` as ``1 to 3, 7``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join(" to ".join(map(str, one)) for one in found) or "none"


def joined(entry: tuple) -> bytes:
    _, meta, buffers = entry
    return buffers[0].read() if buffers else meta


def _packed(entry: tuple) -> tuple[dict, Any]:
    _, meta, buffers = entry
    end = meta.index(b"}") + 1
    head = json.loads(meta[:end])
    return head, memoryview(buffers[0].read() if buffers else meta[end + 1 :])


def chunks_of(entry: tuple) -> list[str]:
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


def sums_of(part: Any, chunk_bytes: int = 0) -> bytes | None:
    """The digests of the chunks of a part that is larger than one; ``None`` for the others."""
    from ._larder import digest_chunks

    chunk_bytes = chunk_bytes or CHUNK_BYTES
    return digest_chunks(part, chunk_bytes) if memoryview(part).nbytes > chunk_bytes else None
