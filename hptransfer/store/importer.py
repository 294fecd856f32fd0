"""Records from a table of runs that were trained elsewhere by an experiment's own settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from hptransfer.base.errors import UsageError, first_line, unknown
from hptransfer.experiment import Experiment
from hptransfer.optimizers import get_recipe
from hptransfer.runs.record import RunRecord
from hptransfer.trainers.ours.spec import PARAMETRIZATIONS, DataSpec, OptimizerSpec, Parametrization, RunSpec

# Recipe, parametrization, lr, weight_decay and embedding_lr_ratio to the optimizer with the search space's fixed options.
MakeOptimizer = Callable[[str, Parametrization, float, float, float], OptimizerSpec]

NUMBERS = ("width", "lr", "weight_decay", "embedding_lr_ratio", "seed", "loss")
WORDS = ("optimizer", "parametrization")
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
    table: pl.DataFrame, source: str, experiment: Experiment, data: DataSpec, optimizer: MakeOptimizer, imported_at: str
) -> list[RunRecord]:
    """One record per row of `read_runs`'s table: the experiment's run at the row's width with its lr and weight_decay, in base
    coordinates. A loss that is empty or not finite is a run that diverged. Raises UsageError in one line that names the row;
    two rows that are the same run must agree in their loss.
    """
    records: dict[str, tuple[int, RunRecord]] = {}
    for number, row in enumerate(table.iter_rows(named=True), start=2):
        where = f"{source} row {number}"
        spec, loss = _spec(row, where, experiment, data, optimizer), row["loss"]
        if loss is not None and loss <= 0:
            raise UsageError(f"{where}: loss {loss:g} is not positive")
        record = _record(spec, loss if loss is not None and math.isfinite(loss) else None, source, imported_at)
        first = records.setdefault(spec.run_id, (number, record))
        if first[1].loss != record.loss:
            raise UsageError(
                f"{where} is the same run as row {first[0]} with another loss; replicates are told apart by a column 'seed'"
            )
    return [record for _, record in records.values()]


def _spec(row: Mapping[str, Any], where: str, experiment: Experiment, data: DataSpec, optimizer: MakeOptimizer) -> RunSpec:
    for name in REQUIRED[:2]:
        if row[name] is None or not math.isfinite(row[name]) or row[name] <= 0:
            raise UsageError(f"{where}: {name} {row[name]} is not a positive number")
    recipe = row.get("optimizer") or experiment.optimizers[0]
    parametrization = row.get("parametrization") or experiment.parametrizations[0]
    if parametrization not in PARAMETRIZATIONS:
        raise unknown(f"{where}: parametrization", parametrization, PARAMETRIZATIONS)
    if row["width"] not in (*experiment.widths, experiment.target_width):
        raise UsageError(f"{where}: width {row['width']:g} is none of the experiment's, {list(experiment.widths)}")
    try:
        get_recipe(recipe)
        numbers = row["lr"], row.get("weight_decay") or 0.0, row.get("embedding_lr_ratio") or 1.0
        made = optimizer(recipe, parametrization, *numbers)
        return experiment.run_spec(
            data, made, width=int(row["width"]), parametrization=parametrization, seed=int(row.get("seed") or 0)
        )
    except ValueError as error:  # pydantic's, of several lines
        raise UsageError(f"{where}: {' '.join(str(error).splitlines()[1:3])}") from None
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _record(spec: RunSpec, loss: float | None, source: str, imported_at: str) -> RunRecord:
    """Nobody timed it here: seconds and bytes are 0, and the device says where it comes from."""
    return RunRecord(
        run_id=spec.run_id,
        spec=spec,
        state="diverged" if loss is None else "complete",
        reason="no finite loss in the table" if loss is None else None,
        steps=spec.steps,
        tokens=spec.tokens,
        loss=loss,
        flops=spec.flops,
        flops_optimizer=0.0,
        training_wall_seconds=0.0,
        optimizer_wall_seconds=0.0,
        peak_memory_bytes=0,
        optimizer_state_bytes=0,
        device=f"imported from {Path(source).name}",
        finished_at=imported_at,
    )
