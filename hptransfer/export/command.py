"""``python -m hptransfer.export``: write a prediction in the form that a trainer reads."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from hptransfer import cli
from hptransfer.errors import UsageError, unknown
from hptransfer.experiment import load_experiment
from hptransfer.export.canonical import export_json
from hptransfer.rules.recipes import get_recipe
from hptransfer.spec import Parametrization
from hptransfer.transfer.prediction import Prediction, default_path, read_prediction

TARGETS: dict[str, Callable[[Prediction], str]] = {"json": export_json}


def main(argv: Sequence[str] | None = None) -> None:
    """Read one prediction file, write one export."""
    parser = cli.parser("export", "Write a prediction in the form that a trainer reads.")
    parser.add_argument("--prediction", metavar="FILE", help="prediction file (predictions/<optimizer>-<width>.json)")
    parser.add_argument("--optimizer", metavar="NAME", help="recipe, where no file is given (the experiment's only one)")
    parser.add_argument("--parametrization", choices=get_args(Parametrization), help="(the experiment's first)")
    parser.add_argument("--width", type=int, metavar="W", help="target width (the experiment's)")
    parser.add_argument("--target", default="json", metavar="NAME", help=f"{', '.join(TARGETS)} (json)")
    parser.add_argument("--output", metavar="FILE", help="(exports/<optimizer>-<width>.json)")
    args = parser.parse_args(argv)
    if args.target not in TARGETS:
        raise unknown("export target", args.target, TARGETS)
    source = Path(args.prediction) if args.prediction else _default_source(args)
    prediction = read_prediction(source)
    target = prediction.target
    default = default_path(prediction.optimizer, prediction.parametrization, target.width)
    output = Path(args.output or f"exports/{default.name}")
    cli.table("export", ("setting", "value"), [("prediction", source), ("target", args.target), ("output", output)])

    content = TARGETS[args.target](prediction)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from None
    cli.table(
        f"{prediction.optimizer} at width {target.width}",
        ("role", "learning rate", "weight decay", "epsilons"),
        [
            (
                role,
                numbers.lr,
                numbers.weight_decay,
                ", ".join(f"{name} {cli.number(eps)}" for name, eps in numbers.epsilons.items()),
            )
            for role, numbers in prediction.roles.items()
        ],
    )
    cli.finish(args, json.loads(content), written=[str(output)])


def _default_source(args: argparse.Namespace) -> Path:
    """The default prediction file of what the options name."""
    experiment = load_experiment(args.experiment, args.set)
    if args.optimizer is None and len(experiment.optimizers) > 1:
        raise UsageError(f"name one with --optimizer ({', '.join(experiment.optimizers)}), or a file with --prediction")
    optimizer = get_recipe(args.optimizer or experiment.optimizers[0]).name
    return default_path(optimizer, args.parametrization or experiment.parametrizations[0], args.width or experiment.target_width)
