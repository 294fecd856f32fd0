"""Ladders of runs whose law of size and horizon is known: tables for laws to be fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from hptransfer.base.intervals import Array

RATIOS = (5.0, 10.0, 20.0, 40.0, 80.0)  # tokens per parameter
BUDGETS = (1e18, 3e18, 1e19, 3e19)  # training FLOPs


class Form(Protocol):
    """A law: the loss at N and D."""

    def loss(self, n: Array, d: Array) -> Array: ...


@dataclass(frozen=True)
class Truth:
    """Chinchilla's law with these parameters, which are near those of arXiv 2404.10102."""

    E: float = 1.82
    A: float = 480.0
    B: float = 2085.0
    alpha: float = 0.348
    beta: float = 0.366

    def loss(self, n: Array, d: Array) -> Array:
        """Nats per token at N parameters and D tokens."""
        return np.asarray(self.E + self.A * n**-self.alpha + self.B * d**-self.beta)

    @property
    def a(self) -> float:
        """Exponent of the best N in compute."""
        return self.beta / (self.alpha + self.beta)

    def best_size(self, flops: Any) -> Any:
        """The N of the lowest loss at 6 N D FLOPs, a number or an array."""
        g = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        return g * (flops / 6) ** self.a


TRUTH = Truth()


def runs(n: ArrayLike, d: ArrayLike, noise: float = 0.0, seed: int = 0, truth: Form = TRUTH) -> pl.DataFrame:
    """Runs of N and D (runs,) each, with relative ``noise`` in their losses: the columns of every law of them."""
    n, d = np.asarray(n, dtype=float), np.asarray(d, dtype=float)
    loss = truth.loss(n, d) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return pl.DataFrame({"row": np.arange(len(n)), "N": n, "D": d, "flops": 6 * n * d, "arm": ["all"] * len(n), "loss": loss})


def ladder(noise: float = 0.0, seed: int = 0, sizes: int = 6, ratios: Sequence[float] = RATIOS) -> pl.DataFrame:
    """Sizes of 50 million to 2 billion parameters, each with several tokens per parameter."""
    n = np.repeat(10 ** np.linspace(7.7, 9.3, sizes), len(ratios))
    return runs(n, n * np.tile(ratios, sizes), noise, seed)


def profiles(noise: float = 0.0, seed: int = 0, sizes: int = 7, span: float = 3.0) -> pl.DataFrame:
    """`BUDGETS` of FLOPs, each with sizes up to ``span`` times the best one and as far below."""
    budgets = np.repeat(BUDGETS, sizes)
    n = TRUTH.best_size(budgets) * np.tile(np.geomspace(1 / span, span, sizes), len(BUDGETS))
    return runs(n, budgets / 6 / n, noise, seed)
