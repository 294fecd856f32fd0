"""Charts of the test at the held-out width."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from hptransfer.report.charts.parts import (
    CROSS,
    DIAMOND,
    LOSS,
    NARROW,
    Chart,
    Legend,
    as_float,
    inline,
    layers,
    log_scale,
    only,
    tip,
)

CURVE_POINTS = 150  # of a curve, in the chart
AGAINST = {"tokens": "training tokens", "wall_seconds": "training wall time (seconds)"}
RELATIVE = {"lr_probe": "learning rate", "weight_decay_probe": "weight decay"}
DODGE = 0.045  # between arms at the same place of a log axis, ln


def training_curves(frame: pl.DataFrame, against: str) -> Chart:
    """Validation loss along training at the held-out width, ``against`` tokens or wall_seconds; dots are final losses."""
    frame = frame.filter(pl.col(against).is_not_null())
    final = frame.filter("is_final")["loss"]
    low = as_float(frame["loss"].min())
    high = min(as_float(frame["loss"].max()), 1.3 * (as_float(final.max()) if len(final) else low))
    every = (pl.len().over("run_id") / CURVE_POINTS).ceil().cast(pl.Int64)
    kept = (pl.int_range(pl.len()).reverse().over("run_id") % every == 0) | pl.col("is_final")
    thin = frame.filter(kept).select(
        "arm", "purpose", "seed", against, "loss", "run_id", pl.when("is_final").then(True).alias("final")
    )
    labels = "datum.value == 0 ? '0' : replace(format(datum.value, '~s'), 'G', 'B')"
    x = alt.X(f"{against}:Q", title=AGAINST[against], axis=alt.Axis(labelExpr=labels, tickCount=5))
    y = alt.Y("loss:Q", title=LOSS, scale=alt.Scale(domain=[low - 0.03 * (high - low), high], nice=False))
    legend = Legend(frame)
    tooltip = [
        legend.tooltip,
        alt.Tooltip("purpose:N"),
        alt.Tooltip("seed:O"),
        tip(against, AGAINST[against], ","),
        tip("loss", "loss", ".4f"),
        alt.Tooltip("run_id:N", title="run"),
    ]
    pick = legend.pick
    return layers(
        inline(thin),
        only("true", pick)
        .mark_line(strokeWidth=1.8, clip=True, opacity=0.75)
        .encode(x, y, legend.colour, legend.dash, alt.Detail("run_id:N")),
        only("datum.final", pick)
        .mark_point(size=55, filled=True, opacity=1)
        .encode(x, y, legend.colour, legend.shape, tooltip=tooltip)
        .add_params(pick),
        height=320,
    )


def regret(frame: pl.DataFrame, kind: str) -> Chart:
    """Loss above the lowest of the prediction and its probes, against the factor on the predicted LR or weight decay (``kind``
    is that of the probes), with one standard error. Diverged runs are crosses at the top."""
    frame = frame.filter(pl.col("kind").is_in([kind, "predicted"]))
    legend = Legend(frame)
    _, place = legend.dodge(DODGE)
    rows = frame.select(
        "arm",
        "title",
        "lr",
        "weight_decay",
        "loss",
        "standard_error",
        "state",
        *(pl.col(name) * 100 for name in ("regret", "regret_low", "regret_high")),
        (pl.col("factor") * pl.col("arm").replace_strict(place, return_dtype=pl.Float64).exp()).alias("x"),
        pl.when(kind="predicted").then(True).alias("told"),
    )
    factors = sorted(frame["factor"].unique())
    low, high = factors[0] / 1.2, factors[-1] * 1.2
    axis = alt.Axis(values=factors, labelExpr="format(datum.value, '.2~r') + 'x'", labelOverlap="greedy")
    title = f"factor on the predicted {RELATIVE[kind]}"
    x = alt.X("x:Q", title=title, scale=log_scale(low, high), axis=axis)
    y = alt.Y("regret:Q", title="loss above the lowest (%)")
    tooltip = [
        *_run(legend),
        tip("standard_error", "standard error", ".2~g"),
        tip("regret", "regret, %", ".2f"),
        alt.Tooltip("state:N"),
    ]
    pick, done = legend.pick, "isValid(datum.regret)"
    return layers(
        inline(rows),
        only(done, pick).mark_line(strokeWidth=1.2, opacity=0.45).encode(x, y, legend.colour, legend.dash),
        only(done, pick).mark_rule(strokeWidth=2).encode(x, alt.Y("regret_low:Q"), alt.Y2("regret_high:Q"), legend.colour),
        only(done + " && !datum.told", pick)
        .mark_point(size=75, filled=True, opacity=1)
        .encode(x, y, legend.colour, legend.shape, tooltip=tooltip)
        .add_params(pick),
        only(done + " && datum.told", pick).mark_point(size=150, **DIAMOND).encode(x, y, legend.colour, tooltip=tooltip),
        only("datum.state === 'diverged'", pick).mark_point(**CROSS).encode(x, legend.colour, y=alt.value(4), tooltip=tooltip),
        height=280,
    )


def perturbations(frame: pl.DataFrame) -> Chart:
    """Bars: by how much the loss changes against the prediction's, with the noise; diverged runs in words."""
    legend = Legend(frame, NARROW)
    changes = ("change", "change_low", "change_high")
    rows = frame.select("arm", "title", "lr", "weight_decay", "seeds", "loss", "state", *(pl.col(name) * 100 for name in changes))
    known = pl.concat([rows[name] for name in changes]).drop_nulls()
    low, high = (min(0.0, as_float(known.min())), max(0.0, as_float(known.max()))) if len(known) else (0.0, 1.0)
    margin = 0.04 * (high - low) or 1.0
    scale = alt.Scale(domain=[low - margin * (low < 0), high + margin], nice=False)
    x = alt.X("change:Q", title="change of the loss (%)", scale=scale, axis=alt.Axis(tickCount=6))
    titles = _order(frame)
    y = alt.Y("title:N", title=None, sort=titles, axis=alt.Axis(grid=False, labelLimit=150))
    offset = alt.YOffset("arm:N", sort=legend.names)
    tooltip = [
        *_run(legend),
        tip("change", "change, %", "+.2f"),
        tip("change_low", "one standard deviation from, %", "+.2f"),
        tip("change_high", "to, %", "+.2f"),
        alt.Tooltip("seeds:O"),
        alt.Tooltip("state:N"),
    ]
    pick, done = legend.pick, "isValid(datum.change)"
    return layers(
        inline(rows),
        only(done, pick).mark_bar(opacity=0.8).encode(x, y, offset, legend.colour, tooltip=tooltip).add_params(pick),
        only(done, pick)
        .mark_rule(style="outlined")
        .encode(alt.X("change_low:Q", scale=scale), alt.X2("change_high:Q"), y, offset, tooltip=tooltip),
        only("datum.state === 'diverged'", pick)
        .mark_text(style="remark", align="left", dx=4)
        .encode(y, offset, x=alt.datum(0), text=alt.Text("state:N"), tooltip=tooltip),
        height=len(titles) * (13 * len(legend.names) + 9) + 10,
    )


def _run(legend: Legend) -> list[alt.Tooltip]:
    """The tooltips of one configuration at the held-out width."""
    return [
        legend.tooltip,
        alt.Tooltip("title:N", title="run"),
        tip("lr", "learning rate"),
        tip("weight_decay", "weight decay"),
        tip("loss", "loss", ".4f"),
    ]


def _order(frame: pl.DataFrame) -> Sequence[str]:
    """LR before weight decay, the largest factor first; transfers as they come."""
    return frame.sort("kind", -pl.col("factor"), maintain_order=True)["title"].unique(maintain_order=True).to_list()
