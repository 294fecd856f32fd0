"""Whether a win survives scale: the multiplier at every searched scale and at the held-out one, and how it moves with compute.

At a searched scale each arm runs at the optimum that its own search found there, and the baseline over a ladder of horizons, as
at the held-out width: the same measurement at every scale, or a slope would be one of methods. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.base.survival import FLAT, slope_interval, verdict_of
from hptransfer.experiment import ValidationSettings
from hptransfer.validate.result import AtScale, Survival
from hptransfer.validate.speedup import Array, Spent, compute_multiplier, ladder_multipliers

MARGIN, MOST_SEEDS = 0.2, 100  # in counting seeds; more of them are no plan
FEWEST = 3  # scales at which the ladder brackets


@dataclass(frozen=True)
class ScaleRuns:
    """One scale: the baseline's ladder of horizons and the challenger there, ``cost`` in FLOPs of the challenger's run."""

    width: int
    ladder: Sequence[Spent]
    challenger: Spent
    is_held_out: bool = False


def survival(scales: Sequence[ScaleRuns], *, seed: int = 0) -> Survival:
    """The verdict over scales, those whose multiplier has both ends of its interval inside the ladder. The 90 % interval of the
    slope is from the losses' noise, and wider by what the multipliers scatter about the line beyond it (Birge, Phys. Rev. 40,
    207, 1932)."""
    ordered = sorted(scales, key=lambda one: one.challenger.cost)
    found = tuple(
        AtScale(
            width=one.width,
            flops=one.challenger.cost,
            multiplier=compute_multiplier(one.ladder, one.challenger, seed=seed),
            is_held_out=one.is_held_out,
        )
        for one in ordered
    )
    kept = [index for index, one in enumerate(found) if one.is_measured]
    if len(kept) < FEWEST:
        return Survival(
            verdict="cannot_tell", slope=None, scales=found, reason=Refusal.of("few_scales", bracketed=len(kept), needed=FEWEST)
        )
    x = np.log([ordered[index].challenger.cost for index in kept])
    y = np.stack([np.log(ladder_multipliers(ordered[i].ladder, ordered[i].challenger, seed=seed + i)[0]) for i in kept], axis=1)
    slope, scatter = _slope(x, y)
    verdict = verdict_of(slope)
    reason = None
    if verdict == "cannot_tell":
        reason = Refusal.of("wide_slope", low=slope.low, high=slope.high, flat=FLAT)
    return Survival(verdict=verdict, slope=slope, scatter=scatter, scales=found, reason=reason)


def _slope(x: Array, y: Array) -> tuple[Interval, float]:
    """Weighted least squares of ln multipliers (1 + draws, scales), the measured ones first; and by what scatter about the line
    has widened the interval."""
    variance = np.maximum(y[1:].var(axis=0), 1e-12)
    weight = 1 / variance
    centred = x - np.average(x, weights=weight)
    along = weight * centred / np.sum(weight * centred**2)
    slopes = y @ along
    value = float(slopes[0])
    residual = y[0] - np.average(y[0], weights=weight) - value * centred
    birge = max(1.0, math.sqrt(float(np.sum(weight * residual**2)) / (len(x) - 2)))
    return slope_interval(value, value + birge * (slopes[1:] - value)), birge


def to_tell(found: Survival, settings: ValidationSettings) -> ValidationSettings | None:
    """The settings whose runs, beside those of ``settings``, are expected to tell; None where others than these must change.

    With a slope, as many seeds as bring its interval within `FLAT` of 0 or beside 0, if it is what it was measured to be: the
    part of its half width that is noise falls with their root. Without one, or where that would be more than `MOST_SEEDS`,
    horizons one octave further on the sides where they did not bracket.
    """
    slope = found.slope
    if slope is not None and slope.low is not None and slope.high is not None:
        half = max(slope.high - slope.value, slope.value - slope.low)
        noise, enough = half / found.scatter, max(abs(slope.value), FLAT - abs(slope.value))
        left = enough**2 - (half**2 - noise**2)  # for noise, beside what the multipliers scatter
        seeds = math.ceil(settings.seeds * noise**2 / left * (1 + MARGIN)) if left > 0 else MOST_SEEDS + 1
        if seeds <= MOST_SEEDS:
            return settings.model_copy(update={"seeds": max(seeds, settings.seeds + 1)})
    further = {2 * max((1.0, *settings.ladder))} if any(one.multiplier.high is None for one in found.scales) else set()
    further |= {min((1.0, *settings.ladder)) / 2} if any(one.multiplier.low is None for one in found.scales) else set()
    return settings.model_copy(update={"ladder": tuple(sorted({*settings.ladder, *further}))}) if further else None
