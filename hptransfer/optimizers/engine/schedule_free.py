"""Schedule-free averaging around any chain (Defazio et al., arXiv 2405.15682)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScheduleFreeAveraging:
    """The parameters are y = (1 - b) z + b x, b the interpolation; z takes the steps and x is its weighted average.

    The weight of a step is the square of the largest schedule factor so far, so that a warm-up counts less (schedulefree's
    weight_lr_power 2; its r is 0). ``decay_at`` says whose value decays.
    """

    interpolation: float
    decay_at: Literal["y", "z"]

    def step(
        self, y: list[Tensor], z: list[Tensor], take: Callable[[list[Tensor], float], None], *, decay: float, share: float
    ) -> None:
        """z <- z - lr U - decay (y or z); x <- (1 - share) x + share z; y between them. In place.

        ``take(z, decay)`` is the step that z takes, with its own decay. x is not kept: y takes its part of z's step.
        """
        moved = [fast.clone() for fast in z]
        decay_y, decay_z = (decay, 0.0) if self.decay_at == "y" else (0.0, decay)
        if decay_y:
            torch._foreach_add_(z, y, alpha=-decay_y)
        torch._foreach_lerp_(y, moved, share)
        take(z, decay_z)
        torch._foreach_sub_(moved, z)
        torch._foreach_add_(y, moved, alpha=self.interpolation * (1 - share) - 1)

    def average(self, y: list[Tensor], z: list[Tensor]) -> list[Tensor]:
        """x."""
        return list(torch._foreach_lerp(y, z, 1 - 1 / self.interpolation))
