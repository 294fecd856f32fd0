"""Text that others wrote is text wherever a report says it, and the page runs its own scripts alone, without a network."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import polars as pl
import pytest
import yaml
from markdown_it import MarkdownIt
from report.factory import DATA, changed, edited, experiment, job, record, results, with_records, with_validation
from report.pages import OPTIONS, Elements

from hptransfer import cli
from hptransfer.base.refusals import Refusal
from hptransfer.report.build import Files, build, build_page, write
from hptransfer.report.build import csv as csv_of
from hptransfer.report.document import Card, Document, Figure, Section, Table
from hptransfer.report.render import html, markdown
from hptransfer.report.terminal import show
from hptransfer.runs import Store
from hptransfer.runs.sources.csv_rows import SOURCE
from hptransfer.trainers import resolve
from hptransfer.transfer.prediction import Check
from hptransfer.validate.results import Results, load_results
from hptransfer.validate.sentences import Verdict
from hptransfer.validate.summary import Missing

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TAG = "<script>alert(1)</script>"
EVIL = (
    f"=cmd|' /C calc'!A0\n</script>{TAG}<img src=x onerror=\"window.hit=1\">'\"`x`` [red]a[/red] "
    "[x](javascript:alert(1)) ![y](http://evil.example/z) | \x1b[31m\u202e ~~~\n```\n# h\n{{ 7*7 }}"
)
NAMES = (
    TAG,
    "[x](javascript:y)",
    "a|b",
    "a\nb",
    "`a`",
    "*a* _b_",
    "&lt;b&gt;",
    "<http://a.b>",
    "\\|",
    "~~~",
    "```",
    "# a",
    "]( b",
    "- a",
    "+ a",
    "1. a",
    "2) a",
    "===",
    "---",
)
ARM = "a.b-c_D"  # as odd as an experiment lets it be


def hostile() -> Results:
    """An experiment whose store, predictions and checks hold `EVIL` wherever they hold text."""
    found = results(experiment(("adamw", "muon", "soap"), description=EVIL))
    lost = [record(job(found.experiment, "muon", 64, 0.5 + 0.01 * i), "diverged", f"{EVIL}{'abc'[i]}") for i in range(3)]
    found = edited(
        with_records(found, (*found.records, *lost)),
        lambda run: changed(run, device=EVIL, metrics={EVIL: 1.0}).model_copy(update={"versions": {EVIL: EVIL}}),
    )
    data = DATA.model_copy(update={"corpus": EVIL, "tokenizer": EVIL, "sha256": EVIL})
    (check,) = (one for name, one in found.coordinate_checks.items() if name == "muon")
    slopes = tuple(slope.model_copy(update={"role": f"{EVIL} {slope.role}"}) for slope in check.slopes)
    checks = {"muon": check.model_copy(update={"verdict": EVIL, "corpus": data, "slopes": slopes})}
    told = found.predictions["muon"]
    drift = told.drifts[0].model_copy(update={"reason": EVIL})
    evil = {"checks": (Check(name=EVIL, ok=False, detail=EVIL),), "drifts": (drift,), "budget": {EVIL: 9}}
    provenance = {"machine": EVIL, EVIL: [EVIL], "nested": {EVIL: EVIL}}
    found = replace(
        found,
        predictions=found.predictions | {"muon": told.model_copy(update=evil | {"provenance": provenance})},
        refused={"soap": Refusal.of("nothing_to_fit", name=EVIL, detail=EVIL)},
        coordinate_checks=checks,
        members=replace(found.members, inputs=dict.fromkeys(found.members.inputs, data)),
    )
    return with_validation(found, speedup=None, refusal=Refusal.of("unequal_budgets", budgets=EVIL))


@pytest.fixture(scope="module")
def made() -> tuple[Document, Files]:
    """The hostile report; its options hold what a user may have typed."""
    _, document, files = build(hostile(), (*OPTIONS, "--set", f"description={EVIL}"))
    return document, files


@pytest.fixture(scope="module")
def folder_of(made: tuple[Document, Files], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write(folder, made[1])
    return folder


def test_nothing_is_an_element_that_is_not_the_pages_own(made: tuple[Document, Files], report: Path) -> None:
    text, clean = made[1]["index.html"], (report / "index.html").read_text()
    found, own = (Counter(tag for tag, _ in Elements(one).found) for one in (text, clean))
    assert set(found) - set(own) == {"ul", "li", "strong"}  # of what is missing
    data = text.count('type="application/json"') - clean.count('type="application/json"')
    assert found["script"] - own["script"] == data
    assert Elements(text).words.count(TAG) > 10
    handlers = [name for _, attrs in Elements(text).found for name in attrs if name.startswith("on")]
    assert handlers == [] and "49" not in re.findall(r"# h\s+(\S+)", Elements(text).words)  # {{ 7*7 }} is text too


@pytest.mark.browser
def test_in_a_browser_no_script_of_others_runs_and_their_text_is_shown(browser: Browser, folder_of: Path) -> None:
    page, said = browser.new_page(), []
    page.set_default_timeout(60_000)
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((folder_of / "index.html").as_uri())
    page.wait_for_function("document.querySelectorAll('.chart').length === document.querySelectorAll('.chart svg').length")
    page.get_by_label("Filter").fill("diverged 64")
    assert page.locator("#run-table").inner_text().count(TAG) >= 3
    assert TAG in page.locator("h1 ~ p").first.inner_text() and TAG in page.locator("#failures").inner_text()
    mark = page.locator('[data-spec="spec-coordinate-check"] .mark-symbol.role-mark path').first
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert TAG in page.locator("#vg-tooltip-element").inner_text()
    assert page.evaluate("window.hit") is None
    assert page.locator("img, [onerror], [href^=javascript], #vg-tooltip-element script").count() == 0
    assert said == []
    page.close()


def overwritten(value: Any, path: str = "") -> Any:
    """A record as JSON with `EVIL` for every text in it, but for what tells which run it is."""
    if path in (".job.run_id", ".job.point.settings", ".outcome.state"):
        return value
    if isinstance(value, dict):
        made = {name: overwritten(inner, f"{path}.{name}") for name, inner in value.items()}
        free = path in (".versions", ".outcome.metrics", ".job.constants", ".job.details")
        return made | {EVIL: 1.0 if path == ".outcome.metrics" else EVIL} if free else made
    if isinstance(value, list):
        return [overwritten(inner, f"{path}[]") for inner in value]
    return EVIL if isinstance(value, str) else value


@pytest.mark.browser
def test_of_a_store_with_hostile_texts_in_every_field_no_script_runs_and_no_request_leaves(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sample, store = experiment(), Store("runs")
    for one in results(sample).records:
        text = json.dumps(overwritten(one.model_dump(mode="json")))
        store.files.write(f"runs/{one.run_id}.json", text.encode(), durable=False)
    found = load_results(sample, store, resolve)
    write(tmp_path / "report", build(found, OPTIONS)[2])
    assert len(found.records) == len(results(sample).records)
    context, asked, said = browser.new_context(), [], []
    context.route("**/*", lambda route: (asked.append(route.request.url), route.continue_()))
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "report/index.html").as_uri())
    page.evaluate("Promise.all(drawings).then(() => true)")
    assert page.locator("#run-table").inner_text().count(TAG) > 3
    assert page.locator("img, [onerror], [href^=javascript]").count() == 0 and page.evaluate("window.hit") is None
    assert said == [] and asked == [page.url]
    context.close()


def parsed(text: str) -> tuple[list[str], str]:
    """The kinds of Markdown's tokens, and its text outside code."""
    blocks = MarkdownIt("commonmark").enable("table").parse(text)
    tokens = [token for block in blocks for token in (block, *(block.children or ()))]
    images = [str(token.attrs["src"]) for token in tokens if token.type == "image"]
    assert all(re.fullmatch(r"figures/[\w.-]+\.svg", src) for src in images)
    return [token.type for token in tokens], "\n".join(token.content for token in tokens if token.type == "text")


def test_markdown_has_no_markup_of_others(made: tuple[Document, Files]) -> None:
    document, files = made
    kinds, text = parsed(files["report.md"])
    assert not {kind for kind in kinds if kind.startswith(("html", "link", "em_", "strong", "hr"))}
    shown = [card for card in document.cards if card.tables or card.notes or card.copy]
    titles = 1 + len(shown) + len([part for part in document.sections if not part.runs])
    assert kinds.count("heading_open") == titles and kinds.count("fence") == len([card for card in shown if card.copy])
    assert text.count(TAG) > 10
    for card in document.cards:
        values = yaml.safe_load(card.copy) if card.copy else {}  # what was typed stands in a comment
        assert set(values or {}) <= {"embedding", "hidden", "readout", "vector"}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_same_text_in_markdown_and_on_the_page(name: str) -> None:
    table = Table((name, "other"), ((name, "1"),), caption=name)
    card = Card(name, "#123456", tables=(table,), notes=(name,), copy=f"# {name}")
    lack = Missing(sentence=name, command=f"hptransfer report --set {name}")
    part = Section("a", name, name, tables=(table,), terms=((name, name),), remarks=(name,), missing=(lack,))
    verdict = Verdict(text=name)
    document = Document(name, (name,), table, (verdict,), (card,), (part,), missing=(lack,), caveats=(name,))
    kinds, text = parsed(markdown(document))
    assert text.count(" ".join(name.split())) == 22
    assert kinds.count("heading_open") == 3 and kinds.count("td_open") == 6 and kinds.count("fence") == 1
    assert not {kind for kind in kinds if kind.startswith(("html", "link", "em_", "strong", "code_block"))}
    assert Elements(html(document)).words.count(name) == 26


def test_cells_are_no_formulas_of_a_spreadsheet(made: tuple[Document, Files]) -> None:
    tables = {name: list(csv.reader(text.splitlines(keepends=True))) for name, text in made[1].items() if name.endswith(".csv")}
    cells = [cell for rows in tables.values() for row in rows for cell in row if re.match(r"\s*[=+\-@]|[\t\r\n]", cell)]
    assert all(re.fullmatch(r"-?\d[\d.e+-]*", cell) for cell in cells), [cell for cell in cells if cell[0] not in "-0123456789"]
    assert sum(cell.startswith("'=cmd") for rows in tables.values() for row in rows for cell in row) > 10


def test_our_own_reader_reads_cells_back_as_they_were(tmp_path: Path) -> None:
    texts = [f"{start}1" for start in ("=", "+", "-", "@", "\t=", "\r=", "\n", " =", "\uff1d", "'=", "''-", "'a", "'", "a=")]
    frame = pl.DataFrame({"=a": texts, "'=a": [-1.0] * len(texts)})
    written = csv_of(frame)
    cells = list(csv.reader(written.splitlines(keepends=True)))[1:]
    assert [text != cell for text, (cell, _) in zip(texts, cells, strict=True)] == [True] * 11 + [False] * 3
    (tmp_path / "runs.csv").write_text(written, newline="")
    read = SOURCE.read(str(tmp_path / "runs.csv")).frame
    assert read["=a"].to_list() == texts
    assert set(read["'=a"]) == {"-1.0"}


def test_the_terminal_shows_no_control_characters(made: tuple[Document, Files], capsys: pytest.CaptureFixture[str]) -> None:
    show(made[0])
    cli.table("[bold] title", ("[red]a",), [("[adamw,muon] :x:",)])
    out, err = capsys.readouterr()
    assert out == "" and all(character.isprintable() or character == "\n" for character in err)
    assert TAG in err.replace("\n", "") and "[red]a[/red]" in " ".join(err.split()) and "[adamw,muon] :x:" in err


def test_figures_are_drawings_alone(made: tuple[Document, Files]) -> None:
    figures = {name: text for name, text in made[1].items() if name.endswith(".svg")}
    assert all(re.fullmatch(r"figures/[\w.-]+\.svg", name) for name in figures)
    for name, text in figures.items():
        for element in ElementTree.fromstring(re.sub(r"[\x00-\x08\x0b-\x1f]", "", text)).iter():
            assert element.tag.partition("}")[2] not in ("script", "image", "foreignObject", "a"), name
            assert not any("href" in attribute or attribute.startswith("on") for attribute in element.attrib), name
    figure = next(one for one in made[0].figures if one.name == "coordinate-check")
    assert Figure(f"../{TAG}", "t", "", figure.chart).name.count("/") == 0


def test_the_policy_names_the_pages_own_scripts_and_nothing_unsafe(report: Path) -> None:
    text = (report / "index.html").read_text()
    (policy,) = (attrs["content"] for tag, attrs in Elements(text).found if tag == "meta" and "http-equiv" in attrs)
    parts = dict(part.split(maxsplit=1) for part in policy.split("; "))
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    for inline, source in ((scripts, "script-src"), (styles, "style-src")):
        digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in inline]
        assert parts[source].split() == [f"'sha256-{digest}'" for digest in digests]
    assert (len(scripts), len(styles)) == (2, 1)
    assert parts["default-src"] == parts["base-uri"] == parts["form-action"] == "'none'" and "unsafe" not in policy
    assert set(parts) == {"default-src", "base-uri", "form-action", "style-src", "script-src"}
    assert not any("style" in attrs for _, attrs in Elements(text).found)
    fetching = [attrs[name] for _, attrs in Elements(text).found for name in ("src", "href", "data", "action") if name in attrs]
    assert fetching and all(target and target.startswith("#") for target in fetching)
    assert not {"link", "iframe", "img", "base"} & {tag for tag, _ in Elements(text).found}
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_what_a_live_page_says_of_running_work_is_text() -> None:
    text = build_page(hostile(), OPTIONS, (EVIL, EVIL))
    assert Elements(text[text.index("<main>") : text.index("<header>")]).words.count(TAG) == 2
    assert "img" not in {tag for tag, _ in Elements(text).found}


@pytest.mark.parametrize("name", [TAG, "a/b", "../a", "=1+1", "a b", "a'b"])
def test_an_experiment_lets_no_such_name_through(name: str) -> None:
    for changes in ({"name": name}, {"arms": {name: {"optimizer": "muon"}}}):
        with pytest.raises(ValueError, match="letters, digits, dots, underscores and dashes"):
            experiment(**changes)
    assert experiment(arms={ARM: {"optimizer": "muon"}}).arm(ARM).name == ARM
