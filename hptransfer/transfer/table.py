"""Sweeps from a table that somebody already has: the groups of an intake, whose rows are runs of one kind each."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from hptransfer.runs.point import Job, Point
from hptransfer.runs.record import Outcome, Record
from hptransfer.runs.sources.intake import Intake
from hptransfer.runs.sources.meanings import Columns
from hptransfer.runs.sources.source import ROW
from hptransfer.transfer.group import Group
from hptransfer.transfer.runs import Runs


def split_groups(frame: pl.DataFrame, columns: Columns) -> dict[str, pl.DataFrame]:
    """The frame's groups by name, in the order of the table."""
    if not columns.group:
        return {"all": frame}
    parts = frame.partition_by(columns.group, maintain_order=True, as_dict=True)
    return {", ".join(str(value) for value in key): part for key, part in parts.items()}


def groups_of(found: Intake) -> dict[str, Group]:
    """The groups of a table, by name."""
    return {name: group_of(name, frame, found) for name, frame in split_groups(found.frame, found.columns).items()}


def group_of(name: str, frame: pl.DataFrame, found: Intake) -> Group:
    """The runs of some rows of an intake. A run without a loss diverged; where no column holds losses, rows are optima."""
    columns = found.columns
    values = {column: frame[column].to_numpy() for column in (*columns.scale, *columns.hp)}
    loss = frame[columns.loss].fill_null(math.nan).to_numpy() if columns.loss else np.full(len(frame), math.nan)
    finished, nowhere = np.isfinite(loss), np.full(len(frame), math.nan)

    def record(row: int) -> Record:
        point = Point(
            scales={column: float(values[column][row]) for column in columns.scale},
            hyperparameters={column: float(values[column][row]) for column in columns.hp},
        )
        words = {column: f"{column} {frame[column][row]}" for column in found.mixed}
        outcome = Outcome(state=str(state[row]), loss=float(loss[row]) if finished[row] else None)
        return Record(job=Job(run_id=str(run_id[row]), point=point, constants=words), outcome=outcome)

    run_id = np.array([f"row {number:09}" for number in frame[ROW]], np.str_)
    state = np.where(finished | (columns.loss is None), "complete", "diverged")
    kind = frame.select(pl.struct(*columns.scale, *found.mixed).rank("dense")).to_series().to_numpy()
    runs = Runs(
        run_id=run_id,
        state=state,
        loss=np.where(finished, loss, math.nan),
        column=lambda name: values.get(name, nowhere),
        kind=kind.astype(np.intp),
        record=record,
    )
    return Group(name, runs, columns.scale, columns.hp, None, found.notes)
