"""Response surfaces of sweeps, all cells at once: ln loss is a skewed bowl about an optimum that is each cell's own.

    ln loss = offset_c + scale_c |root^T v|^2,   v_k = skew_k u_k where u_k > 0, else u_k,   u = h - optimum_c

with h the logarithm of the hyperparameters. ``root`` (lower triangular) and ``skew`` are shared by all cells; the scale of
a cell's curvature is pulled to 1. Diverged runs bound the optimum from above. Source: DESIGN 8, whose bowl in ln lr this
carries to several hyperparameters.

A run depends on the parameters of its own cell and on the shared ones alone, so that the normal equations are an arrowhead of
small blocks: time and memory grow with the runs. Many surfaces are fitted side by side in one call, as rows of the same arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hptransfer.transfer.sweep import Array, Noise, Sweep, replicate_noise

# A bowl is right near its minimum only: the further above, the less a run says. Shares of the excess loss that are taken
# for the bowl's error. Which one is right is not known, so that every fit is made with each of them, and they are averaged.
MISFITS = (0.25, 0.5, 1.0)
# Too high costs more than too low at some optimizers (steplaw's AdamW: 1.5 times the distance), and less at others (muP
# Muon: 0.8 times), so the prior of ln skew has mean 0.
SKEW_SD = 0.4
SCALE_SD = 0.3  # of ln scale
TIE_SD = 2.0  # of a cell's optimum about the centre of all; where a cell hardly knows its own, as of weight decay
# Prior of the noise, worth one run: seeds move published losses by 0.1 %, those of short runs by 1 %.
FIRST_NOISE = 1e-3
SMALLEST_NOISE = 1e-4  # no loss over 1e5 evaluation tokens is known better
OUTLIER = 2.0  # residuals beyond this many standard deviations count linearly
SLACK = math.log(4.0)  # how far beyond the swept range an optimum is looked for
ROOTS = (math.log(math.sqrt(1e-5)), math.log(math.sqrt(10.0)))  # bounds of ln of the root's diagonal
STARTS = (0.002, 0.01)  # excess of the best runs in whose middle an optimum is looked for first
FIRST_CURVATURE = 0.02
ROUNDS = 4  # of fit and noise in turn
STEPS = 60  # of Levenberg and Marquardt in a round, at most
SETTLED = 1e-7  # relative decrease of the cost at which a fit is done
EDGE = 1e-6  # how near to a bound an optimum is on it
HELD = 1e12  # factor on the curvature of a parameter that is held at its bound

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Surface:
    """A fitted surface: see the head of this file.

    ``own`` (errors, hyperparameters), ``shared`` (errors, shared parameters) and ``lever`` (cells, hyperparameters, shared
    parameters) are what independent errors of standard deviation 1, one per run near the minimum and one per prior, do to the
    optima: error i moves that of its own cell ``error_cell[i]`` by ``own[i]``, and that of every cell c by
    ``lever[c] @ shared[i]``. ``cost`` is twice the robust cost, a sum of squares for runs near the surface, on ``dof`` degrees of
    freedom."""

    sweep: Sweep
    misfit: float
    optimum: Array  # (cells, hyperparameters), ln
    offset: Array  # (cells,), ln loss
    scale: Array  # (cells,)
    root: Array  # (hyperparameters, hyperparameters)
    skew: Array  # (hyperparameters,)
    noise: Noise
    error_cell: Indices
    own: Array
    shared: Array
    lever: Array
    cost: float
    dof: float

    @property
    def curvature(self) -> float:
        """Of ln loss in the first hyperparameter, on its low side."""
        return float((self.root @ self.root.T)[0, 0])

    def regret(self, d: Array) -> Array:
        """Loss above the optimum's, relative, at optimum + d; d is (..., hyperparameters)."""
        with np.errstate(over="ignore"):  # inf is the answer then
            return np.asarray(np.expm1(np.sum((np.where(d > 0, self.skew * d, d) @ self.root) ** 2, axis=-1)))


def fit_surface(sweep: Sweep, misfit: float, known: Noise | None = None) -> Surface:
    """The surface of one sweep: see `fit_surfaces`."""
    return fit_surfaces([sweep], [misfit], known)[0]


def fit_surfaces(sweeps: Sequence[Sweep], misfits: Sequence[float], known: Noise | None = None) -> list[Surface]:
    """The surface of each sweep with its share of misfit (see `MISFITS`), at a noise that is known or found. All sweeps have the
    same number of hyperparameters.

    The noise is the larger of the replicates' and that of the residuals near the optimum. The covariance of the optima is a
    sandwich: the runs are weighted by noise and supposed misfit, and scatter by noise and the misfit that is found.
    """
    twice = _Problem([*sweeps, *sweeps], [*misfits, *misfits])
    replicates = [known or replicate_noise(sweep) for sweep in sweeps]
    noise = np.array([max(one.sd, SMALLEST_NOISE) if one else FIRST_NOISE for one in replicates])
    dof = np.array([one.dof if one else 1.0 for one in replicates])
    cost, cells, shared = twice.solve(*twice.starts(), np.tile(noise, 2))
    single = _Problem(sweeps, misfits)
    second = cost[len(sweeps) :] < cost[: len(sweeps)]
    half = len(single.fit)
    cells = np.where(second[single.fit][:, None], cells[half:], cells[:half])
    shared = np.where(second[:, None], shared[len(sweeps) :], shared[: len(sweeps)])
    if not known:
        seeds = np.array([one.sd if one else 0.0 for one in replicates])
        seeds_dof = np.array([one.dof if one else 0.0 for one in replicates])
        for turn in range(ROUNDS):
            found, found_dof = single.residual_noise(cells, shared, noise)
            noise, dof = np.maximum(seeds, found), np.maximum(seeds_dof, found_dof)
            if turn < ROUNDS - 1:
                cost, cells, shared = single.solve(cells, shared, noise)
    return single.surfaces(cells, shared, noise, dof)


class _Problem:
    """Least squares over several fits. Parameters of a cell: optimum, offset, ln scale; shared ones of a fit: the root's lower
    triangle (ln on its diagonal), ln skew, and the centre of the optima. Rows are equal points, gathered: their mean ln loss.
    They are many: what is known of them is in columns, (columns, rows)."""

    def __init__(self, sweeps: Sequence[Sweep], misfits: Sequence[float]) -> None:
        self.sweeps, self.misfits = list(sweeps), np.array(misfits)
        self.k = k = sweeps[0].h.shape[1]
        self.lower = np.tril_indices(k)
        self.at_root, self.at_skew = np.arange(len(self.lower[0])), len(self.lower[0]) + np.arange(k)
        self.at_centre = self.at_skew + k
        self.diagonal = self.at_root[self.lower[0] == self.lower[1]]
        self.count = np.array([len(sweep.x) for sweep in sweeps])
        first = np.concatenate([[0], np.cumsum(self.count)])
        self.fit = np.repeat(np.arange(len(sweeps)), self.count)  # of each cell
        self.first_cell = first[:-1]
        points = [sweep.near for sweep in sweeps]
        self.cell = np.concatenate([cell + start for (cell, *_), start in zip(points, first, strict=False)])
        self.h = np.concatenate([h for _, h, *_ in points]).T.copy()
        self.y = np.concatenate([y for *_, y, _ in points])
        self.runs = np.concatenate([runs for *_, runs in points])
        self.first_row = np.searchsorted(self.cell, np.arange(len(self.fit)))
        self.rows = np.bincount(self.cell, minlength=len(self.fit))
        self.lowest = np.minimum.reduceat(self.y, self.first_row)
        self.excess = self.y - self.lowest[self.cell]
        self.row_fit = self.fit[self.cell]
        self.low = np.concatenate([sweep.low for sweep in sweeps]) - SLACK
        self.high = np.concatenate([sweep.high for sweep in sweeps]) + SLACK
        self.high[:, 0] = np.minimum(self.high[:, 0], np.concatenate([sweep.ceiling for sweep in sweeps]))

    def starts(self) -> tuple[Array, Array]:
        """Optima in the middle of each cell's best runs, the few best in the first half of the fits and more of them in the
        other."""
        reach = np.where(self.row_fit < len(self.sweeps) // 2, *STARTS)
        best = (self.excess <= reach).astype(float)
        weight = np.add.reduceat(best, self.first_row)
        optimum = self._by_cell(best * self.h) / weight[:, None]
        cells = np.column_stack([np.clip(optimum, self.low, self.high), self.lowest, np.zeros(len(self.fit))])
        shared = np.zeros((len(self.sweeps), self.at_centre[-1] + 1))
        shared[:, self.diagonal] = math.log(math.sqrt(FIRST_CURVATURE))
        shared[:, self.at_centre] = self._by_fit(optimum) / self.count[:, None]
        return cells, shared

    def deviation(self, noise: Array) -> Array:
        """Standard deviation with which each row is supposed to follow the bowl."""
        return np.asarray(np.hypot(noise[self.row_fit] / np.sqrt(self.runs), self.misfits[self.row_fit] * self.excess))

    def solve(self, cells: Array, shared: Array, noise: Array) -> tuple[Array, Array, Array]:
        """The cost of every fit and its parameters, by Levenberg and Marquardt's steps on the robust cost, within bounds."""
        sd = self.deviation(noise)
        damping = np.full(len(self.sweeps), 1e-3)
        going = np.ones(len(self.sweeps), bool)
        cost = self._cost(cells, shared, sd)
        for _ in range(STEPS):
            step_cells, step_shared = self._step(cells, shared, sd, damping)
            moved_cells, moved_shared = cells + step_cells, shared + step_shared
            moved_cells[:, : self.k] = np.clip(moved_cells[:, : self.k], self.low, self.high)
            moved_shared[:, self.diagonal] = np.clip(moved_shared[:, self.diagonal], *ROOTS)
            moved = self._cost(moved_cells, moved_shared, sd)
            better = going & (moved < cost)
            done = (better & (cost - moved < SETTLED * (cost + 1e-9))) | (damping > 1e8)
            cells = np.where(better[self.fit][:, None], moved_cells, cells)
            shared = np.where(better[:, None], moved_shared, shared)
            cost = np.where(better, moved, cost)
            damping = np.where(better, np.maximum(damping / 5, 1e-9), damping * 6)
            going &= ~done
            if not going.any():
                break
        return cost, cells, shared

    def residual_noise(self, cells: Array, shared: Array, noise: Array) -> tuple[Array, Array]:
        """Noise of each fit, and its degrees of freedom, from the residuals, each counting by how much of its standard deviation
        is noise rather than misfit."""
        sd = self.deviation(noise)
        share = noise[self.row_fit] ** 2 / self.runs / sd**2
        linear = self._linear(cells, shared, sd)
        dof = np.bincount(self.row_fit, share * (1 - linear.leverage), len(noise))
        squares = np.bincount(self.row_fit, share * self.runs * (self.y - self._bowl(cells, shared)[0]) ** 2, len(noise))
        sd_found = np.maximum(SMALLEST_NOISE, np.sqrt((squares + FIRST_NOISE**2) / (dof + 1)))
        return np.asarray(sd_found, float), np.asarray(dof + 1, float)

    def surfaces(self, cells: Array, shared: Array, noise: Array, dof: Array) -> list[Surface]:
        """The parameters as surfaces, with the errors of their optima, linearised."""
        sd = self.deviation(noise)
        linear = self._linear(cells, shared, sd)
        variance = noise[self.row_fit] ** 2 / self.runs
        left = self.y - self._bowl(cells, shared)[0]
        misfits = 1 - variance / sd**2
        beyond = (left**2 / np.maximum(1 - linear.leverage, 0.2) - variance) / np.maximum(self.excess, 1e-6) ** 2
        summed = [np.bincount(self.row_fit, values, len(noise)) for values in (misfits * beyond, misfits)]
        found = np.clip(summed[0] / np.maximum(summed[1], 1e-9), 0.0, self.misfits**2)
        scatter = np.sqrt(variance + found[self.row_fit] * self.excess**2) / sd
        scatter = np.concatenate([scatter, np.ones(len(linear.cell) - len(scatter))])[:, None]
        cost, root, skew = self._cost(cells, shared, sd), self._root(shared), np.exp(shared[:, self.at_skew])
        rows, of_error = np.bincount(self.row_fit, minlength=len(noise)), self.fit[linear.cell]
        errors_of = np.split(np.argsort(of_error, kind="stable"), np.cumsum(np.bincount(of_error))[:-1])
        result = []
        for i, (sweep, errors) in enumerate(zip(self.sweeps, errors_of, strict=True)):
            mine = slice(self.first_cell[i], self.first_cell[i] + self.count[i])
            result.append(
                Surface(
                    sweep=sweep,
                    misfit=float(self.misfits[i]),
                    optimum=cells[mine, : self.k],
                    offset=cells[mine, self.k],
                    scale=np.exp(cells[mine, self.k + 1]),
                    root=root[i],
                    skew=skew[i],
                    noise=Noise(float(noise[i]), float(dof[i])),
                    error_cell=linear.cell[errors] - self.first_cell[i],
                    own=(linear.own * scatter)[errors],
                    shared=(linear.shared * scatter)[errors],
                    lever=linear.lever[mine],
                    cost=float(cost[i]),
                    dof=float(rows[i] - self.count[i] - len(self.at_root)),  # the priors know the other parameters
                )
            )
        return result

    def _of_rows(self, values: Array) -> Array:
        """Values of cells, (cells, columns), for each of their rows, (columns, rows)."""
        return np.repeat(values.T, self.rows, axis=-1)

    def _by_cell(self, values: Array) -> Array:
        """Sums over the rows of each cell, (cells, columns)."""
        return np.asarray(np.add.reduceat(values, self.first_row, axis=1).T)

    def _by_fit(self, values: Array) -> Array:
        """Sums over the cells of each fit."""
        return np.asarray(np.add.reduceat(values, self.first_cell))

    def _root(self, shared: Array) -> Array:
        root = np.zeros((len(shared), self.k, self.k))
        root[:, *self.lower] = shared[:, self.at_root]
        at = np.arange(self.k)
        root[:, at, at] = np.exp(root[:, at, at])
        return root

    def _bowl(self, cells: Array, shared: Array) -> tuple[Array, Array, Array, Array]:
        """ln loss of every row; its distance v with the skew in it, the skew's factors, and root^T v."""
        u = self.h - self._of_rows(cells[:, : self.k])
        factor = np.where(u > 0, self._of_rows(np.exp(shared[:, self.at_skew])[self.fit]), 1.0)
        v, z = u * factor, np.zeros_like(u)
        for i, j, root in self._roots(shared):
            z[j] += v[i] * root
        offset, scale = self._of_rows(np.column_stack([cells[:, self.k], np.exp(cells[:, self.k + 1])]))
        return offset + scale * np.sum(z**2, axis=0), v, factor, z

    def _roots(self, shared: Array) -> Iterator[tuple[Any, Any, Array]]:
        """The entries of the root that are not 0, for each row: i, j, values."""
        root = self._root(shared)[self.fit]
        return ((i, j, self._of_rows(root[:, i, j])) for i, j in zip(*self.lower, strict=True))

    def _cost(self, cells: Array, shared: Array, sd: Array) -> Array:
        """Of every fit: the robust sum of squares, priors included."""
        with np.errstate(over="ignore", invalid="ignore"):  # a step too far has no cost, and is not taken
            z = (self._bowl(cells, shared)[0] - self.y) / sd / OUTLIER
            robust = np.bincount(self.row_fit, 2 * OUTLIER**2 * (np.sqrt(1 + z**2) - 1), len(shared))
            tie = np.sum((cells[:, : self.k] - shared[self.fit][:, self.at_centre]) ** 2, axis=1) / TIE_SD**2
            priors = np.bincount(self.fit, tie + (cells[:, self.k + 1] / SCALE_SD) ** 2, len(shared))
            return np.asarray(robust + priors + np.sum((shared[:, self.at_skew] / SKEW_SD) ** 2, axis=1))

    def _rows(self, cells: Array, shared: Array) -> tuple[Array, Array, Array]:
        """ln loss of every row, and its derivatives by its cell's parameters and by the shared ones but the centre, of which it
        does not know."""
        loss, v, factor, z = self._bowl(cells, shared)
        scale = self._of_rows(np.exp(cells[:, self.k + 1]))
        by_v, by_root = np.zeros_like(v), []
        for i, j, root in self._roots(shared):
            slope = 2 * scale * z[j]
            by_v[i] += slope * root
            by_root.append(slope * v[i] * root if i == j else slope * v[i])
        own = np.concatenate([-by_v * factor, [np.ones_like(loss), scale * np.sum(z**2, axis=0)]])
        return loss, own, np.concatenate([by_root, np.where(v > 0, by_v * v, 0.0)])

    def _step(self, cells: Array, shared: Array, sd: Array, damping: Array) -> tuple[Array, Array]:
        """A damped step of every fit. What a bound holds stays, where the step would lead beyond."""
        k = self.k
        loss, own, across = self._rows(cells, shared)
        z = (loss - self.y) / sd
        robust = (1 + (z / OUTLIER) ** 2) ** -0.25  # root of the weight
        own, across = own * (robust / sd), across * (robust / sd)
        off = cells[:, :k] - shared[self.fit][:, self.at_centre]
        corner, edge, core = self._blocks(own, across)
        pull = self._by_cell(own * (robust * z))
        pull[:, :k] += off / TIE_SD**2
        pull[:, k + 1] += cells[:, k + 1] / SCALE_SD**2
        pulls = _padded(self._by_fit(self._by_cell(across * (robust * z))), k)
        pulls[:, self.at_centre] -= self._by_fit(off) / TIE_SD**2
        pulls[:, self.at_skew] += shared[:, self.at_skew] / SKEW_SD**2
        at = np.arange(corner.shape[1])
        held = np.zeros_like(pull, bool)
        held[:, :k] = ((cells[:, :k] >= self.high - EDGE) & (pull[:, :k] < 0)) | (
            (cells[:, :k] <= self.low + EDGE) & (pull[:, :k] > 0)
        )
        corner[:, at, at] *= np.where(held, HELD, 1 + damping[self.fit][:, None])
        pull = np.where(held, 0.0, pull)
        at = np.arange(core.shape[1])
        ln_root, by_root = shared[:, self.diagonal], pulls[:, self.diagonal]
        fixed = np.zeros_like(pulls, bool)
        fixed[:, self.diagonal] = ((ln_root >= ROOTS[1] - EDGE) & (by_root < 0)) | ((ln_root <= ROOTS[0] + EDGE) & (by_root > 0))
        core[:, at, at] *= np.where(fixed, HELD, 1 + damping[:, None])
        pulls = np.where(fixed, 0.0, pulls)
        solved = np.linalg.solve(corner, np.concatenate([edge, pull[:, :, None]], axis=2))
        schur = core - self._by_fit(np.swapaxes(edge, 1, 2) @ solved[:, :, :-1])
        towards = pulls - self._by_fit((np.swapaxes(edge, 1, 2) @ solved[:, :, -1:])[:, :, 0])
        step = -np.linalg.solve(schur + 1e-12 * np.eye(len(at)), towards[:, :, None])[:, :, 0]
        moved = -solved[:, :, -1] - (solved[:, :, :-1] @ step[self.fit][:, :, None])[:, :, 0]
        return np.asarray(moved, float), np.asarray(step, float)

    def _products(self, rows: Array) -> Array:
        """Sums over the rows of each cell of the products of their columns, (cells, columns, columns)."""
        found = np.zeros((len(self.fit), len(rows), len(rows)))
        for i, one in enumerate(rows):
            for j in range(i + 1):
                found[:, i, j] = found[:, j, i] = np.add.reduceat(one * rows[j], self.first_row)
        return found

    def _blocks(self, own: Array, across: Array) -> tuple[Array, Array, Array]:
        """The normal matrix of the rows and the priors: of each cell, between cell and shared, of each fit."""
        k, size = self.k, len(own)
        both = _padded(_padded(self._products(np.concatenate([own, across])), k), k, axis=1)
        corner, edge, core = both[:, :size, :size], both[:, :size, size:], self._by_fit(both[:, size:, size:])
        for i in range(k):
            corner[:, i, i] += 1 / TIE_SD**2
            edge[:, i, self.at_centre[i]] -= 1 / TIE_SD**2
            core[:, self.at_centre[i], self.at_centre[i]] += self.count / TIE_SD**2
            core[:, self.at_skew[i], self.at_skew[i]] += 1 / SKEW_SD**2
        corner[:, k + 1, k + 1] += 1 / SCALE_SD**2
        return corner, edge, core

    def _linear(self, cells: Array, shared: Array, sd: Array) -> _Linear:
        """What an error of every row and prior does to the parameters, the solution being linear in it."""
        k, count = self.k, len(self.fit)
        own, across = (rows / sd for rows in self._rows(cells, shared)[1:])
        corner, edge, core = self._blocks(own, across)
        own, across = own.T, _padded(across.T, k)
        unit = np.broadcast_to(np.eye(k + 2), corner.shape)
        solved = np.linalg.solve(corner + 1e-9 * np.eye(k + 2), np.concatenate([edge, unit], axis=2))
        lever, inverse = -solved[:, :, : -(k + 2)], solved[:, :, -(k + 2) :]
        schur = np.linalg.inv(core + self._by_fit(np.swapaxes(edge, 1, 2) @ lever) + 1e-9 * np.eye(core.shape[1]))
        # Rows of the priors: of every cell's scale and optima, of every fit's skews.
        size = across.shape[1]
        scales = np.zeros((count, k + 2))
        scales[:, k + 1] = 1 / SCALE_SD
        ties, centres = np.zeros((k, count, k + 2)), np.zeros((k, count, size))
        skews = np.zeros((k, len(self.sweeps), size))
        for i in range(k):
            ties[i, :, i], centres[i, :, self.at_centre[i]] = 1 / TIE_SD, -1 / TIE_SD
            skews[i, :, self.at_skew[i]] = 1 / SKEW_SD
        every = np.arange(count)
        cell = np.concatenate([self.cell, every, np.tile(every, k), np.tile(self.first_cell, k)])
        a = np.concatenate([own, scales, ties.reshape(-1, k + 2), np.zeros((k * len(self.sweeps), k + 2))])
        b = np.concatenate([across, np.zeros((count, size)), centres.reshape(-1, size), skews.reshape(-1, size)])
        alone = np.einsum("nij,nj->ni", inverse[cell], a)
        towards = b + np.einsum("nij,ni->nj", lever[cell], a)
        by_shared = np.einsum("nij,nj->ni", schur[self.fit[cell]], towards)
        leverage = (np.sum(a * alone, axis=1) + np.sum(towards * by_shared, axis=1))[: len(self.y)]
        return _Linear(cell, alone[:, :k], by_shared, np.asarray(lever[:, :k], float), leverage)


def _padded(values: Array, zeros: int, axis: int = -1) -> Array:
    """With so many zeros behind."""
    shape = list(values.shape)
    shape[axis] = zeros
    return np.concatenate([values, np.zeros(shape)], axis=axis)


@dataclass(frozen=True)
class _Linear:
    """``cell`` (errors,), ``own``, ``shared`` and ``lever`` as those of a `Surface`; ``leverage`` of every row."""

    cell: Indices
    own: Array
    shared: Array
    lever: Array
    leverage: Array
