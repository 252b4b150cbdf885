"""Where the bytes of every variable are: DRAM, slow nodes, page cache, disk, swap, or nowhere yet.

>>> import larder, numpy as np
>>> x = np.zeros(1 << 20)
>>> larder.tier.table()
name  kind     bytes  DRAM  untouched  movable
x     ndarray   8.0M  4.1K       8.0M  no
...

Every number is asked of the kernel at the moment of the call: page tables, ``move_pages``, ``mincore``. Memory that two
variables reach is counted for the first of them, and the other's row says so.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from . import _larder
from .display import Table, bytes_text, rate_text

OBJECTS_MAX = 5_000_000
ROWS_SHOWN = 40
KIND_MAX = 40  # letters
PURE = 0.9  # the share of a variable's pages that must be its own before they may move
_PLACES = {"cache": "cache", "disk": "disk", "swap": "swap", "untouched": "untouched", "node?": "node?"}


P = ParamSpec("P")
T = TypeVar("T")


class TierError(Exception):
    """What was asked cannot be done; the message says why and what would help."""


def unseen(act: Callable[P, T]) -> Callable[P, T]:
    """Makes a function one whose looking at variables is not sampled as their use."""

    @functools.wraps(act)
    def acted(*args: P.args, **kwargs: P.kwargs) -> T:
        heat = sys.modules.get("larder.heat")
        with heat.unseen() if heat is not None else contextlib.nullcontext():
            return act(*args, **kwargs)

    return acted


# --- live trace: from a variable to its bytes ------------------------------------------------------------------------


def _loaded(module: str, *names: str) -> list[type]:
    """Types of a library, if and only if the notebook has imported it already."""
    found = sys.modules.get(module)
    values = [getattr(found, name, None) for name in names] if found is not None else []
    return [value for value in values if isinstance(value, type)]


def leaf_types() -> list[type]:
    return [
        *_loaded("numpy", "ndarray", "void"),
        *_loaded("torch", "Tensor"),
        *_loaded("pyarrow", "Buffer", "Array", "ChunkedArray", "Table", "RecordBatch"),
        *_loaded("polars", "DataFrame", "Series"),
        types.FunctionType,
    ]


def holding_types() -> list[type]:
    """Leaves that refer to objects in a way that the collector does not see, or that are no containers to it."""
    return [*_loaded("numpy", "ndarray", "void"), types.FunctionType]


def own_types() -> list[type]:
    return _loaded("numpy", "generic", "dtype")


def skip_types() -> list[type]:
    shell = _loaded("IPython.core.interactiveshell", "InteractiveShell")
    return [
        types.ModuleType,
        types.CodeType,
        types.FrameType,
        type(None),
        bool,
        type(...),
        type(NotImplemented),
        types.BuiltinFunctionType,
        *shell,
    ]


def buffers_of(leaf: Any) -> tuple[list[tuple[int, int]], list[Any]]:
    """Payload ``(address, bytes)`` of one leaf, and the further objects it holds.

    Only objects that live as long as the leaf are handed back: the walk knows objects by address, and a wrapper made
    here would leave an address that its successor inherits.
    """
    if isinstance(leaf, types.FunctionType):
        return [], [leaf.__closure__, leaf.__defaults__, leaf.__kwdefaults__]
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(leaf, numpy.ndarray):
        return _ndarray(numpy, leaf)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(leaf, torch.Tensor):
        return _tensor(torch, leaf), []
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        if isinstance(leaf, arrow.Buffer):
            return ([(leaf.address, leaf.size)] if leaf.is_cpu else []), []
        if isinstance(leaf, arrow.Array):
            return [(b.address, b.size) for b in leaf.buffers() if b is not None and b.is_cpu], []
        if isinstance(leaf, arrow.ChunkedArray):
            return [pair for chunk in leaf.chunks for pair in buffers_of(chunk)[0]], []
        if isinstance(leaf, arrow.Table | arrow.RecordBatch):
            return [pair for column in leaf.columns for pair in buffers_of(column)[0]], []
    polars = sys.modules.get("polars")
    if polars is not None:
        if isinstance(leaf, polars.DataFrame):
            return [pair for column in leaf.get_columns() for pair in _series(column)], []
        if isinstance(leaf, polars.Series):
            return _series(leaf), []
    if isinstance(leaf, memoryview):
        return [], [leaf.obj]  # where objects are not walked
    if numpy is not None and isinstance(leaf, numpy.void):
        return ([], [leaf.base]) if leaf.base is not None else ([_larder.tier_buffer(leaf)], [])
    found = _larder.tier_memory(leaf)
    if found is not None and type(leaf).__module__ == "array":
        found = found[0], leaf.__sizeof__() - type(leaf).__basicsize__  # with what it has to grow into
    return ([found] if found else []), []


def owns(leaf: Any) -> bool:
    """Whether what `buffers_of` says of a leaf is memory that no other object shows as its own."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(leaf, numpy.ndarray):
        return leaf.flags.owndata
    return type(leaf).__name__ in ("bytearray", "array", "mmap") and type(leaf).__module__ in (
        "builtins",
        "array",
        "mmap",
    )


def _tensor(torch: Any, tensor: Any) -> list[tuple[int, int]]:
    if tensor.device.type != "cpu":
        return []
    if tensor.layout is not torch.strided:
        if not tensor.is_sparse:
            return []  # compressed layouts: torch tells no address
        return [pair for part in (tensor._indices(), tensor._values()) for pair in _tensor(torch, part)]
    storage = tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()
    return [(storage.data_ptr(), storage.nbytes())]


def _ndarray(numpy: Any, array: Any) -> tuple[list[tuple[int, int]], list[Any]]:
    held: list[Any] = []
    parts = [array] if array.dtype.hasobject and array.size else []
    while parts:
        part = parts.pop()
        if part.dtype.names is not None:
            parts += [part[name] for name in part.dtype.names if part.dtype[name].hasobject]
        elif part.dtype.kind == "O":
            # Only references are objects that live as long as the array: of StringDType each look would make new ones.
            held.extend(part.ravel().tolist())
    base = array.base
    if isinstance(base, numpy.ndarray):
        return [], [base, *held, *([array.__dict__] if hasattr(array, "__dict__") else [])]
    bounds = numpy.lib.array_utils.byte_bounds if hasattr(numpy.lib, "array_utils") else numpy.byte_bounds
    low, high = bounds(array)
    if base is not None:
        held.append(base)
    if hasattr(array, "__dict__"):
        held.append(array.__dict__)  # of a class on top: a masked array's mask, say
    return ([(low, high - low)] if array.size else []), held


def _series(series: Any) -> list[tuple[int, int]]:
    """A Polars series through zero-copy exports: Arrow when it is imported, else NumPy for plain numbers."""
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        return [pair for chunk in arrow.chunked_array(series).chunks for pair in buffers_of(chunk)[0]]
    found = []
    for chunk in series.get_chunks():
        try:
            view = chunk.to_numpy(allow_copy=False)
        except Exception:
            continue  # text and nested types have no NumPy form without a copy
        found.append((view.ctypes.data, view.nbytes))
    return found


def namespace() -> dict[str, Any]:
    """The variables looked at when none are given: the running IPython's, else ``__main__``'s."""
    ip = _shell()
    return ip.user_ns if ip is not None else sys.modules["__main__"].__dict__


def _shell() -> Any:
    module = sys.modules.get("IPython.core.getipython")
    return module.get_ipython() if module is not None else None


def visible(space: dict[str, Any]) -> list[str]:
    """Names a user made: no leading underscore, none of IPython's own, no modules, functions or classes."""
    ip = _shell()
    hidden = set(getattr(ip, "user_ns_hidden", ())) if ip is not None else set()
    hidden |= {"In", "Out", "exit", "quit", "get_ipython", "open"} if ip is not None else set()
    skipped = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType)
    return [
        name
        for name, value in list(space.items())
        if not name.startswith("_") and name not in hidden and not isinstance(value, skipped)
    ]


class Survey:
    """The bytes of some variables and where they are, asked once."""

    def __init__(
        self, variables: dict[str, Any], *, exact: bool = False, objects_max: int = OBJECTS_MAX, settle: bool = True
    ) -> None:
        space = namespace()
        skip = [id(space), id(sys.modules), id(sys.__dict__), id(variables), id(self)]
        self._native = _larder.TierSurvey(skip, leaf_types(), own_types(), skip_types(), objects_max)
        self.names = list(variables)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self.lent: list[str] = []
        for name, value in variables.items():
            owner = self._native.variable()
            record = away(name, value)
            if record is not None:
                self._native.lend(owner, record)
                self.lent.append(name)
                continue
            roots = [value]
            done: set[int] = set()
            while roots:
                root = roots.pop()
                leaves = self._native.enter(owner, root)
                if self.refused is not None and id(root) not in done:
                    leaves = [root]  # objects are not walked on this build: the buffers of variables still are
                    done.add(id(root))
                for leaf in leaves:
                    ranges, held = buffers_of(leaf)
                    for address, size in ranges:
                        self._native.buffer(owner, address, size)
                    roots.extend(item for item in held if item is not None)
        self.how = self._native.locate(exact) if settle else {}

    @classmethod
    def of(cls, native: Any, names: list[str], *, exact: bool = False) -> Survey:
        """A survey of what has been walked already."""
        made = cls.__new__(cls)
        made._native, made.names, made.lent = native, names, []
        made._numbers = {name: number for number, name in enumerate(names)}
        made.how = native.locate(exact)
        return made

    @property
    def refused(self) -> str | None:
        return self._native.refused

    def row(self, name: str) -> dict[str, Any]:
        return self._native.row(self._numbers[name])

    def record(self, name: str) -> _larder.TierRecord:
        """What `name` reaches, to be asked about again without a walk."""
        return self._native.record(self._numbers[name])

    def ranges(self, name: str) -> list[tuple[int, int]]:
        return self._native.ranges(self._numbers[name])

    def moving(self, name: str) -> list[tuple[int, int]]:
        """The whole pages that go when `name` goes; `movable` has made sure that nine tenths of them is its own."""
        return self._native.moving(self._numbers[name])

    def buffers(self, name: str) -> list[tuple[int, int]]:
        return self._native.buffers(self._numbers[name])


# --- tiers of this machine -------------------------------------------------------------------------------------------


_machine: tuple[float, dict[str, Any]] | None = None
MACHINE_S = 1.0  # nodes do not come and go; swap may be turned on


def machine() -> dict[str, Any]:
    """Nodes and swap of this machine, asked at most once a second: ``nodes``, ``swap_total``, ``swap_free``."""
    global _machine
    now = time.monotonic()
    if _machine is None or now - _machine[0] > MACHINE_S:
        _machine = (now, _larder.tier_machine())
    return _machine[1]


def _labels() -> dict[str, str]:
    """``node0`` -> ``DRAM``: how places are called on this machine."""
    nodes = machine()["nodes"]
    fast = [node for node in nodes if node[1]]
    labels = {f"node{node[0]}": "DRAM" if len(fast) == 1 else f"DRAM{node[0]}" for node in fast}
    labels |= {f"node{node[0]}": f"slow{node[0]}" for node in nodes if not node[1]}
    return labels | _PLACES


def tiers() -> Table:
    """The tiers this machine really has, fastest first."""
    here = machine()
    labels = _labels()
    rows = [
        {"tier": labels[f"node{node}"], "what": f"NUMA node {node}" + ("" if cpu else ", memory only"), "bytes": size}
        for node, cpu, size in sorted(here["nodes"], key=lambda node: not node[1])
    ]
    if here["swap_total"]:
        free = f"{bytes_text(here['swap_free'])} free"
        rows.append({"tier": "swap", "what": free, "bytes": here["swap_total"]})
    return Table(rows, ["tier", "what", "bytes"], formats={"bytes": bytes_text})


def swap_used() -> bool:
    """Whether anything on this machine is in swap."""
    here = machine()
    return here["swap_total"] > here["swap_free"]


def slow_nodes() -> list[int]:
    """Memory-only NUMA nodes: CXL, or persistent memory in system-RAM mode."""
    return [node for node, cpu, _ in machine()["nodes"] if not cpu]


NO_TIER = (
    "this machine has no slower tier for it: no memory-only NUMA node and no swap. "
    "Arrays made after `%tier on` live in a tier file and can move. Or add a tier: `swapon FILE`, "
    "a CXL or pmem node in system-RAM mode (`daxctl reconfigure-device --mode=system-ram`), "
    "or keep the data on a shelf"
)
NOT_IN_FILE = (
    "it is not in the tier file: made before `%tier on`, no NumPy array, or the file's disk was full then. This machine has "
    "no other slower tier: no memory-only NUMA node and no swap. An array made anew (`x = x.copy()`) goes there; or add a "
    "tier: `swapon FILE`"
)


def movable(survey: Survey, name: str) -> tuple[bool, str]:
    """Whether ``name`` can leave DRAM on this machine, and how or why not."""
    row = survey.row(name)
    if row["bytes"] < 1 << 20:
        owners = dict.fromkeys([*(other for other, _ in row["shared"]), *row["meets"]])
        others = ", ".join(survey.names[other] for other in owners)
        return False, f"its bytes belong to {others}" if others else "smaller than 1M: not worth a move"
    purity = row["block_bytes"] / row["page_bytes"]
    if purity < PURE:
        return False, f"{purity:.0%} of its pages is its own: moving them would move neighbours"
    nodes = slow_nodes()
    if nodes:
        return True, f"move_pages to node {nodes[0]}"
    if _in_tier_file(survey, name):
        return True, "tier file"
    filed = row["places"].get("cache", 0) + row["places"].get("disk", 0)
    if filed >= row["bytes"] // 10:
        changed = row["bytes"] - filed
        note = f"; {bytes_text(changed)} changed since the last commit stay" if changed > row["bytes"] // 20 else ""
        return True, f"clean page cache can be dropped, the file holds the data{note}"
    if machine()["swap_free"]:
        return True, "MADV_PAGEOUT to swap"
    return False, NOT_IN_FILE if enabled() else NO_TIER


def _in_tier_file(survey: Survey, name: str) -> bool:
    row = survey.row(name)
    if row["buffer_bytes"] < PURE * row["bytes"]:
        return False  # only arrays' buffers are ever there
    filed = 0
    for start, end in survey.ranges(name):
        block = _larder.tier_block(start) if end - start >= 4096 else None
        filed += end - start if block is not None and block[2] == "tier file" else 0
    return filed >= PURE * row["bytes"]


# --- the table -------------------------------------------------------------------------------------------------------


def _kind(value: Any) -> str:
    kind = type(value).__name__
    kind = kind if len(kind) <= KIND_MAX else f"{kind[: KIND_MAX - 1]}…"
    if isinstance(value, list | tuple) and value:
        first = {type(item).__name__ for item in value[:100]}
        return f"{kind}/{first.pop()}" if len(first) == 1 else kind
    if kind == "ndarray":
        return f"{kind} {value.dtype}" if value.dtype.names is None else f"{kind} struct"
    return kind


def _shares(survey: Survey, row: dict[str, Any]) -> str:
    told = [f"{bytes_text(count)} counted in {survey.names[other]}" for other, count in row["shared"]]
    others = {other for other, _ in row["shared"]}
    told += [f"reaches into {survey.names[other]}" for other in row["meets"] if other not in others]
    return ", ".join(told)


@unseen
def table(names: list[str] | None = None, *, exact: bool = False, variables: dict[str, Any] | None = None) -> Table:
    """One row per variable: its bytes and where they are now.

    | argument    | meaning                                                                            |
    |-------------|------------------------------------------------------------------------------------|
    | `names`     | only these variables; all when omitted (sharing is settled over all of them anyway) |
    | `exact`     | ask the node of every page instead of up to 1,000 evenly spread ones                |
    | `variables` | the namespace; the running IPython's when omitted                                   |

    Raises `NameError` for a name that does not exist.
    """
    space = namespace() if variables is None else variables
    known = visible(space) if variables is None else list(space)
    for name in names or ():
        if name not in space:
            raise NameError(f"name {name!r} is not defined")
    listed = known + [name for name in names or () if name not in known]
    survey = Survey({name: space[name] for name in listed}, exact=exact)
    return _table(survey, space, listed if names is None else names)


def _table(survey: Survey, space: dict[str, Any], names: list[str], *, full: bool = False) -> Table:
    labels = _labels()
    rows: list[dict[str, Any]] = []
    temperatures = _temperatures()
    for name in names:
        info = survey.row(name)
        places = {labels.get(place, place): count for place, count in info["places"].items()}
        can, why = movable(survey, name)
        if can and name in pinned():
            can, why = False, f"pinned in DRAM until `%tier unpin {name}`"
        if not full and why in (NO_TIER, NOT_IN_FILE):
            why = ("no slower tier here" if why == NO_TIER else "not in the tier file") + f": %tier why {name}"
        shares = _shares(survey, info)
        why = "" if shares and why.startswith("its bytes belong") else why
        if name in shielded():
            why += ", GC-shielded"
        if unshielded(name):
            why += f", {unshielded(name)}"
        if name in survey.lent:
            why += ", not looked at since it left"
        said = [shares, "walk cut short: more than it says" if info["cut"] else "", why]
        rows.append(
            {"name": name, "kind": _kind(space[name]), "bytes": info["bytes"]}
            | places
            | temperatures.get(name, {})
            | {"movable": can, "why": "; ".join(part for part in said if part)}
        )
    rows.sort(key=lambda row: -row["bytes"])
    used = {key for row in rows for key in row}
    shown = [label for label in dict.fromkeys(labels.values()) if label in used or label.startswith(("DRAM", "slow"))]
    shown += ["unmapped"] if "unmapped" in used else []
    return Table(
        rows,
        [
            "name",
            "kind",
            "bytes",
            *shown,
            *(["heat", "ops/s", "last", "conf"] if temperatures else []),
            "movable",
            "why",
        ],
        formats=dict.fromkeys(["bytes", *shown], bytes_text)
        | {
            "heat": "{:.2f}".format,
            "ops/s": rate_text,
            "last": "{:.0f}s".format,
            "movable": lambda can: "yes" if can else "no",
        },
        footer=_footer(survey),
        empty="no variables yet",
        shown_max=ROWS_SHOWN,
    )


def _temperatures() -> dict[str, dict[str, Any]]:
    heat = sys.modules.get("larder.heat")
    return heat.columns() if heat is not None else {}


def process(survey: Survey) -> dict[str, int]:
    """What the process has in memory, in bytes: ``resident`` = ``variables`` + ``files`` + ``rest``.

    ``variables`` are the surveyed variables' own pages (also those of the tier file and of shelves mapped here), ``files``
    libraries and other mapped files, ``rest`` the interpreter, modules, IPython's own data and memory that allocators keep.
    """
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    kib = {key: int(status[key].split()[0]) * 1024 for key in ("VmRSS", "RssFile", "RssShmem") if key in status}
    on_nodes = sum(
        count
        for name in survey.names
        for place, count in survey.row(name)["places"].items()
        if place.startswith("node")
    )
    ours = {"larder-tier-": 0, ".shelf": 0}
    kind = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.startswith("Rss:") and kind is not None:
            ours[kind] += int(line.split()[1]) * 1024
        elif "-" in line.split(" ", 1)[0]:
            kind = next((mark for mark in ours if mark in line), None)
    resident = kib.get("VmRSS", 0)
    files = max(0, kib.get("RssFile", 0) + kib.get("RssShmem", 0) - sum(ours.values()))
    variables = on_nodes + ours[".shelf"]
    return {"resident": resident, "variables": variables, "files": files, "rest": resident - variables - files}


def _footer(survey: Survey) -> str:
    how = [*survey.how["methods"], *(["mincore"] if survey.how["mincore"] else [])]
    how += ["mincore refused: file pages not mapped here count as on disk"] if survey.how["mincore_refused"] else []
    parts = [f"asked: {', '.join(how) or 'nothing'}"]
    if survey.how["sampled"]:
        parts.append("nodes from 1,000 sampled pages (`%tier --exact` asks all)")
    if survey.refused:
        parts.append(f"objects not walked: {survey.refused}")
    elif missing := _larder.tier_missing():
        parts.append(
            f"not counted on this build, whose objects are laid out in a way unknown here: {', '.join(missing)}"
        )
    heat = sys.modules.get("larder.heat")
    if heat is not None and heat.active():
        parts.append(heat.cost())
    sums = process(survey)
    parts.append(
        f"resident {bytes_text(sums['resident'])} = variables {bytes_text(sums['variables'])} + files "
        f"{bytes_text(sums['files'])} + interpreter and the rest {bytes_text(max(sums['rest'], 0))}"
    )
    have = ", ".join(f"{row['tier']} {bytes_text(row['bytes'])}" for row in tiers())
    blocks = [block for block in _larder.tier_blocks() if block[2] == "tier file"]
    have += f", tier file {bytes_text(sum(block[1] for block in blocks))}" if blocks else ""
    slower = "" if slow_nodes() or blocks or machine()["swap_total"] else "; no slow node, no swap"
    return " · ".join([*parts, f"tiers: {have}{slower}"])


def methods() -> str:
    """In one line: the tiers of this machine, and which interface answers each question here. For `larder doctor`."""
    import mmap
    import os

    with mmap.mmap(-1, 1 << 16) as memory:
        memory[:] = b"x" * len(memory)
        survey = Survey({"memory": memory}, exact=True)
    have = ", ".join(f"{row['tier']} {bytes_text(row['bytes'])}" for row in tiers())
    none = "" if slow_nodes() or machine()["swap_total"] else " (no slow node, no swap; %tier on adds a tier file)"
    frames = _larder.tier_frames()
    told = [
        f"tiers: {have}{none}",
        f"places by {', '.join(survey.how['methods'])}",
        "accessed bits by clear_refs" if os.access("/proc/self/clear_refs", os.W_OK) else "no accessed bits",
        f"objects not walked: {survey.refused}" if survey.refused else "objects walked",
        f"no frames: {frames}" if frames else f"frames by {_larder.tier_reader()}",
    ]
    return "; ".join(told)


@unseen
def why(name: str) -> str:
    """In words: where ``name`` is, what it shares, whether it can move and how, or why it cannot."""
    space = namespace()
    if name not in space:
        raise NameError(f"name {name!r} is not defined")
    names = list(dict.fromkeys([*visible(space), name]))
    rows = _table(Survey({key: space[key] for key in names}, exact=True), space, [name], full=True)
    row = rows[0]
    where = ", ".join(f"{bytes_text(row[key])} {key}" for key in _labels().values() if row.get(key))
    verb = "can move" if row["movable"] else "stays where it is"
    head = f"{name} ({row['kind']}, {bytes_text(row['bytes'])})"
    return f"{head}: {where or 'no memory of its own'}; {verb}: {row['why']}"


from ._migrate import away, demote, disable, enable, enabled, pin, pinned, promote, shielded, unpin, unshielded  # noqa: E402


def auto(dram: str | int | None = "cgroup") -> str:
    """Keep this process under ``dram`` bytes of DRAM between cells; see `larder._auto.auto`. ``None`` stops it."""
    from . import _auto

    return _auto.auto(dram)


__all__ = [
    "Survey",
    "TierError",
    "auto",
    "demote",
    "disable",
    "enable",
    "enabled",
    "methods",
    "movable",
    "pin",
    "pinned",
    "process",
    "promote",
    "shielded",
    "table",
    "tiers",
    "unpin",
    "unshielded",
    "why",
]
