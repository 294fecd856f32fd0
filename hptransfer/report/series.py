"""The page of a series of models on one dial: their training curves, and whether any two cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from hptransfer.base.words import listing, percent
from hptransfer.experiment import Experiment
from hptransfer.laws.plot import Along, Plot
from hptransfer.laws.series import Curve, CurvePair
from hptransfer.report.document import Document, Section, Table
from hptransfer.report.frames import Frames
from hptransfer.report.laws import provenance
from hptransfer.report.plots import figure_of
from hptransfer.validate.sentences import Verdict

Curves = Mapping[str, Mapping[str, Curve]]

CROSSING = (
    "Where every size is trained to its own horizon, curves that do not cross say that each stops before a larger one would have "
    "used the compute better."
)
CURVES = "Each line is the training curve of a size's best run, up to the last loss before its end, which more tokens measure."


def series_page(
    experiment: Experiment, curves: Curves, pairs: Mapping[str, Sequence[CurvePair]], /, **origin: str
) -> tuple[Document, Frames]:
    """The page of an experiment: the training ``curves`` by arm and size, and the ``pairs`` of every arm that were compared;
    ``origin``: where the runs are from, by what it is."""
    frame = pl.DataFrame(
        [
            {"series": f"{arm}, {size}", "family": arm, "look": "line", "flops": flops, "loss": loss}
            for arm, found in curves.items()
            for size, curve in found.items()
            for flops, loss in curve
        ],
        schema={"series": pl.String, "family": pl.String, "look": pl.String, "flops": pl.Float64, "loss": pl.Float64},
    )
    rows = [{"arm": arm} | one.words for arm, found in pairs.items() for one in found]
    compute, loss = Along("flops", "training FLOPs"), Along("loss", "loss (nats per token)")
    plot = Plot("training-curves", "Loss against compute while training", compute, loss, frame, CURVES)
    figures = () if frame.is_empty() else (figure_of(plot),)
    sections = (*filter(None, [Section("curves", "The training curves", figures=figures)]), provenance(**origin))
    verdicts = tuple(Verdict(text=f"{arm}: {_verdict(found)}") for arm, found in pairs.items())
    lead = (*filter(None, [experiment.description]), CROSSING)
    title = f"{experiment.name}: do the curves cross?"
    return Document(title, lead, Table.of(rows), verdicts, (), sections), {"pairs": pl.DataFrame(rows), plot.name: frame}


def _verdict(pairs: Sequence[CurvePair]) -> str:
    both = [one for one in pairs if one.flops is not None]
    crossing = [f"{one.smaller} and {one.larger}" for one in both if one.crossing is not None]
    if not both:
        return "no two sizes have a loss at the same FLOPs."
    if crossing:
        return f"{listing(crossing)} cross."
    nearest = min(both, key=lambda one: one.apart or 0.0)
    apart = f"{nearest.smaller} and {nearest.larger} come nearest, {percent(nearest.apart or 0.0)} of the loss apart"
    rest = f"; the other {len(pairs) - len(both)} of {len(pairs)} pairs share no FLOPs" if len(both) < len(pairs) else ""
    return f"no two curves cross where both have the same FLOPs: {apart}{rest}."
