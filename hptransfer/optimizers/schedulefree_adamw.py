"""Schedule-free AdamW."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hptransfer.optimizers.recipe import Epsilons, Recipe, Setting, Sides
from hptransfer.optimizers.rules.width import AdamRule, Rule
from hptransfer.optimizers.schedule_free import ScheduleFree

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class ScheduleFreeAdamOptions(ScheduleFree):
    """Schedule-free AdamW: Adam's second moment inside; the interpolation stands for the first."""

    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)

    def rule(self, sides: Sides) -> Rule:
        return AdamRule()

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"eps": (self.eps, AdamRule())}

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine import transforms

        return (transforms.Adam(0.0, self.beta2, setting.epsilons["eps"]),)


SCHEDULEFREE_ADAMW = Recipe(name="schedulefree-adamw", options=ScheduleFreeAdamOptions, everywhere=True, colour="#95A7F4", rank=1)
