"""The live trace: what every variable reaches, kept from cell to cell and walked again only where it changed.

At the end of a cell each variable is compared with its record: whether its containers are the same and refer to the
same objects. That visits containers only. What changed is walked again. Both happen within an allowance of time that
grows with the time cells run; what does not fit is left for a later cell, its old record stays, and `stale` names it.
"""

from __future__ import annotations

import time
from typing import Any

from . import _larder, tier

SHARE = 0.05  # of the time cells run
FIRST_S = 2.0  # for the first walk over everything
EACH_S = 0.01  # for every cell, however short
OBJECTS_MAX = 5_000_000
_ATOMS = (int, float, complex, str, bytes, type(None))


def _restless(leaf: Any) -> bool:
    """Whether a leaf can change what it holds without a word of its own body changing."""
    name = type(leaf).__module__.partition(".")[0]
    if name in ("torch", "polars"):
        return True
    numpy = tier.sys.modules.get("numpy")
    return numpy is not None and isinstance(leaf, numpy.ndarray) and leaf.dtype.hasobject


class LiveTrace:
    """Records of the namespace's variables. `update` brings them up to date as far as the allowance goes."""

    def __init__(self) -> None:
        self.native = _larder.TierTrace()
        self.stale: list[str] = []
        self.walked = self.compared = 0
        self.seconds = 0.0
        self._credit_s = FIRST_S
        self._cost_s: dict[str, float] = {}
        self._extent: dict[str, int | None] = {}
        self._since = time.monotonic()

    def update(self) -> None:
        """Compares every variable with its record and walks again what changed, oldest news first."""
        now = time.monotonic()
        dearest = max(self._cost_s.values(), default=0.0)  # what costs more than a first walk is saved up for
        self._credit_s = min(self._credit_s + EACH_S + SHARE * (now - self._since), max(FIRST_S, 1.2 * dearest))
        space = tier.namespace()
        values = {name: value for name in tier.visible(space) if not isinstance(value := space[name], _ATOMS)}
        if self.native.refused is not None:
            values = {}
        self.native.keep(list(values))
        left = [name for name in self.stale if name in values]
        order = [*left, *(name for name in values if name not in left)]
        self.stale = []
        for name in order:
            self._one(name, values[name])
        self._cost_s = {name: cost for name, cost in self._cost_s.items() if name in values}
        self._since = time.monotonic()
        self.seconds += self._since - now

    def _one(self, name: str, value: Any) -> None:
        if self._cost_s.get(name, 0.0) > self._credit_s or self._credit_s <= 0:
            self.stale.append(name)
            return
        if tier.away(name, value) is not None:
            if name not in self.native.names():
                self.stale.append(name)
            return  # looking would bring it back, and nobody has used it much since it left
        began = time.monotonic()
        same = self.native.holds(name, value, self._credit_s)
        extent = getattr(value, "nbytes", None) if type(value).__name__ == "ndarray" else None
        if same and self._extent.get(name) != extent:
            same = False  # resized in place: the shape is not in the object's body, and the address may be the same
        self._extent[name] = extent
        whole = True
        if same is False:
            whole = self._walk(name, value)
            self.walked += 1
            if not whole:
                self.stale.append(name)
        elif same:
            self.compared += 1
        else:
            self.stale.append(name)
        cost = time.monotonic() - began
        self._cost_s[name] = cost if whole else 2 * cost
        self._credit_s -= cost

    def _walk(self, name: str, value: Any) -> bool:
        """Makes a new record; `False` when the time did not do for all of it."""
        skip = [id(tier.namespace()), id(tier.sys.modules), id(tier.sys.__dict__), id(self), id(self.__dict__)]
        own = tier.own_types()
        native = self.native
        native.begin(name, skip, tier.leaf_types(), own, tier.skip_types(), OBJECTS_MAX, max(self._credit_s, EACH_S))
        restless, roots = False, [value]
        while roots:
            for leaf in native.enter(roots.pop()):
                ranges, held = tier.buffers_of(leaf)
                restless = restless or _restless(leaf)
                for address, size in ranges:
                    native.buffer(address, size)
                roots.extend(item for item in held if item is not None)
        if not native.finish(restless):
            return False
        about = native.about(name)
        return not about["cut"] or about["objects"] >= OBJECTS_MAX

    def names(self) -> list[str]:
        return self.native.names()

    def survey(self) -> tier.Survey:
        """The records as a survey, settled: sharing between variables and where everything is."""
        return tier.Survey.of(self.native.survey(self.native.names()), self.native.names())
