from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest
from report.factory import BEST_LR, CURVATURE, DATA, SKEW, experiment, record, search_records, spec, true_loss, validated

from hptransfer.report import frames
from hptransfer.report.results import Results


def test_lr_curves_hold_every_swept_run_and_one_minimum_per_width(full: Results) -> None:
    frame = frames.lr_curves(full)
    assert len(frame) == len(search_records(full.experiment))
    assert set(frame["width"]) == {32, 64, 128}
    minima = frame.filter("is_minimum")
    assert len(minima) == 2 * 3
    for row in minima.iter_rows(named=True):
        same = frame.filter(pl.col("optimizer") == row["optimizer"], pl.col("width") == row["width"])
        assert row["loss"] == same["loss"].min()
    assert frame.filter(pl.col("state") == "diverged")["loss"].null_count() == 6


def test_lr_fit_is_the_skewed_bowl_over_the_swept_range(full: Results) -> None:
    fit = frames.lr_fit(full).filter(pl.col("optimizer") == "muon", pl.col("width") == 64)
    optimum = full.predictions["muon", "mup"].optima[1]
    swept = frames.lr_curves(full).filter(pl.col("optimizer") == "muon", pl.col("width") == 64)["lr"]
    assert fit["lr"].min() == pytest.approx(swept.min())
    assert fit["lr"].max() == pytest.approx(swept.max())
    for end, skew in ((0, 1.0), (-1, SKEW)):
        row = fit.row(end, named=True)
        distance = math.log(row["lr"] / optimum.lr.value)
        assert math.log(row["loss"] / optimum.loss) == pytest.approx(CURVATURE * (skew * distance) ** 2)


def test_optimum_against_width_runs_through_the_prediction(full: Results) -> None:
    frame = frames.optimum_against_width(full).filter(pl.col("optimizer") == "muon")
    prediction = full.predictions["muon", "mup"]
    by_kind = {kind: frame.filter(pl.col("kind") == kind) for kind in ("optimum", "fit", "theory", "prediction")}
    assert by_kind["optimum"]["width"].to_list() == [32, 64, 128]
    assert by_kind["optimum"]["low"].null_count() == 0
    assert by_kind["prediction"].row(0, named=True)["lr"] == prediction.hyperparameters.lr.value
    fit = by_kind["fit"].sort("width")
    assert fit["lr"][-1] == pytest.approx(prediction.hyperparameters.lr.value)
    assert math.log(fit["lr"][-1] / fit["lr"][0]) / math.log(256 / 32) == pytest.approx(prediction.drift.used)
    assert by_kind["theory"]["lr"].n_unique() == 1  # theory's exponent is 0 under muP


def test_training_curves_are_predicted_runs_and_the_ladder_without_probes(full: Results) -> None:
    frame = frames.training_curves(full)
    assert set(frame["purpose"]) == {"predicted", "horizon x2"}
    assert set(frame.filter(pl.col("optimizer") == "muon")["purpose"]) == {"predicted"}
    records = {record.run_id: record for record in full.records}
    for row in frame.filter("is_final").iter_rows(named=True):
        run = records[row["run_id"]]
        assert (row["tokens"], row["wall_seconds"]) == (run.spec.tokens, run.training_wall_seconds)
    first = frame.filter(pl.col("tokens") == 0)
    assert set(first["wall_seconds"]) == {0.0}


def test_training_curves_show_a_predicted_run_before_it_is_validated(full: Results) -> None:
    frame = frames.training_curves(replace(full, validations={}))
    assert frame["run_id"].n_unique() == 2
    assert set(frame["purpose"]) == {"predicted"}


def test_regret_is_relative_to_the_best_probe(full: Results) -> None:
    frame = frames.regret(full).filter(pl.col("optimizer") == "muon")
    assert frame["lr_factor"].to_list() == pytest.approx([0.5, 1, 2])
    assert frame["regret"].min() == 0
    expected = true_loss("muon", 256, BEST_LR["muon"] * 2.08) / true_loss("muon", 256, BEST_LR["muon"] * 1.04) - 1
    assert frame["regret"][-1] == pytest.approx(expected, abs=0.005)
    assert (frame["regret_high"] > frame["regret_low"]).all()


def test_regret_keeps_a_diverged_probe_without_a_loss(full: Results) -> None:
    validation, _ = validated(full.experiment, "muon")
    runs = tuple(
        run.model_copy(update={"loss": None, "standard_error": None}) if run.purpose == "probe x2" else run
        for run in validation.runs
    )
    frame = frames.regret(replace(full, validations={("muon", "mup"): validation.model_copy(update={"runs": runs})}))
    assert frame["loss"].null_count() == frame["regret"].null_count() == 1


def test_multipliers_say_which_are_bounds(full: Results) -> None:
    frame = frames.multipliers(full)
    assert set(frame["optimizer"]) == {"muon"}
    assert frame["axis"].to_list() == ["tokens", "flops", "flops_with_optimizer", "wall_clock"]
    assert frame.filter(~pl.col("bracketed"))["bound"].to_list() == [">"]


def test_run_table_holds_diverged_and_failed_runs(full: Results) -> None:
    frame = frames.run_table(full)
    assert len(frame) == len(full.records)
    assert set(frame["state"]) == {"complete", "diverged", "failed"}
    assert frame.filter(pl.col("state") == "failed")["reason"].to_list() == ["worker died & <was> not restarted"]


def test_every_frame_of_an_unfinished_experiment_has_its_columns(full: Results) -> None:
    unfinished = replace(full, predictions={}, validations={})
    for name, make in frames.FRAMES.items():
        assert make(unfinished).schema == make(full).schema, name
    assert frames.lr_fit(unfinished).is_empty()


def test_runs_at_the_base_shape_serve_both_parametrizations() -> None:
    both = experiment(parametrizations=["mup", "sp"])
    at_base = record(spec(both, "muon", 32, 0.02))
    wider = record(spec(both, "muon", 64, 0.02))
    results = Results(both, (at_base, wider), {}, {})
    assert results.target.data == DATA
    frame = frames.lr_curves(results).filter(pl.col("optimizer") == "muon")
    assert frame.select("parametrization", "width").rows() == [("mup", 32), ("mup", 64), ("sp", 32)]
