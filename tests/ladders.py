"""Tables for laws, whose truth is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl

from hptransfer.laws.annealing import Annealing
from hptransfer.laws.chinchilla import Chinchilla
from hptransfer.laws.curves import curves_of
from hptransfer.laws.t2 import TrainToTest
from hptransfer.testing.ladders import ladder, profiles

_SUM = np.array([[np.log(0.2), np.log(60.0), np.log(300.0), np.log(1.5), 0.3, 0.3, 0.5]])
_BETA = np.array([[np.log(480.0), np.log(2085.0), np.log(1.82), 0.348, 0.366, 3.2, 3.0, 1.0, 1.0, -0.5]])
CHECKPOINTS = {1: _SUM, 2: _BETA}  # coefficients of train-to-test, by approach


def checkpoints(approach: int, noise: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """Five sizes, five horizons and five k, whose law is known."""
    n, d, k = np.array([*product(np.geomspace(1e7, 1e9, 5), np.geomspace(5e8, 5e10, 5), (1, 4, 16, 64, 256))]).T
    law, theta = TrainToTest(approach=approach), CHECKPOINTS[approach]
    rng = np.random.default_rng(seed)
    loss = np.exp(law.ln_loss(theta, np.log(n), np.log(d), np.log(k))[0] + noise * rng.standard_normal(len(n)))
    lm_loss = np.exp(Chinchilla().ln_loss(_BETA[:, :5], np.log(n), np.log(d))[0])
    return pl.DataFrame({"row": np.arange(len(n)), "N": n, "D": d, "k": k, "lm_loss": lm_loss, "loss": loss})


ANNEALED = np.array([[np.log(2.9), np.log(0.6), 0.75, np.log(0.45)]])  # coefficients of the annealing law


def curves(noise: float = 0.0, seed: int = 0, peak: float = 3e-4) -> pl.DataFrame:
    """Losses by the annealing law along a constant, a cosine, a linear and a two-stage schedule, with errors that go on."""
    step = np.arange(2000, 20_001, 200)
    progress = (step - 2000) / 18_000
    factors = {
        "constant": np.ones(len(step)),
        "cosine": 0.1 + 0.45 * (1 + np.cos(np.pi * progress)),
        "linear": 1 - 0.9 * progress,
        "two-stage": np.where(step < 12_000, 1.0, 0.3),
    }
    rows = [
        {"run": name, "step": float(at), "lr": float(peak * factor)}
        for name, found in factors.items()
        for at, factor in zip(step, found, strict=True)
    ]
    table, law, rng = pl.DataFrame(rows).with_row_index("row"), Annealing(), np.random.default_rng(seed)
    found = curves_of(table, 2000)
    loss = np.empty(len(table))
    order = np.concatenate([one.rows for one in found.values()])
    loss[order] = np.exp(law.ln_loss(ANNEALED, law.features([*found.values()])))[0]
    own = np.convolve(rng.standard_normal(len(loss) + 4), np.ones(5) / 5**0.5, mode="valid")
    return table.with_columns(loss=loss * np.exp(noise * own))


FRONTIERS = {"old": (1.9, 36.3, 0.065), "new": (1.9, 81.7, 0.091)}  # E, A, alpha: arXiv 2511.21622, LSTM and 2017 Transformer


def arms(noise: float = 0.0, seed: int = 0, sizes: int = 6) -> pl.DataFrame:
    """Two ladders whose curves are published."""
    flops, rng = np.geomspace(1e15, 1e18, sizes), np.random.default_rng(seed)
    rows = [{"arm": arm, "flops": c, "loss": e + a * c**-alpha} for arm, (e, a, alpha) in FRONTIERS.items() for c in flops]
    table = pl.DataFrame(rows).with_row_index("row")
    return table.with_columns(loss=table["loss"] * np.exp(noise * rng.standard_normal(len(table))))


# One that each law can be fitted to.
TABLES = {
    "chinchilla": ladder(noise=0.002),
    "skaling": ladder(noise=0.002),
    "farseer": ladder(noise=0.002),
    "isoflop": profiles(noise=0.002),
    "envelope": ladder(noise=0.001, sizes=10, ratios=(2, 3, 5, 8, 12, 20, 30, 50, 80)),
    "annealing": curves(noise=0.0005),
    "multi-power": curves(noise=0.0005).filter(pl.col("run").is_in(["cosine", "two-stage"])),
    "t2": checkpoints(approach=1, noise=0.001),
    "progress": arms(noise=0.002),
}
