from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from report.factory import experiment, prediction, write_all

from hptransfer.errors import UsageError
from hptransfer.report.command import main


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
    assert [found["optimizer"] for found in summary["optimizers"]] == ["adamw", "muon"]
    assert summary["optimizers"][1]["prediction"] == prediction(experiment(), "muon").digest
    with (report / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(summary["runs"].values())
    assert {row["state"] for row in rows} == {"complete", "diverged", "failed"}


def test_the_markdown_gives_the_answer_and_links_to_figures_that_exist(report: Path) -> None:
    text = (report / "report.md").read_text()
    assert "| muon | 0.0208 (0.0172\N{EN DASH}0.0248) |" in text
    assert "> 4.00x (not bracketed)" in text
    assert "\n- muon saves compute: AdamW needs 1.42x the compute for the same loss at width 256" in text
    assert "\n- muon: The prediction is within the noise of the best found around it" in text
    assert "\n- muon: Check failed: batch in the swept range (a < b)." in text
    assert "| lower loss | higher loss | difference |" in text and "\n| muon | adamw | 0.0" in text
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert sorted(links) == sorted(f"figures/{path.name}" for path in (report / "figures").glob("*.svg")) != []


def test_json_prints_the_summary_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_all(folder, experiment(("adamw",)), tested=False)
    main(["--experiment", str(file), "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((folder / "reports/sample/summary.json").read_text())
    assert "next:    python -m hptransfer.validate" in err


def test_a_finished_report_names_the_export(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_all(folder, experiment(("adamw",)))
    main(["--experiment", str(file)])
    assert "python -m hptransfer.export --experiment" in capsys.readouterr().err


def test_figures_of_an_earlier_report_do_not_stay(folder: Path) -> None:
    file = write_all(folder, experiment(("adamw",)), tested=False)
    main(["--experiment", str(file)])
    assert (folder / "reports/sample/figures/optimum-against-width-adamw.svg").is_file()
    (folder / "predictions/adamw-256.json").unlink()
    main(["--experiment", str(file)])
    assert not (folder / "reports/sample/figures/optimum-against-width-adamw.svg").exists()


def test_an_empty_store_is_one_line(folder: Path) -> None:
    file = write_all(folder, experiment())
    with pytest.raises(UsageError, match="store nowhere is empty"):
        main(["--experiment", str(file), "--store", "nowhere"])
