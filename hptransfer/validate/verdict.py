"""From the runs at the target to a verdict: regret, and the speedup over AdamW or why there is none. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from hptransfer.cli import number
from hptransfer.rules.recipes import ScheduleFree, get_recipe
from hptransfer.spec import RunSpec
from hptransfer.transfer.prediction import Interval, Prediction
from hptransfer.validate.arms import Arm, Records, pace, seed_noise
from hptransfer.validate.protocol import Protocol
from hptransfer.validate.regret import regret
from hptransfer.validate.result import BASELINE, Axis, SeedNoise, Size, Speedup, TargetRun, Validation
from hptransfer.validate.speedup import Point, compute_multiplier, over_sizes, power_law, trend, within_run


def verdict(name: str, protocol: Protocol, records: Records, registered_at: str | None = None) -> Validation:
    """What the runs say of one prediction; ``registered_at``: when it came into the store (UTC, ISO 8601)."""
    prediction, arms = protocol.predictions[name], protocol.around(name, records)
    noise = seed_noise(prediction, arms, records)
    refusal = None if name == BASELINE else _refusal(name, protocol, records)
    return Validation(
        optimizer=name,
        parametrization=prediction.parametrization,
        width=prediction.target.width,
        prediction=prediction.digest,
        preregistered=registered_at is not None
        and all(records[spec.run_id].finished_at >= registered_at for arm in arms for spec in arm.specs),
        noise=noise,
        regret=_regret(prediction, arms, noise, records),
        speedup=None if refusal or name == BASELINE else _speedup(name, protocol, records),
        refusal=refusal,
        runs=tuple(arm.summary(records, noise) for arm in arms),
        baseline_runs=_baseline_runs(protocol, records) if name != BASELINE and BASELINE in protocol.predictions else (),
    )


def _regret(prediction: Prediction, arms: Sequence[Arm], noise: SeedNoise, records: Records) -> Interval | None:
    """From the first seed of the prediction and of its probes; None where the prediction diverged."""
    if arms[0].first_loss(records) is None:
        return None
    points, losses = [], []
    for arm in arms:
        loss = arm.first_loss(records)
        if loss is not None and arm.kind in ("predicted", "lr_probe", "weight_decay_probe"):
            points.append((1.0, arm.factor) if arm.kind == "weight_decay_probe" else (arm.factor, 1.0))
            losses.append(loss)
    return regret(points, losses, noise=noise.sd, freedom=noise.freedom, skew=prediction.surface.skew)


def _baseline_runs(protocol: Protocol, records: Records) -> tuple[TargetRun, ...]:
    """Everything of the baseline at the target: what is around its prediction, its best configuration, its horizons."""
    around, rungs = protocol.around(BASELINE, records), protocol.rungs(records)
    best = protocol.best(BASELINE, records)
    arms = [best if arm.specs[0] == best.specs[0] and not best.missing(records) else arm for arm in around]
    noise = seed_noise(protocol.predictions[BASELINE], (*arms, *rungs), records)
    return tuple(arm.summary(records, noise) for arm in (*arms, *rungs))


def _refusal(name: str, protocol: Protocol, records: Records) -> str | None:
    """Why no speedup may be claimed, in one sentence, or None."""
    if BASELINE not in protocol.predictions:
        return f"No speedup is claimed: there is no tuned {BASELINE} to compare with; search, transfer and validate it too."
    own, other = protocol.predictions[name], protocol.predictions[BASELINE]
    if _without_optimizer(own.spec) != _without_optimizer(other.spec):
        return f"No speedup is claimed: the predictions of {BASELINE} and {name} are for different runs."
    if annealed(own.spec) != annealed(other.spec):
        early, late = (name, BASELINE) if annealed(other.spec) else (BASELINE, name)
        return f"No speedup is claimed: runs of {early} end in mid-schedule (constant), those of {late} annealed."
    for prediction in (own, other):
        if failed := [check.name for check in prediction.checks if not check.ok]:
            return f"No speedup is claimed: the prediction of {prediction.optimizer} fails its checks ({', '.join(failed)})."
    if own.budget != other.budget:
        each = (f"{recipe} {_budget(prediction)}" for recipe, prediction in ((BASELINE, other), (name, own)))
        return f"No speedup is claimed: the searches had unequal budgets, {', '.join(each)}."
    if not math.isfinite(protocol.around(name, records)[0].mean(records)):
        return f"No speedup is claimed: a predicted run of {name} diverged."
    best = protocol.best(BASELINE, records)
    if not all(math.isfinite(arm.mean(records)) for arm in (best, *protocol.rungs(records))):
        return f"No speedup is claimed: a run of {BASELINE} at this width diverged."
    outermost = protocol.unbracketed(BASELINE, protocol.around(BASELINE, records), records)
    for arm in outermost.values():
        what = f"{'LR' if arm.kind == 'lr_probe' else 'weight decay'} x {number(arm.factor)}"
        return f"No speedup is claimed: {BASELINE} is not tuned at this width; its best probe, {what}, is the outermost."
    return None


def _speedup(name: str, protocol: Protocol, records: Records) -> Speedup:
    """The challenger's predicted run against the baseline at its best configuration, over its horizons and over sizes."""
    around, around_baseline = protocol.around(name, records), protocol.around(BASELINE, records)
    compared, rungs = protocol.best(BASELINE, records), protocol.rungs(records)
    prediction, baseline = protocol.predictions[name], protocol.predictions[BASELINE]
    own = _Side(prediction, around[0], (), seed_noise(prediction, around, records), pace(around, records), records)
    noise = seed_noise(baseline, (compared, *rungs), records)
    other = _Side(baseline, compared, tuple(rungs), noise, pace((*around_baseline, compared, *rungs), records), records)

    axes: tuple[Axis, ...] = get_args(Axis)
    curve = [(point.tokens, point.val) for point in records[prediction.spec.run_id].curve if point.val is not None]
    ours, theirs = own.over_widths(), other.over_widths()
    widths = sorted(set(ours) & set(theirs))
    challengers, baseline_curve = [ours[width] for width in widths], [theirs[width] for width in widths]
    multipliers = over_sizes(baseline_curve, challengers)
    return Speedup(
        compute_multiplier={axis: compute_multiplier(other.ladder(axis), own.point(own.best, axis)) for axis in axes},
        law=power_law(other.ladder("flops"), own.point(own.best, "flops")),
        within_run=within_run(other.point(compared, "tokens"), curve),
        sizes=tuple(
            Size(
                width=width,
                parameters=prediction.spec.at(**{"model.width": width}).model.parameters(),
                flops=ours[width].cost,
                baseline_loss=theirs[width].loss,
                loss=ours[width].loss,
                multiplier=multiplier,
                law=power_law(baseline_curve, ours[width]),
            )
            for width, multiplier in zip(widths, multipliers, strict=True)
        ),
        trend=trend(baseline_curve, challengers),
    )


@dataclass(frozen=True)
class _Side:
    """One optimizer in a comparison: the configuration that stands for it, its other horizons, and what its runs scatter by."""

    prediction: Prediction
    best: Arm
    horizons: tuple[Arm, ...]
    noise: SeedNoise
    pace: tuple[float, float]
    records: Records

    def ladder(self, axis: Axis) -> list[Point]:
        return [self.point(arm, axis) for arm in (self.best, *self.horizons)]

    def point(self, arm: Arm, axis: Axis) -> Point:
        """An arm's mean loss, and the cost of one of its runs, which is the same for every seed: seconds by the side's pace."""
        loss, record = arm.mean(self.records), self.records[arm.specs[0].run_id]
        seconds, error = self.pace
        costs: dict[Axis, float] = {
            "tokens": record.tokens,
            "flops": record.flops,
            "flops_with_optimizer": record.flops + record.flops_optimizer,
            "wall_clock": seconds * record.tokens,
        }
        standard_error = self.noise.sd * loss / math.sqrt(len(arm.specs))
        return Point(costs[axis], loss, standard_error, self.noise.freedom, error if axis == "wall_clock" else 0.0)

    def over_widths(self) -> dict[int, Point]:
        """FLOPs and loss by width: the surface's lowest at the searched ones, taken to be known as well as by one run, and the
        runs at the target."""
        spec, noise = self.prediction.spec, self.noise
        searched = {
            optimum.width: Point(
                spec.at(**{"model.width": optimum.width}).flops, optimum.loss, noise.sd * optimum.loss, noise.freedom
            )
            for optimum in self.prediction.optima
        }
        return searched | {self.prediction.target.width: self.point(self.best, "flops")}


def _without_optimizer(spec: RunSpec) -> RunSpec:
    """What two runs must share to be compared: all but the optimizer, and the schedule, which is compared by itself."""
    return spec.model_copy(update={"optimizer": None, "schedule": None})


def annealed(spec: RunSpec) -> bool:
    """Whether the final loss is that of an LR brought to 0, or of averaged iterates in its stead (arXiv 2405.15682)."""
    return spec.schedule.shape != "constant" or issubclass(get_recipe(spec.optimizer.recipe).options, ScheduleFree)


def _budget(prediction: Prediction) -> str:
    return " + ".join(f"{runs} runs at width {width}" for width, runs in prediction.budget.items())
