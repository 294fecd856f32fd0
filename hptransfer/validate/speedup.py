"""The compute multiplier: AdamW's compute to the same loss over the compute spent. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hptransfer.validate.regret import DRAWS, LEVEL
from hptransfer.validate.result import Multiplier


@dataclass(frozen=True)
class Point:
    """One configuration trained to the end of its own schedule: cost on one axis, mean loss, and its standard error."""

    cost: float
    loss: float
    standard_error: float = 0.0


def compute_multiplier(baseline: Sequence[Point], challenger: Point, *, seed: int = 0) -> Multiplier:
    """Where the baseline's curve, ln cost piecewise linear in ln loss (arXiv 2512.05620, section 4), reaches a loss.

    Outside the baseline's losses nothing is extrapolated: the value is a bound, ``>`` or ``<``. The 80 % interval comes from
    normal draws of every loss; an end that leaves the bracket is None: not bounded there.
    """
    rng = np.random.default_rng(seed)
    points = [*baseline, challenger]
    losses = rng.normal([p.loss for p in points], [p.standard_error for p in points], size=(DRAWS, len(points)))
    costs = [point.cost for point in baseline]
    value, bound = _multiplier(costs, [p.loss for p in baseline], challenger.cost, challenger.loss)
    drawn = [_multiplier(costs, list(row[:-1]), challenger.cost, row[-1]) for row in losses]
    ends = {">": math.inf, "<": 0.0}
    spread = [ends.get(draw_bound or "", draw) for draw, draw_bound in drawn]
    low = float(np.quantile(spread, LEVEL[0], method="lower"))
    high = float(np.quantile(spread, LEVEL[1], method="higher"))
    return Multiplier(
        value=value,
        low=min(low, value) if low > 0 else None,
        high=max(high, value) if math.isfinite(high) else None,
        bracketed=bound is None,
        bound=bound,
    )


def _multiplier(costs: Sequence[float], losses: Sequence[float], cost: float, loss: float) -> tuple[float, str | None]:
    """The multiplier and, outside the bracket, the side on which it is only a bound."""
    # A longer run that ended higher says nothing new: noise must not make the curve turn back.
    lowered = np.minimum.accumulate(losses)
    if loss < lowered[-1]:
        return costs[-1] / cost, ">"
    if loss > lowered[0]:
        return costs[0] / cost, "<"
    log_cost = np.interp(-math.log(loss), -np.log(lowered), np.log(costs))
    return float(math.exp(log_cost)) / cost, None
