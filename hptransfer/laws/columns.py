"""The columns of a table that laws read, wherever they come from: names or SQL expressions over what the table has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from hptransfer.base.errors import UsageError, unknown
from hptransfer.base.intervals import Array
from hptransfer.runs.sources.meanings import names_of
from hptransfer.runs.sources.reading import labels, numbers, require_column, sql_column, wrong_cell
from hptransfer.runs.sources.source import ROW

if TYPE_CHECKING:
    from hptransfer.laws.law import Law


@dataclass(frozen=True)
class Column:
    """A column that laws know. ``kind``: a count is 1 or more, a size a positive number, a rate may be 0, a label is text.
    ``usual``: what tables call it; ``least``: what the largest value is at least, unless it has a unit; ``otherwise``: SQL over
    the other columns of the law, where a table has none."""

    name: str
    what: str
    kind: Literal["count", "size", "rate", "label"] = "size"
    usual: tuple[str, ...] = ()
    least: float = 0.0
    otherwise: str = ""


N = Column("N", "parameters", "count", ("params", "parameters", "n_params"), least=2e4)
D = Column("D", "training tokens", "count", ("tokens", "training_tokens", "horizon_tokens"), least=1e5)
FLOPS = Column("flops", "training FLOPs", "count", ("FLOPs", "compute", "C"), least=1e8, otherwise="6*N*D")
ARM = Column("arm", "what is compared", "label", otherwise="'all'")
LOSS = Column("loss", "final loss, nats per token", usual=("val_loss", "final_loss", "eval_loss"))

DIVERGED = 100.0  # nats per token: several times what a model that has learned nothing loses on any vocabulary
EXTREME = 1e40  # above all numbers of all columns; positive ones are above its inverse
# What runs have at least and at most, by far: beyond it one of the columns has another unit than the others.
TOGETHER = {"D/N": (1e-4, 1e7), "flops/(N*D)": (1e-3, 1e5)}


def assignments(text: str) -> dict[str, str]:
    """``N=params,D=flops/(6*params)`` as names with expressions; a comma within brackets belongs to its expression."""
    found = {}
    for part in re.split(r",(?![^(]*\))", text) if text.strip() else ():
        name, equals, expression = (word.strip() for word in part.partition("="))
        if not equals or not name or not expression:
            raise UsageError(f"--scale {part.strip()!r} is not NAME=COLUMN, such as 'N=params,D=flops/(6*params)'")
        if name in found:
            raise UsageError(f"--scale {text!r} says {name} twice")
        found[name] = expression
    return found


def numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """A table with `ROW`, which one that was made in memory lacks."""
    return frame if ROW in frame.columns else frame.with_row_index(ROW)


def law_table(
    frame: pl.DataFrame, law: type[Law], scale: Mapping[str, str], loss: str | None, *, to_predict: bool = False
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The columns that a law needs of a table's rows, under its own names and with ``row``, and in words what was left out.

    ``scale``: expressions by the law's names, for those that the table calls otherwise; ``loss``: that of the loss. Rows without
    a finite loss or with one above `DIVERGED`, with an empty cell, or that repeat another are left out and counted. Rows
    ``to_predict`` need no loss and are all kept. Raises UsageError, one line, for a column that is not there, a value that cannot
    be, and counts in different units.
    """
    wanted = {column.name: column for column in (*law.needs, *([] if to_predict else [LOSS]))}
    for name in scale:
        if name not in wanted:
            raise unknown(f"column of law {law.name}", name, wanted)
    frame = numbered(frame)
    result = frame.select(ROW)
    for name, column in wanted.items():
        expression = loss if column is LOSS else scale.get(name)
        if (found := _values(frame, column, expression)) is not None:
            result = result.with_columns(found.alias(name))
    for name, column in wanted.items():
        if name in result.columns or (column is LOSS and law.loss_optional):
            continue
        named = re.findall(r"[A-Za-z]\w*", re.sub("'.*?'", "", column.otherwise))
        if not column.otherwise or not {*named} <= {*result.columns}:
            option = "--loss" if column is LOSS else f"--scale '{name}=...'"
            raise UsageError(
                f"law {law.name} needs {name} ({column.what}); the table has {', '.join(names_of(frame))}: say {option}"
            )
        result = result.with_columns(sql_column(result, column.otherwise).alias(name))
    columns = [column for name, column in wanted.items() if name in result.columns]
    cleaned, notes = _cleaned(result.select(ROW, *(column.name for column in columns)), columns, to_predict)
    _require_units(cleaned, columns)
    return cleaned.rename({ROW: "row"}), notes


def _values(frame: pl.DataFrame, column: Column, expression: str | None) -> pl.Series | None:
    """A column of the table by its expression or one of its usual names; None where there is none."""
    if expression is not None:
        return sql_column(frame, expression if expression not in frame.columns else f'"{expression}"')
    return next((frame[name] for name in (column.name, *column.usual) if name in frame.columns), None)


def _cleaned(table: pl.DataFrame, columns: list[Column], to_predict: bool) -> tuple[pl.DataFrame, tuple[str, ...]]:
    notes = []
    table = table.with_columns(_checked(table, column) for column in columns)
    if empty := [column.name for column in columns if table[column.name].is_null().all()]:
        loss = f", or none up to {DIVERGED:g}" if LOSS.name in empty else ""
        raise UsageError(f"the table has no value in {', '.join(empty)}{loss}, of {len(table)} rows")
    named = [column.name for column in columns if column is not LOSS]
    lacking = table.select(pl.any_horizontal(pl.col(name).is_null() for name in named)).to_series()
    if lacking.any():
        notes.append(f"left out: {lacking.sum()} rows without a value in {', '.join(named)}")
        table = table.filter(~lacking)
    if LOSS in columns and (lost := table["loss"].is_null()).any():
        notes.append(f"left out: {lost.sum()} runs without a finite loss up to {DIVERGED:g}, which diverged or did not finish")
        table = table.filter(~lost)
    once = table if to_predict else table.unique([column.name for column in columns], keep="first", maintain_order=True)
    if len(once) < len(table):
        notes.append(f"left out: {len(table) - len(once)} rows that repeat another")
    if once.is_empty():
        raise UsageError(f"the table has no row with a value in each of {', '.join(column.name for column in columns)}")
    if LOSS in columns and len(once) > 1 and once["loss"].n_unique() == 1:
        raise UsageError(f"loss is {once['loss'][0]:g} in all {len(once)} rows: is it the right column?")
    return once, tuple(notes)


def _checked(table: pl.DataFrame, column: Column) -> pl.Series:
    """The values of a column, null where there is none. Raises UsageError for one that cannot be."""
    if column.kind == "label":
        return labels(table, column.name)
    values, is_rate = numbers(table, column.name), column.kind == "rate"
    if column is LOSS:
        values = np.where(values > DIVERGED, np.nan, values)
    checks = {
        "is negative" if is_rate else "is not positive": values < 0 if is_rate else values <= 0,
        "is not finite": np.isinf(values),
        "is too small or too large for any run": (values > EXTREME) | ((values > 0) & (values < 1 / EXTREME)),
    }
    for what, wrong in checks.items():
        if wrong.any():
            raise wrong_cell(table, column.name, int(wrong.argmax()), what)
    return pl.Series(column.name, values).fill_nan(None)


def _require_units(table: pl.DataFrame, columns: list[Column]) -> None:
    """Raises UsageError where counts cannot be numbers of what they count, or not of the same runs."""
    for column in columns:
        if column.kind != "count":
            continue
        values = table[column.name].to_numpy()
        if values.max() < column.least:
            raise UsageError(
                f"{column.name} is at most {values.max():g}, where a number of {column.what} is meant; with a unit, "
                f"write --scale '{column.name}=1e9*...'"
            )
        if (wrong := values < 1).any():
            raise wrong_cell(table, column.name, int(wrong.argmax()), f"is less than 1, where a number of {column.what} is meant")
    for expression, (low, high) in TOGETHER.items():
        if not {*re.findall(r"\w+", expression)} <= {*table.columns}:
            continue
        values = sql_column(table, expression).to_numpy()
        if (wrong := (values < low) | (values > high)).any():
            k = int(wrong.argmax())
            raise UsageError(
                f"row {table[ROW][k]}: {expression} is {values[k]:.3g}, which no run has: one of them has another unit"
            )


def lowest(frame: pl.DataFrame, by: Sequence[str], loss: str) -> tuple[pl.DataFrame, str]:
    """Of a sweep the row with the lowest loss for each combination of the columns ``by``, and in words what that does: the lowest
    of many noisy runs is below what one more run would reach. Raises UsageError for a column that is not there, and where no
    loss is finite."""
    for name in (*by, loss):
        require_column(frame, name)
    frame = numbered(frame)
    finished = frame.filter(pl.Series(numbers(frame, loss)).is_finite()).sort(loss, ROW)
    if finished.is_empty():
        raise UsageError(f"the table has no row with a finite {loss}")
    cells = finished.group_by(list(by), maintain_order=True)
    found = cells.agg(runs=pl.len(), above=pl.col(loss).slice(1, 1).first() / pl.col(loss).first() - 1)
    runs, above = found["runs"].to_numpy(), found["above"].drop_nulls().to_numpy()
    note = f"of {runs.min()} to {runs.max()} runs for each {', '.join(by)} the lowest loss, which is biased low"
    note += f": the second lowest is {np.median(above):.2%} above it (median)" if len(above) else ""
    return finished.unique(list(by), keep="first", maintain_order=True).sort(ROW), note


def groups(table: pl.DataFrame, name: str, factor: float) -> Iterator[pl.DataFrame]:
    """The rows of every value of a column, smallest first: one ends where the next larger is more than ``factor`` times as
    large."""
    ordered = table.sort(name)
    values = ordered[name].to_list()
    cuts = [0, *(k for k, (one, other) in enumerate(pairwise(values), 1) if other > factor * one), len(values)]
    return (ordered[start:end] for start, end in pairwise(cuts))


def ln_of(table: pl.DataFrame, *names: str) -> tuple[Array, ...]:
    """The logarithms (rows,) of columns."""
    return tuple(np.log(table[name].to_numpy()) for name in names)


def training_flops(table: pl.DataFrame) -> Array | None:
    """Training FLOPs of the rows; None where the table does not say them."""
    if "flops" in table.columns:
        return table["flops"].to_numpy()
    return 6 * (table["N"] * table["D"]).to_numpy() if {"N", "D"} <= {*table.columns} else None
