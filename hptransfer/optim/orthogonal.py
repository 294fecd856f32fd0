"""About the polar factor U V^T of a matrix, by odd polynomials of its singular values (Newton-Schulz and its relatives)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hptransfer.optim.transforms import State, Stateless, Step
from hptransfer.rules.recipes import OrthogonalMap

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
    gram = x.mT @ x if tall else x @ x.mT
    if x.dtype != torch.bfloat16 and _is_long(x, len(coefficients)):
        product = _on_gram(gram, coefficients)
        return (x @ product if tall else product @ x).to(given)
    for index, (a, b, c) in enumerate(coefficients):
        if index:
            gram = x.mT @ x if tall else x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, x, polynomial, beta=a) if tall else torch.baddbmm(x, polynomial, x, beta=a)
    return x.to(given)


def _is_long(x: Tensor, steps: int) -> bool:
    """Whether `_on_gram` needs fewer FLOPs: by short side s and long side l, 4 s^2 l + (8 steps - 6) s^3 against
    steps (4 s^2 l + 2 s^3)."""
    short, long = sorted(x.shape[-2:])
    return 4 * long + (8 * steps - 6) * short < steps * (4 * long + 2 * short)


def _on_gram(gram: Tensor, coefficients: list[tuple[float, float, float]]) -> Tensor:
    """The product of all iterations' polynomials, as matrices of the shorter side only: all commute with A.

    The same map with other rounding: in float32 an ill-conditioned X (1e6) ends up to 0.2 % away where iterating on X
    itself ends 1e-5 away. In bfloat16 it would not hold.
    """
    product = torch.empty(0)
    for index, (a, b, c) in enumerate(coefficients):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        product = polynomial @ product if index else polynomial
        if index + 1 < len(coefficients):
            gram = polynomial @ gram @ polynomial
    return product
