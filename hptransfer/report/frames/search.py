"""Frames of the search: the runs of every searched width, the fitted bowl, and how far it is flat."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import polars as pl

from hptransfer.experiment.arm import Arm
from hptransfer.report.frames.columns import Schema, arm_columns, tidy
from hptransfer.report.results import Results
from hptransfer.runs import Record
from hptransfer.runs.point import Number
from hptransfer.transfer.prediction import Bowl, Optimum, Prediction

RATIO = "embedding_lr_ratio"
FIT_POINTS = 61
BASIN = 2.0  # standard deviations of the noise: what lies lower cannot be told from the minimum
NEAR_BEST_LR = 0.005  # relative loss that the learning rate may cost a run whose weight decay is looked at


def lr_curves(results: Results) -> pl.DataFrame:
    """Every run at a searched width; ``is_minimum`` marks the lowest loss of each width, ``is_at_ratio`` the runs at the
    embedding LR ratio of the prediction, through which the bowl is fitted (all of them where there is no prediction)."""
    rows: list[dict[str, Any]] = []
    for arm in results.arms:
        records = results.searched(arm.name)
        prediction = results.predictions.get(arm.name)
        lowest = _lowest(records)
        for record in records:
            rows.append(
                _run(record, arm)
                | {
                    "embedding_lr_ratio": record.point.hyperparameters.get(RATIO),
                    "seed": record.point.init_seed,
                    "state": record.state,
                    "is_minimum": record.loss is not None and record.loss == lowest[record.point["width"]],
                    "is_at_ratio": prediction is None or _is_at_ratio(record, prediction),
                }
            )
    schema: Schema = {
        "width": pl.Int64,
        "lr": pl.Float64,
        "weight_decay": pl.Float64,
        "embedding_lr_ratio": pl.Float64,
        "seed": pl.Int64,
        "loss": pl.Float64,
        "state": pl.String,
        "is_minimum": pl.Boolean,
        "is_at_ratio": pl.Boolean,
        "run_id": pl.String,
    }
    return tidy(rows, schema).sort("arm", "width", "lr", "run_id")


def lr_fit(results: Results) -> pl.DataFrame:
    """The fitted skewed bowl of each searched width, over the range of learning rates swept there."""
    rows = []
    for arm, prediction, bowl, _ in _fitted(results):
        for optimum, low, high in _swept_lrs(results, prediction):
            for i in range(FIT_POINTS):
                lr = low * (high / low) ** (i / (FIT_POINTS - 1))
                loss = (optimum.loss or math.nan) * math.exp(_lr_cost(bowl, optimum, lr))
                rows.append(arm_columns(arm) | {"width": optimum.width, "lr": lr, "loss": loss})
    return tidy(rows, {"width": pl.Int64, "lr": pl.Float64, "loss": pl.Float64})


def lr_basins(results: Results) -> pl.DataFrame:
    """The learning rates at which the fitted bowl of a width is within ``relative_height`` of its minimum, which is `BASIN`
    standard deviations of the loss; a basin ends at the last learning rate swept, beyond which nothing is known."""
    rows = []
    for arm, prediction, bowl, noise in _fitted(results):
        height = BASIN * noise
        reach = math.sqrt(math.log1p(height) / bowl.curvature) if bowl.curvature > 0 else math.inf
        for optimum, low, high in _swept_lrs(results, prediction):
            low = max(low, optimum.lr.value * math.exp(-reach))
            if reach / bowl.skew < math.log(high / optimum.lr.value):
                high = optimum.lr.value * math.exp(reach / bowl.skew)
            numbers = {"width": optimum.width, "lr": optimum.lr.value, "low": low, "high": high}
            rows.append(arm_columns(arm) | numbers | {"loss": optimum.loss, "relative_height": height})
    schema: Schema = {
        "width": pl.Int64,
        "lr": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "loss": pl.Float64,
        "relative_height": pl.Float64,
    }
    return tidy(rows, schema)


def weight_decay_curves(results: Results) -> pl.DataFrame:
    """What weight decay does to complete runs whose learning rate is near the best of their width.

    Near: by the fitted bowl the learning rate costs at most `NEAR_BEST_LR`, or the `BASIN` of the noise where that is wider.
    ``loss_at_best_lr`` is the loss without that cost, and ``excess`` how far it lies above the lowest of its width, relative.
    Without weight decay there is no place on a log axis, and without a prediction no bowl: such runs are left out.
    """
    rows: list[dict[str, Any]] = []
    for arm, prediction, bowl, noise in _fitted(results):
        optima = {optimum.width: optimum for optimum in prediction.optima}
        widest = max(NEAR_BEST_LR, BASIN * noise)
        found: list[dict[str, Any]] = []
        for record in results.searched(arm.name):
            width = record.point["width"]
            if record.loss is None or width not in optima or record.point.hyperparameters.get("weight_decay", 0) <= 0:
                continue
            cost = _lr_cost(bowl, optima[width], record.point["lr"])
            if _is_at_ratio(record, prediction) and math.expm1(cost) <= widest:
                mended = {"lr_cost": math.expm1(cost), "loss_at_best_lr": record.loss * math.exp(-cost)}
                found.append(_run(record, arm) | mended)
        for width in optima:
            lowest = min((row["loss_at_best_lr"] for row in found if row["width"] == width), default=math.nan)
            for row in (row for row in found if row["width"] == width):
                excess = row["loss_at_best_lr"] / lowest - 1
                is_within = excess <= BASIN * noise
                rows.append(row | {"excess": excess, "is_minimum": excess == 0, "is_within_noise": is_within})
    schema: Schema = {
        "width": pl.Int64,
        "lr": pl.Float64,
        "weight_decay": pl.Float64,
        "loss": pl.Float64,
        "lr_cost": pl.Float64,
        "loss_at_best_lr": pl.Float64,
        "excess": pl.Float64,
        "is_minimum": pl.Boolean,
        "is_within_noise": pl.Boolean,
        "run_id": pl.String,
    }
    return tidy(rows, schema).sort("arm", "width", "weight_decay", "run_id")


def predictions(results: Results) -> pl.DataFrame:
    """What was predicted at the held-out width, with 80 % intervals, LR and weight decay in base coordinates;
    ``weight_decay_final`` is the value that the run at that width has."""
    rows = []
    for name, prediction in results.predictions.items():
        lr, decay, final = prediction.lr, prediction.hyperparameters.get("weight_decay"), prediction.weight_decay
        own: dict[str, Any] = (
            {"weight_decay": decay.value, "weight_decay_low": decay.low, "weight_decay_high": decay.high} if decay else {}
        )
        if final:
            own |= {"weight_decay_final": final.value, "weight_decay_status": final.words}
        rows.append(
            arm_columns(results.experiment.arm(name))
            | {"width": prediction.point["width"], "lr": lr.value, "lr_low": lr.low, "lr_high": lr.high}
            | own
            | {"noise": prediction.noise}
        )
    schema: Schema = {
        "width": pl.Int64,
        "lr": pl.Float64,
        "lr_low": pl.Float64,
        "lr_high": pl.Float64,
        "weight_decay": pl.Float64,
        "weight_decay_low": pl.Float64,
        "weight_decay_high": pl.Float64,
        "weight_decay_final": pl.Float64,
        "weight_decay_status": pl.String,
        "noise": pl.Float64,
    }
    return tidy(rows, schema)


def _run(record: Record, arm: Arm) -> dict[str, Any]:
    """The columns that runs have in every frame; the arm is the one they are shown in."""
    point = record.point
    tuned = {"width": point["width"], "lr": point["lr"], "weight_decay": point.hyperparameters.get("weight_decay")}
    return arm_columns(arm) | tuned | {"loss": record.loss, "run_id": record.run_id}


def _is_at_ratio(record: Record, prediction: Prediction) -> bool:
    """Whether a run is among those that the bowl is fitted through."""
    kept = prediction.hyperparameters.get(RATIO)
    return kept is None or record.point.hyperparameters.get(RATIO) == kept.value


def _lowest(records: tuple[Record, ...]) -> dict[Number, float]:
    lowest: dict[Number, float] = {}
    for record in records:
        if record.loss is not None:
            width = record.point["width"]
            lowest[width] = min(record.loss, lowest.get(width, math.inf))
    return lowest


def _fitted(results: Results) -> Iterator[tuple[Arm, Prediction, Bowl, float]]:
    """Every prediction with its arm, its bowl, and the noise around that."""
    for name, prediction in results.predictions.items():
        if prediction.bowl and prediction.noise is not None:
            yield results.experiment.arm(name), prediction, prediction.bowl, prediction.noise


def _swept_lrs(results: Results, prediction: Prediction) -> list[tuple[Optimum, float, float]]:
    """Every fitted optimum whose width has runs, with the lowest and the highest learning rate of those."""
    lrs: dict[Number, list[float]] = {}
    for record in results.searched(prediction.name):
        lrs.setdefault(record.point["width"], []).append(record.point["lr"])
    return [(o, min(lrs[o.width]), max(lrs[o.width])) for o in prediction.optima if o.width in lrs]


def _lr_cost(bowl: Bowl, optimum: Optimum, lr: float) -> float:
    """ln loss of the fitted bowl at ``lr`` above that at its optimum."""
    distance = math.log(lr / optimum.lr.value)
    return bowl.curvature * ((bowl.skew if distance > 0 else 1.0) * distance) ** 2
