"""What an experiment costs: its search, its validation at the target, and what is saved by not searching there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

from hptransfer.experiment import ValidationSettings
from hptransfer.runs import Job, Point
from hptransfer.validate.protocol import has_ladder

SECONDS_PER_HOUR = 3600

Rate = Callable[[Job], float]  # FLOP/s of all devices together at such a run


@dataclass(frozen=True)
class Cost:
    """``tokens`` of training; ``flops`` of the model, forward and backward, without the optimizer's; ``hours`` of all devices,
    none ever idle. None where a program does not say."""

    runs: int = 0
    tokens: int | None = 0
    flops: float | None = 0.0
    hours: float | None = 0.0

    def __add__(self, other: Cost) -> Cost:
        tokens = None if self.tokens is None or other.tokens is None else self.tokens + other.tokens
        return Cost(self.runs + other.runs, tokens, plus(self.flops, other.flops), plus(self.hours, other.hours))


@dataclass(frozen=True)
class PlanLine:
    """A line of the plan."""

    arm: str
    stage: str  # search, validation, ladder
    cell: dict[str, int]
    cost: Cost


def plus(one: float | None, other: float | None) -> float | None:
    """Their sum; None where one is unknown."""
    return None if one is None or other is None else one + other


def cost_of(job: Job, runs: int, rate: Rate) -> Cost:
    """Of so many runs like this one."""
    tokens = job.point.scales.get("tokens")
    flops = None if job.flops is None else runs * job.flops
    hours = None if flops is None else flops / rate(job) / SECONDS_PER_HOUR
    return Cost(runs, None if tokens is None else runs * int(tokens), flops, hours)


def validation_cost(target: Job, settings: ValidationSettings, rate: Rate) -> Cost:
    """The predicted run with each seed, a run per probe on LR and on a weight decay that there is, and the simple transfers."""
    transfers = 0 if target.point.settings["parametrization"] == "spectral" else 2 if target.kinds else 1
    probed = 2 if "weight_decay" in target.point.hyperparameters else 1
    return cost_of(target, settings.seeds + probed * len(settings.probe_factors) + transfers, rate)


def ladder_cost(target: Job, settings: ValidationSettings, rate: Rate, resolve: Callable[[Point], Job]) -> Cost:
    """The baseline's other horizons, all of them: those beyond the ones that bracket every challenger are not run."""
    if not has_ladder(target, resolve):
        return Cost()
    rungs = [resolve(target.point.at(tokens=round(target.point["tokens"] * horizon))) for horizon in settings.ladder]
    return total(cost_of(rung, settings.seeds, rate) for rung in rungs)


def survival_cost(
    searched: Job, settings: ValidationSettings, rate: Rate, resolve: Callable[[Point], Job], *, is_baseline: bool
) -> Cost:
    """At a searched scale: an arm's seeds, and the baseline's other horizons."""
    own = cost_of(searched, settings.seeds, rate)
    return own + ladder_cost(searched, settings, rate, resolve) if is_baseline else own


def total(costs: Iterable[Cost]) -> Cost:
    return reduce(Cost.__add__, costs, Cost())
