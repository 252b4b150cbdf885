"""Experiments 1 and 2: which objects are hot, found by looking at frames, beside an oracle and a refcount sweep.

    python benches/heat/objects.py zipf  [--objects 100000] [--seconds 8] [--cpu 0.10]
    python benches/heat/objects.py lists [--objects 1000000] [--seconds 8] [--cpu 0.02]

`zipf`: a loop picks objects with probability 1/rank, in an order nobody told the sampler. `lists`: a thousand lists of
objects, of which some are used much more than others; the counts of single objects are shrunk toward their list's. The
truth is counted from the trace of picks that ran; seconds are those in which it ran. Prints recall of the hottest tenth, the
share of all picks that the
tenth found holds over the share that the true tenth holds, and the sampler's share of a core. For `zipf` the same trace
runs again under a sweep: a thread of C, a whole core, that reads every reference count as fast as it can.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from larder import heat, tier

SWEEP = """
void sweep(unsigned **counts, unsigned *rest, unsigned *hits, long n, volatile int *stop, long *sweeps) {
    while (!*stop) {
        for (long i = 0; i < n; i++) hits[i] += *(volatile unsigned *)counts[i] != rest[i];
        ++*sweeps;
    }
}
"""


class Item:
    __slots__ = ("n", "tag")

    def __init__(self, tag: int) -> None:
        self.n, self.tag = 0, tag


def touch(items: list[Item], picks: list[int], seconds: float) -> int:
    """Uses the items in the order of `picks`, again from the start until the time is over; returns how many uses."""
    done, end = 0, time.thread_time() + seconds
    while time.thread_time() < end:
        for at in picks:
            item = items[at]
            item.n += 1
        done += len(picks)
    return done


def recall(truth: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """Share of the true hottest tenth found, and picks in the tenth found over picks in the true one."""
    tenth = len(truth) // 10
    noise = np.random.default_rng().random(len(score)) * 1e-9
    found = np.argsort(-(score + noise))[:tenth]
    best = np.argsort(-truth, kind="stable")[:tenth]
    floor = truth[best].min()
    return float((truth[found] >= floor).mean()), float(truth[found].sum() / truth[best].sum())


def sampled(space: dict, work, cpu: float) -> tuple[dict[int, float], heat.Said]:
    tier.namespace = lambda: space
    heat.start(cpu_max=cpu, objects=True)
    work()
    heat._after(None, None)
    said = heat.said()
    found = heat.objects("items")
    heat.stop()
    return found, said


def swept(items: list[Item], work) -> tuple[np.ndarray, int]:
    with tempfile.TemporaryDirectory() as scratch:
        source, library = Path(scratch, "sweep.c"), Path(scratch, "sweep.so")
        source.write_text(SWEEP)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        sweep = ctypes.CDLL(str(library)).sweep
    addresses = np.array([id(item) for item in items], dtype=np.uintp)
    rest = np.array([ctypes.c_uint32.from_address(at).value for at in addresses.tolist()], dtype=np.uint32)
    hits = np.zeros(len(items), dtype=np.uint32)
    stop, sweeps = ctypes.c_int(0), ctypes.c_long(0)
    pointers = (ctypes.c_void_p(array.ctypes.data) for array in (addresses, rest, hits))
    arguments = (*pointers, ctypes.c_long(len(items)), ctypes.byref(stop), ctypes.byref(sweeps))
    thread = threading.Thread(target=sweep, args=arguments)
    thread.start()
    work()
    stop.value = 1
    thread.join()
    return hits, sweeps.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["zipf", "lists"])
    parser.add_argument("--objects", type=int)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--cpu", type=float)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    zipf = options.what == "zipf"
    count = options.objects or (100_000 if zipf else 1_000_000)
    cpu = options.cpu or (0.10 if zipf else 0.02)
    seed = options.seed if options.seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
    rng = np.random.default_rng(seed)
    items = [Item(at) for at in range(count)]
    if zipf:
        weights = 1.0 / np.arange(1, count + 1)
        rng.shuffle(weights)
        space: dict = {"items": items}
    else:
        # Hot lists and cold ones, and some spread inside each: what shrinkage assumes, and no more.
        lists = 1000
        size = count // lists
        of_list = rng.permutation(1.0 / np.arange(1, lists + 1))
        weights = np.repeat(of_list, size) * rng.gamma(4.0, 0.25, count)
        space = {"items": [items[at * size : (at + 1) * size] for at in range(lists)]}
    picks = rng.choice(count, 2_000_000, p=weights / weights.sum())
    truth = np.bincount(picks, minlength=count)
    order = picks.tolist()

    def work() -> None:
        touch(items, order, options.seconds)

    found, said = sampled(space, work, cpu)
    ids = [id(item) for item in items]
    score = np.array([found.get(at, 0.0) for at in ids])
    out = {
        "seed": seed,
        "objects": count,
        "cpu": round(said.cpu, 4),
        "looks": said.frame_looks,
        "hits": said.frame_hits,
    }
    shown = recall(truth, score)
    out |= {"recall": round(shown[0], 3), "captured": round(shown[1], 3)}
    if zipf:
        hits, sweeps = swept(items, work)
        other = recall(truth, hits.astype(float))
        out |= {"sweep_recall": round(other[0], 3), "sweep_captured": round(other[1], 3), "sweeps": sweeps}
    print(json.dumps(out))


if __name__ == "__main__":
    main()
