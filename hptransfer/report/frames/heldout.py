"""Frames of the test at the held-out width: training curves, regret, and what a change of the hyperparameters costs."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from hptransfer.report.frames.columns import SERIES, Schema, named, tidy
from hptransfer.report.results import Results
from hptransfer.report.text import RUN_TITLES, plain, run_title
from hptransfer.store import RunRecord
from hptransfer.validate.result import Kind, TargetRun, Validation

PROBES: tuple[Kind, ...] = ("lr_probe", "weight_decay_probe")
TRANSFERS: tuple[Kind, ...] = ("same_hyperparameters", "mup_only")


def training_curves(results: Results) -> pl.DataFrame:
    """Validation loss along the predicted runs and AdamW's ladder of horizons; wall seconds are in proportion to steps."""
    by_id = {record.run_id: record for record in results.records}
    chosen: dict[str, tuple[RunRecord, str]] = {}
    for series, prediction in results.predictions.items():
        if series not in results.validations and (record := by_id.get(prediction.spec.run_id)):
            chosen[record.run_id] = record, "predicted"
    for validation in results.validations.values():
        shown = [run for run in (*validation.runs, *validation.baseline_runs) if run.kind in ("predicted", "horizon")]
        for run in shown:
            for run_id in run.run_ids:
                if run_id in by_id:
                    chosen.setdefault(run_id, (by_id[run_id], run_title(run)))
    rows = [
        {
            "optimizer": record.spec.optimizer.recipe,
            "parametrization": record.spec.parametrization,
            "purpose": purpose,
            "run_id": record.run_id,
            "seed": record.spec.init_seed,
            "tokens": point.tokens,
            "wall_seconds": record.training_wall_seconds * point.step / record.steps,
            "loss": point.val,
            "is_final": point.step == record.steps and record.state == "complete",
        }
        for record, purpose in chosen.values()
        for point in record.curve
        if point.val is not None and record.steps
    ]
    schema: Schema = {
        "purpose": pl.String,
        "run_id": pl.String,
        "seed": pl.Int64,
        "tokens": pl.Int64,
        "wall_seconds": pl.Float64,
        "loss": pl.Float64,
        "is_final": pl.Boolean,
    }
    return tidy(rows, schema)


def regret(results: Results) -> pl.DataFrame:
    """The prediction and the probes around it, LR and weight decay: loss over the lowest of them, minus 1.

    Losses are compared on the seeds that a run and the prediction both have (see `perturbations`); ``regret_low`` and
    ``regret_high`` are one standard error of the run itself. A diverged run has no regret.
    """
    rows: list[dict[str, Any]] = []
    for validation in results.validations.values():
        predicted = _predicted(validation)
        runs = [run for run in validation.runs if predicted and run.kind in ("predicted", *PROBES)]
        changes = {i: change for i, run in enumerate(runs) if predicted and (change := _change(run, predicted)) is not None}
        lowest = min(changes.values(), default=0.0)
        for i, run in enumerate(runs):
            row = named(validation) | _numbers(run)
            if i in changes:
                error = (run.standard_error or 0.0) / (run.loss or math.inf)
                shifts = {"regret": 0.0, "regret_low": -error, "regret_high": error}
                row |= {name: math.expm1(changes[i] - lowest) + shift for name, shift in shifts.items()}
            rows.append(row)
    schema: Schema = {
        **_NUMBERS,
        "standard_error": pl.Float64,
        "regret": pl.Float64,
        "regret_low": pl.Float64,
        "regret_high": pl.Float64,
    }
    return tidy(rows, schema).sort(*SERIES, "kind", "factor", maintain_order=True)


def perturbations(results: Results) -> pl.DataFrame:
    """What another choice costs at the held-out width, as in arXiv 2512.05620 (its figure of perturbations): probes of LR and
    weight decay, the hyperparameters of the smallest width as they are, and muP without a fitted drift.

    ``change``: loss over the prediction's, minus 1: the mean of ln ratios over the seeds that both have, which saw the same
    batches. ``change_low`` and ``change_high``: one standard deviation of such a difference, from the noise of the
    validation, as if the seeds of the two were independent. A diverged run has no change.
    """
    rows: list[dict[str, Any]] = []
    for validation in results.validations.values():
        predicted = _predicted(validation)
        for run in validation.runs:
            if predicted is None or run.kind not in (*PROBES, *TRANSFERS):
                continue
            row = named(validation) | _numbers(run)
            if (change := _change(run, predicted)) is not None:
                error = validation.noise.sd * math.sqrt(2 / len(_pairs(run, predicted)))
                row |= {"change": math.expm1(change), "change_low": math.expm1(change - error)}
                row |= {"change_high": math.expm1(change + error)}
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
        "state": "diverged" if run.loss is None else "complete",
    }


def _title(run: TargetRun) -> str:
    """2x LR, LR / 2, 1.4x WD; other runs by their kind."""
    name = RUN_TITLES[run.kind]
    if run.kind not in PROBES:
        return name
    factor = plain(max(run.factor, 1 / run.factor), 2).removesuffix(".0")
    return f"{factor}x {name}" if run.factor >= 1 else f"{name} / {factor}"


def _predicted(validation: Validation) -> TargetRun | None:
    return next((run for run in validation.runs if run.kind == "predicted"), None)


def _pairs(run: TargetRun, predicted: TargetRun) -> list[tuple[float, float]]:
    """Losses of the run and of the prediction, by the seeds that finished in both."""
    both = zip(run.losses, predicted.losses, strict=False)
    return [(mine, other) for mine, other in both if mine is not None and other is not None]


def _change(run: TargetRun, predicted: TargetRun) -> float | None:
    """ln loss of the run minus that of the prediction; None where either diverged."""
    pairs = _pairs(run, predicted)
    if run.loss is None or predicted.loss is None or not pairs:
        return None
    return sum(math.log(mine / other) for mine, other in pairs) / len(pairs)
