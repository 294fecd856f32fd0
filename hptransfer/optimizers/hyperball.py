"""Hyperball around other optimizers: AdamH, MuonH and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hptransfer.optimizers.adamw import AdamOptions
from hptransfer.optimizers.muon import MuonOptions
from hptransfer.optimizers.recipe import Options, Recipe, Setting, Sides, growing
from hptransfer.optimizers.rules.width import HyperballRule, Rule
from hptransfer.optimizers.shampoo_quarter import ShampooQuarterOptions
from hptransfer.optimizers.soap import SoapOptions

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class Hyperball(Options):
    """Goes before the options of any optimizer, whose directions it takes (Wen et al., arXiv 2606.16899).

    Each hidden matrix keeps its initial Frobenius norm R and moves by lr R U/|U|_F before it is brought back to R; ``lr`` is this
    relative size. Embedding and readout are Adam's, as in modded-nanogpt's MuonH; levanter's has the readout on a sphere too.
    """

    keeps_norms: ClassVar[bool] = True
    full_rank: ClassVar[bool] = False
    """All singular values of a direction are about the same."""

    def rule(self, sides: Sides) -> Rule:
        return HyperballRule(super().rule(sides), self.full_rank)

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine import hyperball

        return *super().chain(setting), hyperball.Hyperball()

    def refusal(self, parametrization: str) -> str | None:
        if parametrization == "spectral":
            return "spectral sets the update's norm, which Hyperball sets as well: use mup or sp"
        return super().refusal(parametrization)

    def uncovered(self) -> tuple[str, ...]:
        rank = "full" if self.full_rank else "constant"
        fixed = f"fixed norms: the stable rank of an update is taken for {rank} at all widths"
        # Of an update whose norm is discarded, a clipped gradient makes the same.
        return *(said for said in super().uncovered() if said not in growing(self)), fixed


class AdamHOptions(Hyperball, AdamOptions):
    """AdamH (arXiv 2606.16899; levanter, modded-nanogpt)."""


class MuonHOptions(Hyperball, MuonOptions):
    """MuonH (arXiv 2606.16899; levanter, modded-nanogpt, Emerging-Optimizers)."""

    full_rank: ClassVar[bool] = True

    lr_convention: Literal["none"] = Field("none", description="the learning rate is a relative size")


class ShampooHOptions(Hyperball, ShampooQuarterOptions):
    """Shampoo^2 on spheres. It has no graft, whose norm would not count."""

    precondition_frequency: int = Field(10, ge=1, description="steps between two refreshes of the roots")
    exponent: float = Field(0.5, gt=0, le=1, description="of each Gram factor")


class SoapHOptions(Hyperball, SoapOptions):
    """SOAP on spheres."""


ADAMH = Recipe(name="adamh", options=AdamHOptions, colour="#1496FA")
MUONH = Recipe(name="muonh", options=MuonHOptions, colour="#785AFA", rank=1)
SHAMPOOH = Recipe(name="shampooh", options=ShampooHOptions, colour="#C8AADC", rank=2)
SOAPH = Recipe(name="soaph", options=SoapHOptions, colour="#DC14BE", rank=3)
