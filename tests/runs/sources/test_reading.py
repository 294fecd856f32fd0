"""A place is read by its name, whatever characters that has."""

from pathlib import Path

import polars as pl
import pytest

from hptransfer.runs.sources.reading import read_rows

WRITERS = {
    "csv": pl.DataFrame.write_csv,
    "tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    "jsonl": pl.DataFrame.write_ndjson,
    "json": pl.DataFrame.write_json,
    "parquet": pl.DataFrame.write_parquet,
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("name", ["sweep[1]", "sweep*", "swee?1", "sweep{1,2}", "sweep[!2]", "**"])
def test_a_name_is_no_pattern(tmp_path: Path, name: str, suffix: str) -> None:
    """Others that it would match as one lie beside it."""
    for other, lr in (("sweep1", 0.1), ("sweep2", 0.2), (name, 0.5)):
        WRITERS[suffix](pl.DataFrame({"width": [32], "lr": [lr], "loss": [3.0]}), tmp_path / f"{other}.{suffix}")
    rows = read_rows(str(tmp_path / f"{name}.{suffix}"))
    assert rows.frame["lr"].to_list() == [0.5]
    assert Path(rows.place).name == f"{name}.{suffix}"
