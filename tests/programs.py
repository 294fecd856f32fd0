"""Experiments whose trainer is a program, and the world that it is of."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import Any

from world import loss

from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.program import ProgramFiles
from hptransfer.runs import Job, Outcome, Record
from hptransfer.search.studies import make_studies
from hptransfer.trainers import resolve

WORLD = Path(__file__).with_name("world.py")
COMMAND = f"{sys.executable} world.py --width {{width}} --lr {{lr}} --tokens {{tokens}} --seed {{seed}}"
FILES = ProgramFiles(sha256={"world.py": "0" * 64})


def program(command: str = COMMAND, **changes: Any) -> dict[str, Any]:
    return {
        "command": command,
        "loss": r"\bloss ([-+.0-9e]+|nan)",
        "parameters": "36*width**2",
        "tokens": 2e7,
        "batch_tokens": 20000,
        "flops": "6*parameters*tokens",
    } | changes


def make_experiment(**changes: Any) -> Experiment:
    """Two arms: a baseline, and one that reaches its losses with 1.3 times fewer tokens. The optimum lies inside the ranges."""
    space = {"lr": {"low": 5e-4, "high": 0.2}}
    settings: dict[str, Any] = {
        "name": "mine",
        "trainer": program(),
        "arms": {"mine": {}, "faster": {"trainer.command": f"{COMMAND} --multiplier 1.3"}},
        "baseline": "mine",
        "parametrizations": ["unknown"],
        "widths": [64, 128, 256],
        "target_width": 2048,
        "spaces": {"mine": space, "faster": space},
        "search": {"trials": 10},
    }
    settings |= changes
    settings["spaces"] = {
        name: one for name, one in settings["spaces"].items() if name in settings["arms"] or "spaces" in changes
    }
    if "baseline" not in changes and settings["baseline"] not in settings["arms"]:
        settings["baseline"] = None
    return Experiment.model_validate(settings)


def job_of(experiment: Experiment, *, arm: str | None = None, files: ProgramFiles = FILES, **values: Any) -> Job:
    chosen: Arm = experiment.arm(arm) if arm else experiment.compared[0]
    return resolve(experiment.point(chosen, files, **{"width": 64, "lr": 0.02, "weight_decay": 0.0} | values))


def searched(experiment: Experiment) -> dict[str, Record]:
    """The records of a whole search, as its program would make them, without starting one."""
    studies, records = (
        make_studies(experiment, dict.fromkeys((arm.name for arm in experiment.compared), FILES)),
        dict[str, Record](),
    )
    while jobs := studies.missing(records):
        records |= {job.run_id: record_of(job) for job in jobs}
    return records


def record_of(job: Job) -> Record:
    """The record of a run of the world's program."""
    words = shlex.split(job.details["command"])
    options = {name.removeprefix("--"): float(value) for name, value in zip(words[2::2], words[3::2], strict=True)}
    found = loss(**options | {"seed": int(options["seed"])})
    state = "diverged" if math.isnan(found) else "complete"
    tokens = job.point.scales.get("tokens")
    outcome = Outcome(
        state=state,
        loss=None if math.isnan(found) else found,
        tokens=None if tokens is None else int(tokens),
        flops=job.flops,
        finished_at="2026-11-26T00:00:00+00:00",
    )
    return Record(job=job, outcome=outcome)
