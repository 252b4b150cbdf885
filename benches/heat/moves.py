"""Experiment 6 and the tier file's cost: one GiB out of DRAM and back, with readers, a writer and ``preadv`` into it.

    python benches/heat/moves.py [--rounds 10] [--directory DIR]

Prints seconds per GiB out (changed and unchanged) and back, and what went on during the moves. The address, every byte and
every system call's result are checked; a difference ends the run with an error.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time

import numpy as np

from larder import tier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--directory", default=tempfile.gettempdir())
    options = parser.parse_args()
    tier.enable(options.directory)
    space: dict = {"x": np.ones(1 << 27)}
    tier.namespace = lambda: space
    x = space["x"]
    address = x.ctypes.data
    seconds: dict[str, list[float]] = {"out_changed": [], "out_unchanged": [], "back": []}
    for _ in range(3):
        x += 1
        seconds["out_changed"].append(tier.demote("x")[0]["seconds"])
        seconds["back"].append(tier.promote("x")[0]["seconds"])
        seconds["out_unchanged"].append(tier.demote("x")[0]["seconds"])
        tier.promote("x")
    value = float(x[0])
    assert (x == value).all() and x.ctypes.data == address

    steady, counted, filled = x[: x.size // 2], x[x.size // 2 : x.size // 2 + (1 << 20)], x[-(1 << 20) :]
    counted[:] = 0
    data = os.urandom(filled.nbytes)
    counts = {"reads": 0, "writes": 0, "preadv": 0}
    stop = threading.Event()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()

        def read() -> None:
            while not stop.is_set():
                assert steady[:: 1 << 10].max() == value == steady[:: 1 << 10].min()
                counts["reads"] += 1

        def write() -> None:
            while not stop.is_set():
                np.add(counted, 1, out=counted)
                counts["writes"] += 1

        def fill() -> None:
            while not stop.is_set():
                assert os.preadv(file.fileno(), [filled], 0) == filled.nbytes
                counts["preadv"] += 1

        failed: list[str] = []
        threading.excepthook = lambda about: failed.append(repr(about.exc_value))
        threads = [threading.Thread(target=work) for work in (read, write, fill)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        for _ in range(options.rounds):
            tier.demote("x")
            tier.promote("x")
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed, failed
    assert (counted == counts["writes"]).all() and filled.tobytes() == data and x.ctypes.data == address
    middles = {name: statistics.median(values) for name, values in seconds.items()}
    during = counts | {"rounds": options.rounds, "seconds": round(time.monotonic() - began, 1), "failed": len(failed)}
    print(json.dumps({"seconds_per_GiB": middles, "during_moves": during}))


if __name__ == "__main__":
    main()
