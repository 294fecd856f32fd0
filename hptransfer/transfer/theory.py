"""What theory says of a run's optimum before there are data."""

from __future__ import annotations

import math
from typing import Literal

from hptransfer.optimizers.recipe import Sides
from hptransfer.optimizers.rules.width import Ratios, block_count
from hptransfer.trainers.ours.spec import RunSpec


def theory_drift(spec: RunSpec, role: Literal["hidden", "readout"] = "hidden") -> float:
    """Exponent gamma of the role's lr* ~ width^gamma in the run's base coordinates: 0 unless under sp."""
    if spec.parametrization != "sp":
        return 0.0
    options, recipe, width = spec.optimizer.resolved_options, spec.optimizer.rules, spec.base.width
    grows = role == "hidden"
    sides = options.sides(role, width if grows else spec.model.vocab, width) if recipe.serves(role) else Sides()
    blocks = block_count(2 * width, spec.block_size) / block_count(width, spec.block_size)
    n_in, n_out = blocks if sides.right else 1.0, blocks if sides.left and grows else 1.0
    ratios = Ratios(d_in=2.0, d_out=2.0 if grows else 1.0, n_in=n_in, n_out=n_out)
    return math.log2(recipe.rule(role, options, sides).lr(ratios))
