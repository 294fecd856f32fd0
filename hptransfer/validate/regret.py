"""Regret of a prediction, from the runs around it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hptransfer.transfer.prediction import Interval

LEVEL = (0.1, 0.9)  # the ends of every interval: 80 %
DRAWS = 2000


def local_minimum(x: Sequence[float], y: Sequence[float]) -> float:
    """Lowest value near the points (x, y): that of the least-squares parabola where it is convex and turns inside the range
    of x, and never above the lowest point."""
    lowest = min(y)
    if len(set(x)) < 3:
        return lowest
    a, b, c = np.polyfit(x, y, 2)
    if a <= 0 or not min(x) < -b / (2 * a) < max(x):
        return lowest
    return min(lowest, float(c - b * b / (4 * a)))


def regret(factors: Sequence[float], differences: Sequence[float], errors: Sequence[float], *, seed: int = 0) -> Interval:
    """Loss at the prediction over the best loss around it, minus 1, with an 80 % interval.

    ``factors``: LR of each probe over the predicted LR (the prediction itself, factor 1, is implied). ``differences``: ln loss of
    each probe minus ln loss of the prediction, on the seeds that both have. ``errors``: their standard errors. Without probes
    nothing is known, and the interval has no upper end.
    """
    if not factors:
        return Interval(value=0.0, low=0.0, high=None)
    x = [0.0, *(math.log(factor) for factor in factors)]

    def value(deltas: Sequence[float]) -> float:
        return abs(math.expm1(-local_minimum(x, [0.0, *deltas])))  # abs: never -0.0

    draws = np.random.default_rng(seed).normal(differences, errors, size=(DRAWS, len(factors)))
    low, high = np.quantile([value(list(draw)) for draw in draws], LEVEL)
    point = value(differences)
    return Interval(value=point, low=min(float(low), point), high=max(float(high), point))
