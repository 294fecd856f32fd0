"""What a prediction is asked for: the runs of an arm, and the run that they are to predict. One reading for the command and the
library."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import scipy

import hptransfer
from hptransfer.base.errors import UsageError
from hptransfer.base.refusals import Refused
from hptransfer.experiment import Experiment
from hptransfer.experiment.membership import Members, Resolve
from hptransfer.runs.point import Job, Number, Point
from hptransfer.runs.sources.meanings import Columns
from hptransfer.runs.sources.names import meaning
from hptransfer.transfer.group import Group, group_of_arm, too_few_runs


def arm_group(name: str, found: Members, cells: Sequence[Mapping[str, Number]], words: str) -> Group:
    """The searched runs of an arm, called ``words`` where they are refused: one of ``cells`` lacks runs."""
    group = group_of_arm(name, found.searched.get(name, ()))
    if lack := too_few_runs(group, cells, words):
        raise Refused(lack)
    return group


def arm_target(
    experiment: Experiment, arm: str, found: Members, resolve: Resolve, changes: Mapping[str, Number] | None = None
) -> Job:
    """A run of an arm at the experiment's target, hyperparameters as they come, with ``changes`` of its other scales.
    Raises UsageError for a scale that the arm's runs do not have, or that a formula of theirs gives."""
    job = resolve(experiment.target_point(experiment.arm(arm), found.inputs[arm]))
    if not changes:
        return job
    if unknown := [name for name in changes if name not in job.point.scales]:
        raise UsageError(f"{unknown[0]}: {_no_scale(arm)}")
    moved = resolve(job.point.at(**{name: _whole(value) for name, value in changes.items()}))
    for name, value in changes.items():
        # Tokens are whole batches: what comes of them is within one of what was asked for.
        near = max(0.01 * value, moved.point.scales.get("batch_tokens", 0) if name == "tokens" else 0)
        if moved.point[name] == job.point[name] and abs(moved.point[name] - value) > near:
            raise UsageError(f"{name}: {_no_scale(arm)}")
    return moved


def table_target(columns: Columns, at: Mapping[str, Number]) -> Job:
    """The target of a table's runs, in the columns' own terms: its scales alone are known. Raises UsageError unless ``at`` has a
    positive value for each scale and nothing else."""
    at = {_scale_called(columns, name): value for name, value in at.items()}
    if set(at) != set(columns.scale) or any(not 0 < value < math.inf for value in at.values()):
        given = ",".join(f"{name}={value:g}" for name, value in at.items())
        wanted = ",".join(f"{name}=VALUE" for name in columns.scale)
        raise UsageError(f"target {given!r} does not give a positive value to each scale: {wanted}")
    return bare_job(Point(scales={name: at[name] for name in columns.scale}, hyperparameters={}))


def _scale_called(columns: Columns, name: str) -> str:
    """The scale that is meant: of that name, or the only one with that meaning."""
    alike = [scale for scale in columns.scale if meaning(name) and meaning(scale) == meaning(name)]
    return name if name in columns.scale or len(alike) != 1 else alike[0]


def bare_job(point: Point) -> Job:
    """The job of a point that no trainer knows: the point is all there is."""
    return Job(run_id="", point=point)


def provenance(**source: Any) -> dict[str, Any]:
    """What a prediction was made from and with; ``source`` names the runs."""
    versions = {
        "hptransfer": hptransfer.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    return {"versions": versions, **source, "written_at": datetime.now(UTC).isoformat(timespec="seconds")}


def _no_scale(arm: str) -> str:
    return f"{arm}'s runs follow a formula in it, or do not have it"


def _whole(value: Number) -> Number:
    """A count that was written as 1e9 is whole."""
    return int(value) if float(value).is_integer() else value
