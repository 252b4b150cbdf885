"""Shelves beside their peers: one run, interleaved rounds, p50, and plain pwrite + fdatasync in the same run.

    python benches/shelf.py                   # all, 256 MiB, markdown on stdout
    python benches/shelf.py --only update     # one table: small, puts, put, update, first, names, frame
    python benches/shelf.py --mib 32 --rounds 3 --json

Every contender is durable when its call returns: ours by its one flush, LMDB, redb, ZODB and SQLite (WAL,
synchronous=FULL) by theirs, files by fsync, rename, and fsync of the folder. Those that a crash can tear say so. Peers
that are not installed are left out; redb is built with cargo. "written" is what the process dirtied (`write_bytes` of
/proc/self/io): whole folios of the page cache, without the file system's own journal. "cpu" is the processor time of the
process, the median: what stays comparable on a busy machine. Under each table is what larder aims at, and what the run
gave.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from shelf_peers import HAVE, Peers, replace_file, written_bytes

import larder

# `import larder` imports the rest on first use; numpy is imported before the clock starts too.
OURS = "import larder, larder.shelf, larder.types, larder._larder"
Contenders = dict[str, Callable[[Any], object]]


def interleave(contenders: Contenders, rounds: int, make: Callable[[int], Any] = lambda i: i) -> list[dict]:
    """Runs every contender once per round, in an order that rotates; one warm-up round is thrown away."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    written: dict[str, list[int]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for i in range(rounds + 1):
        payload = make(i)
        for name in order[i % len(order) :] + order[: i % len(order)]:
            before = written_bytes()
            began, worked = time.perf_counter(), time.process_time()
            own = contenders[name](payload)
            took, spent, sent = time.perf_counter() - began, time.process_time() - worked, written_bytes() - before
            if type(own) is tuple:  # A contender in another process measured itself.
                took, spent, sent = own
            if i:
                seconds[name].append(took)
                cpu[name].append(spent)
                written[name].append(sent)
    return [
        {
            "who": name,
            "p50_ms": statistics.median(seconds[name]) * 1e3,
            "best_ms": min(seconds[name]) * 1e3,
            "cpu_ms": statistics.median(cpu[name]) * 1e3,
            "written": int(statistics.median(written[name])),
        }
        for name in order
    ]


class Bench(Peers):
    """The tables. Each method is one; its first line is the title."""

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
        if self.redb:
            contenders["redb"] = lambda data: self.redb(f"one {len(data)}", data)
        if self.zodb:
            contenders["ZODB"] = lambda data: self.zodb.put([("small", data)])
        return interleave(contenders, rounds * 20, lambda i: os.urandom(200))

    def puts(self, rounds: int, mib: int) -> list[dict]:
        """1,000 values of 200 bytes in one commit."""

        def ours(values: list[tuple[str, bytes]]) -> None:
            with self.shelf.transaction():
                for name, data in values:
                    self.shelf[name] = data

        def whole(module: Any) -> Callable[[Any], object]:
            path = self.folder / f"puts.{module.__name__}"
            return lambda values: replace_file(path, lambda f: module.dump(dict(values), f))

        contenders: Contenders = {
            "plain pwrite + fdatasync": lambda values: self.floor(b"".join(data for _, data in values)),
            "larder": ours,
            "sqlite": self.sqlite,
            "one pickle file": whole(pickle),
        }
        if self.lmdb:
            contenders["lmdb"] = self.put_lmdb
        if self.redb:
            contenders["redb"] = lambda values: self.redb("many 1000 200", b"".join(data for _, data in values))
        if self.zodb:
            contenders["ZODB"] = self.zodb.put
        if "dill" in HAVE:
            import dill

            contenders["one dill file"] = whole(dill)
        return interleave(contenders, rounds * 3, lambda i: [(f"n{k}", os.urandom(200)) for k in range(1000)])

    def put(self, rounds: int, mib: int) -> list[dict]:
        """One array, durable, in place of the one before."""
        file = {name: self.folder / f"big.{name}" for name in ("npy", "pickle", "dill", "joblib", "h5")}
        contenders: Contenders = {
            "plain pwrite + fdatasync": self.floor,
            "larder": lambda a: self.shelf.__setitem__("big", a),
            "npy": lambda a: replace_file(file["npy"], lambda f: np.save(f, a)),
            "pickle 5": lambda a: replace_file(file["pickle"], lambda f: pickle.dump(a, f, 5)),
            "sqlite": lambda a: self.sqlite([("big", a.data.cast("B"))]),
        }
        if self.lmdb:
            contenders["lmdb"] = lambda a: self.put_lmdb([("big", a.data.cast("B"))])
        if self.redb:
            contenders["redb"] = lambda a: self.redb(f"big {mib} {a[0]}")
        if "joblib" in HAVE:
            import joblib

            contenders["joblib"] = lambda a: replace_file(file["joblib"], lambda f: joblib.dump(a, f))
        if "dill" in HAVE:
            import dill

            contenders["dill"] = lambda a: replace_file(file["dill"], lambda f: dill.dump(a, f))
        if "h5py" in HAVE:
            import h5py

            def write_h5(file: Any, array: np.ndarray) -> None:
                with h5py.File(file, "w") as h5:
                    h5["big"] = array

            contenders["h5py"] = lambda a: replace_file(file["h5"], lambda f: write_h5(f, a))
        if self.zarr:
            contenders["zarr (not atomic)"] = self.zarr.put
        if self.zodb:
            contenders["ZODB"] = lambda a: self.zodb.put([("big", a)])
        rows = interleave(contenders, rounds, lambda i: np.full(mib << 17, float(i)))
        for row in rows:
            row["GB/s"] = (mib << 20) / row["p50_ms"] / 1e6
        return rows

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
            with self.db, self.db.blobopen("kv", "v", self.rowid("big")) as blob:
                blob.seek(i * 7919 % n * 8)
                blob.write(np.float64(i).tobytes())

        def file_store(module: Any, path: Path, *how: Any) -> Callable[[Any], object]:
            def store(i: int) -> None:
                whole = module.loads(path.read_bytes())
                whole[i * 7919 % n] = i
                replace_file(path, lambda f: module.dump(whole, f, *how))

            return store

        contenders: Contenders = {
            "plain pwrite + fdatasync (not atomic)": floor,
            "larder": larder_store,
            "npy + memmap (not atomic)": memmap_store,
            "sqlite blob": sqlite_store,
            "pickle 5": file_store(pickle, self.folder / "big.pickle", 5),
        }
        if self.lmdb:
            contenders["lmdb"] = self.lmdb_store
        if self.redb:
            contenders["redb"] = lambda i: self.redb(f"update {i}")
        if "dill" in HAVE:
            import dill

            contenders["dill"] = file_store(dill, self.folder / "big.dill")
        if "h5py" in HAVE:
            import h5py

            h5 = open_here.enter_context(h5py.File(self.folder / "big.h5", "r+"))

            def h5_store(i: int) -> None:
                h5["big"][i * 7919 % n] = i
                h5.flush()
                os.fsync(h5.id.get_vfd_handle())

            contenders["h5py (not atomic)"] = h5_store
        if self.zarr:
            stored = self.zarr.opened()
            contenders["zarr (not atomic)"] = lambda i: self.zarr.store(stored, i)
        if self.zodb:
            contenders["ZODB"] = self.zodb.store
        before = self.shelf.stats()["bytes_written"]
        with open_here:
            rows = interleave(contenders, rounds)
        log = (self.shelf.stats()["bytes_written"] - before) // (rounds + 1)
        next(row for row in rows if row["who"] == "larder")["asked"] = log
        return rows

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
            "npy + memmap after an fdatasync": (
                "",
                f"(os.fdatasync((file := open('{big}.npy', 'rb')).fileno()), np.load('{big}.npy', mmap_mode='r')[12345])",
            ),
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
            "dill": ("import dill", f"dill.load(open('{big}.dill', 'rb'))[12345]"),
            "zarr": ("import zarr", f"zarr.open_array('{big}.zarr', mode='r')[12345]"),
            "ZODB": (
                "import ZODB, ZODB.FileStorage",
                f"ZODB.DB(ZODB.FileStorage.FileStorage('{f}/bench.zodb', read_only=True)).open().root()['big']['value'][12345]",
            ),
        }
        own = {name: source for name, source in sources.items() if name in HAVE or name not in _OPTIONAL}
        contenders = self._children(own)
        if self.redb:
            self.redb("close")
            program = [self.redb.program, self.redb.path, "first"]
            contenders["redb"] = lambda _: (*map(float, subprocess.check_output(program).split()), 0)
        return interleave(contenders, rounds)

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
        if "dill" in HAVE:
            import dill

            replace_file(self.folder / "names.dill", lambda file: dill.dump(values, file))
            sources["one dill"] = ("import dill", f"dill.load(open('{f}/names.dill', 'rb'))")
        if "joblib" in HAVE:
            import joblib

            joblib.dump(values, f"{f}/names.joblib")
            sources["one joblib"] = ("import joblib", f"joblib.load('{f}/names.joblib')")
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
        if self.zarr:
            import zarr

            group = zarr.open_group(f"{f}/names.zarr", mode="w")
            for name, value in values.items():
                stored = value if isinstance(value, np.ndarray) else np.frombuffer(json.dumps(value).encode(), "u1")
                group.create_array(name, data=stored, compressors=None)
            sources["zarr"] = (
                "import zarr",
                f"{{k: v[:] for k, v in zarr.open_group('{f}/names.zarr', mode='r').arrays()}}",
            )
        if self.zodb:
            self.zodb.put(list(values.items()))
            sources["ZODB"] = (
                "import ZODB, ZODB.FileStorage",
                f"[(root := ZODB.DB(ZODB.FileStorage.FileStorage('{f}/bench.zodb', read_only=True)).open().root()), "
                "{f'v{k}': root[f'v{k}']['value'] for k in range(1000)}]",
            )
        return interleave(self._children(sources), rounds)

    def _children(self, sources: dict[str, tuple[str, str]]) -> Contenders:
        def child(setup: str, expression: str) -> Callable[[Any], tuple[float, float, int]]:
            code = (
                f"import os, time, numpy as np\n{setup}\n"
                f"began, worked = time.perf_counter(), time.process_time()\nvalue = {expression}\n"
                "print(time.perf_counter() - began, time.process_time() - worked, flush=True)\n"
                # Without the clean-up at exit, where some peers free what their values still look at.
                "os._exit(0)"
            )

            def run(_: Any) -> tuple[float, float, int]:
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(f"{expression}\n{done.stderr}")
                wall, cpu = done.stdout.split()
                return float(wall), float(cpu), 0

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

        if "dill" in HAVE:
            import dill

            dumped_dill = path.with_suffix(".dill")
            put["dill"] = lambda f: replace_file(dumped_dill, lambda file: dill.dump(f, file))
            get["dill"] = lambda _: dill.loads(dumped_dill.read_bytes())["c3"].sum()
        if self.zodb:
            put["ZODB"] = lambda f: self.zodb.put([("frame", f)])

            def from_zodb(_: Any) -> float:
                self.zodb.connection.cacheMinimize()  # else it is the object that was put
                return self.zodb.root["frame"]["value"]["c3"].sum()

            get["ZODB"] = from_zodb

        def make(i: int) -> pd.DataFrame:
            return pd.DataFrame(np.random.default_rng(i).random((1_000_000, 5)), columns=[f"c{k}" for k in range(5)])

        rows = interleave(put, rounds, make)
        for row, back in zip(rows, interleave(get, rounds), strict=True):
            row["get_ms"] = back["p50_ms"]
        return rows


TABLES = ("small", "puts", "put", "update", "first", "names", "frame")
_OPTIONAL = ("lmdb", "h5py", "joblib", "dill", "zarr", "ZODB")


def aims(name: str, rows: list[dict]) -> list[str]:
    """What larder aims at in table `name`, and what this run gave."""
    row = {row["who"].removesuffix(" (not atomic)"): row for row in rows}
    ours, floor = row["larder"], row.get("plain pwrite + fdatasync")

    def said(what: str, value: float, limit: float, unit: str) -> str:
        shown = f"{value:.0f} bytes" if unit == "bytes" else f"{value:.2f} {unit}".rstrip()
        return f"{what}: {shown} ({'reached' if value <= limit else 'not reached'})"

    ms = ours["p50_ms"]
    match name:
        case "small":
            return [
                said("at most 1.3 times the floor, p50", ms / floor["p50_ms"], 1.3, ""),
                said("and best", ours["best_ms"] / floor["best_ms"], 1.3, ""),
            ]
        case "puts":
            return [said("at most 2 ms, p50", ms, 2, "ms"), said("and best", ours["best_ms"], 2, "ms")]
        case "put":
            return [said("at most 1 / 0.9 of the floor's time, p50", ms / floor["p50_ms"], 1 / 0.9, "")]
        case "update":
            return [
                said("at most 0.8 ms, p50", ms, 0.8, "ms"),
                said("and best", ours["best_ms"], 0.8, "ms"),
                said("at most 16 KiB asked of the file", ours["asked"], 16 << 10, "bytes"),
            ]
        case "first":
            return [said("at most 1 ms, p50", ms, 1, "ms")]
        case "names":
            return [said("at most 3 ms, p50", ms, 3, "ms"), said("and best", ours["best_ms"], 3, "ms")]
        case "frame":
            return [
                said("put at most 25 ms, p50", ms, 25, "ms"),
                said("get at most 5 ms, p50", ours["get_ms"], 5, "ms"),
            ]
    raise ValueError(name)


def markdown(title: str, rows: list[dict]) -> str:
    """One table as markdown."""
    extra = [key for key in ("GB/s", "get_ms") if rows and key in rows[0]]
    written = any(row["written"] for row in rows)
    head = [
        "",
        "p50",
        "best",
        "cpu",
        *({"get_ms": "get, p50"}.get(key, key) for key in extra),
        *(["written"] * written),
    ]
    lines = [f"**{title}**", "", "| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for row in rows:
        cells = [row["who"], *(milliseconds(row[key]) for key in ("p50_ms", "best_ms", "cpu_ms"))]
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
        peers = Bench(folder)
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
                    print(markdown(run.__doc__.rstrip(".") + size, rows))
                    print("".join(f"- aim: {line}\n" for line in aims(name, rows)), flush=True)
        if args.json:
            print(json.dumps({"machine": where, "rounds": args.rounds, "mib": args.mib, "tables": results}, indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
