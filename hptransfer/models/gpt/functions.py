"""What a decoder does between its matrix products, with backward passes written out: fewer passes over memory than autograd's.

Each is plain tensor code, so that autograd, DDP, FSDP2 and torch.compile treat it like any other; none can be differentiated
twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# What a block of queries attends to, for as many heads at a time, stays in a core's cache.
QUERIES, HEADS = 64, 8
# From here on what attention keeps for its backward pass, context^2/2 numbers a head, outgrows everything else.
LONG_CONTEXT = 512


def _eager_on_cpu(x: Tensor) -> bool:
    """Where neither torch nor a compiler has something better than the passes written out here."""
    return x.device.type == "cpu" and x.dtype.itemsize >= 4 and not torch.compiler.is_compiling()


def rms_norm(x: Tensor, gain: Tensor | None = None) -> Tensor:
    """x / RMS(x) over the last axis, times ``gain`` (width,) where there is one."""
    if not _eager_on_cpu(x):
        return F.rms_norm(x, (x.size(-1),), gain)
    result: Tensor = _RmsNorm.apply(x, gain)  # type: ignore[no-untyped-call]
    return result


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | None) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = norm.square_().div_(x.size(-1)).add_(torch.finfo(x.dtype).eps).rsqrt_()
        ctx.save_for_backward(x, gain, inverse)
        y = x * inverse
        return y if gain is None else y.mul_(gain)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        """With r = 1/RMS and h = grad gain: dx = r h - r^3 x mean(h x), dgain = sum over tokens of r grad x."""
        x, gain, inverse = ctx.saved_tensors
        product, grad_gain = grad * x, None
        if gain is None:
            along = product.sum(-1, keepdim=True)
            dx = grad * inverse
        else:
            along = (product @ gain).unsqueeze(-1)
            grad_gain = inverse.flatten() @ product.flatten(0, -2)
            dx = (grad * inverse).mul_(gain)
        return dx.addcmul_(x, along.mul_(inverse**3).div_(-x.size(-1))), grad_gain


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on x (..., context, heads, head_dim), pairs being entries i and i + head_dim/2. ``cos`` and ``sin``: the tables of
    `rotation`."""
    result: Tensor = _Rotate.apply(x, cos.to(x.dtype), sin.to(x.dtype))  # type: ignore[no-untyped-call]
    return result


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return x.roll(x.size(-1) // 2, -1).mul_(sin).addcmul_(x, cos)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The rotation by the opposite angle: sin changes its sign."""
        cos, sin = ctx.saved_tensors
        return (grad * cos).addcmul_(grad.roll(grad.size(-1) // 2, -1), sin, value=-1), None, None


def rotation(context: int, head_dim: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """RoPE's tables (Su et al. 2021), each (context, 1, head_dim): the cosine, and the sine with its sign."""
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.outer(torch.arange(context, dtype=torch.float64), frequency)[:, None, :]
    return torch.cat((angle.cos(), angle.cos()), -1), torch.cat((-angle.sin(), angle.sin()), -1)


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v over the tokens up to one's own; all (batch, context, heads, head_dim)."""
    if _eager_on_cpu(q) and q.size(1) <= LONG_CONTEXT:
        result: Tensor = _CausalAttention.apply(q, k, v)  # type: ignore[no-untyped-call]
        return result
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


class _CausalAttention(torch.autograd.Function):
    """Blocks of queries against the keys up to their end, by batched matrix products, a few heads at a time.

    The probabilities are kept. torch's own kernel for CPUs makes them anew in its backward pass and has slower products.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        output, kept = torch.empty_like(v), []
        future = q.new_full((QUERIES, QUERIES), -torch.inf).triu(1)
        for group in _groups(q):
            queries, keys, values = _heads(q[group]) * q.size(-1) ** -0.5, _heads(k[group]), _heads(v[group])
            mixed = torch.empty_like(values)
            for start, end in _blocks(q.size(1)):
                scores = torch.bmm(queries[:, start:end], keys[:, :end].mT)
                scores[:, :, start:].add_(future[: end - start, : end - start])
                kept.append(torch.softmax(scores, -1))
                mixed[:, start:end] = torch.bmm(kept[-1], values[:, :end])
            _put(output[group], mixed)
        ctx.save_for_backward(q, k, v, *kept)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, *kept = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        probabilities = iter(kept)
        for group in _groups(q):
            queries, keys, values = _heads(q[group]) * q.size(-1) ** -0.5, _heads(k[group]), _heads(v[group])
            mixed = _heads(grad[group])
            to_queries, to_keys, to_values = torch.empty_like(queries), torch.zeros_like(queries), torch.zeros_like(queries)
            for start, end in _blocks(q.size(1)):
                p, here = next(probabilities), mixed[:, start:end]
                to_values[:, :end].baddbmm_(p.mT, here)
                to_scores = torch._softmax_backward_data(torch.bmm(here, values[:, :end].mT), p, -1, p.dtype)
                to_queries[:, start:end] = torch.bmm(to_scores, keys[:, :end])
                to_keys[:, :end].baddbmm_(to_scores.mT, queries[:, start:end])
            for result, part in ((dq, to_queries.mul_(q.size(-1) ** -0.5)), (dk, to_keys), (dv, to_values)):
                _put(result[group], part)
        return dq, dk, dv


def _groups(x: Tensor) -> Iterator[slice]:
    """Parts of the batch of about `HEADS` heads."""
    count = max(1, HEADS // x.size(2))
    return (slice(first, first + count) for first in range(0, x.size(0), count))


def _blocks(context: int) -> Iterator[tuple[int, int]]:
    """Where each block of queries starts and ends."""
    return ((start, min(start + QUERIES, context)) for start in range(0, context, QUERIES))


def _heads(x: Tensor) -> Tensor:
    """(batch, context, heads, head_dim) -> (batch heads, context, head_dim), copied where it must be."""
    return x.transpose(1, 2).flatten(0, 1)


def _put(target: Tensor, heads: Tensor) -> None:
    """The way back of `_heads`, into ``target``."""
    batch, context, count, head_dim = target.shape
    target.transpose(1, 2).copy_(heads.view(batch, count, context, head_dim))
