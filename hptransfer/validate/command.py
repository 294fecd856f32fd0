"""``python -m hptransfer.validate``: prove a prediction at a width nobody tuned at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from hptransfer.cli import console, finish, names, number, parser, selection, table
from hptransfer.errors import UsageError
from hptransfer.experiment import load_experiment
from hptransfer.store import Store
from hptransfer.transfer.prediction import Interval, default_path, read_prediction
from hptransfer.validate.result import Axis, Multiplier, Validation
from hptransfer.validate.stage import validate
from hptransfer.validate.verdict import BASELINE


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("validate", __doc__ or "")
    options.add_argument("--optimizer", metavar="NAME[,NAME]", help="recipes (those of the experiment)")
    options.add_argument("--parametrization", metavar="mup|sp", help="(the experiment's first)")
    options.add_argument("--width", type=int, metavar="W", help="held-out width (the experiment's)")
    options.add_argument("--predictions", nargs="+", metavar="FILE", help="(predictions/<recipe>-<width>.json)")
    options.add_argument("--workers", type=int, default=1, metavar="N", help="data-parallel workers of a predicted run (1)")
    options.add_argument("--output", metavar="FOLDER", help="(reports/<experiment>/)")
    args = options.parse_args(argv)
    experiment = load_experiment(args.experiment, args.set)
    width = args.width or experiment.target_width
    parametrization = args.parametrization or experiment.parametrizations[0]
    recipes = names(args.optimizer) if args.optimizer else experiment.optimizers
    files = args.predictions or [default_path(recipe, parametrization, width) for recipe in recipes]
    predictions = {prediction.optimizer: prediction for prediction in map(read_prediction, files)}
    if BASELINE not in predictions and not args.predictions and default_path(BASELINE, parametrization, width).is_file():
        predictions[BASELINE] = read_prediction(default_path(BASELINE, parametrization, width))
    for prediction in predictions.values():
        if prediction.target.width != width:
            raise UsageError(f"the prediction for {prediction.optimizer} is for width {prediction.target.width}, not {width}")
    store = Store(args.store)
    output = Path(args.output or f"reports/{experiment.name}")
    console.print(
        f"experiment {experiment.name}: {', '.join(predictions)} at width {width}, {experiment.validation.seeds} seeds, "
        f"probes at LR x {', '.join(map(number, experiment.validation.probes))}, "
        f"{BASELINE} horizons x {', '.join(map(number, (1.0, *experiment.validation.ladder)))}; store {store.location}"
    )
    validations = validate(experiment, predictions, store, workers=args.workers)
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for validation in validations:
        path = output / f"validation-{default_path(validation.optimizer, validation.parametrization, validation.width).name}"
        path.write_text(validation.model_dump_json(indent=1))
        written.append(str(path))
    _print(validations)
    result = [validation.model_dump(mode="json") for validation in validations]
    finish(
        args,
        result[0] if len(result) == 1 else {"validations": result},
        written=written,
        next_command=f"python -m hptransfer.report {selection(args)}",
    )


def _print(validations: Sequence[Validation]) -> None:
    rows = []
    for validation in validations:
        first = validation.runs[0]
        multiplier = validation.compute_multiplier
        rows.append(
            [
                validation.optimizer,
                validation.width,
                first.lr,
                "-" if first.loss is None else f"{first.loss:.4f}",
                f"{100 * validation.regret.value:.2f} % ({_span(validation.regret, 100)})",
                *(describe(multiplier[axis]) if axis in multiplier else "-" for axis in get_args(Axis)),
            ]
        )
    table(
        "predicted runs at the held-out width; intervals 80 %",
        ["optimizer", "width", "lr", "loss", "regret", "tokens", "FLOPs", "FLOPs with optimizer", "wall-clock"],
        rows,
    )
    for validation in validations:
        if validation.refusal:
            console.print(f"{validation.optimizer}: {validation.refusal}")


def describe(multiplier: Multiplier) -> str:
    """A compute multiplier as people read it."""
    if not multiplier.bracketed:
        return f"{multiplier.bound} {multiplier.value:.2f}x"
    return f"{multiplier.value:.2f}x ({_span(multiplier, 1)})"


def _span(interval: Interval, unit: float) -> str:
    ends = ("..." if end is None else f"{unit * end:.2f}" for end in (interval.low, interval.high))
    return " to ".join(ends)
