"""What a cell's code is called: a path that front ends can compute from its text, so that breakpoints find it."""

from __future__ import annotations

import os
import tempfile

from IPython.core.compilerop import CachingCompiler

from larder._larder import murmur2

HASH_SEED = 0xC70F6907


def cell_folder() -> str:
    """The folder that cells' names lie in; it need not exist. Numba's cache knows cells by ``ipykernel_``."""
    return os.path.join(tempfile.gettempdir(), f"ipykernel_{os.getpid()}")


def cell_file(code: str) -> str:
    """The name of a cell with this text; ``IPYKERNEL_CELL_NAME`` overrides it."""
    given = os.environ.get("IPYKERNEL_CELL_NAME")
    if given is not None:
        return given
    return f"{cell_folder()}{os.sep}{murmur2(code.encode('utf-8', 'backslashreplace'), HASH_SEED)}.py"


class CellCompiler(CachingCompiler):
    """IPython's compiler, naming cells by `cell_file`."""

    log = None

    def get_code_name(self, raw_code, transformed_code, number):
        return cell_file(raw_code)
