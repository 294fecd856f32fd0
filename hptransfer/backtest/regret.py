"""What a prediction costs in a cell whose runs are known: their interpolation at the prediction over their minimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import LinearNDInterpolator, PchipInterpolator

from hptransfer.backtest.rules import mean_by_x
from hptransfer.transfer.sweep import Array, Sweep

ON_GRID = 3  # points on each line of a grid, on average; fewer are scattered


@dataclass(frozen=True)
class Regret:
    """``value`` is loss over the cell's lowest, minus 1; ``edge``: the prediction lies outside the cell's range, and counts at
    its edge."""

    value: float
    edge: bool


def interpolated_regret(sweep: Sweep, cell: int, predicted: Array) -> Regret:
    """The regret of ln hyperparameters ``predicted`` in a cell of a sweep, of one or two hyperparameters.

    The interpolation keeps the shape of the points (PCHIP): in two dimensions along the hyperparameter with more values
    first, for each value of the other, and then across. Points on no grid are interpolated linearly.
    """
    of_cell = sweep.cell == cell
    h, loss = _points(sweep.h[of_cell], np.exp(sweep.ln_loss[of_cell]))
    inside = np.clip(predicted, h.min(axis=0), h.max(axis=0))
    edge = bool(np.any(np.abs(inside - predicted) > 1e-9))
    at = _in_line(h[:, 0], loss, inside[0]) if h.shape[1] == 1 else _in_plane(h, loss, inside)
    return Regret(value=float(at / loss.min() - 1), edge=edge)


def _points(h: Array, loss: Array) -> tuple[Array, Array]:
    """Replicates as one point with their mean loss."""
    every, member, count = np.unique(h, axis=0, return_inverse=True, return_counts=True)
    return every, np.bincount(member.reshape(-1), loss) / count


def _in_line(x: Array, y: Array, at: float) -> float:
    x, y = mean_by_x(x, y)
    if len(x) == 1:
        return float(y[0])
    return float(PchipInterpolator(x, y)(np.clip(at, x[0], x[-1])))


def _in_plane(h: Array, loss: Array, at: Array) -> float:
    key = np.round(h, 2)
    inner = int(len(np.unique(key[:, 1])) > len(np.unique(key[:, 0])))
    lines = [key[:, 1 - inner] == value for value in np.unique(key[:, 1 - inner])]
    on_lines = len(h) / len(lines)
    lines = [line for line in lines if len(np.unique(key[line, inner])) > 1]
    if len(lines) < 2 or on_lines < ON_GRID:
        linear = float(LinearNDInterpolator(h, loss)(at[None])[0])
        nearest = loss[np.argmin(np.sum((h - at) ** 2, axis=1))]
        return linear if np.isfinite(linear) else float(nearest)
    along = np.array([_in_line(h[line, inner], loss[line], at[inner]) for line in lines])
    return _in_line(np.array([h[line, 1 - inner].mean() for line in lines]), along, at[1 - inner])
