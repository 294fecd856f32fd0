"""Where the next runs of a cell tell most about its optimum: Bayesian experimental design on the fitted surface.

A run near the optimum says how low the bowl is, not where; far away the bowl is not right (`hptransfer.transfer.surface`).
In between, on both sides, lie the runs that count. Each run is chosen to lower the regret that is expected of the fitted
optimum most (A-optimality, weighted by curvature; Chaloner and Verdinelli 1995, section 2.2), averaged over the places where
the law, from this cell and smaller ones, puts the optimum.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats
from scipy.stats import qmc

from hptransfer.runs import Job, Record
from hptransfer.runs.point import Number
from hptransfer.transfer.group import Group, fit_group
from hptransfer.transfer.surface import SKEW_SD, TIE_SD, Surface
from hptransfer.transfer.sweep import MIN_RUNS, Array

CANDIDATES = 7  # log2 of their number
GOLDEN = (math.sqrt(5) - 1) / 2
EXCHANGES = 4
PLACES = 32  # optima over which the regret is averaged
# Share of the excess loss by which public sweeps leave the bowl beyond their noise: 0.04 to 0.24. The fit supposes more
# (`hptransfer.transfer.surface.MISFITS`), which is safe for it; a design that did so would keep too near to the optimum.
MISFIT = 0.1
# A noise that was found too small does the same, so that an upper quartile of it counts.
NOISE_SHARE = 0.25
STEEP = 0.1  # regret from which on runs are left out: they tell of the shape, and are the first to diverge
LEVEL_SD, BEND_SD = 10.0, 1.0  # priors of the offset, in ln loss, and of ln of the root's diagonal: hardly any


def design(
    records: Sequence[Record], target: Job, ranges: Mapping[str, tuple[float, float]], count: int
) -> list[dict[str, float]]:
    """The next ``count`` points to run in the cell of ``target``, from the records of it and of smaller cells, which differ in
    scales, lr and weight_decay alone; ``ranges`` bounds both, or lr alone. Empty: too few complete runs to say anything.

    Once, the run nearest to the optimum is repeated for the noise; all other points are new, and have no weight_decay where
    the loss does not depend on it.
    """
    complete = Counter(_cell(record) for record in records if record.loss is not None)
    # A run beyond those that a cell with others beside it needs: this one may be alone.
    fitted = [record for record in records if complete[_cell(record)] > MIN_RUNS]
    if not fitted:
        return []
    group = fit_group(Group("", fitted), target)
    assert group.fit is not None
    surface, law, names = group.fit.middle, group.law(target), group.hyperparameters
    own = [record for record in records if record.point.is_in(target.point.scales)]
    swept = np.exp(group.fit.sweep.low.min(axis=0)).tolist()
    low, high = np.log([(ranges[name][0] or least, ranges[name][1]) for name, least in zip(names, swept, strict=True)]).T
    high[0] = math.log(highest_lr(own, ranges["lr"]))

    done = [record.point for record in own if record.loss is not None]
    ran = np.reshape([[math.log(point[name]) for name in names] for point in done], (-1, len(names)))
    again = []
    seeds = Counter(tuple(record.point[name] for name in ranges) for record in own)
    if len(done) > MIN_RUNS and max(seeds.values()) == 1:
        nearest = int(np.argmin(surface.regret(ran - law.value)))
        again = [{name: float(done[nearest][name]) for name in ranges}]
        ran = np.vstack([ran, ran[nearest]])
    points = np.exp(next_runs(surface, law.draws, ran, low, high, count - len(again)))
    return [*again, *(dict(zip(names, point, strict=True)) for point in points.tolist())]


def _cell(record: Record) -> tuple[tuple[str, Number], ...]:
    return tuple(record.point.scales.items())


def highest_lr(records: Sequence[Record], bounds: tuple[float, float]) -> float:
    """The highest LR of a range to try, given runs: halfway in ln from the highest that finished to the lowest that diverged."""
    done = max((record.point["lr"] for record in records if record.loss is not None), default=bounds[0])
    lost = [record.point["lr"] for record in records if record.loss is None and record.point["lr"] > done]
    return min([bounds[1], *(math.sqrt(done * lr) for lr in lost)])


def next_runs(surface: Surface, optima: Array, ran: Array, low: Array, high: Array, count: int) -> Array:
    """``count`` points (count, hyperparameters) in ln, between ``low`` and ``high`` (hyperparameters,), for a cell in which
    ``ran`` (runs, hyperparameters) are there already; ``optima`` (draws, hyperparameters) is where its optimum may lie."""
    k = len(low)
    places = optima[np.argsort(optima[:, 0])][:: max(1, len(optima) // PLACES)]
    shift = len(ran) * GOLDEN  # no grid twice: a seed is not repeated out here
    candidates = low + (high - low) * ((qmc.Sobol(k, scramble=False).random_base2(CANDIDATES) + shift) % 1.0)
    noise = surface.noise.sd * math.sqrt(surface.noise.dof / stats.chi2.ppf(NOISE_SHARE, surface.noise.dof))
    rows = np.array([_rows(surface, noise, candidates - place) for place in places])
    there = np.array([_rows(surface, noise, ran - place) for place in places])
    steep = np.mean([surface.regret(candidates - place) for place in places], axis=0) > STEEP
    worth = np.where(steep, 1e-9, 1.0)  # not 0: where all are steep, the best of them
    priors = np.concatenate([np.full(k, TIE_SD), [LEVEL_SD], np.full(k, BEND_SD), np.full(k, SKEW_SD)])
    known = np.diag(priors**-2.0) + np.swapaxes(there, 1, 2) @ there
    bend = surface.root @ surface.root.T
    chosen: list[int] = []
    # One after another, then each again given the others: the first of a cell says nothing by itself (Fedorov's exchange).
    for turn in range(EXCHANGES * count):
        if turn >= count:
            chosen.pop(0)
        information = known + np.swapaxes(rows[:, chosen], 1, 2) @ rows[:, chosen]
        # What each candidate would take off the regret at each place, by Sherman and Morrison.
        along = np.einsum("pij,pcj->pci", np.linalg.inv(information), rows)
        gain = np.einsum("pci,ij,pcj->pc", along[..., :k], bend, along[..., :k]) / (1 + np.sum(along * rows, axis=2))
        gain[:, chosen] = 0.0
        chosen.append(int(np.argmax(worth * gain.mean(axis=0))))
    return np.asarray(candidates[chosen])


def _rows(surface: Surface, noise: float, u: Array) -> Array:
    """Rows of the Jacobian of runs at u (runs, hyperparameters) from the optimum, in their standard deviations: by optimum,
    offset, ln of the root's diagonal, ln skew."""
    factor = np.where(u > 0, surface.skew, 1.0)
    v = u * factor
    z = v @ surface.root
    by_v = 2 * z @ surface.root.T
    sd = np.hypot(noise, MISFIT * np.sum(z**2, axis=1))
    by_root = 2 * z * v * np.diag(surface.root)
    by_skew = np.where(u > 0, by_v * v, 0.0)
    return np.asarray(np.column_stack([-by_v * factor, np.ones(len(u)), by_root, by_skew]) / sd[:, None])
