"""What is run at the target, and what validation concludes from it, without training anything."""

import math

import pytest
from records import DATA, record_of
from synthetic import Truth, make_experiment, make_records

from hptransfer.base.refusals import Refusal
from hptransfer.experiment.membership import REPEATED_SEED
from hptransfer.runs import CurvePoint, Job, Record
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.configurations import horizon, seed_noise
from hptransfer.validate.protocol import Protocol
from hptransfer.validate.verdict import verdict

SETTINGS = {"seeds": 2, "probe_octaves": [1], "ladder": [0.5, 2.0, 4.0]}
EXPERIMENT = make_experiment(optimizers=["adamw", "shampoo"], validation=SETTINGS)
TOKENS = 131_072


def make_predictions(tokens: int = TOKENS) -> dict[str, Prediction]:
    made = {}
    for arm in EXPERIMENT.compared:
        point = EXPERIMENT.target_point(arm, DATA)
        target = resolve(point.at(tokens=tokens) if tokens != TOKENS else point)
        group = Group(arm.name, tuple(make_records(Truth(noise=0.0005), EXPERIMENT, recipe=arm.optimizer)))
        made[arm.name] = predict_group(group, target, resolve, draws=30)
    return made


@pytest.fixture(scope="module")
def predictions() -> dict[str, Prediction]:
    return make_predictions()


def recipe(job: Job) -> str:
    return job.point.settings["optimizer"]


def world(job: Job, lr: float | None = None) -> float:
    """Losses at the target: the bowl's optimum at the predicted LR; Shampoo reaches AdamW's loss in 1 / 1.5 of the tokens."""
    tokens = job.point["tokens"] * (1.5 if recipe(job) == "shampoo" else 1.0)
    bowl = 0.02 * math.log((lr or job.point["lr"]) / 0.01) ** 2
    jitter = 0.0003 if job.point.init_seed % 2 else -0.0003
    return 2.0 * (tokens / TOKENS) ** -0.1 * math.exp(bowl + jitter)


def seconds(job: Job) -> float:
    """Shampoo takes a third longer for a token."""
    return job.point["tokens"] / 1e5 * (4 if recipe(job) == "shampoo" else 3)


def protocol_of(predictions: dict[str, Prediction], settings=EXPERIMENT.validation) -> Protocol:
    return Protocol(predictions, settings, "adamw", resolve)


def run_all(predictions: dict[str, Prediction], loss=world) -> tuple[Protocol, dict, list[list[Job]]]:
    """Run what the protocol asks for, phase by phase."""
    protocol, records, phases = protocol_of(predictions), {}, []
    while jobs := protocol.missing(records):
        phases.append(jobs)
        records |= {job.run_id: record_of(job, loss(job), training_wall_seconds=seconds(job)) for job in jobs}
    return protocol, records, phases


def refusal(predictions: dict[str, Prediction], loss=world) -> Refusal:
    protocol, records, _ = run_all(predictions, loss)
    found = verdict("shampoo", protocol, records)
    assert found.speedup is None
    assert found.refusal is not None and found.refusal.text.endswith(".") and "\n" not in found.refusal.text
    return found.refusal


def changed(prediction: Prediction, **fields: object) -> Prediction:
    return prediction.model_copy(update=fields)


def moved(prediction: Prediction, **changes: object) -> Prediction:
    """The prediction of another run."""
    return changed(prediction, job=resolve(prediction.point.at(**changes)))


def but(record: Record, **changes: object) -> Record:
    """The record with another outcome."""
    return record.model_copy(update={"outcome": record.outcome.model_copy(update=changes)})


# -- what is run ----------------------------------------------------------------------------------------------------------


def test_around_a_prediction_are_seeds_probes_and_the_simple_transfers(predictions):
    protocol, records, _ = run_all(predictions)
    around = protocol.around("shampoo", records)
    assert [(one.kind, one.factor, len(one.jobs)) for one in around] == [
        ("predicted", 1.0, 2),
        ("lr_probe", 0.5, 1),
        ("weight_decay_probe", 0.5, 1),
        ("lr_probe", 2.0, 1),
        ("weight_decay_probe", 2.0, 1),
        ("same_hyperparameters", 1.0, 1),
        ("mup_only", 1.0, 1),
    ]
    own = predictions["shampoo"].point
    assert around[3].jobs[0].point == own.at(lr=own["lr"] * 2)
    assert around[2].jobs[0].point == own.at(weight_decay=own["weight_decay"] / 2)
    seeds = [(job.point.init_seed, job.point.data_seed) for job in around[0].jobs]
    assert len(set(seeds)) == 2 and all(one.jobs[0].point.init_seed == seeds[0][0] for one in around)


def test_the_simple_transfers_keep_the_smallest_widths_optimum(predictions):
    protocol, records, _ = run_all(predictions)
    same, mup = protocol.around("adamw", records)[-2:]
    best = predictions["adamw"].optima[0].lr.value
    decay = predictions["adamw"].point["weight_decay"]
    for one, parametrization in ((same, "sp"), (mup, "mup")):
        job = one.jobs[0]
        assert (job.point["lr"], job.point.settings["parametrization"], job.weight_decay) == (best, parametrization, decay)
    # The same numbers as at the base, and muP's.
    assert {kind.lr for kind in same.jobs[0].kinds} == {best}
    assert min(kind.lr for kind in mup.jobs[0].kinds) == pytest.approx(best * 64 / 256)


def test_spectral_has_no_simple_transfers(predictions):
    other = moved(predictions["shampoo"], parametrization="spectral")
    assert {one.kind for one in protocol_of({"shampoo": other}).around("shampoo", {})} == {
        "predicted",
        "lr_probe",
        "weight_decay_probe",
    }


def test_without_weight_decay_there_is_nothing_to_probe_in_it(predictions):
    none = moved(predictions["shampoo"], weight_decay=0.0)
    kinds = [one.kind for one in protocol_of({"shampoo": none}).around("shampoo", {})]
    assert "weight_decay_probe" not in kinds


def test_a_winning_outermost_probe_is_followed_up_to_a_factor_of_8(predictions):
    protocol, records, phases = run_all(predictions, lambda job: 2.0 * job.point["lr"] ** -0.1)
    assert [one.factor for one in protocol.around("adamw", records) if one.kind == "lr_probe"] == [0.5, 2.0, 4.0, 8.0]
    assert len(phases) >= 3
    assert verdict("adamw", protocol, records).regret.high is None


def test_the_baseline_climbs_until_it_brackets_and_no_further(predictions):
    protocol, records, phases = run_all(predictions)
    assert [len(jobs) for jobs in phases] == [2 * (2 + 4 + 2), 2]
    assert [rung.factor for rung in protocol.rungs(records)] == [2.0]
    assert {job.point["tokens"] for job in phases[1]} == {2 * TOKENS}


def test_a_baseline_that_is_better_is_shortened_until_it_is_not(predictions):
    protocol, records, _ = run_all(predictions, lambda job: world(job) * (1.1 if recipe(job) == "shampoo" else 1))
    assert [rung.factor for rung in protocol.rungs(records)] == [0.5]
    found = verdict("shampoo", protocol, records).speedup.compute_multiplier["tokens"]
    assert found.value == pytest.approx(1.5 * 1.1**-10, rel=0.03)
    assert found.bracketed and found.p_value > 0.9


def test_what_is_foretold_knows_no_run_at_the_target(predictions):
    optimum = predictions["shampoo"].optima[0]
    sizes = [(1, 2.4), (4, 2.2), (16, 2.08)]
    optima = tuple(
        optimum.model_copy(update={"scales": {"width": 16 * k}, "flops": predictions["shampoo"].run.flops * k / 64, "loss": loss})
        for k, loss in sizes
    )
    told = predictions | {"shampoo": changed(predictions["shampoo"], optima=optima)}
    found = [verdict("shampoo", *run_all(told, lambda job, by=by: by * world(job))[:2]).foretold for by in (1.0, 1.3)]
    assert found[0] == found[1] and found[0].loss is not None
    protocol, records, _ = run_all(predictions)
    assert verdict("shampoo", protocol, records).foretold.reason.code == "few_sizes"


def test_equal_losses_are_bracketed_from_both_sides(predictions):
    protocol, records, _ = run_all(predictions, lambda job: world(job) * (1.5**0.1 if recipe(job) == "shampoo" else 1))
    assert [rung.factor for rung in protocol.rungs(records)] == [0.5, 2.0]
    found = verdict("shampoo", protocol, records).speedup.compute_multiplier["tokens"]
    assert found.low < 1 < found.high and 0.2 < found.p_value < 0.8


def test_a_longer_horizon_keeps_everything_but_its_tokens(predictions):
    best = protocol_of(predictions).around("adamw", {})[0]
    longer = horizon(predictions["adamw"], best, 2.0, resolve)
    assert longer.jobs[0].point["tokens"] == 2 * TOKENS
    assert resolve(longer.jobs[0].point.at(tokens=TOKENS)) == best.jobs[0]
    assert len(longer.jobs) == len(best.jobs)


def test_a_horizon_takes_the_lr_that_the_law_gives_for_its_tokens(predictions):
    told = predictions["adamw"]
    drift = told.drift.model_copy(update={"scale": "tokens", "used": -0.32})
    told = told.model_copy(update={"drifts": (*told.drifts, drift)})
    best = protocol_of(predictions).around("adamw", {})[0]
    lrs = {factor: horizon(told, best, factor, resolve).jobs[0].point["lr"] for factor in (0.5, 4.0)}
    assert lrs == pytest.approx({factor: told.lr.value * factor**-0.32 for factor in lrs})


def test_a_horizon_that_was_searched_has_seeds_of_no_search(predictions):
    """The target differs from the cells in its tokens alone: with theirs it would pass for a run of the search."""
    told = predictions["adamw"]
    searched = [
        one.model_copy(update={"scales": {"tokens": tokens}})
        for one, tokens in zip(told.optima, (TOKENS // 4, TOKENS // 2), strict=True)
    ]
    best = protocol_of(predictions).around("adamw", {})[0]
    for factor, own in ((0.5, False), (0.75, True), (2.0, True)):
        jobs = horizon(told.model_copy(update={"optima": tuple(searched)}), best, factor, resolve).jobs
        assert [job.point.init_seed < REPEATED_SEED for job in jobs] == [own] * len(best.jobs)


def test_a_probe_that_wins_clearly_is_the_baseline_with_seeds_of_its_own(predictions):
    def shifted(job: Job) -> float:
        """AdamW's optimum at the target is 1.9 times the predicted LR."""
        return world(job, job.point["lr"] / 1.9) if recipe(job) == "adamw" else world(job)

    protocol, records, _ = run_all(predictions, shifted)
    best = protocol.best("adamw", records)
    assert (best.kind, best.factor, len(best.jobs)) == ("lr_probe", 2.0, 2)
    tuned = best.jobs[0].point.hyperparameters
    assert all(rung.jobs[0].point.hyperparameters == tuned for rung in protocol.rungs(records))
    found = verdict("shampoo", protocol, records)
    assert found.speedup.compute_multiplier["tokens"].value == pytest.approx(1.5, rel=0.05)
    probe, chosen = (run for run in found.baseline_runs if (run.kind, run.factor) == ("lr_probe", 2.0))
    assert (len(probe.losses), len(chosen.losses)) == (1, 2)
    assert not set(probe.run_ids) & set(chosen.run_ids)  # nothing that it was chosen by


# -- what is concluded ----------------------------------------------------------------------------------------------------


def test_the_known_multiplier_is_found_on_every_axis(predictions):
    protocol, records, _ = run_all(predictions)
    found = verdict("shampoo", protocol, records)
    assert found.refusal is None and found.prediction == predictions["shampoo"].digest
    multipliers = found.speedup.compute_multiplier
    for axis in ("tokens", "flops", "flops_with_optimizer"):
        # The curve is a power law, so that interpolation between horizons 1 and 2 is exact up to the LRs' small regret.
        assert multipliers[axis].value == pytest.approx(1.5, rel=0.02)
        assert multipliers[axis].bracketed and multipliers[axis].p_value < 0.01
    # 1.5 times fewer tokens, each of which takes a third longer.
    assert multipliers["wall_clock"].value == pytest.approx(1.5 * 3 / 4, rel=0.02)
    assert found.regret.value < 0.003
    assert [(run.kind, run.factor) for run in found.baseline_runs if run.kind == "horizon"] == [("horizon", 2.0)]


def test_wall_clock_is_as_uncertain_as_the_machine_is_uneven(predictions):
    protocol, records, _ = run_all(predictions)
    even = verdict("shampoo", protocol, records).speedup.compute_multiplier["wall_clock"]
    uneven = {
        run_id: but(record, training_wall_seconds=record.outcome.training_wall_seconds * (1.5 if i % 2 else 1 / 1.5))
        for i, (run_id, record) in enumerate(records.items())
    }
    found = verdict("shampoo", protocol, uneven).speedup.compute_multiplier["wall_clock"]
    assert math.log(found.high / found.low) > 4 * math.log(even.high / even.low)


def test_a_law_needs_three_horizons(predictions):
    protocol, records, _ = run_all(predictions)
    assert verdict("shampoo", protocol, records).speedup.law is None
    protocol, records, _ = run_all(predictions, lambda job: world(job) * (0.9 if recipe(job) == "shampoo" else 1))
    speedup = verdict("shampoo", protocol, records).speedup
    assert speedup.law.value == pytest.approx(1.5 * 0.9**-10, rel=0.03)


def test_sizes_are_those_that_were_searched_and_the_target(predictions):
    """The searched surface falls as width^-0.1, and so does the loss at the target."""
    protocol, records, _ = run_all(predictions, lambda job: world(job) * 4**-0.1)
    sizes = verdict("shampoo", protocol, records).speedup.sizes
    assert [size.width for size in sizes] == [64, 128, 256]
    for size in sizes[:2]:
        # Both optimizers were searched on the same surface.
        assert size.loss == pytest.approx(size.baseline_loss, rel=0.003)
    assert sizes[-1].loss == pytest.approx(sizes[-1].baseline_loss * 1.5**-0.1, rel=0.003)
    assert sizes[-1].multiplier.extrapolated and sizes[-1].multiplier.value > 1.2


def test_where_the_training_curve_passes_adamws_final_loss_is_a_lower_bound(predictions):
    protocol, records, _ = run_all(predictions)
    own = predictions["shampoo"].run
    points = [(0.25, 2.5), (0.75, 2.1), (1.0, 1.92)]
    curve = tuple(CurvePoint(step=1, tokens=round(s * own.point["tokens"]), schedule=1, train=v, val=v) for s, v in points)
    records[own.run_id] = but(records[own.run_id], curve=curve)
    found = verdict("shampoo", protocol, records).speedup.within_run
    assert (found.bound, found.bracketed) == (">", False)
    assert found.value == pytest.approx(1 / (0.75 + 0.25 * 0.1 / 0.18), rel=0.01)


def test_a_challenger_beyond_the_ladder_is_only_bounded(predictions):
    protocol, records, _ = run_all(predictions, lambda job: world(job) / (2 if recipe(job) == "shampoo" else 1))
    found = verdict("shampoo", protocol, records).speedup.compute_multiplier["tokens"]
    assert (found.bound, found.value, found.high) == (">", 4.0, None)


def test_the_baseline_itself_has_a_regret_and_no_speedup(predictions):
    protocol, records, _ = run_all(predictions)
    found = verdict("adamw", protocol, records)
    assert found.regret is not None
    assert (found.baseline, found.speedup, found.refusal, found.baseline_runs) == (None, None, None, ())


def test_noise_is_pooled_over_seeds_and_the_search(predictions):
    protocol, records, _ = run_all(predictions)
    prediction, around = predictions["adamw"], protocol.around("adamw", records)
    found = seed_noise(prediction, around, records)
    assert found.freedom == 4
    pair = around[0].losses(records)
    spread = 2 * ((pair[0] - pair[1]) / sum(pair)) ** 2
    assert found.sd == pytest.approx(math.sqrt((3 * prediction.noise**2 + spread) / 4))
    assert seed_noise(prediction, around, {}).freedom == 3


@pytest.mark.parametrize(("second", "expected"), [("58", True), ("59", True), ("59.5", False)])
def test_a_run_that_began_before_the_prediction_was_registered_does_not_test_it(predictions, second, expected):
    """Every run ended at noon and took two seconds; moments are known to a second."""
    protocol, records, _ = run_all(predictions)
    assert not verdict("shampoo", protocol, records, None).preregistered
    registered = f"2026-01-01T11:59:{second}+00:00"
    noon = {"finished_at": "2026-01-01T12:00:00+00:00", "training_wall_seconds": 1.5, "evaluation_wall_seconds": 0.5}
    timed = {run_id: but(record, **noon) for run_id, record in records.items()}
    assert verdict("shampoo", protocol, timed, registered).preregistered is expected


def test_with_nothing_around_it_a_prediction_still_has_a_verdict(predictions):
    bare = EXPERIMENT.validation.model_copy(update={"seeds": 1, "probe_octaves": (), "ladder": ()})
    protocol, records = protocol_of(predictions, bare), {}
    while jobs := protocol.missing(records):
        records |= {job.run_id: record_of(job, world(job)) for job in jobs}
    found = verdict("shampoo", protocol, records)
    assert (found.regret.value, found.regret.high) == (0, None)
    assert (found.speedup.compute_multiplier["tokens"].bound, found.speedup.law) == (">", None)


def test_one_diverged_seed_leaves_no_regret(predictions):
    dead = protocol_of(predictions).around("shampoo", {})[0].jobs[1].run_id
    protocol, records, _ = run_all(predictions, lambda job: None if job.run_id == dead else world(job))
    assert verdict("shampoo", protocol, records).regret is None


def test_without_known_times_there_is_no_wall_clock(predictions):
    protocol, records, _ = run_all(predictions)
    timeless = {run_id: but(record, training_wall_seconds=0.0) for run_id, record in records.items()}
    assert "wall_clock" not in verdict("shampoo", protocol, timeless).speedup.compute_multiplier


@pytest.mark.parametrize("which", ["one run of shampoo", "all of shampoo"])
def test_times_on_different_devices_are_not_compared(predictions, which):
    protocol, records, _ = run_all(predictions)
    own = {run_id for run_id, record in records.items() if recipe(record.job) == "shampoo"}
    if which == "one run of shampoo":
        own = {predictions["shampoo"].run.run_id}
    elsewhere = records | {run_id: but(records[run_id], device="another") for run_id in own}
    found = verdict("shampoo", protocol, elsewhere).speedup.compute_multiplier
    assert set(found) == {"tokens", "flops", "flops_with_optimizer"}


def test_a_run_on_several_workers_says_nothing_of_the_pace(predictions):
    protocol, records, _ = run_all(predictions)
    own = predictions["shampoo"].run.run_id
    wide = records | {own: but(records[own], workers=4, training_wall_seconds=0.01)}
    one, other = (verdict("shampoo", protocol, found).speedup.compute_multiplier["wall_clock"] for found in (records, wide))
    assert one.value == pytest.approx(other.value)


def test_a_target_with_another_horizon_than_the_search_has_no_sizes():
    protocol, records, _ = run_all(make_predictions(tokens=4 * TOKENS))
    speedup = verdict("shampoo", protocol, records).speedup
    assert (speedup.sizes, speedup.trend) == ((), None)
    assert speedup.compute_multiplier["tokens"].value == pytest.approx(1.5, rel=0.02)


# -- what is refused ------------------------------------------------------------------------------------------------------


def test_without_a_baseline_there_is_no_speedup(predictions):
    assert refusal({"shampoo": predictions["shampoo"]}) == Refusal.of("no_baseline", baseline="adamw")


def test_an_unequal_search_budget_is_refused(predictions):
    poorer = changed(predictions["adamw"], budget={"width 64": 4, "width 128": 12})
    assert "unequal budgets, adamw 4 runs at width 64" in refusal(predictions | {"adamw": poorer}).text


def test_an_adamw_that_wants_to_go_ever_further_is_refused(predictions):
    def drifting(job: Job) -> float:
        return 2.0 * job.point["lr"] ** -0.1 if recipe(job) == "adamw" else world(job)

    said = refusal(predictions, drifting).text
    assert "adamw is not tuned at this width; its best probe, LR x 8, is the outermost" in said


def test_an_adamw_that_wants_ever_less_weight_decay_is_refused(predictions):
    def drifting(job: Job) -> float:
        return world(job) * job.point["weight_decay"] ** 0.1

    assert "weight decay x 0.125" in refusal(predictions, drifting).text


@pytest.mark.parametrize(("name", "said"), [("shampoo", "a predicted run of shampoo"), ("adamw", "a run of adamw")])
def test_a_diverged_run_is_refused(predictions, name, said):
    dead = protocol_of(predictions).around(name, {})[0].jobs[1].run_id
    assert said in refusal(predictions, lambda job: None if job.run_id == dead else world(job)).text


def test_a_failed_check_is_refused(predictions):
    checks = [check.model_copy(update={"ok": check.name != "batch"}) for check in predictions["adamw"].checks]
    failing = changed(predictions["adamw"], checks=tuple(checks))
    assert refusal(predictions | {"adamw": failing}) == Refusal.of("checks_failed", name="adamw", checks="batch")


def test_different_runs_are_refused(predictions):
    other = moved(predictions["adamw"], tokens=512 * 1000)
    assert refusal(predictions | {"adamw": other}) == Refusal.of("different_runs", baseline="adamw", name="shampoo")


def test_a_mid_schedule_loss_is_not_compared_with_an_annealed_one(predictions):
    schedule = predictions["shampoo"].point.settings["schedule"] | {"shape": "constant"}
    unfinished = predictions | {"shampoo": moved(predictions["shampoo"], schedule=schedule)}
    assert refusal(unfinished) == Refusal.of("mid_schedule", early="shampoo", late="adamw")


def test_a_schedule_free_run_counts_as_annealed(predictions):
    schedule = predictions["shampoo"].point.settings["schedule"] | {"shape": "constant"}
    free = moved(predictions["shampoo"], optimizer="schedulefree-adamw", options={}, schedule=schedule)
    both = {"schedulefree-adamw": changed(free, name="schedulefree-adamw")}
    protocol, records, _ = run_all(both | {"adamw": predictions["adamw"]})
    assert verdict("schedulefree-adamw", protocol, records).speedup is not None
