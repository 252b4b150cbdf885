"""Random notebooks that go back to earlier states and on from there; what each state was, and what `checkout` makes of it.

``python historyfuzz.py show SEED`` prints a program. ``python historyfuzz.py run|back FILE SEED...``: ``run`` executes each
seed's cells (those of `recoveryfuzz`, and changes of what stands beside variables), checks states out between them, compares,
and ends without a shutdown; ``back`` recovers the last state.
"""

from __future__ import annotations

import json
import random
import sys
import warnings

import plainshell
import recoveryfuzz
import worldfuzz
from recoveryfuzz import NAMES, PRELUDE, Fingerprint


def cells(seed: int) -> list[str]:
    """The program: cells, of which some change what stands beside variables."""
    rng, program = worldfuzz.lines(seed), []
    for cell in recoveryfuzz.cells(seed):
        program.append(cell)
        if rng.random() < 0.6:
            program.append("\n".join(worldfuzz.change(rng) for _ in range(rng.randint(1, 2))))
    return [PRELUDE, worldfuzz.PRELUDE, *program]


def later(seed: int) -> list[str]:
    """Cells that run after something was checked out."""
    rng = random.Random(f"later {seed}")
    pools = recoveryfuzz.pools(seed)
    made = []
    for _ in range(6):
        n, m = rng.sample(NAMES, 2)
        line = rng.choice(rng.choice(pools)).format(n=n, m=m, k=rng.randint(1, 9))
        made.append(line if rng.random() < 0.7 else worldfuzz.change(rng))
    return made


class Travel:
    """One notebook, and what its states were."""

    def __init__(self, ip, rec, alone: bool) -> None:
        self.ip, self.rec, self.alone = ip, rec, alone
        self.was: dict[int, dict] = {}
        self.wrong: list[str] = []
        self.imported = False
        """A cell set filters of warnings and had modules imported: which of them are the modules' nobody can tell."""

    def _told(self, names: list[str]) -> dict[str, object]:
        """Of variables together, or each alone: then it need not be known which of them are saved."""
        if not self.alone:
            return Fingerprint.namespace(self.ip.user_ns, names)
        return {name: Fingerprint.namespace(self.ip.user_ns, [name])[name] for name in names if name in self.ip.user_ns}

    def _look(self, names: list[str]) -> dict[str, object]:
        return {**self._told(names), **json.loads(json.dumps(worldfuzz.stands(self.ip)))}

    def run(self, cell: str) -> None:
        modules, filters = len(sys.modules), list(warnings.filters)
        self.ip.run_cell(cell, store_history=True)
        self.imported |= len(sys.modules) != modules and warnings.filters != filters
        count = self.ip.execution_count - 1
        if self.alone:
            self.was[count] = self._look(NAMES)
        else:
            self.rec.drain()
            version = self.rec.version(self.rec.meta["versions"][-1])
            assert version["count"] == count
            self.was[count] = self._look([name for name in NAMES if name in version["names"]])

    def back_to(self, seq: int) -> None:
        version = self.rec.version(seq)
        count = version["count"]
        self.run(f"import larder; larder.session.checkout({seq})")
        if count not in self.was:
            return
        was = self.was[count]
        names = [name for name in NAMES if name in version["names"]]
        now = self._look(names)
        if self.imported:
            del now["(warnings)"]
        for name in [*names, *(name for name in now if name not in NAMES)]:
            if name not in version["unsaved"] and was.get(name) != now.get(name):
                self.wrong.append(
                    f"state {seq} of cell [{count}], {name}:\n  was {_apart(was.get(name), now.get(name))}"
                )
        kept = {*version["names"], *version["imports"], *version["unsaved"]}
        self.wrong += [f"{name} is still there" for name in NAMES if name in self.ip.user_ns and name not in kept]


def _apart(a: object, b: object) -> str:
    """Where they differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        a, b = ({k: v for k, v in one.items() if other.get(k) != v} for one, other in ((a, b), (b, a)))
    return f"{json.dumps(a)[:500]}\n  now {json.dumps(b)[:500]}"


def main(what: str, out: str, seeds: list[int]) -> None:
    sys.setrecursionlimit(3000)
    import matplotlib.pyplot
    import pandas
    import sklearn

    from larder import hooks, recovery, surroundings

    plainshell.small()
    del matplotlib, pandas, sklearn  # imported, so that what they change while they are imported is the same for all
    ip = plainshell.shell()
    ip.showsyntaxerror = lambda *args, **kwargs: None
    beside, began = surroundings.begin(ip), None
    filters = list(warnings.filters)
    found = {}
    for seed in plainshell.notebooks(ip, "history", seeds):
        rec = recovery.recorder()
        warnings.filters[:] = filters
        rec.set_here({"here": {}, "names": {}})  # what the program before has changed
        if what == "run":
            rng = random.Random(f"travel {seed}")
            stands = {k: v for k, v in worldfuzz.stands(ip).items() if k != "(random)"}
            began = began or stands
            assert stands == began, _apart(began, stands)
            given: list = []
            if seed % 4 == 3:
                recoveryfuzz.leave_to_children(rec, seed, given, lose=False)
            travel = Travel(ip, rec, alone=seed % 4 == 3)
            program = cells(seed)
            for cell in program:
                travel.run(cell)
            for cell in later(seed):
                rec.drain()
                if rng.random() < 0.6:
                    travel.back_to(rng.choice(rec.meta["versions"]))
                travel.run(cell)
            rec.drain()
            row = {"wrong": travel.wrong, "states": len(travel.was)}
        else:
            hooks.ahead(None)
            row = {}
        rec.drain()
        version = plainshell.last_version(rec)
        names = [name for name in NAMES if name in version["names"]]
        row["unsaved"] = {name: one["why"] for name, one in version["unsaved"].items()}
        row["before"] = {**Fingerprint.namespace(ip.user_ns, names), **json.loads(json.dumps(worldfuzz.stands(ip)))}
        found[seed] = row
    assert beside is surroundings.begin(ip)
    plainshell.end(out, found)


if __name__ == "__main__":
    if sys.argv[1] == "show":
        print("\n# ---\n".join([*cells(int(sys.argv[2]))[2:], "# between checkouts", *later(int(sys.argv[2]))]))
        sys.exit()
    main(sys.argv[1], sys.argv[2], [int(seed) for seed in sys.argv[3:]])
