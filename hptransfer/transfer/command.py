"""``python -m hptransfer.transfer``: predict learning rate and weight decay at the target width, from the store or a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import scipy

import hptransfer
from hptransfer import cli
from hptransfer.base.config import validate
from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.experiment import Experiment, load_experiment
from hptransfer.optimizers import get_recipe
from hptransfer.runs import RunRecord, Store
from hptransfer.runs.query import of_series, runs_of
from hptransfer.trainers.ours.spec import Parametrization, RunSpec
from hptransfer.transfer.decision import predict
from hptransfer.transfer.from_table import predict_table
from hptransfer.transfer.prediction import Interval, Prediction, default_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where an optimum is on the edge of its sweep or a precondition fails; errors are raised."""
    args = _parse(arguments)
    if args.table:
        return predict_table(args)
    target = [f"target_width={args.width}"] if args.width is not None else []
    experiment = load_experiment(args.experiment, [*args.set, *target])
    parametrization: Parametrization = args.parametrization or experiment.parametrizations[0]
    recipes = cli.names(args.optimizer) if args.optimizer else experiment.optimizers
    for recipe in recipes:
        get_recipe(recipe)
    if not recipes:
        raise UsageError("--optimizer names no optimizer")
    if args.output and len(recipes) > 1:
        raise UsageError(f"--output {args.output} is one file for {len(recipes)} optimizers; name one with --optimizer")
    store = Store(args.store)
    stored, left_out = runs_of(store.require_records().values(), experiment)

    cli.console.print(f"experiment {experiment.name}, store {store.location}, parametrization {parametrization}")
    cli.console.print(
        f"searched widths {list(experiment.widths)}, base {experiment.base_width}, target {experiment.target_width}"
    )
    if left_out:
        cli.console.print(f"{left_out} runs on another version of corpus {experiment.data.corpus} left out")
    predictions: dict[str, Prediction] = {}
    refused: dict[str, CheckFailed] = {}
    for recipe in recipes:
        records, outdated = select(stored, experiment, recipe, parametrization)
        if missing := sorted(set(experiment.widths) - {record.spec.model.width for record in records}):
            raise UsageError(
                f"store {store.location} has no {recipe} runs ({parametrization}) of experiment {experiment.name} at width "
                f"{', '.join(map(str, missing))}; "
                f"run `python -m hptransfer.search {cli.selection(args)} --optimizer {recipe}` first"
            )
        if outdated:
            cli.console.print(f"{recipe}: {outdated} runs with other optimizer options than the newest left out")
        try:
            predictions[recipe] = _predict(records, experiment, parametrization, store, args)
        except CheckFailed as error:
            refused[recipe] = error
    width = experiment.target_width
    elsewhere = "".join(f"-{name}{value}" for name, value in (("t", args.tokens), ("b", args.batch_tokens)) if value)
    paths = {recipe: default_path(recipe, parametrization, width) for recipe in recipes}
    files = {recipe: str(args.output or path.with_stem(path.stem + elsewhere)) for recipe, path in paths.items()}
    for recipe in refused:
        Path(files.pop(recipe)).unlink(missing_ok=True)  # an earlier prediction must not pass for this one
    if not predictions:
        raise next(iter(refused.values()))
    for recipe, prediction in predictions.items():
        _write(files[recipe], prediction)
    cli.table(
        f"prediction at width {width} ({parametrization})",
        ("optimizer", "what", "value", "80 % interval", "note"),
        _rows(predictions),
    )
    for reason in refused.values():
        cli.console.print(f"refused: {reason}")
    objects = [{**p.model_dump(mode="json"), "file": files[recipe]} for recipe, p in predictions.items()]
    several = {"predictions": objects, "refused": {recipe: str(reason) for recipe, reason in refused.items()}}
    cli.finish(
        args,
        objects[0] if len(recipes) == 1 else several,
        written=list(files.values()),
        next_command=_next_command(args, predictions),
    )
    failed = any(not check.ok for prediction in predictions.values() for check in prediction.checks)
    return 1 if refused or failed else 0


def select(
    ours: Sequence[RunRecord], experiment: Experiment, recipe: str, parametrization: Parametrization
) -> tuple[list[RunRecord], int]:
    """The searched runs of a recipe, and how many were left out because the newest run has other optimizer options."""
    mine = [r for r in ours if of_series(r.spec, recipe, parametrization) and r.spec.model.width in experiment.widths]
    newest = max(mine, key=lambda record: (record.finished_at, record.run_id), default=None)
    same = [r for r in mine if newest and r.spec.optimizer.resolved_options == newest.spec.optimizer.resolved_options]
    return same, len(mine) - len(same)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser("transfer", "Predict learning rate and weight decay at the target width from the runs in the store.")
    parser.add_argument("--optimizer", metavar="NAME[,NAME]", help="recipes (those of the experiment)")
    parser.add_argument("--parametrization", choices=get_args(Parametrization), help="(the experiment's first)")
    parser.add_argument("--width", type=int, metavar="W", help="target width (the experiment's)")
    parser.add_argument("--tokens", type=int, metavar="N", help="tokens of the target run (the experiment's horizon)")
    parser.add_argument("--batch-tokens", type=int, metavar="N", help="batch of the target run in tokens (the experiment's)")
    parser.add_argument("--output", metavar="PATH", help="prediction file (predictions/<recipe>-<width>.json)")
    parser.add_argument("--force", action="store_true", help="predict where a precondition is missing; the check still fails")
    table = parser.add_argument_group("from a table instead of the store")
    table.add_argument("--table", metavar="FILE", help="CSV, Parquet or JSONL of finished runs, one row each")
    table.add_argument("--group", default="", metavar="A,B", help="columns that tell groups apart")
    table.add_argument("--scale", default="width", metavar="N[,D]", help="columns of scale (width)")
    table.add_argument("--hp", default="lr", metavar="A[,B]", help="columns to predict; log2_... is a logarithm already (lr)")
    table.add_argument("--loss", metavar="COLUMN", help="final loss; empty or nan: diverged. Without it every row is an optimum")
    table.add_argument("--where", metavar="SQL", help="keep the rows for which this holds")
    table.add_argument("--at", metavar="N=1e9[,D=2e10]", help="the target (--width W is width=W)")
    return parser.parse_args(arguments)


def _predict(
    records: list[RunRecord], experiment: Experiment, parametrization: Parametrization, store: Store, args: argparse.Namespace
) -> Prediction:
    spec = records[0].spec
    target = experiment.run_spec(spec.data, spec.optimizer, width=experiment.target_width, parametrization=parametrization)
    changes: dict[str, Any] = {}
    if args.batch_tokens:
        if args.batch_tokens <= 0 or args.batch_tokens % target.model.context:
            raise UsageError(f"--batch-tokens {args.batch_tokens} is no positive multiple of the context, {target.model.context}")
        changes["batch_sequences"] = args.batch_tokens // target.model.context
    if args.tokens:
        changes["horizon"] = {"policy": "tokens", "tokens": args.tokens}
    if changes:
        target = validate(RunSpec, target.model_dump() | changes, "the target")
    provenance = {
        "versions": {
            "hptransfer": hptransfer.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "experiment": experiment.name,
        "store": store.location,
        "run_ids": sorted(record.run_id for record in records),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return predict(records, target, force=args.force, provenance=provenance)


def _write(path: str, prediction: Prediction) -> None:
    """Write the file whole or not at all."""
    temporary = Path(f"{path}.tmp")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(prediction.model_dump(mode="json"), indent=1) + "\n")
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"--output {path} cannot be written: {error.strerror}") from None


def _next_command(args: argparse.Namespace, recipes: Iterable[str]) -> str:
    words = ["python -m hptransfer.validate", cli.selection(args), f"--optimizer {','.join(recipes)}"]
    words += [f"--parametrization {args.parametrization}"] if args.parametrization else []
    words += [f"--width {args.width}"] if args.width is not None else []
    return " ".join(words)


def _rows(predictions: dict[str, Prediction]) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for recipe, prediction in predictions.items():
        first, *rest = _rows_of(prediction)
        rows += [(recipe, *first), *(("", *row) for row in rest)]
    return rows


def _rows_of(prediction: Prediction) -> list[tuple[str, str, str, str]]:
    width, hyper, drift = prediction.target.width, prediction.hyperparameters, prediction.drift
    rows = [
        (f"best lr at width {o.width}", cli.number(o.lr.value), _ends(o.lr), f"{o.runs} runs, {o.diverged} diverged")
        for o in prediction.optima
    ]
    fitted = f"fit {drift.fitted:.3f}, " if drift.fitted is not None else ""
    ends = "-" if drift.low is None else f"{drift.low:.3f} .. {drift.high:.3f}"
    rows.append(("drift of lr with width", f"{drift.used:.3f}", ends, f"theory {drift.theory:.3f}, {fitted}used {drift.reason}"))
    ratio = f"embedding_lr_ratio {hyper.embedding_lr_ratio:g}"
    rows.append((f"lr at width {width}", cli.number(hyper.lr.value), _ends(hyper.lr), ratio))
    decay = hyper.weight_decay
    rows.append((f"weight_decay at width {width}", cli.number(decay.value), _ends(decay), decay.status))
    regret = f"of the loss; seed noise {prediction.noise:.2%}"
    rows.append(("expected regret", f"{prediction.expected_regret:.3%}", "-", regret))
    if (held := prediction.hold_out) is not None:
        note = f"best there {held.own_lr:.4g}, regret {held.regret:.3%}"
        rows.append((f"hold-out: width {held.width} from narrower", cli.number(held.predicted_lr), "-", note))
    rows += [(f"FAILED: {check.name}", "-", "-", check.detail) for check in prediction.checks if not check.ok]
    return rows


def _ends(interval: Interval) -> str:
    if interval.low is None and interval.high is None:
        return "-"
    return f"{cli.number(interval.low)} .. {cli.number(interval.high)}"
