"""Sweeps from a table that somebody already has: one row per finished run, from W&B, Optuna or a colleague."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from hptransfer.base.errors import UsageError, first_line, unknown
from hptransfer.base.intervals import Array
from hptransfer.runs.point import Job, Point
from hptransfer.runs.record import Outcome, Record
from hptransfer.transfer.axes import unit
from hptransfer.transfer.group import Group
from hptransfer.transfer.runs import Runs

# What one group of runs must share; a column of such a name that varies in a group makes its runs incomparable.
IDENTITY = (
    *("corpus", "dataset", "data", "tokenizer", "schedule", "lr_schedule", "scheduler", "lr_scheduler_type"),
    *("optimizer", "recipe", "parametrization", "model_family"),
)


class ArrowTable(Protocol):
    """A table in memory that others can read: of polars, pandas, pyarrow, DuckDB, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


# A file (CSV, TSV, Parquet, JSONL), a table in memory, rows as dicts, or columns by name.
Table = str | Path | ArrowTable | Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]


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


def frame_of_table(table: Table, where: str | None = None) -> pl.DataFrame:
    """The rows of a table that the SQL condition ``where`` keeps, wherever the table is: a file, or in memory."""
    if isinstance(table, str | Path):
        return read_table(table, where)
    try:
        frame = pl.DataFrame(table, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise UsageError(f"this is no table with a row for each run: {first_line(error)}") from None
    frame = frame.with_row_index("row") if "row" not in frame.columns else frame
    return frame.filter(condition(frame, where)) if where else frame


def condition(frame: pl.DataFrame, text: str) -> pl.Series:
    """Which rows an SQL condition such as ``width > 512`` holds for. Raises UsageError where it is none."""
    result = sql_column(frame, text)
    if result.dtype != pl.Boolean:
        raise UsageError(f"condition {text!r} is not true or false; write one such as 'width > 512'")
    return result.fill_null(False)


def sql_column(frame: pl.DataFrame, text: str) -> pl.Series:
    """An SQL expression over a table's columns, one value per row. Raises UsageError where it is none."""
    try:
        return frame.with_columns(pl.sql_expr(text).alias("\0"))["\0"]  # with the others, so that a constant has every row
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"expression {text!r}: {first_line(error)}") from None


def require_column(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column of a table. Raises UsageError with the nearest name."""
    if name not in frame.columns:
        raise unknown("column", name, frame.columns)
    return frame[name]


def split_groups(frame: pl.DataFrame, columns: Columns) -> dict[str, pl.DataFrame]:
    """The table's groups by name, in the order of the table."""
    for name in (*columns.group, *columns.scale, *columns.hp, *([columns.loss] if columns.loss else [])):
        require_column(frame, name)
    if frame.is_empty():
        raise UsageError("the table has no rows" + (" that --where keeps" if frame.width else ""))
    if not columns.group:
        return {"all": frame}
    parts = frame.partition_by(columns.group, maintain_order=True, as_dict=True)
    return {", ".join(str(value) for value in key): part for key, part in parts.items()}


def group_of(name: str, frame: pl.DataFrame, columns: Columns) -> Group:
    """The runs of one group's rows. A loss that is missing, not a number or infinite is a run that diverged; rows without a scale
    or a hyperparameter are left out and said. Raises UsageError where a value is no positive number."""
    named = (*columns.scale, *columns.hp)
    values = {column: _positive(frame, column) for column in named}
    loss = numbers(frame, columns.loss) if columns.loss else np.full(len(frame), math.nan)
    if (wrong := loss <= 0).any():
        raise wrong_cell(frame, str(columns.loss), int(wrong.argmax()), "is not a positive loss")
    finished = np.isfinite(loss)
    shared = [column for column in frame.columns if column.lower() in IDENTITY and column not in (*named, *columns.group)]

    def record(row: int) -> Record:
        point = Point(
            scales={column: float(values[column][row]) for column in columns.scale},
            hyperparameters={column: float(values[column][row]) for column in columns.hp},
        )
        words = {column: f"{column} {frame[column][row]}" for column in shared}
        outcome = Outcome(state=str(state[row]), loss=float(loss[row]) if finished[row] else None)
        return Record(job=Job(run_id=str(run_id[row]), point=point, constants=words), outcome=outcome)

    run_id = np.array([f"row {number:09}" for number in frame["row"]])
    state = np.where(finished | (columns.loss is None), "complete", "diverged")
    kind = frame.select(pl.struct(*columns.scale, *shared).rank("dense")).to_series().to_numpy()
    every = Runs(
        run_id=run_id,
        state=state,
        loss=np.where(finished, loss, math.nan),
        column=values.__getitem__,
        kind=kind.astype(np.intp),
        record=record,
    )
    runs = every.take(np.flatnonzero(~np.isnan([*values.values()]).any(axis=0)))
    if not len(runs):
        raise UsageError(f"{name}: no row has a value in each of {', '.join(named)}")
    left = len(every) - len(runs)
    notes = (f"left out: {left} rows without a value in {', '.join(named)}",) if left else ()
    return Group(name, runs, columns.scale, columns.hp, None, notes)


def _positive(frame: pl.DataFrame, name: str) -> Array:
    """A column's numbers; nan where a cell is empty. Logarithms may have any sign."""
    values = numbers(frame, name)
    if not unit(name) and (wrong := values <= 0).any():
        raise wrong_cell(frame, name, int(wrong.argmax()), "is not positive")
    if (wrong := np.isinf(values)).any():
        raise wrong_cell(frame, name, int(wrong.argmax()), "is not finite")
    return values


def numbers(frame: pl.DataFrame, name: str) -> Array:
    """A column's numbers; nan where a cell is empty. Raises UsageError for a cell that is no number."""
    column = _plain(frame, name)
    found = column.cast(pl.Float64, strict=False)
    lost = found.is_null() & column.is_not_null()
    if lost.any():
        raise wrong_cell(frame, name, int(lost.arg_max() or 0), "is not a number")
    return found.fill_null(math.nan).to_numpy()


def labels(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column as text; null where a cell is empty. Raises UsageError for a column of neither text nor numbers."""
    return _plain(frame, name).cast(pl.String)


def _plain(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column whose cells are one value each. Raises UsageError for another."""
    column = frame[name]
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        raise UsageError(f"column {name} has values of the kind {column.dtype}, where each is one number or text")
    return column


def wrong_cell(frame: pl.DataFrame, name: str, row: int, what: str) -> UsageError:
    """An error for the cell of a column in the row at that place, which ``what`` says what is wrong with."""
    return UsageError(f"row {frame['row'][row]}: {name} {frame[name][row]!r} {what}")
