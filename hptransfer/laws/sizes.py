"""Laws of size and horizon, L(N, D): how any of them is fitted, drawn again, and read for its compute-optimal models."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from hptransfer.base.intervals import TAIL, Array, Interval
from hptransfer.base.words import plain
from hptransfer.laws.columns import D, N, groups, ln_of
from hptransfer.laws.law import ComputeOptimum, Fitted, Law, interval, intervals, quiet, require_spread
from hptransfer.laws.least import DRAWN, SETTLED, fit_many
from hptransfer.laws.plot import MEASURED, Along, Plot, band, stacked

THRESHOLD = 1e-3  # of the Huber loss on residuals of ln loss (arXiv 2203.15556, section D.3)
FEWEST = 3  # different sizes, and horizons
LEAST, MOST = 1e-2, 1e5  # tokens per parameter between which an optimum is looked for
BEYOND = 27  # decade of training FLOPs up to which it is said where there is none
LOOKED_AT = 201  # fit and draws of which it is said
SHOWN = 0.05  # of the lowest loss, an asymptote that is told from 0
DRAWN_SIZES, SAME_SIZE = 6, 1.05  # sizes of a figure, and by how much those that it takes for one may differ
HIGHEST, TOLD = 0.02, 2  # share of the rows with the highest losses whose influence is told, where it is as many rows or more


class SizeLaw(Law):
    """A law of the final loss in parameters N and training tokens D, fitted to ln loss by the Huber loss.

    A member says its ``coefficients``, what they predict (`ln_loss`), where fits start (`starts`) and what the paper's names
    stand for (`named`). Draws are of the Bayesian bootstrap (Rubin, Ann. Statist. 9, 130, 1981), each started at the fit: pairs
    drawn with replacement lose whole sizes of a small ladder, and their intervals held nine of ten truths rather than eight.
    """

    needs = (N, D)
    scale = "N"
    coefficients: ClassVar[tuple[str, ...]]
    sizes: ClassVar[int] = FEWEST

    flops_factor: float = Field(6.0, gt=0, description="training FLOPs are this times N times D")

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of the Huber loss on residuals of ln loss: the last one counts, those before it lead there."""
        return (THRESHOLD,)

    def fixed(self, ln_n: Array, ln_d: Array) -> Mapping[int, float]:
        """Coefficients that are not fitted, by their place, for a table's ln N and ln D."""
        return {}

    @abstractmethod
    def ln_loss(self, theta: Array, ln_n: Array, ln_d: Array) -> Array:
        """ln loss (fits, rows) by coefficients (fits, p) at ln N and ln D, (rows,) or (fits, rows)."""

    @abstractmethod
    def starts(self, ln_n: Array, ln_d: Array, loss: Array) -> Array:
        """Coefficients (starts, p) that fits begin with."""

    @abstractmethod
    def named(self, theta: Array) -> dict[str, Array]:
        """The parameters (fits,) by the paper's names."""

    def ln_optimum(self, theta: Array, ln_flops: float) -> Array:
        """ln N (fits,) of the lowest loss at a training compute, between sizes on both sides that are worse; nan where there is
        none from `LEAST` to `MOST` tokens per parameter. By finer and finer grids, for laws without a closed form."""
        ln_nd = ln_flops - math.log(self.flops_factor)
        low, high = (np.full(len(theta), (ln_nd - math.log(ratio)) / 2) for ratio in (MOST, LEAST))
        turns = np.ones(len(theta), dtype=bool)
        for _ in range(4):
            ln_n = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, 65)
            loss = self.ln_loss(theta, ln_n, ln_nd - ln_n)
            inner = loss[:, 1:-1]
            inner = np.where((inner <= loss[:, :-2]) & (inner <= loss[:, 2:]), inner, np.inf)
            at, rows = inner.argmin(axis=1) + 1, np.arange(len(theta))
            turns &= np.isfinite(inner[rows, at - 1])
            low, high = ln_n[rows, at - 1], ln_n[rows, at + 1]
        return np.where(turns, (low + high) / 2, np.nan)

    def notes(self, theta: Array, table: pl.DataFrame) -> tuple[str, ...]:
        """What must be said of a fit (1 + draws, p)."""
        return ()

    @quiet
    def fit(self, table: pl.DataFrame) -> SizeFitted:
        """The coefficients of the least Huber loss over all starts, and of `draws` resamples."""
        loss, (ln_n, ln_d) = table["loss"].to_numpy(), ln_of(table, "N", "D")
        free = len(self.coefficients) - len(self.fixed(ln_n, ln_d))
        require_spread(table, self.name, free + 1, N=self.sizes, D=FEWEST)
        weights = np.vstack([np.ones(len(loss)), self.drawn(len(loss))])
        if (highest := math.ceil(HIGHEST * len(table))) < TOLD:
            return self.fitted(self.solve(table, weights), table)
        theta = self.solve(table, np.vstack([weights, loss < np.sort(loss)[-highest]]))
        result = self.fitted(theta[:-1], table)
        without = {name: float(value[0]) for name, value in self.named(theta[-1:]).items()}
        return replace(result, notes=(*result.notes, *_influence(result.parameters, without, highest)))

    def drawn(self, runs: int) -> Array:
        """Weights (draws, runs) of the bootstrap."""
        return np.random.default_rng(self.seed).exponential(size=(self.draws, runs))

    def solve(self, table: pl.DataFrame, weights: Array) -> Array:
        """Coefficients (fits, p) by the weights (fits, rows) of a table's rows: the first from all starts, the others from it."""
        loss, (ln_n, ln_d) = table["loss"].to_numpy(), ln_of(table, "N", "D")
        fixed = self.fixed(ln_n, ln_d)
        free = [k for k in range(len(self.coefficients)) if k not in fixed]

        def full(theta: Array) -> Array:
            result = np.empty((len(theta), len(self.coefficients)))
            result[:, free], result[:, list(fixed)] = theta, list(fixed.values())
            return result

        def fitted(starts: Array, weights: Array, settled: float) -> tuple[Array, Array]:
            minima = np.empty(0)
            for threshold in self.thresholds:
                starts, minima = fit_many(
                    lambda theta: self.ln_loss(full(theta), ln_n, ln_d),
                    np.log(loss),
                    starts,
                    weights=weights,
                    threshold=threshold,
                    settled=settled,
                )
            return starts, minima

        found, minima = fitted(self.starts(ln_n, ln_d, loss)[:, free], weights[:1], SETTLED)
        best = found[minima.argmin()]
        if len(weights) == 1:
            return full(best[None])
        return full(np.vstack([best, fitted(np.tile(best, (len(weights) - 1, 1)), weights[1:], DRAWN)[0]]))

    def fitted(self, theta: Array, table: pl.DataFrame) -> SizeFitted:
        """What coefficients (1 + draws, p) that were fitted to a table say."""
        largest = float((table["N"] * table["D"]).to_numpy().max()) * self.flops_factor
        notes = (*self.notes(theta, table), *self.endless(theta, math.log(largest)))
        return SizeFitted(self, intervals(self.named(theta)), len(table), notes=notes, theta=theta)

    def endless(self, theta: Array, ln_flops: float) -> list[str]:
        """From which training compute on there is no optimum: of the fit, and of too many draws for an interval."""
        last = BEYOND * math.log(10)
        places = np.linspace(ln_flops, max(last, ln_flops), 2 * max(1, round((last - ln_flops) / math.log(10))) + 1)
        none = np.array([~np.isfinite(self.ln_optimum(theta[:LOOKED_AT], ln_c)) for ln_c in places.tolist()])
        found = []
        if (of_fit := none[:, 0]).any():
            high = int(of_fit.argmax())
            ends = places[max(high - 1, 0)], places[high]
            for _ in range(8):
                middle = sum(ends) / 2
                turns = np.isfinite(self.ln_optimum(theta[:1], middle)[0])
                ends = (middle, ends[1]) if turns else (ends[0], middle)
            start = f"{math.exp(ends[1]):.2g} training FLOPs" if high else "the largest run's training FLOPs"
            found.append(f"from {start} on the loss does not turn between sizes: there is no optimum beyond")
        if (of_draws := none[:, 1:].mean(axis=1) > TAIL).any() if none.shape[1] > 1 else False:
            start = f"{math.exp(places[int(of_draws.argmax())]):.1g} training FLOPs"
            found.append(f"from {start} on more than a tenth of the draws have no optimum: it has no interval there")
        return found


def asymptote(values: Array, fixed: float | None, table: pl.DataFrame) -> list[str]:
    """What must be said of E (1 + draws,), nats per token: that it was not fitted, or that the rows do not show it."""
    if fixed is not None:
        return [f"E is fixed at {fixed:g}, not fitted"]
    low = interval(values).low
    if low is None or low > SHOWN * table["loss"].to_numpy().min():
        return []
    return ["E may be 0: these runs do not show where the loss ends, and all else depends on it; the option E fixes it"]


def _influence(named: Mapping[str, Interval], without: Mapping[str, float], count: int) -> list[str]:
    """What a few runs decide by themselves: parameters that leave their 80 % interval without them."""
    moved = [
        f"{name} from {one.value:.4g} to {without[name]:.4g}"
        for name, one in named.items()
        if None not in (one.low, one.high) and not one.holds(without[name])
    ]
    return [f"without the {count} highest losses {', '.join(moved)}: beyond the 80 % interval"] if moved else []


@dataclass(frozen=True)
class SizeFitted(Fitted):
    """A `SizeLaw` with its coefficients ``theta`` (1 + draws, p), those of the fit first."""

    law: SizeLaw
    theta: Array

    @quiet
    def predict(self, table: pl.DataFrame) -> Array:
        """See `Fitted.predict`."""
        return np.exp(self.law.ln_loss(self.theta, *ln_of(table, "N", "D")))

    @quiet
    def optimal(self, flops: Sequence[float]) -> tuple[ComputeOptimum, ...]:
        """The size of the lowest loss along N D = flops / `flops_factor`; without those at which the loss does not turn."""
        found = []
        for compute in flops:
            ln_n = self.law.ln_optimum(self.theta, float(np.log(compute)))
            if np.isfinite(ln_n[0]):
                if not np.isfinite(ln_n).mean() > 1 - TAIL:
                    ln_n = ln_n[:1]
                n = np.exp(ln_n)
                d = compute / self.law.flops_factor / n
                found.append(ComputeOptimum(compute, interval(n), interval(d), interval(d / n)))
        return tuple(found)

    def plots(self, table: pl.DataFrame) -> tuple[Plot, ...]:
        """Loss against training tokens, a line for each size, or for some of them where they are many."""
        sizes = list(groups(table, "N", SAME_SIZE))
        kept = [sizes[k] for k in sorted({*np.linspace(0, len(sizes) - 1, DRAWN_SIZES).round().astype(int)})]
        d = np.geomspace(table["D"].to_numpy().min(), table["D"].to_numpy().max(), 40)
        parts = []
        for rows in kept:
            n = float(np.exp(np.log(rows["N"].to_numpy()).mean()))
            lines = band({"D": d}, "loss", self.predict(pl.DataFrame({"N": np.full(len(d), n), "D": d})))
            marks = stacked([lines, rows.select("N", "D", "loss", MEASURED)])
            parts.append(marks.with_columns(series=pl.lit(f"{plain(n)} parameters"), family=pl.lit("sizes")))
        some = f"{len(kept)} of {len(sizes)} sizes. " if len(kept) < len(sizes) else ""
        note = f"{some}Lines are the law with its 80 % band, dots are runs, hollow where they are held out."
        x, y = Along("D", "training tokens"), Along("loss", "loss (nats per token)")
        tips = {"N": ("parameters", ".4~s")}
        return (Plot("loss-against-tokens", "Loss against training tokens", x, y, stacked(parts), note, tips),)
