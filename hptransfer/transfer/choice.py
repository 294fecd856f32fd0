"""Which prediction a command is about: a file, or the default one of what its options name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from hptransfer.base.errors import UsageError
from hptransfer.experiment import load_experiment
from hptransfer.optimizers import get_recipe
from hptransfer.trainers.ours.spec import Parametrization
from hptransfer.transfer.prediction import Prediction, default_path, read_prediction


def add_options(parser: argparse.ArgumentParser, *, width: str = "target width (the experiment's)") -> None:
    """The options that `chosen` reads; ``width``: what that one means."""
    parser.add_argument("--prediction", metavar="FILE", help="prediction file (predictions/<optimizer>-<width>.json)")
    parser.add_argument("--optimizer", metavar="NAME", help="recipe, where no file is given (the experiment's only one)")
    parser.add_argument("--parametrization", choices=get_args(Parametrization), help="(the experiment's first)")
    parser.add_argument("--width", type=int, metavar="W", help=width)


def chosen(args: argparse.Namespace) -> tuple[Path, Prediction]:
    """The prediction and its file. Raises UsageError where the options leave it open, or the file is none."""
    if args.prediction:
        return Path(args.prediction), read_prediction(args.prediction)
    experiment = load_experiment(args.experiment, args.set)
    if args.optimizer is None and len(experiment.optimizers) > 1:
        raise UsageError(f"name one with --optimizer ({', '.join(experiment.optimizers)}), or a file with --prediction")
    optimizer = get_recipe(args.optimizer or experiment.optimizers[0]).name
    parametrization = args.parametrization or experiment.parametrizations[0]
    path = default_path(optimizer, parametrization, args.width or experiment.target_width)
    return path, read_prediction(path)
