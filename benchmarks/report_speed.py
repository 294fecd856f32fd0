"""How long the report of many runs takes, and how large its page is.

    python -m benchmarks.report_speed [--runs 5000] [--output FOLDER]

Made-up runs of four optimizers at three widths with training curves; predictions and validations are what the commands make of
them. The command is timed as a user runs it, a process of its own; its phases once more in this process.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from benchmarks.tables import markdown_table
from hptransfer.cli import perform
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.experiment.membership import members
from hptransfer.experiment.settings import DataSpec
from hptransfer.report import build, command, document, page, render
from hptransfer.runs import CurvePoint, Job, Outcome, Record, Store
from hptransfer.trainers.ours import machine
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer.decision import predict_group
from hptransfer.transfer.group import Group, run_ids
from hptransfer.transfer.prediction import Prediction, default_path
from hptransfer.validate.standing import protocols

BEST = {"adamw": (0.008, 2.02), "muon": (0.02, 1.95), "shampoo": (0.006, 1.97), "soap": (0.005, 1.94)}  # LR, loss at width 128
WIDTHS, HELD_OUT = (32, 64, 96), 128
DATA = DataSpec(corpus="stdlib", tokenizer="bytes", sha256="0" * 64, vocab=256)
CURVATURE, SKEW = 0.02, 1.5
FINISHED_AT = "2126-11-24T10:00:00+00:00"  # after the predictions are registered
PHASES = {  # functions of the report by the module that calls them; figures are drawn beside the page
    "load_results": (command, "store, and what stands of it"),
    "all_frames": (build, "frames"),
    "run_table": (build, "run table"),
    "summarize": (build, "summary"),
    "document": (page, "document, with its charts"),
    "html": (render, "page"),
    "markdown": (render, "Markdown"),
    "svg_of": (document, "figures (SVG), beside the page"),
    "csv": (build, "tables"),
    "write": (command, "files"),
    "show": (command, "printing"),
}
LIMITS = {"seconds": 10.0, "megabytes": 5.0}


def main() -> int:
    """Exit code 1 where a limit is not kept."""
    options = argparse.ArgumentParser(description="Time and size of a report.")
    options.add_argument("--runs", type=int, default=5000)
    options.add_argument("--output", default="benchmarks/results", metavar="FOLDER")
    args = options.parse_args()
    output = Path(args.output).absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_experiment(args.runs)
        argv = ["--experiment", "speed.yaml"]
        began, before = time.perf_counter(), _children()
        subprocess.run([sys.executable, "-m", "hptransfer.report", *argv], check=True, stderr=subprocess.DEVNULL)
        whole = time.perf_counter() - began, _children() - before
        phases = _phases(argv)
        written = Path("reports/speed")
        sizes = {name: (written / name).stat().st_size / 1e6 for name in ("index.html", "runs.csv")}
        drawn = sum(path.stat().st_size for path in (written / "figures").iterdir()) / 1e6
        cpu = machine.device_name(torch.device("cpu"))
    rows = [(name, f"{seconds:.2f}", "", "") for name, seconds in phases.items()]
    rows += [("the command, a process of its own", f"{whole[0]:.2f}", f"{whole[1]:.2f}", "")]
    rows += [(name, "", "", f"{size:.2f}") for name, size in (*sizes.items(), ("figures (SVG)", drawn))]
    date = datetime.now(UTC).date().isoformat()
    lines = [
        f"# The report of {args.runs:,} searched runs, and those at the held-out width",
        "",
        f"{cpu}; {date}; `python -m benchmarks.report_speed --runs {args.runs}`. "
        f"Limits: {LIMITS['seconds']:g} s for the command, {LIMITS['megabytes']:g} MB for the page.",
        "",
        *markdown_table(("part", "seconds", "CPU seconds", "MB"), rows),
    ]
    Console().print("\n".join(lines))
    output.mkdir(parents=True, exist_ok=True)
    (output / f"report_speed-{date}.md").write_text("\n".join(lines) + "\n")
    over = exceeded(seconds=whole[0], megabytes=sizes["index.html"])
    for sentence in over:
        print(sentence, file=sys.stderr)
    return 1 if over else 0


def exceeded(**measured: float) -> list[str]:
    """The limits that are not kept, a sentence each."""
    return [f"{found:.2f} {what}: the limit is {LIMITS[what]:g}" for what, found in measured.items() if found > LIMITS[what]]


def _children() -> float:
    """CPU seconds of the processes that this one has started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _phases(argv: list[str]) -> dict[str, float]:
    """Seconds of the command's phases in this process, where all is imported already. Figures are drawn beside the page."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = work(*arguments, **named)
            spent[name] += time.perf_counter() - began
            return result

        return run

    whole = [(home, name, getattr(home, name), phase) for name, (home, phase) in PHASES.items()]
    for home, name, work, phase in whole:
        setattr(home, name, timed(phase, work))
    perform("report", argv)
    for home, name, work, _ in whole:
        setattr(home, name, work)
    return {phase: spent[phase] for _, phase in PHASES.values()}


def make_experiment(runs: int) -> None:
    """The experiment file, store and predictions in the working folder, as the commands leave them."""
    fields = load_experiment("quickstart").model_dump(mode="json") | {
        "name": "speed",
        "widths": list(WIDTHS),
        "target_width": HELD_OUT,
        "optimizers": list(BEST),
    }
    Path("speed.yaml").write_text(yaml.safe_dump(fields))
    experiment, store = load_experiment("speed.yaml"), Store("runs")
    records: dict[str, Record] = {}
    for record in _searched(experiment):
        records[record.run_id] = record
        if len(records) == runs:
            break
    found = members(records.values(), experiment, resolve)
    predictions: dict[str, Prediction] = {}
    for arm in experiment.compared:
        group = Group(arm.name, found.searched[arm.name])
        provenance = {"run_ids": run_ids(group)}
        target = resolve(experiment.target_point(arm, DATA))
        told = predictions[arm.name] = predict_group(group, target, resolve, draws=50, provenance=provenance)
        path = default_path(experiment.name, arm.name, HELD_OUT)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told.model_dump_json())
        store.register_prediction(told.run.run_id, told.model_dump(mode="json"))
    for protocol in protocols(experiment, predictions, resolve):
        while jobs := protocol.missing(records):
            records |= {job.run_id: _record(job) for job in jobs}
    for record in records.values():
        store.files.write(f"runs/{record.run_id}.json", record.model_dump_json().encode(), durable=False)


def _searched(experiment: Experiment) -> Iterator[Record]:
    """Runs of a search without end; those far above the best LR, about a twelfth, diverged."""
    draw = random.Random(0)
    while True:
        for recipe, (best, _) in BEST.items():
            for width in WIDTHS:
                lr = best * math.exp(draw.gauss(0, 1))
                yield _record(_job(experiment, recipe, width, lr, 10 ** draw.uniform(-4, -2)), lr > 4 * best)


def _job(experiment: Experiment, recipe: str, width: int, lr: float, decay: float) -> Job:
    lr, decay = float(f"{lr:.3g}"), float(f"{decay:.3g}")
    return resolve(experiment.point(experiment.arm(recipe), DATA, width=width, lr=lr, weight_decay=decay))


def _loss(recipe: str, width: int, lr: float, tokens: float = 1.0) -> float:
    best, loss = BEST[recipe]
    distance = math.log(lr / best)
    bowl = CURVATURE * (distance * (SKEW if distance > 0 else 1)) ** 2
    return loss * math.exp(bowl + 0.09 * math.log(HELD_OUT / width) - 0.06 * math.log(tokens))


def _record(job: Job, diverged: bool = False) -> Record:
    point, noise = job.point, random.Random(job.run_id).gauss(0, 0.002)
    recipe, width, batch = point.settings["optimizer"], int(point["width"]), int(point["batch_tokens"])
    loss = _loss(recipe, width, point["lr"], point["tokens"] / point.settings["base"]["tokens"]) * math.exp(noise)
    done = job.steps // 4 if diverged else job.steps
    steps = [round(done * i / 12) for i in range(13)]
    values = [loss + (5.5 - loss) * math.exp(-9 * (step / job.steps) ** 0.5) for step in steps]
    seconds, flops = 0.07 * job.steps * width / HELD_OUT, job.flops or 0.0
    outcome = Outcome(
        state="diverged" if diverged else "complete",
        reason=f"loss nan at step {done}" if diverged else None,
        steps=done,
        tokens=done * batch,
        loss=None if diverged else loss,
        bits_per_byte=None if diverged else loss / math.log(2),
        curve=tuple(
            CurvePoint(step=step, tokens=step * batch, schedule=1 - step / job.steps, train=value, val=value)
            for step, value in zip(steps, values, strict=True)
        ),
        flops=flops * done / job.steps,
        flops_optimizer=flops / 25,
        training_wall_seconds=seconds,
        optimizer_wall_seconds=seconds / 10,
        evaluation_wall_seconds=0.0,
        peak_memory_bytes=400_000_000,
        optimizer_state_bytes=1_000_000,
        device="AMD EPYC 7551",
        finished_at=FINISHED_AT,
    )
    versions = {"torch": "2.13.0+cpu", "ray": "2.60.0", "hptransfer": "0.1.0", "python": "3.11.7"}
    return Record(job=job, outcome=outcome, versions=versions)


if __name__ == "__main__":
    sys.exit(main())
