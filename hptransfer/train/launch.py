"""Runs under Ray Train: the predicted run at the target, and whatever needs several workers."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from threading import Thread
from typing import Any

from hptransfer.errors import CheckFailed
from hptransfer.spec import RunSpec
from hptransfer.store import CurvePoint, RunRecord, Store
from hptransfer.train.parallel import Strategy


@dataclass(frozen=True)
class Layout:
    """How a run is laid out over a cluster. ``threads``: CPUs of each worker; ``gpu``: whether it has one of its own besides;
    ``failures``: how often workers that died are started again, from the run's checkpoint."""

    workers: int = 1
    strategy: Strategy = "ddp"
    accumulation: int = 1
    threads: int = 1
    gpu: bool = False
    failures: int = 1


def launch(
    spec: RunSpec, store: Store, layout: Layout | None = None, on_point: Callable[[CurvePoint], None] | None = None
) -> RunRecord:
    """Train one run as a Ray Train `TorchTrainer` run, and return its record from the store. ``on_point`` is called with every
    point of its curve as it comes. Raises CheckFailed when the run fails."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    layout = layout or Layout()
    points = Queue(actor_options={"num_cpus": 0}) if on_point else None
    listener = Thread(target=_listen, args=(points, on_point), daemon=True)
    # Ray Train silently resumes a run of the same name, and its own state is disposable: a fresh name and folder each time.
    with tempfile.TemporaryDirectory(prefix="hptransfer-train-", ignore_cleanup_errors=True) as folder:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "spec": spec.model_dump_json(),
                "store": store.uri,
                "layout": asdict(layout),
                "points": points,
            },
            scaling_config=ScalingConfig(
                num_workers=layout.workers, use_gpu=layout.gpu, resources_per_worker={"CPU": layout.threads}
            ),
            run_config=RunConfig(
                name=f"{spec.run_id}-{uuid.uuid4().hex[:8]}",
                storage_path=folder,
                failure_config=FailureConfig(max_failures=layout.failures),
            ),
        )
        if points:
            listener.start()
        try:
            trainer.fit()
        except Exception as error:
            raise CheckFailed(f"run {spec.run_id} failed under Ray Train: {str(error).strip().splitlines()[-1]}") from None
        finally:
            if points:
                points.put(None)
                listener.join()
                points.shutdown()
    record = store.get(spec.run_id)
    if record is None:
        raise CheckFailed(f"run {spec.run_id} ended under Ray Train without a record in {store.location}")
    return record


def _listen(points: Any, on_point: Callable[[CurvePoint], None]) -> None:
    """Hand over points until there are no more."""
    while (point := points.get()) is not None:
        on_point(CurvePoint.model_validate_json(point))


def _worker(config: dict[str, Any]) -> None:
    from ray.train import get_context
    from ray.train.torch import get_device

    from hptransfer.data.corpus import open_corpus
    from hptransfer.train.loop import train

    spec, layout, points = RunSpec.model_validate_json(config["spec"]), Layout(**config["layout"]), config["points"]

    def report(point: CurvePoint) -> None:
        points.put(point.model_dump_json())

    train(
        spec,
        open_corpus(spec.data),
        store=Store(config["store"]),
        reporter=report if points and get_context().get_world_rank() == 0 else None,
        threads=layout.threads,
        device=get_device(),
        strategy=layout.strategy,
        accumulation=layout.accumulation,
    )
