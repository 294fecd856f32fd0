"""Chinchilla's parametric law, L(N, D) = E + A N^-alpha + B D^-beta (Hoffmann et al., arXiv 2203.15556, approach 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field
from scipy.optimize import nnls

from hptransfer.base.intervals import Array
from hptransfer.laws.sizes import THRESHOLD, SizeLaw, asymptote

EXPONENTS = np.linspace(0.1, 1.0, 7)  # that fits start from
LEAST_SHARE = 1e-3  # of the target, that a term starts with: an amplitude must have a logarithm
SHARPENED = (1e-4, 1e-5, 1e-6)  # thresholds after the plain one, on the way to absolute deviations


class Chinchilla(SizeLaw):
    """Approach 3 of arXiv 2203.15556 as it was mended by Besiroglu et al. (arXiv 2404.10102): the sum, not the mean, of Huber
    losses.

    ``estimator``: Epoch has two. ``huber`` minimises the Huber loss with its threshold of 1e-3 (their text). ``likelihood`` is
    what their notebook and their printed values are: a Huber density whose scale is fitted too. Its threshold then falls to 1e-8,
    far below any residual, so that it is the least absolute deviation of ln loss. ``E``: the asymptote, nats per token, where it
    is to be fixed.
    """

    name = "chinchilla"
    summary = (
        "L = E + A N^-alpha + B D^-beta, approach 3 of Hoffmann et al. as mended by Besiroglu et al.; "
        "the best N goes as C^a, the best D as C^b"
    )
    coefficients = ("a", "b", "e", "alpha", "beta")

    estimator: Literal["huber", "likelihood"] = "huber"
    E: float | None = Field(None, gt=0, description="the asymptote, where it is not fitted")

    @property
    def thresholds(self) -> tuple[float, ...]:
        """See `SizeLaw.thresholds`."""
        return (THRESHOLD, *SHARPENED) if self.estimator == "likelihood" else (THRESHOLD,)

    def fixed(self, ln_n: Array, ln_d: Array) -> Mapping[int, float]:
        """The asymptote, where it is said."""
        return {} if self.E is None else {2: math.log(self.E)}

    def notes(self, theta: Array, table: pl.DataFrame) -> tuple[str, ...]:
        """Which estimator, and what was not fitted."""
        estimator = "Huber loss of ln loss, threshold 1e-3"
        if self.estimator == "likelihood":
            estimator = "Epoch's Huber likelihood with a scale of its own: least absolute deviations of ln loss"
        return (f"estimator: {estimator}", *asymptote(np.exp(theta[:, 2]), self.E, table))

    def ln_loss(self, theta: Array, ln_n: Array, ln_d: Array) -> Array:
        """Log-sum-exp of the three terms."""
        a, b, e, alpha, beta = theta.T[:, :, None]
        return np.asarray(np.log(np.exp(a - alpha * ln_n) + np.exp(b - beta * ln_d) + np.exp(e)))

    def starts(self, ln_n: Array, ln_d: Array, loss: Array) -> Array:
        """At each pair of exponents the amplitudes that are best there: a linear problem (variable projection, Golub and Pereyra,
        SIAM J. Numer. Anal. 10, 413, 1973) with relative errors, and none below 0."""
        one = np.ones_like(loss)
        found = []
        for alpha, beta in product(EXPONENTS, repeat=2):
            amplitudes = linear_amplitudes(np.exp(-alpha * ln_n), np.exp(-beta * ln_d), one, target=loss)
            found.append([*amplitudes, alpha, beta])
        return np.array(found)

    def ln_optimum(self, theta: Array, ln_flops: float) -> Array:
        """Closed: see `chinchilla_optimum`."""
        return chinchilla_optimum(theta[:, [0, 1, 3, 4]], ln_flops - math.log(self.flops_factor))

    def named(self, theta: Array) -> dict[str, Array]:
        """``a`` and ``b`` are the exponents of the optimal N and D in compute."""
        a, b, e, alpha, beta = theta.T
        total = alpha + beta
        amplitudes = {"E": np.exp(e), "A": np.exp(a), "B": np.exp(b)}
        return amplitudes | {"alpha": alpha, "beta": beta, "a": beta / total, "b": alpha / total}


def linear_amplitudes(*terms: Array, target: Array) -> Array:
    """ln of the amplitudes (terms,), none below 0, with which the terms (rows,) sum to the target (rows,) with the least relative
    errors."""
    stacked = np.stack(terms, axis=1)
    largest = stacked.max(axis=0)
    share = nnls(stacked / largest / target[:, None], np.ones_like(target))[0]
    return np.asarray(np.log(np.maximum(share, LEAST_SHARE * target.min()) / largest))


def chinchilla_optimum(theta: Array, ln_nd: float) -> Array:
    """ln N (fits,) where A N^-alpha + B D^-beta is least along ln N + ln D = ``ln_nd``, of (ln A, ln B, alpha, beta) (fits, 4):
    N = G (N D)^a with a = beta / (alpha + beta) (arXiv 2203.15556, equation 4). nan where an exponent is not positive."""
    a, b, alpha, beta = theta.T
    with np.errstate(all="ignore"):
        ln_g = (np.log(alpha) + a - np.log(beta) - b) / (alpha + beta)
        return np.asarray(ln_g + beta / (alpha + beta) * ln_nd)
