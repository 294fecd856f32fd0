"""What it costs to miss the optimum, and the hyperparameters that are expected to cost least.

Near the optimum the loss is the fitted bowl's. Above it a bowl is not enough: there the loss may explode one step of a grid
further on, and how likely that is counts for more than the mean of where the optimum may be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from hptransfer.transfer.surface import Surface
from hptransfer.transfer.sweep import Array

# A run that costs 5 % of the loss is lost; by how much more says nothing, and a mean would be that of its worst case.
LOST = 0.05
NEAR = 0.01  # regret of the other hyperparameters up to which a run tells of the LR
NOISE = 2.0  # standard deviations of the noise within which a run does not contradict the bowl
CHOICES = 41  # values of the LR that are compared
RANGE = (0.05, 0.95)  # quantiles of the optimum between which they lie


@dataclass(frozen=True)
class Climb:
    """``height``: relative loss above the lowest that the runs show, all cells together, at ``distance`` (ln LR) above the
    optimum, both ascending."""

    surface: Surface
    distance: Array
    height: Array

    def at(self, d: Array) -> Array:
        """Relative loss above the lowest, at most `LOST`, at ``d`` (..., hyperparameters), ln, from the optimum."""
        seen = np.interp(d[..., 0], self.distance, self.height)
        return np.minimum(LOST, np.maximum(self.surface.regret(d), seen))

    def cheapest(self, value: Array, draws: Array) -> Array:
        """``value`` (hyperparameters,) with the LR whose expected cost over ``draws`` (draws, hyperparameters) of the optimum is
        lowest."""
        low, high = np.quantile(draws[:, 0], RANGE).tolist()
        lrs = np.linspace(low, high, CHOICES)
        d = np.broadcast_to(value - draws, (CHOICES, *draws.shape)).copy()
        d[:, :, 0] = lrs[:, None] - draws[:, 0]
        expected = self.at(d).mean(axis=1)
        return np.concatenate([[lrs[np.argmin(expected)]], value[1:]])


def climb_of(surface: Surface, optimum: Array) -> Climb:
    """What the runs of a surface's sweep say of missing the optima (cells, hyperparameters): those whose other hyperparameters
    cost little, a diverged one being lost. The loss never falls on the way up, so that isotonic regression averages noise out."""
    sweep = surface.sweep
    h, cell = np.concatenate([sweep.h, sweep.lost]), np.concatenate([sweep.cell, sweep.lost_cell])
    away = h - optimum[cell]
    is_lr = np.arange(away.shape[1]) == 0
    others, bowl = surface.regret(np.where(is_lr, 0.0, away)), surface.regret(np.where(is_lr, away, 0.0))
    height = np.concatenate([np.expm1(sweep.ln_loss - surface.offset[sweep.cell]), np.full(len(sweep.lost), math.inf)]) - others
    height = np.where(np.abs(height - bowl) < NOISE * surface.noise.sd, bowl, height)
    above = np.flatnonzero((away[:, 0] > 0) & (others < NEAR))
    above = above[np.argsort(away[above, 0])]
    rising = isotonic_regression(np.minimum(height[above], LOST)).x if len(above) else np.zeros(0)
    return Climb(surface, np.concatenate([[0.0], away[above, 0]]), np.concatenate([[0.0], np.maximum(rising, 0.0)]))
