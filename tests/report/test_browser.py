"""The page in a real browser, from disk, with the network blocked."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.browser

# Every mark of a chart with the row of data behind it, and where to point at it.
MARKS = """chart => [...chart.querySelectorAll('.role-mark path, .role-mark line, .role-mark text')]
  .filter(mark => mark.__data__ && mark.getAttribute('d') !== '')
  .map(mark => {
    const box = mark.getBoundingClientRect();
    const at = [box.x + box.width / 2, box.y + box.height / 2];
    const data = mark.__data__.datum || {};
    const row = Object.fromEntries(Object.entries(data).filter(([_, value]) => typeof value !== 'object'));
    return { row, at, onTop: document.elementFromPoint(...at) === mark, box: [box.width, box.height] };
  })"""
# The entries of its legends that answer to a click.
LEGEND = """chart => [...chart.querySelectorAll('.role-legend-label text')].map(entry => {
  const box = entry.getBoundingClientRect();
  const at = [box.x + box.width / 2, box.y + box.height / 2];
  const isLive = Boolean(document.elementFromPoint(...at)?.closest('.role-legend'));
  return { label: entry.textContent, at, isLive };
}).filter(entry => entry.isLive)"""
CONTRAST = """element => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let behind = element;
  while (behind && parse(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const style = getComputedStyle(element);
  const ink = element instanceof SVGElement && style.fill !== 'none' ? style.fill : style.color;
  const [a, b] = [light(parse(ink)), light(parse(getComputedStyle(behind).backgroundColor))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


class Opened:
    """A page that was loaded, with what it said and asked for meanwhile."""

    def __init__(self, browser: Browser, file: Path, width: int = 1400, *, drawn: bool = True, **context: Any) -> None:
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **context)
        self.context.route("**/*", self._route)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)  # a browser beside other work
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(file.as_uri())
        charts = self.page.locator(".chart")
        if drawn:
            self.page.evaluate("Promise.all(drawings).then(() => true)")
            assert self.page.locator(".chart svg").count() == charts.count()
        self.charts = charts.all()
        # The specifications of the charts, as text, by their names.
        self.specs: dict[str, str] = self.page.evaluate(
            "Object.fromEntries([...document.querySelectorAll('[id^=spec-]')].map(data => [data.id, data.textContent]))"
        )

    def _route(self, route: Route) -> None:
        if route.request.url.startswith("file:"):
            route.continue_()
        else:
            self.asked.append(route.request.url)
            route.abort()

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.fixture(scope="module")
def wide(browser: Browser, report: Path) -> Iterator[Opened]:
    with Opened(browser, report / "index.html") as opened:
        yield opened


@pytest.mark.parametrize("width", [390, 1400])
def test_every_chart_is_drawn_offline_and_in_silence(browser: Browser, report: Path, width: int) -> None:
    with Opened(browser, report / "index.html", width) as opened:
        assert len(opened.charts) == len(list((report / "figures").glob("*.svg"))) > 0
        for chart in opened.charts:
            marks = chart.evaluate(MARKS)
            assert len([mark for mark in marks if max(mark["box"]) > 0]) >= 2
            assert "NaN" not in chart.inner_html()
        assert opened.complaints == []
        assert opened.asked == []
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_complaint_and_a_request_would_be_noticed(browser: Browser, report: Path, tmp_path: Path) -> None:
    broken, text = tmp_path / "broken.html", (report / "index.html").read_text()
    broken.write_text(text.replace("const drawings", "fetch('http://example.org').catch(() => 0); const drawings"))
    with Opened(browser, broken, drawn=False) as opened:  # not the script that the policy names
        assert any("Content Security Policy" in line for line in opened.complaints)
        assert opened.page.locator(".chart svg").count() == 0
    broken.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", broken.read_text()))
    with Opened(browser, broken) as opened:
        assert opened.asked == ["http://example.org/"]


def test_the_page_runs_no_other_script(browser: Browser, report: Path) -> None:
    tries = "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hit = 1'}))"
    tries += "; document.querySelector('h1').setAttribute('onclick', 'window.hit = 1'); document.querySelector('h1').click()"
    with Opened(browser, report / "index.html") as opened:
        opened.page.evaluate(f"() => {{ {tries} }}")
        assert opened.page.evaluate("window.hit") is None
        assert sum("Content Security Policy" in line for line in opened.complaints) >= 2


def test_a_mark_says_its_numbers(wide: Opened) -> None:
    told = set()
    for chart in wide.charts:
        chart.scroll_into_view_if_needed()
        marks = [mark for mark in chart.evaluate(MARKS) if mark["onTop"] and isinstance(mark["row"].get("loss"), float)]
        if not marks:
            continue
        told.add(chart.get_attribute("data-spec"))
        wide.page.mouse.move(*marks[-1]["at"])
        tip = wide.page.locator("#vg-tooltip-element.visible")
        tip.wait_for()
        assert f"{marks[-1]['row']['loss']:.4f}" in tip.inner_text()
        assert "NaN" not in tip.inner_text()
        wide.page.mouse.move(0, 0)
        tip.wait_for(state="hidden")
    assert told == {name for name, spec in wide.specs.items() if '"loss":' in spec} != set()


def test_a_legend_shows_one_of_its_entries_alone(wide: Opened) -> None:
    for chart in wide.charts:
        chart.scroll_into_view_if_needed()
        entries, before, name = chart.evaluate(LEGEND), chart.evaluate(MARKS), chart.get_attribute("data-spec")
        labels = {entry["label"] for entry in entries}
        (field,) = set(re.findall(r'"fields":\["(\w+)"\]', wide.specs[str(name)]))
        assert labels == {mark["row"][field] for mark in before if field in mark["row"]} != set(), name
        if len(labels) == 1:
            continue
        wide.page.mouse.click(*entries[0]["at"])
        wide.page.wait_for_function(f"([chart, n]) => ({MARKS})(chart).length < n", arg=[chart.element_handle(), len(before)])
        shown = {mark["row"].get(field) for mark in chart.evaluate(MARKS)}
        assert shown & labels == {entries[0]["label"]}, name
        box = chart.locator("svg").first.bounding_box()
        assert box
        wide.page.mouse.dblclick(box["x"] + box["width"] - 4, box["y"] + 3)  # beside the legend: all of them again
        wide.page.wait_for_function(f"([chart, n]) => ({MARKS})(chart).length === n", arg=[chart.element_handle(), len(before)])


def _rows(page: Page) -> list[dict[str, str]]:
    names = page.locator("#run-table th").all_inner_texts()
    lines = page.locator("#run-table").evaluate("t => [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent))")
    return [dict(zip(names, line, strict=True)) for line in lines]


def test_the_run_table_filters_sorts_and_shows_all(browser: Browser, report: Path) -> None:
    with (report / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    with Opened(browser, report / "index.html") as opened:
        page = opened.page
        count, everything = page.locator("#run-count"), page.locator("#run-all")
        assert count.inner_text() == f"{len(runs)} runs, the first 100 shown" and len(runs) > 100
        assert len(_rows(page)) == 100
        everything.click()
        assert [row["run"] for row in _rows(page)] == [run["run_id"] for run in runs]
        assert everything.is_hidden()

        page.get_by_label("Filter").fill("muon 64 diverged")
        found = _rows(page)
        wanted = [run for run in runs if (run["arm"], run["width"], run["state"]) == ("muon", "64", "diverged")]
        assert [row["run"] for row in found] == [run["run_id"] for run in wanted] != []
        assert count.inner_text() == f"{len(wanted)} of {len(runs)} runs"
        page.get_by_label("Filter").fill("no such run")
        assert _rows(page) == [] and count.inner_text() == f"0 of {len(runs)} runs"
        page.get_by_label("Filter").fill("complete")

        header, button = page.locator("#run-table th", has_text="loss"), page.get_by_role("button", name="loss")
        for direction, backwards in (("ascending", False), ("descending", True)):
            button.focus()
            page.keyboard.press("Enter")
            assert header.get_attribute("aria-sort") == direction
            losses = [float(row["loss"]) for row in _rows(page)]
            assert losses == sorted(losses, reverse=backwards) and len(losses) > 10
        page.get_by_label("Filter").fill("")
        assert [row["loss"] for row in _rows(page)][-1] == ""  # runs without a loss come last both ways
        page.get_by_role("button", name="width").click()
        widths = [int(row["width"]) for row in _rows(page)]
        assert widths == sorted(widths)  # as numbers: 32 before 128
        assert header.get_attribute("aria-sort") == "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(browser: Browser, report: Path, scheme: str) -> None:
    with Opened(browser, report / "index.html", color_scheme=scheme) as opened:
        backdrop = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", backdrop)[:3])) < 384) == (scheme == "dark")
        kinds = ("h1", "header p", "nav a", ".verdict", ".said", ".bad", ".numbers b", "td", "th", "caption", "code")
        for kind in (*kinds, "#run-table td", "#run-table button", ".chart .role-axis-label text"):
            assert opened.page.locator(kind).first.evaluate(CONTRAST) > 4.5, kind


def test_a_printed_page_has_its_charts_and_not_all_runs(browser: Browser, report: Path) -> None:
    with Opened(browser, report / "index.html", 740, color_scheme="dark") as opened:
        opened.page.emulate_media(media="print")
        for chart in opened.charts:
            box = chart.locator("svg").first.bounding_box()
            assert box and box["width"] > 200 and box["height"] > 50
            assert len(chart.evaluate(MARKS)) >= 2
            assert chart.locator(".role-axis-label text").first.evaluate(CONTRAST) > 4.5
        assert opened.page.locator(".controls").is_hidden() and opened.page.locator("nav").is_hidden()
        shown = opened.page.locator("#run-table tbody tr:visible").count()
        assert 0 < shown <= 20
        assert opened.page.locator(".print-note").is_visible()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 740


def test_without_javascript_the_answer_stands_and_the_runs_are_pointed_to(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((report / "index.html").as_uri())
    assert page.locator(".verdict").first.is_visible()
    assert page.locator("#runs .absent", has_text="runs.csv").is_visible()
    assert page.locator(".controls").is_hidden()
    context.close()
