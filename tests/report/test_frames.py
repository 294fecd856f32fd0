"""The numbers behind the charts."""

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
    lost,
    prediction,
    record,
    results,
    search_records,
    true_loss,
    validated,
    with_validation,
    with_winner,
)

from hptransfer.base.refusals import Refusal
from hptransfer.experiment.membership import Members, members
from hptransfer.report.frames import all_frames, run_table
from hptransfer.report.frames.search import NEAR_BEST_LR
from hptransfer.trainers.ours.points import resolve
from hptransfer.validate.result import SeedNoise
from hptransfer.validate.results import Results
from hptransfer.validate.sentences import against_verdict

MUON = "muon"
NAMES = list(all_frames(Results(experiment())))


def frame(found: Results, name: str, arm: str | None = MUON, **equal: object) -> pl.DataFrame:
    """A frame, of one arm where one is named."""
    return all_frames(found)[name].filter(**equal, **({"arm": arm} if arm else {}))


def told(found: Results, estimate: str | None = None, **changes: object) -> Results:
    """With a prediction of Muon alone that has something else in it, or in one of its estimates."""
    one = prediction(found.experiment, MUON)
    if estimate:
        changes = {"hyperparameters": one.hyperparameters | {estimate: one.hyperparameters[estimate].model_copy(update=changes)}}
    return replace(found, predictions={MUON: one.model_copy(update=changes)})


# -- the search --------------------------------------------------------------------------------------------------------


def test_lr_curves_hold_every_swept_run_and_one_minimum_per_width(full: Results) -> None:
    found = frame(full, "lr_curves", None)
    assert len(found) == len(search_records(full.experiment))
    minima = found.filter("is_minimum")
    assert minima.select("arm", "width").rows() == [(arm, width) for arm in ("adamw", MUON) for width in (32, 64, 128)]
    for row in minima.iter_rows(named=True):
        assert row["loss"] == found.filter(arm=row["arm"], width=row["width"])["loss"].min()
    assert found.filter(state="diverged")["loss"].null_count() == 6
    assert found["is_at_ratio"].all()


def test_runs_at_another_embedding_ratio_are_not_those_of_the_bowl(full: Results) -> None:
    found = told(full, "embedding_lr_ratio", value=4.0)
    assert not frame(found, "lr_curves")["is_at_ratio"].any()
    assert frame(found, "lr_curves", "adamw")["is_at_ratio"].all()  # no prediction, no ratio to be apart from
    assert frame(found, "weight_decay_curves", None).is_empty()


def test_lr_fit_is_the_skewed_bowl_over_the_swept_range(full: Results) -> None:
    fit, swept = frame(full, "lr_fit", width=64), frame(full, "lr_curves", width=64)["lr"]
    optimum = full.predictions[MUON].optima[1]
    assert (fit["lr"].min(), fit["lr"].max()) == pytest.approx((swept.min(), swept.max()))
    for end, skew in ((0, 1.0), (-1, SKEW)):
        row = fit.row(end, named=True)
        distance = math.log(row["lr"] / optimum.lr.value)
        assert math.log(row["loss"] / optimum.loss) == pytest.approx(CURVATURE * (skew * distance) ** 2)


def test_a_basin_ends_where_the_bowl_is_two_standard_deviations_up_or_the_sweep_does(full: Results) -> None:
    row = frame(told(full, noise=0.004), "lr_basins", width=64).row(0, named=True)
    assert row["relative_height"] == pytest.approx(0.008) and row["low"] < row["lr"] < row["high"]
    for end, skew in (("low", 1.0), ("high", SKEW)):
        assert CURVATURE * (skew * math.log(row[end] / row["lr"])) ** 2 == pytest.approx(math.log(1.008))
    swept = frame(full, "lr_curves", width=64)["lr"]
    assert frame(told(full, noise=10.0), "lr_basins", width=64).select("low", "high").row(0) == (swept.min(), swept.max())


def test_weight_decay_is_judged_near_the_best_learning_rate_without_what_that_costs(full: Results) -> None:
    found = frame(full, "weight_decay_curves", width=128)
    assert sorted(set(found["weight_decay"])) == pytest.approx([BEST_DECAY * f for f in (0.1, 0.3, 1.0, 3.0, 10.0)])
    optimum = full.predictions[MUON].optima[2]
    for row in found.iter_rows(named=True):
        distance = math.log(row["lr"] / optimum.lr.value)
        cost = CURVATURE * ((SKEW if distance > 0 else 1) * distance) ** 2
        assert row["lr_cost"] == pytest.approx(math.expm1(cost), abs=1e-12)
        assert row["loss_at_best_lr"] == pytest.approx(row["loss"] / (1 + row["lr_cost"]), rel=1e-12)
        expected = true_loss(MUON, 128, BEST_LR[MUON], wd=row["weight_decay"])
        assert row["loss_at_best_lr"] == pytest.approx(expected, rel=0.0021)  # the jitter of the synthetic runs
    assert 1e-4 < found["lr_cost"].max() <= NEAR_BEST_LR
    lowest = found.filter("is_minimum").row(0, named=True)
    assert (lowest["weight_decay"], lowest["excess"]) == (BEST_DECAY, 0.0)
    far = found.filter(pl.col("weight_decay") == BEST_DECAY * 10)["excess"][0]
    assert far == pytest.approx(math.expm1(DECAY_CURVATURE * math.log(10) ** 2), abs=0.005)
    assert found.filter("is_within_noise")["excess"].max() <= 0.002 < found.filter(~pl.col("is_within_noise"))["excess"].min()
    noisy = frame(told(full, noise=0.02), "weight_decay_curves")
    assert NEAR_BEST_LR < noisy["lr_cost"].max() <= 0.04


def test_predictions_are_in_base_coordinates_with_the_final_weight_decay_beside(full: Results) -> None:
    row = frame(told(full, "weight_decay", low=0.0005), "predictions").row(0, named=True)
    one = full.predictions[MUON]
    assert row["weight_decay"] == one.point["weight_decay"] == 0.001
    assert (row["weight_decay_low"], row["weight_decay_high"]) == (0.0005, None)
    assert row["weight_decay_final"] == pytest.approx(0.001 * 32 / 256)
    assert (row["lr_low"], row["lr_high"]) == (one.lr.low, one.lr.high)


def test_the_line_runs_through_the_prediction_with_the_drift_used_and_a_band(full: Results) -> None:
    """The band: the prediction's interval at the target, the mean's amid the optima."""
    found, one = frame(full, "optimum_against_width"), full.predictions[MUON]
    assert found.filter(kind="optimum")["width"].to_list() == [32, 64, 128]
    assert found.filter(kind="prediction")["lr"].to_list() == [one.lr.value]
    assert found.filter(kind="theory")["lr"].n_unique() == 1  # theory's exponent is 0 under muP
    fit = found.filter(kind="fit").sort("width")
    first, last = fit.row(0, named=True), fit.row(-1, named=True)
    assert (first["width"], last["width"]) == (32, 256)
    assert [last[name] for name in ("lr", "low", "high")] == pytest.approx([one.lr.value, one.lr.low, one.lr.high])
    assert math.log(last["lr"] / first["lr"]) / math.log(256 / 32) == pytest.approx(one.drift.used)
    up, down = (pl.col("high") / pl.col("lr")).log(), (pl.col("lr") / pl.col("low")).log()
    centre = fit.filter(width=64).select(up=up, down=down).row(0, named=True)  # the middle of 32, 64, 128
    assert centre["up"] == pytest.approx(math.log(1.2) / math.sqrt(3))
    assert centre["down"] == pytest.approx(-math.log(0.85) / math.sqrt(3))
    at_target = math.log(one.lr.high / one.lr.value)
    between = centre["up"] ** 2 + (at_target**2 - centre["up"] ** 2) / 2  # half as far from the centre as the target
    assert math.log(first["high"] / first["lr"]) == pytest.approx(math.sqrt(between))
    open_end = frame(told(full, "lr", high=None), "optimum_against_width", kind="fit")
    assert open_end["high"].null_count() == len(open_end) and open_end["low"].null_count() == 0


# -- the held-out width ------------------------------------------------------------------------------------------------


def test_training_curves_are_predicted_runs_and_the_ladder_without_probes(full: Results) -> None:
    found, records = frame(full, "training_curves", None), full.by_id
    assert set(found["purpose"]) == {"predicted", "tokens x 0.50", "tokens x 2.0", "tokens x 4.0"}
    assert set(found.filter(arm=MUON)["purpose"]) == {"predicted"}
    for row in found.filter("is_final").iter_rows(named=True):
        run = records[row["run_id"]]
        assert (row["tokens"], row["wall_seconds"]) == (run.point["tokens"], run.outcome.training_wall_seconds)
    assert set(found.filter(tokens=0)["wall_seconds"]) == {0.0}
    untested = frame(replace(full, validations={}), "training_curves", None)
    assert untested["run_id"].n_unique() == 2 and set(untested["purpose"]) == {"predicted"}


def test_regret_is_relative_to_the_lowest_probe_on_common_seeds(full: Results) -> None:
    found, runs = frame(full, "regret"), {(run.kind, run.factor): run for run in full.validations[MUON].runs}
    lr = found.filter(kind="lr_probe")
    assert lr["factor"].to_list() == pytest.approx([0.5, 0.707, 1.414, 2])
    assert found.filter(kind="weight_decay_probe")["factor"].to_list() == [0.5, 2.0]
    assert found["regret"].min() == 0
    probe, predicted = runs["lr_probe", 2.0], runs["predicted", 1.0]
    assert len(predicted.losses) == 2 and len(probe.losses) == 1
    told = found.filter(kind="predicted")["regret"][0]
    assert lr["regret"][-1] == pytest.approx(probe.losses[0] / predicted.losses[0] * (1 + told) - 1)
    assert (found["regret_high"] - found["regret"]).to_list() == pytest.approx([0.0012 / loss for loss in found["loss"]])


def test_perturbations_are_changes_against_the_prediction_with_the_noise(full: Results) -> None:
    found, runs = frame(full, "perturbations"), {(run.kind, run.factor): run for run in full.validations[MUON].runs}
    probes, transfers = ("LR / 2", "LR / 1.4", "1.4x LR", "2x LR", "WD / 2", "2x WD"), ("same hyperparameters", "muP alone")
    assert found["title"].to_list() == [*probes, *transfers]
    row = found.filter(title="2x WD").row(0, named=True)
    mine, predicted = runs["weight_decay_probe", 2.0].losses[0], runs["predicted", 1.0].losses[0]
    assert row["change"] == pytest.approx(mine / predicted - 1)
    for end in ("change_high", "change_low"):
        assert abs(math.log((1 + row[end]) / (1 + row["change"]))) == pytest.approx(0.001 * math.sqrt(2))
    verdict = against_verdict(full.validations[MUON])  # compares a transfer by the same seeds
    for change in found.filter(pl.col("title").is_in(transfers))["change"]:
        assert f"{100 * abs(change):.2f} % {'better' if change > 0 else 'worse'}" in verdict.text


def test_the_noise_of_a_change_falls_with_the_common_seeds(full: Results) -> None:
    validation = full.validations[MUON]
    again = [
        run.model_copy(update={"losses": (run.losses[0],) * 4}) if run.kind in ("predicted", "mup_only") else run
        for run in validation.runs
    ]
    noisy = with_validation(full, runs=tuple(again), noise=SeedNoise(sd=0.01, freedom=3))
    row = frame(noisy, "perturbations", kind="mup_only").row(0, named=True)
    assert math.log((1 + row["change_high"]) / (1 + row["change"])) == pytest.approx(0.01 * math.sqrt(2 / 4))


@pytest.mark.parametrize("kind", ["lr_probe", "weight_decay_probe"])
def test_a_diverged_probe_is_kept_without_a_number(full: Results, kind: str) -> None:
    found = with_validation(full, runs=lost(full, lambda run: (run.kind, run.factor) == (kind, 2.0)))
    for name, column in (("regret", "regret"), ("perturbations", "change")):
        rows = frame(found, name)
        assert rows.filter(state="diverged").select("kind", "factor", column).rows() == [(kind, 2.0, None)]
        assert rows[column].null_count() == 1


def test_nothing_is_compared_with_a_prediction_that_diverged(full: Results) -> None:
    found = with_validation(full, runs=lost(full, lambda run: run.kind == "predicted"))
    assert frame(found, "perturbations")["change"].null_count() == 8
    assert frame(found, "regret")["regret"].null_count() == 7


# -- compute -----------------------------------------------------------------------------------------------------------


def test_losses_against_compute_are_final_ones_with_all_their_flops(full: Results) -> None:
    found = frame(full, "loss_against_compute", None)
    assert (found["compute"] == found["flops"] + found["flops_optimizer"]).all() and (found["flops_optimizer"] > 0).all()
    muon = found.filter(arm=MUON)
    assert muon.select("kind", "width").rows() == [("search", 32), ("search", 64), ("search", 128), ("predicted", 256)]
    for row in muon.filter(kind="search").iter_rows(named=True):
        runs = [run for run in full.searched(MUON) if run.point["width"] == row["width"] and run.loss is not None]
        best = min(runs, key=lambda run: run.loss)
        assert (row["loss"], row["flops"]) == (best.loss, best.outcome.flops)
    told = muon.filter(kind="predicted").row(0, named=True)
    assert (told["seeds"], told["tokens"], told["loss"]) == (2, 2_097_152, full.validations[MUON].predicted.loss)


def test_the_baselines_ladder_is_there_once_without_what_diverged() -> None:
    found = results(experiment(("adamw", MUON, "soap")))
    ladder = frame(found, "loss_against_compute", None, kind="horizon")
    assert set(ladder["arm"]) == {"adamw"} and sorted(ladder["tokens"]) == [1_048_576, 4_194_304, 8_388_608]
    assert frame(found, "loss_against_compute", None, kind="predicted")["arm"].to_list() == ["adamw", MUON, "soap"]
    short = with_validation(found, baseline_runs=lost(found, lambda run: run.factor == 4.0, baseline=True))
    alone = replace(short, validations={MUON: short.validations[MUON]})
    assert sorted(frame(alone, "loss_against_compute", "adamw", kind="horizon")["tokens"]) == [1_048_576, 4_194_304]


def test_a_winning_probe_of_the_baseline_is_shown_once_and_the_ladder_starts_there(full: Results) -> None:
    before = full.validations[MUON]
    assert before.chosen is None and [run.factor for run in before.ladder] == [0.5, 1.0, 2.0, 4.0]
    assert before.ladder[1].kind == "predicted"
    found, winner = with_winner(full)
    after = found.validations[MUON]
    assert after.chosen is winner is after.ladder[1] and [run.kind for run in after.ladder].count("horizon") == 3
    rows = frame(found, "loss_against_compute", "adamw", width=256)
    assert sorted(rows["kind"]) == ["chosen", "horizon", "horizon", "horizon", "predicted"]
    assert rows.filter(kind="chosen").select("loss", "seeds").row(0) == (winner.loss, 2)
    curves = frame(found, "training_curves", None).filter(pl.col("purpose").str.starts_with("the baseline's best"))
    assert set(curves["run_id"]) == set(winner.run_ids)
    alone = full.validations["adamw"]
    assert (alone.chosen, alone.ladder) == (None, ())


def test_losses_say_whether_they_are_annealed(full: Results) -> None:
    some = edited(full, lambda run: at_constant_lr(run) if run.point.settings["optimizer"] == MUON else run)
    for name in ("loss_against_compute", "training_curves"):
        rows = frame(some, name, None).select("arm", "annealed").unique().sort("arm").rows()
        assert rows == [("adamw", True), (MUON, False)]


def test_multipliers_say_which_are_bounds_and_how_they_were_found(full: Results) -> None:
    found = frame(full, "multipliers", None)
    axes = ("tokens", "flops", "flops_with_optimizer", "wall_clock")
    expected = [*((axis, "ladder") for axis in axes), ("flops", "law"), ("tokens", "within_run")]
    assert found.select("axis", "method").rows() == expected and set(found["arm"]) == {MUON}
    bounds = found.filter(~pl.col("bracketed"))
    assert bounds.select("axis", "bound").rows() == [("wall_clock", ">"), ("tokens", ">")]
    assert found["p_value"].to_list() == [0.001, 0.001, 0.002, 0.0, 0.001, None]


def test_the_multiplier_over_scale_has_every_size_by_every_method(full: Results) -> None:
    found = frame(full, "multiplier_over_scale", None)
    assert found.filter(method="sizes")["width"].to_list() == [32, 64, 128, 256]
    assert found.filter(method="law")["value"].to_list() == [1.48] * 4
    assert found.filter("extrapolated").select("width", "method").rows() == [(256, "sizes"), (256, "law")]
    assert found.filter(method="ladder").select("width", "value", "low").rows() == [(256, 1.56, 1.42)]
    assert set(found.select("trend", "trend_low", "trend_high").rows()) == {(0.01, -0.02, 0.05)}
    refusal = Refusal.of("unequal_budgets", budgets="9 and 8")
    refused = replace(full, validations={MUON: validated(full.experiment, MUON, refusal=refusal)[0]})
    assert frame(refused, "multipliers", None).is_empty() and frame(refused, "multiplier_over_scale", None).is_empty()


# -- all of them -------------------------------------------------------------------------------------------------------


def test_coordinate_checks_carry_their_conditions(full: Results) -> None:
    assert len(frame(full, "coordinate_checks", None)) == 2 * 9
    row = frame(full, "coordinate_checks", role="hidden", step=10).row(0, named=True)
    assert (row["slope"], row["slope_low"], row["slope_high"]) == pytest.approx((-0.11, -0.12, -0.09))
    assert (row["outcome"], row["passed"], row["tolerance"]) == ("fails", False, 0.08)
    assert (row["widths"], row["seeds"], row["corpus"], row["lr"]) == ("32, 64 and 128", 3, "stdlib", 0.005)


def test_the_run_table_holds_diverged_and_failed_runs(full: Results) -> None:
    found = run_table(full)
    assert sorted(found["run_id"]) == sorted(full.by_id)
    assert set(found["state"]) == {"complete", "diverged", "failed"}
    assert found.filter(state="failed")["reason"].to_list() == ["worker died & <was> not restarted"]


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_of_an_unfinished_experiment_has_its_columns(full: Results, name: str) -> None:
    unfinished = replace(full, predictions={}, validations={}, coordinate_checks={})
    made = all_frames(full)[name]
    for found in (unfinished, replace(unfinished, members=Members())):
        assert all_frames(found)[name].schema == made.schema
    assert all_frames(found)[name].is_empty() and not made.is_empty()


def test_runs_at_the_base_shape_serve_both_parametrizations() -> None:
    both = experiment(parametrizations=["mup", "sp"])
    runs = [record(job(both, MUON, width, 0.02)) for width in (32, 64)]
    found = Results(both, members(runs, both, resolve))
    assert found.members.corpus == DATA
    rows = frame(found, "lr_curves", None).select("arm", "parametrization", "width").rows()
    assert rows == [(MUON, "mup", 32), (MUON, "mup", 64), ("muon-sp", "sp", 32)]
    assert run_table(found).select("arm", "width").rows() == [(MUON, 32), (MUON, 64)]
