"""This notebook's saved state: what is saved, what is not, and the way back.

>>> larder.session.status()
>>> larder.session.recover()      # after a restart: everything back
>>> larder.session.undo()         # the state before the last cell
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable

from . import recovery
from .display import Table, bytes_text
from .surroundings import BESIDE, ENVIRON, PATH, told


def status() -> Table:
    """What is saved after each cell, what is not and why; the footer says where, how large, and what it cost."""
    off = recovery.why_none()
    if off:
        return Table([], title="this notebook is not saved", empty=off)
    rec = recovery.recorder()
    rows = []
    behind = rec.behind()
    for key in rec.saved:
        for name in key.split("\0"):
            others = [n for n in key.split("\0") if n != name]
            rows.append(
                {"name": name, "saved": "yes", "why": f"shares objects with {', '.join(others)}" if others else ""}
            )
    listed = {row["name"] for row in rows} | set(rec.unsaved)
    for state in (state for child in behind for state in child.states):
        new = [name for name in state.names if name not in listed]
        rows += [{"name": n, "saved": "not yet", "why": f"is being saved (cell [{state.count}])"} for n in new]
        listed.update(new)
    rows += [{"name": n, "saved": "no", "why": f"{u['why']} (cell [{u['cell']}])"} for n, u in rec.unsaved.items()]
    rows += [{"name": n, "saved": "no", "why": "excluded"} for n in sorted(rec.excluded)]
    if rec._last is not None:
        imports = rec._last["imports"]
        rows += [{"name": n, "saved": "yes", "why": f"module {m}, imported again"} for n, m in imports.items()]
    rows = [row for row in rows if row["name"] not in BESIDE or row["saved"] == "no"]
    if rec._last is not None:
        beside = told(rec._last.get("here", {}), set(rec._last["names"]))
        rows += [{"name": name, "saved": "yes", "why": what} for name, what in beside.items()]
    size = rec.path.stat().st_blocks * 512
    title = "saved after each cell" if rec.on else f"not saved any more: {rec.why_off or '%shelf autosave is off'}"
    if rec.on and rec.why_off:
        title += f"; {rec.why_off}"
    footer = (
        f"{rec.path}, {bytes_text(size)} on disk, {len(rec.meta['versions'])} of at most {rec.versions_max} states; the last "
        f"cell took {rec.seconds_last * 1e3:.1f} ms to save, all cells {rec.seconds * 1e3:.0f} ms"
    )
    for child in behind:
        hand = f", at {', '.join(f'`{name}`' for name in child.in_hand)}" if child.in_hand else ""
        first, last = child.states[0].count, child.states[-1].count
        cells = f"the state after cell [{first}]" if first == last else f"the states after cells [{first}] to [{last}]"
        footer += (
            f"; {cells} {'is' if first == last else 'are'} being saved behind {'its' if first == last else 'their'} reply for "
            f"{time.monotonic() - child.began:.1f} s by process {child.pid}{hand}"
        )
    last = rec.meta["recoverable"]
    if rec.offered and last in rec.meta["versions"]:
        footer += (
            f"; what the last kernel had after its cell [{rec.version(last)['count']}] comes back with %shelf recover"
        )
    if rec.why_no_saver:
        footer += f"; every cell is saved before its reply, whatever that takes: {rec.why_no_saver}"
    return Table(
        sorted(rows, key=lambda r: r["name"]),
        ["name", "saved", "why"],
        title=title,
        footer=footer,
        empty="no variables yet",
    )


def log() -> Table:
    """The saved states, oldest first: number, cell, time, first line, names changed, bytes."""
    rec = recovery.recorder()
    rec.drain()
    rows = []
    for seq in rec.meta["versions"]:
        v = rec.version(seq)
        rows.append(
            {
                "id": seq,
                "cell": v["count"],
                "time": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(v["time"])),
                "changed": ", ".join([*v["changed"], *(f"-{n}" for n in v["gone"])]),
                "bytes": v["bytes"],
                "how": v.get("how", ""),
                "line": v["line"],
            }
        )
    return Table(rows, formats={"bytes": bytes_text}, empty="nothing saved yet")


def recover(names: Iterable[str] | None = None, notebook: str | None = None) -> None:
    """Bring back what the last kernel of this notebook had (``names``: only these and what shares objects with them).

    ``notebook``: the last state of another one, for instance under the name this one had before it was renamed.
    """
    rec = recovery.recorder()
    rec.drain()
    wanted = None if names is None else _names(names)
    if notebook is not None:
        print(recovery.restore_from(notebook, wanted))
        return
    versions = rec.meta["versions"]
    if not versions or (rec.began_with_nothing and wanted is None):
        print(
            "larder: there is nothing to recover: no kernel before this one saved a state of this notebook. If it was renamed "
            "or copied, larder.session.recover(notebook='OLD NAME.ipynb') brings back what the other one had"
        )
        return
    print(recovery.restore(rec.meta["recoverable"] or versions[-1], wanted))
    rec.offered = rec.offered and wanted is not None


def diff(a: int, b: int | None = None) -> Table:
    """The names that differ between two saved states (``b``: the last one): new, changed or gone."""
    rec = recovery.recorder()
    rec.drain()
    if not rec.meta["versions"]:
        raise KeyError("nothing was saved yet")
    old = rec.version(_number(a))["names"]
    new = rec.version(rec.meta["versions"][-1] if b is None else _number(b))["names"]
    rows = [
        {"name": name, "what": "new" if name not in old else "gone" if name not in new else "changed"}
        for name in sorted({*old, *new} - BESIDE)
        if old.get(name) != new.get(name)
    ]
    return Table(rows, ["name", "what"], empty="no difference")


def checkout(id: int) -> None:
    """Make the namespace what it was after the saved state ``id`` (see :func:`log`); names made since go away."""
    rec = recovery.recorder()
    rec.drain()
    id = _number(id)
    version = rec.version(id)
    kept = {*version["names"], *version["imports"], *version["unsaved"]}
    line = recovery.restore(id)
    for name in rec.namespace():
        if name not in kept:
            del rec.ip.user_ns[name]
    print(line)


def undo(n: int = 1) -> None:
    """Go back to the state before the last ``n`` cells; undoing again goes further back."""
    rec = recovery.recorder()
    rec.drain()
    versions = rec.meta["versions"]
    if _number(n) < 1:
        raise ValueError(f"undo goes back one cell or more, not {n}")
    if not versions:
        raise ValueError("there is nothing to go back to: no cell was saved yet")
    seq = versions[-1]
    last = rec.version(seq)["count"]
    if not rec.on and rec.restored_from in versions:
        seq = rec.restored_from  # gone back to before, and no state was saved since
    elif not rec.on and rec.version(seq)["run"] == rec.run and rec.ip.execution_count - 1 > last:
        # What no state has is undone first.
        print(
            f"larder: the cells after [{last}] were not saved ({rec.why_off or 'autosave is off'}): they are undone as one"
        )
        n -= 1
    for done in range(n + 1):
        while rec.version(seq)["of"] in versions:
            seq = rec.version(seq)["of"]
        if done == n:
            break
        at = versions.index(seq)
        if at == 0 or rec.version(versions[at - 1])["run"] != rec.run:
            far = f"no more than {done} cell{'s' * (done > 1)}" if done else "no further"
            raise ValueError(
                f"undo goes {far} back from here: it ends where this kernel began, or at the oldest state kept; any state "
                "there is can be had with checkout (see larder.session.log())"
            )
        seq = versions[at - 1]
    checkout(seq)


def exclude(name: str | Iterable[str]) -> None:
    """Never save the variable ``name`` (or these), in this kernel, and take it out of every state saved so far.

    ``"os.environ"`` and ``"sys.path"`` are what the notebook changed in those.
    What it shared objects with is taken out of those states too, and saved again with the next cell. Its bytes stay in
    free space of the file until they are overwritten; the code of cells stays in the history.
    """
    rec = recovery.recorder()
    names = _names(name)
    for one in names:
        if not one.isidentifier() and one not in (PATH, ENVIRON):
            raise ValueError(f"{one!r} is not the name of a variable")
    rec.drain()
    for one in names:
        if one not in rec.ip.user_ns and one not in (PATH, ENVIRON):
            print(f"larder: there is no variable `{one}` now; when there is one, it will not be saved")
        rec.excluded.add(one)
        rec.forget(one)


def retain(states: int) -> None:
    """Keep the states of at most ``states`` cells to go back to, in this notebook from now on; the oldest go first."""
    if _number(states) < 1:
        raise ValueError(f"at least the last state is kept, not {states}")
    rec = recovery.recorder()
    rec.put_meta("retain", keep=_number(states))
    rec.versions_max = _number(states)


def autosave(on: bool) -> None:
    """Switch saving after each cell on or off."""
    if on not in (True, False):
        raise TypeError(f"autosave is True or False, not {on!r}")
    rec = recovery.recorder()
    rec.on = bool(on)
    rec.why_off = "" if on else "%shelf autosave off"


def _number(given: int) -> int:
    try:
        return operator.index(given)
    except TypeError:
        raise TypeError(f"a whole number is needed, not {given!r}") from None


def _names(given: str | Iterable[str]) -> list[str]:
    try:
        names = [given] if isinstance(given, str) else list(given)
    except TypeError:
        names = [given]
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"names of variables are strings, not {name!r}")
    return names
