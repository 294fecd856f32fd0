"""Which law predicts scales that it has not seen: the choice between laws is by these, not by how well they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import Array, Interval
from hptransfer.base.words import ends, known
from hptransfer.laws.law import Law, interval

FEW = 5  # rows held out, of which no interval is worth much


@dataclass(frozen=True)
class Rank:
    """A law on the rows that are held out: its mean and largest error relative to the loss, and with ``more`` by how much its
    mean error is above the best law's, with an 80 % interval. ``refusal``: why it was not fitted, or predicts nothing; ``notes``:
    what must be said of its fit.

    The interval is over draws of both fits, the same rows weighing more in either, and of the rows that are held out. It holds
    no other scale, corpus or recipe than theirs.
    """

    law: str
    mean_relative_error: float | None = None
    max_relative_error: float | None = None
    more: Interval | None = None
    is_told_apart: bool = False
    refusal: str = ""
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> dict[str, str]:
        """Its line of a table."""
        errors = {"mean error": self.mean_relative_error, "largest": self.max_relative_error}
        told = "refused" if self.refusal else "best" if self.more is None else "yes" if self.is_told_apart else "no"
        more = "-" if self.more is None else f"{self.more.value:.3%} ({ends(self.more, '{:.3%}'.format)})"
        shown = {name: known(error, "{:.3%}".format) for name, error in errors.items()}
        return {"law": self.law, **shown, "more than the best": more, "told apart": told}


def compare(laws: Sequence[Law], tables: Mapping[str, pl.DataFrame]) -> list[Rank]:
    """The laws by their error on the rows whose ``held_out`` holds, fitted to the others, the best one first; last those that
    refuse. ``tables``: by the name of the law, with the columns that it needs, ``loss`` and ``held_out``, of the same rows.
    Laws of one seed and as many draws are drawn alike."""
    errors, notes, refused = {}, {}, []
    for law in laws:
        table = tables[law.name]
        rest, last = table.filter(~pl.col("held_out")), table.filter("held_out")
        try:
            fitted = law.fit(rest)
            predicted = fitted.predict(last)
        except CheckFailed as error:
            refused.append(Rank(law.name, refusal=str(error)))
            continue
        if np.isfinite(predicted[0]).all():
            errors[law.name], notes[law.name] = np.abs(predicted / last["loss"].to_numpy() - 1), fitted.notes
        else:
            refused.append(Rank(law.name, refusal="it says nothing of the rows that are held out", notes=fitted.notes))
    means = {name: _means(error) for name, error in errors.items()}
    ordered = sorted(means, key=lambda name: float(means[name][0]))
    ranks = []
    for name in ordered:
        more = None if name == ordered[0] else _more(means[name], means[ordered[0]])
        told = more is not None and more.low is not None and more.low > 0
        ranks.append(Rank(name, float(means[name][0]), float(errors[name][0].max()), more, told, notes=notes[name]))
    return [*ranks, *refused]


def _means(error: Array) -> Array:
    """Mean errors (1 + draws,) over rows, of the fit plainly and of every draw with other weights of the rows."""
    weights = np.random.default_rng(0).exponential(size=error.shape)
    weights[0] = 1
    return np.asarray((weights * error).sum(axis=1) / weights.sum(axis=1))


def _more(means: Array, best: Array) -> Interval:
    count = min(len(means), len(best))
    return interval(means[:count] - best[:count])
