"""The live page and the comparison in a real browser, from disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from report.factory import experiment, write_all

from hptransfer.base.files import replace
from hptransfer.cli import perform
from hptransfer.report import render
from hptransfer.report.build import build_page
from hptransfer.validate.results import Results

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


def opened(browser: Browser, address: str, width: int = 1400) -> tuple[Page, list[str]]:
    """A page with its charts drawn, and what it says on the console."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(60_000)  # a browser beside other work
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(address)
    page.wait_for_function("() => document.querySelectorAll('.chart').length === document.querySelectorAll('.chart svg').length")
    return page, complaints


def show(found: Results, count: int) -> Path:
    """Write the live page that says how many runs are in."""
    file = Path("live.html").absolute()
    replace(file, build_page(found, (), (f"Live: {count} of 54 runs", "as of now")))
    return file


@pytest.mark.parametrize("fragment", [pytest.param("", marks=pytest.mark.slow), "#runs"])
def test_a_live_page_shows_the_next_state_by_itself(
    browser: Browser, full: Results, monkeypatch: pytest.MonkeyPatch, fragment: str
) -> None:
    monkeypatch.setattr(render, "REFRESH_SECONDS", 1)
    page, complaints = opened(browser, show(full, 1).as_uri() + fragment)
    show(full, 2)
    page.get_by_text("Live: 2 of 54 runs").wait_for(state="attached")
    assert complaints == []
    page.close()


@pytest.mark.slow
def test_a_reload_keeps_the_place(browser: Browser, full: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "REFRESH_SECONDS", 3600)
    page, _ = opened(browser, show(full, 1).as_uri())
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 1500)
    page.wait_for_function("before => Math.abs(scrollY - before) > 1000", arg=before)
    page.wait_for_function("() => { const last = window.last; window.last = scrollY; return last === scrollY; }", polling=100)
    place = page.evaluate("scrollY")
    show(full, 2)
    page.evaluate("reload()")
    page.get_by_text("Live: 2 of 54 runs").wait_for(state="attached")
    page.wait_for_function("place => Math.abs(scrollY - place) < 5", arg=place)
    page.close()


def test_a_live_page_waits_for_who_types(browser: Browser, full: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "REFRESH_SECONDS", 3600)
    page, _ = opened(browser, show(full, 1).as_uri())
    show(full, 2)
    page.locator("#run-filter").focus()
    page.evaluate("() => { const own = reload; window.looked = 0; window.reload = () => { looked++; own(); }; reload(); }")
    page.wait_for_function("() => window.looked >= 2")
    assert page.get_by_text("Live: 1 of 54 runs").count() == 1
    page.evaluate("document.activeElement.blur()")
    page.get_by_text("Live: 2 of 54 runs").wait_for(state="attached")
    page.close()


@pytest.mark.parametrize("width", [390, pytest.param(1400, marks=pytest.mark.slow)])
def test_a_comparison_is_drawn_and_filtered(browser: Browser, folder: Path, width: int) -> None:
    files = []
    for made in (experiment(), experiment(("adamw", "muon", "soap"), name="other", batch_sequences=32)):
        write_all(folder, made)
        files.append(f"{made.name}-kept.yaml")  # `write_all` always writes sample.yaml
        Path(files[-1]).write_text(yaml.safe_dump(made.model_dump(mode="json")))
    perform("report", ["--compare", *files])
    page, complaints = opened(browser, (folder / "reports/compare-sample-other/index.html").as_uri(), width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    chart = page.locator('[data-spec="spec-held-out-losses"]')
    marks = chart.locator(".mark-symbol.role-mark path")
    assert marks.count() == 5
    chart.locator(".role-legend-label text", has_text="other").click()
    page.wait_for_function(
        "() => document.querySelectorAll('[data-spec=spec-held-out-losses] .mark-symbol.role-mark path').length === 3"
    )
    assert complaints == []
    page.close()
