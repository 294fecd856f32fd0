from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from report.factory import experiment, results
from report.pages import OPTIONS

from hptransfer.report.build import build, write
from hptransfer.report.results import Results

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the commands' defaults are relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def full(folder: Path) -> Results:
    """A finished experiment of AdamW and Muon."""
    return results(experiment())


@pytest.fixture
def unfinished(folder: Path) -> Results:
    """Searched, but neither predicted nor tested."""
    return results(experiment(), predicted=False, tested=False)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report folder of a finished experiment."""
    folder = tmp_path_factory.mktemp("experiment") / "reports" / "sample"
    _, files = build(results(experiment()), OPTIONS)
    write(folder, files)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser; skipped where there is none."""
    api, chromium = pytest.importorskip("playwright.sync_api"), shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the path")
    with api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
