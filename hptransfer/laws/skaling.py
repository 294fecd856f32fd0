"""Skaling's law, L(N, D) = (A N^-alpha + B D^-beta)^k + E (arXiv 2608.07222): Chinchilla's with an exponent around both terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

import numpy as np
import polars as pl
from pydantic import Field

from hptransfer.base.intervals import Array
from hptransfer.laws.chinchilla import chinchilla_optimum, linear_amplitudes
from hptransfer.laws.law import interval
from hptransfer.laws.sizes import SizeLaw, asymptote

OUTER = (0.4, 0.7, 1.0)  # k that fits start from
EXPONENTS = (0.2, 0.4, 0.7)  # of the excess over E in N and D, that fits start from
FLOORS = (0.5, 0.8, 0.95)  # E that fits start from, over the lowest loss


class Skaling(SizeLaw):
    """With k below 1 size and data help each other more than Chinchilla's sum allows (d2 L / dN dD < 0). At k = 1 it is that law.
    The best size at a compute is Chinchilla's of the inner sum, whatever k is: the power is monotone. k and E trade off, as both
    bend the same curve: the paper finds k from .31 to .45 on Farseer's runs and its own, and near 1 on those of Chinchilla.
    ``E``: the asymptote, nats per token, where it is to be fixed."""

    name = "skaling"
    summary = "L = (A N^-alpha + B D^-beta)^k + E, Chinchilla's sum under an exponent"
    coefficients = ("a", "b", "e", "alpha", "beta", "ln k")

    E: float | None = Field(None, gt=0, description="the asymptote, where it is not fitted")

    def fixed(self, ln_n: Array, ln_d: Array) -> Mapping[int, float]:
        """The asymptote, where it is said."""
        return {} if self.E is None else {2: math.log(self.E)}

    def ln_loss(self, theta: Array, ln_n: Array, ln_d: Array) -> Array:
        """See `SizeLaw.ln_loss`."""
        a, b, e, alpha, beta, ln_k = theta.T[:, :, None]
        inner = np.log(np.exp(a - alpha * ln_n) + np.exp(b - beta * ln_d))
        return np.asarray(np.log(np.exp(np.exp(ln_k) * inner) + np.exp(e)))

    def starts(self, ln_n: Array, ln_d: Array, loss: Array) -> Array:
        """At each k and E the amplitudes of the inner sum, a linear problem in (L - E)^(1/k)."""
        found = []
        for k, floor, alpha, beta in product(OUTER, FLOORS, EXPONENTS, EXPONENTS):
            inner = (loss - floor * loss.min()) ** (1 / k)
            a, b = linear_amplitudes(np.exp(-alpha / k * ln_n), np.exp(-beta / k * ln_d), target=inner)
            found.append([a, b, math.log(floor * loss.min()), alpha / k, beta / k, math.log(k)])
        return np.array(found)

    def ln_optimum(self, theta: Array, ln_flops: float) -> Array:
        """Closed: see `chinchilla_optimum`."""
        return chinchilla_optimum(theta[:, [0, 1, 3, 4]], ln_flops - math.log(self.flops_factor))

    def named(self, theta: Array) -> dict[str, Array]:
        """``a`` and ``b`` are the exponents of the optimal N and D in compute."""
        a, b, e, alpha, beta, ln_k = theta.T
        amplitudes = {"E": np.exp(e), "A": np.exp(a), "B": np.exp(b), "k": np.exp(ln_k)}
        return amplitudes | {"alpha": alpha, "beta": beta, "a": beta / (alpha + beta), "b": alpha / (alpha + beta)}

    def notes(self, theta: Array, table: pl.DataFrame) -> tuple[str, ...]:
        """What was not fitted, and what the rows do not tell apart."""
        found, k = asymptote(np.exp(theta[:, 2]), self.E, table), interval(np.exp(theta[:, 5]))
        if k.holds(1):
            found.append("k may be 1: these runs do not tell this law from Chinchilla's, which has one parameter less")
        return tuple(found)
