"""How the best hyperparameters move with scale: rules that compete, and a wander about all of them.

    ln hp*(x) = level + sum over the scales of exponent . feature(x) + wander(x),   x = ln scale

Along every scale the rules of `hptransfer.transfer.hypotheses` compete by likelihood, each a feature (x itself, or a form of it
that saturates) whose exponent has a normal prior. The wander is what optima do beside any rule: a scatter of each cell by itself,
and a Brownian motion in the distance between scales, so that near cells say more than far ones and intervals widen with
extrapolation. How large both are is not known beforehand: where optima scatter about the rules more than their errors explain it
is learned to be larger, and the interval widens. Given rules and sizes all is Gaussian, so that the posterior is a finite mixture
in closed form: there is nothing to sample and no iteration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from hptransfer.base.intervals import TAIL, Array
from hptransfer.transfer.hypotheses import Hypothesis

# Standard deviations, ln, of the scatter of a cell's optimum, and of the wander over one e-fold of scale; by how likely each is.
# Optima of public sweeps hardly scatter by themselves, but some tables do by anything; they wander by .05 (muP sweeps, arXiv
# 2512.05620), .1 (arXiv 2503.04715) or .2 (others) per root of an e-fold.
SCATTERS = {0.0: 0.44, 0.03: 0.44, 0.1: 0.03, 0.2: 0.03, 0.4: 0.03, 0.8: 0.03}
WANDERS = {0.05: 0.3, 0.1: 0.3, 0.2: 0.3, 0.4: 0.1}
FREE = 100.0  # prior variance of the level: nothing is known about it
RESOLUTION = 0.01  # ln; no optimum is known better
KNEES = 8  # places of the knee beyond which nothing moves


@dataclass(frozen=True)
class Measured:
    """Optima (cells, hyperparameters) in ln, with the covariance of ``optimum.ravel()``."""

    optimum: Array
    covariance: Array


@dataclass(frozen=True)
class Line:
    """The straight line through the optima alone, no prior: exponents (scales, hyperparameters) with 80 % intervals; nan for a
    scale that does not vary."""

    exponent: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class DriftLaw:
    """The optimum at the target: ``value``, the posterior mean, and draws from the posterior (draws, hyperparameters), ln.
    ``exponent`` (scales, hyperparameters): from the middle of the cells to the target. ``weights``: of each hyperparameter along
    each scale, how likely each of its hypotheses is, in their order. ``sizes``: of every pair of `SCATTERS` and `WANDERS`, the
    likelihood of the optima, in ln."""

    value: Array
    draws: Array
    exponent: Array
    weights: tuple[tuple[Array, ...], ...]
    sizes: Array

    @property
    def low(self) -> Array:
        """Lower end of the 80 % interval, which holds the value."""
        return np.asarray(np.minimum(np.quantile(self.draws, TAIL, axis=0), self.value))

    @property
    def high(self) -> Array:
        return np.asarray(np.maximum(np.quantile(self.draws, 1 - TAIL, axis=0), self.value))


def usual_sizes() -> Array:
    """ln of the prior of every pair of `SCATTERS` and `WANDERS`."""
    return np.add.outer(np.log(list(SCATTERS.values())), np.log(list(WANDERS.values()))).ravel()


def fit_law(
    x: Array,
    measured: Measured,
    x_target: Array,
    expected: Sequence[Sequence[Sequence[Hypothesis]]],
    *,
    sizes: Array | None = None,
    draws: int,
    rng: np.random.Generator,
) -> DriftLaw:
    """The law through cells at x (cells, scales), at x_target (scales,). ``expected``: the hypotheses of each hyperparameter
    along each scale; ``sizes``: ln of the prior of the wander's (see `usual_sizes`).

    Each hyperparameter has its own law: what the error of one optimum says of another's is left out."""
    cells, k = measured.optimum.shape
    blocks = measured.covariance.reshape(cells, k, cells, k)
    points = np.vstack([x, x_target]) - x.mean(axis=0)
    prior = usual_sizes() if sizes is None else sizes
    found = [_law_of(points, measured.optimum[:, i], blocks[:, i, :, i], expected[i], prior, draws, rng) for i in range(k)]
    return DriftLaw(
        value=np.array([one.value for one in found]),
        draws=np.column_stack([one.draws for one in found]),
        exponent=np.column_stack([one.exponent for one in found]),
        weights=tuple(one.weights for one in found),
        sizes=np.sum([one.sizes for one in found], axis=0),
    )


@dataclass(frozen=True)
class _Single:
    """A `DriftLaw` of one hyperparameter."""

    value: float
    draws: Array
    exponent: Array
    weights: tuple[Array, ...]
    sizes: Array


def _law_of(
    points: Array,
    optimum: Array,
    covariance: Array,
    expected: Sequence[Sequence[Hypothesis]],
    prior: Array,
    draws: int,
    rng: np.random.Generator,
) -> _Single:
    """``points`` (cells + 1, scales) from the middle of the cells, the target last; ``optimum`` (cells,) with its covariance."""
    columns, trends = _trends(points, expected)
    seen, at, mean, variance = len(optimum), trends.columns, trends.mean, trends.variance
    centre = optimum.mean()
    reach, apart = np.linalg.norm(points, axis=1), np.linalg.norm(points[:, None] - points, axis=2)
    # Brownian from the middle: independent increments, variance 1 per unit of distance.
    brownian = (reach[:, None] + reach - apart) / 2
    same = apart < RESOLUTION  # a target among the cells shares its cell's scatter
    noise = covariance + RESOLUTION**2 * np.eye(seen)
    scatters, wanders = np.array(list(product(SCATTERS, WANDERS))).T[:, :, None, None]
    kernel = wanders**2 * brownian + scatters**2 * same  # of every size: (sizes, cells + 1, cells + 1)
    factor = np.linalg.cholesky(kernel[:, :seen, :seen] + noise)
    given = np.broadcast_to(np.column_stack([optimum - centre, columns[:seen]]), (len(kernel), seen, 1 + columns.shape[1]))
    white = np.linalg.solve(factor, np.concatenate([given, kernel[:, :seen, seen:]], axis=2))
    y, design, across = white[:, :, 0], white[:, :, 1:-1], white[:, :, -1]
    # With size and trend given, linear regression on whitened optima, with a normal prior of the coefficients.
    gram, towards = np.swapaxes(design, 1, 2) @ design, np.einsum("snc,sn->sc", design, y)[:, at]
    inner = gram[:, at[:, :, None], at[:, None, :]]  # (sizes, trends, coefficients, coefficients)
    left = towards - np.einsum("stij,tj->sti", inner, mean)
    inverse = np.linalg.inv(inner + np.eye(at.shape[1]) / variance[:, None, :])
    moved = np.einsum("stij,stj->sti", inverse, left)
    squares = np.sum(y**2, axis=1)[:, None] - np.sum(mean * (towards + left), axis=2) - np.sum(left * moved, axis=2)
    volume = np.linalg.slogdet(inverse)[1] - np.sum(np.log(variance), axis=1)
    volume -= 2 * np.sum(np.log(np.diagonal(factor, axis1=1, axis2=2)), axis=1)[:, None]
    likelihood = (volume - squares) / 2 + trends.weight
    slopes = mean + moved
    target = (columns[seen] - np.einsum("sn,snc->sc", across, design))[:, at]
    means = np.sum(target * slopes, axis=2) + np.sum(across * y, axis=1)[:, None]
    alone = kernel[:, seen, seen] - np.sum(across**2, axis=1)
    variances = alone[:, None] + np.einsum("stp,stpq,stq->st", target, inverse, target)
    posterior = likelihood + prior[:, None]
    weight = np.exp(posterior - posterior.max())
    weight /= weight.sum()
    chosen = rng.choice(weight.size, draws, p=weight.ravel())
    mean, sd = centre + means.ravel(), np.sqrt(variances.ravel())
    of_trend = weight.sum(axis=0)
    return _Single(
        value=float(weight.ravel() @ mean),
        draws=mean[chosen] + sd[chosen] * rng.standard_normal(draws),
        exponent=trends.exponents(points, columns, np.einsum("st,stp->tp", weight, slopes)),
        weights=trends.weights(of_trend, [len(several) for several in expected]),
        sizes=np.logaddexp.reduce(likelihood, axis=1),
    )


@dataclass(frozen=True)
class _Trends:
    """Every combination of hypotheses along the scales: the columns that each uses (trends, 1 + scales), the prior mean and
    variance of their coefficients, its own prior in ln, and which hypothesis of each scale it has (trends, scales)."""

    columns: NDArray[np.intp]
    mean: Array
    variance: Array
    weight: Array
    choices: NDArray[np.intp]

    def weights(self, of_trend: Array, counts: Sequence[int]) -> tuple[Array, ...]:
        """Of every hypothesis along each scale, of weights of the trends."""
        return tuple(np.asarray(np.bincount(self.choices[:, s], of_trend, count), float) for s, count in enumerate(counts))

    def exponents(self, points: Array, columns: Array, slopes: Array) -> Array:
        """From the middle of the cells to the target, along each scale, of coefficients ``slopes`` that sum to their mean."""
        rise = columns[-1] - columns[:-1].mean(axis=0)
        along = [slopes[:, 1 + s] * rise[self.columns[:, 1 + s]] for s in range(points.shape[1])]
        still = [slopes[:, 1 + s] for s in range(points.shape[1])]  # the target is no further along it
        far = np.abs(points[-1]) > RESOLUTION
        return np.array([along[s].sum() / points[-1, s] if far[s] else still[s].sum() for s in range(points.shape[1])])


def _trends(points: Array, expected: Sequence[Sequence[Hypothesis]]) -> tuple[Array, _Trends]:
    """The columns that trends are made of, (cells + 1, columns): 1, every scale, and of those along which something saturates its
    flattening forms with the knee at several places; and all trends."""
    scales = points.shape[1]
    columns = [np.ones(len(points)), *points.T]
    along = []
    for s, several in enumerate(expected):
        knees: list[int] = []
        if any(one.saturates for one in several):
            knees = [len(columns) + i for i in range(KNEES)]
            places = np.linspace(points[:-1, s].min(), points[:, s].max(), KNEES)
            columns += [np.minimum(points[:, s], place) for place in places]
        options = []
        for place, one in enumerate(several):
            features = knees if one.saturates else [1 + s]
            share = math.log(one.weight / len(features))
            options += [(place, feature, one.exponent, one.spread**2, share) for feature in features]
        along.append(options)
    choices, feature, mean, variance, weight = np.moveaxis(np.array(list(product(*along))).reshape(-1, scales, 5), 2, 0)
    level = np.zeros((len(mean), 1))
    return np.column_stack(columns), _Trends(
        columns=np.concatenate([level, feature], axis=1).astype(int),
        mean=np.concatenate([level, mean], axis=1),
        variance=np.concatenate([level + FREE, variance], axis=1),
        weight=weight.sum(axis=1),
        choices=choices.astype(int),
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
    if dof > 0 and scatter > chdtri(dof, 0.01):
        covariance = covariance * scatter / dof
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(len(line)))
    drawn = line + rng.standard_normal((draws, len(line))) @ root.T
    result = [np.full((x.shape[1], k), math.nan) for _ in range(3)]
    for out, flat in zip(result, (line, *np.quantile(drawn, [TAIL, 1 - TAIL], axis=0)), strict=True):
        out[vary] = flat.reshape(-1, k)[1:]
    return Line(*result)
