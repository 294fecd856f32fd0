"""A synthetic world with known truth: records as a search would leave them, from a loss surface that is written down here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from records import DATA, record_of

from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.settings import DataSpec, Parametrization
from hptransfer.runs import Record
from hptransfer.trainers.ours.points import resolve


@dataclass(frozen=True, kw_only=True)
class Truth:
    """ln loss = ln(2 (width/64)^-0.1) + curvature (skew u)^2 + wd_curvature v^2, with relative ``noise``.

    u = ln lr - ln lr*(width), where lr* = lr (width/64)^gamma, and skew counts for u > 0 only; v = ln(weight_decay / wd).
    Runs with an lr from ``ceiling`` on diverge.
    """

    lr: float = 0.01
    gamma: float = 0.0
    curvature: float = 0.04
    skew: float = 1.5
    wd: float = 1e-3
    wd_curvature: float = 0.0
    noise: float = 0.003
    ceiling: float = math.inf

    def best_lr(self, width: int) -> float:
        return float(self.lr * (width / 64) ** self.gamma)

    def ln_loss(self, width: int, lr: float, weight_decay: float) -> float:
        u = math.log(lr / self.best_lr(width))
        v = math.log(weight_decay / self.wd) if self.wd_curvature else 0.0
        bowl = self.curvature * (self.skew * u if u > 0 else u) ** 2
        return math.log(2.0 * (width / 64) ** -0.1) + bowl + self.wd_curvature * v**2


def make_experiment(**changes: object) -> Experiment:
    """Widths 64 and 128, target 256, a fixed horizon; keyword arguments replace fields."""
    fields: dict[str, object] = {
        "name": "synthetic",
        "base_width": 64,
        "widths": [64, 128],
        "target_width": 256,
        "horizon": {"policy": "tokens", "tokens": 131_072},
        "batch_sequences": 8,
        "optimizers": ["adamw", "muon"],
    }
    return Experiment.model_validate({**fields, **changes})


def make_records(
    truth: Truth,
    experiment: Experiment,
    *,
    recipe: str = "muon",
    parametrization: Parametrization = "mup",
    runs: int = 12,
    seed: int = 0,
    lr_range: tuple[float, float] = (0.1, 8.0),
    wd_range: tuple[float, float] = (0.1, 10.0),
    ratio: float = 1.0,
    seeds: int = 1,
    data: DataSpec = DATA,
) -> list[Record]:
    """``runs`` runs per width and seed, scattered evenly over ranges that are factors of the base optimum."""
    rng = np.random.default_rng(seed)
    records = []
    for width in experiment.widths:
        lrs = truth.lr * np.exp(_scatter(rng, lr_range, runs))
        decays = truth.wd * np.exp(_scatter(rng, wd_range, runs))
        for lr, decay in zip(lrs, decays, strict=True):
            tuned = {"lr": lr, "weight_decay": decay, "embedding_lr_ratio": ratio}
            for init_seed in range(seeds):
                point = experiment.point(Arm.of(recipe, parametrization), data, width=width, seed=init_seed, **tuned)
                ln_loss = truth.ln_loss(width, lr, decay) + truth.noise * rng.standard_normal()
                records.append(record_of(resolve(point), None if lr >= truth.ceiling else math.exp(ln_loss)))
    return records


def _scatter(rng: np.random.Generator, bounds: tuple[float, float], n: int) -> np.ndarray:
    """n points in a log range, one at random in each of n equal cells, in random order."""
    low, high = math.log(bounds[0]), math.log(bounds[1])
    return np.asarray(low + (high - low) * (rng.permutation(n) + rng.random(n)) / n)
