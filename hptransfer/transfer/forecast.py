"""From a sweep to the optimum at a target: the surfaces, the line and the law in one step, for stores, tables and backtests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import QhullError

from hptransfer.transfer.cost import Climb, climb_of
from hptransfer.transfer.hypotheses import Hypothesis, hypotheses
from hptransfer.transfer.law import DriftLaw, Measured, fit_law
from hptransfer.transfer.surface import MISFITS, Surface, fit_surfaces
from hptransfer.transfer.sweep import Array, Sweep

DRAWS = 1000
NO_FIT = (ArithmeticError, ValueError, QhullError)  # what numbers that no fit can take come to

Expected = Sequence[Sequence[Sequence[Hypothesis]]]  # of each hyperparameter along each scale


@dataclass(frozen=True)
class Fit:
    """A sweep's surfaces, one per misfit share; what is said of the sweep is their average."""

    sweep: Sweep
    surfaces: tuple[Surface, ...]

    @property
    def vertex(self) -> Array:
        """Where the bowls have their minima (cells, hyperparameters), ln, wherever the runs are."""
        return np.asarray(np.mean([surface.optimum for surface in self.surfaces], axis=0))

    @cached_property
    def measured(self) -> Measured:
        """The optima, ln, with their covariance: as far as the scatter of the runs goes, the surfaces err together, on the same
        runs; and they disagree. Where the bowls put the LR of a cell at the cliff or beyond it is known to lie between the last
        run this side of it and the first that went over, and no better."""
        optimum = self.vertex.copy()
        apart = np.array([surface.optimum.ravel() for surface in self.surfaces]) - optimum.ravel()
        covariance = _covariance(self.surfaces) + apart.T @ apart / len(apart)
        gap = self.sweep.ceiling - self.sweep.top
        for cell in np.flatnonzero((optimum[:, 0] > self.sweep.top) & np.isfinite(gap)):
            at = cell * optimum.shape[1]
            optimum[cell, 0] = self.sweep.top[cell] + gap[cell] / 2
            covariance[at], covariance[:, at] = 0.0, 0.0
            covariance[at, at] = gap[cell] ** 2 / 12  # of a uniform distribution
        return Measured(optimum, covariance)

    @property
    def optimum(self) -> Array:
        """(cells, hyperparameters), ln."""
        return self.measured.optimum

    @property
    def spread(self) -> Array:
        """Standard deviation of `optimum`, the disagreement of the surfaces included."""
        return np.sqrt(np.diag(self.measured.covariance)).reshape(self.optimum.shape)

    @property
    def middle(self) -> Surface:
        """The surface of the middle misfit share: it gives curvature, skew, offsets and noise."""
        return self.surfaces[len(self.surfaces) // 2]

    @property
    def ln_lowest(self) -> Array:
        """ln of the lowest loss of each cell's bowl (cells,), wherever that is."""
        return np.asarray(np.mean([surface.offset for surface in self.surfaces], axis=0))

    def lowest(self, *, draws: int = 200, seed: int = 0) -> tuple[Array, Array]:
        """`ln_lowest` and its standard deviation (cells,): by fits to runs that are moved by as much as their noise, so that it
        holds what is not known of the optimum's place."""
        rng, noise = np.random.default_rng(seed), self.middle.noise
        runs = self.sweep.ln_loss
        moved = [replace(self.sweep, ln_loss=runs + noise.sd * rng.standard_normal(len(runs))) for _ in range(draws)]
        found = np.array([surface.offset for surface in fit_surfaces(moved, [self.middle.misfit] * draws, noise)])
        return self.ln_lowest, np.asarray(found.std(axis=0))

    @property
    def expected(self) -> Expected:
        """The hypotheses of unknown coordinates."""
        return [[hypotheses(name, scale) for scale in self.sweep.scales] for name in self.sweep.hyperparameters]

    @cached_property
    def alone(self) -> DriftLaw:
        """The law of its largest cell by its own runs: what it says to its siblings."""
        return fit_law(self.sweep.x, self.measured, self.sweep.x[-1], self.expected, draws=1, rng=np.random.default_rng(0))

    def law(
        self,
        x_target: Array,
        expected: Expected | None = None,
        *,
        sizes: Array | None = None,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> DriftLaw:
        """The optimum at ln scale ``x_target``, by the hypotheses that are ``expected`` (those of unknown coordinates unless
        given): the hyperparameters that are expected to cost least."""
        rng = np.random.default_rng(seed)
        law = fit_law(self.sweep.x, self.measured, x_target, expected or self.expected, sizes=sizes, draws=draws, rng=rng)
        return replace(law, value=self.cost.cheapest(law.value, law.draws))

    @cached_property
    def cost(self) -> Climb:
        """Of missing the optimum."""
        return climb_of(self.middle, self.optimum)


def fit_sweep(sweep: Sweep) -> Fit:
    """The surfaces of a sweep."""
    return fit_sweeps([sweep])[0]


def fit_sweeps(sweeps: Sequence[Sweep]) -> list[Fit]:
    """The surfaces of several sweeps of as many hyperparameters, side by side."""
    found = fit_surfaces([sweep for sweep in sweeps for _ in MISFITS], [misfit for _ in sweeps for misfit in MISFITS])
    count = len(MISFITS)
    return [Fit(sweep, tuple(found[count * i : count * (i + 1)])) for i, sweep in enumerate(sweeps)]


def _covariance(surfaces: Sequence[Surface]) -> Array:
    """Of the mean of the surfaces' optima, which err by the same errors: each that of its cell, and all by the shared ones."""
    own = np.mean([surface.own for surface in surfaces], axis=0)
    shared = np.concatenate([surface.shared for surface in surfaces], axis=1)
    lever = np.concatenate([surface.lever for surface in surfaces], axis=2) / len(surfaces)
    cells, k, size = lever.shape
    alone, towards = np.zeros((cells, k, k)), np.zeros((cells, k, size))
    np.add.at(alone, surfaces[0].error_cell, own[:, :, None] * own[:, None, :])
    np.add.at(towards, surfaces[0].error_cell, own[:, :, None] * shared[:, None, :])
    flat = lever.reshape(cells * k, size)
    across = towards.reshape(cells * k, size) @ flat.T
    result = flat @ (shared.T @ shared) @ flat.T + across + across.T
    at = np.arange(cells * k).reshape(cells, k)
    result[at[:, :, None], at[:, None, :]] += alone
    return np.asarray(result)
