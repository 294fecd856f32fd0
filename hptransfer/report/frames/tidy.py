"""What all frames share: how a row begins, and the types of their columns, which follow from the names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from hptransfer.experiment.arm import Arm

ARM = ("arm", "optimizer", "parametrization", "colour")
WORDS = {
    *(*ARM, "cell", "run_id", "state", "kind", "method", "axis", "bound", "title", "purpose"),
    *("role", "outcome", "verdict", "widths", "corpus", "corpus_sha256", "weight_decay_status", "scale"),
}
COUNTS = {"width", "seed", "seeds", "step", "tokens", "parameters", "base_width"}
FLAGS = {"annealed", "bracketed", "extrapolated", "passed"}


def tidy(rows: Iterable[dict[str, Any]], columns: str) -> pl.DataFrame:
    """A frame of `ARM` and ``columns``, which has them without rows too; keys that are absent are null, others are left out."""
    rows = list(rows)
    schema = _schema(columns, is_whole=not any(row.get("width", 0) % 1 for row in rows))
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False)


def joined(frames: Iterable[pl.DataFrame], columns: str) -> pl.DataFrame:
    """`tidy` of rows that are in frames."""
    found = pl.concat([tidy((), columns), *frames], how="diagonal_relaxed")
    schema = _schema(columns, is_whole="width" not in found or (found["width"] % 1 == 0).all())
    return found.select(pl.col(name).cast(kind) for name, kind in schema.items())


def begin(arm: Arm) -> dict[str, Any]:
    """How a row of an arm begins."""
    return {"arm": arm.name, "optimizer": arm.optimizer, "parametrization": arm.parametrization, "colour": arm.colour}


def _schema(columns: str, *, is_whole: bool) -> dict[str, type[pl.DataType]]:
    """The types of columns; the width of a table may be any number."""
    schema = {name: _type(name) for name in (*ARM, *columns.split())}
    return schema if is_whole else schema | {"width": pl.Float64}


def _type(name: str) -> type[pl.DataType]:
    if name in WORDS:
        return pl.String
    return pl.Int64 if name in COUNTS else pl.Boolean if name in FLAGS or name.startswith("is_") else pl.Float64
