"""A recipe from outside: momentum whose RMS is brought to 1, for every matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hptransfer.optimizers import RECIPES, Recipe
from hptransfer.optimizers.recipe import Options, Setting, Sides
from hptransfer.optimizers.rules.width import AdamRule, Rule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class ToyOptions(Options):
    """An update of RMS 1 moves an entry as Adam's does, so it scales as Adam's."""

    momentum: float = Field(0.9, ge=0, lt=1)

    def rule(self, sides: Sides) -> Rule:
        return AdamRule()

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine.transforms import Momentum, NormalizeRms

        return Momentum(self.momentum), NormalizeRms(name="toy")


RECIPES.add(
    Recipe(
        name="toy",
        options=ToyOptions,
        everywhere=True,
        colour="#808000",
        space={
            "lr": {"low": 0.002, "high": 0.2, "source": "around the 0.02 of the conformance suite"},
            "weight_decay": {"low": 1e-4, "high": 0.02, "source": "adamw's"},
            "embedding_lr_ratio": {"values": [1, 4], "source": "adamw's, lower"},
            "options": {"momentum": {"value": 0.9, "source": "signum's"}},
        },
    )
)
