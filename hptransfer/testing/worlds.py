"""Made-up tables of runs whose truth is known: for predictions to be judged by what no public sweep can tell.

A world is a table with the optimum that a run at the target would have. Each kind is hard in one way (`KINDS`); all have optima
that no law meets exactly, bowls as public sweeps show them, and seed noise. Everything is drawn from the seed, with the kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import polars as pl

from hptransfer.base.intervals import Array
from hptransfer.plan.simulate import PUBLIC, STEEPENING
from hptransfer.transfer.cost import LOST

# Exponents of the best LR that published rules give (uniform between): 0 to -1 in width; D^-.32 (bjorck) to none in tokens, and a
# little above it, since rules disagree on the sign; none to beyond the square root in batch. Half of all widths have muP's 0.
EXPONENTS = {"width": (-1.0, 0.0), "tokens": (-0.35, 0.1), "batch_tokens": (0.0, 0.6)}
BASE = {"width": 128.0, "tokens": 2.0**28, "batch_tokens": 2.0**15}  # smallest values searched
LEVEL, LEVEL_SD = math.log(3e-3), 1.0  # of ln best LR at the smallest cell
# How optima leave the law, sd in ln, log-uniform: each by itself, and by a Brownian motion over one e-fold of scale. Fitted
# optima of public sweeps (arXiv 2512.05620, 2503.04715) leave theirs by about 0.1 per root of an e-fold, hardly by themselves.
SCATTER, WANDER = (0.01, 0.1), (0.05, 0.2)
EXPLODED = (1.2, 5.0)  # loss of a run beyond a cliff, in units of the cell's lowest, where it is finite; log-uniform
FALL = 0.05  # of ln loss for each unit of ln scale


@dataclass(frozen=True)
class Bowl:
    """``curvature`` of ln loss in ln LR below the optimum; ``skew``: by how much farther the same distance counts above it;
    runs from ``cliff`` (ln) above it diverge."""

    curvature: float
    skew: float
    cliff: float = math.inf

    def excess(self, u: Array) -> Array:
        """ln loss above the lowest at ln LR ``u`` from the optimum; inf where runs diverge."""
        v = np.where(u > 0, self.skew * u, u)
        return np.where(u >= self.cliff, math.inf, self.curvature * v**2 * (1 + STEEPENING * v**2))


@dataclass(frozen=True)
class World:
    """``table``: one row per run, with ``group``, the ``scales``, ``lr`` and ``loss`` (null: diverged). Asked for is the best LR
    of ``group`` at the scales ``at``: ``best`` (ln), under ``bowl``. ``optima``: the true ``ln_lr`` of each cell of the table."""

    kind: str
    table: pl.DataFrame
    scales: tuple[str, ...]
    group: str
    at: dict[str, float]
    best: float
    bowl: Bowl
    optima: pl.DataFrame

    def regret(self, ln_lr: float) -> float:
        """Loss at an LR over the lowest at the target, minus 1, up to `LOST`."""
        excess = float(self.bowl.excess(np.array(ln_lr - self.best)))
        return math.expm1(min(excess, math.log1p(LOST)))


@dataclass(frozen=True)
class _Plan:
    """What a kind decides. ``cells`` (cells, scales): in the last row the target. ``trends``: of each group the law of ln best
    LR, up to a constant, (cells,). ``noise`` (relative), ``scatter`` (ln), ``cliff`` (ln above the optimum) and ``runs`` of a
    cell: (least, most); ``steps``: factors between LRs that occur."""

    scales: tuple[str, ...]
    cells: Array
    trends: tuple[Array, ...]
    named: int = 0
    noise: tuple[float, float] = PUBLIC.noise
    scatter: tuple[float, float] = SCATTER
    runs: tuple[int, int] = (7, 13)
    steps: tuple[float, ...] = (math.sqrt(2.0), 2.0)
    cliff: tuple[float, float] | None = None


def draw(kind: str, seed: int, *, noisy: bool = True) -> World:
    """A world of a kind (one of `KINDS`); the same without seed noise where it is not ``noisy``."""
    rng = np.random.default_rng([list(KINDS).index(kind), seed])
    plan = KINDS[kind](rng)
    noise = _log_uniform(rng, plan.noise) * noisy
    scatter, wander = _log_uniform(rng, plan.scatter), _log_uniform(rng, WANDER)
    runs = int(rng.integers(*plan.runs, endpoint=True))
    step = math.log(rng.choice(plan.steps))
    offset = step * rng.random()  # of the grid of LRs, which all cells share
    cliff = rng.uniform(*plan.cliff) if plan.cliff else math.inf
    exploded = math.log(_log_uniform(rng, EXPLODED)) if rng.random() < 0.5 else math.nan
    x = np.log(plan.cells / plan.cells[0])
    reach = np.linalg.norm(x, axis=1)
    brownian = (reach[:, None] + reach - np.linalg.norm(x[:, None] - x, axis=2)) / 2
    left = np.linalg.cholesky(scatter**2 * np.eye(len(x)) + wander**2 * brownian)
    rows, optima, truths = [], [], []
    for g, trend in enumerate(plan.trends):
        bowl = Bowl(_log_uniform(rng, PUBLIC.curvature), _log_uniform(rng, PUBLIC.skew), cliff)
        best = rng.normal(LEVEL, LEVEL_SD) + trend - trend[0] + left @ rng.standard_normal(len(x))
        truths.append((bowl, float(best[-1])))
        for i, values in enumerate(plan.cells[:-1].tolist()):
            cell = {"group": f"g{g}", **dict(zip(plan.scales, values, strict=True))}
            optima.append({**cell, "ln_lr": float(best[i])})
            # A search has its optimum inside, though seldom in the middle.
            middle = round((best[i] - offset) / step + rng.uniform(-1, 1))
            ln_lr = offset + step * (middle + np.arange(runs) - runs // 2)
            excess = bowl.excess(ln_lr - best[i])
            excess = np.where(np.isinf(excess), exploded, excess) + noise * rng.standard_normal(runs)
            loss = np.exp(math.log(3.5) - FALL * x[i].sum() + excess)
            rows += [{**cell, "lr": lr, "loss": y} for lr, y in zip(np.exp(ln_lr).tolist(), loss.tolist(), strict=True)]
    bowl, truth = truths[plan.named]
    return World(
        kind=kind,
        table=pl.DataFrame(rows).with_columns(pl.col("loss").fill_nan(None)),
        scales=plan.scales,
        group=f"g{plan.named}",
        at=dict(zip(plan.scales, plan.cells[-1].tolist(), strict=True)),
        best=truth,
        bowl=bowl,
        optima=pl.DataFrame(optima),
    )


# -- kinds -------------------------------------------------------------------------------------------------------------


def _cliff(rng: np.random.Generator) -> _Plan:
    """Runs explode a little above the optimum in all cells, as those of post-LN Transformers under Adam do."""
    return _along(rng, "width", _ladder(rng, "width", (3, 5), (1, 4)), runs=(9, 13), cliff=(0.15, 1.0))


def _two_cells(rng: np.random.Generator) -> _Plan:
    """Two widths, few runs, a far target: hardly more than the optima themselves is known."""
    apart = rng.choice([2.0, 4.0])
    widths = BASE["width"] * np.array([1.0, apart, apart * 2.0 ** rng.integers(2, 5, endpoint=True)])
    return _along(rng, "width", widths, noise=(0.001, 0.005), runs=(5, 9), steps=(2.0,))


def _saturation(rng: np.random.Generator) -> _Plan:
    """lr* ~ (1 + B_c / B)^-a: a power of the batch up to a critical one, which may lie before, among or behind those searched."""
    batches = _ladder(rng, "batch_tokens", (4, 6), (1, 4))
    critical = _log_uniform(rng, (batches[0] / 4, batches[-2] * 4))
    trend = -rng.choice([0.5, 1.0]) * np.log1p(critical / batches)
    return _Plan(("batch_tokens",), batches[:, None], (trend,))


def _siblings(rng: np.random.Generator, *, odd: bool) -> _Plan:
    """Groups (optimizers, say) with exponents near a common one, but for one. Asked for is that one (``odd``) or another; each
    alone has too few noisy cells to know its own exponent."""
    groups = int(rng.integers(4, 8, endpoint=True))
    common, spread = _exponent(rng, "width"), _log_uniform(rng, (0.02, 0.1))
    exponents = common + spread * rng.standard_normal(groups)
    different = int(rng.integers(groups))
    exponents[different] = common + rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.0)
    widths = _ladder(rng, "width", (2, 3), (2, 4))
    return _Plan(
        ("width",),
        widths[:, None],
        tuple(exponent * np.log(widths) for exponent in exponents),
        named=different if odd else (different + 1) % groups,
        noise=(0.002, 0.015),
        runs=(5, 9),
        steps=(2.0,),
    )


def _wander(rng: np.random.Generator) -> _Plan:
    """Optima scatter about a line, hardly or by more than the law itself moves them; the target's does as well."""
    return _along(rng, "width", _ladder(rng, "width", (3, 6), (1, 4)), scatter=(0.02, 0.5))


def _axes(rng: np.random.Generator) -> _Plan:
    """Width, tokens and batch, each varied by itself from a base (a star) or all with all; the target lies beyond in each."""
    star = [factor ** np.eye(3)[axis] for axis, factor in product(range(3), (2.0, 4.0))]
    full = [np.array(factors) for factors in product((1.0, 4.0), repeat=3)]
    searched = np.vstack([np.ones(3), *star] if rng.random() < 0.5 else full)
    factors = np.vstack([searched, 4.0 * 2.0 ** rng.integers(1, 3, size=3, endpoint=True)])
    exponents = np.array([_exponent(rng, scale) for scale in EXPONENTS])
    return _Plan(tuple(EXPONENTS), factors * [BASE[scale] for scale in EXPONENTS], (np.log(factors) @ exponents,))


KINDS: dict[str, Callable[[np.random.Generator], _Plan]] = {
    "cliff": _cliff,
    "two_cells": _two_cells,
    "saturation": _saturation,
    "odd_sibling": partial(_siblings, odd=True),
    "ordinary_sibling": partial(_siblings, odd=False),
    "wander": _wander,
    "axes": _axes,
}


def _along(rng: np.random.Generator, scale: str, values: Array, **plan: object) -> _Plan:
    """One group along one scale, by a power of it."""
    return _Plan((scale,), values[:, None], (_exponent(rng, scale) * np.log(values),), **plan)  # type: ignore[arg-type]


def _ladder(rng: np.random.Generator, scale: str, count: tuple[int, int], doublings: tuple[int, int]) -> Array:
    """Values of a scale a factor 2 apart, and a target so many doublings beyond; both (least, most)."""
    searched = BASE[scale] * 2.0 ** np.arange(rng.integers(*count, endpoint=True))
    return np.append(searched, searched[-1] * 2.0 ** rng.integers(*doublings, endpoint=True))


def _exponent(rng: np.random.Generator, scale: str) -> float:
    if scale == "width" and rng.random() < 0.5:
        return 0.0
    return float(rng.uniform(*EXPONENTS[scale]))


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
