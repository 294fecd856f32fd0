"""Two experiments side by side: the page of a report with every arm by its experiment."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import altair as alt
import polars as pl
import pytest
import yaml
from report.factory import experiment, prediction, results, write_all

from hptransfer.base.errors import UsageError
from hptransfer.base.refusals import Refusal
from hptransfer.cli import perform
from hptransfer.experiment import Experiment
from hptransfer.report import compare
from hptransfer.report.document import Document
from hptransfer.report.frames import Frames
from hptransfer.validate.comparison import comparison_of
from hptransfer.validate.results import Results

NAMES = ("sample", "other")
OTHER = {"name": "other", "batch_sequences": 32}


def made(both: tuple[Results, Results]) -> tuple[Document, Frames]:
    return compare.document(both, comparison_of(*both, NAMES))


@pytest.fixture
def both() -> tuple[Results, Results]:
    return results(experiment()), results(experiment(("muon", "adamw", "soap"), **OTHER))


def file_of(made: Experiment, name: str) -> str:
    Path(name).write_text(yaml.safe_dump(made.model_dump(mode="json")))
    return name


@pytest.fixture
def files(folder: Path) -> list[str]:
    """Two experiments in one store, run after each other: the predictions of the first are in the store alone by then."""
    first, second = experiment(), experiment(("adamw", "muon", "soap"), **OTHER)
    write_all(folder, first)
    shutil.rmtree("predictions")
    write_all(folder, second)
    return [file_of(first, "first.yaml"), file_of(second, "second.yaml")]


def test_all_arms_stand_in_one_table_with_their_experiment(both: tuple[Results, Results]) -> None:
    document, frames = made(both)
    assert [row[:2] for row in document.overview.rows] == [
        *(("adamw", "sample"), ("muon", "sample")),
        *(("muon", "other"), ("adamw", "other"), ("soap", "other")),
    ]
    assert [card.title for card in document.cards] == ["adamw", "muon"]
    assert "soap is in other only." in next(part for part in document.sections if part.anchor == "settings").intro
    arms = {
        f"{arm} of {name}"
        for name, names in (("sample", ("adamw", "muon")), ("other", ("adamw", "muon", "soap")))
        for arm in names
    }
    for name in ("lr_curves", "optimum_against_width", "regret", "loss_against_compute"):
        assert set(frames[name]["arm"]) == arms, name
    assert set(frames["predicted_values"]["experiment"]) == {"sample", "other", "ratio"}
    losses = frames["held_out_losses"]
    assert set(losses.filter(pl.col("experiment") == "other")["arm"]) == {"adamw", "muon", "soap"}


def test_every_chart_of_a_comparison_is_valid_with_data_and_a_filter(both: tuple[Results, Results]) -> None:
    figures = {figure.name: figure for figure in made(both)[0].figures}
    assert {"predicted-lr", "predicted-weight-decay", "held-out-losses", "optimum-against-width-muon-of-sample"} <= set(figures)
    for name, figure in figures.items():
        alt.LayerChart.from_dict(figure.chart, validate=True)
        assert figure.spec["data"]["values"], name
        assert '"bind": "legend"' in json.dumps(figure.spec), name


def test_optima_of_a_pair_share_a_chart_in_two_colours(both: tuple[Results, Results]) -> None:
    (figure,) = (one for one in made(both)[0].figures if one.name == "optimum-against-width-muon-of-sample")
    hues = {row["arm"] for row in figure.spec["data"]["values"]}
    assert hues == {"muon of sample", "muon of other"}
    scale = next(layer["encoding"]["color"]["scale"] for layer in figure.spec["layer"] if "color" in layer["encoding"])
    assert len(set(scale["range"])) == 2


def test_losses_that_say_nothing_of_each_other_are_not_drawn_together(both: tuple[Results, Results]) -> None:
    other = results(experiment(**OTHER | {"evaluation": {"tokens": 4096}}))
    document, _ = made((both[0], other))
    parts = {part.anchor: part for part in document.sections}
    for anchor in ("losses", "compute", "training"):
        assert not parts[anchor].figures and "are not compared" in parts[anchor].remarks[0], anchor
    assert parts["held-out"].figures  # each against its own prediction


def test_a_refusal_reaches_the_comparison(both: tuple[Results, Results]) -> None:
    a, b = both
    refused = a.validations["muon"].model_copy(update={"refusal": Refusal.of("diverged", name="muon"), "speedup": None})
    document, _ = made((replace(a, validations=a.validations | {"muon": refused}), b))
    said = Refusal.of("diverged", name="muon").text
    assert any(said in verdict.text for verdict in document.verdicts)
    saved = next(part for part in document.sections if part.anchor == "multiplier")
    assert f"muon of sample: {said}" in saved.remarks


def test_parametrizations_of_one_optimizer_are_told_apart(both: tuple[Results, Results]) -> None:
    a, b = both
    told = {"muon-sp": prediction(a.experiment, "muon", "sp")}
    tested = {"muon-sp": a.validations["muon"].model_copy(update={"arm": "muon-sp", "parametrization": "sp"})}
    sp = experiment(name="sample", parametrizations=["mup", "sp"])
    a = replace(a, experiment=sp, predictions=a.predictions | told, validations=a.validations | tested)
    frame = made((a, b))[1]["held_out_losses"]
    assert set(frame.filter(pl.col("experiment") == "sample")["arm"]) == {"adamw", "muon", "muon-sp"}


def test_the_folder_of_a_comparison(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    perform("report", ["--compare", *files, "--json"])
    out, err = capsys.readouterr()
    made = Path("reports/compare-sample-other")
    summary = json.loads((made / "summary.json").read_text())
    assert json.loads(out) == summary
    assert summary["arms"][1]["lr"]["agreement"] == "agree"  # sample's prediction too, whose file other has replaced
    assert [row["name"] for row in summary["settings"]] == ["batch_sequences", "optimizers"]
    page, markdown = (made / "index.html").read_text(), (made / "compare.md").read_text()
    figures = {path.stem for path in (made / "figures").glob("*.svg")}
    assert figures == set(re.findall(r'data-spec="spec-([^"]+)"', page)) == set(re.findall(r"\(figures/(.+)\.svg\)", markdown))
    assert {"predicted-lr", "held-out-losses", "compute-multiplier"} <= figures
    assert {"predicted_values", "held_out_losses", "lr_curves"} <= {path.stem for path in (made / "tables").glob("*.csv")}
    assert "| batch\\_sequences | 64 | 32 |" in markdown
    for said in (markdown, err, page):
        assert "Lowest loss at the held-out width: soap of other" in said


def test_an_unfinished_experiment_can_be_compared(files: list[str]) -> None:
    late = file_of(experiment(name="late", batch_sequences=16), "late.yaml")
    perform("report", ["--compare", files[0], late])
    text = Path("reports/compare-sample-late/compare.md").read_text()
    assert "muon: late has no prediction for muon yet." in text
    assert "No arm has been predicted in both experiments yet." in text


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("first.yaml", "first.yaml", "--compare first.yaml first.yaml: they are the same experiment"),
        ("first.yaml", "soap.yaml", "--compare first.yaml soap.yaml: they have no arm in common (adamw, muon and soap)"),
        ("first.yaml", "nowhere", "unknown experiment 'nowhere'"),
        ("new-a.yaml", "new-b.yaml", "store runs holds no run of new-a and none of new-b: there is nothing to compare"),
    ],
)
def test_bad_input_is_one_line(files: list[str], a: str, b: str, says: str) -> None:
    file_of(experiment(("soap",), name="soap"), "soap.yaml")
    for name, batch in (("new-a", 8), ("new-b", 16)):
        file_of(experiment(name=name, batch_sequences=batch), f"{name}.yaml")
    with pytest.raises(UsageError, match=re.escape(says)):
        perform("report", ["--compare", a, b])
    assert not list(Path("reports").glob("compare-*"))


@pytest.mark.parametrize("option", [["--predictions", "missing.json"], ["--experiment", "first.yaml"]])
def test_options_of_a_single_report_are_refused(files: list[str], option: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{option[0]} .* is not heeded with --compare"):
        perform("report", ["--compare", *files, *option])


def test_a_folder_with_a_report_is_refused(files: list[str]) -> None:
    perform("report", ["--experiment", files[1]])
    before = {path: path.read_text() for path in Path("reports/other").rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"reports/other holds another kind of report, with its report\.md"):
        perform("report", ["--compare", *files, "--output", "reports/other"])
    assert {path: path.read_text() for path in Path("reports/other").rglob("*") if path.is_file()} == before


def test_experiments_of_one_name_are_told_apart_by_their_files(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    twin = file_of(experiment(("adamw", "muon"), batch_sequences=32), "twin.yaml")
    perform("report", ["--compare", files[0], twin])
    assert "first.yaml against twin.yaml" in capsys.readouterr().err
