"""Ladders of runs whose law is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Truth:
    """Chinchilla's law with these parameters, which are near those of arXiv 2404.10102."""

    E: float = 1.82
    A: float = 480.0
    B: float = 2085.0
    alpha: float = 0.348
    beta: float = 0.366

    def loss(self, n, d):
        return self.E + self.A * n**-self.alpha + self.B * d**-self.beta

    @property
    def a(self) -> float:
        """Exponent of the best N in compute."""
        return self.beta / (self.alpha + self.beta)

    def best_size(self, flops):
        g = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        return g * (flops / 6) ** self.a


TRUTH = Truth()


def table(n, d, noise: float = 0.0, seed: int = 0, truth: Truth = TRUTH) -> pl.DataFrame:
    """Runs of N and D with relative noise in their losses."""
    n, d = np.asarray(n, dtype=float), np.asarray(d, dtype=float)
    loss = truth.loss(n, d) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return pl.DataFrame({"row": np.arange(len(n)), "N": n, "D": d, "flops": 6 * n * d, "arm": ["all"] * len(n), "loss": loss})


def ladder(noise: float = 0.0, seed: int = 0, sizes: int = 6, ratios: Sequence[float] = (5, 10, 20, 40, 80)) -> pl.DataFrame:
    """Sizes of 50 million to 2 billion parameters, each with several tokens per parameter."""
    n = np.repeat(10 ** np.linspace(7.7, 9.3, sizes), len(ratios))
    return table(n, n * np.tile(ratios, sizes), noise, seed)


def profiles(noise: float = 0.0, seed: int = 0, sizes: int = 7, span: float = 3.0) -> pl.DataFrame:
    """Four budgets of FLOPs, each with sizes around the best one."""
    budgets = np.repeat([1e18, 3e18, 1e19, 3e19], sizes)
    n = TRUTH.best_size(budgets) * np.tile(np.geomspace(1 / span, span, sizes), 4)
    return table(n, budgets / 6 / n, noise, seed)
