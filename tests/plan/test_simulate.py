"""What is expected of a search: it depends on trials, noise and distance as it must."""

from __future__ import annotations

import math

import numpy as np
import pytest
from synthetic import Truth, make_experiment, make_records

from hptransfer.plan import simulate
from hptransfer.plan.simulate import PUBLIC, Scenario, SurfaceShape, expect, shape_of
from hptransfer.transfer.group import Group, fit_group

SETTING = Scenario(
    widths=(32, 64), base=32, target=128, span=math.log(64), theory=0.0, readout=0.0, compared=3, first_look=7, batch=4
)


def shape(noise: float) -> SurfaceShape:
    return SurfaceShape(curvature=(0.01, 0.01), skew=(1.2, 1.2), noise=(noise, noise), source="test")


@pytest.mark.slow
def test_more_trials_lower_the_expected_regret_and_narrow_the_interval() -> None:
    few, some, many = expect(SETTING, shape(0.01), [7, 12, 48], studies=80)
    assert few.regret - many.regret > few.standard_error  # the studies are the same: the difference is surer than either
    assert many.regret > 0
    assert few.interval_factor > some.interval_factor > many.interval_factor > 1


@pytest.mark.slow
def test_noise_and_distance_cost_something() -> None:
    [quiet], [noisy] = (expect(SETTING, shape(noise), [12]) for noise in (0.0005, 0.02))
    assert noisy.regret > 1.5 * quiet.regret
    assert noisy.interval_factor > quiet.interval_factor
    far = Scenario(**{**vars(SETTING), "target": 4096})
    [near], [distant] = (expect(setting, shape(0.003), [12]) for setting in (SETTING, far))
    assert distant.regret > 2 * near.regret
    assert distant.interval_factor > near.interval_factor


def test_a_budget_does_not_depend_on_its_neighbours() -> None:
    """Fewer trials are the first of more: the same studies, whatever else is asked for."""
    [alone] = expect(SETTING, PUBLIC, [8], studies=5)
    assert expect(SETTING, PUBLIC, [8, 20], studies=5)[0] == alone
    assert expect(SETTING, PUBLIC, [8], studies=5, seed=1) != [alone]


def test_too_few_runs_to_predict_from() -> None:
    """A wider width waits for the first look; three ratios compared leave one run at the kept one; a single width needs one
    run more."""
    assert [one.regret is None for one in expect(SETTING, PUBLIC, [6, 7], studies=2)] == [True, False]
    assert [one.regret is None for one in expect(SETTING, PUBLIC, [2, 6], studies=2)] == [True, True]
    at_once = Scenario(**{**vars(SETTING), "first_look": 3})
    assert [one.regret is None for one in expect(at_once, PUBLIC, [4, 5], studies=2)] == [True, False]
    single = Scenario(**{**vars(SETTING), "widths": (64,), "compared": 1, "first_look": 0})
    assert [one.regret is None for one in expect(single, PUBLIC, [3, 4], studies=2)] == [True, False]


def test_eight_times_as_many_widths_are_fitted_in_no_more_than_twice_the_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit of many widths takes longer for each of them, and one of them tells more: fewer studies will do."""
    fitted: list[int] = []
    monkeypatch.setattr(simulate, "fit_sweeps", lambda sweeps: fitted.extend(len(one.x) for one in sweeps) or sweeps)
    monkeypatch.setattr(simulate._Study, "outcome", lambda study, fit: (0.0, 0.0))

    def cells(widths: int) -> int:
        fitted.clear()
        expect(Scenario(**{**vars(SETTING), "widths": tuple(range(1, widths + 1))}), PUBLIC, [8])
        return sum(fitted)

    assert cells(64) <= 2 * cells(8)


def test_theory_moves_nothing_where_the_range_does_not_end() -> None:
    """A drift that theory knows is no reason for regret, while the optimum stays inside the range."""
    [still], [moving] = (
        expect(Scenario(**{**vars(SETTING), "theory": theory, "readout": theory, "span": math.log(1e4)}), shape(0.003), [16])
        for theory in (0.0, -0.5)
    )
    assert moving.regret < 2 * still.regret


def test_the_shape_is_that_of_the_fit() -> None:
    truth = Truth(curvature=0.02, skew=1.4, noise=0.002)
    fit = fit_group(Group("muon", tuple(make_records(truth, make_experiment(), runs=30))), None).fit
    found = shape_of(fit, "words")
    assert found.curvature[0] == found.curvature[1] == pytest.approx(0.02, rel=0.4)
    assert found.noise[0] == pytest.approx(0.002, rel=0.6)
    assert np.ptp(found.skew) == 0
    assert found.source == "words"


def test_exponents_that_disagree_widen_the_interval() -> None:
    """Under sp the optimum lies somewhere between what hidden weights and readout want, and the fit has to find it."""
    apart = Scenario(**{**vars(SETTING), "readout": -1.0, "span": math.log(1e4)})
    [alike], [unlike] = (expect(setting, shape(0.003), [16]) for setting in (SETTING, apart))
    assert 0 < unlike.regret < 3 * alike.regret
    assert unlike.interval_factor > alike.interval_factor
