"""The configurations that are run at the held-out width, and what the records say of each. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hptransfer.experiment.membership import REPEATED_SEED, Resolve
from hptransfer.runs import Job, Record
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.result import Kind, SeedNoise, TargetRun

# Degrees of freedom that the search's noise is worth at the held-out width: about its replicates, which are at other widths.
SEARCH_FREEDOM = 3

Records = Mapping[str, Record]


@dataclass(frozen=True)
class Configuration:
    """One configuration at the target, a run for each of its seeds. ``factor``: of LR, weight decay or tokens, by ``kind``; 1
    otherwise."""

    kind: Kind
    factor: float
    jobs: tuple[Job, ...]

    def first_loss(self, records: Records) -> float | None:
        """Final loss of the first seed, which all around one prediction share; None where it diverged."""
        return records[self.jobs[0].run_id].loss

    def failed(self, records: Records) -> bool:
        """Whether a seed failed, which says nothing about what it was to be trained with."""
        return any(job.run_id in records and records[job.run_id].state == "failed" for job in self.jobs)

    def mean(self, records: Records) -> float:
        """Mean final loss over the seeds; infinite when one diverged."""
        losses = self.losses(records)
        return sum(losses) / len(losses) if losses else math.inf

    def losses(self, records: Records) -> list[float]:
        """Final losses by seed; none of them when one diverged."""
        losses = [records[job.run_id].loss for job in self.jobs]
        return [] if None in losses else [loss for loss in losses if loss is not None]

    def missing(self, records: Records) -> list[Job]:
        """Its runs that have no record yet."""
        return [job for job in self.jobs if job.run_id not in records]

    def summary(self, records: Records, noise: SeedNoise) -> TargetRun:
        """The configuration as a report shows it."""
        losses, point = self.losses(records), self.jobs[0].point
        mean = sum(losses) / len(losses) if losses else None
        return TargetRun(
            kind=self.kind,
            factor=self.factor,
            lr=point["lr"],
            weight_decay=point.hyperparameters.get("weight_decay"),
            tokens=None if (tokens := point.scales.get("tokens")) is None else int(tokens),
            losses=tuple(records[job.run_id].loss for job in self.jobs),
            loss=mean,
            standard_error=None if mean is None else noise.sd * mean / math.sqrt(len(self.jobs)),
            run_ids=tuple(job.run_id for job in self.jobs),
            failed=self.failed(records),
        )


def predicted(prediction: Prediction, seeds: int, resolve: Resolve) -> Configuration:
    """The predicted run and its replicates."""
    return replicated(Configuration("predicted", 1.0, (prediction.run,)), seeds, resolve)


def lr_probe(prediction: Prediction, factor: float, resolve: Resolve) -> Configuration:
    """The prediction with another LR, on the first seed of the predicted run."""
    point = prediction.point
    return Configuration("lr_probe", factor, (resolve(point.at(lr=point["lr"] * factor)),))


def weight_decay_probe(prediction: Prediction, factor: float, resolve: Resolve) -> Configuration:
    """The prediction with another weight decay, on the first seed."""
    point = prediction.point
    return Configuration("weight_decay_probe", factor, (resolve(point.at(weight_decay=point["weight_decay"] * factor)),))


def simple_transfers(prediction: Prediction, resolve: Resolve) -> tuple[Configuration, ...]:
    """What people do without a fit: the smallest cell's optimum kept, in the very same numbers or by muP's LR rule alone.

    Both keep the weight decay (arXiv 2512.05620, section 4, figure 6: SP and muP only). None under ``spectral``, whose learning
    rates mean something else; the same numbers only where the smallest cell has the base width, whose coordinates they are in. Of
    coordinates that are a program's own there is no rule, and no other way to state a number.
    """
    point, smallest = prediction.point, prediction.optima[0]
    if point.settings["parametrization"] == "spectral":
        return ()
    kept = point.at(lr=smallest.lr.value, weight_decay_rule="constant")
    if not prediction.run.kinds:
        return (Configuration("same_hyperparameters", 1.0, (resolve(kept),)),)
    mup_only = Configuration("mup_only", 1.0, (resolve(kept.at(parametrization="mup")),))
    if smallest.scales.get("width", point["width"]) != point.settings["base"]["width"]:
        return (mup_only,)
    return Configuration("same_hyperparameters", 1.0, (resolve(kept.at(parametrization="sp")),)), mup_only


def horizon(prediction: Prediction, best: Configuration, factor: float, resolve: Resolve) -> Configuration:
    """A shorter or longer run of a configuration, with its own schedule and as many seeds.

    Its LR moves from that configuration's as the prediction's law says the best one does with tokens. Where a search was at that
    horizon, the seeds are none of its own: the run would pass for one of the search.
    """
    point = best.jobs[0].point
    lr = point["lr"] * factor ** prediction.exponent("lr", "tokens")
    other = resolve(point.at(tokens=round(point["tokens"] * factor), lr=lr))
    if point.init_seed < REPEATED_SEED and any(other.point.is_in(optimum.scales) for optimum in prediction.optima):
        other = resolve(other.point.replicate(REPEATED_SEED))
    return replicated(Configuration("horizon", factor, (other,)), len(best.jobs), resolve)


def replicated(one: Configuration, seeds: int, resolve: Resolve, *, first: int = 0) -> Configuration:
    """The same configuration with so many seeds, both of which change, from ``first`` on: 0 is its own."""
    own = one.jobs[0]
    jobs = (resolve(own.point.replicate(number)) if number else own for number in range(first, first + seeds))
    return replace(one, jobs=tuple(jobs))


@dataclass(frozen=True)
class Pace:
    """Seconds of training per token on a device, without evaluation, and their relative standard error."""

    seconds: float
    error: float
    device: str


def slowdown(own: Pace | None, other: Pace | None) -> float | None:
    """Seconds per token over the other's; None where one is unknown, and where the devices differ."""
    return own.seconds / other.seconds if own and other and own.device == other.device else None


def pace(runs: Iterable[Record]) -> Pace | None:
    """That of one arm at one width: the geometric mean over its finished runs on one worker.

    It is taken to be as uncertain as that of a single run: what the machine did beside them is not independent from run to
    run. None without a run whose time is known, and where the runs were on different devices.
    """
    paces = {run.run_id: (seconds, run.outcome.device) for run in runs if (seconds := _seconds_per_token(run)) is not None}
    devices = {device for _, device in paces.values()}
    if len(devices) != 1:
        return None
    logs = np.log([seconds for seconds, _ in paces.values()])
    return Pace(math.exp(float(logs.mean())), float(logs.std(ddof=1)) if len(logs) > 1 else 0.0, devices.pop())


def _seconds_per_token(run: Record) -> float | None:
    """None where the run did not finish, had several workers, or did not tell its time."""
    outcome = run.outcome
    if outcome.loss is None or outcome.workers != 1 or not outcome.tokens or not outcome.training_wall_seconds:
        return None
    return outcome.training_wall_seconds / outcome.tokens


def seed_noise(prediction: Prediction, configurations: Iterable[Configuration], records: Records) -> SeedNoise:
    """The noise of one arm's losses at the target: variance over the seeds of its configurations, pooled, together with what the
    search saw, which counts for `SEARCH_FREEDOM`. Those that have not run, or whose seeds diverged, say nothing."""
    squares, freedom = SEARCH_FREEDOM * (prediction.noise or 0.0) ** 2, SEARCH_FREEDOM
    for one in configurations:
        losses: Sequence[float] = [] if one.missing(records) else one.losses(records)
        if len(losses) > 1:
            mean = sum(losses) / len(losses)
            squares += sum((loss / mean - 1) ** 2 for loss in losses)
            freedom += len(losses) - 1
    return SeedNoise(sd=math.sqrt(squares / freedom), freedom=freedom)
