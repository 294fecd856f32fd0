"""Runs under Ray Train: the predicted run at the target, and whatever needs several workers."""

from __future__ import annotations

import tempfile
import uuid
from typing import Any

from hptransfer.errors import CheckFailed
from hptransfer.spec import RunSpec
from hptransfer.store import RunRecord, Store


def launch(spec: RunSpec, store: Store, *, workers: int = 1) -> RunRecord:
    """Train one run as a Ray Train `TorchTrainer` run of ``workers`` data-parallel workers, one CPU each, and return its
    record from the store. A worker that dies is restarted once, from the run's checkpoint. Raises CheckFailed when it fails."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    # Ray Train silently resumes a run of the same name, and its own state is disposable: a fresh name and folder each time.
    with tempfile.TemporaryDirectory(prefix="hptransfer-train-", ignore_cleanup_errors=True) as folder:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"spec": spec.model_dump_json(), "store": store.uri},
            scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(
                name=f"{spec.run_id}-{uuid.uuid4().hex[:8]}", storage_path=folder, failure_config=FailureConfig(max_failures=1)
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise CheckFailed(f"run {spec.run_id} failed under Ray Train: {str(error).strip().splitlines()[-1]}") from None
    record = store.get(spec.run_id)
    if record is None:
        raise CheckFailed(f"run {spec.run_id} ended under Ray Train without a record in {store.location}")
    return record


def _worker(config: dict[str, Any]) -> None:
    from hptransfer.data.corpus import open_corpus
    from hptransfer.train.loop import train

    spec = RunSpec.model_validate_json(config["spec"])
    train(spec, open_corpus(spec.data), store=Store(config["store"]))
