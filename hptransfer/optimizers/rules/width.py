"""Learning-rate and epsilon multipliers of each optimizer class (muP for matrix-preconditioned optimizers).

Source: arXiv 2512.05620, tables 1 and 2 and appendix B. Every quantity is a *ratio* target/base, so constants such as the
MLP ratio cancel. ``d_in`` and ``d_out`` belong to the role: an embedding (V, D) has ``d_in = V`` and ``d_out = D``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """How one weight matrix grew from the base model to the target; each field is target/base, dimensionless."""

    d_in: float = 1.0
    d_out: float = 1.0
    depth: float = 1.0  # inside residual blocks; 1 outside
    n_in: float = 1.0  # count of preconditioner blocks along the input axis; 1 where that axis is not preconditioned
    n_out: float = 1.0

    @property
    def n(self) -> float:
        """Ratio of the number of blocks."""
        return self.n_in * self.n_out

    @property
    def b_in(self) -> float:
        """Ratio of the effective block size along the input axis."""
        return self.d_in / self.n_in

    @property
    def b_out(self) -> float:
        """Ratio of the effective block size along the output axis."""
        return self.d_out / self.n_out


class Rule(Protocol):
    """The width and depth rule of one optimizer class."""

    def lr(self, r: Ratios) -> float:
        """Multiplier of the base learning rate."""
        ...

    def eps(self, r: Ratios) -> float:
        """Multiplier of the base epsilon."""
        ...


@dataclass(frozen=True)
class SgdRule:
    def lr(self, r: Ratios) -> float:
        return r.d_out / r.d_in * r.depth

    def eps(self, r: Ratios) -> float:
        return 1.0


@dataclass(frozen=True)
class AdamRule:
    """Adam, and sign descent."""

    def lr(self, r: Ratios) -> float:
        return 1.0 / r.d_in

    def eps(self, r: Ratios) -> float:
        return 1.0 / (r.depth * r.d_out)


@dataclass(frozen=True)
class MuonRule:
    def lr(self, r: Ratios) -> float:
        return math.sqrt(r.d_out / r.d_in)

    def eps(self, r: Ratios) -> float:
        return math.sqrt(r.d_in / r.d_out) / r.depth


@dataclass(frozen=True)
class AdaMuonRule:
    """Adam on the orthogonalised update; also NorMuon."""

    def lr(self, r: Ratios) -> float:
        return 1.0 / r.d_in

    def eps(self, r: Ratios) -> float:
        return 1.0 / math.sqrt(r.d_in * r.d_out)


@dataclass(frozen=True)
class ShampooRule:
    """Shampoo with exponents -e_left and -e_right on the Gram factors; (1/2, 1/2) is Shampoo^2."""

    e_left: float
    e_right: float
    relative_eps: bool = True  # epsilon relative to the factor's largest eigenvalue needs no scaling

    def lr(self, r: Ratios) -> float:
        e = self.e_left + self.e_right
        return float((r.d_out / r.d_in) ** (1 - e) * r.depth ** (1 - 2 * e) * r.n ** (-e))

    def eps(self, r: Ratios) -> float:
        return 1.0 if self.relative_eps else r.d_in / (r.depth**2 * r.d_out * r.n)


@dataclass(frozen=True)
class SoapRule:
    """Adam in the eigenbasis of the Gram factors; ``left`` and ``right`` say which sides are rotated."""

    left: bool = True
    right: bool = True

    def _numerator(self, r: Ratios) -> float:
        return math.sqrt(r.b_out if self.left else 1.0) * math.sqrt(r.b_in if self.right else 1.0)

    def lr(self, r: Ratios) -> float:
        return self._numerator(r) / r.d_in

    def eps(self, r: Ratios) -> float:
        return self._numerator(r) / (r.depth * r.d_out)


@dataclass(frozen=True)
class GraftRule:
    """The direction of one optimizer with the Frobenius norm of another: written magnitude#direction in the paper."""

    magnitude: Rule
    direction: Rule

    def lr(self, r: Ratios) -> float:
        return self.magnitude.lr(r)

    def eps(self, r: Ratios) -> float:
        """Multiplier of the epsilon in ``|Q1| / (|Q2| + eps)``."""
        return math.sqrt(r.d_out / r.d_in) / self.direction.lr(r)


@dataclass(frozen=True)
class HyperballRule:
    """The direction of one optimizer, with an update whose size is a fixed share of the matrix's, which keeps its norm.

    That the update's spectral norm goes as sqrt(d_out/d_in) (arXiv 2310.17813) asks for a share of sqrt(stable rank / d_in): the
    matrix's Frobenius norm goes as sqrt(d_out), the update's as its spectral norm times the root of its stable rank. That of a
    polar factor is full; of others it is taken for constant, as everywhere in this table. arXiv 2606.16899 finds one share for
    all widths of Adam too, at batches so large that the rank grows with width. Depth: each residual branch, multiplied by base
    depth over depth, moves by its share.
    """

    direction: Rule
    full_rank: bool

    def lr(self, r: Ratios) -> float:
        return math.sqrt((min(r.d_out, r.d_in) if self.full_rank else 1.0) / r.d_in)

    def eps(self, r: Ratios) -> float:
        return self.direction.eps(r)


@dataclass(frozen=True)
class VectorRule:
    """Gains and biases. The paper's models have none; this is the usual muP for Adam with d_in = 1."""

    def lr(self, r: Ratios) -> float:
        return 1.0

    def eps(self, r: Ratios) -> float:
        return 1.0 / (r.depth * r.d_out)


def block_count(d: int, block: int) -> int:
    """Number of blocks of size ``block`` along an axis of length ``d``; 0 stands for an unblocked axis (one block)."""
    return math.ceil(d / block) if block else 1


def init_multiplier(role: str, r: Ratios) -> float:
    """Multiplier of the initial standard deviation of a role's weights.

    Source: arXiv 2203.03466, table 3. It takes a matrix with many inputs and a fixed number of outputs, such as the keys of a
    fixed number of heads, for a readout, 1/d_in; here 1/sqrt(d_in) as for all hidden ones moves narrow models more evenly.
    """
    return {"hidden": 1.0 / math.sqrt(r.d_in), "readout": 1.0 / r.d_in}.get(role, 1.0)
