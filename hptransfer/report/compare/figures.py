"""Which charts a comparison has, in reading order, and what is said where one has nothing to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from hptransfer.report.compare import charts
from hptransfer.report.compare.result import Comparison
from hptransfer.report.figures import Figure, Section

TITLES = {
    "lr": "predicted learning rate (base coordinates)",
    "hidden_lr": "learning rate of hidden matrices at the held-out width",
    "weight_decay": "predicted weight decay at the held-out width",
}


def comparison_sections(frames: Mapping[str, pl.DataFrame], comparison: Comparison) -> tuple[Section, ...]:
    """The evidence of a comparison."""
    names = comparison.a, comparison.b
    told = f"{names[0]} in full colour with circles, {names[1]} greyed with squares."
    predicted = tuple(_predictions(frames["predictions"], names))
    optima = tuple(_optima(frames["optimum_against_width"], comparison))
    multipliers = tuple(_multipliers(frames["multipliers"], comparison))
    losses = tuple(_held_out(frames["held_out"], comparison))
    nothing = "No arm has been predicted in both experiments yet."
    unmeasured = [f"{pairing.name}: {sentence}" for pairing in comparison.arms for sentence in pairing.missing]
    refused = comparison.not_comparable or "No predicted run at a held-out width has finished yet."
    return (
        _section("predictions", "Predicted values", f"With 80 % intervals; {told}", predicted, nothing),
        _section("width", "The optimum against width", f"Optima with 80 % intervals and the lines used; {told}", optima, nothing),
        _section("losses", "Losses at the held-out width", f"Bars are one standard error; {told}", losses, refused),
        _section(
            "multipliers",
            "Compute multipliers over the baseline",
            f"Each over the baseline of its own experiment, with 80 % intervals; {names[0]} in full colour, {names[1]} greyed.",
            multipliers,
            *(unmeasured or ["No compute multiplier has been measured yet."]),
        ),
    )


def _section(anchor: str, title: str, intro: str, figures: tuple[Figure, ...], *absent: str) -> Section:
    return Section(anchor, title, intro if figures else "", figures, (), () if figures else absent)


def _predictions(frame: pl.DataFrame, names: tuple[str, str]) -> Iterable[Figure]:
    for quantity, title in TITLES.items():
        part = frame.filter(pl.col("quantity") == quantity, pl.col("experiment") != "ratio")
        if not part.is_empty():
            name = quantity.replace("_", "-")
            yield Figure(f"predicted-{name}", title.capitalize(), "", charts.predictions(part, names, title))


def _optima(frame: pl.DataFrame, comparison: Comparison) -> Iterable[Figure]:
    for pairing in comparison.arms:
        part = frame.filter(pl.col("pairing") == pairing.name)
        if not part.is_empty():
            note = "Two optima at one width are drawn beside it."
            chart = charts.optimum_against_width(part, (comparison.a, comparison.b))
            yield Figure(
                f"optimum-against-width-{_file(pairing.name)}", f"{pairing.name}: best learning rate against width", note, chart
            )


def _held_out(frame: pl.DataFrame, comparison: Comparison) -> Iterable[Figure]:
    if not frame.is_empty() and not comparison.not_comparable:
        yield Figure(
            "held-out-losses", "Validation loss of the predicted runs", "", charts.held_out(frame, (comparison.a, comparison.b))
        )


def _multipliers(frame: pl.DataFrame, comparison: Comparison) -> Iterable[Figure]:
    for pairing in comparison.arms:
        part = frame.filter(pl.col("arm") == pairing.name)
        if not part.is_empty():
            chart = charts.multipliers(part, (comparison.a, comparison.b), pairing.colour)
            yield Figure(
                f"multipliers-{_file(pairing.name)}", f"{pairing.name}: compute multiplier", "A triangle is a bound.", chart
            )


def _file(name: str) -> str:
    return name.replace(" ", "-")
