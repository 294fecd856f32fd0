"""What a prediction costs in a cell whose runs are known: their interpolation at the prediction over their minimum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import LinearNDInterpolator, PchipInterpolator

from hptransfer.transfer.cost import LOST
from hptransfer.transfer.simple import mean_by_x
from hptransfer.transfer.sweep import BASIN, Array, Sweep

ON_GRID = 3  # points on each line of a grid, on average; fewer are scattered
SAME = 0.01  # ln; values that differ by less are one, as tables round


@dataclass(frozen=True)
class Regret:
    """``value`` is loss over the cell's lowest, minus 1; ``edge``: the prediction lies outside the cell's finished runs, and
    counts at their edge; ``diverged``: it is nearer to a run that diverged than to one that finished, and its value says nothing.
    """

    value: float
    edge: bool
    diverged: bool

    @property
    def robust(self) -> float:
        """The regret up to `LOST`, which is what a diverged prediction costs."""
        return LOST if self.diverged else min(self.value, LOST)


def interpolated_regret(sweep: Sweep, cell: int, predicted: Array) -> Regret:
    """The regret of ln hyperparameters ``predicted`` in a cell of a sweep, of one or two hyperparameters.

    The interpolation is among runs that finished, and keeps their shape (PCHIP): in two dimensions along the hyperparameter with
    more values first, for each value of the other, and then across. Points on no grid are interpolated linearly.
    """
    of_cell = sweep.cell == cell
    h, ln_loss, lost = sweep.h[of_cell], sweep.ln_loss[of_cell], sweep.lost[sweep.lost_cell == cell]
    exploded = (ln_loss >= ln_loss.min() + BASIN) & (h[:, 0] > h[np.argmin(ln_loss), 0])
    lost = _bounding(np.vstack([lost, h[exploded]]), h[~exploded])
    h, loss = _points(h[~exploded], np.exp(ln_loss[~exploded]))
    inside = np.clip(predicted, h.min(axis=0), h.max(axis=0))
    at = _in_line(h[:, 0], loss, inside[0]) if h.shape[1] == 1 else _in_plane(h, loss, inside)
    return Regret(
        value=float(at / loss.min() - 1),
        edge=bool(np.any(np.abs(inside - predicted) > 1e-9)),
        diverged=_nearest(lost, predicted) < _nearest(h, predicted),
    )


def _bounding(lost: Array, finished: Array) -> Array:
    """The diverged runs above which, the other hyperparameter being equal, none finished: others were bad luck."""
    alike = np.all(np.abs(lost[:, None, 1:] - finished[None, :, 1:]) < SAME, axis=2)
    below = np.any(alike & (finished[None, :, 0] > lost[:, None, 0]), axis=1)
    return np.asarray(lost[~below])


def _nearest(points: Array, at: Array) -> float:
    """Distance (ln) to the nearest of some points; inf where there are none."""
    return float(np.min(np.linalg.norm(points - at, axis=1), initial=math.inf))


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
