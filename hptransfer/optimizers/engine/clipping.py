"""The global gradient norm: what clipping needs, and the first place where a gradient shows that it is not finite."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], largest: float | None) -> Tensor:
    """Scale all gradients so that their global 2-norm is at most ``largest`` (None: as they are), and return the norm before, a
    scalar on their device: reading it would wait for them.

    Gradients that are sharded are reduced over their ranks first, so that every rank scales by the same number; under DDP they
    are already the same everywhere.
    """
    parameters = list(parameters)
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    if largest is not None:
        clip_grads_with_norm_(parameters, largest, norm)
    return norm
