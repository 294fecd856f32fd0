"""`predict` on records from a surface that is known: it finds the truth, says how well, and refuses what it cannot know."""

from __future__ import annotations

import math
from typing import Any

import pytest
from records import DATA, record_of
from synthetic import Truth, make_experiment, make_records

from hptransfer.base.refusals import Refused
from hptransfer.experiment.arm import Arm
from hptransfer.runs import Job, Record
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer import decision
from hptransfer.transfer.group import Group
from hptransfer.transfer.prediction import Drift, Prediction

TWO_WIDTHS = make_experiment()


def target_of(records: list[Record], width: int = 256, **changes: Any) -> Job:
    return resolve(records[-1].point.at(width=width, **changes))


def predict(records: list[Record], target: Job, **options: Any) -> Prediction:
    """The prediction of one arm."""
    return decision.predict_group(Group(records[0].point.settings["optimizer"], tuple(records)), target, resolve, **options)


def changed(record: Record, loss: float | None, **changes: Any) -> Record:
    """A record with another point."""
    return record_of(resolve(record.point.at(**changes)), loss)


def distance(value: float, truth: float) -> float:
    """In units of ln."""
    return abs(math.log(value / truth))


def test_recovers_optimum_drift_and_noise() -> None:
    truth = Truth(gamma=-0.3, noise=0.001, curvature=0.05)
    records = make_records(truth, make_experiment(widths=[64, 128, 256]), runs=20)
    prediction = predict(records, target_of(records, 512))
    assert distance(prediction.lr.value, truth.best_lr(512)) < 0.15
    for optimum in prediction.optima:
        assert distance(optimum.lr.value, truth.best_lr(optimum.width)) < 0.05
        assert optimum.loss == pytest.approx(2.0 * (optimum.width / 64) ** -0.1, rel=0.003)
    assert -0.35 < prediction.drift.used < -0.15  # theory, 0, pulls a little
    assert prediction.noise == pytest.approx(0.001, rel=0.6)
    assert prediction.bowl.curvature == pytest.approx(0.05, rel=0.3)


def test_skew_does_not_bias_the_optimum_low() -> None:
    """A symmetric parabola is 20 % to 40 % low on the same runs; see test_surface."""
    errors = []
    for seed in range(8):
        records = make_records(Truth(noise=0.005), TWO_WIDTHS, seed=seed)
        errors += [math.log(o.lr.value / 0.01) for o in predict(records, target_of(records), draws=20).optima]
    assert abs(sum(errors) / len(errors)) < 0.05


def test_same_records_in_any_order_same_prediction() -> None:
    records = make_records(Truth(), TWO_WIDTHS)
    first = predict(records, target_of(records), draws=50)
    again = predict(records[::-1], target_of(records), draws=50)
    assert first == again
    assert predict(records, target_of(records), draws=50, seed=1) != first


@pytest.mark.slow
def test_intervals_cover_the_truth() -> None:
    """80 % intervals over 40 surfaces; were they exact, fewer than 27 hits would have odds of 1 in 50."""
    covered = 0
    for seed in range(40):
        truth = Truth(gamma=0.1 * math.sin(seed), noise=(0.003, 0.01, 0.03)[seed % 3])
        records = make_records(truth, TWO_WIDTHS, seed=seed)
        lr = predict(records, target_of(records), draws=24).lr
        assert lr.low is not None and lr.high is not None
        assert lr.high / lr.low < 3
        covered += lr.low <= truth.best_lr(256) <= lr.high
    assert covered >= 27


def test_expected_regret_grows_with_the_distance() -> None:
    records = make_records(Truth(noise=0.01), TWO_WIDTHS)
    near, far = (predict(records, target_of(records, width)).expected_regret for width in (256, 2048))
    assert 0 < near < far < 0.1


def test_theory_is_kept_where_the_fit_agrees() -> None:
    records = make_records(Truth(gamma=0.0), TWO_WIDTHS)
    drift = predict(records, target_of(records)).drift
    assert drift.low is not None and drift.high is not None
    assert drift.low < 0 < drift.high
    assert drift.used == pytest.approx(drift.theory, abs=0.02)
    assert "contains theory" in drift.reason


def test_clear_drift_overrules_theory() -> None:
    experiment = make_experiment(widths=[64, 128, 256], target_width=512)
    records = make_records(Truth(gamma=0.8, noise=0.001), experiment, lr_range=(0.1, 20.0), runs=16)
    prediction = predict(records, target_of(records, 512))
    drift = prediction.drift
    assert drift.fitted is not None
    assert drift.theory < drift.used < drift.fitted
    assert drift.used == pytest.approx(0.8, abs=0.2)
    assert "excludes theory" in drift.reason
    assert distance(prediction.lr.value, Truth(gamma=0.8).best_lr(512)) < 0.2


def test_sp_is_expected_to_drift_as_the_hidden_rule_says() -> None:
    records = make_records(Truth(gamma=-1.0), TWO_WIDTHS, recipe="adamw", parametrization="sp", lr_range=(0.05, 8.0))
    prediction = predict(records, target_of(records))
    assert prediction.drift.theory == -1.0
    assert distance(prediction.lr.value, 0.01 / 4) < 0.25


def test_theory_weighs_little_where_sp_expects_different_exponents_of_hidden_and_readout() -> None:
    """Under sp one LR serves both: Muon's hidden weights expect 0, Adam's readout -1, and public sweeps lie between."""
    truth = Truth(gamma=-0.5, noise=0.001)

    def drift_of(recipe: str) -> Drift:
        records = make_records(truth, make_experiment(widths=[64, 128, 256]), recipe=recipe, parametrization="sp")
        return predict(records, target_of(records, 1024), draws=20).drift

    muon, adamw = drift_of("muon"), drift_of("adamw")
    assert (muon.theory, adamw.theory) == (0.0, -1.0)
    assert muon.fitted is not None
    assert abs(muon.used - muon.fitted) < 0.05
    named = {rule.name: rule.exponent for rule in muon.rules}
    assert (named["theory, hidden weights"], named["theory, readout"], named["free"]) == (0.0, -1.0, None)
    assert [rule.name for rule in adamw.rules] == ["theory"]
    assert [rule.name for rule in drift_of("shampoo-quarter-all").rules] == ["theory"]  # -1 and -1, but for rounding


def test_one_width_takes_theory_and_its_uncertainty() -> None:
    records = make_records(Truth(noise=0.003), make_experiment(widths=[64]))
    with pytest.raises(Refused, match="one cell, width 64, shows no drift; add runs at a second one"):
        predict(records, target_of(records))
    prediction = predict(records, target_of(records), force=True)
    assert [check.name for check in prediction.checks if not check.ok] == ["scales"]
    assert prediction.drift.fitted is None and prediction.hold_out is None
    assert prediction.drift.used == 0.0
    own, lr = prediction.optima[0].lr, prediction.lr
    assert own.low is not None and own.low < lr.value < own.value  # too high costs more than too low
    assert own.high is not None and lr.low is not None and lr.high is not None
    assert lr.high / lr.low > 1.1 * own.high / own.low


def test_four_runs_at_a_width_give_a_wide_answer() -> None:
    many = make_records(Truth(noise=0.01), TWO_WIDTHS, runs=16)
    few = make_records(Truth(noise=0.01), TWO_WIDTHS, runs=4)
    wide, narrow = (predict(records, target_of(records)).lr for records in (few, many))
    assert wide.low is not None and wide.high is not None and narrow.low is not None and narrow.high is not None
    assert wide.low < 0.01 < wide.high
    assert wide.high / wide.low > narrow.high / narrow.low


def test_too_few_runs_are_refused() -> None:
    records = make_records(Truth(), TWO_WIDTHS, runs=2)
    with pytest.raises(Refused, match=r"muon: nothing to fit; .* width 64, 128: fewer than 3 finished runs"):
        predict(records, target_of(records))
    enough = [record for record in make_records(Truth(), TWO_WIDTHS) if record.point["width"] == 64]
    with pytest.raises(Refused, match="one cell, width 64, shows no drift"):
        predict([*enough, *(record for record in records if record.point["width"] == 128)], target_of(records))


def test_diverged_runs_do_not_disturb() -> None:
    calm = make_records(Truth(noise=0.003), TWO_WIDTHS)
    stormy = make_records(Truth(noise=0.003, ceiling=0.03), TWO_WIDTHS)
    assert sum(record.state == "diverged" for record in stormy) >= 4
    prediction = predict(stormy, target_of(stormy))
    assert sum(optimum.diverged for optimum in prediction.optima) == sum(r.state == "diverged" for r in stormy)
    expected = predict(calm, target_of(calm)).lr.value
    assert distance(prediction.lr.value, expected) < 0.1


def test_an_unlucky_divergence_below_finished_runs_changes_nothing() -> None:
    records = make_records(Truth(noise=0.003), TWO_WIDTHS)
    bounded = predict([*records, changed(records[0], None, lr=0.002)], target_of(records), draws=50).hyperparameters
    assert bounded == predict(records, target_of(records), draws=50).hyperparameters


@pytest.mark.parametrize(("lr_range", "direction"), [((1.5, 30.0), "lower"), ((0.03, 0.6), "higher")])
def test_optimum_on_the_edge_is_refused_with_the_direction(lr_range: tuple[float, float], direction: str) -> None:
    records = make_records(Truth(), TWO_WIDTHS, lr_range=lr_range)
    with pytest.raises(Refused, match=f"muon at width 64: .* at {direction} lr") as caught:
        predict(records, target_of(records))
    edge = {"lower": min, "higher": max}[direction]
    end = edge(record.point["lr"] for record in records if record.point["width"] == 64)
    assert f"({end:.4g})" in str(caught.value)


def test_optimum_under_the_ceiling_but_above_every_finished_run_is_refused() -> None:
    records = make_records(Truth(ceiling=0.005), TWO_WIDTHS)
    with pytest.raises(Refused, match=r"muon at width 64: .* bounded by divergence .* add runs in between") as caught:
        predict(records, target_of(records))
    assert caught.value.refusal.code == "divergence_bounds"


def test_a_diverged_run_close_above_bounds_the_optimum_as_a_finished_one_would() -> None:
    """The highest run that finished lies a little below the optimum, the lowest that diverged a little above it."""
    records = [record for record in make_records(Truth(), TWO_WIDTHS) if record.point["lr"] < 0.0098]
    wall = [changed(record, None, lr=0.014) for record in records]
    prediction = predict([*records, *wall], target_of(records), draws=50)
    assert prediction.lr.value == pytest.approx(0.01, rel=0.35)
    check = next(check for check in prediction.checks if check.name == "lr inside its sweep")
    assert check.ok


def test_flat_weight_decay_is_not_identified_and_takes_the_rule() -> None:
    records = make_records(Truth(noise=0.01), TWO_WIDTHS)
    decay = predict(records, target_of(records)).weight_decay
    assert decay.words.startswith("not identified, rule used: ")
    assert decay.low is None and decay.high is None
    assert 1e-4 / 4 < decay.value < 1e-2 / 4  # inside the sweep, times 64/256


def test_curved_weight_decay_is_identified_and_scaled() -> None:
    truth = Truth(noise=0.003, wd=7e-4, wd_curvature=0.02)
    records = make_records(truth, TWO_WIDTHS)
    prediction = predict(records, target_of(records))
    decay = prediction.weight_decay
    assert decay.is_fitted
    (moves,) = [drift for drift in prediction.drifts if drift.hyperparameter == "weight_decay"]
    weights = {rule.name: rule.weight for rule in moves.rules}
    assert weights["inverse width"] > weights["square root of width"]
    assert sum(weights.values()) == pytest.approx(1.0)
    assert decay.low is not None and decay.high is not None
    assert decay.low < 7e-4 / 4 < decay.high
    assert distance(decay.value, 7e-4 / 4) < 0.3
    assert prediction.run.weight_decay == decay.value
    assert distance(prediction.lr.value, 0.01) < 0.25


def test_weight_decay_optimum_beyond_the_sweep_is_not_identified() -> None:
    records = make_records(Truth(noise=0.002, wd_curvature=0.02), TWO_WIDTHS, wd_range=(0.05, 0.6), runs=20)
    status = predict(records, target_of(records)).weight_decay.words
    assert status.startswith("not identified, rule used: ")
    assert "above the swept range" in status or "no significant minimum" in status


def test_weight_decay_that_was_not_varied_keeps_its_value() -> None:
    records = make_records(Truth(), TWO_WIDTHS)
    same = [changed(r, r.loss, weight_decay=0.0) for r in records]
    decay = predict(same, target_of(same)).weight_decay
    assert decay.value == 0.0
    assert "was not varied" in decay.words


def test_runs_at_other_ratios_are_left_out() -> None:
    kept = make_records(Truth(noise=0.003), TWO_WIDTHS, ratio=4.0)
    misleading = make_records(Truth(lr=0.05), make_experiment(widths=[64]), ratio=1.0, seed=1, runs=20)
    prediction = predict([*misleading, *kept], target_of(kept))
    assert prediction.hyperparameters["embedding_lr_ratio"].value == prediction.point["embedding_lr_ratio"] == 4.0
    assert distance(prediction.lr.value, 0.01) < 0.1
    assert [optimum.runs for optimum in prediction.optima] == [12, 12]
    assert all(check.ok for check in prediction.checks)


def test_hold_out_predicts_the_largest_width_from_the_narrower() -> None:
    records = make_records(Truth(gamma=0.5, noise=0.003), TWO_WIDTHS, lr_range=(0.1, 15.0))
    held = predict(records, target_of(records)).hold_out
    assert held is not None
    assert held.scales == {"width": 128}
    assert distance(held.own, Truth(gamma=0.5).best_lr(128)) < 0.1
    assert distance(held.predicted, 0.01) < 0.2  # one width is left, so that theory is all there is
    assert held.regret == pytest.approx(0.04 * (0.5 * math.log(2)) ** 2, rel=0.7)


def test_roles_are_the_final_numbers_of_the_predicted_run() -> None:
    records = make_records(Truth(), TWO_WIDTHS, recipe="adamw", ratio=4.0)
    prediction = predict(records, target_of(records))
    lr = prediction.lr.value
    assert set(prediction.roles) == {"embedding", "hidden", "readout", "vector"}
    assert prediction.roles["embedding"].lr == pytest.approx(4 * lr)
    assert prediction.roles["hidden"].lr == pytest.approx(lr / 4)
    assert prediction.roles["readout"].lr == pytest.approx(4 * lr / 4)
    assert prediction.roles["hidden"].weight_decay == prediction.weight_decay.value
    assert prediction.roles["vector"].weight_decay == 0


def test_failed_preconditions_are_named() -> None:
    records = make_records(Truth(), TWO_WIDTHS, recipe="shampoo")
    target = target_of(records, options={"block_size": 128})
    failed = {check.name: check.detail for check in predict(records, target, draws=20).checks if not check.ok}
    assert set(failed) == {"block size", "optimizer options"}
    assert "128" in failed["block size"] and "64" in failed["block size"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schedule": {"shape": "cosine"}}, "no prediction, schedule: target shape='cosine'"),
        ({"data": DATA.model_dump() | {"sha256": "e" * 64}}, "no prediction, corpus: target .* eeeeeeee, runs also"),
        ({"width": 8192}, "no prediction, extrapolation: 64x in width beyond the largest run, 32x is the most"),
    ],
)
def test_runs_that_cannot_speak_for_the_target_are_refused(changes: dict[str, object], words: str) -> None:
    records = make_records(Truth(), TWO_WIDTHS)
    target = resolve(target_of(records).point.at(**changes))
    with pytest.raises(Refused, match=words) as caught:
        predict(records, target)
    assert "--force" in str(caught.value) and "\n" not in str(caught.value)
    assert len([check for check in predict(records, target, draws=20, force=True).checks if not check.ok]) == 1


def test_mixed_schedules_in_one_group_are_refused() -> None:
    records = make_records(Truth(), TWO_WIDTHS)
    mixed = [changed(r, r.loss, schedule={"shape": "cosine"}) for r in records[:6]]
    with pytest.raises(Refused, match=r"no prediction, schedule: .* runs also shape='cosine'"):
        predict([*records[6:], *mixed], target_of(records))


def test_tokens_and_batch_beyond_the_swept_ones_widen_the_interval_and_say_so() -> None:
    records = make_records(Truth(noise=0.001), make_experiment(horizon={"policy": "tokens", "tokens": 524_288}))
    plain, longer, larger = (
        predict(records, target_of(records, **changes)) for changes in ({}, {"tokens": 8 * 524_288}, {"batch_tokens": 64 * 128})
    )

    def width(prediction: Prediction) -> float:
        lr = prediction.lr
        assert lr.low is not None and lr.high is not None
        return math.log(lr.high / lr.low)

    assert width(longer) > 1.5 * width(plain) and width(larger) > 1.5 * width(plain)
    assert distance(longer.lr.value, plain.lr.value) < 0.1
    assert distance(larger.lr.value, math.sqrt(8) * plain.lr.value) < 0.1
    details = {check.name: check.detail for check in longer.checks}
    assert "4194304 tokens at the target, 524288 tokens in the runs: interval widened by lr* ~ tokens^" in details["horizon"]
    assert "square-root rule" in {check.name: check.detail for check in larger.checks}["batch"]
    assert all(check.ok for check in (*longer.checks, *larger.checks))


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"batch_tokens": 64 * 128}, "steps", "16 steps"),
        ({"tokens": 64 * 131_072}, "extrapolation", "64x in tokens beyond"),
        ({"tokens": 64 * 131_072, "batch_tokens": 64 * 1024}, "extrapolation", "64x in "),
        ({"depth": 30}, "extrapolation", "10x in depth beyond"),
        ({"width": 128 * 40}, "extrapolation", "40x in width beyond"),
    ],
    ids=["few steps", "long", "large batch", "deep", "wide"],
)
def test_a_target_beyond_what_was_tested_is_refused(changes: dict[str, int], check: str, words: str) -> None:
    records = make_records(Truth(), TWO_WIDTHS)
    with pytest.raises(Refused) as refused:
        predict(records, target_of(records, **changes), draws=20)
    assert refused.value.refusal.values["check"] == check and words in refused.value.refusal.values["detail"]
    forced = predict(records, target_of(records, **changes), draws=20, force=True)
    assert [one.name for one in forced.checks if not one.ok] == [check]


def test_a_target_far_below_the_runs_is_refused_too() -> None:
    experiment = make_experiment(model={"depth": 24}, horizon={"policy": "tokens", "tokens": 64 * 131_072})
    records = make_records(Truth(), experiment)
    for changes, words in (({"depth": 2}, "12x in depth below"), ({"tokens": 131_072}, "64x in tokens below")):
        with pytest.raises(Refused, match=words):
            predict(records, target_of(records, **changes), draws=20)
    assert predict(records, target_of(records, depth=3, tokens=2 * 131_072), draws=20).checks


def test_a_warm_up_must_be_near_that_of_some_runs_in_steps_or_as_a_share() -> None:
    """64 steps of 1024, a sixteenth: a fixed number of tokens."""
    experiment = make_experiment(horizon={"policy": "tokens", "tokens": 1_048_576}, schedule={"warmup_tokens": 65_536})
    records = make_records(Truth(), experiment)
    for changes in ({}, {"tokens": 8 * 1_048_576}, {"batch_tokens": 8 * 1024}, {"tokens": 2_097_152, "batch_tokens": 8192}):
        checks = {check.name: check for check in predict(records, target_of(records, **changes), draws=20).checks}
        assert checks["warm-up"].ok
    with pytest.raises(Refused, match="warm-up: 8 steps"):
        predict(records, target_of(records, tokens=4 * 1_048_576, batch_tokens=8192), draws=20)


def test_tokens_per_parameter_may_grow_with_width() -> None:
    experiment = make_experiment(horizon={"policy": "tpp", "tpp": 2.0})
    records = make_records(Truth(), experiment)
    checks = {check.name: check for check in predict(records, target_of(records), draws=20).checks}
    assert checks["horizon"].ok and "tokens grow with width" in checks["horizon"].detail
    longer = make_experiment(horizon={"policy": "tpp", "tpp": 10.0})
    other = resolve(longer.point(Arm.of("muon", "mup"), DATA, width=256, lr=0.01, weight_decay=0.0))
    (note,) = predict(records, other, draws=20).notes
    assert note.startswith("tokens goes with width")  # what tokens do alone no run says
