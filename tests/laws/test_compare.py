from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hptransfer.base.errors import UsageError
from hptransfer.laws.chinchilla import Chinchilla
from hptransfer.laws.columns import law_table, lowest
from hptransfer.laws.compare import compare
from hptransfer.laws.envelope import Envelope
from hptransfer.laws.farseer import Farseer
from hptransfer.laws.skaling import Skaling
from hptransfer.runs.sources.reading import read_rows
from hptransfer.testing.ladders import ladder

STEPS = Path(__file__).parents[2] / "../shared/data/steplaw_dense.csv"


def ranked(laws, table, where):
    table = table.with_columns(held_out=where)
    return compare(laws, dict.fromkeys([law.name for law in laws], table))


def test_the_law_that_is_wrong_is_told_apart():
    """E cannot be 2.2 where larger models are below it."""
    wrong = Chinchilla(E=2.2, draws=100)
    found = ranked([wrong, Skaling(draws=100)], ladder(noise=0.001), pl.col("N") > 1e9)
    assert [one.law for one in found] == ["skaling", "chinchilla"]
    assert found[1].is_told_apart
    assert found[1].more.low > 0
    assert found[1].mean_relative_error > 10 * found[0].mean_relative_error
    assert any("E is fixed at 2.2" in note for note in found[1].notes)
    assert not any("fixed" in note for note in found[0].notes)


def test_laws_that_are_both_right_are_not_told_apart():
    """One has another parameter that it does not need: of five worlds one may differ by chance."""
    told = sum(
        ranked([Chinchilla(draws=100), Skaling(draws=100)], ladder(noise=0.003, seed=seed), pl.col("N") > 1e9)[1].is_told_apart
        for seed in range(5)
    )
    assert told <= 2


def test_the_fit_has_not_seen_what_it_predicts():
    table = ladder(noise=0.001)
    spoiled = table.with_columns(loss=pl.when(pl.col("N") > 1e9).then(2 * pl.col("loss")).otherwise(pl.col("loss")))
    laws = [Chinchilla(draws=100), Skaling(draws=100)]
    assert all(0.45 < one.mean_relative_error < 0.55 for one in ranked(laws, spoiled, pl.col("N") > 1e9))


def test_laws_that_refuse_come_last_with_their_reason():
    laws = [Farseer(draws=100), Envelope(draws=100), Chinchilla(draws=100)]
    table = ladder(noise=0.001, sizes=4, ratios=(2, 3, 5, 8, 12, 20, 30, 50, 80))
    found = ranked(laws, table, pl.col("N") > 1e9)
    assert [one.law for one in found] == ["chinchilla", "farseer", "envelope"]
    assert "4 or more different N, there are 3" in found[1].refusal
    assert found[1].mean_relative_error is None
    assert found[2].refusal


def sweep():
    rate = np.tile([1e-3, 2e-3, 4e-3], 2)
    loss = [3.1, 3.0, 3.03, 2.8, None, 2.9]
    return pl.DataFrame({"N": [1e8] * 3 + [2e8] * 3, "lr": rate, "loss": loss}).with_row_index("row")


def test_the_lowest_of_a_sweep():
    found, note = lowest(sweep(), ["N"], "loss")
    assert found["loss"].to_list() == [3.0, 2.8]
    assert found["lr"].to_list() == [2e-3, 1e-3]
    assert "of 2 to 3 runs for each N" in note
    assert "biased low: the second lowest is 2.29% above" in note
    with pytest.raises(UsageError, match="unknown column 'M'"):
        lowest(sweep(), ["M"], "loss")


@pytest.mark.skipif(not STEPS.exists(), reason="the public measurements are not beside this checkout")
def test_which_law_predicts_a_billion_parameters():
    """Step Law's sweeps: seventeen sizes and horizons, of which two are above a billion parameters."""
    best, _ = lowest(read_rows(STEPS).frame, ["N", "D"], "smooth_loss")
    table, _ = law_table(best, Chinchilla, {}, "smooth_loss")
    found = ranked([Chinchilla(draws=200), Skaling(draws=200), Farseer(draws=200)], table, pl.col("N") > 1e9)
    assert [one.law for one in found] == ["skaling", "chinchilla", "farseer"]
    assert [one.mean_relative_error for one in found] == pytest.approx([0.0042, 0.0095, 0.0189], abs=3e-4)
