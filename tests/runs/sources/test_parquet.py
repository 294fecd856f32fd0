"""Parquet files, also those with structures in them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from hptransfer.base.errors import UsageError
from hptransfer.runs.sources.parquet import SOURCE
from hptransfer.runs.sources.source import ROW


def test_structures_become_columns(tmp_path: Path) -> None:
    path = str(tmp_path / "runs")
    pl.DataFrame(
        {
            "config": [{"lr": 0.1, "model": {"width": 128}}, {"lr": None, "model": None}],
            "betas": [[0.9, 0.95], None],
            "loss": [2.5, float("inf")],
            "note": ['{"a": 1}', None],
            "raw": [b"x", b"y"],
        }
    ).write_parquet(path)
    assert SOURCE.sniff(path)
    raw = SOURCE.read(path)
    assert raw.what == "Parquet" and raw.notes == ()
    assert raw.frame.drop("raw").to_dict(as_series=False) == {
        ROW: [1, 2],
        "config.lr": [0.1, None],
        "config.model.width": [128, None],
        "betas": ["[0.9, 0.95]", None],
        "loss": [2.5, float("inf")],
        "note.a": [1, None],
    }


def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    pl.DataFrame({"loss": [1.0]}).write_parquet(tmp_path / "runs1")
    pl.DataFrame({"loss": [2.0]}).write_parquet(tmp_path / "runs[1]")
    assert SOURCE.read(str(tmp_path / "runs[1]")).frame["loss"].to_list() == [2.0]


def test_what_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "b.parquet").write_text("width,lr\n")
    assert SOURCE.sniff(str(tmp_path / "b.parquet")) is None and SOURCE.sniff(str(tmp_path / "none")) is None
    for name, said in (("a.parquet", "cannot be read"), ("b.parquet", "cannot be read"), ("none", "no such file")):
        with pytest.raises(UsageError, match=said) as refused:
            SOURCE.read(str(tmp_path / name))
        assert name in str(refused.value) and "\n" not in str(refused.value)
