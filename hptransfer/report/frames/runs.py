"""The table of runs."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from hptransfer.runs import Record
from hptransfer.runs.record import ROW_SCHEMA
from hptransfer.validate.results import Results


def run_table(results: Results) -> pl.DataFrame:
    """Every run of the experiment with its cost, and what else its trainer measured; those that diverged or failed too."""
    held_out = {record.run_id for records in results.members.held_out.values() for record in records}
    rows = [
        record.outcome.metrics | record.row() | {"arm": arm, "held_out": record.run_id in held_out}
        for arm, record in _with_arms(results)
    ]
    measured = dict.fromkeys((name for record in results.records for name in record.outcome.metrics), pl.Float64)
    schema = measured | {"arm": pl.String, **ROW_SCHEMA, "held_out": pl.Boolean}
    frame = pl.DataFrame(rows, schema=schema, orient="row").sort("arm", "width", "lr", "finished_at")
    return frame.select("arm", *ROW_SCHEMA, "held_out", *(name for name in measured if name not in ROW_SCHEMA))


def _with_arms(results: Results) -> Iterator[tuple[str, Record]]:
    """Every run with its arm; of several, as at the base shape, the first that has its parametrization."""
    members = results.members
    found: dict[str, dict[str, str]] = {}
    for arm in results.arms:
        for record in members.of(arm.name):
            found.setdefault(record.run_id, {}).setdefault(arm.parametrization, arm.name)
    for record in results.records:
        arms = found[record.run_id]
        yield arms.get(record.point.settings.get("parametrization", ""), next(iter(arms.values()))), record
