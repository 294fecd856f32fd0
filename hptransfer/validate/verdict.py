"""From the runs at the target to a verdict: regret, and the speedup over AdamW or why there is none. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from hptransfer.cli import number
from hptransfer.rules.recipes import ScheduleFree, get_recipe
from hptransfer.spec import RunSpec
from hptransfer.transfer.prediction import Interval, Prediction
from hptransfer.validate.arms import Arm, Records, seed_noise
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
    prediction, baseline = protocol.predictions[name], protocol.predictions[BASELINE]
    arms = protocol.around(name, records)
    start, rungs = protocol.best(BASELINE, records), protocol.rungs(records)
    noise = seed_noise(prediction, arms, records)
    baseline_noise = seed_noise(baseline, (start, *rungs), records)

    def ladder(axis: Axis) -> tuple[list[Point], Point]:
        horizons = [_point(arm, axis, baseline_noise, records) for arm in (start, *rungs)]
        return horizons, _point(arms[0], axis, noise, records)

    axes: tuple[Axis, ...] = get_args(Axis)
    final = ladder("tokens")[0][0]
    curve = [(point.tokens, point.val) for point in records[prediction.spec.run_id].curve if point.val is not None]
    ours, theirs = _over_widths(prediction, arms[0], noise, records), _over_widths(baseline, start, baseline_noise, records)
    widths = sorted(set(ours) & set(theirs))
    own, other = [ours[width] for width in widths], [theirs[width] for width in widths]
    return Speedup(
        compute_multiplier={axis: compute_multiplier(*ladder(axis)) for axis in axes},
        law=power_law(*ladder("flops")),
        within_run=within_run(final, curve),
        sizes=tuple(
            Size(
                width=width,
                parameters=prediction.spec.at(**{"model.width": width}).model.parameters(),
                flops=ours[width].cost,
                baseline_loss=theirs[width].loss,
                loss=ours[width].loss,
                multiplier=multiplier,
                law=power_law(other, ours[width]),
            )
            for width, multiplier in zip(widths, over_sizes(other, own), strict=True)
        ),
        trend=trend(other, own),
    )


def _point(arm: Arm, axis: Axis, noise: SeedNoise, records: Records) -> Point:
    loss = arm.mean(records)
    return Point(arm.cost(axis, records), loss, noise.sd * loss / math.sqrt(len(arm.specs)), noise.freedom)


def _over_widths(prediction: Prediction, target: Arm, noise: SeedNoise, records: Records) -> dict[int, Point]:
    """FLOPs and loss by width: the surface's lowest at the searched ones, taken to be known as well as by one run, and the runs
    at the target."""
    searched = {
        optimum.width: Point(
            prediction.spec.at(**{"model.width": optimum.width}).flops, optimum.loss, noise.sd * optimum.loss, noise.freedom
        )
        for optimum in prediction.optima
    }
    return searched | {prediction.target.width: _point(target, "flops", noise, records)}


def _without_optimizer(spec: RunSpec) -> RunSpec:
    """What two runs must share to be compared: all but the optimizer, and the schedule, which is compared by itself."""
    return spec.model_copy(update={"optimizer": None, "schedule": None})


def annealed(spec: RunSpec) -> bool:
    """Whether the final loss is that of an LR brought to 0, or of averaged iterates in its stead (arXiv 2405.15682)."""
    return spec.schedule.shape != "constant" or issubclass(get_recipe(spec.optimizer.recipe).options, ScheduleFree)


def _budget(prediction: Prediction) -> str:
    return " + ".join(f"{runs} runs at width {width}" for width, runs in prediction.budget.items())
