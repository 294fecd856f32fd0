"""A ladder: what each searched cell of an experiment came to, as the table that laws are fitted to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from hptransfer.base.refusals import Refused
from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import Members, best_runs
from hptransfer.experiment.settings import COUNTED
from hptransfer.runs.point import Job, Number
from hptransfer.runs.record import Record
from hptransfer.transfer.forecast import Fit
from hptransfer.transfer.group import GroupFit, fit_group, group_of_arm

SCHEMA: dict[str, Any] = {
    "arm": pl.String,
    "width": pl.Int64,
    "depth": pl.Int64,
    "batch_tokens": pl.Int64,
    "params": pl.Int64,
    **{f"params_{convention}": pl.Int64 for convention in COUNTED},
    "tokens": pl.Int64,
    "flops": pl.Float64,
    "loss": pl.Float64,
    "loss_of": pl.String,
    "noise": pl.Float64,
    "runs": pl.Int64,
}


def ladder(experiment: Experiment, found: Members) -> pl.DataFrame:
    """One row of `SCHEMA` per arm and searched cell with a finished run, in the order of the cells.

    ``params``: all of them; ``params_all``, ``params_non_embedding``, ``params_matrices_and_readout``: those that a convention
    counts, null where a trainer says no kinds of weight. ``flops``: forward and backward of one run. ``loss``, nats per token:
    the ``fitted minimum`` of the cell (``loss_of``) where the arm's surface can be fitted and has its optimum between finished
    runs of the cell; else that of the ``best run``, which noise makes look better than it is. ``noise``: the relative standard
    deviation of a run's loss, null without a fit. ``runs``: finished runs, in any state but failed.
    """
    rows = [row for arm in experiment.compared for row in _of_arm(arm.name, experiment, found.searched.get(arm.name, ()))]
    return pl.DataFrame(rows, schema=SCHEMA)


def _of_arm(arm: str, experiment: Experiment, records: Sequence[Record]) -> list[dict[str, Any]]:
    fitted = _fitted(arm, records)
    rows = []
    for best in best_runs(experiment, records):
        minimum = _minimum(fitted, best) if fitted else None
        counted = [one for one in records if one.state != "failed" and one.point.scales == best.point.scales]
        rows.append(
            {
                "arm": arm,
                **{name: best.point.scales.get(name) for name in ("width", "depth", "batch_tokens", "tokens")},
                "params": best.job.parameters,
                **(_counted(best.job) if best.job.kinds else {}),
                "flops": best.job.flops,
                "loss": best.loss if minimum is None else minimum,
                "loss_of": "best run" if minimum is None else "fitted minimum",
                "noise": fitted.fit.middle.noise.sd if fitted and fitted.fit else None,
                "runs": len(counted),
            }
        )
    return rows


def _counted(job: Job) -> dict[str, int]:
    """Parameters of a run by each convention."""
    sizes = [(kind.role, kind.d_in * kind.d_out * kind.count) for kind in job.kinds]
    return {f"params_{name}": sum(size for role, size in sizes if role in roles) for name, roles in COUNTED.items()}


def _fitted(arm: str, records: Sequence[Record]) -> GroupFit | None:
    """The surface of an arm's runs, without a target; None where they are too few."""
    try:
        return fit_group(group_of_arm(arm, records), None) if records else None
    except Refused:
        return None


def _minimum(fitted: GroupFit, record: Record) -> float | None:
    """The lowest loss of the bowl of a run's cell; None where it has none, or its optimum lies beyond the cell's runs."""
    place: dict[str, Number] = {name: record.point[name] for name in fitted.scales}
    cell = next((i for i, one in enumerate(fitted.cells) if one.point.is_in(place)), None)
    if cell is None or fitted.fit is None or not _is_inside(fitted.fit, cell):
        return None
    return math.exp(fitted.fit.ln_lowest[cell])


def _is_inside(fit: Fit, cell: int) -> bool:
    return bool(fit.sweep.low[cell, 0] < fit.vertex[cell, 0] < fit.sweep.top[cell])
