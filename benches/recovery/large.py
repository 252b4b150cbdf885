"""Ten arrays of 1 GiB that come back: ``python benches/recovery/large.py [--arrays N] [--gib G] [--rounds N]``.

The arrays are zeros and their copies on the session shelf are holes of a sparse file, so neither memory nor disk is needed for
10 GiB; everything else is what any array gets. A kernel is killed with SIGKILL after the cell that made them; in each round
another one answers a first cell that reads one element of each, NumPy imported before and not; changes one element, and is
killed as well. Prints the least and the middle of the rounds: milliseconds a front end waits.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from compare import Kernel

# In the kernel that makes the arrays: their blocks are allocated, which is a hole, not written.
HOLES = """
import larder.recovery as _recovery
class _Holes:
    def __init__(self, native): self._native = native
    def __getattr__(self, name): return getattr(self._native, name)
    def put(self, name, kind, meta, buffers):
        if kind == "block":
            self._native.alloc(name, kind, meta, [memoryview(buffers[0]).nbytes])
        else:
            self._native.put(name, kind, meta, buffers)
_recovery.recorder().native = _Holes(_recovery.recorder().native)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arrays", type=int, default=10)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dir", help="where the session is (a real disk)")
    options = parser.parse_args()
    names = [f"a{i}" for i in range(options.arrays)]
    read = f"assert [array[7] for array in ({', '.join(names)},)] == [0.0] * {len(names)}"
    folder = Path(tempfile.mkdtemp(prefix="larder-large-", dir=options.dir))
    rows: dict[str, list[float]] = {}
    try:
        os.environ["LARDER_SAVER"] = "never"
        kernel = Kernel("larder", folder)
        kernel.run(HOLES, silent=True)
        count = int(options.gib * (1 << 27))
        kernel.run(f"import numpy as np\n{', '.join(names)}, = (np.zeros({count}) for _ in range({len(names)}))")
        kernel.kill()
        for _ in range(options.rounds):
            kernel = Kernel("larder", folder)
            rows.setdefault("first cell, with NumPy's import", []).append(kernel.run(read)[0])
            rows.setdefault("one element", []).append(kernel.run("a0[5] = 1.0")[0])
            rows.setdefault("another one", []).append(kernel.run("a0[6] = 1.0")[0])
            rows.setdefault("nothing", []).append(kernel.run("1")[0])
            kernel.kill()
            os.environ["LARDER_RECOVER"] = "ask"
            kernel = Kernel("larder", folder)
            del os.environ["LARDER_RECOVER"]
            kernel.run("import numpy, larder", silent=True)
            code = "import time; _t = time.perf_counter(); larder.session.recover(); print('took', time.perf_counter() - _t)"
            printed = kernel.run(code)[1]
            rows.setdefault("recover()", []).append(float(printed.rpartition("took")[2]))
            kernel.run(read)
            kernel.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{options.arrays} arrays of {options.gib:g} GiB, load {os.getloadavg()[0]:.0f}")
    for name, row in rows.items():
        print(f"{name}: {min(row) * 1e3:.1f} ms at least, {statistics.median(row) * 1e3:.1f} in the middle")


if __name__ == "__main__":
    main()
