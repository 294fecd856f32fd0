from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from report.factory import experiment, prediction, record, search_records, spec, validated, write_all

from hptransfer.base.errors import UsageError
from hptransfer.report.results import load_results
from hptransfer.report.summary import summarize
from hptransfer.runs import Store


def test_runs_of_other_experiments_in_the_same_store_are_left_out(folder: Path) -> None:
    ours, store = experiment(), Store("runs")
    other = experiment(batch_sequences=32)
    for made in (*search_records(ours), *search_records(other)):
        store.add(made)
    store.add(record(spec(ours, "muon", 256, 0.01, horizon=4.0)))
    loaded = load_results(ours, store, folder)
    assert len(loaded.records) == len(search_records(ours)) + 1
    assert {made.spec.batch_sequences for made in loaded.records} == {64}


def test_runs_on_another_version_of_the_corpus_are_left_out_and_counted(folder: Path) -> None:
    ours, store = experiment(), Store("runs")
    for made in search_records(ours):
        store.add(made)
    newer = spec(ours, "muon", 64, 0.01).at(**{"data.sha256": "cd" * 32})
    store.add(record(newer))
    loaded = load_results(ours, store, folder)
    assert loaded.left_out == 1
    assert newer.run_id not in {made.run_id for made in loaded.records}


def test_a_store_without_runs_of_the_experiment_is_an_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="is empty"):
        load_results(experiment(), Store("runs"), folder)
    store = Store("runs")
    store.add(record(spec(experiment(), "muon", 64, 0.01)))
    with pytest.raises(UsageError, match="holds 1 runs and none of experiment sample"):
        load_results(experiment(batch_sequences=32), store, folder)


def test_an_experiment_without_runs_may_be_waited_for(folder: Path) -> None:
    loaded = load_results(experiment(), Store("runs"), folder, allow_empty=True)
    assert loaded.records == () and loaded.target is None
    summary = summarize(loaded, " --experiment sample")
    assert summary.runs == {} and summary.cost["total"].runs == 0
    (first,) = summary.missing
    assert first.sentence == "The search has not finished a run yet."
    assert first.command == "python -m hptransfer.search --experiment sample"


def test_a_prediction_of_another_width_or_optimizer_is_an_error(folder: Path) -> None:
    write_all(folder, experiment())
    file = str(folder / "predictions" / "muon-256.json")
    with pytest.raises(UsageError, match="predicts width 256; experiment sample holds out 512"):
        load_results(experiment(target_width=512), Store("runs"), folder, [file])
    with pytest.raises(UsageError, match="is for muon, which experiment sample does not have"):
        load_results(experiment(("adamw",)), Store("runs"), folder, [file])


def test_a_prediction_that_another_experiment_left_under_the_same_name_is_not_taken_for_ours(folder: Path) -> None:
    ours, other = experiment(), experiment(name="other", batch_sequences=32)
    write_all(folder, ours, tested=False)
    file = folder / "predictions" / "muon-256.json"
    file.write_text(prediction(other, "muon").model_dump_json())
    loaded = load_results(ours, Store("runs"), folder)
    assert set(loaded.predictions) == {("adamw", "mup")}
    with pytest.raises(UsageError, match=r"muon-256\.json was made by another experiment than sample"):
        load_results(ours, Store("runs"), folder, [str(file)])
    wider = experiment(widths=[32, 64])
    file.write_text(prediction(ours, "muon").model_dump_json())
    assert load_results(wider, Store("runs"), folder).predictions == {}


def test_what_was_tested_is_reported_although_its_file_is_gone(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    told = prediction(ours, "muon")
    Store("runs").register_prediction(told.digest, told.model_dump(mode="json"))
    (folder / "predictions" / "muon-256.json").write_text(prediction(experiment(batch_sequences=32), "muon").model_dump_json())
    loaded = load_results(ours, Store("runs"), folder / "reports" / "sample")
    assert loaded.predictions["muon"] == told
    assert ("muon", "mup") in loaded.validations and loaded.stale == ()


def test_a_prediction_under_another_weight_decay_rule_is_not_ours(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    other = prediction(experiment(weight_decay_rule="constant"), "muon")
    (folder / "predictions" / "muon-256.json").write_text(other.model_dump_json())
    loaded = load_results(ours, Store("runs"), folder / "reports" / "sample")
    assert set(loaded.predictions) == {("adamw", "mup")} and loaded.stale == (("muon", "mup"),)


def test_a_validation_of_a_replaced_prediction_is_not_reported(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    newer = prediction(ours, "muon").model_copy(update={"expected_regret": 0.5})
    (folder / "predictions" / "muon-256.json").write_text(newer.model_dump_json())
    loaded = load_results(ours, Store("runs"), folder / "reports" / "sample")
    assert loaded.stale == (("muon", "mup"),)
    assert ("muon", "mup") not in loaded.validations
    assert any("tested an earlier prediction" in part.sentence for part in summarize(loaded).missing)


def test_a_damaged_validation_is_one_line(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    (folder / "reports" / "sample" / "validation-muon-256.json").write_text('{"optimizer": "muon"}')
    with pytest.raises(UsageError, match=r"validation-muon-256.json is damaged: parametrization"):
        load_results(ours, Store("runs"), folder / "reports" / "sample")


def test_summary_of_a_finished_experiment(folder: Path) -> None:
    ours = experiment()
    write_all(folder, ours)
    loaded = load_results(ours, Store("runs"), folder / "reports" / "sample")
    summary = summarize(loaded)
    validation, _ = validated(ours, "muon")
    adamw, muon = summary.arms
    assert muon.prediction == validation.prediction == prediction(ours, "muon").digest
    assert muon.regret == validation.regret
    assert muon.speedup == validation.speedup
    assert adamw.speedup is None
    assert summary.missing == ()
    assert summary.scale.parameters == prediction(ours, "muon").target.parameters
    held_out = {made.run_id for optimizer in ours.optimizers for made in validated(ours, optimizer)[1]}
    searched = Counter(made.state for made in search_records(ours))
    assert summary.runs == {**searched, "complete": searched["complete"] + len(held_out)}
    total, parts = summary.cost["total"], [summary.cost["search"], summary.cost["held_out"]]
    assert total.runs == sum(part.runs for part in parts) == sum(summary.runs.values())
    assert total.wall_seconds == pytest.approx(sum(record.training_wall_seconds for record in loaded.records))


def test_summary_names_what_is_missing_and_the_command_that_makes_it(folder: Path) -> None:
    ours, store = experiment(("muon",)), Store("runs")
    for lr in (0.01, 0.02):
        store.add(record(spec(ours, "muon", 32, lr)))
    search, transfer = summarize(load_results(ours, store, folder), " --experiment sample").missing
    assert search.sentence == "muon: the search has 2 of 9 runs at width 32, 0 of 9 runs at width 64, 0 of 9 runs at width 128."
    assert search.command == "python -m hptransfer.search --experiment sample --optimizer muon"
    assert transfer.sentence == "muon: there is no prediction yet."
    assert transfer.command.startswith("python -m hptransfer.transfer")
