"""SOAP, for hidden matrices or for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hptransfer.optimizers.preconditioned import Preconditioned
from hptransfer.optimizers.recipe import Epsilons, Recipe, Role, Setting, Sides
from hptransfer.optimizers.rules.width import Rule, SoapRule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class SoapOptions(Preconditioned):
    """SOAP (Vyas et al., arXiv 2409.11321), blocked."""

    eps: float = Field(1e-8, gt=0)
    one_sided: bool = Field(False, description="rotate the shorter axis only (the output axis of a square matrix)")
    factorised: bool = Field(False, description="second moment of rank 1 in the eigenbasis, as Adafactor's")
    skip_first_step: bool = Field(False, description="the published code only builds its basis on the first call")

    def sides(self, role: Role, d_out: int, d_in: int) -> Sides:
        left, right = super().sides(role, d_out, d_in)
        if self.one_sided and left and right:
            return Sides(d_out <= d_in, d_out > d_in)
        return Sides(left, right)

    def rule(self, sides: Sides) -> Rule:
        return SoapRule(*sides)

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"eps": (self.eps, SoapRule(*sides))}

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine import soap

        rotated = soap.Soap(
            self.beta1,
            self.beta2,
            setting.epsilons["eps"],
            self.precondition_frequency,
            self.blocks(setting),
            self.factorised,
            self.skip_first_step,
        )
        return (rotated,)

    def uncovered(self) -> tuple[str, ...]:
        return ("a factorised second moment: the rule of the full one is assumed",) if self.factorised else ()


SOAP = Recipe(name="soap", options=SoapOptions, colour="#CC79A7")
SOAP_ALL = Recipe(name="soap-all", options=SoapOptions, everywhere=True, colour="#7B2B80", rank=1)
