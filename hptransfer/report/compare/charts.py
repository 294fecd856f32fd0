"""The charts of a comparison: the first experiment in its recipe's colour with circles and whole lines, the second greyed
with squares and dashes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import altair as alt
import polars as pl

from hptransfer.report.charts.parts import (
    LOSS,
    Chart,
    as_float,
    columns,
    inline,
    interval_tips,
    layers,
    log_axis,
    log_scale,
    log_x,
    only,
    span,
    tip,
    width_x,
)
from hptransfer.report.palette import shades
from hptransfer.report.text import AXES

SHAPES, DASHES = ["circle", "square"], [[1, 0], [5, 3]]
BESIDE = 1.03  # two optima at one width are drawn this far to both sides of it


class Both:
    """How the two experiments are told apart, and the choice between them that the legend offers."""

    def __init__(self, names: Sequence[str], hue: str | None = None) -> None:
        self.names = list(names)
        legend = alt.Legend(title=None, columns=columns(names))
        self.shape = alt.Shape("experiment:N", scale=alt.Scale(domain=self.names, range=SHAPES), legend=legend)
        self.dash = alt.StrokeDash("experiment:N", scale=alt.Scale(domain=self.names, range=DASHES), legend=legend)
        tones = shades(hue, 2)[::-1] if hue else []
        self.colour = alt.Color("experiment:N", scale=alt.Scale(domain=self.names, range=tones), legend=legend)
        self.pick = alt.selection_point(name="experiments", fields=["experiment"], bind="legend")
        self.offset = alt.YOffset("experiment:N", sort=self.names)


def optimum_against_width(frame: pl.DataFrame, names: Sequence[str]) -> Chart:
    """The LR optima of one arm at every width in both experiments, the lines used and the predictions."""
    both = Both(names, frame["colour"][0])
    known = pl.col("kind") != "fit"
    widths = sorted(frame.filter(known)["width"].unique())
    beside = pl.when(experiment=names[0]).then(1 / BESIDE).otherwise(BESIDE)
    rows = frame.with_columns(drawn=pl.when(known).then(pl.col("width") * beside).otherwise(pl.col("width")))
    low, high = span(pl.concat([frame[name] for name in ("lr", "low", "high")]).drop_nulls(), least=2.0)
    x = width_x("drawn", widths)
    y = alt.Y("lr:Q", title="best learning rate (base coordinates)", scale=log_scale(low, high), axis=log_axis(low, high))
    tooltip = [
        alt.Tooltip("experiment:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("width:Q", format="d"),
        tip("lr", "learning rate"),
        *interval_tips(),
    ]
    size = alt.Size("kind:O", scale=alt.Scale(domain=["optimum", "prediction"], range=[70, 190]), legend=alt.Legend(title=None))
    rule = only("datum.kind != 'fit' && isValid(datum.low) && isValid(datum.high)", both.pick).mark_rule(strokeWidth=2)
    return layers(
        inline(rows.select("experiment", "kind", "width", "drawn", "lr", "low", "high")),
        only("datum.kind == 'fit'", both.pick).mark_line(strokeWidth=2).encode(x, y, both.colour, both.dash, tooltip=tooltip),
        rule.encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), both.colour, tooltip=tooltip),
        only("datum.kind != 'fit'", both.pick)
        .mark_point(filled=True, opacity=1)
        .encode(x, y, both.colour, both.shape, size, tooltip=tooltip)
        .add_params(both.pick),
        height=300,
    )


def predictions(frame: pl.DataFrame, names: Sequence[str], title: str) -> Chart:
    """One predicted quantity of every arm in both experiments, with 80 % intervals."""
    values = pl.concat([frame[name] for name in ("value", "low", "high")])
    tooltip = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("experiment:N"),
        tip("value", title),
        *interval_tips(),
    ]
    return _beside(frame, names, log_x("value", values, title), tooltip)


def held_out(frame: pl.DataFrame, names: Sequence[str]) -> Chart:
    """The losses of the predicted runs at the held-out width, with one standard error to both sides."""
    frame = frame.with_columns(
        value=pl.col("loss"),
        low=pl.col("loss") - pl.col("standard_error"),
        high=pl.col("loss") + pl.col("standard_error"),
    )
    low, high = as_float(frame["low"].min()), as_float(frame["high"].max())
    margin = max(0.08 * (high - low), 0.002 * high)
    x = alt.X(
        "value:Q", title=LOSS, scale=alt.Scale(domain=[low - margin, high + margin], nice=False), axis=alt.Axis(tickCount=6)
    )
    tooltip = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("experiment:N"),
        alt.Tooltip("width:Q", format="d"),
        alt.Tooltip("tokens:Q", format=","),
        tip("loss", "loss", ".4f"),
        tip("standard_error", "standard error", ".2~g"),
        alt.Tooltip("seeds:Q", format="d"),
    ]
    return _beside(frame, names, x, tooltip)


def multipliers(frame: pl.DataFrame, names: Sequence[str], hue: str) -> Chart:
    """The compute multipliers of one arm over the baseline in both experiments; a triangle where only a bound is known."""
    both = Both(names, hue)
    rows = frame.with_columns(pl.col("axis").replace_strict(AXES), bound=pl.col("bound").fill_null("bracketed"))
    values = pl.concat([rows[name] for name in ("value", "low", "high")]).drop_nulls()
    low, high = min(0.9, as_float(values.min()) / 1.1), max(1.15, as_float(values.max()) * 1.1)
    axis = log_axis(low, high)
    axis.labelExpr = "datum.label + 'x'"
    x = alt.X("value:Q", title="compute multiplier over the baseline", scale=log_scale(low, high), axis=axis)
    order = [name for name in AXES.values() if name in set(rows["axis"])]
    y = alt.Y("axis:N", title=None, sort=order, axis=alt.Axis(grid=False, labelLimit=130))
    tooltip = [
        alt.Tooltip("experiment:N"),
        alt.Tooltip("axis:N"),
        tip("value", "multiplier", ".2f"),
        *interval_tips(".2f"),
        alt.Tooltip("bound:N", title="bracketed?"),
    ]
    shapes = {"bracketed": "circle", ">": "triangle-right", "<": "triangle-left"}
    shape = alt.Shape("bound:N", scale=alt.Scale(domain=list(shapes), range=list(shapes.values())), legend=None)
    one = alt.Chart(alt.InlineData(values=[{"value": 1}])).mark_rule(style="reference").encode(alt.X("value:Q"))
    rule = only("isValid(datum.low) && isValid(datum.high)", both.pick).mark_rule(strokeWidth=2.5)
    return layers(
        inline(rows.select("experiment", "axis", "bound", "value", "low", "high")),
        one,
        rule.encode(alt.X("low:Q"), alt.X2("high:Q"), y, both.offset, both.colour, tooltip=tooltip),
        only("true", both.pick)
        .mark_point(size=95, filled=True, opacity=1)
        .encode(x, y, both.offset, shape, both.colour, tooltip=tooltip)
        .add_params(both.pick),
        height=max(150, 52 * len(order) + 30),
    )


def _beside(frame: pl.DataFrame, names: Sequence[str], x: alt.X, tooltip: list[alt.Tooltip]) -> Chart:
    """A row per ``arm``, the experiments below each other in it: ``value`` with ``low`` and ``high``, in its
    ``colour``."""
    both = Both(names)
    arms = dict(frame.select("arm", "colour").unique(maintain_order=True).iter_rows())
    rows = frame.with_columns(key=pl.concat_str("arm", "experiment", separator=" of "))
    keys = [f"{row} of {name}" for row, name in product(arms, names)]
    tones = [tone for hue in arms.values() for tone in shades(hue, 2)[::-1]]
    hue = alt.Color("key:N", scale=alt.Scale(domain=keys, range=tones), legend=None)
    y = alt.Y("arm:N", title=None, sort=list(arms), axis=alt.Axis(grid=False, labelLimit=160))
    (low := x.copy(deep=False))["shorthand"] = "low:Q"
    ends = only("isValid(datum.low) && isValid(datum.high)", both.pick).mark_rule(strokeWidth=2.5)
    return layers(
        inline(rows),
        ends.encode(low, alt.X2("high:Q"), y, both.offset, hue, tooltip=tooltip),
        only("true", both.pick)
        .mark_point(size=95, filled=True, opacity=1)
        .encode(x, y, both.offset, hue, both.shape, tooltip=tooltip)
        .add_params(both.pick),
        height=max(150, 52 * len(arms) + 30),
    )
