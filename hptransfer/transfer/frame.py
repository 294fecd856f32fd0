"""The runs of a store as a table, so that whatever reads a table reads a store too."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.runs.record import Record
from hptransfer.transfer.group import Group
from hptransfer.transfer.table import condition


def frame_of(records: Iterable[Record], where: str | None = None) -> pl.DataFrame:
    """One row per finished run at the hyperparameters that its search settled on; lr and weight_decay in base coordinates.
    Raises UsageError where nothing is left."""
    alike: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        settings = record.point.settings
        alike[json.dumps([settings.get(name) for name in ("optimizer", "parametrization", "data")], sort_keys=True)].append(
            record
        )
    rows = []
    for members in alike.values():
        for record in Group("", members).used:
            rows.append(record.described())
    frame = pl.DataFrame(rows, infer_schema_length=None).with_row_index("row")
    frame = frame.filter(condition(frame, where)) if where else frame
    if frame.is_empty():
        raise UsageError(f"--where {where!r} keeps no run")
    return frame
