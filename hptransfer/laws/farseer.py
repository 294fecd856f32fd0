"""Farseer's law (Li et al., arXiv 2506.10972, equation 5): the exponent and amplitude of the data term move with the size.

L(N, D) = exp(a3 N^gamma + b3) + exp(a2 N^beta + b2) D^(-exp(a1 N^alpha + b1))
"""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import Array
from hptransfer.laws.chinchilla import Chinchilla
from hptransfer.laws.isoflop import line
from hptransfer.laws.sizes import SizeFitted, SizeLaw

POWERS = (-0.8, -0.4, -0.2, -0.1, 0.1, 0.2, 0.4, 0.8)  # of N that the differential fit begins with, and its bounds
STARTS = (-0.15, 0.15)  # powers that direct fits start from
EVEN = 1.05  # largest quotient of two steps of ln D that count as one
MIDDLE = math.log(1e9)  # ln N about which coefficients are written: near the data, so that they are nearly independent


class Farseer(SizeLaw):
    """Fitted to ln loss as all laws of N and D (``fit_by: direct``), or piece by piece as its authors do (``differential``): the
    differences of the loss between neighbouring D give exponent and amplitude at each N, these give their powers of N, and what
    they leave gives the term of N alone. The differential fit needs the same few steps of D at every N.

    Coefficients are the value at N = 1e9 of each of the three functions of N, its slope in ln N there, and its power:
    f(N) = c + s ((N/1e9)^p - 1) / p, which is a N^p + b with another a and b, and stays a number where p goes to 0.
    N is without embeddings in the paper.
    """

    name = "farseer"
    summary = "L = exp(a3 N^gamma + b3) + exp(a2 N^beta + b2) D^-exp(a1 N^alpha + b1)"
    coefficients = ("c1", "s1", "alpha", "c2", "s2", "beta", "c3", "s3", "gamma")

    fit_by: Literal["direct", "differential"] = "direct"

    def ln_loss(self, theta: Array, ln_n: Array, ln_d: Array) -> Array:
        """See `SizeLaw.ln_loss`."""
        sizes, at = np.unique(ln_n, return_inverse=True) if ln_n.ndim == 1 else (ln_n, np.arange(ln_n.shape[1]))
        ln_exponent, ln_amplitude, ln_floor = (_bent(theta[:, 3 * k : 3 * k + 3], sizes) for k in range(3))
        exponent, floor = np.exp(ln_exponent)[:, at], np.exp(ln_floor)[:, at]
        return np.asarray(np.log(floor + np.exp(ln_amplitude[:, at] - exponent * ln_d)))

    def starts(self, ln_n: Array, ln_d: Array, loss: Array) -> Array:
        """Chinchilla's best starts, at each sign of the powers."""
        plain = Chinchilla()
        rows = plain.starts(ln_n, ln_d, loss)
        misfit = ((plain.ln_loss(rows, ln_n, ln_d) - np.log(loss)) ** 2).sum(axis=1)
        found = []
        for a, b, e, alpha, beta in rows[np.argsort(misfit)[:4]]:
            size = math.exp(a - alpha * MIDDLE)
            floor = math.exp(e) + size
            for p1, p2, p3 in product(STARTS, repeat=3):
                found.append([math.log(beta), 0.0, p1, b, 0.0, p2, math.log(floor), -alpha * size / floor, p3])
        return np.array(found)

    def named(self, theta: Array) -> dict[str, Array]:
        """In the paper's names and raw counts."""
        found: dict[str, Array] = {}
        for k, power in enumerate(("alpha", "beta", "gamma")):
            c, s, p = theta[:, 3 * k : 3 * k + 3].T
            p = np.where(np.abs(p) < 1e-6, 1e-6, p)
            found |= {f"a{k + 1}": s / p * np.exp(-p * MIDDLE), power: p, f"b{k + 1}": c - s / p}
        return found

    def fit(self, table: pl.DataFrame) -> SizeFitted:
        """See `Law.fit`."""
        if self.fit_by == "direct":
            return super().fit(table)
        pieces = _pieces(table)
        best = _differential(pieces, pieces.loss)
        ln_n, ln_d = pieces.ln_n[pieces.size], pieces.ln_d
        fit = self.ln_loss(best[None], ln_n, ln_d)[0]
        left, rng = np.log(pieces.loss) - fit, np.random.default_rng(self.seed)
        theta = [best]
        for _ in range(self.draws):
            theta.append(_differential(pieces, np.exp(fit + rng.choice(left, len(left))), start=best[[2, 5]], exact=1e-3))
        return self.fitted(np.array(theta), table)


def coefficients_of(a: Array, powers: Array, b: Array) -> Array:
    """The coefficients (1, 9) of functions a_k N^p_k + b_k, each (3,): of the exponent, the amplitude and the floor."""
    grown = a * np.exp(powers * MIDDLE)
    return np.column_stack([grown + b, grown * powers, powers]).reshape(1, 9)


# Equation 15 of the paper, as printed: three digits.
PRINTED = coefficients_of(np.array([-0.124, 88.01, -0.021]), np.array([0.123, -0.1, 0.169]), np.array([0.424, -6.287, -0.091]))


def _bent(theta: Array, ln_n: Array) -> Array:
    """c + s ((N/1e9)^p - 1) / p (fits, rows) of (fits, 3)."""
    c, s, p = theta.T[:, :, None]
    t = ln_n - MIDDLE
    with np.errstate(all="ignore"):
        return np.asarray(c + s * np.where(np.abs(p * t) < 1e-8, t, np.expm1(p * t) / np.where(p == 0, 1.0, p)))


# -- the differential fit ----------------------------------------------------------------------------------------------


class _Pieces:
    """Runs in order: ``size`` (rows,) is the place of their N in ``ln_n``; ``first`` are rows that the next D, a ``step`` of ln D
    away, follows."""

    def __init__(self, ln_n: Array, size: NDArray[np.intp], ln_d: Array, loss: Array, step: float) -> None:
        self.ln_n, self.size, self.ln_d, self.loss, self.step = ln_n, size, ln_d, loss, step
        same = self.size[1:] == self.size[:-1]
        even = np.abs(np.diff(ln_d) / step - 1) < EVEN - 1
        self.first = np.flatnonzero(same & even)


def _pieces(table: pl.DataFrame) -> _Pieces:
    ordered = table.group_by("N", "D").agg(pl.col("loss").mean()).sort("N", "D")
    ln_n, size = np.unique(np.log(ordered["N"].to_numpy()), return_inverse=True)
    ln_d = np.log(ordered["D"].to_numpy())
    steps = np.diff(ln_d)[np.diff(size) == 0]
    found = _Pieces(ln_n, size.astype(np.intp), ln_d, ordered["loss"].to_numpy(), float(np.median(steps)) if len(steps) else 1.0)
    counts = np.bincount(found.size[found.first], minlength=len(ln_n))
    if len(ln_n) < 4 or (counts < 3).any():
        raise CheckFailed(
            "law farseer: the differential fit needs 4 or more sizes, each with 4 or more D at equal steps of ln D; "
            "fit_by=direct takes any"
        )
    return found


def _differential(pieces: _Pieces, loss: Array, start: Array | None = None, exact: float = 1e-6) -> Array:
    """The coefficients (9,) of the piecewise fit (section 4 of the paper), its powers ``exact`` to that. ``start``: where the
    powers of exponent and amplitude are looked for."""
    first, size, count = pieces.first, pieces.size[pieces.first], len(pieces.ln_n)
    fall, ln_d = loss[first] - loss[first + 1], pieces.ln_d[first]
    known = fall > 0
    exponent, amplitude = np.empty(count), np.empty(count)
    for k in range(count):
        at = known & (size == k)
        slope, level = np.polyfit(ln_d[at], np.log(fall[at]), 1) if at.sum() > 1 else (-0.3, 0.0)
        exponent[k] = max(-slope, 1e-3)
        amplitude[k] = level - math.log(-math.expm1(-exponent[k] * pieces.step))
    functions = (np.log(exponent), amplitude)

    def missed(powers: Array) -> float:
        """Of the falls, by the two functions of N with these powers."""
        ln_exponent, ln_amplitude = (
            _bent(_line_of(pieces.ln_n, values, power)[None], pieces.ln_n)[0][size]
            for values, power in zip(functions, powers, strict=True)
        )
        own = np.exp(ln_exponent)
        return float(((fall - np.exp(ln_amplitude - own * ln_d) * -np.expm1(-own * pieces.step)) ** 2).sum())

    if start is None:
        start = np.array(min(product(POWERS, repeat=2), key=lambda powers: missed(np.array(powers))))
    powers = minimize(missed, start, method="Nelder-Mead", options={"xatol": exact, "fatol": math.inf, "maxiter": 200}).x
    first_two = [_line_of(pieces.ln_n, values, power) for values, power in zip(functions, powers, strict=True)]
    ln_exponent, ln_amplitude = (_bent(one[None], pieces.ln_n)[0][pieces.size] for one in first_two)
    rest = loss - np.exp(ln_amplitude - np.exp(ln_exponent) * pieces.ln_d)
    ln_floor = np.log(np.maximum(np.bincount(pieces.size, rest) / np.bincount(pieces.size), 1e-3))

    def left(power: float) -> float:
        return float(((_bent(_line_of(pieces.ln_n, ln_floor, power)[None], pieces.ln_n)[0] - ln_floor) ** 2).sum())

    last = minimize_scalar(left, bounds=(POWERS[0], POWERS[-1]), method="bounded", options={"xatol": exact}).x
    return np.concatenate([*first_two, _line_of(pieces.ln_n, ln_floor, last)])


def _line_of(ln_n: Array, values: Array, power: float) -> Array:
    """The coefficients (3,) of least squares at a power of N, of values (sizes,)."""
    x = _bent(np.array([[0.0, 1.0, power]]), ln_n)[0]
    slope, level = line(x, values[None])[::-1]
    return np.array([level[0] - slope[0] * x.mean(), slope[0], power])
