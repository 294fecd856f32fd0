"""The recipes: their options with base values, and the scaling rule that serves each role. No torch.

What the options do to a tensor lives in ``optim``; what they do to a learning rate or an epsilon lives here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hptransfer.base.errors import unknown
from hptransfer.optimizers.rules.conventions import LrConvention
from hptransfer.optimizers.rules.width import SGD, Adam, AdaMuon, Graft, Muon, Rule, Shampoo, Soap, Vector

Role = Literal["embedding", "hidden", "readout", "vector"]
ROLES: tuple[Role, ...] = get_args(Role)

OrthogonalMap = Literal["jordan", "polar_express", "dion", "modula", "contractive"]


class Sides(NamedTuple):
    """Which axes of a role's matrix are preconditioned: ``left`` is the output axis, ``right`` the input axis."""

    left: bool = False
    right: bool = False


# An epsilon in base coordinates and the rule that scales it, by the name of its option.
Epsilons = dict[str, tuple[float, Rule]]


class Moments(BaseModel):
    """Adam's moments and epsilon. ``eps`` is added outside the square root."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)

    def adam_epsilons(self) -> Epsilons:
        return {"eps": (self.eps, Adam())}


class Options(BaseModel):
    """What every recipe has. Subclasses are one optimizer each, as it serves a hidden matrix."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    clip_norm: float | None = Field(None, gt=0, description="largest global gradient norm; None: no clipping")
    cautious_weight_decay: bool = Field(
        False, description="no decay where the update moves an entry away from zero (Chen et al. 2025, arXiv 2510.12402)"
    )

    def rule(self, sides: Sides) -> Rule:
        """The width and depth rule of its learning rate."""
        raise NotImplementedError

    def epsilons(self, sides: Sides) -> Epsilons:
        """Every epsilon that grows with width, with its rule."""
        return {}

    def sides(self, role: Role, d_out: int, d_in: int) -> Sides:
        """The preconditioned axes of a matrix of this role and size; none where an optimizer has no Gram factors."""
        return Sides()

    def uncovered(self) -> tuple[str, ...]:
        """What the theory of arXiv 2512.05620 does not cover, and what is assumed here instead."""
        return ()


class AdamOptions(Options, Moments):
    """AdamW (Loshchilov and Hutter 2019), with independent weight decay."""

    def rule(self, sides: Sides) -> Rule:
        return Adam()

    def epsilons(self, sides: Sides) -> Epsilons:
        return self.adam_epsilons()


class SignumOptions(Options):
    """The sign of a momentum (Bernstein et al. 2018): Adam without a second moment."""

    momentum: float = Field(0.9, ge=0, lt=1)

    def rule(self, sides: Sides) -> Rule:
        return Adam()


class SgdOptions(Options):
    """SGD with heavy-ball momentum, as in torch: buffer <- momentum buffer + gradient."""

    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False

    def rule(self, sides: Sides) -> Rule:
        return SGD()

    def uncovered(self) -> tuple[str, ...]:
        return _clipping(self)


class WithAdam(Options):
    """An optimizer of hidden matrices, beside an Adam for embedding and readout."""

    adam: Moments = Moments()


class Orthogonalized(WithAdam):
    """Momentum, then about its polar factor: what Muon and its descendants share."""

    momentum: float = Field(0.95, ge=0, lt=1)
    nesterov: bool = True
    momentum_start: float = Field(0.85, ge=0, lt=1, description="where a warm-up of the momentum begins")
    momentum_warmup_tokens: int = Field(0, ge=0, description="linear from momentum_start to momentum; 0: none")
    orthogonal_map: OrthogonalMap = "jordan"
    ns_steps: int | None = Field(None, ge=1, lt=100, description="iterations of the map; None: as published")
    bfloat16: bool = Field(False, description="iterate the map in bfloat16, as published codes do")

    @model_validator(mode="after")
    def _momentum_rises(self) -> Self:
        if self.momentum_warmup_tokens and self.momentum_start > self.momentum:
            raise ValueError(f"momentum_start {self.momentum_start} is above momentum {self.momentum}")
        return self


class MuonOptions(Orthogonalized):
    """Nesterov momentum, then Newton-Schulz (Jordan et al. 2024). ``lr_convention`` says in which units ``lr`` is."""

    eps: float = Field(1e-8, gt=0, description="in M / (|M|_F + eps)")
    lr_convention: LrConvention = Field("none", description="of hidden matrices: an embedding of muon-all has none elsewhere")

    def rule(self, sides: Sides) -> Rule:
        return Muon()

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"eps": (self.eps, Muon())}


class AdaMuonOptions(Orthogonalized):
    """Adam's second moment of the orthogonalised update (Si et al., arXiv 2507.11005, without its RMS alignment)."""

    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0, description="beside the root of the second moment")
    ns_eps: float = Field(1e-8, gt=0, description="in M / (|M|_F + eps)")

    def rule(self, sides: Sides) -> Rule:
        return AdaMuon()

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"eps": (self.eps, AdaMuon()), "ns_eps": (self.ns_eps, Muon())}


class NorMuonOptions(AdaMuonOptions):
    """A second moment per row of the orthogonalised update (Li et al., arXiv 2510.05491), then RMS 1 over the matrix.

    With ``preserve_norm`` the Frobenius norm stays the polar factor's, as in the official code; the rule is then Muon's.
    """

    preserve_norm: bool = False

    def rule(self, sides: Sides) -> Rule:
        return Muon() if self.preserve_norm else AdaMuon()

    def uncovered(self) -> tuple[str, ...]:
        assumed = "Muon's rule" if self.preserve_norm else "the rule of AdaMuon's, per entry,"
        return (*super().uncovered(), f"a second moment per row: {assumed} is assumed")


class Preconditioned(WithAdam):
    """Gram factors per block: what Shampoo and SOAP share."""

    beta1: float = Field(0.95, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    precondition_frequency: int = Field(10, ge=1, description="steps between two refreshes of roots or bases")
    block_size: int | None = Field(None, ge=0, description="None: the base width; 0: unblocked")
    max_preconditioner_dim: int = Field(10_000, ge=1, description="a longer axis is left alone")

    def sides(self, role: Role, d_out: int, d_in: int) -> Sides:
        """An embedding's input and a readout's output, the vocabulary, are left alone: their factors would be larger than the
        model's."""
        longest = self.max_preconditioner_dim
        return Sides(role != "readout" and d_out <= longest, role != "embedding" and d_in <= longest)


class ShampooQuarterOptions(Preconditioned):
    """Shampoo with exponent 1/4 on each Gram factor (Gupta et al. 2018), no graft.

    Nothing but the roots sets the update's norm, so they are fresh at every step: while gradients still grow from zero outputs,
    roots ten steps old blow it up.
    """

    precondition_frequency: int = Field(1, ge=1, description="steps between two refreshes of the roots")
    exponent: float = Field(0.25, gt=0, le=1, description="of each Gram factor: e_L and e_R of the rules, whose e is their sum")
    matrix_eps: float = Field(1e-5, gt=0, description="added to the eigenvalues of a factor")
    relative_eps: bool = Field(True, description="matrix_eps is relative to a factor's largest eigenvalue")

    def shampoo_rule(self, sides: Sides) -> Shampoo:
        return Shampoo(self.exponent * sides.left, self.exponent * sides.right, self.relative_eps)

    def rule(self, sides: Sides) -> Rule:
        return self.shampoo_rule(sides)

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"matrix_eps": (self.matrix_eps, self.shampoo_rule(sides))}

    def uncovered(self) -> tuple[str, ...]:
        return _clipping(self)


class ShampooOptions(ShampooQuarterOptions):
    """Shampoo^2: exponents 1/2 and 1/2, blocked, with Adam's norm per matrix (the paper's choice for its large runs)."""

    precondition_frequency: int = Field(10, ge=1, description="steps between two refreshes of the roots")
    exponent: float = Field(0.5, gt=0, le=1, description="of each Gram factor: e_L and e_R of the rules, whose e is their sum")
    eps: float = Field(1e-8, gt=0, description="of the Adam graft")
    graft_eps: float = Field(1e-12, gt=0, description="in |Adam| / (|Shampoo| + eps)")
    graft_per_block: bool = Field(False, description="one norm per block, as in facebookresearch/optimizers, not per matrix")
    precondition_start: int = Field(1, ge=1, description="first preconditioned step; Adam's steps before it")

    def rule(self, sides: Sides) -> Rule:
        return Graft(Adam(), self.shampoo_rule(sides))

    def epsilons(self, sides: Sides) -> Epsilons:
        return super().epsilons(sides) | {"eps": (self.eps, Adam()), "graft_eps": (self.graft_eps, self.rule(sides))}

    def uncovered(self) -> tuple[str, ...]:
        return ("a graft per block: the epsilon is that of a graft per matrix",) if self.graft_per_block else ()


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
        return Soap(*sides)

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"eps": (self.eps, Soap(*sides))}

    def uncovered(self) -> tuple[str, ...]:
        return ("a factorised second moment: the rule of the full one is assumed",) if self.factorised else ()


class ScheduleFree(Options):
    """Gradients at y = (1 - interpolation) z + interpolation x; x, the average of z, is evaluated (arXiv 2405.15682)."""

    interpolation: float = Field(0.9, gt=0, lt=1, description="beta of the paper; takes the place of Adam's beta1")
    decay_at: Literal["y", "z"] = "y"

    def uncovered(self) -> tuple[str, ...]:
        return (*super().uncovered(), "averaged iterates: the rule of the optimizer inside is assumed")


class SecondMoment(Moments):
    """Adam without a first moment, whose place the interpolation takes."""

    beta1: float = Field(0.0, ge=0, lt=1)


class ScheduleFreeAdamOptions(ScheduleFree):
    """Schedule-free AdamW: Adam's second moment inside; the interpolation stands for the first."""

    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)

    def rule(self, sides: Sides) -> Rule:
        return Adam()

    def epsilons(self, sides: Sides) -> Epsilons:
        return {"eps": (self.eps, Adam())}


class ScheduleFreeNorMuonOptions(NorMuonOptions, ScheduleFree):
    """SF-NorMuon (arXiv 2605.23061): NorMuon inside, decay at z; schedule-free Adam for embedding and readout."""

    momentum: float = Field(0.8, ge=0, lt=1)
    momentum_start: float = Field(0.0, ge=0, lt=1, description="where a warm-up of the momentum begins")
    nesterov: bool = False
    decay_at: Literal["y", "z"] = "z"
    adam: SecondMoment = SecondMoment()


def _clipping(options: Options) -> tuple[str, ...]:
    """For updates that grow with the gradient: elsewhere a clipped gradient makes the same update."""
    if options.clip_norm is None:
        return ()
    return ("clipping: the gradient's norm grows with width, so that a fixed clip_norm lowers wide learning rates",)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One optimizer as a user names it. ``everywhere``: it serves embedding and readout too, else Adam does."""

    name: str
    options: type[Options]
    everywhere: bool = False

    @property
    def averages(self) -> bool:
        """Whether an average of the iterates takes the place of a schedule."""
        return issubclass(self.options, ScheduleFree)

    def serves(self, role: Role) -> bool:
        """Whether the recipe's own optimizer, rather than Adam, serves the role."""
        return role == "hidden" or (self.everywhere and role != "vector")

    def rule(self, role: Role, options: Options, sides: Sides) -> Rule:
        """The learning-rate rule of a role."""
        if role == "vector":
            return Vector()
        return options.rule(sides) if self.serves(role) else Adam()

    def epsilons(self, role: Role, options: Options, sides: Sides) -> Epsilons:
        """The epsilons of a role and their rules."""
        if self.serves(role):
            return options.epsilons(sides)
        adam = self.adam(options).adam_epsilons()
        return {name: (value, Vector()) for name, (value, _) in adam.items()} if role == "vector" else adam

    @staticmethod
    def adam(options: Options) -> Moments:
        """The Adam of the roles that the recipe does not serve itself."""
        match options:
            case WithAdam():
                return options.adam
            case Moments():
                return Moments(beta1=options.beta1, beta2=options.beta2, eps=options.eps)
            case _:
                return Moments()


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="adamw", options=AdamOptions, everywhere=True),
        Recipe(name="signum", options=SignumOptions, everywhere=True),
        Recipe(name="sgd", options=SgdOptions, everywhere=True),
        Recipe(name="muon", options=MuonOptions),
        Recipe(name="muon-all", options=MuonOptions, everywhere=True),
        Recipe(name="normuon", options=NorMuonOptions),
        Recipe(name="adamuon", options=AdaMuonOptions),
        Recipe(name="shampoo", options=ShampooOptions),
        Recipe(name="shampoo-quarter", options=ShampooQuarterOptions),
        Recipe(name="shampoo-quarter-all", options=ShampooQuarterOptions, everywhere=True),
        Recipe(name="soap", options=SoapOptions),
        Recipe(name="soap-all", options=SoapOptions, everywhere=True),
        Recipe(name="schedulefree-adamw", options=ScheduleFreeAdamOptions, everywhere=True),
        Recipe(name="sf-normuon", options=ScheduleFreeNorMuonOptions),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError with the nearest known name."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
