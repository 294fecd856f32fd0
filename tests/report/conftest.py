from __future__ import annotations

from pathlib import Path

import pytest
from report.factory import experiment, results, write_all

from hptransfer.report.results import Results


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the commands' defaults are relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def full(folder: Path) -> Results:
    """A finished experiment of AdamW and Muon."""
    return results(folder, experiment())


@pytest.fixture
def unfinished(folder: Path) -> Results:
    """Searched, but neither predicted nor tested."""
    return results(folder, experiment(), predicted=False, tested=False)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report folder of a finished experiment, written by the command."""
    from hptransfer.report.command import main

    folder = tmp_path_factory.mktemp("experiment")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        file = write_all(folder, experiment())
        main(["--experiment", str(file)])
    return folder / "reports" / "sample"
