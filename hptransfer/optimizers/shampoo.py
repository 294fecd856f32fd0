"""Shampoo^2 with Adam's norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hptransfer.optimizers.recipe import Epsilons, Recipe, Setting, Sides
from hptransfer.optimizers.rules.width import AdamRule, GraftRule, Rule
from hptransfer.optimizers.shampoo_quarter import ShampooQuarterOptions

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class ShampooOptions(ShampooQuarterOptions):
    """Shampoo^2: exponents 1/2 and 1/2, blocked, with Adam's norm per matrix (the paper's choice for its large runs)."""

    precondition_frequency: int = Field(10, ge=1, description="steps between two refreshes of the roots")
    exponent: float = Field(0.5, gt=0, le=1, description="of each Gram factor: e_L and e_R of the rules, whose e is their sum")
    eps: float = Field(1e-8, gt=0, description="of the Adam graft")
    graft_eps: float = Field(1e-12, gt=0, description="in |Adam| / (|Shampoo| + eps)")
    graft_per_block: bool = Field(False, description="one norm per block, as in facebookresearch/optimizers, not per matrix")
    precondition_start: int = Field(1, ge=1, description="first preconditioned step; Adam's steps before it")

    def rule(self, sides: Sides) -> Rule:
        return GraftRule(AdamRule(), self.shampoo_rule(sides))

    def epsilons(self, sides: Sides) -> Epsilons:
        return super().epsilons(sides) | {"eps": (self.eps, AdamRule()), "graft_eps": (self.graft_eps, self.rule(sides))}

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine.shampoo import AdamGraft

        start, eps = self.precondition_start, setting.epsilons
        blocks = self.blocks(setting) if self.graft_per_block else None
        return *self.preconditioned(setting, start), AdamGraft(self.beta2, eps["eps"], eps["graft_eps"], start, blocks)

    def uncovered(self) -> tuple[str, ...]:
        return ("a graft per block: the epsilon is that of a graft per matrix",) if self.graft_per_block else ()


SHAMPOO = Recipe(name="shampoo", options=ShampooOptions, colour="#009E73")
