"""Rows with whatever keys a tool wrote, as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.base.stored import bounded_yaml
from hptransfer.runs.sources.source import ROW

# More than any configuration has: beyond that a file unfolds without end (aliases of YAML), or is no configuration.
MOST_VALUES, MOST_DEPTH, MOST_PIECES, FEW_PIECES = 20_000, 20, 1_000, 20


def flat(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, keys joined by dots; anything else that is no plain value as JSON text. Of ``{"a.b": 1, "a": {"b":
    2}}`` the second is ``a.b (2)``. What lies deeper than `MOST_DEPTH` is text. Raises UsageError where there are more than
    `MOST_VALUES`."""
    found: dict[str, Any] = {}
    waiting = [(prefix, values, 0)]
    while waiting:
        before, inner, depth = waiting.pop()
        for key, value in inner.items():
            name = f"{before}{key}"
            if isinstance(value, dict):
                if "value" in value and value.keys() <= {"value", "desc"}:
                    value = value["value"]  # as W&B keeps a configuration
                if isinstance(value, dict) and value and depth < MOST_DEPTH:
                    waiting.append((f"{name}.", value, depth + 1))
                    continue
            while name in found:
                name += " (2)"
            found[name] = value if value is None or isinstance(value, (str, int, float)) else _text(value)
        if len(found) + len(waiting) > MOST_VALUES:
            raise UsageError(f"a configuration with more than {MOST_VALUES:,} values is none; export the runs as a table instead")
    return found


def _text(value: Any) -> str:
    """A list and the like as JSON, of its first `MOST_PIECES`; of an object, which lies too deep, the beginning."""
    try:
        return "".join(
            islice(json.JSONEncoder(default=str).iterencode(value), FEW_PIECES if isinstance(value, dict) else MOST_PIECES)
        )
    except (ValueError, TypeError, RecursionError):  # it holds itself, or keys that JSON has not
        return type(value).__name__


def table(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """The rows as a table with `ROW`, and `columns_of` them."""
    every = list(rows)
    return pl.DataFrame([pl.Series(ROW, range(1, len(every) + 1), dtype=pl.Int64), *columns_of(every)])


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[pl.Series]:
    """A column for each key, in the order in which they are first met; null where a row has none."""
    names: dict[str, Any] = {}
    for row in rows:
        if row.keys() != names.keys():
            names.update(row)
    return [column_of(name, [row.get(name) for row in rows]) for name in names]


def column_of(name: str, values: Sequence[Any]) -> pl.Series:
    """A column of numbers where all values are, of truth values where all are those, else of text; null where one is empty."""
    name, kinds = _whole(name), {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds and kinds <= {int, float}:
        for dtype in (pl.Int64, pl.Float64) if kinds == {int} else (pl.Float64,):
            with suppress(TypeError, OverflowError):  # whole numbers beyond 64 bits, and beyond what any type has
                return pl.Series(name, values, dtype=dtype)
        return pl.Series(name, [None if value is None else _float(value) for value in values], dtype=pl.Float64)
    texts = [value if value is None or isinstance(value, str) else _text(value) for value in values]
    return pl.Series(name, [_whole(text) if text else None for text in texts], dtype=pl.String)


def _whole(text: str) -> str:
    """Text with a question mark for each half of a character, which JSON can have and no table."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more digits than a float has
        return float("inf") if value > 0 else float("-inf")


def parsed(text: str | bytes) -> Any:
    """What a JSON text says, NaN and Infinity as numbers; None where it is none, as the last line of a file that is being
    written."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def yaml_mapping(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file of plain values; empty where there is none, or one that is being written or holds objects of
    Python, which are never made."""
    try:
        found = bounded_yaml(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
