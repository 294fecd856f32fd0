"""Whether a win survives scale: what the slope of ln multiplier in ln compute says, wherever the multipliers are from. Pure."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hptransfer.base.intervals import Array, Interval

FLAT = 0.03  # slope of ln multiplier in ln compute within which a multiplier holds: 30 times the compute move it by 10 %
LEVEL = 0.90  # of the slope's interval

SurvivalVerdict = Literal["holds", "grows", "shrinks", "cannot_tell"]


def slope_interval(value: float, draws: Array) -> Interval:
    """The 90 % interval of a slope from draws of it (n,), stretched where it must be to hold the value."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(value=value, low=min(low, value), high=max(high, value))


def verdict_of(slope: Interval) -> SurvivalVerdict:
    """What a slope of ln multiplier in ln compute with its interval says; one without two ends tells nothing."""
    if slope.low is None or slope.high is None:
        return "cannot_tell"
    if slope.low >= -FLAT and slope.high <= FLAT:
        return "holds"
    if slope.low > 0:
        return "grows"
    return "shrinks" if slope.high < 0 else "cannot_tell"
