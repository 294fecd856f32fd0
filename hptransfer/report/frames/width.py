"""The frame of the optimum against width."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from hptransfer.base.intervals import Interval
from hptransfer.report.frames.columns import Schema, arm_columns, tidy
from hptransfer.report.results import Results
from hptransfer.transfer.prediction import Prediction

BAND_POINTS = 25


def optimum_against_width(results: Results) -> pl.DataFrame:
    """Rows of ``kind`` optimum and prediction with 80 % intervals, and the lines fit and theory, which cross amid the data.

    The fit line has the exponent that was used and goes through the prediction. Its 80 % band has the prediction's own
    interval at the target. Amid the searched widths, where the line is known best, it is as wide as the mean of the optima
    there: the root of the sum of their squared half-widths (ln) over their number, their errors being taken as independent.
    From there the squared half-width (ln) grows in proportion to the distance in ln width, to both sides, as that of an optimum
    that wanders, which the prior of the law has (`hptransfer.transfer.law.fit_law`). An error of the exponent alone would make
    it grow with the square of the distance, and the band narrower on the way to the target.
    """
    rows: list[dict[str, Any]] = []
    for name, prediction in results.predictions.items():
        target, lr, drift = int(prediction.point["width"]), prediction.lr, prediction.drift
        own = arm_columns(results.experiment.arm(name))
        for optimum in prediction.optima:
            rows.append(own | {"kind": "optimum", "width": optimum.width} | _ends(optimum.lr))
        rows.append(own | {"kind": "prediction", "width": target} | _ends(lr))
        widths = [int(optimum.width) for optimum in prediction.optima]
        centre = math.exp(sum(map(math.log, widths)) / len(widths)) if widths else float(target)
        at_centre = lr.value * (centre / target) ** drift.used
        for width in _between(min([*widths, target]), max([*widths, target])):
            on_line = at_centre * (width / centre) ** drift.used
            ends = {
                "low": _end(prediction, width, centre, on_line, upper=False),
                "high": _end(prediction, width, centre, on_line, upper=True),
            }
            rows.append(own | {"kind": "fit", "width": width, "lr": on_line} | ends)
        rows.extend(
            own | {"kind": "theory", "width": width, "lr": at_centre * (width / centre) ** drift.theory}
            for width in (*widths, target)
            if drift.theory is not None
        )
    schema: Schema = {"kind": pl.String, "width": pl.Int64, "lr": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return tidy(rows, schema)


def _between(low: int, high: int) -> list[int]:
    """Widths in about equal ratios, both ends among them."""
    return sorted({round(low * (high / low) ** (i / (BAND_POINTS - 1))) for i in range(BAND_POINTS)})


def _end(prediction: Prediction, width: int, centre: float, on_line: float, upper: bool) -> float | None:
    """One edge of the band; None where the prediction has no such end."""
    sign = 1 if upper else -1
    lr = prediction.lr
    at_target = _half(lr, upper)
    if at_target is None:
        return None
    halves = [half for optimum in prediction.optima if (half := _half(optimum.lr, upper)) is not None]
    level = math.sqrt(sum(half**2 for half in halves)) / len(halves) if halves else at_target
    level = min(level, at_target)
    reach = abs(math.log(prediction.point["width"] / centre))
    share = abs(math.log(width / centre)) / reach if reach > 0 else 1.0
    return on_line * math.exp(sign * math.sqrt(level**2 + share * (at_target**2 - level**2)))


def _half(interval: Interval, upper: bool) -> float | None:
    """From the value to one end, ln."""
    end = interval.high if upper else interval.low
    return None if end is None else abs(math.log(end / interval.value))


def _ends(lr: Interval) -> dict[str, float | None]:
    return {"lr": lr.value, "low": lr.low, "high": lr.high}
