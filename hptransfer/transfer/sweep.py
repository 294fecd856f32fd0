"""The finished runs of one group as arrays, whatever they come from: a store, or a table that somebody has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hptransfer.base.intervals import Array

__all__ = ["BASIN", "MIN_RUNS", "Array", "Noise", "Sweep", "gather", "replicate_noise"]

BASIN = math.log(2.0)  # excess; what lies higher has diverged in all but name
# A run above the best one has gone over the edge where it lies as far above it and higher than any bowl would be there: the
# steepest of public sweeps has a curvature of 0.05 of ln loss above its optimum. It and what lies beyond bound the optimum as
# diverged runs do, and say nothing of the bowl.
CLIFF, STEEPEST = math.log(1.1), 0.15
MIN_RUNS = 3  # complete runs that a cell needs for its optimum and offset


@dataclass(frozen=True)
class Sweep:
    """The complete runs of a group, in cells: a cell is a scale (a width; a number of parameters and tokens; ...).

    ``x`` (cells, scales) is ln scale; ``h`` (runs, hyperparameters) the logarithm of each run's hyperparameters, and
    ``cell`` (runs,) its row in ``x``; runs with the same ``point`` differ in nothing but seeds. ``low`` and ``high`` (cells,
    hyperparameters) bound each cell's complete runs; ``lost`` (diverged runs, hyperparameters) and ``lost_cell`` are those that
    diverged. ``top`` (cells,) is the highest value of the first hyperparameter, the LR, that is this side of the `CLIFF`, and
    ``ceiling`` the lowest above it that is not, or that diverged (inf: none).
    """

    scales: tuple[str, ...]
    hyperparameters: tuple[str, ...]
    x: Array
    cell: NDArray[np.intp]
    point: NDArray[np.intp]
    h: Array
    ln_loss: Array
    low: Array
    high: Array
    lost: Array
    lost_cell: NDArray[np.intp]
    top: Array
    ceiling: Array

    @property
    def lowest(self) -> Array:
        """ln loss of each cell's best run."""
        return np.array([self.ln_loss[self.cell == i].min() for i in range(len(self.x))])

    @property
    def excess(self) -> Array:
        """ln loss of each run above the lowest of its cell."""
        return np.asarray(self.ln_loss - self.lowest[self.cell])

    @cached_property
    def near(self) -> tuple[NDArray[np.intp], Array, Array, Array]:
        """The points that a bowl is fitted to, equal ones gathered, in the order of their cells: cell, h (points,
        hyperparameters), mean ln loss, number of runs. What is over the cliff, or `BASIN` above the best, says nothing of its
        shape."""
        _, first, member, runs = np.unique(self.point, return_index=True, return_inverse=True, return_counts=True)
        y = np.bincount(member.reshape(-1), self.ln_loss) / runs
        cell = self.cell[first]
        lowest = np.full(len(self.x), np.inf)
        np.minimum.at(lowest, cell, y)
        kept = np.flatnonzero((y - lowest[cell] < BASIN) & (self.h[first, 0] <= self.top[cell]))
        kept = kept[np.argsort(cell[kept], kind="stable")]
        return cell[kept], self.h[first][kept], y[kept], runs[kept].astype(float)

    @property
    def diverged(self) -> tuple[int, ...]:
        """Diverged runs of each cell."""
        return tuple(np.bincount(self.lost_cell, minlength=len(self.x)).tolist())

    def runs(self, cell: int) -> int:
        """Complete runs of a cell."""
        return int(np.sum(self.cell == cell))

    def step(self, cell: int) -> float:
        """The usual distance (ln) between neighbouring values of the first hyperparameter among a cell's complete runs; 0 where
        they have one value."""
        apart = np.diff(np.unique(self.h[self.cell == cell, 0].round(6)))
        return float(np.median(apart)) if len(apart) else 0.0

    def best(self, cell: int) -> Array:
        """The hyperparameters (ln) of a cell's best run."""
        of_cell = np.flatnonzero(self.cell == cell)
        return np.asarray(self.h[of_cell[np.argmin(self.ln_loss[of_cell])]])

    def take(self, cells: Sequence[int]) -> Sweep:
        """The sweep of some of the cells, in that order."""
        chosen = list(cells)
        place = {cell: i for i, cell in enumerate(chosen)}
        keep, lost = np.isin(self.cell, chosen), np.isin(self.lost_cell, chosen)
        return Sweep(
            scales=self.scales,
            hyperparameters=self.hyperparameters,
            x=self.x[chosen],
            cell=np.array([place[cell] for cell in self.cell[keep].tolist()], dtype=np.intp),
            point=self.point[keep],
            h=self.h[keep],
            ln_loss=self.ln_loss[keep],
            low=self.low[chosen],
            high=self.high[chosen],
            lost=self.lost[lost],
            lost_cell=np.array([place[cell] for cell in self.lost_cell[lost].tolist()], dtype=np.intp),
            top=self.top[chosen],
            ceiling=self.ceiling[chosen],
        )

    def only(self, hyperparameter: int) -> Sweep:
        """The sweep of one hyperparameter; what the others do counts as scatter."""
        chosen = [hyperparameter]
        names = (self.hyperparameters[hyperparameter],)
        values = {name: getattr(self, name)[:, chosen] for name in ("h", "low", "high", "lost")}
        return replace(self, hyperparameters=names, **values)


def gather(
    scales: Sequence[str], hyperparameters: Sequence[str], x: ArrayLike, h: ArrayLike, loss: ArrayLike
) -> tuple[Sweep, list[tuple[float, ...]]]:
    """The sweep of runs, one row each: ln scale (runs, scales), ln hyperparameters (runs, hyperparameters), loss (runs,)
    in any positive unit, not finite where the run diverged. Cells with fewer than `MIN_RUNS` complete runs are left out;
    their scales (not their logarithms) are returned beside it."""
    x, h, loss = np.asarray(x, float), np.asarray(h, float), np.asarray(loss, float)
    done = np.isfinite(loss)
    every, cell = np.unique(x, axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    count = np.bincount(cell[done], minlength=len(every))
    kept = np.flatnonzero(count >= MIN_RUNS)
    low, high, top, ceiling = [], [], [], []
    is_line = h.shape[1] == 1  # among several hyperparameters a high loss may be another's
    of_cell = np.split(np.argsort(cell, kind="stable"), np.cumsum(np.bincount(cell, minlength=len(every)))[:-1])
    for i in kept:
        lr, finished, own = h[of_cell[i], 0], done[of_cell[i]], loss[of_cell[i]]
        complete = h[of_cell[i]][finished]
        low.append(complete.min(axis=0))
        high.append(complete.max(axis=0))
        lowest = own[finished].min()
        above, excess = lr - lr[own == lowest].max(), np.log(own / lowest)
        over = is_line & finished & (above > 0) & (excess > np.maximum(CLIFF, STEEPEST * above**2))
        edge = lr[over].min(initial=math.inf)
        top.append(lr[finished & (lr < edge)].max())
        # A diverged run below one that did well was bad luck; it bounds nothing.
        ceiling.append(lr[(over | ~finished) & (lr > top[-1])].min(initial=math.inf))
    enough = count[cell] >= MIN_RUNS
    used, lost = done & enough, ~done & enough
    _, point = np.unique(np.column_stack([x, h]), axis=0, return_inverse=True)
    sweep = Sweep(
        scales=tuple(scales),
        hyperparameters=tuple(hyperparameters),
        x=every[kept],
        cell=np.searchsorted(kept, cell[used]),
        point=point.reshape(-1)[used],
        h=h[used],
        ln_loss=np.log(loss[used]),
        low=np.array(low).reshape(len(kept), h.shape[1]),
        high=np.array(high).reshape(len(kept), h.shape[1]),
        lost=h[lost],
        lost_cell=np.searchsorted(kept, cell[lost]),
        top=np.array(top),
        ceiling=np.array(ceiling),
    )
    return sweep, [tuple(math.exp(value) for value in row) for row in every[count < MIN_RUNS]]


@dataclass(frozen=True)
class Noise:
    """Standard deviation of ln loss, that is the relative one of the loss, with the degrees of freedom behind it."""

    sd: float
    dof: float


def replicate_noise(sweep: Sweep) -> Noise | None:
    """Seed noise, pooled over all sets of complete runs that differ in nothing but seeds; None without such."""
    _, member, count = np.unique(sweep.point, return_inverse=True, return_counts=True)
    dof = int(np.sum(count - 1))
    if dof == 0:
        return None
    mean = np.bincount(member, sweep.ln_loss) / count
    return Noise(math.sqrt(float(np.sum((sweep.ln_loss - mean[member]) ** 2)) / dof), dof)
