"""The figures of an IsoFLOP study (those of the discussion around arXiv 2512.05620, figure 13)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from hptransfer.base.intervals import Array, Interval, from_logarithms
from hptransfer.base.words import plain
from hptransfer.laws.columns import groups
from hptransfer.laws.isoflop import SAME_BUDGET, IsoFlopFitted, Profiles
from hptransfer.laws.plot import MEASURED, Along, Plot, band, stacked

MARGIN = 1.1  # of the runs' tokens per parameter, to which a parabola is drawn
BEYOND = 10  # times the largest budget, to which the power law is drawn
ENDS = ("ratio", "low", "high")
RATIO = Along("ratio", "tokens per parameter")
PROFILES = (
    "Dots are runs, hollow where they are held out; lines are the fitted parabolas. Diamonds are their lowest points, bars the "
    "80 % interval of the best tokens per parameter."
)
BEST = "Diamonds are the best of each budget, lines power laws of compute, dashed beyond the largest budget. Intervals are 80 %."


def plots(fitted: IsoFlopFitted, table: pl.DataFrame) -> tuple[Plot, ...]:
    """Loss, and loss above the lowest of its budget, against tokens per parameter; the best of them against compute."""
    compute = Along("flops", "training FLOPs")
    best = stacked(part for name, arm in fitted.arms.items() for part in _best(name, arm))
    last = Plot("best-ratio", "Best tokens per parameter against compute", compute, RATIO, best, BEST)
    if "loss" not in table.columns:
        return (last,)
    frame = stacked(_profiles(fitted, table))
    above = frame.filter(pl.col("lowest").is_not_null()).with_columns(above=100 * (pl.col("loss") / pl.col("lowest") - 1))
    loss, excess = Along("loss", "loss (nats per token)", False), Along("above", "loss above the lowest of its budget (%)", False)
    tips = {"N": ("parameters", ".4~s"), "flops": ("FLOPs", ".3~e")}
    return (
        Plot("profiles", "Loss against tokens per parameter", RATIO, loss, frame, PROFILES, tips),
        Plot("relative-profiles", "Relative loss against tokens per parameter", RATIO, excess, above, PROFILES, tips),
        last,
    )


def _best(name: str, arm: Profiles) -> Iterator[pl.DataFrame]:
    """The vertices of an arm, and the power law through them."""
    found = [_of_ln(values) for values in arm.ln_ratio.T]
    ends = {"ratio": [one.value for one in found], "low": [one.low for one in found], "high": [one.high for one in found]}
    parts = [pl.DataFrame({"flops": arm.flops} | ends).with_columns(look=pl.lit("diamond"))]
    if len(arm.flops) > 1:
        largest = arm.flops.max()
        for look, start, end in (("line", arm.flops.min(), largest), ("dashed", largest, BEYOND * largest)):
            flops = np.geomspace(start, end, 20)
            parts.append(band({"flops": flops}, "ratio", arm.at(flops)[0], look).with_columns(pl.col(*ENDS).exp()))
    return (part.with_columns(series=pl.lit(name)) for part in parts)


def _profiles(fitted: IsoFlopFitted, table: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The runs of every budget, its parabola and its vertex; ``lowest`` is the loss there."""
    for name, rows in table.partition_by("arm", as_dict=True, maintain_order=True).items():
        arm = str(name[0])
        for part in groups(rows, "flops", SAME_BUDGET):
            flops = float(np.exp(np.log(part["flops"].to_numpy()).mean()))
            words = f"{plain(flops)} FLOPs"
            runs = part.select("N", "flops", "loss", MEASURED, ratio=pl.col("D") / pl.col("N"))
            marks = stacked([runs, *_parabola(fitted.arms.get(arm), flops, np.log(runs["ratio"].to_numpy()))])
            series = f"{arm}, {words}" if len(fitted.arms) > 1 else words
            lowest = marks.filter(look="diamond")["loss"]
            yield marks.with_columns(series=pl.lit(series), family=pl.lit(arm), lowest=lowest[0] if len(lowest) else None)


def _parabola(arm: Profiles | None, flops: float, ln_ratio: Array) -> Iterator[pl.DataFrame]:
    """Of the budget ``flops``, whose runs are at ``ln_ratio`` (runs,): nothing where it was not fitted."""
    if arm is None or (apart := np.abs(np.log(arm.flops / flops))).min() > np.log(SAME_BUDGET):
        return
    k = int(apart.argmin())
    best, lowest, curvature = _of_ln(arm.ln_ratio[:, k]), arm.loss[0, k], arm.curvature[0, k]
    x = np.linspace(min(*ln_ratio, np.log(best.value)) - np.log(MARGIN), max(*ln_ratio, np.log(best.value)) + np.log(MARGIN), 50)
    loss = lowest + curvature * (x - np.log(best.value)) ** 2
    yield pl.DataFrame({"ratio": np.exp(x), "loss": loss}).with_columns(look=pl.lit("line"))
    vertex = {"ratio": best.value, "loss": lowest, "flops": arm.flops[k]}
    yield pl.DataFrame([vertex | {"look": "diamond"}, vertex | {"look": "basin", "low": best.low, "high": best.high}])


def _of_ln(values: Array) -> Interval:
    """Of tokens per parameter by their logarithms (1 + draws,): of draws that hardly turn they are beyond any number."""
    return from_logarithms(float(values[0]), values[1:][np.isfinite(values[1:])])
