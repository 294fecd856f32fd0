"""Charts of compute: final losses against it, and the multiplier over the baseline."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from hptransfer.report.charts.parts import (
    DIAMOND,
    LOSS,
    NARROW,
    Chart,
    Legend,
    as_float,
    inline,
    interval_tips,
    layers,
    log_axis,
    log_scale,
    log_ticks,
    log_x,
    only,
    span,
    tip,
)
from hptransfer.report.text import AXES

UNITS = {"MFLOP": 1e6, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18, "ZFLOP": 1e21, "YFLOP": 1e24}
POINT_KINDS = {
    "search": "best run of a searched width",
    "predicted": "prediction, held-out width",
    "horizon": "the baseline's ladder",
    "chosen": "the baseline's ladder, its best probe with fresh seeds",
}
ROWS = {("flops", "law"): "FLOPs, power law", ("tokens", "within_run"): "tokens, within the run"}
METHODS = {"sizes": "between sizes", "law": "power law", "ladder": "ladder of horizons"}
DODGE = 0.08  # between arms at the same width, ln
ONE = pl.DataFrame({"one": [1.0]})
TIMES = "format(datum.value, '~g') + 'x'"


def loss_against_compute(frame: pl.DataFrame) -> Chart:
    """Final losses of every arm against training compute, the optimizer's own included where known; both axes logarithmic."""
    frame = frame.filter(pl.col("compute").is_not_null())
    most = as_float(frame["compute"].max())
    unit, size = next(((unit, size) for unit, size in reversed(UNITS.items()) if most >= size), ("FLOP", 1.0))
    kind = pl.col("kind")
    rungs = kind.is_in(["horizon", "chosen"])
    has_ladder = (kind == "horizon").any().over("arm") & ~(kind == "chosen").any().over("arm")
    rows = frame.sort("compute").select(
        "arm",
        kind.replace_strict(POINT_KINDS),
        "width",
        "tokens",
        "seeds",
        "loss",
        (pl.col("compute") / size).alias("compute"),
        (pl.col("flops_optimizer") / size).alias("own"),
        pl.when(~rungs).then(True).alias("sized"),
        pl.when(rungs | (kind == "predicted") & has_ladder).then(True).alias("rung"),
        pl.when(kind="predicted").then(True).alias("told"),
    )
    whose = " with the optimizer's" if frame["flops_optimizer"].is_not_null().any() else ""
    x = log_x("compute", rows["compute"], f"compute{whose} ({unit})")
    low, high = as_float(rows["loss"].min()), as_float(rows["loss"].max())
    low, high = low / 1.01 - 0.04 * (high - low), high * 1.01 + 0.04 * (high - low)
    y = alt.Y("loss:Q", title=LOSS, scale=log_scale(low, high), axis=log_axis(low, high))
    legend = Legend(frame)
    tooltip = [
        legend.tooltip,
        alt.Tooltip("kind:N", title="run"),
        alt.Tooltip("width:O"),
        tip("tokens", "tokens", ","),
        tip("compute", f"compute, {unit}"),
        tip("own", f"of it the optimizer's, {unit}"),
        tip("loss", "loss", ".4f"),
        alt.Tooltip("seeds:O"),
    ]
    pick = legend.pick
    points = only("!datum.told", pick).mark_point(size=70, filled=True, opacity=1)
    return layers(
        inline(rows),
        only("datum.sized", pick).mark_line(strokeWidth=1.5, opacity=0.6).encode(x, y, legend.colour),
        only("datum.rung", pick).mark_line(strokeWidth=1.5, opacity=0.6, strokeDash=[2, 3]).encode(x, y, legend.colour),
        points.encode(x, y, legend.colour, legend.shape, tooltip=tooltip).add_params(pick),
        only("datum.told", pick).mark_point(size=140, **DIAMOND).encode(x, y, legend.colour, tooltip=tooltip),
        height=320,
    )


def multipliers(frame: pl.DataFrame) -> Chart:
    """Compute multipliers over the baseline per axis with intervals; an arrow where only a bound is known."""
    names = [ROWS.get((axis, method), AXES[axis]) for axis, method in frame.select("axis", "method").iter_rows()]
    frame = frame.with_columns(pl.Series("row", names, dtype=pl.String))
    order = [name for name in (*AXES.values(), *ROWS.values()) if name in set(names)]
    rows = frame.select("arm", "row", "value", "low", "high", "p_value", pl.col("bound").fill_null("="))
    values = pl.concat([rows[name] for name in ("value", "low", "high")]).drop_nulls()
    low, high = min(0.9, as_float(values.min()) / 1.1), max(1.15, as_float(values.max()) * 1.1)
    axis = alt.Axis(values=_times(low, high), labelExpr=TIMES, labelOverlap="greedy", labelSeparation=8)
    x = alt.X("value:Q", title="multiplier over the baseline", scale=log_scale(low, high), axis=axis)
    y = alt.Y("row:N", title=None, sort=order, axis=alt.Axis(grid=False, labelLimit=140))
    legend = Legend(frame, NARROW)
    offset = alt.YOffset("arm:N", sort=legend.names)
    tooltip = [
        legend.tooltip,
        alt.Tooltip("row:N", title="on"),
        alt.Tooltip("bound:N", title="multiplier is"),
        tip("value", "value", ".2f"),
        *interval_tips(".2f"),
        tip("p_value", "probability of no speedup", ".2~g"),
    ]
    pick = legend.pick

    def bounds(bound: str, shape: str) -> alt.Chart:
        marks: alt.Chart = only(f"datum.bound == '{bound}'", pick).mark_point(shape=shape, size=95, filled=True, opacity=1)
        return marks.encode(x, y, offset, legend.colour, tooltip=tooltip)

    known = only("datum.bound == '='", pick)
    return layers(
        inline(rows, ONE),
        only("isValid(datum.one)").mark_rule(style="reference").encode(alt.X("one:Q")),
        known.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(strokeWidth=2.5)
        .encode(alt.X("low:Q"), alt.X2("high:Q"), y, offset, legend.colour, tooltip=tooltip),
        known.mark_point(size=95, filled=True, opacity=1)
        .encode(x, y, offset, legend.colour, legend.shape, tooltip=tooltip)
        .add_params(pick),
        bounds(">", "triangle-right"),
        bounds("<", "triangle-left"),
        height=len(order) * (15 * len(legend.names) + 11) + 10,
    )


def multiplier_over_scale(frame: pl.DataFrame) -> Chart:
    """The compute multiplier on FLOPs at every model width with intervals: between sizes (points and solid lines, hollow where
    it is extrapolated), by a power law (dashed) and from the ladder of horizons (diamonds). What is only a bound is a triangle
    that points to where the multiplier is, and no line goes through it."""
    legend = Legend(frame)
    gap, place = legend.dodge(DODGE)
    shift = pl.col("arm").replace_strict(place, return_dtype=pl.Float64)
    shift = shift + pl.when(method="ladder").then(gap / 2).otherwise(0.0)
    rows = frame.select(
        "arm",
        "method",
        pl.col("method").replace_strict(METHODS).alias("words"),
        "width",
        "value",
        "low",
        "high",
        "p_value",
        (pl.col("width") * pl.when(method="law").then(1.0).otherwise(shift.exp())).alias("x"),
        pl.when("extrapolated").then(True).alias("open"),
        "bound",
    )
    widths = sorted(frame["width"].unique())
    x = alt.X(
        "x:Q",
        title="width",
        scale=log_scale(widths[0] / 1.2, widths[-1] * 1.2),
        axis=alt.Axis(values=widths, format="d", labelOverlap="greedy"),
    )
    values = pl.concat([rows[name] for name in ("value", "low", "high")]).drop_nulls()
    low, high = span(values, least=1.1)
    low, high = min(low, 0.95), max(high, 1.05)
    axis = alt.Axis(values=log_ticks(low, high), labelExpr=TIMES, labelOverlap="greedy")
    y = alt.Y("value:Q", title="multiplier over the baseline, on FLOPs", scale=log_scale(low, high), axis=axis)
    tooltip = [
        legend.tooltip,
        alt.Tooltip("width:O"),
        alt.Tooltip("words:N", title="method"),
        tip("value", "multiplier", ".2f"),
        *interval_tips(".2f"),
        tip("p_value", "probability of no speedup", ".2~g"),
    ]
    pick, hue = legend.pick, legend.colour
    sizes, law, ladder = (only(f"datum.method == '{method}' && !datum.bound", pick) for method in METHODS)
    ends = only("datum.method != 'law' && isValid(datum.low) && isValid(datum.high)", pick)
    marks: dict[str, Any] = {"size": 80, "opacity": 1.0, "strokeWidth": 2}
    closed = sizes.transform_filter("!datum.open").mark_point(filled=True, **marks)
    hollow = sizes.transform_filter("datum.open").mark_point(filled=False, **marks)

    def bounds(bound: str, shape: str) -> alt.Chart:
        found: alt.Chart = only(f"datum.bound == '{bound}'", pick).mark_point(shape=shape, filled=True, size=80, opacity=1)
        return found.encode(x, y, hue, tooltip=tooltip)

    return layers(
        inline(rows, ONE),
        only("isValid(datum.one)").mark_rule(style="reference").encode(alt.Y("one:Q")),
        ends.mark_rule(strokeWidth=1.5, opacity=0.55).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), hue),
        sizes.mark_line(strokeWidth=1.5).encode(x, y, hue),
        law.mark_line(strokeWidth=1.5, strokeDash=[5, 4]).encode(x, y, hue),
        law.mark_point(size=16, filled=True, opacity=1).encode(x, y, hue, tooltip=tooltip),
        closed.encode(x, y, hue, legend.shape, tooltip=tooltip).add_params(pick),
        hollow.encode(x, y, hue, legend.shape, tooltip=tooltip),
        ladder.mark_point(size=110, **DIAMOND).encode(x, y, hue, tooltip=tooltip),
        bounds(">", "triangle-up"),
        bounds("<", "triangle-down"),
        height=300,
    )


def _times(low: float, high: float) -> list[float]:
    ticks = (0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 16)
    return [tick for tick in ticks if low <= tick <= high]
