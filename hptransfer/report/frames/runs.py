"""The table of runs."""

from __future__ import annotations

from typing import Any

import polars as pl

from hptransfer.report.results import Results
from hptransfer.runs import Record
from hptransfer.runs.record import ROW_SCHEMA


def run_table(results: Results) -> pl.DataFrame:
    """Every run of the experiment with its cost, those that diverged or failed too. A run of several arms, as those at the base
    shape and those at the held-out width are, is that of the first that has its parametrization."""
    members = results.members
    held_out = {record.run_id for records in members.held_out.values() for record in records}
    rows: dict[str, tuple[bool, dict[str, Any]]] = {}
    for arm in results.arms:
        for record in (*members.searched.get(arm.name, ()), *members.held_out.get(arm.name, ())):
            is_own = record.point.settings.get("parametrization") == arm.parametrization
            if record.run_id not in rows or is_own > rows[record.run_id][0]:
                rows[record.run_id] = is_own, _row(record, arm.name, record.run_id in held_out)
    frame = pl.DataFrame([row for _, row in rows.values()], schema=SCHEMA, orient="row")
    return frame.sort("arm", "width", "lr", "finished_at")


SCHEMA: dict[str, Any] = {"arm": pl.String, **ROW_SCHEMA, "held_out": pl.Boolean}


def _row(record: Record, arm: str, held_out: bool) -> dict[str, Any]:
    return {"arm": arm, **record.row(), "held_out": held_out}
