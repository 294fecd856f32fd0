"""Progress as one line per finished trial: it reads the same on a terminal and in a log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from hptransfer.cli import console, number
from hptransfer.runs import RunRecord


class Progress:
    """``planned`` runs are expected; the time left is their FLOPs at the speed seen so far."""

    def __init__(self, planned: int, planned_flops: float, label: Callable[[RunRecord], str]) -> None:
        self._planned, self._flops, self._label = planned, planned_flops, label
        self._began = time.monotonic()
        self._done, self._done_flops = 0, 0.0

    def finished(self, record: RunRecord) -> None:
        """Say that a run has finished."""
        self._done += 1
        self._done_flops += record.spec.flops
        elapsed = time.monotonic() - self._began
        left = elapsed * max(0.0, self._flops - self._done_flops) / self._done_flops
        outcome = record.state if record.loss is None else f"loss {record.loss:.4f}"
        spec = record.spec.optimizer
        console.print(
            f"{self._done:>3}/{self._planned}  {spec.recipe:<8} {record.spec.parametrization} width {record.spec.model.width:<4} "
            f"lr {number(spec.lr):<8} wd {number(spec.weight_decay):<8} ratio {number(spec.embedding_lr_ratio):<3} "
            f"{outcome:<14} {self._label(record)}  {_clock(left)} left"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02d}"
