"""Frames of the search: the runs of every cell, the fitted bowl, how far it is flat, and the optimum against scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from hptransfer.base.intervals import Interval
from hptransfer.report.frames.searched import RATIO, Searched, plain_name
from hptransfer.report.frames.tidy import joined, tidy
from hptransfer.runs.point import Number
from hptransfer.transfer.line import line_of
from hptransfer.transfer.prediction import Bowl

FIT_POINTS = 61
BASIN = 2.0  # standard deviations of the noise: what lies lower cannot be told from the minimum
NEAR_BEST_LR = 0.005  # relative loss that the learning rate may cost a run whose weight decay is looked at

Row = dict[str, Any]


def lr_curves(given: Iterable[Searched]) -> pl.DataFrame:
    """Every run of every searched cell; ``is_minimum`` marks the lowest loss of each, ``is_at_ratio`` the runs at the embedding
    LR ratio of the prediction, through which the bowl is fitted (all of them where there is no prediction)."""
    columns = f"cell width lr weight_decay {RATIO} seed loss state is_at_ratio run_id"
    lowest = (pl.col("loss") == pl.col("loss").min().over("arm", "cell")).fill_null(False)
    found = joined((one.runs.with_columns(is_at_ratio=_is_at_ratio(one)) for one in given), columns)
    return found.with_columns(is_minimum=lowest).sort("arm", "width", "lr", "run_id")


def lr_fit(given: Iterable[Searched]) -> pl.DataFrame:
    """The fitted skewed bowl of each searched cell, over the range of learning rates swept there."""
    rows = []
    for one, bowl, _ in _fitted(given):
        for cell, best, loss, low, high in _swept(one):
            for lr in (low * (high / low) ** (i / (FIT_POINTS - 1)) for i in range(FIT_POINTS)):
                rows.append(one.row | cell | {"lr": lr, "loss": loss * math.exp(bowl.cost(math.log(lr / best.value)))})
    return tidy(rows, "cell width lr loss")


def lr_basins(given: Iterable[Searched]) -> pl.DataFrame:
    """The learning rates at which the fitted bowl of a cell is within ``relative_height`` of its minimum, which is `BASIN`
    standard deviations of the loss; a basin ends at the last learning rate swept, beyond which nothing is known."""
    rows = []
    for one, bowl, noise in _fitted(given):
        for cell, best, loss, swept_low, swept_high in _swept(one):
            ends = [best.value * math.exp(min(end, 700.0)) for end in bowl.basin(BASIN * noise)]
            numbers = {"lr": best.value, "low": max(swept_low, ends[0]), "high": min(swept_high, ends[1])}
            rows.append(one.row | cell | numbers | {"loss": loss, "relative_height": BASIN * noise})
    return tidy(rows, "cell width lr low high loss relative_height")


def weight_decay_curves(given: Iterable[Searched]) -> pl.DataFrame:
    """What weight decay does to complete runs whose learning rate is near the best of their width.

    Near: by the fitted bowl the learning rate costs at most `NEAR_BEST_LR`, or the `BASIN` of the noise where that is wider.
    ``loss_at_best_lr`` is the loss without that cost, and ``excess`` how far it lies above the lowest of its width, relative.
    Without weight decay there is no place on a log axis, and without a prediction no bowl: such runs are left out.
    """
    near = []
    for one, bowl, noise in _fitted(given):
        optima = {one.cell(scales): best.value for scales, best, _ in one.optima}
        is_told = pl.col("loss").is_not_null() & (pl.col("weight_decay") > 0) & pl.col("cell").is_in(list(optima))
        runs = one.runs.filter(is_told & _is_at_ratio(one))
        cost = [bowl.cost(math.log(lr / optima[cell])) for lr, cell in runs.select("lr", "cell").iter_rows()]
        mended = {"lr_cost": np.expm1(cost), "loss_at_best_lr": runs["loss"].to_numpy() * np.exp(np.negative(cost))}
        runs = runs.with_columns(**{name: pl.Series(values) for name, values in mended.items()}, height=pl.lit(BASIN * noise))
        near.append(runs.filter(pl.col("lr_cost") <= max(NEAR_BEST_LR, BASIN * noise)))
    at_best, excess = pl.col("loss_at_best_lr"), pl.col("excess")
    found = joined(near, "cell width lr weight_decay loss lr_cost loss_at_best_lr height run_id")
    found = found.with_columns(excess=at_best / at_best.min().over("arm", "cell") - 1)
    found = found.with_columns(is_minimum=excess == 0, is_within_noise=excess <= pl.col("height")).drop("height")
    return found.sort("arm", "width", "weight_decay", "run_id")


def predictions(given: Iterable[Searched]) -> pl.DataFrame:
    """What was predicted at the target, with 80 % intervals, LR and weight decay in base coordinates; ``weight_decay_final`` is
    the value that the run there has."""
    rows = []
    for one in given:
        if not (told := one.told):
            continue
        decay, final = told.hyperparameters.get("weight_decay"), told.weight_decay
        row = one.row | one.where(told.point.scales) | {"noise": told.noise} | _ends(one.target, "lr", "lr_low", "lr_high")
        row |= _ends(decay, "weight_decay", "weight_decay_low", "weight_decay_high") if decay else {}
        row |= {"weight_decay_final": final.value, "weight_decay_status": final.words} if final else {}
        rows.append(row)
    decays = "weight_decay weight_decay_low weight_decay_high weight_decay_final weight_decay_status"
    return tidy(rows, f"cell width lr lr_low lr_high {decays} noise")


def optimum_against_width(given: Iterable[Searched]) -> pl.DataFrame:
    """Rows of ``kind`` optimum and prediction with 80 % intervals, and the lines fit and theory (`hptransfer.transfer.line`), for
    each ``scale``, which ``width`` is then of. Cells of several scales have no lines: each would be right at one value of the
    others alone."""
    rows: list[Row] = []
    for one in given:
        for scale in one.scales:
            along = replace(one, row=one.row | {"scale": plain_name(scale)}, scales=(scale,))
            rows += [row | {"cell": one.cell(scales)} for row, scales in _along(along)]
            if len(one.scales) == 1:
                rows += _lines(along)
    return tidy(rows, "kind cell scale width lr low high")


def _along(one: Searched) -> Iterator[tuple[Row, Mapping[str, Number]]]:
    """The optima and the prediction, with their cells."""
    for scales, best, _ in one.optima:
        yield one.row | {"kind": "optimum"} | one.where(scales) | _ends(best), scales
    if told := one.told:
        yield one.row | {"kind": "prediction"} | one.where(told.point.scales) | _ends(one.target), told.point.scales


def _lines(one: Searched) -> Iterator[Row]:
    """The line that the prediction lies on, and theory's."""
    if not (told := one.told):
        return
    optima = [(one.where(scales)["width"], best) for scales, best, _ in one.optima]
    for width, best, expected in line_of(optima, (one.where(told.point.scales)["width"], one.target), told.drift):
        yield one.row | {"kind": "fit", "width": width} | _ends(best)
        if expected is not None:
            yield one.row | {"kind": "theory", "width": width, "lr": expected}


def _is_at_ratio(one: Searched) -> pl.Expr:
    """Whether a run is among those that the bowl is fitted through."""
    kept = one.prediction.hyperparameters.get(RATIO) if one.prediction else None
    return pl.lit(True) if kept is None else (pl.col(RATIO) == kept.value).fill_null(False)


def _fitted(given: Iterable[Searched]) -> Iterator[tuple[Searched, Bowl, float]]:
    """With the bowl, and the noise around it."""
    for one in given:
        if (told := one.prediction) and told.bowl and told.noise is not None:
            yield one, told.bowl, told.noise


def _swept(one: Searched) -> Iterator[tuple[Row, Interval, float, float, float]]:
    """Every fitted cell that has runs, with its best LR, the loss there, and the lowest and the highest LR of those."""
    lr = pl.col("lr")
    swept = {cell: ends for cell, *ends in one.runs.group_by("cell").agg(lr.min().alias("low"), lr.max().alias("high")).rows()}
    for scales, best, loss in one.optima:
        if ends := swept.get(one.cell(scales)):
            yield one.where(scales), best, loss, *ends


def _ends(found: Interval, value: str = "lr", low: str = "low", high: str = "high") -> dict[str, float | None]:
    return {value: found.value, low: found.low, high: found.high}
