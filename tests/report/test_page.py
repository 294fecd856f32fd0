from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from report.factory import experiment, job, record, results, with_records
from report.pages import Elements, first_screen, page, words

from hptransfer.base.intervals import Interval
from hptransfer.report import numbers
from hptransfer.report.frames import run_table
from hptransfer.report.html import POLICY
from hptransfer.report.provenance import commit
from hptransfer.report.results import Results, load_results
from hptransfer.report.runs import failure_rows, failures, section
from hptransfer.report.summary import summarize
from hptransfer.runs import Store
from hptransfer.trainers.ours.points import resolve

DASH = "\N{EN DASH}"
LOST = ((0.5, 31), (0.7, 7))  # LR, and the step at which the loss went away


def test_nothing_is_fetched(report: Path) -> None:
    text = (report / "index.html").read_text()
    elements = Elements(text).found
    fetching = [attrs[name] for _, attrs in elements for name in ("src", "href", "data", "action") if name in attrs]
    assert fetching and all(target and target.startswith("#") for target in fetching)
    assert not any(tag in ("link", "iframe", "img", "base") for tag, _ in elements)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    policies = [attrs["content"] for tag, attrs in elements if tag == "meta" and "http-equiv" in attrs]
    assert policies == [POLICY] and "default-src 'none'" in POLICY


def test_times_that_cannot_be_compared_are_said_to_be_so(full: Results) -> None:
    muon = full.validations["muon"]
    assert muon.speedup is not None and "not timed" not in first_screen(full)
    multipliers = {axis: value for axis, value in muon.speedup.compute_multiplier.items() if axis != "wall_clock"}
    untimed = muon.model_copy(update={"speedup": muon.speedup.model_copy(update={"compute_multiplier": multipliers})})
    found = replace(full, validations=full.validations | {"muon": untimed})
    assert "not timed, or on different devices" in first_screen(found)


def test_every_figure_is_on_the_page_with_its_data(report: Path) -> None:
    text = (report / "index.html").read_text()
    figures = {path.stem for path in (report / "figures").glob("*.svg")}
    assert figures and set(re.findall(r'data-spec="spec-([^"]+)"', text)) == figures
    for name in figures:
        (spec,) = re.findall(rf'<script type="application/json" id="spec-{name}">(.*?)</script>', text, re.DOTALL)
        assert json.loads(spec)["datasets"]
        assert "<svg" in (report / "figures" / f"{name}.svg").read_text()
    assert text.count("window.vegaEmbed=") == 1


def test_the_answer_comes_first(full: Results) -> None:
    answer = first_screen(full)
    for expected in (
        f"muon saves compute: AdamW needs 1.42x the compute for the same loss at width 256 (80 %: 1.30{DASH}1.60; p = 0.002).",
        f"The prediction is within the noise of the best found around it: 0.11 % above (80 %: 0.02{DASH}0.21).",
        "Against the same hyperparameters: ",
        "0.0208",
        "Learning rates are in base coordinates, weight decay is the final independent value at the held-out width.",
        "base coordinates",
        "final value, not identified, rule used",
        f"(0.0172{DASH}0.0248)",
        "expected 0.08 %",
        f"(1.30{DASH}1.60)",
        "> 4.00x",
        "2.49 M parameters",
        "readout",
        "The optimizer itself: 10 % of the training time, 3.8 % of the FLOPs, 1.16x the baseline's seconds per token; "
        "its state 10.0 MB",
        "Check failed: batch in the swept range (a < b).",  # not hidden below
    ):
        assert expected in answer, expected


@pytest.mark.parametrize(
    ("low", "high", "ends", "reading"),
    [
        (0.01, 0.05, "+0.010 to +0.050", "the saving grows with scale"),
        (-0.05, -0.01, "-0.050 to -0.010", "the saving shrinks with scale"),
        (-0.02, 0.05, "-0.020 to +0.050", "no trend is shown"),
        (None, None, "... to ...", "no trend is shown"),
    ],
)
def test_a_trend_is_read_by_its_interval(full: Results, low: float | None, high: float | None, ends: str, reading: str) -> None:
    muon = summarize(full).arms[1]
    assert muon.speedup is not None
    trend = Interval(value=0.02, low=low, high=high)
    told = muon.model_copy(update={"speedup": muon.speedup.model_copy(update={"trend": trend})})
    section = Elements(numbers.section(summarize(full).model_copy(update={"arms": (told,)}))).words
    assert f"muon+0.020 ({ends}){reading}" in section


def test_a_clock_that_is_not_known_is_a_dash(full: Results) -> None:
    validation = full.validations["muon"]
    assert validation.speedup is not None
    known = {axis: value for axis, value in validation.speedup.compute_multiplier.items() if axis != "wall_clock"}
    untimed = validation.model_copy(update={"speedup": validation.speedup.model_copy(update={"compute_multiplier": known})})
    text = words(replace(full, validations=full.validations | {"muon": untimed}))
    assert "wall-clock- " in text and "4.00x" not in text


def test_adamw_alone_is_no_baseline_and_asks_for_nothing_more() -> None:
    text = words(results(experiment(("adamw",))))
    assert text.count("adamw is alone in this experiment: there is no other arm to compare it with.") == 2
    assert "that the others are measured against" not in text and "hptransfer.validate" not in text


def test_two_optimizers_have_cards_and_more_have_a_table_first(full: Results) -> None:
    assert 'class="scroll flat overview"' not in page(full)
    four = page(results(experiment(("adamw", "muon", "shampoo", "soap"))))
    assert four.index('class="scroll flat overview"') < four.index('<article class="card"')
    assert Elements(four).words.count("soap saves compute") == 2
    links = {attrs["href"] for tag, attrs in Elements(four).found if tag == "a"}
    cards = {f"#{attrs['id']}" for tag, attrs in Elements(four).found if tag == "article"}
    assert len(cards) == 4 and cards <= links


def test_the_numbers_behind_the_verdict_stand_in_tables(full: Results) -> None:
    text = words(full)
    numbers = text[text.rindex("In numbers") :]
    for expected in (
        f"1.51x (1.37{DASH}1.68)",  # the law
        "> 1.21x (not bracketed)",  # within the run
        f"1.50x (1.40{DASH}1.60, extrapolated)",  # over sizes, the last of them
        "10.0 MB",
        "< 0.001",  # of the pair
        "Baseline's tokens",
    ):
        assert expected in numbers, expected


def test_all_runs_are_in_the_page_as_columns(full: Results) -> None:
    (data,) = re.findall(r'id="run-data">(.*?)</script>', page(full), re.DOTALL)
    columns = {column["name"]: column for column in json.loads(data)}
    assert set(columns["run"]["values"]) == {record.run_id for record in full.records}
    states = [columns["state"]["names"][place] for place in columns["state"]["values"]]
    assert sorted(states) == sorted(record.state for record in full.records)
    place = states.index("failed")
    assert columns["loss"]["values"][place] is None
    assert columns["LR"]["values"][place] == 0.0111
    assert columns["reason"]["names"][columns["reason"]["values"][place]] == "worker died & <was> not restarted"


def test_failures_of_one_kind_are_one_row(full: Results) -> None:
    first, second = (record(job(full.experiment, "muon", 64, lr), "diverged", f"loss is inf at step {step}") for lr, step in LOST)
    rows = failure_rows(run_table(with_records(full, (*full.records, first, second))))
    assert sum(int(row[1]) for row in rows) == 2 + sum(made.state != "complete" for made in full.records)
    (found,) = (row for row in rows if row[2].startswith("loss is inf"))
    assert found[:2] == ("diverged", "2")
    assert found[3] == "muon" and "(width 64, LR " in found[4]
    assert [int(row[1]) for row in rows] == sorted((int(row[1]) for row in rows), reverse=True)


def test_checks_and_provenance_are_there(full: Results) -> None:
    text = words(full)
    for expected in ("theory +0.000", "ab" * 32, "cpu (", "torch 2.13.0", "seeds", "9 at width 32", "Cost, validation", "failed"):
        assert expected in text, expected


def test_a_commit_is_named_where_the_package_is_a_checkout_of_its_own(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text("1")

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = commit(package)
    assert clean is not None and re.fullmatch("[0-9a-f]{12}", clean)
    (package / "module.py").write_text("2")
    assert commit(package) == f"{clean} with changes"
    inside = tmp_path / "venv" / "package"
    inside.mkdir(parents=True)
    assert commit(inside) is None  # an environment inside somebody's repository


def test_text_is_escaped() -> None:
    nasty = experiment(description="</script><script>alert('x')</script> & <b>bold</b>")
    text = page(results(nasty))
    assert "<script>alert" not in text and "<b>bold" not in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "worker died &amp; &lt;was&gt; not restarted" in text  # among the failures
    assert "<was>" not in text  # nor in the data of the run table


def test_missing_parts_are_named_with_their_command(unfinished: Results) -> None:
    text = words(unfinished)
    assert "There is no prediction yet".lower() in text.lower()
    for stage in ("transfer", "validate"):
        assert f"python -m hptransfer.{stage} --experiment sample" in text
    assert "No optimum has been fitted yet." in text
    assert "In numbers" not in text


def test_a_page_of_an_experiment_without_runs_says_that_it_waits(folder: Path) -> None:
    waiting = page(load_results(experiment(), Store("runs"), resolve, allow_empty=True))
    text = Elements(waiting).words
    assert "The search has not finished a run yet." in text
    assert "3 layers, batches of 8,192 tokens" in text
    assert "data-spec" not in waiting and "run-table" not in Elements(waiting).words


def test_a_page_without_charts_does_not_carry_their_library(unfinished: Results) -> None:
    failed = tuple(record for record in unfinished.records if record.state != "complete")
    text = page(with_records(unfinished, failed))
    assert "data-spec" not in text
    assert len(text) < 100_000 < len(page(unfinished))


def test_five_thousand_runs_are_a_small_part_of_the_page(full: Results) -> None:
    many = pl.concat([run_table(full)] * (5000 // len(full.records) + 1))
    assert len(section(many)) < 1_000_000
    assert "of 5," in failures(many)


@pytest.mark.parametrize("scheme", ["prefers-color-scheme: dark", "@media print", "max-width: 560px"])
def test_the_style_serves_dark_print_and_phones(report: Path, scheme: str) -> None:
    assert scheme in (report / "index.html").read_text()
