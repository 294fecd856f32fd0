"""The simple rules that a prediction is measured against, and gives way to where they are better. Each gives ln hyperparameters
at a target."""

from __future__ import annotations

import numpy as np

from hptransfer.transfer.sweep import Array, Sweep


def base(sweep: Sweep, x_target: Array) -> Array:
    """The best run of the smallest scale, kept."""
    return sweep.best(int(np.argmin(sweep.x.sum(axis=1))))


def last(sweep: Sweep, x_target: Array) -> Array:
    """The best run of the largest scale, kept."""
    return sweep.best(int(np.argmax(sweep.x.sum(axis=1))))


def powerlaw(sweep: Sweep, x_target: Array) -> Array:
    """Each cell's vertex, and the straight line through them in logarithms, by ordinary least squares; level along a scale that
    does not vary among them."""
    vertices = np.array([vertex(sweep, cell) for cell in range(len(sweep.x))])
    middle = sweep.x.mean(axis=0)
    line, *_ = np.linalg.lstsq(sweep.x - middle, vertices - vertices.mean(axis=0), rcond=None)
    return np.asarray(vertices.mean(axis=0) + (x_target - middle) @ line)


def vertex(sweep: Sweep, cell: int) -> Array:
    """The vertex of the parabola through a cell's best run and its two neighbours, along each hyperparameter with the others
    held; the best run where it has no neighbour on both sides."""
    of_cell = sweep.cell == cell
    h, loss, best = sweep.h[of_cell], np.exp(sweep.ln_loss[of_cell]), sweep.best(cell)
    result = best.copy()
    for k in range(h.shape[1]):
        others = np.delete(np.arange(h.shape[1]), k)
        on_line = np.all(np.isclose(h[:, others], best[others], atol=1e-6), axis=1)
        x, y = mean_by_x(h[on_line, k], loss[on_line])
        middle = int(np.argmin(np.abs(x - best[k])))
        if 0 < middle < len(x) - 1:
            a, b, _ = np.polyfit(x[middle - 1 : middle + 2] - x[middle], y[middle - 1 : middle + 2], 2)
            if a > 0:
                result[k] = x[middle] - b / (2 * a)
    return result


def mean_by_x(x: Array, y: Array) -> tuple[Array, Array]:
    """Ascending x with the mean of y where x repeats (to 1 %: tables round)."""
    key = np.round(x, 2)
    _, member, count = np.unique(key, return_inverse=True, return_counts=True)
    return np.bincount(member, x) / count, np.bincount(member, y) / count


RULES = {"base": base, "last": last, "powerlaw": powerlaw}
