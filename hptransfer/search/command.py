"""``hptransfer search``: search LR and weight decay at small scales."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from hptransfer.base.commands import command
from hptransfer.base.errors import CheckFailed
from hptransfer.cli import console, finish, number, selection, table
from hptransfer.experiment import Experiment, Resources
from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.experiment.choice import arm_options
from hptransfer.runs import Record, Store
from hptransfer.runs.curves import tokens_to_loss
from hptransfer.search.budget import Spending
from hptransfer.search.choice import chosen_search
from hptransfer.search.profile import Profile
from hptransfer.search.progress import Progress
from hptransfer.search.studies import Studies, make_studies
from hptransfer.search.study import Study
from hptransfer.trainers import inputs_of_arms, trainer_of
from hptransfer.trainers.ours.points import spec_of


def main(args: argparse.Namespace) -> None:
    experiment, arms = chosen_search(args)
    store = Store(args.store)

    profile = Profile()

    inputs = inputs_of_arms(experiment, arms)
    with ExitStack() as stack:
        room = _Room(stack, store, experiment.resources, profile)
        studies = make_studies(experiment, inputs, store, arms, room.slots)
        store.sweep()
        records = store.records()
        studies.missing(records)
        if args.retry_failed and (failed := studies.failed(records)):
            store.retry(failed)
            console.print(f"{len(failed)} failed runs are run again")
            records = store.records()
            studies = make_studies(experiment, inputs, store, arms, room.slots)
            studies.missing(records)
        known = set(records)
        budget = Spending(experiment, studies, records)
        _say_what_is_planned(experiment, arms, inputs, store)
        if budget.missing(records):
            for job in {study.arm.name: study.job for study in studies.studies}.values():
                trainer_of(job.point).prepare(job, Path.cwd())
            _say_what_is_assumed(studies)
            from hptransfer.search.tuner import run_trials

            planned, left = _planned(studies, records)
            best = partial(studies.best_line, records=records)
            place = [lambda record: studies.of(record).place] if experiment.scales else []
            progress = Progress(planned, left, lambda record: studies.of(record).arm.name, best, *place)
            at_once = room.slots()
            run_trials(budget, store, records, progress, resources=experiment.resources, profile=profile)
            profile.trials_ended(at_once)
    if room.is_open:
        profile.mark("shutdown")
    profile.mark("results")
    target = experiment.target_loss
    result = [_summary(study, records, known, target) for study in studies.studies]
    counts = {"runs": "runs_total", "new": "runs_new", "diverged": "diverged", "failed": "failed"}
    found = {"lr": "lr", "weight decay": "weight_decay", "ratio": "embedding_lr_ratio", "loss": "loss"}
    if target is not None:
        found |= {f"tokens to {target:g}": "tokens_to_target_loss"}
    scales = list(experiment.searched_cells[0])
    table(
        "best run of each study (lr and weight decay in base coordinates)",
        ["arm", *scales, *counts, *found],
        [
            [
                *(row[key] for key in ("arm", *scales, *counts.values())),
                *((row["best"] or {}).get(key) or "-" for key in found.values()),
            ]
            for row in result
        ],
    )
    if lost := studies.failed(records):
        console.print(f"{len(lost)} runs failed; mend it, and search with --retry-failed: {records[lost[-1]].outcome.reason}")
    spent, names = budget.spent(records), [arm.name for arm in arms]
    finish(
        args,
        {"store": store.location, "studies": result} | _profiled(args, profile),
        written=[f"{store.location} ({sum(row['runs_new'] for row in result)} new runs)"],
        next_command=None if spent else command("transfer", *selection(args), *arm_options(names)),
    )
    if spent:
        raise CheckFailed(spent)


class _Room:
    """The cluster, connected to when somebody first asks for its slots: a finished search need not."""

    def __init__(self, stack: ExitStack, store: Store, resources: Resources, profile: Profile) -> None:
        self._stack, self._store, self._resources, self._profile = stack, store, resources, profile
        self.is_open = False

    def slots(self) -> int:
        """Trials that run side by side there."""
        from hptransfer.search.cluster import cluster, slots

        if not self.is_open:
            self._profile.mark("imports and what is read")
            self._stack.enter_context(cluster(self._store))
            self._profile.mark("Ray start")
            self.is_open = True
        return slots(self._resources)


def _say_what_is_planned(experiment: Experiment, arms: Sequence[Arm], inputs: Mapping[str, Inputs], store: Store) -> None:
    search = experiment.search
    widths = ", ".join(map(str, sorted(experiment.widths)))
    console.print(
        f"experiment {experiment.name}: {', '.join(arm.name for arm in arms)}; "
        f"widths {widths} (base {experiment.base_width}){_other_scales(experiment)}; "
        f"{search.trials} trials per {'cell' if experiment.scales else 'width'}, sampler {search.sampler}, seed {search.seed}; "
        f"store {store.location}"
    )
    described: dict[str, list[str]] = {}
    for arm in arms:
        trainer = trainer_of(experiment.target_point(arm, inputs[arm.name]))
        described.setdefault(trainer.describe(experiment, arm), []).append(arm.name)
    for words, names in described.items():
        console.print(words if len(described) == 1 else f"{', '.join(names)}: {words}")


def _other_scales(experiment: Experiment) -> str:
    """What is searched beside the width, and in how many cells."""
    if not experiment.scales:
        return ""
    values = (f"{name} {', '.join(map(str, sorted(values)))}" for name, values in experiment.scales.items())
    kind = experiment.cells if isinstance(experiment.cells, str) else "listed"
    return f", {', '.join(values)}: {len(experiment.searched_cells)} cells ({kind})"


def _say_what_is_assumed(studies: Studies) -> None:
    """What the optimizers will hold in memory at the largest model searched, beside AdamW; and what theory does not cover."""
    largest: dict[str, Study] = {}
    for study in sorted(studies.studies, key=lambda study: study.job.parameters or 0):
        largest[study.arm.name] = study
    for study in largest.values():
        point = study.job.point
        if point.settings["trainer"] != "ours":
            continue
        from hptransfer.trainers.ours.build import optimizer_state_bytes  # torch, which a finished search need not load

        adamw = point.at(optimizer="adamw", options={}, schedule={})
        held, compared = optimizer_state_bytes(spec_of(point)), optimizer_state_bytes(spec_of(adamw))
        console.print(
            f"{study.arm.name}: {number(held / 1e6)} MB of optimizer state at {study.place}, "
            f"AdamW {number(compared / 1e6)} MB ({number(held / compared)}x)"
        )
        if study.job.uncovered:
            console.print(f"{study.arm.name}: theory does not cover {'; nor '.join(study.job.uncovered)}")


def _planned(studies: Studies, records: Mapping[str, Record]) -> tuple[int, float]:
    """Runs still to do within the budget, and their cost."""
    left = [(study, max(0, min(study.granted, study.trials) - len(study.runs(records)))) for study in studies.studies]
    return int(sum(count for _, count in left)), sum(count * study.cost_per_run for study, count in left)


def _profiled(args: argparse.Namespace, profile: Profile) -> dict[str, Any]:
    """Print the profile where it was asked for, and give it for the JSON."""
    if not args.profile:
        return {}
    result = profile.result
    table(
        f"wall time {result['wall']:.1f} s (proposals took {result['proposals']:.1f} s of the driver meanwhile)",
        ["part", "seconds", "share"],
        [[name, f"{seconds:.1f}", f"{100 * seconds / result['wall']:.1f} %"] for name, seconds in result["seconds"].items()]
        + [["Ray start and scheduling", "", f"{100 * result['ray_and_scheduling']:.1f} %"]],
    )
    return {"profile": result}


def _summary(study: Study, records: Mapping[str, Record], known: set[str], target: float | None) -> dict[str, Any]:
    runs = study.runs(records)
    best = study.best(records)
    return {
        "arm": study.arm.name,
        "optimizer": study.arm.optimizer,
        "parametrization": study.arm.parametrization,
        **study.cell,
        "runs_total": len(runs),
        "runs_new": sum(record.run_id not in known for record in runs),
        "run_ids": [record.run_id for record in runs],
        "diverged": sum(record.state == "diverged" for record in runs),
        "failed": sum(record.state == "failed" for record in runs),
        "best": {
            **best.point.hyperparameters,
            "loss": best.loss,
            "run_id": best.run_id,
            "tokens_to_target_loss": tokens_to_loss(best.outcome.curve, target) if target is not None else None,
        }
        if best
        else None,
    }
