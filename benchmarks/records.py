"""How long commands take on a store of many records, and the memory that they need.

    python -m benchmarks.records [--runs 50000] [--output FOLDER]

Made-up runs of one experiment, four optimizers at three widths, with training curves: as files of their own, as ``add`` leaves
them, and gathered by ``store --compact``. Each figure is a process of its own, as a user starts it; seconds of the processor
say more than the clock where other jobs run beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml

from benchmarks.tables import markdown_table
from hptransfer.base.stored import sealed
from hptransfer.cli import console
from hptransfer.experiment import load_experiment
from hptransfer.experiment.settings import DataSpec
from hptransfer.runs import CurvePoint, Outcome, Record, Store
from hptransfer.trainers.ours import machine
from hptransfer.trainers.ours.points import resolve

WIDTHS, TARGET = (32, 64, 96), 128
BEST = {"adamw": 0.008, "muon": 0.02, "shampoo": 0.006, "soap": 0.005}  # LR
DECAY = 1e-3  # that the final values of a cell's first record are of
DATA = DataSpec(corpus="stdlib", tokenizer="bytes", sha256="0" * 64, vocab=256)
COMMANDS = {  # and the seconds of the clock that each may take on a machine with nothing else to do, gathered or not
    "store": (5.0, 2.0),
    "transfer --experiment many.yaml": (10.0, 10.0),
    "report --experiment many.yaml": (5.0, 5.0),
}
MEGABYTES = 1000.0
COLUMNS = ("command", "files", "clock, s", "processor, s", "peak memory, MB")


def main() -> int:
    """Exit code 1 where a limit of memory, or of the processor's seconds, is not kept."""
    options = argparse.ArgumentParser(description="Time and memory of commands on a store of many records.")
    options.add_argument("--runs", type=int, default=50_000)
    options.add_argument("--output", default="benchmarks/results", metavar="FOLDER")
    args = options.parse_args()
    output = Path(args.output).absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make(args.runs)
        rows, over = _measured("single", 0)
        rows.append(("store --compact", "single", *_cells(*_spent("store --compact"))))
        gathered, beyond = _measured("gathered", 1)
    date = datetime.now(UTC).date().isoformat()
    lines = [
        f"# A store of {args.runs:,} records",
        "",
        f"{machine.device_name(torch.device('cpu'))}; {date}; `python -m benchmarks.records --runs {args.runs}`; each a process "
        "of its own.",
        "",
        *markdown_table(COLUMNS, [*rows, *gathered]),
    ]
    console.print("\n".join(lines))
    output.mkdir(parents=True, exist_ok=True)
    (output / f"records-{date}.md").write_text("\n".join(lines) + "\n")
    for sentence in (*over, *beyond):
        print(sentence, file=sys.stderr)
    return 1 if over or beyond else 0


def make(runs: int) -> None:
    """An experiment file and a store in the working folder. Runs of a cell are one job at many learning rates and weight decays;
    those far above the best LR, about a twelfth, diverged."""
    fields = load_experiment("quickstart").model_dump(mode="json")
    fields |= {"name": "many", "widths": list(WIDTHS), "target_width": TARGET, "optimizers": list(BEST)}
    Path("many.yaml").write_text(yaml.safe_dump(fields))
    experiment, store, draw = load_experiment("many.yaml"), Store("runs"), random.Random(0)
    cells = []
    for recipe, best in BEST.items():
        for width in WIDTHS:
            point = experiment.point(experiment.arm(recipe), DATA, width=width, lr=best, weight_decay=DECAY)
            cells.append((recipe, width, best, _record(resolve(point)).model_dump(mode="json")))
    kinds = [content["job"]["kinds"] for *_, content in cells]
    for number in range(runs):
        recipe, width, best, content = cells[number % len(cells)]
        distance, decay = draw.gauss(0, 1), 10 ** draw.uniform(-4, -2)
        lr = best * math.exp(distance)
        run_id = hashlib.sha256(str(number).encode()).hexdigest()[:16]
        loss = 2 * (TARGET / width) ** 0.09 * math.exp(0.02 * distance**2 + draw.gauss(0, 0.002))
        content["job"]["run_id"] = run_id
        content["job"]["point"]["hyperparameters"] |= {"lr": lr, "weight_decay": decay}
        final = {"lr": lr / best, "weight_decay": decay / DECAY}
        content["job"]["kinds"] = [
            kind | {name: kind[name] * by for name, by in final.items()} for kind in kinds[number % len(cells)]
        ]
        diverged = lr > 4 * best
        content["outcome"] |= {"state": "diverged" if diverged else "complete", "loss": None if diverged else loss}
        content["outcome"]["curve"][-1]["val"] = loss
        store.files.write(f"runs/{run_id}.json", sealed(json.dumps(content, separators=(",", ":"))).encode(), durable=False)


def _record(job) -> Record:
    steps = [round(job.steps * place / 12) for place in range(13)]
    batch = int(job.point["batch_tokens"])
    outcome = Outcome(
        state="complete",
        steps=job.steps,
        tokens=job.steps * batch,
        loss=2.0,
        bits_per_byte=2.9,
        curve=tuple(
            CurvePoint(step=step, tokens=step * batch, schedule=1 - step / job.steps, train=5 - step / job.steps, val=5.0)
            for step in steps
        ),
        flops=job.flops,
        flops_optimizer=(job.flops or 0.0) / 25,
        training_wall_seconds=12.3,
        optimizer_wall_seconds=1.2,
        evaluation_wall_seconds=0.0,
        peak_memory_bytes=400_000_000,
        optimizer_state_bytes=1_000_000,
        device="AMD EPYC 7551",
        finished_at="2026-11-24T10:00:00+00:00",
    )
    versions = {"torch": "2.13.0+cpu", "ray": "2.60.0", "hptransfer": "0.1.0", "python": "3.11.7"}
    return Record(job=job, outcome=outcome, versions=versions)


def _measured(files: str, gathered: int) -> tuple[list[tuple[str, ...]], list[str]]:
    """A row for each command, and a sentence for each limit that it exceeds."""
    rows, over = [], []
    for command, limits in COMMANDS.items():
        clock, processor, megabytes = _spent(command)
        rows.append((command.split()[0], files, *_cells(clock, processor, megabytes)))
        found = {"s of the processor": (processor, limits[gathered]), "MB": (megabytes, MEGABYTES)}
        over += [
            f"{command}, {files}: {value:.1f} {what}: the limit is {most:g}"
            for what, (value, most) in found.items()
            if value > most
        ]
    return rows, over


def _cells(clock: float, processor: float, megabytes: float) -> tuple[str, str, str]:
    return f"{clock:.1f}", f"{processor:.1f}", f"{megabytes:.0f}"


def _spent(command: str) -> tuple[float, float, float]:
    """Seconds of the clock and of the processor, and the peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "hptransfer", *command.split()], stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) > 1:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
