"""What a law shows of itself, as every page has its charts."""

from __future__ import annotations

from typing import Any

import polars as pl

from hptransfer.experiment.arm import colour_of_place
from hptransfer.laws.plot import Along, Plot
from hptransfer.report.charts import Axis, Series, draw, linear_axis, log_axis
from hptransfer.report.document import Figure
from hptransfer.report.figures import known_of
from hptransfer.report.palette import shades

OFTEN = 1e5  # from which a number on an axis has a unit, or an exponent
UNIT = "replace(format(datum.value, '.3~s'), 'G', 'B')"
EXPONENT = "replace(format(datum.value, '.1~e'), '+', '')"
MARGIN = 0.04  # beyond the outermost marks, of the length of an axis


def figure_of(plot: Plot) -> Figure:
    """The chart of a plot, whose frame it is drawn from."""
    frame, x, y = plot.frame, plot.x, plot.y
    titled = {"series": ("of", ""), x.column: (x.title, ".4~g"), y.column: (y.title, ".4~g")} | dict(plot.tips)
    aside = pl.col("look") == "basin"
    along = [*known_of(frame, x.column), *_ends(frame.filter(aside))]
    up = [*known_of(frame, y.column), *_ends(frame.filter(~aside))]
    ends = {name: (words, ".4~g") for name, words in (("low", "80 % from"), ("high", "to")) if name in frame.columns}
    chart = draw(frame, _axis(x, along), _axis(y, up), _series(frame), " ".join([*titled, *ends]), titled | ends, height=320)
    return Figure(plot.name, plot.title, plot.note, chart)


def _ends(frame: pl.DataFrame) -> list[float]:
    return [value for name in ("low", "high") if name in frame.columns for value in known_of(frame, name)]


def _axis(along: Along, values: list[float]) -> Axis:
    """With plain numbers, or millions and billions; FLOPs with exponents."""
    low, high = min(values), max(values)
    labels: dict[str, Any] = {}
    if high >= OFTEN:
        labels["labelExpr"] = EXPONENT if "FLOPs" in along.title else UNIT
    if along.is_log:
        return log_axis(along.column, along.title, values, least=1.0, margin=max(1.02, (high / low) ** MARGIN), **labels)
    margin = MARGIN * (high - low) or 1.0
    return linear_axis(along.column, along.title, low - margin, high + margin, **labels)


def _series(frame: pl.DataFrame) -> Series:
    """A hue and a mark for each family, in shades where it has several series."""
    family = "family" if "family" in frame.columns else "series"
    named = frame.filter(pl.col("series").is_not_null()).unique("series", keep="first", maintain_order=True)
    families = named[family].unique(maintain_order=True).to_list()
    names, hues, marks = [], [], []
    for place, one in enumerate(families):
        own = named.filter(pl.col(family) == one)["series"].to_list()
        names += own
        hues += shades(colour_of_place(place), len(own))
        marks += [place] * len(own)
    return Series(tuple(names), tuple(hues), tuple(marks) if len(families) > 1 else (), field="series")
