"""Runs under Ray Train: the predicted run at the target, and whatever needs several workers."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import torch

from hptransfer.base.errors import CheckFailed, last_line
from hptransfer.base.files import patiently
from hptransfer.base.plugins import load_plugins, loaded_plugins
from hptransfer.base.processes import umask
from hptransfer.base.scratch import scratch
from hptransfer.experiment import Resources
from hptransfer.runs import Claim, Claims, CurvePoint, Job, Record, Store, Watch
from hptransfer.trainers.ours.parallel import Strategy, of_first
from hptransfer.trainers.ours.points import spec_of


@dataclass(frozen=True)
class Layout:
    """How a run is laid out over a cluster. ``resources``: of each worker; ``failures``: how often workers that died are
    started again, from the run's checkpoint. ``strategy`` and ``accumulation`` are `World`'s."""

    workers: int = 1
    resources: Resources = field(default_factory=Resources)
    strategy: Strategy = "ddp"
    accumulation: int = 1
    failures: int = 1


def launch(job: Job, store: Store, layout: Layout | None = None, on_point: Callable[[CurvePoint], None] | None = None) -> Record:
    """Train one run as a Ray Train `TorchTrainer` run, and return its record from the store. ``on_point`` is called with every
    point of its curve as it comes. Raises CheckFailed when the run fails, or another process trains it."""
    from ray import get_runtime_context
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    layout = layout or Layout()
    # Beside this process: a queue on a node that goes away would take the run with it.
    here = NodeAffinitySchedulingStrategy(get_runtime_context().get_node_id(), soft=False)
    points = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    listener = Thread(target=_listen, args=(points, on_point), daemon=True)
    session = uuid.uuid4().hex[:12]
    # Ray Train silently resumes a run of the same name, and its own state is disposable: a fresh name and folder each time.
    with scratch() as folder:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "job": job.model_dump_json(),
                "plugins": loaded_plugins(),
                "store": (store.uri, store.files.settle()),
                "strategy": layout.strategy,
                "accumulation": layout.accumulation,
                "threads": layout.resources.threads,
                "session": session,
                "hang_seconds": layout.resources.hang_seconds,
                "points": points,
                "umask": umask(),
            },
            scaling_config=ScalingConfig(
                num_workers=layout.workers,
                use_gpu=layout.resources.gpus > 0,
                resources_per_worker=layout.resources.demand(),
            ),
            run_config=RunConfig(
                name=f"{job.run_id}-{session}",
                storage_path=str(folder),
                failure_config=FailureConfig(max_failures=layout.failures),
            ),
        )
        listener.start()
        try:
            other = trainer.fit().return_value
        except Exception as error:
            raise CheckFailed(f"run {job.run_id} failed under Ray Train: {last_line(error)}") from None
        finally:
            points.put(None)
            listener.join()
            points.shutdown()
    if other:
        raise CheckFailed(f"run {job.run_id} is trained by {other}; wait for it, or end it and run the same command again")
    record = patiently(lambda: store.get(job.run_id))
    if record is None:
        raise CheckFailed(f"run {job.run_id} ended under Ray Train without a record in {store.location}")
    return record


def _listen(points: Any, on_point: Callable[[CurvePoint], None] | None) -> None:
    """Hand over points until there are no more."""
    while (point := points.get()) is not None:
        if on_point:
            on_point(point)


def _worker(config: dict[str, Any]) -> str:
    """One worker of a run. Returns, in words, who else trains it; empty where nobody does."""
    from ray.train import get_context
    from ray.train.torch import get_device

    from hptransfer.trainers.ours.data.corpus import open_corpus
    from hptransfer.trainers.ours.loop import train

    os.umask(config["umask"])  # Ray's own is tighter: a store is for whom the command's user lets in
    load_plugins(config["plugins"])
    spec, store, points = spec_of(Job.model_validate_json(config["job"]).point), Store(*config["store"]), config["points"]
    rank, device = get_context().get_world_rank(), get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # which collectives on objects use
    corpus = open_corpus(spec.data)  # before the claim, whose heart does not beat while text is tokenized
    claim, other = _take(store, spec.run_id, config["session"], config["hang_seconds"]) if rank == 0 else (None, "")
    other = of_first(other)
    with claim or nullcontext():
        # A restarted worker may find that the run had just finished.
        if not other and not of_first(patiently(lambda: store.get(spec.run_id)) is not None):
            train(
                spec,
                corpus,
                store=store,
                reporter=points.put if rank == 0 else None,
                claim=claim,
                threads=config["threads"],
                device=device,
                strategy=config["strategy"],
                accumulation=config["accumulation"],
            )
    return str(other)


def _take(store: Store, run_id: str, session: str, hang_seconds: float) -> tuple[Claim | None, str]:
    """The claim on a run; or None and, in words, the process that holds it, which is dead where its heart stands still."""
    from ray import get_runtime_context

    claims, watch, node = Claims(store), Watch(), get_runtime_context().get_node_id()
    holder = claims.holder(run_id)

    def dead() -> str:
        return holder.pulse if holder and watch.still_for(holder) > hang_seconds else ""

    while (claim := claims.take(run_id, session=session, node=node, dead=dead())) is None:
        time.sleep(1.0)
        now = claims.holder(run_id)
        if now and holder and now.pulse != holder.pulse:
            return None, f"process {now.pid} on {now.host.split()[0]}"
        holder = now
    return claim, ""
