"""What a trainer is: what turns points into jobs, and jobs into records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.experiment.experiment import Experiment
from hptransfer.runs import Claim, CurvePoint, Job, Point, Record, Store


@dataclass(frozen=True)
class Place:
    """Where a run is trained. The record goes to ``store``; ``claim`` is shown that the work goes on, and ``report`` every point
    of the curve as it comes. ``threads`` and ``gpus`` are the run's own; a run that says nothing for ``hang_seconds`` hangs.
    ``folder``: the working directory of the command that asked for it."""

    store: Store
    claim: Claim | None = None
    report: Callable[[CurvePoint], None] | None = None
    threads: int = 1
    gpus: float = 0
    hang_seconds: float = 600.0
    folder: Path = Path()


class Trainer(Protocol):
    """Members: hptransfer's own trainer, and a user's command."""

    @property
    def name(self) -> str:
        """As ``Point.settings["trainer"]`` has it."""
        ...

    def inputs(self, experiment: Experiment, arm: Arm) -> Inputs:
        """What the runs of an arm read, as it is here and now. Raises UsageError, in one line, where it is not there."""
        ...

    def describe(self, experiment: Experiment, arm: Arm) -> str:
        """An arm's runs in words, for people."""
        ...

    def resolve(self, point: Point) -> Job:
        """The job of a point, by the point alone: final numbers, identity, cost. Raises UsageError where there is no such run."""
        ...

    def prepare(self, job: Job, folder: Path) -> None:
        """What must be there before a run, and may take long: raises UsageError rather than let it fail."""
        ...

    def train(self, job: Job, place: Place) -> Record:
        """Train one run, or go on with it; its record is in the store when this returns. Divergence and failure are states of the
        record. Raises ClaimLost when another process has taken the run over."""
        ...
