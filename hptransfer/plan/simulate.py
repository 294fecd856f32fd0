"""The regret to expect of a search, before it is made: studies of surfaces drawn from a prior, fitted as ``transfer`` does.

Only the LR is simulated, and no run diverges: weight decay seldom matters as much, and a search avoids what diverged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.stats import qmc

from hptransfer.transfer.design import MISFIT
from hptransfer.transfer.forecast import Fit, fit_sweeps
from hptransfer.transfer.hypotheses import KNOWN, in_width
from hptransfer.transfer.sweep import MIN_RUNS, Array, Sweep, gather

STUDIES, FEWEST = 40, 10  # fewer of many widths, which tell each other much: as many cells as `STUDIES` of eight widths have
# Where the optimum at the base width lies: anywhere in this share of the searched range, about its middle. Ranges are centred on
# values that were tuned elsewhere.
MIDDLE = 0.5
# Real bowls steepen away from their minimum, those of the fit do not: excess loss gains this share per squared unit of ln LR.
STEEPENING = 0.05
WANDER = 0.1  # of an optimum over one e-fold of width, standard deviation in ln, as public sweeps have it
TAILS = 3.0  # degrees of freedom of the t that corrects theory's exponent: seldom by much


@dataclass(frozen=True)
class SurfaceShape:
    """Of the response surface, each (low, high) of a log-uniform distribution. ``curvature`` of ln loss in ln LR below the
    optimum; ``skew`` by how much farther the same distance counts above it; ``noise`` over seeds, relative to the loss."""

    curvature: tuple[float, float]
    skew: tuple[float, float]
    noise: tuple[float, float]
    source: str


# What fits of public sweeps found, of 8 groups of arXiv 2512.05620's figures and 17 of Step Law's (arXiv 2503.04715): curvature
# 0.004 to 0.014, skew 0.6 to 1.7, noise 0.05 to 0.3 %; and of the quickstart's runs: 0.013 to 0.017, 1.1, 0.4 to 1.5 %.
PUBLIC = SurfaceShape(
    curvature=(0.004, 0.017),
    skew=(0.6, 1.7),
    noise=(0.0005, 0.015),
    source="as public sweeps (arXiv 2512.05620 and 2503.04715) and the quickstart have them: curvature 0.004 to 0.017, "
    "skew 0.6 to 1.7, seed noise 0.05 to 1.5 %",
)


@dataclass(frozen=True)
class Scenario:
    """What is searched: ``widths`` ascending, ``span`` of the LR range in ln, ``theory`` and ``readout`` the exponents of LR
    with width that are expected of hidden weights and readout, ``compared`` runs that the smallest width spends on the LR
    ratio, ``first_look`` those before a wider one starts, ``batch`` runs of a batch."""

    widths: tuple[int, ...]
    base: int
    target: int
    span: float
    theory: float
    readout: float
    compared: int
    first_look: int
    batch: int


@dataclass(frozen=True)
class Expectation:
    """``regret``: mean over studies of the loss at the predicted LR over the lowest, minus 1, at the target; with the
    ``standard_error`` of that mean. ``interval_factor``: the 80 % interval is LR / factor to LR * factor. None: too few runs to
    predict from."""

    trials: int
    regret: float | None
    standard_error: float | None
    interval_factor: float | None


def shape_of(fit: Fit, words: str) -> SurfaceShape:
    """The shape that a fit found, without a spread of its own."""
    surface = fit.middle
    curvature, skew, noise = surface.curvature, float(surface.skew[0]), surface.noise.sd
    return SurfaceShape((curvature, curvature), (skew, skew), (noise, noise), words)


def expect(
    scenario: Scenario, shape: SurfaceShape, budgets: Sequence[int], *, studies: int | None = None, seed: int = 0
) -> list[Expectation]:
    """What each number of trials per width leads to. All see the same ``studies`` (see `studies_of`), and fewer trials are the
    first of more."""
    studies = studies or studies_of(len(scenario.widths))
    if max(budgets) < _needed(scenario):
        return [Expectation(trials, None, None, None) for trials in budgets]
    # Even over the prior in every direction: its rare corners matter most, and must come as often as they should.
    shares = qmc.LatinHypercube(5, rng=np.random.default_rng(seed)).random(studies)
    drawn = [_Study(scenario, shape, share, max(budgets), np.random.default_rng([seed, i])) for i, share in enumerate(shares)]
    return [_expectation(drawn, scenario, trials) for trials in budgets]


def studies_of(widths: int) -> int:
    """How many studies of so many widths are simulated."""
    return max(FEWEST, min(STUDIES, 8 * STUDIES // widths))


def _expectation(studies: Sequence[_Study], scenario: Scenario, trials: int) -> Expectation:
    if trials < _needed(scenario):
        return Expectation(trials, None, None, None)
    fits = fit_sweeps([study.sweep(trials) for study in studies])
    regrets, reaches = np.array([study.outcome(fit) for study, fit in zip(studies, fits, strict=True)]).T
    error = float(np.std(regrets, ddof=1)) / math.sqrt(len(studies))
    return Expectation(trials, float(np.mean(regrets)), error, math.exp(np.mean(reaches)))


def _needed(scenario: Scenario) -> int:
    """Trials without which nothing is predicted: a fit of one width needs a run beyond its parameters."""
    return max(scenario.first_look, scenario.compared - 1 + MIN_RUNS + (len(scenario.widths) == 1))


class _Study:
    """One surface, at ``share`` (in [0, 1]) of the prior's ranges, with the runs of a search on it. ln LR is measured from the
    middle of the searched range."""

    def __init__(self, scenario: Scenario, shape: SurfaceShape, share: Array, trials: int, rng: np.random.Generator) -> None:
        self.scenario = scenario
        bounds = np.log([shape.curvature, shape.skew, shape.noise])
        self.curvature, self.skew, self.noise = np.exp(bounds[:, 0] + share[:3] * np.ptp(bounds, axis=1)).tolist()
        centre = MIDDLE * scenario.span * (share[3] - 0.5)
        # As expected but for a small correction; or somewhere between what hidden weights and readout are expected to want.
        agreed = math.isclose(scenario.theory, scenario.readout, abs_tol=1e-9)
        drift = KNOWN * stats.t.ppf(share[4], TAILS) if agreed else share[4] * (scenario.readout - scenario.theory)
        x = np.log([*scenario.widths, scenario.target])
        order = np.argsort(x)
        steps = np.sqrt(np.diff(x[order], prepend=x.min())) * rng.standard_normal(len(x))
        wander = np.empty(len(x))
        wander[order] = WANDER * np.cumsum(steps)
        self.optimum = (centre + (scenario.theory + drift) * (x - math.log(scenario.base)) + wander).tolist()
        self.runs: list[tuple[list[float], list[float]]] = []
        for cell, own in enumerate(rng.spawn(len(scenario.widths))):
            self.runs.append(self._search(cell, trials, own))

    def excess(self, d: float) -> float:
        """ln loss above the lowest, at ln LR ``d`` from the optimum."""
        squared = (self.skew * d if d > 0 else d) ** 2
        return float(self.curvature * squared * (1 + STEEPENING * squared))

    def sweep(self, trials: int) -> Sweep:
        """Its runs after so many trials a width."""
        x, h, loss = [], [], []
        for cell, width in enumerate(self.scenario.widths):
            lrs, losses = self.runs[cell]
            count = self._count(cell, trials)
            x += [math.log(width)] * count
            h += lrs[:count]
            loss += losses[:count]
        return gather(["width"], ["lr"], np.array(x)[:, None], np.array(h)[:, None], np.exp(loss))[0]

    def outcome(self, fit: Fit) -> tuple[float, float]:
        """Regret at the target by the fit of its runs, and half the width of the 80 % interval, ln."""
        expected = [[in_width(self.scenario.theory, self.scenario.readout)]]
        law = fit.law(np.log([self.scenario.target]), expected)
        regret = np.expm1(self.excess(float(law.value[0]) - self.optimum[-1]))
        return float(regret), float(law.high[0] - law.low[0]) / 2

    def _count(self, cell: int, trials: int) -> int:
        """Runs at the ratio that is kept."""
        return trials - self.scenario.compared + 1 if cell == 0 else trials

    def _search(self, cell: int, trials: int, rng: np.random.Generator) -> tuple[list[float], list[float]]:
        """ln LR and ln loss of a search at one width, simpler than `hptransfer.transfer.design` but at the same distances: the
        smallest width starts in the middle of the range and goes over it, a wider one starts about the best of the first runs
        of the narrower one; then on both sides of the best so far."""
        scenario, edge = self.scenario, self.scenario.span / 2
        lrs: list[float] = []
        losses: list[float] = []
        if cell == 0:
            parts = (rng.permutation(scenario.batch) + rng.random(scenario.batch)) / scenario.batch
            lrs = [0.0, *(scenario.span * (parts - 0.5)).tolist()]
        reach = math.sqrt(self.noise / (MISFIT * self.curvature))
        for i in range(self._count(cell, trials)):
            if i >= len(lrs):
                step = reach * rng.uniform(0.5, 1.5) * (-1 if i % 2 else 1 / self.skew)
                best = _best(lrs, losses) if cell == 0 or i >= scenario.batch else self._handed_on(cell)
                lrs.append(min(max(best + step, -edge), edge))
            losses.append(self.excess(lrs[i] - self.optimum[cell]) + self.noise * rng.standard_normal())
        return lrs, losses

    def _handed_on(self, cell: int) -> float:
        """Where theory puts the optimum of a width by the best of the first runs of the narrower one."""
        lrs, losses = self.runs[cell - 1]
        first, widths = self.scenario.first_look - self.scenario.compared + (cell == 1), self.scenario.widths
        return _best(lrs, losses[: max(first, 1)]) + self.scenario.theory * math.log(widths[cell] / widths[cell - 1])


def _best(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The LR of the lowest of the losses."""
    return lrs[losses.index(min(losses))]
