"""Frames of the test at the held-out width: training curves, regret, and what a change of the hyperparameters costs."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from hptransfer.experiment.arm import Arm
from hptransfer.report.changes import change
from hptransfer.report.frames.columns import Schema, arm_columns, tidy
from hptransfer.report.results import Results
from hptransfer.report.text import RUN_TITLES, plain, run_title
from hptransfer.runs import Record
from hptransfer.validate.result import Kind, TargetRun
from hptransfer.validate.verdict import annealed

PROBES: tuple[Kind, ...] = ("lr_probe", "weight_decay_probe")
TRANSFERS: tuple[Kind, ...] = ("same_hyperparameters", "mup_only")


def training_curves(results: Results) -> pl.DataFrame:
    """Validation loss along the predicted runs and the baseline's ladder of horizons; wall seconds are in proportion to steps.
    ``annealed``: whether the last loss of the run is that of an LR brought to 0."""
    by_id = results.by_id
    chosen: dict[str, tuple[Arm, Record, str]] = {}
    for name, prediction in results.predictions.items():
        if name not in results.validations and (record := by_id.get(prediction.run.run_id)):
            chosen[record.run_id] = results.experiment.arm(name), record, "predicted"
    for name, validation in results.validations.items():
        own = [(name, run) for run in validation.runs]
        for whose, run in (*own, *((validation.baseline or name, run) for run in validation.baseline_runs)):
            if run.kind in ("predicted", "horizon") or run == validation.chosen:
                title = f"the baseline's best, {run_title(run)}" if run == validation.chosen else run_title(run)
                for run_id in run.run_ids:
                    if run_id in by_id:
                        chosen.setdefault(run_id, (results.experiment.arm(whose), by_id[run_id], title))
    rows = [
        arm_columns(arm)
        | {
            "purpose": purpose,
            "run_id": record.run_id,
            "seed": record.point.init_seed,
            "tokens": point.tokens,
            "wall_seconds": seconds and seconds * point.step / record.outcome.steps,
            "loss": point.val,
            "is_final": point.step == record.outcome.steps and record.state == "complete",
            "annealed": annealed(record.point),
        }
        for arm, record, purpose in chosen.values()
        for seconds in [record.outcome.training_wall_seconds]
        for point in record.outcome.curve
        if point.val is not None and record.outcome.steps
    ]
    schema: Schema = {
        "purpose": pl.String,
        "run_id": pl.String,
        "seed": pl.Int64,
        "tokens": pl.Int64,
        "wall_seconds": pl.Float64,
        "loss": pl.Float64,
        "is_final": pl.Boolean,
        "annealed": pl.Boolean,
    }
    return tidy(rows, schema)


def regret(results: Results) -> pl.DataFrame:
    """The prediction and the probes around it, LR and weight decay: loss over the lowest of them, minus 1.

    Losses are compared on the seeds that a run and the prediction both have (see `perturbations`); ``regret_low`` and
    ``regret_high`` are one standard error of the run itself. A diverged run has no regret.
    """
    rows: list[dict[str, Any]] = []
    for name, validation in results.validations.items():
        runs = [run for run in validation.runs if run.kind in ("predicted", *PROBES)]
        changes = [change(run, validation.predicted, validation.noise.sd) for run in runs]
        lowest = min((found.value for found in changes if found), default=0.0)
        for run, found in zip(runs, changes, strict=True):
            row = arm_columns(results.experiment.arm(name)) | _numbers(run)
            if found:
                error = (run.standard_error or 0.0) / (run.loss or math.inf)
                shifts = {"regret": 0.0, "regret_low": -error, "regret_high": error}
                row |= {name: math.expm1(found.value - lowest) + shift for name, shift in shifts.items()}
            rows.append(row)
    schema: Schema = {
        **_NUMBERS,
        "standard_error": pl.Float64,
        "regret": pl.Float64,
        "regret_low": pl.Float64,
        "regret_high": pl.Float64,
    }
    return tidy(rows, schema).sort("arm", "kind", "factor", maintain_order=True)


def perturbations(results: Results) -> pl.DataFrame:
    """What another choice costs at the held-out width, as in arXiv 2512.05620 (its figure of perturbations): probes of LR and
    weight decay, the hyperparameters of the smallest width as they are, and muP without a fitted drift.

    ``change``: loss over the prediction's, minus 1, as `hptransfer.report.changes` has it, and one standard deviation to both
    sides. A diverged run has no change.
    """
    rows: list[dict[str, Any]] = []
    for name, validation in results.validations.items():
        for run in validation.runs:
            if run.kind not in (*PROBES, *TRANSFERS):
                continue
            row = arm_columns(results.experiment.arm(name)) | _numbers(run)
            if found := change(run, validation.predicted, validation.noise.sd):
                shifts = {"change": 0.0, "change_low": -found.error, "change_high": found.error}
                row |= {name: math.expm1(found.value + shift) for name, shift in shifts.items()}
            rows.append(row)
    schema: Schema = {**_NUMBERS, "change": pl.Float64, "change_low": pl.Float64, "change_high": pl.Float64}
    return tidy(rows, schema)


_NUMBERS: Schema = {
    "kind": pl.String,
    "title": pl.String,
    "factor": pl.Float64,
    "lr": pl.Float64,
    "weight_decay": pl.Float64,
    "seeds": pl.Int64,
    "loss": pl.Float64,
    "state": pl.String,
}


def _numbers(run: TargetRun) -> dict[str, Any]:
    return {
        "kind": run.kind,
        "title": _title(run),
        "factor": run.factor,
        "lr": run.lr,
        "weight_decay": run.weight_decay,
        "seeds": len(run.losses),
        "loss": run.loss,
        "standard_error": run.standard_error,
        "state": "failed" if run.failed else "diverged" if run.loss is None else "complete",
    }


def _title(run: TargetRun) -> str:
    """2x LR, LR / 2, 1.4x WD; other runs by their kind."""
    name = RUN_TITLES[run.kind]
    if run.kind not in PROBES:
        return name
    factor = plain(max(run.factor, 1 / run.factor), 2).removesuffix(".0")
    return f"{factor}x {name}" if run.factor >= 1 else f"{name} / {factor}"
