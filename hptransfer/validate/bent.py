"""Losses that fall with cost as E + B cost^-beta, where so few of them are known that beta stays open. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from hptransfer.base.intervals import Array

EXPONENTS = np.geomspace(0.03, 2.0, 400)  # beta
MISTUNED = 3e-4  # loss of a run above the curve, relative: its LR and weight decay are not the very best


def prior(usual: float, factor: float) -> Array:
    """How probable each of `EXPONENTS` is before any loss is seen: ``usual``, with a ``factor`` for one standard deviation."""
    return np.asarray(softmax(-((np.log(EXPONENTS / usual) / math.log(factor)) ** 2) / 2))


@dataclass(frozen=True)
class Bent:
    """The curve through losses at ``costs`` (points,) for each of `EXPONENTS`, by weighted least squares on how much of the fall
    from the first to the last is done (`_fallen`): ``level``, the weighted mean of the losses, at ``middle`` (exponents,), and
    ``slope`` (exponents,) with its ``spread`` (exponents,), the weighted squares about the middle. ``weight`` is the sum of the
    weights, one over the variances, which rest on ``freedom`` degrees of freedom; ``misfit`` (exponents,) is chi squared."""

    costs: Array
    level: float
    middle: Array
    slope: Array
    spread: Array
    misfit: Array
    weight: float
    freedom: float

    @property
    def ln_likelihood(self) -> Array:
        """Of each of `EXPONENTS`, up to a constant; the losses at both ends are anything beforehand. Student's t where the noise
        is an estimate."""
        degrees = self.freedom + len(self.costs) - 2
        fit = -self.misfit / 2 if math.isinf(self.freedom) else -degrees / 2 * np.log1p(self.misfit / self.freedom)
        return np.asarray(fit - np.log(self.spread) / 2)

    def draw(self, cost: float, weights: Array, draws: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """The loss at a cost, in draws of beta by ``weights`` (exponents,) and of a noise that is an estimate, and by what factor
        the noise of each is larger than was thought. Only draws whose loss falls, to an end above 0, are kept."""
        place = rng.choice(len(EXPONENTS), draws, p=weights)
        degrees = self.freedom + len(self.costs) - 2
        factor = np.sqrt((self.freedom + self.misfit[place]) / rng.chisquare(degrees, draws))
        level = self.level + factor * rng.standard_normal(draws) / math.sqrt(self.weight)
        slope = self.slope[place] + factor * rng.standard_normal(draws) / np.sqrt(self.spread[place])
        ends = _fallen(self.costs, np.array([cost, np.inf])) - self.middle[:, None]
        loss, end = (level + slope * ends[place, k] for k in (0, 1))
        kept = (slope < 0) & (end > 0)
        return loss[kept], factor[kept]


def bent(costs: Array, losses: Array, errors: Array, freedom: float = math.inf) -> Bent:
    """The curves through losses in the order of their costs, all (points,). ``errors``: standard errors, without what mistuning
    adds; ``freedom``: of their estimate (infinite: they are known)."""
    precision = 1 / ((MISTUNED * losses) ** 2 + errors**2)
    share = precision / precision.sum()
    fallen = _fallen(costs, costs)
    level, middle = float(losses @ share), fallen @ share
    x, y = fallen - middle[:, None], losses - level
    spread, along = (precision * x**2).sum(axis=1), (precision * x * y).sum(axis=1)
    misfit = np.maximum((precision * y**2).sum() - along**2 / spread, 0.0)
    return Bent(costs, level, middle, along / spread, spread, misfit, float(precision.sum()), freedom)


def _fallen(costs: Array, at: Array) -> Array:
    """Which share (exponents, at) of the fall from the first of ``costs`` to the last is done at other costs."""
    power = -EXPONENTS[:, None]
    return np.asarray((1 - (at / costs[0]) ** power) / (1 - (costs[-1] / costs[0]) ** power))
