"""Whole matrices shared out over data-parallel ranks: each computes the updates of its own, and every rank gets what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from hptransfer.optimizers.engine.transforms import full_precision


class Sharing:
    """Which rank computes the update of which matrix, and the exchange of gradients and updates between them.

    Under DDP every rank holds whole gradients, under FSDP2 (`fully_shard` on a one-dimensional mesh) some rows of each. The
    owner of a matrix gathers the rows of its gradient, runs the chain on it, and sends every rank those rows of the update that
    it holds: two all-to-alls a step over all matrices at once, under DDP only the second. Every rank then moves its own rows.
    """

    def __init__(self, matrices: Sequence[Tensor], costs: Sequence[float]) -> None:
        """``matrices``: the parameters whose chains need them whole; ``costs``: the FLOPs of an update of each."""
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        owners = share_out(costs, self.ranks)
        self._owned: list[list[Tensor]] = [[] for _ in range(self.ranks)]
        for matrix, owner in zip(matrices, owners, strict=True):
            self._owned[owner].append(matrix)
        self._mine, self._all = set(self._owned[self.rank]), set(matrices)
        # Objects are gathered by the processors: over NCCL all of them would lie in one GPU's memory.
        self._processors = dist.new_group(backend="gloo")

    @classmethod
    def over_ranks(cls, matrices: Sequence[Tensor], costs: Sequence[float]) -> Sharing | None:
        """The sharing over the current process group; None where there is one process."""
        return cls(matrices, costs) if dist.is_initialized() and dist.get_world_size() > 1 else None

    def owns(self, parameter: Tensor) -> bool:
        """Whether this rank computes the update of a parameter: of its own matrices, and of whatever is not shared out."""
        return parameter in self._mine or parameter not in self._all

    def is_shared(self, parameter: Tensor) -> bool:
        """Whether one rank computes the parameter's update for all."""
        return parameter in self._all

    def gradients(self) -> dict[Tensor, Tensor]:
        """The whole gradient of each of this rank's matrices."""
        mine = self._owned[self.rank]
        if not any(isinstance(matrix, DTensor) for matrix in self._all):
            return {matrix: matrix.grad for matrix in mine if matrix.grad is not None}
        rows = self._exchange(
            [[local(matrix.grad) for matrix in owned if matrix.grad is not None] for owned in self._owned],
            [[_held_shape(matrix, rank, self.ranks) for matrix in mine] for rank in range(self.ranks)],
        )
        return {matrix: torch.cat([part[index] for part in rows]) for index, matrix in enumerate(mine)}

    def updates(self, computed: dict[Tensor, Tensor]) -> dict[Tensor, Tensor]:
        """From the updates of this rank's matrices to what this rank holds of every matrix's."""
        mine = self._owned[self.rank]
        rows = self._exchange(
            [[computed[matrix][held_rows(matrix, rank, self.ranks)] for matrix in mine] for rank in range(self.ranks)],
            [[_held_shape(matrix, self.rank, self.ranks) for matrix in owned] for owned in self._owned],
        )
        return {
            matrix: part
            for owned, parts in zip(self._owned, rows, strict=True)
            for matrix, part in zip(owned, parts, strict=True)
        }

    def norms(self, parameters: Sequence[Tensor], held: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The Frobenius norms of whole parameters, from the rows of each that are here. Collective where they are sharded."""
        norms = torch.stack(torch._foreach_norm(list(held)))
        if isinstance(parameters[0], DTensor):
            dist.all_reduce(norms.square_())
            norms.sqrt_()
        return norms.unbind()

    def _exchange(self, outgoing: list[list[Tensor]], shapes: list[list[torch.Size]]) -> list[list[Tensor]]:
        """``outgoing[r]`` goes to rank r; what rank r sends here comes back, in its ``shapes[r]``. One all-to-all."""
        if not self._all:
            return [[] for _ in shapes]
        sent = [tensor.reshape(-1) for part in outgoing for tensor in part]
        sizes = [[shape.numel() for shape in part] for part in shapes]
        like = sent[0] if sent else next(iter(self._all))
        dtype = like.dtype if sent else full_precision(like.dtype)
        send = torch.cat(sent) if sent else torch.empty(0, dtype=dtype, device=like.device)
        received = torch.empty(sum(map(sum, sizes)), dtype=dtype, device=like.device)
        dist.all_to_all_single(received, send, [sum(part) for part in sizes], [sum(t.numel() for t in part) for part in outgoing])
        pieces = iter(torch.split(received, [size for part in sizes for size in part]))
        return [[next(pieces).view(shape) for shape in part] for part in shapes]

    def gather(self, value: Any) -> list[Any] | None:
        """``value`` of every rank, on rank 0; None on the others. Collective."""
        values = [None] * self.ranks if self.rank == 0 else None
        dist.gather_object(value, values, group=self._processors)
        return values


def share_out(costs: Sequence[float], ranks: int) -> list[int]:
    """The rank of each piece of work, so that all have about as much: the dearest first, each to the rank with the least yet."""
    loads, owners = [0.0] * ranks, [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda i: -costs[i]):
        owners[index] = loads.index(min(loads))
        loads[owners[index]] += costs[index]
    return owners


def local(tensor: Tensor) -> Tensor:
    """The rows of a tensor that this rank holds: of a sharded one its part, else all. Shares memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def held_rows(parameter: Tensor, rank: int, ranks: int) -> slice:
    """The rows of a parameter that a rank holds: of a sharded one those that `torch.chunk` would give it, else all."""
    if not isinstance(parameter, DTensor):
        return slice(0, parameter.size(0))
    size = -(-parameter.size(0) // ranks)
    return slice(min(rank * size, parameter.size(0)), min((rank + 1) * size, parameter.size(0)))


def _held_shape(parameter: Tensor, rank: int, ranks: int) -> torch.Size:
    rows = held_rows(parameter, rank, ranks)
    return torch.Size((rows.stop - rows.start, *parameter.shape[1:]))
