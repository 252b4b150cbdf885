"""The stores that benches/shelf.py compares, each opened once, each durable when its call returns."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import larder

ROOT = Path(__file__).parents[1]
MODULES = ("lmdb", "h5py", "joblib", "pandas", "pyarrow", "dill", "zarr", "ZODB")
HAVE = {name for name in MODULES if importlib.util.find_spec(name)}


def written_bytes() -> int:
    """Bytes this process has sent towards the disk so far."""
    with open("/proc/self/io") as file:
        return int(dict(line.split(": ") for line in file.read().splitlines())["write_bytes"])


def sync_folder(folder: Path) -> None:
    """Makes names created or replaced in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, write: Callable[[Any], object]) -> None:
    """A file rewritten so that a crash leaves the old or the new one."""
    new = path.with_name(path.name + ".new")
    with open(new, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    sync_folder(path.parent)


def redb_program() -> Path | None:
    """The bench program of `benches/redb`, built; `None` without cargo or without its crate."""
    if shutil.which("cargo") is None:
        return None
    target = ROOT / "target" / "bench-redb"
    build = ["cargo", "build", "--release", "-q", "--target-dir", target]
    if subprocess.run(build, cwd=ROOT / "benches" / "redb", stdin=subprocess.DEVNULL).returncode:
        return None
    return target / "release" / "larder-bench-redb"


class Redb:
    """redb in a process of its own, which times itself; see `benches/redb/src/main.rs`."""

    def __init__(self, program: Path, path: Path) -> None:
        self.program, self.path = program, path
        self.process = subprocess.Popen([program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, command: str, payload: bytes = b"") -> tuple[float, float, int]:
        """`(seconds, seconds of processor time, bytes written)`, as the program measured them."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(command.encode() + b"\n" + payload)
        self.process.stdin.flush()
        seconds, cpu, written = self.process.stdout.readline().split()
        return float(seconds), float(cpu), int(written)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Zodb:
    """ZODB over a FileStorage, which calls fsync when a transaction ends."""

    def __init__(self, path: Path) -> None:
        import transaction
        import ZODB
        import ZODB.FileStorage

        self.storage = ZODB.FileStorage.FileStorage(str(path))
        self.db = ZODB.DB(self.storage, large_record_size=1 << 40)
        self.connection = self.db.open()
        self.root = self.connection.root()
        self.transaction = transaction

    def put(self, pairs: list[tuple[str, Any]]) -> None:
        from persistent.mapping import PersistentMapping

        for name, value in pairs:
            self.root[name] = PersistentMapping(value=value)
        self.transaction.commit()

    def store(self, i: int) -> None:
        """One element of the array `big` changed; ZODB writes the whole object again."""
        holder = self.root["big"]
        array = holder["value"]
        array[i * 7919 % len(array)] = i
        holder["value"] = array
        self.transaction.commit()

    def close(self) -> None:
        self.connection.close()
        self.db.close()


class Zarr:
    """A zarr folder without compression, in chunks of 8 MiB; durable by fsync of what changed, not atomic as a whole."""

    CHUNK = 1 << 20

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, array: np.ndarray) -> None:
        import zarr

        new = self.path.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        stored = zarr.create_array(new, shape=array.shape, dtype=array.dtype, chunks=(self.CHUNK,), compressors=None)
        stored[:] = array
        for folder, _, files in os.walk(new):
            for name in files:
                with open(os.path.join(folder, name), "rb") as file:
                    os.fsync(file.fileno())
            sync_folder(Path(folder))
        shutil.rmtree(self.path, ignore_errors=True)
        os.replace(new, self.path)
        sync_folder(self.path.parent)

    def opened(self) -> Any:
        import zarr

        return zarr.open_array(self.path, mode="r+")

    def store(self, stored: Any, i: int) -> None:
        at = i * 7919 % stored.shape[0]
        stored[at] = i
        chunk = self.path / "c" / str(at // self.CHUNK)
        with open(chunk, "rb") as file:
            os.fsync(file.fileno())
        sync_folder(chunk.parent)


class Peers:
    """Every store opened once, in a folder that goes with the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.closing = contextlib.ExitStack()
        self.shelf = self.closing.enter_context(larder.open(folder / "bench.shelf"))
        self.db = sqlite3.connect(folder / "bench.sqlite")
        self.db.execute("pragma journal_mode=wal")
        self.db.execute("pragma synchronous=full")
        self.db.execute("create table kv (k text primary key, v blob)")
        self.closing.callback(self.db.close)
        self.lmdb = self.zodb = self.redb = self.zarr = None
        if "lmdb" in HAVE:
            import lmdb

            self.lmdb = lmdb.open(str(folder / "bench.lmdb"), map_size=16 << 30)
            self.closing.callback(self.lmdb.close)
        if "ZODB" in HAVE:
            self.zodb = Zodb(folder / "bench.zodb")
            self.closing.callback(self.zodb.close)
        if "zarr" in HAVE:
            self.zarr = Zarr(folder / "big.zarr")
        program = redb_program()
        if program is not None:
            self.redb = Redb(program, folder / "bench.redb")
            self.closing.callback(self.redb.close)
        self.raw = os.open(folder / "floor.bin", os.O_RDWR | os.O_CREAT, 0o600)
        self.closing.callback(os.close, self.raw)

    def floor(self, data: Any) -> None:
        """What the plainest durable program does: the bytes over bytes that are already there, and one flush."""
        view, at = memoryview(data).cast("B"), 0
        while at < len(view):
            at += os.pwrite(self.raw, view[at : at + (16 << 20)], at)
        os.fdatasync(self.raw)

    def sqlite(self, pairs: list[tuple[str, Any]]) -> None:
        with self.db:
            self.db.executemany("insert or replace into kv values (?, ?)", pairs)

    def put_lmdb(self, pairs: list[tuple[str, Any]]) -> None:
        with self.lmdb.begin(write=True) as txn:
            for key, value in pairs:
                txn.put(key.encode(), value)

    def rowid(self, key: str) -> int:
        return self.db.execute("select rowid from kv where k = ?", [key]).fetchone()[0]

    def lmdb_store(self, i: int) -> None:
        with self.lmdb.begin(write=True) as txn:
            whole = np.frombuffer(txn.get(b"big")).copy()
            whole[i * 7919 % len(whole)] = i
            txn.put(b"big", whole.data.cast("B"))
