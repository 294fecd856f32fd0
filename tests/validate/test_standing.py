"""What stands for an experiment, from its runs alone: nothing is trained."""

from __future__ import annotations

import math

import pytest
from records import DATA, record_of
from synthetic import Truth, make_experiment, make_records

from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import members
from hptransfer.runs import Job, Record, Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group, run_ids
from hptransfer.transfer.prediction import Prediction, default_path
from hptransfer.validate import standing as module
from hptransfer.validate.protocol import Protocol
from hptransfer.validate.standing import Standing, given_predictions, known_predictions, standing

TRIALS = 6
SETTINGS = {"seeds": 1, "probe_octaves": [1], "ladder": [0.5, 2.0]}
EXPERIMENT = make_experiment(
    optimizers=["adamw", "muon", "shampoo"], search={"trials": TRIALS}, validation=SETTINGS, parametrizations=["mup"]
)


def searched(recipe: str, runs: int = TRIALS, truth: Truth | None = None) -> list[Record]:
    return make_records(truth or Truth(noise=0.0005), EXPERIMENT, recipe=recipe, runs=runs)


def told(name: str, records: list[Record], experiment: Experiment = EXPERIMENT) -> Prediction:
    """What transfer makes of an arm's runs."""
    group = Group(name, tuple(records))
    target = resolve(experiment.target_point(experiment.arm(name), DATA))
    return predict_group(group, target, resolve, provenance={"run_ids": run_ids(group)})


@pytest.fixture(scope="module")
def search() -> dict[str, list[Record]]:
    return {arm.name: searched(arm.optimizer) for arm in EXPERIMENT.compared}


@pytest.fixture(scope="module")
def predictions(search) -> dict[str, Prediction]:
    return {name: told(name, records) for name, records in search.items()}


def stands(records, cached=(), *, experiment: Experiment = EXPERIMENT, given=()) -> Standing:
    found = members(records, experiment, resolve)
    return standing(experiment, found, resolve, cached, lambda run_id: None, given)


def loss(job: Job) -> float:
    """Muon needs 1 / 1.5 of the tokens of AdamW, Shampoo 1 / 2.5: only its loss is beyond that of twice the tokens."""
    faster = {"muon": 1.5, "shampoo": 2.5}.get(job.point.settings["optimizer"], 1.0)
    return 2.0 * (job.point["tokens"] * faster / 131_072) ** -0.1 * math.exp(0.02 * math.log(job.point["lr"] / 0.01) ** 2)


def run(predictions: dict[str, Prediction], *names: str, baseline: str | None = "adamw", phases: int = 99) -> dict[str, Record]:
    """The runs at the target that some arms need, so many phases of them."""
    protocol, records = Protocol({name: predictions[name] for name in names}, EXPERIMENT.validation, baseline, resolve), {}
    while phases and (jobs := protocol.missing(records)):
        records |= {job.run_id: record_of(job, loss(job)) for job in jobs}
        phases -= 1
    return records


def everything(search: dict[str, list[Record]], *held_out: dict[str, Record]) -> list[Record]:
    return [record for found in (*search.values(), *(part.values() for part in held_out)) for record in found]


# -- predictions ----------------------------------------------------------------------------------------------------------


def test_a_prediction_that_rests_on_the_runs_in_the_store_stands(search, predictions, monkeypatch):
    monkeypatch.setattr(module, "predict_group", lambda *args, **kwargs: pytest.fail("it was there already"))
    found = stands(everything(search), predictions.values())
    assert found.predictions == predictions
    assert (found.refused, found.validations) == ({}, {})


def test_without_a_file_it_is_made_from_the_runs(search, predictions):
    found = stands(search["muon"])
    assert set(found.predictions) == {"muon"}
    assert found.predictions["muon"].lr.value == predictions["muon"].lr.value
    assert found.predictions["muon"].provenance["run_ids"] == predictions["muon"].provenance["run_ids"]


def test_further_runs_supersede_a_prediction(predictions, search):
    more = [*search["muon"], *make_records(Truth(noise=0.0005), EXPERIMENT, recipe="muon", runs=2, seed=1)]
    found = stands(more, predictions.values()).predictions["muon"]
    assert found.digest != predictions["muon"].digest
    assert found.provenance["run_ids"] == sorted(record.run_id for record in more)


@pytest.mark.parametrize("change", [{"target_width": 512}, {"batch_sequences": 16}], ids=["width", "settings"])
def test_a_prediction_for_another_run_is_not_current(search, predictions, change):
    other = make_experiment(**EXPERIMENT.model_dump(exclude_unset=True) | change)
    found = stands(search["muon"], predictions.values(), experiment=other)
    expected = resolve(other.target_point(other.arm("muon"), DATA)).point.scales
    assert all(told.point.scales == expected for told in found.predictions.values())
    assert set(found.predictions) == ({"muon"} if "target_width" in change else set())


def test_a_prediction_of_another_arm_is_not_current(search, predictions):
    renamed = predictions["muon"].model_copy(update={"name": "adamw"})
    assert set(stands(search["muon"], [renamed]).predictions) == {"muon"}


@pytest.mark.parametrize(
    ("truth", "code"), [(Truth(lr=1e-3), "lower_edge"), (Truth(lr=0.1), "upper_edge")], ids=["lower", "upper"]
)
def test_a_complete_search_that_allows_no_prediction_is_refused(truth, code):
    points = searched("muon")
    records = [
        record_of(record.job, math.exp(truth.ln_loss(record.point["width"], record.point["lr"], record.point["weight_decay"])))
        for record in points
    ]
    found = stands(records)
    assert found.predictions == {}
    assert found.refused["muon"].code == code


def test_a_search_whose_runs_diverged_is_refused(search):
    dead = [record if i % TRIALS < 2 else record_of(record.job, None) for i, record in enumerate(search["muon"])]
    refusal = stands(dead).refused["muon"]
    assert (refusal.code, refusal.values["complete"], refusal.values["cell"]) == ("too_few_runs", 2, "width 64")
    assert refusal.remedy("muon") == "search --trials N"


def test_of_an_incomplete_search_nothing_is_said_unless_somebody_predicted_from_it(search, predictions):
    some = search["muon"][:-1]
    found = stands(some, predictions.values())
    assert (found.predictions, found.refused) == ({}, {})
    early = told("muon", some)
    assert stands(some, [early]).predictions == {"muon": early}


def test_a_prediction_that_is_named_counts_in_the_place_of_the_arms_own(search, predictions):
    early = told("muon", search["muon"][:-1])
    found = stands(everything(search), predictions.values(), given=[early])
    assert found.predictions == predictions | {"muon": early}


# -- validations ----------------------------------------------------------------------------------------------------------


def test_arms_whose_runs_are_there_are_validated_together(search, predictions):
    found = stands(everything(search, run(predictions, *predictions)), predictions.values()).validations
    assert list(found) == ["adamw", "muon", "shampoo"]
    assert [validation.baseline for validation in found.values()] == [None, "adamw", "adamw"]
    assert found["muon"].speedup.compute_multiplier["tokens"].value == pytest.approx(1.5, rel=0.05)
    # Shampoo has the baseline run twice as long; muon is compared with these runs too.
    assert found["muon"].baseline_runs == found["shampoo"].baseline_runs
    assert all(validation.preregistered is False for validation in found.values())


def test_it_is_asked_when_the_predicted_run_was_registered(search, predictions):
    asked = []
    found = members(everything(search, run(predictions, *predictions)), EXPERIMENT, resolve)
    standing(EXPERIMENT, found, resolve, predictions.values(), asked.append)
    assert asked == [prediction.run.run_id for prediction in predictions.values()]


def test_an_arm_with_runs_left_has_no_validation(search, predictions):
    held_out = run(predictions, "adamw", "muon")
    assert set(stands(everything(search, held_out), predictions.values()).validations) == {"adamw", "muon"}
    del held_out[predictions["muon"].run.run_id]
    assert set(stands(everything(search, held_out), predictions.values()).validations) == {"adamw"}


def test_an_arm_waits_for_its_baseline(search, predictions):
    alone = run(predictions, "muon")
    assert stands(everything(search, alone), predictions.values()).validations == {}
    # Everything around the predictions has run, and no other horizon of the baseline.
    around = run(predictions, "adamw", "muon", phases=1)
    assert set(stands(everything(search, around), predictions.values()).validations) == {"adamw"}


def test_an_arm_that_is_validated_stays_so_while_another_waits_for_the_baseline(search, predictions):
    """A Shampoo that is far worse needs the baseline at half its tokens, which muon did not."""
    first = run(predictions, "adamw", "muon")
    worse = {run_id: record_of(record.job, 1.3 * record.loss) for run_id, record in run(predictions, "shampoo").items()}
    before = stands(everything(search, first), predictions.values()).validations
    found = stands(everything(search, first, worse), predictions.values()).validations
    assert found == before
    assert set(found) == {"adamw", "muon"}


def test_without_a_prediction_of_the_baseline_there_is_a_regret_and_no_speedup(search, predictions):
    runs = [*search["muon"], *run(predictions, "muon").values()]
    validation = stands(runs, predictions.values()).validations["muon"]
    assert validation.regret is not None
    assert (validation.baseline, validation.refusal.code, validation.speedup) == ("adamw", "no_baseline", None)


def test_each_parametrization_has_its_own_baseline(search, predictions):
    both = make_experiment(**EXPERIMENT.model_dump(exclude_unset=True) | {"parametrizations": ["mup", "sp"]})
    held_out = run(predictions, "adamw", "muon")
    found = stands(everything(search, held_out), predictions.values(), experiment=both).validations
    assert {name: validation.baseline for name, validation in found.items()} == {"adamw": None, "muon": "adamw"}


# -- files ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, prediction: Prediction, **fields: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(prediction.model_copy(update=fields).model_dump_json())
    return str(path)


def test_predictions_are_known_from_the_default_files_and_from_the_store(folder, predictions):
    write(default_path("synthetic", "muon", 256), predictions["muon"])
    write(default_path("synthetic", "adamw", 256), predictions["adamw"], prediction_version=3)
    store = Store("runs")
    shampoo = predictions["shampoo"]
    store.register_prediction(shampoo.run.run_id, shampoo.model_dump(mode="json"))
    store.register_prediction("of another version", {"prediction_version": 3, "optimizer": "adamw"})
    assert known_predictions(EXPERIMENT, store) == [predictions["muon"], shampoo]


def test_named_files_are_those_of_the_experiment_at_any_horizon(folder, predictions):
    own = predictions["muon"]
    longer = own.model_copy(update={"job": resolve(own.point.at(tokens=4 * 131_072))})
    files = [write(folder / "a.json", predictions["adamw"]), write(folder / "b.json", longer)]
    assert given_predictions(files, EXPERIMENT, resolve) == {"adamw": predictions["adamw"], "muon": longer}


@pytest.mark.parametrize(
    "change", [{"target_width": 512}, {"batch_sequences": 16}, {"optimizers": ["adamw"]}], ids=["width", "settings", "arm"]
)
def test_a_named_file_of_something_else_is_a_mistake(folder, predictions, change):
    other = make_experiment(**EXPERIMENT.model_dump(exclude_unset=True) | change)
    with pytest.raises(UsageError, match=r"m\.json, for muon"):
        given_predictions([write(folder / "m.json", predictions["muon"])], other, resolve)


def test_two_files_of_one_arm_are_a_mistake(folder, predictions):
    files = [write(folder / f"{name}.json", predictions["muon"]) for name in "ab"]
    with pytest.raises(UsageError, match="two of muon"):
        given_predictions(files, EXPERIMENT, resolve)
