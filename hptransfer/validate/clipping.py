"""What clipping the gradient's norm does to the loss, and its cost: each threshold against the same arm without one. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hptransfer.base.frozen import Frozen
from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refused
from hptransfer.experiment.arm import Arm
from hptransfer.runs import Record
from hptransfer.runs.point import Number
from hptransfer.transfer.group import fit_group, group_of_arm
from hptransfer.validate.overhead import predicted_runs
from hptransfer.validate.pairs import sample_of
from hptransfer.validate.result import LEVEL
from hptransfer.validate.results import Results, mean
from hptransfer.validate.significance import LossDifference, Sample, difference

OPTION = "clip_norm"  # of every recipe
# What our trainer measures (`Outcome.metrics`): the share of steps whose gradient was clipped, and the seconds that the norm
# took, with scaling by it where a threshold is set.
SHARE, SECONDS = "clipped_share", "clipping_wall_seconds"

Helps = Literal["helps", "hurts", "no_difference", "cannot_tell"]


class AtThreshold(Frozen):
    """One arm in one cell, at its own best learning rate there, or at the held-out one at its prediction.

    ``loss``: the lowest of the bowl through its ``runs`` that are complete, nats per token, with a ``standard_error`` that holds
    what is not known of the best ``lr`` (base coordinates); at the held-out cell the mean over seeds, None where one diverged.
    ``share`` of steps that were clipped: in the runs at the best learning rate, or nearest to it; ``least`` and ``most``: in any
    complete run of the cell. ``diverged_from``: the lowest learning rate that diverged. ``time``: of the norm and of scaling by
    it, of the training time of all runs in the cell. ``difference``: to the loss without a threshold, relative to it, 80 %.
    """

    arm: str
    threshold: float | None
    scales: dict[str, Number]
    lr: float
    loss: float | None
    standard_error: float | None
    runs: int
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
    found = []
    for unclipped in results.arms:
        arms = [arm for arm in results.arms if _threshold(arm) is not None and _rest(arm) == _rest(unclipped)]
        if _threshold(unclipped) is None and arms:
            searched = [one for arm in (unclipped, *arms) if (one := _searched(results, arm))]
            if len(searched) > 1 and searched[0].arm is unclipped:
                found.append(_study(results, searched))
    return tuple(found)


def _threshold(arm: Arm) -> float | None:
    return arm.options.get(OPTION)


def _rest(arm: Arm) -> dict[str, Any]:
    """An arm but for its threshold."""
    return {name: value for name, value in arm.settings.items() if name != f"options.{OPTION}"}


@dataclass(frozen=True)
class _Measured:
    """An arm in a cell. ``sample``: its lowest loss, None where nothing is known of it; ``noise``: relative standard deviation of
    the loss of one run; ``at``: the runs at the ``lr`` that has the lowest loss, or nearest to that; ``every``: all of its runs
    there."""

    arm: Arm
    scales: Mapping[str, Number]
    lr: float
    sample: Sample | None
    noise: float
    at: Sequence[Record]
    every: Sequence[Record]


@dataclass(frozen=True)
class _Searched:
    """An arm in the cells where it was tuned, by their scales."""

    arm: Arm
    cells: Mapping[tuple[tuple[str, Number], ...], _Measured]


def _searched(results: Results, arm: Arm) -> _Searched | None:
    """The bowls through an arm's runs, those too that measured its optima again; None where its search allows none."""
    told, runs = results.predictions.get(arm.name), results.searched(arm.name)
    if told is None or not runs:
        return None
    scales = [run.point.scales for run in runs]
    again = (run for run in results.members.repeated.get(arm.name, ()) if run.point.scales in scales)  # no other horizons
    every = (*runs, *again)
    try:
        fitted = fit_group(group_of_arm(arm.name, every), told.job)
    except Refused:
        return None
    assert fitted.fit is not None  # an arm's runs are none that are optima already
    (ln_lowest, error), noise, found = fitted.fit.lowest(), fitted.fit.middle.noise, {}
    for place, cell in enumerate(fitted.cells):
        here = {name: cell.point[name] for name in fitted.scales}
        own = [run for run in every if run.point.is_in(here)]
        lr, lowest = math.exp(fitted.measured.optimum[place, 0]), math.exp(ln_lowest[place])
        apart = {run.run_id: abs(math.log(run.point["lr"] / lr)) for run in own if run.loss is not None}
        at = [run for run in own if apart.get(run.run_id) == min(apart.values())]
        sample = Sample(lowest, lowest * float(error[place]), 1, noise.dof)
        found[tuple(here.items())] = _Measured(arm, here, lr, sample, noise.sd, at, own)
    return _Searched(arm, found)


def _held_out(results: Results, arm: Arm) -> _Measured:
    """An arm at its prediction."""
    runs, found, lr = predicted_runs(results, arm.name), results.validations[arm.name], results.predictions[arm.name].point["lr"]
    return _Measured(arm, results.experiment.target_cell, lr, sample_of(found), found.noise.sd, runs, runs)


def _study(results: Results, family: Sequence[_Searched]) -> Clipping:
    """Of the arm without a threshold, which is the first, and of those with one."""
    unclipped, *others = family
    cells = [cell for cell in unclipped.cells if all(cell in one.cells for one in others)]
    tested = all(one.arm.name in results.validations for one in family)
    held_out = [_held_out(results, one.arm) for one in family] if tested else []
    return Clipping(
        unclipped=unclipped.arm.name,
        searched=tuple(_row(one.cells[cell], unclipped.cells[cell]) for cell in cells for one in family),
        held_out=tuple(_row(one, held_out[0]) for one in held_out),
        verdicts=tuple(
            _verdict(one.arm, [(one.cells[cell], unclipped.cells[cell]) for cell in cells], LEVEL / len(others)) for one in others
        ),
    )


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
        lr=one.lr,
        runs=sum(run.loss is not None for run in one.every),
        share=mean(run.outcome.metrics.get(SHARE) for run in one.at),
        least=min(shares, default=None),
        most=max(shares, default=None),
        diverged_from=min(lost, default=None),
        time=sum(outcome.metrics[SECONDS] for outcome in timed) / spent if spent else None,
        difference=difference([both]).interval if both else None,
    )


def _verdict(arm: Arm, cells: Sequence[tuple[_Measured, _Measured]], level: float) -> Threshold:
    """Of an arm and the unclipped one, cell by cell."""
    pairs = [(one.sample, other.sample) for one, other in cells if one.sample and other.sample]
    threshold = _threshold(arm)
    assert threshold is not None
    if not pairs:
        return Threshold(arm=arm.name, threshold=threshold, difference=None, p_value=None, noise=None, finding="cannot_tell")
    found = difference(pairs)
    noise = math.sqrt(float(np.mean([one.noise**2 for pair in cells for one in pair])))
    return Threshold(
        arm=arm.name,
        threshold=threshold,
        difference=found.interval,
        p_value=found.p_value,
        noise=noise,
        finding=finding(found, noise, level),
    )


def finding(found: LossDifference, noise: float, level: float) -> Helps:
    """What a difference from the loss without a threshold says, at a one-sided ``level``. No difference: the 80 % interval holds
    none that is as large as the ``noise`` of one run, a relative standard deviation."""
    if found.p_value < level:
        return "helps" if found.value < 0 else "hurts"
    interval = found.interval
    within = interval.low is not None and interval.high is not None and -noise <= interval.low and interval.high <= noise
    return "no_difference" if within else "cannot_tell"
