"""Charts of the search: loss against learning rate, and against weight decay."""

from __future__ import annotations

import altair as alt
import polars as pl

from hptransfer.report.charts.parts import (
    CROSS,
    DIAMOND,
    LOSS,
    Chart,
    as_float,
    at_side,
    columns,
    inline,
    interval_tips,
    layers,
    log_x,
    only,
    span,
    tip,
)
from hptransfer.report.palette import shades

FEW = 300  # runs: of more, the dots are small, and nobody wants them read out one by one
RUN_TOOLTIP = [
    alt.Tooltip("width:O"),
    tip("lr", "learning rate"),
    tip("decay", "weight decay"),
    tip("loss", "loss", ".4f"),
]


def lr_curves(curves: pl.DataFrame, fit: pl.DataFrame, basins: pl.DataFrame, predictions: pl.DataFrame) -> Chart:
    """Loss against LR at every searched width of one arm: runs, fitted bowls, minima and basins, and the LR predicted for the
    held-out width. Runs that diverged and runs above the frame stand at its top."""
    widths = sorted(curves["width"].unique())
    minima = curves.filter("is_minimum")["loss"]
    lowest, highest = (as_float(minima.min()), as_float(minima.max())) if len(minima) else (0.0, 1.0)
    top = highest + max(0.9 * (highest - lowest), 0.06 * highest)
    place = pl.when(state="diverged").then(pl.lit("diverged")).when(pl.col("loss") > top).then(pl.lit("above"))
    is_shown = (pl.col("state") == "diverged") | pl.col("loss").is_not_null()
    runs = curves.filter(is_shown).select(
        place.otherwise(pl.lit("run")).alias("kind"),
        "width",
        "lr",
        pl.col("weight_decay").alias("decay"),
        pl.col("embedding_lr_ratio").alias("ratio"),
        "seed",
        "loss",
        pl.col("run_id").alias("run"),
        pl.when("is_minimum").then(True).alias("lowest"),
        pl.when(~pl.col("is_at_ratio")).then(True).alias("apart"),
    )
    bowls = fit.filter(pl.col("loss") <= top).select(pl.lit("bowl").alias("kind"), "width", "lr", "loss")
    flat = basins.filter(pl.col("loss") <= top).select(pl.lit("basin").alias("kind"), "width", "loss", "low", "high")
    told = predictions.select(
        pl.lit("prediction").alias("kind"), "lr", pl.col("lr_low").alias("low"), pl.col("lr_high").alias("high")
    )

    everything = pl.concat([runs["lr"], *(predictions[name] for name in ("lr", "lr_low", "lr_high"))])
    x = log_x("lr", everything, "learning rate (base coordinates)")
    y = alt.Y("loss:Q", title=LOSS, scale=alt.Scale(domain=[lowest - 0.12 * (top - lowest), top], nice=False))
    pick = alt.selection_point(name="widths", fields=["width"], bind="legend")
    shade = _shade(curves["colour"][0], widths)
    tooltip = [
        *RUN_TOOLTIP,
        tip("ratio", "embedding LR ratio"),
        alt.Tooltip("seed:O"),
        alt.Tooltip("run:N"),
    ]
    flat_tooltip = [alt.Tooltip("width:O"), tip("low", "as good from"), tip("high", "to")]
    strength = alt.when("datum.apart").then(alt.value(0.25)).otherwise(alt.value(0.8))
    few = len(runs) <= FEW
    return layers(
        inline(runs, bowls, flat, told),
        *_predicted("lr", predictions, x, everything, at_bottom=True),
        only("datum.kind == 'basin'", pick)
        .mark_rule(strokeWidth=9, opacity=0.3, strokeCap="round", clip=True)
        .encode(alt.X("low:Q"), alt.X2("high:Q"), y, shade, tooltip=flat_tooltip),
        only("datum.kind == 'bowl'", pick).mark_line(strokeWidth=2, clip=True).encode(x, y, shade),
        only("datum.kind == 'run'", pick)
        .mark_circle(size=42 if few else 22, aria=few)
        .encode(x, y, shade, opacity=strength, tooltip=tooltip)
        .add_params(pick),
        only("datum.lowest", pick).mark_point(size=130, **DIAMOND).encode(x, y, shade, tooltip=tooltip),
        only("datum.kind == 'above'", pick)
        .mark_point(shape="triangle-up", size=45, filled=False, strokeWidth=1.5)
        .encode(x, shade, y=alt.value(18), opacity=strength, tooltip=tooltip),
        only("datum.kind == 'diverged'", pick).mark_point(**CROSS).encode(x, shade, y=alt.value(4), tooltip=tooltip),
        height=300,
    )


def weight_decay_curves(curves: pl.DataFrame, predictions: pl.DataFrame) -> Chart:
    """Loss above the lowest of its width against weight decay, of one arm, for runs near the best LR: within the band a run
    cannot be told from the best. The weight decay of the prediction is marked, with its interval where it is identified."""
    widths = sorted(curves["width"].unique())
    noise = 100 * 2 * as_float(predictions["noise"][0])
    top = min(1.06 * 100 * as_float(curves["excess"].max()), max(8 * noise, 4.0))
    top = max(top, 1.5 * noise)
    percent = pl.col("excess") * 100
    runs = curves.select(
        pl.when(percent > top).then(pl.lit("above")).otherwise(pl.lit("run")).alias("kind"),
        "width",
        "lr",
        pl.col("weight_decay").alias("decay"),
        "loss",
        percent,
        pl.col("lr_cost") * 100,
        pl.col("run_id").alias("run"),
        pl.when("is_minimum").then(True).alias("lowest"),
    )
    shown = [pl.col(f"weight_decay{end}").alias(name) for end, name in (("", "decay"), ("_low", "low"), ("_high", "high"))]
    told = predictions.filter(pl.col("weight_decay") > 0).select(pl.lit("prediction").alias("kind"), *shown)
    everything = pl.concat([runs["decay"], *(told[name] for name in ("decay", "low", "high"))])
    x = log_x("decay", everything, "weight decay (base coordinates, independent)")
    y = alt.Y("excess:Q", title="loss above the lowest of its width (%)", scale=alt.Scale(domain=[-0.05 * top, top], nice=False))
    pick = alt.selection_point(name="widths", fields=["width"], bind="legend")
    shade = _shade(curves["colour"][0], widths)
    tooltip = [*RUN_TOOLTIP, tip("lr_cost", "cost of its LR, %", ".2f"), tip("excess", "above the lowest, %", ".2f")]
    tooltip.append(alt.Tooltip("run:N"))
    band = pl.DataFrame({"kind": ["noise"], "band_low": [0.0], "band_high": [noise]})
    return layers(
        inline(runs, told, band),
        only("datum.kind == 'noise'").mark_rect(style="band").encode(alt.Y("band_low:Q"), alt.Y2("band_high:Q")),
        *_predicted("decay", told, x, everything, at_bottom=False),
        only("datum.kind == 'run'", pick)
        .mark_circle(size=50, opacity=0.85)
        .encode(x, y, shade, tooltip=tooltip)
        .add_params(pick),
        only("datum.lowest", pick).mark_point(size=130, **DIAMOND).encode(x, y, shade, tooltip=tooltip),
        only("datum.kind == 'above'", pick)
        .mark_point(shape="triangle-up", size=45, filled=False, strokeWidth=1.5)
        .encode(x, shade, y=alt.value(8), tooltip=tooltip),
        height=280,
    )


def _shade(hue: str, widths: list[int]) -> alt.Color:
    scale = alt.Scale(domain=widths, range=shades(hue, len(widths)))
    return alt.Color("width:O", scale=scale, legend=alt.Legend(title="width", symbolType="circle", columns=columns(widths)))


def _predicted(field: str, told: pl.DataFrame, x: alt.X, everything: pl.Series, *, at_bottom: bool) -> list[alt.Chart]:
    """What was predicted for the held-out width: a rule, a band for its 80 % interval, and words."""
    if told.is_empty():
        return []
    tooltip = [tip(field, "predicted"), *interval_tips()]
    low, high = span(everything.drop_nulls(), least=1.2)
    rows = only("datum.kind == 'prediction'")
    return [
        rows.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rect(style="band")
        .encode(alt.X("low:Q"), alt.X2("high:Q"), tooltip=tooltip),
        rows.mark_rule(style="reference", strokeWidth=1.5).encode(x, tooltip=tooltip),
        rows.mark_text(
            style="remark", baseline="bottom" if at_bottom else "top", **at_side(as_float(told[field][0]), low, high)
        ).encode(x, y=alt.value("height" if at_bottom else 0), text=alt.value("prediction")),
    ]
