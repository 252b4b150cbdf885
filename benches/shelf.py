"""Shelves beside their peers: one run, interleaved rounds, p50, and plain pwrite + fdatasync in the same run.

    python benches/shelf.py                   # all, 256 MiB, markdown on stdout
    python benches/shelf.py --only update     # one table: small, puts, put, update, first, names, frame
    python benches/shelf.py --mib 32 --rounds 3 --json

Every contender is durable when its call returns: ours by its one flush, LMDB and SQLite (WAL, synchronous=FULL) by theirs,
files by fsync, rename, and fsync of the folder. Peers that are not installed are left out. "written" is what the process
dirtied (`write_bytes` of /proc/self/io): whole folios of the page cache, without the file system's own journal.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import pickle
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import larder

HAVE = {name for name in ("lmdb", "h5py", "joblib", "pandas", "pyarrow", "dill") if importlib.util.find_spec(name)}
# `import larder` imports the rest on first use; numpy is imported before the clock starts too.
OURS = "import larder, larder.shelf, larder.types, larder._larder"
Contenders = dict[str, Callable[[Any], object]]


def written_bytes() -> int:
    """Bytes this process has sent towards the disk so far."""
    with open("/proc/self/io") as file:
        return int(dict(line.split(": ") for line in file.read().splitlines())["write_bytes"])


def interleave(contenders: Contenders, rounds: int, make: Callable[[int], Any] = lambda i: i) -> list[dict]:
    """Runs every contender once per round, in an order that rotates; one warm-up round is thrown away."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    written: dict[str, list[int]] = {name: [] for name in contenders}
    order = list(contenders)
    for i in range(rounds + 1):
        payload = make(i)
        for name in order[i % len(order) :] + order[: i % len(order)]:
            before = written_bytes()
            began = time.perf_counter()
            own = contenders[name](payload)
            took = time.perf_counter() - began
            if i:
                # A contender that timed itself (in another process) returns the seconds.
                seconds[name].append(own if type(own) is float else took)
                written[name].append(written_bytes() - before)
    return [
        {
            "who": name,
            "p50_ms": statistics.median(seconds[name]) * 1e3,
            "best_ms": min(seconds[name]) * 1e3,
            "written": int(statistics.median(written[name])),
        }
        for name in order
    ]


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
        self.lmdb = None
        if "lmdb" in HAVE:
            import lmdb

            self.lmdb = lmdb.open(str(folder / "bench.lmdb"), map_size=16 << 30)
            self.closing.callback(self.lmdb.close)
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

    # --- the tables ---

    def small(self, rounds: int, mib: int) -> list[dict]:
        """One durable commit of 200 bytes."""
        contenders: Contenders = {
            "plain pwrite + fdatasync": self.floor,
            "larder": lambda data: self.shelf.__setitem__("small", data),
            "sqlite": lambda data: self.sqlite([("small", data)]),
            "pickle file": lambda data: replace_file(self.folder / "small.pickle", lambda f: pickle.dump(data, f)),
        }
        if self.lmdb:
            contenders["lmdb"] = lambda data: self.put_lmdb([("small", data)])
        return interleave(contenders, rounds * 20, lambda i: os.urandom(200))

    def puts(self, rounds: int, mib: int) -> list[dict]:
        """1,000 values of 200 bytes in one commit."""

        def ours(values: list[tuple[str, bytes]]) -> None:
            with self.shelf.transaction():
                for name, data in values:
                    self.shelf[name] = data

        contenders: Contenders = {"larder": ours, "sqlite": self.sqlite}
        if self.lmdb:
            contenders["lmdb"] = self.put_lmdb
        return interleave(contenders, rounds * 3, lambda i: [(f"n{k}", os.urandom(200)) for k in range(1000)])

    def put(self, rounds: int, mib: int) -> list[dict]:
        """One array, durable, in place of the one before."""
        joblib_file = self.folder / "big.joblib"
        contenders: Contenders = {
            "plain pwrite + fdatasync": self.floor,
            "larder": lambda a: self.shelf.__setitem__("big", a),
            "npy": lambda a: replace_file(self.folder / "big.npy", lambda f: np.save(f, a)),
            "pickle 5": lambda a: replace_file(self.folder / "big.pickle", lambda f: pickle.dump(a, f, 5)),
            "sqlite": lambda a: self.sqlite([("big", a.data.cast("B"))]),
        }
        if self.lmdb:
            contenders["lmdb"] = lambda a: self.put_lmdb([("big", a.data.cast("B"))])
        if "joblib" in HAVE:
            import joblib

            contenders["joblib"] = lambda a: replace_file(joblib_file, lambda f: joblib.dump(a, f))
        if "h5py" in HAVE:
            contenders["h5py"] = self._put_h5
        rows = interleave(contenders, rounds, lambda i: np.full(mib << 17, float(i)))
        for row in rows:
            row["GB/s"] = (mib << 20) / row["p50_ms"] / 1e6
        return rows

    def _put_h5(self, array: np.ndarray) -> None:
        import h5py

        def write(file: Any) -> None:
            with h5py.File(file, "w") as h5:
                h5["big"] = array

        replace_file(self.folder / "big.h5", write)

    def update(self, rounds: int, mib: int) -> list[dict]:
        """One element of the big array changed, durable."""
        self._need_big(mib)
        n = mib << 17
        ours = self.shelf["big"]
        mapped = np.load(self.folder / "big.npy", mmap_mode="r+")
        open_here = contextlib.ExitStack()

        def larder_store(i: int) -> None:
            ours[i * 7919 % n] = i
            self.shelf.commit()

        def memmap_store(i: int) -> None:
            mapped[i * 7919 % n] = i
            mapped.flush()

        def floor(i: int) -> None:
            os.pwrite(self.raw, np.float64(i).tobytes(), i * 7919 % n * 8)
            os.fdatasync(self.raw)

        def sqlite_store(i: int) -> None:
            with self.db, self.db.blobopen("kv", "v", self._rowid("big")) as blob:
                blob.seek(i * 7919 % n * 8)
                blob.write(np.float64(i).tobytes())

        def pickle_store(i: int) -> None:
            whole = pickle.loads((self.folder / "big.pickle").read_bytes())
            whole[i * 7919 % n] = i
            replace_file(self.folder / "big.pickle", lambda f: pickle.dump(whole, f, 5))

        contenders: Contenders = {
            "plain pwrite + fdatasync": floor,
            "larder": larder_store,
            "npy + memmap (not atomic)": memmap_store,
            "sqlite blob": sqlite_store,
            "pickle 5": pickle_store,
        }
        if self.lmdb:
            contenders["lmdb"] = self._lmdb_store
        if "h5py" in HAVE:
            import h5py

            h5 = open_here.enter_context(h5py.File(self.folder / "big.h5", "r+"))

            def h5_store(i: int) -> None:
                h5["big"][i * 7919 % n] = i
                h5.flush()
                os.fsync(h5.id.get_vfd_handle())

            contenders["h5py (not atomic)"] = h5_store
        with open_here:
            return interleave(contenders, rounds)

    def _lmdb_store(self, i: int) -> None:
        with self.lmdb.begin(write=True) as txn:
            whole = np.frombuffer(txn.get(b"big")).copy()
            whole[i * 7919 % len(whole)] = i
            txn.put(b"big", whole.data.cast("B"))

    def _rowid(self, key: str) -> int:
        return self.db.execute("select rowid from kv where k = ?", [key]).fetchone()[0]

    def _need_big(self, mib: int) -> None:
        array = self.shelf.get("big")
        if array is None or len(array) != mib << 17 or not (self.folder / "big.npy").exists():
            self.put(1, mib)

    def first(self, rounds: int, mib: int) -> list[dict]:
        """One element of the big array in a new process, after the imports."""
        self._need_big(mib)
        self.shelf.commit()
        f = str(self.folder)
        big = f"{f}/big"
        sources = {
            "larder": (OURS, f"larder.open('{f}/bench.shelf', 'r')['big'][12345]"),
            "npy + memmap": ("", f"np.load('{big}.npy', mmap_mode='r')[12345]"),
            "pickle 5": ("import pickle", f"pickle.load(open('{big}.pickle', 'rb'))[12345]"),
            "sqlite": (
                "import sqlite3",
                f"np.frombuffer(sqlite3.connect('{f}/bench.sqlite').execute('select v from kv where k=\"big\"')"
                ".fetchone()[0])[12345]",
            ),
            "lmdb": (
                "import lmdb",
                f"np.frombuffer((txn := (env := lmdb.open('{f}/bench.lmdb', map_size=16 << 30, readonly=True))"
                ".begin(buffers=True)).get(b'big'))[12345]",
            ),
            "h5py": ("import h5py", f"h5py.File('{big}.h5', 'r')['big'][12345]"),
            "joblib": ("import joblib", f"joblib.load('{big}.joblib', mmap_mode='r')[12345]"),
        }
        installed = {n: s for n, s in sources.items() if n in HAVE or n not in ("lmdb", "h5py", "joblib")}
        return interleave(self._children(installed), rounds)

    def names(self, rounds: int, mib: int) -> list[dict]:
        """1,000 names (ints, strings, lists, arrays of 100) back in a new process, after the imports."""
        makers = (lambda k: k, lambda k: f"text {k}", lambda k: [k, str(k)], lambda k: np.full(100, k))
        values = {f"v{k}": makers[k % 4](k) for k in range(1000)}
        path = self.folder / "names.shelf"
        with larder.open(path) as shelf:
            shelf.update(values)
        f = str(self.folder)
        replace_file(self.folder / "names.pickle", lambda file: pickle.dump(values, file, 5))
        pairs = [(name, pickle.dumps(value, 5)) for name, value in values.items()]
        self.db.execute("create table if not exists names (k text primary key, v blob)")
        with self.db:
            self.db.executemany("insert or replace into names values (?, ?)", pairs)
        sources = {
            "larder": (OURS, f"dict(larder.open('{path}', 'r').items())"),
            "one pickle": ("import pickle", f"pickle.load(open('{f}/names.pickle', 'rb'))"),
            "sqlite, pickles": (
                "import sqlite3, pickle",
                f"{{k: pickle.loads(v) for k, v in sqlite3.connect('{f}/bench.sqlite').execute('select * from names')}}",
            ),
        }
        if "lmdb" in HAVE:
            import lmdb

            with lmdb.open(f"{f}/names.lmdb", map_size=1 << 30) as env, env.begin(write=True) as txn:
                for name, data in pairs:
                    txn.put(name.encode(), data)
            sources["lmdb, pickles"] = (
                "import lmdb, pickle\ndef back(path):\n    with lmdb.open(path, readonly=True) as env, env.begin() as txn:\n"
                "        return {k: pickle.loads(v) for k, v in txn.cursor()}",
                f"back('{f}/names.lmdb')",
            )
        if "h5py" in HAVE:
            import h5py

            with h5py.File(f"{f}/names.h5", "w") as h5:
                for name, value in values.items():
                    h5[name] = value if isinstance(value, (int, str, np.ndarray)) else json.dumps(value)
            sources["h5py"] = ("import h5py", f"{{k: v[()] for k, v in h5py.File('{f}/names.h5', 'r').items()}}")
        return interleave(self._children(sources), rounds)

    def _children(self, sources: dict[str, tuple[str, str]]) -> Contenders:
        def child(setup: str, expression: str) -> Callable[[Any], float]:
            code = (
                f"import time, numpy as np\n{setup}\nbegan = time.perf_counter()\nvalue = {expression}\n"
                # Without the clean-up at exit, where some peers free what their values still look at.
                "print(time.perf_counter() - began, flush=True)\nimport os\nos._exit(0)"
            )

            def run(_: Any) -> float:
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(f"{expression}\n{done.stderr}")
                return float(done.stdout)

            return run

        return {name: child(*source) for name, source in sources.items()}

    def frame(self, rounds: int, mib: int) -> list[dict]:
        """A pandas frame of 1,000,000 rows and 5 float columns: put durably, then got and one column summed."""
        if "pandas" not in HAVE:
            return []
        import pandas as pd

        path = self.folder / "frame"
        put: Contenders = {
            "larder": lambda f: self.shelf.__setitem__("frame", f),
            "pickle 5": lambda f: replace_file(path.with_suffix(".pickle"), lambda file: pickle.dump(f, file, 5)),
        }
        get: Contenders = {
            "larder": lambda _: self.shelf["frame"]["c3"].sum(),
            "pickle 5": lambda _: pickle.loads(path.with_suffix(".pickle").read_bytes())["c3"].sum(),
        }
        if "pyarrow" in HAVE:
            import pyarrow as pa
            import pyarrow.feather as feather

            arrow = path.with_suffix(".arrow")

            def write(file: Any, frame: Any) -> None:
                feather.write_feather(frame, file, compression="uncompressed")

            put["arrow file"] = lambda f: replace_file(arrow, lambda file: write(file, f))
            get["arrow file"] = lambda _: feather.read_feather(pa.memory_map(str(arrow)))["c3"].sum()
        if "joblib" in HAVE:
            import joblib

            dumped = path.with_suffix(".joblib")
            put["joblib"] = lambda f: replace_file(dumped, lambda file: joblib.dump(f, file))
            get["joblib"] = lambda _: joblib.load(dumped)["c3"].sum()

        def make(i: int) -> pd.DataFrame:
            return pd.DataFrame(np.random.default_rng(i).random((1_000_000, 5)), columns=[f"c{k}" for k in range(5)])

        rows = interleave(put, rounds, make)
        for row, back in zip(rows, interleave(get, rounds), strict=True):
            row["get_ms"] = back["p50_ms"]
        return rows


TABLES = ("small", "puts", "put", "update", "first", "names", "frame")


def markdown(title: str, rows: list[dict]) -> str:
    """One table as markdown."""
    extra = [key for key in ("GB/s", "get_ms") if rows and key in rows[0]]
    written = any(row["written"] for row in rows)
    head = ["", "p50", "best", *({"get_ms": "get, p50"}.get(key, key) for key in extra), *(["written"] * written)]
    lines = [f"**{title}**", "", "| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for row in rows:
        cells = [row["who"], milliseconds(row["p50_ms"]), milliseconds(row["best_ms"])]
        cells += [milliseconds(row[key]) if key == "get_ms" else f"{row[key]:.2f}" for key in extra]
        cells += [larder.display.bytes_text(row["written"])] * written
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def milliseconds(value: float) -> str:
    return f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def file_system(folder: Path) -> str:
    with open("/proc/mounts") as file:
        mounts = [line.split()[1:3] for line in file]
    return max((m for m in mounts if folder.is_relative_to(m[0])), key=lambda m: len(m[0]))[1]


def main() -> int:
    parser = argparse.ArgumentParser(description="Shelves beside their peers.")
    parser.add_argument("--only", choices=TABLES, action="append", help="this table (may be repeated; default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the big tables (small ones: 20 times that)")
    parser.add_argument("--mib", type=int, default=256, help="size of the big array")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where: a folder on a real disk")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="larder-bench-", dir=args.dir)).absolute()
    kind = file_system(folder)
    if kind == "tmpfs":
        print(f"{folder} is in memory: nothing is durable there; choose a disk with --dir", file=sys.stderr)
    results = {}
    try:
        peers = Peers(folder)
        with peers.closing:
            tracker = peers.shelf.stats()["tracker"]
            where = f"{os.cpu_count()} cores, kernel {platform.release()}, {kind}, Python {platform.python_version()}"
            if not args.json:
                print(f"larder {larder.__version__}, {where}, tracker {tracker}; {args.rounds} rounds, p50\n")
            for name in args.only or TABLES:
                run = getattr(peers, name)
                rows = results[name] = run(args.rounds, args.mib)
                if rows and not args.json:
                    size = f" ({args.mib} MiB)" if name in ("put", "update", "first") else ""
                    print(markdown(run.__doc__.rstrip(".") + size, rows), flush=True)
        if args.json:
            print(json.dumps({"machine": where, "rounds": args.rounds, "mib": args.mib, "tables": results}, indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
