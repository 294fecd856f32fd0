"""About the polar factor U V^T of a matrix, by odd polynomials of its singular values (Newton-Schulz and its relatives)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hptransfer.optimizers.engine.transforms import State, Stateless, Step
from hptransfer.optimizers.orthogonalized import OrthogonalMap, iterations


@dataclass(frozen=True)
class Orthogonalize(Stateless):
    """The update's polar factor, up to the map's accuracy, from U / (|U|_F + eps). ``steps`` None: as many as the map has.

    ``bfloat16``: iterated in that precision, as the published codes do; the result is then off by some percent, more where
    singular values are small.
    """

    map: OrthogonalMap
    eps: float
    steps: int | None = None
    bfloat16: bool = False
    name: str = "orthogonalize"

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        dtype = torch.bfloat16 if self.bfloat16 else update.dtype
        return orthogonalize(update, map=self.map, eps=self.eps, steps=self.steps, dtype=dtype)

    def flops(self, rows: int, columns: int) -> float:
        short, long = sorted((rows, columns))
        return len(iterations(self.map, self.steps)) * (4.0 * short**2 * long + 2.0 * short**3)


def orthogonalize(
    x: Tensor, *, map: OrthogonalMap, eps: float, steps: int | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """X <- a X + (b A + c A^2) X with A = X X^T on the shorter side, on a stack (n, rows, columns); iterated in ``dtype``, by
    default that of ``x``, which the result has too."""
    coefficients, given = iterations(map, steps), x.dtype
    x = (x / (torch.linalg.matrix_norm(x, keepdim=True) + eps)).to(dtype or given)
    tall = x.size(-2) > x.size(-1)
    x = x.mT.contiguous() if tall else x
    # Where the long side is this long `_on_gram` needs fewer FLOPs. Its rounding does not suit bfloat16.
    together = ON_GRAM if x.size(-1) > 1.5 * x.size(-2) and x.dtype != torch.bfloat16 else 1
    for first in range(0, len(coefficients), together):
        gram = x @ x.mT
        if together > 1:
            x = _on_gram(gram, coefficients[first : first + together]) @ x
        else:
            a, b, c = coefficients[first]
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT.contiguous() if tall else x).to(given)


# Iterations between two returns to X: rounding makes eigenvalues of A that are zero negative, and every iteration amplifies
# them, in float32 to 1e-4 of the largest after three.
ON_GRAM = 3


def _on_gram(gram: Tensor, coefficients: Sequence[tuple[float, float, float]]) -> Tensor:
    """The product of some iterations' polynomials a I + b A + c A^2, as matrices of the shorter side only: all commute with A.

    4 s^2 l + (8 k - 6) s^3 FLOPs for k iterations by short side s and long side l, where iterating on X takes
    k (4 s^2 l + 2 s^3).
    """
    product = polynomial = _polynomial(gram, *coefficients[0])
    for iteration in coefficients[1:]:
        gram = polynomial @ gram @ polynomial
        polynomial = _polynomial(gram, *iteration)
        product = polynomial @ product
    return product


def _polynomial(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """a I + b A + c A^2."""
    result = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    result.diagonal(dim1=-2, dim2=-1).add_(a)
    return result
