"""Regret of a prediction, from the probes around it. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import scipy  # loads its parts when they are asked for: stats takes a second
from numpy.typing import NDArray

from hptransfer.base.intervals import TAIL, Interval

GRID = 81  # places of the optimum, per hyperparameter, that are tried
SKEWS = (0.75, 1.0, 1.33)  # factors on the skew that are tried: few runs of a search lie far above the optimum

Array = NDArray[np.float64]


def regret_by_probes(
    points: Sequence[tuple[float, float]], losses: Sequence[float], *, noise: float, freedom: int, skew: float = 1.0
) -> Interval:
    """Loss at the prediction over the lowest around it, minus 1, with an 80 % interval.

    ``points``: (LR factor, weight decay factor) of the prediction, which is (1, 1) and comes first, and of each probe;
    ``losses``: final losses of one seed; ``noise``: their relative standard deviation, known with ``freedom`` degrees of freedom.
    ln loss is taken as a bowl in both logarithms without interaction, on the LR's upper side ``skew`` times as far (that of the
    search's surface, known to a factor of `SKEWS`), and its optimum is looked for inside the range of the probes. Every optimum
    whose best bowl fits the losses not significantly worse than the best of all belongs to the interval, which therefore holds 0
    wherever the prediction may be the optimum. No upper end where the losses still fall at the outermost LR, or where there is
    nothing to fit: fewer than two probes of LR.
    """
    u, v = np.log(np.asarray(points, dtype=float).reshape(-1, 2)).T
    y = np.log(losses)
    if len(set(u)) < 3:
        return Interval(value=0.0, low=0.0, high=None)
    decays = _places(v) if len(set(v)) > 2 else np.zeros(1)
    bowls = np.array(list(itertools.product(_places(u), decays, [skew * factor for factor in SKEWS])))
    lr, decay, skews = bowls[:, :1], bowls[:, 1:2], bowls[:, 2:]
    distances = np.stack([_distance(u, lr, skews), _distance(v, decay, np.ones(1))], axis=2)  # bowl, run, hyperparameter
    here = np.stack([_distance(np.zeros(1), lr, skews), _distance(np.zeros(1), decay, np.ones(1))], axis=2)[:, 0]
    value, spread, squares = _fit(distances, y, here)

    worse = squares - squares.min()
    limit = noise**2 * scipy.stats.t.ppf(1 - TAIL, freedom) ** 2
    possible = worse <= limit
    reach = spread[possible] * np.sqrt(limit - worse[possible])
    low, high = (value[possible] - reach).min(), (value[possible] + reach).max()
    # No regret fixes both places of the optimum: what is not significant by two degrees of freedom may be none.
    if worse[(lr == 0).ravel() & (decay == 0).ravel()].min() <= noise**2 * 2 * scipy.stats.f.ppf(1 - 2 * TAIL, 2, freedom):
        low = 0.0
    best = int(np.argmin(np.where(skews.ravel() == skew, squares, np.inf)))
    point = math.expm1(value[best])
    still_falls = lr[best, 0] in (u.min(), u.max()) and float(np.sum((y - y.mean()) ** 2)) - squares[best] > limit
    if still_falls:  # where no bowl fits, the lowest probe says more
        point = max(point, math.expm1(y[0] - y.min()))
    low, high = math.expm1(max(0.0, float(low))), math.expm1(float(high))
    return Interval(value=point, low=min(low, point), high=None if still_falls else max(high, point))


def _places(x: Array) -> Array:
    """Where the optimum may be: the range of the probes, the prediction itself among them."""
    return np.union1d(np.linspace(x.min(), x.max(), GRID), [0.0])


def _distance(x: Array, centre: Array, skew: Array) -> Array:
    """Squared distances of ``x`` (runs) from each ``centre`` (bowls, 1), in units in which both sides of the bowl are equally
    steep; shape (bowls, runs)."""
    distance = x[None, :] - centre
    return np.asarray(np.where(distance > 0, skew * distance, distance) ** 2)


def _fit(distances: Array, y: Array, here: Array) -> tuple[Array, Array, Array]:
    """Least squares of ``y`` on a constant and both distances of every bowl, with curvatures that are not negative.

    Returns, by bowl, ln regret (the curvatures times ``here``, the distances of the prediction), its standard deviation for
    losses of unit noise, and the sum of squares that is left. The curvatures that are not 0 are one of three sets, or none.
    """
    centred, target = distances - distances.mean(axis=1, keepdims=True), y - y.mean()
    gram = np.einsum("pri,prj->pij", centred, centred)
    moment = np.einsum("pri,r->pi", centred, target)
    value, spread, gain = (np.zeros(len(distances)) for _ in range(3))
    for active in ([0], [1], [0, 1]):
        inverse = np.linalg.inv(gram[:, active][:, :, active] + 1e-12 * np.eye(len(active)))
        curvatures = np.einsum("pij,pj->pi", inverse, moment[:, active])
        gained = np.sum(curvatures * moment[:, active], axis=1)
        better = (curvatures >= 0).all(axis=1) & (gained > gain)
        gain = np.where(better, gained, gain)
        value = np.where(better, np.sum(curvatures * here[:, active], axis=1), value)
        variance = np.einsum("pi,pij,pj->p", here[:, active], inverse, here[:, active])
        spread = np.where(better, np.sqrt(variance), spread)
    return value, spread, float(target @ target) - gain
