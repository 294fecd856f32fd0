"""What an experiment costs: its search, its validation at the target, and what is saved by not searching there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

from hptransfer.base.errors import UsageError
from hptransfer.experiment import ValidationSettings
from hptransfer.runs import Job, Point

SECONDS_PER_HOUR = 3600

Rate = Callable[[Job], float]  # FLOP/s of all devices together at such a run


@dataclass(frozen=True)
class Cost:
    """``tokens`` of training; ``flops`` of the model, forward and backward, without the optimizer's; ``hours`` of all devices,
    none ever idle."""

    runs: int = 0
    tokens: int = 0
    flops: float = 0.0
    hours: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.runs + other.runs, self.tokens + other.tokens, self.flops + other.flops, self.hours + other.hours)


@dataclass(frozen=True)
class Stage:
    """A line of the plan."""

    arm: str
    stage: str  # search, validation, ladder
    width: int
    cost: Cost


def flops_of(job: Job) -> float:
    """Model FLOPs of a run. Raises UsageError where they are unknown."""
    if job.flops is None:
        raise UsageError(f"nothing is planned: the FLOPs of {job.title} are unknown; give trainer.flops, a formula")
    return job.flops


def cost_of(job: Job, runs: int, rate: Rate) -> Cost:
    """Of so many runs like this one."""
    flops = runs * flops_of(job)
    return Cost(runs, runs * int(job.point.scales.get("tokens", 0)), flops, flops / rate(job) / SECONDS_PER_HOUR)


def validation_cost(target: Job, settings: ValidationSettings, rate: Rate) -> Cost:
    """The predicted run with each seed, a run per probe on LR and on a weight decay that there is, and the simple transfers."""
    transfers = 0 if target.point.settings["parametrization"] == "spectral" else 2 if target.kinds else 1
    probed = 2 if "weight_decay" in target.point.hyperparameters else 1
    return cost_of(target, settings.seeds + probed * len(settings.probe_factors) + transfers, rate)


def ladder_cost(target: Job, settings: ValidationSettings, rate: Rate, resolve: Callable[[Point], Job]) -> Cost:
    """The baseline's other horizons, all of them: those beyond the ones that bracket every challenger are not run."""
    tokens = target.point.scales.get("tokens")
    if tokens is None:
        return Cost()
    rungs = [resolve(target.point.at(tokens=round(tokens * horizon))) for horizon in settings.ladder]
    return total(cost_of(rung, settings.seeds, rate) for rung in rungs)


def survival_cost(
    searched: Job, settings: ValidationSettings, rate: Rate, resolve: Callable[[Point], Job], *, is_baseline: bool
) -> Cost:
    """At a searched scale: an arm's seeds, and the baseline's other horizons."""
    own = cost_of(searched, settings.seeds, rate)
    return own + ladder_cost(searched, settings, rate, resolve) if is_baseline else own


def total(costs: Iterable[Cost]) -> Cost:
    return reduce(Cost.__add__, costs, Cost())
