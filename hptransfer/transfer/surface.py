"""The response surface of one group, all cells at once: ln loss is a skewed bowl about an optimum that is each cell's own.

    ln loss = offset_c + scale_c |root^T v|^2,   v_k = skew_k u_k where u_k > 0, else u_k,   u = h - optimum_c

with h the logarithm of the hyperparameters. ``root`` (lower triangular) and ``skew`` are shared by all cells; the scale of
a cell's curvature is pulled to 1. Diverged runs bound the optimum from above. Source: DESIGN 8, whose bowl in ln lr this
carries to several hyperparameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from hptransfer.transfer.sweep import Array, Noise, Sweep, replicate_noise

# A bowl is right near its minimum only: the further above, the less a run says. Shares of the excess loss that are taken
# for the bowl's error. Which one is right is not known, so that every fit is made with each of them, and they are averaged.
MISFITS = (0.25, 0.5, 1.0)
BASIN = math.log(2.0)  # excess; what lies higher has diverged in all but name
# Too high costs more than too low at some optimizers (steplaw's AdamW: 1.5 times the distance), and less at others (muP
# Muon: 0.8 times), so the prior of ln skew has mean 0.
SKEW_SD = 0.4
SCALE_SD = 0.3  # of ln scale
TIE_SD = 2.0  # of a cell's optimum about the mean of all; where a cell hardly knows its own, as of weight decay
# Prior of the noise, worth one run: seeds move published losses by 0.1 %, those of short runs by 1 %.
FIRST_NOISE = 1e-3
SMALLEST_NOISE = 1e-4  # no loss over 1e5 evaluation tokens is known better
OUTLIER = 2.0  # residuals beyond this many standard deviations count linearly
SLACK = math.log(4.0)  # how far beyond the swept range an optimum is looked for
ROOTS = (math.log(math.sqrt(1e-5)), math.log(math.sqrt(10.0)))  # bounds of ln of the root's diagonal
ROUNDS = 4  # of fit and noise in turn


@dataclass(frozen=True)
class Surface:
    """A fitted surface: see the head of this file.

    ``influence`` (cells * hyperparameters, errors) is what independent errors of standard deviation 1, one per run near the
    minimum and one per prior, do to ``optimum.ravel()``; its square is the covariance. ``cost`` is twice the robust cost, a
    sum of squares for runs near the surface, on ``dof`` degrees of freedom."""

    sweep: Sweep
    misfit: float
    optimum: Array  # (cells, hyperparameters), ln
    offset: Array  # (cells,), ln loss
    scale: Array  # (cells,)
    root: Array  # (hyperparameters, hyperparameters)
    skew: Array  # (hyperparameters,)
    noise: Noise
    influence: Array
    cost: float
    dof: float

    @property
    def curvature(self) -> float:
        """Of ln loss in the first hyperparameter, on its low side."""
        return float((self.root @ self.root.T)[0, 0])

    def regret(self, d: Array) -> Array:
        """Loss above the optimum's, relative, at optimum + d; d is (..., hyperparameters)."""
        with np.errstate(over="ignore"):  # inf is the answer then
            return np.asarray(np.expm1(np.sum((np.where(d > 0, self.skew * d, d) @ self.root) ** 2, axis=-1)))


def fit_surface(sweep: Sweep, misfit: float, known: Noise | None = None) -> Surface:
    """The surface of a sweep with that share of misfit (see `MISFITS`), at a noise that is known or found.

    Its noise is the larger of the replicates' and that of the residuals near the optimum. The covariance is a sandwich: the
    runs are weighted by noise and supposed misfit, and scatter by noise and the misfit that is found.
    """
    problem = _Problem(sweep, misfit)
    if known:
        return problem.surface(problem.solve(problem.starts(), known.sd), known)
    replicates = replicate_noise(sweep)
    noise = replicates or Noise(FIRST_NOISE, 1.0)
    noise = Noise(max(noise.sd, SMALLEST_NOISE), noise.dof)
    starts = problem.starts()
    for _ in range(ROUNDS):
        p = problem.solve(starts, noise.sd)
        starts = [p]
        found = problem.residual_noise(p, noise.sd)
        seeds = replicates or Noise(0.0, 0.0)
        noise = Noise(max(seeds.sd, found.sd), max(seeds.dof, found.dof))
    return problem.surface(p, noise)


class _Problem:
    """Least squares in one packed vector: optima, offsets, ln scales, the root's lower triangle (ln on its diagonal), ln skew."""

    def __init__(self, sweep: Sweep, misfit: float) -> None:
        excess = sweep.excess
        near = excess < BASIN
        self.sweep, self.misfit = sweep, misfit
        self.h, self.y, self.cell, self.excess = sweep.h[near], sweep.ln_loss[near], sweep.cell[near], excess[near]
        cells, k = len(sweep.x), sweep.h.shape[1]
        self.lower = np.tril_indices(k)
        sizes = np.cumsum([0, cells * k, cells, cells, len(self.lower[0]), k])
        self.at_optimum = np.arange(sizes[1]).reshape(cells, k)
        self.at_offset, self.at_scale, self.at_root, self.at_skew = (np.arange(*sizes[i : i + 2]) for i in range(1, 5))
        self.size = int(sizes[-1])
        # Rows of the priors: each a combination of parameters that has mean 0 and standard deviation 1.
        tie = np.zeros((cells * k, self.size))
        tie[:, self.at_optimum.ravel()] = np.kron(np.eye(cells) - 1 / cells, np.eye(k)) / TIE_SD
        every = np.eye(self.size)
        self.priors = np.vstack([every[self.at_scale] / SCALE_SD, every[self.at_skew] / SKEW_SD, tie])
        self.low, self.high = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        self.low[self.at_optimum] = sweep.low - SLACK
        self.high[self.at_optimum] = sweep.high + SLACK
        self.high[self.at_optimum[:, 0]] = np.minimum(self.high[self.at_optimum[:, 0]], sweep.ceiling)
        diagonal = self.at_root[self.lower[0] == self.lower[1]]
        self.low[diagonal], self.high[diagonal] = ROOTS

    def starts(self) -> list[Array]:
        """Optima in the middle of each cell's best runs, the few best and more of them."""
        found = []
        for reach in (0.002, 0.01):
            p = np.zeros(self.size)
            for i in range(len(self.sweep.x)):
                p[self.at_optimum[i]] = self.h[(self.cell == i) & (self.excess <= reach)].mean(axis=0)
            p[self.at_offset] = self.sweep.lowest
            p[self.at_root[self.lower[0] == self.lower[1]]] = math.log(math.sqrt(0.02))
            found.append(p)
        return found

    def deviation(self, noise: float) -> Array:
        """Standard deviation with which each run is supposed to follow the bowl."""
        return np.hypot(noise, self.misfit * self.excess)

    def solve(self, starts: list[Array], noise: float) -> Array:
        """The parameters of the lowest robust cost over the starts."""
        sd = self.deviation(noise)
        fits = [
            optimize.least_squares(
                lambda p: self._residuals(p, sd),
                np.clip(start, self.low + 1e-6, self.high - 1e-6),
                jac=lambda p: self._jacobian(p, sd),
                bounds=(self.low, self.high),
                loss="soft_l1",
                f_scale=OUTLIER,
                x_scale="jac",
                max_nfev=200,
            )
            for start in starts
        ]
        return np.asarray(min(fits, key=lambda fit: fit.cost).x)

    def residual_noise(self, p: Array, noise: float) -> Noise:
        """Noise from the residuals, each counting by how much of its standard deviation is noise rather than misfit."""
        sd = self.deviation(noise)
        share = (noise / sd) ** 2
        dof = float(np.sum(share * (1 - self._leverage(p, sd))))
        squares = float(np.sum(share * (self.y - self._bowl(p)[0]) ** 2))
        return Noise(max(SMALLEST_NOISE, math.sqrt((squares + FIRST_NOISE**2) / (dof + 1))), dof + 1)

    def surface(self, p: Array, noise: Noise) -> Surface:
        """The parameters as a surface, with the errors of its optima, linearised."""
        sd = self.deviation(noise.sd)
        jacobian = self._jacobian(p, sd)
        inverse = np.linalg.inv(jacobian.T @ jacobian + 1e-9 * np.eye(self.size))
        left = np.maximum(1 - self._leverage(p, sd), 0.2)
        squares = (self.y - self._bowl(p)[0]) ** 2
        misfits = 1 - (noise.sd / sd) ** 2
        beyond = (squares / left - noise.sd**2) / np.maximum(self.excess, 1e-6) ** 2
        found = float(np.clip(np.sum(misfits * beyond) / max(np.sum(misfits), 1e-9), 0.0, self.misfit**2))
        scatter = np.concatenate([np.sqrt(noise.sd**2 + found * self.excess**2) / sd, np.ones(len(self.priors))])
        optima = self.at_optimum.ravel()
        z = self._residuals(p, sd) / OUTLIER
        return Surface(
            sweep=self.sweep,
            misfit=self.misfit,
            optimum=p[self.at_optimum],
            offset=p[self.at_offset],
            scale=np.exp(p[self.at_scale]),
            root=self._root(p),
            skew=np.exp(p[self.at_skew]),
            noise=noise,
            influence=inverse[optima] @ jacobian.T * scatter,
            cost=float(np.sum(2 * OUTLIER**2 * (np.sqrt(1 + z**2) - 1))),
            dof=float(len(self.y) + len(self.priors) - self.size),
        )

    def _root(self, p: Array) -> Array:
        k = self.sweep.h.shape[1]
        root = np.zeros((k, k))
        root[self.lower] = p[self.at_root]
        root[np.diag_indices(k)] = np.exp(np.diag(root))
        return root

    def _bowl(self, p: Array) -> tuple[Array, Array, Array, Array]:
        """ln loss of every run; its distance v with the skew in it, the skew's factors, and root^T v."""
        u = self.h - p[self.at_optimum][self.cell]
        factor = np.where(u > 0, np.exp(p[self.at_skew]), 1.0)
        v = u * factor
        z = v @ self._root(p)
        return p[self.at_offset][self.cell] + np.exp(p[self.at_scale])[self.cell] * np.sum(z**2, axis=1), v, factor, z

    def _residuals(self, p: Array, sd: Array) -> Array:
        return np.concatenate([(self._bowl(p)[0] - self.y) / sd, self.priors @ p])

    def _jacobian(self, p: Array, sd: Array) -> Array:
        _, v, factor, z = self._bowl(p)
        root, scale = self._root(p), np.exp(p[self.at_scale])[self.cell]
        runs = np.arange(len(self.y))
        by_v = 2 * scale[:, None] * (z @ root.T)
        full = np.zeros((len(runs), self.size))
        for k in range(v.shape[1]):
            full[runs, self.at_optimum[self.cell, k]] = -by_v[:, k] * factor[:, k]
            full[runs, self.at_skew[k]] = np.where(v[:, k] > 0, by_v[:, k] * v[:, k], 0.0)
        full[runs, self.at_offset[self.cell]] = 1.0
        full[runs, self.at_scale[self.cell]] = scale * np.sum(z**2, axis=1)
        for column, (i, j) in zip(self.at_root, zip(*self.lower, strict=True), strict=True):
            full[runs, column] = 2 * scale * z[:, j] * v[:, i] * (root[i, i] if i == j else 1.0)
        return np.vstack([full / sd[:, None], self.priors])

    def _leverage(self, p: Array, sd: Array) -> Array:
        q, _ = np.linalg.qr(self._jacobian(p, sd))
        return np.asarray(np.sum(q[: len(sd)] ** 2, axis=1))
