"""The chart of the coordinate checks."""

from __future__ import annotations

import altair as alt
import polars as pl

from hptransfer.report.charts.parts import NARROW, Chart, Legend, as_float, inline, layers, only, tip


def coordinate_checks(frame: pl.DataFrame) -> Chart:
    """The slope of every role and step, of every arm, with its range over seeds. The band is the tolerance; steps
    that are not judged are faint."""
    titles = pl.format("{}, t = {}", "role", "step").alias("title")
    frame = frame.with_columns(titles)
    legend = Legend(frame, NARROW)
    rows = frame.filter(pl.col("slope").is_not_null()).select(
        "arm",
        "title",
        "slope",
        "slope_low",
        "slope_high",
        "outcome",
        "lr",
        pl.when(outcome="not judged").then(True).alias("aside"),
    )
    tolerance = as_float(frame["tolerance"].min())
    band = pl.DataFrame({"band_low": [-tolerance], "band_high": [tolerance]})
    order = frame["title"].unique(maintain_order=True).to_list()
    values = pl.concat([rows[name] for name in ("slope", "slope_low", "slope_high")]).drop_nulls()
    low = min(1.15 * as_float(values.min()), -1.6 * tolerance)
    high = max(1.15 * as_float(values.max()), 1.6 * tolerance)
    x = alt.X(
        "slope:Q",
        title="log-log slope against width",
        scale=alt.Scale(domain=[low, high], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    y = alt.Y("title:N", title=None, sort=order, axis=alt.Axis(grid=False, labelLimit=140))
    offset = alt.YOffset("arm:N", sort=legend.names)
    tooltip = [
        legend.tooltip,
        alt.Tooltip("title:N", title="role and step"),
        tip("slope", "slope", "+.3f"),
        tip("slope_low", "of single seeds, from", "+.3f"),
        tip("slope_high", "to", "+.3f"),
        alt.Tooltip("outcome:N"),
        tip("lr", "learning rate"),
    ]
    strength = alt.when("datum.aside").then(alt.value(0.3)).otherwise(alt.value(1))
    pick = legend.pick
    return layers(
        inline(rows, band),
        only("isValid(datum.band_low)").mark_rect(style="band").encode(alt.X("band_low:Q"), alt.X2("band_high:Q")),
        only("isValid(datum.band_low)").mark_rule(style="reference").encode(x=alt.datum(0)),
        only("isValid(datum.slope)", pick)
        .mark_rule(strokeWidth=1.5)
        .encode(alt.X("slope_low:Q"), alt.X2("slope_high:Q"), y, offset, legend.colour, opacity=strength),
        only("isValid(datum.slope)", pick)
        .mark_point(size=60, filled=True)
        .encode(x, y, offset, legend.colour, legend.shape, opacity=strength, tooltip=tooltip)
        .add_params(pick),
        height=len(order) * (11 * len(legend.names) + 9) + 10,
    )
