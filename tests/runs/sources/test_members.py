"""Every source that a file of `tests/cases` is of, and those that a test can write, against the suite of all."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from synthetic import Truth, make_experiment, make_records

from hptransfer.base.errors import UsageError
from hptransfer.runs import Store
from hptransfer.runs.sources.source import SOURCES, Raw, read_source
from hptransfer.testing import check_source

CASES = Path(__file__).parents[2] / "cases"
PLACES = {
    "csv": ("plain.csv", "10_semicolon.csv", "10_utf16.csv", "10_plain.csv.gz", "10_comment.csv"),
    "excel": ("10_plain.xlsx",),
    "json": ("11_nested.jsonl", "11_list.json", "12_ray_all_results.jsonl"),
    "optuna": ("12_optuna.db", "12_optuna_journal.log"),
    "ray": ("12_ray",),
}


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in PLACES.items() for file in files])
def test_a_source_does_what_all_do(name: str, file: str) -> None:
    check_source(SOURCES.get(name), CASES / file)


def test_parquet_and_our_own_store(tmp_path: Path) -> None:
    pl.read_csv(CASES / "plain.csv").write_parquet(tmp_path / "runs.parquet")
    check_source(SOURCES.get("parquet"), tmp_path / "runs.parquet")
    store = Store(tmp_path / "store")
    for record in make_records(Truth(), make_experiment(optimizers=["muon"])):
        store.add(record)
    check_source(SOURCES.get("store"), tmp_path / "store")


def test_the_suite_finds_a_source_that_changes_what_it_reads(tmp_path: Path) -> None:
    class Careless:
        name = "careless"

        def sniff(self, place: str) -> str | None:
            return "it is careless" if Path(place).suffix == ".careless" and Path(place).exists() else None

        def read(self, place: str) -> Raw:
            Path(place).write_text(Path(place).read_text() + " ")
            return read_source(str(CASES / "plain.csv"))[0]

    (tmp_path / "a.careless").write_text("a")
    careless = SOURCES.add(Careless())
    try:
        with pytest.raises(AssertionError, match="changed what is there"):
            check_source(careless, tmp_path / "a.careless")
    finally:
        SOURCES._members.pop("careless")


def test_what_is_of_no_kind_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))
    with pytest.raises(UsageError, match=r"a\.bin .*--source"):
        read_source(str(tmp_path / "a.bin"))
    with pytest.raises(UsageError, match="no such file or folder"):
        read_source(str(tmp_path / "none.csv"))
    with pytest.raises(UsageError, match="unknown source 'cvs'; did you mean 'csv'"):
        read_source(str(CASES / "plain.csv"), "cvs")
