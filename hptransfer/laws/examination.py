"""A law on a table: the fit, what it gets wrong on rows that it did not see, and how far a miscount would move it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.base.intervals import Array, Interval, ends_of_each
from hptransfer.base.words import plain
from hptransfer.laws.columns import law_table, numbered, training_flops
from hptransfer.laws.law import ComputeOptimum, Fitted, Law, interval
from hptransfer.runs.sources.reading import condition
from hptransfer.runs.sources.source import ROW

SWEPT = 5  # runs of one size and horizon; more are a sweep
CHECK_DRAWS = 200  # of a fit that only says what is held out


@dataclass(frozen=True)
class HeldOutError:
    """How well rows were predicted that the fit had not seen. ``where``: which they are, in words; errors relative to the loss;
    ``coverage_80``: share whose loss is inside the 80 % interval of the curve, which holds no noise of a run. ``reason``: why
    nothing was held out."""

    where: str
    rows: int
    mean_relative_error: float | None = None
    max_relative_error: float | None = None
    coverage_80: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Examination:
    """A law fitted to a table. ``table``: the rows that were read, under the law's names, with ``held_out``; ``hold_out``: the
    condition that says which these are, which the fit has then not seen; None: those of the largest scale, which it has."""

    law: Law
    table: pl.DataFrame
    fitted: Fitted
    hold_out: str | None
    notes: tuple[str, ...]

    @property
    def held_out(self) -> HeldOutError:
        """How well the rows that are held out were predicted."""
        return self._checked[0]

    @property
    def blind(self) -> Fitted | None:
        """The fit that has not seen the rows that are held out, which predicted them; None where there is none."""
        return self._checked[1]

    @cached_property
    def _checked(self) -> tuple[HeldOutError, Fitted | None]:
        """Another fit, where all rows were fitted: it is made when it is asked for."""
        if self.hold_out is None:
            return _check(self.law, self.table)
        return _error(self.fitted, self.table.filter("held_out"), self.hold_out), self.fitted

    def optimal(self, flops: tuple[float, ...] = ()) -> tuple[ComputeOptimum, ...]:
        """At these training budgets; by default at the decades from the largest measured one to 1,000 times it."""
        return self.fitted.optimal(flops or self.budgets)

    @property
    def budgets(self) -> tuple[float, ...]:
        """Decades of training FLOPs from that of the largest run on."""
        flops = training_flops(self.table)
        return () if flops is None else tuple(float(f"1e{math.floor(math.log10(flops.max())) + k}") for k in range(4))

    def as_dict(self, flops: tuple[float, ...] = ()) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "law": self.law.name,
            "parameters": {name: value.model_dump() for name, value in self.fitted.parameters.items()},
            "optimal": [_plain(one) for one in self.optimal(flops)],
            "held_out": asdict(self.held_out),
            "points": self.fitted.points,
            "notes": list(self.notes),
        }


def examine(
    frame: pl.DataFrame, law: Law, scale: Mapping[str, str], loss: str | None = None, hold_out: str | None = None
) -> Examination:
    """Fit a law to the rows of a table. ``scale``, ``loss``: see `law_table`. ``hold_out``: an SQL condition over the table's own
    columns; the rows for which it holds are predicted by a fit to the others. Without it everything is fitted, and the largest
    scale is predicted by another fit to the rest, as a check."""
    table, notes = held_out_table(frame, law, scale, loss, hold_out)
    if hold_out is not None:
        notes = (*notes, "the fit has not seen the rows that are held out")
    fitted = law.fit(table if hold_out is None else table.filter(~pl.col("held_out")))
    return Examination(law, table, fitted, hold_out, (*notes, *fitted.notes))


def held_out_table(
    frame: pl.DataFrame, law: Law, scale: Mapping[str, str], loss: str | None = None, hold_out: str | None = None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """What `law_table` reads, with ``held_out``: the rows for which the SQL condition holds, else those of the largest scale."""
    frame = numbered(frame)
    table, notes = law_table(frame, type(law), scale, loss)
    notes = (*notes, *_sweeps(law, table))
    if hold_out is None:
        return table.with_columns(law.held_out(table).alias("held_out")), notes
    asked = frame.select(pl.col(ROW).alias("row"), condition(frame, hold_out).alias("held_out"))
    table = table.join(asked, on="row", how="left", maintain_order="left")
    if not table["held_out"].any():
        raise UsageError(f"--hold-out {hold_out!r} holds for no row that can be fitted")
    return table, notes


def _sweeps(law: Law, table: pl.DataFrame) -> list[str]:
    """That the rows of a law of sizes and horizons are of sweeps, all of which would be fitted."""
    if [column.name for column in law.needs] != ["N", "D"]:
        return []
    each = len(table) / table.select("N", "D").n_unique()
    words = f"about {each:.0f} runs share each N and D: a law goes through their middle; --lowest N,D takes the best of each"
    return [words] if each > SWEPT else []


def _check(law: Law, table: pl.DataFrame) -> tuple[HeldOutError, Fitted | None]:
    """What a fit without the largest scale says of it, and that fit."""
    rest, last = table.filter(~pl.col("held_out")), table.filter("held_out")
    if last.is_empty() or "loss" not in table.columns:
        return HeldOutError("", 0, reason="the table has no losses" if law.scale else "say which rows with --hold-out"), None
    where = f"{law.scale} >= {plain(last[law.scale].to_numpy().min(), 4)}"
    try:
        blind = law.model_copy(update={"draws": min(law.draws, CHECK_DRAWS)}).fit(rest)
    except CheckFailed as error:
        return HeldOutError(where, 0, reason=f"without them: {error}"), None
    return _error(blind, last, where), blind


def _error(fitted: Fitted, table: pl.DataFrame, where: str) -> HeldOutError:
    """Of rows that were not fitted. Rows of which the law says nothing do not count."""
    if "loss" not in table.columns:
        return HeldOutError(where, 0, reason="the table has no losses")
    predicted, loss = fitted.predict(table), table["loss"].to_numpy()
    said = np.isfinite(predicted[0])
    if not said.any():
        return HeldOutError(where, 0, reason="the law says nothing of them")
    error = np.abs(predicted[0] / loss - 1)[said]
    low, high = ends_of_each(predicted)
    inside = ((low <= loss) & (loss <= high))[said]
    return HeldOutError(where, int(said.sum()), float(error.mean()), float(error.max()), float(inside.mean()))


def predicted_intervals(predicted: Array) -> list[Interval | None]:
    """The 80 % interval of every row of predictions (1 + draws, rows); None where the law says nothing."""
    return [interval(one) if np.isfinite(one[0]) else None for one in predicted.T]


def _plain(one: ComputeOptimum) -> dict[str, Any]:
    named = {"N": one.N, "D": one.D, "tokens_per_parameter": one.tokens_per_parameter}
    values = {"flops": one.flops} | {name: value.value for name, value in named.items()}
    return values | {"intervals": {name: {"low": value.low, "high": value.high} for name, value in named.items()}}
