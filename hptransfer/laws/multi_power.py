"""The Multi-Power law of schedules (Luo et al., arXiv 2503.12811):
L(s) = L0 + A S1^-alpha - B sum_k (lr_(k-1) - lr_k) G(lr_k^-gamma S_k), with G(x) = 1 - (C x + 1)^-beta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field
from scipy.sparse import csr_matrix

from hptransfer.base.intervals import Array
from hptransfer.laws.curves import Curve
from hptransfer.laws.descent import stopped_early
from hptransfer.laws.least import DRAWN, fit_many, huber
from hptransfer.laws.schedules import THRESHOLD, ScheduleLaw

# Shapes that fits start from, around those that the authors print for three sizes.
ALPHAS, CS, BETAS, GAMMAS = (0.35, 0.5, 0.7), (1.0, 3.0), (0.4, 0.7), (0.4, 0.65)
LEAST = 1e-3  # that an amplitude starts with
NO_LR = 1e-12  # an LR of 0 has no power: the gain of a fall to it is all there at once

# The authors' fit (github.com/thu-yao-01-luo/MultiPowerLaw, src/config.py and src/fitting.py), in the units of their curves.
PEAK, AREA = 3e-4, 6.857  # their peak, and the area under the longest schedule that they fit to
RATES = np.array([5e-2, 5e-2, 5e-3, 5e-2, 5e-2, 5e-3, 5e-3])  # of L0, A, alpha, B, C, beta, gamma
SHAPE = (1.0, 0.5, 0.5)  # C, beta, gamma to begin with
STEPS, PATIENCE = 200, 20


@dataclass(frozen=True)
class Falls:
    """The peak LR; ln S1 (rows,), how far the LR is below the peak (rows,); each pair of a row with a fall before it: ln LR after
    the fall, ln of the area since (pairs, 1), and by ``falls`` (rows, pairs) how much it fell."""

    peak: float
    ln_area: Array
    below: Array
    ln_lr: Array
    ln_since: Array
    falls: csr_matrix

    def gains(self, ln_c: Array, ln_beta: Array, gamma: Array) -> tuple[Array, Array, Array, Array]:
        """The sum over falls (fits, rows), and its derivatives by the three, of shapes (fits,)."""
        beta = np.exp(ln_beta)
        grown = np.exp(ln_c - gamma * self.ln_lr + self.ln_since)
        logarithm = np.log1p(grown)
        left = np.exp(-beta * logarithm)
        by_c = beta * left * grown / (1 + grown)
        gain, c, b, g = (
            np.asarray((self.falls @ term).T) for term in (1 - left, by_c, beta * logarithm * left, -self.ln_lr * by_c)
        )
        return gain, c, b, g


class MultiPower(ScheduleLaw):
    """S_k is the area under the learning rate since the k-th fall: what a fall gives grows with it, towards a limit, and the
    sooner the lower the learning rate is. A rise takes as much away, that of the warm-up too: a line over ``warmup`` steps.

    ``estimator``: ``published`` is the fit of the authors' code: all gains at once first, then AdamW from C = 1 and
    beta = gamma = 1/2, which ends after 200 steps or once 20 have brought nothing, well above the least loss. It is done in units
    of the peak and the longest schedule of their curves, so that its steps mean here what they meant there. ``minimum`` is the
    least Huber loss: closer on the curves that it has seen, and further off on the authors' other ones (dev/LOG.md).
    """

    name = "multi-power"
    summary = "L(s) = L0 + A S1^-alpha - B sum of what each fall of the LR has given, of curves that differ in their schedule"
    coefficients = ("ln L0", "ln A", "alpha", "ln B", "ln C", "ln beta", "gamma")

    estimator: Literal["published", "minimum"] = "published"
    warmup: int | None = Field(None, ge=0, description="steps of the warm-up; up to the earliest row unless given")

    def risen(self, table: pl.DataFrame) -> int:
        """See `ScheduleLaw.risen`."""
        return super().risen(table) if self.warmup is None else self.warmup

    def notes(self, peak: float, warmup: int) -> tuple[str, ...]:
        """See `ScheduleLaw.notes`."""
        stopped = "fitted as its authors do, stopped before the least loss: intervals do not say how far that is"
        line = f"the warm-up is taken to be a line up to the earliest row, step {warmup}; --option warmup=STEPS says otherwise"
        return (
            *super().notes(peak, warmup),
            *([stopped] if self.estimator == "published" else []),
            *([line] if self.warmup is None and warmup > 1 else []),
        )

    def features(self, curves: Sequence[Curve]) -> Falls:
        """See `Falls`."""
        rows, falls, lrs, areas, first = [], [], [], [], 0
        for one in curves:
            fall, lr, since = one.falls()
            row, piece = np.nonzero(since > 0)
            rows.append(row + first)
            falls.append(fall[piece])
            lrs.append(lr[piece])
            areas.append(since[row, piece])
            first += len(one.at)
        row, fall = np.concatenate(rows), np.concatenate(falls)
        return Falls(
            max(one.peak for one in curves),
            np.log(np.concatenate([one.area for one in curves])),
            np.concatenate([one.peak - one.rate[one.at] for one in curves]),
            np.log(np.maximum(np.concatenate(lrs), NO_LR))[:, None],
            np.log(np.concatenate(areas))[:, None],
            csr_matrix((fall, (row, np.arange(len(row)))), shape=(first, len(row))),
        )

    def ln_loss(self, theta: Array, features: Falls) -> Array:
        """See `ScheduleLaw.ln_loss`."""
        return _derived(theta, features)[0]

    def slopes(self, theta: Array, features: Falls) -> Array:
        """See `ScheduleLaw.slopes`."""
        return _derived(theta, features)[1]

    def starts(self, features: Falls, loss: Array) -> Array:
        """At each shape what is linear, by least squares."""
        found = []
        for alpha, c, beta, gamma in product(ALPHAS, CS, BETAS, GAMMAS):
            shape = np.log(c), np.log(beta), gamma
            gain = features.gains(*(np.array([value]) for value in shape))[0][0]
            found.append([*_linear(features, loss, alpha, gain), *shape])
        return np.array(found)

    def solved(self, features: Falls, loss: Array, weights: Array, start: Array | None = None) -> Array:
        """See `ScheduleLaw.solved`, and ``estimator``."""
        if self.estimator == "minimum":
            return super().solved(features, loss, weights, start)
        ln_loss = np.log(loss)
        units = Units(np.log(PEAK / features.peak), np.log(AREA) - features.ln_area.max())
        first = units.theirs(np.hstack([_at_once(features, loss, weights), np.zeros((len(weights), 3))]))
        first[:, 4:] = SHAPE

        def slope(theirs: Array, fits: slice) -> tuple[Array, Array]:
            reached, slopes = _derived(units.ours(theirs), features)
            over, weight = reached - ln_loss, weights[fits]
            gradient = np.einsum("fn,fnp->fp", weight * np.clip(over, -THRESHOLD, THRESHOLD), slopes)
            return (weight * huber(over, THRESHOLD)).sum(axis=1), units.gradient(theirs, gradient)

        return units.ours(stopped_early(slope, first, RATES, steps=STEPS, patience=PATIENCE))

    def named(self, theta: Array) -> dict[str, Array]:
        """In the paper's names; areas in units of the learning rate times steps."""
        floor, a, alpha, b, c, beta, gamma = theta.T
        amplitudes = {"L0": np.exp(floor), "A": np.exp(a), "alpha": alpha, "B": np.exp(b)}
        return amplitudes | {"C": np.exp(c), "beta": np.exp(beta), "gamma": gamma}


def _derived(theta: Array, features: Falls) -> tuple[Array, Array]:
    """ln loss (fits, rows), and its derivatives (fits, rows, 7)."""
    ln_floor, ln_a, alpha, ln_b = theta.T[:4, :, None]
    with np.errstate(all="ignore"):
        floor, power, b = np.exp(ln_floor), np.exp(ln_a - alpha * features.ln_area), np.exp(ln_b)
        gain, *shapes = features.gains(*theta.T[4:])
        loss = floor + power - b * gain
        terms = np.broadcast_to(floor, loss.shape), power, -features.ln_area * power, -b * gain, *(-b * one for one in shapes)
        return np.log(loss), np.stack(terms, axis=-1) / loss[:, :, None]


def _at_once(features: Falls, loss: Array, weights: Array) -> Array:
    """ln L0, ln A, alpha and ln B (fits, 4) where every fall has given all of its gain at once."""

    def form(theta: Array) -> Array:
        ln_floor, ln_a, alpha, ln_b = theta.T[:, :, None]
        power = np.exp(ln_floor) + np.exp(ln_a - alpha * features.ln_area)
        return np.asarray(np.log(power - np.exp(ln_b) * features.below))

    starts = np.array([_linear(features, loss, alpha, features.below) for alpha in ALPHAS])
    found, minima = fit_many(form, np.log(loss), starts, threshold=THRESHOLD)
    best = np.tile(found[minima.argmin()], (len(weights), 1))
    return fit_many(form, np.log(loss), best, weights=weights, threshold=THRESHOLD, settled=DRAWN)[0]


def _linear(features: Falls, loss: Array, alpha: float, gain: Array) -> tuple[float, float, float, float]:
    """ln L0, ln A, alpha and ln B by least squares."""
    terms = np.stack([np.ones_like(loss), np.exp(-alpha * features.ln_area), -gain], axis=1)
    floor, a, b = np.log(np.maximum(np.linalg.lstsq(terms, loss, rcond=None)[0], LEAST))
    return floor, a, alpha, b


@dataclass(frozen=True)
class Units:
    """Theirs are L0, A, alpha, B, C, beta, gamma (fits, 7) of learning rates exp(``ln_rate``) times as high as ours and areas
    exp(``ln_area``) times as large; ours the coefficients of the law."""

    ln_rate: float
    ln_area: float

    def ours(self, theirs: Array) -> Array:
        """Coefficients from theirs; nan where an amplitude has gone below 0."""
        floor, a, alpha, b, c, beta, gamma = theirs.T
        with np.errstate(invalid="ignore", divide="ignore"):
            ln_a, ln_b = np.log(a) - alpha * self.ln_area, np.log(b) + self.ln_rate
            ln_c = np.log(c) - gamma * self.ln_rate + self.ln_area
            return np.stack([np.log(floor), ln_a, alpha, ln_b, ln_c, np.log(beta), gamma], axis=1)

    def theirs(self, ours: Array) -> Array:
        """The inverse of `ours`."""
        floor, a, alpha, b, c, beta, gamma = ours.T
        ln_a, ln_b, ln_c = a + alpha * self.ln_area, b - self.ln_rate, c + gamma * self.ln_rate - self.ln_area
        return np.stack([np.exp(floor), np.exp(ln_a), alpha, np.exp(ln_b), np.exp(ln_c), np.exp(beta), gamma], axis=1)

    def gradient(self, theirs: Array, by_ours: Array) -> Array:
        """Derivatives by theirs from those by ours."""
        result = by_ours.copy()
        result[:, 2] -= self.ln_area * by_ours[:, 1]
        result[:, 6] -= self.ln_rate * by_ours[:, 4]
        result[:, [0, 1, 3, 4, 5]] /= theirs[:, [0, 1, 3, 4, 5]]
        return result
