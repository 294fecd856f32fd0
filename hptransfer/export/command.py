"""``python -m hptransfer.export``: write a prediction in the form that a trainer reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from hptransfer import cli
from hptransfer.base.errors import UsageError, unknown
from hptransfer.export.canonical import export_json
from hptransfer.transfer import choice
from hptransfer.transfer.prediction import Prediction

TARGETS: dict[str, Callable[[Prediction], str]] = {"json": export_json}


def main(argv: Sequence[str] | None = None) -> None:
    """Read one prediction file, write one export."""
    parser = cli.parser("export", "Write a prediction in the form that a trainer reads.")
    choice.add_prediction_options(parser)
    parser.add_argument("--target", default="json", metavar="NAME", help=f"{', '.join(TARGETS)} (json)")
    parser.add_argument("--output", metavar="FILE", help="(exports/..., as the prediction in predictions/...)")
    args = parser.parse_args(argv)
    if args.target not in TARGETS:
        raise unknown("export target", args.target, TARGETS)
    source, prediction = choice.chosen(args)
    if not prediction.job or not prediction.job.run_id:
        raise UsageError(f"{source} is of a table: there is no run to export")
    output = Path(args.output or default_output(source))
    cli.table("export", ("setting", "value"), [("prediction", source), ("target", args.target), ("output", output)])

    content = TARGETS[args.target](prediction)
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
