"""Speedups that are known, measured as a validation measures them: does the 80 % interval hold the truth in 80 % of cases?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.multipliers import World, draw_world
from hptransfer.validate.configurations import SEARCH_FREEDOM
from hptransfer.validate.protocol import BRACKETED
from hptransfer.validate.result import Multiplier
from hptransfer.validate.speedup import EXPONENTS, PRIOR, Spent, compute_multiplier

pytestmark = pytest.mark.xdist_group(__name__)  # all on one worker: the experiments are made once

MULTIPLIERS = (1.0, 1.2, 1.4, 2.5)
NOISES = (0.001, 0.01)
EXPERIMENTS = 500  # of each multiplier and noise
SEEDS = 3


def point(cost: float, losses: np.ndarray, noise: tuple[float, int]) -> Spent:
    """A rung or the challenger with its estimate of the noise: relative variance of one seed and degrees of freedom."""
    mean = float(losses.mean())
    return Spent(cost, mean, mean * math.sqrt(noise[0] / len(losses)), noise[1])


def estimate_noise(prior: float, runs: list[np.ndarray]) -> tuple[float, int]:
    """Variance of one seed, relative, pooled over an optimizer's runs and what its search saw; with degrees of freedom."""
    freedom = SEARCH_FREEDOM + sum(len(losses) - 1 for losses in runs)
    squares = SEARCH_FREEDOM * prior + sum(float(((losses / losses.mean() - 1) ** 2).sum()) for losses in runs)
    return squares / freedom, freedom


def experiment(rng: np.random.Generator, world: World, multiplier: float) -> tuple[list[Spent], Spent]:
    """AdamW's ladder as the protocol runs it, and the challenger, each with the noise that its own runs and search saw.

    From 1x up, until the last rung is lower than the challenger by more than ``BRACKETED`` standard errors; down to 0.5x where
    the challenger is not lower than 1x by as much.
    """
    prior, own_prior = world.noise**2 * rng.chisquare(SEARCH_FREEDOM, 2) / SEARCH_FREEDOM
    own = world.run(rng, multiplier, SEEDS)
    challenger = point(1.0, own, estimate_noise(own_prior, [own]))
    ladder = {1.0: world.run(rng, 1.0, SEEDS)}

    def excess(horizon: float) -> float:
        """Standard errors by which a rung is above the challenger."""
        rung = point(horizon, ladder[horizon], estimate_noise(prior, list(ladder.values())))
        return (rung.loss - challenger.loss) / math.hypot(rung.standard_error, challenger.standard_error)

    shorter = excess(1.0) <= BRACKETED
    for last, longer in ((1.0, 2.0), (2.0, 4.0)):
        if excess(last) < -BRACKETED:
            break
        ladder[longer] = world.run(rng, longer, SEEDS)
    if shorter:
        ladder[0.5] = world.run(rng, 0.5, SEEDS)
    noise = estimate_noise(prior, list(ladder.values()))
    return [point(horizon, losses, noise) for horizon, losses in ladder.items()], challenger


@dataclass(frozen=True)
class Outcome:
    """What was found in an experiment with a known multiplier."""

    multiplier: float
    noise: float
    found: Multiplier

    @property
    def covered(self) -> bool:
        """An open end holds everything on its side."""
        return (self.found.low or 0) <= self.multiplier <= (self.found.high or math.inf)

    @property
    def error(self) -> float:
        return math.log(self.found.value / self.multiplier)


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Of worlds whose beta is as often large or small as it is taken to be."""
    found = []
    for noise in NOISES:
        for multiplier in MULTIPLIERS:
            rng = np.random.default_rng([round(1000 * noise), round(10 * multiplier)])
            for seed in range(EXPERIMENTS):
                beta = float(rng.choice(EXPONENTS, p=PRIOR))
                baseline, challenger = experiment(rng, draw_world(rng, noise, (beta, beta)), multiplier)
                found.append(Outcome(multiplier, noise, compute_multiplier(baseline, challenger, seed=seed)))
    return found


def coverage(outcomes: list[Outcome]) -> float:
    return float(np.mean([outcome.covered for outcome in outcomes]))


def test_the_interval_holds_the_truth_in_80_percent_of_the_experiments(outcomes: list[Outcome]) -> None:
    assert 0.75 <= coverage(outcomes) <= 0.85


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_the_interval_holds_every_truth(outcomes: list[Outcome], multiplier: float, noise: float) -> None:
    """Within what this number of experiments allows: two standard deviations of a share of 80 %."""
    cell = [outcome for outcome in outcomes if (outcome.multiplier, outcome.noise) == (multiplier, noise)]
    allowed = 2 * math.sqrt(0.8 * 0.2 / len(cell))
    assert 0.75 - allowed <= coverage(cell) <= 0.85 + allowed
    # Neither side misses far more than its 10 %.
    assert np.mean([(outcome.found.low or 0) > multiplier for outcome in cell]) <= 0.1 + allowed
    assert np.mean([(outcome.found.high or math.inf) < multiplier for outcome in cell]) <= 0.1 + allowed


@pytest.mark.parametrize("noise", NOISES)
def test_no_speedup_is_rarely_called_one(outcomes: list[Outcome], noise: float) -> None:
    equal = [outcome for outcome in outcomes if outcome.multiplier == 1 and outcome.noise == noise]
    called = float(np.mean([(outcome.found.p_value or 0) <= 0.05 for outcome in equal]))
    assert 0.01 <= called <= 0.08


def test_a_speedup_that_can_be_seen_is_called_one(outcomes: list[Outcome]) -> None:
    """At 0.1 % noise a multiplier of 1.2 always, at 1 % one of 2.5."""
    for multiplier, noise in ((1.2, 0.001), (2.5, 0.01)):
        cell = [outcome for outcome in outcomes if (outcome.multiplier, outcome.noise) == (multiplier, noise)]
        assert np.mean([(outcome.found.p_value or 1) <= 0.05 for outcome in cell]) > 0.95


def test_the_multiplier_is_not_biased(outcomes: list[Outcome]) -> None:
    """The median error at the low noise is below half a percent: a chord's is 1.2 to 1.6 %."""
    for multiplier in MULTIPLIERS:
        errors = [outcome.error for outcome in outcomes if (outcome.multiplier, outcome.noise) == (multiplier, 0.001)]
        assert abs(float(np.median(errors))) < 0.005


@pytest.mark.parametrize("beta", [0.05, 0.1, 0.6, 1.0])
def test_three_horizons_tell_an_unusual_beta(beta: float) -> None:
    rng, found = np.random.default_rng(round(100 * beta)), []
    for seed in range(200):
        baseline, challenger = experiment(rng, draw_world(rng, 0.001, (beta, beta)), 2.5)
        assert len(baseline) >= 3
        found.append(Outcome(2.5, 0.001, compute_multiplier(baseline, challenger, seed=seed)))
    assert 0.7 <= coverage(found) <= 0.9
    assert abs(float(np.median([outcome.error for outcome in found]))) < 0.01
