"""``hptransfer export``: write a prediction in the form that a trainer reads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.export.targets import render, require_target
from hptransfer.transfer import choice


def main(args: argparse.Namespace) -> None:
    """Read one prediction file, write one export."""
    require_target(args.target)
    source, prediction = choice.chosen(args)
    content = render(prediction, args.target)
    output = Path(args.output or default_output(source))
    cli.table("export", ("setting", "value"), [("prediction", source), ("target", args.target), ("output", output)])

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from None
    if command := prediction.run.details.get("command"):
        cli.console.print(f"{prediction.name} at width {prediction.point['width']}:\n{command}")
    cli.table(
        f"{prediction.name} at width {prediction.point['width']}",
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


def default_output(prediction: Path) -> Path:
    """Where an export is written unless a path is given: as the prediction, in ``exports`` rather than ``predictions``."""
    home = Path("predictions")
    return "exports" / (prediction.relative_to(home) if prediction.is_relative_to(home) else Path(prediction.name))
