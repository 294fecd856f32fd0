"""The preconditions of transfer, checked one by one on the runs and the target. What fails is named, never silent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hptransfer.base.refusals import Refusal, Refused
from hptransfer.runs.point import Job, Number, Point, horizon_words
from hptransfer.transfer.axes import cell_words, logarithm
from hptransfer.transfer.group import Group
from hptransfer.transfer.prediction import Check

# How far from the runs a target may be, by scale: as far as public sweeps reach that the method was tested on. They reach 32x in
# width; Step Law's (arXiv 2503.04715) 25x in tokens at one batch, and 64x in batch. In depth theirs reach 2.3x;
# CompleteP's (arXiv 2505.01618) go farther, but by one rule rather than a fit.
MAX_EXTRAPOLATION = {"width": 32.0, "tokens": 32.0, "batch_tokens": 32.0, "depth": 8.0}
OTHERWISE = 32.0  # of a table's own scales
FEWEST_STEPS = 50  # in fewer the averages of an optimizer hardly fill: its LR is of the start, not of the run
WARMUP = 2.0  # factor, beyond those of the runs
# Constants without which runs do not belong together; others that differ are a failed check of the prediction.
ADVISORY = ("block size", "optimizer options")


def preconditions(group: Group, target: Job | None) -> tuple[Check, ...]:
    """Every precondition of predicting ``target`` from the group. Only what runs and target have can be checked."""
    jobs = [record.job for record in group.used.kinds]
    points = [job.point for job in jobs]
    checks = [_scales(group, points, target)]
    for name in dict.fromkeys(name for job in jobs for name in job.constants):
        checks.append(_same(name, jobs, target))
    if target and target.point.settings.get("horizon"):
        checks.append(_horizons(points, target.point))
    if target and "batch_tokens" in group.scales and "batch_tokens" in target.point.scales:
        rule = "lr moved by the square-root rule, interval widened by lr* ~ batch^(0.5 +- 0.25)"
        checks.append(_range("batch", [point["batch_tokens"] for point in points], target.point["batch_tokens"], rule))
    if group.frozen:
        checks.append(_frozen(group))
    if target and target.exponents:
        words = (
            f"does not cover {'; nor '.join(target.uncovered)}" if target.uncovered else "covers this optimizer and its options"
        )
        checks.append(Check(name="theory", ok=True, detail=words))
    if target and target.point.settings and {"tokens", "batch_tokens"} <= target.point.scales.keys():
        checks.append(_steps(target))
    if target and (warmup := (target.point.settings.get("schedule") or {}).get("warmup_tokens")):
        checks.append(_warmup(warmup, points, target.point))
    if target:
        checks.append(_extrapolation(group.varying(target), points, target.point))
    return tuple(checks)


def refuse_failed(checks: Sequence[Check], name: str) -> None:
    """Raise Refused for the first required check that fails."""
    for check in checks:
        if check.required and not check.ok:
            raise Refused(Refusal.of("precondition", name=name, check=check.name, detail=check.detail))


def _scales(group: Group, points: Sequence[Point], target: Job | None) -> Check:
    """Two cells at least; of one its optimum is all that is asked where there is no target."""
    names = [name for name in group.scales if len({point.scales.get(name) for point in points}) > 1]
    if names:
        ranges = [f"{name} {', '.join(f'{value:.6g}' for value in sorted({p[name] for p in points}))}" for name in names]
        return Check(name="scales", ok=True, detail=f"runs at {'; '.join(ranges)}", required=True)
    found = one_cell(group.scales[:1], points[0])
    return found if target else found.model_copy(update={"ok": True})


def one_cell(scales: Sequence[str], point: Point) -> Check:
    """The check that fails for a target where all runs are in one cell."""
    return Check(name="scales", ok=False, detail=one_cell_words({name: point[name] for name in scales}), required=True)


def one_cell_words(scales: Mapping[str, Number]) -> str:
    """What is said where all runs are in one cell."""
    return f"one cell, {cell_words(scales)}, shows no drift; add runs at a second one"


def _same(name: str, jobs: Sequence[Job], target: Job | None) -> Check:
    """A constant that runs and target must share."""
    values = list(dict.fromkeys(job.constants.get(name, "") for job in jobs))
    required = name not in ADVISORY
    if target and name in target.constants:
        wanted = target.constants[name]
        other = sorted({*values} - {wanted})
        detail = f"target {wanted}, runs also {'; '.join(other)}" if other else f"{wanted} in runs and target"
        return Check(name=name, ok=not other, detail=detail, required=required)
    mixed = len(values) > 1
    detail = f"runs that do not belong together: {', '.join(values[:4])}" if mixed else f"{values[0]} in all runs"
    return Check(name=name, ok=not mixed, detail=detail, required=required)


def _horizons(points: Sequence[Point], target: Point) -> Check:
    """Tokens beyond the swept ones widen the interval, and the detail says so."""
    horizon, policies = target.settings["horizon"], [point.settings["horizon"] for point in points]
    if horizon["policy"] == "tpp" and all(policy == horizon for policy in policies):
        detail = f"{horizon_words(target)} in runs and target: tokens grow with width, and the drift holds both"
        return Check(name="horizon", ok=True, detail=detail)
    if horizon["policy"] == "tpp" and any(policy["policy"] != "tpp" for policy in policies):
        swept = sorted({horizon_words(point) for point in points})
        return Check(name="horizon", ok=False, detail=f"target {horizon_words(target)}, runs {'; '.join(swept)}")
    rule = "interval widened by lr* ~ tokens^(0 +- 0.25): published laws disagree on the sign"
    return _range("horizon", [point["tokens"] for point in points], target["tokens"], rule)


def _range(name: str, swept: Sequence[Number], target: Number, rule: str) -> Check:
    low, high = min(swept), max(swept)
    swept_words = f"{low} tokens in the runs" if low == high else f"{low} to {high} tokens in the runs"
    beyond = f": {rule}" if low == high != target else ""
    return Check(name=name, ok=True, detail=f"{target} tokens at the target, {swept_words}{beyond}")


def _frozen(group: Group) -> Check:
    """What is not fitted was settled on at the smallest cell."""
    scale, sizes = group.scales[0], group.runs.column(group.scales[0])
    left_out = ~np.isin(group.runs.run_id, group.used.run_id)
    strays = np.unique(sizes[left_out & (sizes > sizes.min())])
    where = f", some at {scale} {', '.join(f'{size:.15g}' for size in strays)}" if len(strays) else ""
    kept = ", ".join(f"{name} {value:g}" for name, value in group.frozen.items())
    detail = f"{kept} at {scale} {sizes.max():.15g}; {left_out.sum()} runs at others left out{where}"
    return Check(name="role ratio", ok=not len(strays), detail=detail)


def _steps(target: Job) -> Check:
    detail = f"{target.steps} steps at the target, {FEWEST_STEPS} are the least"
    return Check(name="steps", ok=target.steps >= FEWEST_STEPS, detail=detail, required=True)


def _warmup(tokens: int, points: Sequence[Point], target: Point) -> Check:
    """The target's warm-up is near that of some runs, in steps or as a share of the run. Whoever scales a run up keeps the one or
    the other: steps are what the optimizer's averages need, and the share is what warm-up takes of the schedule. One that is like
    no run's in either is another schedule."""

    def steps(point: Point) -> float:
        return tokens / point["batch_tokens"]

    def share(point: Point) -> float:
        return tokens / point["tokens"]

    def is_near(measure: Callable[[Point], float]) -> bool:
        own = [measure(point) for point in points]
        return min(own) / WARMUP <= measure(target) * (1 + 1e-9) and measure(target) <= max(own) * WARMUP * (1 + 1e-9)

    near = [words for words, measure in (("in steps", steps), ("as a share", share)) if is_near(measure)]
    ends = [sorted(map(measure, points)) for measure in (steps, share)]
    detail = (
        f"{steps(target):.4g} steps, {share(target):.2%} of the target run; the runs' have {ends[0][0]:.4g} to {ends[0][-1]:.4g} "
        f"steps, {ends[1][0]:.2%} to {ends[1][-1]:.2%}: {'comparable ' + ' and '.join(near) if near else 'comparable in neither'}"
    )
    return Check(name="warm-up", ok=bool(near), detail=detail, required=True)


def _extrapolation(scales: Sequence[str], points: Sequence[Point], target: Point) -> Check:
    """The scale in which the target is farthest from the runs, of what is allowed there."""
    found = []
    for name in scales:
        if name not in target.scales:
            continue
        own, limit = [logarithm(name, point[name]) for point in points], MAX_EXTRAPOLATION.get(name, OTHERWISE)
        at = logarithm(name, target[name])
        for distance, words in ((at - max(own), "beyond the largest run"), (min(own) - at, "below the smallest run")):
            found.append((distance - math.log(limit), f"{math.exp(distance):.3g}x in {name} {words}, {limit:g}x"))
    excess, words = max(found)
    detail = f"{words} is the most that was ever tested"
    return Check(name="extrapolation", ok=excess <= 1e-9, detail=detail, required=True)
