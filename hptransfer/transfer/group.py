"""The runs of one group, whatever they come from, fitted; and what theory expects of them: everything between records and a
decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import fdtri

from hptransfer.base.refusals import Refusal, Refused
from hptransfer.optimizers.rules.weight_decay import weight_decay_multiplier
from hptransfer.runs.point import Job, Number
from hptransfer.runs.record import Record
from hptransfer.transfer.axes import Dial, cell_words, dials, logarithm
from hptransfer.transfer.forecast import DRAWS, NO_FIT, Expected, Fit, fit_sweep
from hptransfer.transfer.hypotheses import Hypothesis, assumed, hypotheses, in_width
from hptransfer.transfer.law import DriftLaw, Line, Measured, fit_law, fit_line
from hptransfer.transfer.runs import Runs
from hptransfer.transfer.siblings import Siblings, siblings
from hptransfer.transfer.surface import fit_surface
from hptransfer.transfer.sweep import MIN_RUNS, Array, Sweep, gather

USUAL_STEP = math.log(2.0)  # of the grids of published sweeps, few of which are coarser
SIGNIFICANCE = 0.05  # of the F test that lets an optional hyperparameter into the surface


@dataclass(frozen=True)
class Group:
    """Runs that belong together: one arm of a store, or one group of a table.

    ``scales``: what its cells may differ in. ``hyperparameters``: what is fitted, the LR first; ``optional``: one more that is
    fitted where the loss depends on it, and left to its rule elsewhere. Whatever else is tuned is kept at what was settled on.
    ``notes``: what its reader left out, in words. A group whose runs are complete and have no loss holds optima that somebody
    found.
    """

    name: str
    records: Sequence[Record]
    scales: tuple[str, ...] = ("width", "depth", "tokens", "batch_tokens")
    hyperparameters: tuple[str, ...] = ("lr",)
    optional: str | None = "weight_decay"
    notes: tuple[str, ...] = ()
    _fits: dict[tuple[tuple[str, ...], ...], tuple[Fit | None, str | None]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def runs(self) -> Runs:
        """Its records in columns."""
        return Runs.of(self.records)

    @cached_property
    def frozen(self) -> dict[str, Number]:
        """What was settled on of the hyperparameters that are not fitted: the most frequent at the largest cell; of equals that
        of the best run. A search varies them in its first trials at the smallest cell and keeps them from there on."""
        fitted = (*self.hyperparameters, self.optional)
        names = [name for name in self.records[0].point.hyperparameters if name not in fitted]
        if not names:
            return {}
        sizes = self.runs.column(self.scales[0])
        runs = self.runs.take(np.flatnonzero(sizes == sizes.max()))
        values = np.column_stack([runs.column(name) for name in names])
        _, first, choice, count = np.unique(values, axis=0, return_index=True, return_inverse=True, return_counts=True)
        best = np.full(len(first), math.inf)
        np.fmin.at(best, choice.reshape(-1), runs.loss)
        kept = runs[int(first[np.lexsort((best, -count))[0]])].point
        return {name: kept[name] for name in names}

    @cached_property
    def used(self) -> Runs:
        """The runs that the fit is of: those at what was settled on, in an order of their own; not those that failed, which say
        nothing of their values."""
        kept = self.runs.state != "failed"
        for name, value in self.frozen.items():
            kept &= self.runs.column(name) == value
        found = np.flatnonzero(kept)
        return self.runs.take(found[np.argsort(self.runs.run_id[found], kind="stable")])

    @property
    def gives_optima(self) -> bool:
        """Whether its rows are optima rather than runs."""
        return bool(np.all((self.runs.state == "complete") & np.isnan(self.runs.loss)))

    def varying(self, target: Job | None) -> tuple[str, ...]:
        """Its scales that differ among runs and target: one that does not says nothing. Tokens that grow with the model by one
        policy are the model's. The first where none differs."""
        points = [record.point for record in self.used.kinds] + ([target.point] if target else [])
        policies = [point.settings.get("horizon") or {} for point in points]
        follows = policies[-1].get("policy") in ("tpp", "formula")
        one_policy = follows and all(one == policies[-1] for one in policies)
        names = [name for name in self.scales if not (name == "tokens" and one_policy)]
        return tuple(name for name in names if len({point.scales.get(name) for point in points}) > 1) or self.scales[:1]

    def fit(self, scales: Sequence[str], hyperparameters: Sequence[str]) -> tuple[Fit | None, str | None]:
        """The surfaces of its cells (None: none has enough runs), and in words which cells were left out. Kept: a group is asked
        for itself, and for what it says to its siblings."""
        key = tuple(scales), tuple(hyperparameters)
        if key not in self._fits:
            sweep, dropped = sweep_of(self.used, scales, hyperparameters)
            self._fits[key] = fit_sweep(sweep) if len(sweep.x) else None, dropped
        return self._fits[key]


def group_of_arm(name: str, records: Sequence[Record]) -> Group:
    """The runs of an arm of a store; a weight decay that they do not have is not looked for."""
    has_decay = any("weight_decay" in record.point.hyperparameters for record in records)
    return Group(name, records, optional="weight_decay" if has_decay else None)


def run_ids(group: Group) -> list[str]:
    """What a prediction rests on."""
    return sorted(group.runs.run_id.tolist())


def too_few_runs(group: Group, cells: Sequence[Mapping[str, Number]], name: str) -> Refusal | None:
    """Why the runs of an arm, called ``name``, allow no fit; None where every cell has enough complete ones."""
    used = group.used if group.records else Runs.of([])
    # One run beyond the parameters, or there is nothing to judge the fit by.
    needed = MIN_RUNS + 1 if len(cells) == 1 else MIN_RUNS
    for cell in cells:
        inside = [used.column(scale) == value for scale, value in cell.items()]
        complete = int(np.sum(np.all(inside, axis=0) & ~np.isnan(used.loss)))
        if complete < needed:
            return Refusal.of("too_few_runs", name=name, complete=complete, cell=cell_words(cell), needed=needed)
    return None


@dataclass(frozen=True)
class GroupFit:
    """A group's optima, in cells: ``x`` (cells, scales) is ln scale, ``cells`` has one run of each. ``fit`` is None where the
    optima were given; ``without`` says why the optional hyperparameter is not fitted (None: it is, or there is none); ``others``
    is what other groups say is usual."""

    group: Group
    scales: tuple[str, ...]
    hyperparameters: tuple[str, ...]
    x: Array
    cells: Sequence[Record]
    measured: Measured
    fit: Fit | None
    without: Refusal | None
    notes: tuple[str, ...] = ()
    others: Siblings | None = None

    def line(self, *, draws: int = DRAWS, seed: int = 0) -> Line:
        """The straight line through the optima alone; of scales that go together, along the first."""
        x = self.x.copy()
        x[:, [dial.scale for dial in self.dials]] = 0.0
        return fit_line(x, self.measured, draws=draws, rng=np.random.default_rng(seed))

    @cached_property
    def dials(self) -> tuple[Dial, ...]:
        """Its scales that go with others."""
        return dials(self.x)

    def law(self, target: Job, *, draws: int = DRAWS, seed: int = 0) -> DriftLaw:
        """The optimum at ``target``, by the hypotheses that compete (`expected`) and the optima."""
        x_target = self.x_of(target)
        expected, sizes = self.expected(target), self.others.sizes if self.others else None
        if self.fit:
            return self.fit.law(x_target, expected, sizes=sizes, draws=draws, seed=seed)
        return fit_law(self.x, self.measured, x_target, expected, sizes=sizes, draws=draws, rng=np.random.default_rng(seed))

    def x_of(self, target: Job) -> Array:
        """ln scale of a job."""
        return np.array([logarithm(name, target.point[name]) for name in self.scales])

    def expected(self, target: Job | None) -> Expected:
        """The hypotheses of each hyperparameter along each scale, in the runs' coordinates."""
        varied = np.ptp(self.x, axis=0) > 0
        own = [
            [_expected(name, scale, target, is_varied) for scale, is_varied in zip(self.scales, varied.tolist(), strict=True)]
            for name in self.hyperparameters
        ]
        return self.others.join(own, self.hyperparameters, self.scales) if self.others else own

    def take(self, cells: Sequence[int]) -> GroupFit:
        """Some of the cells, fitted anew. Of the other groups nothing is heard: they know what comes beyond these cells."""
        assert self.fit is not None
        fit = fit_sweep(self.fit.sweep.take(cells))
        kept = tuple(self.cells[cell] for cell in cells)
        return replace(self, x=fit.sweep.x, cells=kept, measured=fit.measured, fit=fit, others=None)


def _expected(hyperparameter: str, scale: str, target: Job | None, is_varied: bool) -> tuple[Hypothesis, ...]:
    """What competes for a hyperparameter along a scale. In base coordinates theory has its say of the LR along the width, and the
    weight decay rule has been taken out of every rule of the weight decay."""
    if target is None or not target.exponents:
        return hypotheses(hyperparameter, scale)
    if (hyperparameter, scale) == ("lr", "width"):
        return in_width(target.exponents["hidden"], target.exponents["readout"])
    if hyperparameter != "weight_decay" or scale not in ("width", "tokens", "batch_tokens"):
        return hypotheses(hyperparameter, scale) if is_varied else assumed(hyperparameter, scale)
    own = math.log(weight_decay_multiplier(target.point.settings["weight_decay_rule"], **{"width": 1.0, scale: math.e}))
    return tuple(replace(one, exponent=one.exponent - own) for one in hypotheses(hyperparameter, scale))


def fit_group(group: Group, target: Job | None, others: Siblings | None = None, *, draws: int = DRAWS, seed: int = 0) -> GroupFit:
    """The optima of a group, and what ``others`` say of how they move. Cells with too few complete runs are left out and said;
    raises Refused where none is left.

    The optional hyperparameter is fitted where the loss depends on it beyond the noise, and its optimum at ``target`` is inside
    the swept range.
    """
    scales = group.varying(target)
    if group.gives_optima:
        return _given(group, scales, others)
    names = list(group.hyperparameters)
    without: Refusal | None = None
    if group.optional:
        values = np.nan_to_num(group.used.column(group.optional))
        if values.min() > 0 and np.ptp(values) > 0:
            names.append(group.optional)
        else:
            without = Refusal.of("not_varied", hyperparameter=group.optional)
    fit, dropped = group.fit(scales, names)
    notes = [*group.notes, *([dropped] if dropped else [])]
    if fit is None:
        raise Refused(Refusal.of("nothing_to_fit", name=group.name, detail="; ".join(notes)))
    sweep = fit.sweep
    if group.optional and without is None:
        without = _no_dependence(fit)
        fit = fit_sweep(sweep.only(0)) if without else fit
    kinds = group.used.kinds
    by_cell = {tuple(x): record for x, record in zip(kinds.ln(scales).round(9).tolist(), kinds, strict=True)}
    chosen = tuple(by_cell[tuple(x)] for x in sweep.x.round(9).tolist())
    found = GroupFit(group, scales, fit.sweep.hyperparameters, sweep.x, chosen, fit.measured, fit, without, tuple(notes), others)
    if not group.optional or without or target is None:
        return found
    if beyond := _beyond_range(sweep, found.law(target, draws=draws, seed=seed)):
        fit = fit_sweep(sweep.only(0))
        return replace(found, hyperparameters=fit.sweep.hyperparameters, measured=fit.measured, fit=fit, without=beyond)
    return found


def heard_by(groups: Sequence[Group], target: Job | None) -> dict[str, Siblings | None]:
    """What each group of a table hears of the others, by name."""
    runs = [group for group in groups if not (group.optional or group.gives_optima)]
    if len(runs) < 2:
        return {}
    fits: dict[str, Fit | None] = {}
    for group in runs:
        with suppress(*NO_FIT):  # its own prediction is refused for it
            fits[group.name] = group.fit(group.varying(target), group.hyperparameters)[0]
    return {name: siblings([fit for other, fit in fits.items() if fit and other != name]) for name in fits}


def sweep_of(runs: Runs, scales: Sequence[str], hyperparameters: Sequence[str]) -> tuple[Sweep, str | None]:
    """The complete runs as arrays, and in words which cells were left out because too few of theirs finished."""
    sweep, dropped = gather(scales, hyperparameters, runs.ln(scales), runs.ln(hyperparameters), runs.loss)
    if not dropped:
        return sweep, None
    cells = ", ".join(" x ".join(f"{value:.6g}" for value in cell) for cell in dropped)
    return sweep, f"left out: {' x '.join(scales)} {cells}: fewer than {MIN_RUNS} finished runs"


def _given(group: Group, scales: tuple[str, ...], others: Siblings | None) -> GroupFit:
    """Optima that somebody found. They bring no errors of their own: where they come from a grid each has half a step of it at
    least, and how far they leave the law beyond that is learned with it."""
    x, h = group.used.ln(scales), group.used.ln(group.hyperparameters)
    if len(x) - 1 - int(np.sum(np.ptp(x, axis=0) > 0)) < 1:
        raise Refused(Refusal.of("too_few_optima", name=group.name, optima=len(x)))
    steps = [_grid_step(values) for values in h.T]
    covariance = np.asarray(np.diag(np.tile((np.array([step or USUAL_STEP for step in steps]) / 2) ** 2, len(x))), float)
    same = [name for name, step in zip(group.hyperparameters, steps, strict=True) if not step]
    notes = [f"all optima have one {name}: steps of 2 are assumed, since their grid is not known" for name in same]
    measured = Measured(h, covariance)
    return GroupFit(group, scales, group.hyperparameters, x, group.used, measured, None, None, (*group.notes, *notes), others)


def _grid_step(values: Array) -> float:
    """The smallest distance (ln) between different optima: no grid that they come from is coarser. 0 where all are equal."""
    apart = np.diff(np.unique(np.round(values, 3)))
    return float(apart.min()) if len(apart) else 0.0


def _no_dependence(both: Fit) -> Refusal | None:
    """Why the second hyperparameter is not in the fit (None: it is): an F test against the fit without it."""
    rich = both.middle
    plain = fit_surface(both.sweep.only(0), rich.misfit, rich.noise)
    extra = plain.dof - rich.dof
    gain = (plain.cost - rich.cost) / extra / max(1.0, rich.cost / max(rich.dof, 1.0))
    if rich.dof < 1 or gain <= fdtri(extra, rich.dof, 1 - SIGNIFICANCE):
        return Refusal.of("no_dependence")
    return None


def _beyond_range(sweep: Sweep, law: DriftLaw) -> Refusal | None:
    """Why a hyperparameter that the loss depends on is not identified all the same; None where it is."""
    low, high = float(sweep.low[:, 1].min()), float(sweep.high[:, 1].max())
    if law.value[1] <= low:
        return Refusal.of("below_range", end=math.exp(low))
    if law.value[1] >= high:
        return Refusal.of("above_range", end=math.exp(high))
    if law.high[1] - law.low[1] > high - low:
        return Refusal.of("no_minimum")
    return None
