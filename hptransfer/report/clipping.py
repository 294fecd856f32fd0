"""The section on clipping: every threshold in every cell, and the verdict on each."""

from __future__ import annotations

from collections.abc import Sequence

from hptransfer.base.intervals import Interval
from hptransfer.base.words import known, listing, plain, probability, share
from hptransfer.report.document import Section, Table
from hptransfer.transfer.axes import cell_words
from hptransfer.validate.clipping import AtThreshold, Clipping, Helps

FINDINGS: dict[Helps, str] = {
    "helps": "helps",
    "hurts": "hurts",
    "no_difference": "makes no difference that these runs show",
    "cannot_tell": "cannot tell",
}
INTRO = (
    "Each threshold on the gradient's norm, tuned as the arm without one. Losses are the lowest of the bowl through all runs of "
    "an arm; validate --survival adds seeds at its best learning rate. Time is of the norm and of scaling by it; without a "
    "threshold it is of the norm alone, which our trainer takes in any case, to find a gradient that is not finite."
)


def section(found: Sequence[Clipping]) -> Section:
    """Empty where no arms differ in their threshold alone."""
    tables = [table for study in found for table in (verdict_table(study), cell_table(study))]
    return Section("clipping", "Clipping", INTRO, tables=tuple(tables))


def verdict_table(study: Clipping) -> Table:
    """Every threshold over all cells."""
    rows = [
        {
            "arm": one.arm,
            "largest norm": plain(one.threshold),
            "verdict": FINDINGS[one.finding],
            "loss against none": known_difference(one.difference),
            "p-value": known(one.p_value, probability),
            "noise of a run": known(one.noise, share),
        }
        for one in study.verdicts
    ]
    cells = listing(list(dict.fromkeys(cell_words(one.scales) for one in study.searched)))
    caption = (
        f"Against {study.unclipped}, over {cells}, where all were tuned. Helps, hurts: shown at 95 % one-sided for all "
        "thresholds together. No difference: the 80 % interval holds none as large as the noise of one run."
    )
    return Table.of(rows, caption)


def cell_table(study: Clipping) -> Table:
    """Every arm in every cell."""
    rows = [
        {
            "cell": cell_words(one.scales),
            "arm": one.arm,
            "best LR": plain(one.lr),
            "loss": "-" if one.loss is None else f"{one.loss:.4f}",
            "standard error": "-" if one.standard_error is None else f"{one.standard_error:.4f}",
            "runs": str(one.runs),
            "against none": known_difference(one.difference),
            "steps clipped": known(one.share, share),
            "in any run": _range(one),
            "diverged from LR": known(one.diverged_from),
            "of training time": known(one.time, share),
        }
        for one in (*study.searched, *study.held_out)
    ]
    caption = "Every arm in every cell. Learning rates are in base coordinates."
    if study.held_out:
        caption += f" At {cell_words(study.held_out[0].scales)} they are seeds at the predictions, whose errors count here."
    return Table.of(rows, caption)


def known_difference(interval: Interval | None) -> str:
    """A relative difference whose sign counts, in percent."""
    if interval is None or interval.low is None or interval.high is None:
        return "-"
    return f"{100 * interval.value:+.2f} % ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"


def _range(one: AtThreshold) -> str:
    if one.least is None or one.most is None:
        return "-"
    return share(one.least) if one.least == one.most else f"{share(one.least)} to {share(one.most)}"
