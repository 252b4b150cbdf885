"""The random numbers a notebook goes on with: the states of ``random``, NumPy's own generator and torch's.

To ask for a state takes longer than to see that it is the same: `random` makes a tuple of 625 numbers, NumPy an array, item by
item. So the memory of the generators is compared first, where a test finds that all of the state is in it.
"""

from __future__ import annotations

import array
import struct
import sys
from typing import Any

from ._larder import Contents, body


class Sequences:
    """Their states, as they were asked for last: the same object as long as these are the same."""

    def __init__(self) -> None:
        self._states: dict[str, Any] = {}
        self._memory = Contents()
        """What the generators' memory was then."""
        self._tested: dict[type, bool] = {}

    def now(self) -> dict[str, Any]:
        modules = sys.modules
        random, np, torch = modules.get("random"), modules.get("numpy.random"), modules.get("torch")
        # Those whose memory does not say it all are asked each time.
        first, second = random and self._of_random(random), np and self._of_numpy(np)
        differ = self._memory.differ([first, second])
        if random is None:
            self._differs("random", None)
        elif first is None or 0 in differ:
            self._differs("random", random.getstate())
        if np is not None and (second is None or 1 in differ):
            name, key, *rest = np.get_state()
            self._differs("numpy", (name, key.tobytes(), *rest))
        if hasattr(torch, "get_rng_state"):
            self._differs("torch", torch.get_rng_state().numpy().tobytes())
        return self._states

    def _differs(self, name: str, state: Any) -> None:
        if state != self._states.get(name):
            self._states = {**self._states, name: state}

    def _of_random(self, random: Any) -> tuple | None:
        one = getattr(random.getstate, "__self__", None)
        if type(one) is not random.Random:
            return None
        kind = type(one)
        if kind not in self._tested:
            memory = body(one)
            self._tested[kind] = memory is not None and array.array("I", one.getstate()[1][:-1]).tobytes() in memory
        return (one, one.__dict__) if self._tested[kind] else None

    def _of_numpy(self, np: Any) -> tuple | None:
        one = getattr(np.get_state, "__self__", None)
        if type(one) is not np.RandomState:
            return None
        bits = getattr(one, "_bit_generator", None)
        if type(bits) is not np.MT19937:
            return None
        kind = type(one)
        if kind not in self._tested:
            self._tested[kind] = _all_is_inside(np)
        return (one, bits) if self._tested[kind] else None

    def go_on(self, states: dict[str, Any]) -> None:
        """Go on with these."""
        if states.get("random") is not None:
            import random

            random.setstate(states["random"])
        if states.get("numpy") is not None:
            from .kernel.late import on_import

            def numpy(module: Any) -> None:
                name, key, *rest = states["numpy"]
                module.set_state((name, array.array("I", key), *rest))

            on_import("numpy.random", numpy)
        if states.get("torch") is not None:
            from .kernel.late import on_import

            on_import(
                "torch", lambda torch: torch.set_rng_state(torch.tensor(list(states["torch"]), dtype=torch.uint8))
            )
        self._states, self._memory = states, Contents()


def _all_is_inside(np: Any) -> bool:
    """Whether the memory of one of NumPy's generators says its state: the numbers, and the one of two normal ones that is kept
    for the next time, which goes without any other change."""
    one = np.RandomState(0)
    bits = one._bit_generator
    seen = []
    for draw in (lambda: None, one.standard_normal, one.standard_normal):
        draw()
        state, mine, theirs = one.get_state(), body(one), body(bits)
        if mine is None or theirs is None:
            return False
        at = theirs.find(state[1].tobytes())
        if at < 0 or struct.pack("i", state[2]) not in theirs[at + state[1].nbytes :]:
            return False
        if struct.pack("d", state[4]) not in mine:
            return False
        seen.append((mine, theirs))
    return seen[0][1] != seen[1][1] == seen[2][1] and seen[0][0] != seen[1][0] != seen[2][0]
