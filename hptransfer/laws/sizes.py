"""Laws of size and horizon, L(N, D): how any of them is fitted, drawn again, and read for its compute-optimal models."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from hptransfer.base.intervals import Array, Interval
from hptransfer.base.words import plain
from hptransfer.laws.columns import D, N, groups
from hptransfer.laws.law import Fitted, Law, Optimum, interval, intervals, require_spread
from hptransfer.laws.least import fit_many
from hptransfer.laws.plot import RUN, Along, Plot, band, stacked

THRESHOLD = 1e-3  # of the Huber loss on residuals of ln loss (arXiv 2203.15556, section D.3)
FEWEST = 3  # different sizes, and horizons
SHOWN, SAME_SIZE = 6, 1.05  # sizes of a figure, and by how much those that it takes for one may differ
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

    flops_factor: float = Field(6.0, gt=0, description="training FLOPs are this times N times D")

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of the Huber loss on residuals of ln loss: the last one counts, those before it lead there."""
        return (THRESHOLD,)

    @property
    def fixed(self) -> Mapping[int, float]:
        """Coefficients that are not fitted, by their place."""
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
        """ln N (fits,) of the lowest loss at a training compute; nan where the loss does not turn. By a fine grid around a wide
        one, for laws without a closed form."""
        ln_nd = ln_flops - np.log(self.flops_factor)
        low, high = np.full(len(theta), np.log(1e3)), np.full(len(theta), ln_nd - np.log(1e3))
        turns = np.ones(len(theta), dtype=bool)
        for _ in range(4):
            ln_n = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, 65)
            at = self.ln_loss(theta, ln_n, ln_nd - ln_n).argmin(axis=1)
            turns &= (at > 0) & (at < 64)
            rows, at = np.arange(len(theta)), np.clip(at, 1, 63)
            low, high = ln_n[rows, at - 1], ln_n[rows, at + 1]
        return np.where(turns, (low + high) / 2, np.nan)

    def notes(self, theta: Array, table: pl.DataFrame) -> tuple[str, ...]:
        """What must be said of a fit (1 + draws, p)."""
        return ()

    def fit(self, table: pl.DataFrame) -> SizeFitted:
        """The coefficients of the least Huber loss over all starts, and of `draws` resamples."""
        free = [k for k in range(len(self.coefficients)) if k not in self.fixed]
        require_spread(table, self.name, len(free) + 1, N=FEWEST, D=FEWEST)
        loss, ln_n, ln_d = table["loss"].to_numpy(), np.log(table["N"].to_numpy()), np.log(table["D"].to_numpy())

        def full(theta: Array) -> Array:
            result = np.empty((len(theta), len(self.coefficients)))
            result[:, free], result[:, list(self.fixed)] = theta, list(self.fixed.values())
            return result

        def fitted(starts: Array, weights: Array | None = None) -> tuple[Array, Array]:
            minima = np.empty(0)
            for threshold in self.thresholds:
                starts, minima = fit_many(
                    lambda theta: self.ln_loss(full(theta), ln_n, ln_d),
                    np.log(loss),
                    starts,
                    weights=weights,
                    threshold=threshold,
                )
            return starts, minima

        found, minima = fitted(self.starts(ln_n, ln_d, loss)[:, free])
        best = found[minima.argmin()]
        weights = np.random.default_rng(self.seed).exponential(size=(self.draws, len(loss)))
        theta = full(np.vstack([best, fitted(np.tile(best, (self.draws, 1)), weights)[0]]))
        named, notes = intervals(self.named(theta)), list(self.notes(theta, table))
        if (highest := math.ceil(HIGHEST * len(table))) >= TOLD:
            kept = (loss < np.sort(loss)[-highest]).astype(float)
            without = {name: float(value[0]) for name, value in self.named(full(fitted(best[None], kept[None])[0])).items()}
            notes += _influence(named, without, highest)
        return SizeFitted(self, named, len(table), notes=tuple(notes), theta=theta)


def _influence(named: Mapping[str, Interval], without: Mapping[str, float], count: int) -> list[str]:
    """What a few runs decide by themselves: parameters that leave their 80 % interval without them."""
    moved = [
        f"{name} from {one.value:.4g} to {without[name]:.4g}"
        for name, one in named.items()
        if one.low is not None and one.high is not None and not one.low <= without[name] <= one.high
    ]
    return [f"without the {count} highest losses {', '.join(moved)}: beyond the 80 % interval"] if moved else []


@dataclass(frozen=True)
class SizeFitted(Fitted):
    """A `SizeLaw` with its coefficients ``theta`` (1 + draws, p), those of the fit first."""

    law: SizeLaw
    theta: Array

    def predict(self, table: pl.DataFrame) -> Array:
        """See `Fitted.predict`."""
        return np.exp(self.law.ln_loss(self.theta, np.log(table["N"].to_numpy()), np.log(table["D"].to_numpy())))

    def optimal(self, flops: Sequence[float]) -> tuple[Optimum, ...]:
        """The size of the lowest loss along N D = flops / `flops_factor`; without those at which the loss does not turn."""
        found = []
        for compute in flops:
            ln_n = self.law.ln_optimum(self.theta, float(np.log(compute)))
            if np.isfinite(ln_n[0]):
                n = np.exp(ln_n)
                d = compute / self.law.flops_factor / n
                found.append(Optimum(compute, interval(n), interval(d), interval(d / n)))
        return tuple(found)

    def plots(self, table: pl.DataFrame) -> tuple[Plot, ...]:
        """Loss against training tokens, a line for each size, or for some of them where they are many."""
        sizes = list(groups(table, "N", SAME_SIZE))
        kept = [sizes[k] for k in sorted({*np.linspace(0, len(sizes) - 1, SHOWN).round().astype(int)})]
        d = np.geomspace(table["D"].to_numpy().min(), table["D"].to_numpy().max(), 40)
        parts = []
        for rows in kept:
            n = float(np.exp(np.log(rows["N"].to_numpy()).mean()))
            lines = band({"D": d}, "loss", self.predict(pl.DataFrame({"N": np.full(len(d), n), "D": d})))
            marks = stacked([lines, rows.select("N", "D", "loss", RUN)])
            parts.append(marks.with_columns(series=pl.lit(f"{plain(n)} parameters"), family=pl.lit("sizes")))
        some = f"{len(kept)} of {len(sizes)} sizes. " if len(kept) < len(sizes) else ""
        note = f"{some}Lines are the law with its 80 % band, dots are runs, hollow where they are held out."
        x, y = Along("D", "training tokens"), Along("loss", "loss (nats per token)")
        tips = {"N": ("parameters", ".4~s")}
        return (Plot("loss-against-tokens", "Loss against training tokens", x, y, stacked(parts), note, tips),)
