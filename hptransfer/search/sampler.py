"""Optuna as nothing but a sampler: proposals from observations, rebuilt from the store for each batch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from ray.tune.search.optuna import OptunaSearch

from hptransfer.experiment.space import Point

optuna.logging.set_verbosity(optuna.logging.WARNING)


def propose(
    sampler: Literal["gp", "tpe", "random"],
    distributions: dict[str, BaseDistribution],
    observations: Sequence[tuple[Point, float]],
    *,
    count: int,
    seed: int,
) -> list[Point]:
    """``count`` points, given (point, value) pairs to minimise; the same arguments give the same points.

    The points asked for earlier in the batch count as running trials, so a batch spreads out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        search = OptunaSearch(distributions, metric="value", mode="min", sampler=_sampler(sampler, seed))
        for point, value in observations:
            search.add_evaluated_point(point, value)
        return [dict(search.suggest(str(index)) or {}) for index in range(count)]


def _sampler(name: Literal["gp", "tpe", "random"], seed: int) -> BaseSampler:
    match name:
        case "gp":
            return GPSampler(seed=seed, n_startup_trials=1)
        case "tpe":
            return TPESampler(seed=seed, n_startup_trials=1, multivariate=True, constant_liar=True)
        case "random":
            return RandomSampler(seed=seed)
