"""Everything that a report is made from: the experiment with its runs, predictions and validations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from hptransfer.base.commands import command
from hptransfer.base.errors import UsageError
from hptransfer.base.refusals import Refusal
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.membership import Members, Resolve, members
from hptransfer.runs import Job, Record, Store
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.coordinates import CHECKS, CoordinateCheck, read_coordinate_checks
from hptransfer.validate.result import Validation
from hptransfer.validate.standing import given_predictions, known_predictions, standing


@dataclass(frozen=True)
class Results:
    """An experiment, the runs that belong to it, and what was concluded, all by arm. ``refused`` says why an arm whose search is
    complete has no prediction. ``target`` is a run at the held-out width, for its scale; None before the first run has finished,
    which says what the data are."""

    experiment: Experiment
    members: Members = field(default_factory=Members)
    predictions: dict[str, Prediction] = field(default_factory=dict)
    validations: dict[str, Validation] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    target: Job | None = None
    coordinate_checks: dict[str, CoordinateCheck] = field(default_factory=dict)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Every arm of the experiment, in its order."""
        return self.experiment.compared

    @property
    def records(self) -> tuple[Record, ...]:
        """Every run, once, in the order they finished."""
        return self.members.records

    @cached_property
    def by_id(self) -> dict[str, Record]:
        """Every run by its run_id."""
        return {record.run_id: record for record in self.records}

    def searched(self, arm: str) -> tuple[Record, ...]:
        """The runs of an arm at the searched widths."""
        return self.members.searched.get(arm, ())

    def baseline(self, arm: str) -> str | None:
        """The arm that an arm is measured against, which may be itself."""
        found = self.experiment.baseline_of(self.experiment.arm(arm))
        return found.name if found else None


def load_results(
    experiment: Experiment,
    store: Store,
    resolve: Resolve,
    files: Sequence[str] = (),
    *,
    allow_empty: bool = False,
    anew: bool = True,
) -> Results:
    """What stands of ``experiment`` in the store. Prediction ``files`` count in the place of their arms' own predictions.

    Raises UsageError when the store holds no run of the experiment, unless ``allow_empty``: a page that follows a search waits
    for the first one. Without ``anew`` complete searches have only what was predicted already.
    """
    records = store.records() if allow_empty else store.require_records()
    found = members(records.values(), experiment, resolve)
    if not found.records and not allow_empty:
        raise UsageError(
            f"store {store.location} holds {len(records)} runs and none of experiment {experiment.name}; "
            f"run `{command('search')}` with the same --experiment and --set first"
        )
    given = given_predictions(files, experiment, resolve)
    known = known_predictions(experiment, store)
    stands = standing(experiment, found, resolve, known, store.registered_at, given.values(), anew=anew)
    return Results(
        experiment,
        found,
        stands.predictions,
        stands.validations,
        stands.refused,
        next((resolve(experiment.target_point(experiment.arm(name), inputs)) for name, inputs in found.inputs.items()), None),
        read_coordinate_checks(CHECKS, experiment),
    )


def mean(costs: Iterable[float | None]) -> float | None:
    """None where one is unknown, and of none."""
    known = list(costs)
    found = [cost for cost in known if cost is not None]
    return sum(found) / len(found) if found and len(found) == len(known) else None
