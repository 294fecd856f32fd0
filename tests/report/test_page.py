from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report.factory import experiment, results, validated

from hptransfer.report.figures import sections
from hptransfer.report.frames import FRAMES, run_table
from hptransfer.report.html import POLICY
from hptransfer.report.page import render_page
from hptransfer.report.results import Results, load_results
from hptransfer.report.summary import summarize
from hptransfer.store import Store

OPTIONS = " --experiment sample"


def page(found: Results) -> str:
    summary = summarize(found, OPTIONS)
    evidence = sections({name: make(found) for name, make in FRAMES.items()}, summary, OPTIONS)
    return render_page(summary, evidence, run_table(found))


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._quiet = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._quiet = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._quiet = False

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self.words += data


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


def test_every_figure_is_on_the_page_with_its_data(report: Path) -> None:
    text = (report / "index.html").read_text()
    figures = {path.stem for path in (report / "figures").glob("*.svg")}
    assert len(figures) == 8
    assert set(re.findall(r'data-spec="spec-([^"]+)"', text)) == figures
    for name in figures:
        (spec,) = re.findall(rf'<script type="application/json" id="spec-{name}">(.*?)</script>', text, re.DOTALL)
        assert json.loads(spec)["datasets"]
        assert "<svg" in (report / "figures" / f"{name}.svg").read_text()
    assert text.count("vegaEmbed = vegaEmbed") <= 1


def test_the_answer_comes_first(full: Results) -> None:
    words = Elements(page(full)).words
    answer = words[: words.index("Every run of the search")]
    for expected in (
        "0.0208",
        "(0.0172\N{EN DASH}0.0248)",
        "0.08 %",
        "1.42x",
        "(1.30\N{EN DASH}1.60)",
        "> 4.00x",
        "2.49 M parameters",
        "readout",
    ):
        assert expected in answer, expected
    assert "batch in the swept range (a < b)" in answer  # a failed check is not hidden below


def test_all_runs_checks_and_provenance_are_there(full: Results) -> None:
    text = page(full)
    words = Elements(text).words
    assert all(record.run_id in words for record in full.records)
    for expected in ("diverged", "failed", "theory +0.000", "ab" * 32, "cpu (", "torch 2.13.0", "seeds", "9 at width 32"):
        assert expected in words, expected


def test_text_is_escaped(folder: Path) -> None:
    nasty = experiment(description="</script><script>alert('x')</script> & <b>bold</b>")
    found = results(folder, nasty)
    text = page(found)
    assert "<script>alert" not in text and "<b>bold" not in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "worker died &amp; &lt;was&gt; not restarted" in text


def test_missing_parts_are_named_with_their_command(unfinished: Results) -> None:
    text = page(unfinished)
    elements = Elements(text)
    assert "There is no prediction yet".lower() in elements.words.lower()
    for stage in ("transfer", "validate"):
        assert f"python -m hptransfer.{stage} --experiment sample" in elements.words
    assert "No optimum has been fitted yet." in elements.words
    assert set(re.findall(r'data-spec="spec-([^"]+)"', text)) == {"lr-curves-adamw", "lr-curves-muon"}


def test_a_page_of_an_experiment_without_runs_says_that_it_waits(folder: Path) -> None:
    waiting = load_results(experiment(), Store("runs"), folder, allow_empty=True)
    words = Elements(page(waiting)).words
    assert "The search has not finished a run yet." in words
    assert "3 layers, batches of 8,192 tokens" in words


def test_a_page_without_charts_needs_no_script(unfinished: Results) -> None:
    failed = tuple(record for record in unfinished.records if record.state != "complete")
    assert "<script" not in page(replace(unfinished, records=failed))


def test_a_refused_multiplier_is_one_sentence(full: Results) -> None:
    sentence = "No multiplier: the search budgets differ (adamw 8, muon 12 runs per width)."
    validation, _ = validated(full.experiment, "muon", refusal=sentence)
    words = Elements(page(replace(full, validations={("muon", "mup"): validation}))).words
    assert words.count(sentence) == 2  # on the card, and where the chart would be
    assert "1.42x" not in words


@pytest.mark.parametrize("scheme", ["prefers-color-scheme: dark", "@media print", "max-width: 560px"])
def test_the_style_serves_dark_print_and_phones(report: Path, scheme: str) -> None:
    assert scheme in (report / "index.html").read_text()
