"""Trainers by name, and what is done with any of them. Torch is imported where our own trains."""

from __future__ import annotations

from collections.abc import Sequence

from hptransfer.base.plugins import Registry
from hptransfer.experiment.arm import Arm, Inputs
from hptransfer.experiment.experiment import Experiment
from hptransfer.runs.point import Job, Point
from hptransfer.trainers.trainer import Place, Trainer

TRAINERS: Registry[Trainer] = Registry(
    "trainer",
    {"ours": "hptransfer.trainers.ours.trainer:OURS", "command": "hptransfer.trainers.command.trainer:COMMAND"},
)


def trainer_of(point: Point) -> Trainer:
    """The trainer of a run."""
    return TRAINERS.get(point.settings["trainer"])


def resolve(point: Point) -> Job:
    """What a `Point` comes to in its trainer: the `Job` with its run_id, the final learning rate, weight decay and epsilons of
    every kind of weight (nothing is left to scale), parameters and FLOPs.

    It reads the point alone, needs no torch, and gives the same job on every machine. Scaling rules are those of arXiv
    2512.05620, tables 1 and 2. Raises `UsageError`, in one line, where there is no such run.

    >>> record = next(iter(hptransfer.Store("runs").records().values()))
    >>> hptransfer.resolve(record.point.at(width=256)).parameters
    """
    return trainer_of(point).resolve(point)


def inputs_of_arms(experiment: Experiment, arms: Sequence[Arm]) -> dict[str, Inputs]:
    """What the runs of these arms read, by arm, as it is here and now. Raises UsageError where it is not there."""
    found: dict[int, Inputs] = {}
    for arm in arms:
        one = experiment.under(arm)
        if id(one) not in found:  # arms that change nothing of the experiment read the same
            found[id(one)] = TRAINERS.get("command" if one.trainer else "ours").inputs(experiment, arm)
    return {arm.name: found[id(experiment.under(arm))] for arm in arms}


__all__ = ["TRAINERS", "Place", "Trainer", "inputs_of_arms", "resolve", "trainer_of"]
