"""Curves of runs that differ in their learning-rate schedule, and what laws of schedules read off them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from scipy.signal import lfilter

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import TAIL, Array
from hptransfer.laws.columns import Column
from hptransfer.laws.law import Fitted, Law, intervals
from hptransfer.laws.least import DRAWN, SETTLED, fit_many
from hptransfer.laws.plot import Along, Plot, stacked

RUN = Column("run", "which curve a row is of", "label", usual=("schedule", "run_id"), otherwise="'all'")
STEP = Column("step", "optimizer steps done", usual=("steps", "iteration"))
LR = Column("lr", "learning rate of the step", "rate", usual=("learning_rate",))
THRESHOLD = 1e-3  # of the Huber loss on residuals of ln loss
FEWEST = 20  # points of a curve, or there is no curve
SAME_PEAK = 0.01  # relative: by which peaks of one family may differ
BLOCKS = 10  # of a curve that the bootstrap weighs as one: neighbours on a curve err together
SHOWN, PLACES = 7, 100  # runs of a figure, and points of each
HIGHEST = 1.25  # loss that a figure shows, over the highest final one
LUMPS, WARMUP_LUMPS = 64, 8  # pieces of a run's and of its warm-up's changes of the LR: one for each step would be thousands


@dataclass(frozen=True)
class Curve:
    """The logged steps of one run, with ``rows``, their places in the table. Between them the LR is linear. Before the first
    there was a warm-up, which one law takes to be at the peak and the other to rise in a line."""

    rows: Array
    step: Array
    lr: Array

    @property
    def area(self) -> Array:
        """S1: sum of the LR over the steps up to each logged one."""
        return np.asarray(self.lr[0] * self.step[0] + self._logged_area)

    @property
    def area_after_warmup(self) -> Array:
        """The same where the LR rises to the first logged one in a line."""
        return np.asarray(self.lr[0] * self.step[0] / 2 + self._logged_area)

    @property
    def _logged_area(self) -> Array:
        return np.asarray(np.cumsum([0.0, *(np.diff(self.step) * (self.lr[1:] + self.lr[:-1]) / 2)]))

    def momentum_area(self, decay: float) -> Array:
        """S2: sum over steps of m_i = decay m_(i-1) + (lr_(i-1) - lr_i), at each logged step."""
        every = np.arange(round(self.step[0]), round(self.step[-1]) + 1)
        lr = np.interp(every, self.step, self.lr)
        momentum = lfilter([1.0], [1.0, -decay], -np.diff(lr, prepend=lr[0]))
        return np.asarray(np.cumsum(momentum)[np.round(self.step - self.step[0]).astype(int)])

    def drops(self) -> tuple[Array, Array, Array]:
        """Falls of the LR, and rises as negative ones, in pieces, those of the warm-up first: how much it falls (pieces,), the LR
        after (pieces,), and the area under the LR since then at each logged step (rows, pieces), 0 before."""
        cuts = np.unique(np.linspace(0, len(self.step) - 1, LUMPS + 1).round().astype(int))
        rise = np.linspace(0, 1, WARMUP_LUMPS + 1)
        lr = np.concatenate([self.lr[0] * rise[:-1], self.lr[cuts]])
        area = np.concatenate([self.area_after_warmup[0] * rise[:-1] ** 2, self.area_after_warmup[cuts]])
        fall, kept = -np.diff(lr), np.diff(lr) != 0
        since = self.area_after_warmup[:, None] - (area[1:] + area[:-1])[kept] / 2
        return fall[kept], lr[1:][kept], np.maximum(since, 0.0)

    @property
    def idle(self) -> Array:
        """Steps that follow one at LR 0: nothing is learned there, whatever a law of schedules says."""
        return np.asarray((self.lr == 0) & (np.concatenate([[1.0], self.lr[:-1]]) == 0))


def curves_of(table: pl.DataFrame) -> dict[str, Curve]:
    """The curves of a table with run, step and lr, by run."""
    placed = table.with_columns(pl.int_range(pl.len()).alias("place")).sort("run", "step")
    found = {}
    for (name,), part in placed.group_by("run", maintain_order=True):
        found[str(name)] = Curve(*(part[column].to_numpy() for column in ("place", "step", "lr")))
    return found


class ScheduleLaw(Law):
    """A law of the loss along the curves of one model, batch and peak learning rate, fitted to ln loss by the Huber loss.

    The rows are points of curves, the loss after ``step`` steps of which the last had the learning rate ``lr``. Draws weigh
    blocks of a tenth of a curve, whose points err together. Such laws always prefer a higher peak and more steps at LR 0: a fit
    and what is predicted must have one peak, and steps after the LR has reached 0 are not predicted.
    """

    needs = (RUN, STEP, LR)
    coefficients: ClassVar[tuple[str, ...]]

    @abstractmethod
    def features(self, curves: Sequence[Curve]) -> Any:
        """What the form reads of the logged steps of all curves, in order."""

    @abstractmethod
    def ln_loss(self, theta: Array, features: Any) -> Array:
        """ln loss (fits, rows) by coefficients (fits, p)."""

    @abstractmethod
    def starts(self, features: Any, loss: Array) -> Array:
        """Coefficients (starts, p) that fits begin with."""

    @abstractmethod
    def named(self, theta: Array) -> dict[str, Array]:
        """The parameters (fits,) by the paper's names."""

    def fit(self, table: pl.DataFrame) -> ScheduleFitted:
        """See `Law.fit`."""
        curves = curves_of(table)
        peaks = {name: float(one.lr.max()) for name, one in curves.items()}
        short = [name for name, one in curves.items() if len(one.step) < FEWEST]
        if short:
            count = len(curves[short[0]].step)
            raise CheckFailed(f"law {self.name} needs {FEWEST} points of a curve or more; {short[0]} has {count}")
        low, high = min(peaks.values()), max(peaks.values())
        if high > (1 + SAME_PEAK) * low:
            raise CheckFailed(
                f"law {self.name} is of one peak learning rate and cannot choose one; the curves have {low:g} to {high:g}"
            )
        if all(np.ptp(one.lr) == 0 for one in curves.values()):
            raise CheckFailed(f"law {self.name} needs a curve whose learning rate falls: all are constant")
        order = np.concatenate([one.rows for one in curves.values()]).astype(int)
        features, loss = self.features([*curves.values()]), table["loss"].to_numpy()[order]

        def fitted(starts: Array, weights: Array | None = None) -> tuple[Array, Array]:
            settled = SETTLED if weights is None else DRAWN
            return fit_many(
                lambda theta: self.ln_loss(theta, features),
                np.log(loss),
                starts,
                weights=weights,
                threshold=THRESHOLD,
                settled=settled,
            )

        found, minima = fitted(self.starts(features, loss))
        best = found[minima.argmin()]
        rng = np.random.default_rng(self.seed)
        weights = np.concatenate([_block_weights(len(one.step), self.draws, rng) for one in curves.values()], axis=1)
        theta = np.vstack([best, fitted(np.tile(best, (self.draws, 1)), weights)[0]])
        notes = (
            f"of curves with a peak learning rate of {high:g}: it predicts other schedules of that peak, and chooses no peak",
        )
        return ScheduleFitted(self, intervals(self.named(theta)), len(table), notes=notes, theta=theta, peak=high)


def _block_weights(points: int, draws: int, rng: np.random.Generator) -> Array:
    block = np.arange(points) * BLOCKS // points
    return np.asarray(rng.exponential(size=(draws, BLOCKS))[:, block])


@dataclass(frozen=True)
class ScheduleFitted(Fitted):
    """A `ScheduleLaw` with its coefficients ``theta`` (1 + draws, p), and the peak LR of its curves."""

    law: ScheduleLaw
    theta: Array
    peak: float

    def predict(self, table: pl.DataFrame) -> Array:
        """Whole curves. Raises CheckFailed where the table's peak is not that of the fit. nan at steps that follow LR 0."""
        curves = [*curves_of(table).values()]
        for one in curves:
            if abs(one.lr.max() / self.peak - 1) > SAME_PEAK:
                raise CheckFailed(
                    f"law {self.law.name} was fitted at a peak learning rate of {self.peak:g}, says nothing of {one.lr.max():g}"
                )
        result = np.empty((len(self.theta), len(table)))
        order = np.concatenate([one.rows for one in curves]).astype(int)
        result[:, order] = np.exp(self.law.ln_loss(self.theta, self.law.features(curves)))
        result[:, order[np.concatenate([one.idle for one in curves])]] = np.nan
        return result

    def plots(self, table: pl.DataFrame) -> tuple[Plot, ...]:
        """Loss, measured and predicted, and the learning rate, against the step; of many runs some, the fitted ones first."""
        low, high = np.nanquantile(predicted := self.predict(table), [TAIL, 1 - TAIL], axis=0)
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
