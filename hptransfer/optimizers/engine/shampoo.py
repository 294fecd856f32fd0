"""Shampoo and its graft."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hptransfer.optimizers.engine.factors import Blocks, eyes, inverse_root, refreshed, sandwich
from hptransfer.optimizers.engine.transforms import State, Step

# With zero-initialised outputs the readout has its first gradient at step 1, the residual branches' outputs at 2, all other
# matrices at 3: preconditioners are refreshed at each of these steps.
WAKING_STEPS = 3


@dataclass(frozen=True)
class Shampoo:
    """L^-p U R^-p per block, L and R moving averages of G G^T and G^T G (Gupta et al. 2018; blocks: Anil et al. 2020).

    The factors are bias-corrected. ``eps`` is relative to each factor's largest eigenvalue unless ``relative_eps`` is off.
    Before step ``start`` the update passes unchanged.
    """

    beta2: float
    exponent: float
    eps: float
    frequency: int
    blocks: Blocks
    relative_eps: bool = True
    start: int = 1
    name: str = "shampoo"

    def init(self, like: Tensor) -> State:
        factors = self.blocks.zeros(like)
        return factors | {f"{key}_root": eyes(factor) for key, factor in factors.items()}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        self.blocks.accumulate(self.blocks.split(step.grad), state, self.beta2)
        if step.number < self.start:
            return update
        if step.number <= WAKING_STEPS or step.number == self.start or step.number % self.frequency == 0:
            correction = 1 - self.beta2**step.number
            for key in self.blocks.factors:
                root = state[f"{key}_root"]
                root.copy_(refreshed(self._root, state[key] / correction, root, step))
        blocks = sandwich(state.get("L_root"), self.blocks.split(update), state.get("R_root"))
        return self.blocks.merge(blocks, update.shape)

    def _root(self, gram: Tensor) -> Tensor:
        return inverse_root(gram, self.exponent, self.eps, relative=self.relative_eps)

    def flops(self, rows: int, columns: int) -> float:
        product, cube = self.blocks.flops(rows, columns)
        # An eigendecomposition is taken as 9 b^3 (Golub and Van Loan, symmetric QR with vectors).
        return 2 * product + (9 + 2) * cube / self.frequency


@dataclass(frozen=True)
class AdamGraft:
    """The update with the Frobenius norm, per matrix, of the Adam step that the chain's momentum would give.

    With ``blocks`` one norm per block. Before step ``start`` it is that Adam step itself.
    """

    beta2: float
    eps: float
    graft_eps: float
    start: int = 1
    blocks: Blocks | None = None
    name: str = "graft"

    def init(self, like: Tensor) -> State:
        return {"v": torch.zeros_like(like)}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        assert step.momentum is not None, "a graft follows a momentum"
        second = state["v"].mul_(self.beta2).addcmul_(step.grad, step.grad, value=1 - self.beta2)
        adam = step.momentum / (second / (1 - self.beta2**step.number)).sqrt_().add_(self.eps)
        if step.number < self.start:
            return adam
        if self.blocks is None:
            return self._graft(adam, update)
        return self.blocks.merge(self._graft(self.blocks.split(adam), self.blocks.split(update)), update.shape)

    def _graft(self, adam: Tensor, update: Tensor) -> Tensor:
        wanted: Tensor = torch.linalg.matrix_norm(adam, keepdim=True)
        given: Tensor = torch.linalg.matrix_norm(update, keepdim=True)
        return update * (wanted / (given + self.graft_eps))

    def flops(self, rows: int, columns: int) -> float:
        return 13.0 * rows * columns
