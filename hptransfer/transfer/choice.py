"""Which prediction a command is about: a file, or that of an arm."""

from __future__ import annotations

import argparse
from pathlib import Path

from hptransfer.base.errors import UsageError
from hptransfer.experiment.choice import add_arm_options, chosen_arms
from hptransfer.transfer.prediction import Prediction, default_path, read_prediction


def add_prediction_options(parser: argparse.ArgumentParser, *, width: str = "target width (the experiment's)") -> None:
    """The options that `chosen` reads; ``width``: what that one means."""
    parser.add_argument("--prediction", metavar="FILE", help="prediction file (predictions/<experiment>/<arm>-<width>.json)")
    add_arm_options(parser, help="arm, where no file is given (the experiment's only one)")
    parser.add_argument("--width", type=int, metavar="W", help=width)


def chosen(args: argparse.Namespace) -> tuple[Path, Prediction]:
    """The prediction and its file. Raises UsageError where the options leave it open, or the file is none."""
    if args.prediction:
        return Path(args.prediction), read_prediction(args.prediction)
    experiment, arms = chosen_arms(args)
    if len(arms) > 1:
        raise UsageError(f"name one with --optimizer ({', '.join(arm.name for arm in arms)}), or a file with --prediction")
    path = default_path(experiment.name, arms[0].name, args.width or experiment.target_width)
    return path, read_prediction(path)
