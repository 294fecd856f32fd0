"""Which arms, and which prediction, a command is about: named, or by default those of the experiment."""

from __future__ import annotations

import argparse
from pathlib import Path

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.experiment.experiment import Arm
from hptransfer.experiment.settings import PARAMETRIZATIONS
from hptransfer.optimizers import get_recipe
from hptransfer.transfer.prediction import Prediction, default_path, read_prediction


def chosen_arms(experiment: Experiment, text: str | None, parametrization: str | None) -> tuple[Experiment, tuple[Arm, ...]]:
    """The arms that are named, or all of the experiment; those of one parametrization, the experiment's first unless another is
    named. A recipe stands for its arm even where the experiment has none: the experiment comes back with it."""
    kind = parametrization or experiment.parametrizations[0]
    if kind not in experiment.parametrizations:
        experiment = experiment.model_copy(update={"parametrizations": (*experiment.parametrizations, kind)})
    if text is None:
        return experiment, tuple(arm for arm in experiment.compared if arm.parametrization == kind)
    found = []
    for name in cli.names(text):
        if name in experiment.arms:
            found.append(name)
            continue
        known = {arm.name for arm in experiment.compared}
        if name not in known and name not in experiment.optimizers:
            experiment = experiment.model_copy(update={"optimizers": (*experiment.optimizers, get_recipe(name).name)})
        found.append(Arm.of(name, kind).name if name in experiment.optimizers else name)  # type: ignore[arg-type]
    if not found:
        raise UsageError("--optimizer names no optimizer")
    return experiment, tuple(experiment.arm(name) for name in found)


def add_options(parser: argparse.ArgumentParser, *, width: str = "target width (the experiment's)") -> None:
    """The options that `chosen` reads; ``width``: what that one means."""
    parser.add_argument("--prediction", metavar="FILE", help="prediction file (predictions/<experiment>/<arm>-<width>.json)")
    parser.add_argument("--optimizer", "--arm", metavar="NAME", help="arm, where no file is given (the experiment's only one)")
    parser.add_argument("--parametrization", choices=PARAMETRIZATIONS, help="(the experiment's first)")
    parser.add_argument("--width", type=int, metavar="W", help=width)


def chosen(args: argparse.Namespace) -> tuple[Path, Prediction]:
    """The prediction and its file. Raises UsageError where the options leave it open, or the file is none."""
    if args.prediction:
        return Path(args.prediction), read_prediction(args.prediction)
    experiment = load_experiment(args.experiment, args.set)
    experiment, arms = chosen_arms(experiment, args.optimizer, args.parametrization)
    if len(arms) > 1:
        raise UsageError(f"name one with --optimizer ({', '.join(arm.name for arm in arms)}), or a file with --prediction")
    path = default_path(experiment.name, arms[0].name, args.width or experiment.target_width)
    return path, read_prediction(path)
