"""Which charts a report has, in reading order, and what is said where one has nothing to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import polars as pl
import vl_convert

from hptransfer.base.refusals import Refusal
from hptransfer.experiment.choice import arm_options
from hptransfer.report import charts
from hptransfer.report.charts.parts import in_words
from hptransfer.report.frames.heldout import PROBES, TRANSFERS
from hptransfer.report.frames.search import NEAR_BEST_LR
from hptransfer.report.summary import Answer, Missing, Summary
from hptransfer.report.text import BESIDE_THE_LADDER, listing, percent, plain

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

    @cached_property
    def _described(self) -> dict[str, Any]:
        # Not validated, which takes longer than the rest: that charts are valid is tested.
        return in_words(self.chart.to_dict(validate=False)) | {"description": f"{self.title}. {self.note}".strip()}

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification for the page, without the title, which the page sets as text."""
        return self._described

    def svg(self) -> str:
        """The chart as it stands by itself. Nothing is fetched."""
        spec = self._described | {"title": self.title, "width": FIGURE_WIDTH}
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
    refused = ((answer.arm, answer.refusal) for answer in summary.arms if answer.refusal)
    refusals = tuple(f"{arm}: {refusal.text}" for arm, refusal in refused if refusal.code != "alone")

    def absent(shown: Sequence[Figure | str], sentence: str, stage: str) -> tuple[Missing, ...]:
        return () if shown else (Missing(sentence=sentence, command=f"python -m hptransfer.{stage}{options}"),)

    lr = tuple(_lr_curves(frames))
    decay, undrawn = _weight_decay(frames)
    is_decayed = any("weight_decay" in answer.hyperparameters or not answer.hyperparameters for answer in summary.arms)
    optima = tuple(_optimum(frames["optimum_against_width"]))
    checks = tuple(_coordinates(frames["coordinate_checks"]))
    tests = tuple(_held_out(frames["regret"], frames["perturbations"]))
    untested = "prediction has been tested" if frames["regret"].is_empty() else "probe around a prediction has been run"
    compute = tuple(_compute(frames["loss_against_compute"]))
    saved = tuple(_saved(frames["multipliers"], frames["multiplier_over_scale"]))
    training = tuple(_training(frames["training_curves"]))
    lost = tuple(
        f"{arm}: its predicted run {part['state'][0]} on some seed, so that nothing is compared with it."
        for arm, part in _by_arm(frames["regret"].filter(pl.col("kind") == "predicted", pl.col("state") != "complete"))
    )
    is_alone = len(summary.arms) == 1 or all(answer.is_baseline for answer in summary.arms)
    alone = (Refusal.of("alone", name=summary.arms[0].arm).text,) if is_alone else ()
    found = (
        Section(
            "learning-rate",
            "Loss against learning rate",
            "Every run of the search. Lines are the fitted bowl at its best weight decay, so runs with another one lie above. "
            "Thick bars are the learning rates that cannot be told from the best: two standard deviations of the noise. "
            "Diamonds mark the lowest loss of each width, faint dots are runs with another embedding LR ratio. At the top, "
            "triangles are runs above the frame and crosses runs that diverged.",
            lr,
            absent(lr, "No run at a searched width has completed yet.", "search"),
        ),
        Section(
            "weight-decay",
            "Loss against weight decay",
            "Runs whose learning rate is near the best of their width: by the fitted bowl it costs them at most "
            f"{percent(NEAR_BEST_LR)} of the loss, or two standard deviations of the noise where that is more. "
            "This cost is taken off. Runs inside the band cannot be told from the best.",
            decay,
            absent(
                [*decay, *undrawn] if is_decayed else ["none is tuned"],
                "Weight decay is shown once a bowl has been fitted to the learning rates.",
                "transfer",
            ),
            undrawn,
        ),
        Section(
            "width",
            "The optimum against width",
            f"Optima with 80 % intervals, the line used with its 80 % band, the line that theory expects, and the prediction at "
            f"width {width}. A steeper line than theory's means that the best learning rate drifts.",
            optima,
            absent(optima, "No optimum has been fitted yet.", "transfer"),
        ),
        Section(
            "coordinates",
            "Coordinate check",
            "How the first steps move the activations, against width: under a right parametrization not at all, slope 0. "
            "The band is the tolerance, bars are the range over seeds, faint steps are shown but not judged.",
            checks,
            _unchecked(frames["coordinate_checks"], summary.arms, options),
        ),
        Section(
            "held-out",
            f"The test at width {width}",
            "The predicted runs, and runs at other hyperparameters, with the same training tokens and batches. The measured "
            "regret is that of a bowl through the probes, whose lowest place need not be one of them.",
            tests,
            absent([*tests, *lost], f"No {untested} yet.", "validate"),
            lost,
        ),
        Section(
            "compute",
            "Loss against compute",
            "Only final losses: the best run of every searched width (solid line), the prediction at "
            f"width {width}, where nobody tuned (diamond), and the baseline's ladder of horizons at that width (dotted line). "
            "The best of several runs looks better than it is, by about the noise; the prediction has no such advantage.",
            compute,
            () if summary.runs.get("complete") else absent(compute, "No run has completed yet.", "search"),
            () if compute or not summary.runs.get("complete") else ("The runs do not say what compute they took.",),
        ),
        Section(
            "multiplier",
            "The compute that is saved",
            "How many times the compute the baseline needs for the same final loss.",
            saved,
            absent([*saved, *refusals, *alone], "No multiplier has been measured yet.", "validate"),
            (*refusals, *alone),
        ),
        Section(
            "training",
            "Training curves",
            f"Predicted runs at width {width} and the baseline's ladder of horizons. Compare the dots, the final losses.",
            training,
            absent([*training, *tests], f"No predicted run at width {width} has finished yet.", "validate"),
            () if training or not tests else ("The runs say no losses on the way, or not after how many tokens.",),
        ),
    )
    return tuple(one for one in found if one.figures or one.missing or one.remarks)  # a program has no activations to check


def _lr_curves(frames: Mapping[str, pl.DataFrame]) -> Iterable[Figure]:
    for arm, part in _by_arm(frames["lr_curves"]):
        if part["loss"].is_not_null().any():
            fit, basins, told = (frames[name].filter(arm=arm) for name in ("lr_fit", "lr_basins", "predictions"))
            note = "".join(f"Dotted: the prediction for width {width}; shaded: its 80 % interval." for width in told["width"])
            title = f"{arm}: loss against learning rate"
            yield Figure(f"lr-curves-{arm}", title, note, charts.lr_curves(part, fit, basins, told))


def _weight_decay(frames: Mapping[str, pl.DataFrame]) -> tuple[tuple[Figure, ...], tuple[str, ...]]:
    """The charts, and a sentence for every arm without one."""
    figures, sentences = [], []
    for arm, told in _by_arm(frames["predictions"]):
        if told["weight_decay"][0] is None:
            continue
        part = frames["weight_decay_curves"].filter(arm=arm)
        if part["weight_decay"].n_unique() < 2:
            sentences.append(f"{arm}: fewer than two weight decays were tried near the best learning rate.")
            continue
        status = told["weight_decay_status"][0]
        note = f"Dotted: the prediction for width {told['width'][0]}, {status}."
        title = f"{arm}: loss against weight decay"
        figures.append(Figure(f"weight-decay-{arm}", title, note, charts.weight_decay_curves(part, told)))
    return tuple(figures), tuple(sentences)


def _optimum(frame: pl.DataFrame) -> Iterable[Figure]:
    for arm, part in _by_arm(frame):
        title = f"{arm}: best learning rate against width"
        yield Figure(f"optimum-against-width-{arm}", title, "", charts.optimum_against_width(part))


def _coordinates(frame: pl.DataFrame) -> Iterable[Figure]:
    if frame["slope"].is_not_null().any():
        yield Figure("coordinate-check", "Slope of the movement with width", _conditions(frame), charts.coordinate_checks(frame))


def _conditions(frame: pl.DataFrame) -> str:
    """Where the checks were made, and which of them failed."""
    shared = ["widths", "base_width", "corpus", "seeds"]
    sentences = []
    for where, part in frame.group_by(shared, maintain_order=True):
        widths, base, corpus, seeds = where
        rates = part.group_by("arm", maintain_order=True).agg(pl.col("lr").first())
        lrs = [f"{arm} {plain(lr)}" for arm, lr in rates.iter_rows()]
        sentences.append(
            f"Measured at width {widths} (base {base}), {seeds} seeds, corpus {corpus}, constant LR: {listing(lrs)}."
        )
    for arm, part in _by_arm(frame.filter(pl.col("outcome") == "fails")):
        places = [f"{role} at t = {step}" for role, step in part.select("role", "step").iter_rows()]
        sentences.append(f"{arm} fails: {listing(places)}.")
    return " ".join(sentences)


def _unchecked(checked: pl.DataFrame, answers: Sequence[Answer], options: str) -> tuple[Missing, ...]:
    """The arms of the experiment without a coordinate check, in one sentence."""
    left = [answer for answer in answers if answer.arm not in set(checked["arm"]) and not answer.is_program]
    if not left:
        return ()
    return (
        Missing(
            sentence=f"There is no coordinate check of {listing([one.arm for one in left])}.",
            command=f"python -m hptransfer.coordcheck{options} {arm_options([left[0].arm])}",
        ),
    )


def _held_out(regret: pl.DataFrame, perturbations: pl.DataFrame) -> Iterable[Figure]:
    for kind, what in (("lr_probe", "learning rate"), ("weight_decay_probe", "weight decay")):
        if regret.filter(pl.col("kind") == kind).height and regret["regret"].is_not_null().any():
            note = (
                "Diamonds are the predictions, the others probes around them; bars are one standard error, crosses diverged runs."
            )
            name = f"regret-{what.replace(' ', '-')}"
            yield Figure(name, f"Regret around the predicted {what}", note, charts.regret(regret, kind))
    noise = "Bars are one standard deviation of a difference of two runs."
    perturbations = perturbations.filter(pl.col("change").is_not_null() | (pl.col("state") == "diverged"))
    probes = perturbations.filter(pl.col("kind").is_in(PROBES))
    if not probes.is_empty():
        yield Figure("perturbations", "What other hyperparameters cost", noise, charts.perturbations(probes))
    transfers = perturbations.filter(pl.col("kind").is_in(TRANSFERS))
    if not transfers.is_empty():
        note = (
            "Same hyperparameters: those of the smallest width, no rule. muP alone: no fitted drift, weight decay kept. " + noise
        )
        yield Figure("transfers", "What simpler transfers cost", note, charts.perturbations(transfers))


def _compute(frame: pl.DataFrame) -> Iterable[Figure]:
    if frame["compute"].is_not_null().any():
        chosen = "The baseline's ladder starts at its best probe, run anew with fresh seeds: it won over the prediction."
        note = f"{chosen} {_ends(frame)}" if "chosen" in frame["kind"] else _ends(frame)
        yield Figure("loss-against-compute", "Final loss against training compute", note, charts.loss_against_compute(frame))


def _saved(multipliers: pl.DataFrame, sizes: pl.DataFrame) -> Iterable[Figure]:
    if not multipliers.is_empty():
        note = (
            "From the baseline's ladder of horizons at the held-out width. Bars are 80 % intervals; a triangle is a bound. "
            f"{BESIDE_THE_LADDER}"
        )
        yield Figure("compute-multiplier", "Compute multiplier over the baseline", note, charts.multipliers(multipliers))
    if not sizes.is_empty():
        note = (
            "Solid: between the baseline's losses over sizes, hollow where extrapolated. Dashed: a power law through them. "
            "Diamond: the baseline's ladder of horizons. Bars are 80 % intervals; a triangle is a bound, on its side."
        )
        yield Figure("multiplier-over-scale", "Compute multiplier over scale", note, charts.multiplier_over_scale(sizes))


def _ends(frame: pl.DataFrame) -> str:
    """Whether the final losses are annealed."""
    flat = [arm for arm, _ in _by_arm(frame.filter(~pl.col("annealed")))]
    if not flat:
        return "Final losses are annealed."
    return f"At a constant LR, not annealed, and not to be compared with annealed losses: {listing(flat)}."


def _training(frame: pl.DataFrame) -> Iterable[Figure]:
    if frame["tokens"].is_not_null().any():
        yield Figure("training-by-tokens", "Validation loss by tokens", _ends(frame), charts.training_curves(frame, "tokens"))
    if frame["wall_seconds"].is_not_null().any():
        note = "Seconds of training without evaluation, in proportion to steps."
        by_wall_clock = charts.training_curves(frame, "wall_seconds")
        yield Figure("training-by-wall-clock", "Validation loss by wall-clock", note, by_wall_clock)


def _by_arm(frame: pl.DataFrame) -> Iterable[tuple[str, pl.DataFrame]]:
    for arm in frame["arm"].unique(maintain_order=True):
        yield arm, frame.filter(arm=arm)
