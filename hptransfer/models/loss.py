"""A linear readout, and its cross-entropy that never holds all logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Reduction = Literal["mean", "sum", "none"]

# A target that does not count.
IGNORED = -100
# Logits held at once, in numbers: what stays in a CPU's cache; on a GPU, what keeps its matrix products large.
CPU_LOGITS, GPU_LOGITS = 2**18, 2**27


class Readout(nn.Linear):
    """Logits, or with targets their cross-entropy."""

    def forward(self, x: Tensor, targets: Tensor | None = None, reduction: Reduction = "mean") -> Tensor:
        return super().forward(x) if targets is None else linear_cross_entropy(x, self.weight, targets, reduction)


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Cross-entropy in nats of the logits x weight^T against ``targets``, in float32 or wider; targets of -100 do not count.

    x (..., width), weight (vocab, width), targets (...). All logits are never held: the tokens go through in chunks, and where a
    gradient is wanted it is made in the forward pass, as Liger Kernel does (arXiv 2410.10989). Only "none" cannot know its
    gradient then and holds them all. "mean" over no target at all is nan.
    """
    rows, labels = x.flatten(0, -2), targets.flatten()
    if reduction == "none":
        chunks = [(rows, labels)] if torch.is_grad_enabled() else _chunks(weight, rows, labels)
        losses = [F.cross_entropy(F.linear(a, weight).to(_wide(a)), b, reduction="none") for a, b in chunks]
        return torch.cat(losses).view(targets.shape)
    total: Tensor = _LinearCrossEntropy.apply(rows, weight, labels, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return total / (labels != IGNORED).sum() if reduction == "mean" else total


class _LinearCrossEntropy(torch.autograd.Function):
    """The sum over all targets, with its gradients."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, labels: Tensor, with_gradient: bool) -> Tensor:
        wide = _wide(rows)
        total = rows.new_zeros((), dtype=wide)
        grad_rows, grad_weight = [], torch.zeros_like(weight, dtype=wide) if with_gradient else None
        for x, y in _chunks(weight, rows, labels):
            counts, y = (y != IGNORED).unsqueeze(-1), y.clamp(min=0).unsqueeze(-1)
            log_probability = torch.log_softmax(F.linear(x, weight), -1, dtype=wide)
            total -= (log_probability.gather(-1, y) * counts).sum()
            if grad_weight is not None:
                # Softmax minus one at the target; tokens that do not count are taken out of the small factors of the products.
                grad = log_probability.exp_().scatter_add_(-1, y, y.new_full(y.shape, -1, dtype=wide)).to(x.dtype)
                grad_rows.append((grad @ weight) * counts)
                if wide == weight.dtype:
                    grad_weight.addmm_(grad.t(), x * counts)
                else:
                    grad_weight += grad.t() @ (x * counts)
        if grad_weight is not None:
            ctx.save_for_backward(torch.cat(grad_rows), grad_weight)
            ctx.dtype = weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_rows, grad_weight = ctx.saved_tensors
        # The factor, 1/targets, would be off by a half per cent in bfloat16.
        return (grad_rows.to(grad.dtype) * grad).to(ctx.dtype), (grad_weight * grad).to(ctx.dtype), None, None


def _chunks(weight: Tensor, rows: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and labels of as many tokens as may have their logits held at once."""
    logits = CPU_LOGITS if rows.device.type == "cpu" else GPU_LOGITS
    tokens = max(256, logits // len(weight))
    return zip(torch.split(rows, tokens), torch.split(labels, tokens), strict=True)


def _wide(x: Tensor) -> torch.dtype:
    """A loss in bfloat16 would have two digits."""
    return torch.promote_types(x.dtype, torch.float32)
