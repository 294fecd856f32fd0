"""Shampoo with exponent 1/4, for hidden matrices or for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hptransfer.optimizers.preconditioned import Preconditioned
from hptransfer.optimizers.recipe import Epsilons, Recipe, Setting, Sides, growing
from hptransfer.optimizers.rules.width import Rule, ShampooRule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class ShampooQuarterOptions(Preconditioned):
    """Shampoo with exponent 1/4 on each Gram factor (Gupta et al. 2018), no graft.

    Nothing but the roots sets the update's norm, so they are fresh at every step: while gradients still grow from zero outputs,
    roots ten steps old blow it up.
    """

    precondition_frequency: int = Field(1, ge=1, description="steps between two refreshes of the roots")
    exponent: float = Field(0.25, gt=0, le=1, description="of each Gram factor: e_L and e_R of the rules, whose e is their sum")
    matrix_eps: float = Field(1e-5, gt=0, description="added to the eigenvalues of a factor")
    relative_eps: bool = Field(True, description="matrix_eps is relative to a factor's largest eigenvalue")

    def shampoo_rule(self, sides: Sides) -> ShampooRule:
        return ShampooRule(self.exponent * sides.left, self.exponent * sides.right, self.relative_eps)

    def rule(self, sides: Sides) -> Rule:
        return self.shampoo_rule(sides)

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"matrix_eps": (self.matrix_eps, self.shampoo_rule(sides))}

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        return self.preconditioned(setting)

    def preconditioned(self, setting: Setting, start: int = 1) -> tuple[Transform, ...]:
        """Momentum between the roots of the factors, from step ``start`` on."""
        from hptransfer.optimizers.engine import shampoo
        from hptransfer.optimizers.engine.transforms import Momentum

        roots = shampoo.Shampoo(
            self.beta2,
            self.exponent,
            setting.epsilons["matrix_eps"],
            self.precondition_frequency,
            self.blocks(setting),
            self.relative_eps,
            start,
        )
        return Momentum(self.beta1, bias_corrected=True), roots

    def uncovered(self) -> tuple[str, ...]:
        return growing(self)


SHAMPOO_QUARTER = Recipe(name="shampoo-quarter", options=ShampooQuarterOptions, colour="#4DCD97", rank=1)
SHAMPOO_QUARTER_ALL = Recipe(name="shampoo-quarter-all", options=ShampooQuarterOptions, everywhere=True, colour="#3B5A3A", rank=2)
