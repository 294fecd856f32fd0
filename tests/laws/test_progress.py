import numpy as np
import pytest
from ladders import FRONTIERS, arms

from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.laws.progress import AlgorithmicProgress, Frontier

OLD, NEW = (Frontier(*FRONTIERS[name]) for name in ("old", "new"))


@pytest.mark.parametrize(("flops", "gain"), [(1e15, 3.80), (1e16, 9.54), (1e18, 60.2), (1e20, 380)])
def test_the_published_curves_have_their_gains(flops, gain):
    assert OLD.gain(NEW, flops) == pytest.approx(gain, rel=0.01)


@pytest.mark.parametrize("floor", [1.9, None], ids=["fixed", "fitted"])
def test_known_ladders_are_recovered(floor):
    found = AlgorithmicProgress(draws=100, E=floor).fit(arms())
    assert found.parameters["E"].value == pytest.approx(1.9, rel=1e-3)
    assert found.parameters["alpha_new"].value == pytest.approx(0.091, rel=0.01)
    assert found.parameters["gain_new_largest"].value == pytest.approx(OLD.gain(NEW, 1e18), rel=0.02)
    assert found.parameters["slope_new"].value == pytest.approx(0.4, rel=0.02)
    assert any("grows" in finding for finding in found.findings)


def test_a_scale_free_gain_holds():
    rows = arms()
    twice = rows.filter(arm="old").with_columns(arm=np.full(6, "twice"), loss=1.9 + 36.3 * (2 * rows["flops"][:6]) ** -0.065)
    found = AlgorithmicProgress(draws=100, E=1.9).fit(rows.filter(arm="old").vstack(twice.select(rows.columns)))
    assert found.parameters["gain_twice_smallest"].value == pytest.approx(2.0)
    assert any("holds" in finding for finding in found.findings)


def test_an_asymptote_that_the_runs_do_not_show_has_an_upper_end():
    """Power laws to 0: E is at its end, how far above it may be is open, and so are the exponents."""
    rows = arms()
    noise = np.exp(0.01 * np.random.default_rng(3).standard_normal(len(rows)))
    bare = rows.with_columns(loss=36.3 * rows["flops"] ** np.where(rows["arm"] == "old", -0.065, -0.07) * noise)
    found = AlgorithmicProgress(draws=200).fit(bare)
    asymptote, lowest = found.parameters["E"], bare["loss"].min()
    assert asymptote.value == asymptote.low == 0
    assert 0.1 * lowest < asymptote.high < lowest
    fixed = AlgorithmicProgress(draws=200, E=1e-9).fit(bare).parameters["alpha_old"]
    assert found.parameters["alpha_old"].high > fixed.high + (fixed.high - fixed.low)
    assert any("E may be 0" in note for note in found.notes)


def test_the_baseline_is_said_or_asked_for():
    found = AlgorithmicProgress(draws=100, E=1.9).fit(arms())
    assert any("baseline is old" in note for note in found.notes)
    assert "gain_old_largest" in AlgorithmicProgress(draws=100, E=1.9, baseline="new").fit(arms()).parameters
    with pytest.raises(UsageError, match="unknown arm as baseline 'nwe'"):
        AlgorithmicProgress(baseline="nwe").fit(arms())


def test_what_cannot_be_told_is_refused():
    with pytest.raises(CheckFailed, match="3 or more sizes of an arm"):
        AlgorithmicProgress().fit(arms(sizes=2))
    with pytest.raises(UsageError, match="not below the lowest loss"):
        AlgorithmicProgress(E=5.0).fit(arms())


@pytest.mark.slow
@pytest.mark.parametrize("floor", [1.9, None], ids=["fixed", "fitted"])
def test_intervals_hold_four_of_five_truths(floor):
    """Two hundred pairs of ladders; one standard error is 3 %."""
    held = np.zeros(2)
    for seed in range(200):
        found = AlgorithmicProgress(draws=100, E=floor).fit(arms(noise=0.003, seed=seed)).parameters
        truths = {"gain_new_largest": OLD.gain(NEW, 1e18), "slope_new": 0.4}
        held += [found[name].low <= truth <= found[name].high for name, truth in truths.items()]
    assert ((held >= 148) & (held <= 174)).all(), held / 200
