"""A whole table of sweeps, split after split: what the rest of it predicts of the part that was held out."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from hptransfer.backtest.evaluate import OURS, Forecaster, HeldOut, calibration, evaluate, pooled
from hptransfer.base.errors import UsageError, first_line
from hptransfer.runs.sources.intake import Intake
from hptransfer.runs.sources.meanings import Columns
from hptransfer.runs.sources.reading import condition, require_column, sql_column
from hptransfer.transfer import table
from hptransfer.transfer.axes import from_ln, logarithm
from hptransfer.transfer.checks import preconditions
from hptransfer.transfer.forecast import NO_FIT, Fit, fit_sweep, fit_sweeps
from hptransfer.transfer.group import sweep_of
from hptransfer.transfer.siblings import siblings
from hptransfer.transfer.simple import RULES
from hptransfer.transfer.sweep import Array, Sweep

# What tells groups of a store's runs apart: sweeps that no fit may mix.
STORE_GROUP = ("optimizer", "parametrization", "corpus", "schedule", "depth", "horizon", "batch_tokens")

LN_LARGEST = math.log(sys.float_info.max)


Rows = Callable[[pl.DataFrame], pl.Series]  # which rows of a table


@dataclass(frozen=True)
class Hold:
    """What is held out: the rows of an SQL condition; every value of a column in turn; every split of the first scale, small to
    larger (``nested``); or, where nothing is said, its largest value."""

    rows: str | None = None
    each: str | None = None
    nested: bool = False

    def check(self, frame: pl.DataFrame) -> None:
        """Raises UsageError where the table has no such column or condition."""
        if self.rows:
            condition(frame, self.rows)
        if self.each:
            require_column(frame, self.each)

    def splits(self, group: pl.DataFrame, scale: str) -> Iterator[tuple[str, Rows]]:
        """Each split of a group: what is held out in words, and which rows of a table these are."""
        if self.rows:
            yield self.rows, partial(condition, text=self.rows)
        elif self.each:
            for value in sorted(group[self.each].drop_nulls().unique().to_list()):
                yield f"{self.each} = {_told(value)}", partial(_equal, self.each, value)
        else:
            values = sorted(group[scale].drop_nulls().unique().to_list())
            for value in values[1 if self.nested else -2 : -1]:
                yield f"{scale} > {_told(value)}", partial(_above, scale, value)


def _told(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _equal(column: str, value: Any, frame: pl.DataFrame) -> pl.Series:
    return frame.select(pl.col(column) == value).to_series()


def _above(column: str, value: Any, frame: pl.DataFrame) -> pl.Series:
    return frame.select(pl.col(column) > value).to_series()


@dataclass(frozen=True)
class Split:
    """A group of runs with the part of it that was held out, in words, and what became of each of that part's cells."""

    group: str
    hold_out: str
    cells: tuple[HeldOut, ...]


@dataclass(frozen=True)
class Backtest:
    """How right predictions of held-out cells are: what `hptransfer.backtest` returns.

    A cell is one value of the scales, as one width. *Regret* is the loss at the predicted hyperparameters over the lowest loss
    of the cell, minus 1: 0.01 is one percent of the loss. It is interpolated between the cell's finished runs. A prediction that
    is nearer to a diverged run than to a finished one counts as diverged: 5 % in the *robust* regret, in which no cell costs
    more, and nothing in the plain one, which is of the others.

    ``splits``: group by group and split by split, the held-out cells. ``notes``: what was left out or is doubtful, one line
    each; ``failed``: the groups and splits that could not be judged, and why, which cost the others nothing. ``columns``: which
    columns of the table meant what.
    """

    columns: Columns
    splits: tuple[Split, ...]
    notes: tuple[str, ...]
    failed: tuple[str, ...] = ()

    @property
    def cells(self) -> list[HeldOut]:
        """All held-out cells."""
        return [cell for split in self.splits for cell in split.cells]

    @property
    def regret(self) -> dict[str, dict[str, float | int]]:
        """By rule, hptransfer's own among them: ``robust_mean_regret`` and ``robust_max_regret`` over all held-out ``cells``,
        how many predictions ``diverged``, and ``mean_regret`` and ``max_regret`` of those that did not."""
        return pooled(self.cells)

    @property
    def calibration(self) -> dict[str, float | int | None]:
        """``coverage_80``: which share of the ``optima`` that the held-out cells show lies in the 80 % interval (0.8 is right);
        ``error_log2`` and ``interval_score_log2``: mean distance to them, and mean interval score, in octaves."""
        return calibration(self.cells)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it, cells in the table's own terms: what ``hptransfer backtest --json`` prints."""
        groups = [
            {
                "group": split.group,
                "hold_out": split.hold_out,
                "rules": pooled(split.cells),
                **calibration(split.cells),
                "cells": [_cell(cell, self.columns) for cell in split.cells],
            }
            for split in self.splits
        ]
        said = {"failed": list(self.failed), "notes": list(self.notes)}
        return {"rules": self.regret, **self.calibration, "groups": groups, **said}


def backtest_intake(found: Intake, hold: Hold, published: Mapping[str, Mapping[str, str]] | None = None) -> Backtest:
    """Predict the held-out part of every group of a table. ``published``: laws to compare with, each SQL over the scales by
    hyperparameter. Raises UsageError where there is nothing to predict."""
    frame, columns = found.frame, found.columns
    if not columns.scale or not 1 <= len(columns.hp) <= 2:
        raise UsageError("a backtest has one scale or more, and one hyperparameter or two: regret is interpolated in so many")
    rules = {**RULES, **{name: _rule(name, formulas, found) for name, formulas in (published or {}).items()}}
    groups = table.split_groups(frame, columns)
    hold.check(frame)
    splits, notes, failed = [], list(found.notes), list[str]()
    known = _Known(groups, found)
    for name, group in groups.items():
        with _apart(name, failed):
            checks = preconditions(table.group_of(name, group, found), None)
            notes += [f"{name}: {check.detail}" for check in checks if not check.ok]
            for words, rows in hold.splits(group, columns.scale[0]):
                with _apart(f"{name}, {words}", failed):
                    held, fits = rows(group), partial(known.fits, words, rows)
                    if cells := _held_out(name, words, group, held, found, rules, fits, notes.append):
                        splits.append(Split(name, words, tuple(cells)))
    if not splits:
        lacks = ["nothing to predict: no group has two scales to fit and a held-out one", *notes[len(found.notes) :]]
        raise UsageError(f"{found.place}: {'; '.join(failed or lacks)}")
    return Backtest(columns, tuple(splits), tuple(notes), tuple(failed))


class _Known:
    """What is left of every group where a part of the table is held out, fitted when it is first asked for."""

    def __init__(self, groups: Mapping[str, pl.DataFrame], found: Intake) -> None:
        self._groups, self._found = groups, found
        self._fits: dict[str, dict[str, Fit]] = {}

    def fits(self, words: str, rows: Rows) -> Mapping[str, Fit]:
        """By group, of those with two cells or more. The same part is held out of all, so that no prediction sees a cell as large
        as its own, by what other groups say."""
        if words not in self._fits:
            sweeps = {name: sweep for name in self._groups if (sweep := self._sweep(name, rows)) is not None}
            self._fits[words] = _fitted(sweeps)
        return self._fits[words]

    def _sweep(self, name: str, rows: Rows) -> Sweep | None:
        try:
            sweep = _sweep(name, self._groups[name].filter(~rows(self._groups[name])), self._found, lambda _: None)
        except UsageError:  # it is said where that group is predicted itself
            return None
        return sweep if len(sweep.x) > 1 else None


def _fitted(sweeps: Mapping[str, Sweep]) -> dict[str, Fit]:
    """The fits of groups, together as far as that goes; a group that has none is left out."""
    try:
        return dict(zip(sweeps, fit_sweeps(list(sweeps.values())), strict=True))
    except NO_FIT:
        if len(sweeps) == 1:
            return {}
        return {name: fit for own, sweep in sweeps.items() for name, fit in _fitted({own: sweep}).items()}


@contextmanager
def _apart(words: str, failed: list[str]) -> Iterator[None]:
    """Keep what goes wrong in one part of a table from the others: the reason goes to ``failed``."""
    try:
        yield
    except UsageError as error:
        failed.append(f"{words}: {error}")
    except NO_FIT as error:
        failed.append(f"{words}: no fit, {type(error).__name__}: {first_line(error)}")


def _rule(name: str, formulas: Mapping[str, str], found: Intake) -> Forecaster:
    """A published law: SQL over the scale columns for each hyperparameter, in the column's own terms. Raises UsageError where it
    is no number that the hyperparameter could have at a scale of the table."""
    columns = found.columns
    if set(formulas) != set(columns.hp) or name in (*RULES, OURS):
        raise UsageError(f"rule {name!r} is to have a name of its own, and a formula for each of {', '.join(columns.hp)}")

    def rule(known: Sweep, x: Array) -> Array:
        scales = zip(columns.scale, x.tolist(), strict=True)
        frame = pl.DataFrame({scale: [from_ln(scale, value)] for scale, value in scales})
        return np.array([values(frame, hp)[0] for hp in columns.hp])

    def values(frame: pl.DataFrame, hp: str) -> list[float]:
        told = sql_column(frame, formulas[hp])
        try:
            numbers = told.cast(pl.Float64, strict=False).fill_null(math.nan).to_list()
        except pl.exceptions.PolarsError:  # of a kind that is never one
            numbers = [math.nan]
        for place, number in enumerate(numbers):
            if not math.isfinite(number) or (number <= 0 and logarithm(hp, 1.0) == 0):
                what = f"{hp}={formulas[hp]} is {told[place]!r}, no value of {hp}"
                raise UsageError(f"rule {name!r}: {what}, at {frame.row(place, named=True)}")
        return [logarithm(hp, number) for number in numbers]

    for hp in columns.hp:
        values(found.frame.select(columns.scale).unique(maintain_order=True), hp)
    return rule


def _held_out(
    name: str,
    words: str,
    group: pl.DataFrame,
    held: pl.Series,
    found: Intake,
    rules: Mapping[str, Forecaster],
    fits: Callable[[], Mapping[str, Fit]],
    say: Callable[[str], None],
) -> Sequence[HeldOut]:
    """The held-out cells of a split; none, and a line why, where it cannot be judged."""
    words = f"{name}, {words}"
    if not held.any() or held.all():
        say(f"{words}: skipped, {'all' if held.all() else 'no'} rows are held out")
        return ()
    known, judged = (_sweep(words, group.filter(rows), found, say) for rows in (~held, held))
    if len(known.x) < 2 or len(judged.x) == 0:
        say(f"{words}: skipped, {len(known.x)} scales to fit and {len(judged.x)} to predict")
        return ()
    own = fits().get(name) or fit_sweep(known)  # which says why there is none
    return evaluate(own, judged, rules, siblings([fit for other, fit in fits().items() if other != name]))


def _sweep(words: str, frame: pl.DataFrame, found: Intake, say: Callable[[str], None]) -> Sweep:
    """The sweep of some rows; cells that are left out of it are said."""
    sweep, dropped = sweep_of(table.group_of(words, frame, found).runs, found.columns.scale, found.columns.hp)
    if dropped:
        say(f"{words}: {dropped}")
    return sweep


def _cell(cell: HeldOut, columns: Columns) -> dict[str, Any]:
    def named(values: Array) -> dict[str, float | None]:
        """In the columns' terms; None where unknown, or where a line through noise left what a float holds."""
        pairs = zip(columns.hp, values.tolist(), strict=True)
        return {hp: from_ln(hp, value) if abs(value) < LN_LARGEST else None for hp, value in pairs}

    covered = [None if math.isnan(value) else bool(value) for value in cell.covered.tolist()]
    return {
        "scale": {scale: from_ln(scale, value) for scale, value in zip(columns.scale, cell.x.tolist(), strict=True)},
        "predicted": {rule: named(value) for rule, value in cell.predicted.items()},
        "regret": {rule: value.value for rule, value in cell.regrets.items()},
        "outside_range": [rule for rule, value in cell.regrets.items() if value.edge],
        "diverged": [rule for rule, value in cell.regrets.items() if value.diverged],
        "optimum": named(cell.own),
        "low": named(cell.low),
        "high": named(cell.high),
        "covered": dict(zip(columns.hp, covered, strict=True)),
        "error_log2": None if np.isnan(cell.error).all() else float(np.nanmean(cell.error)) / math.log(2),
    }
