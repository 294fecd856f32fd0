"""SGD with momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hptransfer.optimizers.recipe import Options, Recipe, Setting, Sides, growing
from hptransfer.optimizers.rules.width import Rule, SgdRule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class SgdOptions(Options):
    """SGD with heavy-ball momentum, as in torch: buffer <- momentum buffer + gradient."""

    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False

    def rule(self, sides: Sides) -> Rule:
        return SgdRule()

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine.transforms import HeavyBall

        return (HeavyBall(self.momentum, self.nesterov),)

    def uncovered(self) -> tuple[str, ...]:
        return growing(self)


SGD = Recipe(name="sgd", options=SgdOptions, everywhere=True, colour="#655366", rank=3)
