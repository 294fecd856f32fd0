"""Curves through few losses, against least squares."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hptransfer.validate.bent import EXPONENTS, MISTUNED, bent

COSTS, NOISE, FREEDOM = np.array([1.0, 4.0, 16.0]), 0.004, 1e6
PLACE = int(np.abs(EXPONENTS - 0.3).argmin())
ALONE = (np.arange(len(EXPONENTS)) == PLACE).astype(float)


def test_at_one_exponent_draws_are_those_of_least_squares() -> None:
    beta = EXPONENTS[PLACE]
    losses = 2.0 + COSTS**-beta
    curve = bent(COSTS, losses, NOISE * losses, FREEDOM)
    assert curve.misfit[PLACE] == pytest.approx(0.0, abs=1e-9)
    drawn, factor = curve.draw(64.0, ALONE, 40_000, np.random.default_rng(0))
    design = np.column_stack([np.ones(3), COSTS**-beta])
    precision = 1 / (math.hypot(NOISE, MISTUNED) * losses) ** 2
    at = np.array([1.0, 64.0**-beta])
    spread = math.sqrt(at @ np.linalg.inv(design.T @ (precision[:, None] * design)) @ at)
    assert len(drawn) == 40_000
    assert drawn.mean() == pytest.approx(2.0 + 64.0**-beta, abs=0.02 * spread)
    assert drawn.std() == pytest.approx(spread, rel=0.02)
    assert factor == pytest.approx(1.0, abs=0.02)


def test_losses_that_leave_every_curve_have_more_noise_than_was_thought() -> None:
    losses = np.array([3.0, 2.5, 2.6, 2.3])
    curve = bent(np.array([1.0, 4.0, 16.0, 64.0]), losses, 0.001 * losses, 3.0)
    _, factor = curve.draw(256.0, ALONE, 2000, np.random.default_rng(0))
    assert np.median(factor) > 5


def test_the_likeliest_exponent_is_the_true_one() -> None:
    costs = np.geomspace(1, 1e4, 9)
    curve = bent(costs, 2.0 + costs ** -EXPONENTS[PLACE], np.full(9, 1e-4))
    assert abs(int(curve.ln_likelihood.argmax()) - PLACE) <= 2
