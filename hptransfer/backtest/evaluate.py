"""One split of one group: fit the cells that are known, predict those that are held out, by every rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hptransfer.backtest.regret import Regret, interpolated_regret
from hptransfer.base.intervals import TAIL
from hptransfer.transfer.forecast import fit_sweep
from hptransfer.transfer.sweep import Array, Sweep

OURS = "hptransfer"
Forecaster = Callable[[Sweep, Array], Array]  # the fitted cells and ln scale -> ln hyperparameters


@dataclass(frozen=True)
class HeldOut:
    """A held-out cell: every rule's prediction (ln) with its regret, and our 80 % interval beside the cell's own optimum.

    The own optimum is the vertex of the cell's own fitted surface; nan where that lies outside the cell's runs, which do not
    know it then. All arrays are (hyperparameters,), ln.
    """

    x: Array
    predicted: Mapping[str, Array]
    regrets: Mapping[str, Regret]
    own: Array
    low: Array
    high: Array

    @property
    def covered(self) -> Array:
        """Whether the interval holds the own optimum: 1, 0, or nan where that is unknown."""
        inside = (self.low <= self.own) & (self.own <= self.high)
        return np.where(np.isnan(self.own), math.nan, inside.astype(float))

    @property
    def interval_score(self) -> Array:
        """Width of the interval, and 2/0.2 times the distance by which it misses (Gneiting and Raftery 2007, eq. 43); ln."""
        miss = np.maximum(self.low - self.own, 0) + np.maximum(self.own - self.high, 0)
        return np.asarray(self.high - self.low + miss / TAIL)

    @property
    def error(self) -> Array:
        """|ln predicted - ln own optimum|."""
        return np.asarray(np.abs(self.predicted[OURS] - self.own))


def evaluate(known: Sweep, held: Sweep, rules: Mapping[str, Forecaster]) -> list[HeldOut]:
    """Every held-out cell, predicted from the known ones by ``rules`` and by us. The known cells need two scales."""
    fit = fit_sweep(known)
    found = []
    for cell, x in enumerate(held.x):
        law = fit.law(x)
        predicted = {name: rule(known, x) for name, rule in rules.items()} | {OURS: law.value}
        own = fit_sweep(held.take([cell])).optimum[0]
        inside = (held.low[cell] <= own) & (own <= held.high[cell])
        found.append(
            HeldOut(
                x=x,
                predicted=predicted,
                regrets={name: interpolated_regret(held, cell, value) for name, value in predicted.items()},
                own=np.where(inside, own, math.nan),
                low=law.low,
                high=law.high,
            )
        )
    return found


def pooled(cells: Iterable[HeldOut]) -> dict[str, dict[str, float | int]]:
    """Mean and largest regret of every rule over held-out cells, and how many cells there are."""
    found: dict[str, list[float]] = {}
    for cell in cells:
        for name, value in cell.regrets.items():
            found.setdefault(name, []).append(value.value)
    return {
        name: {"mean_regret": float(np.mean(values)), "max_regret": max(values), "cells": len(values)}
        for name, values in found.items()
    }


def calibration(cells: Iterable[HeldOut]) -> dict[str, float | int | None]:
    """Over all known optima of held-out cells: share inside the 80 % interval, mean interval score and mean error, both in
    log2, and their number."""
    cells = list(cells)
    covered = np.concatenate([cell.covered for cell in cells])
    known = ~np.isnan(covered)
    if not known.any():
        return {"coverage_80": None, "interval_score_log2": None, "error_log2": None, "optima": 0}
    score = np.concatenate([cell.interval_score for cell in cells])[known] / math.log(2)
    error = np.concatenate([cell.error for cell in cells])[known] / math.log(2)
    return {
        "coverage_80": float(covered[known].mean()),
        "interval_score_log2": float(score.mean()),
        "error_log2": float(error.mean()),
        "optima": int(known.sum()),
    }
