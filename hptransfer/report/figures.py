"""Which charts a report has, in reading order, and what is said where one has nothing to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from hptransfer.report import charts
from hptransfer.report.results import Series, label
from hptransfer.report.summary import Missing, Summary

FIGURE_WIDTH = 640
SVG_THEME = charts.theme(ink="#222222", background="#ffffff", font="sans-serif")
VEGALITE_VERSION = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


@dataclass(frozen=True)
class Figure:
    """A chart with its file name, a title, and how to read it where the section does not say."""

    name: str
    title: str
    note: str
    chart: charts.Chart

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification for the page, without the title, which the page sets as text."""
        return self.chart.properties(description=f"{self.title}. {self.note}".strip()).to_dict()

    def svg(self) -> str:
        """The chart as it stands by itself. Nothing is fetched."""
        spec = self.chart.properties(title=self.title, width=FIGURE_WIDTH).to_dict()
        return vl_convert.vegalite_to_svg(spec, vl_version=VEGALITE_VERSION, config=SVG_THEME, allowed_base_urls=[])


@dataclass(frozen=True)
class Section:
    """A part of the evidence. ``remarks`` are sentences that stand where a chart is refused."""

    anchor: str
    title: str
    intro: str
    figures: tuple[Figure, ...]
    missing: tuple[Missing, ...]
    remarks: tuple[str, ...] = ()


def sections(frames: Mapping[str, pl.DataFrame], summary: Summary, options: str) -> tuple[Section, ...]:
    """The evidence; ``options`` are appended to the commands that make what is missing."""
    width = summary.scale.target_width

    def absent(figures: Sequence[Figure], sentence: str, stage: str) -> tuple[Missing, ...]:
        return () if figures else (Missing(sentence=sentence, command=f"python -m hptransfer.{stage}{options}"),)

    curves = tuple(_lr_curves(frames["lr_curves"], frames["lr_fit"]))
    optima = tuple(_optimum(frames["optimum_against_width"]))
    tests = tuple(_held_out(frames["regret"], frames["multipliers"]))
    training = tuple(_training(frames["training_curves"]))
    return (
        Section(
            "learning-rate",
            "Loss against learning rate",
            "Every run of the search. Lines are the fitted bowl at its best weight decay, so runs with another one lie above. "
            "Diamonds mark the lowest loss of each width, crosses at the top the runs that diverged.",
            curves,
            absent(curves, "No run at a searched width has completed yet.", "search"),
        ),
        Section(
            "width",
            "The optimum against width",
            f"Optima with 80 % intervals, the line used, the one that theory expects, and the prediction at width {width}.",
            optima,
            absent(optima, "No optimum has been fitted yet.", "transfer"),
        ),
        Section(
            "held-out",
            f"The test at width {width}",
            "The predicted runs, probes at other learning rates, and what the same loss costs AdamW.",
            tests,
            absent(tests, "No prediction has been tested yet.", "validate"),
            tuple(f"{label(answer.series)}: {answer.refusal}" for answer in summary.optimizers if answer.refusal),
        ),
        Section(
            "training",
            "Training curves",
            f"Predicted runs at width {width} and AdamW's ladder of horizons. Compare the dots: only final losses are annealed.",
            training,
            absent(training, f"No predicted run at width {width} has finished yet.", "validate"),
        ),
    )


def _lr_curves(curves: pl.DataFrame, fit: pl.DataFrame) -> Iterable[Figure]:
    for series, part in _by_series(curves):
        if part["loss"].is_not_null().any():
            title = f"{label(series)}: loss against learning rate"
            yield Figure(_name("lr-curves", series), title, "", charts.lr_curves(part, _only(fit, series)))


def _optimum(frame: pl.DataFrame) -> Iterable[Figure]:
    for series, part in _by_series(frame):
        title = f"{label(series)}: best learning rate against width"
        yield Figure(_name("optimum-against-width", series), title, "", charts.optimum_against_width(part))


def _held_out(regret: pl.DataFrame, multipliers: pl.DataFrame) -> Iterable[Figure]:
    if regret["regret"].is_not_null().any():
        note = "Diamonds are the predictions, dots the probes around them; bars are one standard error."
        yield Figure("regret", "Regret", note, charts.regret(regret))
    if not multipliers.is_empty():
        note = "How much more compute AdamW needs for the same loss. Bars are 80 % intervals; a triangle is a bound."
        yield Figure("compute-multiplier", "Compute multiplier over AdamW", note, charts.multipliers(multipliers))


def _training(frame: pl.DataFrame) -> Iterable[Figure]:
    if not frame.is_empty():
        yield Figure("training-by-tokens", "Validation loss by tokens", "", charts.training_curves(frame, "tokens"))
        note = "Seconds of training without evaluation, in proportion to steps."
        by_wall_clock = charts.training_curves(frame, "wall_seconds")
        yield Figure("training-by-wall-clock", "Validation loss by wall-clock", note, by_wall_clock)


def _by_series(frame: pl.DataFrame) -> Iterable[tuple[Series, pl.DataFrame]]:
    for series in frame.select("optimizer", "parametrization").unique(maintain_order=True).iter_rows():
        yield series, _only(frame, series)


def _only(frame: pl.DataFrame, series: Series) -> pl.DataFrame:
    return frame.filter(pl.col("optimizer") == series[0], pl.col("parametrization") == series[1])


def _name(chart: str, series: Series) -> str:
    return f"{chart}-{series[0]}" if series[1] == "mup" else f"{chart}-{series[0]}-{series[1]}"
