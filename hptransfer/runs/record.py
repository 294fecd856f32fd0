"""The record of one finished run: the job, and what came of it."""

from __future__ import annotations

import json
from operator import attrgetter
from typing import Any, Literal

import polars as pl
from pydantic.dataclasses import dataclass

from hptransfer.base.frozen import STRICT, Frozen
from hptransfer.base.stored import shown
from hptransfer.runs.lazy import LazyTuple
from hptransfer.runs.point import Job, Point, horizon_words

SCHEMA_VERSION = 3
UNSEALED = 2  # the same without the digest of its text; read as it is

State = Literal["complete", "diverged", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class CurvePoint:
    """One place on the training curve. Losses in nats per token; ``schedule`` is the LR factor s(t) in [0, 1]. What the trainer
    does not tell is None."""

    step: int
    tokens: int | None = None
    schedule: float | None = None
    train: float | None = None
    val: float | None = None


class Outcome(Frozen):
    """What came of a run, and what it cost. ``loss`` (nats per token) is None unless the state is ``complete``; any cost is None
    where it is unknown. ``steps`` and ``tokens``: as far as it went. ``metrics``: further numbers that the trainer reports.
    ``started_at`` and ``finished_at``: UTC, ISO 8601; "" where nobody said."""

    state: State
    reason: str | None = None
    loss: float | None = None
    bits_per_byte: float | None = None
    metrics: dict[str, float] = {}
    curve: LazyTuple[CurvePoint] = LazyTuple()
    steps: int | None = None
    tokens: int | None = None
    flops: float | None = None
    flops_optimizer: float | None = None
    training_wall_seconds: float | None = None
    optimizer_wall_seconds: float | None = None
    evaluation_wall_seconds: float | None = None
    peak_memory_bytes: int | None = None
    optimizer_state_bytes: int | None = None
    device: str = ""
    workers: int = 1
    started_at: str = ""
    finished_at: str = ""


class Record(Frozen):
    """A finished run: its `Job` with the `Outcome`; ``versions`` are those of the packages that trained it.

    ``record.point`` (scales, hyperparameters, settings, seeds), ``record.state`` and ``record.loss`` (nats per token; None unless
    complete) are short for what lies inside; ``record.row()`` is one flat row.
    """

    schema_version: int = SCHEMA_VERSION
    job: Job
    outcome: Outcome
    versions: dict[str, str] = {}

    @property
    def run_id(self) -> str:
        return self.job.run_id

    @property
    def point(self) -> Point:
        return self.job.point

    @property
    def state(self) -> State:
        return self.outcome.state

    @property
    def loss(self) -> float | None:
        return self.outcome.loss

    def row(self) -> dict[str, Any]:
        """The record as one flat row of `ROW_SCHEMA`: base coordinates, state, losses and cost. What a run does not have is
        null."""
        point, outcome = self.point, self.outcome
        settings, data, base = point.settings, point.settings.get("data") or {}, point.settings.get("base") or {}
        named = {
            "run_id": self.run_id,
            "optimizer": settings.get("optimizer"),
            "parametrization": settings.get("parametrization"),
            "width": point.scales.get("width"),
            "depth": point.scales.get("depth"),
            "base_width": base.get("width"),
            "parameters": self.job.parameters,
            "horizon_tokens": point.scales.get("tokens"),
            "batch_tokens": point.scales.get("batch_tokens"),
            "init_seed": point.init_seed,
            "data_seed": point.data_seed,
            "corpus": data.get("corpus"),
            "corpus_sha256": data.get("sha256"),
        }
        tuned = {name: point.hyperparameters.get(name) for name in ("lr", "weight_decay", "embedding_lr_ratio")}
        return named | tuned | {name: getattr(outcome, name) for name in OUTCOME_COLUMNS}

    def require_whole(self) -> None:
        """Raises ValueError where `LazyTuple` cannot be parsed, or `row` is none of `ROW_SCHEMA`: settings are whatever a trainer
        wrote."""
        len(self.job.kinds), len(self.outcome.curve)
        try:
            row = self.row()
        except (AttributeError, TypeError) as error:
            raise ValueError(f"its settings are none: {error}") from None
        for name, value in row.items():
            if value is not None and not isinstance(value, PLAIN[ROW_SCHEMA[name]]):
                raise ValueError(f"{name} {shown(value)} is of another type")

    def described(self) -> dict[str, Any]:
        """`row` with what else tells runs apart: corpus, schedule and horizon in words, further scales and hyperparameters."""
        point, row = self.point, self.row()
        further = {name: value for name, value in (point.scales | point.hyperparameters).items() if name not in row}
        return (
            row
            | further
            | {
                "corpus": self.job.constants.get("corpus"),
                "schedule": json.dumps(point.settings.get("schedule")),
                "horizon": horizon_words(point) if "horizon" in point.settings else None,
            }
        )


when_finished = attrgetter("outcome.finished_at", "job.run_id")  # sorts records

# Columns of `Record.row` that an outcome has under the same name, and the types of all: a frame without rows has them too.
OUTCOME_COLUMNS: dict[str, Any] = {
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
    "device": pl.String,
    "finished_at": pl.String,
}
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
    **OUTCOME_COLUMNS,
    "corpus": pl.String,
    "corpus_sha256": pl.String,
}
PLAIN: dict[Any, Any] = {pl.String: str, pl.Int64: int, pl.Float64: float | int}  # values of each type
