import math

import numpy as np
import pytest

from hptransfer.validate.regret import local_minimum, regret


def test_the_minimum_of_a_parabola_is_found_between_the_points():
    x = [-1.0, 0.0, 1.0]
    assert local_minimum(x, [(v - 0.3) ** 2 for v in x]) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("y", [[3.0, 2.0, 1.0], [1.0, 2.0, 1.5], [1.0, 1.0, 1.0]])
def test_without_a_turn_inside_the_lowest_point_counts(y):
    assert local_minimum([-1.0, 0.0, 1.0], y) == pytest.approx(min(y), abs=1e-12)


def test_a_prediction_at_the_optimum_has_no_regret():
    found = regret([0.5, 2.0], [0.02, 0.02], [0.0, 0.0])
    assert (found.value, found.low, found.high) == (pytest.approx(0), pytest.approx(0), pytest.approx(0))


def test_the_regret_of_a_known_bowl():
    """ln loss = 0.05 (ln lr - ln lr*)^2, predicted a factor of 1.5 too low."""
    offset = math.log(1.5)
    differences = [0.05 * ((math.log(f) - offset) ** 2 - offset**2) for f in (0.5, 2.0)]
    assert regret([0.5, 2.0], differences, [0.0, 0.0]).value == pytest.approx(math.expm1(0.05 * offset**2), rel=1e-6)


def test_without_probes_nothing_is_known():
    assert regret([], [], []).high is None


def test_noise_widens_the_interval():
    quiet, noisy = (regret([0.5, 2.0], [0.01, 0.01], [s, s]) for s in (0.0, 0.02))
    assert (quiet.high or 0) < (noisy.high or 0)
    assert noisy.low == 0


def test_the_interval_is_reproducible():
    rng = np.random.default_rng(3)
    differences = list(rng.normal(0, 0.01, 2))
    assert regret([0.5, 2.0], differences, [0.01, 0.01]) == regret([0.5, 2.0], differences, [0.01, 0.01])
