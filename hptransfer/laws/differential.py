"""The piecewise fit of Farseer's law by differences of the loss (Li et al., arXiv 2506.10972, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hptransfer.base.errors import CheckFailed
from hptransfer.base.intervals import Array

SIZES, STEPS = 4, 2  # sizes that are needed, and steps of D at each along which the loss falls
STEADY = 15  # repeats until the exponent of a size fits its own amplitude; where the steps of ln D are equal one is enough
LARGEST = 0.98  # power of N that is looked for
WIDE, FINE = 1.0, 2e-4  # half the width of grids of powers: of the first, and where they end
PLACES = 9  # of a grid
ROUNDS = 2  # of the powers in turn; the paper says one or two
LEAST = 1e-3  # of the loss, that the term without D is taken to be where it comes out lower


def stretched(shape: Array, apart: Array) -> Array:
    """c + s (exp(p t) - 1) / p (fits, n) of c, s and p (fits, 3) at t = ln N - ln N0 ``apart``, (n,) or (fits, n): for every p
    a N^p + b, about N0."""
    c, s, p = shape.T[:, :, None]
    with np.errstate(all="ignore"):
        grown = np.where(np.abs(p) < 1e-9, apart, np.expm1(p * apart) / np.where(p == 0, 1.0, p))
        return np.asarray(c + s * grown)


def rising_steps(table: pl.DataFrame) -> int:
    """From one horizon of a size to the next, along how many the mean loss does not fall."""
    cells = table.group_by("N", "D").agg(pl.col("loss").mean()).sort("N", "D")
    return int(cells.select((pl.col("loss").diff().over("N") >= 0).sum()).item())


def differential(table: pl.DataFrame, weights: Array, ln_n0: float) -> tuple[Array, Array, Array]:
    """The c, s and p (fits, 3) of `stretched` about ``ln_n0``: of ln exponent of D, ln amplitude at D = 1 and ln of the term
    without D. ``weights`` (fits, rows): the first is the fit, the others its draws.

    At each size the differences of the loss between neighbouring horizons give exponent and amplitude (their logarithms, a line);
    these give their powers of N, in turn the ones that leave the least of all differences; what they leave of the loss, a mean
    over the horizons, gives the term without D. Steps of ln D may differ. A step along which the loss does not fall has no
    logarithm and counts only where the powers are chosen. Raises CheckFailed where there are too few others.
    """
    usable = _usable(table)
    kept = table["N"].is_in(usable)
    pieces = _Pieces(table.filter(kept), ln_n0)
    return _Fits(pieces, weights[:, kept.to_numpy()]).functions()


def _usable(table: pl.DataFrame) -> list[float]:
    """The sizes with enough steps of D along which the loss falls."""
    cells = table.group_by("N", "D").agg(pl.col("loss").mean()).sort("N", "D")
    steps = cells.group_by("N").agg((pl.col("loss").diff() < 0).sum().alias("steps"))
    found = steps.filter(pl.col("steps") >= STEPS)["N"].to_list()
    if len(found) < SIZES:
        raise CheckFailed(
            f"the differential fit needs {SIZES} sizes or more with {STEPS + 1} horizons each, along which the loss falls, "
            f"there are {len(found)}; fit_by=direct takes any"
        )
    return found


class _Pieces:
    """Where the runs of a table are: ``cell`` (rows,) is the place of their size and horizon in order, ``size`` (cells,) that of
    the size; ``first`` (steps,) are the cells with a longer horizon of the same size after them, ``step`` of ln D away."""

    def __init__(self, table: pl.DataFrame, ln_n0: float) -> None:
        self.loss = table["loss"].to_numpy()
        self.cell = table.select(pl.struct("N", "D").rank("dense") - 1).to_series().to_numpy().astype(np.intp)
        cells = table.select("N", "D").unique().sort("N", "D")
        n, self.size = np.unique(cells["N"].to_numpy(), return_inverse=True)
        self.apart, self.ln_d = np.log(n) - ln_n0, np.log(cells["D"].to_numpy())
        self.first = np.flatnonzero(self.size[1:] == self.size[:-1])
        self.step = self.ln_d[self.first + 1] - self.ln_d[self.first]
        self.own, self.at = self.size[self.first], self.ln_d[self.first]  # size and ln D of every step


class _Fits:
    """Fits side by side: exponent and amplitude (fits, sizes) of every size, logarithms, and the weight that its runs have."""

    def __init__(self, pieces: _Pieces, weights: Array) -> None:
        self.pieces = pieces
        self.weight = _sums(weights, pieces.cell)
        self.loss = _sums(weights * pieces.loss, pieces.cell) / np.maximum(self.weight, 1e-300)
        one, other = self.weight[:, pieces.first], self.weight[:, pieces.first + 1]
        self.fall = self.loss[:, pieces.first] - self.loss[:, pieces.first + 1]
        self.step_weight = one * other / np.maximum(one + other, 1e-300)  # of a difference of two means
        known = np.where(self.fall > 0, self.step_weight, 0.0)
        self.size_weight = _sums(known, pieces.own)
        ln_fall = np.log(np.where(self.fall > 0, self.fall, 1.0))
        exponent = np.full((len(weights), len(pieces.apart)), 0.3)
        for _ in range(STEADY):
            y = ln_fall - np.log(-np.expm1(-exponent[:, pieces.own] * pieces.step))
            level, slope = _lines(pieces.at, y, known, pieces.own)
            exponent = np.clip(-slope, 1e-3, 5.0)
        self.exponent, self.amplitude = np.log(exponent), level

    def functions(self) -> tuple[Array, Array, Array]:
        """The three functions of N."""
        values = (self.exponent, self.amplitude)
        found = [self._nearest(one) for one in values]
        for turn in range(2 * ROUNDS):
            k = turn % 2

            def misfit(power: Array, k: int = k) -> Array:
                tried = [self._line(values[k], power) if j == k else found[j] for j in range(2)]
                return self._left(*tried)

            found[k] = self._line(values[k], _zoomed(misfit, found[k][:, 2]))
        pieces = self.pieces
        exponent, amplitude = (stretched(one, pieces.apart)[:, pieces.size] for one in found)
        rest = self.loss - np.exp(amplitude - np.exp(exponent) * pieces.ln_d)
        weight = _sums(self.weight, pieces.size)
        mean = _sums(self.weight * rest, pieces.size) / np.maximum(weight, 1e-300)
        return found[0], found[1], self._nearest(np.log(np.maximum(mean, LEAST * pieces.loss.min())))

    def _nearest(self, values: Array) -> Array:
        """The function (fits, 3) that is nearest to values (fits, sizes)."""

        def misfit(power: Array) -> Array:
            left = values - stretched(self._line(values, power), self.pieces.apart)
            return np.asarray((self.size_weight * left**2).sum(axis=1))

        return self._line(values, _zoomed(misfit, np.zeros(len(values))))

    def _left(self, exponent: Array, amplitude: Array) -> Array:
        """What two functions (fits, 3) leave of the differences of the loss."""
        pieces = self.pieces
        own = np.exp(stretched(exponent, pieces.apart))[:, pieces.own]
        ln_b = stretched(amplitude, pieces.apart)[:, pieces.own]
        left = self.fall + np.exp(ln_b - own * pieces.at) * np.expm1(-own * pieces.step)
        return np.asarray((self.step_weight * left**2).sum(axis=1))

    def _line(self, values: Array, power: Array) -> Array:
        """The function (fits, 3) with a power (fits,) that is nearest to values (fits, sizes)."""
        x = stretched(np.column_stack([np.zeros_like(power), np.ones_like(power), power]), self.pieces.apart)
        level, slope = _lines(x, values, self.size_weight, np.zeros(values.shape[1], dtype=np.intp))
        return np.column_stack([level, slope, power])


def _zoomed(misfit: Callable[[Array], Array], middle: Array) -> Array:
    """The power (fits,) of the least misfit, on finer and finer grids around ``middle``."""
    width = WIDE
    while width > FINE:
        offered = np.clip(middle[:, None] + width * np.linspace(-1, 1, PLACES), -LARGEST, LARGEST)
        least = np.nan_to_num(np.stack([misfit(one) for one in offered.T], axis=1), nan=np.inf).argmin(axis=1)
        middle, width = offered[np.arange(len(middle)), least], width * 2 / (PLACES - 1)
    return middle


def _sums(values: Array, group: NDArray[np.intp]) -> Array:
    """Sums (fits, groups) of values (fits, n) by group (n,)."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[:, order], starts, axis=1))


def _lines(x: Array, y: Array, weight: Array, group: NDArray[np.intp]) -> tuple[Array, Array]:
    """Value at x = 0 and slope (fits, groups) of weighted least squares of y (fits, n) along x."""
    total = np.maximum(_sums(weight, group), 1e-300)
    x = np.broadcast_to(x, y.shape)
    x_mean, y_mean = _sums(weight * x, group) / total, _sums(weight * y, group) / total
    dx, dy = x - x_mean[:, group], y - y_mean[:, group]
    slope = _sums(weight * dx * dy, group) / np.maximum(_sums(weight * dx**2, group), 1e-300)
    return y_mean - slope * x_mean, slope
