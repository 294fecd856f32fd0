"""Every two arms at the held-out width, at the same tokens: is one loss lower than the other, and what would show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import combinations

from hptransfer.base.errors import UsageError
from hptransfer.base.frozen import Frozen
from hptransfer.validate.result import TargetRun, Validation
from hptransfer.validate.results import Results
from hptransfer.validate.significance import Sample, equivalent_steps, loss_exponent, p_lower, seeds_needed
from hptransfer.validate.verdict import annealed


class Pair(Frozen):
    """Two predicted runs. ``lower`` and ``higher`` are named by their mean losses; ``difference`` in nats per token, ``relative``
    to the lower one. ``p_value``: one-sided, that ``lower`` is not lower. ``seeds``: of each, to show this difference at 95 %
    with a power of 80 %; None where there is no difference to show. ``tokens``: the factor on the baseline's tokens that brings
    it from the higher loss to the lower; None where its ladder does not reach both, and for losses amid a schedule."""

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
    """All pairs of arms whose predicted runs finished on every seed, and whose noise is known. A loss amid a schedule is not
    compared with an annealed one."""
    samples = [
        (arm.name, found, annealed(results.predictions[arm.name].point))
        for arm in results.arms
        if (validation := results.validations.get(arm.name)) and (found := sample_of(validation))
    ]
    pairs = (sorted(two, key=lambda item: item[1].mean) for two in combinations(samples, 2))
    return tuple(
        _pair(lower[:2], higher[:2], _ladder(results, lower[0], higher[0]) if lower[2] else [])
        for lower, higher in pairs
        if lower[2] == higher[2]
    )


def pair_of(found: Iterable[Pair], one: str, other: str) -> Pair | None:
    """The comparison of two arms by their names."""
    return next((pair for pair in found if pair.names == {one, other}), None)


def sample_of(validation: Validation) -> Sample | None:
    """The losses of the predicted run; None where a seed has none, or nothing is known of the noise."""
    run, noise = validation.predicted, validation.noise
    if run is None or run.loss is None or noise.sd <= 0 or noise.freedom <= 0:
        return None
    return Sample(run.loss, noise.sd * run.loss, len(run.losses), noise.freedom)


def _ladder(results: Results, one: str, other: str) -> list[TargetRun]:
    """The annealed runs of several horizons of the baseline that two arms share, the most with which a speedup was measured."""
    baseline = results.baseline(one)
    told = results.predictions.get(baseline or "")
    if told is None or not annealed(told.point) or results.baseline(other) != baseline:
        return []
    measured = [found for found in results.validations.values() if found.baseline == baseline and found.speedup]
    return max(([run for run in found.ladder if run.loss is not None] for found in measured), key=len, default=[])


def _tokens(lower: float, higher: float, ladder: Sequence[TargetRun]) -> float | None:
    """The factor on the baseline's tokens from the higher loss to the lower; None outside the ladder's losses, or where they do
    not fall."""
    losses = [run.loss for run in ladder if run.loss is not None]
    if not losses or lower < min(losses) or higher > max(losses):
        return None
    with suppress(UsageError):  # fewer than two horizons, or a loss that does not fall
        return equivalent_steps(higher, lower, loss_exponent([run.tokens or 0 for run in ladder], losses))
    return None


def _pair(lower: tuple[str, Sample], higher: tuple[str, Sample], ladder: Sequence[TargetRun]) -> Pair:
    one, other = lower[1], higher[1]
    difference = other.mean - one.mean
    return Pair(
        lower=lower[0],
        higher=higher[0],
        difference=difference,
        relative=difference / one.mean,
        p_value=p_lower(one, other),
        runs=(one.n, other.n),
        seeds=seeds_needed(difference, one.sd, other.sd) if difference > 0 else None,
        tokens=_tokens(one.mean, other.mean, ladder),
    )
