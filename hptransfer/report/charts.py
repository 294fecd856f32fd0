"""One function per chart: a frame of ``frames`` in, an Altair chart out, whose width is that of its container."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from hptransfer.report.results import label
from hptransfer.report.text import AXES

Chart = alt.LayerChart | alt.FacetChart  # as Altair types what alt.layer returns
DIAMOND: dict[str, Any] = {"shape": "diamond", "filled": True, "opacity": 1, "style": "minimum"}

# Okabe and Ito's palette, which colour-blind readers can tell apart; fixed, so that a recipe looks the same everywhere.
COLOURS = {"adamw": "#0072B2", "muon": "#D55E00", "shampoo": "#009E73", "soap": "#CC79A7"}
OTHER_COLOURS = ("#E69F00", "#56B4E9", "#7F7F7F")
GREY = (150, 150, 150)

LOSS = "validation loss (nats per token)"


def colour(optimizer: str) -> str:
    """The one colour of an optimizer."""
    return COLOURS.get(optimizer) or OTHER_COLOURS[sum(map(ord, optimizer)) % len(OTHER_COLOURS)]


def theme(ink: str, background: str | None, font: str) -> dict[str, Any]:
    """A Vega-Lite configuration. On the page ``ink`` is ``currentColor``, so that charts follow light, dark and print."""
    text = {"labelColor": ink, "titleColor": ink, "labelFont": font, "titleFont": font, "labelFontSize": 12, "titleFontSize": 12}
    quiet = {"domain": False, "ticks": False, "grid": True, "gridColor": ink, "gridOpacity": 0.13}
    return {
        "background": background,
        "view": {"stroke": None},
        "axis": text | quiet | {"labelPadding": 7, "titlePadding": 10, "titleFontWeight": "normal", "labelOpacity": 0.8},
        "legend": text | {"orient": "top", "titleFontWeight": "normal", "symbolStrokeWidth": 2, "symbolOpacity": 1, "columns": 4},
        "title": {"color": ink, "font": font, "fontSize": 14, "fontWeight": 600, "anchor": "start", "offset": 12},
        "text": {"color": ink, "font": font, "fontSize": 12},
        "style": {
            "minimum": {"stroke": ink, "strokeWidth": 1.5},
            "reference": {"stroke": ink, "strokeDash": [2, 3], "opacity": 0.6},
        },
    }


def lr_curves(curves: pl.DataFrame, fit: pl.DataFrame) -> Chart:
    """Loss against LR at every searched width of one series: runs, fitted bowls, minima, and diverged runs at the top."""
    widths = sorted(curves["width"].unique())
    hue = colour(curves["optimizer"][0])
    minima = curves.filter("is_minimum")["loss"]
    lowest, highest = (_float(minima.min()), _float(minima.max())) if len(minima) else (0.0, 1.0)
    top = highest + max(0.9 * (highest - lowest), 0.06 * highest)
    x = _log_x("lr", curves["lr"], "learning rate (base coordinates)")
    y = alt.Y("loss:Q", title=LOSS, scale=alt.Scale(domain=[lowest - 0.06 * (top - lowest), top], nice=False, clamp=True))
    shade = alt.Color(
        "width:O",
        scale=alt.Scale(domain=widths, range=_shades(hue, len(widths))),
        legend=alt.Legend(title="width", symbolType="circle"),
    )
    pick = alt.selection_point(name="widths", fields=["width"], bind="legend")
    tooltip = [
        alt.Tooltip("width:O"),
        alt.Tooltip("lr:Q", title="learning rate", format=".3~g"),
        alt.Tooltip("weight_decay:Q", title="weight decay", format=".3~g"),
        alt.Tooltip("embedding_lr_ratio:Q", title="embedding LR ratio", format=".3~g"),
        alt.Tooltip("loss:Q", format=".4f"),
        alt.Tooltip("state:N"),
        alt.Tooltip("seed:O"),
    ]
    complete = curves.filter(pl.col("state") == "complete")
    runs = _chart(complete).mark_circle(size=42, opacity=0.75).encode(x, y, shade, tooltip=tooltip)
    lines = _chart(fit.filter(pl.col("loss") <= top)).mark_line(strokeWidth=2).encode(x, y, shade)
    lowest_runs = _chart(complete.filter("is_minimum")).mark_point(size=130, **DIAMOND)
    diverged = _chart(curves.filter(pl.col("state") == "diverged")).mark_point(shape="cross", angle=45, size=60, filled=True)
    return alt.layer(
        lines.transform_filter(pick),
        runs.add_params(pick).transform_filter(pick),
        lowest_runs.encode(x, y, shade, tooltip=tooltip).transform_filter(pick),
        diverged.encode(x, shade, y=alt.value(6), tooltip=tooltip).transform_filter(pick),
    ).properties(width="container", height=300)


def optimum_against_width(frame: pl.DataFrame) -> Chart:
    """The LR optimum of one series at every width, the line that was used, theory's line and the prediction."""
    hue = colour(frame["optimizer"][0])
    widths = sorted(frame["width"].unique())
    values = pl.concat([frame[name] for name in ("lr", "low", "high")]).drop_nulls()
    x = alt.X(
        "width:Q",
        title="width",
        scale=alt.Scale(type="log", domain=[widths[0] / 1.15, widths[-1] * 1.15], nice=False),
        axis=alt.Axis(values=widths, format="d"),
    )
    low, high = _span(values, least=2.0)
    y = alt.Y("lr:Q", title="best learning rate (base coordinates)", scale=_log(low, high), axis=_log_axis(low, high))
    tooltip = [
        alt.Tooltip("kind:N"),
        alt.Tooltip("width:O"),
        alt.Tooltip("lr:Q", title="learning rate", format=".3~g"),
        alt.Tooltip("low:Q", title="80 % from", format=".3~g"),
        alt.Tooltip("high:Q", title="to", format=".3~g"),
    ]
    pick = alt.selection_point(name="kinds", fields=["kind"], bind="legend")
    is_line = pl.col("kind").is_in(["fit", "theory"])
    dashes = alt.Scale(domain=["fit", "theory"], range=[[1, 0], [5, 4]])
    shapes = alt.Scale(domain=["optimum", "prediction"], range=["circle", "diamond"])
    dash = alt.StrokeDash("kind:N", scale=dashes, legend=alt.Legend(title=None))
    shape = alt.Shape("kind:N", scale=shapes, legend=alt.Legend(title=None))
    lines = _chart(frame.filter(is_line)).mark_line(color=hue, strokeWidth=2).encode(x, y, dash)
    points = _chart(frame.filter(~is_line)).transform_filter(pick)
    return alt.layer(
        lines.transform_filter(pick),
        points.mark_rule(color=hue, strokeWidth=2).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), tooltip=tooltip),
        points.mark_point(color=hue, filled=True, opacity=1, size=110).encode(x, y, shape, tooltip=tooltip).add_params(pick),
    ).properties(width="container", height=300)


def training_curves(frame: pl.DataFrame, against: str) -> Chart:
    """Validation loss along training at the held-out width, ``against`` tokens or wall_seconds; dots are final losses."""
    frame = _with_series(frame)
    titles = {"tokens": "training tokens", "wall_seconds": "training wall time (seconds)"}
    final = frame.filter("is_final")["loss"]
    low = _float(frame["loss"].min())
    high = min(_float(frame["loss"].max()), 1.3 * (_float(final.max()) if len(final) else low))
    x = alt.X(f"{against}:Q", title=titles[against], axis=alt.Axis(format="~s", tickCount=6))
    y = alt.Y("loss:Q", title=LOSS, scale=alt.Scale(domain=[low - 0.03 * (high - low), high], nice=False))
    pick = alt.selection_point(name="optimizers", fields=["series"], bind="legend")
    tooltip = [
        alt.Tooltip("series:N", title="optimizer"),
        alt.Tooltip("purpose:N"),
        alt.Tooltip("seed:O"),
        alt.Tooltip("tokens:Q", format=","),
        alt.Tooltip("wall_seconds:Q", title="wall seconds", format=".3~g"),
        alt.Tooltip("loss:Q", format=".4f"),
    ]
    hue = _series_colour(frame)
    lines = _chart(frame).mark_line(strokeWidth=1.8, clip=True, opacity=0.8)
    dots = _chart(frame.filter("is_final")).mark_circle(size=55, opacity=1)
    return alt.layer(
        lines.encode(x, y, hue, alt.Detail("run_id:N"), tooltip=tooltip).add_params(pick).transform_filter(pick),
        dots.encode(x, y, hue, tooltip=tooltip).transform_filter(pick),
    ).properties(width="container", height=320)


def regret(frame: pl.DataFrame) -> Chart:
    """Regret of the prediction and of the probes around it, with one standard error."""
    frame = _with_series(frame.filter(pl.col("regret").is_not_null()))
    frame = frame.with_columns(
        pl.col("regret", "regret_low", "regret_high") * 100,
        pl.col("lr_factor").map_elements(lambda factor: f"{factor:.3g}x", return_dtype=pl.String).alias("factor"),
    ).sort("lr_factor", maintain_order=True)
    pick = alt.selection_point(name="optimizers", fields=["series"], bind="legend")
    order = frame["factor"].unique(maintain_order=True).to_list()
    x = alt.X("factor:N", title="learning rate relative to the prediction", sort=order, axis=alt.Axis(labelAngle=0, grid=False))
    offset = alt.XOffset("series:N", sort=_series_names(frame))
    y = alt.Y("regret:Q", title="loss above the best (%)")
    hue = _series_colour(frame)
    tooltip = [
        alt.Tooltip("series:N", title="optimizer"),
        alt.Tooltip("purpose:N"),
        alt.Tooltip("lr:Q", title="learning rate", format=".3~g"),
        alt.Tooltip("loss:Q", format=".4f"),
        alt.Tooltip("standard_error:Q", title="standard error", format=".2~g"),
        alt.Tooltip("regret:Q", title="regret, %", format=".2f"),
    ]
    base = _chart(frame).transform_filter(pick)
    is_predicted = alt.datum.purpose == "predicted"
    return alt.layer(
        base.mark_rule(strokeWidth=2.5).encode(x, offset, alt.Y("regret_low:Q"), alt.Y2("regret_high:Q"), hue),
        base.mark_circle(size=80, opacity=1).encode(x, offset, y, hue, tooltip=tooltip).add_params(pick),
        base.transform_filter(is_predicted).mark_point(size=170, **DIAMOND).encode(x, offset, y, hue, tooltip=tooltip),
    ).properties(width="container", height=300)


def multipliers(frame: pl.DataFrame) -> Chart:
    """Compute multipliers over AdamW per axis with intervals; an arrow where only a bound is known."""
    frame = _with_series(frame).with_columns(pl.col("axis").replace_strict(AXES), pl.col("bound").fill_null("bracketed"))
    names = [name for name in AXES.values() if name in set(frame["axis"])]
    values = pl.concat([frame[name] for name in ("value", "low", "high")]).drop_nulls()
    low, high = min(0.9, _float(values.min()) / 1.1), max(1.15, _float(values.max()) * 1.1)
    ticks = [tick for tick in (0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 16) if low <= tick <= high]
    x = alt.X(
        "value:Q",
        title="compute multiplier over AdamW",
        scale=_log(low, high),
        axis=alt.Axis(values=ticks, labelExpr="datum.label + 'x'", format="~g"),
    )
    y = alt.Y("axis:N", title=None, sort=names, axis=alt.Axis(grid=False, labelLimit=130))
    offset = alt.YOffset("series:N", sort=_series_names(frame))
    hue = _series_colour(frame)
    pick = alt.selection_point(name="optimizers", fields=["series"], bind="legend")
    shape = alt.Shape(
        "bound:N",
        scale=alt.Scale(domain=["bracketed", ">", "<"], range=["circle", "triangle-right", "triangle-left"]),
        legend=None,
    )
    tooltip = [
        alt.Tooltip("series:N", title="optimizer"),
        alt.Tooltip("axis:N"),
        alt.Tooltip("value:Q", title="multiplier", format=".2f"),
        alt.Tooltip("low:Q", title="80 % from", format=".2f"),
        alt.Tooltip("high:Q", title="to", format=".2f"),
        alt.Tooltip("bound:N", title="bracketed?"),
    ]
    base = _chart(frame).transform_filter(pick)
    one = alt.Chart(alt.InlineData(values=[{"value": 1}])).mark_rule(style="reference").encode(alt.X("value:Q"))
    return alt.layer(
        one,
        base.mark_rule(strokeWidth=2.5).encode(alt.X("low:Q"), alt.X2("high:Q"), y, offset, hue, tooltip=tooltip),
        base.mark_point(size=95, filled=True, opacity=1).encode(x, y, offset, shape, hue, tooltip=tooltip).add_params(pick),
    ).properties(width="container", height=max(150, 26 * frame.height + 30))


def _chart(frame: pl.DataFrame) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=frame.to_dicts()))


def _with_series(frame: pl.DataFrame) -> pl.DataFrame:
    names = [label(series) for series in frame.select("optimizer", "parametrization").iter_rows()]
    return frame.with_columns(pl.Series("series", names, dtype=pl.String))


def _series_names(frame: pl.DataFrame) -> list[str]:
    return frame["series"].unique(maintain_order=True).to_list()


def _series_colour(frame: pl.DataFrame) -> alt.Color:
    hues = [colour(frame.filter(pl.col("series") == name)["optimizer"][0]) for name in _series_names(frame)]
    scale = alt.Scale(domain=_series_names(frame), range=hues)
    return alt.Color("series:N", scale=scale, legend=alt.Legend(title=None, symbolType="circle"))


def _shades(hue: str, n: int) -> list[str]:
    """From a greyed tone for the narrowest width to the full colour for the widest."""
    full = [int(hue[i : i + 2], 16) for i in (1, 3, 5)]
    strengths = [0.2 + 0.8 * i / (n - 1) if n > 1 else 1.0 for i in range(n)]
    mixed = ([round(s * c + (1 - s) * g) for c, g in zip(full, GREY, strict=True)] for s in strengths)
    return ["#" + "".join(f"{value:02x}" for value in rgb) for rgb in mixed]


def _float(value: Any) -> float:
    return float(value)


def _span(values: pl.Series, least: float) -> tuple[float, float]:
    """A range around positive values with a margin, at least a factor ``least`` to each side of their middle."""
    low, high = _float(values.min()), _float(values.max())
    middle = math.sqrt(low * high)
    return min(low / 1.12, middle / least), max(high * 1.12, middle * least)


def _log(low: float, high: float) -> alt.Scale:
    return alt.Scale(type="log", domain=[low, high], nice=False)


def _log_axis(low: float, high: float) -> alt.Axis:
    return alt.Axis(values=log_ticks(low, high), format="~g", labelOverlap="greedy")


def _log_x(field: str, values: pl.Series, title: str) -> alt.X:
    low, high = _span(values, least=1.2)
    return alt.X(f"{field}:Q", title=title, scale=_log(low, high), axis=_log_axis(low, high))


def log_ticks(low: float, high: float) -> Sequence[float]:
    """Round numbers on a log axis, which read as 0.001, 0.003, 0.01."""
    decades = math.log10(high / low)
    steps = (1, 1.5, 2, 3, 4, 6, 8) if decades < 0.8 else (1, 2, 5) if decades < 1.7 else (1, 3) if decades < 4 else (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for e in exponents for step in steps if low <= (tick := float(f"{step}e{e}")) <= high]
