"""The page, the Markdown and the terminal's lines of one experiment: the answer first, and where the numbers come from."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import polars as pl
import pytest
import yaml
from report.factory import experiment, job, record, results, with_records, with_validation
from report.pages import Elements, document_of, figures, first_screen, page, section, words

from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal
from hptransfer.report.document import Section, Table
from hptransfer.report.frames import run_table
from hptransfer.report.page import failures, run_section
from hptransfer.report.render import markdown
from hptransfer.report.terminal import show
from hptransfer.runs import Store
from hptransfer.trainers.ours.points import resolve
from hptransfer.validate.provenance import commit
from hptransfer.validate.result import Foretold
from hptransfer.validate.results import Results, load_results

DASH = "\N{EN DASH}"
MUON = "muon"
LOST = ((0.5, 31), (0.7, 7))  # LR, and the step at which the loss went away


# -- the document ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["figures", "tables", "terms", "remarks", "missing", "runs"])
def test_a_section_is_shown_where_it_has_something(kind: str) -> None:
    assert not Section("a", "A", "with words about nothing") and Section("a", "A", **{kind: ("something",)})


def test_a_section_without_anything_is_not_in_the_page(full: Results) -> None:
    told = {part.anchor for part in document_of(full).sections}
    nothing = with_records(full, [run for run in full.records if run.state == "complete"])
    assert "failures" in told and told - {part.anchor for part in document_of(nothing).sections} == {"failures"}
    ids = {attrs.get("id") for tag, attrs in Elements(page(nothing)).found if tag == "section"}
    assert ids == told - {"failures"} and "## Diverged" not in markdown(document_of(nothing))


def test_a_column_of_numbers_stands_to_the_right_and_outcomes_are_coloured() -> None:
    table = Table(("arm", "x", "state"), (("a", "1.42x", "failed"), ("b", "-", "ok")))
    assert table.styles == ["", "number", ""]
    assert [table.style(place, cell) for place, cell in enumerate(table.rows[0])] == ["", "number", "bad"]


# -- the answer --------------------------------------------------------------------------------------------------------


def test_the_answer_comes_first(full: Results) -> None:
    answer = first_screen(full)
    for expected in (
        "muon saves compute",
        f"1.42x the compute for the same loss at width 256 (80 %: 1.30{DASH}1.60; p = 0.002)",
        f"0.11 % above (80 %: 0.02{DASH}0.21)",
        f"0.0172{DASH}0.0248",
        "not identified, rule used",
        "expected 0.08 %",
        "> 4.00x",
        "2.49 M parameters",
        "10 % of the training time and 3.8 % of the FLOPs",
        "1.16x the baseline's seconds",
        "10.0 MB",
        "Check failed: batch in the swept range (a < b).",  # not hidden below
    ):
        assert expected in answer, expected


@pytest.mark.parametrize("arm", ["adamw", MUON])
def test_the_values_to_copy_are_the_final_ones_of_every_role(full: Results, arm: str) -> None:
    (copied,) = (card.copy for card in document_of(full).cards if card.title == arm)
    assert copied in Elements(page(full)).words and f"```yaml\n{copied}\n```" in markdown(document_of(full))
    values, roles = yaml.safe_load(copied), full.predictions[arm].roles
    assert set(values) == set(roles) and {"hidden", "embedding"} <= set(values)
    for role, one in roles.items():
        coupled = one.weight_decay / one.lr
        assert values[role].pop("weight_decay_coupled") == pytest.approx(coupled, rel=1e-4)
        assert values[role] == pytest.approx({"lr": one.lr, "weight_decay": one.weight_decay, **one.epsilons}, rel=1e-4)


def test_a_clock_that_is_not_known_is_a_dash_with_its_reason(full: Results) -> None:
    speedup = full.validations[MUON].speedup
    known = {axis: value for axis, value in speedup.compute_multiplier.items() if axis != "wall_clock"}
    untimed = with_validation(full, speedup=speedup.model_copy(update={"compute_multiplier": known}))
    assert "not timed" in first_screen(untimed) and "4.00x" not in words(untimed)
    assert "not timed" not in first_screen(full)


def test_adamw_alone_is_no_baseline_and_asks_for_nothing_more() -> None:
    text = words(results(experiment(("adamw",))))
    assert "adamw is alone in this experiment" in text
    assert "that the others are measured against" not in text and "hptransfer validate" not in text


def test_two_optimizers_have_cards_and_more_have_a_table_first(full: Results) -> None:
    def overview(text: str) -> list[int]:
        return [place for place, (_, attrs) in enumerate(Elements(text).found) if "overview" in (attrs.get("class") or "")]

    assert overview(page(full)) == []
    four = page(results(experiment(("adamw", MUON, "shampoo", "soap"))))
    cards = [place for place, (tag, _) in enumerate(Elements(four).found) if tag == "article"]
    assert len(cards) == 4 and overview(four)[0] < cards[0]
    assert Elements(four).words.count("soap saves compute") == 2


def test_the_numbers_behind_the_verdict_stand_in_tables(full: Results) -> None:
    tables = section(full, "numbers").tables
    cells = {cell for table in tables for row in table.rows for cell in row}
    law, within, over_sizes = f"1.51x (1.37{DASH}1.68)", "> 1.21x (not bracketed)", f"1.50x (1.40{DASH}1.60, extrapolated)"
    assert {law, within, over_sizes, "10.0 MB", "< 0.001", "+0.010 (-0.020 to +0.050)"} <= cells
    assert next(table.rows for table in tables if "seeds to show it" in table.columns)[0][:2] == (MUON, "adamw")


def test_the_measured_loss_stands_beside_what_was_foretold(full: Results) -> None:
    assert not any("foretold" in table.columns for table in section(full, "held-out").tables)
    loss = full.validations[MUON].predicted.loss
    told = Foretold(loss=Interval(value=loss + 0.01, low=loss - 0.02, high=loss + 0.04), law="a line")
    found = section(with_validation(full, foretold=told), "held-out")
    assert [row[0] for row in found.tables[0].rows] == [MUON]
    assert found.tables[0].rows[0][1:] == (
        f"{loss:.4f}",
        f"{loss + 0.01:.4f} ({loss - 0.02:.4f}{DASH}{loss + 0.04:.4f})",
        "inside",
    )
    assert f"{MUON}: foretold by a line." in found.remarks
    why = Foretold(reason=Refusal.of("few_sizes", sizes=2, needed=3))
    found = section(with_validation(full, foretold=why), "held-out")
    assert not found.tables and any("no loss is foretold" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("low", "high", "reading"),
    [(0.01, 0.05, "grows"), (-0.05, -0.01, "shrinks"), (-0.02, 0.05, "no trend"), (None, None, "no trend")],
)
def test_a_trend_is_read_by_its_interval(full: Results, low: float | None, high: float | None, reading: str) -> None:
    trend = Interval(value=0.02, low=low, high=high)
    found = with_validation(full, speedup=full.validations[MUON].speedup.model_copy(update={"trend": trend}))
    (row,) = next(table.rows for table in section(found, "numbers").tables if "exponent" in table.columns)
    assert row[0] == MUON and row[1].startswith("+0.020 (") and reading in row[2]


# -- what it rests on --------------------------------------------------------------------------------------------------


def test_every_figure_is_on_the_page_with_its_data(report: Path) -> None:
    text, drawn = (report / "index.html").read_text(), {path.stem for path in (report / "figures").glob("*.svg")}
    assert drawn and set(re.findall(r'data-spec="spec-([^"]+)"', text)) == drawn
    for name in drawn:
        (spec,) = re.findall(rf'<script type="application/json" id="spec-{name}">(.*?)</script>', text, re.DOTALL)
        assert json.loads(spec)["data"]["values"] and "<svg" in (report / "figures" / f"{name}.svg").read_text()


def test_all_runs_are_in_the_page_as_columns(full: Results) -> None:
    (data,) = re.findall(r'id="run-data">(.*?)</script>', page(full), re.DOTALL)
    columns = {column["name"]: column for column in json.loads(data)}
    assert set(columns["run"]["values"]) == set(full.by_id)
    states = [columns["state"]["names"][place] for place in columns["state"]["values"]]
    assert sorted(states) == sorted(record.state for record in full.records)
    place, reason = states.index("failed"), columns["reason"]
    assert (columns["loss"]["values"][place], columns["LR"]["values"][place]) == (None, 0.0111)
    assert reason["names"][reason["values"][place]] == "worker died & <was> not restarted"


def test_failures_of_one_kind_are_one_row(full: Results) -> None:
    lost = [record(job(full.experiment, MUON, 64, lr), "diverged", f"loss is inf at step {step}") for lr, step in LOST]
    (table,) = failures(run_table(with_records(full, (*full.records, *lost)))).tables
    counts = [int(row[1]) for row in table.rows]
    assert sum(counts) == 2 + sum(made.state != "complete" for made in full.records) and counts == sorted(counts, reverse=True)
    (found,) = (row for row in table.rows if row[2].startswith("loss is inf"))
    assert (found[0], found[1], found[3]) == ("diverged", "2", MUON) and "(width 64, LR 0." in found[4]


def test_checks_and_provenance_are_there(full: Results) -> None:
    text = words(full)
    for expected in ("theory +0.000", "ab" * 32, "cpu (", "torch 2.13.0", "9 at width 32", "Cost, validation"):
        assert expected in text, expected


def test_a_commit_is_named_where_the_package_is_a_checkout_of_its_own(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    package, inside = tmp_path / "package", tmp_path / "venv" / "package"
    for folder in (package, inside):
        folder.mkdir(parents=True)
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
    assert commit(inside) is None  # an environment inside somebody's repository


def test_missing_parts_are_named_with_their_command(unfinished: Results) -> None:
    text = words(unfinished)
    assert "adamw and muon: there is no prediction yet." in text
    for stage in ("transfer", "validate"):
        assert f"hptransfer {stage} --experiment sample" in text
    assert "In numbers" not in text


def test_a_page_of_an_experiment_without_runs_says_that_it_waits(folder: Path) -> None:
    waiting = page(load_results(experiment(), Store("runs"), resolve, allow_empty=True))
    text = Elements(waiting).words
    assert "The search has not finished a run yet." in text and "3 layers, batches of 8,192 tokens" in text
    assert not any("data-spec" in attrs or attrs.get("id") == "run-table" for _, attrs in Elements(waiting).found)


def test_a_page_without_charts_does_not_carry_their_library_and_many_runs_are_a_small_part_of_it(unfinished: Results) -> None:
    failed = page(with_records(unfinished, (run for run in unfinished.records if run.state != "complete")))
    whole = page(unfinished)
    assert "data-spec" not in Elements(failed).words and len(failed) < 100_000 < len(whole)
    assert whole.count("window.vegaEmbed=") == 1 and "window.vegaEmbed=" not in failed
    table = run_table(unfinished)
    many = pl.concat([table] * (5000 // len(table) + 1))
    assert len(json.dumps(run_section(many).runs, separators=(",", ":"))) < 1_000_000


# -- its other forms ---------------------------------------------------------------------------------------------------


def test_the_markdown_gives_the_answer_and_links_to_figures_that_exist(report: Path) -> None:
    text = (report / "report.md").read_text()
    assert f"| {MUON} | 0.0208 (0.0172{DASH}0.0248) |" in text and "\n- muon saves compute: AdamW needs 1.42x" in text
    assert "Check failed: batch in the swept range (a &lt; b)" in text and "| +0.010 (-0.020 to +0.050) |" in text
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert sorted(links) == sorted(f"figures/{path.name}" for path in (report / "figures").glob("*.svg")) != []


def test_what_a_figure_says_beside_it_is_in_the_markdown_too(full: Results) -> None:
    lines = markdown(document_of(full)).split("\n")
    for figure in figures(full).values():
        (place,) = (place for place, line in enumerate(lines) if line.endswith(f"](figures/{figure.name}.svg)"))
        assert lines[place + 2] == figure.note or not figure.note


def test_the_answer_in_the_terminal(full: Results, unfinished: Results, capsys: pytest.CaptureFixture[str]) -> None:
    show(document_of(full))
    out, err = capsys.readouterr()
    said = " ".join(err.split())
    assert out == "" and f"muon 0.0208 (0.0172{DASH}0.0248) 0.000125" in said and f"1.42x (1.30{DASH}1.60)" in said
    for expected in ("2.49 M parameters", "muon saves compute: AdamW needs 1.42x", "batch in the swept range (a < b)"):
        assert expected in said
    show(document_of(unfinished))
    assert "missing: adamw and muon: there is no prediction yet." in capsys.readouterr().err
