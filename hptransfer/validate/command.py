"""``hptransfer validate``: prove a prediction at a scale nobody tuned at."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from hptransfer.base.commands import command
from hptransfer.base.errors import UsageError
from hptransfer.base.files import may_be_a_folder, replace
from hptransfer.base.refusals import Refused
from hptransfer.base.words import within_percent
from hptransfer.cli import console, finish, number, selection, table
from hptransfer.experiment import Experiment
from hptransfer.experiment.choice import arm_options, chosen_arms
from hptransfer.experiment.membership import Members, members
from hptransfer.runs import Record, Store
from hptransfer.trainers import resolve
from hptransfer.transfer.axes import cell_words
from hptransfer.transfer.prediction import file_name
from hptransfer.validate.protocol import has_ladder
from hptransfer.validate.result import AXES, Validation
from hptransfer.validate.sentences import foretold_sentences
from hptransfer.validate.stage import run_validations
from hptransfer.validate.standing import Standing, given_predictions, known_predictions, standing


def main(args: argparse.Namespace) -> None:
    experiment, arms = chosen_arms(args, [f"target_width={args.width}"] if args.width is not None else [])
    batch = experiment.target.get("batch_tokens") or experiment.smallest("batch_tokens")
    sequences = 1 if experiment.trainer or not batch else batch // experiment.model.context
    if args.workers < 1 or sequences % args.workers:
        raise UsageError(f"--workers {args.workers} does not divide the batch of {sequences} sequences")
    output = Path(args.output or f"reports/{experiment.name}")
    if not may_be_a_folder(output):
        raise UsageError(f"--output {output} is no folder")
    store = Store(args.store)
    given = given_predictions(args.predictions, experiment, resolve)
    found = members(store.records().values(), experiment, resolve)
    known = known_predictions(experiment, store)
    if args.retry_failed:
        store.retry([record.run_id for record in _failed(found)])
        found = members(store.records().values(), experiment, resolve)
    stands = standing(experiment, found, resolve, known, store.registered_at, given.values())
    asked = _asked(args, stands, given or [arm.name for arm in arms])
    if args.survival:
        _require_ladders(experiment, stands, asked)
    plan = experiment.validation
    probes = f"probes at LR and weight decay x {', '.join(map(number, plan.probe_factors))}, " if plan.probe_factors else ""
    console.print(
        f"experiment {experiment.name}: {', '.join(asked)} at {cell_words(experiment.target_cell)}, {plan.seeds} seeds, {probes}"
        f"horizons of the baseline x {', '.join(map(number, sorted((1.0, *plan.ladder))))}; store {store.location}"
    )
    found_all = run_validations(experiment, stands.predictions, asked, store, workers=args.workers, survival=args.survival)
    written = _write(found_all, output, experiment.target_cell)
    validations = [found_all[name] for name in asked if name in found_all]
    _print(validations, cell_words(experiment.target_cell))
    if lost := _failed(members(store.records().values(), experiment, resolve)):
        console.print(
            f"{len(lost)} runs failed and are left out; mend it, and validate with --retry-failed: {lost[0].outcome.reason}"
        )
    finish(
        args,
        {"validations": [validation.model_dump(mode="json") for validation in validations]},
        written=written,
        next_command=command("report", *selection(args)),
    )


def _failed(found: Members) -> list[Record]:
    """The runs of a validation that failed."""
    runs = (record for part in (found.held_out, found.repeated) for runs in part.values() for record in runs)
    return [record for record in runs if record.state == "failed"]


def _asked(args: argparse.Namespace, stands: Standing, names: Collection[str]) -> list[str]:
    """The arms that are validated: those of ``names`` that have a prediction. One that was named and has none is an error."""
    without = [name for name in names if name not in stands.predictions]
    refused = [stands.refused[name] for name in without if name in stands.refused]
    if without and (args.optimizer or len(without) == len(names)):
        if refused:
            raise Refused(refused[0])
        search = command("search", *selection(args), *arm_options(without))
        raise UsageError(
            f"no prediction of {', '.join(without)} as far as searched; go on with `{search}`, or predict from the runs "
            f"that there are with `{command('transfer')}`"
        )
    for refusal in refused:
        console.print(f"refused: {refusal.text}")
    if missing := [name for name in without if name not in stands.refused]:
        console.print(f"no prediction of {', '.join(missing)}: left out")
    return [name for name in names if name not in without]


def _require_ladders(experiment: Experiment, stands: Standing, names: Collection[str]) -> None:
    """Raises UsageError where survival cannot be measured: without an arm and its baseline, with runs that cannot be made longer,
    or unknown compute."""
    baselines = {name: experiment.baseline_of(experiment.arm(name)) for name in stands.predictions}
    if not any(one and one.name != name and one.name in baselines for name, one in baselines.items()):
        raise UsageError(f"--survival compares an arm with its baseline; there are predictions of {', '.join(baselines)} alone")
    for name in names:
        job = stands.predictions[name].run
        if job.flops is None or not has_ladder(job, resolve):
            lack = "a flops formula" if job.flops is None else "{tokens} or {steps} in its command, and a tokens formula"
            raise UsageError(f"--survival needs multipliers over horizons, in FLOPs: the trainer of {name} lacks {lack}")


def _write(validations: dict[str, Validation], output: Path, target: Mapping[str, int]) -> list[str]:
    """One file for each arm. Nothing reads them back: what they say can be made again from store and experiment."""
    written = []
    for name, validation in validations.items():
        path = output / f"validation-{file_name(name, **target)}"
        replace(path, validation.model_dump_json(indent=1))
        written.append(str(path))
    return written


def _print(validations: Sequence[Validation], where: str) -> None:
    rows = []
    for validation in validations:
        first = validation.runs[0]
        regret = validation.regret
        multipliers = validation.speedup.compute_multiplier if validation.speedup else {}
        rows.append(
            [
                validation.arm,
                first.lr,
                "-" if first.loss is None else f"{first.loss:.4f}",
                validation.foretold.words if validation.foretold else "-",
                "-" if regret is None else within_percent(regret),
                *(multipliers[axis].in_full if axis in multipliers else "-" for axis in AXES),
            ]
        )
    table(
        f"predicted runs at {where}; intervals 80 %",
        ["arm", "lr", "loss", "foretold", "regret", *AXES.values()],
        rows,
    )
    found = {one.arm: one.foretold for one in validations if one.foretold}
    for sentence in foretold_sentences(found):
        console.print(sentence)
    ladders = {one.baseline: one.ladder for one in validations if one.baseline and len(one.ladder) > 1}
    rungs = [
        [name, run.tokens, number(run.lr), "-" if run.loss is None else f"{run.loss:.4f}"]
        for name, ladder in ladders.items()
        for run in ladder
    ]
    if rungs:
        table("the baseline over horizons, LR as its law goes with tokens", ["baseline", "tokens", "lr", "loss"], rungs)
    for validation in validations:
        if validation.refusal:
            console.print(f"{validation.arm}: {validation.refusal.text}")
