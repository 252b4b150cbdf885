"""What a notebook's variables are, as text that two processes can compare: loaded inside the kernels by the bench."""

from __future__ import annotations

import hashlib
import json
import types


def describe(value, depth: int = 0) -> str:
    import numpy as np
    import pandas as pd

    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"array {value.dtype} {value.shape} {hashlib.sha1(np.ascontiguousarray(value)).hexdigest()}"
    if isinstance(value, (pd.DataFrame, pd.Series)):
        rows = pd.util.hash_pandas_object(value, index=True).to_numpy()
        labels = list(value.columns) if isinstance(value, pd.DataFrame) else value.name
        return f"{type(value).__name__} {labels} {value.shape} {hashlib.sha1(rows).hexdigest()}"
    if isinstance(value, dict) and depth < 4:
        return "{" + ", ".join(f"{k!r}: {describe(v, depth + 1)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)) and depth < 4:
        if len(value) > 100:
            return f"{type(value).__name__} of {len(value)} {hashlib.sha1(repr(value).encode()).hexdigest()}"
        return type(value).__name__ + "(" + ", ".join(describe(v, depth + 1) for v in value) + ")"
    if isinstance(value, types.FunctionType):
        cells = [describe(c.cell_contents, depth + 1) for c in value.__closure__ or ()]
        return f"function {value.__name__} {hashlib.sha1(value.__code__.co_code).hexdigest()} {cells}"
    if isinstance(value, type):
        return f"class {value.__name__} {sorted(k for k in vars(value) if not k.startswith('__'))}"
    if isinstance(value, types.ModuleType):
        return f"module {value.__name__}"
    if isinstance(value, np.random.Generator):
        return json.dumps(value.bit_generator.state, default=str)
    if hasattr(value, "__dict__") and type(value).__module__ in ("__main__",) and depth < 4:
        return f"{type(value).__name__} {describe(vars(value), depth + 1)}"
    if hasattr(value, "get_params") and hasattr(value, "predict"):
        fitted = {k: v for k, v in vars(value).items() if isinstance(v, np.ndarray) and v.dtype != object}
        return f"{type(value).__name__} {describe(fitted, depth + 1)}"
    text = repr(value)
    return text if " at 0x" not in text else type(value).__name__


def of(namespace: dict) -> dict[str, str]:
    """Names a notebook made -> what they are, and which arrays share memory."""
    import numpy as np

    names = sorted(k for k in namespace if not k.startswith("_"))
    skip = {"In", "Out", "get_ipython", "exit", "quit", "open"}
    found = {k: describe(namespace[k]) for k in names if k not in skip}
    arrays = [k for k in found if isinstance(namespace[k], np.ndarray)]
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            if np.may_share_memory(namespace[a], namespace[b]):
                found[f"{a} shares memory with {b}"] = "yes"
    return found
