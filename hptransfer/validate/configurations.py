"""The configurations that are run at the held-out width, and what the records say of each. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hptransfer.runs import RunRecord
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.result import Kind, SeedNoise, TargetRun

# Degrees of freedom that the search's noise is worth at the held-out width: about its replicates, which are at other widths.
SEARCH_FREEDOM = 3

Records = Mapping[str, RunRecord]


@dataclass(frozen=True)
class Arm:
    """One configuration at the target and its seeds. ``factor``: of LR, weight decay or tokens, by ``kind``; 1 otherwise."""

    kind: Kind
    factor: float
    specs: tuple[RunSpec, ...]

    def first_loss(self, records: Records) -> float | None:
        """Final loss of the first seed, which the arms of one prediction share; None where it diverged."""
        return records[self.specs[0].run_id].loss

    def mean(self, records: Records) -> float:
        """Mean final loss over the seeds; infinite when one diverged."""
        losses = self.losses(records)
        return sum(losses) / len(losses) if losses else math.inf

    def losses(self, records: Records) -> list[float]:
        """Final losses by seed; none of them when one diverged."""
        losses = [records[spec.run_id].loss for spec in self.specs]
        return [] if None in losses else [loss for loss in losses if loss is not None]

    def replicated(self, seeds: int, *, first: int = 0) -> Arm:
        """The same configuration with so many seeds, both of which change, from ``first`` on: 0 is this arm's own."""
        spec, numbers = self.specs[0], range(first, first + seeds)
        return replace(self, specs=tuple(spec.at(init_seed=spec.init_seed + i, data_seed=spec.data_seed + i) for i in numbers))

    def missing(self, records: Records) -> list[RunSpec]:
        """Its runs that have no record yet."""
        return [spec for spec in self.specs if spec.run_id not in records]

    def summary(self, records: Records, noise: SeedNoise) -> TargetRun:
        """The arm as a report shows it."""
        losses, spec = self.losses(records), self.specs[0]
        mean = sum(losses) / len(losses) if losses else None
        return TargetRun(
            kind=self.kind,
            factor=self.factor,
            lr=spec.optimizer.lr,
            weight_decay=spec.optimizer.weight_decay,
            tokens=spec.tokens,
            losses=tuple(records[spec.run_id].loss for spec in self.specs),
            loss=mean,
            standard_error=None if mean is None else noise.sd * mean / math.sqrt(len(self.specs)),
            run_ids=tuple(spec.run_id for spec in self.specs),
        )


def predicted(prediction: Prediction, seeds: int) -> Arm:
    """The predicted run and its replicates."""
    return Arm("predicted", 1.0, (prediction.spec,)).replicated(seeds)


def lr_probe(prediction: Prediction, factor: float) -> Arm:
    """The prediction with another LR, on the first seed of the predicted run."""
    return Arm("lr_probe", factor, (prediction.spec.at(**{"optimizer.lr": prediction.spec.optimizer.lr * factor}),))


def weight_decay_probe(prediction: Prediction, factor: float) -> Arm:
    """The prediction with another weight decay, on the first seed."""
    decay = prediction.spec.optimizer.weight_decay * factor
    return Arm("weight_decay_probe", factor, (prediction.spec.at(**{"optimizer.weight_decay": decay}),))


def simple_transfers(prediction: Prediction) -> tuple[Arm, ...]:
    """What people do without a fit: the smallest width's optimum kept, in the very same numbers or by muP's LR rule alone.

    Both keep the weight decay (arXiv 2512.05620, section 4, figure 6: SP and muP only). None under ``spectral``, whose learning
    rates mean something else; the same numbers only where the smallest width is the base, whose coordinates they are in.
    """
    if prediction.parametrization == "spectral":
        return ()
    smallest = prediction.optima[0]
    kept = {"optimizer.lr": smallest.lr.value, "weight_decay_rule": "constant"}
    mup_only = Arm("mup_only", 1.0, (prediction.spec.at(parametrization="mup", **kept),))
    if smallest.width != prediction.spec.base.width:
        return (mup_only,)
    return Arm("same_hyperparameters", 1.0, (prediction.spec.at(parametrization="sp", **kept),)), mup_only


def horizon(best: Arm, factor: float) -> Arm:
    """A shorter or longer run of a configuration, with its own schedule and as many seeds."""
    spec = best.specs[0]
    other = spec.at(horizon={"policy": "tokens", "tokens": round(spec.tokens * factor)})
    return Arm("horizon", factor, (other,)).replicated(len(best.specs))


@dataclass(frozen=True)
class Pace:
    """Seconds of training per token on a device, without evaluation, and their relative standard error."""

    seconds: float
    error: float
    device: str


def slowdown(own: Pace | None, other: Pace | None) -> float | None:
    """Seconds per token over the other's; None where one is unknown, and where the devices differ."""
    return own.seconds / other.seconds if own and other and own.device == other.device else None


def pace(runs: Iterable[RunRecord]) -> Pace | None:
    """That of one optimizer at one width: the geometric mean over its finished runs on one worker.

    It is taken to be as uncertain as that of a single run: what the machine did beside them is not independent from run to
    run. None without a run whose time is known, and where the runs were on different devices.
    """
    timed = {run.run_id: run for run in runs if run.loss is not None and run.workers == 1 and run.training_wall_seconds > 0}
    devices = {run.device for run in timed.values()}
    if len(devices) != 1:
        return None
    logs = np.log([run.training_wall_seconds / run.tokens for run in timed.values()])
    return Pace(math.exp(float(logs.mean())), float(logs.std(ddof=1)) if len(logs) > 1 else 0.0, devices.pop())


def seed_noise(prediction: Prediction, arms: Iterable[Arm], records: Records) -> SeedNoise:
    """The noise of one optimizer's losses at the target: variance over the seeds of its arms, pooled, together with what the
    search saw, which counts for `SEARCH_FREEDOM`. Arms that have not run, or whose seeds diverged, say nothing."""
    squares, freedom = SEARCH_FREEDOM * prediction.noise**2, SEARCH_FREEDOM
    for arm in arms:
        losses: Sequence[float] = [] if arm.missing(records) else arm.losses(records)
        if len(losses) > 1:
            mean = sum(losses) / len(losses)
            squares += sum((loss / mean - 1) ** 2 for loss in losses)
            freedom += len(losses) - 1
    return SeedNoise(sd=math.sqrt(squares / freedom), freedom=freedom)
