"""The record of one finished run."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl

from hptransfer.trainers.ours.spec import RunSpec, Spec

SCHEMA_VERSION = 1

State = Literal["complete", "diverged", "pruned", "failed"]


class CurvePoint(Spec):
    """One place on the training curve. Losses in nats per token; ``schedule`` is the LR factor s(t) in [0, 1]."""

    step: int
    tokens: int
    schedule: float
    train: float
    val: float | None = None


class RunRecord(Spec):
    """A `RunSpec`, what came of it, and what it cost. ``loss`` is None unless the state is ``complete``."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    spec: RunSpec
    state: State
    reason: str | None = None
    steps: int
    tokens: int
    loss: float | None = None
    bits_per_byte: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    flops: float
    flops_optimizer: float
    training_wall_seconds: float
    optimizer_wall_seconds: float
    evaluation_wall_seconds: float = 0.0
    peak_memory_bytes: int
    optimizer_state_bytes: int
    factor_failures: int = 0  # how often the last good root or basis had to be kept
    device: str
    workers: int = 1
    versions: dict[str, str] = {}
    finished_at: str = ""

    def row(self) -> dict[str, Any]:
        """The record as one flat row: base coordinates, state, losses and cost. ``lr`` and ``weight_decay`` are base values."""
        spec = self.spec
        return {
            "run_id": self.run_id,
            "optimizer": spec.optimizer.recipe,
            "parametrization": spec.parametrization,
            "width": spec.model.width,
            "depth": spec.model.depth,
            "base_width": spec.base.width,
            "parameters": spec.model.parameters(),
            "horizon_tokens": spec.tokens,
            "batch_tokens": spec.batch_tokens,
            "lr": spec.optimizer.lr,
            "weight_decay": spec.optimizer.weight_decay,
            "embedding_lr_ratio": spec.optimizer.embedding_lr_ratio,
            "init_seed": spec.init_seed,
            "data_seed": spec.data_seed,
            "state": self.state,
            "reason": self.reason,
            "steps": self.steps,
            "tokens": self.tokens,
            "loss": self.loss,
            "bits_per_byte": self.bits_per_byte,
            "flops": self.flops,
            "flops_optimizer": self.flops_optimizer,
            "training_wall_seconds": self.training_wall_seconds,
            "optimizer_wall_seconds": self.optimizer_wall_seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "optimizer_state_bytes": self.optimizer_state_bytes,
            "factor_failures": self.factor_failures,
            "device": self.device,
            "corpus": spec.data.corpus,
            "corpus_sha256": spec.data.sha256,
            "finished_at": self.finished_at,
        }


# Column types of `RunRecord.row`: a frame without rows has them too.
ROW_SCHEMA: dict[str, Any] = {
    "run_id": pl.String,
    "optimizer": pl.String,
    "parametrization": pl.String,
    "width": pl.Int64,
    "depth": pl.Int64,
    "base_width": pl.Int64,
    "parameters": pl.Int64,
    "horizon_tokens": pl.Int64,
    "batch_tokens": pl.Int64,
    "lr": pl.Float64,
    "weight_decay": pl.Float64,
    "embedding_lr_ratio": pl.Float64,
    "init_seed": pl.Int64,
    "data_seed": pl.Int64,
    "state": pl.String,
    "reason": pl.String,
    "steps": pl.Int64,
    "tokens": pl.Int64,
    "loss": pl.Float64,
    "bits_per_byte": pl.Float64,
    "flops": pl.Float64,
    "flops_optimizer": pl.Float64,
    "training_wall_seconds": pl.Float64,
    "optimizer_wall_seconds": pl.Float64,
    "peak_memory_bytes": pl.Int64,
    "optimizer_state_bytes": pl.Int64,
    "factor_failures": pl.Int64,
    "device": pl.String,
    "corpus": pl.String,
    "corpus_sha256": pl.String,
    "finished_at": pl.String,
}
