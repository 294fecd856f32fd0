"""The page of a law: what was fitted, its optima, what it gets wrong, and what the law shows of itself; and that of several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import polars as pl

from hptransfer.base.intervals import Array, ends_of_each
from hptransfer.base.words import ends, listing, percent, plain, within
from hptransfer.laws.columns import training_flops
from hptransfer.laws.compare import Rank
from hptransfer.laws.examination import Examination
from hptransfer.laws.law import ComputeOptimum, Fitted
from hptransfer.laws.plot import Along, Plot, stacked
from hptransfer.report.document import Document, Section, Table
from hptransfer.report.frames import Frames
from hptransfer.report.plots import figure_of
from hptransfer.validate.sentences import Verdict

PLACES = 30  # of compute, at which a figure asks for the optimum
MOST, FEW = 1500, 40  # dots of a figure; held-out ones that each show their interval
TOLD = ("predicted", "predicted_low", "predicted_high")
MODEL = "What a law says of runs that nobody made is a model's output, and no measurement."
OPTIMA = "The size and the horizon of the lowest loss at a training compute, with 80 % intervals."
COUNTED = ("flops", "count", "low", "high")
OPTIMUM = "Diamonds are the budgets asked for, bands 80 % intervals. Dashed: beyond the largest run."
ERRORS = "Bars are 80 % intervals of the law, which hold no noise of a run; they are left out where many rows are held out."


def law_page(
    source: str, examined: Examination, budgets: tuple[float, ...] = (), about: str = "", /, **origin: str
) -> tuple[Document, Frames]:
    """The page of a law that was fitted to a table, and the tables behind its figures. ``source``: the name of what was read;
    ``budgets``: training FLOPs whose optimum is asked for, by default those of `Examination.budgets`; ``about``: what the
    rows are of, in a sentence; ``origin``: where they are from, by what it is."""
    fitted, law, optimal = examined.fitted, examined.law, examined.optimal(budgets)
    seen = examined.table if examined.blind is fitted else examined.table.with_columns(held_out=False)
    parameters = pl.DataFrame(
        [{"parameter": name} | one.model_dump() for name, one in fitted.parameters.items()], infer_schema_length=None
    )
    own, predictions = list(fitted.plots(seen)), _predictions(examined)
    best, errors = _optima(examined, optimal), _errors(examined, predictions)
    plots = [*own, *best, *errors]
    frames = {"parameters": parameters, "predictions": predictions} | {plot.name: plot.frame for plot in plots}
    sections = (
        Section("law", "What the law shows", figures=tuple(map(figure_of, own))),
        Section("optimum", "Compute-optimal models", OPTIMA, tuple(map(figure_of, best)), _optimum_tables(optimal)),
        _held_out(examined, errors),
        _origin(examined, origin),
    )
    counted = f"{fitted.points:,} rows are fitted" + f", {len(seen) - fitted.points:,} are held out" * (examined.blind is fitted)
    lead = (*filter(None, [about]), f"{law.name}: {law.summary}.", f"{source}: {counted}. Intervals are 80 %. {MODEL}")
    overview = Table.of(
        {"parameter": name, "value": plain(one.value, 4), "80 % interval": ends(one, lambda end: plain(end, 4))}
        for name, one in fitted.parameters.items()
    )
    title = f"{law.name}: {source}"
    verdicts = tuple(_verdicts(examined, optimal))
    return Document(title, lead, overview, verdicts, (), tuple(filter(None, sections)), caveats=examined.notes), frames


def _verdicts(examined: Examination, optimal: tuple[ComputeOptimum, ...]) -> Iterator[Verdict]:
    for one in optimal[:1]:
        sizes = f"{plain(one.N.value)} parameters and {plain(one.D.value)} tokens"
        yield Verdict(text=f"Best at {plain(one.flops)} FLOPs: {sizes}, {within(one.tokens_per_parameter)} tokens per parameter.")
    yield from (Verdict(text=finding) for finding in examined.fitted.findings)
    yield Verdict(text=_held_out_words(examined))


def _held_out_words(examined: Examination) -> str:
    held = examined.held_out
    if held.mean_relative_error is None or held.max_relative_error is None:
        return f"Nothing is held out: {held.reason}."
    mean, largest = percent(held.mean_relative_error), percent(held.max_relative_error)
    if held.rows == 1:
        return f"A fit without the row with {held.where} is off by {mean} of the loss there."
    rows = f"the {held.rows:,} rows with {held.where}"
    return f"A fit without {rows} is off by {mean} of the loss there on average, {largest} at most."


# -- what every law has ------------------------------------------------------------------------------------------------


def _predictions(examined: Examination) -> pl.DataFrame:
    """Every row with what the law says of it, with its interval: the fit that has not seen it, where there is one."""
    table, held = examined.table, examined.table["held_out"].to_numpy() & (examined.blind is not None)
    told = dict(zip(TOLD, _told(examined.fitted, table), strict=True))
    if examined.blind is not None and examined.blind is not examined.fitted:
        blind = _told(examined.blind, table)
        told = {name: np.where(held, other, values) for (name, values), other in zip(told.items(), blind, strict=True)}
    return table.drop("row").with_columns(pl.Series("held_out", held), *(pl.Series(*one) for one in told.items()))


def _told(fitted: Fitted, table: pl.DataFrame) -> Array:
    """Predicted losses and the ends of their intervals (3, rows). A law of curves reads whole ones: all rows go in."""
    predicted = fitted.predict(table)
    return np.vstack([predicted[:1], ends_of_each(predicted)])


def _errors(examined: Examination, predictions: pl.DataFrame) -> tuple[Plot, ...]:
    """The error of every run against the scale of the law."""
    along = _scale(examined)
    if along is None or "loss" not in predictions.columns:
        return ()
    said = predictions.filter(pl.col("predicted").is_finite()).sort(along.column)
    if said.is_empty():
        return ()
    held, loss = pl.col("held_out"), pl.col("loss")
    kept = pl.int_range(pl.len()).over("held_out") % math.ceil(len(said) / MOST) == 0
    few = held & (held.sum() <= FEW)
    bounds = {"low": "predicted_low", "high": "predicted_high"}
    shown = said.filter(kept).with_columns(
        error=100 * (pl.col("predicted") / loss - 1),
        series=pl.when(held).then(pl.lit("held out")).otherwise(pl.lit("fitted")),
        look=pl.when(few).then(pl.lit("point")).otherwise(pl.lit("dot")),
        **{name: pl.when(few).then(100 * (pl.col(column) / loss - 1)) for name, column in bounds.items()},
    )
    needed = [column for column in examined.law.needs if column.name in shown.columns]
    tips = {one.name: (one.what, "" if one.kind == "label" else ".4~g") for one in needed if one.name != along.column}
    tips |= {"loss": ("loss", ".4f"), "predicted": ("predicted", ".4f")}
    rows = shown.select(along.column, "error", *bounds, *tips, "series", "look")
    frame = stacked([rows, pl.DataFrame({"error": [0.0], "look": ["reference"]})])
    y = Along("error", "predicted over measured loss (%)", False)
    return (Plot("errors", "Predicted over measured loss", along, y, frame, ERRORS, tips),)


def _scale(examined: Examination) -> Along | None:
    """Along which column errors are shown: the scale of the law, or the first count or size that it reads."""
    needed = [column for column in examined.law.needs if column.name in examined.table.columns]
    sizes = [column for column in needed if column.kind in ("count", "size")]
    found = sorted(sizes, key=lambda column: column.name != examined.law.scale)
    return Along(found[0].name, found[0].what) if found else None


def _optima(examined: Examination, optimal: tuple[ComputeOptimum, ...]) -> tuple[Plot, ...]:
    """The best size and its tokens against compute: from the smallest run to the largest, on to the largest budget, and at those
    asked for."""
    flops = training_flops(examined.table)
    if flops is None or not optimal:
        return ()
    low, high = float(flops.min()), float(flops.max())
    last = max(high, *(one.flops for one in optimal))
    parts = []
    for look, start, end in (("line", low, high), ("dashed", high, last)):
        line = _along_compute(examined.fitted.optimal(np.geomspace(start, end, PLACES).tolist()) if end > start else (), look)
        parts += [line.with_columns(look=pl.lit("area")), line.drop("low", "high")]
    parts.append(_along_compute(optimal, "diamond").drop("low", "high"))
    x, y = Along("flops", "training FLOPs"), Along("count", "parameters, and training tokens")
    return (Plot("optimum", "Best size and tokens against compute", x, y, stacked(parts), OPTIMUM),)


def _along_compute(optima: Sequence[ComputeOptimum], look: str) -> pl.DataFrame:
    """The rows of the best sizes, and of their tokens."""
    rows = [
        {"flops": one.flops, "series": series, "look": look, "count": best.value, "low": best.low, "high": best.high}
        for one in optima
        for series, best in (("parameters", one.N), ("training tokens", one.D))
    ]
    types = {name: pl.String if name in ("series", "look") else pl.Float64 for name in ("series", "look", *COUNTED)}
    return pl.DataFrame(rows, schema=types)


def _optimum_tables(optimal: tuple[ComputeOptimum, ...]) -> tuple[Table, ...]:
    table = Table.of(
        {"FLOPs": plain(one.flops)}
        | {
            words: within(value)
            for words, value in (("parameters", one.N), ("tokens", one.D), ("tokens per parameter", one.tokens_per_parameter))
        }
        for one in optimal
    )
    return (table,) if table else ()


def _held_out(examined: Examination, errors: tuple[Plot, ...]) -> Section:
    held, terms = examined.held_out, []
    if held.coverage_80 is not None:
        inside = f"{held.coverage_80:.0%} of the held-out losses are inside the 80 % interval, which holds no noise of a run."
        terms.append(("Coverage", inside))
    figures = tuple(map(figure_of, errors))
    return Section("held-out", "What is held out, and the errors", _held_out_words(examined), figures, terms=tuple(terms))


def _origin(examined: Examination, origin: Mapping[str, str]) -> Section:
    law = examined.law
    options = {name: value for name, value in law.model_dump().items() if value is not None}
    words = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in options.items()]
    columns = listing([column.name for column in law.needs])
    return provenance(**origin, rows=f"{len(examined.table):,}", columns=columns, law=law.name, options=", ".join(words))


def provenance(**origin: str) -> Section:
    """Where the numbers of a page come from, by what it is."""
    terms = tuple((name.capitalize(), words) for name, words in origin.items())
    return Section("provenance", "Provenance", "Where the numbers come from.", terms=terms)


# -- several laws ------------------------------------------------------------------------------------------------------


def comparison_page(
    source: str, held_out: str, ranks: Sequence[Rank], notes: Sequence[str], /, **origin: str
) -> tuple[Document, Frames]:
    """The page of laws that were compared, and their errors as a table. ``held_out``: which rows are, in words; ``notes``: what
    must be said of all of them; ``origin``: where the rows are from, by what it is."""
    lead = (f"{source}: {held_out}. Errors are relative to the loss, intervals 80 %. {MODEL}",)
    own = tuple((one.law, note) for one in ranks for note in one.notes)
    sections = (*([Section("notes", "What must be said of each fit", terms=own)] if own else []), provenance(**origin))
    frame = pl.DataFrame([asdict(one) for one in ranks], infer_schema_length=None).drop("more", "notes")
    verdicts = tuple(map(_ranked, ranks))
    table = Table.of(one.words for one in ranks)
    return Document(f"Laws compared: {source}", lead, table, verdicts, (), sections, caveats=tuple(notes)), {"laws": frame}


def _ranked(one: Rank) -> Verdict:
    if one.mean_relative_error is None:
        return Verdict(text=f"{one.law} is refused: {one.refusal}.")
    told = ", the least" if one.more is None else "" if one.is_told_apart else ", which is not told apart from the least"
    return Verdict(text=f"{one.law} is off by {percent(one.mean_relative_error)} of the loss on average{told}.")
