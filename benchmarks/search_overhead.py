"""What a search costs beside the training: trials that train nothing, through the real sampler, Ray Tune, claims and store.

    python -m benchmarks.search_overhead [--trials 50] [--sampler design] [--output FOLDER]

Five recipes at two widths with ``--trials`` each. A trial makes up the loss that its LR would reach and writes the record.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.tables import markdown_table
from hptransfer.experiment import load_experiment
from hptransfer.runs import Claim, Outcome, Record, Store
from hptransfer.search import tuner
from hptransfer.search.cluster import cluster, slots
from hptransfer.search.profile import Profile
from hptransfer.search.progress import Progress
from hptransfer.search.studies import make_studies
from hptransfer.trainers import inputs_of_arms
from hptransfer.trainers.ours import machine
from hptransfer.trainers.ours.points import job_of

RECIPES = "adamw,muon,shampoo,soap,signum"
COLUMNS = ("trials", "wall, s", "first actors, s", "proposals, s", "per trial after that, s")
REAL_TRIAL = tuner._trial  # `run_trials` is given another


def main() -> None:
    options = argparse.ArgumentParser(description="Overhead of a search per trial.")
    options.add_argument("--trials", type=int, default=50, help="per recipe and width")
    options.add_argument("--sampler", default="design")
    options.add_argument("--output", default="benchmarks/results", metavar="FOLDER")
    args = options.parse_args()
    settings = [f"optimizers=[{RECIPES}]", f"search.trials={args.trials}", f"search.sampler={args.sampler}"]
    experiment = load_experiment("quickstart", settings)
    tuner._trial = untrained_trial
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        studies = make_studies(experiment, inputs_of_arms(experiment, experiment.compared), store)
        records = store.records()
        progress, profile = (
            Progress(10 * args.trials, 1.0, lambda record: "", lambda record: studies.best_line(record, records)),
            Profile(),
        )
        with cluster(store):
            at_once = slots(experiment.resources)
            profile.mark("before")
            began = time.monotonic()
            tuner.run_trials(studies, store, records, progress, resources=experiment.resources, profile=profile)
            wall = time.monotonic() - began
            profile.trials_ended(at_once)
        assert len(records) == 10 * args.trials
    first, proposals = profile.result["seconds"]["first actors"], profile.result["proposals"]
    row = (f"{len(records)}", f"{wall:.1f}", f"{first:.1f}", f"{proposals:.1f}", f"{(wall - first) / len(records):.3f}")
    date = datetime.now(UTC).date().isoformat()
    lines = [
        "# Overhead of a search",
        "",
        f"{machine.device_name(torch.device('cpu'))}; {at_once} trials at once; {date}; "
        f"`python -m benchmarks.search_overhead --trials {args.trials} "
        f"--sampler {args.sampler}`. Trials that train nothing, through the real sampler, Ray Tune, claims and store.",
        "",
        *markdown_table(COLUMNS, [row]),
    ]
    Console().print("\n".join(lines))
    (Path(args.output) / f"search_overhead-{args.sampler}-{date}.md").write_text("\n".join(lines) + "\n")


def untrained_trial(config: dict[str, Any]) -> dict[str, Any]:
    """The real trial with a training that takes no time."""
    import hptransfer.trainers.ours.loop

    hptransfer.trainers.ours.loop.train = untrained
    return REAL_TRIAL(config)


def untrained(spec: Any, corpus: object, *, store: Store, claim: Claim, **_: object) -> Record:
    """A record with the loss of a bowl about an LR of 0.02, with noise."""
    claim.confirm()
    job = job_of(spec)
    outcome = Outcome(
        state="complete",
        steps=job.steps,
        loss=2.2 * math.exp(0.02 * math.log(job.point["lr"] / 0.02) ** 2 + random.Random(job.run_id).gauss(0, 0.002)),
        flops=job.flops,
        training_wall_seconds=0.0,
        evaluation_wall_seconds=0.0,
        device="none",
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    record = Record(job=job, outcome=outcome)
    store.add(record)
    return record


if __name__ == "__main__":
    main()
