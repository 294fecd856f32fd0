"""How the best hyperparameters move with scale: theory, a line that corrects it, and a wander about the line.

    ln hp*(x) = theory(x) + level + correction . (x - centre) + wander(x),   x = ln scale

Level is free; the correction has a heavy-tailed prior at 0, so that data decide where they are clear; the wander is Brownian
in the distance between scales, so that near cells say more than far ones and intervals widen with extrapolation. Given the
size of the correction all is Gaussian (universal kriging with a linear variogram), and that size is averaged over its prior
by likelihood: there is nothing to sample and no iteration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from hptransfer.base.intervals import TAIL, Array

# Prior of the correction, in units of an exponent d ln hp / d ln scale: Student t with heavy tails. Published muP sweeps
# drift by a few hundredths, seldom by 0.3; exponents of published laws lie between -1 and 1.
KNOWN, UNKNOWN = 0.1, 1.0
TAILS = 3.0  # degrees of freedom of the t
# Wander of an optimum over one e-fold of scale, standard deviation in ln. 0.1 to 0.2 predict alike on the public sweeps; 0.1
# is the one whose intervals hold as often as they say there (docs/your-own-sweeps.md).
WANDER = 0.1
POINTS = 7  # quantiles that stand for the prior
FREE = 100.0  # prior variance of the level: nothing is known about it
RESOLUTION = 0.01  # ln; no optimum is known better


@dataclass(frozen=True)
class Measured:
    """Optima (cells, hyperparameters) in ln, with the covariance of ``optimum.ravel()`` and the degrees of freedom of that."""

    optimum: Array
    covariance: Array
    dof: float = math.inf


@dataclass(frozen=True)
class Theory:
    """What a theory says of the optimum, ln and up to a constant: (cells, hyperparameters), and in the last row at the target."""

    name: str
    at: Array


@dataclass(frozen=True)
class Line:
    """The straight line through the optima alone, no prior: exponents (scales, hyperparameters) with 80 % intervals; nan for a
    scale that does not vary."""

    exponent: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Law:
    """The optimum at the target: ``value`` and draws from its posterior (draws, hyperparameters), ln. ``exponent`` (scales,
    hyperparameters) is the posterior mean of the trend without theory's own; ``weights`` are those of the theories."""

    value: Array
    draws: Array
    exponent: Array
    weights: Array

    @property
    def low(self) -> Array:
        """Lower end of the 80 % interval, which holds the value."""
        return np.asarray(np.minimum(np.quantile(self.draws, TAIL, axis=0), self.value))

    @property
    def high(self) -> Array:
        return np.asarray(np.maximum(np.quantile(self.draws, 1 - TAIL, axis=0), self.value))


def fit_law(
    x: Array,
    measured: Measured,
    x_target: Array,
    theories: Sequence[Theory],
    prior: Array,
    *,
    draws: int,
    rng: np.random.Generator,
) -> Law:
    """The law through cells at x (cells, scales), at x_target (scales,).

    ``theories`` compete by likelihood; ``prior`` (scales,) is the scale of the correction's prior, in exponents, for each
    scale.
    """
    cells, k = measured.optimum.shape
    seen = cells * k
    points = np.vstack([x, x_target]) - x.mean(axis=0)
    reach = np.linalg.norm(points, axis=1)
    # Brownian from the centre: independent increments, variance 1 per unit of distance.
    brownian = (reach[:, None] + reach - np.linalg.norm(points[:, None] - points, axis=2)) / 2
    steep = points * prior
    shares = (np.arange(POINTS) + 0.5) / POINTS
    spreads = TAILS / stats.chi2.ppf(shares, TAILS)  # the t's variance given its mixing variable
    noise = measured.covariance + RESOLUTION**2 * np.eye(seen)

    likelihoods, means, roots, exponents = [], [], [], []
    for theory, spread in product(theories, spreads):
        off = measured.optimum - theory.at[:cells]
        centre = off.mean(axis=0)
        kernel = np.kron(FREE + spread * (steep @ steep.T) + WANDER**2 * brownian, np.eye(k))
        factor = np.linalg.cholesky(kernel[:seen, :seen] + noise)
        white = np.linalg.solve(factor, (off - centre).ravel())
        across = np.linalg.solve(factor, kernel[:seen, seen:])
        variance = kernel[seen:, seen:] - across.T @ across
        likelihoods.append(-0.5 * white @ white - np.sum(np.log(np.diag(factor))))
        means.append(theory.at[cells] + centre + across.T @ white)
        roots.append(np.linalg.cholesky(variance + 1e-12 * np.eye(k)))
        towards = np.linalg.solve(factor.T, white).reshape(cells, k)
        exponents.append(spread * prior[:, None] * (steep[:cells].T @ towards))
    weight = np.exp(np.array(likelihoods) - max(likelihoods))
    weight /= weight.sum()
    chosen = rng.choice(len(weight), draws, p=weight)
    scatter = np.einsum("nij,nj->ni", np.array(roots)[chosen], rng.standard_normal((draws, k)))
    return Law(
        value=weight @ np.array(means),
        draws=np.array(means)[chosen] + scatter,
        exponent=np.tensordot(weight, np.array(exponents), 1),
        weights=weight.reshape(len(theories), -1).sum(axis=1),
    )


def fit_line(x: Array, measured: Measured, *, draws: int, rng: np.random.Generator) -> Line:
    """The line through the optima at x (cells, scales) by generalised least squares, over the scales that vary. Where the optima
    scatter about it more than their errors explain (at 1 %), the errors are taken larger by as much."""
    vary = np.ptp(x, axis=0) > 0
    k = measured.optimum.shape[1]
    design = np.kron(np.column_stack([np.ones(len(x)), x[:, vary]]), np.eye(k))
    precision = np.linalg.inv(measured.covariance + 1e-12 * np.eye(len(design)))
    covariance = np.linalg.pinv(design.T @ precision @ design)
    line = covariance @ design.T @ precision @ measured.optimum.ravel()
    left, dof = measured.optimum.ravel() - design @ line, len(design) - design.shape[1]
    scatter = float(left @ precision @ left)
    if dof > 0 and scatter > stats.chi2.ppf(0.99, dof):
        covariance = covariance * scatter / dof
    tails = 1.0 if math.isinf(measured.dof) else np.sqrt(measured.dof / rng.chisquare(measured.dof, (draws, 1)))
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(line)))
    drawn = line + tails * (rng.standard_normal((draws, len(line))) @ root.T)
    result = [np.full((x.shape[1], k), math.nan) for _ in range(3)]
    for out, flat in zip(result, (line, *np.quantile(drawn, [TAIL, 1 - TAIL], axis=0)), strict=True):
        out[vary] = flat.reshape(-1, k)[1:]
    return Line(*result)
