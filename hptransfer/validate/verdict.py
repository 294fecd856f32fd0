"""From the runs at the target to a verdict: regret, and the speedup over AdamW or why there is none. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from hptransfer.cli import number
from hptransfer.optimizers import get_recipe
from hptransfer.runs import RunRecord
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.transfer.prediction import Interval, Prediction
from hptransfer.validate.arms import Arm, Pace, Records, pace, seed_noise, slowdown
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
        and all(_began_after(registered_at, records[spec.run_id]) for arm in arms for spec in arm.specs),
        noise=noise,
        regret=_regret(prediction, arms, noise, records),
        speedup=None if refusal or name == BASELINE else _speedup(name, protocol, records),
        refusal=refusal,
        runs=tuple(arm.summary(records, noise) for arm in arms),
        baseline_runs=_baseline_runs(protocol, records) if name != BASELINE and BASELINE in protocol.predictions else (),
    )


def _regret(prediction: Prediction, arms: Sequence[Arm], noise: SeedNoise, records: Records) -> Interval | None:
    """From the first seed of the prediction and of its probes; None where the prediction diverged on any seed."""
    if not arms[0].losses(records):
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
    chosen = [] if best is around[0] or best.missing(records) else [best]
    noise = protocol.baseline_noise(best, rungs, records)
    return tuple(arm.summary(records, noise) for arm in (*around, *chosen, *rungs))


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
    if unequal := unequal_budgets(own, other):
        return unequal
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
    arms, baseline_arms = protocol.around(name, records), protocol.around(BASELINE, records)
    best, rungs = protocol.best(BASELINE, records), protocol.rungs(records)
    own = _side(protocol.predictions[name], seed_noise(protocol.predictions[name], arms, records), arms, records)
    noise = protocol.baseline_noise(best, rungs, records)
    other = _side(protocol.predictions[BASELINE], noise, (*baseline_arms, best, *rungs), records)

    is_timed = slowdown(own.pace, other.pace) is not None
    axes: list[Axis] = [axis for axis in get_args(Axis) if axis != "wall_clock" or is_timed]
    ladders = {axis: [other.point(arm, axis) for arm in (best, *rungs)] for axis in axes}
    curve = [(point.tokens, point.val) for point in records[own.prediction.spec.run_id].curve if point.val is not None]
    ours, theirs = own.over_widths(arms[0]), other.over_widths(baseline_arms[0])
    widths = sorted(set(ours) & set(theirs))
    challengers, baselines = [ours[width] for width in widths], [theirs[width] for width in widths]
    return Speedup(
        compute_multiplier={axis: compute_multiplier(ladder, own.point(arms[0], axis)) for axis, ladder in ladders.items()},
        law=power_law(ladders["flops"], own.point(arms[0], "flops")),
        within_run=within_run(ladders["tokens"][0], curve),
        sizes=tuple(
            Size(
                width=width,
                parameters=own.prediction.spec.at(**{"model.width": width}).model.parameters(),
                flops=ours[width].cost,
                baseline_loss=theirs[width].loss,
                loss=ours[width].loss,
                multiplier=multiplier,
                law=power_law(baselines, ours[width]),
            )
            for width, multiplier in zip(widths, over_sizes(baselines, challengers), strict=True)
        ),
        trend=trend(baselines, challengers),
    )


@dataclass(frozen=True)
class _Side:
    """One optimizer in a comparison, and what its runs scatter by."""

    prediction: Prediction
    noise: SeedNoise
    pace: Pace | None
    records: Records

    def point(self, arm: Arm, axis: Axis) -> Point:
        """An arm's mean loss, and the cost of one of its runs, which is the same for every seed: seconds by the side's pace."""
        loss, record = arm.mean(self.records), self.records[arm.specs[0].run_id]
        costs: dict[Axis, float] = {
            "tokens": record.tokens,
            "flops": record.flops,
            "flops_with_optimizer": record.flops + record.flops_optimizer,
            "wall_clock": self.pace.seconds * record.tokens if self.pace else math.nan,
        }
        standard_error = self.noise.sd * loss / math.sqrt(len(arm.specs))
        cost_error = self.pace.error if self.pace and axis == "wall_clock" else 0.0
        return Point(costs[axis], loss, standard_error, self.noise.freedom, cost_error)

    def over_widths(self, predicted: Arm) -> dict[int, Point]:
        """FLOPs and loss by width: the surface's lowest at the searched ones, taken to be known as well as by one run, and the
        predicted runs. Empty where the target has another horizon than the search had, or a predicted run diverged."""
        spec, noise = self.prediction.spec, self.noise
        if spec.at(**{"model.width": spec.base.width}).tokens != spec.base.tokens or not predicted.losses(self.records):
            return {}
        searched = {
            optimum.width: Point(
                spec.at(**{"model.width": optimum.width}).flops, optimum.loss, noise.sd * optimum.loss, noise.freedom
            )
            for optimum in self.prediction.optima
        }
        return searched | {self.prediction.target.width: self.point(predicted, "flops")}


def _side(prediction: Prediction, noise: SeedNoise, arms: Sequence[Arm], records: Records) -> _Side:
    return _Side(prediction, noise, pace(records[spec.run_id] for arm in arms for spec in arm.specs), records)


def _without_optimizer(spec: RunSpec) -> RunSpec:
    """What two runs must share to be compared: all but the optimizer, and the schedule, which is compared by itself."""
    return spec.model_copy(update={"optimizer": None, "schedule": None})


def annealed(spec: RunSpec) -> bool:
    """Whether the final loss is that of an LR brought to 0, or of averaged iterates in its stead (arXiv 2405.15682)."""
    return spec.schedule.shape != "constant" or get_recipe(spec.optimizer.recipe).averages


def unequal_budgets(own: Prediction, baseline: Prediction) -> str | None:
    """The refusal where two searches finished unequal numbers of runs at some width."""
    if own.budget == baseline.budget:
        return None
    each = []
    for prediction in (baseline, own):
        runs = (f"{runs} runs at width {width}" for width, runs in sorted(prediction.budget.items()))
        each.append(f"{prediction.optimizer} {', '.join(runs)}")
    return f"No speedup is claimed: the searches had unequal budgets, {'; '.join(each)}."


def _began_after(registered_at: str, record: RunRecord) -> bool:
    """Whether a run began after a moment (UTC, ISO 8601), which like its own end is known to a second."""
    spent = timedelta(seconds=record.training_wall_seconds + record.evaluation_wall_seconds)
    began = datetime.fromisoformat(record.finished_at) - spent
    return began >= datetime.fromisoformat(registered_at) - timedelta(seconds=1)
