"""The recipes: their options with base values, and the scaling rule that serves each role. No torch.

What the options do to a tensor lives in ``optim``; what they do to a learning rate lives here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from hptransfer.errors import unknown
from hptransfer.rules.width import Adam, Graft, Muon, Rule, Shampoo, Soap, Vector

Role = Literal["embedding", "hidden", "readout", "vector"]
ROLES: tuple[Role, ...] = get_args(Role)


class AdamOptions(BaseModel):
    """Adam's moments and epsilon. ``eps`` is added outside the square root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)


class MuonOptions(BaseModel):
    """Nesterov momentum, then ``ns_steps`` quintic Newton-Schulz steps (Jordan et al. 2024)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    momentum: float = Field(0.95, ge=0, lt=1)
    nesterov: bool = True
    ns_steps: int = Field(5, ge=1, lt=100)
    eps: float = Field(1e-8, gt=0)
    adam: AdamOptions = AdamOptions()


class ShampooOptions(BaseModel):
    """Shampoo^2: exponents 1/2 and 1/2, blocked, with Adam's norm per matrix (the paper's choice for its large runs)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta1: float = Field(0.95, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    exponent: float = Field(0.5, gt=0, le=1, description="of each Gram factor: e_L and e_R of the rules, whose e is their sum")
    eps: float = Field(1e-8, gt=0, description="of the Adam graft")
    matrix_eps: float = Field(1e-5, gt=0, description="relative to the factor's largest eigenvalue")
    graft_eps: float = Field(1e-12, gt=0, description="in |Adam| / (|Shampoo| + eps)")
    precondition_frequency: int = Field(10, ge=1, description="steps between two refreshes of the roots")
    block_size: int | None = Field(None, ge=0, description="None: the base width; 0: unblocked")
    adam: AdamOptions = AdamOptions()


class SoapOptions(BaseModel):
    """SOAP (arXiv 2409.11321), two-sided, blocked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta1: float = Field(0.95, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    precondition_frequency: int = Field(10, ge=1)
    block_size: int | None = Field(None, ge=0, description="None: the base width; 0: unblocked")
    skip_first_step: bool = Field(False, description="the published code only builds its basis on the first call")
    adam: AdamOptions = AdamOptions()


RecipeOptions = AdamOptions | MuonOptions | ShampooOptions | SoapOptions


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One optimizer as a user names it."""

    name: str
    options: type[RecipeOptions]
    hidden: Callable[[RecipeOptions], Rule]

    def rule(self, role: Role, options: RecipeOptions) -> Rule:
        """The scaling rule of a role. Embedding and readout are Adam's in every recipe here."""
        match role:
            case "hidden":
                return self.hidden(options)
            case "vector":
                return Vector()
            case _:
                return Adam()


def _shampoo_rule(options: RecipeOptions) -> Rule:
    assert isinstance(options, ShampooOptions)
    return Graft(Adam(), Shampoo(options.exponent, options.exponent))


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="adamw", options=AdamOptions, hidden=lambda options: Adam()),
        Recipe(name="muon", options=MuonOptions, hidden=lambda options: Muon()),
        Recipe(name="shampoo", options=ShampooOptions, hidden=_shampoo_rule),
        Recipe(name="soap", options=SoapOptions, hidden=lambda options: Soap()),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError with the nearest known name."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
