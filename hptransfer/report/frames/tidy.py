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
    schema = {name: _type(name) for name in (*ARM, *columns.split())}
    if any(row.get("width", 0) % 1 for row in rows):  # of a table, whose scale may be any number
        schema["width"] = pl.Float64
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False)


def begin(arm: Arm) -> dict[str, Any]:
    """How a row of an arm begins."""
    return {"arm": arm.name, "optimizer": arm.optimizer, "parametrization": arm.parametrization, "colour": arm.colour}


def _type(name: str) -> type[pl.DataType]:
    if name in WORDS:
        return pl.String
    return pl.Int64 if name in COUNTS else pl.Boolean if name in FLAGS or name.startswith("is_") else pl.Float64
