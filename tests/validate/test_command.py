"""What the command asks for, writes and refuses; what it would train is made up."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from records import record_of
from synthetic import Truth, make_experiment, make_records

from hptransfer.base.errors import UsageError
from hptransfer.base.refusals import Refused
from hptransfer.cli import perform
from hptransfer.runs import Store
from hptransfer.validate import stage

SETTINGS = {"seeds": 1, "probe_octaves": [1], "ladder": [0.5, 2.0]}
EXPERIMENT = make_experiment(
    optimizers=["adamw", "muon", "shampoo"], search={"trials": 6}, validation=SETTINGS, data={"corpus": "stdlib"}
)
MISTUNED = Truth(lr=1e-3)


@pytest.fixture
def trained(tmp_path, monkeypatch) -> list[str]:
    """A store in which AdamW and muon are searched, and Shampoo is not to the end; the names of the runs that are trained."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT.model_dump(mode="json", exclude_unset=True)))
    store = Store("runs")
    for recipe, runs in (("adamw", 6), ("muon", 6), ("shampoo", 5)):
        for record in make_records(Truth(noise=0.0005), EXPERIMENT, recipe=recipe, runs=runs):
            store.add(record)
    done: list[str] = []

    def train(together, store, records, workers, resources) -> None:
        protocol, *_ = together.protocols
        registered = {content["job"]["run_id"] for content in store.registered_predictions()}
        assert {prediction.run.run_id for prediction in protocol.predictions.values()} <= registered
        while jobs := together.missing(records):
            for job in jobs:
                loss = 2.0 * math.exp(0.02 * math.log(job.point["lr"] / 0.01) ** 2) * (job.point["tokens"] / 131_072) ** -0.1
                records[job.run_id] = record_of(job, loss, finished_at="2030-01-01T00:00:00+00:00")
                store.add(records[job.run_id])
                done.append(job.run_id)

    monkeypatch.setattr(stage, "_train", train)
    return done


def validate(*options: str) -> None:
    perform("validate", ["--experiment", "mine.yaml", "--json", *options])


def test_what_has_a_prediction_is_validated_and_a_second_time_nothing_is_trained(trained, tmp_path, capsys):
    validate()
    first = json.loads(capsys.readouterr().out)
    assert [found["arm"] for found in first["validations"]] == ["adamw", "muon"]
    assert all(found["preregistered"] for found in first["validations"])
    assert [found["refusal"] for found in first["validations"]] == [None, None]
    files = sorted((tmp_path / "reports/synthetic").iterdir())
    assert [file.name for file in files] == ["validation-adamw-256.json", "validation-muon-256.json"]
    assert [json.loads(file.read_text()) for file in files] == first["validations"]
    assert len(trained) == len(set(trained)) > 0
    trained.clear()
    for file in files:
        file.unlink()
    validate()
    assert json.loads(capsys.readouterr().out) == first
    assert trained == []


def test_an_arm_brings_its_baseline(trained, capsys):
    validate("--arm", "muon")
    (found,) = json.loads(capsys.readouterr().out)["validations"]
    assert (found["arm"], found["baseline"]) == ("muon", "adamw")
    assert found["speedup"] is not None


def test_an_arm_that_is_named_and_has_no_prediction_is_a_mistake(trained):
    with pytest.raises(UsageError, match=r"shampoo.*`hptransfer search .*--optimizer shampoo"):
        validate("--optimizer", "muon,shampoo")
    assert trained == []


def test_an_arm_that_is_named_and_refused_is_refused(trained):
    store = Store("runs")
    experiment = make_experiment(optimizers=["soap"], search={"trials": 6})
    for record in make_records(Truth(), experiment, recipe="soap", runs=6):
        point = record.point
        loss = math.exp(MISTUNED.ln_loss(point["width"], point["lr"], point["weight_decay"]))
        store.add(record_of(record.job, loss))
    with pytest.raises(Refused, match="soap"):
        validate("--optimizer", "soap")
    assert trained == []


def test_an_output_that_is_no_folder_is_refused_before_anything_is_trained(trained, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for place in ("notes.txt", "notes.txt/reports"):
        with pytest.raises(UsageError, match=f"--output {place} is no folder"):
            validate("--output", place)
    assert trained == [] and (tmp_path / "notes.txt").read_text() == "mine"


def test_without_any_prediction_there_is_nothing_to_validate(trained):
    with pytest.raises(UsageError, match="adamw, muon, shampoo"):
        validate("--store", "elsewhere")
