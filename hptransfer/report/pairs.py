"""Every two optimizers at the held-out width, at the same tokens: is one loss lower than the other, and what would show it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import combinations

from hptransfer.errors import UsageError
from hptransfer.report.results import Results, Series, label
from hptransfer.spec import Spec
from hptransfer.validate.result import BASELINE, Validation
from hptransfer.validate.significance import Sample, equivalent_steps, loss_exponent, p_lower, seeds_needed
from hptransfer.validate.verdict import annealed


class Pair(Spec):
    """Two predicted runs. ``lower`` and ``higher`` are named by their mean losses; ``difference`` in nats per token, ``relative``
    to the lower one. ``p_value``: one-sided, that ``lower`` is not lower. ``seeds``: of each, to show this difference at 95 %
    with a power of 80 %; None where there is no difference to show. ``tokens``: the factor on AdamW's tokens that brings it from
    the higher loss to the lower; None without a ladder of two horizons or more, and for losses amid a schedule."""

    lower: str
    higher: str
    difference: float
    relative: float
    p_value: float
    runs: tuple[int, int]  # seeds behind either
    seeds: int | None
    tokens: float | None = None

    @property
    def names(self) -> frozenset[str]:
        return frozenset((self.lower, self.higher))


def pairs(results: Results) -> tuple[Pair, ...]:
    """All pairs of series whose predicted runs finished on every seed, and whose noise is known. A loss amid a schedule is not
    compared with an annealed one."""
    samples = [
        (series, found, annealed(results.predictions[series].spec))
        for series in results.series
        if (validation := results.validations.get(series)) and (found := _sample(validation))
    ]
    pairs = (sorted(two, key=lambda item: item[1].mean) for two in combinations(samples, 2))
    return tuple(
        _pair(lower[:2], higher[:2], _exponent(results, lower[0][1]) if lower[2] and lower[0][1] == higher[0][1] else None)
        for lower, higher in pairs
        if lower[2] == higher[2]
    )


def pair_of(found: Iterable[Pair], one: str, other: str) -> Pair | None:
    """The comparison of two series by their labels."""
    return next((pair for pair in found if pair.names == {one, other}), None)


def _sample(validation: Validation) -> Sample | None:
    run, noise = validation.predicted, validation.noise
    if run is None or run.loss is None or noise.sd <= 0 or noise.freedom <= 0:
        return None
    return Sample(run.loss, noise.sd * run.loss, len(run.losses), noise.freedom)


def _exponent(results: Results, parametrization: str) -> float | None:
    """Of AdamW's loss in tokens, from its longest ladder with which a multiplier was measured; None where there is none."""
    baseline = results.predictions.get((BASELINE, parametrization))
    ladders = [
        [(run.tokens, run.loss) for run in validation.ladder if run.loss is not None]
        for series, validation in results.validations.items()
        if series[1] == parametrization and validation.speedup
    ]
    if not ladders or baseline is None or not annealed(baseline.spec):
        return None
    with suppress(UsageError):  # fewer than two horizons, or a loss that does not fall
        return loss_exponent(*zip(*max(ladders, key=len), strict=True))
    return None


def _pair(lower: tuple[Series, Sample], higher: tuple[Series, Sample], exponent: float | None) -> Pair:
    """``exponent``: of AdamW's loss in tokens."""
    one, other = lower[1], higher[1]
    difference = other.mean - one.mean
    return Pair(
        lower=label(lower[0]),
        higher=label(higher[0]),
        difference=difference,
        relative=difference / one.mean,
        p_value=p_lower(one, other),
        runs=(one.n, other.n),
        seeds=seeds_needed(difference, one.sd, other.sd) if difference > 0 else None,
        tokens=equivalent_steps(other.mean, one.mean, exponent) if exponent else None,
    )
