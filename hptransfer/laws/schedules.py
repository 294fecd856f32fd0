"""Laws of schedules: the loss along the curves of runs that differ in nothing but their learning-rate schedule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import Array, ends_of_each
from hptransfer.laws.bootstrap import weighted
from hptransfer.laws.curves import LR, RUN, SAME_PEAK, STEP, Curve, curves_of
from hptransfer.laws.law import Fitted, Law, intervals, quiet
from hptransfer.laws.least import DRAWN, SETTLED, fit_many, jacobian
from hptransfer.laws.plot import Along, Plot, stacked

THRESHOLD = 1e-3  # of the Huber loss on residuals of ln loss
FEWEST = 15  # points of a curve, or there is no curve: of the 20 that our trainer takes a warm-up may have some
BLOCKS = 5  # of a curve that the bootstrap weighs as one: neighbours on a curve err together
SHOWN, PLACES = 7, 100  # runs of a figure, and points of each
HIGHEST = 1.25  # loss that a figure shows, over the highest final one


class ScheduleLaw(Law):
    """A law of the loss along the curves of one model, batch and peak learning rate, fitted to ln loss by the Huber loss.

    The rows are points of curves, the loss after ``step`` steps of which the last had the learning rate ``lr``; those of a
    warm-up are left out. Draws weigh fifths of a curve, whose points err together. Such laws always prefer a higher
    peak and more steps at LR 0: a fit and what is predicted must have one peak, and steps after the LR has reached 0 are neither
    fitted nor predicted.
    """

    needs = (RUN, STEP, LR)
    coefficients: ClassVar[tuple[str, ...]]

    @abstractmethod
    def features(self, curves: Sequence[Curve]) -> Any:
        """What the form reads of the rows of all curves, in order."""

    @abstractmethod
    def ln_loss(self, theta: Array, features: Any) -> Array:
        """ln loss (fits, rows) by coefficients (fits, p)."""

    @abstractmethod
    def starts(self, features: Any, loss: Array) -> Array:
        """Coefficients (starts, p) that fits begin with."""

    @abstractmethod
    def named(self, theta: Array) -> dict[str, Array]:
        """The parameters (fits,) by the paper's names."""

    def risen(self, table: pl.DataFrame) -> int:
        """Steps of the warm-up of all curves of a table: up to the earliest row."""
        return round(float(table["step"].to_numpy().min()))

    def slopes(self, theta: Array, features: Any) -> Array:
        """Derivatives (fits, rows, p) of `ln_loss`."""
        return jacobian(lambda moved: self.ln_loss(moved, features), theta, self.ln_loss(theta, features))

    def solved(self, features: Any, loss: Array, weights: Array, start: Array | None = None) -> Array:
        """Coefficients (fits, p) of fits to the loss with each of ``weights`` (fits, rows): at the least Huber loss, from
        ``start`` (p,) where there is one."""

        def fitted(starts: Array, weights: Array, settled: float) -> tuple[Array, Array]:
            return fit_many(
                lambda theta: self.ln_loss(theta, features),
                np.log(loss),
                starts,
                weights=weights,
                threshold=THRESHOLD,
                settled=settled,
                slopes=lambda theta: self.slopes(theta, features),
            )

        if start is not None:
            return fitted(np.tile(start, (len(weights), 1)), weights, DRAWN)[0]
        starts = self.starts(features, loss)
        found, minima = fitted(starts, np.tile(weights[:1], (len(starts), 1)), SETTLED)
        return found[[minima.argmin()]]

    def notes(self, peak: float, warmup: int) -> tuple[str, ...]:
        """What a reader of a fit to curves of this peak and warm-up must know."""
        return (
            f"of curves with a peak learning rate of {peak:g}: it predicts other schedules of that peak, and chooses no peak; "
            "what it predicts is a model's output",
        )

    @quiet
    def fit(self, table: pl.DataFrame) -> ScheduleFitted:
        """See `Law.fit`."""
        warmup = self.risen(table)
        named = curves_of(table, warmup)
        curves = [*named.values()]
        for name, one in named.items():
            if (count := len(one.rows)) < FEWEST:
                raise CheckFailed(f"law {self.name} needs {FEWEST} points of a curve after its warm-up; run {name} has {count}")
        low, high = min(one.peak for one in curves), max(one.peak for one in curves)
        if high > (1 + SAME_PEAK) * low:
            raise CheckFailed(
                f"law {self.name} is of one peak learning rate and cannot choose one; the curves have {low:g} to {high:g}: "
                "keep one with --where"
            )
        if all(np.ptp(one.rate[one.risen :]) == 0 for one in curves):
            raise CheckFailed(f"law {self.name} needs a curve whose learning rate falls: all are constant")
        rows = np.concatenate([one.rows for one in curves])
        features, loss = self.features(curves), table["loss"].to_numpy()[rows]
        best = self.solved(features, loss, np.ones((1, len(loss))))
        theta = np.vstack([best, self._drawn(curves, np.log(loss) - self.ln_loss(best, features)[0], best[0])])
        left = len(table) - len(rows)
        notes = (*self.notes(high, warmup), *([f"left out: {left} rows of warm-ups, or after LR 0"] if left else []))
        named_values = intervals(self.named(theta))
        return ScheduleFitted(self, named_values, len(rows), notes=notes, theta=theta, peak=high, warmup=warmup)

    def _drawn(self, curves: Sequence[Curve], residual: Array, best: Array) -> Array:
        """Coefficients (draws, p) of the bootstrap: fits to bins of rows, which have the mean of their residuals."""
        binned = [one.binned() for one in curves]
        places, blocks, bins = [], [], 0
        for k, (_, which) in enumerate(binned):
            count = int(which[-1]) + 1
            places.append(bins + which)
            blocks.append(k * BLOCKS + np.arange(count) * BLOCKS // count)
            bins += count
        place = np.concatenate(places)
        size = np.bincount(place)
        features = self.features([one for one, _ in binned])
        loss = np.exp(self.ln_loss(best[None], features)[0] + np.bincount(place, residual) / size)
        slopes = self.slopes(best[None], features)[0] * np.sqrt(size)[:, None]
        weights = weighted(slopes, np.concatenate(blocks), self.draws, np.random.default_rng(self.seed))
        return self.solved(features, loss, weights * size, best)


@dataclass(frozen=True)
class ScheduleFitted(Fitted):
    """A `ScheduleLaw` with its coefficients ``theta`` (1 + draws, p), and the peak LR and warm-up of its curves."""

    law: ScheduleLaw
    theta: Array
    peak: float
    warmup: int

    @quiet
    def predict(self, table: pl.DataFrame) -> Array:
        """Whole curves. Raises CheckFailed where the table's peak is not that of the fit. nan in a warm-up, and after LR 0."""
        curves = [*curves_of(table, self.warmup).values()]
        for one in curves:
            if abs(one.peak / self.peak - 1) > SAME_PEAK:
                raise CheckFailed(
                    f"law {self.law.name} was fitted at a peak learning rate of {self.peak:g}, says nothing of {one.peak:g}"
                )
        result = np.full((len(self.theta), len(table)), np.nan)
        rows = np.concatenate([one.rows for one in curves])
        result[:, rows] = np.exp(self.law.ln_loss(self.theta, self.law.features(curves)))
        return result

    def caveats(self, table: pl.DataFrame) -> tuple[str, ...]:
        """See `Fitted.caveats`."""
        idle = sum(one.idle for one in curves_of(table, self.warmup).values())
        words = f"{idle} rows follow a step at LR 0 and are not predicted: the law would promise a gain that there is not"
        return (words,) if idle else ()

    def plots(self, table: pl.DataFrame) -> tuple[Plot, ...]:
        """Loss, measured and predicted, and the learning rate, against the step; of many runs some, the fitted ones first."""
        predicted = self.predict(table)
        low, high = ends_of_each(predicted)
        told = table.with_columns(fit=predicted[0], low=np.fmin(low, predicted[0]), high=np.fmax(high, predicted[0]))
        runs = told.sort("held_out", "run", "step").partition_by("run", maintain_order=True)
        fitted = [one for one in runs if not one["held_out"].any()][: SHOWN - 2]
        shown = [*fitted, *(one for one in runs if one["held_out"].any())][:SHOWN]
        top = HIGHEST * max(one["loss"][-1] for one in shown)
        parts = [_marks(one, top) for one in shown]
        lines = stacked(part.filter(pl.col("look").is_in(["line", "dashed"])) for part in parts).select(
            "step", "lr", "series", "look"
        )
        some = f"{len(shown)} of {len(runs)} runs. " if len(shown) < len(runs) else ""
        note = f"{some}Dots are measured, lines predicted with their 80 % bands, dashed for runs that the fit has not seen."
        x, y, lr = (
            Along("step", "step", False),
            Along("loss", "loss (nats per token)", False),
            Along("lr", "learning rate", False),
        )
        return (
            Plot("loss-against-step", "Loss against the step", x, y, stacked(parts).drop("lr"), note),
            Plot("learning-rate", "Learning rate against the step", x, lr, lines),
        )


def _marks(run: pl.DataFrame, top: float) -> pl.DataFrame:
    """The rows of a curve below a loss: as measured, and as predicted."""
    is_held = bool(run["held_out"][-1])
    kept = run.filter(pl.col("loss") <= top).gather_every(max(1, len(run) // PLACES))
    measured = kept.select("step", "loss", look=pl.lit("faint"))
    predicted = kept.filter(pl.col("fit").is_finite()).select("step", "lr", "low", "high", loss="fit", look=pl.lit("area"))
    line = predicted.drop("low", "high").with_columns(look=pl.lit("dashed" if is_held else "line"))
    return stacked([predicted, line, measured]).with_columns(series=pl.lit(run["run"][0]))
