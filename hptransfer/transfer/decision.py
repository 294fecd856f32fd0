"""From the runs of one group to a prediction: the pure function behind ``python -m hptransfer.transfer``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hptransfer.base import intervals
from hptransfer.base.errors import UsageError, first_line
from hptransfer.base.intervals import REACH, Interval, from_logarithms
from hptransfer.base.refusals import Refusal, Refused
from hptransfer.runs.point import Job, Point
from hptransfer.runs.sources.names import unit
from hptransfer.transfer.axes import Dial, cell_words, from_ln
from hptransfer.transfer.checks import one_cell, preconditions, refuse_failed
from hptransfer.transfer.forecast import DRAWS, NO_FIT
from hptransfer.transfer.group import Group, GroupFit, fit_group
from hptransfer.transfer.hypotheses import FREE, Hypothesis
from hptransfer.transfer.law import DriftLaw
from hptransfer.transfer.prediction import Bowl, Check, Drift, Estimate, HoldOut, Optimum, Prediction, RuleWeight
from hptransfer.transfer.siblings import Siblings
from hptransfer.transfer.simple import RULES
from hptransfer.transfer.target import bare_job

GRID = 1.5  # steps of a sweep's grid: what is no wider is no gap in it, and runs in between were never meant
BEST_RUNS = 3  # at least so many give the value of a hyperparameter that the surface does not


def predict_group(
    group: Group,
    target: Job | None,
    resolve: Callable[[Point], Job],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    force: bool = False,
    rule: str | None = None,
    others: Siblings | None = None,
    provenance: dict[str, Any] | None = None,
) -> Prediction:
    """The best hyperparameters at ``target``, from the runs of one group at smaller scales; without a target its optima and how
    they drift.

    ``target`` is the run to predict for; its hyperparameters are placeholders. ``resolve`` makes the job of the predicted
    point. ``rule``: a simple rule (`hptransfer.transfer.simple`) whose values are taken in place of the fit's; ``others``: what
    other groups say is usual. The order of the records does not matter, and the same records and seed give the same prediction.
    Raises Refused where too few runs finished to fit, where an optimum is on the edge of its sweep or beyond, where no fit can
    take the numbers, and, unless ``force``, where a precondition fails without which no prediction is made (see
    `hptransfer.transfer.checks`).
    """
    try:
        return _predicted(group, target, resolve, draws, seed, force, rule, others, provenance)
    except NO_FIT as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise Refused(Refusal.of("no_fit", name=group.name, why=why)) from error


def _predicted(
    group: Group,
    target: Job | None,
    resolve: Callable[[Point], Job],
    draws: int,
    seed: int,
    force: bool,
    rule: str | None,
    others: Siblings | None,
    provenance: dict[str, Any] | None,
) -> Prediction:
    checks = preconditions(group, target)
    if not force:
        refuse_failed(checks, group.name)
    fitted = fit_group(group, target, others, draws=draws, seed=seed)
    fit = fitted.fit
    if target and len(fitted.cells) < 2 and not force:  # others were left out
        refuse_failed([one_cell(fitted.scales, fitted.cells[0].point)], group.name)
    inside, bounded = _inside_sweeps(fitted)
    law = fitted.law(target, draws=draws, seed=seed) if target else None
    if law and rule:
        law = _by_rule(rule, fitted, law, target)
    estimates, job = _estimates(fitted, law, rule), None
    if target:
        values = {name: estimate.value for name, estimate in estimates.items()}
        point = target.point.model_copy(update={"hyperparameters": target.point.hyperparameters | values})
        job = resolve(point)
    return Prediction(
        name=group.name,
        hyperparameters=estimates,
        drifts=_drifts(fitted, law, target, draws, seed),
        expected_regret=float(np.mean(fit.cost.at(law.value - law.draws))) if fit and law else None,
        noise=fit.middle.noise.sd if fit else None,
        budget=_budget(group, fitted.scales),
        optima=_optima(fitted),
        bowl=Bowl(curvature=fit.middle.curvature, skew=float(fit.middle.skew[0])) if fit else None,
        hold_out=_hold_out(fitted, draws, seed) if fit else None,
        checks=(*checks, *inside),
        notes=(*fitted.notes, *bounded, *_one_dial(fitted, target)),
        job=job,
        provenance=provenance or {},
    )


def optima_alone(group: Group) -> Prediction | None:
    """What the runs of a group still say where its prediction is refused: the optima of their cells, and how they drift. None
    where it is an optimum that is refused."""
    try:
        return predict_group(group, None, bare_job)
    except Refused:
        return None


def _budget(group: Group, scales: Sequence[str]) -> dict[str, int]:
    """How many runs there are in each cell, the smallest first."""
    cells = np.column_stack([group.runs.column(name) for name in scales])
    found = Counter[str]()
    for cell, runs in zip(*np.unique(cells, axis=0, return_counts=True), strict=True):
        found[cell_words(dict(zip(scales, cell.tolist(), strict=True)))] += int(runs)
    return dict(found)


def _by_rule(rule: str, fitted: GroupFit, law: DriftLaw, target: Job | None) -> DriftLaw:
    """The law with the values of a simple rule; its draws stay where the optimum may be."""
    if fitted.fit is None or target is None:
        raise UsageError(f"rule {rule} takes the best runs of a cell, and here are optima alone")
    return replace(law, value=RULES[rule](fitted.fit.sweep, fitted.x_of(target)))


def _estimates(fitted: GroupFit, law: DriftLaw | None, rule: str | None) -> dict[str, Estimate]:
    """The value of every hyperparameter at the target: fitted, by a rule alone, or frozen."""
    if law is None:
        return {}
    group, found = fitted.group, {}
    for k, name in enumerate(fitted.hyperparameters):
        ends = _interval(name, law.value[k], law.draws[:, k]).model_dump()
        found[name] = Estimate(**ends, status="asked", why=Refusal.of("asked", rule=rule)) if rule else Estimate(**ends)
    if group.optional and fitted.without:
        value = _usual(group.optional, fitted)
        found[group.optional] = Estimate(value=value, low=None, high=None, status="rule", why=fitted.without)
    for name, kept in group.frozen.items():
        why = Refusal.of("frozen", scale=group.scales[0])
        found[name] = Estimate(value=kept, low=None, high=None, status="frozen", why=why)
    return found


def _interval(name: str, value: float, draws: Any) -> Interval:
    """An interval in the axis's own terms."""
    if not unit(name):
        return from_logarithms(value, draws)
    low, high = intervals.ends(value, draws)
    return Interval(value=from_ln(name, value), low=from_ln(name, low), high=from_ln(name, high))


def _drifts(fitted: GroupFit, law: DriftLaw | None, target: Job | None, draws: int, seed: int) -> tuple[Drift, ...]:
    """Of every fitted hyperparameter with every scale that varies among the runs, or to the target."""
    line, expected = fitted.line(draws=draws, seed=seed), fitted.expected(target)
    lacking = {scale: f"one {scale} shows no drift" for scale in fitted.scales}
    lacking |= {fitted.scales[dial.scale]: f"not known apart from {_partners(fitted, dial)}" for dial in fitted.dials}
    found = []
    for k, name in enumerate(fitted.hyperparameters):
        for s, scale in enumerate(fitted.scales):
            theory, slope = _theory(name, scale, target), float(line.exponent[s, k])
            known: dict[str, Any] = {"hyperparameter": name, "scale": scale, "theory": theory}
            shown = not math.isnan(slope)
            if not shown and law is None:
                continue
            low, high = (float(line.low[s, k]), float(line.high[s, k])) if shown else (None, None)
            rules = _rules(expected[k][s], law.weights[k][s], low, high) if law else ()
            used = float(law.exponent[s, k]) if law else slope
            reason = _reason(rules, theory, low, high, lacking[scale])
            fit = slope if shown else None
            found.append(Drift(**known, fitted=fit, low=low, high=high, used=used, reason=reason, rules=rules))
    return tuple(found)


def _one_dial(fitted: GroupFit, target: Job | None) -> Iterator[str]:
    """What is said of scales that go together."""
    for dial in fitted.dials:
        own, others = fitted.scales[dial.scale], _partners(fitted, dial)
        words = f"{own} goes with {others} in all cells: one dial. What each does alone is not known, and the fit is of both."
        leaves = target and not dial.is_kept(fitted.x, fitted.x_of(target))
        yield f"{words} The target leaves that dial, and rules alone say what this does." if leaves else words


def _partners(fitted: GroupFit, dial: Dial) -> str:
    return " and ".join(fitted.scales[place] for place in dial.slopes)


def _rules(expected: Sequence[Hypothesis], weights: Any, low: float | None, high: float | None) -> tuple[RuleWeight, ...]:
    """The hypotheses by name, the likeliest first."""
    found: dict[str, list[tuple[Hypothesis, float]]] = {}
    for one, weight in zip(expected, weights.tolist(), strict=True):
        found.setdefault(one.name, []).append((one, weight))
    rules = []
    for name, members in found.items():
        total = sum(weight for _, weight in members)
        free = name.startswith(FREE)
        exponent = None if free else sum(one.exponent * weight for one, weight in members) / (total or 1.0)
        inside = None if exponent is None or low is None or high is None else low <= exponent <= high
        rules.append(RuleWeight(name=name, exponent=exponent, inside=inside, weight=total, source=members[0][0].source))
    return tuple(sorted(rules, key=lambda rule: -rule.weight))


def _theory(name: str, scale: str, target: Job | None) -> float | None:
    """The exponent that is expected; None where there is no theory."""
    if target is None or not target.exponents or name != "lr" or scale != "width":
        return None
    return target.exponents["hidden"]


def _reason(rules: Sequence[RuleWeight], theory: float | None, low: float | None, high: float | None, lacking: str) -> str:
    """Why that exponent is used: the likeliest rules, and what the runs say of theory's; ``lacking``: why they say nothing where
    there is no interval."""
    if not rules:
        return "line through the optima alone"
    words = ", ".join(f"{rule.name} {rule.weight:.0%}" for rule in rules[:2])
    if low is None or high is None:
        return f"{words}; {lacking}"
    if theory is None:
        return words
    return f"{words}; the 80 % interval of the line alone {'contains' if low <= theory <= high else 'excludes'} theory"


def _inside_sweeps(fitted: GroupFit) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Raise where an optimum is not inside its sweep: what lies beyond the edge is a guess. Above the highest LR that finished,
    a diverged run still bounds the optimum, where the runs leave no gap: up to the middle between the two it is one as others
    are; beyond, the loss falls as far as runs are stable, and the LR cannot be higher. What is so bounded is said."""
    if fitted.fit is None:
        return (), ()
    fit, sweep, by_ceiling, bounded = fitted.fit, fitted.fit.sweep, [], []
    for i, record in enumerate(fitted.cells):
        cell = cell_words({name: record.point[name] for name in fitted.scales})
        for k, name in enumerate(fitted.hyperparameters):
            if name == fitted.group.optional:
                continue
            optimum, low = fit.vertex[i, k], float(sweep.low[i, k])
            high, ceiling = (sweep.top[i], sweep.ceiling[i]) if k == 0 else (sweep.high[i, k], math.inf)
            values = {"name": fitted.group.name, "cell": cell, "hyperparameter": name}
            if optimum <= low:
                raise Refused(Refusal.of("lower_edge", **values, end=from_ln(name, low)))
            if optimum < high:
                continue
            if math.isinf(ceiling):
                raise Refused(Refusal.of("upper_edge", **values, end=from_ln(name, high)))
            known = {**values, "end": from_ln(name, high), "ceiling": from_ln(name, ceiling)}
            if optimum > (high + ceiling) / 2:
                if ceiling - high > sweep.step(i) * GRID:
                    raise Refused(Refusal.of("divergence_bounds", **known))
                bounded.append(Refusal.of("bounded", **known).text)
            ends = f"{known['end']:.4g}, the highest that finished, and {known['ceiling']:.4g}, which diverged"
            by_ceiling.append(f"{cell}: between {ends}")
    detail = "; ".join(by_ceiling) or "between finished runs in every cell"
    return (Check(name=f"{fitted.hyperparameters[0]} inside its sweep", ok=True, detail=detail),), tuple(bounded)


def _optima(fitted: GroupFit) -> tuple[Optimum, ...]:
    """The optimum of each cell; an end of an interval beyond the sweep is not bounded."""
    fit, measured = fitted.fit, fitted.measured
    spread = np.sqrt(np.diag(measured.covariance)).reshape(measured.optimum.shape)
    result = []
    for i, record in enumerate(fitted.cells):
        best = {}
        for k, name in enumerate(fitted.hyperparameters):
            value, reach = float(measured.optimum[i, k]), REACH * float(spread[i, k])
            low, high = value - reach, value + reach
            end = math.inf if fit is None else float(fit.sweep.high[i, k])
            if fit and k == 0 and value > fit.sweep.top[i]:  # it lies in the gap below the first run that diverged
                end = float(fit.sweep.ceiling[i])
            bounded = fit is None or low > fit.sweep.low[i, k], high < end
            in_terms = (lambda one, name=name: from_ln(name, one)) if unit(name) else math.exp
            best[name] = Interval(
                value=in_terms(value), low=in_terms(low) if bounded[0] else None, high=in_terms(high) if bounded[1] else None
            )
        result.append(
            Optimum(
                scales={name: record.point[name] for name in fitted.scales},
                best=best,
                loss=math.exp(fit.middle.offset[i]) if fit else None,
                runs=fit.sweep.runs(i) if fit else 1,
                diverged=fit.sweep.diverged[i] if fit else 0,
                flops=record.job.flops,
                parameters=record.job.parameters,
            )
        )
    return tuple(result)


def _hold_out(fitted: GroupFit, draws: int, seed: int) -> HoldOut | None:
    """Predict the largest cell from the smaller ones, by the same steps; None with one."""
    held, scale = fitted.cells[-1], fitted.scales[0]
    smaller = [i for i, record in enumerate(fitted.cells) if record.point[scale] < held.point[scale]]
    if not smaller or fitted.fit is None:
        return None
    part = fitted.take(smaller)
    law, own, middle = part.law(held.job, draws=draws, seed=seed), fitted.fit.optimum[-1], fitted.fit.middle
    name, regret = fitted.hyperparameters[0], float(middle.regret(law.value - own))
    assert part.fit is not None
    simple = {rule: float(middle.regret(of(part.fit.sweep, fitted.x[-1]) - own)) for rule, of in RULES.items()}
    best = min(simple, key=lambda rule: simple[rule], default=None)
    return HoldOut(
        scales={name: held.point[name] for name in fitted.scales},
        predicted=from_ln(name, law.value[0]) if unit(name) else math.exp(law.value[0]),
        own=from_ln(name, own[0]) if unit(name) else math.exp(own[0]),
        regret=regret,
        simple=simple,
        better=best if best and regret - simple[best] > middle.noise.sd else None,
    )


def _usual(name: str, fitted: GroupFit) -> float:
    """The geometric mean of the best runs' value of a hyperparameter: those within two standard deviations of the noise of their
    cell's best, and `BEST_RUNS` at least. 0 where some of them have none."""
    assert fitted.fit is not None
    used = fitted.group.used
    complete = used.take(np.flatnonzero(~np.isnan(used.loss)))
    cells = np.unique(np.column_stack([complete.column(scale) for scale in fitted.scales]), axis=0, return_inverse=True)[1]
    lowest = np.full(cells.max() + 1, math.inf)
    np.minimum.at(lowest, cells, complete.loss)
    excess, values = np.log(complete.loss / lowest[cells]), np.nan_to_num(complete.column(name))
    near = np.lexsort((values, excess))[: max(BEST_RUNS, int(np.sum(excess <= 2 * fitted.fit.middle.noise.sd)))]
    return math.exp(float(np.mean(np.log(values[near])))) if values[near].min() > 0 else 0.0
