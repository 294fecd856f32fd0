"""How long laws take, and how often their 80 % intervals hold: ``python -m benchmarks.laws [--ladders 200]``.

1,000 rows and 1,000 draws of each law of N and D, on losses of a known law with 0.3 % of noise; then as many small ladders as
asked for, whose exponents and optimum are known.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import polars as pl

from hptransfer.cli import console
from hptransfer.laws import LAWS
from hptransfer.laws.law import Law

E, A, B, ALPHA, BETA = 1.82, 480.0, 2085.0, 0.348, 0.366  # near those of arXiv 2404.10102
NOISE, FLOPS = 0.003, 1e20


def runs(n: np.ndarray, d: np.ndarray, seed: int) -> pl.DataFrame:
    """Runs of these sizes and horizons."""
    loss = (E + A * n**-ALPHA + B * d**-BETA) * np.exp(NOISE * np.random.default_rng(seed).standard_normal(len(n)))
    return pl.DataFrame({"row": np.arange(len(n)), "N": n, "D": d, "flops": 6 * n * d, "arm": ["all"] * len(n), "loss": loss})


def ladder(sizes: int, ratios: int, seed: int) -> pl.DataFrame:
    """Sizes from 50 million to 2 billion, each with 5 to 80 tokens per parameter."""
    n = np.repeat(10 ** np.linspace(7.7, 9.3, sizes), ratios)
    return runs(n, n * np.tile(np.geomspace(5, 80, ratios), sizes), seed)


def best_size(flops: float) -> float:
    """Of the known law."""
    return float((ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (flops / 6) ** (BETA / (ALPHA + BETA)))


def profiles(sizes: int, seed: int) -> pl.DataFrame:
    """Four budgets, each with sizes around its best."""
    budgets = np.repeat([1e18, 3e18, 1e19, 3e19], sizes)
    n = np.array([best_size(flops) for flops in budgets]) * np.tile(np.geomspace(1 / 3, 3, sizes), 4)
    return runs(n, budgets / 6 / n, seed)


def coverage(law: Law, tables: list[pl.DataFrame]) -> dict[str, float]:
    """Share of the tables whose intervals hold the truth."""
    truth = {"alpha": ALPHA, "beta": BETA, "a": BETA / (ALPHA + BETA), "N": best_size(FLOPS)}
    held = dict.fromkeys(truth, 0)
    for table in tables:
        fitted = law.fit(table)
        found = {**fitted.parameters, "N": fitted.optimal((FLOPS,))[0].N}
        for name in [*held]:
            if name not in found:
                del held[name]
            elif (one := found[name]).low is not None and one.high is not None:
                held[name] += one.low <= truth[name] <= one.high
    return {name: count / len(tables) for name, count in held.items()}


def main() -> None:
    """Print seconds and shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ladders", type=int, default=200)
    count = parser.parse_args().ladders
    for name in ("chinchilla", "skaling", "farseer"):
        law, start = LAWS.get(name)(), time.perf_counter()
        fitted = law.fit(ladder(40, 25, 0))
        console.print(f"{name}: {fitted.points} runs, {law.draws} draws, {time.perf_counter() - start:.1f} s")
    studies = {
        "chinchilla, 6 sizes x 5 horizons": (LAWS.get("chinchilla")(draws=300), [ladder(6, 5, seed) for seed in range(count)]),
        "isoflop, 4 budgets x 7 sizes": (LAWS.get("isoflop")(draws=300), [profiles(7, seed) for seed in range(count)]),
        "isoflop joint, 4 budgets x 4 sizes": (
            LAWS.get("isoflop").model_validate({"draws": 300, "fit_by": "joint"}),
            [profiles(4, seed) for seed in range(count)],
        ),
    }
    for words, (law, tables) in studies.items():
        held = ", ".join(f"{name} {share:.0%}" for name, share in coverage(law, tables).items())
        console.print(f"{words}: the 80 % interval holds {held} of {count}")


if __name__ == "__main__":
    main()
