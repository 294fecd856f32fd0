"""Which prediction a command is about: a file, or that of an arm."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from hptransfer.base.errors import UsageError
from hptransfer.cli import refuse_unheeded
from hptransfer.experiment import Experiment
from hptransfer.experiment.arm import Arm
from hptransfer.experiment.choice import chosen_arms
from hptransfer.experiment.membership import Resolve, inputs_of
from hptransfer.runs.point import Number, Point
from hptransfer.transfer.prediction import Prediction, default_path, read_prediction

ITS_OWN = "with --prediction, whose run is as it was predicted"


def chosen(args: argparse.Namespace, resolve: Resolve, *, heeded: Collection[str] = ()) -> tuple[Path, Prediction]:
    """The prediction and its file. Raises UsageError where the options leave it open, where the file is none, and for an override
    that the prediction contradicts: the run is as it was predicted. ``heeded``: keys of the experiment that the command reads
    besides."""
    if args.prediction:
        refuse_unheeded(args, ITS_OWN, "optimizer", "parametrization")
        for assignment in args.set:
            if assignment.partition("=")[0] not in heeded:
                raise UsageError(f"--set {assignment} is not heeded {ITS_OWN}; make another prediction, with it, by `transfer`")
        return Path(args.prediction), read_prediction(args.prediction)
    experiment, arms = chosen_arms(args)
    if len(arms) > 1:
        raise UsageError(f"name one with --optimizer ({', '.join(arm.name for arm in arms)}), or a file with --prediction")
    path = default_path(experiment.name, arms[0].name, **(experiment.target_cell | ({"width": args.width} if args.width else {})))
    prediction = read_prediction(path)
    if args.set and prediction.job and prediction.job.run_id:
        _check_agreement(experiment, arms[0], path, prediction, resolve)
    return path, prediction


def _check_agreement(experiment: Experiment, arm: Arm, path: Path, prediction: Prediction, resolve: Resolve) -> None:
    """Raises UsageError, with both values, where overrides say another run than the one that was predicted."""
    point, inputs = prediction.point, inputs_of(prediction.point)
    if inputs is None or not experiment.reads(arm, inputs):
        raise UsageError(f"{path} was predicted on other data than --set says; make another, with it, by `transfer`")
    asked = resolve(experiment.target_point(arm, inputs)).point
    said, predicted = ({**_scales(one), **one.settings} for one in (asked, point))
    for name in said:
        if name in predicted and said[name] != predicted[name]:
            raise UsageError(
                f"{path} has {name} {predicted[name]}, and --set says {said[name]}, which is not heeded: the run is as it was "
                "predicted; make another prediction, with it, by `transfer`"
            )


def _scales(point: Point) -> dict[str, Number]:
    """Of a run, but for the width, which the options name."""
    return {name: value for name, value in point.scales.items() if name != "width"}
