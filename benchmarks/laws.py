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
from hptransfer.testing.ladders import TRUTH, ladder, profiles

NOISE, FLOPS = 0.003, 1e20


def coverage(law: Law, tables: list[pl.DataFrame]) -> dict[str, float]:
    """Share of the tables whose intervals hold the truth."""
    truth = {"alpha": TRUTH.alpha, "beta": TRUTH.beta, "a": TRUTH.a, "N": TRUTH.best_size(FLOPS)}
    held = dict.fromkeys(truth, 0)
    for table in tables:
        fitted = law.fit(table)
        found = {**fitted.parameters, "N": fitted.optimal((FLOPS,))[0].N}
        for name in [*held]:
            if name not in found:
                del held[name]
            else:
                held[name] += found[name].holds(truth[name])
    return {name: count / len(tables) for name, count in held.items()}


def main() -> None:
    """Print seconds and shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ladders", type=int, default=200)
    count = parser.parse_args().ladders
    for name in ("chinchilla", "skaling", "farseer"):
        law, start = LAWS.get(name)(), time.perf_counter()
        fitted = law.fit(ladder(NOISE, sizes=40, ratios=tuple(np.geomspace(5, 80, 25))))
        console.print(f"{name}: {fitted.points} runs, {law.draws} draws, {time.perf_counter() - start:.1f} s")
    studies = {
        "chinchilla, 6 sizes x 5 horizons": (LAWS.get("chinchilla")(draws=300), [ladder(NOISE, seed) for seed in range(count)]),
        "isoflop, 4 budgets x 7 sizes": (LAWS.get("isoflop")(draws=300), [profiles(NOISE, seed) for seed in range(count)]),
        "isoflop joint, 4 budgets x 4 sizes": (
            LAWS.get("isoflop").model_validate({"draws": 300, "fit_by": "joint"}),
            [profiles(NOISE, seed, sizes=4) for seed in range(count)],
        ),
    }
    for words, (law, tables) in studies.items():
        held = ", ".join(f"{name} {share:.0%}" for name, share in coverage(law, tables).items())
        console.print(f"{words}: the 80 % interval holds {held} of {count}")


if __name__ == "__main__":
    main()
