"""Records from a table of runs that were trained elsewhere by an experiment's own settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from hptransfer.base.errors import UsageError, first_line, unknown
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.experiment.cells import SCALES
from hptransfer.experiment.settings import PARAMETRIZATIONS
from hptransfer.optimizers import get_recipe
from hptransfer.runs import Job, Outcome, Record
from hptransfer.trainers import resolve

NUMBERS = (*SCALES, "lr", "weight_decay", "embedding_lr_ratio", "seed", "loss")
WORDS = ("arm", "optimizer", "parametrization")
REQUIRED = ("width", "lr", "loss")


def read_runs(path: str | Path, renamed: Mapping[str, str]) -> pl.DataFrame:
    """A table's columns of `NUMBERS` and `WORDS`; ``renamed`` gives the table's own name for some. Raises UsageError."""
    try:
        frame = pl.read_parquet(path) if Path(path).suffix == ".parquet" else pl.read_csv(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"table {path} cannot be read: {first_line(error)}") from None
    for own in renamed.values():
        if own not in frame.columns:
            raise unknown(f"{path}: column", own, frame.columns)
    for name in renamed:
        if name not in (*NUMBERS, *WORDS):
            raise unknown("--columns", name, (*NUMBERS, *WORDS))
    named = {name: renamed.get(name, name) for name in (*NUMBERS, *WORDS)}
    for name in REQUIRED:
        if named[name] not in frame.columns:
            raise UsageError(f"{path} has no column {named[name]!r}; name the one that holds it: --columns {name}=ITS_NAME")
    table = frame.select(pl.col(own).alias(name) for name, own in named.items() if own in frame.columns)
    for name in NUMBERS:
        if name in table.columns:
            numbers = table[name].cast(pl.Float64, strict=False)
            if (lost := numbers.is_null() & table[name].is_not_null()).any():
                row = int(lost.arg_max() or 0)
                raise UsageError(f"{path} row {row + 2}: {name} {table[name][row]!r} is not a number")
            table = table.with_columns(numbers)
    return table


def records_from(
    table: pl.DataFrame, source: str, experiment: Experiment, inputs_of: Callable[[Arm], Inputs], imported_at: str
) -> list[Record]:
    """One record per row of `read_runs`'s table: the experiment's run in the row's cell with its lr and weight_decay, in base
    coordinates, of the row's arm (the first of the experiment where nothing is said). ``inputs_of``: what an arm's runs read. A
    loss that is empty or not finite is a run that diverged. Raises UsageError in one line that names the row; two rows that are
    the same run must agree in their loss.
    """
    records: dict[str, tuple[int, Record]] = {}
    for number, row in enumerate(table.iter_rows(named=True), start=2):
        where = f"{source} row {number}"
        job, loss = _job(row, where, experiment, inputs_of), row["loss"]
        if loss is not None and loss <= 0:
            raise UsageError(f"{where}: loss {loss:g} is not positive")
        record = _record(job, loss if loss is not None and math.isfinite(loss) else None, source, imported_at)
        first = records.setdefault(job.run_id, (number, record))
        if first[1].loss != record.loss:
            raise UsageError(
                f"{where} is the same run as row {first[0]} with another loss; replicates are told apart by a column 'seed'"
            )
    return [record for _, record in records.values()]


def _job(row: Mapping[str, Any], where: str, experiment: Experiment, inputs_of: Callable[[Arm], Inputs]) -> Job:
    for name in REQUIRED[:2]:
        if row[name] is None or not math.isfinite(row[name]) or row[name] <= 0:
            raise UsageError(f"{where}: {name} {row[name]} is not a positive number")
    cell = _cell(row, where, experiment)
    try:
        arm = _arm(row, experiment)
        point = experiment.point(
            arm,
            inputs_of(arm),
            **cell,
            lr=row["lr"],
            weight_decay=row.get("weight_decay") or 0.0,
            embedding_lr_ratio=row.get("embedding_lr_ratio") or 1.0,
            seed=int(row.get("seed") or 0),
        )
        return resolve(point)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _cell(row: Mapping[str, Any], where: str, experiment: Experiment) -> dict[str, int]:
    """The scales of a row that the experiment's cells differ in."""
    cells = [*experiment.searched_cells, experiment.target_cell]
    for name in cells[0]:
        if row.get(name) is None:
            raise UsageError(f"{where}: the experiment searches {name}, and the table has none (--columns {name}=ITS_NAME)")
        searched = sorted({cell[name] for cell in experiment.searched_cells})
        if row[name] not in (*searched, experiment.target_cell.get(name)):
            raise UsageError(f"{where}: {name} {row[name]:g} is none of the experiment's, {searched}")
    if (cell := {name: int(row[name]) for name in cells[0]}) not in cells[:-1]:
        cell = experiment.target_cell | cell
    return cell


def _arm(row: Mapping[str, Any], experiment: Experiment) -> Arm:
    """The arm that a row names, or that of its optimizer and parametrization."""
    if row.get("arm") is not None:
        return experiment.arm(str(row["arm"]))
    if row.get("optimizer") is None and row.get("parametrization") is None:
        return experiment.compared[0]
    parametrization = row.get("parametrization") or experiment.parametrizations[0]
    if parametrization not in PARAMETRIZATIONS:
        raise unknown("parametrization", parametrization, PARAMETRIZATIONS)
    return Arm.of(get_recipe(row.get("optimizer") or experiment.compared[0].optimizer or "").name, parametrization)


def _record(job: Job, loss: float | None, source: str, imported_at: str) -> Record:
    """Nobody timed it here: what it cost is unknown, and the device says where it comes from."""
    tokens = job.point.scales.get("tokens")
    outcome = Outcome(
        state="diverged" if loss is None else "complete",
        reason="no finite loss in the table" if loss is None else None,
        loss=loss,
        steps=job.steps if {"tokens", "batch_tokens"} <= job.point.scales.keys() else None,
        tokens=None if tokens is None else int(tokens),
        flops=job.flops,
        device=f"imported from {Path(source).name}",
        finished_at=imported_at,
    )
    return Record(job=job, outcome=outcome)
