"""A colleague's table and a store of ours go through the same functions: only the reading differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic import Truth, make_experiment, make_records

from hptransfer.cli import parse, perform
from hptransfer.runs import Record, Store
from hptransfer.transfer import command
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group
from hptransfer.transfer.prediction import Prediction

PLAIN = Path(__file__).parents[3] / "shared" / "cases" / "plain.csv"
TABLE = ["--table", "runs.csv", "--loss", "loss", "--width", "2048"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clean table from somebody else's trainer, lr* = 0.01 (width/128)^-0.15; and a store of ours."""
    monkeypatch.chdir(tmp_path)
    if not PLAIN.is_file():
        pytest.skip("shared/cases is not at hand")
    Path("runs.csv").write_text(PLAIN.read_text())
    experiment = make_experiment(optimizers=["muon"])
    Path("ours.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json", exclude_none=True)))
    for record in make_records(Truth(), experiment):
        Store("runs").add(record)
    return tmp_path


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert perform("transfer", [*arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_table_of_somebody_elses_trainer_is_predicted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(TABLE, capsys)
    lr = found["predictions"][0]["hyperparameters"]["lr"]
    assert lr["low"] < 0.0066 < lr["high"] and lr["high"] / lr["low"] < 2
    assert found["refused"] == {}


def test_both_are_groups_of_records_to_one_function(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Group] = []
    rows = len(PLAIN.read_text().splitlines()) - 1

    def spy(group: Group, *arguments: Any, **options: Any) -> Prediction:
        seen.append(group)
        return predict_group(group, *arguments, **options)

    monkeypatch.setattr(command, "predict_group", spy)
    printed(TABLE, capsys)
    printed(["--experiment", "ours.yaml"], capsys)
    assert [(group.name, len(group.records)) for group in seen] == [("all", rows), ("muon", 24)]
    assert {type(record) for group in seen for record in group.records} == {Record}


def test_with_the_reader_alone_replaced_a_table_gives_what_the_store_gives(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything after the reader is one pipeline: given the store's questions, the command over a table says the same."""
    ours = printed(["--experiment", "ours.yaml"], capsys)
    read = command._from_store
    monkeypatch.setattr(command, "_from_table", lambda args: read(parse("transfer", ["--experiment", "ours.yaml"]))[0])
    table = printed(TABLE, capsys)
    for found in (ours, table):
        for prediction in found["predictions"]:
            prediction["provenance"].pop("written_at")
    assert table == ours
