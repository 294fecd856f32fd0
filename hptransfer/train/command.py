"""``hptransfer train``: train the predicted run, or one of another width with the values transferred to it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import product
from pathlib import Path

from hptransfer.base.commands import command
from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.cli import console, finish, number, selection, table
from hptransfer.experiment import Resources, load_experiment
from hptransfer.experiment.choice import asked_scales
from hptransfer.plan.hardware import peak
from hptransfer.runs import CurvePoint, Job, Outcome, Record, Store
from hptransfer.runs.curves import tokens_to_loss
from hptransfer.trainers import trainer_of
from hptransfer.trainers.ours.points import resolve
from hptransfer.transfer import choice
from hptransfer.transfer.axes import cell_words
from hptransfer.transfer.hypotheses import assumed
from hptransfer.transfer.prediction import Prediction


def main(args: argparse.Namespace) -> None:
    scales = asked_scales(args)
    source, prediction = choice.chosen(args, resolve, heeded=("target_loss",))
    if not prediction.job or not prediction.job.run_id:
        raise UsageError(f"{source} is of a table: there is no run to train")
    if prediction.point.settings["trainer"] != "ours":
        export = command("export", "--prediction", str(source))
        raise UsageError(f"{source} is of a program: `{export}` has the command to run")
    job = transferred(prediction, scales)
    sequences = job.point["batch_tokens"] // job.point.settings["model"]["context"]
    if sequences % (args.workers * args.accumulate):
        asked = f"--workers {args.workers} x --accumulate {args.accumulate}"
        raise UsageError(f"{asked} does not divide the batch of {sequences} sequences")
    store, experiment = Store(args.store), load_experiment(args.experiment, args.set)
    _say_what_is_planned(job, prediction, source, store)
    record = store.get(job.run_id)
    if record is None:
        trainer_of(job.point).prepare(job, Path.cwd())  # workers would find out only after a start-up
        record = _train(job, store, args)
    else:
        console.print(f"run {job.run_id} is in the store: nothing is trained")
    if record.loss is None:
        raise CheckFailed(f"run {job.run_id} {record.state}: {record.outcome.reason}")
    target_loss = args.target_loss or experiment.target_loss
    reached = tokens_to_loss(record.outcome.curve, target_loss) if target_loss else None
    _say_what_came_of_it(record, target_loss, reached)
    finish(
        args,
        record.row() | {"tokens_to_target_loss": reached, "mfu": _mfu(record)},
        written=[f"{store.location} (run {record.run_id})"],
        next_command=command("report", *selection(args)),
    )


def transferred(prediction: Prediction, asked: Mapping[str, int]) -> Job:
    """The predicted run at other scales: in base coordinates its hyperparameters move by the exponents that the prediction used,
    along a scale that did not vary among its runs by the usual rule, and all else by the trainer's. Raises UsageError where the
    model cannot have these scales."""
    point = prediction.point
    moved = {scale: value for scale, value in asked.items() if value != point[scale]}
    if not moved:
        return prediction.run
    factors = dict.fromkeys(prediction.hyperparameters, 1.0)
    for name, (scale, value) in product(factors, moved.items()):
        factors[name] *= (value / point[scale]) ** _exponent(prediction, name, scale)
    job = resolve(point.at(**moved, **{name: point[name] * factor for name, factor in factors.items()}))
    for scale, value in moved.items():
        near = job.point["batch_tokens"] if scale == "tokens" else 1  # tokens are whole batches
        if not 0 <= value - job.point[scale] < near:
            raise UsageError(
                f"--at {scale}={value}: the run's {scale} are {job.point[scale]}, which follow from its other settings"
            )
    return job


def _exponent(prediction: Prediction, hyperparameter: str, scale: str) -> float:
    """How a hyperparameter moves along a scale, in base coordinates. The weight decay rule is the trainer's."""
    if any((drift.hyperparameter, drift.scale) == (hyperparameter, scale) for drift in prediction.drifts):
        return prediction.exponent(hyperparameter, scale)
    if hyperparameter != "lr":
        return 0.0
    if scale == "width":
        return prediction.run.exponents.get("hidden", 0.0)
    (rule,) = assumed(hyperparameter, scale)
    return rule.exponent


def _train(job: Job, store: Store, args: argparse.Namespace) -> Record:
    from hptransfer.search.cluster import cluster, has_gpus, require_slots  # Ray and torch, which a finished run need not load
    from hptransfer.trainers.ours.launch import Layout, launch

    def say(point: CurvePoint) -> None:
        val = "-" if point.val is None else f"{point.val:.4f}"
        console.print(f"step {point.step:>6}/{job.steps}  {point.tokens:>12} tokens  train {point.train:.4f}  val {val}")

    with cluster(store):
        resources = Resources(cpus=args.threads, gpus=1 if has_gpus() else 0)
        require_slots(resources, args.workers)
        return launch(job, store, Layout(args.workers, resources, args.strategy, args.accumulate, args.failures), say)


def _say_what_is_planned(job: Job, prediction: Prediction, source: Path, store: Store) -> None:
    point, target = job.point, prediction.point
    console.print(
        f"{source}: {prediction.name} at width {point['width']}, {number(job.parameters)} parameters; {point['tokens']} tokens "
        f"in {job.steps} steps of {point['batch_tokens']}; {number(job.flops)} FLOPs; store {store.location}"
    )
    if moved := [scale for scale in point.scales if point[scale] != target[scale]]:
        goes = ", ".join(f"{scale}^{number(_exponent(prediction, 'lr', scale))}" for scale in moved)
        console.print(
            f"the prediction was made for {cell_words({scale: target[scale] for scale in moved})}: its LR goes on with {goes} in "
            "base coordinates, its interval and checks speak about its own run alone"
        )
    table(
        f"run {job.run_id}: final numbers",
        ["weights", "role", "lr", "weight decay", "epsilons"],
        [
            [
                kind.name,
                kind.role,
                kind.lr,
                kind.weight_decay,
                ", ".join(f"{k} {number(v)}" for k, v in kind.epsilons.items()),
            ]
            for kind in job.kinds
        ],
    )


def _say_what_came_of_it(record: Record, target: float | None, reached: float | None) -> None:
    outcome, mfu = record.outcome, _mfu(record)
    share = _per(outcome, outcome.optimizer_wall_seconds)
    table(
        "result",
        ["loss", "bits per byte", "tokens/s", "model FLOP/s", "MFU", "optimizer", "seconds", "workers", "device"],
        [
            [
                f"{outcome.loss:.4f}",
                "-" if outcome.bits_per_byte is None else f"{outcome.bits_per_byte:.4f}",
                number(_per(outcome, outcome.tokens)),
                number(_per(outcome, outcome.flops)),
                "-" if mfu is None else f"{mfu:.1%}",
                "-" if share is None else f"{share:.1%}",
                number(outcome.training_wall_seconds),
                outcome.workers,
                outcome.device,
            ]
        ],
    )
    if target is not None:
        console.print(f"loss {target:g}: {'not reached' if reached is None else f'reached after {reached:.0f} tokens'}")


def _per(outcome: Outcome, amount: float | None) -> float | None:
    """An amount per second of training; None where either is unknown."""
    return amount / outcome.training_wall_seconds if amount is not None and outcome.training_wall_seconds else None


def _mfu(record: Record) -> float | None:
    """Model FLOPs utilization: of the workers' dense bf16 peak; None where one of them is unknown."""
    at_best, rate = peak(record.outcome.device), _per(record.outcome, record.outcome.flops)
    return None if at_best is None or rate is None else rate / (at_best * record.outcome.workers)
