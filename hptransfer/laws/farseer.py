"""Farseer's law (Li et al., arXiv 2506.10972, equation 3): the exponent and amplitude of the data term move with the size.

L(N, D) = exp(a3 N^gamma + b3) + exp(a2 N^beta + b2) D^(-exp(a1 N^alpha + b1))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Literal

import numpy as np
import polars as pl

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import Array, Interval
from hptransfer.laws.chinchilla import linear_amplitudes
from hptransfer.laws.columns import ln_of
from hptransfer.laws.differential import differential, rising_steps, stretched
from hptransfer.laws.law import intervals
from hptransfer.laws.sizes import SizeFitted, SizeLaw

EXPONENTS = (0.15, 0.3, 0.45, 0.6, 0.8)  # of D, that fits start from
SLOPES = (0.02, 0.1, 0.3)  # with which the term without D falls along ln N
RISES = (-0.3, 0.0, 0.3)  # of the term with D along ln N
NAMES = ("alpha", "beta", "gamma")
FEW_SIZES = 6
WORSE, EXACT = 2.0, 1e-4  # a piecewise fit as many times worse than the direct one is refused, from that error on
STOPS = 0.97  # a power that a fit does not find goes to 1
NARROWEST = 0.25  # shape of the weights of a bootstrap
NO_POWER = 1e-6  # a power nearer to 0 has no numbers a and b of its own


Published = tuple[tuple[tuple[float, float, float], ...], float]


class Farseer(SizeLaw):
    """Fitted to ln loss as all laws of N and D (``fit_by: direct``), or piece by piece as its authors do (``differential``, see
    `hptransfer.laws.differential`).

    It has no constant asymptote, and its optimum at a compute is a local one: at far fewer tokens than any run had, the term of N
    alone is left, and where gamma is positive that falls below every optimum. From some compute on there is no optimum at all;
    the notes say where, and `optimal` leaves these out. Coefficients in three digits, as printed, end at 6.6e22 FLOPs.

    Coefficients are c, s and artanh p of three functions of N, f(N) = c + s ((N/N0)^p - 1) / p, which are the paper's a N^p + b
    with another a and b and stay numbers where p goes to 0: the logarithms of the exponent of D, of the term with D at D0, and of
    the term without D. N0 and D0 are the middle of the table, about which c and s are nearly independent. Powers are between -1
    and 1. N is without embeddings in the paper, and D in tokens: in another unit of D it is another law.
    """

    name = "farseer"
    summary = "L = exp(a3 N^gamma + b3) + exp(a2 N^beta + b2) D^-exp(a1 N^alpha + b1)"
    coefficients = ("c1", "s1", "artanh alpha", "c2", "s2", "artanh beta", "c3", "s3", "artanh gamma", "ln N0", "ln D0")
    sizes = 4  # each function of N has three coefficients

    fit_by: Literal["direct", "differential"] = "direct"

    def fixed(self, ln_n: Array, ln_d: Array) -> Mapping[int, float]:
        """The middle of the table."""
        return {9: float(ln_n.mean()), 10: float(ln_d.mean())}

    def ln_loss(self, theta: Array, ln_n: Array, ln_d: Array) -> Array:
        """See `SizeLaw.ln_loss`."""
        sizes, at = np.unique(ln_n, return_inverse=True) if ln_n.ndim == 1 else (ln_n, np.arange(ln_n.shape[1]))
        apart = sizes - theta[:, 9, None]
        exponent, amplitude, floor = (stretched(shape, apart)[:, at] for shape in _shapes(theta))
        with np.errstate(all="ignore"):
            return np.asarray(np.logaddexp(floor, amplitude - np.exp(exponent) * ln_d))

    def starts(self, ln_n: Array, ln_d: Array, loss: Array) -> Array:
        """Powers of N in both terms and a constant exponent of D, with the amplitudes that are best there."""
        n0, d0 = self.fixed(ln_n, ln_d).values()
        found = []
        for exponent, slope, rise in product(EXPONENTS, SLOPES, RISES):
            terms = np.exp(rise * (ln_n - n0) - exponent * (ln_d - d0)), np.exp(-slope * (ln_n - n0))
            amplitude, floor = linear_amplitudes(*terms, target=loss)
            found.append([math.log(exponent), 0.0, 0.0, amplitude, rise, 0.0, floor, -slope, 0.0, n0, d0])
        return np.array(found)

    def drawn(self, runs: int) -> Array:
        """With a variance of n / (n - p): nine coefficients leave less in the residuals of n runs than was there. With a variance
        of 1 the intervals held 66 to 76 of 100 truths."""
        shape = max(1 - 9 / runs, NARROWEST)
        return np.random.default_rng(self.seed).gamma(shape, 1 / shape, size=(self.draws, runs))

    def solve(self, table: pl.DataFrame, weights: Array) -> Array:
        """See `SizeLaw.solve`."""
        if self.fit_by == "direct":
            return super().solve(table, weights)
        middle = self.fixed(*ln_of(table, "N", "D"))
        exponent, amplitude, floor = differential(table, weights, middle[9])
        own = np.exp(exponent[:, 0]) * middle[10]  # to D0 from D = 1
        amplitude = amplitude - np.stack([own, own * exponent[:, 1], np.zeros_like(own)], axis=1)
        parts = [np.column_stack([one[:, :2], np.arctanh(one[:, 2])]) for one in (exponent, amplitude, floor)]
        theta = np.column_stack([*parts, np.tile([*middle.values()], (len(weights), 1))])
        error, direct = (self._error(one[:1], table) for one in (theta, super().solve(table, weights[:1])))
        if not error <= WORSE * direct + EXACT:
            raise CheckFailed(
                f"the differential fit is off by {error:.2%} of the loss on the runs that it was fitted to, the direct fit by "
                f"{direct:.2%}: too few sizes and D for it, or falls from one D to the next below the noise; take fit_by=direct"
            )
        return theta

    def _error(self, theta: Array, table: pl.DataFrame) -> float:
        """Mean error, relative to the loss."""
        predicted = self.ln_loss(theta, *ln_of(table, "N", "D"))[0]
        return float(np.abs(np.exp(predicted) / table["loss"].to_numpy() - 1).mean())

    def named(self, theta: Array) -> dict[str, Array]:
        """In the paper's names and raw counts."""
        found: dict[str, Array] = {}
        for k, shape in enumerate(_shapes(theta)):
            c, s, p = shape.T
            p = np.where(np.abs(p) < NO_POWER, NO_POWER, p)
            found |= {f"a{k + 1}": s / p * np.exp(-p * theta[:, 9]), NAMES[k]: p, f"b{k + 1}": c - s / p}
        return found

    def fitted(self, theta: Array, table: pl.DataFrame) -> SizeFitted:
        """See `SizeLaw.fitted`. Where a power may be 0, a and b of its function have no bounds: either may have any sign."""
        found = super().fitted(theta, table)
        open_ended = [f"{letter}{k}" for k, name in enumerate(NAMES, 1) if found.parameters[name].holds(0) for letter in "ab"]
        bounded = {
            name: Interval(value=one.value, low=None, high=None) if name in open_ended else one
            for name, one in found.parameters.items()
        }
        return replace(found, parameters=bounded)

    def notes(self, theta: Array, table: pl.DataFrame) -> tuple[str, ...]:
        """How it was fitted, and what the rows do not tell apart."""
        found = [f"fitted by the {self.fit_by} fit"]
        if self.fit_by == "differential" and (lost := rising_steps(table)):
            found[0] += f"; left out: {lost} steps of D along which the loss does not fall"
        named = intervals(self.named(theta))
        for k, name in enumerate(NAMES, 1):
            if abs(named[name].value) > STOPS:
                found.append(f"{name} is at the end of its range: these runs do not show how its function of N bends")
            elif named[name].holds(0):
                found.append(f"{name} may be 0, a plain power of N: a{k} and b{k} are no numbers of their own then")
        if (count := table["N"].n_unique()) < FEW_SIZES:
            found.append(f"{count} sizes decide functions of N with three coefficients each: other sizes may be far off")
        return tuple(found)


def _shapes(theta: Array) -> list[Array]:
    """c, s and p (fits, 3) of the logarithms of the exponent of D, of the term with D at D = 1, and of the term without it."""
    c1, s1, x1, c2, s2, x2, c3, s3, x3, _, ln_d0 = theta.T
    own = np.exp(c1) * ln_d0
    shapes = (c1, s1, x1), (c2 + own, s2 + own * s1, x2), (c3, s3, x3)
    return [np.column_stack([c, s, np.tanh(x)]) for c, s, x in shapes]


# -- what is published -------------------------------------------------------------------------------------------------

# a, power and b of exponent, amplitude and floor, with N in units of ``unit``; losses are bits per character.
PRINTED: Published = (((-0.124, 0.123, 0.424), (88.01, -0.1, -6.287), (-0.021, 0.169, -0.091)), 1.0)  # equation 15 of the paper
# Least squares of ln loss on its 404 public runs (github.com/yigitokar/scaling-laws-as-production-functions,
# data/processed/m3_wedge/farseer_eq3_theta.csv; its code counts N in 1e9 and D in tokens).
REFIT: Published = (
    (
        (-3.64018052694574, 0.04227158138097161, 2.426767169414907),
        (6.521067537526011, -0.12577666979396562, -1.8538051793707684),
        (-2.0823163727130565, 0.05307598573983473, 1.277014316755749),
    ),
    1e9,
)
RUNS, LARGEST = 404, 6 * 6.37e9 * 5.12e11  # public runs of the paper, and training FLOPs of the largest


def published(which: Published) -> SizeFitted:
    """`PRINTED` or `REFIT` as a law without intervals. The three printed digits are too few for allocation: they have no optimum
    from 6.6e22 FLOPs on, where the refit goes on, and the two differ by 2.5 to 3.5 % of the loss."""
    functions, unit = which
    columns, n0, d0 = [], math.log(1e9), math.log(1e11)
    for a, p, b in functions:
        grown = a * (math.exp(n0) / unit) ** p
        columns += [grown + b, grown * p, math.atanh(p)]
    own = math.exp(columns[0]) * d0
    columns[3], columns[4] = columns[3] - own, columns[4] - own * columns[1]
    law, theta = Farseer(), np.array([[*columns, n0, d0]])
    notes = ("published coefficients; losses are bits per character", *law.endless(theta, math.log(LARGEST)))
    return SizeFitted(law, intervals(law.named(theta)), RUNS, notes=notes, theta=theta)
