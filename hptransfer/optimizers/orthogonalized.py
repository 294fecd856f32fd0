"""What Muon and its descendants share: momentum, then about its polar factor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from hptransfer.optimizers.recipe import Setting, WithAdam

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform

OrthogonalMap = Literal["jordan", "polar_express", "dion", "modula", "contractive"]


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
