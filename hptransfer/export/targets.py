"""What a prediction can be exported to, by name."""

from __future__ import annotations

from collections.abc import Callable

from hptransfer.base.errors import UsageError, unknown
from hptransfer.export.canonical import export_json
from hptransfer.transfer.prediction import Prediction

TARGETS: dict[str, Callable[[Prediction], str]] = {"json": export_json}


def require_target(name: str) -> str:
    """The name of a target. Raises UsageError with the nearest one."""
    if name not in TARGETS:
        raise unknown("export target", name, TARGETS)
    return name


def render(prediction: Prediction, target: str) -> str:
    """The export of a prediction, as text. Raises UsageError for an unknown target, and for a prediction without a run."""
    require_target(target)
    if not prediction.job or not prediction.job.run_id:
        raise UsageError(f"{prediction.name} was predicted from a table: there is no run to export")
    return TARGETS[target](prediction)
