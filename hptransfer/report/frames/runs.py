"""The table of runs."""

from __future__ import annotations

import polars as pl

from hptransfer.report.frames.columns import SERIES
from hptransfer.report.results import Results
from hptransfer.runs.record import ROW_SCHEMA


def run_table(results: Results) -> pl.DataFrame:
    """Every run of the experiment with its cost, those that diverged or failed too."""
    rows = [record.row() | {"held_out": record.spec.model.width == results.experiment.target_width} for record in results.records]
    frame = pl.DataFrame(rows, schema=ROW_SCHEMA | {"held_out": pl.Boolean}, orient="row")
    return frame.sort(*SERIES, "width", "lr", "finished_at")
