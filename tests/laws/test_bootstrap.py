import numpy as np
import pytest

from hptransfer.laws.bootstrap import MOST, weighted


def test_a_group_has_one_weight_and_varies_with_its_leverage():
    slopes = np.concatenate([np.eye(2)[[0]] * 0.5, np.tile(np.eye(2)[[0]], (3, 1)), np.eye(2)[[1]]])
    group = np.array([0, 1, 1, 1, 2])
    found = weighted(slopes, group, 20_000, np.random.default_rng(0))
    assert (found[:, 1:4] == found[:, 1:2]).all()
    assert found.mean(axis=0) == pytest.approx(np.ones(5), abs=0.3)
    assert found[:, 0].var() == pytest.approx((1 - 0.25 / 3.25) ** -2, rel=0.1)
    assert found[:, 4].var() == pytest.approx((1 - MOST) ** -2, rel=0.3)  # the only one that tells its coefficient
