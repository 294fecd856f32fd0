"""Which law predicts scales that it has not seen: the choice between laws is by these, not by how well they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import Interval, ends
from hptransfer.laws.law import Law

DRAWS = 2000  # of held-out rows


@dataclass(frozen=True)
class Rank:
    """A law on the rows that are held out: its mean and largest error relative to the loss, and with ``more`` by how much its
    mean error is above the best law's, with the 80 % interval of the rows' bootstrap. ``refusal``: why it was not fitted."""

    law: str
    mean_relative_error: float | None = None
    max_relative_error: float | None = None
    more: Interval | None = None
    refusal: str = ""

    @property
    def is_told_apart(self) -> bool:
        """Whether its error is above the best law's on other draws of the held-out rows too."""
        return self.more is not None and self.more.low is not None and self.more.low > 0


def compare(laws: Sequence[Law], tables: Mapping[str, pl.DataFrame]) -> list[Rank]:
    """The laws by their error on the rows whose ``held_out`` holds, fitted to the others, the best one first; last those that
    refuse. ``tables``: by the name of the law, with the columns that it needs, ``loss`` and ``held_out``, of the same rows."""
    errors, refused = {}, []
    for law in laws:
        table = tables[law.name]
        rest, last = table.filter(~pl.col("held_out")), table.filter("held_out")
        try:
            predicted = law.fit(rest).predict(last)[0]
        except CheckFailed as error:
            refused.append(Rank(law.name, refusal=str(error)))
            continue
        if np.isfinite(predicted).all():
            errors[law.name] = np.abs(predicted / last["loss"].to_numpy() - 1)
        else:
            refused.append(Rank(law.name, refusal="it says nothing of the rows that are held out"))
    ordered = sorted(errors, key=lambda name: float(errors[name].mean()))
    ranks = []
    for name in ordered:
        apart = errors[name] - errors[ordered[0]]
        rows = np.random.default_rng(0).integers(len(apart), size=(DRAWS, len(apart)))
        low, high = ends(float(apart.mean()), apart[rows].mean(axis=1))
        more = None if name == ordered[0] else Interval(value=float(apart.mean()), low=low, high=high)
        ranks.append(Rank(name, float(errors[name].mean()), float(errors[name].max()), more))
    return [*ranks, *refused]
