"""Tidy frames, one per chart or table: results in, polars out. Losses in nats per token, LR and WD in base coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import polars as pl

from hptransfer.report.results import Results
from hptransfer.report.text import run_title
from hptransfer.store import RunRecord
from hptransfer.store.record import ROW_SCHEMA
from hptransfer.transfer.prediction import Interval, Prediction
from hptransfer.validate.result import TargetRun, Validation

FIT_POINTS = 61

Schema = dict[str, type[pl.DataType]]
_SERIES: Schema = {"optimizer": pl.String, "parametrization": pl.String}


def _frame(rows: Iterable[dict[str, Any]], columns: Schema) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=_SERIES | columns, orient="row")


def lr_curves(results: Results) -> pl.DataFrame:
    """Every run at a searched width; ``is_minimum`` marks the lowest loss of each width."""
    rows: list[dict[str, Any]] = []
    for series in results.series:
        records = results.swept(series)
        lowest: dict[int, float] = {}
        for record in records:
            width = record.spec.model.width
            lowest[width] = min(lowest.get(width, math.inf), math.inf if record.loss is None else record.loss)
        named = dict(zip(_SERIES, series, strict=True))
        for record in records:
            found = {"seed": record.spec.init_seed, "is_minimum": record.loss == lowest[record.spec.model.width]}
            rows.append(record.row() | named | found)
    schema: Schema = {
        "width": pl.Int64,
        "lr": pl.Float64,
        "weight_decay": pl.Float64,
        "embedding_lr_ratio": pl.Float64,
        "seed": pl.Int64,
        "loss": pl.Float64,
        "state": pl.String,
        "is_minimum": pl.Boolean,
        "run_id": pl.String,
    }
    names = [*_SERIES, *schema]
    return _frame(({name: row[name] for name in names} for row in rows), schema).sort(*_SERIES, "width", "lr")


def lr_fit(results: Results) -> pl.DataFrame:
    """The fitted skewed bowl of each searched width, over the range of learning rates swept there."""
    rows = []
    for series, prediction in results.predictions.items():
        for optimum in prediction.optima:
            swept = [r.spec.optimizer.lr for r in results.swept(series) if r.spec.model.width == optimum.width]
            if not swept:
                continue
            low, high = math.log(min(swept)), math.log(max(swept))
            for i in range(FIT_POINTS):
                lr = math.exp(low + (high - low) * i / (FIT_POINTS - 1))
                distance = math.log(lr / optimum.lr.value)
                side = prediction.surface.skew if distance > 0 else 1.0
                loss = optimum.loss * math.exp(prediction.surface.curvature * (side * distance) ** 2)
                rows.append(_named(prediction) | {"width": optimum.width, "lr": lr, "loss": loss})
    return _frame(rows, {"width": pl.Int64, "lr": pl.Float64, "loss": pl.Float64})


def optimum_against_width(results: Results) -> pl.DataFrame:
    """Rows of ``kind`` optimum and prediction with intervals, and the lines fit and theory, which cross amid the data.

    The fit line has the exponent that was used and goes through the prediction.
    """
    rows: list[dict[str, Any]] = []
    for prediction in results.predictions.values():
        target, lr = prediction.target.width, prediction.hyperparameters.lr
        drift = prediction.drift
        for optimum in prediction.optima:
            rows.append(_named(prediction) | {"kind": "optimum", "width": optimum.width} | _interval(optimum.lr))
        rows.append(_named(prediction) | {"kind": "prediction", "width": target} | _interval(lr))
        widths = [optimum.width for optimum in prediction.optima]
        centre = math.exp(sum(map(math.log, widths)) / len(widths)) if widths else float(target)
        at_centre = lr.value * (centre / target) ** drift.used
        for kind, exponent in (("fit", drift.used), ("theory", drift.theory)):
            rows.extend(
                _named(prediction) | {"kind": kind, "width": width, "lr": at_centre * (width / centre) ** exponent}
                for width in (*widths, target)
            )
    schema: Schema = {"kind": pl.String, "width": pl.Int64, "lr": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return _frame(rows, schema)


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
    return _frame(rows, schema)


def regret(results: Results) -> pl.DataFrame:
    """The prediction and the probes around it at one horizon: regret over the best of them, with one standard error."""
    rows: list[dict[str, Any]] = []
    for validation in results.validations.values():
        predicted = next((run for run in validation.runs if run.kind == "predicted"), None)
        if predicted is None:
            continue
        runs = [run for run in validation.runs if run.kind in ("predicted", "lr_probe")]
        best = min((run.loss for run in runs if run.loss is not None), default=None)
        rows.extend(_named(validation) | _probe(run, predicted.lr, best) for run in runs)
    schema: Schema = {
        "purpose": pl.String,
        "lr": pl.Float64,
        "lr_factor": pl.Float64,
        "weight_decay": pl.Float64,
        "loss": pl.Float64,
        "standard_error": pl.Float64,
        "regret": pl.Float64,
        "regret_low": pl.Float64,
        "regret_high": pl.Float64,
    }
    return _frame(rows, schema).sort(*_SERIES, "lr_factor", maintain_order=True)


def _probe(run: TargetRun, predicted_lr: float, best: float | None) -> dict[str, Any]:
    row = {
        "purpose": run_title(run),
        "lr": run.lr,
        "lr_factor": run.lr / predicted_lr,
        "weight_decay": run.weight_decay,
        "loss": run.loss,
        "standard_error": run.standard_error,
    }
    if run.loss is not None and best is not None:
        error = run.standard_error or 0.0
        shifted = {"regret": run.loss, "regret_low": run.loss - error, "regret_high": run.loss + error}
        row |= {name: loss / best - 1 for name, loss in shifted.items()}
    return row


def multipliers(results: Results) -> pl.DataFrame:
    """Compute multipliers over AdamW per axis."""
    rows = [
        _named(validation) | {"axis": axis} | multiplier.model_dump()
        for validation in results.validations.values()
        for axis, multiplier in (validation.speedup.compute_multiplier.items() if validation.speedup else ())
    ]
    schema: Schema = {
        "axis": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "bracketed": pl.Boolean,
        "bound": pl.String,
        "extrapolated": pl.Boolean,
        "p_value": pl.Float64,
    }
    return _frame(rows, schema)


def run_table(results: Results) -> pl.DataFrame:
    """Every run of the experiment with its cost, those that diverged or failed too."""
    rows = [record.row() | {"held_out": record.spec.model.width == results.experiment.target_width} for record in results.records]
    frame = pl.DataFrame(rows, schema=ROW_SCHEMA | {"held_out": pl.Boolean}, orient="row")
    return frame.sort(*_SERIES, "width", "lr", "finished_at")


FRAMES: dict[str, Callable[[Results], pl.DataFrame]] = {
    "lr_curves": lr_curves,
    "lr_fit": lr_fit,
    "optimum_against_width": optimum_against_width,
    "training_curves": training_curves,
    "regret": regret,
    "multipliers": multipliers,
}


def _named(source: Prediction | Validation) -> dict[str, str]:
    return {"optimizer": source.optimizer, "parametrization": source.parametrization}


def _interval(lr: Interval) -> dict[str, float | None]:
    return {"lr": lr.value, "low": lr.low, "high": lr.high}
