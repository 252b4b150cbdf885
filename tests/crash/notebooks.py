"""Random notebooks some of whose cells take long to save: arrays of 20 MB and more, and pickles that take their time."""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
import recoveryfuzz

PRELUDE = (
    recoveryfuzz.PRELUDE
    + """
import time
class Slow:
    def __init__(self, value, seconds): self.value, self.seconds = value, seconds
    def __reduce__(self): time.sleep(self.seconds); return Slow, (self.value, self.seconds)
"""
)
NAMES = [*recoveryfuzz.NAMES, "l0", "l1", "part", "slow", "pair"]
LATE = [
    "l0 = np.arange(2_500_000.0) + {k}",
    "l1 = np.full(3_000_000, {k}.5)",
    "l0 *= -1",
    "l1[:] = {k}",
    "l0[{k}::1000] = 0.25",
    "part = l0[{k}:]",
    "part[5] = {k}",
    "l1 = None",
    "slow = Slow([{k}], 0.0{k})",
    "slow.value.append({k})",
    "slow = Slow({n}, 0.1)",
    "pair = [l0, slow]; slow = Slow(pair, 0.05)",
    "l0 = np.concatenate([l0, l0[:100]])",
]


def cells(seed: int) -> list[str]:
    """The cells of the recovery fuzzer, with others between them whose states are saved behind their replies."""
    rng = random.Random(seed)
    made = []
    for cell in recoveryfuzz.cells(seed):
        while rng.random() < 0.3:
            made.append(rng.choice(LATE).format(k=rng.randint(1, 9), n=rng.choice(recoveryfuzz.NAMES)))
        made.append(cell)
    return made
