"""What every frame begins with: the arm of its rows, with its optimizer and parametrization."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from hptransfer.experiment.arm import Arm
from hptransfer.report.palette import colour

Schema = dict[str, type[pl.DataType]]
ARM: Schema = {"arm": pl.String, "optimizer": pl.String, "parametrization": pl.String, "colour": pl.String}


def tidy(rows: Iterable[dict[str, Any]], columns: Schema) -> pl.DataFrame:
    """A frame of `ARM` and ``columns``, which has them without rows too; keys that are absent are null."""
    return pl.DataFrame(list(rows), schema=ARM | columns, orient="row")


def arm_columns(arm: Arm) -> dict[str, Any]:
    """How a row of an arm begins."""
    return {"arm": arm.name, "optimizer": arm.optimizer, "parametrization": arm.parametrization, "colour": colour(arm)}
