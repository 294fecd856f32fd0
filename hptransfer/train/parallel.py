"""Data parallelism: which worker this is, and gradients averaged over all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """This worker's rank among ``workers``."""

    rank: int = 0
    workers: int = 1

    @classmethod
    def current(cls) -> World:
        """From torch.distributed where a process group was set up, else one worker."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over workers at each backward."""
        return DistributedDataParallel(model) if self.workers > 1 else model

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over workers."""
        if self.workers > 1:
            dist.all_reduce(value)
            value /= self.workers
        return value
