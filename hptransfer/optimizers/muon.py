"""Muon, for hidden matrices or for all."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hptransfer.optimizers.orthogonalized import Orthogonalized
from hptransfer.optimizers.recipe import Epsilons, Recipe, Setting, Sides
from hptransfer.optimizers.rules.conventions import LrConvention, update_factor
from hptransfer.optimizers.rules.width import MuonRule, Rule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class MuonOptions(Orthogonalized):
    """Nesterov momentum, then Newton-Schulz (Jordan et al. 2024). ``lr_convention`` says in which units ``lr`` is."""

    eps: float = Field(1e-8, gt=0, description="in M / (|M|_F + eps)")
    lr_convention: LrConvention = Field("none", description="of hidden matrices: an embedding of muon-all has none elsewhere")

    def rule(self, sides: Sides) -> Rule:
        return MuonRule()

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"eps": (self.eps, MuonRule())}

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        return self.polar(setting, setting.epsilons["eps"])

    def unit(self, d_out: int, d_in: int) -> float:
        return update_factor(self.lr_convention, d_out, d_in)

    def refusal(self, parametrization: str) -> str | None:
        if parametrization != "spectral" or self.lr_convention == "none":
            return None
        return f"spectral sets the update's norm: lr_convention {self.lr_convention} would scale it again"

    def unscaled(self, epsilons: Collection[str]) -> dict[str, Any]:
        return super().unscaled({*epsilons, "lr_convention"})


MUON = Recipe(name="muon", options=MuonOptions, colour="#D55E00")
MUON_ALL = Recipe(name="muon-all", options=MuonOptions, everywhere=True, colour="#7E3B00", rank=1)
