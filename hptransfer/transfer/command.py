"""``hptransfer transfer``: predict learning rate and weight decay at a target, from the store or any table of runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hptransfer import cli
from hptransfer.base.commands import command
from hptransfer.base.errors import UsageError
from hptransfer.base.intervals import Interval
from hptransfer.base.refusals import Refusal, Refused
from hptransfer.cli.tables import columns_words, read_table
from hptransfer.experiment.choice import arm_options, asked_scales, chosen_arms
from hptransfer.experiment.membership import members
from hptransfer.runs import Job, Point, Store
from hptransfer.trainers import resolve
from hptransfer.transfer import table
from hptransfer.transfer.axes import cell_words
from hptransfer.transfer.decision import optima_alone, predict_group
from hptransfer.transfer.group import Group, heard_by, run_ids
from hptransfer.transfer.prediction import Prediction, default_path, is_prediction_file, write_prediction
from hptransfer.transfer.target import arm_group, arm_target, bare_job, provenance, table_target

# Options that are of one kind of runs alone.
OF_A_STORE = ("store", "experiment", "set", "optimizer", "parametrization", "tokens", "batch_tokens")
OF_A_TABLE = ("group", "scale", "hp", "loss", "maximize", "source", "where", "report")


@dataclass(frozen=True)
class Question:
    """What is asked of one group: a target, what makes a job of the answer, and the file that it goes to (None: to none)."""

    group: Group
    target: Job | None
    resolve: Callable[[Point], Job]
    file: Path | None
    provenance: dict[str, Any]


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 where an optimum is on the edge of its sweep or a precondition fails; errors are raised."""
    if args.table:
        cli.refuse_unheeded(args, "with --table", *OF_A_STORE, *(("width",) if args.at else ()))
    else:
        cli.refuse_unheeded(args, "without --table", *OF_A_TABLE)
    questions, refused = (_from_table(args), {}) if args.table else _from_store(args)
    others = heard_by([question.group for question in questions], questions[0].target) if args.table else {}
    predictions: dict[str, Prediction] = {}
    alone: dict[str, Prediction] = {}  # of groups whose prediction is refused
    written: dict[str, str] = {}
    for question in questions:
        name = question.group.name
        try:
            predictions[name] = predict_group(
                question.group,
                question.target,
                question.resolve,
                force=args.force,
                rule=args.rule,
                others=others.get(name),
                provenance=question.provenance,
            )
        except Refused as error:
            refused[name] = error.refusal
            if question.target and (known := optima_alone(question.group)):
                alone[name] = known
        if question.file and name in predictions:
            written[name] = str(write_prediction(predictions[name], question.file))
        elif question.file:
            _forget(question.file)  # an earlier prediction must not pass for this one
    said = {note for question in questions for note in question.group.notes}
    for name, prediction in (predictions | alone).items():
        what = f"prediction at {cell_words(prediction.point.scales)}" if prediction.job else "optima"
        cli.table(f"{name}: {what}", ("what", "value", "80 % interval", "note"), _rows(prediction, said))
    for reason in refused.values():
        cli.console.print(f"refused: {reason.text}")
    files = list(written.values())
    if args.report:  # what draws takes a second to load
        from hptransfer.report.build import write_page
        from hptransfer.report.sweeps import Swept, predicted

        told = predictions | alone
        outcomes = [Swept(one.group, told.get(one.group.name), refused.get(one.group.name)) for one in questions]
        files += write_page(Path(args.report), "sweeps.md", *predicted(str(args.table), outcomes))
    objects = [{**p.model_dump(mode="json"), "file": written.get(name)} for name, p in predictions.items()]
    reasons: dict[str, dict[str, Any]] = {}
    for name, reason in refused.items():
        optima = [optimum.model_dump(mode="json") for optimum in alone[name].optima] if name in alone else []
        reasons[name] = {**reason.model_dump(mode="json"), "text": reason.text, "optima": optima}
    cli.finish(
        args,
        {"predictions": objects, "refused": reasons},
        written=files,
        next_command=_next_command(args, list(predictions), written),
    )
    failed = any(not check.ok for prediction in predictions.values() for check in prediction.checks)
    return 1 if refused or failed else 0


# -- reading -----------------------------------------------------------------------------------------------------------


def _from_table(args: argparse.Namespace) -> list[Question]:
    """The groups of a table. The job of a prediction is its scales, and nothing else is known of it."""
    at = args.at or ({} if args.width is None else {"width": args.width})
    found = read_table(args, args.table, scale=tuple(at) or None)
    cli.console.print(f"{found.place}: {len(found.frame):,} runs; {columns_words(found.columns)}")
    for note in found.notes:
        cli.console.print(f"note: {note}")
    target = table_target(found.columns, at) if at else None
    groups = table.groups_of(found)
    if args.output and len(groups) > 1:
        raise UsageError(f"--output {args.output} is one file for {len(groups)} groups; keep one with --where")
    file = Path(args.output) if args.output else None
    source = provenance(table=found.place)
    return [Question(group, target, bare_job, file, source) for group in groups.values()]


def _from_store(args: argparse.Namespace) -> tuple[list[Question], dict[str, Refusal]]:
    """The arms of an experiment that are asked for, and why others have too few runs. Raises UsageError for one of these that
    was named."""
    asked = asked_scales(args)
    experiment, arms = chosen_arms(args, [f"target_width={asked['width']}"] if "width" in asked else [])
    changes = {name: value for name, value in asked.items() if name != "width"}
    if args.output and len(arms) > 1:
        raise UsageError(f"--output {args.output} is one file for {len(arms)} arms; name one with --optimizer")
    store = Store(args.store)
    found = members(store.require_records().values(), experiment, resolve)
    scales = "".join(f", {name} {sorted(values)}" for name, values in experiment.scales.items())
    cli.console.print(
        f"experiment {experiment.name}, store {store.location}; searched widths {list(experiment.widths)}{scales}, base "
        f"{experiment.base_width}, target {cell_words({**experiment.target_cell, **changes}).removeprefix('width ')}"
    )
    if found.left_out:
        cli.console.print(f"{found.left_out} runs on other versions of what they read left out")
    questions, lacking = [], {}
    for arm in arms:
        try:
            group = arm_group(arm.name, found, experiment.searched_cells, f"{arm.name} of experiment {experiment.name}")
        except Refused as error:
            if args.optimizer:
                search = command("search", *cli.selection(args), *arm_options([arm.name]))
                raise UsageError(f"{error}; go on with `{search}`") from None
            lacking[arm.name] = error.refusal
            continue
        job = arm_target(experiment, arm.name, found, resolve, changes)
        path = default_path(experiment.name, arm.name, **{**experiment.target_cell, **changes})
        source = provenance(experiment=experiment.name, store=store.location, run_ids=run_ids(group))
        questions.append(Question(group, job, resolve, Path(args.output) if args.output else path, source))
    return questions, lacking


# -- writing -----------------------------------------------------------------------------------------------------------


def _forget(path: Path) -> None:
    """Remove an earlier prediction; whatever else has that name stays."""
    if is_prediction_file(path):
        path.unlink(missing_ok=True)


def _next_command(args: argparse.Namespace, names: Sequence[str], written: Mapping[str, str]) -> str | None:
    """What comes next, with the file that was written where it is not looked for by itself."""
    files = tuple(written.values()) if args.output else ()
    if args.table:
        return command("export", "--prediction", *files) if files else None
    if not names:
        return None
    asked = asked_scales(args)
    width = ("--width", str(asked.pop("width"))) if "width" in asked else ()
    beyond = (word for name, value in asked.items() for word in ("--set", f"target.{name}={value}"))
    given = ("--predictions", *files) if files else ()
    return command("validate", *cli.selection(args), *arm_options(names), *width, *beyond, *given)


def _rows(prediction: Prediction, said: Collection[str]) -> list[tuple[str, str, str, str]]:
    rows = []
    for optimum in prediction.optima:
        note = f"{optimum.runs} runs, {optimum.diverged} diverged" if optimum.loss is not None else "given"
        rows += [(f"best {name} at {optimum.cell}", cli.number(b.value), _ends(b), note) for name, b in optimum.best.items()]
    for drift in prediction.drifts:
        ends = "-" if drift.low is None else f"{drift.low:.3f} .. {drift.high:.3f}"
        expected = "" if drift.theory is None else f"theory {drift.theory:.3f}, "
        fitted = "" if drift.fitted is None else f"fit {drift.fitted:.3f}, "
        note = f"{expected}{fitted}used {drift.reason}"
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
        beside = "".join(f", {rule} {regret:.3%}" for rule, regret in held.simple.items())
        note = f"best there {held.own:.4g}, regret {held.regret:.3%}{beside}"
        rows.append((f"hold-out: {held.cell} from smaller ones", cli.number(held.predicted), "-", note))
        if held.better:
            rows.append((f"there {held.better} was better", "-", "-", f"--rule {held.better} takes its values"))
    rows += [(f"FAILED: {check.name}", "-", "-", check.detail) for check in prediction.checks if not check.ok]
    return rows + [(note, "", "", "") for note in prediction.notes if note not in said]


def _ends(interval: Interval) -> str:
    if interval.low is None and interval.high is None:
        return "-"
    return f"{cli.number(interval.low)} .. {cli.number(interval.high)}"
