"""How the best learning rate moves with width: lr* ~ width^gamma in base coordinates, fitted and pulled towards theory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hptransfer.transfer.sweep import Array

# Prior of gamma - theory: Student t, whose heavy tails let clear data win. The scale covers the drifts that remain in
# published muP sweeps (a few hundredths); 80 % lies within 0.15.
PRIOR_SCALE = 0.1
PRIOR_DOF = 4.0
TAIL = 0.1  # on each side of every 80 % interval
RESOLUTION = 0.01  # ln lr; no optimum is known better


@dataclass(frozen=True)
class Law:
    """ln lr*(x) = centre + gamma (x - x_centre), x = ln(width/base width). At ``x_centre`` level and slope are independent."""

    theory: float
    fitted: float | None  # None with one width
    low: float | None  # 80 % interval of ``fitted``
    high: float | None
    used: float
    reason: str
    x_centre: float
    level: float  # ln lr* at x_centre
    level_draws: Array
    gamma_draws: Array  # from the posterior

    def ln_lr(self, x: float) -> float:
        """The best ln lr at x, by the gamma that is used."""
        return self.level + self.used * (x - self.x_centre)

    def ln_lr_draws(self, x: float) -> Array:
        """Draws of it from the posterior of level and gamma; gamma's uncertainty counts even where theory is used."""
        return self.level_draws + self.gamma_draws * (x - self.x_centre)


def fit_law(x: Array, optimum: Array, draws: Array, theory: float, rng: np.random.Generator) -> Law:
    """The law through the optima (ln lr) at x; ``draws`` (draws, widths) are the bootstrap's, and give their covariance."""
    n = len(draws)
    covariance = np.atleast_2d(np.cov(draws, rowvar=False)) + RESOLUTION**2 * np.eye(len(x))
    if len(x) == 1:
        level_sd = math.sqrt(covariance[0, 0])
        return Law(
            theory=theory,
            fitted=None,
            low=None,
            high=None,
            used=theory,
            reason="theory: one width shows no drift",
            x_centre=float(x[0]),
            level=float(optimum[0]),
            level_draws=optimum[0] + level_sd * rng.standard_normal(n),
            gamma_draws=theory + PRIOR_SCALE * rng.standard_t(PRIOR_DOF, n),
        )
    design = np.stack([np.ones_like(x), x], axis=1)
    weighted = design.T @ np.linalg.inv(covariance)
    line = np.linalg.solve(weighted @ design, weighted)
    intercept, fitted = line @ optimum
    # Optima that scatter about the line more than their errors say (three widths or more) widen everything.
    off = optimum - design @ [intercept, fitted]
    birge = max(1.0, math.sqrt(off @ np.linalg.solve(covariance, off) / (len(x) - 2))) if len(x) > 2 else 1.0
    spread = birge**2 * np.linalg.inv(weighted @ design)
    low, high = fitted + birge * np.quantile(draws @ line[1] - optimum @ line[1], [TAIL, 1 - TAIL])

    x_centre = float(-spread[0, 1] / spread[1, 1])
    level = float(intercept + fitted * x_centre)
    level_sd = math.sqrt(spread[0, 0] - spread[0, 1] ** 2 / spread[1, 1])
    mean, gamma_draws = _posterior(float(fitted), math.sqrt(spread[1, 1]), theory, n, rng)
    agrees = low <= theory <= high
    interval = f"the fit's 80 % interval [{low:.3f}, {high:.3f}]"
    return Law(
        theory=theory,
        fitted=float(fitted),
        low=float(low),
        high=float(high),
        used=theory if agrees else mean,
        reason=f"theory: {interval} contains it" if agrees else f"fit pulled to theory: {interval} excludes it",
        x_centre=x_centre,
        level=level,
        level_draws=level + level_sd * rng.standard_normal(n),
        gamma_draws=gamma_draws,
    )


def _posterior(fitted: float, sd: float, theory: float, n: int, rng: np.random.Generator) -> tuple[float, Array]:
    """Mean of, and n draws from, the normal likelihood of gamma times its Student-t prior."""
    reach = 6 * sd + abs(fitted - theory) + 10 * PRIOR_SCALE
    grid = np.linspace(min(fitted, theory) - reach, max(fitted, theory) + reach, 20_001)
    log_density = stats.norm.logpdf(grid, fitted, sd) + stats.t.logpdf((grid - theory) / PRIOR_SCALE, PRIOR_DOF)
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    return float(grid @ density), rng.choice(grid, n, p=density)
