"""Training curves of runs that differ in their learning-rate schedule: tables of them, and the learning rate of every step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.signal import lfilter

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import Array
from hptransfer.laws.columns import Column
from hptransfer.runs.record import Record

RUN = Column("run", "which curve a row is of", "label", usual=("schedule", "run_id"), otherwise="'all'")
STEP = Column("step", "optimizer steps done", "count", ("steps", "iteration"))
LR = Column("lr", "learning rate of the step", "rate", usual=("learning_rate",))
SAME_PEAK = 0.05  # relative, by which peaks of one family may differ: logged rows may miss the top of a curve
LATEST = 0.25  # of a curve, where its first row may be: what the LR was before is not known
LONGEST = 10**7  # steps; more are tokens
BINS = 50  # of a curve, where it is fitted many times
FALLS, RISES = 32, 8  # pieces of a run's changes of the LR, and of its warm-up's: one for each step would be thousands

SCHEMA: dict[str, Any] = {
    "run": pl.String,
    "arm": pl.String,
    "width": pl.Int64,
    "depth": pl.Int64,
    "batch_tokens": pl.Int64,
    "tokens": pl.Int64,
    "peak": pl.Float64,
    "shape": pl.String,
    "step": pl.Int64,
    "lr": pl.Float64,
    "loss": pl.Float64,
}


def curve_table(runs: Mapping[str, Iterable[Record]]) -> pl.DataFrame:
    """Validation losses of complete runs, by arm: a row of `SCHEMA` for each place on a curve whose schedule factor is known.

    ``lr``: of that step, in base coordinates; ``peak``: the run's own, ``shape``: of its schedule. hptransfer's trainer measures
    on an eighth of the validation tokens before a run's end: those losses are noisier than the last one.
    """
    rows = [
        {
            "run": record.run_id,
            "arm": arm,
            **{name: record.point.scales.get(name) for name in ("width", "depth", "batch_tokens", "tokens")},
            "peak": lr,
            "shape": (record.point.settings.get("schedule") or {}).get("shape"),
            "step": one.step,
            "lr": lr * one.schedule,
            "loss": one.val,
        }
        for arm, records in runs.items()
        for record in records
        if (lr := record.point.hyperparameters.get("lr")) is not None and record.loss is not None
        for one in record.outcome.curve
        if one.schedule is not None and one.val is not None
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


@dataclass(frozen=True)
class Curve:
    """One run. ``rows``: the places in the table of the rows of which a law can speak, ``at``: their steps. These are none of its
    warm-up, and none that follow a step at LR 0, where nothing is learned whatever a law says. ``rate``: the LR of every step
    from 0 on; ``risen``: the step at which it has first reached its peak; ``idle``: how many rows follow LR 0."""

    rows: NDArray[np.int64]
    at: NDArray[np.int64]
    rate: Array
    risen: int
    idle: int

    @classmethod
    def of(cls, name: str, rows: pl.DataFrame, warmup: int) -> Curve:
        """The run of rows with place, step and lr, by step.

        Between two of them the LR goes in a line; where it is flat before and after them it jumps, at the second. Before the
        first it rises in a line over ``warmup`` steps, and then is what it is there.
        """
        place, lr = rows["place"].to_numpy(), rows["lr"].to_numpy()
        if (last := float(rows["step"][-1])) > LONGEST:
            raise CheckFailed(
                f"run {name} goes to step {last:.3g}, which may be tokens: say --scale 'step=tokens/N', of N tokens a step"
            )
        step = np.round(rows["step"].to_numpy()).astype(np.int64)
        if step[0] > LATEST * step[-1]:
            raise CheckFailed(
                f"run {name} begins at step {step[0]} of {step[-1]}: a law of schedules needs the learning rate from the start on"
            )
        if lr.max() == 0:
            raise CheckFailed(f"run {name} has a learning rate of 0 throughout")
        every = np.arange(step[-1] + 1)
        rate = np.interp(every, step, lr)
        flat = np.concatenate([[True], np.diff(lr) == 0, [True]])
        for k in np.flatnonzero(~flat[1:-1] & flat[:-2] & flat[2:]):
            rate[step[k] : step[k + 1]] = lr[k]
        rise = min(warmup, int(step[0]))
        rate[:rise] = lr[0] * every[:rise] / max(rise, 1)
        risen = int(step[np.argmax(lr >= (1 - SAME_PEAK) * lr.max())])
        idle = (lr == 0) & (np.concatenate([[1.0], lr[:-1]]) == 0) & (step > risen)
        told = (step >= risen) & ~idle
        return cls(place[told], step[told], rate, risen, int(idle.sum()))

    def binned(self) -> tuple[Curve, NDArray[np.int64]]:
        """The curve at every few of its rows, `BINS` at most, and to which of these each row belongs."""
        count = len(self.at)
        which = np.arange(count) * min(count, BINS) // count
        middle = np.searchsorted(which, np.arange(which[-1] + 1)) + np.bincount(which) // 2
        return replace(self, rows=self.rows[middle], at=self.at[middle]), which

    @property
    def peak(self) -> float:
        """The highest LR."""
        return float(self.rate.max())

    @property
    def area(self) -> Array:
        """Sum of the LR over the steps up to each row's."""
        return np.asarray(np.cumsum(self.rate)[self.at])

    @property
    def area_at_peak(self) -> Array:
        """The same with a warm-up that was at the peak."""
        return np.asarray(self.area - self.rate[: self.risen].sum() + self.risen * self.rate[self.risen])

    def momentum_area(self, decay: float) -> Array:
        """Sum over steps of m_i = decay m_(i-1) + (lr_(i-1) - lr_i), after the warm-up, at each row."""
        after = self.rate[self.risen :]
        momentum = lfilter([1.0], [1.0, -decay], -np.diff(after, prepend=after[0]))
        return np.asarray(np.cumsum(momentum)[self.at - self.risen])

    def falls(self) -> tuple[Array, Array, Array]:
        """Falls of the LR, and rises as negative ones, in pieces: how much it falls (pieces,), the LR after (pieces,), and the
        area under the LR since then at each row (rows, pieces), 0 before. The last two are means over the steps of a piece."""
        fall, area = -np.diff(self.rate), np.cumsum(self.rate)
        step = np.flatnonzero(fall)
        size, warm = np.abs(fall[step]), step < self.risen
        piece = np.where(warm, _parts(size * warm, RISES), RISES + _parts(size * ~warm, FALLS))
        _, piece = np.unique(2 * piece + (fall[step] > 0), return_inverse=True)
        total = np.bincount(piece, size)
        after, before = (np.bincount(piece, size * values) / total for values in (self.rate[step + 1], area[step]))
        since = np.maximum(area[self.at][:, None] - before, 0.0)
        return np.asarray(np.bincount(piece, fall[step]), dtype=float), np.asarray(after), np.asarray(since)


def _parts(size: Array, count: int) -> NDArray[np.int64]:
    """Which of ``count`` parts of an equal total each of the sizes, in order, belongs to."""
    share = (np.cumsum(size) - size / 2) / max(float(size.sum()), 1e-300)
    return np.floor(share * count).astype(np.int64)


def curves_of(table: pl.DataFrame, warmup: int) -> dict[str, Curve]:
    """The curves of a table with run, step and lr, by run; ``warmup``: see `Curve.of`. Raises CheckFailed, one line, where
    several share a name, and where one does not say its learning rate from the start."""
    told = [name for name in ("run", "step", "lr", "loss") if name in table.columns]
    several = table.select(told).unique().group_by("run", "step").len("count").filter(pl.col("count") > 1).sort("run", "step")
    if len(several):
        run, step, count = several.row(0)
        raise CheckFailed(
            f"run {run} has {count} different rows at step {step:g}, so several curves have one name: tell them apart with "
            "--scale 'run=...', or keep one of them with --where"
        )
    placed = table.with_columns(pl.int_range(pl.len()).alias("place")).sort("run", "step")
    parts = placed.group_by("run", maintain_order=True)
    return {str(name): Curve.of(str(name), part, warmup) for (name,), part in parts}
