"""``python -m hptransfer.validate``: prove a prediction at a width nobody tuned at."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hptransfer.base.errors import UsageError
from hptransfer.cli import console, finish, names, number, parser, selection, table
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.optimizers import get_recipe
from hptransfer.report import text
from hptransfer.runs import Store
from hptransfer.runs.query import makes
from hptransfer.trainers.ours.spec import PARAMETRIZATIONS
from hptransfer.transfer.prediction import Prediction, default_path, read_prediction
from hptransfer.validate.result import BASELINE, Validation
from hptransfer.validate.stage import validate


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("validate", __doc__ or "")
    options.add_argument("--optimizer", metavar="NAME[,NAME]", help="recipes (those of the experiment)")
    options.add_argument("--parametrization", choices=PARAMETRIZATIONS, help="(the experiment's first)")
    options.add_argument("--width", type=int, metavar="W", help="held-out width (the experiment's)")
    options.add_argument("--predictions", nargs="+", metavar="FILE", help="(predictions/<recipe>-<width>.json)")
    options.add_argument("--workers", type=int, default=1, metavar="N", help="data-parallel workers of a predicted run (1)")
    options.add_argument("--output", metavar="FOLDER", help="(reports/<experiment>/)")
    args = options.parse_args(argv)
    target = [f"target_width={args.width}"] if args.width is not None else []
    experiment = load_experiment(args.experiment, [*args.set, *target])
    if args.workers < 1 or experiment.batch_sequences % args.workers:
        raise UsageError(f"--workers {args.workers} does not divide the batch of {experiment.batch_sequences} sequences")
    predictions, asked = _predictions(args, experiment)
    store = Store(args.store)
    output = Path(args.output or f"reports/{experiment.name}")
    plan = experiment.validation
    console.print(
        f"experiment {experiment.name}: {', '.join(predictions)} at width {experiment.target_width}, {plan.seeds} seeds, "
        f"probes at LR and weight decay x {', '.join(map(number, plan.probe_factors))}, "
        f"{BASELINE} horizons x {', '.join(map(number, sorted((1.0, *plan.ladder))))}; store {store.location}"
    )
    if missing := sorted(set(experiment.optimizers) - set(predictions)):
        console.print(f"no prediction of {', '.join(missing)}: left out")
    validations = validate(experiment, predictions, store, workers=args.workers)
    written = []
    for validation in validations:
        path = output / f"validation-{default_path(validation.optimizer, validation.parametrization, validation.width).name}"
        try:
            output.mkdir(parents=True, exist_ok=True)
            path.write_text(validation.model_dump_json(indent=1))
        except OSError as error:
            raise UsageError(f"--output {output} cannot be written: {error.strerror}; the runs are in the store") from None
        written.append(str(path))
    _print(validations)
    result = [validation.model_dump(mode="json") for validation in validations if validation.optimizer in asked]
    finish(
        args,
        result[0] if len(result) == 1 else {"validations": result},
        written=written,
        next_command=f"python -m hptransfer.report {selection(args)}",
    )


def _predictions(args: argparse.Namespace, experiment: Experiment) -> tuple[dict[str, Prediction], set[str]]:
    """The predictions by recipe, that of the baseline among them where there is one, and the recipes that were asked for:
    without a choice, those of the experiment that have a prediction."""
    parametrization = args.parametrization or experiment.parametrizations[0]

    def path(recipe: str) -> Path:
        return default_path(get_recipe(recipe).name, parametrization, experiment.target_width)

    asked = names(args.optimizer or "") or tuple(recipe for recipe in experiment.optimizers if path(recipe).is_file())
    files = [Path(file) for file in args.predictions or ()] or [path(recipe) for recipe in asked or experiment.optimizers]
    if not args.predictions and path(BASELINE).is_file():
        files.append(path(BASELINE))
    found = list(map(read_prediction, files))
    predictions = {prediction.optimizer: prediction for prediction in found}
    if args.predictions and len(found) > len(predictions):
        raise UsageError(f"--predictions has two of one recipe: {', '.join(prediction.optimizer for prediction in found)}")
    for recipe, prediction in predictions.items():
        if not makes(experiment, prediction.spec) or prediction.spec.model.width != experiment.target_width:
            raise UsageError(
                f"the prediction for {recipe} is not one of experiment {experiment.name} at width {experiment.target_width}; "
                f"run `python -m hptransfer.transfer {selection(args)} --optimizer {recipe}` again"
            )
    return predictions, set(predictions if args.predictions else asked)


def _print(validations: Sequence[Validation]) -> None:
    rows = []
    for validation in validations:
        first = validation.runs[0]
        regret = validation.regret
        multipliers = validation.speedup.compute_multiplier if validation.speedup else {}
        rows.append(
            [
                validation.optimizer,
                validation.width,
                first.lr,
                "-" if first.loss is None else f"{first.loss:.4f}",
                "-" if regret is None else f"{text.percent(regret.value)} {text.percent_bounds(regret)}",
                *(text.multiplier_in_full(multipliers.get(axis)) for axis in text.AXES),
            ]
        )
    table(
        "predicted runs at the held-out width; intervals 80 %",
        ["optimizer", "width", "lr", "loss", "regret", *text.AXES.values()],
        rows,
    )
    for validation in validations:
        if validation.refusal:
            console.print(f"{validation.optimizer}: {validation.refusal}")
