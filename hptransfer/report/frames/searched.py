"""What a fit was of, whether its runs are an arm's in a store or a group's in a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hptransfer.base.intervals import Interval
from hptransfer.report.frames.tidy import begin
from hptransfer.runs import Record
from hptransfer.runs.point import Number
from hptransfer.runs.sources.names import without_logarithm
from hptransfer.transfer.axes import cell_words, logarithm
from hptransfer.transfer.prediction import Prediction
from hptransfer.validate.results import Results


@dataclass(frozen=True)
class Searched:
    """Runs that belong together, and what was predicted from them; ``row`` is how the rows of its frames begin. ``scales`` are
    what its cells differ in, ``hyperparameter`` is what is looked at first; a column of logarithms is told in plain numbers."""

    row: dict[str, Any]
    records: Sequence[Record]
    prediction: Prediction | None
    scales: tuple[str, ...]
    hyperparameter: str = "lr"

    @property
    def told(self) -> Prediction | None:
        """The prediction, where it has a target."""
        return self.prediction if self.prediction and self.hyperparameter in self.prediction.hyperparameters else None

    @property
    def target(self) -> Interval:
        """The predicted value. Only where there is one."""
        assert self.told
        return self._in_plain(self.told.hyperparameters[self.hyperparameter])

    @cached_property
    def optima(self) -> list[tuple[dict[str, Number], Interval, float]]:
        """Of every cell that was fitted: its scales, the best value with its interval, and the loss there (nan: not known)."""
        return [
            (one.scales, self._in_plain(one.best[self.hyperparameter]), math.nan if one.loss is None else one.loss)
            for one in (self.prediction.optima if self.prediction else ())
        ]

    def value(self, record: Record) -> float:
        """The hyperparameter of a run."""
        return plain_number(self.hyperparameter, record.point[self.hyperparameter])

    def cell(self, scales: Mapping[str, Number]) -> str:
        """A cell in words."""
        return cell_words({plain_name(name): plain_number(name, scales[name]) for name in self.scales})

    def where(self, scales: Mapping[str, Number]) -> dict[str, Any]:
        """How rows say a cell; ``width`` is its first scale."""
        return {"cell": self.cell(scales), "width": plain_number(self.scales[0], scales[self.scales[0]])}

    def _in_plain(self, found: Interval) -> Interval:
        value, low, high = (
            None if end is None else plain_number(self.hyperparameter, end) for end in (found.value, found.low, found.high)
        )
        return Interval(value=value or 0.0, low=low, high=high)


def of_results(results: Results) -> Iterator[Searched]:
    """Every arm of an experiment."""
    scales = tuple(results.experiment.searched_cells[0])
    for arm in results.arms:
        yield Searched(begin(arm), results.searched(arm.name), results.predictions.get(arm.name), scales)


def plain_number(name: str, value: Number) -> float:
    """A number of a column, whose values may be logarithms."""
    return math.exp(logarithm(name, value)) if plain_name(name) != name else float(value)


def plain_name(name: str) -> str:
    """A column's name without the prefix of logarithms."""
    return without_logarithm(name)
