"""Stores of earlier versions: brought up to date, nothing lost, nothing twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from records import record_of

from hptransfer.base.errors import UsageError
from hptransfer.cli import perform
from hptransfer.runs import Store
from hptransfer.runs.gathered import texts_in

OLD = Path(__file__).parents[2] / "golden" / "quickstart" / "store"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD, "runs")
    return Store("runs")


def test_an_old_store_is_refused_with_the_command_that_helps(old: Store) -> None:
    with pytest.raises(UsageError, match=r"has schema 1, older than 2; .*`hptransfer store --store runs --upgrade"):
        list(old.records().values())


def test_every_run_is_kept_under_its_name(old: Store) -> None:
    before = {text for part in old.part_names() for text in texts_in(old.files.read(part))[0]}
    ids = {json.loads(text)["run_id"]: json.loads(text) for text in before}
    assert perform("store", ["--upgrade"]) == 0
    records = Store("runs").records()
    assert set(records) == set(ids) and len(ids) > 50
    for run_id, record in records.items():
        assert record.loss == ids[run_id]["loss"] and record.outcome.flops == ids[run_id]["flops"]
        assert record.point["lr"] == ids[run_id]["spec"]["optimizer"]["lr"]
        assert len(record.outcome.curve) == len(ids[run_id]["curve"])
    assert Store("runs").registered_at("add237e29a2769a3")  # the run that the prediction of adamw names


def test_again_changes_nothing_and_an_interrupted_one_goes_on(old: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert perform("store", ["--upgrade"]) == 0
    first = dict(Store("runs").records().items())
    capsys.readouterr()
    assert perform("store", ["--upgrade", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["upgraded"] == 0
    for path in OLD.glob("*.parquet"):  # as if the gathered file had not been removed yet
        shutil.copy(path, "runs")
    assert perform("store", ["--upgrade"]) == 0
    assert dict(Store("runs").records()) == first


def test_runs_of_other_numerics_keep_their_names_and_are_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD, "source")
    source = Store("source")
    text = texts_in(source.files.read(source.part_names()[0]))[0][0]
    (tmp_path / "runs/runs").mkdir(parents=True)
    (tmp_path / "runs/runs/00000000deadbeef.json").write_text(json.dumps(json.loads(text) | {"run_id": "00000000deadbeef"}))
    assert perform("store", ["--upgrade"]) == 0
    (record,) = Store("runs").records().values()
    assert record.run_id == "00000000deadbeef" and record.point.settings["numerics"] == 0


def test_what_is_not_rewritten_stays(old: Store, make_run, caplog: pytest.LogCaptureFixture) -> None:
    """Gathered runs of today beside old files, and a record that is damaged: neither goes with what is brought up to date."""
    text = texts_in(old.files.read(old.part_names()[0]))[0][0]
    for part in old.part_names():
        old.files.delete(part)
    today = record_of(make_run())
    old.add(today)
    old.compact()
    old.files.write(f"runs/{json.loads(text)['run_id']}.json", text)
    old.files.write("runs/odd.json", json.dumps({"schema_version": 1, "spec": 3}).encode())
    assert perform("store", ["--upgrade"]) == 0
    assert today.run_id in Store("runs").records()
    assert "runs/odd.json is damaged" in caplog.text
