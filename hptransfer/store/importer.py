"""Records from a table of runs that were trained elsewhere by an experiment's own settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from hptransfer.base.errors import UsageError, unknown
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.experiment.cells import SCALES
from hptransfer.experiment.settings import PARAMETRIZATIONS
from hptransfer.optimizers import get_recipe
from hptransfer.runs import Job, Outcome, Point, Record, Store
from hptransfer.runs.sources.intake import Intake, intake
from hptransfer.runs.sources.meanings import Asked, column_called, find_loss, names_of
from hptransfer.runs.sources.names import meaning
from hptransfer.runs.sources.reading import Rows, numbers, read_rows
from hptransfer.runs.sources.source import ROW
from hptransfer.trainers import inputs_of_arms, resolve

# What of a row counts: scales, hyperparameters and the loss are numbers, the rest words.
DECAYS = ("weight_decay", "weight_decay_coupled")
NUMBERS = (*SCALES, "lr", *DECAYS, "embedding_lr_ratio", "seed", "loss")
WORDS = ("arm", "optimizer", "parametrization")
REQUIRED = ("width", "lr")
ABOVE_0 = ("lr", "embedding_lr_ratio")  # of a decay, and of a seed, 0 is a value
OURS = {"run_id", "parametrization", "base_width"}  # columns by which a table is of hptransfer's own runs


@dataclass(frozen=True)
class Imported:
    """What came of an import: how many runs were ``new`` to the store and ``known`` to it, and the intake's ``notes``."""

    store: str
    new: int
    known: int
    notes: tuple[str, ...]

    @property
    def words(self) -> str:
        """In one line."""
        return f"{self.store} ({self.new} new runs; {self.known} of the table were there)"


def import_runs(
    place: str,
    experiment: str,
    changes: Sequence[str],
    store: Store,
    renamed: Mapping[str, str],
    *,
    source: str | None = None,
    where: str | None = None,
) -> Imported:
    """Take the runs of a table, tracker or storage into a store, as runs of an experiment. ``renamed``: the table's own names for
    some of `NUMBERS` and `WORDS`. Raises UsageError, and nothing is written then."""
    chosen = load_experiment(experiment, changes)
    found = read_runs(place, renamed, source=source, where=where)
    read: dict[str, Inputs] = {}

    def inputs_of(arm: Arm) -> Inputs:
        if arm.name not in read:
            read.update(inputs_of_arms(chosen, [arm]))
        return read[arm.name]

    now = datetime.now(UTC).isoformat(timespec="seconds")
    records = records_from(found.frame, found.place, chosen, inputs_of, now)
    known = store.records()
    new = [record for record in records if record.run_id not in known]
    for record in new:
        store.add(record)
    return Imported(store.location, len(new), len(records) - len(new), found.notes)


def require_ours(renamed: Iterable[str]) -> None:
    """Raises UsageError where one of these is none of `NUMBERS` and `WORDS`."""
    for name in renamed:
        if name not in (*NUMBERS, *WORDS):
            raise unknown("--columns", name, (*NUMBERS, *WORDS))


def read_runs(place: str, renamed: Mapping[str, str], *, source: str | None = None, where: str | None = None) -> Intake:
    """A table's runs with its columns under the names of `NUMBERS` and `WORDS`. Raises UsageError."""
    require_ours(renamed)
    rows = read_rows(place, source, text=[renamed.get(word, word) for word in WORDS]).where(where)
    frame = rows.frame
    named = {}
    for name in (*NUMBERS, *WORDS):
        if (own := _column(rows, name, renamed)) is not None:
            named[own] = name
    for name in (*REQUIRED, "loss"):
        if name not in named.values():
            raise UsageError(f"{place} has no column {name!r}; name the one that holds it: --columns {name}=ITS_NAME")
    kept = [*named, *(name for name in frame.columns if name not in named and name not in (*NUMBERS, *WORDS))]
    labels = tuple(name for name in (*WORDS, *DECAYS, "embedding_lr_ratio", "seed") if name in named.values())
    scales = tuple(name for name in SCALES if name in named.values())
    roles = {role: named.get(own, own) for role, own in rows.roles.items()}
    _check_decay(rows, named, renamed)
    return intake(replace(rows, frame=frame.select(kept).rename(named), roles=roles), Asked(labels, scales, ("lr",), "loss"))


def _column(rows: Rows, name: str, renamed: Mapping[str, str]) -> str | None:
    """The table's column for one of ours: as it is said, of that name, or of a usual one."""
    if name in renamed:
        return column_called(rows.frame, renamed[name])
    if name in rows.frame.columns:
        return name
    if name == "loss":
        return rows.roles.get("loss") or find_loss(rows.frame, ())
    taken = (*renamed.values(), *DECAYS)
    usual = [own for own in names_of(rows.frame) if meaning(own) == name and own not in taken]
    if name in REQUIRED and len(usual) > 1:
        raise UsageError(f"{rows.place}: {name} could be {' or '.join(usual)}: say --columns {name}={usual[0]}, or another")
    return usual[0] if len(usual) == 1 else None


def _check_decay(rows: Rows, named: Mapping[str, str], renamed: Mapping[str, str]) -> None:
    """Raises UsageError where a weight decay may be coupled to the learning rate or not, and nobody says which."""
    own = next((own for own, name in named.items() if name == "weight_decay"), None)
    if own is None or "independent" in own or "weight_decay" in renamed or {*rows.frame.columns} >= OURS:
        return
    values = numbers(rows.frame, own)
    if (values > 0).any():
        said = f"{rows.place}: {own} {values[values > 0][0]:g} may be torch's, of which a step takes lr * {own}, or independent"
        raise UsageError(f"{said} of lr: say --columns weight_decay_coupled={own}, or --columns weight_decay={own}")


def records_from(
    table: pl.DataFrame, source: str, experiment: Experiment, inputs_of: Callable[[Arm], Inputs], imported_at: str
) -> list[Record]:
    """One record per row of `read_runs`'s frame: the experiment's run in the row's cell with its lr and weight_decay, in base
    coordinates, of the row's arm (the first of the experiment where nothing is said). ``inputs_of``: what an arm's runs read. A
    loss that is empty or not finite is a run that diverged. Raises UsageError in one line that names the row; two rows that are
    the same run must agree in their loss.
    """
    records: dict[str, tuple[int, Record]] = {}
    for row in table.iter_rows(named=True):
        number = row[ROW]
        where = f"{source} row {number}"
        job, loss = _job(row, where, experiment, inputs_of), row["loss"]
        record = _record(job, loss, source, imported_at)
        first = records.setdefault(job.run_id, (number, record))
        if first[1].loss != record.loss:
            raise UsageError(
                f"{where} is the same run as row {first[0]} with another loss; replicates are told apart by a column 'seed'"
            )
    return [record for _, record in records.values()]


def _job(row: Mapping[str, Any], where: str, experiment: Experiment, inputs_of: Callable[[Arm], Inputs]) -> Job:
    cell, lr = _cell(row, where, experiment), _number(row, where, "lr")
    ratio, seed = (_number(row, where, name, default) for name, default in (("embedding_lr_ratio", 1.0), ("seed", 0.0)))
    decay, coupled = (_number(row, where, name) for name in DECAYS)
    if not seed.is_integer():
        raise UsageError(f"{where}: seed {seed:g} is no whole number")
    try:
        arm = _arm(row, experiment)
        point = experiment.point(
            arm, inputs_of(arm), **cell, lr=lr, weight_decay=decay or coupled, embedding_lr_ratio=ratio, seed=int(seed)
        )
        return resolve(_uncoupled(point, coupled) if coupled else point)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _uncoupled(point: Point, coupled: float) -> Point:
    """The point whose hidden matrices end at the decay that a coupled one gives them: lr * coupled a step, by their final LR."""
    hidden = next((kind for kind in resolve(point).kinds if kind.role == "hidden"), None)
    factor = hidden.lr * coupled / hidden.weight_decay if hidden and hidden.weight_decay else float(point["lr"])
    return point.at(weight_decay=coupled * factor)


def _number(row: Mapping[str, Any], where: str, name: str, otherwise: float = 0.0) -> float:
    """A row's number; ``otherwise`` where the table has no such column, or no seed is said. Raises UsageError for one that is
    none."""
    value = row.get(name)
    if name not in row or (name == "seed" and (value is None or value != value)):
        return otherwise
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0 or (name in ABOVE_0 and value == 0):
        told = "empty" if value is None else repr(value)
        raise UsageError(
            f"{where}: {name} {told} is not a positive number; fill it, leave the row out (--where), or drop the column"
        )
    return float(value)


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
    named, optimizer, kind = (None if row.get(name) is None else str(row[name]) for name in WORDS)
    if named is not None:
        return experiment.arm(named)
    if optimizer is None and kind is None:
        return experiment.compared[0]
    parametrization = kind or experiment.parametrizations[0]
    if parametrization not in PARAMETRIZATIONS:
        raise unknown("parametrization", parametrization, PARAMETRIZATIONS)
    return Arm.of(get_recipe(optimizer or experiment.compared[0].optimizer or "").name, parametrization)


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
