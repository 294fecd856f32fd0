"""How long commands take on large input: ``python -m benchmarks.command_time [WORDS ...]``.

Made-up tables of up to 200,000 runs, predicted from and tested back, and the plan of 64 widths by 12 recipes, each a command of
its own on one thread: seconds by the clock, and of the processor, which say more where other jobs run beside it. The first loads
the library and does nothing. WORDS keep the cases whose name has one of them.
"""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from hptransfer.cli import console

RECIPES = (
    *("adamw", "sgd", "signum", "muon", "muon-all", "normuon", "adamuon", "shampoo", "shampoo-quarter", "soap"),
    *("schedulefree-adamw", "sf-normuon"),
)
PLAN = {
    "name": "large",
    "model": {"depth": 3, "head_dim": 16, "mlp_ratio": 4, "context": 128},
    "data": {"corpus": "stdlib"},
    "base_width": 32,
    "widths": list(range(32, 32 + 64 * 16, 16)),
    "target_width": 2048,
    "horizon": {"policy": "tokens", "tokens": 184320},
    "batch_sequences": 8,
    "schedule": {"shape": "linear", "warmup_tokens": 18432},
    "evaluation": {"tokens": 32768, "points": 5},
    "optimizers": list(RECIPES),
    "search": {"trials": 8},
}


def one_scale(rows: int, lrs: int | None) -> pl.DataFrame:
    """Runs at 20 widths with lr* ~ width^-0.4 and noise of 0.3 %: every LR another one, or of a grid of so many, with seeds."""
    rng = np.random.default_rng(0)
    width = rng.choice((32 * 2 ** (np.arange(20) / 2)).round(), rows)
    best = math.log(0.01) - 0.4 * np.log(width / 64)
    ln_lr = best + rng.uniform(-2, 2, rows) if lrs is None else math.log(1e-4) + math.log(2) / 2 * rng.integers(0, lrs, rows)
    d = ln_lr - best
    ln_loss = 0.01 * np.where(d > 0, 1.2 * d, d) ** 2 + 0.003 * rng.standard_normal(rows)
    return pl.DataFrame({"width": width, "lr": np.exp(ln_lr), "loss": 2.5 * np.exp(ln_loss)})


def two_scales(rows: int) -> pl.DataFrame:
    """Runs at 20 sizes N by 15 horizons D with lr* ~ N^-0.5 D^0.2, batch* ~ D^0.5 and noise of 0.2 %."""
    rng = np.random.default_rng(0)
    n, d = rng.choice(1e8 * 1.5 ** np.arange(20), rows).round(), rng.choice(1e9 * 1.6 ** np.arange(15), rows).round()
    u = rng.uniform(-2, 2, (rows, 2))
    lr = np.exp(math.log(0.01) - 0.5 * np.log(n / 1e8) + 0.2 * np.log(d / 1e9) + u[:, 0])
    batch = np.exp(math.log(1e5) + 0.5 * np.log(d / 1e9) + u[:, 1])
    ln_loss = 0.008 * u[:, 0] ** 2 + 0.006 * u[:, 1] ** 2 - 0.003 * u[:, 0] * u[:, 1] + 0.002 * rng.standard_normal(rows)
    return pl.DataFrame({"N": n, "D": d, "lr": lr, "bs": batch, "loss": 2.5 * np.exp(ln_loss)})


def cases(folder: Path) -> Mapping[str, list[str]]:
    """What Python is called with, by name, the input being in ``folder``."""
    tables = {
        "2,000 rows": (one_scale(2_000, None), ["width", "lr"], "width=65536"),
        "200,000 rows": (one_scale(200_000, None), ["width", "lr"], "width=65536"),
        "200,000 rows, 600 points": (one_scale(200_000, 30), ["width", "lr"], "width=65536"),
        "5,000 rows, 300 cells, LR and batch": (two_scales(5_000), ["N,D", "lr,bs"], "N=1e12,D=1e12"),
    }
    found = {"the import alone": ["-c", "import hptransfer.transfer.command"]}
    for number, (name, (frame, (scale, hp), at)) in enumerate(tables.items()):
        file = folder / f"{number}.csv"
        frame.write_csv(file)
        columns = ["--scale", scale, "--hp", hp, "--loss", "loss"]
        found[f"transfer, {name}"] = ["-m", "hptransfer", "transfer", "--table", str(file), *columns, "--at", at]
        found[f"backtest, {name}"] = ["-m", "hptransfer", "backtest", str(file), *columns]
    plan = folder / "large.yaml"
    plan.write_text(yaml.safe_dump(PLAN))
    options = ["--experiment", str(plan), "--store", str(folder / "runs")]
    return found | {"plan, 64 widths, 12 recipes": ["-m", "hptransfer", "plan", *options]}


def main() -> None:
    """Print one line for each command. Raises CalledProcessError where one fails."""
    words, threads = sys.argv[1:], {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    console.print(f"{'command':45}{'wall s':>9}{'CPU s':>9}   load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in cases(Path(folder)).items():
            if words and not any(word in name for word in words):
                continue
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=os.environ | threads)
            wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            console.print(f"{name:45}{wall:9.1f}{cpu:9.1f}")


if __name__ == "__main__":
    main()
