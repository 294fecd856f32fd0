"""Two experiments side by side: the page of a report with every arm by its experiment, after what the two agree and differ in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import polars as pl

from hptransfer.base.words import listing, within, within_percent
from hptransfer.report import numbers, page
from hptransfer.report.charts import NOTHING, Axis, Chart, Series, Tip, draw, linear_axis, log_axis, name_axis
from hptransfer.report.document import Card, Document, Figure, Section, Table
from hptransfer.report.evidence import evidence
from hptransfer.report.figures import LOSS, known_of
from hptransfer.report.frames import Frames, all_frames
from hptransfer.report.palette import shades
from hptransfer.validate.comparison import Comparison, Pairing, Quantity, change_words, findings, ratio_words
from hptransfer.validate.result import AXES
from hptransfer.validate.results import Results
from hptransfer.validate.sentences import Verdict
from hptransfer.validate.summary import Answer, Summary, summarize

TITLES = {
    "lr": "predicted learning rate (base coordinates)",
    "hidden_lr": "learning rate of hidden matrices at the held-out width",
    "weight_decay": "predicted weight decay at the held-out width",
}
ACROSS = ("compute", "training")  # sections whose charts set the losses of the two against each other
Both = tuple[Results, Results]


def document(both: Both, comparison: Comparison) -> tuple[Document, Frames]:
    """The document, and the tables behind its charts."""
    a, b, names = comparison.a, comparison.b, (comparison.a, comparison.b)
    sides = [_of(summarize(results), name, full) for results, name, full in zip(both, names, (True, False), strict=True)]
    answers = [answer for summary in sides for answer in summary.arms]
    colours = {answer.arm: answer.colour for answer in answers}
    places = {summary.scale.where for summary in sides}
    where = places.pop() if len(places) == 1 else "the held-out scales"
    own = [_named(all_frames(results), name, colours) for results, name in zip(both, names, strict=True)]
    frames = {name: pl.concat([frame[name] for frame in own]) for name in own[0]}
    paired = [(f"{one.a} of {a}", f"{one.b} of {b}") for one in comparison.arms]
    alone = [(arm,) for arm in colours if not any(arm in pair for pair in paired)]
    hues = {one.name: colours[pair[0]] for one, pair in zip(comparison.arms, paired, strict=True)}
    tables = {"predicted_values": predicted_values(comparison, hues), "held_out_losses": held_out_losses(comparison, colours)}
    found = Document(
        title=f"{a} against {b}",
        lead=(
            f"{comparison.runs[0]} runs of {a} and {comparison.runs[1]} of {b}.",
            f"{page.COORDINATES} Intervals are 80 %. That of a ratio takes the two as independent.",
            f"{a} is in full colour, {b} is greyed.",
        ),
        overview=_overview(answers, sides),
        verdicts=tuple(Verdict(text=sentence) for sentence in findings(comparison)),
        cards=tuple(
            Card(one.name, hues[one.name], tables=(Table(("", a, b, f"{b} / {a}"), tuple(_rows(one))),), notes=one.notes)
            for one in comparison.arms
        ),
        sections=(
            _settings(comparison),
            _predictions(tables["predicted_values"], names),
            _losses(tables["held_out_losses"], comparison.not_comparable, names),
            *(
                _apart(section, comparison.not_comparable)
                for section in evidence(frames, answers, where, "", [*paired, *alone])
                if section.anchor != "coordinates"
            ),
            *filter(None, [numbers.section(answers, [pair for one in sides for pair in one.pairs], where)]),
            page.checks(answers),
        ),
        caveats=comparison.caveats,
    )
    return found, tables | frames


def predicted_values(comparison: Comparison, hues: dict[str, str]) -> pl.DataFrame:
    """Predicted values per arm and experiment with 80 % intervals; ``experiment`` is ``ratio`` for B over A."""
    rows = [
        {"arm": one.name, "colour": hues[one.name], "quantity": name, "agreement": found.agreement, "experiment": side}
        | interval.model_dump()
        for one in comparison.arms
        for name in TITLES
        if (found := getattr(one, name))
        for side, interval in ((comparison.a, found.a), (comparison.b, found.b), ("ratio", found.ratio))
    ]
    words, numbers = ("arm", "colour", "quantity", "agreement", "experiment"), ("value", "low", "high")
    return pl.DataFrame(rows, schema=dict.fromkeys(words, pl.String) | dict.fromkeys(numbers, pl.Float64), orient="row")


def held_out_losses(comparison: Comparison, colours: dict[str, str]) -> pl.DataFrame:
    """The predicted runs at the held-out widths, of every arm of either experiment."""
    words = ("experiment", "arm", "optimizer", "parametrization", "colour")
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(words, pl.String)
    schema |= dict.fromkeys(("loss", "standard_error"), pl.Float64) | dict.fromkeys(("width", "tokens", "seeds"), pl.Int64)
    rows = [run.model_dump() | {"colour": colours[run.words]} for run in comparison.held_out]
    return pl.DataFrame(rows, schema=schema, orient="row")


# -- words -------------------------------------------------------------------------------------------------------------


def _rows(pairing: Pairing) -> Iterator[tuple[str, ...]]:
    """What, A, B, and B over A."""
    yield "learning rate", *_cells(pairing.lr)
    if pairing.hidden_lr:
        yield "learning rate of hidden matrices", *_cells(pairing.hidden_lr)
    yield "weight decay", *_cells(pairing.weight_decay)
    yield "measured regret", *("-" if one is None else within_percent(one) for one in pairing.regret), ""
    losses = ("-" if loss is None else f"{loss:.4f}" for loss in pairing.losses)
    yield "loss at the held-out width", *losses, "" if pairing.loss is None else change_words(pairing.loss)
    for axis, both in pairing.multipliers.items():
        yield f"compute multiplier, {AXES[axis]}", *("-" if one is None else one.in_full for one in both), ""


def _cells(quantity: Quantity | None) -> tuple[str, str, str]:
    return (within(quantity.a), within(quantity.b), ratio_words(quantity.ratio)) if quantity else ("-", "-", "")


# -- parts -------------------------------------------------------------------------------------------------------------


def _overview(answers: Sequence[Answer], sides: Sequence[Summary]) -> Table:
    table = page.overview(answers)
    names = [summary.experiment for summary in sides for _ in summary.arms]
    rows = ((row[0].removesuffix(f" of {name}"), name, *row[1:]) for row, name in zip(table.rows, names, strict=True))
    return Table(("arm", "experiment", *table.columns[1:]), tuple(rows))


def _settings(comparison: Comparison) -> Section:
    if not comparison.settings:
        return Section("settings", "Settings", "The two have the same settings.")
    alone = ((comparison.a, comparison.only_a), (comparison.b, comparison.only_b))
    words = [f"{listing(arms)} {'is' if len(arms) == 1 else 'are'} in {name} only." for name, arms in alone if arms]
    rows = tuple((one.name, "-" if one.a is None else one.a, "-" if one.b is None else one.b) for one in comparison.settings)
    intro = " ".join(["Only what differs, by the names that --set takes.", *words])
    return Section("settings", "Settings", intro, tables=(Table(("setting", comparison.a, comparison.b), rows),))


def _predictions(frame: pl.DataFrame, names: Sequence[str]) -> Section:
    figures = []
    for name, title in TITLES.items():
        part = frame.filter(pl.col("quantity") == name, pl.col("experiment") != "ratio")
        if part.is_empty():
            continue
        x = log_axis("value", title, known_of(part, "value", "low", "high"))
        chart = _beside(part, names, x, "arm experiment value low high", {"value": (title, ".3~g")})
        figures.append(Figure(f"predicted-{name.replace('_', '-')}", title.capitalize(), "", chart))
    nothing = () if figures else ("No arm has been predicted in both experiments yet.",)
    return Section("predictions", "Predicted values", "With 80 % intervals.", tuple(figures), remarks=nothing)


def _losses(frame: pl.DataFrame, refused: str | None, names: Sequence[str]) -> Section:
    title, intro = "Losses at the held-out width", "Bars are one standard error."
    if refused or frame.is_empty():
        return Section("losses", title, remarks=(refused or "No predicted run at a held-out width has finished yet.",))
    error = pl.col("standard_error")
    rows = frame.with_columns(value="loss", low=pl.col("loss") - error, high=pl.col("loss") + error)
    low, high = min(rows["low"]), max(rows["high"])
    margin = max(0.08 * (high - low), 0.002 * high)
    x = linear_axis("value", LOSS, low - margin, high + margin)
    chart = _beside(rows, names, x, "arm experiment width tokens loss standard_error seeds")
    figure = Figure("held-out-losses", f"{LOSS.capitalize()} of the predicted runs", "", chart)
    return Section("losses", title, intro, (figure,))


def _beside(frame: pl.DataFrame, names: Sequence[str], x: Axis, tips: str, titled: Mapping[str, Tip] = NOTHING) -> Chart:
    """A row per arm, the experiments below each other in it: ``value`` with ``low`` and ``high``."""
    found = tuple(name for name in names if name in frame["experiment"])
    hues = shades(frame.filter(experiment=found[0])["colour"][0], 3)[:0:-1]  # full, then greyed
    series = Series(found, tuple(hues[: len(found)]), tuple(range(len(found))), "experiment")
    rows = frame.with_columns(look=pl.lit("point"))
    return draw(rows, x, name_axis("arm", frame["arm"].unique(maintain_order=True)), series, tips, titled)


def _apart(section: Section, refused: str | None) -> Section:
    """A section of a report as a comparison has it: losses that say nothing of each other are not drawn, and what is missing is
    said without a command, which would be about one of the two."""
    if refused and section.anchor in ACROSS:
        section = replace(section, figures=(), remarks=(refused,), missing=())
    return replace(section, missing=(), remarks=(*section.remarks, *(one.sentence for one in section.missing)))


def _of(summary: Summary, name: str, full: bool) -> Summary:
    """A summary whose arms are called by their experiment, ``name``, and are greyed where they are not in ``full`` colour."""
    arms = tuple(
        answer.model_copy(
            update={
                "arm": f"{answer.arm} of {name}",
                "baseline": answer.baseline and f"{answer.baseline} of {name}",
                "colour": answer.colour if full else shades(answer.colour, 3)[1],
            }
        )
        for answer in summary.arms
    )
    pairs = tuple(
        pair.model_copy(update={"lower": f"{pair.lower} of {name}", "higher": f"{pair.higher} of {name}"})
        for pair in summary.pairs
    )
    return summary.model_copy(update={"experiment": name, "arms": arms, "pairs": pairs})


def _named(frames: Frames, name: str, colours: dict[str, str]) -> Frames:
    """The frames of an experiment with its arms as they are called in the comparison."""
    arm = pl.col("arm") + f" of {name}"
    return {key: frame.with_columns(arm=arm, colour=arm.replace_strict(colours, default=None)) for key, frame in frames.items()}
