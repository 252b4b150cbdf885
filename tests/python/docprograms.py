"""Notebooks that libraries' authors wrote: the examples in the docstrings and texts of installed packages.

A program is named ``LIBRARY:FILE:LINE``, as the package is installed; each of its examples is a cell. They are found in the
source, so that nothing is imported that no example imports.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import functools
import importlib.util
import inspect
import random
import re
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path

STDLIB = "stdlib"
PRELUDES = {
    "numpy": "import numpy as np",
    "pandas": "import numpy as np, pandas as pd",
    "matplotlib": "import numpy as np, matplotlib.pyplot as plt, matplotlib as mpl",
    "scipy": "import numpy as np, scipy, matplotlib.pyplot as plt",
    "sklearn": "import numpy as np, sklearn",
    "networkx": "import networkx as nx, numpy as np",
    "sympy": "from sympy import *\nfrom sympy.abc import x, y, z, t",
    "statsmodels": "import numpy as np, pandas as pd, statsmodels.api as sm, statsmodels.formula.api as smf",
    "xarray": "import numpy as np, pandas as pd, xarray as xr",
    "torch": "import torch, torch.nn as nn, torch.nn.functional as F",
    "polars": "import polars as pl, polars.selectors as cs",
    "pyarrow": "import pyarrow as pa, pyarrow.compute as pc, numpy as np, pandas as pd",
    "plotly": "import plotly.express as px, plotly.graph_objects as go",
    "altair": "import altair as alt, pandas as pd",
    "seaborn": "import seaborn as sns, numpy as np, pandas as pd, matplotlib.pyplot as plt",
    "dask": "import dask, dask.array as da, dask.bag as db, numpy as np",
    "astropy": "import numpy as np, astropy.units as u",
    "geopandas": "import geopandas, geopandas as gpd, pandas as pd, numpy as np, shapely",
    "skimage": "import numpy as np, skimage",
    "more_itertools": "from more_itertools import *",
    "toolz": "from toolz import *",
    "bokeh": "import numpy as np",
}
"""What examples of a library take for granted."""

ELSEWHERE = re.compile(
    r"urlopen|fetch_|download|https?://\S*['\"]\)|load_dataset|sns\.load|os\.(_exit|kill|fork|abort)|serve_forever|mainloop"
    r"|set_start_method|faulthandler|input\(|getpass|pdb\.|breakpoint|webbrowser|sys\.exit|rmtree|smtplib|ctypes\.string_at"
    r"|raise_signal|setrlimit|(?<![\w.])(exit|quit|help)\(|code\.interact|tutorial\.|EPSG|pooch|Vega|get_gps|dataset=|\.compute_server"
)
"""Programs with one of these in them are left out: they use the network, ask a person, or end the process."""
SKIPPED = re.compile(r"doctest: *\+SKIP")
SECONDS = 10
"""A cell that takes longer is interrupted."""
CELLS_MAX = 60


def _folders(library: str) -> tuple[Path, list[Path]]:
    """Where a library's modules are found from, and its files; a folder of texts counts as one too."""
    if Path(library).is_dir():
        return Path(library), [path for path in Path(library).rglob("*") if path.suffix in (".txt", ".rst", ".md")]
    if library == STDLIB:
        root = Path(sysconfig.get_path("stdlib"))
        skipped = (
            "test",
            "tests",
            "idlelib",
            "site-packages",
            "dist-packages",
            "lib2to3",
            "turtledemo",
            "tkinter",
            "ensurepip",
        )
        files = (path for path in root.rglob("*.py") if not {*path.relative_to(root).parts} & {*skipped})
        return root, [path for path in files if not any(part.startswith("config-") for part in path.parts)]
    spec = importlib.util.find_spec(library)
    if spec is None or not spec.origin:
        return Path(), []
    origin = Path(spec.origin)
    if origin.name != "__init__.py":
        return origin.parent, [origin]
    return origin.parents[1], [
        path
        for path in origin.parent.rglob("*")
        if path.suffix in (".py", ".pyx", ".pxi", ".rst", ".txt") and "tests" not in path.parts
    ]


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file that have examples, with their lines."""
    source = path.read_text(errors="replace")
    if ">>>" not in source:
        return
    if path.suffix == ".py":
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and ">>> " in node.value:
                yield node.lineno, inspect.cleandoc(node.value)
    elif path.suffix in (".pyx", ".pxi"):
        for found in re.finditer(r'"""(.*?)"""', source, re.DOTALL):
            if ">>> " in found[1]:
                yield source.count("\n", 0, found.start()) + 1, inspect.cleandoc(found[1])
    else:
        yield 1, source


def _of_file(library: str, root: Path, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for line, text in _texts(path):
        if ELSEWHERE.search(text):
            continue
        try:
            examples = doctest.DocTestParser().get_examples(text)
        except ValueError:
            continue
        cells = [one.source.rstrip() for one in examples if one.source.strip() and not SKIPPED.search(one.source)]
        for at in range(0, len(cells), CELLS_MAX):
            name = f"{library}:{path.relative_to(root)}:{line}" + (f".{at}" if at else "")
            yield name, tuple(cells[at : at + CELLS_MAX])


@functools.cache
def programs(library: str) -> dict[str, list[str]]:
    """The cells of each program of a library; programs with the same cells are one."""
    root, files = _folders(library)
    found: dict[tuple[str, ...], str] = {}
    for path in sorted(files):
        for name, cells in _of_file(library, root, path):
            found.setdefault(cells, name)
    return {name: [prelude(library, name, cells), *cells] for cells, name in found.items()}


def some(library: str, count: int, seed: int) -> dict[str, list[str]]:
    """So many programs of a library, without a look at all of its files: one of a file."""
    root, files = _folders(library)
    files, rng, found = sorted(files), random.Random(f"{library} {seed}"), {}
    rng.shuffle(files)
    for path in files:
        if len(found) == count:
            break
        if there := [*_of_file(library, root, path)]:
            name, cells = rng.choice(there)
            found[name] = [prelude(library, name, cells), *cells]
    return found


def named(name: str) -> list[str]:
    """The cells of one program."""
    library, file, _ = name.rsplit(":", 2)  # a folder may have colons in its name
    root, _ = _folders(library)
    cells = dict(_of_file(library, root, root / file))[name]
    return [prelude(library, name, cells), *cells]


def prelude(library: str, name: str, cells: tuple[str, ...]) -> str:
    """What the first cell imports: what is usual, and what the examples use of the module they are in."""
    lines = [PRELUDES[library]] if library in PRELUDES else []
    file = name.split(":")[1]
    if file.endswith(".py"):
        module = file.removesuffix(".py").removeprefix("_py").replace("/", ".").removesuffix(".__init__")
        for word in sorted(_free(cells) - {*dir(builtins)} - {*re.findall(r"\w+", " ".join(lines))}):
            lines.append(f"try: from {module} import {word}\nexcept Exception: pass")
    return "\n".join(lines) or "pass"


def _free(cells: tuple[str, ...]) -> set[str]:
    """Names that cells use before they have them."""
    used: set[str] = set()
    have: set[str] = set()
    for cell in cells:
        try:
            nodes = [node for node in ast.walk(ast.parse(cell))]
        except SyntaxError:
            continue
        names = [node for node in nodes if isinstance(node, ast.Name)]
        used |= {node.id for node in names if isinstance(node.ctx, ast.Load)} - have
        have |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
        have |= {
            alias.asname or alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
        }
    return used


CHANGES = re.compile(
    r"(append|extend|insert|update|add|remove|discard|pop|clear|sort|reverse|fill|set|push|put|rotate|resize|shuffle|fit|partial"
    r"|drop|rename|replace|seed|step|reset|send|train|eval|move_to|subtract|merge|apply|register|bind|toggle|normal|merge|mask"
    r"|swap|relabel|link|make|load|feed|advance|next|toggle|configure|define|intersection_update|assign|with_|cache)|.*_$"
)
"""Methods whose names begin so are the ones to try first."""
NEVER = re.compile(
    r"(show|kill|terminate|close|exit|quit|save|to_(?!list|numpy|dict|frame)|write|dump|serve|run|start|join|wait|acquire|input|unlink|rm"
    r"|chdir|download|fetch|exec|open|touch|mkdir|hardlink|symlink|chmod|connect|listen|ccode|interact|read|plot_|compile|display|main|test)"
)
"""Methods whose names begin so may write files, wait, or show something."""
HANDLES = (
    "pathlib",
    "shutil",
    "subprocess",
    "os",
    "posix",
    "tempfile",
    "socket",
    "threading",
    "multiprocessing",
    "asyncio",
    "larder",
)


def _place(rng: random.Random, name: str, value: object) -> tuple[str, object]:
    """The variable, or a part that it has now: what is asked of it runs no code of its own."""
    where = name
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        inner: list[tuple[str, object]] = []
        attributes = getattr(type(value), "__dictoffset__", 0) and not isinstance(value, type | types.ModuleType)
        if attributes:
            try:
                held = object.__getattribute__(value, "__dict__")
            except AttributeError:
                held = {}
            inner += [
                (f"{where}.{key}", held[key])
                for key in sorted(k for k in held if isinstance(k, str) and k.isidentifier() and not k.startswith("_"))
            ]
        if type(value) in (list, tuple):
            inner += [(f"{where}[{i}]", item) for i, item in enumerate(value[:9])]
        elif type(value) is dict:
            inner += [(f"{where}[{key!r}]", item) for key, item in [*value.items()][:9] if type(key) in (str, int)]
        if not inner:
            break
        where, value = rng.choice(inner)
    return where, value


def change(rng: random.Random, space: dict[str, object]) -> str:
    """A cell that changes something in place, or has it computed and kept, or holds it once more."""
    names = sorted(
        n
        for n, v in space.items()
        if not isinstance(v, types.ModuleType | types.FunctionType | types.BuiltinFunctionType)
    )
    if not names:
        return "made = [1]"
    name = rng.choice(names)
    where, value = _place(rng, name, space[name])
    # Not the variable itself: polars, for one, ends the process when it is given a list that holds itself.
    k, other = rng.randint(1, 9), rng.choice([one for one in names if one != name] or ["[1]"])
    kind = type(value)
    if (
        (kind.__module__ or "").partition(".")[0] in HANDLES
        or isinstance(value, type)
        or hasattr(kind, "construct_array_type")
    ):
        return f"kept_{k} = [{where}]"
    what = rng.random()
    if what < 0.5:
        methods = [n for n in dir(kind) if not n.startswith("_") and not NEVER.match(n) and _callable(kind, n)]
        if issubclass(kind, set):
            methods.remove("pop")  # which item it takes is another one in each process
        first = [n for n in methods if CHANGES.fullmatch(n) or CHANGES.match(n)]
        pool = first if first and rng.random() < 0.6 else methods
        if pool:
            method = rng.choice(pool)
            arguments = rng.choice(
                [
                    "",
                    "",
                    f"{k}",
                    f"'k{k}'",
                    f"{k}, {k + 1}",
                    f"'k{k}', {k}",
                    other,
                    f"[{k}, {k}]",
                    f"{{'k{k}': {k}}}",
                    "0",
                ]
            )
            function = inspect.getattr_static(kind, method)
            if isinstance(function, types.FunctionType) and "inplace" in function.__code__.co_varnames:
                arguments += ", inplace=True" if arguments else "inplace=True"
            return f"{where}.{method}({arguments})"
    if what < 0.7:
        keys = ["0", "-1", "'new'", f"{k}"]
        if type(value) is dict:
            keys += [repr(key) for key in [*value][:5] if type(key) in (str, int)]
        return rng.choice(
            [
                f"{where}[{rng.choice(keys)}] = {k}",
                f"{where}[{rng.choice(keys)}] += {k}",
                f"{where}[{rng.choice(keys)}] = {other}",
            ]
        )
    if what < 0.85:
        stated = [
            n
            for n, v in _kinds(kind)
            if not n.startswith("_")
            and ((isinstance(v, property) and v.fset) or type(v).__name__ == "member_descriptor")
        ]
        held = [part for part, _ in [_place(random.Random(rng.random()), where, value)] if part != where]
        targets = [f"{where}.{n}" for n in stated] + held * 3
        # Attributes that are not of a class whose pickle is its own are left out of it.
        plain = (
            kind.__reduce_ex__ is object.__reduce_ex__
            and kind.__reduce__ is object.__reduce__
            and kind.__getstate__ is object.__getstate__
        )
        if plain:
            targets.append(f"{where}.extra")
        if not targets:
            return f"kept_{k} = [{where}, {other}]"
        return f"{rng.choice(targets)} = {rng.choice([str(k), repr(f's{k}'), f'[{k}]', other])}"
    ways = ["{x} += {k}", "{x} *= 2", "{x} |= {{{k}}}", "del {x}[0]", "kept_{k} = {x}", "kept_{k} = [{x}, {other}]"]
    ways += ["part_{k} = {x}[1:]", "str({x}); repr({x})", "len({x}); list({x})"]
    return rng.choice(ways).format(x=where, k=k, other=other)


def _kinds(kind: type) -> Iterator[tuple[str, object]]:
    found: dict[str, object] = {}
    for base in kind.__mro__:
        for key, value in vars(base).items():
            found.setdefault(key, value)
    return iter(sorted(found.items(), key=lambda pair: pair[0]))


def _callable(kind: type, name: str) -> bool:
    one = inspect.getattr_static(kind, name, None)
    return callable(one) or isinstance(one, staticmethod | classmethod)
