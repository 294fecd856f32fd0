import math

import numpy as np
import pytest

from hptransfer.validate.speedup import Point, compute_multiplier

# arXiv 2512.05620, figure 6: AdamW (muP, 1/D weight decay) at 190M, 380M, 640M, 1.4B.
COSTS = [4.32036e18, 1.78145e19, 5.03824e19, 2.26749e20]
ADAM = [Point(cost, loss) for cost, loss in zip(COSTS, [3.2367, 3.0094, 2.8629, 2.6807], strict=True)]


@pytest.mark.parametrize(
    ("losses", "multipliers"),
    [((3.1779, 2.9595, 2.8188), (1.4286, 1.4167, 1.4263)), ((3.1794, 2.9629, 2.8296), (1.4156, 1.3832, 1.3069))],
    ids=["muon", "shampoo"],
)
def test_the_papers_multipliers(losses, multipliers):
    for cost, loss, expected in zip(COSTS, losses, multipliers, strict=False):
        found = compute_multiplier(ADAM, Point(cost, loss))
        assert found.bracketed and found.bound is None
        assert found.value == pytest.approx(expected, abs=2e-3)
        assert found.low == found.high == pytest.approx(found.value)


def test_a_loss_below_the_baselines_longest_run_is_only_a_bound():
    found = compute_multiplier(ADAM, Point(COSTS[-1], 2.6405))
    assert (found.bracketed, found.bound, found.value, found.high) == (False, ">", 1.0, None)


def test_a_loss_above_the_baselines_shortest_run_is_a_bound_from_above():
    found = compute_multiplier(ADAM, Point(2 * COSTS[0], 3.3))
    assert (found.bracketed, found.bound, found.value) == (False, "<", 0.5)


def test_one_baseline_run_can_only_bound():
    assert compute_multiplier(ADAM[:1], Point(COSTS[0], 3.0)).bound == ">"


def test_the_interval_covers_the_truth():
    """L = C^-0.05 for the baseline, a challenger 1.5 times as efficient, 0.2 % noise on every loss: 80 % of 300 intervals."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        noisy = [Point(c, c**-0.05 * math.exp(rng.normal(0, 0.002)), 0.002 * c**-0.05) for c in (1.0, 2.0, 4.0)]
        loss = 1.5**-0.05
        found = compute_multiplier(noisy, Point(1.0, loss * math.exp(rng.normal(0, 0.002)), 0.002 * loss), seed=seed)
        hits += (found.low or 0) <= 1.5 <= (found.high or math.inf)
    assert 0.75 <= hits / 300 <= 0.9


def test_an_equal_challenger_is_not_bounded_below():
    """The baseline's shortest run has the same loss: by noise the challenger may as well be worse."""
    found = compute_multiplier([Point(1, 2.0, 0.02), Point(2, 1.9, 0.02)], Point(1, 2.0, 0.02))
    assert found.low is None


def test_a_longer_run_that_ended_higher_does_not_turn_the_curve_back():
    found = compute_multiplier([Point(1, 3.0), Point(2, 2.8), Point(4, 2.81)], Point(1, 2.9))
    assert found.bracketed
    assert 1 < found.value < 2
