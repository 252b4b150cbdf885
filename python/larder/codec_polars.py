"""Polars frames and series in a pickle: as Arrow data, whose buffers lie in the heap and are mapped when read.

Polars pickles itself into one block of bytes, copied when written and again when read. Imported only where polars is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl


def reduce(value: Any) -> Any:
    """How a pickle writes a frame or a series; ``NotImplemented`` where Arrow would not bring it back the same."""
    if type(value) is pl.DataFrame:
        objects = {s.name: s.to_list() for s in value.get_columns() if s.dtype == pl.Object}
        if objects:  # Polars cannot pickle them at all.
            return _mixed, (value.drop(list(objects)), objects, value.columns)
        return _by_arrow(value, _frame, (), lambda back: back.schema == value.schema and back.shape == value.shape)
    if type(value) is pl.Series:
        if value.dtype == pl.Object:
            return _objects, (value.name, value.to_list())
        return _by_arrow(
            value, _series, (value.name,), lambda back: back.dtype == value.dtype and len(back) == len(value)
        )
    return NotImplemented


def _by_arrow(value: Any, make: Callable, args: tuple, same: Callable[[Any], bool]) -> Any:
    try:
        data = value.to_arrow(compat_level=pl.CompatLevel.newest())
        return (make, (*args, data)) if same(make(*args, data)) else NotImplemented
    except Exception:  # pyarrow is missing, or does not know the type: polars's own pickle does.
        return NotImplemented


def _frame(table: Any) -> Any:
    return pl.from_arrow(table)


def _series(name: str, array: Any) -> Any:
    return pl.from_arrow(array).alias(name)


def _objects(name: str, values: list) -> Any:
    return pl.Series(name, values, dtype=pl.Object)


def _mixed(rest: Any, objects: dict[str, list], order: list[str]) -> Any:
    return pl.DataFrame([_objects(name, objects[name]) if name in objects else rest[name] for name in order])
