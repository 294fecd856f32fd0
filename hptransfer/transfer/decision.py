"""From the records of one group to a prediction: the pure function behind ``python -m hptransfer.transfer``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hptransfer.errors import CheckFailed
from hptransfer.spec import RunSpec
from hptransfer.store import RunRecord
from hptransfer.transfer.checks import preconditions
from hptransfer.transfer.law import TAIL, Law, fit_law
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
from hptransfer.transfer.surface import Draws, Surface, bootstrap, fit_surface
from hptransfer.transfer.sweep import Array, frozen_ratio, make_sweep, replicate_noise

DRAWS = 300
BEST_RUNS = 3  # at least so many give the weight decay where the surface does not
SIGNIFICANT = 2.0  # standard deviations that the weight-decay curvature must be above 0


def predict(
    records: Sequence[RunRecord],
    target: RunSpec,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    provenance: dict[str, Any] | None = None,
) -> Prediction:
    """The best lr and weight_decay at ``target``, from the runs of one recipe and parametrization at smaller widths.

    ``target`` is the run to predict for; its lr, weight_decay and embedding_lr_ratio are placeholders. The order of the
    records does not matter, and the same records and seed give the same prediction. Raises CheckFailed where an LR
    optimum is on the edge of its sweep or beyond, UsageError where a width has too few complete runs.
    """
    records = sorted(records, key=lambda record: record.run_id)
    ratio = frozen_ratio(records)
    used = [record for record in records if record.spec.optimizer.embedding_lr_ratio == ratio]
    surface = fit_surface(make_sweep(records, ratio), replicate_noise(records))
    inside = _inside_sweeps(surface, target.optimizer.recipe)

    rng = np.random.default_rng(seed)
    drawn = bootstrap(surface, draws, rng)
    x = np.log(np.array(surface.sweep.widths) / target.base.width)
    x_target = math.log(target.model.width / target.base.width)
    law = fit_law(x, surface.bowl.optimum, drawn.optimum, target.theory_drift(), rng)
    ln_lr = law.ln_lr(x_target)
    ln_lr_draws = law.ln_lr_draws(x_target)

    decay = _weight_decay(surface, drawn)
    spec = target.at(
        **{
            "optimizer.lr": math.exp(ln_lr),
            "optimizer.weight_decay": decay.value,
            "optimizer.embedding_lr_ratio": ratio,
        }
    )
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
        hyperparameters=Hyperparameters(lr=_interval(ln_lr, ln_lr_draws), weight_decay=decay.at(spec), embedding_lr_ratio=ratio),
        drift=Drift(theory=law.theory, fitted=law.fitted, low=law.low, high=law.high, used=law.used, reason=law.reason),
        roles=_roles(spec),
        expected_regret=float(np.mean(surface.bowl.regret(ln_lr - ln_lr_draws))),
        noise=surface.noise.sd,
        budget=dict(sorted(Counter(record.spec.model.width for record in records).items())),
        optima=_optima(surface, drawn, decay.value),
        surface=SurfaceNumbers(curvature=surface.bowl.curvature, skew=surface.bowl.skew),
        hold_out=_hold_out(surface, drawn, x, law, rng) if len(x) > 1 else None,
        checks=(*preconditions(records, used, spec), inside),
        spec=spec,
        provenance=provenance or {},
    )


def _interval(ln_value: float, ln_draws: Array) -> Interval:
    """80 % interval from draws; it always holds the value."""
    low, high = np.quantile(ln_draws, [TAIL, 1 - TAIL])
    return Interval(value=math.exp(ln_value), low=math.exp(min(low, ln_value)), high=math.exp(max(high, ln_value)))


def _inside_sweeps(surface: Surface, recipe: str) -> Check:
    """Raise where an optimum is not inside its sweep: what lies beyond the edge is a guess. Above the highest run that
    finished, a diverged run still bounds the optimum, which is taken up to the middle between the two."""
    sweep, by_ceiling = surface.sweep, []
    for i, width in enumerate(sweep.widths):
        optimum = surface.bowl.optimum[i]
        low, high, ceiling = (math.exp(bound) for bound in (sweep.low[i], sweep.high[i], sweep.ceiling[i]))
        if optimum <= sweep.low[i]:
            raise CheckFailed(
                f"{recipe} at width {width}: the best lr is at the lower edge of its sweep ({low:.4g}) or below; "
                f"extend the search to lower lr (--set spaces.{recipe}.lr.low=...)"
            )
        if optimum < sweep.high[i]:
            continue
        where = f"{recipe} at width {width}: the best lr is at the upper edge of its sweep ({high:.4g}) or above"
        if not math.isfinite(ceiling):
            raise CheckFailed(f"{where}; extend the search to higher lr (--set spaces.{recipe}.lr.high=...)")
        if optimum > (sweep.high[i] + sweep.ceiling[i]) / 2:
            raise CheckFailed(f"{where}, and runs from {ceiling:.4g} on diverged; search in between, as more --trials do")
        by_ceiling.append(f"width {width}: between {high:.4g}, the highest that finished, and {ceiling:.4g}, which diverged")
    return Check(name="lr inside its sweep", ok=True, detail="; ".join(by_ceiling) or "between finished runs at every width")


def _optima(surface: Surface, drawn: Draws, weight_decay: float) -> tuple[Optimum, ...]:
    """The optimum of each width; an end of its interval beyond the sweep is not bounded."""
    sweep, bowl = surface.sweep, surface.bowl
    losses = np.exp(bowl.lowest(math.log(weight_decay) if bowl.has_weight_decay else 0.0))
    result = []
    for i, width in enumerate(sweep.widths):
        lr = _interval(bowl.optimum[i], drawn.optimum[:, i])
        assert lr.low is not None and lr.high is not None
        bounded = Interval(
            value=lr.value,
            low=lr.low if math.log(lr.low) > sweep.low[i] else None,
            high=lr.high if math.log(lr.high) < sweep.high[i] else None,
        )
        result.append(Optimum(width=width, lr=bounded, loss=losses[i], runs=sweep.runs(width), diverged=sweep.diverged[i]))
    return tuple(result)


def _hold_out(surface: Surface, drawn: Draws, x: Array, law: Law, rng: np.random.Generator) -> HoldOut:
    """Predict the largest searched width from the narrower ones, by the same steps."""
    narrower = fit_surface(surface.sweep.without_widest(), surface.noise)
    shorter = fit_law(x[:-1], narrower.bowl.optimum, drawn.optimum[:, :-1], law.theory, rng)
    predicted, own = shorter.ln_lr(x[-1]), surface.bowl.optimum[-1]
    return HoldOut(
        width=surface.sweep.widths[-1],
        predicted_lr=math.exp(predicted),
        own_lr=math.exp(own),
        regret=float(surface.bowl.regret(np.array(predicted - own))),
    )


@dataclass(frozen=True)
class _Decay:
    """Weight decay in base coordinates, with its interval's ends (None: not bounded) and how it was found."""

    value: float
    low: float | None
    high: float | None
    status: str

    def at(self, spec: RunSpec) -> WeightDecay:
        """The final independent value at the target: the rule's multiplier on value and interval."""
        multiplier = spec.weight_decay / self.value if self.value > 0 else 1.0
        return WeightDecay(
            value=spec.weight_decay,
            low=None if self.low is None else self.low * multiplier,
            high=None if self.high is None else self.high * multiplier,
            status=self.status,
        )


def _weight_decay(surface: Surface, drawn: Draws) -> _Decay:
    sweep, bowl = surface.sweep, surface.bowl
    best = np.argsort(sweep.excess)[: max(BEST_RUNS, int(np.sum(sweep.excess <= 2 * surface.noise.sd)))]
    if not sweep.sweeps_weight_decay:
        why = "weight_decay was not varied" if np.ptp(np.exp(sweep.ln_wd)) == 0 else "some runs have weight_decay 0"
    elif not bowl.has_weight_decay:
        why = "the loss does not depend on it beyond the noise"
    elif bowl.wd_curvature < SIGNIFICANT * np.std(drawn.wd_curvature):
        why = "the loss shows no significant minimum in it"
    elif bowl.wd_optimum <= sweep.ln_wd.min():
        why = f"its optimum is below the swept range, which begins at {math.exp(sweep.ln_wd.min()):.4g}"
    elif bowl.wd_optimum >= sweep.ln_wd.max():
        why = f"its optimum is above the swept range, which ends at {math.exp(sweep.ln_wd.max()):.4g}"
    else:
        low, high = np.quantile(drawn.wd_optimum, [TAIL, 1 - TAIL])
        return _Decay(
            value=math.exp(bowl.wd_optimum),
            low=math.exp(min(low, bowl.wd_optimum)) if low > sweep.ln_wd.min() else None,
            high=math.exp(max(high, bowl.wd_optimum)) if high < sweep.ln_wd.max() else None,
            status="identified",
        )
    geometric_mean = math.exp(float(np.mean(sweep.ln_wd[best])))
    return _Decay(value=geometric_mean, low=None, high=None, status=f"not identified, rule used: {why}")


def _roles(spec: RunSpec) -> dict[Any, RoleNumbers]:
    """The numbers of the first kind of weight of each role."""
    groups = {group.role: group for group in reversed(spec.groups())}
    return {
        role: RoleNumbers(lr=group.lr, weight_decay=group.weight_decay, epsilons=group.epsilons)
        for role, group in reversed(groups.items())
    }
