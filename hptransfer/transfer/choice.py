"""Which prediction a command is about: a file, or that of an arm."""

from __future__ import annotations

import argparse
from pathlib import Path

from hptransfer.base.errors import UsageError
from hptransfer.experiment.choice import chosen_arms
from hptransfer.transfer.prediction import Prediction, default_path, read_prediction


def chosen(args: argparse.Namespace) -> tuple[Path, Prediction]:
    """The prediction and its file. Raises UsageError where the options leave it open, or the file is none."""
    if args.prediction:
        return Path(args.prediction), read_prediction(args.prediction)
    experiment, arms = chosen_arms(args)
    if len(arms) > 1:
        raise UsageError(f"name one with --optimizer ({', '.join(arm.name for arm in arms)}), or a file with --prediction")
    path = default_path(experiment.name, arms[0].name, **(experiment.target_cell | ({"width": args.width} if args.width else {})))
    return path, read_prediction(path)
