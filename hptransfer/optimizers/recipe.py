"""What a recipe is: options with base values, a scaling rule and epsilons per role, and a chain of transforms. No torch here.

Recipes name their transforms inside `Options.chain`, where torch is imported: everything else about a recipe is known without.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, get_args

from pydantic import Field

from hptransfer.base.frozen import Written
from hptransfer.optimizers.rules.width import AdamRule, Rule, VectorRule

if TYPE_CHECKING:
    from hptransfer.optimizers.engine.schedule_free import ScheduleFreeAveraging
    from hptransfer.optimizers.engine.transforms import Transform

Role = Literal["embedding", "hidden", "readout", "vector"]
ROLES: tuple[Role, ...] = get_args(Role)


class Sides(NamedTuple):
    """Which axes of a role's matrix are preconditioned: ``left`` is the output axis, ``right`` the input axis."""

    left: bool = False
    right: bool = False


# An epsilon in base coordinates and the rule that scales it, by the name of its option.
Epsilons = dict[str, tuple[float, Rule]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a chain is made for: one kind of weight in one run. ``epsilons`` are final, by the names of their options;
    ``block_size`` 0 is unblocked; ``spectral``: the chain is to set the update's norm itself."""

    role: Role
    sides: Sides
    epsilons: Mapping[str, float]
    batch_tokens: int
    block_size: int = 0
    spectral: bool = False


class Moments(Written):
    """Adam's moments and epsilon. ``eps`` is added outside the square root."""

    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)

    def adam_epsilons(self) -> Epsilons:
        return {"eps": (self.eps, AdamRule())}

    def adam_chain(self, setting: Setting) -> tuple[Transform, ...]:
        from hptransfer.optimizers.engine import transforms

        return (transforms.Adam(self.beta1, self.beta2, setting.epsilons["eps"]),)


class Options(Written):
    """What every recipe has. A subclass is one optimizer, as it serves the roles that its recipe gives it."""

    averages: ClassVar[bool] = False
    """Averaged iterates stand in for a schedule, which must be constant; they are what is evaluated."""

    keeps_norms: ClassVar[bool] = False
    """The matrices that it serves keep their initial Frobenius norm: they do not decay, and may not start at zero."""

    clip_norm: float | None = Field(None, gt=0, description="largest global gradient norm; None: no clipping")
    cautious_weight_decay: bool = Field(
        False, description="no decay where the update moves an entry away from zero (Chen et al. 2025, arXiv 2510.12402)"
    )

    def rule(self, sides: Sides) -> Rule:
        """The width and depth rule of its learning rate."""
        raise NotImplementedError

    def chain(self, setting: Setting) -> tuple[Transform, ...]:
        """Its transforms, in order. They scale nothing: learning rate and decay come after them."""
        raise NotImplementedError

    def epsilons(self, sides: Sides) -> Epsilons:
        """Every epsilon that grows with width, with its rule."""
        return {}

    def sides(self, role: Role, d_out: int, d_in: int) -> Sides:
        """The preconditioned axes of a matrix of this role and size; none where an optimizer has no Gram factors."""
        return Sides()

    def block(self, base_width: int) -> int:
        """Size of the blocks along preconditioned axes; 0: unblocked."""
        return 0

    def beside(self) -> Moments:
        """The Adam of the roles that the recipe does not serve itself."""
        return Moments()

    def averaging(self) -> ScheduleFreeAveraging | None:
        """What averages the iterates, where `averages`."""
        return None

    def unit(self, d_out: int, d_in: int) -> float:
        """What ``lr`` is multiplied by at a hidden matrix's base shape, where it is stated in another implementation's units."""
        return 1.0

    def refusal(self, parametrization: str) -> str | None:
        """Why these options cannot run under a parametrization; None: they can."""
        return None

    def uncovered(self) -> tuple[str, ...]:
        """What the theory of arXiv 2512.05620 does not cover, and what is assumed here instead."""
        return ()

    def unscaled(self, epsilons: Collection[str]) -> dict[str, Any]:
        """The options without those that the final numbers of a run hold: ``epsilons``, and the units of the learning rate."""
        return self.model_dump(exclude=set(epsilons))


class WithAdam(Options):
    """An optimizer of hidden matrices, beside an Adam for embedding and readout."""

    adam: Moments = Moments()

    def beside(self) -> Moments:
        return self.adam

    def unscaled(self, epsilons: Collection[str]) -> dict[str, Any]:
        return self.model_dump(exclude=dict.fromkeys(epsilons, True) | {"adam": {"eps"}})


def growing(options: Options) -> tuple[str, ...]:
    """What `Options.uncovered` says of updates that grow with the gradient: elsewhere a clipped one makes the same update."""
    if options.clip_norm is None:
        return ()
    return ("clipping: the gradient's norm grows with width, so that a fixed clip_norm lowers wide learning rates",)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One optimizer as a user names it. ``everywhere``: it serves embedding and readout too, else Adam does.

    ``colour`` (#RRGGBB) is its own in every chart; ``rank``, its place among related recipes, sets its marks and lines.
    ``space``: what search_spaces/<name>.yaml would hold, for a recipe that has no such file.
    """

    name: str
    options: type[Options]
    everywhere: bool = False
    colour: str
    rank: int = 0
    space: Mapping[str, Any] | None = None

    @property
    def averages(self) -> bool:
        """Whether averaged iterates stand in for a schedule."""
        return self.options.averages

    @property
    def keeps_norms(self) -> bool:
        """Whether the matrices that it serves keep their initial norm."""
        return self.options.keeps_norms

    def serves(self, role: Role) -> bool:
        """Whether the recipe's own optimizer, rather than Adam, serves the role."""
        return role == "hidden" or (self.everywhere and role != "vector")

    def decays(self, role: Role) -> bool:
        """Whether weights of the role have weight decay."""
        return role != "vector" and not (self.keeps_norms and self.serves(role))

    def rule(self, role: Role, options: Options, sides: Sides) -> Rule:
        """The learning-rate rule of a role."""
        if role == "vector":
            return VectorRule()
        return options.rule(sides) if self.serves(role) else AdamRule()

    def epsilons(self, role: Role, options: Options, sides: Sides) -> Epsilons:
        """The epsilons of a role and their rules."""
        if self.serves(role):
            return options.epsilons(sides)
        adam = options.beside().adam_epsilons()
        return {name: (value, VectorRule()) for name, (value, _) in adam.items()} if role == "vector" else adam

    def chain(self, options: Options, setting: Setting) -> tuple[Transform, ...]:
        """The transforms of a kind of weight: the recipe's own for the roles it serves, Adam for the others, and under
        ``spectral`` what sets the update's norm."""
        from hptransfer.optimizers.engine.transforms import NormalizeRms, NormalizeSpectrally

        transforms = options.chain(setting) if self.serves(setting.role) else options.beside().adam_chain(setting)
        if not setting.spectral:
            return transforms
        return (*transforms, NormalizeSpectrally() if setting.role in ("hidden", "readout") else NormalizeRms())
