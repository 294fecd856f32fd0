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
    where an object has none. Two of one name may come out, of ``{"a.b": 1, "a": {"b": 2}}``."""
    columns: dict[tuple[str, int], list[Any]] = {}
    count = 0
    for count, whole in enumerate(objects, start=1):
        seen = set[tuple[str, int]]()
        for name, value in _leaves(whole, ""):
            key = (name, 0)
            while key in seen:
                key = (name, key[1] + 1)
            seen.add(key)
            column = columns.setdefault(key, [])
            column.extend([None] * (count - 1 - len(column)))
            column.append(value)
    return [column_of(name, values + [None] * (count - len(values))) for (name, _), values in columns.items()]


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


def _leaves(whole: Mapping[str, Any], prefix: str, depth: int = 0) -> Iterable[tuple[str, Any]]:
    for key, value in whole.items():
        if isinstance(value, Mapping) and "value" in value and value.keys() <= {"value", "desc"}:
            value = value["value"]  # as W&B keeps a configuration
        if isinstance(value, Mapping) and depth < DEPTH:
            yield from _leaves(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value


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
