"""The schedules of a run: s(t) of learning rate and weight decay, q(t) of weight decay besides."""

from __future__ import annotations

from hptransfer.modules import schedule
from hptransfer.trainers.ours.spec import RunSpec


def schedule_factor(spec: RunSpec, step: int) -> float:
    """s(t) in [0, 1] at ``step`` (from 0): warm-up over a fixed number of tokens, then the shape over what remains."""
    return schedule.schedule_factor(
        step,
        steps=spec.steps,
        warmup_steps=round(spec.schedule.warmup_tokens / spec.batch_tokens),
        shape=spec.schedule.shape,
        cooldown_fraction=spec.schedule.cooldown_fraction,
    )


def decay_factor(spec: RunSpec, step: int) -> float:
    """q(t) in [0, 1] at ``step`` (from 0), over the whole run."""
    return schedule.decay_factor(step, steps=spec.steps, shape=spec.schedule.weight_decay)
