"""One split of one group: fit the cells that are known, predict those that are held out, by every rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hptransfer.backtest.regret import Regret, interpolated_regret
from hptransfer.base.intervals import REACH, TAIL
from hptransfer.transfer.forecast import Fit, fit_sweeps
from hptransfer.transfer.siblings import Siblings
from hptransfer.transfer.sweep import Array, Sweep

OURS = "hptransfer"
Forecaster = Callable[[Sweep, Array], Array]  # the fitted cells and ln scale -> ln hyperparameters


@dataclass(frozen=True)
class HeldOut:
    """A held-out cell: every rule's prediction (ln) with its regret, and our 80 % interval beside the cell's own optimum.

    The own optimum is the vertex of the cell's own fitted surface, with the standard deviation ``own_sd``; nan where that lies
    outside the cell's runs, which do not know it then. All arrays are (hyperparameters,), ln.
    """

    x: Array
    predicted: Mapping[str, Array]
    regrets: Mapping[str, Regret]
    own: Array
    own_sd: Array
    low: Array
    high: Array

    @property
    def ends(self) -> tuple[Array, Array]:
        """The interval as one for the own optimum, which misses the true one by an error of its own: both in quadrature."""
        centre, reach = self.predicted[OURS], REACH * self.own_sd
        return centre - np.hypot(centre - self.low, reach), centre + np.hypot(self.high - centre, reach)

    @property
    def covered(self) -> Array:
        """Whether the interval (`ends`) holds the own optimum: 1, 0, or nan where that is unknown."""
        low, high = self.ends
        return np.where(np.isnan(self.own), math.nan, ((low <= self.own) & (self.own <= high)).astype(float))

    @property
    def interval_score(self) -> Array:
        """Width of `ends`, and 2/0.2 times the distance by which they miss (Gneiting and Raftery 2007, eq. 43); ln."""
        low, high = self.ends
        miss = np.maximum(low - self.own, 0) + np.maximum(self.own - high, 0)
        return np.asarray(high - low + miss / TAIL)

    @property
    def error(self) -> Array:
        """|ln predicted - ln own optimum|."""
        return np.asarray(np.abs(self.predicted[OURS] - self.own))


def evaluate(fit: Fit, held: Sweep, rules: Mapping[str, Forecaster], others: Siblings | None = None) -> list[HeldOut]:
    """Every held-out cell, predicted from the known ones, which are fitted, by ``rules`` and by us, who hear what ``others`` say.
    The known cells need two scales."""
    known, cells = fit.sweep, fit_sweeps([held.take([cell]) for cell in range(len(held.x))])
    expected = others.join(fit.expected, known.hyperparameters, known.scales) if others else fit.expected
    found = []
    for cell, (x, alone) in enumerate(zip(held.x, cells, strict=True)):
        law = fit.law(x, expected, sizes=others.sizes if others else None)
        predicted = {name: rule(known, x) for name, rule in rules.items()} | {OURS: law.value}
        own = alone.optimum[0]
        inside = (held.low[cell] <= own) & (own <= held.high[cell])
        found.append(
            HeldOut(
                x=x,
                predicted=predicted,
                regrets={name: interpolated_regret(held, cell, value) for name, value in predicted.items()},
                own=np.where(inside, own, math.nan),
                own_sd=alone.spread[0],
                low=law.low,
                high=law.high,
            )
        )
    return found


def pooled(cells: Iterable[HeldOut]) -> dict[str, dict[str, float | int]]:
    """By rule, over held-out cells: mean and largest regret, of those that did not diverge and ``robust`` of all; how many
    diverged, and how many cells there are."""
    found: dict[str, list[Regret]] = {}
    for cell in cells:
        for name, regret in cell.regrets.items():
            found.setdefault(name, []).append(regret)
    return {name: _pooled(regrets) for name, regrets in found.items()}


def _pooled(regrets: Sequence[Regret]) -> dict[str, float | int]:
    finished, robust = [one.value for one in regrets if not one.diverged], [one.robust for one in regrets]
    return {
        "mean_regret": float(np.mean(finished or robust)),
        "max_regret": max(finished or robust),
        "robust_mean_regret": float(np.mean(robust)),
        "robust_max_regret": max(robust),
        "diverged": len(regrets) - len(finished),
        "cells": len(regrets),
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
