"""A series of models on one dial: whether their training curves cross. Pure.

nanochat's miniseries (github.com/karpathy/nanochat, discussion 420) is judged by it: where every size is trained to its own
compute-optimal horizon, "non-intersecting" curves say that each stops before a larger one would have been the better use of its
compute, and that the order of the sizes at one place is their order at every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hptransfer.base.intervals import Array
from hptransfer.base.words import known, percent, plain
from hptransfer.runs.record import Record

Curve = Sequence[tuple[float, float]]  # (FLOPs, loss), FLOPs ascending


@dataclass(frozen=True)
class CurvePair:
    """Two curves by their names. ``flops``: from where to where there are both; None: nowhere, and nothing is known of them.
    ``crossing``: the first FLOPs at which the lower one becomes the higher one; None: it does not. ``apart``: the least distance
    between them, relative to the loss; 0 where they cross."""

    smaller: str
    larger: str
    flops: tuple[float, float] | None
    crossing: float | None
    apart: float | None

    @property
    def words(self) -> dict[str, str]:
        """Its line of a table."""
        shared = "share no FLOPs" if self.flops is None else f"{plain(self.flops[0])} to {plain(self.flops[1])}"
        cross = "-" if self.flops is None else "no" if self.crossing is None else f"at {plain(self.crossing)} FLOPs"
        named = {"smaller": self.smaller, "larger": self.larger, "FLOPs": shared, "cross": cross}
        return named | {"apart at least": known(self.apart, percent)}


def curve_pairs(curves: Mapping[str, Curve]) -> list[CurvePair]:
    """Every two of the curves, compared where both are: at the points of either, straight in ln FLOPs and loss in between."""
    return [_compared(one, other, np.array(curves[one]), np.array(curves[other])) for one, other in combinations(curves, 2)]


def curve_of(record: Record) -> Curve:
    """Validation loss (nats per token) over FLOPs spent, forward and backward; empty where a run does not say them.

    Without the last point: hptransfer's trainer measures it on eight times the tokens of the others, and the two would differ by
    what they are measured on.
    """
    tokens, flops = record.point.scales.get("tokens"), record.job.flops
    if not tokens or not flops:
        return []
    return [(flops * one.tokens / tokens, one.val) for one in record.outcome.curve[:-1] if one.tokens and one.val is not None]


def _compared(smaller: str, larger: str, one: Array, other: Array) -> CurvePair:
    nothing = CurvePair(smaller, larger, None, None, None)
    if not len(one) or not len(other):
        return nothing
    low, high = max(one[0, 0], other[0, 0]), min(one[-1, 0], other[-1, 0])
    if low > high:
        return nothing
    both = np.unique(np.concatenate([one[:, 0], other[:, 0]]))
    x = np.log(both[(both >= low) & (both <= high)])
    first, second = (np.interp(x, np.log(curve[:, 0]), curve[:, 1]) for curve in (one, other))
    gap = first - second
    signs = np.sign(gap)
    turned = np.flatnonzero(signs * signs[np.flatnonzero(signs)[0]] < 0) if signs.any() else np.array([], int)
    if not len(turned):
        return CurvePair(smaller, larger, (float(low), float(high)), None, float(np.min(np.abs(gap) / second)))
    at = turned[0]
    crossing = x[at - 1] + gap[at - 1] / (gap[at - 1] - gap[at]) * (x[at] - x[at - 1])
    return CurvePair(smaller, larger, (float(low), float(high)), float(np.exp(crossing)), 0.0)
