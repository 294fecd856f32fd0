"""What the charts share: the theme, their data, axes, legends and tooltips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from hptransfer.report.palette import dash, places, shape
from hptransfer.report.text import DASH

Chart = alt.LayerChart | alt.FacetChart  # as Altair types what alt.layer returns
DIAMOND: dict[str, Any] = {"shape": "diamond", "filled": True, "opacity": 1, "style": "outlined"}
CROSS: dict[str, Any] = {"shape": "M-1,-1L1,1M-1,1L1,-1", "filled": False, "size": 50, "opacity": 1, "strokeWidth": 2}
LOSS = "validation loss (nats per token)"
PHONE = 300  # pixels of a chart at 390
NARROW = 170  # where names stand at its y axis
DIGITS = 5  # of numbers in a chart; the tables beside it have all of them


def theme(ink: str, background: str | None, font: str) -> dict[str, Any]:
    """A Vega-Lite configuration. On the page ``ink`` is ``currentColor``, so that charts follow light, dark and print."""
    text = {"labelColor": ink, "titleColor": ink, "labelFont": font, "titleFont": font, "labelFontSize": 12, "titleFontSize": 12}
    quiet = {"domain": False, "ticks": False, "grid": True, "gridColor": ink, "gridOpacity": 0.13}
    return {
        "background": background,
        "view": {"stroke": None},
        "axis": text | quiet | {"labelPadding": 7, "titlePadding": 10, "titleFontWeight": "normal", "labelOpacity": 0.8},
        "legend": text | {"orient": "top", "titleFontWeight": "normal", "symbolStrokeWidth": 2, "symbolOpacity": 1},
        "title": {"color": ink, "font": font, "fontSize": 14, "fontWeight": 600, "anchor": "start", "offset": 12},
        # Of the styles below: their own colour would not win over Vega-Lite's default.
        "rect": {"color": ink},
        "rule": {"color": ink},
        "text": {"color": ink, "font": font, "fontSize": 12},
        "style": {
            "outlined": {"stroke": ink, "strokeWidth": 1.5},
            "reference": {"stroke": ink, "strokeDash": [2, 3], "opacity": 0.6},
            "band": {"opacity": 0.08},
            "remark": {"fill": ink, "font": font, "fontSize": 11, "fillOpacity": 0.75},
        },
    }


def inline(*frames: pl.DataFrame) -> alt.InlineData:
    """The one data set of a chart: the frames below each other, without nulls, and rounded to `DIGITS` significant digits."""
    rows = pl.concat(frames, how="diagonal_relaxed").with_columns(pl.col(pl.Float64).round_sig_figs(DIGITS)).to_dicts()
    data = alt.InlineData(values=[])
    # Set afterwards: Altair would look at every value of every row.
    data["values"] = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return data


def layers(data: alt.InlineData, *parts: alt.Chart, height: int) -> Chart:
    """The layers of a chart on one data set, from the lowest up, as wide as their container."""
    return alt.layer(*parts, data=data, width="container", height=height)


def only(condition: str, pick: alt.Parameter | None = None) -> alt.Chart:
    """The rows of the chart's data of which ``condition``, a Vega expression on ``datum``, is true, as picked in its legend."""
    chart = alt.Chart().transform_filter(condition)
    return chart.transform_filter(pick) if pick is not None else chart


class Legend:
    """Colour, mark and line of every arm of a frame, and the choice among them that its legend offers."""

    def __init__(self, frame: pl.DataFrame, room: int = PHONE) -> None:
        """``room``: pixels beside the labels of the y axis on a phone."""
        arms = frame.unique("arm", keep="first", maintain_order=True)
        self.names = arms["arm"].to_list()
        marks = places(arms.select("optimizer", "parametrization").iter_rows())
        legend = alt.Legend(title=None, columns=columns(self.names, room))
        hues, shapes, dashes = arms["colour"], map(shape, marks), map(dash, marks)
        self.colour = alt.Color("arm:N", scale=alt.Scale(domain=self.names, range=list(hues)), legend=legend)
        self.shape = alt.Shape("arm:N", scale=alt.Scale(domain=self.names, range=list(shapes)), legend=legend)
        self.dash = alt.StrokeDash("arm:N", scale=alt.Scale(domain=self.names, range=list(dashes)), legend=legend)
        self.pick = alt.selection_point(name="arms", fields=["arm"], bind="legend")
        self.tooltip = alt.Tooltip("arm:N", title="arm")

    def dodge(self, gap: float) -> tuple[float, dict[str, float]]:
        """How far (ln) each arm is moved aside at the same place of a log axis, and the distance between two neighbours:
        ``gap``, or less where they are many."""
        gap = min(gap, 0.2 / len(self.names))
        return gap, {name: gap * (i - (len(self.names) - 1) / 2) for i, name in enumerate(self.names)}


def in_words(spec: dict[str, Any]) -> dict[str, Any]:
    """The specification of a chart from `layers` whose tooltips have a dash for a number that a row lacks, where Vega-Lite would
    write NaN."""
    described = []
    for layer in spec["layer"]:
        tooltips = layer["encoding"].get("tooltip", [])
        words = {tip["field"]: tip["format"] for tip in tooltips if "format" in tip}
        steps = [
            {"calculate": f"isValid(datum.{field}) ? format(datum.{field}, '{form}') : '{DASH}'", "as": f"{field}_in_words"}
            for field, form in words.items()
        ]
        tooltips = [
            {"field": f"{tip['field']}_in_words", "title": tip.get("title", tip["field"]), "type": "nominal"}
            if "format" in tip
            else tip
            for tip in tooltips
        ]
        if steps:
            layer = layer | {"encoding": layer["encoding"] | {"tooltip": tooltips}, "transform": [*layer["transform"], *steps]}
        described.append(layer)
    return spec | {"layer": described}


def columns(names: Sequence[object], room: int = PHONE) -> int:
    """How many legend entries stand beside each other on a phone."""
    longest = max((len(str(name)) for name in names), default=1)
    return max(1, min(len(names), room // (7 * longest + 24)))


def tip(field: str, title: str, format: str = ".3~g") -> alt.Tooltip:
    """A number of a tooltip."""
    return alt.Tooltip(f"{field}:Q", title=title, format=format)


def interval_tips(format: str = ".3~g") -> list[alt.Tooltip]:
    """The ends of an 80 % interval in the columns ``low`` and ``high``."""
    return [tip("low", "80 % from", format), tip("high", "to", format)]


def as_float(value: Any) -> float:
    """A value of a polars series, whose type polars leaves open."""
    return float(value)


def span(values: pl.Series, least: float) -> tuple[float, float]:
    """A range around positive values with a margin, at least a factor ``least`` to each side of their middle."""
    low, high = as_float(values.min()), as_float(values.max())
    middle = math.sqrt(low * high)
    return min(low / 1.12, middle / least), max(high * 1.12, middle * least)


def log_scale(low: float, high: float) -> alt.Scale:
    """A log scale with these very ends."""
    return alt.Scale(type="log", domain=[low, high], nice=False)


def log_axis(low: float, high: float) -> alt.Axis:
    """Plain round numbers, as many as fit."""
    return alt.Axis(values=log_ticks(low, high), format="~g", labelOverlap="greedy", labelSeparation=8)


def width_x(field: str, widths: Sequence[int]) -> alt.X:
    """A log axis of model widths with a tick at each of ``widths``, ascending."""
    scale = log_scale(widths[0] / 1.15, widths[-1] * 1.15)
    axis = alt.Axis(values=widths, format="d", labelOverlap="greedy")
    return alt.X(f"{field}:Q", title="width (log scale)", scale=scale, axis=axis)


def log_x(field: str, values: pl.Series, title: str) -> alt.X:
    """A log axis around ``values``."""
    low, high = span(values.drop_nulls(), least=1.2)
    return alt.X(f"{field}:Q", title=title, scale=log_scale(low, high), axis=log_axis(low, high))


def log_ticks(low: float, high: float) -> Sequence[float]:
    """Round numbers on a log axis, which read as 0.001, 0.003, 0.01; equal steps where it spans little."""
    decades = math.log10(high / low)
    if decades < 0.4:
        rough = 10 ** math.floor(math.log10((high - low) / 4))
        step = min((rough * step for step in (1, 2, 5, 10) if (high - low) / (rough * step) <= 6), default=10 * rough)
        return [float(f"{i * step:.6g}") for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    steps = (1, 1.5, 2, 3, 4, 6, 8) if decades < 0.8 else (1, 2, 5) if decades < 1.7 else (1, 3) if decades < 4 else (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for e in exponents for step in steps if low <= (tick := float(f"{step}e{e}")) <= high]


def at_side(value: float, low: float, high: float) -> dict[str, Any]:
    """Where text beside a vertical rule at ``value`` of a log axis has room."""
    is_right = math.log(value / low) > 0.5 * math.log(high / low)
    return {"align": "right", "dx": -6} if is_right else {"align": "left", "dx": 6}
