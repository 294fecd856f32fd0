"""Rows with whatever keys a tool wrote, as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.source import ROW

# More than any configuration has: beyond that a file unfolds without end (aliases of YAML), or is no configuration.
MOST_VALUES, MOST_DEPTH, MOST_PIECES = 20_000, 20, 1_000


def flat(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots; anything else that is no plain value as JSON text. What lies deeper than
    `MOST_DEPTH` is cut. Raises UsageError where there are more than `MOST_VALUES`."""
    found: dict[str, Any] = {}
    waiting = [(prefix, values, 0)]
    while waiting:
        before, inner, depth = waiting.pop()
        for key, value in inner.items():
            name = f"{before}{key}"
            if isinstance(value, Mapping) and value:
                if depth < MOST_DEPTH:
                    waiting.append((f"{name}.", value, depth + 1))
                else:
                    found[name] = "…"
            elif isinstance(value, str | int | float | None):
                found[name] = value
            else:
                found[name] = _text(value)
        if len(found) + len(waiting) > MOST_VALUES:
            raise UsageError(f"a configuration with more than {MOST_VALUES:,} values is none; export the runs as a table instead")
    return found


def _text(value: Any) -> str:
    """A list and the like as JSON, of its first `MOST_PIECES`."""
    try:
        return "".join(islice(json.JSONEncoder(default=str).iterencode(value), MOST_PIECES))
    except (ValueError, TypeError, RecursionError):  # it holds itself, or keys that JSON has not
        return type(value).__name__


def table(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """The rows as a table with `ROW`, columns in the order in which they are first met; a column of numbers alone is one of
    numbers, of truth values alone one of those, any other one of text."""
    every = list(rows)
    names = dict.fromkeys(name for row in every for name in row)
    columns = [pl.Series(ROW, range(1, len(every) + 1), dtype=pl.Int64)]
    return pl.DataFrame([*columns, *(_column(name, [row.get(name) for row in every]) for name in names)])


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds and kinds <= {int, float}:
        return pl.Series(name, [None if value is None else _float(value) for value in values], dtype=pl.Float64)
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)


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
        found = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
