"""AdamW."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hptransfer.optimizers.recipe import Epsilons, Moments, Options, Recipe, Setting, Sides
from hptransfer.optimizers.rules.width import AdamRule, Rule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class AdamOptions(Options, Moments):
    """AdamW (Loshchilov and Hutter 2019), with independent weight decay."""

    def rule(self, sides: Sides) -> Rule:
        return AdamRule()

    def epsilons(self, sides: Sides) -> Epsilons:
        return self.adam_epsilons()

    def beside(self) -> Moments:
        return self

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        return self.adam_chain(setting)


ADAMW = Recipe(name="adamw", options=AdamOptions, everywhere=True, colour="#0072B2")
