"""The line of the optimum against one scale that a prediction lies on, with its band."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from hptransfer.base.intervals import Interval
from hptransfer.transfer.prediction import Drift

POINTS = 25


def line_of(
    optima: Sequence[tuple[float, Interval]], target: tuple[float, Interval], drift: Drift
) -> Iterator[tuple[float, Interval, float | None]]:
    """Scales in about equal ratios from the smallest of ``optima`` to ``target``, with the best value there, and what theory
    expects (None: there is none).

    The line has the exponent that was used and goes through the prediction; it meets theory's amid the searched scales. Its 80 %
    band has the prediction's own interval at the target. Amid the searched scales, where the line is known best, it is as wide
    as the mean of the optima there: the root of the sum of their squared half-widths (ln) over their number, their errors being
    taken as independent. From there the squared half-width (ln) grows in proportion to the distance in ln scale, to both sides,
    as that of an optimum that wanders, which the prior of the law has (`hptransfer.transfer.law.fit_law`). An error of the
    exponent alone would make it grow with the square of the distance, and the band narrower on the way to the target.
    """
    end, best = target
    scales = [scale for scale, _ in optima] or [end]
    middle = math.exp(sum(map(math.log, scales)) / len(scales))
    low, high, reach = min(*scales, end), max(*scales, end), abs(math.log(end / middle))
    places = {low * (high / low) ** (i / (POINTS - 1)) for i in range(POINTS)}
    for scale in sorted({float(round(place)) for place in places} if end == int(end) else places):
        value, distance = best.value * (scale / end) ** drift.used, abs(math.log(scale / middle))
        ends: list[float | None] = []
        for upper in (False, True):
            own, others = _half(best, upper), [half for _, one in optima if (half := _half(one, upper)) is not None]
            if own is None:
                ends.append(None)
                continue
            level = min(own, math.hypot(*others) / len(others) if others else own)
            half = math.sqrt(level**2 + (distance / reach if reach > 0 else 1.0) * (own**2 - level**2))
            ends.append(value * math.exp(half if upper else -half))
        expected = None if drift.theory is None else best.value * (middle / end) ** drift.used * (scale / middle) ** drift.theory
        yield scale, Interval(value=value, low=ends[0], high=ends[1]), expected


def _half(interval: Interval, upper: bool) -> float | None:
    """From the value to one end, ln; None where it is not bounded."""
    end = interval.high if upper else interval.low
    return None if end is None else abs(math.log(end / interval.value))
