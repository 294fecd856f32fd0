"""Data parallelism: which worker this is, and gradients averaged over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from hptransfer.errors import UsageError
from hptransfer.models import GPT

Strategy = Literal["ddp", "fsdp"]


@dataclass(frozen=True)
class World:
    """This worker's rank among ``workers``, and how a batch is spread over them: no part of what a run is.

    ``strategy``: ``ddp`` keeps the whole model on every worker, ``fsdp`` (FSDP2) rows of every matrix. ``accumulation``: parts
    that a worker's share of a batch is taken in, one after the other.
    """

    rank: int
    workers: int
    device: torch.device
    strategy: Strategy = "ddp"
    accumulation: int = 1

    @classmethod
    def current(cls, device: torch.device, strategy: Strategy = "ddp", accumulation: int = 1) -> Self:
        """From torch.distributed where a process group was set up, else one worker."""
        rank, workers = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        return cls(rank, workers, device, strategy, accumulation)

    def check(self, sequences: int) -> None:
        """Raises UsageError unless a batch of ``sequences`` divides evenly."""
        parts = self.workers * self.accumulation
        if sequences % parts:
            raise UsageError(
                f"batch_sequences {sequences} is not a multiple of {self.workers} workers"
                + (f" x {self.accumulation} accumulated parts" if self.accumulation > 1 else "")
            )

    def wrap(self, model: GPT) -> nn.Module:
        """The model on this worker's device, with gradients averaged over workers at each backward."""
        model.to(self.device)
        if self.workers == 1:
            return model
        if self.strategy == "ddp":
            return DistributedDataParallel(model)
        mesh = init_device_mesh(self.device.type, (self.workers,))
        # Gradients in less than float32 would lose small terms of their sum.
        narrow = next(model.parameters()).dtype == torch.bfloat16
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32 if narrow else None)
        for block in model.blocks:
            fully_shard(block, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh, mp_policy=policy)
        return model

    def bring(self, tensor: Tensor) -> Tensor:
        """A tensor of the CPU on this worker's device; the copy to an accelerator is not waited for."""
        return tensor if self.device.type == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)

    def announce(self, network: nn.Module, *, last: bool) -> None:
        """Say before a part's forward whether it is the batch's last, with which gradients are averaged over workers."""
        if isinstance(network, FSDPModule):
            network.set_requires_gradient_sync(last)
        elif isinstance(network, DistributedDataParallel):
            network.require_backward_grad_sync = last

    def release(self, network: nn.Module) -> None:
        """Let go of what an evaluation has gathered: without a backward FSDP2 would keep it, and miss what changes after."""
        if isinstance(network, FSDPModule):
            network.reshard()

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over workers, in place."""
        return self.sum(value).div_(self.workers)

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a tensor over workers, in place."""
        if self.workers > 1:
            dist.all_reduce(value)
        return value
