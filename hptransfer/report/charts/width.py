"""The chart of the optimum against width."""

from __future__ import annotations

import altair as alt
import polars as pl

from hptransfer.report.charts.parts import Chart, inline, interval_tips, layers, log_axis, log_scale, only, span, tip, width_x


def optimum_against_width(frame: pl.DataFrame) -> Chart:
    """The LR optimum of one arm at every width, the line that was used with its band, theory's line and the prediction."""
    hue = frame["colour"][0]
    widths = sorted(frame.filter(pl.col("kind").is_in(["optimum", "prediction"]))["width"].unique())
    values = pl.concat([frame[name] for name in ("lr", "low", "high")]).drop_nulls()
    x = width_x("width", widths)
    low, high = span(values, least=2.0)
    y = alt.Y("lr:Q", title="best learning rate (base coordinates)", scale=log_scale(low, high), axis=log_axis(low, high))
    tooltip = [
        alt.Tooltip("kind:N"),
        alt.Tooltip("width:Q", format="d"),
        tip("lr", "learning rate"),
        *interval_tips(),
    ]
    pick = alt.selection_point(name="kinds", fields=["kind"], bind="legend")
    dashes = alt.Scale(domain=["fit", "theory"], range=[[1, 0], [5, 4]])
    shapes = alt.Scale(domain=["optimum", "prediction"], range=["circle", "diamond"])
    dash = alt.StrokeDash("kind:N", scale=dashes, legend=alt.Legend(title=None, columns=4))
    shape = alt.Shape("kind:N", scale=shapes, legend=alt.Legend(title=None, columns=4))
    lines, points = "datum.kind == 'fit' || datum.kind == 'theory'", "datum.kind == 'optimum' || datum.kind == 'prediction'"
    # An end that is not bounded is drawn to the edge of the frame.
    ends = [pl.when(kind="fit").then(None).otherwise(pl.col(end).fill_null(edge)) for end, edge in (("low", low), ("high", high))]
    rows = frame.select("kind", "width", "lr", "low", "high", ends[0].alias("drawn_low"), ends[1].alias("drawn_high"))
    return layers(
        inline(rows),
        only("datum.kind == 'fit' && isValid(datum.low) && isValid(datum.high)", pick)
        .mark_area(color=hue, opacity=0.16)
        .encode(x, alt.Y("low:Q"), alt.Y2("high:Q")),
        only(lines, pick).mark_line(color=hue, strokeWidth=2).encode(x, y, dash, tooltip=tooltip),
        only(points, pick)
        .mark_rule(color=hue, strokeWidth=2)
        .encode(x, alt.Y("drawn_low:Q"), alt.Y2("drawn_high:Q"), tooltip=tooltip),
        only(points, pick)
        .mark_point(color=hue, filled=True, opacity=1, size=110)
        .encode(x, y, shape, tooltip=tooltip)
        .add_params(pick),
        height=300,
    )
