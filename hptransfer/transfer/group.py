"""The runs of one group, fitted, and what theory expects of them: everything between records and a decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from hptransfer.optimizers.rules.weight_decay import WeightDecayRule, weight_decay_multiplier
from hptransfer.trainers.ours.spec import RunSpec
from hptransfer.runs import RunRecord
from hptransfer.transfer.forecast import DRAWS, Fit, fit_sweep
from hptransfer.transfer.law import KNOWN, UNKNOWN, Law, Theory
from hptransfer.transfer.surface import fit_surface
from hptransfer.transfer.sweep import Sweep, scale_of, sweep_of
from hptransfer.transfer.theory import theory_drift

SIGNIFICANCE = 0.05  # of the F test that lets weight decay into the surface

# How the best LR moves with what production changes beside width: exponent that is expected, and the scale of its prior (80 %
# within 1.64 of it). Batch: the square-root rule; published sweeps measured 0.3 to 0.5. Tokens at a given batch: published
# laws disagree on the sign (Step Law +0.31 with the batch tuned along, arXiv 2503.04715; -0.32 at a fixed one, arXiv
# 2409.19913), and Step Law's own sweeps show none at a given batch.
EXPECTED = {"tokens": 0.0, "batch_tokens": 0.5}
PRIOR = {"tokens": 0.15, "batch_tokens": 0.15}
RULES: dict[WeightDecayRule, str] = {"inverse_width": "weight decay ~ 1/width", "constant_tau": "constant tau"}


@dataclass(frozen=True)
class Group:
    """The runs of one recipe and parametrization at one embedding_lr_ratio, fitted.

    ``cells`` has one run of each of the sweep's cells, in its order; ``without_decay`` says why weight decay is not in the fit
    (None: it is).
    """

    scales: tuple[str, ...]
    cells: tuple[RunSpec, ...]
    fit: Fit
    without_decay: str | None

    def law(self, target: RunSpec, *, draws: int = DRAWS, seed: int = 0) -> Law:
        """The optimum at ``target``, by theory and the fit."""
        x_target = np.log([scale_of(target, name) for name in self.scales])
        prior = [width_prior(target) if name == "width" else PRIOR[name] for name in self.scales]
        return self.fit.law(x_target, self._theories(target), np.array(prior), draws=draws, seed=seed)

    def take(self, cells: Sequence[int]) -> Group:
        """The group of some of the cells alone, fitted anew in the same hyperparameters."""
        fit = fit_sweep(self.fit.sweep.take(cells))
        return Group(self.scales, tuple(self.cells[i] for i in cells), fit, self.without_decay)

    def _theories(self, target: RunSpec) -> list[Theory]:
        """What is expected of the optima, the target's in the last row, in base coordinates."""
        drift, every = theory_drift(target), (*self.cells, target)
        exponents = [drift if name == "width" else EXPECTED[name] for name in self.scales]
        lr = [sum(e * math.log(scale_of(spec, name)) for e, name in zip(exponents, self.scales, strict=True)) for spec in every]
        if self.without_decay:
            return [Theory("mup" if drift == 0 else "sp", np.array(lr)[:, None])]
        theories = []
        for rule, name in RULES.items():
            decay = [math.log(_decay_multiplier(rule, spec) / _decay_multiplier(spec.weight_decay_rule, spec)) for spec in every]
            theories.append(Theory(name, np.column_stack([lr, decay])))
        return theories


def fit_group(records: Sequence[RunRecord], target: RunSpec, *, draws: int = DRAWS, seed: int = 0) -> Group:
    """The group of records, all at one embedding_lr_ratio. Raises UsageError where a width has too few complete runs.

    Weight decay is in the fit where the loss depends on it beyond the noise, and its optimum at ``target`` is inside the
    swept range.
    """
    scales = _scales([record.spec for record in records], target)
    cells = {tuple(scale_of(record.spec, name) for name in scales): record.spec for record in records}
    sweep = sweep_of(records, scales)
    fit, why = _fit(sweep)
    group = Group(scales, tuple(cells[key] for key in sorted(cells)), fit, why)
    if why or not (why := _beyond_range(sweep, group.law(target, draws=draws, seed=seed))):
        return group
    return replace(group, fit=fit_sweep(sweep.only(0)), without_decay=why)


def width_prior(target: RunSpec) -> float:
    """Scale of the prior of the correction to theory's exponent of LR with width. Under sp one LR serves weights of which
    theory may expect different exponents; it is not held to then."""
    return KNOWN if math.isclose(theory_drift(target), theory_drift(target, "readout"), abs_tol=1e-9) else UNKNOWN


def _scales(specs: Sequence[RunSpec], target: RunSpec) -> tuple[str, ...]:
    """Width, and of tokens and batch what differs anywhere. Tokens that grow with width by one policy are width's."""
    every = [*specs, target]
    names = ["width"]
    if not (target.horizon.policy == "tpp" and all(spec.horizon == target.horizon for spec in specs)):
        names += ["tokens"] if len({spec.tokens for spec in every}) > 1 else []
    names += ["batch_tokens"] if len({spec.batch_tokens for spec in every}) > 1 else []
    return tuple(names)


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


def _decay_multiplier(rule: WeightDecayRule, spec: RunSpec) -> float:
    return weight_decay_multiplier(
        rule,
        width=spec.model.width / spec.base.width,
        tokens=spec.tokens / spec.base.tokens,
        batch_tokens=spec.batch_tokens / spec.base.batch_tokens,
    )
