"""What a law shows of itself: plain data, which a page draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from hptransfer.base.intervals import Array, ends_of_each

MEASURED = pl.when("held_out").then(pl.lit("hollow")).otherwise(pl.lit("point")).alias("look")  # of a run that was measured


@dataclass(frozen=True)
class Along:
    """An axis of a plot: a column of its frame, what that is in words, and whether its logarithm counts."""

    column: str
    title: str
    is_log: bool = True


@dataclass(frozen=True)
class Plot:
    """A figure of a law. ``name`` is its file's, ``note`` how to read it and what it says.

    ``frame``: a row for each mark, with the columns of both axes and

    - ``series``: to which entry of the legend it belongs; ``family``, where there is one: its series are shades of one hue, in
      their order;
    - ``look``: ``line``, ``dashed`` or ``area``; ``point``, ``hollow``, ``dot``, ``faint`` or ``diamond``; ``reference``, a line
      across at its y;
    - ``low`` and ``high``, where it has an 80 % interval, of its y; of its x the look ``basin`` has them, which is a bar;
    - ``line``, where a series has several.

    ``tips``: further columns that a mark tells who points at it, each with its title and the format of its numbers as d3 has
    them, "" for words.
    """

    name: str
    title: str
    x: Along
    y: Along
    frame: pl.DataFrame
    note: str = ""
    tips: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def band(x: Mapping[str, Array], name: str, y: Array, look: str = "line") -> pl.DataFrame:
    """The rows of a line through the fit's own values of ``name``, the first of ``y`` (1 + draws, n), and of the 80 % band of the
    draws, along the columns ``x`` (n,)."""
    low, high = ends_of_each(y)
    line = pl.DataFrame(dict(x) | {name: y[0]}).with_columns(look=pl.lit(look))
    area = line.with_columns(pl.lit("area").alias("look"), low=np.fmin(low, y[0]), high=np.fmax(high, y[0]))
    return pl.concat([area, line], how="diagonal")


def stacked(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The rows of several frames, whose columns may differ."""
    return pl.concat(parts, how="diagonal_relaxed")
