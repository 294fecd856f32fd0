"""Where a run stands: what a resumed run needs besides weights and optimizer, and when a run has diverged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

from hptransfer.runs import CurvePoint

# A run has diverged when its mean loss over this many steps lies this many nats above the loss it started from.
DIVERGENCE_WINDOW = 10
DIVERGENCE_NATS = 0.5


@dataclass
class RunState:
    """``step``: steps done; seconds are without evaluation; ``recent``: the last training losses; ``bits_per_byte``: of the last
    evaluation; ``diverged``: why, or None.

    ``clipped``: steps whose gradient was clipped; ``clipping_seconds``: of the gradient norm and of scaling by it. Both are None
    where a checkpoint of before they were counted was read, as they would be of a part of the run."""

    step: int = 0
    seconds: float = 0.0
    optimizer_seconds: float = 0.0
    clipping_seconds: float | None = 0.0
    evaluation_seconds: float = 0.0
    clipped: int | None = 0
    start_loss: float = math.inf
    recent: list[float] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    bits_per_byte: float | None = None
    diverged: str | None = None

    def see(self, loss: float, gradient_norm: float, step: int) -> bool:
        """Take in the training loss and the global gradient norm of a step (from 0); False when the run has diverged by them."""
        if step == 0:
            self.start_loss = loss
        self.recent = [*self.recent, loss][-DIVERGENCE_WINDOW:]
        start = f"after a start at {self.start_loss:.3f}"
        if not math.isfinite(loss):
            self.diverged = f"loss {loss} at step {step}"
        elif len(self.recent) == DIVERGENCE_WINDOW and self.mean > self.start_loss + DIVERGENCE_NATS:
            self.diverged = f"mean loss {self.mean:.3f} over the {DIVERGENCE_WINDOW} steps to step {step}, {start}"
        elif not math.isfinite(gradient_norm):
            self.diverged = f"gradient norm {gradient_norm} at step {step}"
        return self.diverged is None

    def see_final(self, loss: float | None) -> None:
        """Take in the final validation loss, None where it is not finite."""
        if loss is None or loss > self.start_loss + DIVERGENCE_NATS:
            self.diverged = f"validation loss {loss} after a start at {self.start_loss:.3f}"

    @property
    def mean(self) -> float:
        """Mean training loss over the last steps."""
        return sum(self.recent) / len(self.recent)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return vars(self) | {"curve": [point.model_dump() for point in self.curve]}

    @classmethod
    def from_dict(cls, data: dict[str, Any], steps: int) -> Self:
        """That of a run of ``steps``, of `to_dict`. Raises ValueError or TypeError where it is none."""
        curve = [CurvePoint.model_validate(point) for point in data["curve"]]
        state = cls(**{"clipped": None, "clipping_seconds": None} | data | {"curve": curve})
        if not (type(state.step) is int and 0 <= state.step < steps and len(state.recent) <= min(state.step, DIVERGENCE_WINDOW)):
            raise ValueError(f"step {state.step} of {steps}, after {len(state.recent)} losses")
        spent = (state.seconds, state.optimizer_seconds, state.evaluation_seconds, state.start_loss, *state.recent)
        if not all(isinstance(value, float | int) for value in spent):
            raise TypeError("seconds and losses are no numbers")
        return state
