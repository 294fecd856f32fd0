"""The live page and the comparison in a real browser, from disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
import yaml
from playwright.sync_api import Browser, Page, sync_playwright
from report.factory import experiment, prediction, write_all

from hptransfer.report import html
from hptransfer.report.build import build_page, replace
from hptransfer.report.command import main
from hptransfer.report.results import Results
from hptransfer.store import Store

CHROMIUM = shutil.which("chromium")

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def drawn(page: Page) -> None:
    page.wait_for_function("document.querySelectorAll('.chart').length === document.querySelectorAll('.chart svg').length")


@pytest.mark.parametrize("fragment", ["", "#runs"])
def test_a_live_page_shows_the_next_state_where_one_was_reading(
    browser: Browser, full: Results, folder: Path, monkeypatch: pytest.MonkeyPatch, fragment: str
) -> None:
    monkeypatch.setattr(html, "REFRESH_SECONDS", 1)
    file = folder / "live.html"
    replace(file, build_page(full, "", ("Live: 1 of 54 runs", "as of now")))
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(file.as_uri() + fragment)
    drawn(page)
    page.evaluate("window.scrollTo({top: 2000, behavior: 'instant'})")
    replace(file, build_page(full, "", ("Live: 2 of 54 runs", "as of now")))
    page.get_by_text("Live: 2 of 54 runs").wait_for(state="attached", timeout=20_000)
    drawn(page)
    page.wait_for_function("Math.abs(scrollY - 2000) < 5")
    assert complaints == []
    page.close()


@pytest.mark.parametrize("width", [390, 1400])
def test_a_comparison_is_drawn_and_filtered(browser: Browser, folder: Path, width: int) -> None:
    files = []
    for made in (experiment(), experiment(("adamw", "muon", "soap"), name="other", batch_sequences=32)):
        write_all(folder, made)
        files.append(f"{made.name}-kept.yaml")  # `write_all` always writes sample.yaml
        for told in (prediction(made, optimizer) for optimizer in made.optimizers):  # its file is replaced by the other's
            Store("runs").register_prediction(told.digest, told.model_dump(mode="json"))
        Path(files[-1]).write_text(yaml.safe_dump(made.model_dump(mode="json")))
    main(["--compare", *files])
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((folder / "reports/compare-sample-other/index.html").as_uri())
    drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    chart = page.locator('[data-spec="spec-held-out-losses"]')
    marks = chart.locator(".mark-symbol.role-mark path")
    everything = marks.count()
    assert everything == 5
    chart.locator(".role-legend-label text", has_text="other").click()
    page.wait_for_function("n => document.querySelectorAll('[data-spec=spec-held-out-losses] .role-mark path').length < n", arg=5)
    assert marks.count() == 3
    assert complaints == []
    page.close()
