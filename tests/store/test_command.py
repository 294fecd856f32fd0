"""``python -m hptransfer.store``: listing, import and compaction."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from synthetic import Truth, make_experiment, make_records

from hptransfer.base.errors import UsageError
from hptransfer.cli import perform
from hptransfer.runs import Store

EXPERIMENT = make_experiment(optimizers=["muon"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT.model_dump(mode="json", exclude_none=True)))
    rows: list[dict[str, Any]] = []
    for record in make_records(Truth(), EXPERIMENT):
        point = record.point
        rows.append({"d_model": point["width"], "lr": point["lr"], "wd": point["weight_decay"], "loss": record.loss})
    rows.append({"d_model": 64, "lr": 1.0, "wd": 1e-3, "loss": None})
    pl.DataFrame(rows).write_csv("runs.csv")
    return tmp_path


def store(*arguments: str) -> int:
    chosen = ["--experiment", "mine.yaml"] if "--import" in arguments else []
    return perform("store", [*chosen, *arguments])


COLUMNS = ("--columns", "width=d_model,weight_decay=wd")


def test_imported_runs_predict_as_searched_ones(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert store("--import", "runs.csv", *COLUMNS, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["imported"], printed["already_there"]) == (25, 0)
    records = Store("runs").records().values()
    assert sum(record.state == "diverged" for record in records) == 1
    assert {record.outcome.device for record in records} == {"imported from runs.csv"}
    assert perform("transfer", ["--experiment", "mine.yaml", "--json"]) == 0
    lr = json.loads(capsys.readouterr().out)["predictions"][0]["hyperparameters"]["lr"]
    assert abs(math.log(lr["value"] / 0.01)) < 0.15


def test_runs_of_a_program_are_imported_by_their_arms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "python3 train.py --width {width} --lr {lr} --seed {seed}"
    experiment = {
        "name": "mine",
        "trainer": {"command": command, "loss": "loss (.*)"},
        "arms": {"plain": {}, "patched": {"trainer.command": f"{command} --patch"}},
        "parametrizations": ["unknown"],
        "widths": [64, 128],
        "target_width": 512,
        "spaces": {arm: {"lr": {"low": 1e-3, "high": 1}} for arm in ("plain", "patched")},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "train.py").touch()
    rows = [{"arm": arm, "width": 64, "lr": lr, "loss": 2.0} for arm in ("plain", "patched") for lr in (0.01, 0.02, 0.04)]
    pl.DataFrame(rows).write_csv("program.csv")
    assert store("--import", "program.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["imported"] == 6
    commands = [record.job.details["command"] for record in Store("runs").records().values()]
    assert sum("--patch" in words for words in commands) == 3
    (folder / "program.csv").write_text("arm,width,lr,loss\nplian,64,.01,2\n")
    with pytest.raises(UsageError, match=r"program.csv row 2: .*'plian'; did you mean 'plain'"):
        store("--import", "program.csv")


def test_rows_say_the_cell_that_they_are_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ("--set", "scales.tokens=[131072,262144]", "--set", "target.tokens=1048576")
    rows = [(64, 131_072), (64, 262_144), (128, 131_072)]
    pl.DataFrame([{"width": w, "D": d, "lr": 0.01, "loss": 2.0} for w, d in rows]).write_csv("cells.csv")
    assert store("--import", "cells.csv", "--columns", "tokens=D", *sets, "--json") == 0
    assert json.loads(capsys.readouterr().out)["imported"] == 3
    points = [record.point for record in Store("runs").records().values()]
    assert sorted((point["width"], point["tokens"]) for point in points) == rows
    rows[0] = (64, 1000)
    pl.DataFrame([{"width": w, "D": d, "lr": 0.01, "loss": 2.0} for w, d in rows]).write_csv("cells.csv")
    with pytest.raises(UsageError, match="tokens 1000 is none of"):
        store("--import", "cells.csv", *sets)
    pl.DataFrame([{"width": w, "lr": 0.01, "loss": 2.0} for w, _ in rows[1:]]).write_csv("cells.csv")
    with pytest.raises(UsageError, match="--columns tokens=ITS_NAME"):
        store("--import", "cells.csv", *sets)


def test_the_same_table_again_adds_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert store("--import", "runs.csv", *COLUMNS) == 0
    assert store("--import", "runs.csv", *COLUMNS, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["imported"], printed["already_there"]) == (0, 25)


def test_listing_and_compaction(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store("--import", "runs.csv", *COLUMNS)
    before = Store("runs").records()
    capsys.readouterr()
    assert store("--compact", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["compacted"] == 25
    assert {(group["width"], group["state"]): group["runs"] for group in printed["groups"]} == {
        (64, "complete"): 12, (64, "diverged"): 1, (128, "complete"): 12
    }  # fmt: skip
    assert Store("runs").records() == before
    assert len(list((folder / "runs").glob("compact-*.parquet"))) == 1


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, (), "may be torch's, of which a step takes lr * wd, or independent of lr"),
        ({}, ("--columns", "width=d_modle"), "runs.csv: column 'd_modle'; did you mean 'd_model'?"),
        ({}, ("--columns", "d_model"), "--columns 'd_model' is not a list"),
        ({}, ("--columns", "widht=d_model"), "unknown --columns 'widht'"),
        ({"lr": -1.0}, COLUMNS, "runs.csv row 5: lr -1.0 is negative"),
        ({"loss": -1.0}, COLUMNS, "runs.csv row 5: loss -1.0 is not a positive loss"),
        ({"d_model": 100}, COLUMNS, "runs.csv row 5: width 100 is none of the experiment's, [64, 128]"),
        ({"optimizer": "moun"}, COLUMNS, "runs.csv row 5: unknown recipe 'moun'; did you mean 'muon'?"),
        ({"parametrization": "mupp"}, COLUMNS, "runs.csv row 5: parametrization 'mupp'"),
        ({"wd": -0.1}, COLUMNS, "runs.csv row 5: weight_decay"),
        ({"lr": "fast"}, COLUMNS, "runs.csv row 5: lr 'fast' is not a number"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    folder: Path, change: dict[str, Any], arguments: tuple[str, ...], message: str
) -> None:
    rows = pl.read_csv("runs.csv").to_dicts()
    rows[3] |= change
    pl.DataFrame(rows, infer_schema_length=None, strict=False).write_csv("runs.csv")
    with pytest.raises(UsageError) as caught:
        store("--import", "runs.csv", *arguments)
    assert message.split(": ", 1)[-1].removeprefix("column ") in str(caught.value) and "\n" not in str(caught.value)
    assert not Path("runs").exists() or Store("runs").records() == {}


def test_a_column_of_numbers_names_no_optimizer(folder: Path) -> None:
    pl.read_csv("runs.csv").with_columns(pl.lit(12).alias("optimizer")).write_csv("runs.csv")
    with pytest.raises(UsageError, match="row 2: unknown recipe '12'"):
        store("--import", "runs.csv", *COLUMNS)


def test_replicates_need_a_seed(folder: Path) -> None:
    rows = pl.read_csv("runs.csv").head(4).to_dicts()
    pl.DataFrame([*rows, rows[0] | {"loss": 2.5}]).write_csv("runs.csv")
    with pytest.raises(UsageError, match=r"row 6 is the same run as row 2 with another loss; .* column 'seed'"):
        store("--import", "runs.csv", *COLUMNS)
    pl.DataFrame([row | {"seed": i} for i, row in enumerate([*rows, rows[0] | {"loss": 2.5}])]).write_csv("runs.csv")
    assert store("--import", "runs.csv", *COLUMNS) == 0
    assert len(Store("runs").records()) == 5


def test_no_file_is_one_line(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv: no such file"):
        store("--import", "none.csv")


@pytest.mark.parametrize(
    ("column", "cells", "says"),
    [
        ("optimizer", 5, "unknown recipe '5'"),
        ("seed", "abc", "seed 'abc' is not a positive number"),
        ("seed", 1.5, "seed 1.5 is no whole number"),
        ("seed", float("inf"), "seed inf is not a positive number"),
        ("embedding_lr_ratio", 0, "embedding_lr_ratio 0 is not a positive number"),
    ],
)
def test_a_cell_of_the_wrong_kind_is_one_line(folder: Path, column: str, cells: object, says: str) -> None:
    pl.read_csv("runs.csv").with_columns(pl.lit(cells).alias(column)).write_csv("odd.csv")
    with pytest.raises(UsageError) as caught:
        store("--import", "odd.csv", *COLUMNS)
    assert says in str(caught.value)
