"""Objects inside of rows and cells, as columns whose names are joined by dots."""

from __future__ import annotations

import ast
import json
import re
from contextlib import suppress
from typing import Any

import polars as pl

from hptransfer.runs.sources.rows import column_of, columns_of, flat

_NOT_FINITE = re.compile(r"(?<=[\[(:, ])(-?(?:nan|inf))(?=[,\])}])")  # as Python prints them


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
    return [
        part.alias(f"{column.name}.{part.name}") for part in columns_of([flat(found) for found in objects if found is not None])
    ]


def _object(cell: str) -> dict[str, Any] | None:
    """What a cell in braces holds; None where it is neither JSON nor a literal of Python. Nothing is run."""
    for read, text in ((json.loads, cell), (ast.literal_eval, cell), (ast.literal_eval, _NOT_FINITE.sub(r"'\1'", cell))):
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            found = read(text)
            return found if isinstance(found, dict) else None
    return None
