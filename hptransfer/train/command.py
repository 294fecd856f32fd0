"""``python -m hptransfer.train``: train the predicted run, or one of another width with the values transferred to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from hptransfer.base.config import merge, validate
from hptransfer.base.errors import CheckFailed, UsageError
from hptransfer.cli import console, finish, number, parser, selection, table
from hptransfer.experiment import Resources, load_experiment
from hptransfer.plan.hardware import peak
from hptransfer.runs import CurvePoint, RunRecord, Store
from hptransfer.runs.query import tokens_to_loss
from hptransfer.trainers.ours.data.corpus import open_corpus
from hptransfer.trainers.ours.launch import Layout, launch
from hptransfer.trainers.ours.parallel import Strategy
from hptransfer.transfer import choice
from hptransfer.transfer.prediction import Prediction


def main(argv: Sequence[str] | None = None) -> None:
    options = parser("train", __doc__ or "")
    choice.add_options(options, width="width to train at (the prediction's)")
    options.add_argument("--workers", type=int, default=1, metavar="N", help="data-parallel workers, each with a GPU if any (1)")
    options.add_argument("--strategy", choices=get_args(Strategy), default="ddp", help="whole models, or sharded by FSDP2 (ddp)")
    options.add_argument("--accumulate", type=int, default=1, metavar="N", help="parts a worker takes its batch in (1)")
    options.add_argument("--threads", type=int, default=1, metavar="N", help="CPUs of each worker (1)")
    options.add_argument("--failures", type=int, default=3, metavar="N", help="times that dead workers are started again (3)")
    options.add_argument("--target-loss", type=float, metavar="NATS", help="say after how many tokens (the experiment's)")
    args = options.parse_args(argv)
    for name, least in {"workers": 1, "accumulate": 1, "threads": 1, "failures": 0}.items():
        if getattr(args, name) < least:
            raise UsageError(f"--{name} {getattr(args, name)} is below {least}")
    source, prediction = choice.chosen(args)
    spec = transferred(prediction, args.width or prediction.target.width)
    if spec.batch_sequences % (args.workers * args.accumulate):
        asked = f"--workers {args.workers} x --accumulate {args.accumulate}"
        raise UsageError(f"{asked} does not divide the batch of {spec.batch_sequences} sequences")
    store = Store(args.store)
    _say_what_is_planned(spec, prediction, source, store)
    record = store.get(spec.run_id)
    if record is None:
        open_corpus(spec.data).require(spec.data)  # workers would find out only after a start-up
        record = _train(spec, store, args)
    else:
        console.print(f"run {spec.run_id} is in the store: nothing is trained")
    if record.loss is None:
        raise CheckFailed(f"run {spec.run_id} {record.state}: {record.reason}")
    target_loss = args.target_loss or load_experiment(args.experiment, args.set).target_loss
    reached = tokens_to_loss(record.curve, target_loss) if target_loss else None
    _say_what_came_of_it(record, target_loss, reached)
    finish(
        args,
        record.row() | {"tokens_to_target_loss": reached, "mfu": _mfu(record)},
        written=[f"{store.location} (run {record.run_id})"],
        next_command=f"python -m hptransfer.report {selection(args)}",
    )


def transferred(prediction: Prediction, width: int) -> RunSpec:
    """The predicted run at a width: in base coordinates the LR moves by the exponent that the prediction used, and all else by
    the rules. Raises UsageError where the model has no such width."""
    spec, target = prediction.spec, prediction.target.width
    lr = spec.optimizer.lr * (width / target) ** prediction.drift.used
    changes = {"model": {"width": width}, "optimizer": {"lr": lr}} if width != target else {}
    return validate(RunSpec, merge(spec.model_dump(), changes), f"width {width}")


def _train(spec: RunSpec, store: Store, args: Any) -> RunRecord:
    from hptransfer.search.cluster import cluster, has_gpus, require_slots  # Ray, which a finished run need not load

    def say(point: CurvePoint) -> None:
        val = "-" if point.val is None else f"{point.val:.4f}"
        console.print(f"step {point.step:>6}/{spec.steps}  {point.tokens:>12} tokens  train {point.train:.4f}  val {val}")

    with cluster(store):
        resources = Resources(cpus=args.threads, gpus=1 if has_gpus() else 0)
        require_slots(resources, args.workers)
        return launch(spec, store, Layout(args.workers, resources, args.strategy, args.accumulate, args.failures), say)


def _say_what_is_planned(spec: RunSpec, prediction: Prediction, source: Path, store: Store) -> None:
    target = prediction.target.width
    console.print(
        f"{source}: {spec.optimizer.recipe} under {spec.parametrization} at width {spec.model.width}, "
        f"{number(spec.model.parameters())} parameters; {spec.tokens} tokens in {spec.steps} steps of {spec.batch_tokens}; "
        f"{number(spec.flops)} FLOPs; store {store.location}"
    )
    if spec.model.width != target:
        console.print(
            f"the prediction was made for width {target}: its LR goes on with width^{number(prediction.drift.used)} in base "
            f"coordinates, its interval and checks speak about {target} alone"
        )
    table(
        f"run {spec.run_id}: final numbers",
        ["weights", "role", "lr", "weight decay", "epsilons"],
        [
            [
                group.kind,
                group.role,
                group.lr,
                group.weight_decay,
                ", ".join(f"{k} {number(v)}" for k, v in group.epsilons.items()),
            ]
            for group in spec.groups()
        ],
    )


def _say_what_came_of_it(record: RunRecord, target: float | None, reached: float | None) -> None:
    seconds = record.training_wall_seconds
    mfu = _mfu(record)
    table(
        "result",
        ["loss", "bits per byte", "tokens/s", "model FLOP/s", "MFU", "optimizer", "seconds", "workers", "device"],
        [
            [
                f"{record.loss:.4f}",
                "-" if record.bits_per_byte is None else f"{record.bits_per_byte:.4f}",
                record.tokens / seconds if seconds else "-",
                record.flops / seconds if seconds else "-",
                "-" if mfu is None else f"{mfu:.1%}",
                f"{record.optimizer_wall_seconds / seconds:.1%}" if seconds else "-",
                seconds,
                record.workers,
                record.device,
            ]
        ],
    )
    if target is not None:
        console.print(f"loss {target:g}: {'not reached' if reached is None else f'reached after {reached:.0f} tokens'}")


def _mfu(record: RunRecord) -> float | None:
    """Model FLOPs utilization: of the workers' dense bf16 peak, where it is known."""
    at_best = peak(record.device)
    if at_best is None or not record.training_wall_seconds:
        return None
    return record.flops / record.training_wall_seconds / (at_best * record.workers)
