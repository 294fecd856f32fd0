"""SOAP: Adam in the eigenbasis of the Gram factors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hptransfer.optimizers.engine.factors import Blocks, eyes, refreshed, sandwich
from hptransfer.optimizers.engine.transforms import TINY, State, Step

# With zero outputs, and a first gradient that only builds bases, the last matrices have theirs at step 5: readout at 1 and 2,
# branches' outputs at 3 and 4, the rest after that.
BUILDING_STEPS = 5


@dataclass(frozen=True)
class Soap:
    """Adam in the eigenbasis of the Gram factors, per block (Vyas et al., arXiv 2409.11321, soap.py of Dec 2024).

    Both moments are kept in the eigenbasis. One step of orthogonal iteration refreshes the bases every ``frequency`` steps: the
    first moment turns with them, the second follows its columns. ``factorised`` keeps row and column means of the second moment
    only (Shazeer and Stern 2018). A block's first gradient builds its bases and nothing else: within them it is diagonal up to
    rounding, which Adam would blow up to full size. The published code does so once, at its first call, and counts steps from
    the second on: ``skip_first``.
    """

    beta1: float
    beta2: float
    eps: float
    frequency: int
    blocks: Blocks
    factorised: bool = False
    skip_first: bool = False
    name: str = "soap"

    def init(self, like: Tensor) -> State:
        blocks = self.blocks.split(torch.zeros_like(like)).contiguous()
        factors = self.blocks.zeros(like)
        bases = {f"{key}_basis": eyes(factor) for key, factor in factors.items()}
        if self.factorised:
            moments = {"m": blocks, "v_rows": blocks[..., :1].clone(), "v_columns": blocks[..., :1, :].clone()}
        else:
            moments = {"m": blocks, "v": blocks.clone()}
        return factors | bases | moments

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        number = step.number - self.skip_first
        building = step.number <= (1 if self.skip_first else BUILDING_STEPS)
        grad = self.blocks.split(update)
        if building and self.blocks.factors:
            grad = grad.masked_fill(self._build(grad, state, step), 0.0)
        if number == 0:
            return torch.zeros_like(update)
        left, right = state.get("L_basis"), state.get("R_basis")
        left_back = None if left is None else left.mT
        right_back = None if right is None else right.mT
        turned = sandwich(left_back, grad, right)
        first = state["m"].lerp_(turned, 1 - self.beta1)
        correction = math.sqrt(1 - self.beta2**number)
        root = self._second_moment(turned, state).sqrt().add_(self.eps * correction)
        direction = torch.div(first, root, out=root).mul_(correction / (1 - self.beta1**number))
        result = self.blocks.merge(sandwich(left, direction, right_back), update.shape)
        if not building:
            self.blocks.accumulate(grad, state, self.beta2)
            if number % self.frequency == 0:
                for key in self.blocks.factors:
                    self._refresh(key, state, step)
        return result

    def _build(self, grad: Tensor, state: State, step: Step) -> Tensor:
        """First bases, only where no gradient came before, which the returned mask (..., 1, 1) tells: v of an earlier basis would
        be far too small in some directions of a new one."""
        factor = state[self.blocks.factors[0]]
        asleep = (factor == 0).all(-1, keepdim=True).all(-2, keepdim=True)
        self.blocks.accumulate(grad, state, self.beta2)
        for key in self.blocks.factors:
            basis = state[f"{key}_basis"]
            built = refreshed(lambda gram: torch.linalg.eigh(gram).eigenvectors.flip(-1), state[key], basis, step)
            basis.copy_(torch.where(asleep, built, basis))
        return asleep

    def _second_moment(self, turned: Tensor, state: State) -> Tensor:
        """The moving average of the squared gradient in the eigenbasis, moved on; not corrected for bias."""
        if not self.factorised:
            return state["v"].mul_(self.beta2).addcmul_(turned, turned, value=1 - self.beta2)
        square = turned.square()
        rows = state["v_rows"].lerp_(square.mean(-1, keepdim=True), 1 - self.beta2)
        columns = state["v_columns"].lerp_(square.mean(-2, keepdim=True), 1 - self.beta2)
        return rows * columns / rows.mean(-2, keepdim=True).clamp(min=TINY)

    def _refresh(self, key: str, state: State, step: Step) -> None:
        """One orthogonal iteration, columns in descending order of their Rayleigh quotients; the moments follow them."""
        old, axis = state[f"{key}_basis"], -2 if key == "L" else -1
        product = state[key] @ old
        order = (old * product).sum(-2).argsort(dim=-1, descending=True, stable=True)
        new = refreshed(_orthonormal, _columns(product, order), _columns(old, order), step)
        for moment in (state[name] for name in ("v", "v_rows", "v_columns") if name in state):
            if moment.size(axis) > 1:
                index = order.unsqueeze(-1 if axis == -2 else -2).expand_as(moment)
                moment.copy_(moment.gather(axis, index))
        turn = new.mT @ old
        state["m"].copy_(turn @ state["m"] if key == "L" else state["m"] @ turn.mT)
        old.copy_(new)

    def flops(self, rows: int, columns: int) -> float:
        product, cube = self.blocks.flops(rows, columns)
        # One rotation in, one back, one accumulation; a refresh is two products, a QR of 8/3 b^3 with its Q, a turn of m.
        return 3 * product + 12.0 * rows * columns + (2 + 2 + 8 / 3 + 4) * cube / self.frequency


def _orthonormal(x: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(x).Q
    return basis


def _columns(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(-1, order.unsqueeze(-2).expand_as(x))
