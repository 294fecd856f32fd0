"""Which finished runs are an experiment's, and which arms and cells each belongs to. Runs carry no names of arms.

A run belongs to every arm whose settings resolve to its run_id: at the base shape one run serves muP and sp.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hptransfer.experiment.experiment import Arm, Experiment
from hptransfer.experiment.settings import DataSpec
from hptransfer.runs.point import Job, Number, Point
from hptransfer.runs.record import Record

Resolve = Callable[[Point], Job]

# What the runs at the held-out width may have otherwise: simple transfers keep the numbers by other rules, ladders vary tokens.
FREE_AT_TARGET = ("parametrization", "weight_decay_rule", "horizon")


@dataclass(frozen=True)
class Members:
    """The runs of an experiment. ``searched`` and ``held_out`` by arm, each in the order they finished; ``data`` is what they
    were trained on, None without a run; ``left_out`` counts runs on other versions of the corpus."""

    data: DataSpec | None = None
    searched: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    held_out: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    left_out: int = 0

    @property
    def records(self) -> tuple[Record, ...]:
        """All of them, each once, in the order they finished."""
        found = {record.run_id: record for part in (self.searched, self.held_out) for runs in part.values() for record in runs}
        return tuple(sorted(found.values(), key=lambda record: record.age))


def members(records: Iterable[Record], experiment: Experiment, resolve: Resolve) -> Members:
    """The runs that ``experiment`` makes, at the widths that it searches and at its target. Of several versions of the corpus
    that of the newest run is taken."""
    by_data: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        data = record.point.settings.get("data")
        if data and experiment.data.names(DataSpec.model_validate(data)):
            by_data[json.dumps(data, sort_keys=True)].append(record)
    found = [_of_data(found, experiment, DataSpec.model_validate_json(data), resolve) for data, found in by_data.items()]
    found = [one for one in found if one.records]
    if not found:
        return Members()
    newest = max(found, key=lambda one: one.records[-1].age)
    left_out = sum(len(one.records) for one in found if one is not newest)
    return Members(newest.data, newest.searched, newest.held_out, left_out)


def _of_data(records: Sequence[Record], experiment: Experiment, data: DataSpec, resolve: Resolve) -> Members:
    searched, held_out = {}, {}
    for arm in experiment.compared:
        own = _ArmRuns(arm, experiment, data, resolve)
        searched[arm.name] = _ordered(record for record in records if own.searches(record))
        held_out[arm.name] = _ordered(record for record in records if own.tests(record))
    return Members(data, searched, held_out)


def _ordered(records: Iterable[Record]) -> tuple[Record, ...]:
    return tuple(sorted(records, key=lambda record: record.age))


class _ArmRuns:
    """What the runs of an arm look like. All runs of a cell share settings and scales; hyperparameters and seeds are free."""

    def __init__(self, arm: Arm, experiment: Experiment, data: DataSpec, resolve: Resolve) -> None:
        self._resolve = resolve
        space = experiment.space(arm)
        lr, decay = space.lr.at(0.5), space.weight_decay.high
        points = {
            width: resolve(experiment.point(arm, data, width=width, lr=lr, weight_decay=decay)).point
            for width in (*experiment.widths, experiment.target_width)
        }
        self._target = points.pop(experiment.target_width)
        self._searched = points
        self._same: dict[tuple[str, Number], bool] = {}

    def searches(self, record: Record) -> bool:
        """Whether a run is one of the arm at a searched width."""
        point = self._searched.get(record.point.scales.get("width"))  # type: ignore[arg-type]
        if point is None or record.point.scales != point.scales:
            return False
        return record.point.settings == point.settings or self._is_the_same_run(record, point)

    def tests(self, record: Record) -> bool:
        """Whether a run is one at the held-out width, at any horizon."""
        free = {**self._target.scales, "tokens": record.point.scales.get("tokens")}
        return record.point.scales == free and _fixed(record.point.settings) == _fixed(self._target.settings)

    def _is_the_same_run(self, record: Record, point: Point) -> bool:
        """Whether other settings made the very run that the arm makes: known from one run of each settings and width."""
        key = json.dumps(record.point.settings, sort_keys=True), point.scales["width"]
        if key not in self._same:
            mine = record.point.model_copy(update={"settings": point.settings})
            self._same[key] = self._resolve(mine).run_id == record.run_id
        return self._same[key]


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in FREE_AT_TARGET}
