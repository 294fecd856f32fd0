"""AdaMuon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hptransfer.optimizers.orthogonalized import Orthogonalized
from hptransfer.optimizers.recipe import Epsilons, Recipe, Setting, Sides
from hptransfer.optimizers.rules.width import AdaMuonRule, MuonRule, Rule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class AdaMuonOptions(Orthogonalized):
    """Adam's second moment of the orthogonalised update (Si et al., arXiv 2507.11005, without its RMS alignment)."""

    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0, description="beside the root of the second moment")
    ns_eps: float = Field(1e-8, gt=0, description="in M / (|M|_F + eps)")

    def rule(self, sides: Sides) -> Rule:
        return AdaMuonRule()

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"eps": (self.eps, AdaMuonRule()), "ns_eps": (self.ns_eps, MuonRule())}

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine.transforms import Adam

        return *self.polar(setting, setting.epsilons["ns_eps"]), Adam(0.0, self.beta2, setting.epsilons["eps"])


ADAMUON = Recipe(name="adamuon", options=AdaMuonOptions, colour="#DDB065", rank=3)
