"""Experiment 9: the sampler over memory that is freed, unmapped, reused and remapped all the time.

    python benches/heat/soak.py [--probes 1e9]

Objects, large buffers, threads and generators churn while samplers probe addresses that were valid once and the frames
of threads that end. A probe is one count or one word of a frame read. Prints probes made and how many objects came and
went; a crash is the failure.
"""

from __future__ import annotations

import argparse
import json
import mmap
import threading
import time

from larder import _larder

WINDOW_WORDS = 64  # compared at every look at frames


def generator():
    while True:
        yield [bytearray(100)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=float, default=1e9)
    wanted = parser.parse_args().probes
    probes = churned = 0
    began = time.monotonic()
    while probes < wanted:
        keep = [[bytearray(2000 + i) for i in range(100)] for _ in range(10)]
        maps = [mmap.mmap(-1, 1 << 20) for _ in range(50)]
        addresses = [id(item) for row in keep for item in row] + [_larder.tier_buffer(item)[0] for item in maps]
        ranges = [(start, start + (1 << 20)) for start, _ in map(_larder.tier_buffer, maps)]
        tracked = _larder.TierTracked(addresses[:1000])
        samplers = [_larder.TierSampler(addresses, ranges, 1e-6, 0.05, 1e6, 0.01, tracked) for _ in range(2)]
        for item in maps:
            item.close()
        end = time.monotonic() + 5
        while time.monotonic() < end:
            keep[churned % 10] = [bytearray(2000 + (i * churned) % 5000) for i in range(100)]
            thread = threading.Thread(target=lambda: next(generator()))
            thread.start()
            thread.join()
            mmap.mmap(-1, 1 << 20).close()
            churned += 100
        for seen in (sampler.stop() for sampler in samplers):
            probes += sum(seen["looks"]) + seen["frame_looks"] * WINDOW_WORDS
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"probes": probes, "objects_churned": churned, "seconds": seconds, "crashes": 0}))


if __name__ == "__main__":
    main()
