from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest
from report.factory import (
    BEST_DECAY,
    BEST_LR,
    CURVATURE,
    DATA,
    DECAY_CURVATURE,
    SKEW,
    at_constant_lr,
    edited,
    experiment,
    job,
    prediction,
    record,
    results,
    search_records,
    true_loss,
    validated,
)

from hptransfer.base.refusals import Refusal
from hptransfer.experiment.membership import Members, members
from hptransfer.report import frames
from hptransfer.report.frames import compute, heldout, search, width
from hptransfer.report.results import Results
from hptransfer.report.verdicts import against_verdict
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.result import Kind, SeedNoise, Validation

MUON = "muon"


def of(frame: pl.DataFrame, optimizer: str, *conditions: pl.Expr) -> pl.DataFrame:
    return frame.filter(pl.col("optimizer") == optimizer, *conditions)


def with_prediction(results: Results, **changes: object) -> Results:
    told = prediction(results.experiment, "muon").model_copy(update=changes)
    return replace(results, predictions={MUON: told})


def estimates(told: Prediction, name: str, **changes: object) -> dict[str, object]:
    """The hyperparameters with another estimate of one."""
    return {"hyperparameters": told.hyperparameters | {name: told.hyperparameters[name].model_copy(update=changes)}}


def with_validation(results: Results, validation: Validation) -> Results:
    return replace(results, validations={MUON: validation})


def diverged(validation: Validation, kind: Kind, factor: float = 1.0) -> Validation:
    """The validation with no loss in the runs of that kind and factor."""
    lost = {"loss": None, "standard_error": None, "losses": (None,)}
    runs = [run.model_copy(update=lost) if (run.kind, run.factor) == (kind, factor) else run for run in validation.runs]
    assert runs != list(validation.runs)
    return validation.model_copy(update={"runs": tuple(runs)})


# ------------------------------------------------------------------ the search


def test_lr_curves_hold_every_swept_run_and_one_minimum_per_width(full: Results) -> None:
    frame = search.lr_curves(full)
    assert len(frame) == len(search_records(full.experiment))
    assert set(frame["width"]) == {32, 64, 128}
    minima = frame.filter("is_minimum")
    assert len(minima) == 2 * 3
    for row in minima.iter_rows(named=True):
        assert row["loss"] == of(frame, row["optimizer"], pl.col("width") == row["width"])["loss"].min()
    assert frame.filter(pl.col("state") == "diverged")["loss"].null_count() == 6
    assert frame["is_at_ratio"].all()


def test_runs_at_another_embedding_ratio_are_not_those_of_the_bowl(full: Results) -> None:
    told = prediction(full.experiment, "muon")
    found = with_prediction(full, **estimates(told, "embedding_lr_ratio", value=4.0))
    assert not of(search.lr_curves(found), "muon")["is_at_ratio"].any()
    assert of(search.lr_curves(found), "adamw")["is_at_ratio"].all()  # no prediction, no ratio to be apart from
    assert search.weight_decay_curves(found).is_empty()


def test_lr_fit_is_the_skewed_bowl_over_the_swept_range(full: Results) -> None:
    fit = of(search.lr_fit(full), "muon", pl.col("width") == 64)
    optimum = full.predictions[MUON].optima[1]
    swept = of(search.lr_curves(full), "muon", pl.col("width") == 64)["lr"]
    assert fit["lr"].min() == pytest.approx(swept.min())
    assert fit["lr"].max() == pytest.approx(swept.max())
    for end, skew in ((0, 1.0), (-1, SKEW)):
        row = fit.row(end, named=True)
        distance = math.log(row["lr"] / optimum.lr.value)
        assert math.log(row["loss"] / optimum.loss) == pytest.approx(CURVATURE * (skew * distance) ** 2)


def test_a_basin_ends_where_the_bowl_is_two_standard_deviations_up(full: Results) -> None:
    found = with_prediction(full, noise=0.004)
    row = search.lr_basins(found).filter(pl.col("width") == 64).row(0, named=True)
    assert row["relative_height"] == pytest.approx(0.008)
    assert row["low"] < row["lr"] < row["high"]
    for end, skew in (("low", 1.0), ("high", SKEW)):
        assert CURVATURE * (skew * math.log(row[end] / row["lr"])) ** 2 == pytest.approx(math.log(1.008))


def test_a_basin_stays_inside_the_sweep(full: Results) -> None:
    frame = search.lr_basins(with_prediction(full, noise=10.0)).filter(pl.col("width") == 64)
    swept = of(search.lr_curves(full), "muon", pl.col("width") == 64)["lr"]
    assert (frame["low"][0], frame["high"][0]) == (swept.min(), swept.max())


def test_weight_decay_is_judged_near_the_best_learning_rate_without_what_that_costs(full: Results) -> None:
    frame = of(search.weight_decay_curves(full), "muon", pl.col("width") == 128)
    assert sorted(set(frame["weight_decay"])) == pytest.approx([BEST_DECAY * f for f in (0.1, 0.3, 1.0, 3.0, 10.0)])
    optimum = full.predictions[MUON].optima[2]
    for row in frame.iter_rows(named=True):
        distance = math.log(row["lr"] / optimum.lr.value)
        cost = CURVATURE * ((SKEW if distance > 0 else 1) * distance) ** 2
        assert row["lr_cost"] == pytest.approx(math.expm1(cost), abs=1e-12)
        assert row["lr_cost"] <= search.NEAR_BEST_LR
        assert row["loss_at_best_lr"] == pytest.approx(row["loss"] / (1 + row["lr_cost"]), rel=1e-12)
        expected = true_loss("muon", 128, BEST_LR["muon"], wd=row["weight_decay"])
        assert row["loss_at_best_lr"] == pytest.approx(expected, rel=0.0021)  # the jitter of the synthetic runs
    assert frame["lr_cost"].max() > 1e-4
    lowest = frame.filter("is_minimum").row(0, named=True)
    assert (lowest["weight_decay"], lowest["excess"]) == (BEST_DECAY, 0.0)
    far = frame.filter(pl.col("weight_decay") == BEST_DECAY * 10)["excess"][0]
    assert far == pytest.approx(math.expm1(DECAY_CURVATURE * math.log(10) ** 2), abs=0.005)
    assert frame.filter("is_within_noise")["excess"].max() <= 0.002 < frame.filter(~pl.col("is_within_noise"))["excess"].min()


def test_a_noisy_search_judges_weight_decay_further_from_the_best_learning_rate(full: Results) -> None:
    narrow, wide = (search.weight_decay_curves(with_prediction(full, noise=noise)) for noise in (0.001, 0.02))
    assert narrow["lr_cost"].max() <= search.NEAR_BEST_LR < wide["lr_cost"].max() <= 0.04


def test_predictions_are_in_base_coordinates_with_the_final_weight_decay_beside(full: Results) -> None:
    told = prediction(full.experiment, "muon")
    row = search.predictions(with_prediction(full, **estimates(told, "weight_decay", low=0.0005))).row(0, named=True)
    assert row["weight_decay"] == told.point["weight_decay"] == 0.001
    assert row["weight_decay_final"] == pytest.approx(0.001 * 32 / 256)
    assert row["weight_decay_low"] == pytest.approx(0.0005)
    assert row["weight_decay_high"] is None
    assert (row["lr_low"], row["lr_high"]) == (told.lr.low, told.lr.high)


# ------------------------------------------------------------------ the optimum against width


def test_optimum_against_width_runs_through_the_prediction(full: Results) -> None:
    frame = of(width.optimum_against_width(full), "muon")
    told = full.predictions[MUON]
    by_kind = {kind: frame.filter(pl.col("kind") == kind) for kind in ("optimum", "fit", "theory", "prediction")}
    assert by_kind["optimum"]["width"].to_list() == [32, 64, 128]
    assert by_kind["optimum"]["low"].null_count() == 0
    assert by_kind["prediction"].row(0, named=True)["lr"] == told.lr.value
    fit = by_kind["fit"].sort("width")
    assert fit["lr"][-1] == pytest.approx(told.lr.value)
    assert math.log(fit["lr"][-1] / fit["lr"][0]) / math.log(256 / 32) == pytest.approx(told.drift.used)
    assert by_kind["theory"]["lr"].n_unique() == 1  # theory's exponent is 0 under muP


def test_the_band_is_the_predictions_interval_at_the_target_and_the_means_amid_the_optima(full: Results) -> None:
    told = full.predictions[MUON]
    fit = of(width.optimum_against_width(full), "muon", pl.col("kind") == "fit").sort("width")
    assert (fit["width"].min(), fit["width"].max()) == (32, 256)
    last = fit.row(-1, named=True)
    assert last["low"] == pytest.approx(told.lr.low)
    assert last["high"] == pytest.approx(told.lr.high)
    halves = fit.with_columns(
        (pl.col("high") / pl.col("lr")).log().alias("up"), (pl.col("lr") / pl.col("low")).log().alias("down")
    )
    centre = halves.filter(pl.col("width") == 64).row(0, named=True)  # the middle of 32, 64, 128
    assert centre["up"] == pytest.approx(math.log(1.2) / math.sqrt(3))
    assert centre["down"] == pytest.approx(-math.log(0.85) / math.sqrt(3))
    narrowest = halves.filter(pl.col("width") == 32).row(0, named=True)
    at_target = math.log(told.lr.high / told.lr.value)
    between = centre["up"] ** 2 + (at_target**2 - centre["up"] ** 2) / 2  # half as far from the centre as the target
    assert narrowest["up"] == pytest.approx(math.sqrt(between))


def test_an_unbounded_end_leaves_the_band_open(full: Results) -> None:
    told = prediction(full.experiment, "muon")
    found = with_prediction(full, **estimates(told, "lr", high=None))
    fit = width.optimum_against_width(found).filter(pl.col("kind") == "fit")
    assert fit["high"].null_count() == len(fit)
    assert fit["low"].null_count() == 0


# ------------------------------------------------------------------ the held-out width


def test_training_curves_are_predicted_runs_and_the_ladder_without_probes(full: Results) -> None:
    frame = heldout.training_curves(full)
    assert set(frame["purpose"]) == {"predicted", "tokens x 0.50", "tokens x 2.0", "tokens x 4.0"}
    assert set(of(frame, "muon")["purpose"]) == {"predicted"}
    records = {record.run_id: record for record in full.records}
    for row in frame.filter("is_final").iter_rows(named=True):
        run = records[row["run_id"]]
        assert (row["tokens"], row["wall_seconds"]) == (run.point["tokens"], run.outcome.training_wall_seconds)
    first = frame.filter(pl.col("tokens") == 0)
    assert set(first["wall_seconds"]) == {0.0}


def test_training_curves_show_a_predicted_run_before_it_is_validated(full: Results) -> None:
    frame = heldout.training_curves(replace(full, validations={}))
    assert frame["run_id"].n_unique() == 2
    assert set(frame["purpose"]) == {"predicted"}


def test_regret_is_relative_to_the_lowest_probe_on_common_seeds(full: Results) -> None:
    frame = of(heldout.regret(full), "muon")
    lr = frame.filter(pl.col("kind") == "lr_probe")
    assert lr["factor"].to_list() == pytest.approx([0.5, 0.707, 1.414, 2])
    assert frame.filter(pl.col("kind") == "weight_decay_probe")["factor"].to_list() == [0.5, 2.0]
    assert frame["regret"].min() == 0
    probe, predicted = (
        next(run for run in full.validations[MUON].runs if (run.kind, run.factor) == key)
        for key in (("lr_probe", 2.0), ("predicted", 1.0))
    )
    assert len(predicted.losses) == 2 and len(probe.losses) == 1
    assert predicted.losses[0] and probe.losses[0]
    told = frame.filter(pl.col("kind") == "predicted")["regret"][0]
    assert lr["regret"][-1] == pytest.approx(probe.losses[0] / predicted.losses[0] * (1 + told) - 1)
    assert (frame["regret_high"] - frame["regret"]).to_list() == pytest.approx([0.0012 / loss for loss in frame["loss"]])


def test_perturbations_are_changes_against_the_prediction_with_the_noise(full: Results) -> None:
    frame = of(heldout.perturbations(full), "muon")
    assert frame["title"].to_list() == [
        *("LR / 2", "LR / 1.4", "1.4x LR", "2x LR", "WD / 2", "2x WD"),
        *("same hyperparameters", "muP alone"),
    ]
    runs = {(run.kind, run.factor): run for run in full.validations[MUON].runs}
    row = frame.filter(pl.col("title") == "2x WD").row(0, named=True)
    mine, told = runs["weight_decay_probe", 2.0].losses[0], runs["predicted", 1.0].losses[0]
    assert mine and told
    assert row["change"] == pytest.approx(mine / told - 1)
    assert math.log((1 + row["change_high"]) / (1 + row["change"])) == pytest.approx(0.001 * math.sqrt(2))
    assert math.log((1 + row["change"]) / (1 + row["change_low"])) == pytest.approx(0.001 * math.sqrt(2))


def test_the_noise_of_a_change_falls_with_the_common_seeds(full: Results) -> None:
    validation, _ = validated(full.experiment, "muon")
    again = [
        run.model_copy(update={"losses": (run.losses[0],) * 4}) if run.kind in ("predicted", "mup_only") else run
        for run in validation.runs
    ]
    noisy = validation.model_copy(update={"runs": tuple(again), "noise": SeedNoise(sd=0.01, freedom=3)})
    row = heldout.perturbations(with_validation(full, noisy)).filter(pl.col("kind") == "mup_only").row(0, named=True)
    assert math.log((1 + row["change_high"]) / (1 + row["change"])) == pytest.approx(0.01 * math.sqrt(2 / 4))


@pytest.mark.parametrize("kind", ["lr_probe", "weight_decay_probe"])
def test_a_diverged_probe_is_kept_without_a_number(full: Results, kind: Kind) -> None:
    found = with_validation(full, diverged(validated(full.experiment, "muon")[0], kind, 2.0))
    for frame, column in ((heldout.regret(found), "regret"), (heldout.perturbations(found), "change")):
        lost = frame.filter(pl.col("state") == "diverged")
        assert lost.select("kind", "factor").rows() == [(kind, 2.0)]
        assert lost[column].null_count() == frame[column].null_count() == 1


def test_nothing_is_compared_with_a_prediction_that_diverged(full: Results) -> None:
    found = with_validation(full, diverged(validated(full.experiment, "muon")[0], "predicted"))
    assert heldout.perturbations(found)["change"].null_count() == 8
    assert heldout.regret(found)["regret"].null_count() == 7


# ------------------------------------------------------------------ compute


def test_losses_against_compute_are_final_ones_with_all_their_flops(full: Results) -> None:
    frame = compute.loss_against_compute(full)
    muon = of(frame, "muon")
    assert muon.select("kind", "width").rows() == [("search", 32), ("search", 64), ("search", 128), ("predicted", 256)]
    assert (frame["compute"] == frame["flops"] + frame["flops_optimizer"]).all()
    assert (frame["flops_optimizer"] > 0).all()
    for row in muon.filter(pl.col("kind") == "search").iter_rows(named=True):
        runs = [r for r in full.searched(MUON) if r.point["width"] == row["width"] and r.loss is not None]
        best = min(runs, key=lambda run: run.loss or math.inf)
        assert (row["loss"], row["flops"]) == (best.loss, best.outcome.flops)
    told = muon.filter(pl.col("kind") == "predicted").row(0, named=True)
    assert (told["seeds"], told["tokens"]) == (2, 2_097_152)
    run = next(run for run in full.validations[MUON].runs if run.kind == "predicted")
    assert told["loss"] == run.loss


def test_adamws_ladder_is_there_once_though_every_validation_brings_it() -> None:
    found = results(experiment(("adamw", "muon", "soap")))
    frame = compute.loss_against_compute(found)
    ladder = frame.filter(pl.col("kind") == "horizon")
    assert set(ladder["optimizer"]) == {"adamw"}
    assert sorted(ladder["tokens"]) == [1_048_576, 4_194_304, 8_388_608]
    assert frame.filter(pl.col("kind") == "predicted")["optimizer"].to_list() == ["adamw", "muon", "soap"]


def test_losses_say_whether_they_are_annealed(full: Results) -> None:
    some = edited(full, lambda run: at_constant_lr(run) if run.point.settings["optimizer"] == "muon" else run)
    for frame in (compute.loss_against_compute, heldout.training_curves):
        rows = frame(some).select("optimizer", "annealed").unique().sort("optimizer").rows()
        assert rows == [("adamw", True), ("muon", False)]


def test_the_verdict_and_the_chart_compare_a_transfer_by_the_same_seeds(full: Results) -> None:
    frame = of(heldout.perturbations(full), "muon")
    verdict = against_verdict(full.validations[MUON])
    assert verdict is not None
    for kind in ("same_hyperparameters", "mup_only"):
        change = frame.filter(kind=kind)["change"][0]
        assert f"{100 * abs(change):.2f} % {'better' if change > 0 else 'worse'}" in verdict.text


def test_a_diverged_horizon_is_no_final_loss(full: Results) -> None:
    validation, _ = validated(full.experiment, "muon")
    lost = [
        run.model_copy(update={"loss": None}) if (run.kind, run.factor) == ("horizon", 4.0) else run
        for run in validation.baseline_runs
    ]
    found = with_validation(full, validation.model_copy(update={"baseline_runs": tuple(lost)}))
    assert sorted(compute.loss_against_compute(found).filter(pl.col("kind") == "horizon")["tokens"]) == [1_048_576, 4_194_304]


def test_multipliers_say_which_are_bounds_and_how_they_were_found(full: Results) -> None:
    frame = compute.multipliers(full)
    assert set(frame["optimizer"]) == {"muon"}
    assert frame.select("axis", "method").rows() == [
        *((axis, "ladder") for axis in ("tokens", "flops", "flops_with_optimizer", "wall_clock")),
        ("flops", "law"),
        ("tokens", "within_run"),
    ]
    assert frame.filter(~pl.col("bracketed"))["axis"].to_list() == ["wall_clock", "tokens"]
    assert set(frame.filter(~pl.col("bracketed"))["bound"]) == {">"}
    assert frame["p_value"].to_list() == [0.001, 0.001, 0.002, 0.0, 0.001, None]


def test_a_refused_multiplier_is_in_no_frame(full: Results) -> None:
    found = with_validation(full, validated(full.experiment, "muon", refusal=Refusal.of("unequal_budgets", budgets="9 and 8"))[0])
    assert compute.multipliers(found).is_empty()
    assert compute.multiplier_over_scale(found).is_empty()


def test_the_multiplier_over_scale_has_every_size_by_every_method(full: Results) -> None:
    frame = compute.multiplier_over_scale(full)
    assert frame.filter(pl.col("method") == "sizes")["width"].to_list() == [32, 64, 128, 256]
    assert frame.filter(pl.col("method") == "law")["value"].to_list() == [1.48] * 4
    assert frame.filter("extrapolated").select("width", "method").rows() == [(256, "sizes"), (256, "law")]
    ladder = frame.filter(pl.col("method") == "ladder").row(0, named=True)
    assert (ladder["width"], ladder["value"], ladder["low"]) == (256, 1.56, 1.42)
    assert set(frame.select("trend", "trend_low", "trend_high").rows()) == {(0.01, -0.02, 0.05)}


# ------------------------------------------------------------------ coordinate checks, and all of them


def test_coordinate_checks_carry_their_conditions(full: Results) -> None:
    frame = frames.FRAMES["coordinate_checks"](full)
    assert len(frame) == 2 * 9
    row = of(frame, "muon", pl.col("role") == "hidden", pl.col("step") == 10).row(0, named=True)
    assert (row["slope"], row["slope_low"], row["slope_high"]) == pytest.approx((-0.11, -0.12, -0.09))
    assert (row["outcome"], row["passed"], row["tolerance"]) == ("fails", False, 0.08)
    assert (row["widths"], row["seeds"], row["corpus"], row["lr"]) == ("32, 64 and 128", 3, "stdlib", 0.005)


def test_run_table_holds_diverged_and_failed_runs(full: Results) -> None:
    frame = frames.run_table(full)
    assert len(frame) == len(full.records)
    assert set(frame["state"]) == {"complete", "diverged", "failed"}
    assert frame.filter(pl.col("state") == "failed")["reason"].to_list() == ["worker died & <was> not restarted"]


@pytest.mark.parametrize("name", frames.FRAMES)
def test_every_frame_of_an_unfinished_experiment_has_its_columns(full: Results, name: str) -> None:
    unfinished = replace(full, predictions={}, validations={}, coordinate_checks={})
    empty = replace(unfinished, members=Members())
    make = frames.FRAMES[name]
    assert make(empty).schema == make(unfinished).schema == make(full).schema
    assert make(empty).is_empty() and not make(full).is_empty()


def test_runs_at_the_base_shape_serve_both_parametrizations() -> None:
    both = experiment(parametrizations=["mup", "sp"])
    at_base, wider = (record(job(both, "muon", width, 0.02)) for width in (32, 64))
    results = Results(both, members([at_base, wider], both, resolve))
    assert results.members.corpus == DATA
    frame = search.lr_curves(results)
    assert frame.select("arm", "parametrization", "width").rows() == [
        ("muon", "mup", 32),
        ("muon", "mup", 64),
        ("muon-sp", "sp", 32),
    ]
    assert frames.run_table(results).select("arm", "width").rows() == [("muon", 32), ("muon", 64)]
