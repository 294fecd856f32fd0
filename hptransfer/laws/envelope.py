"""The envelope of training curves: which size is the best at each compute (arXiv 2203.15556, approach 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import Array
from hptransfer.laws.columns import FLOPS, D, N
from hptransfer.laws.law import ComputeOptimum, Fitted, Law, interval, intervals, quiet, require_spread
from hptransfer.laws.least import line

PLACES = 400  # of compute, at equal steps of its logarithm (the paper takes 1,500)
FEWEST = 5  # sizes: two of them are the ends, whose own optimum is not seen


class Envelope(Law):
    """At each compute the size whose loss would be lowest there, and power laws of compute through these sizes and their tokens.

    A row is a point of a training curve, or the end of a run; the rows of one N are one curve, its lowest loss so far. The best
    size is at the vertex of the parabola through the lowest curve and its two neighbours: sizes of a ladder are far apart, and
    the paper's choice of one of them errs by steps. Where the smallest or the largest size is the best nothing is known of the
    optimum, and the place does not count. Draws are parabolas through each curve with the noise anew that these leave. Losses in
    mid-schedule are higher than those of runs that end there: give the ends of runs of several horizons where there are such.
    """

    name = "envelope"
    summary = "the lowest curve at each compute (approach 1 of Hoffmann et al.); the best N goes as C^a, the best D as C^b"
    needs = (FLOPS, N, D)

    @quiet
    def fit(self, table: pl.DataFrame) -> EnvelopeFitted:
        """See `Law.fit`."""
        require_spread(table, self.name, 2 * FEWEST, N=FEWEST)
        curves = [_Curve.of(rows) for _, rows in table.sort("N", "flops").group_by("N", maintain_order=True)]
        ln_compute = np.log(table["flops"].to_numpy())
        places = np.linspace(ln_compute.min(), ln_compute.max(), PLACES)
        freedom = sum(max(0, len(one.rough) - 3) for one in curves)
        noise = math.sqrt(sum(float((one.rough**2).sum()) for one in curves) / max(1, freedom))
        rng = np.random.default_rng(self.seed)
        drawn = (_lines(places, [one.drawn(noise, rng) for one in curves]) for _ in range(self.draws))
        lines = [_lines(places, curves), *drawn]
        if not np.isfinite(lines[0]).all():
            raise CheckFailed("law envelope: no size between the smallest and the largest is the best over a range of compute")
        found = np.array(lines)
        named = {"a": found[:, 1], "b": found[:, 3]}
        return EnvelopeFitted(self, intervals(named), len(table), middle=float(places.mean()), lines=found)


@dataclass(frozen=True)
class _Curve:
    """The rows of one size, all logarithms, by compute; ``rough``: what a parabola through them leaves."""

    ln_n: float
    ln_flops: Array
    ln_d: Array
    ln_loss: Array
    rough: Array

    @classmethod
    def of(cls, rows: pl.DataFrame) -> _Curve:
        ln_flops, ln_d, ln_loss = (np.log(rows[name].to_numpy()) for name in ("flops", "D", "loss"))
        design = np.vander(ln_flops - ln_flops.mean(), min(3, len(rows)))
        rough = ln_loss - design @ np.linalg.lstsq(design, ln_loss, rcond=None)[0]
        return cls(math.log(rows["N"][0]), ln_flops, ln_d, ln_loss, rough)

    def drawn(self, noise: float, rng: np.random.Generator) -> _Curve:
        """With other noise in place of its own."""
        return replace(self, ln_loss=self.ln_loss - self.rough + noise * rng.standard_normal(len(self.rough)))

    def at(self, places: Array) -> tuple[Array, Array]:
        """The lowest ln loss so far, infinite beyond the ends, and ln tokens."""
        lowest = np.minimum.accumulate(self.ln_loss)
        loss = np.interp(places, self.ln_flops, lowest, left=np.inf, right=np.inf)
        return loss, np.interp(places, self.ln_flops, self.ln_d)


def _lines(places: Array, curves: Sequence[_Curve]) -> list[float]:
    """Value at the middle of the places and slope of ln N, then of ln D, along ln compute; nan where sizes do not turn over."""
    loss, ln_d = (np.array(part) for part in zip(*(one.at(places) for one in curves), strict=True))
    ln_n, best = np.array([one.ln_n for one in curves]), loss.argmin(axis=0)
    at = np.flatnonzero((best > 0) & (best < len(curves) - 1))
    three = best[at] + np.array([[-1], [0], [1]])
    seen = np.isfinite(loss[three, at]).all(axis=0)
    at, three = at[seen], three[:, seen]
    if len(set(best[at])) < 2:
        return [np.nan] * 4
    x, y, d = ln_n[three], loss[three, at], ln_d[three, at]
    slopes = np.diff(y, axis=0) / np.diff(x, axis=0)
    vertex = (x[0] + x[1]) / 2 - slopes[0] * (x[2] - x[0]) / (2 * (slopes[1] - slopes[0]))
    found = []
    for values in (vertex, d[1] + (d[2] - d[0]) / (x[2] - x[0]) * (vertex - x[1])):
        middle, slope = line(places[at], values[None])
        found += [float(middle[0] + slope[0] * (places.mean() - places[at].mean())), float(slope[0])]
    return found


@dataclass(frozen=True)
class EnvelopeFitted(Fitted):
    """`Envelope` fitted: ``lines`` (1 + draws, 4) are ln N and ln D at ln compute ``middle``, each with its slope."""

    middle: float = field(kw_only=True)
    lines: Array = field(kw_only=True)

    def predict(self, table: pl.DataFrame) -> Array:
        """Nothing: an envelope says which size is best and not what its loss is."""
        return np.full((1 + self.law.draws, len(table)), np.nan)

    @quiet
    def optimal(self, flops: Sequence[float]) -> tuple[ComputeOptimum, ...]:
        """On the power laws."""
        found = []
        for compute in flops:
            apart = np.log(compute) - self.middle
            ln_n, ln_d = (self.lines[:, k] + self.lines[:, k + 1] * apart for k in (0, 2))
            found.append(ComputeOptimum(compute, interval(np.exp(ln_n)), interval(np.exp(ln_d)), interval(np.exp(ln_d - ln_n))))
        return tuple(found)
