"""The runs of a store as a table, so that whatever reads a table reads a store too."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.runs.record import Record
from hptransfer.runs.sources.intake import Intake
from hptransfer.runs.sources.meanings import Columns
from hptransfer.runs.sources.mixtures import mixtures
from hptransfer.runs.sources.reading import condition, require_column
from hptransfer.runs.sources.source import ROW
from hptransfer.transfer.group import Group


def intake_of_records(records: Iterable[Record], place: str, columns: Columns, where: str | None = None) -> Intake:
    """The finished runs of a store at the hyperparameters that their search settled on; lr and weight_decay in base coordinates.
    They are in order, so that nothing is left out. Raises UsageError where ``where`` keeps none, and for a column that is not
    there."""
    frame = _frame(records)
    frame = frame.filter(condition(frame, where)) if where else frame
    if frame.is_empty():
        raise UsageError(f"--where {where!r} keeps no run")
    for name in (*columns.named, *([columns.loss] if columns.loss else [])):
        require_column(frame, name)
    return Intake(place, frame, columns, mixtures(frame, columns, []))


def _frame(records: Iterable[Record]) -> pl.DataFrame:
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
    return pl.DataFrame(rows, infer_schema_length=None).with_row_index(ROW)
