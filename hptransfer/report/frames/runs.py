"""The table of runs."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from hptransfer.runs.gathered import to_frame
from hptransfer.runs.record import ROW_SCHEMA
from hptransfer.validate.results import Results


def run_table(results: Results) -> pl.DataFrame:
    """Every run of the experiment with its cost, and what else its trainer measured; those that diverged or failed too."""
    held_out = {record.run_id for records in results.members.held_out.values() for record in records}
    metrics, own = [record.outcome.metrics for record in results.records], ("arm", *ROW_SCHEMA, "held_out")
    measured = [name for name in dict.fromkeys(name for one in metrics for name in one) if name not in own]
    frame = to_frame(results.records).with_columns(
        pl.Series("arm", list(_arms(results)), pl.String),
        pl.Series("held_out", [record.run_id in held_out for record in results.records], pl.Boolean),
        *(pl.Series(name, [one.get(name) for one in metrics], pl.Float64) for name in measured),
    )
    return frame.select(*own, *measured).sort("arm", "width", "lr", "finished_at")


def _arms(results: Results) -> Iterator[str]:
    """The arm of every run; of several, as at the base shape, the first that has its parametrization."""
    members = results.members
    found: dict[str, dict[str, str]] = {}
    for arm in results.arms:
        for record in members.of(arm.name):
            found.setdefault(record.run_id, {}).setdefault(arm.parametrization, arm.name)
    for record in results.records:
        arms = found[record.run_id]
        yield arms.get(record.point.settings.get("parametrization", ""), next(iter(arms.values())))
