"""What validation concludes from the runs at the target, without training any."""

import math

import pytest
from records import DATA, record_of
from synthetic import Truth, make_experiment, make_records

from hptransfer.spec import OptimizerSpec, RunSpec
from hptransfer.transfer.decision import predict
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.arms import ladder_arm
from hptransfer.validate.stage import Ladder
from hptransfer.validate.verdict import Entry, verdict

EXPERIMENT = make_experiment(optimizers=["adamw", "shampoo"], validation={"seeds": 2, "probes": [0.5, 2.0], "ladder": [2.0, 4.0]})


@pytest.fixture(scope="module")
def predictions() -> dict[str, Prediction]:
    made = {}
    for recipe in EXPERIMENT.optimizers:
        target = EXPERIMENT.run_spec(DATA, OptimizerSpec(recipe=recipe, lr=1), width=256, parametrization="mup")
        made[recipe] = predict(make_records(Truth(), EXPERIMENT, recipe=recipe), target, draws=30)
    return made


def entries(predictions: dict[str, Prediction]) -> dict[str, Entry]:
    return {name: Entry.of(prediction, EXPERIMENT.validation) for name, prediction in predictions.items()}


def world(spec: RunSpec) -> float:
    """Losses at the target: the bowl's optimum at the predicted LR; Shampoo reaches AdamW's loss in 1 / 1.5 of the tokens."""
    tokens = spec.tokens * (1.5 if spec.optimizer.recipe == "shampoo" else 1.0)
    bowl = 0.02 * math.log(spec.optimizer.lr / 0.01) ** 2
    return 2.0 * (tokens / 131_072) ** -0.1 * math.exp(bowl)


def run_all(predictions: dict[str, Prediction], loss=world) -> tuple[dict, Ladder, list[list[RunSpec]]]:
    """Run what the ladder asks for, phase by phase."""
    ladder, records, phases = Ladder(entries(predictions), EXPERIMENT.validation), {}, []
    while specs := ladder.missing(records):
        phases.append(specs)
        records |= {spec.run_id: record_of(spec, loss(spec)) for spec in specs}
    return records, ladder, phases


def test_the_baseline_climbs_until_it_brackets_and_no_further(predictions):
    _, ladder, phases = run_all(predictions)
    assert [len(specs) for specs in phases] == [2 * (2 + 2), 2]
    assert [arm.horizon for arm in ladder.rungs] == [2.0]
    assert {spec.tokens for spec in phases[1]} == {2 * 131_072}


def test_a_baseline_that_is_already_better_climbs_nothing(predictions):
    _, ladder, phases = run_all(predictions, lambda spec: 3.0 if spec.optimizer.recipe == "shampoo" else 2.0)
    assert len(phases) == 1 and ladder.rungs == []


def test_the_known_multiplier_is_found_on_every_axis(predictions):
    records, ladder, _ = run_all(predictions)
    both = entries(predictions)
    found = verdict(both["shampoo"], both["adamw"], ladder.rungs, records)
    assert found.refusal is None
    assert found.prediction == predictions["shampoo"].digest
    for axis in ("tokens", "flops"):
        # The curve is a power law, so that interpolation between horizons 1 and 2 is exact up to the LRs' small regret.
        assert found.compute_multiplier[axis].value == pytest.approx(1.5, rel=0.02)
        assert found.compute_multiplier[axis].bracketed
    # record_of charges every run a hundredth of its FLOPs for the optimizer, and the same wall time whatever its length.
    assert found.compute_multiplier["flops_with_optimizer"].value == pytest.approx(1.5, rel=0.02)
    assert found.compute_multiplier["wall_clock"].value == pytest.approx(1.0)
    assert found.regret.value < 0.003
    assert [run.purpose for run in found.baseline_runs] == ["predicted", "probe x0.5", "probe x2", "horizon x2"]


def test_a_challenger_beyond_the_ladder_is_only_bounded(predictions):
    records, ladder, _ = run_all(predictions, lambda spec: 1.0 if spec.optimizer.recipe == "shampoo" else world(spec))
    both = entries(predictions)
    found = verdict(both["shampoo"], both["adamw"], ladder.rungs, records).compute_multiplier["tokens"]
    assert (found.bound, found.value, found.high) == (">", 4.0, None)


def test_the_baseline_itself_has_a_regret_and_no_multiplier(predictions):
    records, ladder, _ = run_all(predictions)
    both = entries(predictions)
    found = verdict(both["adamw"], both["adamw"], ladder.rungs, records)
    assert found.compute_multiplier == {} and found.refusal is None


def test_without_a_baseline_there_is_no_multiplier(predictions):
    alone = {"shampoo": predictions["shampoo"]}
    records, ladder, _ = run_all(alone)
    found = verdict(entries(alone)["shampoo"], None, ladder.rungs, records)
    assert found.compute_multiplier == {}
    assert "no tuned adamw" in (found.refusal or "")


def test_an_unequal_search_budget_is_refused(predictions):
    poorer = predictions["adamw"].model_copy(update={"budget": {64: 4, 128: 12}})
    records, ladder, _ = run_all(predictions)
    both = entries(predictions | {"adamw": poorer})
    assert "runs searched per width differ" in (verdict(both["shampoo"], both["adamw"], ladder.rungs, records).refusal or "")


def test_a_baseline_whose_best_probe_is_the_outermost_is_refused(predictions):
    def drifting(spec: RunSpec) -> float:
        """AdamW wants ever higher LRs at the target."""
        return 2.0 * spec.optimizer.lr**-0.1 if spec.optimizer.recipe == "adamw" else world(spec)

    records, ladder, _ = run_all(predictions, drifting)
    both = entries(predictions)
    assert "adamw is not tuned" in (verdict(both["shampoo"], both["adamw"], ladder.rungs, records).refusal or "")


def test_a_diverged_predicted_run_is_refused_in_words(predictions):
    both = entries(predictions)
    dead = both["shampoo"].arms[0].specs[1].run_id
    records, ladder, _ = run_all(predictions, lambda spec: None if spec.run_id == dead else world(spec))
    assert "diverged" in (verdict(both["shampoo"], both["adamw"], ladder.rungs, records).refusal or "")


def test_a_longer_horizon_keeps_everything_but_its_tokens(predictions):
    best = entries(predictions)["adamw"].arms[0]
    longer = ladder_arm(best, 2.0, 2).specs[0]
    assert longer.at(horizon=best.specs[0].horizon.model_dump()) == best.specs[0]
