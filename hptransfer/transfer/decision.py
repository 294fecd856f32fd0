"""From the records of one group to a prediction: the pure function behind ``python -m hptransfer.transfer``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from hptransfer.base.errors import CheckFailed
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.runs import RunRecord
from hptransfer.transfer.checks import preconditions, require
from hptransfer.transfer.forecast import DRAWS, Fit
from hptransfer.transfer.group import RULES, Group, fit_group, width_prior
from hptransfer.transfer.law import TAIL, UNKNOWN, Law, Line
from hptransfer.transfer.prediction import (
    Check,
    Drift,
    HoldOut,
    Hyperparameters,
    Interval,
    Optimum,
    Prediction,
    RoleNumbers,
    Target,
    WeightDecay,
)
from hptransfer.transfer.prediction import Surface as SurfaceNumbers
from hptransfer.transfer.sweep import Array, frozen_ratio
from hptransfer.transfer.theory import theory_drift

BEST_RUNS = 3  # at least so many give the weight decay where the surface does not


def predict(
    records: Sequence[RunRecord],
    target: RunSpec,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    force: bool = False,
    provenance: dict[str, Any] | None = None,
) -> Prediction:
    """The best lr and weight_decay at ``target``, from the runs of one recipe and parametrization at smaller widths.

    ``target`` is the run to predict for; its lr, weight_decay and embedding_lr_ratio are placeholders. The order of the
    records does not matter, and the same records and seed give the same prediction. Raises UsageError where a width has too
    few complete runs, CheckFailed where an LR optimum is on the edge of its sweep or beyond, and, unless ``force``, where a
    precondition fails without which no prediction is made (see `hptransfer.transfer.checks.require`).
    """
    records = sorted(records, key=lambda record: record.run_id)
    ratio = frozen_ratio(records)
    used = [record for record in records if record.spec.optimizer.embedding_lr_ratio == ratio]
    checks = preconditions(records, used, target)
    if not force:
        require(checks, target.optimizer.recipe)

    group = fit_group(used, target, draws=draws, seed=seed)
    fit, why = group.fit, group.without_decay
    law, line = group.law(target, draws=draws, seed=seed), fit.line(draws=draws, seed=seed)
    inside = _inside_sweeps(fit, target.optimizer.recipe)

    base_decay = _usual_weight_decay(used, fit) if why else math.exp(law.value[1])
    lr = _interval(law.value[0], law.draws[:, 0])
    spec = target.at(**{"optimizer.lr": lr.value, "optimizer.weight_decay": base_decay, "optimizer.embedding_lr_ratio": ratio})
    multiplier = spec.weight_decay / base_decay if base_decay > 0 else 1.0
    decay = WeightDecay(value=spec.weight_decay, low=None, high=None, status=f"not identified, rule used: {why}")
    if not why:
        low, high = np.exp(_interval_ends(law.value[1], law.draws[:, 1]))
        rule = "" if len(law.weights) == 1 else f"; {_likelier(law)}"
        decay = WeightDecay(value=spec.weight_decay, low=low * multiplier, high=high * multiplier, status=f"identified{rule}")
    return Prediction(
        optimizer=spec.optimizer.recipe,
        parametrization=spec.parametrization,
        target=Target(
            width=spec.model.width,
            depth=spec.model.depth,
            tokens=spec.tokens,
            batch_tokens=spec.batch_tokens,
            parameters=spec.model.parameters(),
        ),
        hyperparameters=Hyperparameters(lr=lr, weight_decay=decay, embedding_lr_ratio=ratio),
        drift=_drift(law, line, target),
        roles=_roles(spec),
        expected_regret=float(np.mean(fit.middle.regret(law.value - law.draws))),
        noise=fit.middle.noise.sd,
        budget=dict(sorted(Counter(record.spec.model.width for record in records).items())),
        optima=_optima(group),
        surface=SurfaceNumbers(curvature=fit.middle.curvature, skew=float(fit.middle.skew[0])),
        hold_out=_hold_out(group, draws, seed),
        checks=(*checks, inside),
        spec=spec,
        provenance=provenance or {},
    )


def _likelier(law: Law) -> str:
    """Which weight decay rule the runs favour."""
    best = int(np.argmax(law.weights))
    return f"{law.weights[best]:.0%} for {list(RULES.values())[best]}"


def _interval_ends(value: float, draws: Array) -> Array:
    low, high = np.quantile(draws, [TAIL, 1 - TAIL])
    return np.array([min(low, value), max(high, value)])


def _interval(ln_value: float, ln_draws: Array) -> Interval:
    """80 % interval from draws; it always holds the value."""
    low, high = np.exp(_interval_ends(ln_value, ln_draws)).tolist()
    return Interval(value=math.exp(ln_value), low=low, high=high)


def _drift(law: Law, line: Line, target: RunSpec) -> Drift:
    """Of lr with width, in words too."""
    theory = theory_drift(target)
    used, fitted = theory + float(law.exponent[0, 0]), float(line.exponent[0, 0])
    if math.isnan(fitted):
        reason = "theory: one width shows no drift"
        return Drift(theory=theory, fitted=None, low=None, high=None, used=used, reason=reason)
    low, high = float(line.low[0, 0]), float(line.high[0, 0])
    moved = (used - theory) / (fitted - theory) if fitted != theory else 0.0
    verdict = "contains" if low <= theory <= high else "excludes"
    reason = (
        f"theory moved {min(max(moved, 0.0), 1.0):.0%} of the way to the fit, "
        f"whose 80 % interval [{low:.3f}, {high:.3f}] {verdict} it"
    )
    if width_prior(target) == UNKNOWN:
        readout = theory_drift(target, "readout")
        reason += f"; theory weighs little: it expects {theory:.3g} of hidden weights and {readout:.3g} of the readout"
    return Drift(theory=theory, fitted=fitted, low=low, high=high, used=used, reason=reason)


def _inside_sweeps(fit: Fit, recipe: str) -> Check:
    """Raise where an optimum is not inside its sweep: what lies beyond the edge is a guess. Above the highest run that
    finished, a diverged run still bounds the optimum, which is taken up to the middle between the two."""
    sweep, by_ceiling = fit.sweep, []
    for i, optimum in enumerate(fit.optimum[:, 0]):
        width = round(math.exp(sweep.x[i, 0]))
        low, high, ceiling = (math.exp(bound) for bound in (sweep.low[i, 0], sweep.high[i, 0], sweep.ceiling[i]))
        if optimum <= sweep.low[i, 0]:
            raise CheckFailed(
                f"{recipe} at width {width}: the best lr is at the lower edge of its sweep ({low:.4g}) or below; "
                f"extend the search to lower lr (--set spaces.{recipe}.lr.low=...)"
            )
        if optimum < sweep.high[i, 0]:
            continue
        where = f"{recipe} at width {width}: the best lr is at the upper edge of its sweep ({high:.4g}) or above"
        if not math.isfinite(ceiling):
            raise CheckFailed(f"{where}; extend the search to higher lr (--set spaces.{recipe}.lr.high=...)")
        if optimum > (sweep.high[i, 0] + sweep.ceiling[i]) / 2:
            raise CheckFailed(f"{where}, and runs from {ceiling:.4g} on diverged; search in between, as more --trials do")
        by_ceiling.append(f"width {width}: between {high:.4g}, the highest that finished, and {ceiling:.4g}, which diverged")
    return Check(name="lr inside its sweep", ok=True, detail="; ".join(by_ceiling) or "between finished runs at every width")


def _optima(group: Group) -> tuple[Optimum, ...]:
    """The LR optimum of each cell; an end of its interval beyond the sweep is not bounded."""
    fit, sweep, result = group.fit, group.fit.sweep, []
    for i, spec in enumerate(group.cells):
        value, reach = fit.optimum[i, 0], -stats.norm.ppf(TAIL) * fit.spread[i, 0]
        low, high = value - reach, value + reach
        lr = Interval(
            value=math.exp(value),
            low=math.exp(low) if low > sweep.low[i, 0] else None,
            high=math.exp(high) if high < sweep.high[i, 0] else None,
        )
        loss = math.exp(fit.middle.offset[i])
        result.append(Optimum(width=spec.model.width, lr=lr, loss=loss, runs=sweep.runs(i), diverged=sweep.diverged[i]))
    return tuple(result)


def _hold_out(group: Group, draws: int, seed: int) -> HoldOut | None:
    """Predict the largest searched width from the narrower ones, by the same steps; None with one width."""
    held = group.cells[-1]
    narrower = [i for i, spec in enumerate(group.cells) if spec.model.width < held.model.width]
    if not narrower:
        return None
    law, own = group.take(narrower).law(held, draws=draws, seed=seed), group.fit.optimum[-1]
    return HoldOut(
        width=held.model.width,
        predicted_lr=math.exp(law.value[0]),
        own_lr=math.exp(own[0]),
        regret=float(group.fit.middle.regret(law.value - own)),
    )


def _usual_weight_decay(records: Sequence[RunRecord], fit: Fit) -> float:
    """The geometric mean of the best runs' weight decay, in base coordinates: those within two standard deviations of the
    noise of their width's best, and `BEST_RUNS` at least. 0 where some of them have none."""
    lowest: dict[int, float] = {}
    for record in records:
        if record.loss is not None:
            width = record.spec.model.width
            lowest[width] = min(record.loss, lowest.get(width, math.inf))
    ranked = sorted(
        (math.log(record.loss / lowest[record.spec.model.width]), record.spec.optimizer.weight_decay)
        for record in records
        if record.loss is not None
    )
    near = sum(excess <= 2 * fit.middle.noise.sd for excess, _ in ranked)
    decays = [decay for _, decay in ranked[: max(BEST_RUNS, near)]]
    return math.exp(float(np.mean(np.log(decays)))) if min(decays) > 0 else 0.0


def _roles(spec: RunSpec) -> dict[Any, RoleNumbers]:
    """The numbers of the first kind of weight of each role."""
    groups = {group.role: group for group in reversed(spec.groups())}
    return {
        role: RoleNumbers(lr=group.lr, weight_decay=group.weight_decay, epsilons=group.epsilons)
        for role, group in reversed(groups.items())
    }
