"""Gram factors of matrices cut into blocks, their roots and bases, and what happens when these cannot be computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hptransfer.optimizers.engine.transforms import State, Step
from hptransfer.optimizers.rules.width import block_count


@dataclass(frozen=True)
class Blocks:
    """Contiguous blocks of ``size`` along the preconditioned axes, the last one zero-padded; 0 leaves an axis whole.

    (n, rows, columns) <-> (n, row blocks, column blocks, b_rows, b_columns). ``L`` is the Gram factor of the rows, (n, row
    blocks, column blocks, b, b), and ``R`` that of the columns; an axis that is not preconditioned has neither factor nor
    blocks.
    """

    size: int
    rows: bool = True
    columns: bool = True

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of the factors that there are."""
        return ("L",) * self.rows + ("R",) * self.columns

    def _axis(self, d: int, preconditioned: bool) -> tuple[int, int]:
        """Number of blocks along an axis of length d, and their size."""
        return (block_count(d, self.size), min(self.size, d)) if self.size and preconditioned else (1, d)

    def split(self, x: Tensor) -> Tensor:
        n, d_rows, d_columns = x.shape
        (rows, b_rows), (columns, b_columns) = self._axis(d_rows, self.rows), self._axis(d_columns, self.columns)
        if (rows * b_rows, columns * b_columns) != (d_rows, d_columns):
            x = F.pad(x, (0, columns * b_columns - d_columns, 0, rows * b_rows - d_rows))
        return x.reshape(n, rows, b_rows, columns, b_columns).transpose(2, 3)

    def merge(self, blocks: Tensor, shape: torch.Size) -> Tensor:
        n, d_rows, d_columns = shape
        _, rows, columns, b_rows, b_columns = blocks.shape
        return blocks.transpose(2, 3).reshape(n, rows * b_rows, columns * b_columns)[:, :d_rows, :d_columns]

    def zeros(self, like: Tensor) -> State:
        """A zero matrix per block and factor."""
        blocks = self.split(like)
        sizes = {"L": blocks.size(-2), "R": blocks.size(-1)}
        return {key: like.new_zeros(*blocks.shape[:3], sizes[key], sizes[key]) for key in self.factors}

    def accumulate(self, blocks: Tensor, state: State, beta: float) -> None:
        """L <- beta L + (1 - beta) G G^T and R likewise with G^T G, in place; ``blocks`` as `split` returns them."""
        for key in self.factors:
            left, right = (blocks, blocks.mT) if key == "L" else (blocks.mT, blocks)
            add_product(state[key], left, right, beta)

    def flops(self, rows: int, columns: int) -> tuple[float, float]:
        """FLOPs of one product of every block with a square matrix per factor; sum of b^3 over all factors."""
        (n_rows, b_rows), (n_columns, b_columns) = self._axis(rows, self.rows), self._axis(columns, self.columns)
        sizes = (b_rows,) * self.rows + (b_columns,) * self.columns
        count = n_rows * n_columns
        return 2.0 * count * b_rows * b_columns * sum(sizes), float(count * sum(size**3 for size in sizes))


def eyes(like: Tensor) -> Tensor:
    """An identity for every matrix of a stack: the root or basis that stands until one is computed."""
    return torch.eye(like.size(-1), dtype=like.dtype, device=like.device).expand_as(like).clone()


def sandwich(left: Tensor | None, x: Tensor, right: Tensor | None) -> Tensor:
    """left @ x @ right, without a side that is not there."""
    x = x if left is None else left @ x
    return x if right is None else x @ right


def add_product(average: Tensor, left: Tensor, right: Tensor, beta: float) -> None:
    """average <- beta average + (1 - beta) left @ right in place, on stacks of matrices; ``average`` is contiguous."""
    flat = average.view(-1, *average.shape[-2:])
    flat.baddbmm_(left.flatten(0, -3), right.flatten(0, -3), beta=beta, alpha=1 - beta)


def refreshed(compute: Callable[[Tensor], Tensor], x: Tensor, last: Tensor, step: Step) -> Tensor:
    """``compute(x)`` on a stack of matrices (..., b, b), always finite.

    An eigendecomposition that does not converge is tried again in float64, then matrix by matrix; one that still fails keeps its
    ``last`` result and is counted in ``step.failures``.
    """
    for dtype in dict.fromkeys((x.dtype, torch.float64)):
        try:
            result = compute(x.to(dtype)).to(x.dtype)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            continue
        if result.isfinite().all():
            return result
    kept = last.clone()
    flat, results = x.double().flatten(0, -3), kept.view(-1, *last.shape[-2:])
    for index, matrix in enumerate(flat):
        try:
            result = compute(matrix).to(x.dtype)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            result = torch.full_like(results[index], torch.nan)
        if result.isfinite().all():
            results[index] = result
        else:
            step.failures += 1
    return kept


def inverse_root(gram: Tensor, exponent: float, eps: float, *, relative: bool = True) -> Tensor:
    """(A + eps I)^-exponent of positive semi-definite (..., b, b), eps times lambda_max if ``relative``. Zero gives I."""
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp(min=0)
    largest = values[..., -1:]
    # A factor that has seen no gradient must not blow up the first one, which may come before the next refresh.
    ridge = eps * largest if relative else torch.full_like(largest, eps)
    values = values + torch.where(largest > 0, ridge + 1e-30, 1.0)
    root: Tensor = (vectors * values.pow(-exponent).unsqueeze(-2)) @ vectors.mT
    return root
