"""What every frame begins with: the optimizer and the parametrization of its rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from hptransfer.report.results import label
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.result import Validation

Schema = dict[str, type[pl.DataType]]
SERIES: Schema = {"optimizer": pl.String, "parametrization": pl.String}


def tidy(rows: Iterable[dict[str, Any]], columns: Schema) -> pl.DataFrame:
    """A frame of `SERIES` and ``columns``, which has them without rows too; keys that are absent are null."""
    return pl.DataFrame(list(rows), schema=SERIES | columns, orient="row")


def with_series(frame: pl.DataFrame) -> pl.DataFrame:
    """With a column ``series``, the names that people read."""
    names = [label(series) for series in frame.select(*SERIES).iter_rows()]
    return frame.with_columns(pl.Series("series", names, dtype=pl.String))


def named(source: Prediction | Validation) -> dict[str, str]:
    """The series of a prediction or a validation, as a row begins."""
    return {"optimizer": source.optimizer, "parametrization": source.parametrization}
