"""AdamW that is stopped early, of many fits at once: how a law is fitted whose authors publish no minimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hptransfer.base.intervals import Array
from hptransfer.laws.least import CORES

BETAS, EPSILON, DECAY = (0.9, 0.999), 1e-8, 0.01  # torch's defaults
SIDE_BY_SIDE = 32  # fits at once: what stays in a CPU's cache

Slope = Callable[[Array, slice], tuple[Array, Array]]  # parameters of some of the fits -> objective (fits,), gradient (fits, p)


def stopped_early(slope: Slope, starts: Array, rates: Array, *, steps: int, patience: int) -> Array:
    """The parameters (fits, p) one step after the lowest objective that AdamW meets from ``starts``, with a learning rate for
    each parameter (p,), in at most ``steps``, or until ``patience`` of them have brought nothing lower."""
    size = max(1, min(SIDE_BY_SIDE, math.ceil(len(starts) / CORES)))

    def part(first: int) -> Array:
        return _descend(slope, starts, slice(first, first + size), rates, steps, patience)

    with ThreadPoolExecutor(CORES) as pool:
        return np.concatenate(list(pool.map(part, range(0, len(starts), size))))


@np.errstate(all="ignore")  # a fit whose numbers end stays at its best
def _descend(slope: Slope, starts: Array, fits: slice, rates: Array, steps: int, patience: int) -> Array:
    theta = starts[fits].copy()
    best, lowest, calm = theta.copy(), np.full(len(theta), math.inf), np.zeros(len(theta), dtype=int)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for step in range(1, steps + 1):
        value, gradient = slope(theta, fits)
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        moved = first / (1 - BETAS[0] ** step) / (np.sqrt(second / (1 - BETAS[1] ** step)) + EPSILON)
        theta = theta * (1 - DECAY * rates) - rates * moved
        lower = (value < lowest) & (calm < patience)
        best[lower], lowest[lower] = theta[lower], value[lower]
        calm = np.where(lower, 0, calm + 1)
        if (calm >= patience).all():
            break
    return best
