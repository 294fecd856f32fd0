"""The runs of a store as a table, so that whatever reads a table reads a store too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.runs import RunRecord
from hptransfer.transfer.checks import horizon_words
from hptransfer.transfer.sweep import frozen_ratio
from hptransfer.transfer.table import condition


def frame_of(records: Iterable[RunRecord], where: str | None = None) -> pl.DataFrame:
    """One row per finished run at the embedding_lr_ratio that its search settled on; lr and weight_decay in base coordinates.
    Raises UsageError where nothing is left."""
    series: dict[tuple[str, str, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        series[record.spec.optimizer.recipe, record.spec.parametrization, record.spec.data.sha256].append(record)
    rows = []
    for members in series.values():
        ratio = frozen_ratio(members)
        for record in sorted(members, key=lambda record: record.run_id):
            spec = record.spec
            if spec.optimizer.embedding_lr_ratio == ratio:
                shared = {"schedule": str(spec.schedule), "horizon": horizon_words(spec.horizon)}
                rows.append(record.row() | shared | {"corpus": f"{spec.data.corpus} {spec.data.sha256[:8]}"})
    frame = pl.DataFrame(rows, infer_schema_length=None).with_row_index("row")
    frame = frame.filter(condition(frame, where)) if where else frame
    if frame.is_empty():
        raise UsageError(f"--where {where!r} keeps no run")
    return frame
