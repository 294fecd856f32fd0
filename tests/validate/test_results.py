from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from report.factory import BEST_LR, at_lr, experiment, job, prediction, record, register, search_records, sound, write_all

from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment
from hptransfer.runs import Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.results import Results
from hptransfer.validate.results import load_results as load
from hptransfer.validate.summary import summarize

FILE = Path("predictions/sample/muon-256.json")


def load_results(ours: Experiment, *files: str, allow_empty: bool = False, anew: bool = False) -> Results:
    """What stands in the default store, without a fit unless ``anew``."""
    return load(ours, Store("runs"), resolve, files, allow_empty=allow_empty, anew=anew)


def put(told: Prediction) -> str:
    FILE.write_text(told.model_dump_json())
    return str(FILE)


def test_runs_of_other_experiments_in_the_same_store_are_left_out(folder: Path) -> None:
    ours, store = experiment(), Store("runs")
    other = experiment(batch_sequences=32)
    for made in (*search_records(ours), *search_records(other)):
        store.add(made)
    store.add(record(job(ours, "muon", 256, 0.01, horizon=4.0)))
    loaded = load_results(ours)
    assert len(loaded.records) == len(search_records(ours)) + 1
    assert {made.point["batch_tokens"] for made in loaded.records} == {64 * 128}


def test_runs_on_another_version_of_the_corpus_are_left_out_and_counted(folder: Path) -> None:
    ours, store = experiment(), Store("runs")
    for made in search_records(ours):
        store.add(made)
    other = job(ours, "muon", 64, 0.01).point
    newer = resolve(other.at(data=other.settings["data"] | {"sha256": "cd" * 32}))
    older = record(newer)
    store.add(older.model_copy(update={"outcome": older.outcome.model_copy(update={"finished_at": "2025-01-01T00:00:00+00:00"})}))
    loaded = load_results(ours)
    assert loaded.members.left_out == 1 and summarize(loaded).provenance.runs_on_other_corpora == 1
    assert newer.run_id not in {made.run_id for made in loaded.records}


def test_a_store_without_runs_of_the_experiment_is_an_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="is empty"):
        load_results(experiment())
    Store("runs").add(record(job(experiment(), "muon", 64, 0.01)))
    with pytest.raises(UsageError, match="holds 1 runs and none of experiment sample"):
        load_results(experiment(batch_sequences=32))


def test_an_experiment_without_runs_may_be_waited_for(folder: Path) -> None:
    loaded = load_results(experiment(), allow_empty=True, anew=True)
    assert loaded.records == () and loaded.target is None
    summary = summarize(loaded, ("--experiment", "sample"))
    assert summary.runs == {} and summary.cost["total"].runs == 0
    (first,) = summary.missing
    assert first.sentence == "The search has not finished a run yet."
    assert first.command == "hptransfer search --experiment sample"


def test_a_prediction_of_another_width_arm_or_experiment_is_an_error(folder: Path) -> None:
    write_all(folder, experiment(), tested=False)
    with pytest.raises(UsageError, match=r"muon-256\.json, for muon, is no prediction of experiment sample at width 512"):
        load_results(experiment(target_width=512), str(FILE))
    with pytest.raises(UsageError, match="for muon, is no prediction of experiment sample"):
        load_results(experiment(("adamw",)), str(FILE))
    other = put(prediction(experiment(batch_sequences=32), "muon"))
    with pytest.raises(UsageError, match="for muon, is no prediction of experiment sample"):
        load_results(experiment(), other)


@pytest.mark.parametrize("other", [{"name": "other", "batch_sequences": 32}, {"weight_decay_rule": "constant"}])
def test_a_prediction_that_another_experiment_left_under_the_same_name_is_not_taken_for_ours(
    folder: Path, other: dict[str, object]
) -> None:
    ours = experiment()
    write_all(folder, ours, tested=False)
    put(prediction(experiment(**other), "muon"))
    loaded = load_results(ours)
    assert set(loaded.predictions) == {"adamw"}
    assert "muon: there is no prediction yet." in [part.sentence for part in summarize(loaded).missing]


def test_a_prediction_from_more_widths_than_are_searched_is_not_ours(folder: Path) -> None:
    write_all(folder, experiment(), tested=False)
    assert load_results(experiment(widths=[32, 64])).predictions == {}


def test_what_was_tested_is_reported_although_its_file_is_gone(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    put(prediction(experiment(batch_sequences=32), "muon"))
    loaded = load_results(ours)
    assert loaded.predictions["muon"] == sound(ours, "muon")
    assert loaded.validations["muon"].prediction == sound(ours, "muon").digest


def test_of_a_search_that_went_on_nothing_that_rests_on_less_is_reported(folder: Path) -> None:
    """The earlier prediction and its test are superseded; a new one is made, and has to be tested."""
    ours = experiment()
    write_all(folder, ours)
    Store("runs").add(record(job(ours, "muon", 64, BEST_LR["muon"] * 0.5)))
    assert set(load_results(ours).predictions) == {"adamw"}
    loaded = load_results(ours, anew=True)
    assert loaded.predictions["muon"].digest != sound(ours, "muon").digest
    assert set(loaded.validations) == {"adamw"}
    (part,) = summarize(loaded, ("--experiment", "sample")).missing
    assert part.sentence == "muon: the prediction has not been tested at width 256."
    assert part.command == "hptransfer validate --experiment sample --optimizer muon"


def test_a_prediction_that_is_named_counts_in_the_place_of_the_current_one(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    FILE.rename("kept.json")
    mine = at_lr(sound(ours, "muon"), 0.02)
    loaded = load_results(ours, put(mine))
    assert loaded.predictions["muon"] == mine and "muon" not in loaded.validations


def test_a_prediction_registered_after_its_runs_was_not_before_them(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    assert load_results(ours).validations["muon"].preregistered
    register(Store("runs"), sound(ours, "muon"), "2026-02-01T00:00:00+00:00")
    assert not load_results(ours).validations["muon"].preregistered


def test_summary_of_a_finished_experiment(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    loaded = load_results(ours)
    summary = summarize(loaded)
    validation = loaded.validations["muon"]
    adamw, muon = summary.arms
    assert muon.prediction == validation.prediction == sound(ours, "muon").digest
    assert muon.regret == validation.regret is not None
    assert muon.speedup == validation.speedup is not None
    assert (muon.baseline, muon.is_baseline, adamw.is_baseline) == ("adamw", False, True)
    assert adamw.speedup is None
    assert summary.missing == ()
    assert summary.scale.parameters == prediction(ours, "muon").run.parameters
    held_out = {run_id for found in loaded.validations.values() for run in found.runs for run_id in run.run_ids}
    held_out |= {run_id for run in validation.baseline_runs for run_id in run.run_ids}
    searched = Counter(made.state for made in search_records(ours))
    assert summary.runs == {**searched, "complete": searched["complete"] + len(held_out)}
    total, parts = summary.cost["total"], [summary.cost["search"], summary.cost["held_out"]]
    assert total.runs == sum(part.runs for part in parts) == sum(summary.runs.values())
    assert total.wall_seconds == pytest.approx(sum(record.outcome.training_wall_seconds or 0 for record in loaded.records))
    assert total.unknown == 0


def test_summary_names_what_is_missing_and_the_command_that_makes_it(folder: Path) -> None:
    ours, store = experiment(("muon",)), Store("runs")
    for lr in (0.01, 0.02):
        store.add(record(job(ours, "muon", 32, lr)))
    search, transfer = summarize(load_results(ours, anew=True), ("--experiment", "sample")).missing
    assert search.sentence == "muon: the search has 2 of 9 runs at width 32, 0 of 9 runs at width 64, 0 of 9 runs at width 128."
    assert search.command == "hptransfer search --experiment sample --optimizer muon"
    assert transfer.sentence == "muon: there is no prediction yet."
    assert transfer.command.startswith("hptransfer transfer --experiment sample")
