"""Regret from probes on a bowl whose truth is known."""

import math

import numpy as np
import pytest

from hptransfer.validate.regret import regret_by_probes

OCTAVES = (-1, -0.5, 0.5, 1)
PROBES = [(1.0, 1.0), *((2.0**o, 1.0) for o in OCTAVES), *((1.0, 2.0**o) for o in OCTAVES)]


def ln_loss(lr: float, decay: float, best_lr: float, best_decay: float, decay_curvature: float = 0.005) -> float:
    """Curvature 0.04, on the upper side of LR as if 1.5 times as far."""
    distance = math.log(lr / best_lr)
    return 0.04 * (1.5 * distance if distance > 0 else distance) ** 2 + decay_curvature * math.log(decay / best_decay) ** 2


def losses(best_lr: float, best_decay: float, noise: float = 0.0, rng: np.random.Generator | None = None) -> list[float]:
    jitter = rng.normal(0, noise, len(PROBES)) if rng else np.zeros(len(PROBES))
    return [2 * math.exp(ln_loss(*probe, best_lr, best_decay) + e) for probe, e in zip(PROBES, jitter, strict=True)]


@pytest.mark.parametrize(("best_lr", "best_decay"), [(1.0, 1.0), (1.4, 1.0), (0.7, 1.5), (1.8, 0.6)])
def test_without_noise_the_regret_is_the_bowls(best_lr, best_decay):
    found = regret_by_probes(PROBES, losses(best_lr, best_decay), noise=1e-9, freedom=5, skew=1.5)
    assert found.value == pytest.approx(math.expm1(ln_loss(1, 1, best_lr, best_decay)), rel=0.05, abs=1e-4)  # the grid of optima
    assert found.high is not None


@pytest.mark.parametrize("noise", [0.001, pytest.param(0.005, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("best_lr", "best_decay"), [(1.0, 1.0), (1.4, 1.0), (0.7, 1.35), (1.7, 0.8)])
def test_the_interval_covers_the_truth(best_lr, best_decay, noise):
    """80 % intervals of 100 experiments, whose noise is estimated with four degrees of freedom: 68 to 96 hits are within three
    standard errors of 80 to 87."""
    rng, truth, hits = np.random.default_rng(1), math.expm1(ln_loss(1, 1, best_lr, best_decay)), 0
    for _ in range(100):
        seen = noise * math.sqrt(rng.chisquare(4) / 4)
        found = regret_by_probes(PROBES, losses(best_lr, best_decay, noise, rng), noise=seen, freedom=4, skew=1.5)
        hits += found.low - 1e-9 <= truth <= (math.inf if found.high is None else found.high) + 1e-9
    assert 68 <= hits <= 96


def test_a_prediction_that_may_be_the_best_has_an_interval_from_0():
    found = regret_by_probes(PROBES, losses(1.1, 1.0), noise=0.003, freedom=4, skew=1.5)
    assert found.low == 0 < found.value < found.high


def test_losses_that_still_fall_at_the_outermost_lr_bound_nothing():
    found = regret_by_probes(PROBES, [2 * lr**-0.05 for lr, _ in PROBES], noise=0.001, freedom=4)
    assert found.high is None
    assert found.value == pytest.approx(2**0.05 - 1, rel=0.2)


def test_losses_that_do_not_depend_on_anything_are_no_regret():
    found = regret_by_probes(PROBES, [2.0] * len(PROBES), noise=0.001, freedom=4)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(0, abs=0.003)


def test_probes_of_lr_alone_will_do():
    found = regret_by_probes(
        [(1, 1), (0.5, 1), (2, 1)], [math.exp(ln_loss(lr, 1, 1.3, 1)) for lr in (1, 0.5, 2)], noise=1e-6, freedom=4
    )
    assert found.value > 0


@pytest.mark.parametrize("points", [[(1.0, 1.0)], [(1.0, 1.0), (2.0, 1.0)], [(1.0, 1.0), (1.0, 0.5), (1.0, 2.0)]])
def test_with_fewer_than_two_probes_of_lr_nothing_is_known(points):
    assert regret_by_probes(points, [2.0] * len(points), noise=0.001, freedom=4).high is None


def test_noise_widens_the_interval():
    quiet, noisy = (regret_by_probes(PROBES, losses(1.4, 1.0), noise=noise, freedom=4, skew=1.5) for noise in (0.001, 0.004))
    assert quiet.high < noisy.high and quiet.low > noisy.low
