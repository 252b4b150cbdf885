"""Which variables have to be saved together, and how, so that what they share is shared again.

A *group* is a connected component of names: two names are joined when the graphs of objects below them meet in an object
that can change, or when arrays below them overlap in memory. A group is one pickle.

Memory is shared in four ways, and each span of it that an array covers carries the way it is written:

========= ======================================================================= =====================================
way       which arrays                                                            sharing after recovery
========= ======================================================================= =====================================
own       an array that owns its memory, or is the first array over it            with the views of it
view      a view of such an array, or of a bytearray or array.array               with the array it views
frame     what pandas keeps in a Series, DataFrame or Index (copy on write)       none with other frames: pandas hides it
copy      what can only be copied (subclasses, foreign memory)                    none
========= ======================================================================= =====================================

Invariant: spans that overlap either have the same root (and so come back overlapping), or are both frames, or one of the
two names is refused with a reason. Nothing that was shared comes back apart without being said.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from . import codec, hashed, libraries, named, offenders, pickled, plain, plotted
from ._larder import held_by_others, joined, meeting, own_dicts, pickler_met, sharing
from .pickled import ATOMS, OUT_OF_BAND_BYTES_MIN, UNSHARED, OfTypes, Restored, Span, pickler, plain_instance

__all__ = ["Dump", "Found", "Known", "Restored", "groups", "units"]
globals().update({one.__name__: one for one in pickled.LOADED})


MANY = 64
"""So many objects that can be shared are worth a pickler that answers for their types in Rust."""


class Dump(NamedTuple):
    names: list[str]
    """Sorted; the first one stands for them."""
    stream: bytes
    buffers: list[memoryview]
    spans: list[Span]
    ids: Collection[int]
    """Addresses of what it can share with others."""
    memo: dict
    """Objects met that may have a pickle of their own."""
    keep: list
    """Objects whose ids are in ``spans``: alive, so that ids stay apart."""
    needs: set[str]
    inside: dict[int, str]
    """What is inside frames that were pickled as pandas shows them: addresses, and the names of the frames' types."""
    hashed: bool = False
    """Objects in it hash themselves (see `hashed`)."""


class Known(NamedTuple):
    """A variable that is what it was when it was saved."""

    walked: Any
    """What was met below it (``Walked``), held."""
    names: tuple[str, ...]
    """Its group; empty while it is being saved beside the kernel, and that is not known yet."""
    since: int = 0
    """The state that has it so: the last one it was serialised for."""


class Found(NamedTuple):
    names: list[str]
    stream: bytes
    buffers: list[memoryview]
    needs: list[str]
    """Names of the notebook that functions in it use."""
    hashed: bool
    """Objects in it hash themselves (see `hashed`)."""


def groups(
    values: Mapping[str, Any],
    known: Mapping[str, Known] | None = None,
    walked: Mapping[str, Any] | None = None,
    began: Callable[[list[str]], None] = lambda names: None,
) -> tuple[list[Found], dict[str, str]]:
    """The groups of a namespace, and the names that cannot be saved with the reason.

    Names in ``known`` are left alone, and so are their groups, unless one of the others turns out to share an object or
    memory with them, or was in their group: then they are looked at again like the others. ``walked`` has what walks below
    the names met, where one was possible. ``began`` is called with names that are serialised together, before they are.
    """
    walked = walked or {}
    apart: set[str] = set()
    broken: dict[str, str] = {}
    while True:
        try:
            found, refused = _groups(values, known or {}, walked, began, apart)
            return found, {**refused, **broken}
        except _Apart as err:
            apart.update(err.names)
        except Exception:
            # The code of somebody's class, run where no refusal was expected: it takes nobody else with it.
            alone = _broken({name: value for name, value in values.items() if name not in (known or {})})
            if not alone:
                raise
            broken.update(alone)
            values = {name: value for name, value in values.items() if name not in alone}


def _broken(values: Mapping[str, Any]) -> dict[str, str]:
    """Those of these that cannot even be refused, each by itself."""
    found: dict[str, str] = {}
    for name, value in values.items():
        with contextlib.suppress(_Apart):
            try:
                _groups({name: value}, {}, {}, lambda names: None, set())
            except _Apart:
                raise
            except Exception as err:
                found[name] = f"{codec._type_name(value)} (its own code fails: {type(err).__name__})"
    return found


class _Apart(Exception):
    """Names that were serialised together have to be looked at one by one: something about one of them is refused."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.names = names


def _groups(
    values: Mapping[str, Any],
    known: Mapping[str, Known],
    walked: Mapping[str, Any],
    began: Callable[[list[str]], None],
    apart: set[str],
) -> tuple[list[Found], dict[str, str]]:
    refused: dict[str, str] = {}
    dumps: dict[str, Dump] = {}
    left = dict(known)
    todo = [name for name in values if name not in left]

    def dump(names: list[str], shared: frozenset[int], use_ids: bool = True) -> None:
        began(names)
        try:
            found = [getattr(walked.get(name), "ids", None) for name in names] if use_ids else [None]
            ids = None if None in found else sorted({key for ids in found for key in ids})
            dumps[names[0]] = _dump({name: values[name] for name in names}, names, shared, ids)
        except Exception as err:
            if len(names) > 1:
                raise _Apart(names) from err
            refused[names[0]] = _reason(values[names[0]], names[0], err)
            dumps.pop(names[0], None)

    for name in _sharing(todo, left, walked):
        del left[name]
        todo.append(name)
    while todo:
        for names in units(todo, walked, apart):
            dump(names, frozenset())
        todo = _pulled(dumps, left, values)
        for name in todo:
            del left[name]
    shared = _meet(dumps, refused)
    if shared:
        for one in list(dumps.values()):
            if shared.intersection(span.obj for span in one.spans):
                dump(one.names, shared, False)
        _meet(dumps, refused, last=True)
    _refuse_inner(dumps, refused)
    _refuse_dicts(values, dumps, refused)
    found = []
    for names in _components(dumps):
        members = sorted(member for name in names for member in dumps[name].names)
        if len(names) == 1:
            one = dumps[names[0]]
        else:
            began(members)
            try:
                one = _dump({name: values[name] for name in members}, members, shared)
            except Exception as err:
                why = f"{type(err).__name__}: {err}".splitlines()[0]
                refused.update(dict.fromkeys(members, f"shares objects with {', '.join(members)}, together: {why}"))
                continue
        found.append(Found(members, one.stream, one.buffers, sorted(one.needs), one.hashed))
    began([])
    return found, refused


def _sharing(names: list[str], left: Mapping[str, Known], walked: Mapping[str, Any]) -> list[str]:
    """Those left alone that would be pulled, as far as walks tell: they hold what one of ``names`` does, or one of their
    group does."""
    told = [walked[name] for name in names if hasattr(walked.get(name), "ids")]
    if not told or not left:
        return []
    every = list(left)
    found = {every[at] for at in sharing(told, [one.walked for one in left.values()])}
    mates = {mate for name in found for mate in left[name].names}
    return [name for name in every if name in found or name in mates]


def units(names: list[str], walked: Mapping[str, Any], apart: Collection[str] = ()) -> list[list[str]]:
    """Which of these are serialised at once, because walks say that they hold the same: they would come to be in one group."""
    told = [name for name in names if name not in apart and hasattr(walked.get(name), "ids")]
    units: dict[int, list[str]] = {}
    for name, label in zip(told, joined([walked[name] for name in told]), strict=True):
        units.setdefault(label, []).append(name)
    alone = set(names).difference(told)
    return [*([name] for name in names if name in alone), *map(sorted, units.values())]


def _drop(name: str, why: str, dumps: dict[str, Dump], refused: dict[str, str]) -> None:
    """Refuse a name; or those it was serialised with have to be looked at one by one first."""
    one = dumps.get(name)
    if one is not None and len(one.names) > 1:
        raise _Apart(one.names)
    refused[name] = why
    dumps.pop(name, None)


def _pulled(dumps: dict[str, Dump], left: dict[str, Known], values: Mapping[str, Any]) -> list[str]:
    """Names that were left alone and must not be: what was serialised has something to do with them."""
    names = list(left)
    ids = [key for one in dumps.values() for key in (*one.ids, *one.inside)]
    ids += [id(values[name]) for one in dumps.values() for name in one.names]
    # What frames share with each other is not shared after recovery.
    spans = [(span.low, span.high, span.frame) for one in dumps.values() for span in one.spans if span.high > span.low]
    pulled = {names[at] for at in meeting(ids, spans, [left[name].walked for name in names])}
    pulled.update(name for name in names if any(mate not in left for mate in left[name].names))
    return sorted(pulled)


def _reason(value: Any, name: str, err: BaseException) -> str:
    """Why a variable is refused: the part of it, what that is, and what is said of it."""
    path, part, why = offenders.find(value, name, err, lambda part: _dump({name: part}, [name], frozenset()), False)
    kind = codec._type_name(part)
    if path != name:
        return f"{path}: {kind} ({why})"
    return why if kind.rpartition(".")[2] in why else f"{kind} ({why})"


def _meet(dumps: dict[str, Dump], refused: dict[str, str], last: bool = False) -> frozenset[int]:
    """Refuse the names whose memory cannot come back shared; returns the frames' arrays that have to be shared.

    A frame's array comes back as its own memory unless an array of somebody else (``df["a"].values``) lies over it; then
    it is shared with that one, if it is the only frame there.
    """
    spans = _merged(sorted(span for one in dumps.values() for span in one.spans if span.high > span.low))
    shared: set[int] = set()
    bad: dict[str, str] = {}
    open_: list[Span] = []
    for span in spans:
        open_ = [other for other in open_ if other.high > span.low]
        for other in open_:
            if other.obj == span.obj or (other.frame and span.frame):
                continue
            if other.root == span.root and span.root and other.frame == span.frame:
                continue
            if other.frame or span.frame:
                frame, alone = (other, span) if other.frame else (span, other)
                others = {s.obj for s in spans if s.frame and s.low < frame.high and frame.low < s.high}
                if len(others) == 1 and alone.root:
                    shared.add(frame.obj)
                    continue
                loser, winner = alone, frame
            else:
                loser, winner = (other, span) if not other.root else (span, other)
            bad[loser.name] = f"shares memory with `{winner.name}` in a way that would be lost"
        open_.append(span)
    if last or not shared:
        for name, why in bad.items():
            _drop(name, why, dumps, refused)
    return frozenset(shared)


def _merged(spans: list[Span]) -> list[Span]:
    """The same, with one span for those of a variable that lie in one array and over one another: the paths of an arrow plot
    are thousands of such views. None of them is in another's way."""
    framed = {span.obj for span in spans if span.frame}
    found: list[Span] = []
    last: dict[tuple[int, str], int] = {}
    for span in spans:
        if span.root and not span.frame and span.obj not in framed:
            key = span.root, span.name
            at = last.get(key)
            if at is not None and found[at].high >= span.low:
                found[at] = found[at]._replace(high=max(found[at].high, span.high))
                continue
            last[key] = len(found)
        found.append(span)
    return found


def _refuse_inner(dumps: dict[str, Dump], refused: dict[str, str]) -> None:
    """What reaches the inside of a frame, past the frame (``df.__reduce__()``), would come back with another inside."""
    inside = {key: kind for one in dumps.values() for key, kind in one.inside.items()}
    for name, one in list(dumps.items()) if inside else ():
        kind = next((inside[key] for key in one.memo if key in inside), None)
        if kind is not None:
            _drop(name, f"reaches the inside of a {kind}, which would come back with another one", dumps, refused)


def _has_both(kind: type) -> bool:
    """Whether what is of this type has a ``__dict__`` and a pickle of its own."""
    bare = kind.__dictoffset__ == 0 or issubclass(kind, type) or kind is types.FunctionType
    return not bare and not plain_instance(kind)


def _refuse_dicts(values: Mapping[str, Any], dumps: dict[str, Dump], refused: dict[str, str]) -> None:
    """What reaches the ``__dict__`` of an object with a pickle of its own, past the object, would come back with a copy."""
    owners: dict[int, tuple[str, int, str]] = {}
    past: dict[str, str] = {}
    paths = {at for at, *_ in plotted.own().dicts.values()}
    for name, one in list(dumps.items()) if paths else ():
        if not paths.isdisjoint(one.memo):
            _drop(
                name,
                "reaches the __dict__ of a Path of matplotlib, which would come back with another one",
                dumps,
                refused,
            )
    for name, one in dumps.items():
        own: dict[int, int] = {}
        for at, key, kind, met in own_dicts(one.memo, _has_both) if one.memo else ():
            owners[at] = (name, key, kind)
            if met:
                own[at] = key
        key = held_by_others(own, {0: [values[name] for name in one.names], **one.memo}) if own else None
        if key is not None:
            past[name] = owners[key][2]
    for name, one in list(dumps.items()) if owners else ():
        variables = {id(values[name]) for name in one.names}
        ids = {*one.ids, *variables}
        kind = past.get(name)
        for key in owners.keys() & ids if kind is None else ():
            owner, part, what = owners[key]
            if key in variables or (name != owner and part not in ids):
                kind = what
        if kind is not None:
            _drop(name, f"reaches the __dict__ of a {kind}, which would come back with another one", dumps, refused)


def _overlaps(spans: Iterable[Span]) -> Iterator[tuple[Span, Span]]:
    """Pairs of spans that overlap; of those that end earlier than another one beside them, enough to tell who is connected."""
    open_: list[Span] = []
    for span in sorted(spans):
        open_ = [other for other in open_ if other.high > span.low]
        yield from ((span, other) for other in open_)
        open_ = [
            other for other in open_ if (other.frame, other.name) != (span.frame, span.name) or other.high > span.high
        ]
        open_.append(span)


def _components(dumps: dict[str, Dump]) -> list[list[str]]:
    if len(dumps) < 2:
        return [[name] for name in dumps]
    parent = {name: name for name in dumps}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    owner: dict[int, str] = {}
    for name, one in dumps.items():
        for key in one.ids:
            parent[root(name)] = root(owner.setdefault(key, name))
    for span, other in _overlaps(s for one in dumps.values() for s in one.spans if s.root and s.high > s.low):
        if not (span.frame and other.frame):
            parent[root(span.name)] = root(other.name)
    members: dict[str, list[str]] = {}
    for name in dumps:
        members.setdefault(root(name), []).append(name)
    return [sorted(names) for names in members.values()]


_shared = OfTypes()


def _met(one: Any) -> tuple[dict[int, Any], set[int]]:
    """What a pickler met, by address, and which of it others may hold as well, and would then have to hold again."""
    _shared.goes_by(len(sys.modules))
    memo, ids, kinds = pickler_met(one, UNSHARED, _shareable_of, _shareable_one)
    own = plotted.own()
    if own.names and any(str(kind.__module__).startswith("matplotlib.") for kind in kinds):
        ids.difference_update(own.names, own.lists)
    pandas = sys.modules.get("pandas")
    if hasattr(pandas, "DataFrame"):
        # Lists of these classes, which every pickle of theirs holds.
        ids.difference_update((id(pandas.DataFrame._metadata), id(pandas.Series._metadata)))
    return memo, ids


def _shareable_of(kind: type) -> bool | None:
    """The same of a type; ``None`` if that depends on the object."""
    if kind is types.FunctionType or issubclass(kind, type) or kind is getattr(sys.modules.get("numpy"), "ufunc", None):
        return None
    shared = _shared.get(kind)
    if shared is None:
        shared = _shareable_kind(kind)
        _shared.keep(kind, shared)
    return shared


def _shareable_one(part: Any) -> bool:
    if type(part) is types.FunctionType or isinstance(part, type):
        return part.__module__ == "__main__"
    return libraries.of_function(part) is not None


def _shareable_kind(kind: type) -> bool:
    np = sys.modules.get("numpy")
    if np is not None and issubclass(kind, (np.dtype, np.generic)):
        return issubclass(kind, np.void)
    return kind not in UNSHARED and not codec.nobodys(kind) and not named.members(kind)


def _dump(values: dict[str, Any], names: list[str], shared: frozenset[int], ids: list[int] | None = None) -> Dump:
    name = names[0]
    only = values[name]
    # A NaN is not equal to itself: it may be the very object that a module has.
    if len(values) == 1 and type(only) in ATOMS and only == only:
        return Dump(names, pickle.dumps(values, 5), [], [], [], {}, [], set(), {})
    found = plain.dumps(values, ids is None)
    if found is not None:
        return Dump(names, found[0], [], [], (found[1] or []) if ids is None else ids, {}, [], set(), {})
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND_BYTES_MIN:
            return True
        buffers.append(raw)
        return False

    out = io.BytesIO()
    one = pickler()(out, take, name, shared)
    (one.dump if ids is not None and len(ids) < MANY else one.dump_many)(values)
    asks = hashed.hash_themselves(one.kinds)
    if ids is not None:
        return Dump(names, out.getvalue(), buffers, one.spans, ids, {}, one.keep, set(), {}, asks)
    # What is kept here stays alive, so that ids of different dumps stay apart.
    memo, found = _met(one)
    memo.pop(id(values), None)
    found.discard(id(values))
    return Dump(names, out.getvalue(), buffers, one.spans, found, memo, one.keep, one.needs, one.inside, asks)
