"""Frames of the tests: the coordinate check, training curves, regret, and what a change of the hyperparameters costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import polars as pl

from hptransfer.base.words import listing, plain
from hptransfer.experiment.arm import Arm
from hptransfer.report.frames.tidy import begin, tidy
from hptransfer.runs import Record
from hptransfer.validate.changes import Change, change
from hptransfer.validate.result import Kind, TargetRun
from hptransfer.validate.results import Results
from hptransfer.validate.verdict import annealed

PROBES: tuple[Kind, ...] = ("lr_probe", "weight_decay_probe")
TRANSFERS: tuple[Kind, ...] = ("same_hyperparameters", "mup_only")
RUN_TITLES: dict[Kind, str] = {
    "predicted": "predicted",
    "lr_probe": "LR",
    "weight_decay_probe": "WD",
    "same_hyperparameters": "same hyperparameters",
    "mup_only": "muP alone",
    "horizon": "tokens",
}
NUMBERS = "kind title factor lr weight_decay seeds loss state"


def coordinate_checks(results: Results) -> pl.DataFrame:
    """The slope of every role and step of the coordinate checks beside the report, its range over seeds, and under which
    conditions it was measured, which need not be those of the experiment."""
    rows = [
        begin(results.experiment.arm(name))
        | check.model_dump(include={"tolerance", "passed", "verdict", "lr", "base_width", "seeds"})
        | {"widths": listing(check.widths), "corpus": check.corpus.corpus, "corpus_sha256": check.corpus.sha256}
        | slope.model_dump(include={"role", "step", "slope", "outcome"})
        | {"slope_low": min(slope.slopes_by_seed, default=None), "slope_high": max(slope.slopes_by_seed, default=None)}
        for name, check in results.coordinate_checks.items()
        for slope in check.slopes
    ]
    conditions = "tolerance passed verdict lr base_width widths seeds corpus corpus_sha256"
    return tidy(rows, f"role step slope slope_low slope_high outcome {conditions}")


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
        begin(arm)
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
    return tidy(rows, "purpose run_id seed tokens wall_seconds loss is_final annealed")


def regret(results: Results) -> pl.DataFrame:
    """The prediction and the probes around it, LR and weight decay: loss over the lowest of them, minus 1.

    Losses are compared on the seeds that a run and the prediction both have (see `perturbations`); ``regret_low`` and
    ``regret_high`` are one standard error of the run itself. A diverged run has no regret.
    """
    rows: list[dict[str, Any]] = []
    for name in results.validations:
        changes = list(_changes(results, name, ("predicted", *PROBES)))
        lowest = min((found.value for _, _, found in changes if found), default=0.0)
        for row, run, found in changes:
            if found:
                above, error = math.expm1(found.value - lowest), (run.standard_error or 0.0) / (run.loss or math.inf)
                row |= {"regret": above, "regret_low": above - error, "regret_high": above + error}
            rows.append(row)
    frame = tidy(rows, f"{NUMBERS} standard_error regret regret_low regret_high")
    return frame.sort("arm", "kind", "factor", maintain_order=True)


def perturbations(results: Results) -> pl.DataFrame:
    """What another choice costs at the held-out width, as in arXiv 2512.05620 (its figure of perturbations): probes of LR and
    weight decay, the hyperparameters of the smallest width as they are, and muP without a fitted drift.

    ``change``: loss over the prediction's, minus 1, as `hptransfer.validate.changes` has it, and one standard deviation to both
    sides. A diverged run has no change.
    """
    rows: list[dict[str, Any]] = []
    for name in results.validations:
        for row, _, found in _changes(results, name, (*PROBES, *TRANSFERS)):
            if found:
                shifts = {"change": 0.0, "change_low": -found.error, "change_high": found.error}
                row |= {column: math.expm1(found.value + shift) for column, shift in shifts.items()}
            rows.append(row)
    return tidy(rows, f"{NUMBERS} change change_low change_high")


def run_title(run: TargetRun) -> str:
    """What a run at the held-out width is for: predicted, LR x 0.5, WD x 2, tokens x 4, same hyperparameters, muP alone."""
    factor = f" x {plain(run.factor, 2)}" if run.kind in (*PROBES, "horizon") else ""
    return RUN_TITLES[run.kind] + factor


def _changes(results: Results, arm: str, kinds: tuple[Kind, ...]) -> Iterator[tuple[dict[str, Any], TargetRun, Change | None]]:
    """The runs of some kinds: how the row of one begins, and its change against the prediction."""
    validation, own = results.validations[arm], begin(results.experiment.arm(arm))
    for run in validation.runs:
        if run.kind in kinds:
            numbers = run.model_dump(include={"kind", "factor", "lr", "weight_decay", "loss", "standard_error"})
            state = "failed" if run.failed else "diverged" if run.loss is None else "complete"
            row = own | numbers | {"title": _title(run), "seeds": len(run.losses), "state": state}
            yield row, run, change(run, validation.predicted, validation.noise.sd)


def _title(run: TargetRun) -> str:
    """2x LR, LR / 2, 1.4x WD; other runs by their kind."""
    name = RUN_TITLES[run.kind]
    if run.kind not in PROBES:
        return name
    factor = plain(max(run.factor, 1 / run.factor), 2).removesuffix(".0")
    return f"{factor}x {name}" if run.factor >= 1 else f"{name} / {factor}"
