"""Validation on a real Ray: predicted runs under Train, the rest as trials, tiny models on real text."""

import json

import pytest
import yaml
from synthetic import Truth, make_records

from hptransfer import cli
from hptransfer.experiment import DataChoice, Experiment
from hptransfer.runs import Store
from hptransfer.trainers.ours.data.corpus import identify
from hptransfer.transfer.prediction import Prediction

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.xdist_group("ray")]

TINY = {
    "name": "tiny",
    "model": {"depth": 1, "head_dim": 16, "context": 32},
    "base_width": 16,
    "widths": [16, 32],
    "target_width": 48,
    "horizon": {"tokens": 8192},
    "batch_sequences": 4,
    "evaluation": {"tokens": 1024, "points": 2},
    "optimizers": ["adamw", "shampoo"],
    "validation": {"seeds": 2, "probe_octaves": [1], "ladder": [0.5, 2.0]},
}


def test_validate_runs_everything_once_and_writes_down_what_came_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    experiment, data, store = Experiment.model_validate(TINY), identify(DataChoice()), Store("runs")
    for recipe in experiment.optimizers:
        for record in make_records(Truth(), experiment, recipe=recipe, data=data):
            store.add(record)
    searched = set(store.records())
    argv = ["--experiment", "tiny.yaml", "--json"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["validate", *argv])
    printed = capsys.readouterr()
    assert stopped.value.code == 0, printed.err

    found = {validation["arm"]: validation for validation in json.loads(printed.out)["validations"]}
    records = Store("runs").records()
    shampoo = found["shampoo"]
    assert shampoo["width"] == 48
    assert shampoo["refusal"] is None and shampoo["preregistered"]
    assert set(shampoo["speedup"]["compute_multiplier"]) == {"tokens", "flops", "flops_with_optimizer", "wall_clock"}
    assert {run["kind"] for run in shampoo["runs"]} == {
        "predicted",
        "lr_probe",
        "weight_decay_probe",
        "same_hyperparameters",
        "mup_only",
    }
    assert all(run_id in records for run in shampoo["runs"] + shampoo["baseline_runs"] for run_id in run["run_ids"])
    assert all(record.state == "complete" for record in records.values())

    # The prediction was in the store before the first run that tests it.
    predicted = shampoo["runs"][0]["run_ids"][0]
    registered = tmp_path / f"runs/predictions/{predicted}.json"
    assert Prediction.model_validate(json.loads(registered.read_text())["prediction"]).digest == shampoo["prediction"]
    held_out = [path for path in (tmp_path / "runs/runs").glob("*.json") if path.stem not in searched]
    assert all(path.stat().st_mtime > registered.stat().st_mtime for path in held_out)

    with pytest.raises(SystemExit):
        cli.main(["validate", *argv])
    again = {validation["arm"]: validation for validation in json.loads(capsys.readouterr().out)["validations"]}
    assert again == found
    assert Store("runs").records() == records
