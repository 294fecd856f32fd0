"""The factors of a schedule: s(t) on learning rate and weight decay, q(t) on weight decay besides."""

from __future__ import annotations

import math


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
