"""About the polar factor U V^T of a matrix, by odd polynomials of its singular values (Newton-Schulz and its relatives)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hptransfer.optimizers.engine.transforms import State, Stateless, Step
from hptransfer.optimizers.orthogonalized import OrthogonalMap

# (a, b, c) of s <- a s + b s^3 + c s^5, one per iteration; iterations beyond the last repeat it.
MAPS: dict[OrthogonalMap, tuple[tuple[float, float, float], ...]] = {
    # Jordan et al. 2024: steep at 0, singular values end in [0.68, 1.13].
    "jordan": ((3.4445, -4.7750, 2.0315),) * 5,
    # Amsel et al., arXiv 2505.16932, as nanochat generates it for five iterations with a safety of 0.02.
    "polar_express": (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
    # The schedule of the dion repository: singular values from 0.003 on end within 7.5 % of 1.
    "dion": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    # Bernstein and Newhouse's modula.
    "modula": ((3.0, -16 / 5, 6 / 5),) * 5,
    # f(1) = 1 and f'(1) = 0: converges to the polar factor itself, at the price of more iterations.
    "contractive": ((2.0, -1.5, 0.5),) * 12,
}


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
        return (self.steps or len(MAPS[self.map])) * (4.0 * short**2 * long + 2.0 * short**3)


def orthogonalize(
    x: Tensor, *, map: OrthogonalMap, eps: float, steps: int | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """X <- a X + (b A + c A^2) X with A = X X^T on the shorter side, on a stack (n, rows, columns); iterated in ``dtype``, by
    default that of ``x``, which the result has too."""
    schedule, given = MAPS[map], x.dtype
    coefficients = [schedule[min(iteration, len(schedule) - 1)] for iteration in range(steps or len(schedule))]
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
