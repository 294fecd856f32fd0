"""Losses, and metrics of which the highest is the best: what is fitted is positive, and the lowest is the best."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.base.intervals import Array
from hptransfer.runs.sources.meanings import Columns
from hptransfer.runs.sources.names import is_maximised, unit
from hptransfer.runs.sources.reading import numbers, wrong_cell

FEWEST = 4  # runs of a cell by which a hill is told from a bowl


def as_loss(frame: pl.DataFrame, columns: Columns, maximize: bool | None, notes: list[str]) -> pl.DataFrame:
    """The frame with a loss that is positive, or null where a run diverged. Raises UsageError for a cell that cannot be one, and
    where the values have a highest inside, which ``maximize`` must say."""
    name = str(columns.loss)
    values = numbers(frame, name)
    finite = np.isfinite(values)
    if not finite.any():
        raise UsageError(f"{name}: no row has a finite value")
    if lost := int((~finite).sum()):
        notes.append(f"{name}: {lost:,} runs without a finite value are taken as diverged")
    if maximize:
        values = _turned(frame, name, values, finite)
    elif maximize is None and (is_maximised(name) or _has_hills(frame, columns, values)):
        raise UsageError(f"{name}: by its name or values the highest is the best; say --maximize, or name a loss with --loss")
    if (wrong := finite & (values <= 0)).any():
        raise wrong_cell(frame, name, int(wrong.argmax()), "is not a positive loss; --maximize if the highest is the best")
    return frame.with_columns(pl.Series(name, np.where(finite, values, np.nan)).fill_nan(None))


def _turned(frame: pl.DataFrame, name: str, values: Array, finite: np.ndarray) -> Array:
    """A loss of what is to be maximised: the rest of a share or of percents, or the negative of what is negative."""
    own = values[finite]
    if own.max() < 0:
        return -values
    if own.min() >= 0 and own.max() <= 100:
        return (1.0 if own.max() <= 1 else 100.0) - values
    row = int(np.flatnonzero(finite & ((values < 0) | (values > 100)))[0])
    raise wrong_cell(frame, name, row, "is no share, percentage or negative loss: give a loss column for what is to be maximised")


def _has_hills(frame: pl.DataFrame, columns: Columns, values: Array) -> bool:
    """Whether most cells have their highest value inside and their lowest at an end of the first hyperparameter."""
    hp = columns.hp[0]
    x = frame[hp].to_numpy().astype(float)
    x = x if unit(hp) else np.log(np.where(x > 0, x, np.nan))
    used = np.isfinite(values) & np.isfinite(x)
    cell = frame.select(pl.struct(*columns.group, *columns.scale, *columns.hp[1:]).rank("dense")).to_series().to_numpy()[used]
    order = np.lexsort((x[used], cell))
    cell, x, y = cell[order], x[used][order], values[used][order]
    starts = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1], True])
    hills = judged = 0
    for start, end in pairwise(starts.tolist()):
        if len(np.unique(x[start:end])) >= FEWEST:
            judged += 1
            curvature = np.polyfit(x[start:end] - x[start], y[start:end], 2)[0]
            inside = start < start + int(np.argmax(y[start:end])) < end - 1
            hills += bool(curvature < 0 and inside and np.argmin(y[start:end]) in (0, end - start - 1))
    return judged > 0 and hills * 2 > judged
