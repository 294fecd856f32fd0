"""From base coordinates to the final numbers of one kind of weight, whatever model it is in."""

from __future__ import annotations

from typing import NamedTuple

from hptransfer.optimizers.recipe import Options, Recipe, Role, Sides
from hptransfer.optimizers.rules.width import Ratios, block_count


class Size(NamedTuple):
    """The dimensions of a weight's role: an embedding (V, D) has d_in = V."""

    d_out: int
    d_in: int


def sides_of(recipe: Recipe, options: Options, role: Role, size: Size) -> Sides:
    """The axes of a weight that its own optimizer preconditions."""
    return options.sides(role, size.d_out, size.d_in) if recipe.serves(role) else Sides()


def ratios_of(base: Size, target: Size, sides: Sides, *, block_size: int, depth: float = 1.0) -> Ratios:
    """How a weight grew. ``block_size`` of preconditioners, 0: unblocked; ``depth``: the ratio inside residual blocks, else 1."""

    def blocks(small: int, large: int, preconditioned: bool) -> float:
        return block_count(large, block_size) / block_count(small, block_size) if preconditioned else 1.0

    return Ratios(
        d_in=target.d_in / base.d_in,
        d_out=target.d_out / base.d_out,
        depth=depth,
        n_in=blocks(base.d_in, target.d_in, sides.right),
        n_out=blocks(base.d_out, target.d_out, sides.left),
    )


def final_lr(
    recipe: Recipe, options: Options, role: Role, base: Size, ratios: Ratios, sides: Sides, *, parametrization: str, lr: float
) -> float:
    """The learning rate of a weight, given that of its role in base coordinates."""
    if role == "hidden":
        # Another implementation's units are converted at the base shape; from there on the width rule alone speaks.
        lr *= options.unit(base.d_out, base.d_in)
    return lr * recipe.rule(role, options, sides).lr(ratios) if parametrization == "mup" else lr


def final_epsilons(
    recipe: Recipe, options: Options, role: Role, ratios: Ratios, sides: Sides, *, parametrization: str
) -> dict[str, float]:
    """The epsilons of a weight, by the names of their options."""
    return {
        name: value * (rule.eps(ratios) if parametrization != "sp" else 1.0)
        for name, (value, rule) in recipe.epsilons(role, options, sides).items()
    }
