"""What a fit was of, whether its runs are an arm's in a store or a group's in a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from hptransfer.base.intervals import Array, Interval
from hptransfer.report.frames.tidy import begin
from hptransfer.runs import Record
from hptransfer.runs.point import Number
from hptransfer.runs.sources.names import without_logarithm
from hptransfer.transfer.axes import cell_words, logarithm, logarithms
from hptransfer.transfer.prediction import Prediction
from hptransfer.transfer.runs import Runs
from hptransfer.validate.results import Results

RATIO = "embedding_lr_ratio"


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

    @cached_property
    def runs(self) -> pl.DataFrame:
        """A row for each run: ``row``, its cell, width, lr (the hyperparameter), weight_decay, embedding_lr_ratio, seed, loss,
        state and run_id."""
        found = Runs.of(self.records)
        cells, at = np.unique(np.column_stack([found.column(name) for name in self.scales]), axis=0, return_inverse=True)
        where = [self.where(dict(zip(self.scales, cell, strict=True))) for cell in cells.tolist()]
        columns = {name: [cell[name] for cell in where] for name in ("cell", "width")}
        numbers = {"lr": self.hyperparameter, "weight_decay": "weight_decay", RATIO: RATIO}
        known = {ours: plain_numbers(name, found.column(name)) for ours, name in numbers.items()} | {"loss": found.loss}
        words = {"state": found.state, "run_id": found.run_id}
        return (
            pl.DataFrame(columns, schema={"cell": pl.String, "width": pl.Float64})[at]
            .with_columns(**{name: pl.Series(values, dtype=pl.Float64).fill_nan(None) for name, values in known.items()})
            .with_columns(**{name: pl.Series(values.tolist(), dtype=pl.String) for name, values in words.items()})
            .with_columns(seed=pl.Series([record.point.init_seed for record in self.records], dtype=pl.Int64))
            .with_columns(**{name: pl.lit(value) for name, value in self.row.items()})
        )

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


def plain_numbers(name: str, values: Array) -> Array:
    """`plain_number` of many."""
    return np.exp(logarithms(name, values)) if plain_name(name) != name else values


def plain_name(name: str) -> str:
    """A column's name without the prefix of logarithms."""
    return without_logarithm(name)
