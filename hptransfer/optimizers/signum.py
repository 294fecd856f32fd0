"""Signum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hptransfer.optimizers.recipe import Options, Recipe, Setting, Sides
from hptransfer.optimizers.rules.width import AdamRule, Rule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class SignumOptions(Options):
    """The sign of a momentum (Bernstein et al. 2018): Adam without a second moment."""

    momentum: float = Field(0.9, ge=0, lt=1)

    def rule(self, sides: Sides) -> Rule:
        return AdamRule()

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine.transforms import Momentum, Sign

        return Momentum(self.momentum), Sign()


SIGNUM = Recipe(name="signum", options=SignumOptions, everywhere=True, colour="#4A34BE", rank=2)
