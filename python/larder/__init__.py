"""larder: a Jupyter kernel for Python whose data outlives the kernel.

>>> import larder
>>> shelf = larder.open("runs")
>>> shelf.weights = np.zeros((4096, 4096), dtype=np.float32)
>>> # kill -9 the process, start another
>>> larder.open("runs").weights.shape
(4096, 4096)

Everything is imported on first use, so that a kernel starts without paying for what its notebook does not touch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = (
    False  # not from `typing`: when this runs, the working directory may still stand before the standard library
)
if TYPE_CHECKING:
    from . import heat as heat, session as session, shelf as shelf, tier as tier, trace as trace
    from .errors import (
        ShelfBusy as ShelfBusy,
        ShelfClosed as ShelfClosed,
        ShelfCorrupt as ShelfCorrupt,
        ShelfError as ShelfError,
        ShelfFormat as ShelfFormat,
        ShelfFull as ShelfFull,
        ShelfReadOnly as ShelfReadOnly,
    )
    from .shelf import Commit as Commit, Report as Report, Shelf as Shelf, open as open, shelves as shelves
    from .types import ndarray as ndarray, tensor as tensor, transient as transient

_HOME_OF = {
    "open": "shelf",
    "shelves": "shelf",
    "Shelf": "shelf",
    "Commit": "shelf",
    "Report": "shelf",
    "ndarray": "types",
    "tensor": "types",
    "transient": "types",
    "ShelfError": "errors",
    "ShelfBusy": "errors",
    "ShelfCorrupt": "errors",
    "ShelfFull": "errors",
    "ShelfFormat": "errors",
    "ShelfReadOnly": "errors",
    "ShelfClosed": "errors",
    "load_ipython_extension": "magics",
    "unload_ipython_extension": "magics",
}
_SUBMODULES = ("session", "shelf", "tier", "heat", "trace")

__all__ = [*_HOME_OF, *_SUBMODULES]


def __getattr__(name: str):
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f".{name}", __name__)
    elif name == "__version__":
        value = importlib.import_module("._larder", __name__).__version__
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
