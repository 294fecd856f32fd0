from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from ladders import ANNEALED, curves

from hptransfer.base.errors import CheckFailed
from hptransfer.laws.annealing import Annealing
from hptransfer.laws.multi_power import MultiPower
from hptransfer.laws.schedules import Curve
from hptransfer.laws.study import study
from hptransfer.transfer.table import read_table

CURVES = Path(__file__).parents[2] / "../shared/data/mpl_loss_curves.csv"
needs_data = pytest.mark.skipif(not CURVES.exists(), reason="the public measurements are not beside this checkout")
TWO = ("constant_24000", "cosine_24000")
AUTHORS = (*TWO, "wsdcon_9")  # what the authors of the Multi-Power law fit to


def held_out(law, size: int, fitted: tuple[str, ...]):
    frame = read_table(CURVES, f"model_M = {size}")
    return study(frame, law, {"run": "schedule"}, "loss", f"schedule not in {fitted}")


@needs_data
@pytest.mark.parametrize("size", [25, 100, 400])
def test_other_schedules_are_predicted(size):
    assert held_out(Annealing(draws=100), size, TWO).held_out.mean_relative_error < 0.0025


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(("size", "least"), [(25, 0.0018), (100, 0.0018), (400, 0.0023)])
def test_multi_power_on_its_authors_curves(size, least):
    """The mean over schedules; at 400 million it is above the .18 % that is wanted (dev/LOG.md)."""
    found = held_out(MultiPower(draws=100), size, AUTHORS)
    table = found.table.filter("held_out")
    error = np.abs(found.fitted.predict(table)[0] / table["loss"].to_numpy() - 1)
    by_run = table.with_columns(error=error).group_by("run").agg(pl.col("error").mean())
    assert by_run["error"].mean() < least


def test_a_known_law_is_recovered():
    found = Annealing(draws=100).fit(curves())
    expected = {"L0": 2.9, "A": 0.6, "alpha": 0.75, "C": 0.45}
    assert {name: one.value for name, one in found.parameters.items()} == pytest.approx(expected, rel=1e-3)


def test_the_areas_are_sums_over_steps():
    lr = np.concatenate([np.full(50, 1.0), np.linspace(1.0, 0.5, 30), np.full(20, 0.5)])
    step = np.arange(10, 110)
    curve = Curve(np.arange(100), step.astype(float), lr)
    momentum, total = 0.0, 0.0
    for before, after in pairwise(lr):
        momentum = 0.9 * momentum + before - after
        total += momentum
    assert curve.momentum_area(0.9)[-1] == pytest.approx(total)
    assert curve.area[-1] == pytest.approx(10 + ((lr[1:] + lr[:-1]) / 2).sum())


def test_one_curve_may_be_predicted_from_another():
    rows = curves()
    rest, linear = rows.filter(pl.col("run") != "linear"), rows.filter(run="linear")
    assert Annealing(draws=100).fit(rest).predict(linear)[0] == pytest.approx(linear["loss"].to_numpy(), rel=1e-4)


def test_no_peak_is_chosen():
    law, rows = Annealing(draws=100), curves()
    higher = rows.with_columns(run=pl.col("run") + " at twice", lr=2 * pl.col("lr"))
    with pytest.raises(CheckFailed, match="one peak learning rate"):
        law.fit(pl.concat([rows, higher]))
    with pytest.raises(CheckFailed, match=r"fitted at a peak learning rate of 0\.0003"):
        law.fit(rows).predict(higher)


def test_steps_without_a_learning_rate_are_not_predicted():
    rows = curves().filter(run="linear").with_columns(lr=pl.when(pl.col("step") > 15_000).then(0.0).otherwise("lr"))
    predicted = Annealing(draws=100).fit(curves()).predict(rows)[0]
    assert np.isnan(predicted).sum() == (rows["lr"] == 0).sum() - 1


def test_curves_that_say_nothing_are_refused():
    rows = curves()
    with pytest.raises(CheckFailed, match="all are constant"):
        Annealing().fit(rows.filter(run="constant"))
    with pytest.raises(CheckFailed, match="20 points"):
        Annealing().fit(rows.filter(pl.col("step") < 4000))


@pytest.mark.slow
def test_intervals_hold_truths_where_errors_go_on():
    """Noise of neighbours that is shared over five points; one standard error is 4 %."""
    truth, held = dict(zip(("L0", "A", "alpha", "C"), (2.9, 0.6, 0.75, 0.45), strict=True)), 0
    assert np.exp(ANNEALED[0, 0]) == pytest.approx(2.9)
    for seed in range(100):
        found = Annealing(draws=200).fit(curves(noise=0.001, seed=seed)).parameters
        held += sum(found[name].low <= value <= found[name].high for name, value in truth.items())
    assert 0.68 <= held / 400 <= 0.88
