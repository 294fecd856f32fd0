"""Slopes and verdicts of runs whose movement is known."""

import pytest

from hptransfer.coordcheck.check import ACTIVATIONS, CheckResult, Run, check, fit_slope

WIDTHS = (32, 64, 128, 256)


def runs(exponents: dict[tuple[str, int], float], seeds: int = 3, widths: tuple[int, ...] = WIDTHS) -> list[Run]:
    """Runs that move by width^exponent, 0 where it is not given; each seed by a factor of its own."""
    return [
        Run(
            width,
            seed,
            {(name, t): 10**seed * width ** exponents.get((name, t), 0.0) for name in ACTIVATIONS for t in (3, 10, 50)},
        )
        for width in widths
        for seed in range(seeds)
    ]


def slopes(result: CheckResult) -> dict[tuple[str, int], float | None]:
    return {(line.activation, line.step): line.slope for line in result.lines}


def test_the_slope_of_a_power_is_its_exponent():
    assert fit_slope(WIDTHS, [0.3 * width**-0.7 for width in WIDTHS]) == pytest.approx(-0.7)
    # Ordinary least squares: sum x y / sum x^2 of the centred logarithms, x = -1.5 -.5 .5 1.5.
    assert fit_slope(WIDTHS, [1, 1, 1, 2]) == pytest.approx(1.5 / 5)


def test_slopes_by_role_and_step():
    found = slopes(check(runs({("hidden", 3): 1.0, ("readout", 10): -0.5}), [10, 3]))
    assert list(found) == [(name, t) for name in ACTIVATIONS for t in (3, 10)]
    assert found == pytest.approx(dict.fromkeys(found, 0.0) | {("hidden", 3): 1.0, ("readout", 10): -0.5})


@pytest.mark.parametrize(("exponent", "passed"), [(0.07, True), (0.09, False), (-0.07, True), (-0.09, False)])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("step", [3, 10])
def test_the_tolerance_holds_for_every_role_on_both_sides(name, step, exponent, passed):
    result = check(runs({(name, step): exponent}), [3, 10, 50])
    assert result.passed == passed
    assert f"{name} at t = {step}, {exponent:+.3f}" in result.verdict
    assert result.verdict.startswith("passed" if passed else "failed")


def test_late_steps_are_reported_and_not_judged():
    result = check(runs({("hidden", 50): 1.0}), [3, 10, 50])
    assert result.passed
    assert slopes(result)["hidden", 50] == pytest.approx(1.0)
    assert {line.outcome for line in result.lines if line.step == 50} == {"not judged"}


def test_a_failed_check_names_everything_that_fails():
    verdict = check(runs({("hidden", 3): 1.0, ("readout", 10): -0.5}), [3, 10]).verdict
    assert verdict == "failed: hidden at t = 3, +1.000; readout at t = 10, -0.500; tolerance 0.08"


def test_the_median_is_over_the_slopes_of_seeds():
    """One seed of three drifts: not the median's business. Nor is a seed that moves ten times as far at every width."""
    drifting = [run for run in runs({("hidden", 3): 1.0}, seeds=3) if run.seed == 2]
    line = check([run for run in runs({}) if run.seed < 2] + drifting, [3]).lines[1]
    assert line.slopes == pytest.approx((0.0, 0.0, 1.0))
    assert line.slope == pytest.approx(0.0)
    assert line.rms == pytest.approx((10.0,) * len(WIDTHS))


def test_the_order_of_runs_does_not_matter():
    found = runs({("hidden", 3): 0.3})
    assert check(found[::-1], [50, 3, 50]) == check(found, [3, 50])


def still(run: Run, step: int) -> Run:
    """The run with nothing but its readout moved at ``step``."""
    return Run(run.width, run.seed, {key: value * (key[0] == "readout" or key[1] != step) for key, value in run.rms.items()})


def test_what_does_not_move_has_no_slope_and_fails_where_it_is_judged():
    result = check([still(run, 3) for run in runs({})], [3, 10])
    assert not result.passed
    assert result.verdict.startswith("failed: embedding at t = 3, no slope; hidden at t = 3, no slope; tolerance")
    late = check([still(run, 50) for run in runs({})], [3, 10, 50])
    assert late.passed
    assert slopes(late)["hidden", 50] is None


def test_the_first_step_is_not_judged():
    """Only the readout moves there."""
    first = [Run(width, 0, {(name, 1): float(name == "readout") * width for name in ACTIVATIONS}) for width in WIDTHS]
    both = [Run(run.width, 0, {**run.rms, **other.rms}) for run, other in zip(first, runs({}, seeds=1), strict=True)]
    result = check(both, [1, 3])
    assert result.passed
    assert [slopes(result)[name, 1] for name in ACTIVATIONS] == [None, None, pytest.approx(1.0)]


def test_a_diverged_run_fails_the_check_and_is_named():
    """The rest is still told: slopes of the seeds that got through, medians at every width."""
    found = [
        Run(run.width, run.seed, {}, "loss nan, gradient norm nan at t = 2") if (run.width, run.seed) == (256, 1) else run
        for run in runs({})
    ]
    result = check(found, [3, 10])
    assert not result.passed
    assert result.verdict == "failed: width 256, seed 1: loss nan, gradient norm nan at t = 2; tolerance 0.08"
    assert all(line.slopes == pytest.approx((0.0, 0.0)) for line in result.lines)

    gone = [Run(run.width, run.seed, {}, "x") if run.width == 256 else run for run in runs({})]
    assert {line.slope for line in check(gone, [3]).lines} == {None}
    assert check(gone, [3]).lines[0].rms == (10.0, 10.0, 10.0, None)
