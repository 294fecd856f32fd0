import numpy as np
import pytest

from hptransfer.laws.bootstrap import MOST, redrawn, weighted


def test_errors_are_as_large_as_the_degrees_of_freedom_say():
    """Forty rows, ten coefficients: least squares leaves three quarters of the variance."""
    rng = np.random.default_rng(0)
    design = rng.standard_normal((40, 10))
    y = rng.standard_normal(40)
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    size = np.sqrt((redrawn(left, 10, 4000, rng) ** 2).mean(axis=1))
    assert np.median(size) == pytest.approx(np.sqrt((left**2).sum() / 30), rel=0.1)
    assert size.std() / size.mean() > 0.1  # how uncertain that is


def test_rows_that_a_fit_passes_through_are_no_errors():
    left = np.concatenate([np.zeros(5), np.tile([-1.0, 1.0], 10)])
    drawn = redrawn(left, 5, 2000, np.random.default_rng(0))
    assert (drawn**2).mean() == pytest.approx(20 / 18, rel=0.05)  # the mean of 20 over chi-square of 20
    assert not redrawn(np.zeros(9), 3, 10, np.random.default_rng(0)).any()


def test_a_group_has_one_weight_and_varies_with_its_leverage():
    slopes = np.concatenate([np.eye(2)[[0]] * 0.5, np.tile(np.eye(2)[[0]], (3, 1)), np.eye(2)[[1]]])
    group = np.array([0, 1, 1, 1, 2])
    found = weighted(slopes, group, 20_000, np.random.default_rng(0))
    assert (found[:, 1:4] == found[:, 1:2]).all()
    assert found.mean(axis=0) == pytest.approx(np.ones(5), abs=0.3)
    assert found[:, 0].var() == pytest.approx((1 - 0.25 / 3.25) ** -2, rel=0.1)
    assert found[:, 4].var() == pytest.approx((1 - MOST) ** -2, rel=0.3)  # the only one that tells its coefficient
