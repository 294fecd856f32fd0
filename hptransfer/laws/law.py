"""What a law is: the columns that it needs, a fit to a table of runs, and what the fit predicts for another table."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from hptransfer.base.errors import CheckFailed
from hptransfer.base.frozen import Frozen
from hptransfer.base.intervals import Array, Interval, ends
from hptransfer.laws.columns import Column
from hptransfer.laws.plot import Plot

quiet = np.errstate(all="ignore")  # draws may lie where a form has no number: `interval` knows what these mean
HELD_OUT = 0.1  # of the rows, where nobody says which are held out: those of the largest scale


class Law(Frozen, ABC):
    """A law: its fields are what can be chosen about the fit, beside the table.

    ``needs``: the columns of the table that `fit` takes, beside ``loss`` (which it has too unless ``loss_optional``); ``scale``:
    the one whose largest values are held out where nobody says which rows are, "" where none are. ``draws``: of the bootstrap
    behind every 80 % interval, ``seed`` its random numbers.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[tuple[Column, ...]]
    scale: ClassVar[str] = ""
    loss_optional: ClassVar[bool] = False

    draws: int = Field(1000, ge=100, le=20_000, description="of the bootstrap")
    seed: int = 0

    @abstractmethod
    def fit(self, table: pl.DataFrame) -> Fitted:
        """Fit the rows of a table that `hptransfer.laws.columns.law_table` has read: the columns of ``needs`` and ``loss``.

        Raises CheckFailed, one line, where the rows cannot say what the law asks: too few of them, one size, nothing that turns.
        """

    def held_out(self, table: pl.DataFrame) -> pl.Series:
        """Which rows are held out where nobody says: those of the largest ``scale``, and at least a tenth of the rows."""
        if not self.scale:
            return pl.repeat(False, len(table), eager=True)
        return (table[self.scale] >= table[self.scale].quantile(1 - HELD_OUT, "higher")).rename("held_out")


@dataclass(frozen=True)
class ComputeOptimum:
    """The best way to spend a training compute ``flops``: parameters ``N``, training tokens ``D``, tokens per parameter."""

    flops: float
    N: Interval
    D: Interval
    tokens_per_parameter: Interval


@dataclass(frozen=True)
class Fitted(ABC):
    """A law that has been fitted. ``parameters`` by the names of the paper that the law is from; ``points``: rows that were
    fitted; ``notes``: what a reader of the numbers must know, in words; ``findings``: what they say, a sentence each."""

    law: Law
    parameters: Mapping[str, Interval]
    points: int
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    findings: tuple[str, ...] = field(default=(), kw_only=True)

    @abstractmethod
    def predict(self, table: pl.DataFrame) -> Array:
        """Losses (1 + draws, rows) of a table with the columns of ``law.needs``: by the fit, then by each draw of the bootstrap.
        nan where the law says nothing."""

    def caveats(self, table: pl.DataFrame) -> tuple[str, ...]:
        """What must be said, in words, of predictions of this table."""
        return ()

    def optimal(self, flops: Sequence[float]) -> tuple[ComputeOptimum, ...]:
        """The best size and horizon at each training compute; none of a law that knows no size, or where it has no optimum."""
        return ()

    def plots(self, table: pl.DataFrame) -> Sequence[Plot]:
        """What this law alone shows, beside what a page has of every law: its parameters, errors and optima. ``table``: the rows
        that were read, with ``held_out``, whether the fit has not seen them."""
        return ()


def intervals(named: Mapping[str, Array]) -> dict[str, Interval]:
    """The 80 % intervals of parameters (1 + draws,) by name, the fit's own value first. Raises CheckFailed where the fit has no
    finite one."""
    for name, values in named.items():
        if not np.isfinite(values[0]):
            raise CheckFailed(f"these rows do not say {name}: the fit takes it to {values[0]:g}")
    return {name: interval(values) for name, values in named.items()}


def interval(values: Array) -> Interval:
    """The 80 % interval of (1 + draws,), the fit's own value first. Draws that are no number are left out; an end beyond which a
    tenth of them is infinite is none."""
    value, draws = float(values[0]), values[1:][~np.isnan(values[1:])]
    low, high = (end if math.isfinite(end) else None for end in (ends(value, draws) if len(draws) else (math.nan, math.nan)))
    return Interval(value=value, low=low, high=high)


def require_spread(table: pl.DataFrame, law: str, points: int, **values: int) -> None:
    """Raises CheckFailed where a table has fewer than ``points`` rows, or fewer different values of a column than it must."""
    if len(table) < points:
        raise CheckFailed(f"law {law} needs {points} runs or more that differ, there are {len(table)}")
    for name, least in values.items():
        if (found := table[name].n_unique()) < least:
            raise CheckFailed(f"law {law} needs {least} or more different {name}, there {'is' if found == 1 else 'are'} {found}")
