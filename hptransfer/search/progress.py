"""Progress as one line per finished trial: it reads the same on a terminal and in a log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from hptransfer.cli import number
from hptransfer.runs import Job, Record

_LOG = logging.getLogger(__name__)


def cost(job: Job) -> float:
    """FLOPs of a run; 1 where its trainer does not know them, so that all count alike."""
    return 1.0 if job.flops is None else job.flops


class Progress:
    """``planned`` runs are expected; the time left is their `cost` at the speed seen so far. ``arm`` and ``label``: whose run it
    is, and what is said of it at the end. ``place``: where it is, by default its width."""

    def __init__(
        self,
        planned: int,
        planned_cost: float,
        arm: Callable[[Record], str],
        label: Callable[[Record], str],
        place: Callable[[Record], str] = lambda record: f"width {record.point['width']:<4}",
    ) -> None:
        self._planned, self._cost, self._arm, self._label, self._place = planned, planned_cost, arm, label, place
        self._began = time.monotonic()
        self._done, self._done_cost = 0, 0.0

    def finished(self, record: Record) -> None:
        """Say that a run has finished."""
        self._done += 1
        self._done_cost += cost(record.job)
        elapsed = time.monotonic() - self._began
        left = elapsed * max(0.0, self._cost - self._done_cost) / self._done_cost
        outcome = record.state if record.loss is None else f"loss {record.loss:.4f}"
        row, names = record.row(), {"lr": "lr", "wd": "weight_decay", "ratio": "embedding_lr_ratio"}
        tuned = " ".join(f"{name} {number(row[key]):<8}" for name, key in names.items() if row[key] is not None)
        _LOG.info(
            f"{self._done:>3}/{self._planned}  {self._arm(record):<8} {row['parametrization']} "
            f"{self._place(record)} {tuned} {outcome:<14} {self._label(record)}  {_clock(left)} left"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{rest:02d}"
