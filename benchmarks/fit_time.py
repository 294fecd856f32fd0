"""How long a prediction takes: ``python -m benchmarks.fit_time``. 2,000 runs, two scales, two hyperparameters, 1,000 draws."""

from __future__ import annotations

import math
import time

import numpy as np

from hptransfer.cli import console
from hptransfer.transfer.forecast import fit_sweep
from hptransfer.transfer.law import fit_line
from hptransfer.transfer.sweep import Sweep, gather

RUNS, CELLS, DRAWS = 2000, 16, 1000


def known(rng: np.random.Generator) -> Sweep:
    """A grid of scales N x D with lr* ~ N^-0.7 D^0.3 and batch* ~ D^0.6, a tilted bowl and noise of 0.2 %."""
    scales = np.array([(n, d) for n in range(4) for d in range(CELLS // 4)]) * math.log(2)
    x = np.repeat(scales, RUNS // CELLS, axis=0)
    best = np.column_stack([-0.7 * x[:, 0] + 0.3 * x[:, 1], 0.6 * x[:, 1]])
    u = rng.uniform(-2, 2, x.shape)
    excess = 0.006 * u[:, 0] ** 2 + 0.006 * u[:, 1] ** 2 - 0.004 * u[:, 0] * u[:, 1]
    loss = 2.5 * np.exp(excess + 0.002 * rng.standard_normal(len(x)))
    return gather(["N", "D"], ["lr", "bs"], x, best + u, loss)[0]


def main() -> None:
    """Print the seconds of surfaces, line and law, and the exponents found."""
    sweep = known(np.random.default_rng(0))
    start = time.perf_counter()
    fit = fit_sweep(sweep)
    surfaces = time.perf_counter()
    line = fit_line(sweep.x, fit.measured, draws=DRAWS, rng=np.random.default_rng(0))
    law = fit.law(np.array([5.0, 5.0]), draws=DRAWS)
    end = time.perf_counter()
    console.print(f"{len(sweep.h)} runs in {len(sweep.x)} cells: surfaces {surfaces - start:.2f} s, ", end="")
    console.print(f"line and law with {len(law.draws)} draws {end - surfaces:.2f} s")
    console.print(f"exponents (truth -0.7, 0.3; 0, 0.6): {line.exponent.T.round(3).tolist()}")


if __name__ == "__main__":
    main()
