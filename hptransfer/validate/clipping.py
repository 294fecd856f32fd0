"""What clipping the gradient's norm does to the loss, and its cost: each threshold against the same arm without one. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from hptransfer.base.frozen import Frozen
from hptransfer.base.intervals import Interval
from hptransfer.experiment.arm import Arm
from hptransfer.runs import Record
from hptransfer.runs.point import Number
from hptransfer.transfer.prediction import Optimum, Prediction
from hptransfer.validate.configurations import SEARCH_FREEDOM, Configuration, seed_noise
from hptransfer.validate.overhead import predicted_runs
from hptransfer.validate.pairs import sample_of
from hptransfer.validate.result import LEVEL
from hptransfer.validate.results import Results, mean
from hptransfer.validate.significance import Difference, Sample, difference

OPTION = "clip_norm"  # of every recipe
# What our trainer measures (`Outcome.metrics`): the share of steps whose gradient was clipped, and the seconds that the norm
# took, with scaling by it where a threshold is set.
SHARE, SECONDS = "clipped_share", "clipping_wall_seconds"

Helps = Literal["helps", "hurts", "no_difference", "cannot_tell"]


class AtThreshold(Frozen):
    """One arm in one cell, at its own best learning rate there, or at the held-out one at its prediction.

    ``loss``: mean over ``seeds`` runs at it, nats per token, with its ``standard_error``; of 0 seeds the lowest of the bowl
    through the search's runs, taken to be known as well as by one run. None where a seed diverged. ``share`` of steps that were
    clipped: of these runs, or of the search's best; ``least`` and ``most``: of any complete run in the cell. ``diverged_from``:
    the lowest learning rate that diverged, base coordinates. ``time``: of the norm and of scaling by it, of the training time of
    all runs in the cell. ``difference``: to the loss without a threshold, relative to it, 80 %.
    """

    arm: str
    threshold: float | None
    scales: dict[str, Number]
    loss: float | None
    standard_error: float | None
    seeds: int
    share: float | None
    least: float | None
    most: float | None
    diverged_from: float | None
    time: float | None
    difference: Interval | None = None


class Threshold(Frozen):
    """The verdict on one arm with a threshold, over all searched cells. ``difference``: of the loss to that without one,
    relative, the cells weighted by how well they know it, 80 %. ``p_value``: one-sided, that it has not this sign; to be shown
    it is below 5 % over the number of thresholds, or some would help by luck (Bonferroni). ``noise``: relative standard
    deviation of the loss of one run."""

    arm: str
    threshold: float
    difference: Interval | None
    p_value: float | None
    noise: float | None
    finding: Helps


class Clipping(Frozen):
    """Arms that differ in nothing but their threshold: ``unclipped`` has none. ``searched``: cell by cell, each arm where it was
    tuned, which the verdicts are over; ``held_out``: at the predictions, whose errors would pass for clipping's."""

    unclipped: str
    searched: tuple[AtThreshold, ...]
    held_out: tuple[AtThreshold, ...]
    verdicts: tuple[Threshold, ...]


def clipping(results: Results) -> tuple[Clipping, ...]:
    """For every arm without a threshold the arms that are it with one: those whose searches say where their best learning rates
    are. Empty where there are none."""
    told, found = [arm for arm in results.arms if arm.name in results.predictions], []
    for unclipped in told:
        arms = [arm for arm in told if _threshold(arm) is not None and _rest(arm) == _rest(unclipped)]
        if _threshold(unclipped) is None and arms:
            found.append(_study(results, unclipped, arms))
    return tuple(found)


def _threshold(arm: Arm) -> float | None:
    return arm.options.get(OPTION)


def _rest(arm: Arm) -> dict[str, Any]:
    """An arm but for its threshold."""
    return {name: value for name, value in arm.settings.items() if name != f"options.{OPTION}"}


def _study(results: Results, unclipped: Arm, arms: Sequence[Arm]) -> Clipping:
    family = (unclipped, *arms)
    optima = [{tuple(one.scales.items()) for one in results.predictions[arm.name].optima} for arm in family]
    searched = [_searched(results, family, dict(cell)) for cell in sorted(set.intersection(*optima))]
    tested = all(arm.name in results.validations for arm in family)
    held_out = [[_held_out(results, arm) for arm in family]] if tested else []
    verdicts = (
        _verdict(arm, [(cell[place].sample, cell[0].sample) for cell in searched], LEVEL / len(arms))
        for place, arm in enumerate(arms, start=1)
    )
    return Clipping(
        unclipped=unclipped.name,
        searched=tuple(_row(one, cell[0]) for cell in searched for one in cell),
        held_out=tuple(_row(one, cell[0]) for cell in held_out for one in cell),
        verdicts=tuple(verdicts),
    )


@dataclass(frozen=True)
class _Measured:
    """An arm in a cell. ``sample``: its losses, None where a seed diverged or nothing is known of the noise; ``at``: the runs at
    its optimum, ``seeds`` of them made to measure it; ``every``: all of its runs there."""

    arm: Arm
    scales: Mapping[str, Number]
    sample: Sample | None
    at: Sequence[Record]
    seeds: int
    every: Sequence[Record]


def _searched(results: Results, family: Sequence[Arm], scales: Mapping[str, Number]) -> list[_Measured]:
    """Each arm in a searched cell: its seeds at its optimum where all arms have run theirs, else its bowl. All are measured
    alike."""
    found = []
    for arm in family:
        told = results.predictions[arm.name]
        optimum = next(one for one in told.optima if one.scales == scales)
        runs = [run for run in results.searched(arm.name) if run.point.is_in(scales)]
        best = min(runs, key=lambda run: run.loss or math.inf)
        seeds = _seeds(results, told, optimum, runs)
        bowl = _Measured(arm, scales, _of_bowl(told, optimum), [best], 0, [*runs, *seeds])
        found.append((bowl, replace(bowl, sample=_of_seeds(results, told, seeds), at=seeds, seeds=len(seeds))))
    return [seeded for _, seeded in found] if all(one.seeds > 1 for _, one in found) else [bowl for bowl, _ in found]


def _seeds(results: Results, told: Prediction, optimum: Optimum, searched: Sequence[Record]) -> list[Record]:
    """The runs that measured an optimum again, with the horizon of the search."""
    tuned = told.point.hyperparameters | {name: interval.value for name, interval in optimum.best.items()}
    horizons = {run.point.scales.get("tokens") for run in searched}
    return [
        run
        for run in results.members.repeated.get(told.name, ())
        if run.point.is_in(optimum.scales) and run.point.hyperparameters == tuned and run.point.scales.get("tokens") in horizons
    ]


def _of_seeds(results: Results, told: Prediction, seeds: Sequence[Record]) -> Sample | None:
    losses = [run.loss for run in seeds if run.loss is not None]
    if not losses or len(losses) < len(seeds):
        return None
    noise = seed_noise(told, [Configuration("predicted", 1.0, tuple(run.job for run in seeds))], results.by_id)
    loss = float(np.mean(losses))
    return Sample(loss, noise.sd * loss, len(losses), noise.freedom) if noise.sd > 0 else None


def _of_bowl(told: Prediction, optimum: Optimum) -> Sample | None:
    """Its lowest, taken to be known as well as by one run."""
    if optimum.loss is None or not told.noise:
        return None
    return Sample(optimum.loss, told.noise * optimum.loss, 1, SEARCH_FREEDOM)


def _held_out(results: Results, arm: Arm) -> _Measured:
    """An arm at its prediction."""
    runs = predicted_runs(results, arm.name)
    sample = sample_of(results.validations[arm.name])
    return _Measured(arm, results.experiment.target_cell, sample, runs, len(runs), runs)


def _row(one: _Measured, unclipped: _Measured) -> AtThreshold:
    shares = [run.outcome.metrics[SHARE] for run in one.every if run.loss is not None and SHARE in run.outcome.metrics]
    lost = [run.point["lr"] for run in one.every if run.state == "diverged"]
    timed = [run.outcome for run in one.every if SECONDS in run.outcome.metrics and run.outcome.training_wall_seconds]
    spent = sum(outcome.training_wall_seconds or 0.0 for outcome in timed)
    both = (one.sample, unclipped.sample) if one is not unclipped and one.sample and unclipped.sample else None
    return AtThreshold(
        arm=one.arm.name,
        threshold=_threshold(one.arm),
        scales=dict(one.scales),
        loss=one.sample.mean if one.sample else None,
        standard_error=math.sqrt(one.sample.variance) if one.sample else None,
        seeds=one.seeds,
        share=mean(run.outcome.metrics.get(SHARE) for run in one.at),
        least=min(shares, default=None),
        most=max(shares, default=None),
        diverged_from=min(lost, default=None),
        time=sum(outcome.metrics[SECONDS] for outcome in timed) / spent if spent else None,
        difference=difference([both]).interval if both else None,
    )


def _verdict(arm: Arm, pairs: Sequence[tuple[Sample | None, Sample | None]], level: float) -> Threshold:
    """Of an arm and the unclipped one, cell by cell."""
    known = [(one, other) for one, other in pairs if one and other]
    threshold = _threshold(arm)
    assert threshold is not None
    if not known or len(known) < len(pairs):
        return Threshold(arm=arm.name, threshold=threshold, difference=None, p_value=None, noise=None, finding="cannot_tell")
    found = difference(known)
    noise = math.sqrt(float(np.mean([(sample.sd / sample.mean) ** 2 for pair in known for sample in pair])))
    return Threshold(
        arm=arm.name,
        threshold=threshold,
        difference=found.interval,
        p_value=found.p_value,
        noise=noise,
        finding=finding(found, noise, level),
    )


def finding(found: Difference, noise: float, level: float) -> Helps:
    """What a difference from the loss without a threshold says, at a one-sided ``level``. No difference: the 80 % interval holds
    none that is as large as the ``noise`` of one run, a relative standard deviation."""
    if found.p_value < level:
        return "helps" if found.value < 0 else "hurts"
    interval = found.interval
    within = interval.low is not None and interval.high is not None and -noise <= interval.low and interval.high <= noise
    return "no_difference" if within else "cannot_tell"
