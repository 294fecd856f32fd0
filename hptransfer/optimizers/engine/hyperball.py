"""Matrices that keep their Frobenius norm: Hyperball around any chain (Wen et al., arXiv 2606.16899)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hptransfer.optimizers.engine.transforms import TINY, State, Stateless, Step, Transform

# Kept beside the states of the chain: the norm that a matrix keeps.
RADIUS = "hyperball.radius"


@dataclass(frozen=True)
class Hyperball(Stateless):
    """The update with Frobenius norm 1: the end of the chain of a matrix that keeps its own norm, which moves by `turn`.

    Over ranks the matrix is therefore stepped whole by its owner, an elementwise chain's too, as Paddle's AdamH is.
    """

    name: str = "hyperball"

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        norm: Tensor = torch.linalg.matrix_norm(update, keepdim=True)
        return update / norm.clamp_(min=TINY)

    def flops(self, rows: int, columns: int) -> float:
        """With those of `turn`: its step, a norm and a product."""
        return 8.0 * rows * columns


def keeps_norm(chain: Sequence[Transform]) -> bool:
    """Whether the matrices of a chain keep their norm."""
    return bool(chain) and isinstance(chain[-1], Hyperball)


def turn(
    weights: list[Tensor],
    updates: Sequence[Tensor],
    radii: Sequence[Tensor],
    *,
    lr: float,
    norms: Callable[[Sequence[Tensor]], Sequence[Tensor]],
) -> None:
    """W <- R N(W - lr R U), with N(X) = X / |X|_F and |U|_F = 1, in place; ``norms`` gives the |X|_F of whole matrices.

    R is the norm at the first step, kept as in heavyball's HyperBallAdamW; levanter, modded-nanogpt and Emerging-Optimizers take
    the present one, which is the same but for rounding. There is no weight decay, as in all of them but heavyball, whose default
    is 0.
    """
    torch._foreach_add_(weights, torch._foreach_mul(list(updates), [radius * -lr for radius in radii]))
    scales = [radius / norm.clamp(min=TINY) for radius, norm in zip(radii, norms(weights), strict=True)]
    torch._foreach_mul_(weights, scales)
