"""The live trace: what every variable reaches, kept from cell to cell and walked again only where it changed.

At the end of a cell each variable is compared with its record: whether its containers are the same and refer to the
same objects. That visits containers only. Of those that refer to others now, what came is walked and what went is
forgotten; a variable is walked anew where that does not do (an array in it was replaced, an object array, a tensor). All
of it happens within an allowance of time that grows with the time cells run; what does not fit is left for a later cell
(a walk goes on where it stopped), its old record stays, and `stale` names it.
"""

from __future__ import annotations

import time
from typing import Any

from . import _larder, tier

SHARE = 0.05  # of the time cells run
FIRST_S = 2.0  # for the first walk over everything
EACH_S = 0.01  # for every cell, however short
CHEAP_S = 0.5e-3  # what takes no longer than this does not wait for what does, up to half of `EACH_S` a cell
OBJECTS_MAX = 5_000_000
_ATOMS = (int, float, complex, str, bytes, type(None))


def _restless(leaf: Any) -> bool:
    """Whether a leaf can change what it holds without a word of its own body changing."""
    name = type(leaf).__module__.partition(".")[0]
    if name in ("torch", "polars"):
        return True
    numpy = tier.sys.modules.get("numpy")
    return numpy is not None and isinstance(leaf, numpy.ndarray) and (leaf.dtype.hasobject or hasattr(leaf, "__dict__"))


class LiveTrace:
    """Records of the namespace's variables. `update` brings them up to date as far as the allowance goes."""

    def __init__(self) -> None:
        self.native = _larder.TierTrace()
        self.stale: list[str] = []
        self.walked = self.compared = self.mended = 0
        self.seconds = 0.0
        self._credit_s = FIRST_S
        self._cheap_s = 0.0
        self._mend_s: dict[str, float] = {}  # what comparing and mending took last
        self._walk_s: dict[str, float] = {}  # what a walk takes
        self._begun: dict[str, int] = {}  # walks begun since the last whole one
        self._extent: dict[str, int | None] = {}
        self._since = time.monotonic()

    def update(self) -> None:
        """Compares every variable with its record and walks again what changed, oldest news first."""
        now = time.monotonic()
        dearest = max(self._walk_s.values(), default=0.0)  # what costs more than a first walk is saved up for
        self._credit_s = min(self._credit_s + EACH_S + SHARE * (now - self._since), max(FIRST_S, 1.2 * dearest))
        space = tier.namespace()
        values = {name: value for name in tier.visible(space) if not isinstance(value := space[name], _ATOMS)}
        if self.native.refused is not None:
            values = {}
        self.native.keep(list(values))
        self._cheap_s = EACH_S / 2
        left = [name for name in self.stale if name in values]
        order = [*left, *(name for name in values if name not in left)]
        self.stale = []
        for name in order:
            self._one(name, values[name])
        for known in (self._mend_s, self._walk_s, self._begun):
            for name in known.keys() - values.keys():
                del known[name]
        self._since = time.monotonic()
        self.seconds += self._since - now

    def _one(self, name: str, value: Any) -> None:
        if not self._affords(self._mend_s.get(name, 0.0)):
            self.stale.append(name)
            return
        if tier.away(name, value) is not None:
            if name not in self.native.names():
                self.stale.append(name)
            return  # looking would bring it back, and nobody has used it much since it left
        began = time.monotonic()
        extent = getattr(value, "nbytes", None) if type(value).__name__ == "ndarray" else None
        # Resized in place: the shape may not be in the object's body, and the address be the same.
        resized = self._extent.get(name, extent) != extent
        self._extent[name] = extent
        found, leaves = self._native(self.native.mend, name, value) if not resized else ("anew", [])
        whole = found == "same" or (found == "mended" and self._finish(leaves))
        spent = self._spend(began)
        if found in ("same", "mended"):
            self.compared += found == "same"
            self.mended += found == "mended"
            self._begun[name] = self._begun.get(name, 0) if not whole else 0
            # A walk that goes on pays for comparing what it has first: worth it when as much time is left for walking.
            known = min(self._mend_s.get(name, spent), spent)
            self._mend_s[name] = spent if found == "same" else known if whole else 2 * spent
        elif found == "late":
            self._mend_s[name] = 2 * spent
        elif self._affords(self._worth(name)):
            whole = self._walk(name, value)
        if not whole:
            self.stale.append(name)

    def _worth(self, name: str) -> float:
        """How much time there has to be before a walk begins: little when it can go on, all of it when it would begin again."""
        whole = self._walk_s.get(name, 0.0)
        return whole if self._begun.get(name, 0) > 1 else min(whole, EACH_S / 2)

    def _affords(self, cost: float) -> bool:
        """Whether something that takes so long may be done now."""
        return cost < self._credit_s or cost <= min(self._cheap_s, CHEAP_S)

    def _spend(self, began: float) -> float:
        """Takes the time since then out of the allowance and returns it."""
        spent = time.monotonic() - began
        self._cheap_s -= spent if self._credit_s <= 0 else 0.0
        self._credit_s -= spent
        return spent

    def _native(self, call: Any, name: str, *arguments: Any) -> Any:
        skip = [id(tier.namespace()), id(tier.sys.modules), id(tier.sys.__dict__), id(self), id(self.__dict__)]
        kinds = tier.leaf_types(), tier.own_types(), tier.skip_types()
        return call(name, *arguments, (skip, *kinds, OBJECTS_MAX, max(self._credit_s, EACH_S)))

    def _walk(self, name: str, value: Any) -> bool:
        """Makes a new record; `False` when the time did not do for all of it."""
        began = time.monotonic()
        self.walked += 1
        self._native(self.native.begin, name)
        whole = self._finish(self.native.enter(value))
        spent = self._spend(began)
        self._walk_s[name] = spent if whole else max(self._walk_s.get(name, 0.0), 2 * spent)
        self._begun[name] = 0 if whole else self._begun.get(name, 0) + (1 if self.native.goes_on(name) else 2)
        if whole:
            self._mend_s.setdefault(name, spent / 20)
        return whole

    def _finish(self, leaves: list[tuple[Any, int]]) -> bool:
        """Adds what leaves hold, and what that holds, to the record being made."""
        restless, native = False, self.native
        while leaves:
            leaf, step = leaves.pop()
            ranges, held = tier.buffers_of(leaf)
            restless = restless or _restless(leaf)
            own = len(ranges) == 1 and tier.owns(leaf)
            for address, size in ranges:
                native.buffer(step, address, size, own)
            for item in held:
                if item is not None:
                    leaves.extend(native.enter(item, (leaf, step)))
        return native.finish(restless)

    def names(self) -> list[str]:
        return self.native.names()

    def survey(self) -> tier.Survey:
        """The records as a survey, settled: sharing between variables and where everything is."""
        return tier.Survey.of(self.native.survey(self.native.names()), self.native.names())
