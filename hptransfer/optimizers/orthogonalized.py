"""What Muon and its descendants share: momentum, then about its polar factor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from hptransfer.optimizers.recipe import Setting, WithAdam

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform

OrthogonalMap = Literal["jordan", "polar_express", "dion", "modula", "contractive"]


# (a, b, c) of s <- a s + b s^3 + c s^5, one per iteration; iterations beyond the last repeat it.
MAPS: dict[OrthogonalMap, tuple[tuple[float, float, float], ...]] = {
    # Jordan et al. 2024: steep at 0, singular values end in [0.68, 1.13].
    "jordan": ((3.4445, -4.7750, 2.0315),) * 5,
    # Amsel et al., arXiv 2505.16932, as nanochat generates it for five iterations with a safety of 0.02.
    "polar_express": (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
    # The schedule of the dion repository: singular values from 0.003 on end within 7.5 % of 1.
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    # Bernstein and Newhouse's modula.
    "modula": ((3.0, -16 / 5, 6 / 5),) * 5,
    # f(1) = 1 and f'(1) = 0: converges to the polar factor itself, at the price of more iterations.
    "contractive": ((2.0, -1.5, 0.5),) * 12,
}


def iterations(map: OrthogonalMap, steps: int | None = None) -> list[tuple[float, float, float]]:
    """(a, b, c) of each iteration; ``steps`` None: as many as the map has."""
    schedule = MAPS[map]
    return [schedule[min(iteration, len(schedule) - 1)] for iteration in range(steps or len(schedule))]


class Orthogonalized(WithAdam):
    """Momentum and a map to about its polar factor."""

    momentum: float = Field(0.95, ge=0, lt=1)
    nesterov: bool = True
    momentum_start: float = Field(0.85, ge=0, lt=1, description="where a warm-up of the momentum begins")
    momentum_warmup_tokens: int = Field(0, ge=0, description="linear from momentum_start to momentum; 0: none")
    orthogonal_map: OrthogonalMap = "jordan"
    ns_steps: int | None = Field(None, ge=1, lt=100, description="iterations of the map; None: as published")
    bfloat16: bool = Field(False, description="iterate the map in bfloat16, as published codes do")

    @model_validator(mode="after")
    def _momentum_rises(self) -> Self:
        if self.momentum_warmup_tokens and self.momentum_start > self.momentum:
            raise ValueError(f"momentum_start {self.momentum_start} is above momentum {self.momentum}")
        return self

    def polar(self, setting: Setting, eps: float) -> tuple[Transform, ...]:
        """The two transforms; ``eps`` is that in M / (|M|_F + eps)."""
        from hptransfer.optimizers.engine.orthogonal import Orthogonalize
        from hptransfer.optimizers.engine.transforms import Momentum

        warmup = math.ceil(self.momentum_warmup_tokens / setting.batch_tokens)
        momentum = Momentum(self.momentum, self.nesterov, start=self.momentum_start, warmup_steps=warmup)
        return momentum, Orthogonalize(self.orthogonal_map, eps, self.ns_steps, self.bfloat16)
