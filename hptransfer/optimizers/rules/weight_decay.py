"""How independent weight decay moves from base to target.

Weight decay here is *independent*: W <- W - s(t) (lr U + weight_decay W). The same value serves all matrices; vectors get 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

WeightDecayRule = Literal["inverse_width", "constant", "constant_tau"]


def weight_decay_multiplier(rule: WeightDecayRule, *, width: float, tokens: float = 1.0, batch_tokens: float = 1.0) -> float:
    """Multiplier of the base weight decay; every argument is a ratio target/base.

    ``inverse_width`` is the rule of arXiv 2512.05620 section 3.4. ``constant_tau`` keeps tau = batch_tokens /
    (weight_decay tokens), the decay time as a fraction of the run (arXiv 2405.13698). The two agree only where tokens
    grow in proportion to width (fixed tokens per parameter with an embedding-dominated count).
    """
    match rule:
        case "inverse_width":
            return 1.0 / width
        case "constant":
            return 1.0
        case "constant_tau":
            return batch_tokens / tokens


def decay_between(rule: WeightDecayRule, base: Mapping[str, float], target: Mapping[str, float]) -> float:
    """The multiplier from the scales of a base to those of a target; a scale that one of them does not say is taken not to
    change."""
    ratios = {name: target[name] / base[name] for name in ("width", "tokens", "batch_tokens") if name in base and name in target}
    return weight_decay_multiplier(rule, **{"width": 1.0, **ratios})
