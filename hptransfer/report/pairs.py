"""Every two optimizers at the held-out width, at the same tokens: is one loss lower than the other, and what would show it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from hptransfer.report.results import Results, label
from hptransfer.spec import Spec
from hptransfer.validate.result import Validation
from hptransfer.validate.significance import Sample, p_lower, seeds_needed
from hptransfer.validate.verdict import annealed


class Pair(Spec):
    """Two predicted runs. ``lower`` and ``higher`` are named by their mean losses; ``difference`` in nats per token, ``relative``
    to the lower one. ``p_value``: one-sided, that ``lower`` is not lower. ``seeds``: of each, to show this difference at 95 %
    with a power of 80 %; None where there is no difference to show."""

    lower: str
    higher: str
    difference: float
    relative: float
    p_value: float
    runs: tuple[int, int]  # seeds behind either
    seeds: int | None

    @property
    def names(self) -> frozenset[str]:
        return frozenset((self.lower, self.higher))


def pairs(results: Results) -> tuple[Pair, ...]:
    """All pairs of series whose predicted runs finished on every seed, and whose noise is known. A loss amid a schedule is not
    compared with an annealed one."""
    samples = [
        (label(series), found, annealed(results.predictions[series].spec))
        for series in results.series
        if (validation := results.validations.get(series)) and (found := _sample(validation))
    ]
    pairs = (sorted(two, key=lambda item: item[1].mean) for two in combinations(samples, 2))
    return tuple(_pair(lower[:2], higher[:2]) for lower, higher in pairs if lower[2] == higher[2])


def pair_of(found: Iterable[Pair], one: str, other: str) -> Pair | None:
    """The comparison of two series by their labels."""
    return next((pair for pair in found if pair.names == {one, other}), None)


def _sample(validation: Validation) -> Sample | None:
    run, noise = next((run for run in validation.runs if run.kind == "predicted"), None), validation.noise
    if run is None or run.loss is None or noise.sd <= 0 or noise.freedom <= 0:
        return None
    return Sample(run.loss, noise.sd * run.loss, len(run.losses), noise.freedom)


def _pair(lower: tuple[str, Sample], higher: tuple[str, Sample]) -> Pair:
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
    )
