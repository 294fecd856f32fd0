"""One way to draw: rows that say where they are and how they look, on two axes, each series in its colour."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import vl_convert

from hptransfer.base.words import DASH
from hptransfer.report.palette import dash, places, shades, shape
from hptransfer.transfer.axes import cell_order

Chart = dict[str, Any]  # a Vega-Lite specification
Channels = dict[str, Any]  # x, y, colour and the like, as an encoding has them
VEGALITE_VERSION = "6.4"
FIGURE_WIDTH = 640
PHONE, NARROW = 300, 170  # pixels of a chart at 390, and where names stand at its y axis
DIGITS = 5  # of numbers in a chart; the tables beside it have all of them
FEW = 300  # rows: of more, the dots are small, and nobody wants them read out one by one
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
TIMES = "format(datum.value, '~g') + 'x'"


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


SVG_THEME = theme(ink="#222222", background="#ffffff", font="sans-serif")


def svg_of(spec: dict[str, Any]) -> str:
    """A specification as SVG. Nothing is fetched."""
    text = json.dumps(spec | {"width": FIGURE_WIDTH} if spec.get("width") == "container" else spec, ensure_ascii=False)
    if "\\u" in text or NOT_IN_XML.search(text):
        text = json.dumps(_drawable(json.loads(text)))
    return str(vl_convert.vegalite_to_svg(text, vl_version=VEGALITE_VERSION, config=SVG_THEME, allowed_base_urls=[]))


def _drawable(node: Any) -> Any:
    """Without the characters that XML does not have, one of which would end the process."""
    if isinstance(node, str):
        return NOT_IN_XML.sub(" ", node)
    if isinstance(node, dict):
        return {_drawable(name): _drawable(value) for name, value in node.items()}
    return [_drawable(value) for value in node] if isinstance(node, list) else node


# -- axes and series ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """The axis of a column, from ``low`` to ``high``, or with ``names`` on it, from the top down."""

    field: str
    title: str | None
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    names: tuple[str, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)  # of Vega-Lite's axis

    def channel(self, column: str = "") -> dict[str, Any]:
        """The encoding of its own column, or of another one along it."""
        found = {"field": column or self.field, "title": self.title}
        if self.names:
            return found | {"type": "nominal", "sort": list(self.names), "axis": {"grid": False, "labelLimit": 150}}
        scale = {"type": "log" if self.is_log else "linear", "domain": [self.low, self.high], "nice": False}
        return found | {"type": "quantitative", "scale": scale, "axis": self.options}


def log_axis(
    field: str,
    title: str,
    values: Iterable[float | None],
    *,
    least: float = 1.2,
    margin: float = 1.12,
    ticks: Sequence[float] = (),
    **options: Any,
) -> Axis:
    """A log axis around ``values``, at least a factor ``least`` to each side of their middle and ``margin`` beyond them, with
    plain round numbers, or a number at each of ``ticks``."""
    found = [value for value in values if value is not None]
    low, high = min(found), max(found)
    middle = math.sqrt(low * high)
    low, high = min(low / margin, middle / least), max(high * margin, middle * least)
    shown: dict[str, Any] = {"format": "~g", "labelOverlap": "greedy", "labelSeparation": 8}
    return Axis(field, title, low, high, True, options=shown | {"values": list(ticks) or log_ticks(low, high)} | options)


def linear_axis(field: str, title: str, low: float, high: float, **options: Any) -> Axis:
    """A linear axis with these very ends."""
    return Axis(field, title, low, high, options={"tickCount": 6} | options)


def name_axis(field: str, names: Iterable[str]) -> Axis:
    """Names, from the top down."""
    return Axis(field, None, names=tuple(names))


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers on a log axis, which read as 0.001, 0.003, 0.01; equal steps where it spans little."""
    decades = math.log10(high / low)
    if decades < 0.4:
        rough = 10 ** math.floor(math.log10((high - low) / 4))
        step = min((rough * step for step in (1, 2, 5, 10) if (high - low) / (rough * step) <= 6), default=10 * rough)
        return [float(f"{i * step:.6g}") for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    steps = (1, 1.5, 2, 3, 4, 6, 8) if decades < 0.8 else (1, 2, 5) if decades < 1.7 else (1, 3) if decades < 4 else (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for e in exponents for step in steps if low <= (tick := float(f"{step}e{e}")) <= high]


@dataclass(frozen=True)
class Series:
    """What colours tell apart, by a column: arms by their hue, mark and line, or cells by shades of one hue."""

    names: tuple[str, ...]
    hues: tuple[str, ...]
    marks: tuple[int, ...] = ()
    field: str = "arm"

    @classmethod
    def arms(cls, frame: pl.DataFrame) -> Series:
        """The arms of a frame, each in its own colour."""
        arms = frame.unique("arm", keep="first", maintain_order=True)
        marks = places(arms.select("optimizer", "parametrization").iter_rows())
        return cls(tuple(arms["arm"]), tuple(arms["colour"]), tuple(marks))

    @classmethod
    def cells(cls, runs: pl.DataFrame) -> Series:
        """The cells of an arm by size, the largest in its full colour."""
        names = sorted(runs["cell"].unique(), key=cell_order)
        return cls(tuple(names), tuple(shades(runs["colour"][0], len(names))), field="cell")

    def dodge(self, gap: float) -> pl.Expr:
        """The factor by which each series is moved aside at the same place of a log axis: ``gap`` (ln) apart, or less where they
        are many."""
        gap = min(gap, 0.2 / len(self.names))
        shifts = {name: math.exp(gap * (i - (len(self.names) - 1) / 2)) for i, name in enumerate(self.names)}
        return pl.col(self.field).replace_strict(shifts, return_dtype=pl.Float64)

    def channels(self, room: int) -> Channels:
        """Colour, and the marks and lines of arms; the legend has as many columns as ``room`` on a phone (pixels) allows."""
        longest = max(map(len, self.names), default=1)
        columns = max(1, min(len(self.names), room // (7 * longest + 24)))
        legend = {"title": None, "columns": columns} | ({} if self.marks else {"symbolType": "circle"})
        ranges: dict[str, list[Any]] = {"color": list(self.hues)}
        if self.marks:
            ranges |= {"shape": [*map(shape, self.marks)], "strokeDash": [*map(dash, self.marks)]}
        named = {"field": self.field, "type": "nominal", "legend": legend}
        return {name: named | {"scale": {"domain": list(self.names), "range": found}} for name, found in ranges.items()}


# -- how rows look -----------------------------------------------------------------------------------------------------

Mark = dict[str, Any]
DIAMOND: Mark = {"shape": "diamond", "filled": True, "opacity": 1, "style": "outlined"}
LINES: dict[str, Mark] = {
    "line": {"strokeWidth": 2},
    "curve": {"strokeWidth": 1.8, "opacity": 0.75},  # one of several of a series, in its own dashes
    "between": {"strokeWidth": 1.5, "opacity": 0.6},  # between points that nothing was fitted to
    "dashed": {"strokeWidth": 1.5, "strokeDash": [5, 4]},
    "dotted": {"strokeWidth": 1.5, "opacity": 0.6, "strokeDash": [2, 3]},
}
POINTS: dict[str, Mark] = {
    "dot": {"shape": "circle", "size": 42, "filled": True, "opacity": 0.8},
    "faint": {"shape": "circle", "size": 42, "filled": True, "opacity": 0.25},
    "point": {"size": 80, "filled": True, "opacity": 1},
    "aside": {"size": 80, "filled": True, "opacity": 0.3},
    "hollow": {"size": 80, "filled": False, "opacity": 1, "strokeWidth": 2},
    "tiny": {"size": 16, "filled": True, "opacity": 1},
    "right": {"shape": "triangle-right", "size": 95, "filled": True, "opacity": 1},
    "left": {"shape": "triangle-left", "size": 95, "filled": True, "opacity": 1},
    "up": {"shape": "triangle-up", "size": 80, "filled": True, "opacity": 1},
    "down": {"shape": "triangle-down", "size": 80, "filled": True, "opacity": 1},
    "diamond": {"size": 130, **DIAMOND},
}
AT_TOP: dict[str, tuple[int, Mark]] = {  # pixels from the top
    "above": (18, {"shape": "triangle-up", "size": 45, "filled": False, "strokeWidth": 1.5}),
    "diverged": (4, {"shape": "M-1,-1L1,1M-1,1L1,-1", "filled": False, "size": 50, "opacity": 1, "strokeWidth": 2}),
}
NOTHING: Mapping[str, Tip] = {}
OWN_SHAPE = ("point", "aside", "hollow")  # the mark of their series
Tip = tuple[str, str]  # title, and the format of a number: "" for words
TIPS: dict[str, Tip] = {
    **{
        name: (name, "")
        for name in ("arm", "kind", "cell", "run", "purpose", "seed", "seeds", "state", "outcome", "width", "experiment")
    },
    "lr": ("learning rate", ".3~g"),
    "weight_decay": ("weight decay", ".3~g"),
    "embedding_lr_ratio": ("embedding LR ratio", ".3~g"),
    "loss": ("loss", ".4f"),
    "standard_error": ("standard error", ".2~g"),
    "low": ("from", ".3~g"),
    "high": ("to", ".3~g"),
    "tokens": ("tokens", ","),
    "run_id": ("run", ""),
}


def draw(
    rows: pl.DataFrame, x: Axis, y: Axis, series: Series, tips: str, titled: Mapping[str, Tip] = NOTHING, *, height: int = 300
) -> Chart:
    """The Vega-Lite specification of rows on two axes: each has a ``look``, and ``low`` and ``high`` where it has an interval.

    Looks: one of `LINES`, `POINTS` or `AT_TOP`; ``area`` and ``bar``; ``basin``, an interval along x; and without a series
    ``band`` (from low to high) and ``reference`` (at the value) across the chart, and ``prediction``, which is both along x.
    Intervals run along y, or along x where y has names. A row's ``line`` says to which of the lines of its series it belongs.
    ``tips``: columns that a mark tells, of `TIPS` or ``titled``, as far as rows of its look have them.
    """
    named = {name: (TIPS | dict(titled))[name] for name in tips.split()}
    across, colours = bool(y.names), series.channels(NARROW if y.names else PHONE)
    hue, at_x, at_y = {"color": colours["color"]}, {"x": x.channel()}, {"y": y.channel()}
    if across:
        at_y["yOffset"] = {"field": series.field, "type": "nominal", "sort": list(series.names)}
        height = len(y.names) * (13 * len(series.names) + 10) + 10
    along_x = {"x": x.channel("low"), "x2": {"field": "high"}}
    # Of a row's value, of its interval, and beside what these stand.
    value, ends, beside = (at_x, along_x, at_y) if across else (at_y, {"y": y.channel("low"), "y2": {"field": "high"}}, at_x)
    has = rows.group_by("look").agg(pl.col(name).is_not_null().any() for name in named)
    told = {
        row["look"]: [
            {"field": f"{name}{'_' * bool(form)}", "type": "nominal", "title": title}
            for name, (title, form) in named.items()
            if row[name]
        ]
        for row in has.iter_rows(named=True)
    }
    layers: list[dict[str, Any]] = []

    def add(look: str, mark: str, options: Mark, channels: Channels, *, bounded: bool = False, apart: bool = False) -> None:
        """The rows that look so, as picked in the legend where they are of a series."""
        if look in told:
            filters: list[Any] = [f"datum.look === '{look}'{' && isValid(datum.low) && isValid(datum.high)' * bounded}"]
            filters += [] if apart else [{"param": "series"}]
            encoding = channels | ({"tooltip": told[look]} if told[look] else {})
            transform = [{"filter": one} for one in filters]
            layers.append({"transform": transform, "mark": {"type": mark} | options, "encoding": encoding})

    add("band", "rect", {"style": "band"}, ends, apart=True)
    add("reference", "rule", {"style": "reference"}, value, apart=True)
    if "prediction" in told:
        at = rows.filter(look="prediction")[x.field][0]
        is_right = math.log(at / x.low) > 0.5 * math.log(x.high / x.low)
        side = {"align": "right", "dx": -6} if is_right else {"align": "left", "dx": 6}
        words = {"y": {"value": "height"}, "text": {"value": "prediction"}}
        add("prediction", "rect", {"style": "band"}, along_x, bounded=True, apart=True)
        add("prediction", "rule", {"style": "reference", "strokeWidth": 1.5}, at_x, apart=True)
        add("prediction", "text", {"style": "remark", "baseline": "bottom", **side}, at_x | words, apart=True)
    add("area", "area", {"opacity": 0.16}, at_x | ends | hue, bounded=True)
    add("bar", "bar", {"opacity": 0.8}, at_x | at_y | hue)
    add("basin", "rule", {"strokeWidth": 9, "opacity": 0.3, "strokeCap": "round", "clip": True}, along_x | at_y | hue)
    for look, mark in LINES.items():
        detail = {"detail": {"field": "line", "type": "nominal"}} if "line" in rows.columns else {}
        dashes = {"strokeDash": colours["strokeDash"]} if look == "curve" and series.marks else {}
        add(look, "line", {"clip": True, **mark}, at_x | at_y | hue | detail | dashes)
    if "low" in rows.columns:
        add("bar", "rule", {"style": "outlined"}, ends | beside, bounded=True)
        with_ends = rows.filter(pl.col("look").is_in(list(POINTS)), pl.col("low").is_not_null())
        for look in with_ends["look"].unique(maintain_order=True):
            add(look, "rule", {"strokeWidth": 2, "opacity": 0.7}, ends | beside | hue, bounded=True)
    few = len(rows) <= FEW
    for look, mark in POINTS.items():
        own = {"shape": colours["shape"]} if look in OWN_SHAPE and series.marks else {}
        small = {} if few or look not in ("dot", "faint") else {"size": 22, "aria": False}
        add(look, "point", mark | small, at_x | at_y | hue | own)
    for look, (pixels, mark) in AT_TOP.items():
        if across:  # there is no top
            start: Channels = {"x": {"datum": 0}, "text": {"value": look}}
            add(look, "text", {"style": "remark", "align": "left", "dx": 4}, at_y | start)
        else:
            add(look, "point", mark, at_x | hue | {"y": {"value": pixels}})
    # Of the first coloured layer alone Vega takes a legend that answers to a click.
    first = next((layer for layer in layers if "color" in layer["encoding"]), layers[-1])
    first["params"] = [{"name": "series", "select": {"type": "point", "fields": [series.field]}, "bind": "legend"}]
    shown = {"look", "line", "low", "high", series.field, x.field, y.field, *named} & set(rows.columns)
    return {
        "width": "container",
        "height": height,
        "data": {"values": _values(rows.select(sorted(shown)))},
        "transform": [
            {"calculate": f"isValid(datum.{name}) ? format(datum.{name}, '{form}') : '{DASH}'", "as": f"{name}_"}
            for name, (_, form) in named.items()
            if form
        ],
        "layer": layers,
    }


def _values(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """The data of a chart, without nulls, and rounded to `DIGITS` significant digits."""
    rounded = rows.with_columns(pl.col(pl.Float64).round_sig_figs(DIGITS)).to_dicts()
    return [{name: value for name, value in row.items() if value is not None} for row in rounded]
