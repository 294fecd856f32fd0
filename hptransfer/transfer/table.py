"""Sweeps from a table that somebody already has: one row per finished run, from W&B, Optuna or a colleague."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hptransfer.base.errors import UsageError, first_line, unknown
from hptransfer.transfer.sweep import MIN_RUNS, Array, Sweep, gather

# What one group of runs must share; a column of such a name that varies in a group makes its runs incomparable.
IDENTITY = (
    *("corpus", "dataset", "data", "tokenizer", "schedule", "lr_schedule", "scheduler", "lr_scheduler_type"),
    *("optimizer", "recipe", "parametrization", "model_family"),
)
LOGARITHMS = {"log2_": math.log(2.0), "log10_": math.log(10.0), "ln_": 1.0}  # prefixes of columns that are logarithms


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what. Without ``loss`` every row is an optimum that somebody found."""

    group: tuple[str, ...]
    scale: tuple[str, ...]
    hp: tuple[str, ...]
    loss: str | None


def read_table(path: str | Path, where: str | None = None) -> pl.DataFrame:
    """A CSV, Parquet or JSONL table, of the rows that the SQL condition ``where`` keeps. Raises UsageError in one line."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"table {path}: no such file")
    try:
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path)
        elif path.suffix == ".jsonl":
            frame = pl.read_ndjson(path)
        else:
            frame = pl.read_csv(path, infer_schema_length=None, separator="\t" if path.suffix == ".tsv" else ",")
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"table {path} cannot be read: {first_line(error)}") from None
    frame = frame.with_row_index("row", offset=2) if "row" not in frame.columns else frame
    return frame.filter(condition(frame, where)) if where else frame


def condition(frame: pl.DataFrame, text: str) -> pl.Series:
    """Which rows an SQL condition such as ``width > 512`` holds for. Raises UsageError where it is none."""
    result = evaluate(frame, text)
    if result.dtype != pl.Boolean:
        raise UsageError(f"condition {text!r} is not true or false; write one such as 'width > 512'")
    return result.fill_null(False)


def evaluate(frame: pl.DataFrame, text: str) -> pl.Series:
    """An SQL expression over a table's columns, one value per row. Raises UsageError where it is none."""
    try:
        return frame.select(pl.sql_expr(text).alias("value")).to_series()
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"expression {text!r}: {first_line(error)}") from None


def split_groups(frame: pl.DataFrame, columns: Columns) -> dict[str, pl.DataFrame]:
    """The table's groups by name, in the order of the table."""
    for name in (*columns.group, *columns.scale, *columns.hp, *([columns.loss] if columns.loss else [])):
        if name not in frame.columns:
            raise unknown("column", name, frame.columns)
    if frame.is_empty():
        raise UsageError("the table has no rows" + (" that --where keeps" if frame.width else ""))
    if not columns.group:
        return {"all": frame}
    parts = frame.partition_by(columns.group, maintain_order=True, as_dict=True)
    return {", ".join(str(value) for value in key): part for key, part in parts.items()}


def mixtures(frame: pl.DataFrame, columns: Columns) -> list[str]:
    """What a group mixes that makes its runs incomparable, in words."""
    named = {*columns.group, *columns.scale, *columns.hp}
    found = []
    for name in frame.columns:
        if name.lower() in IDENTITY and name not in named and frame[name].n_unique() > 1:
            values = ", ".join(str(value) for value in frame[name].unique(maintain_order=True).to_list()[:4])
            found.append(f"{name} is {values}; add it to --group, or keep one of them with --where")
    return found


def sweep_from(frame: pl.DataFrame, columns: Columns) -> tuple[Sweep, str | None]:
    """The sweep of one group, and what was left out of it, in words. A loss that is missing, not a number or infinite is a
    run that diverged. Raises UsageError where a value is no positive number."""
    assert columns.loss is not None
    x, h = logarithms(frame, columns.scale), logarithms(frame, columns.hp)
    loss = _numbers(frame, columns.loss)
    if (loss <= 0).any():
        raise UsageError(_wrong(frame, columns.loss, loss <= 0, "is not a positive loss"))
    known = np.isfinite(x).all(axis=1) & np.isfinite(h).all(axis=1)
    if not known.any():
        raise UsageError(f"no row has a value in each of {', '.join((*columns.scale, *columns.hp))}")
    sweep, dropped = gather(columns.scale, columns.hp, x[known], h[known], loss[known])
    said = []
    if not known.all():
        said.append(f"{int(np.sum(~known))} rows without a value in {', '.join((*columns.scale, *columns.hp))}")
    if dropped:
        cells = ", ".join(" x ".join(f"{value:.6g}" for value in cell) for cell in dropped)
        said.append(f"{' x '.join(columns.scale)} {cells}: fewer than {MIN_RUNS} finished runs")
    return sweep, "left out: " + "; ".join(said) if said else None


def logarithms(frame: pl.DataFrame, names: Sequence[str]) -> Array:
    """ln of columns (rows, names); nan where a cell is empty. A name with a prefix of `LOGARITHMS` is one already."""
    return np.column_stack([_logarithm(frame, name) for name in names])


def unit(name: str) -> float:
    """What one unit of a column is in ln; 0 for a column that is no logarithm."""
    return next((factor for prefix, factor in LOGARITHMS.items() if name.startswith(prefix)), 0.0)


def plain(name: str, ln_value: float) -> float:
    """A value in the column's own terms from its logarithm, less the last digits that the way there and back costs."""
    return float(f"{ln_value / unit(name) if unit(name) else math.exp(ln_value):.12g}")


def _logarithm(frame: pl.DataFrame, name: str) -> Array:
    values = _numbers(frame, name)
    if unit(name):
        return values * unit(name)
    if (values <= 0).any():
        raise UsageError(_wrong(frame, name, values <= 0, "is not positive"))
    return np.log(values)


def _numbers(frame: pl.DataFrame, name: str) -> Array:
    column = frame[name]
    numbers = column.cast(pl.Float64, strict=False)
    if (lost := numbers.is_null() & column.is_not_null()).any():
        raise UsageError(_wrong(frame, name, lost.to_numpy(), "is not a number"))
    return numbers.fill_null(math.nan).to_numpy()


def _wrong(frame: pl.DataFrame, name: str, bad: NDArray[np.bool_], what: str) -> str:
    first = int(np.argmax(bad))
    return f"row {frame['row'][first]}: {name} {frame[name][first]!r} {what}"
