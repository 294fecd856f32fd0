"""Finished runs in columns, whatever they come from: a fit reads their numbers, and the record of few."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import overload

import numpy as np
from numpy.typing import NDArray

from hptransfer.base.intervals import Array
from hptransfer.runs.record import Record
from hptransfer.transfer.axes import logarithms


@dataclass(frozen=True, eq=False)
class Runs(Sequence[Record]):
    """Runs as a sequence of records, each made by ``record`` when it is looked at: a table may have many rows.

    ``run_id``, ``state`` and ``loss`` (runs,); a loss is nan where a run has none. ``column``: a scale or a hyperparameter of
    every run by its name (runs,), nan where a run has none. Runs with the same ``kind`` (runs,) differ in nothing but
    hyperparameters, seeds and outcome.
    """

    run_id: NDArray[np.str_]
    state: NDArray[np.str_]
    loss: Array
    column: Callable[[str], Array]
    kind: NDArray[np.intp]
    record: Callable[[int], Record]

    @classmethod
    def of(cls, records: Sequence[Record]) -> Runs:
        """Records that are there."""
        if isinstance(records, Runs):
            return records

        points = [*map(attrgetter("job.point"), records)]
        # The records of a store have it as the same objects if they are alike: `hptransfer.runs.parser`.
        shared = attrgetter("job.point.settings", "job.point.scales", "job.constants")
        places: dict[tuple[int, ...], int] = {}

        @cache
        def column(name: str) -> Array:
            return np.array([point.scales.get(name, point.hyperparameters.get(name, math.nan)) for point in points], float)

        return cls(
            run_id=np.array([*map(attrgetter("job.run_id"), records)], np.str_),
            state=np.array([*map(attrgetter("outcome.state"), records)], np.str_),
            loss=np.array([*map(attrgetter("outcome.loss"), records)], float),  # None becomes nan
            column=column,
            kind=np.array([places.setdefault(tuple(map(id, shared(record))), len(places)) for record in records], np.intp),
            record=records.__getitem__,
        )

    @property
    def kinds(self) -> Runs:
        """The first of the runs of every kind."""
        return self.take(np.sort(np.unique(self.kind, return_index=True)[1]))

    def ln(self, names: Sequence[str]) -> Array:
        """The logarithms of scales or hyperparameters, (runs, names)."""
        return np.column_stack([logarithms(name, self.column(name)) for name in names])

    def take(self, at: NDArray[np.intp]) -> Runs:
        """Some of the runs, in that order."""
        return Runs(
            run_id=self.run_id[at],
            state=self.state[at],
            loss=self.loss[at],
            column=lambda name: self.column(name)[at],
            kind=self.kind[at],
            record=lambda place: self.record(int(at[place])),
        )

    def __len__(self) -> int:
        return len(self.run_id)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> Runs: ...
    def __getitem__(self, place: int | slice) -> Record | Runs:
        return self.take(np.arange(len(self))[place]) if isinstance(place, slice) else self.record(range(len(self))[place])

    def __iter__(self) -> Iterator[Record]:
        return map(self.record, range(len(self)))
