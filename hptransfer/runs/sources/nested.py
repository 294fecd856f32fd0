"""Objects inside of rows and cells, as columns whose names are joined by dots."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import polars as pl

DEPTH = 30  # objects inside of objects that become columns
_NOT_FINITE = re.compile(r"(?<=[\[(:, ])(-?(?:nan|inf))(?=[,\])}])")  # as Python prints them


def columns_of(objects: Iterable[Mapping[str, Any]]) -> list[pl.Series]:
    """A column for each key of objects, nested ones by dots (``config.model.width``), in the order in which they come; null
    where an object has none. Of ``{"a.b": 1, "a": {"b": 2}}`` the second is ``a.b (2)``."""
    rows = [_flatten(whole, "", 0, {}) for whole in objects]
    names: dict[str, Any] = {}
    for row in rows:
        if row.keys() != names.keys():
            names.update(row)
    return [column_of(name, [row.get(name) for row in rows]) for name in names]


def column_of(name: str, values: Sequence[Any]) -> pl.Series:
    """Values of JSON as a column: numbers, true or false, else text, in which numbers are as JSON has them and so are lists."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds and kinds <= {int, float}:
        return pl.Series(name, [None if value is None else _real(value) for value in values], dtype=pl.Float64)
    return pl.Series(name, [_text(value) for value in values], dtype=pl.String)


def unnested(column: pl.Series) -> list[pl.Series]:
    """A column as it is, or those of the objects that its cells hold: structures, JSON, or a dictionary as Python prints it,
    which a data frame of W&B's ``run.config`` writes into a CSV. What else is no plain value becomes text."""
    if column.dtype == pl.Struct:
        inner = column.struct.unnest()
        return [part for one in inner for part in unnested(one.alias(f"{column.name}.{one.name}"))]
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        return [column_of(column.name, column.to_list())]
    if column.dtype != pl.String:
        return [column]
    cells = column.drop_nulls()
    if cells.is_empty() or not (cells.str.starts_with("{") & cells.str.ends_with("}")).all():
        return [column]
    objects = [_object(cell) if cell is not None else {} for cell in column]
    if any(found is None for found in objects):
        return [column]
    return [part.alias(f"{column.name}.{part.name}") for part in columns_of(found for found in objects if found is not None)]


def _flatten(whole: Mapping[str, Any], prefix: str, depth: int, into: dict[str, Any]) -> dict[str, Any]:
    """``into``, with the values of an object, those of others in it under their own names."""
    for key, value in whole.items():
        if type(value) is dict and depth < DEPTH:
            if "value" in value and value.keys() <= {"value", "desc"}:  # as W&B keeps a configuration
                _flatten({key: value["value"]}, prefix, depth + 1, into)
            else:
                _flatten(value, f"{prefix}{key}.", depth + 1, into)
            continue
        name = f"{prefix}{key}"
        while name in into:
            name += " (2)"
        into[name] = value
    return into


def _object(cell: str) -> dict[str, Any] | None:
    """What a cell in braces holds; None where it is neither JSON nor a literal of Python. Nothing is run."""
    for read, text in ((json.loads, cell), (ast.literal_eval, cell), (ast.literal_eval, _NOT_FINITE.sub(r"'\1'", cell))):
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            found = read(text)
            return found if isinstance(found, dict) else None
    return None


def _real(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf if value > 0 else -math.inf


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    try:
        return json.dumps(value, default=str)
    except (ValueError, TypeError, RecursionError):
        return "..."  # no cell that anybody reads
