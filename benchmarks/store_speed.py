"""How fast a store of many runs opens and filters, before and after ``compact``.

    python -m benchmarks.store_speed [--runs 10000] [--output FOLDER]

Realistic records, with curves, of four recipes at three widths under two horizons; each figure is one cold `Store`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import torch
from rich.console import Console

from benchmarks.tables import markdown_table
from hptransfer.experiment import load_experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.membership import members
from hptransfer.experiment.settings import DataSpec
from hptransfer.runs import CurvePoint, Outcome, Record, Store
from hptransfer.trainers.ours import machine
from hptransfer.trainers.ours.points import resolve

COLUMNS = ("operation", "before compact, s", "after, s")


def main() -> None:
    options = argparse.ArgumentParser(description="Time of opening and filtering a store.")
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--output", default="benchmarks/results", metavar="FOLDER")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _fill(Store(folder), args.runs)
        before = _times(folder)
        began = time.perf_counter()
        assert Store(folder).compact() == args.runs
        compact = time.perf_counter() - began
        after = _times(folder)
    rows = [(name, f"{before[name]:.2f}", f"{after[name]:.2f}") for name in before] + [("compact", f"{compact:.2f}", "")]
    date = datetime.now(UTC).date().isoformat()
    lines = [
        f"# A store of {args.runs:,} runs",
        "",
        f"{machine.device_name(torch.device('cpu'))}; {date}; "
        f"`python -m benchmarks.store_speed --runs {args.runs}`; each a cold store.",
        "",
        *markdown_table(COLUMNS, rows),
    ]
    Console().print("\n".join(lines))
    path = Path(args.output) / f"store_speed-{date}.md"
    path.write_text("\n".join(lines) + "\n")


def _fill(store: Store, count: int) -> None:
    """Each quickstart's run with some LR, weight decay and seed; a tenth of them diverged. The folder as ``add`` leaves it,
    without its syncs."""
    data = DataSpec(corpus="stdlib", tokenizer="bytes", sha256="0" * 64, vocab=256)
    experiments = [load_experiment("quickstart", [f"horizon.tokens={tokens}"]) for tokens in (184_320, 368_640)]
    recipes = ("adamw", "muon", "shampoo", "soap")
    for index in range(count):
        experiment, width = experiments[index % 8 // 4], (32, 64, 128)[index % 3]
        tuned = {"lr": 1e-3 * 1.001 ** (index % 5000), "weight_decay": 1e-3}
        job = resolve(experiment.point(Arm.of(recipes[index % 4], "mup"), data, width=width, seed=index, **tuned))
        loss = None if index % 10 == 0 else 2 + index / count
        outcome = Outcome(
            state="complete" if loss else "diverged",
            reason=None if loss else "loss nan at step 17",
            steps=job.steps,
            tokens=int(job.point["tokens"]),
            loss=loss,
            bits_per_byte=loss and loss / 0.693,
            curve=tuple(
                CurvePoint(step=step, tokens=step * 1024, schedule=1 - step / 180, train=2.1 + step / 1e3, val=2.2 + step / 1e3)
                for step in range(20, 200, 20)
            ),
            flops=job.flops,
            flops_optimizer=(job.flops or 0) / 50,
            training_wall_seconds=12.3,
            optimizer_wall_seconds=1.2,
            peak_memory_bytes=400_000_000,
            optimizer_state_bytes=1_000_000,
            device="AMD EPYC 7551",
            finished_at="2026-11-24T10:00:00+00:00",
        )
        versions = {"torch": "2.13.0+cpu", "ray": "2.60.0", "hptransfer": "0.1.0", "python": "3.11.7"}
        record = Record(job=job, outcome=outcome, versions=versions)
        store.files.write(f"runs/{record.run_id}.json", record.model_dump_json().encode(), durable=False)


def _times(folder: str) -> dict[str, float]:
    experiment = load_experiment("quickstart")
    filters = (pl.col("optimizer") == "shampoo") & (pl.col("width") == 64) & (pl.col("state") == "complete")

    def of_experiment() -> None:
        assert members(Store(folder).records().values(), experiment, resolve).records

    return {
        "frame()": _seconds(lambda: Store(folder).frame()),
        "frame() and a filter": _seconds(lambda: Store(folder).frame().filter(filters)),
        "records(), one looked up": _seconds(lambda: next(iter(Store(folder).records().values()))),
        "records(), every one read": _seconds(lambda: list(Store(folder).records().values())),
        "the runs of an experiment": _seconds(of_experiment),
    }


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
