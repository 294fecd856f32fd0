"""Draws of the bootstrap of a fit to few rows: errors in place of its residuals, or weights where rows err together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hptransfer.base.intervals import Array

QUARTERS = 1.349  # standard deviations of a normal distribution between its quartiles
MOST = 0.9  # leverage of a group that is told: of one that decides a coefficient by itself no error is left
SAME = 1e-10  # of the largest singular value: coefficients that the rows do not tell apart


def redrawn(residual: Array, coefficients: int, draws: int, rng: np.random.Generator) -> Array:
    """Errors (draws, n) of rows that err independently, as the residuals (n,) of a fit of so many ``coefficients`` show them.

    A fit passes through as many rows as it has coefficients, or nearly so: those residuals, the smallest, say nothing. The others
    are drawn with replacement with a Gaussian kernel of Silverman's width around them, shrunk to the variance that they have (the
    smooth bootstrap; Silverman and Young, Biometrika 74, 469, 1987), as where the Huber loss is near the absolute deviation the
    density of errors at 0 matters. Each draw is as large as n - coefficients degrees of freedom let it be: of normal errors about
    a line the intervals are Student's.
    """
    n, freedom = len(residual), len(residual) - coefficients
    told = residual[np.argsort(np.abs(residual))[coefficients:]]
    spread, quarters = float(told.std()), float(np.subtract(*np.quantile(told, [0.75, 0.25]))) / QUARTERS
    width = (4 / (3 * freedom)) ** 0.2 * min(spread, quarters)
    smooth = told[rng.integers(freedom, size=(draws, n))] + width * rng.standard_normal((draws, n))
    shrunk = spread / np.hypot(spread, width) if spread else 1.0
    return np.asarray(smooth * shrunk * np.sqrt(freedom / rng.chisquare(freedom, (draws, 1))))


def weighted(slopes: Array, group: NDArray[np.intp], draws: int, rng: np.random.Generator) -> Array:
    """Weights (draws, n) of rows that err together: one for each ``group`` (n,), 0 and up, with a mean of 1.

    ``slopes`` (n, p): derivatives of what is predicted by the coefficients, at the fit. The Bayesian bootstrap (Rubin, Ann.
    Statist. 9, 130, 1981), where weights have a variance of 1. But a fit leaves less of a group's error than there was, by 1 -
    its leverage, the largest eigenvalue of its block of the projection on the slopes. With a variance of 1 / (1 - leverage)^2
    draws vary as the jackknife over groups does (CR3: MacKinnon, Nielsen and Webb, J. Econometrics 232, 272, 2023), or more.
    """
    slopes = np.nan_to_num(slopes, posinf=0.0, neginf=0.0)  # where a fit has run off, nothing is known of what a row says
    left, size, _ = np.linalg.svd(slopes / np.maximum(np.abs(slopes).max(axis=0), 1e-300), full_matrices=False)
    told = left[:, size > SAME * size[0]]
    blocks = (told[group == k] for k in range(group.max() + 1))
    leverage = np.array([np.linalg.norm(block, 2) ** 2 for block in blocks])
    variance = np.broadcast_to((1 - np.minimum(leverage, MOST)) ** -2, (draws, len(leverage)))
    return np.asarray(rng.gamma(1 / variance, variance)[:, group])
