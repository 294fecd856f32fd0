"""From a sweep to the optimum at a target: the surfaces, the line and the law in one step, for stores, tables and backtests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hptransfer.transfer.law import UNKNOWN, Law, Line, Measured, Theory, fit_law, fit_line
from hptransfer.transfer.surface import MISFITS, Surface, fit_surface
from hptransfer.transfer.sweep import Array, Sweep

DRAWS = 1000


@dataclass(frozen=True)
class Fit:
    """A sweep's surfaces, one per misfit share; what is said of the sweep is their average."""

    sweep: Sweep
    surfaces: tuple[Surface, ...]

    @property
    def optimum(self) -> Array:
        """(cells, hyperparameters), ln."""
        return np.asarray(np.mean([surface.optimum for surface in self.surfaces], axis=0))

    @property
    def covariance(self) -> Array:
        """Of ``optimum.ravel()``, as far as the scatter of the runs goes: the surfaces err together, on the same runs."""
        influence = np.mean([surface.influence for surface in self.surfaces], axis=0)
        return np.asarray(influence @ influence.T)

    @property
    def measured(self) -> Measured:
        """The optima, the disagreement of the surfaces in their covariance."""
        apart = np.array([surface.optimum.ravel() for surface in self.surfaces]) - self.optimum.ravel()
        return Measured(self.optimum, self.covariance + apart.T @ apart / len(apart))

    @property
    def spread(self) -> Array:
        """Standard deviation of `optimum`, the disagreement of the surfaces included."""
        return np.sqrt(np.diag(self.measured.covariance)).reshape(self.optimum.shape)

    @property
    def middle(self) -> Surface:
        """The surface of the middle misfit share: it gives curvature, skew, offsets and noise."""
        return self.surfaces[len(self.surfaces) // 2]

    def line(self, *, draws: int = DRAWS, seed: int = 0) -> Line:
        """The straight line through the optima alone."""
        return fit_line(self.sweep.x, Measured(self.optimum, self.covariance), draws=draws, rng=np.random.default_rng(seed))

    def law(
        self,
        x_target: Array,
        theories: Sequence[Theory] = (),
        prior: Array | None = None,
        *,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> Law:
        """The optimum at ln scale ``x_target``; without theories the coordinates are unknown, and nothing is expected of them."""
        cells, k = self.optimum.shape
        unknown = (Theory("unknown coordinates", np.zeros((cells + 1, k))),)
        scale = np.full(len(x_target), UNKNOWN) if prior is None else prior
        rng = np.random.default_rng(seed)
        return fit_law(self.sweep.x, self.measured, x_target, theories or unknown, scale, draws=draws, rng=rng)


def fit_sweep(sweep: Sweep) -> Fit:
    """The surfaces of a sweep."""
    return Fit(sweep, tuple(fit_surface(sweep, misfit) for misfit in MISFITS))
