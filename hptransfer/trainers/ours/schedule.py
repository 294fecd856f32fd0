"""The schedules: s(t) of learning rate and weight decay, q(t) of weight decay besides."""

from __future__ import annotations

import math
from typing import Literal

from hptransfer.trainers.ours.spec import RunSpec


def schedule_factor(spec: RunSpec, step: int) -> float:
    """s(t) in [0, 1] at ``step`` (from 0): warm-up over a fixed number of tokens, then the shape over what remains."""
    warmup = round(spec.schedule.warmup_tokens / spec.batch_tokens)
    if step < warmup:
        return (step + 1) / warmup
    remaining = (spec.steps - step) / (spec.steps - warmup)
    if spec.schedule.shape == "trapezoid":
        return min(1.0, remaining / spec.schedule.cooldown_fraction)
    return _shaped(spec.schedule.shape, remaining)


def decay_factor(spec: RunSpec, step: int) -> float:
    """q(t) in [0, 1] at ``step`` (from 0), over the whole run."""
    return _shaped(spec.schedule.weight_decay, 1 - step / spec.steps)


def _shaped(shape: Literal["constant", "linear", "cosine"], remaining: float) -> float:
    """The factor with a share of ``remaining`` to go."""
    match shape:
        case "constant":
            return 1.0
        case "linear":
            return remaining
        case "cosine":
            return 0.5 - 0.5 * math.cos(math.pi * remaining)
