"""Sweeps of known truth: the optimum moves as width^gamma exactly, and everything else about the surface is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hptransfer.transfer.sweep import Array, Sweep, gather


@dataclass(frozen=True)
class Known:
    sweep: Sweep
    gamma: float
    kind: str

    def optimum(self, width: float) -> float:
        """ln lr*."""
        return math.log(0.01) + self.gamma * math.log(width / 64)


KINDS = ("symmetric", "skewed", "noisy", "edges", "diverged")


def draw(seed: int, kind: str | None = None) -> Known:
    """A sweep over three or four widths and a grid of LRs, its shape and gamma drawn."""
    rng = np.random.default_rng(seed)
    kind = kind or KINDS[seed % len(KINDS)]
    gamma = rng.uniform(-1.0, 0.5)
    widths = 64.0 * 2.0 ** np.arange(rng.integers(3, 5))
    curvature = math.exp(rng.uniform(math.log(0.005), math.log(0.03)))
    skew = {"symmetric": 1.0}.get(kind, math.exp(rng.uniform(-0.4, 0.5)))
    noise = math.exp(rng.uniform(math.log(5e-4), math.log(2e-3))) * (4 if kind == "noisy" else 1)
    known = Known(sweep=None, gamma=gamma, kind=kind)  # type: ignore[arg-type]
    x, h, loss = [], [], []
    for width in widths:
        centre = known.optimum(width) + rng.uniform(-0.4, 0.4)
        grid = centre + math.log(math.sqrt(2)) * np.arange(-6, 7)
        if kind == "edges":  # the optimum within one step of the grid's end
            grid = known.optimum(width) + math.log(math.sqrt(2)) * (np.arange(-1, 9) + rng.uniform(-0.4, 0.4))
        u = grid - known.optimum(width)
        y = math.log(2.0) - 0.1 * math.log(width / 64) + bowl(u, curvature, skew) + noise * rng.standard_normal(len(grid))
        value = np.exp(y)
        if kind == "diverged":
            value[u > rng.uniform(0.2, 1.5)] = math.nan
        x += [math.log(width)] * len(grid)
        h += grid.tolist()
        loss += value.tolist()
    sweep, _ = gather(["width"], ["lr"], np.array(x)[:, None], np.array(h)[:, None], np.array(loss))
    return Known(sweep=sweep, gamma=gamma, kind=kind)


def bowl(u: Array, curvature: float, skew: float) -> Array:
    """Grows faster than a parabola far below the optimum, as real ones do: the fit's own shape is not the truth's."""
    v = np.where(u > 0, skew * u, u)
    return np.asarray(curvature * v**2 * (1 + 0.05 * v**2))
