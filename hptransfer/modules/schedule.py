"""The factors of a schedule: s(t) on learning rate and weight decay, q(t) on weight decay besides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def schedule_factor(step: int, *, steps: int, warmup_steps: int, shape: str, cooldown_fraction: float) -> float:
    """s(t) in [0, 1] at ``step`` (from 0): linear warm-up, then the shape over what remains; a trapezoid is flat until the last
    ``cooldown_fraction`` of that."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    remaining = (steps - step) / (steps - warmup_steps)
    if shape == "trapezoid":
        return min(1.0, remaining / cooldown_fraction)
    return shaped(shape, remaining)


def decay_factor(step: int, *, steps: int, shape: str) -> float:
    """q(t) in [0, 1] at ``step`` (from 0), over the whole run."""
    return shaped(shape, 1 - step / steps)


def shaped(shape: str, remaining: float) -> float:
    """The factor with a share of ``remaining`` to go: constant, linear or cosine."""
    if shape == "cosine":
        return 0.5 - 0.5 * math.cos(math.pi * remaining)
    return remaining if shape == "linear" else 1.0


def factors(step: int, schedule: Mapping[str, Any]) -> tuple[float, float]:
    """s(t) and q(t) at ``step`` (from 0), from the arguments of `Schedule`; after the last step, those at the end."""
    step = min(step, schedule["steps"])
    shape = {name: value for name, value in schedule.items() if name != "weight_decay"}
    return schedule_factor(step, **shape), decay_factor(step, steps=schedule["steps"], shape=schedule["weight_decay"])


class Schedule(LambdaLR):
    """The run's schedule: s(t) on every learning rate, which takes weight decay along, and q(t) on weight decay besides.

    Step it after each step of the optimizer. ``schedule``: ``steps``, ``warmup_steps``, ``shape``, ``cooldown_fraction`` and
    ``weight_decay``, the shape of q.
    """

    def __init__(self, optimizer: Optimizer, schedule: dict[str, Any]) -> None:
        self._schedule = schedule
        self._decays = [group["weight_decay"] for group in optimizer.param_groups]
        super().__init__(optimizer, lambda step: factors(step, schedule)[0])

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates and weight decays of the next step of the optimizer."""
        super().step(epoch)
        _, factor = factors(self.last_epoch, self._schedule)
        for group, decay in zip(self.optimizer.param_groups, self._decays, strict=True):
            group["weight_decay"] = factor * decay
