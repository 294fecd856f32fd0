"""Algorithmic progress: how much less compute a new ladder needs for the same loss, and how that moves with scale (Gundlach et
al., arXiv 2511.21622)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from pydantic import Field

from hptransfer.base.errors import CheckFailed, UsageError, unknown
from hptransfer.base.intervals import Array
from hptransfer.base.survival import slope_interval, verdict_of
from hptransfer.base.words import listing, plain, within, within_signed
from hptransfer.laws.columns import ARM, FLOPS
from hptransfer.laws.law import Fitted, Law, interval, intervals, quiet, require_spread
from hptransfer.laws.least import DRAWN, Form, fit_many
from hptransfer.laws.plot import MEASURED, Along, Plot, band, stacked
from hptransfer.laws.sizes import asymptote

Curves = dict[str, tuple[Array, Array]]  # by arm: ln (L - E) at the middle of ln compute and alpha, (1 + draws,) each

FEWEST = 3  # sizes of a ladder
PLACES, BEYOND = 30, 10  # of compute in a figure, and how far beyond the largest run it shows the gain
NOTHING = 1e-6  # of the lowest loss: an asymptote of 0, which a logarithm does not reach
MOST = 700.0  # ln of what a float holds
MOVES = {
    "holds": "the gain holds as compute grows",
    "grows": "the gain grows with compute",
    "shrinks": "the gain shrinks as compute grows",
    "cannot_tell": "whether the gain moves with compute cannot be told",
}
FLOORS = (0.2, 0.5, 0.8, 0.95)  # asymptotes that fits start from, over the lowest loss


@dataclass(frozen=True)
class Frontier:
    """The losses of an arm's ladder, L = E + A C^-alpha, in nats per token at C training FLOPs."""

    E: float
    A: float
    alpha: float

    def gain(self, new: Frontier, flops: float) -> float:
        """The compute-equivalent gain of ``new`` over this one: the FLOPs that this one needs for the loss of ``new`` at
        ``flops``, over these. nan where no compute is enough."""
        above = new.E + new.A * flops**-new.alpha - self.E
        return math.exp((math.log(self.A) - math.log(above)) / self.alpha) / flops if above > 0 else math.nan


class AlgorithmicProgress(Law):
    """Every arm's ladder as L = E + A C^-alpha with one asymptote E for all, which is fixed (``E``) or fitted with them.

    The gain of an arm over the ``baseline`` is a factor at every compute: a scale-free one where the exponents are equal, and one
    that moves as C^(alpha_new / alpha_old - 1). Its verdict is that of survival: a slope of ln gain in ln C whose 90 % interval
    is inside +-.03 holds, above 0 grows, below 0 shrinks. Without a baseline the arm with the highest losses is it. Rows are the
    runs of a ladder, each at its best hyperparameters. Draws are fits to losses with the noise that is left about the curves, of
    all arms together; where the runs do not show an asymptote, E ends at 0 in many of them.
    """

    name = "progress"
    summary = "L = E + A C^-alpha of every arm with one E, and the compute that one saves over another"
    needs = (FLOPS, ARM)
    scale = "flops"

    E: float | None = Field(None, gt=0, description="the asymptote, where it is not fitted")
    baseline: str | None = Field(None, description="the arm that others are compared with")

    @quiet
    def fit(self, table: pl.DataFrame) -> ProgressFitted:
        """See `Law.fit`."""
        require_spread(table, self.name, FEWEST)
        arms = sorted(table["arm"].unique())
        for arm in arms:
            if (sizes := table.filter(arm=arm)["flops"].n_unique()) < FEWEST:
                raise CheckFailed(f"law progress needs {FEWEST} or more sizes of an arm; {arm} has {sizes}")
        place = np.array([arms.index(arm) for arm in table["arm"]])
        ln_c, loss = np.log(table["flops"].to_numpy()), table["loss"].to_numpy()
        if self.E is not None and loss.min() <= self.E:
            raise UsageError(f"option E {self.E:g} is not below the lowest loss, {loss.min():.4g}")
        freedom = len(loss) - 2 * len(arms) - (self.E is None)
        if freedom < 1:
            raise CheckFailed(
                f"law progress: {len(loss)} runs of {len(arms)} arms leave nothing for an interval; add sizes, or fix E"
            )
        middle = float(ln_c.mean())

        def form(theta: Array) -> Array:
            floor = np.exp(theta[:, :1]) if self.E is None else self.E
            rest = theta[:, 1:] if self.E is None else theta
            return np.asarray(np.log(floor + np.exp(rest[:, 2 * place] - rest[:, 2 * place + 1] * (ln_c - middle))))

        starts = _starts(loss, place, ln_c - middle, self.E)
        best = _fitted(form, np.log(loss)[None], starts)
        left = np.log(loss) - form(best)[0]
        rng = np.random.default_rng(self.seed)
        scale = np.sqrt((left**2).sum() / rng.chisquare(freedom, (self.draws, 1)))
        drawn = form(best) + scale * rng.standard_normal((self.draws, len(loss)))
        theta = np.vstack([best, _fitted(form, drawn, np.vstack([best, starts]))])
        if self.E is not None:
            theta = np.column_stack([np.full(len(theta), math.log(self.E)), theta])
        floor = np.where(theta[:, 0] > math.log(NOTHING * loss.min()), np.exp(theta[:, 0]), 0.0)
        curves = {arm: (theta[:, 1 + 2 * k], theta[:, 2 + 2 * k]) for k, arm in enumerate(arms)}
        return _of(self, table, floor, curves, middle)


def _fitted(form: Form, y: Array, starts: Array) -> Array:
    """The parameters (fits, p) of the best fit to each of ``y`` (fits, n), of those from all starts (starts, p)."""
    found, minima = fit_many(form, np.repeat(y, len(starts), axis=0), np.tile(starts, (len(y), 1)), settled=DRAWN)
    minima = minima.reshape(len(y), len(starts))
    return np.asarray(found.reshape(len(y), len(starts), -1)[np.arange(len(y)), minima.argmin(axis=1)])


def _starts(loss: Array, place: Array, x: Array, floor: float | None) -> Array:
    """For each asymptote the lines of ln (L - E) in ln C."""
    found = []
    for start in (floor,) if floor is not None else (share * loss.min() for share in FLOORS):
        lines = []
        for k in range(place.max() + 1):
            slope, level = np.polyfit(x[place == k], np.log(loss[place == k] - start), 1)
            lines += [level, -slope]
        found.append(lines if floor is not None else [math.log(start), *lines])
    return np.array(found)


def _of(law: AlgorithmicProgress, table: pl.DataFrame, floor: Array, curves: Curves, middle: float) -> ProgressFitted:
    base = law.baseline or max(curves, key=lambda arm: float(curves[arm][0][0]))
    if base not in curves:
        raise unknown("arm as baseline", base, curves)
    named = {"E": floor}
    for arm, (level, alpha) in curves.items():
        named |= {f"A_{arm}": _exp(level + alpha * middle), f"alpha_{arm}": alpha}
    notes = asymptote(named["E"], law.E, table) or ["E is fitted, one for all arms"]
    notes += [f"the baseline is {base}" + ("" if law.baseline else ", whose losses are the highest")]
    measured = {arm: table.filter(arm=arm) for arm in curves}
    gains, moves = [], []
    for arm in curves:
        if arm == base:
            continue
        flops = measured[arm]["flops"].to_numpy()
        ends = {"smallest": float(flops.min()), "largest": float(flops.max())}
        said = []
        for where, compute in ends.items():
            gain = _exp(_ln_gain(curves[base], curves[arm], math.log(compute) - middle))
            named[f"gain_{arm}_{where}"] = gain
            said.append(f"{within(interval(gain))} at {plain(compute)} FLOPs")
        slope = curves[arm][1] / curves[base][1] - 1
        named[f"slope_{arm}"] = slope
        moved = slope_interval(float(slope[0]), slope[1:])
        gains.append(f"{base} needs this many times the compute of {arm} for the same loss: {listing(said)}.")
        moves.append(f"{arm} over {base}: {MOVES[verdict_of(moved)]}; ln gain per ln compute {within_signed(moved)}, 90 %.")
        lowest = float(measured[base]["loss"].to_numpy().min())
        beyond = measured[arm].filter(pl.col("loss") < lowest)["flops"].to_numpy()
        if len(beyond):
            start = plain(float(beyond.min()))
            notes.append(f"{arm}: from {start} FLOPs on its losses are below all of {base}'s, and gains are extrapolated")
    told = {"notes": tuple(notes), "findings": (*gains, *moves)}
    return ProgressFitted(law, intervals(named), len(table), **told, floor=floor, curves=curves, middle=middle)


def _ln_gain(old: tuple[Array, Array], new: tuple[Array, Array], x: float | Array) -> Array:
    """ln gain (1 + draws, ...) at ln compute from the middle."""
    return np.asarray((old[0] - new[0] + new[1] * x) / old[1] - x)


def _exp(x: Array) -> Array:
    """exp of draws whose exponents hardly have a limit: beyond `MOST` a number stays one."""
    return np.exp(np.minimum(x, MOST))


@dataclass(frozen=True)
class ProgressFitted(Fitted):
    """`AlgorithmicProgress` fitted: E (1 + draws,), and of every arm ln of the loss above it at ln compute ``middle``, with
    alpha."""

    floor: Array = field(kw_only=True)
    curves: Curves = field(kw_only=True)
    middle: float = field(kw_only=True)

    @quiet
    def predict(self, table: pl.DataFrame) -> Array:
        """Losses of the fitted arms at any compute; nan of other arms."""
        result = np.full((len(self.floor), len(table)), np.nan)
        x = np.log(table["flops"].to_numpy()) - self.middle
        for arm, (level, alpha) in self.curves.items():
            at = np.flatnonzero((table["arm"] == arm).to_numpy())
            result[:, at] = self.floor[:, None] + _exp(level[:, None] - alpha[:, None] * x[at])
        return result

    @quiet
    def gain(self, arm: str, baseline: str, flops: Sequence[float]) -> list[Array]:
        """The compute-equivalent gain (1 + draws,) of an arm over another at each compute."""
        return [_exp(_ln_gain(self.curves[baseline], self.curves[arm], math.log(one) - self.middle)) for one in flops]

    def plots(self, table: pl.DataFrame) -> tuple[Plot, ...]:
        """Every arm's ladder with its curve, and the gains over the baseline against compute."""
        base = next(arm for arm in self.curves if f"slope_{arm}" not in self.parameters)
        low, high = (float(end) for end in (table["flops"].min(), table["flops"].max()))  # type: ignore[arg-type]
        ladders, gains = [], []
        for arm in self.curves:
            runs = table.filter(arm=arm)
            flops = np.geomspace(low, high, PLACES)
            asked = pl.DataFrame({"flops": flops}).with_columns(arm=pl.lit(arm))
            parts = [band({"flops": flops}, "loss", self.predict(asked)), runs.select("flops", "loss", MEASURED)]
            ladders += [part.with_columns(series=pl.lit(arm)) for part in parts]
            for look, start, end in (("line", low, high), ("dashed", high, BEYOND * high)) if arm != base else ():
                flops = np.geomspace(start, end, PLACES)
                gain = np.stack(self.gain(arm, base, flops.tolist()), axis=1)
                gains.append(band({"flops": flops}, "gain", gain, look).with_columns(series=pl.lit(arm)))
        compute, loss = Along("flops", "training FLOPs"), Along("loss", "loss (nats per token)")
        note = "Dots are runs, hollow where they are held out; lines are the fitted curves with their 80 % bands."
        found = (Plot("ladders", "Loss against training compute", compute, loss, stacked(ladders), note),)
        if not gains:
            return found
        note = f"FLOPs that {base} needs for the same loss, over those spent, with the 80 % band. Dashed: beyond the runs."
        same = pl.DataFrame({"gain": [1.0], "look": ["reference"]})
        gain_axis = Along("gain", f"gain in compute over {base}")
        return (*found, Plot("gain", "Compute-equivalent gain", compute, gain_axis, stacked([*gains, same]), note))
