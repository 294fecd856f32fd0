"""From the records of one group to a prediction: the pure function behind ``python -m hptransfer.transfer``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from hptransfer.errors import CheckFailed
from hptransfer.rules.weight_decay import WeightDecayRule, weight_decay_multiplier
from hptransfer.spec import RunSpec
from hptransfer.store import RunRecord
from hptransfer.transfer.checks import preconditions, require
from hptransfer.transfer.forecast import DRAWS, Fit, fit_sweep
from hptransfer.transfer.law import KNOWN, TAIL, Law, Line, Theory
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
from hptransfer.transfer.surface import fit_surface
from hptransfer.transfer.sweep import Array, Sweep, frozen_ratio, scale_of, sweep_of

BEST_RUNS = 3  # at least so many give the weight decay where the surface does not
SIGNIFICANCE = 0.05  # of the F test that lets weight decay into the surface

# How the best LR moves with what production changes beside width: exponent that is expected, and the scale of its prior (80 %
# within 1.64 of it). Batch: the square-root rule; published sweeps measured 0.3 to 0.5. Tokens at a given batch: published
# laws disagree on the sign (Step Law +0.31 with the batch tuned along, arXiv 2503.04715; -0.32 at a fixed one, arXiv
# 2409.19913), and Step Law's own sweeps show none at a given batch.
EXPECTED = {"tokens": 0.0, "batch_tokens": 0.5}
PRIOR = {"width": KNOWN, "tokens": 0.15, "batch_tokens": 0.15}
RULES: dict[WeightDecayRule, str] = {"inverse_width": "weight decay ~ 1/width", "constant_tau": "constant tau"}


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

    scales = _scales([record.spec for record in used], target)
    fit, why = _fit(sweep_of(used, scales))
    cells = _cells([record.spec for record in used], scales)
    law, line = _law(fit, cells, target, scales, draws, seed), fit.line(draws=draws, seed=seed)
    if why is None and (why := _beyond_range(fit.sweep, law)):
        fit = fit_sweep(fit.sweep.only(0))
        law, line = _law(fit, cells, target, scales, draws, seed), fit.line(draws=draws, seed=seed)
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
        drift=_drift(law, line, target.theory_drift()),
        roles=_roles(spec),
        expected_regret=float(np.mean(fit.middle.regret(law.value - law.draws))),
        noise=fit.middle.noise.sd,
        budget=dict(sorted(Counter(record.spec.model.width for record in records).items())),
        optima=_optima(fit, cells),
        surface=SurfaceNumbers(curvature=fit.middle.curvature, skew=float(fit.middle.skew[0])),
        hold_out=_hold_out(fit, cells, scales, draws, seed),
        checks=(*checks, inside),
        spec=spec,
        provenance=provenance or {},
    )


def _scales(specs: Sequence[RunSpec], target: RunSpec) -> tuple[str, ...]:
    """Width, and of tokens and batch what differs anywhere. Tokens that grow with width by one policy are width's."""
    every = [*specs, target]
    names = ["width"]
    if not (target.horizon.policy == "tpp" and all(spec.horizon == target.horizon for spec in specs)):
        names += ["tokens"] if len({spec.tokens for spec in every}) > 1 else []
    names += ["batch_tokens"] if len({spec.batch_tokens for spec in every}) > 1 else []
    return tuple(names)


def _cells(specs: Sequence[RunSpec], scales: Sequence[str]) -> list[RunSpec]:
    """One run of each cell, in the sweep's order."""
    cells = {tuple(scale_of(spec, name) for name in scales): spec for spec in specs}
    return [cells[key] for key in sorted(cells)]


def _fit(sweep: Sweep) -> tuple[Fit, str | None]:
    """The fit, and why weight decay is not in it, in words (None: it is)."""
    if len(sweep.hyperparameters) == 1:
        return fit_sweep(sweep), "weight_decay was not varied, or is 0 in some runs"
    both = fit_sweep(sweep)
    rich = both.middle
    plain = fit_surface(sweep.only(0), rich.misfit, rich.noise)
    extra = plain.dof - rich.dof
    gain = (plain.cost - rich.cost) / extra / max(1.0, rich.cost / max(rich.dof, 1.0))
    if rich.dof < 1 or gain <= stats.f.isf(SIGNIFICANCE, extra, rich.dof):
        return fit_sweep(sweep.only(0)), "the loss does not depend on it beyond the noise"
    return both, None


def _theories(cells: Sequence[RunSpec], scales: Sequence[str], hyperparameters: Sequence[str]) -> list[Theory]:
    """What is expected of the optima at the cells, the last of which is the target, in base coordinates."""
    drift = cells[-1].theory_drift()
    exponents = [drift if name == "width" else EXPECTED[name] for name in scales]
    lr = [sum(e * math.log(scale_of(spec, name)) for e, name in zip(exponents, scales, strict=True)) for spec in cells]
    if len(hyperparameters) == 1:
        return [Theory("mup" if drift == 0 else "sp", np.array(lr)[:, None])]
    theories = []
    for rule, name in RULES.items():
        decay = [math.log(_decay_multiplier(rule, spec) / _decay_multiplier(spec.weight_decay_rule, spec)) for spec in cells]
        theories.append(Theory(name, np.column_stack([lr, decay])))
    return theories


def _decay_multiplier(rule: WeightDecayRule, spec: RunSpec) -> float:
    return weight_decay_multiplier(
        rule,
        width=spec.model.width / spec.base.width,
        tokens=spec.tokens / spec.base.tokens,
        batch_tokens=spec.batch_tokens / spec.base.batch_tokens,
    )


def _law(fit: Fit, cells: Sequence[RunSpec], target: RunSpec, scales: Sequence[str], draws: int, seed: int) -> Law:
    theories = _theories([*cells, target], scales, fit.sweep.hyperparameters)
    x_target = np.log([scale_of(target, name) for name in scales])
    return fit.law(x_target, theories, np.array([PRIOR[name] for name in scales]), draws=draws, seed=seed)


def _beyond_range(sweep: Sweep, law: Law) -> str | None:
    """Why a weight decay that the loss depends on is not identified all the same; None where it is."""
    low, high = sweep.low[:, 1].min(), sweep.high[:, 1].max()
    if law.value[1] <= low:
        return f"its optimum is below the swept range, which begins at {math.exp(low):.4g}"
    if law.value[1] >= high:
        return f"its optimum is above the swept range, which ends at {math.exp(high):.4g}"
    if law.high[1] - law.low[1] > high - low:
        return "the loss shows no significant minimum in it"
    return None


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


def _drift(law: Law, line: Line, theory: float) -> Drift:
    """Of lr with width, in words too."""
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


def _optima(fit: Fit, cells: Sequence[RunSpec]) -> tuple[Optimum, ...]:
    """The LR optimum of each cell; an end of its interval beyond the sweep is not bounded."""
    sweep, result = fit.sweep, []
    for i, spec in enumerate(cells):
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


def _hold_out(fit: Fit, cells: Sequence[RunSpec], scales: Sequence[str], draws: int, seed: int) -> HoldOut | None:
    """Predict the largest searched width from the narrower ones, by the same steps; None with one width."""
    widest = max(spec.model.width for spec in cells)
    narrower = [i for i, spec in enumerate(cells) if spec.model.width < widest]
    if not narrower:
        return None
    held = len(cells) - 1
    law = _law(fit_sweep(fit.sweep.take(narrower)), [cells[i] for i in narrower], cells[held], scales, draws, seed)
    own = fit.optimum[held]
    return HoldOut(
        width=widest,
        predicted_lr=math.exp(law.value[0]),
        own_lr=math.exp(own[0]),
        regret=float(fit.middle.regret(law.value - own)),
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
