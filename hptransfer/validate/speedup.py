"""The compute multiplier: the baseline's compute to the same loss over the compute spent. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # loads its parts when they are asked for: stats takes a second
from numpy.typing import NDArray
from scipy.special import softmax

from hptransfer.base.intervals import TAIL, Interval
from hptransfer.runs.curves import cost_to_loss
from hptransfer.validate.bent import EXPONENTS, bent, prior
from hptransfer.validate.result import Multiplier

# Exponent beta of loss = E + B cost^-beta at one model size, which bends the curve between two horizons: about .35 before any
# ladder is seen, with a factor of 2 for one standard deviation, as what is published scatters. Over tokens: .095 without a floor
# (arXiv 2001.08361), .28 (2203.15556), .37 (2404.10102, its refit), .2 to .5 by size (2506.10972), .06 to .60 and .33 in the
# median through triples of horizons of one size in Step Law's public runs. Over the area under the LR: .43 to .51 (2503.12811),
# .73 to .81 (2408.11029, refitted).
PRIOR = prior(0.35, 2.0)
FARTHEST = 4.0  # in cost, beyond the baseline's, that a curve is extrapolated to
DRAWS = 2000  # of every loss, for intervals and p-values

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spent:
    """What one configuration cost on one axis, its mean loss over seeds (nats per token) and the standard error of that mean.

    ``freedom``: degrees of freedom of the noise behind the standard error, of which an arm's points share one estimate
    (None: the noise is known). ``cost_error``: relative standard error of the cost, in which all points of an arm err
    together, as they do in seconds per token. Losses are comparable ones: all annealed.
    """

    cost: float
    loss: float
    standard_error: float = 0.0
    freedom: float | None = None
    cost_error: float = 0.0


def compute_multiplier(baseline: Sequence[Spent], challenger: Spent, *, seed: int = 0) -> Multiplier:
    """Where the baseline's ladder of horizons at one width reaches the challenger's loss, over the challenger's cost.

    Between two horizons the loss falls as E + B cost^-beta: the chord of ln cost over ln loss lies above such a curve and would
    flatter the challenger by 1 to 2 % of the multiplier. Three horizons say what beta is, with two it is what is usual. A longer
    run that ended higher adds nothing: the curve is that of the lowest loss so far, which can only favour the baseline. Outside
    the ladder nothing is extrapolated: the value is a bound, ``>`` or ``<``, and an end of the 80 % interval that leaves the
    ladder is None. Losses and beta are drawn; to the p-value a draw shows a speedup when it is above 1 or above a bound of at
    least 1.
    """
    ladder = _by_cost(baseline)
    values, before, beyond = ladder_multipliers(ladder, challenger, seed=seed)
    return _multiplier(
        float(values[0]),
        (np.where(before, -np.inf, values), np.where(beyond, np.inf, values)),
        np.where(beyond, values >= 1, ~before & (values > 1)),
        [*ladder, challenger],
        bound=">" if beyond[0] else "<" if before[0] else None,
    )


def ladder_multipliers(
    baseline: Sequence[Spent], challenger: Spent, *, seed: int = 0
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """The multipliers of `compute_multiplier` (1 + DRAWS,), as measured, then drawn; and in which of them the challenger's loss
    lies before the ladder's first and beyond its last, where they are that end's."""
    ladder = _by_cost(baseline)
    rng = np.random.default_rng(seed)
    losses = np.minimum.accumulate(_draw(ladder, rng), axis=1)
    loss = _draw([challenger], rng)[:, 0]
    beta = _exponents(ladder, rng)
    costs = np.array([point.cost for point in ladder])
    with np.errstate(all="ignore"):  # outside the ladder there is no number, and none is used
        inside = costs[0] * _along((costs / costs[0]) ** -beta[:, None], losses, loss) ** (-1 / beta)
    beyond, before = loss < losses[:, -1], loss > losses[:, 0]
    values = np.where(beyond, costs[-1], np.where(before, costs[0], inside)) / challenger.cost
    values[1:] *= np.exp(math.hypot(ladder[0].cost_error, challenger.cost_error) * rng.standard_normal(DRAWS))
    return values, before, beyond


def over_sizes(baseline: Sequence[Spent], challenger: Sequence[Spent], *, seed: int = 0) -> list[Multiplier]:
    """The multiplier of each of the challenger's points from the baseline's curve over model sizes, one point per size.

    ln cost is piecewise linear in ln loss (arXiv 2512.05620, section 4). Outside the baseline's losses its outer two points are
    extrapolated, and the multiplier says so; where they cannot be (one size, or equal losses), or the compute would be more than
    `FARTHEST` times beyond theirs, it is a bound.
    """
    if not challenger:
        return []
    curve = _by_cost(baseline)
    multipliers = np.exp(_log_multipliers(curve, challenger, seed))
    return [_of_curve(values, curve, point) for point, values in zip(challenger, multipliers.T, strict=True)]


def power_law(baseline: Sequence[Spent], challenger: Spent, *, seed: int = 0) -> Multiplier | None:
    """The multiplier from a power law: least squares of ln loss, which has the noise, on ln cost through all baseline points.

    ``extrapolated`` where the challenger's loss is outside theirs, and a bound as in `over_sizes`. The interval holds the noise
    of the losses, not what the law misses. None with fewer than three points, or where the fitted loss does not fall with cost.
    """
    curve = _by_cost(baseline)
    if len(curve) < 3:
        return None
    rng = np.random.default_rng(seed)
    y, target = np.log(_draw(curve, rng)), np.log(_draw([challenger], rng))[:, 0]
    x = np.log([point.cost for point in curve])
    slope = _slope(x, y)
    if not slope[0] < 0:
        return None
    with np.errstate(over="ignore", divide="ignore"):
        values = np.exp(x.mean() + (target - y.mean(axis=1)) / slope) / challenger.cost
    values = np.where(slope < 0, values, np.nan)  # a law that rises says nothing
    return _of_curve(_within_reach(values, curve, challenger), curve, challenger)


def trend(baseline: Sequence[Spent], challenger: Sequence[Spent], *, seed: int = 0) -> Interval | None:
    """Exponent of the multiplier in compute: slope of the ln multiplier of `over_sizes` on the challenger's ln cost.

    The 80 % interval is from the same draws. None with fewer than three sizes, or where a multiplier is only a bound.
    """
    if len(challenger) < 3:
        return None
    x = np.log([point.cost for point in challenger])
    with np.errstate(invalid="ignore"):
        slopes = _slope(x, _log_multipliers(_by_cost(baseline), challenger, seed))
    if not math.isfinite(slopes[0]):
        return None
    low, high = _ends(float(slopes[0]), (slopes, slopes))
    return Interval(value=float(slopes[0]), low=low, high=high)


def within_run(baseline: Spent, curve: Sequence[tuple[float, float]]) -> Multiplier | None:
    """What the challenger's own training curve says: the baseline's cost over the cost at which it passes the baseline's loss.

    ``curve``: (cost, validation loss) of one run in the order of training, interpolated linearly. Its schedule has not ended
    there, and a run that ends there would be lower still: always a lower bound, ``>``, without an upper end. The lower end is
    from the baseline's standard error alone. None where the curve never passes.
    """
    passed = cost_to_loss(curve, baseline.loss)
    if not passed:
        return None
    margin = scipy.stats.t.ppf(1 - TAIL, baseline.freedom or math.inf) * baseline.standard_error
    later = cost_to_loss(curve, baseline.loss - margin)
    low = baseline.cost / later if later else None
    return Multiplier(value=baseline.cost / passed, low=low, high=None, bracketed=False, bound=">")


def _by_cost(points: Sequence[Spent]) -> list[Spent]:
    return sorted(points, key=lambda point: point.cost)


def _outside(curve: Sequence[Spent], point: Spent) -> bool:
    """Whether a loss lies outside those of a curve."""
    return not min(p.loss for p in curve) <= point.loss <= max(p.loss for p in curve)


def _draw(points: Sequence[Spent], rng: np.random.Generator) -> Array:
    """Losses of one optimizer (1 + DRAWS, len(points)): as measured, then drawn.

    In a draw the scale of the noise is drawn once for all points and each point is then normal, so that each alone follows a t
    distribution and all share whether the noise was under- or overestimated. In logarithms, where a loss stays positive.
    """
    losses = np.array([point.loss for point in points])
    errors = np.array([point.standard_error for point in points]) / losses
    freedom = min((point.freedom for point in points if point.freedom is not None), default=None)
    scale = np.ones((DRAWS, 1)) if freedom is None else np.sqrt(freedom / rng.chisquare(freedom, (DRAWS, 1)))
    drawn = losses * np.exp(errors * scale * rng.standard_normal((DRAWS, len(points))))
    return np.vstack([losses, drawn])


def _exponents(ladder: Sequence[Spent], rng: np.random.Generator) -> Array:
    """beta (1 + DRAWS,): its mean in logarithms, then drawn from `PRIOR` and what the ladder's losses say. They are drawn apart
    from the losses, whose noise moves a multiplier far more than the bend between two of them does."""
    weights = PRIOR
    if len(ladder) > 2:
        costs, losses, errors = np.array([(point.cost, point.loss, point.standard_error) for point in ladder]).T
        freedom = min((point.freedom for point in ladder if point.freedom is not None), default=math.inf)
        weights = softmax(np.log(PRIOR) + bent(costs, losses, errors, freedom).ln_likelihood)
    usual = math.exp(float(weights @ np.log(EXPONENTS)))
    return np.concatenate([[usual], rng.choice(EXPONENTS, DRAWS, p=weights)])


def _along(x: Array, y: Array, target: Array) -> Array:
    """x at ``target`` (n,) on the broken lines through (x, y), both (n, k), y falling; the outer pieces go on beyond the ends.

    Beyond a flat outer piece, or a single point, x is infinite.
    """
    rows = np.arange(len(target))
    left = np.clip((y > target[:, None]).sum(axis=1) - 1, 0, max(y.shape[1] - 2, 0))
    right = np.minimum(left + 1, y.shape[1] - 1)
    top, bottom = y[rows, left], y[rows, right]
    share = np.where(target == top, 0.0, (top - target) / (top - bottom))
    step = np.where(right > left, x[rows, right] - x[rows, left], 1.0)
    return np.asarray(x[rows, left] + share * step)


def _log_multipliers(curve: Sequence[Spent], challenger: Sequence[Spent], seed: int) -> Array:
    """ln multiplier over sizes (1 + DRAWS, sizes): as measured, then drawn; infinite where nothing can be extrapolated."""
    rng = np.random.default_rng(seed)
    y, own = np.log(np.minimum.accumulate(_draw(curve, rng), axis=1)), np.log(_draw(challenger, rng))
    x = np.broadcast_to(np.log([point.cost for point in curve]), y.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [_along(x, y, own[:, i]) - math.log(point.cost) for i, point in enumerate(challenger)]
    with np.errstate(divide="ignore", over="ignore"):
        near = [_within_reach(np.exp(values), curve, point) for values, point in zip(found, challenger, strict=True)]
        return np.log(np.stack(near, axis=1))


def _within_reach(multipliers: Array, curve: Sequence[Spent], point: Spent) -> Array:
    """Multipliers that are more than `FARTHEST` times beyond the costs of a curve become 0 or infinite."""
    costs = multipliers * point.cost
    low, high = curve[0].cost / FARTHEST, curve[-1].cost * FARTHEST
    return np.where(costs > high, np.inf, np.where(costs < low, 0.0, multipliers))


def _of_curve(values: Array, curve: Sequence[Spent], point: Spent) -> Multiplier:
    """The multiplier of a curve that may be extrapolated; where it is 0 or infinite, a bound by the curve's outer cost."""
    low, high, points = np.where(values == 0, -np.inf, values), values, [*curve, point]
    least, most = curve[0].cost / point.cost, curve[-1].cost / point.cost
    if values[0] == np.inf:
        return _multiplier(most, (np.minimum(low, most), high), values > 1, points, bound=">")
    if values[0] == 0:
        return _multiplier(least, (low, np.maximum(high, least)), values > 1, points, bound="<")
    return _multiplier(float(values[0]), (low, high), values > 1, points, extrapolated=_outside(curve, point))


def _slope(x: Array, y: Array) -> Array:
    """Least-squares slope of y on x along the last axis, (k,) or (n, k)."""
    x = x - x.mean(axis=-1, keepdims=True)
    return np.asarray((x * (y - y.mean(axis=-1, keepdims=True))).sum(axis=-1) / (x * x).sum(axis=-1))


def _ends(value: float, drawn: tuple[Array, Array]) -> tuple[float | None, float | None]:
    """The 80 % interval around a value, from what its draws say of the lower and of the upper end; an infinite end as None. A
    draw without a number (nan) counts as infinite at both."""
    low = np.quantile(np.where(np.isnan(drawn[0][1:]), -np.inf, drawn[0][1:]), TAIL, method="lower")
    high = np.quantile(np.where(np.isnan(drawn[1][1:]), np.inf, drawn[1][1:]), 1 - TAIL, method="higher")
    return (
        min(float(low), value) if np.isfinite(low) else None,
        max(float(high), value) if np.isfinite(high) else None,
    )


def _multiplier(
    value: float,
    drawn: tuple[Array, Array],
    shown: NDArray[np.bool_],
    points: Sequence[Spent],
    *,
    bound: Literal[">", "<"] | None = None,
    extrapolated: bool = False,
) -> Multiplier:
    """``drawn``, as in `_ends`: a draw that left the curve is infinite at the end that it leaves open, and a bound at the other.
    ``shown``: whether a draw shows a speedup.

    The p-value, the share of draws that show none, counts one draw more on either side: it is never 0. Without a standard error
    there is none.
    """
    low, high = _ends(value, drawn)
    noisy = any(point.standard_error > 0 for point in points)
    return Multiplier(
        value=value,
        low=low,
        high=high,
        bracketed=bound is None and not extrapolated,
        bound=bound,
        extrapolated=extrapolated,
        p_value=(1 + int((~shown[1:]).sum())) / (1 + DRAWS) if noisy else None,
    )
