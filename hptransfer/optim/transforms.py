"""The transforms of a chain: momentum, Adam, orthogonalisation, Shampoo, graft, SOAP.

Each works on a stack of same-shape matrices (n, d_out, d_in), one matrix per parameter, with explicit state whose tensors have
the same leading axis. ``apply`` maps an update to an update and changes its state in place; nothing else is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hptransfer.optim.blocks import Blocks

State = dict[str, Tensor]

# Quintic Newton-Schulz coefficients of Jordan et al. 2024: steep at 0, singular values end in [0.68, 1.13].
JORDAN = (3.4445, -4.7750, 2.0315)

# With zero-initialised outputs the readout has its first gradient at step 1, the residual branches' outputs at 2, all other
# matrices at 3: preconditioners are refreshed at each of these steps.
WAKING_STEPS = 3


@dataclass
class Step:
    """What every transform of a chain may read at one step: its number (from 1), the raw gradient and, once there is one,
    the bias-corrected momentum."""

    number: int
    grad: Tensor
    momentum: Tensor | None = None


class Transform(Protocol):
    @property
    def name(self) -> str:
        """Prefix of its state's keys."""
        ...

    def init(self, like: Tensor) -> State:
        """Fresh state for a stack (n, d_out, d_in)."""
        ...

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        """The next update, from the one that came down the chain."""
        ...

    def flops(self, d_out: int, d_in: int) -> float:
        """FLOPs per matrix and step, refreshes spread evenly."""
        ...


@dataclass(frozen=True)
class Momentum:
    """Exponential moving average of the gradient, bias-corrected; Muon's Nesterov form, which mixes the gradient in once more,
    is not (its norm is discarded)."""

    beta: float
    nesterov: bool = False
    name: str = "momentum"

    def init(self, like: Tensor) -> State:
        return {"m": torch.zeros_like(like)}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        average = state["m"].lerp_(update, 1 - self.beta)
        if self.nesterov:
            return torch.lerp(update, average, self.beta)
        step.momentum = average / (1 - self.beta**step.number)
        return step.momentum

    def flops(self, d_out: int, d_in: int) -> float:
        return 4.0 * d_out * d_in


@dataclass(frozen=True)
class Adam:
    """Adam with bias correction, epsilon outside the root (Kingma and Ba 2015; Loshchilov and Hutter 2019)."""

    beta1: float
    beta2: float
    eps: float
    name: str = "adam"

    def init(self, like: Tensor) -> State:
        return {"m": torch.zeros_like(like), "v": torch.zeros_like(like)}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        state["m"].lerp_(update, 1 - self.beta1)
        second = _second_moment(state["v"], update, self.beta2, step.number)
        return (state["m"] / (1 - self.beta1**step.number)).div_(second.sqrt_().add_(self.eps))

    def flops(self, d_out: int, d_in: int) -> float:
        return 12.0 * d_out * d_in


@dataclass(frozen=True)
class Orthogonalize:
    """About the polar factor U V^T of the update, by ``steps`` quintic Newton-Schulz iterations (Muon)."""

    steps: int
    eps: float
    coefficients: tuple[float, float, float] = JORDAN
    name: str = "orthogonalize"

    def init(self, like: Tensor) -> State:
        return {}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        return newton_schulz(update, steps=self.steps, coefficients=self.coefficients, eps=self.eps)

    def flops(self, d_out: int, d_in: int) -> float:
        short, long = sorted((d_out, d_in))
        return self.steps * (4.0 * short**2 * long + 2.0 * short**3)


def newton_schulz(x: Tensor, *, steps: int, coefficients: tuple[float, float, float], eps: float) -> Tensor:
    """X <- a X + (b A + c A^2) X with A = X X^T, on (..., d_out, d_in) in the dtype of ``x``, from X / (|X|_F + eps)."""
    a, b, c = coefficients
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + eps)
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


@dataclass(frozen=True)
class Shampoo:
    """L^-p U R^-p per block, L and R moving averages of G G^T and G^T G (Gupta et al. 2018; blocks: Anil et al. 2020).

    ``eps`` is relative to each factor's largest eigenvalue. The factors are not bias-corrected: a graft fixes the norm.
    """

    beta2: float
    exponent: float
    eps: float
    frequency: int
    blocks: Blocks
    name: str = "shampoo"

    def init(self, like: Tensor) -> State:
        left, right = self.blocks.gram_zeros(like)
        return {"L": left, "R": right, "L_root": left.clone(), "R_root": right.clone()}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        self.blocks.accumulate(step.grad, state, self.beta2)
        if step.number <= WAKING_STEPS or step.number % self.frequency == 0:
            for side in ("L", "R"):
                state[f"{side}_root"].copy_(inverse_root(state[side], self.exponent, self.eps))
        return self.blocks.merge(state["L_root"] @ self.blocks.split(update) @ state["R_root"], update.shape)

    def flops(self, d_out: int, d_in: int) -> float:
        rotation, cube = self.blocks.flops(d_out, d_in)
        # An eigendecomposition is taken as 9 b^3 (Golub and Van Loan, symmetric QR with vectors).
        return 2 * rotation + (9 + 2) * cube / self.frequency


def inverse_root(gram: Tensor, exponent: float, eps: float) -> Tensor:
    """(A + eps lambda_max I)^-exponent of positive semi-definite (..., b, b); a zero matrix gives I."""
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp(min=0)
    largest = values[..., -1:]
    # A factor that has seen no gradient must not blow up the first one, which may come before the next refresh.
    values = values + torch.where(largest > 0, eps * largest + 1e-30, 1.0)
    root: Tensor = (vectors * values.pow(-exponent).unsqueeze(-2)) @ vectors.mT
    return root


@dataclass(frozen=True)
class AdamGraft:
    """The update with the Frobenius norm, per matrix, of the Adam step that the chain's momentum would give."""

    beta2: float
    eps: float
    graft_eps: float
    name: str = "graft"

    def init(self, like: Tensor) -> State:
        return {"v": torch.zeros_like(like)}

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        assert step.momentum is not None, "a graft follows a momentum"
        second = _second_moment(state["v"], step.grad, self.beta2, step.number)
        adam = step.momentum / second.sqrt_().add_(self.eps)
        wanted: Tensor = torch.linalg.matrix_norm(adam, keepdim=True)
        given: Tensor = torch.linalg.matrix_norm(update, keepdim=True)
        return update * (wanted / (given + self.graft_eps))

    def flops(self, d_out: int, d_in: int) -> float:
        return 13.0 * d_out * d_in


@dataclass(frozen=True)
class Soap:
    """Adam in the eigenbasis of the Gram factors, per block (Vyas et al., arXiv 2409.11321, soap.py of Dec 2024).

    The momentum is kept in parameter space and rotated, which is the same. One step of orthogonal iteration refreshes the
    bases every ``frequency`` steps. ``skip_first`` is the published code's first call, which builds its bases and moves nothing.
    """

    beta1: float
    beta2: float
    eps: float
    frequency: int
    blocks: Blocks
    skip_first: bool = False
    name: str = "soap"

    def init(self, like: Tensor) -> State:
        left, right = self.blocks.gram_zeros(like)
        return {
            "m": torch.zeros_like(like),
            "v": torch.zeros_like(self.blocks.split(like)),
            "L": left,
            "R": right,
            "L_basis": left.clone(),
            "R_basis": right.clone(),
        }

    def apply(self, update: Tensor, state: State, step: Step) -> Tensor:
        number = step.number - self.skip_first
        building = step.number <= (1 if self.skip_first else WAKING_STEPS)
        if building:
            # Only where no gradient came before: v of an earlier basis would be far too small in some directions of a new one.
            asleep = (state["L"] == 0).all(-1, keepdim=True).all(-2, keepdim=True)
            self.blocks.accumulate(update, state, self.beta2)
            for side in ("L", "R"):
                basis = torch.linalg.eigh(state[side]).eigenvectors.flip(-1)
                state[f"{side}_basis"].copy_(torch.where(asleep, basis, state[f"{side}_basis"]))
        if number == 0:
            return torch.zeros_like(update)
        left, right = state["L_basis"], state["R_basis"]
        state["m"].lerp_(update, 1 - self.beta1)
        second = _second_moment(state["v"], left.mT @ self.blocks.split(update) @ right, self.beta2, number)
        first = left.mT @ self.blocks.split(state["m"] / (1 - self.beta1**number)) @ right
        result = self.blocks.merge(left @ first.div_(second.sqrt_().add_(self.eps)) @ right.mT, update.shape)
        if not building:
            self.blocks.accumulate(update, state, self.beta2)
            if number % self.frequency == 0:
                self._refresh(state, "L", axis=-2)
                self._refresh(state, "R", axis=-1)
        return result

    @staticmethod
    def _refresh(state: State, side: str, axis: int) -> None:
        """One orthogonal iteration, columns in descending order of their Rayleigh quotients; v follows its columns."""
        gram, basis, second = state[side], state[f"{side}_basis"], state["v"]
        product = gram @ basis
        order = (basis * product).sum(-2).argsort(dim=-1, descending=True, stable=True)
        second.copy_(second.gather(axis, order.unsqueeze(-1 if axis == -2 else -2).expand_as(second)))
        basis.copy_(torch.linalg.qr(product.gather(-1, order.unsqueeze(-2).expand_as(product))).Q)

    def flops(self, d_out: int, d_in: int) -> float:
        rotation, cube = self.blocks.flops(d_out, d_in)
        # Two rotations in, one back, one accumulation; a refresh is two products and a QR of 8/3 b^3 with its Q.
        return 4 * rotation + 12.0 * d_out * d_in + (2 + 2 + 8 / 3) * cube / self.frequency


def _second_moment(average: Tensor, grad: Tensor, beta2: float, step: int) -> Tensor:
    """Moves the average of grad^2 on, and returns a bias-corrected copy."""
    average.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    return average / (1 - beta2**step)
