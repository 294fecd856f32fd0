"""Draws of the bootstrap of rows that err together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hptransfer.base.intervals import Array

MOST = 0.9  # leverage of a group that is told: of one that decides a coefficient by itself no error is left
SAME = 1e-10  # of the largest singular value: coefficients that the rows do not tell apart


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
