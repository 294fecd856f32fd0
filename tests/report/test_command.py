from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from report.factory import experiment, prediction, write_all

from hptransfer.base.errors import UsageError
from hptransfer.cli import perform


def test_the_report_folder_is_complete(report: Path) -> None:
    names = {str(path.relative_to(report)) for path in report.rglob("*") if path.is_file()}
    assert {
        "index.html",
        "summary.json",
        "report.md",
        "runs.csv",
        "tables/regret.csv",
        "figures/regret-learning-rate.svg",
    } <= names
    summary = json.loads((report / "summary.json").read_text())
    assert [found["arm"] for found in summary["arms"]] == ["adamw", "muon"]
    assert summary["arms"][1]["prediction"] == prediction(experiment(), "muon").digest
    with (report / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(summary["runs"].values())
    assert {row["state"] for row in rows} == {"complete", "diverged", "failed"}


def test_json_prints_the_summary_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_all(folder, experiment(("adamw",)), tested=False)
    perform("report", ["--experiment", str(file), "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((folder / "reports/sample/summary.json").read_text())
    assert "next:    hptransfer validate" in err


@pytest.mark.parametrize("optimizers", [("adamw", "muon"), ("muon", "adamw")])
def test_a_finished_report_names_the_export_of_the_lowest_loss(
    folder: Path, capsys: pytest.CaptureFixture[str], optimizers: tuple[str, ...]
) -> None:
    file = write_all(folder, experiment(optimizers))
    perform("report", ["--experiment", str(file)])
    said = capsys.readouterr().err
    assert "next:    hptransfer export --experiment" in said and " --optimizer muon --target json" in said


def test_a_next_command_is_printed_as_it_has_to_be_typed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_all(folder, experiment())
    perform("report", ["--experiment", str(file), "--set", "optimizers=[adamw,muon]", "--set", "description='[bold] :x:'"])
    assert f"next:    hptransfer export --experiment {file} --set 'optimizers=[adamw,muon]' --set " in capsys.readouterr().err


def test_figures_of_an_earlier_report_do_not_stay(folder: Path) -> None:
    file = write_all(folder, experiment(("adamw",)), tested=False)
    perform("report", ["--experiment", str(file)])
    assert (folder / "reports/sample/figures/optimum-against-width-adamw.svg").is_file()
    (folder / "predictions/sample/adamw-256.json").unlink()
    perform("report", ["--experiment", str(file), "--set", "search.trials=99"])
    assert not (folder / "reports/sample/figures/optimum-against-width-adamw.svg").exists()


def test_files_of_others_in_the_output_folder_stay(folder: Path) -> None:
    file = write_all(folder, experiment(("adamw",)), tested=False)
    theirs = [folder / "mine/figures/fig1.svg", folder / "mine/tables/results.csv"]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    for _ in range(2):
        perform("report", ["--experiment", str(file), "--output", "mine"])
    assert [path.read_text() for path in theirs] == ["mine", "mine"]


@pytest.mark.parametrize("live", [[], ["--live"]])
def test_a_folder_with_a_comparison_is_refused(folder: Path, live: list[str]) -> None:
    file = write_all(folder, experiment())
    (folder / "two").mkdir()
    (folder / "two/compare.md").write_text("# a against b")
    with pytest.raises(UsageError, match=r"two holds another kind of report, with its compare\.md"):
        perform("report", ["--experiment", str(file), "--output", "two", *live])
    assert [path.name for path in (folder / "two").iterdir()] == ["compare.md"]


def test_a_folder_that_cannot_be_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_all(folder, experiment())
    with pytest.raises(SystemExit) as stopped:
        perform("report", ["--experiment", str(file), "--output", "x" * 300])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "--output" in said and said.count("\n") == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "x" * 65, "", ".hidden", "two words"])
def test_a_name_that_is_no_folder_is_one_line(folder: Path, name: str) -> None:
    file = write_all(folder, experiment())
    with pytest.raises(UsageError, match="name: a name has up to 64 letters, digits, dots, underscores and dashes") as error:
        perform("report", ["--experiment", str(file), "--set", f"name={name!r}"])
    assert "\n" not in str(error.value)


def test_an_empty_store_is_one_line(folder: Path) -> None:
    file = write_all(folder, experiment())
    with pytest.raises(UsageError, match="store nowhere is empty"):
        perform("report", ["--experiment", str(file), "--store", "nowhere"])
