"""From the runs at the target to a verdict: regret, and the speedup over the baseline or why there is none. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.experiment.arm import BASELINE
from hptransfer.optimizers import get_recipe
from hptransfer.runs import Point, Record
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.configurations import Configuration, Pace, Records, pace, seed_noise, slowdown
from hptransfer.validate.foretold import foretell
from hptransfer.validate.protocol import Protocol, has_ladder
from hptransfer.validate.regret import regret_by_probes
from hptransfer.validate.result import AtSize, Axis, SeedNoise, Speedup, Survival, TargetRun, Validation
from hptransfer.validate.speedup import Spent, compute_multiplier, over_sizes, power_law, trend, within_run
from hptransfer.validate.survival import ScaleRuns, survival


def verdict(
    name: str, protocol: Protocol, records: Records, registered_at: str | None = None, *, searched: Sequence[Protocol] = ()
) -> Validation:
    """What the runs say of one prediction; ``registered_at``: when it came into the store (UTC, ISO 8601). ``searched``: the same
    arms at the searched scales, where everything has run there."""
    prediction, around = protocol.predictions[name], protocol.around(name, records)
    noise, settings = seed_noise(prediction, around, records), prediction.point.settings
    yardstick = None if name == protocol.baseline else protocol.yardstick
    refusal = None if name == protocol.baseline else _refusal(name, protocol, records)
    return Validation(
        arm=name,
        optimizer=settings.get("optimizer"),
        parametrization=settings["parametrization"],
        width=int(prediction.point["width"]),
        baseline=None if name == protocol.baseline else protocol.baseline,
        prediction=prediction.digest,
        preregistered=registered_at is not None
        and all(_began_after(registered_at, records[job.run_id]) for one in around for job in one.jobs),
        noise=noise,
        regret=_regret(prediction, around, noise, records),
        speedup=None if refusal or yardstick is None else _speedup(name, yardstick, protocol, records),
        refusal=refusal,
        survival=None if refusal or not searched or yardstick is None else _survival(name, protocol, searched, records),
        foretold=foretell(prediction, len(around[0].jobs)),
        runs=tuple(one.summary(records, noise) for one in around),
        baseline_runs=_baseline_runs(yardstick, protocol, records) if yardstick else (),
    )


def _regret(prediction: Prediction, around: Sequence[Configuration], noise: SeedNoise, records: Records) -> Interval | None:
    """From the first seed of the prediction and of its probes; None where the prediction diverged on any seed."""
    if not around[0].losses(records):
        return None
    points, losses = [], []
    for one in around:
        loss = one.first_loss(records)
        if loss is not None and one.kind in ("predicted", "lr_probe", "weight_decay_probe"):
            points.append((1.0, one.factor) if one.kind == "weight_decay_probe" else (one.factor, 1.0))
            losses.append(loss)
    skew = prediction.bowl.skew if prediction.bowl else 1.0
    return regret_by_probes(points, losses, noise=noise.sd, freedom=noise.freedom, skew=skew)


def _baseline_runs(name: str, protocol: Protocol, records: Records) -> tuple[TargetRun, ...]:
    """Everything of the baseline at the target: what is around its prediction, its best configuration, its horizons."""
    around, rungs = protocol.around(name, records), protocol.finished_rungs(records)
    best = protocol.best(name, records)
    chosen = [] if best is around[0] or best.missing(records) else [best]
    noise = protocol.baseline_noise(best, rungs, records)
    return tuple(one.summary(records, noise) for one in (*around, *chosen, *rungs))


def _refusal(name: str, protocol: Protocol, records: Records) -> Refusal | None:
    """Why no speedup may be claimed, or None."""
    baseline = protocol.yardstick
    if baseline is None and protocol.baseline is None:
        is_alone = len(protocol.predictions) == 1
        return Refusal.of("alone", name=name) if is_alone else Refusal.of("baseline_not_compared", baseline=BASELINE)
    if baseline is None:
        return Refusal.of("no_baseline", baseline=protocol.baseline)
    own, other = protocol.predictions[name], protocol.predictions[baseline]
    if _shared(own.point) != _shared(other.point):
        return Refusal.of("different_runs", baseline=baseline, name=name)
    if annealed(own.point) != annealed(other.point):
        early, late = (name, baseline) if annealed(other.point) else (baseline, name)
        return Refusal.of("mid_schedule", early=early, late=late)
    for prediction in (own, other):
        if failed := [check.name for check in prediction.checks if not check.ok]:
            return Refusal.of("checks_failed", name=prediction.name, checks=", ".join(failed))
    if unequal := unequal_budgets(own, other):
        return unequal
    told = {one: protocol.around(one, records)[0] for one in (name, baseline)}
    compared = (*told.values(), protocol.best(baseline, records), *protocol.finished_rungs(records))
    if lost := [job.run_id for one in compared for job in one.jobs if records[job.run_id].state == "failed"]:
        return Refusal.of("failed", run=lost[0])
    if not math.isfinite(protocol.around(name, records)[0].mean(records)):
        return Refusal.of("diverged", name=name)
    best = protocol.best(baseline, records)
    if not all(math.isfinite(one.mean(records)) for one in (best, *protocol.finished_rungs(records))):
        return Refusal.of("baseline_diverged", baseline=baseline)
    outermost = protocol.unbracketed(baseline, protocol.around(baseline, records), records)
    for one in outermost.values():
        probe = f"{'LR' if one.kind == 'lr_probe' else 'weight decay'} x {one.factor:.4g}"
        return Refusal.of("baseline_not_tuned", baseline=baseline, probe=probe)
    for arm, configuration in told.items():
        if len(losses := configuration.losses(records)) > 1 and len(set(losses)) == 1:
            return Refusal.of("same_seeds", name=arm, runs=len(losses))
    return None


def _speedup(name: str, baseline: str, protocol: Protocol, records: Records) -> Speedup:
    """The challenger's predicted run against the baseline at its best configuration, over its horizons and over sizes."""
    around, baseline_around = protocol.around(name, records), protocol.around(baseline, records)
    best, rungs = protocol.best(baseline, records), protocol.finished_rungs(records)
    own = _side(protocol.predictions[name], seed_noise(protocol.predictions[name], around, records), around, records)
    noise = protocol.baseline_noise(best, rungs, records)
    other = _side(protocol.predictions[baseline], noise, (*baseline_around, best, *rungs), records)

    ladder = (best, *rungs)
    axes: list[Axis] = [axis for axis in get_args(Axis) if axis != "wall_clock" or slowdown(own.pace, other.pace) is not None]
    if has_ladder(best.jobs[0], protocol.resolve):
        axes = [axis for axis in axes if own.knows(axis, around[:1]) and other.knows(axis, ladder)]
    else:
        axes = []
    ladders = {axis: [other.spent(one, axis) for one in ladder] for axis in axes}
    points = records[own.prediction.run.run_id].outcome.curve
    curve = [(point.tokens, point.val) for point in points if point.tokens is not None and point.val is not None]
    ours, theirs = own.over_widths(around[0]), other.over_widths(baseline_around[0])
    widths = sorted(set(ours) & set(theirs))
    challengers, baselines = [ours[width].spent for width in widths], [theirs[width].spent for width in widths]
    return Speedup(
        compute_multiplier={axis: compute_multiplier(ladder, own.spent(around[0], axis)) for axis, ladder in ladders.items()},
        law=power_law(ladders["flops"], own.spent(around[0], "flops")) if "flops" in ladders else None,
        within_run=within_run(ladders["tokens"][0], curve) if "tokens" in ladders else None,
        sizes=tuple(
            AtSize(
                width=width,
                parameters=ours[width].parameters,
                flops=ours[width].spent.cost,
                baseline_loss=theirs[width].spent.loss,
                loss=ours[width].spent.loss,
                multiplier=multiplier,
                law=power_law(baselines, ours[width].spent),
            )
            for width, multiplier in zip(widths, over_sizes(baselines, challengers), strict=True)
        ),
        trend=trend(baselines, challengers),
    )


def _survival(name: str, protocol: Protocol, searched: Sequence[Protocol], records: Records) -> Survival:
    """Over the searched scales and the held-out one, those where a seed diverged left out."""
    found = (_measured(name, one, records, is_held_out=one is protocol) for one in (*searched, protocol))
    return survival([one for one in found if one])


def _measured(name: str, protocol: Protocol, records: Records, *, is_held_out: bool) -> ScaleRuns | None:
    """The baseline's ladder and a challenger at one scale, in FLOPs; None where a run diverged or its compute is unknown."""
    baseline = protocol.yardstick
    assert baseline is not None
    around, best, rungs = protocol.around(name, records), protocol.best(baseline, records), protocol.finished_rungs(records)
    prediction, ladder = protocol.predictions[name], (best, *rungs)
    own = _side(prediction, seed_noise(prediction, around, records), around, records)
    other = _side(protocol.predictions[baseline], protocol.baseline_noise(best, rungs, records), ladder, records)
    if not all(one.losses(records) for one in (around[0], *ladder)):
        return None
    if not own.knows("flops", around[:1]) or not other.knows("flops", ladder):
        return None
    return ScaleRuns(
        width=int(prediction.point["width"]),
        ladder=[other.spent(one, "flops") for one in ladder],
        challenger=own.spent(around[0], "flops"),
        is_held_out=is_held_out,
    )


@dataclass(frozen=True)
class _AtWidth:
    """One arm at one model size."""

    parameters: int | None
    spent: Spent


@dataclass(frozen=True)
class _Side:
    """One arm in a comparison, and what its runs scatter by."""

    prediction: Prediction
    noise: SeedNoise
    pace: Pace | None
    records: Records

    def cost(self, one: Configuration, axis: Axis) -> float | None:
        """Of one of its runs, which is the same for every seed: seconds by the side's pace. None where it is unknown."""
        record = self.records[one.jobs[0].run_id]
        outcome, tokens = record.outcome, record.outcome.tokens or record.point.scales.get("tokens")
        if axis == "tokens":
            return tokens
        if axis == "wall_clock":
            return self.pace.seconds * tokens if self.pace and tokens else None
        if axis == "flops" or outcome.flops is None:
            return outcome.flops
        return None if outcome.flops_optimizer is None else outcome.flops + outcome.flops_optimizer

    def knows(self, axis: Axis, configurations: Sequence[Configuration]) -> bool:
        """Whether all costs on an axis are known."""
        return all(self.cost(one, axis) is not None for one in configurations)

    def spent(self, one: Configuration, axis: Axis) -> Spent:
        """A configuration's mean loss and known cost."""
        loss, cost = one.mean(self.records), self.cost(one, axis)
        assert cost is not None
        standard_error = self.noise.sd * loss / math.sqrt(len(one.jobs))
        cost_error = self.pace.error if self.pace and axis == "wall_clock" else 0.0
        return Spent(cost, loss, standard_error, self.noise.freedom, cost_error)

    def over_widths(self, predicted: Configuration) -> dict[int, _AtWidth]:
        """FLOPs and loss by width: the surface's lowest at the searched ones, taken to be known as well as by one run, and the
        predicted runs. Empty where cells or target differ in more than the width, a predicted run diverged, or the cost is
        unknown."""
        optima, job, noise = self.prediction.optima, self.prediction.run, self.noise
        if set(optima[0].scales) != {"width"} or not predicted.losses(self.records) or not self.knows("flops", [predicted]):
            return {}
        found = {
            int(optimum.width): _AtWidth(
                optimum.parameters, Spent(optimum.flops, optimum.loss, noise.sd * optimum.loss, noise.freedom)
            )
            for optimum in optima
            if optimum.flops is not None and optimum.loss is not None
        }
        found[int(job.point["width"])] = _AtWidth(job.parameters, self.spent(predicted, "flops"))
        return found


def _side(prediction: Prediction, noise: SeedNoise, configurations: Sequence[Configuration], records: Records) -> _Side:
    return _Side(prediction, noise, pace(records[job.run_id] for one in configurations for job in one.jobs), records)


def _shared(point: Point) -> Point:
    """What two runs must share to be compared: width, a horizon that is fixed, the data and how the loss is measured on them. All
    else may be what an arm changes; the schedule is compared by itself."""
    own = {name: value for name, value in point.settings.items() if name in ("trainer", "data", "evaluation")}
    own["maximize"] = (point.settings.get("program") or {}).get("maximize", False)
    is_fixed = (point.settings.get("horizon") or {}).get("policy") == "tokens"
    shared = ("width", *(["tokens"] if is_fixed else []))
    scales = {name: value for name, value in point.scales.items() if name in shared}
    return point.model_copy(update={"scales": scales, "hyperparameters": {}, "settings": own})


def annealed(point: Point) -> bool:
    """Whether the final loss is that of an LR brought to 0, or of averaged iterates in its stead (arXiv 2405.15682)."""
    if "schedule" not in point.settings:
        return True  # a program says what it calls its final loss
    return point.settings["schedule"]["shape"] != "constant" or get_recipe(point.settings["optimizer"]).averages


def unequal_budgets(own: Prediction, baseline: Prediction) -> Refusal | None:
    """The refusal where two searches finished unequal numbers of runs in some cell."""
    if own.budget == baseline.budget:
        return None
    each = []
    for prediction in (baseline, own):
        runs = (f"{runs} runs at {cell}" for cell, runs in prediction.budget.items())
        each.append(f"{prediction.name} {', '.join(runs)}")
    return Refusal.of("unequal_budgets", budgets="; ".join(each))


def _began_after(registered_at: str, record: Record) -> bool:
    """Whether a run began after a moment (UTC, ISO 8601), which like its own end is known to a second."""
    outcome = record.outcome
    if not outcome.finished_at:
        return False
    spent = timedelta(seconds=(outcome.training_wall_seconds or 0.0) + (outcome.evaluation_wall_seconds or 0.0))
    began = datetime.fromisoformat(outcome.started_at or outcome.finished_at) - (timedelta() if outcome.started_at else spent)
    return began >= datetime.fromisoformat(registered_at) - timedelta(seconds=1)
