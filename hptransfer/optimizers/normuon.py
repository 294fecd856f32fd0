"""NorMuon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hptransfer.optimizers.adamuon import AdaMuonOptions
from hptransfer.optimizers.recipe import Recipe, Setting, Sides
from hptransfer.optimizers.rules.width import AdaMuonRule, MuonRule, Rule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.transforms import Transform


class NorMuonOptions(AdaMuonOptions):
    """A second moment per row of the orthogonalised update (Li et al., arXiv 2510.05491), then RMS 1 over the matrix.

    With ``preserve_norm`` the Frobenius norm stays the polar factor's, as in the official code; the rule is then Muon's.
    """

    preserve_norm: bool = False

    def rule(self, sides: Sides) -> Rule:
        return MuonRule() if self.preserve_norm else AdaMuonRule()

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine.transforms import NormalizeRows

        rows = NormalizeRows(self.beta2, setting.epsilons["eps"], self.preserve_norm)
        return *self.polar(setting, setting.epsilons["ns_eps"]), rows

    def uncovered(self) -> tuple[str, ...]:
        assumed = "Muon's rule" if self.preserve_norm else "the rule of AdaMuon's, per entry,"
        return (*super().uncovered(), f"a second moment per row: {assumed} is assumed")


NORMUON = Recipe(name="normuon", options=NorMuonOptions, colour="#FF9400", rank=2)
