"""Which finished runs are an experiment's, and which arms and cells each belongs to. Runs carry no names of arms.

A run belongs to every arm whose settings resolve to its run_id: at the base shape one run serves muP and sp.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError

from hptransfer.base.errors import HptransferError
from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.experiment.experiment import Experiment
from hptransfer.experiment.formula import FUNCTIONS, names_in
from hptransfer.experiment.program import ProgramFiles
from hptransfer.experiment.settings import DataSpec
from hptransfer.runs.point import Job, Number, Point
from hptransfer.runs.record import Record, when_finished

Resolve = Callable[[Point], Job]
Part = Literal["searched", "held_out", "repeated"]
Alike = list[Record]  # runs that differ in what is tuned, their seeds and what came of them alone

# Seeds from here on are of runs that measure a searched scale again: no search has them, and no prediction rests on them.
REPEATED_SEED = 10_000

# What the runs at the held-out width may have otherwise: simple transfers keep the numbers by other rules, ladders vary tokens.
FREE_AT_TARGET = ("parametrization", "weight_decay_rule", "horizon")


@dataclass(frozen=True)
class Members:
    """The runs of an experiment. ``searched`` (in the cells of the search), ``held_out`` (at the target, at any horizon) and
    ``repeated`` (a searched cell again, at any horizon: see `REPEATED_SEED`) by arm, each in the order they finished; ``inputs``
    is what those of an arm read, for arms with runs; ``left_out`` counts runs on other versions of the corpus or of a program's
    files."""

    inputs: dict[str, Inputs] = field(default_factory=dict)
    searched: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    held_out: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    repeated: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    left_out: int = 0

    def of(self, arm: str) -> tuple[Record, ...]:
        """All runs of an arm."""
        return tuple(record for part in (self.searched, self.held_out, self.repeated) for record in part.get(arm, ()))

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """All of them, each once, in the order they finished."""
        found = {record.run_id: record for arm in self.inputs for record in self.of(arm)}
        return tuple(sorted(found.values(), key=when_finished))

    @property
    def last(self) -> tuple[str, str]:
        """When the last of them finished, as `when_finished` says it; empty without runs."""
        parts = (runs for part in (self.searched, self.held_out, self.repeated) for runs in part.values() if runs)
        return max((when_finished(runs[-1]) for runs in parts), default=("", ""))

    @property
    def corpus(self) -> DataSpec | None:
        """The tokens that the runs of our own trainer saw."""
        return next((one for one in self.inputs.values() if isinstance(one, DataSpec)), None)


def members(records: Iterable[Record], experiment: Experiment, resolve: Resolve) -> Members:
    """The runs that ``experiment`` makes, in the cells that it searches and at its target. Of several versions of what they read
    that of the newest run is taken: of the corpus for all arms, of a program's files for each."""
    by_inputs: dict[str, list[Alike]] = defaultdict(list)
    for alike in _alike([*records]):
        if inputs := inputs_of(alike[0].point):
            by_inputs[inputs.model_dump_json()].append(alike)
    versions = [(inputs_of(found[0][0].point), found) for found in by_inputs.values()]
    programs = [arm for arm in experiment.compared if experiment.under(arm).trainer]
    ours: dict[str, list[Arm]] = {}  # by what they say of their data
    for arm in experiment.compared:
        if arm not in programs:
            ours.setdefault(experiment.under(arm).data.model_dump_json(), []).append(arm)
    found = [_newest(arms, experiment, versions, resolve) for arms in (*ours.values(), *([arm] for arm in programs))]

    def merged(name: str) -> dict[str, Any]:
        together = {key: value for one in found for key, value in getattr(one, name).items()}
        return {arm.name: together[arm.name] for arm in experiment.compared if arm.name in together}

    return Members(
        inputs=merged("inputs"),
        searched=merged("searched"),
        held_out=merged("held_out"),
        repeated=merged("repeated"),
        left_out=sum(one.left_out for one in found),
    )


def by_cell(records: Sequence[Record], cells: Sequence[Mapping[str, Number]]) -> list[list[Record]]:
    """The runs in each of some cells. What runs of a store share is asked about once."""
    found: list[list[Record]] = [[] for _ in cells]
    homes: dict[int, list[list[Record]]] = {}
    for record in records:
        if (home := homes.get(id(record.point.scales))) is None:
            home = [own for own, cell in zip(found, cells, strict=True) if record.point.is_in(cell)]
            homes[id(record.point.scales)] = home
        for own in home:
            own.append(record)
    return found


def best_runs(experiment: Experiment, records: Sequence[Record]) -> list[Record]:
    """The run with the lowest loss of each searched cell that has one, in the order of the cells."""
    cells = by_cell([record for record in records if record.loss is not None], experiment.searched_cells)
    return [min(runs, key=lambda record: record.loss or math.inf) for runs in cells if runs]


def inputs_of(point: Point) -> Inputs | None:
    """What a run read, as its settings have it; None where they do not say, or nothing that is known here."""
    try:
        if data := point.settings.get("data"):
            return DataSpec.model_validate(data)
        files = point.settings.get("depends")
        return None if files is None else ProgramFiles(sha256=files)
    except ValidationError:
        return None


def _alike(records: Sequence[Record]) -> Iterable[Alike]:
    """The runs that share scales and settings, those of a search apart from the repeated ones: what an arm is told by."""
    texts: dict[int, str] = {}  # of settings, which the records of a store share
    found: dict[tuple[Any, ...], Alike] = defaultdict(list)
    for record in records:
        point = record.point
        if (text := texts.get(id(point.settings))) is None:
            text = texts[id(point.settings)] = json.dumps(point.settings, sort_keys=True)
        found[text, point.init_seed >= REPEATED_SEED, *point.scales.items()].append(record)
    return found.values()


def _newest(
    arms: Sequence[Arm], experiment: Experiment, versions: Sequence[tuple[Inputs | None, list[Alike]]], resolve: Resolve
) -> Members:
    """The runs of some arms, which read the same, on the version of the newest one."""
    found = []
    for inputs, records in versions:
        if inputs is not None and experiment.reads(arms[0], inputs):
            one = _on(arms, experiment, inputs, records, resolve)
            found += [one] if any(one.last) else []
    if not found:
        return Members()
    newest = max(found, key=lambda one: one.last)
    left_out = sum(len(one.records) for one in found if one is not newest)
    return replace(newest, left_out=left_out)


def _on(arms: Sequence[Arm], experiment: Experiment, inputs: Inputs, runs: Sequence[Alike], resolve: Resolve) -> Members:
    parts: dict[Part, dict[str, tuple[Record, ...]]] = {"searched": {}, "held_out": {}, "repeated": {}}
    for arm in arms:
        own, found = _ArmRuns(arm, experiment, inputs, resolve), defaultdict[Part | None, list[Record]](list)
        for alike in runs:
            if (first := next((record for record in alike if own.tunes(record.point)), None)) and (part := own.part(first)):
                found[part] += [record for record in alike if own.tunes(record.point)]
        for part, by_arm in parts.items():
            by_arm[arm.name] = tuple(sorted(found[part], key=when_finished))
    return Members({arm.name: inputs for arm in arms}, parts["searched"], parts["held_out"], parts["repeated"])


class _ArmRuns:
    """What the runs of an arm look like. All runs of a cell share settings and scales; hyperparameters and seeds are free."""

    def __init__(self, arm: Arm, experiment: Experiment, inputs: Inputs, resolve: Resolve) -> None:
        self._resolve = resolve
        space = experiment.space(arm)
        lr, decay = space.lr.at(0.5), space.weight_decay.high

        def at(cell: Mapping[str, int]) -> Point:
            point = experiment.point(arm, inputs, **cell, lr=lr, weight_decay=decay, embedding_lr_ratio=1.0, seed=0)
            return resolve(point).point

        self._target = at(experiment.target_cell)
        self._scales = tuple(experiment.searched_cells[0])
        self._searched = {self._cell(point): point for point in map(at, experiment.searched_cells)}

    def _cell(self, point: Point) -> tuple[tuple[str, Number], ...]:
        return tuple((name, point.scales.get(name, 0)) for name in self._scales)

    def tunes(self, point: Point) -> bool:
        """Whether a run has values of all that the arm tunes, and such as can be."""
        tuned = point.hyperparameters
        return tuned.keys() >= self._target.hyperparameters.keys() and tuned["lr"] > 0 and min(tuned.values()) >= 0

    def part(self, record: Record) -> Part | None:
        """Which of the arm's runs a run is one of, and all that are alike; None: it is another's."""
        if self._searches(record):
            return "searched"
        if is_at(self._target, record.point):
            return "held_out"
        if record.point.init_seed >= REPEATED_SEED and any(is_at(point, record.point) for point in self._searched.values()):
            return "repeated"
        return None

    def _searches(self, record: Record) -> bool:
        """Whether a run is one of the arm in a searched cell."""
        point = self._searched.get(self._cell(record.point))
        if point is None or record.point.init_seed >= REPEATED_SEED:
            return False
        if record.point.scales == point.scales and record.point.settings == point.settings:
            return True
        return self._is_the_same_run(record, point)

    def _is_the_same_run(self, record: Record, point: Point) -> bool:
        """Whether other settings made the very run that the arm makes: known from one run of each settings and cell."""
        mine = record.point.model_copy(update={"scales": point.scales, "settings": point.settings})
        try:
            return self._resolve(mine).run_id == record.run_id
        except HptransferError:  # of a run that this version, or this machine, cannot make
            return False


def is_at(place: Point, point: Point) -> bool:
    """Whether two runs differ in nothing but what is tuned, their horizon and what is free at the target; of a program, in
    nothing that its command, its files and its loss are."""
    if "program" in place.settings:
        return _program(place) == _program(point)
    scales = {name: value for name, value in point.scales.items() if name != "tokens"}
    wanted = {name: value for name, value in place.scales.items() if name != "tokens"}
    return scales == wanted and _fixed(point.settings) == _fixed(place.settings)


def _program(point: Point) -> tuple[Any, ...]:
    program = point.settings.get("program") or {}
    own = [point.settings.get(name) for name in ("depends", "optimizer", "options")]
    own += [point.scales.get(name) for name in ("width", "depth")]
    if not names_in(str(program.get("batch_tokens"))) - {*FUNCTIONS}:
        own.append(point.scales.get("batch_tokens"))
    names = ["command", "loss", "maximize"]
    if any(f"{{{name}" in program.get("command", "") for name in ("tokens", "batch_tokens", "steps")):
        names += ["tokens", "batch_tokens"]  # which then make other runs
    return *(program.get(name) for name in names), *own


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in FREE_AT_TARGET}
