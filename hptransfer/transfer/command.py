"""``python -m hptransfer.transfer``: predict learning rate and weight decay at a target, from the store or any table of runs."""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy

import hptransfer
from hptransfer import cli
from hptransfer.base.errors import UsageError
from hptransfer.base.files import replace
from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal, Refused
from hptransfer.experiment import Experiment
from hptransfer.experiment.choice import add_arm_options, arm_options, chosen_arms
from hptransfer.experiment.membership import Members, members
from hptransfer.runs import Job, Point, Store
from hptransfer.runs.point import Number
from hptransfer.trainers import resolve
from hptransfer.transfer import table
from hptransfer.transfer.axes import cell_words
from hptransfer.transfer.decision import predict
from hptransfer.transfer.group import Group, group_of_arm, run_ids, too_few_runs
from hptransfer.transfer.prediction import Prediction, default_path
from hptransfer.transfer.table import Columns


@dataclass(frozen=True)
class Question:
    """What is asked of one group: a target, what makes a job of the answer, and the file that it goes to (None: to none)."""

    group: Group
    target: Job | None
    resolve: Callable[[Point], Job]
    file: Path | None
    provenance: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where an optimum is on the edge of its sweep or a precondition fails; errors are raised."""
    args = _parse(arguments)
    questions, refused = (_from_table(args), {}) if args.table else _from_store(args)
    predictions: dict[str, Prediction] = {}
    written: dict[str, str] = {}
    for question in questions:
        name = question.group.name
        try:
            predictions[name] = predict(
                question.group, question.target, question.resolve, force=args.force, provenance=question.provenance
            )
        except Refused as error:
            refused[name] = error.refusal
        if question.file and name in predictions:
            written[name] = _write(question.file, predictions[name])
        elif question.file:
            _forget(question.file)  # an earlier prediction must not pass for this one
    for name, prediction in predictions.items():
        where = f" at {cell_words(prediction.point.scales)}" if prediction.job else ""
        cli.table(f"{name}: prediction{where}", ("what", "value", "80 % interval", "note"), _rows(prediction))
    for reason in refused.values():
        cli.console.print(f"refused: {reason.text}")
    objects = [{**p.model_dump(mode="json"), "file": written.get(name)} for name, p in predictions.items()]
    reasons = {name: {**reason.model_dump(mode="json"), "text": reason.text} for name, reason in refused.items()}
    cli.finish(
        args,
        {"predictions": objects, "refused": reasons},
        written=list(written.values()),
        next_command=None if args.table or not predictions else _next_command(args, predictions),
    )
    failed = any(not check.ok for prediction in predictions.values() for check in prediction.checks)
    return 1 if refused or failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser("transfer", "Predict learning rate and weight decay at a target from the runs in the store, or a table.")
    add_arm_options(parser)
    parser.add_argument("--width", type=int, metavar="W", help="target width (the experiment's)")
    parser.add_argument("--tokens", type=int, metavar="N", help="tokens of the target run (the experiment's horizon)")
    parser.add_argument("--batch-tokens", type=int, metavar="N", help="batch of the target run in tokens (the experiment's)")
    parser.add_argument("--output", metavar="PATH", help="prediction file (predictions/<experiment>/<arm>-<width>.json)")
    parser.add_argument("--force", action="store_true", help="predict where a precondition is missing; the check still fails")
    columns = parser.add_argument_group("from a table instead of the store")
    columns.add_argument("--table", metavar="FILE", help="CSV, Parquet or JSONL of finished runs, one row each")
    columns.add_argument("--group", default="", metavar="A,B", help="columns that tell groups apart")
    columns.add_argument("--scale", default="width", metavar="N[,D]", help="columns of scale (width)")
    columns.add_argument("--hp", default="lr", metavar="A[,B]", help="columns to predict; log2_... is a logarithm already (lr)")
    columns.add_argument(
        "--loss", metavar="COLUMN", help="final loss; empty or nan: diverged. Without it every row is an optimum"
    )
    columns.add_argument("--where", metavar="SQL", help="keep the rows for which this holds")
    columns.add_argument("--at", metavar="N=1e9[,D=2e10]", help="the target (--width W is width=W)")
    return parser.parse_args(arguments)


# -- reading -----------------------------------------------------------------------------------------------------------


def _from_table(args: argparse.Namespace) -> list[Question]:
    """The groups of a table. The job of a prediction is its scales, and nothing else is known of it."""
    columns = Columns(cli.names(args.group), cli.names(args.scale), cli.names(args.hp), args.loss)
    if not columns.scale or not columns.hp:
        raise UsageError("--scale and --hp name one column of the table each, or more")
    target = _table_target(args, columns)
    frame = table.read_table(args.table, args.where)
    parts = table.split_groups(frame, columns)
    if args.output and len(parts) > 1:
        raise UsageError(f"--output {args.output} is one file for {len(parts)} groups; keep one with --where")
    file = Path(args.output) if args.output else None
    return [
        Question(table.group_of(name, part, columns), target, _bare, file, _provenance({"table": str(args.table)}))
        for name, part in parts.items()
    ]


def _bare(point: Point) -> Job:
    return Job(run_id="", point=point)


def _table_target(args: argparse.Namespace, columns: Columns) -> Job | None:
    """The target's scales, in the columns' own terms."""
    text = args.at or (f"width={args.width}" if args.width else "")
    if not text:
        return None
    pairs = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    try:
        named = {name.strip(): float(value) for name, value in pairs.items()}
    except ValueError:
        named = {}
    if set(named) != set(columns.scale) or any(not 0 < value < math.inf for value in named.values()):
        wanted = ",".join(f"{name}=VALUE" for name in columns.scale)
        raise UsageError(f"target {text!r} does not give a positive value to each of --scale; write --at {wanted}")
    return table.target_job(columns, named)


def _from_store(args: argparse.Namespace) -> tuple[list[Question], dict[str, Refusal]]:
    """The arms of an experiment that are asked for, and why others have too few runs. Raises UsageError for one of these that
    was named."""
    experiment, arms = chosen_arms(args, [f"target_width={args.width}"] if args.width is not None else [])
    if args.output and len(arms) > 1:
        raise UsageError(f"--output {args.output} is one file for {len(arms)} arms; name one with --optimizer")
    store = Store(args.store)
    found = members(store.require_records().values(), experiment, resolve)
    cli.console.print(
        f"experiment {experiment.name}, store {store.location}; searched widths {list(experiment.widths)}, base "
        f"{experiment.base_width}, target {experiment.target_width}"
    )
    if found.left_out:
        cli.console.print(f"{found.left_out} runs on other versions of what they read left out")
    elsewhere = "".join(f"-{name}{value}" for name, value in (("t", args.tokens), ("b", args.batch_tokens)) if value)
    questions, lacking = [], {}
    for arm in arms:
        try:
            group = arm_group(arm.name, found, experiment.widths, f"{arm.name} of experiment {experiment.name}")
        except Refused as error:
            if args.optimizer:
                search = f"python -m hptransfer.search {cli.selection(args)} {arm_options([arm.name])}"
                raise UsageError(f"{error}; go on with `{search}`") from None
            lacking[arm.name] = error.refusal
            continue
        job = target_of(experiment, arm.name, found)
        if changes := {name: value for name in ("tokens", "batch_tokens") if (value := getattr(args, name))}:
            job = resolve(job.point.at(**changes))
            if ignored := [name for name, value in changes.items() if job.point.scales.get(name) != value]:
                option = ignored[0].replace("_", "-")
                raise UsageError(f"--{option}: {arm.name}'s runs follow a formula in it, or do not have it")
        path = default_path(experiment.name, arm.name, experiment.target_width)
        provenance = _provenance({"experiment": experiment.name, "store": store.location, "run_ids": run_ids(group)})
        file = Path(args.output) if args.output else path.with_stem(path.stem + elsewhere)
        questions.append(Question(group, job, resolve, file, provenance))
    return questions, lacking


def arm_group(name: str, found: Members, widths: Sequence[Number], words: str) -> Group:
    """The searched runs of an arm, called ``words`` where they are refused: a width of ``widths`` lacks runs."""
    group = group_of_arm(name, found.searched.get(name, ()))
    if lack := too_few_runs(group, widths, words):
        raise Refused(lack)
    return group


def target_of(experiment: Experiment, arm: str, found: Members) -> Job:
    """A run of an arm at the held-out width, hyperparameters as they come."""
    return resolve(experiment.target(experiment.arm(arm), found.inputs[arm]))


def _provenance(source: Mapping[str, Any]) -> dict[str, Any]:
    versions = {
        "hptransfer": hptransfer.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    return {"versions": versions, **source, "written_at": datetime.now(UTC).isoformat(timespec="seconds")}


# -- writing -----------------------------------------------------------------------------------------------------------


def _is_ours(path: Path) -> bool:
    """Whether a file is a prediction, of whatever version."""
    try:
        return "prediction_version" in json.loads(path.read_text())
    except (OSError, ValueError, TypeError):
        return False


def _write(path: Path, prediction: Prediction) -> str:
    """Write the file whole or not at all. Raises UsageError rather than replace what is no prediction."""
    if path.exists() and not _is_ours(path):
        raise UsageError(f"{path} is there and is no prediction file: it is not overwritten; choose another --output")
    replace(path, json.dumps(prediction.model_dump(mode="json"), indent=1) + "\n")
    return str(path)


def _forget(path: Path) -> None:
    """Remove an earlier prediction; whatever else has that name stays."""
    if _is_ours(path):
        path.unlink(missing_ok=True)


def _next_command(args: argparse.Namespace, names: Iterable[str]) -> str:
    words = ["python -m hptransfer.validate", cli.selection(args), arm_options(names)]
    words += [f"--width {args.width}"] if args.width is not None else []
    return " ".join(words)


def _rows(prediction: Prediction) -> list[tuple[str, str, str, str]]:
    rows = []
    for optimum in prediction.optima:
        note = f"{optimum.runs} runs, {optimum.diverged} diverged" if optimum.loss is not None else "given"
        rows += [(f"best {name} at {optimum.cell}", cli.number(b.value), _ends(b), note) for name, b in optimum.best.items()]
    for drift in prediction.drifts:
        ends = "-" if drift.low is None else f"{drift.low:.3f} .. {drift.high:.3f}"
        expected = "" if drift.theory is None else f"theory {drift.theory:.3f}, "
        fitted = "" if drift.fitted is None else f"fit {drift.fitted:.3f}, "
        note = f"{expected}{fitted}used {drift.reason}" if drift.theory is not None else drift.reason
        rows.append((f"{drift.hyperparameter} ~ {drift.scale}^", f"{drift.used:.3f}", ends, note))
    for name, estimate in prediction.hyperparameters.items():
        rows.append((f"predicted {name}", cli.number(estimate.value), _ends(estimate), estimate.words))
    decay = prediction.weight_decay
    if decay and prediction.job and prediction.job.kinds:
        rows.append(("weight_decay, final", cli.number(decay.value), _ends(decay), "by the weight decay rule, independent"))
    if prediction.expected_regret is not None:
        rows.append(
            ("expected regret", f"{prediction.expected_regret:.3%}", "-", f"of the loss; seed noise {prediction.noise:.2%}")
        )
    if (held := prediction.hold_out) is not None:
        note = f"best there {held.own:.4g}, regret {held.regret:.3%}"
        rows.append((f"hold-out: {held.cell} from smaller ones", cli.number(held.predicted), "-", note))
    rows += [(f"FAILED: {check.name}", "-", "-", check.detail) for check in prediction.checks if not check.ok]
    return rows + [(note, "", "", "") for note in prediction.notes]


def _ends(interval: Interval) -> str:
    if interval.low is None and interval.high is None:
        return "-"
    return f"{cli.number(interval.low)} .. {cli.number(interval.high)}"
