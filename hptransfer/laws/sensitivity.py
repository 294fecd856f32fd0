"""How far a conclusion moves if parameters were counted otherwise (Schaeffer et al., arXiv 2509.23963, section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from hptransfer.base.errors import UsageError
from hptransfer.base.intervals import Array, Interval
from hptransfer.laws.law import Law
from hptransfer.laws.sizes import SizeLaw

FACTORS, SHARES, POWERS, NOISES = (0.5, 2.0), (-0.5, 1.0), (0.9, 1.1), (0.1, 0.3)
REPEATS = 5  # of noise: the middle one counts
DRAWS = 100  # of a perturbed fit, whose interval nobody reads


@dataclass(frozen=True)
class Moved:
    """One perturbation of N, in words, with the parameters of the fit to it and the best tokens per parameter at the compute
    asked for, None where there is no optimum. ``inside``: whether that lies in the 80 % interval of the fit as it is."""

    perturbation: str
    parameters: dict[str, float]
    tokens_per_parameter: float | None
    inside: bool


def sensitivity(law: Law, table: pl.DataFrame, flops: float) -> tuple[Interval | None, list[Moved]]:
    """The best tokens per parameter at ``flops`` as the table is, and under each perturbation of its N: multiplied, shifted by a
    share of the smallest, stretched as mu (N/mu)^s about its geometric mean mu, and with log-normal noise. Raises UsageError for
    a law that is not of N and D."""
    if not isinstance(law, SizeLaw):
        raise UsageError(f"law {law.name} is not fitted to parameter counts; sensitivity is of laws of N and D")
    plain = law.fit(table).optimal((flops,))
    ratio = plain[0].tokens_per_parameter if plain else None
    quick = law.model_copy(update={"draws": DRAWS})

    def fitted(n: Array) -> tuple[dict[str, float], float | None]:
        found = quick.fit(table.with_columns(pl.Series("N", n)))
        best = found.optimal((flops,))
        return {name: one.value for name, one in found.parameters.items()}, best[0].tokens_per_parameter.value if best else None

    moved = []
    for words, repeats in _perturbations(table["N"].to_numpy()):
        found = sorted(map(fitted, repeats), key=lambda one: one[1] or 0.0)
        parameters, best = found[len(found) // 2]
        moved.append(Moved(words, parameters, best, ratio is not None and best is not None and ratio.holds(best)))
    return ratio, moved


def _perturbations(n: Array) -> Iterator[tuple[str, list[Array]]]:
    """In words, and N (rows,) of every repeat."""
    middle, least = np.exp(np.log(n).mean()), n.min()
    for factor in FACTORS:
        yield f"N x {factor:g}", [n * factor]
    for share in SHARES:
        yield f"N {share * least:+.3g}", [n + share * least]
    for power in POWERS:
        yield f"{middle:.3g} (N/{middle:.3g})^{power:g}", [middle * (n / middle) ** power]
    for noise in NOISES:
        drawn = [np.random.default_rng(seed).standard_normal(len(n)) for seed in range(REPEATS)]
        yield f"N with log-normal noise of {noise:.0%}", [n * np.exp(noise * one) for one in drawn]
