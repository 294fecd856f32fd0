"""From groups of parameters with their chains to an optimizer."""

from __future__ import annotations

from typing import Any

from hptransfer.optimizers.engine.distributed import Sharing
from hptransfer.optimizers.engine.optimizer import Chain, ChainOptimizer
from hptransfer.optimizers.engine.transforms import is_elementwise
from hptransfer.optimizers.recipe import Options


def make_optimizer(options: Options, groups: list[dict[str, Any]], chains: dict[str, Chain]) -> ChainOptimizer:
    """The optimizer over ready groups, each with ``params``, ``kind``, ``lr`` and ``weight_decay``; ``chains`` by kind. Of the
    recipe's options it takes what they say about all groups."""
    whole = [(p, chains[group["kind"]]) for group in groups for p in group["params"] if not is_elementwise(chains[group["kind"]])]
    costs = [sum(transform.flops(len(p), p.numel() // len(p)) for transform in chain) for p, chain in whole]
    sharing = Sharing.over_ranks([p for p, _ in whole], costs)
    return ChainOptimizer(groups, chains, cautious=options.cautious_weight_decay, averaging=options.averaging(), sharing=sharing)
