"""Cutting matrices into preconditioner blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hptransfer.rules.width import block_count


@dataclass(frozen=True)
class Blocks:
    """Contiguous blocks of ``size`` along both axes, the last one zero-padded; 0 leaves matrices whole.

    (n, d_out, d_in) <-> (n, blocks_out, blocks_in, b_out, b_in), and Gram factors (n, blocks_out, blocks_in, b, b) per side.
    """

    size: int

    def _shape(self, d: int) -> tuple[int, int]:
        """Number of blocks along an axis of length d, and their size."""
        return (block_count(d, self.size), min(self.size, d)) if self.size else (1, d)

    def split(self, x: Tensor) -> Tensor:
        n, d_out, d_in = x.shape
        (rows, b_out), (columns, b_in) = self._shape(d_out), self._shape(d_in)
        if (rows * b_out, columns * b_in) != (d_out, d_in):
            x = F.pad(x, (0, columns * b_in - d_in, 0, rows * b_out - d_out))
        return x.reshape(n, rows, b_out, columns, b_in).transpose(2, 3)

    def merge(self, blocks: Tensor, shape: torch.Size) -> Tensor:
        n, d_out, d_in = shape
        _, rows, columns, b_out, b_in = blocks.shape
        return blocks.transpose(2, 3).reshape(n, rows * b_out, columns * b_in)[:, :d_out, :d_in]

    def gram_zeros(self, like: Tensor) -> tuple[Tensor, Tensor]:
        blocks = self.split(like)
        lead, (b_out, b_in) = blocks.shape[:3], blocks.shape[3:]
        return like.new_zeros(*lead, b_out, b_out), like.new_zeros(*lead, b_in, b_in)

    def accumulate(self, grad: Tensor, factors: dict[str, Tensor], beta: float) -> None:
        """L <- beta L + (1 - beta) G G^T and R likewise, in place."""
        blocks = self.split(grad)
        factors["L"].lerp_(blocks @ blocks.mT, 1 - beta)
        factors["R"].lerp_(blocks.mT @ blocks, 1 - beta)

    def flops(self, d_out: int, d_in: int) -> tuple[float, float]:
        """FLOPs of one product of every block with a square factor on both sides; sum of b^3 over both sides' factors."""
        (rows, b_out), (columns, b_in) = self._shape(d_out), self._shape(d_in)
        count = rows * columns
        return 2.0 * count * b_out * b_in * (b_out + b_in), float(count * (b_out**3 + b_in**3))
