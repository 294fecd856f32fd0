"""Data parallelism: which worker this is, and gradients averaged over all of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from hptransfer.base.errors import UsageError
from hptransfer.experiment.settings import Precision
from hptransfer.models.model import Model

Strategy = Literal["ddp", "fsdp"]
T = TypeVar("T")


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

    def check(self, sequences: int, precision: Precision) -> None:
        """Raises UsageError unless a batch of ``sequences`` divides evenly, and where gradients would be added up in bfloat16."""
        sharded = self.strategy == "fsdp" and self.workers > 1
        if self.accumulation > 1 and precision == "bfloat16" and not sharded:
            raise UsageError("accumulated parts would be added in bfloat16, which loses small terms: use several fsdp workers")
        parts = self.workers * self.accumulation
        if sequences % parts:
            raise UsageError(
                f"batch_sequences {sequences} is not a multiple of {self.workers} workers"
                + (f" x {self.accumulation} accumulated parts" if self.accumulation > 1 else "")
            )

    def wrap(self, model: Model) -> nn.Module:
        """The model on this worker's device, with gradients averaged over workers at each backward. Gradients in less than
        float32 are averaged in it: their sum would lose small terms."""
        narrow = next(model.parameters()).dtype == torch.bfloat16
        if self.workers == 1:
            return model.to(self.device)
        if self.strategy == "ddp":
            with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch 2.13 has a new name for it, 2.9 not
                network = DistributedDataParallel(model.to(self.device), broadcast_buffers=False, gradient_as_bucket_view=True)
            if narrow:
                network.register_comm_hook(None, lambda _, bucket: _average_in_float32(bucket))
            return network
        mesh = init_device_mesh(self.device.type, (self.workers,))
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32 if narrow else None)
        # Each unit is moved to the device by itself, in part: the whole need not fit there.
        for unit in model.units():
            fully_shard(unit, mesh=mesh, mp_policy=policy)
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


def of_first(value: T) -> T:
    """Rank 0's value, on every rank."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values)
    return values[0]


def _average_in_float32(bucket: Any) -> torch.futures.Future[Tensor]:
    """DDP's hook: a bucket's gradients, averaged over workers."""
    wide = bucket.buffer().float().div_(dist.get_world_size())
    summed: torch.futures.Future[list[Tensor]] = dist.all_reduce(wide, async_op=True).get_future()

    def narrowed(future: torch.futures.Future[list[Tensor]]) -> Tensor:
        buffer: Tensor = bucket.buffer()
        return buffer.copy_(future.value()[0])

    return summed.then(narrowed)
