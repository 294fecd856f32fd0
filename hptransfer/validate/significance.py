"""Whether a difference of losses is more than seed noise, and what it is worth in steps. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads its parts when they are asked for: stats takes a second

from hptransfer.base.errors import UsageError
from hptransfer.base.intervals import TAIL, Interval


@dataclass(frozen=True)
class Sample:
    """Final losses of one configuration over ``n`` seeds, nats per token: their mean, the standard deviation of a single seed.

    ``freedom``: degrees of freedom of that standard deviation; infinite where it is known. Raises UsageError without noise.
    """

    mean: float
    sd: float
    n: int
    freedom: float

    def __post_init__(self) -> None:
        if not (self.sd > 0 and self.n > 0 and self.freedom > 0):
            raise UsageError(
                f"A comparison needs the noise of both sides: got {self.n} seeds with a standard deviation of {self.sd:g} "
                f"from {self.freedom:g} degrees of freedom."
            )

    @property
    def variance(self) -> float:
        """Of the mean, nats per token squared."""
        return self.sd**2 / self.n


def p_lower(one: Sample, other: Sample) -> float:
    """One-sided p-value of "the loss of ``one`` is not lower than that of ``other``": Welch's t test.

    Degrees of freedom by Satterthwaite (Biometrics Bulletin 2, 110, 1946) from those of the two standard deviations, which may
    rest on more runs than the two samples.
    """
    freedom = welch_freedom((one.variance, other.variance), (one.freedom, other.freedom))
    return float(scipy.stats.t.sf((other.mean - one.mean) / math.sqrt(one.variance + other.variance), freedom))


def welch_freedom(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a sum of variances, from those behind each (Satterthwaite)."""
    inverse = sum((variance / sum(variances)) ** 2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    return 1 / inverse if inverse else math.inf


@dataclass(frozen=True)
class LossDifference:
    """How far one mean loss lies from another, relative to it (below 0: it is lower), its standard error and the degrees of
    freedom of that."""

    value: float
    error: float
    freedom: float

    @property
    def interval(self) -> Interval:
        """80 %, by Student's t."""
        reach = self.error * float(scipy.stats.t.isf(TAIL, self.freedom))
        return Interval(value=self.value, low=self.value - reach, high=self.value + reach)

    @property
    def p_value(self) -> float:
        """One-sided, that the difference has not the sign that it was measured with."""
        return float(scipy.stats.t.sf(abs(self.value) / self.error, self.freedom))


def difference(pairs: Sequence[tuple[Sample, Sample]]) -> LossDifference:
    """Of the first of each pair from the second: over several pairs, each at a scale of its own, their mean by certainty. Where
    they scatter beyond their noise the error is wider by that (Birge, Phys. Rev. 40, 207, 1932)."""
    values = np.array([one.mean / other.mean - 1 for one, other in pairs])
    parts = np.array([(one.variance / other.mean**2, other.variance / other.mean**2) for one, other in pairs])
    weight = 1 / parts.sum(axis=1)
    value = float(np.average(values, weights=weight))
    birge = max(1.0, float(np.sum(weight * (values - value) ** 2)) / max(1, len(pairs) - 1))
    shares = (weight[:, None] ** 2 * parts).ravel().tolist()
    freedom = welch_freedom(shares, [sample.freedom for pair in pairs for sample in pair])
    return LossDifference(value, math.sqrt(birge / float(weight.sum())), freedom)


def seeds_needed(difference: float, sd: float, other_sd: float | None = None, *, level: float = 0.05, power: float = 0.8) -> int:
    """Seeds per configuration with which a true ``difference`` of losses is shown at ``level``, one-sided, with ``power``.

    ``sd`` and ``other_sd`` (the same where None): standard deviations of a single seed, which the test will estimate from these
    seeds alone: the power of a t test, noncentral t (Cohen, Statistical Power Analysis, 1988, chapter 2), with the degrees of
    freedom of Welch's. All in nats per token. Raises UsageError where nothing could be shown.
    """
    other_sd = sd if other_sd is None else other_sd
    if not (difference > 0 and sd > 0 and other_sd > 0 and 0 < level < power < 1):
        raise UsageError(
            f"No number of seeds shows a difference of {difference:g} nats with standard deviations of {sd:g} and {other_sd:g} "
            f"at level {level:g} with power {power:g}."
        )
    variance = sd**2 + other_sd**2
    share = variance**2 / (sd**4 + other_sd**4)  # degrees of freedom per seed beyond the first, 1 to 2
    # Known noise needs fewer: from there up.
    n: int = max(2, math.ceil(variance * ((scipy.stats.norm.isf(level) + scipy.stats.norm.ppf(power)) / difference) ** 2))
    while True:
        freedom = share * (n - 1)
        if scipy.stats.nct.sf(scipy.stats.t.isf(level, freedom), freedom, difference * math.sqrt(n / variance)) >= power:
            return n
        n += 1


@dataclass(frozen=True)
class OneSidedTest:
    """A one-sided rule for losses with known noise: the excess of a mean of n runs times sqrt(n) has to reach ``margin``, nats.

    ``loss_per_step``: how much one step more lowers the loss, nats, to compare runs of different lengths.
    """

    margin: float
    loss_per_step: float

    def reached(self, losses: Sequence[float], target: float) -> bool:
        """Whether a set of runs is shown to reach a target loss."""
        return (target - float(np.mean(losses))) * math.sqrt(len(losses)) >= self.margin

    def better(self, losses: Sequence[float], steps: int, other_losses: Sequence[float], other_steps: int) -> bool:
        """Whether runs of ``steps`` steps are shown to be better than others of ``other_steps``: a step saved counts as loss."""
        excess = float(np.mean(other_losses) - np.mean(losses)) + (other_steps - steps) * self.loss_per_step
        return excess / math.sqrt(1 / len(losses) + 1 / len(other_losses)) >= self.margin


# modded-nanogpt, track 3 (steps to a loss of 3.28): with their seed noise of .0013 a margin of .004 is a p-value of .001; near
# that loss 100 steps lower it by .0045.
TRACK_3 = OneSidedTest(margin=0.004, loss_per_step=0.0045 / 100)


def loss_exponent(tokens: Sequence[float], losses: Sequence[float]) -> float:
    """Exponent a of loss ~ tokens^-a through a ladder of horizons, each annealed: least squares of ln loss on ln tokens.

    Local: it describes the neighbourhood of the ladder, as the loss flattens towards its floor. Raises UsageError with fewer than
    two horizons, or where the loss does not fall.
    """
    if len(set(tokens)) < 2:
        raise UsageError("The exponent of the loss in tokens needs two horizons or more.")
    exponent = -float(np.polyfit(np.log(tokens), np.log(losses), 1)[0])
    if exponent <= 0:
        raise UsageError("The loss does not fall with the horizon, so that a difference of loss is no number of steps.")
    return exponent


def equivalent_steps(loss: float, other: float, exponent: float) -> float:
    """Factor on steps (or tokens) that brings a run from ``loss`` to ``other``, both annealed: (loss / other)^(1 / exponent)."""
    return float((loss / other) ** (1 / exponent))


def equivalent_loss(loss: float, factor: float, exponent: float) -> float:
    """Loss, nats per token, of a run of ``factor`` times the steps of one with ``loss``: the inverse of `equivalent_steps`."""
    return float(loss * factor**-exponent)
