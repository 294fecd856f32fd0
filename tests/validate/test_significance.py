import math

import numpy as np
import pytest
from scipy import stats

from hptransfer.base.errors import UsageError
from hptransfer.validate.significance import (
    TRACK_3,
    OneSidedTest,
    Sample,
    equivalent_loss,
    equivalent_steps,
    loss_exponent,
    p_lower,
    seeds_needed,
)


def sample(losses):
    return Sample(float(np.mean(losses)), float(np.std(losses, ddof=1)), len(losses), len(losses) - 1)


ONE, OTHER = [3.2781, 3.2765, 3.2790, 3.2772], [3.2801, 3.2789, 3.2845, 3.2812, 3.2776, 3.2830]


def test_the_p_value_is_welchs():
    expected = stats.ttest_ind(ONE, OTHER, equal_var=False, alternative="less").pvalue
    assert p_lower(sample(ONE), sample(OTHER)) == pytest.approx(expected)
    assert p_lower(sample(OTHER), sample(ONE)) == pytest.approx(1 - expected)


def test_known_noise_makes_it_a_normal_test():
    found = p_lower(Sample(3.277, 0.0013, 4, math.inf), Sample(3.279, 0.0013, 4, math.inf))
    assert found == pytest.approx(stats.norm.sf(0.002 / (0.0013 / math.sqrt(2))))


def test_noise_from_few_runs_makes_a_claim_weaker():
    def p(freedom):
        return p_lower(Sample(3.277, 0.0013, 3, freedom), Sample(3.280, 0.0013, 3, freedom))

    assert p(2) > p(8) > p(math.inf)


def test_equal_losses_show_nothing():
    assert p_lower(sample(ONE), sample(ONE)) == pytest.approx(0.5)


@pytest.mark.parametrize("numbers", [(0.0, 3, 2), (math.nan, 3, 2), (0.001, 0, 2), (0.001, 1, 0)])
def test_without_noise_there_is_no_comparison(numbers):
    with pytest.raises(UsageError, match="needs the noise of both sides"):
        Sample(3.28, *numbers)


# R's power.t.test(delta, power = 0.8, alternative = "one.sided"): 309.8, 50.15, 20.03 and 13.09.
@pytest.mark.parametrize(("effect", "n"), [(0.2, 310), (0.5, 51), (0.8, 21), (1.0, 14)])
def test_the_seeds_of_another_program(effect, n):
    assert seeds_needed(effect * 0.0013, 0.0013) == n


@pytest.mark.parametrize(("difference", "other_sd"), [(0.002, 0.0013), (0.003, 0.004)])
def test_the_seeds_needed_have_the_power(difference, other_sd):
    """4000 simulated claims with that many seeds, and with one less."""
    rng = np.random.default_rng(0)
    n = seeds_needed(difference, 0.0013, other_sd)

    def power(seeds):
        one, other = rng.normal(0, 0.0013, (4000, seeds)), rng.normal(difference, other_sd, (4000, seeds))
        return float(np.mean(stats.ttest_ind(one, other, axis=1, equal_var=False, alternative="less").pvalue <= 0.05))

    assert power(n) > 0.79
    assert power(n - 1) < 0.81


def test_a_stricter_level_or_a_higher_power_needs_more():
    assert seeds_needed(0.002, 0.0013, level=0.001) > seeds_needed(0.002, 0.0013)
    assert seeds_needed(0.002, 0.0013, power=0.95) > seeds_needed(0.002, 0.0013)
    assert seeds_needed(1.0, 0.0013) == 2


@pytest.mark.parametrize(
    "arguments",
    [{"difference": 0.0}, {"difference": -0.1}, {"sd": 0.0}, {"other_sd": -1.0}, {"level": 0.9}, {"power": 1.0}],
    ids=str,
)
def test_what_no_number_of_seeds_can_show_is_refused(arguments):
    with pytest.raises(UsageError, match="No number of seeds"):
        seeds_needed(**{"difference": 0.002, "sd": 0.0013} | arguments)


def test_the_margin_of_track_3_is_a_p_value_of_a_thousandth():
    assert stats.norm.sf(TRACK_3.margin / 0.0013) == pytest.approx(0.001, rel=0.05)


@pytest.mark.parametrize(
    ("losses", "valid"),
    [([3.2759], True), ([3.2761], False), ([3.2779] * 4, True), ([3.2781] * 4, False), ([3.28] * 100, False)],
)
def test_track_3_reached(losses, valid):
    assert TRACK_3.reached(losses, 3.28) is valid


@pytest.mark.parametrize(
    ("losses", "steps", "others", "other_steps", "valid"),
    [
        ([3.2750] * 4, 3250, [3.2780] * 4, 3250, True),  # .0030 sqrt(2) = .0042
        ([3.2753] * 4, 3250, [3.2780] * 4, 3250, False),  # .0027 sqrt(2) = .0038
        ([3.2780] * 4, 3150, [3.2780] * 4, 3250, True),  # 100 steps are .0045
        ([3.2780] * 4, 3200, [3.2780] * 4, 3250, False),  # 50 are .00225
        ([3.2770] * 4, 3350, [3.2780] * 4, 3250, False),  # longer and lower, but by less than it should be
        ([3.2780] * 2, 3150, [3.2780] * 1, 3250, False),  # .0045 over sqrt(1.5)
    ],
)
def test_track_3_better(losses, steps, others, other_steps, valid):
    assert TRACK_3.better(losses, steps, others, other_steps) is valid


def test_a_rule_of_another_benchmark():
    assert OneSidedTest(margin=0.01, loss_per_step=0.0).reached([2.98], 3.0)
    assert not OneSidedTest(margin=0.03, loss_per_step=0.0).reached([2.98], 3.0)


def test_loss_and_steps_are_exchanged_by_the_exponent_of_a_ladder():
    tokens = [0.5, 1.0, 2.0, 4.0]
    exponent = loss_exponent(tokens, [2.2 * one**-0.05 for one in tokens])
    assert exponent == pytest.approx(0.05)
    assert equivalent_steps(2.2, 2.2 * 1.4**-0.05, exponent) == pytest.approx(1.4)
    assert equivalent_loss(2.2, 1.4, exponent) == pytest.approx(2.2 * 1.4**-0.05)
    assert equivalent_loss(3.28, equivalent_steps(3.28, 3.30, 0.07), 0.07) == pytest.approx(3.30)


def test_track_3_as_an_exponent():
    """.0045 loss per 100 steps near 3250 steps and a loss of 3.28 is an exponent of .045."""
    exponent = loss_exponent([3200, 3300], [3.28225, 3.27775])
    assert exponent == pytest.approx(0.0446, abs=2e-4)
    assert 3250 * (equivalent_steps(3.28, 3.2755, exponent) - 1) == pytest.approx(100, rel=0.03)


def test_an_exponent_needs_a_loss_that_falls_over_two_horizons():
    with pytest.raises(UsageError, match="two horizons"):
        loss_exponent([1.0, 1.0], [2.2, 2.1])
    with pytest.raises(UsageError, match="does not fall"):
        loss_exponent([1.0, 2.0], [2.2, 2.3])
