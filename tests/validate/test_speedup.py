import math

import numpy as np
import pytest

from hptransfer.validate.speedup import Spent, _draw, compute_multiplier, over_sizes, power_law, trend, within_run

# arXiv 2512.05620, figure 6: AdamW, Muon and Shampoo (muP, 1/D weight decay) at 190M, 380M, 640M, 1.4B, one seed each.
COSTS = [4.32036e18, 1.78145e19, 5.03824e19, 2.26749e20]


def points(losses, error=0.0, freedom=None):
    return [Spent(cost, loss, error * loss, freedom) for cost, loss in zip(COSTS, losses, strict=True)]


ADAMW, MUON, SHAMPOO = (3.2367, 3.0094, 2.8629, 2.6807), (3.1779, 2.9595, 2.8188, 2.6405), (3.1794, 2.9629, 2.8296, 2.6504)


@pytest.mark.parametrize(
    ("losses", "multipliers"),
    [(MUON, (1.4286, 1.4167, 1.4263, 1.4129)), (SHAMPOO, (1.4156, 1.3832, 1.3069, 1.2970))],
    ids=["muon", "shampoo"],
)
def test_the_papers_multipliers_over_sizes(losses, multipliers):
    found = over_sizes(points(ADAMW), points(losses))
    assert [one.value for one in found] == pytest.approx(multipliers, abs=2e-3)
    assert [one.extrapolated for one in found] == [False, False, False, True]
    assert [one.bracketed for one in found] == [True, True, True, False]
    assert all(one.bound is None for one in found)
    # One seed: nothing says how noisy the losses are.
    assert all(one.low == one.high == one.value and one.p_value is None for one in found)


@pytest.mark.parametrize(
    ("losses", "multipliers"),
    [(MUON, (1.39, 1.50, 1.48, 1.30)), (SHAMPOO, (1.37, 1.47, 1.36, 1.20))],
    ids=["muon", "shampoo"],
)
def test_a_power_law_through_the_papers_points_reads_otherwise(losses, multipliers):
    found = [power_law(points(ADAMW), point) for point in points(losses)]
    assert [one.value for one in found if one] == pytest.approx(multipliers, abs=6e-3)
    assert [one.extrapolated for one in found if one] == [False, False, False, True]


def test_the_order_of_the_runs_does_not_matter():
    baseline, own = points(ADAMW, 0.001, 4), points(MUON, 0.001, 4)
    shuffled = [baseline[i] for i in (2, 0, 3, 1)]
    assert over_sizes(shuffled, own) == over_sizes(baseline, own)
    assert compute_multiplier(shuffled, own[0]) == compute_multiplier(baseline, own[0])
    assert power_law(shuffled, own[0]) == power_law(baseline, own[0])


def test_the_outer_points_are_extrapolated_at_both_ends():
    """ln cost is linear in ln loss: beyond the ends the line goes on, wherever its points are."""
    law = [Spent(cost, cost**-0.05) for cost in (1.0, 3.0, 10.0)]
    below, inside, above = over_sizes(law, [Spent(10.0, 15.0**-0.05), Spent(1.0, 2.0**-0.05), Spent(1.0, 0.8**-0.05)])
    assert [below.value, inside.value, above.value] == pytest.approx([1.5, 2.0, 0.8])
    assert [below.extrapolated, inside.extrapolated, above.extrapolated] == [True, False, True]


@pytest.mark.parametrize("baseline", [[Spent(2.0, 3.0)], [Spent(1.0, 3.0), Spent(2.0, 3.0)]], ids=["one size", "equal losses"])
def test_where_nothing_can_be_extrapolated_there_is_a_bound(baseline):
    better, worse = over_sizes(baseline, [Spent(1.0, 2.9), Spent(4.0, 3.1)])
    assert (better.value, better.bound, better.bracketed, better.extrapolated) == (2.0, ">", False, False)
    assert (worse.value, worse.bound, worse.bracketed) == (baseline[0].cost / 4, "<", False)


def test_the_noise_of_the_sizes_makes_the_interval():
    """Local slope d ln C / d ln L = -19.5 at the first size: 0.1 % on both losses there, and on the one beyond."""
    found, *_, last = over_sizes(points(ADAMW, 0.001), points(MUON, 0.001))
    share = math.log(3.1779 / 3.2367) / math.log(3.0094 / 3.2367)
    sd = 0.001 * math.log(COSTS[1] / COSTS[0]) / math.log(3.2367 / 3.0094) * math.sqrt(1 + share**2 + (1 - share) ** 2)
    assert math.log(found.high / found.low) == pytest.approx(2 * 1.2816 * sd, rel=0.06)
    assert last.p_value is not None and 1 / 2001 <= last.p_value < 0.01


def test_the_trend_over_sizes():
    """A challenger with the exponent 0.06 against 0.05: the multiplier grows as compute^0.2."""
    baseline = [Spent(c, c**-0.05) for c in (1.0, 4.0, 16.0, 64.0, 256.0)]
    own = [Spent(c, 0.99 * c**-0.06) for c in (1.0, 4.0, 16.0)]
    found = trend(baseline, own)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2))
    assert trend(baseline, own[:2]) is None
    assert trend(baseline[:1], own) is None


def test_the_trend_of_the_paper_has_an_interval():
    found = trend(points(ADAMW, 0.001, 4), points(SHAMPOO, 0.001, 4))
    multipliers = [one.value for one in over_sizes(points(ADAMW), points(SHAMPOO))]
    assert found.value == pytest.approx(np.polyfit(np.log(COSTS), np.log(multipliers), 1)[0])
    assert found.low < found.value < found.high


def test_a_law_needs_three_points_and_a_loss_that_falls():
    ladder = [Spent(1.0, 3.0), Spent(2.0, 2.9), Spent(4.0, 2.8)]
    assert power_law(ladder[:2], Spent(1.0, 2.9)) is None
    assert power_law([Spent(1.0, 2.8), Spent(2.0, 2.9), Spent(4.0, 3.0)], Spent(1.0, 2.9)) is None
    assert power_law(ladder, Spent(1.0, 2.9)).bracketed


# A ladder of horizons of E + B cost^-beta.
E, B, BETA = 1.7, 0.5, 0.35


def truth(cost):
    return E + B * cost**-BETA


LADDER = [Spent(cost, truth(cost)) for cost in (0.5, 1.0, 2.0, 4.0)]


@pytest.mark.parametrize("multiplier", [0.5, 0.7, 1.0, 1.2, 1.4, 2.0, 2.5, 4.0])
def test_between_two_horizons_the_curve_bends_as_losses_do(multiplier):
    found = compute_multiplier(LADDER, Spent(1.0, truth(multiplier)))
    assert (found.bracketed, found.bound, found.p_value) == (True, None, None)
    assert found.value == pytest.approx(multiplier, rel=1e-3)
    assert found.low <= multiplier <= found.high
    assert math.log(found.high / found.low) < 0.02  # what beta may be, without noise


def bent(cost, beta):
    """A loss of 2.2 at cost 1, 4 % less at 2."""
    return Spent(cost, 2.2 - 0.088 * (1 - cost**-beta) / (1 - 2**-beta))


@pytest.mark.parametrize("beta", [0.05, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("multiplier", [0.7, 1.4, 2.8])
def test_three_horizons_say_how_the_curve_bends(beta, multiplier):
    found = compute_multiplier([bent(cost, beta) for cost in (0.5, 1.0, 4.0)], Spent(1.0, bent(multiplier, beta).loss))
    assert found.value == pytest.approx(multiplier, rel=0.005)


def test_of_two_horizons_the_bend_is_what_is_usual():
    """Without any noise: the interval is of beta alone."""
    for beta, held in ((0.1, False), (0.2, True), (0.35, True), (0.7, True), (1.2, False)):
        found = compute_multiplier([bent(1.0, beta), bent(2.0, beta)], Spent(1.0, bent(1.4, beta).loss))
        assert (found.low <= 1.4 <= found.high) == held
        assert found.value == pytest.approx(1.4, rel=0.06)


def test_a_loss_below_the_baselines_longest_run_is_only_a_bound():
    found = compute_multiplier(LADDER, Spent(2.0, truth(5.0)))
    assert (found.bracketed, found.bound, found.value, found.high) == (False, ">", 2.0, None)


def test_a_loss_above_the_baselines_shortest_run_is_a_bound_from_above():
    found = compute_multiplier(LADDER, Spent(1.0, truth(0.4)))
    assert (found.bracketed, found.bound, found.value, found.low) == (False, "<", 0.5, None)


def test_one_baseline_run_can_only_bound():
    assert compute_multiplier(LADDER[:1], Spent(1.0, 2.0)).bound == ">"
    assert compute_multiplier(LADDER[:1], Spent(1.0, 3.0)).bound == "<"


@pytest.mark.parametrize(
    ("cost", "loss", "shown"),
    [
        (1.0, 1.9, True),  # above 4
        (4.0, 1.9, True),  # above 1: the longest run cost as much and ended higher
        (5.0, 1.9, False),  # only above 0.8
        (0.4, 3.0, False),  # below 1.25: may be a speedup
        (1.0, 3.0, False),  # below 0.5
    ],
)
def test_a_bound_shows_a_speedup_only_above_one(cost, loss, shown):
    noisy = [Spent(point.cost, point.loss, 0.001) for point in LADDER]
    found = compute_multiplier(noisy, Spent(cost, loss, 0.001))
    assert found.p_value == (1 / 2001 if shown else 1.0)


def test_the_p_value_is_that_of_the_difference():
    """At equal cost the multiplier is above 1 when the loss is below the baseline's: a normal difference of two means."""
    noisy = [Spent(point.cost, point.loss, 0.004) for point in LADDER]
    for z in (0.0, 1.0, 2.0):
        found = compute_multiplier(noisy, Spent(1.0, truth(1.0) - z * 0.004 * math.sqrt(2), 0.004))
        assert found.p_value == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), abs=0.025)


def test_noise_from_few_runs_widens_the_interval():
    def width(freedom):
        noisy = [Spent(point.cost, point.loss, 0.002, freedom) for point in LADDER]
        found = compute_multiplier(noisy, Spent(1.0, truth(1.4), 0.002, freedom))
        return math.log(found.high / found.low)

    known, few, many = width(None), width(3), width(1000)
    assert many == pytest.approx(known, rel=0.1)
    assert few > 1.15 * known


def test_the_scale_of_the_noise_is_one_for_all_points_of_an_optimizer():
    """When one point is drawn far off because the noise was underestimated, the other is likely to be as well."""
    pair = [Spent(1.0, 2.2, 0.0022, 2), Spent(2.0, 2.1, 0.0021, 2)]
    one, other = np.log(np.abs(np.log(_draw(pair, np.random.default_rng(0))[1:] / [2.2, 2.1]))).T
    # ln |z| varies by pi^2 / 8, ln sqrt(2 / chi2_2) by pi^2 / 24, and only the latter is shared.
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.25, abs=0.05)


def test_an_equal_challenger_is_not_bounded_below():
    """The baseline's shortest run has the same loss: by noise the challenger may as well be worse."""
    found = compute_multiplier([Spent(1, 2.0, 0.02), Spent(2, 1.9, 0.02)], Spent(1, 2.0, 0.02))
    assert found.low is None


@pytest.mark.parametrize("compare", [compute_multiplier, lambda baseline, own: over_sizes(baseline, [own])[0]])
@pytest.mark.parametrize("last", [[], [Spent(8, 2.7)]], ids=["last", "between"])
def test_a_longer_run_that_ended_higher_does_not_turn_the_curve_back(compare, last):
    """The loss counts as reached where it first was: the noise of a longer run must not be to the challenger's gain."""
    found = compare([Spent(1, 3.0), Spent(2, 2.8), Spent(4, 2.81), *last], Spent(1, 2.805))
    assert found.bracketed
    assert 1.9 < found.value < 2


def test_the_interval_is_reproducible():
    noisy = [Spent(point.cost, point.loss, 0.002, 4) for point in LADDER]
    own = Spent(1.0, 2.15, 0.002, 4)
    assert compute_multiplier(noisy, own) == compute_multiplier(noisy, own)
    assert compute_multiplier(noisy, own) != compute_multiplier(noisy, own, seed=1)


# Validation losses by step, every 250 from the middle on: modded-nanogpt's shoot-out of 29 October 2024 (124M, 5100 steps).
STEPS = [3500, 3750, 4000, 4250, 4500, 4750, 5000, 5100]
SHOOT_OUT = {
    "shampoo": ([3.4351, 3.4223, 3.3919, 3.3654, 3.3381, 3.3119, 3.2906, 3.2858], 1.139),
    "soap": ([3.4226, 3.4068, 3.3779, 3.3518, 3.3241, 3.2989, 3.2790, 3.2752], 1.172),
    "muon": ([3.4145, 3.4003, 3.3725, 3.3467, 3.3210, 3.2978, 3.2795, 3.2760], 1.183),
}


@pytest.mark.parametrize(("losses", "multiplier"), SHOOT_OUT.values(), ids=SHOOT_OUT)
def test_the_crossings_of_the_shoot_out_are_lower_bounds(losses, multiplier):
    found = within_run(Spent(5100, 3.3406), list(zip(STEPS, losses, strict=True)))
    assert found.value == pytest.approx(multiplier, abs=5e-4)
    assert (found.bound, found.bracketed, found.high) == (">", False, None)


def test_a_curve_that_never_passes_says_nothing():
    losses, _ = SHOOT_OUT["muon"]
    assert within_run(Spent(5100, 3.27), list(zip(STEPS, losses, strict=True))) is None
    assert within_run(Spent(5100, 3.27), []) is None


def test_the_lower_bound_has_a_lower_end_from_the_baselines_noise():
    curve = list(zip(STEPS, SHOOT_OUT["muon"][0], strict=True))
    known = within_run(Spent(5100, 3.3406, 0.002), curve)
    assert known.low == pytest.approx(within_run(Spent(5100, 3.3406 - 1.2816 * 0.002), curve).value, rel=1e-5)
    assert within_run(Spent(5100, 3.3406, 0.002, 2), curve).low < known.low
    assert within_run(Spent(5100, 3.3406, 0.06), curve).low is None  # 10 % of the time it would not have passed


def test_a_bound_is_closed_on_its_own_side():
    """Every draw lies beyond the ladder: more than 4 is all that is known, and that is known."""
    found = compute_multiplier([Spent(1, 2.2, 0.001), Spent(4, 2.0, 0.001)], Spent(1, 1.5, 0.001))
    assert (found.value, found.low, found.high) == (4, 4, None)
    found = compute_multiplier([Spent(1, 2.2, 0.001), Spent(4, 2.0, 0.001)], Spent(2, 3.0, 0.001))
    assert (found.value, found.low, found.high) == (0.5, None, 0.5)


def test_nothing_is_extrapolated_to_many_times_the_compute():
    """AdamW hardly improves with size, so that its line would reach the loss at an absurd compute."""
    flat = [Spent(1, 2.0, 0.001), Spent(2, 1.999, 0.001), Spent(4, 1.998, 0.001)]
    found = over_sizes(flat, [Spent(1, 1.7, 0.001), Spent(1, 2.3, 0.001)])
    assert [(one.bound, one.value, one.extrapolated, one.bracketed) for one in found] == [
        (">", 4.0, False, False),
        ("<", 1.0, False, False),
    ]
    assert (found[0].low, found[0].high) == (4.0, None)
    assert power_law(flat, Spent(1, 1.7, 0.001)).bound == ">"
    assert trend(flat, [Spent(1, 1.9), Spent(2, 1.8), Spent(4, 1.7)]) is None
