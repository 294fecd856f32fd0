"""Values with 80 % intervals: the one place that says how wide an interval is."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hptransfer.base.frozen import Frozen

Array = NDArray[np.float64]

TAIL = 0.1  # on each side of every 80 % interval
REACH = -NormalDist().inv_cdf(TAIL)  # from the middle to an end, in standard deviations


class Interval(Frozen):
    """A value with an 80 % interval. ``None`` at an end: not bounded there."""

    value: float
    low: float | None
    high: float | None

    def holds(self, value: float) -> bool:
        """Whether both ends are known and ``value`` lies between them."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high


def ends(value: float, draws: Array) -> tuple[float, float]:
    """The 80 % interval of draws (n,), stretched where it must be to hold the value."""
    with np.errstate(invalid="ignore"):  # between two infinite draws
        low, high = np.quantile(draws, [TAIL, 1 - TAIL]).tolist()
    return min(low, value), max(high, value)


def ends_of_each(draws: Array) -> Array:
    """The 80 % intervals (2, n) of draws (draws, n) of many values. Draws that are no number are left out; nan of a value whose
    first draw is none."""
    result, said = np.full((2, draws.shape[1]), np.nan), np.isfinite(draws[0])
    if said.any():
        with np.errstate(invalid="ignore"):
            result[:, said] = np.nanquantile(draws[:, said], [TAIL, 1 - TAIL], axis=0)
    return result


def from_logarithms(ln_value: float, ln_draws: Array) -> Interval:
    """The interval of a positive value from its logarithm and draws of it."""
    low, high = np.exp(ends(ln_value, ln_draws)).tolist()
    return Interval(value=math.exp(ln_value), low=low, high=high)
