"""The finished runs of one group as arrays, whatever they come from: a store, or a table that somebody has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hptransfer.base.intervals import Array

__all__ = ["MIN_RUNS", "Array", "Noise", "Sweep", "gather", "replicate_noise"]

MIN_RUNS = 3  # complete runs that a cell needs for its optimum and offset


@dataclass(frozen=True)
class Sweep:
    """The complete runs of a group, in cells: a cell is a scale (a width; a number of parameters and tokens; ...).

    ``x`` (cells, scales) is ln scale; ``h`` (runs, hyperparameters) the logarithm of each run's hyperparameters, and
    ``cell`` (runs,) its row in ``x``; runs with the same ``point`` differ in nothing but seeds. ``low`` and ``high`` (cells,
    hyperparameters) bound each cell's complete runs; ``lost`` (diverged runs, hyperparameters) and ``lost_cell`` are those that
    diverged, and ``ceiling`` (cells,) is the lowest value of the first hyperparameter, the LR, that did so above all complete
    runs of its cell (inf: none did).
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
    ceiling: Array

    @property
    def lowest(self) -> Array:
        """ln loss of each cell's best run."""
        return np.array([self.ln_loss[self.cell == i].min() for i in range(len(self.x))])

    @property
    def excess(self) -> Array:
        """ln loss of each run above the lowest of its cell."""
        return np.asarray(self.ln_loss - self.lowest[self.cell])

    @property
    def diverged(self) -> tuple[int, ...]:
        """Diverged runs of each cell."""
        return tuple(np.bincount(self.lost_cell, minlength=len(self.x)).tolist())

    def runs(self, cell: int) -> int:
        """Complete runs of a cell."""
        return int(np.sum(self.cell == cell))

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
            ceiling=self.ceiling[chosen],
        )

    def only(self, hyperparameter: int) -> Sweep:
        """The sweep of one hyperparameter; what the others do counts as scatter."""
        chosen = [hyperparameter]
        names = (self.hyperparameters[hyperparameter],)
        values = {name: getattr(self, name)[:, chosen] for name in ("h", "low", "high", "lost")}
        return Sweep(**{**self.__dict__, "hyperparameters": names, **values})


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
    low, high, ceiling = [], [], []
    for i in kept:
        complete, failed = h[(cell == i) & done], h[(cell == i) & ~done, 0]
        low.append(complete.min(axis=0))
        high.append(complete.max(axis=0))
        # A diverged run below a finished one was bad luck; it bounds nothing.
        ceiling.append(min((value for value in failed if value > high[-1][0]), default=math.inf))
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
