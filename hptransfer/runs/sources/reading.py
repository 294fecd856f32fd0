"""The rows of a table, wherever it is: a file, a tracker, a storage or memory; and what is asked of their columns in SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from hptransfer.base.errors import UsageError, first_line, unknown
from hptransfer.base.intervals import Array
from hptransfer.runs.sources.cells import read_numbers, with_numbers
from hptransfer.runs.sources.databases import shown
from hptransfer.runs.sources.meanings import names_of
from hptransfer.runs.sources.named import with_named
from hptransfer.runs.sources.names import meaning
from hptransfer.runs.sources.source import ROW, Raw, Role, read_source


class ArrowTable(Protocol):
    """A table in memory that others can read: of polars, pandas, pyarrow, DuckDB, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


# A file, folder or storage that some source reads, a table in memory, rows as dicts, or columns by name.
Table = str | Path | ArrowTable | Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Rows:
    """A table's rows, in which text that stands for numbers is numbers, and nothing is left out yet.

    ``place``: where it is. ``why``: which source took it, and why. What the source says of its columns is as in `Raw`.
    """

    frame: pl.DataFrame
    place: str
    what: str
    why: str = ""
    roles: Mapping[Role, str] = field(default_factory=dict)
    maximize: bool | None = None
    notes: tuple[str, ...] = ()

    def where(self, text: str | None) -> Rows:
        """The rows for which an SQL condition holds. Raises UsageError where it is none, or keeps no row."""
        if not text:
            return self
        frame = self.frame.filter(condition(self.frame, text))
        if frame.is_empty():
            raise UsageError(f"--where {text!r} keeps none of the {len(self.frame):,} rows of {self.place}")
        return replace(self, frame=frame)


def read_rows(table: Table, source: str | None = None, *, text: Sequence[str] = ()) -> Rows:
    """The rows of a table. ``source`` forces one of the sources; columns ``text`` stay as they are written. Raises UsageError in
    one line for what cannot be read."""
    if isinstance(table, str | Path):
        raw, why = read_source(str(table), source)
        place = shown(str(table))
    else:
        raw, why, place = _in_memory(table), "", "table in memory"
    frame, named = with_named(raw.frame)
    what = f"{raw.what}, settings in {named}" if named else raw.what
    kept = (*text, *(name for role, name in raw.roles.items() if role in ("run", "state")))
    cells = frame.select(name for name in names_of(frame) if name not in kept and meaning(name) not in ("run", "state"))
    read = with_numbers(cells)
    changed = [_whole(read[name]) if read[name].dtype != cells[name].dtype else read[name] for name in read.columns]
    return Rows(frame.with_columns(changed), place, what, why, raw.roles, raw.maximize, raw.notes)


def _whole(column: pl.Series) -> pl.Series:
    """Numbers that were text, as whole ones where all are."""
    is_whole = (column.is_null() | ((column.round() == column) & (column.abs() < 2.0**53))).all()
    return column.cast(pl.Int64) if is_whole else column


def _in_memory(table: Any) -> Raw:
    try:
        frame = pl.DataFrame(table, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise UsageError(f"this is no table with a row for each run: {first_line(error)}") from None
    return Raw(frame.with_row_index(ROW), "table in memory")


# -- columns in SQL ----------------------------------------------------------------------------------------------------


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
        raise unknown("column", name, names_of(frame))
    return frame[name]


def numbers(frame: pl.DataFrame, name: str) -> Array:
    """A column's numbers (rows,); nan where a cell is empty. Raises UsageError for a cell that is no number, and for
    cells that could be two."""
    read = read_numbers(_single_values(frame, name))
    if read.words.any():
        raise wrong_cell(frame, name, int(read.words.arg_max() or 0), "is not a number")
    return read.values.fill_null(math.nan).to_numpy()


def labels(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column as text; null where a cell is empty. Raises UsageError for a column of neither text nor numbers."""
    return _single_values(frame, name).cast(pl.String)


def _single_values(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column whose cells are one value each. Raises UsageError for another."""
    column = frame[name]
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        raise UsageError(f"column {name} has values of the kind {column.dtype}, where each is one number or text")
    return column


def wrong_cell(frame: pl.DataFrame, name: str, row: int, what: str) -> UsageError:
    """An error for the cell of a column in the row at that place, which ``what`` says what is wrong with."""
    return UsageError(f"row {frame[ROW][row]}: {name} {frame[name][row]!r} {what}")
