"""Storages that Optuna wrote."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import polars as pl
import pytest
from known_sweep import LRS, WIDTHS, assert_fitted, assert_found, everything, loss
from optuna.storages.journal import JournalFileBackend

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.optuna_storage import SOURCE
from hptransfer.runs.sources.source import read_source

CASES = Path(__file__).parents[4] / "shared" / "cases"


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def sweep(storage) -> None:
    """A study for each width, each with a pruned and a failed trial whose loss would be the best."""
    for width in WIDTHS:
        study = optuna.create_study(storage=storage, study_name=f"gpt-width{width}")
        study.set_user_attr("corpus", {"name": "c4"})

        def objective(trial, width=width):
            lr = trial.suggest_float("lr", 1e-4, 1, log=True)
            trial.set_user_attr("batch", 64)
            if trial.number == len(LRS):
                trial.report(1.0, 3)
                raise optuna.TrialPruned
            if trial.number > len(LRS):
                raise ValueError
            trial.report(9.0, 1)
            trial.report(loss(width, lr), 20)
            return loss(width, lr)

        for lr in (*LRS, 0.5, 0.6):
            study.enqueue_trial({"lr": lr})
        study.optimize(objective, n_trials=len(LRS) + 2, catch=ValueError)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    """The sweep in each form, under names that a URL has to quote."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = tmp_path_factory.mktemp("a sweep")
    files = {"sqlite": folder / "it is a #1?.db", "journal": folder / "it is a #1?.log"}
    # One transaction costs a sync of the disk; Optuna makes hundreds.
    storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": lambda: unsynced(files["sqlite"])})
    sweep(storage)
    storage.engine.dispose()
    sweep(optuna.storages.JournalStorage(JournalFileBackend(str(files["journal"]))))
    return files


def unsynced(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, check_same_thread=False)
    connection.execute("PRAGMA synchronous=off")
    return connection


@pytest.fixture
def database(written, tmp_path) -> Path:
    return Path(shutil.copy(written["sqlite"], tmp_path / "a.db"))


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_sweep_comes_back(kind, written):
    before = everything(written[kind].parent)
    raw, why = read_source(str(written[kind]))
    assert everything(written[kind].parent) == before
    assert why.startswith("source optuna")
    assert dict(raw.roles) == {"run": "trial", "state": "state", "step": "step", "loss": "value"}
    assert raw.maximize is False and not raw.notes
    counts = dict(raw.frame["state"].value_counts().iter_rows())
    assert counts == {"COMPLETE": 10, "PRUNED": 2, "FAIL": 2}
    complete = raw.frame.filter(pl.col("state") == "COMPLETE")
    assert_found(complete, "width", "params_lr", "value")
    assert_fitted(written[kind])
    assert set(complete["step"]) == {20} and set(complete["user_attrs_batch"]) == {64}
    assert set(complete["study_user_attrs_corpus.name"]) == {"c4"}
    assert raw.frame.filter(pl.col("state") == "PRUNED")["step"].to_list() == [3, 3]
    assert raw.frame.filter(pl.col("state") == "FAIL")["value"].to_list() == [None] * 2


def test_a_url_is_the_file(database):
    raw, why = read_source(f"sqlite:///{database}")
    assert why.startswith("source optuna")
    assert raw.frame.equals(SOURCE.read(str(database)).frame)


def test_a_study_that_looks_for_the_highest_value(tmp_path):
    place = f"sqlite:///{tmp_path / 'a.db'}"
    optuna.create_study(storage=place, direction="maximize").optimize(lambda trial: trial.suggest_float("lr", 0.1, 1), n_trials=1)
    assert SOURCE.read(place).maximize is True


@pytest.mark.parametrize("mode", ["wal", "persist"])
def test_a_running_writer_is_neither_waited_for_nor_touched(mode, database):
    """Its unfinished transaction is not seen; the one that lies in the write-ahead log alone is."""
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute(f"PRAGMA journal_mode={mode}")
    writer.execute("UPDATE trials SET state = 'FAIL' WHERE number = 0")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trials SET state = 'FAIL'")
    before = everything(database.parent)
    raw = SOURCE.read(str(database))
    assert everything(database.parent) == before
    assert dict(raw.frame["state"].value_counts().iter_rows()) == {"COMPLETE": 8, "PRUNED": 2, "FAIL": 4}
    writer.execute("ROLLBACK")
    writer.close()


DIE = """
import os, sqlite3, sys
writer = sqlite3.connect(sys.argv[1], isolation_level=None)
writer.execute("PRAGMA cache_size=1")
writer.execute("BEGIN")
writer.execute("UPDATE trials SET state = 'FAIL'")
for number in range(50):
    writer.execute("INSERT INTO studies (study_name) VALUES (?)", (f"{number} {'x' * 400}",))
os._exit(9)
"""


def test_what_a_writer_left_that_died_is_undone_elsewhere(database):
    assert subprocess.run([sys.executable, "-c", DIE, str(database)], check=False).returncode == 9
    before = everything(database.parent)
    assert len(before) == 2  # the file, half changed, and how it was
    raw = SOURCE.read(str(database))
    assert everything(database.parent) == before
    assert dict(raw.frame["state"].value_counts().iter_rows()) == {"COMPLETE": 10, "PRUNED": 2, "FAIL": 2}


def test_nothing_is_made_beside_a_file_in_wal_mode(database):
    """Where SQLite itself would make two files to read it."""
    with contextlib.closing(sqlite3.connect(database)) as writer:
        writer.execute("PRAGMA journal_mode=wal")
    before = everything(database.parent)
    assert len(SOURCE.read(str(database)).frame) == 14
    assert everything(database.parent) == before


def test_a_journal_that_is_being_written(written, tmp_path):
    file = tmp_path / "a.log"
    file.write_bytes(written["journal"].read_bytes()[:-40])
    assert len(SOURCE.read(str(file)).frame) == 14


def test_several_objectives(tmp_path):
    place = f"sqlite:///{tmp_path / 'a.db'}"
    study = optuna.create_study(storage=place, directions=["minimize", "maximize"])
    study.optimize(lambda trial: (trial.suggest_float("lr", 0.1, 1), 1.0), n_trials=2)
    raw = SOURCE.read(place)
    assert {"values_0", "values_1"} <= set(raw.frame.columns)
    assert "loss" not in raw.roles and raw.maximize is None


def test_opposite_ends_are_said(tmp_path):
    place = f"sqlite:///{tmp_path / 'a.db'}"
    for name, direction in (("w1", "minimize"), ("w2", "maximize")):
        study = optuna.create_study(storage=place, study_name=name, direction=direction)
        study.optimize(lambda trial: trial.suggest_float("lr", 0.1, 1), n_trials=1)
    raw = SOURCE.read(place)
    assert raw.maximize is None and "w1" in raw.notes[0] and "w2" in raw.notes[0]


def test_a_column_says_more_than_a_name(tmp_path):
    place = f"sqlite:///{tmp_path / 'a.db'}"
    study = optuna.create_study(storage=place, study_name="width128")
    study.set_user_attr("width", 256)
    study.optimize(lambda trial: trial.suggest_float("lr", 0.1, 1), n_trials=1)
    frame = SOURCE.read(place).frame
    assert frame["study_user_attrs_width"].to_list() == [256] and "width" not in frame.columns


@pytest.mark.parametrize(
    "content",
    [b"", b"SQLite format 3\0", b"SQLite format 3\0" + b"\0" * 5000, b'{"op_code": 0, "worker_id": 1}\n{"op_code": 9}\n'],
    ids=["empty", "cut", "zeros", "journal"],
)
def test_what_is_none_is_one_line(content, tmp_path):
    file = tmp_path / "a.db"
    file.write_bytes(content)
    with pytest.raises(UsageError) as error:
        SOURCE.read(str(file))
    assert "\n" not in str(error.value) and str(file) in str(error.value)


def test_a_password_is_not_said():
    place = "postgresql://me:secret@localhost:1/optuna"
    assert SOURCE.sniff(place)
    with pytest.raises(UsageError) as error:
        SOURCE.read(place)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["12_optuna.db", "12_optuna_journal.log"])
def test_the_public_case(name):
    if not CASES.is_dir():
        pytest.skip("no ../shared/cases")
    raw, why = read_source(str(CASES / name))
    assert why.startswith("source optuna")
    assert dict(raw.frame["state"].value_counts().iter_rows()) == {"COMPLETE": 19, "PRUNED": 1, "FAIL": 1}
    assert sorted(raw.frame["width"].unique()) == [128, 256, 512]
