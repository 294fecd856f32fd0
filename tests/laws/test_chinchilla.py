from pathlib import Path

import numpy as np
import pytest

from hptransfer.base.errors import CheckFailed
from hptransfer.laws.chinchilla import Chinchilla
from hptransfer.laws.columns import assignments, law_table
from hptransfer.runs.sources.reading import read_rows
from hptransfer.testing.ladders import TRUTH, ladder, runs

EPOCH = Path(__file__).parents[2] / "../shared/data/chinchilla_epoch.csv"
needs_data = pytest.mark.skipif(not EPOCH.exists(), reason="the public measurements are not beside this checkout")


def epochs(rows: int):
    frame = read_rows(EPOCH).frame.sort("loss").head(rows)
    return law_table(frame, Chinchilla, assignments("N=params,D=flops/(6*params)"), "loss")[0]


@needs_data
@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("huber", {"E": 1.8172, "alpha": 0.3473, "beta": 0.3672, "a": 0.5139}),
        ("likelihood", {"E": 1.8169, "alpha": 0.3478, "beta": 0.3659, "a": 0.513}),
    ],
)
def test_both_of_epochs_estimators(estimator, expected):
    found = Chinchilla(estimator=estimator, draws=100).fit(epochs(240)).parameters
    assert {name: found[name].value for name in expected} == pytest.approx(expected, abs=1e-3)


@needs_data
def test_intervals_are_as_wide_as_epochs():
    """They printed standard errors (arXiv 2404.10102, of 4,000 bootstraps); an 80 % interval of a normal is 2.56 of them."""
    found = Chinchilla(draws=400).fit(epochs(240)).parameters
    for name, printed in {"E": 0.03, "A": 124.58, "B": 1293.23, "alpha": 0.02, "beta": 0.02}.items():
        assert 0.6 < (found[name].high - found[name].low) / 2.563 / printed < 1.4


@needs_data
def test_what_the_five_points_do_is_said():
    found = Chinchilla(draws=100).fit(epochs(245))
    assert found.parameters["beta"].value == pytest.approx(0.4530, abs=1e-3)
    assert any("5 highest losses" in note and "beta from 0.4531 to 0.3672" in note for note in found.notes)
    assert not any("highest losses" in note for note in Chinchilla(draws=100).fit(epochs(240)).notes)


def test_a_law_without_noise_is_recovered():
    found = Chinchilla(draws=100).fit(ladder())
    for name in ("E", "A", "B", "alpha", "beta", "a"):
        assert found.parameters[name].value == pytest.approx(getattr(TRUTH, name), rel=1e-3), name
    best = found.optimal((1e22,))[0]
    assert best.N.value == pytest.approx(TRUTH.best_size(1e22), rel=1e-3)
    assert best.D.value * best.N.value * 6 == pytest.approx(1e22)


def test_a_fixed_asymptote_is_kept_and_said():
    found = Chinchilla(draws=100, E=1.7).fit(ladder(noise=0.002))
    assert found.parameters["E"].model_dump() == pytest.approx({"value": 1.7, "low": 1.7, "high": 1.7})
    assert any("E is fixed at 1.7" in note for note in found.notes)


def test_a_diverged_run_with_a_finite_loss_moves_little():
    rows = ladder(noise=0.001)
    spoiled = rows.with_columns(loss=np.where(rows["row"] == 7, 9.0, rows["loss"]))
    plain, other = (Chinchilla(draws=100).fit(one).parameters for one in (rows, spoiled))
    for name in ("E", "alpha", "beta"):
        assert other[name].value == pytest.approx(plain[name].value, rel=0.05), name


def test_compute_may_be_counted_otherwise():
    best = Chinchilla(draws=100, flops_factor=8.0).fit(ladder()).optimal((8e21,))[0]
    assert best.N.value == pytest.approx(TRUTH.best_size(6e21), rel=1e-3)


@pytest.mark.parametrize(
    ("n", "d", "message"),
    [
        ([1e8, 2e8], [1e9, 2e9], "needs 6 runs or more that differ, there are 2"),
        ([1e8] * 8, np.geomspace(1e9, 1e10, 8), "needs 3 or more different N, there is 1"),
        (np.geomspace(1e8, 1e9, 8), [1e9] * 8, "needs 3 or more different D, there is 1"),
    ],
    ids=["two points", "one N", "D constant"],
)
def test_what_cannot_be_identified_is_refused(n, d, message):
    with pytest.raises(CheckFailed, match=message):
        Chinchilla().fit(runs(n, d))


@pytest.mark.slow
def test_intervals_hold_four_of_five_truths():
    """Two hundred ladders of 30 runs; one standard error is 3 %."""
    held = dict.fromkeys(("alpha", "beta", "a", "N", "ratio"), 0)
    for seed in range(200):
        found = Chinchilla(draws=300).fit(ladder(noise=0.003, seed=seed))
        best = found.optimal((1e20,))[0]
        size = TRUTH.best_size(1e20)
        truths = {name: (found.parameters[name], getattr(TRUTH, name)) for name in ("alpha", "beta", "a")}
        for name, (one, truth) in (
            truths | {"N": (best.N, size), "ratio": (best.tokens_per_parameter, 1e20 / 6 / size**2)}
        ).items():
            held[name] += one.low <= truth <= one.high
    assert all(0.75 <= count / 200 <= 0.9 for count in held.values()), held
    assert 0.75 <= sum(held.values()) / 1000 <= 0.85, held
